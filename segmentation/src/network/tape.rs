//! The operations of a U-Net under burn's differentiation: each remembers what its gradient needs.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::operations::{Gradients3, NetworkBackend, unwrap, wrap};

#[derive(Debug)]
struct Convolve;
#[derive(Debug)]
struct Enlarge;
#[derive(Debug)]
struct Normalise;
#[derive(Debug)]
struct Join;

/// The nodes of what an operation was given.
type Given<const N: usize> = [NodeId; N];

impl<B: NetworkBackend> Backward<B, 3> for Convolve {
    type State = (Given<2>, [usize; 3]);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([x, weight], stride) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let weight = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(weight);
        let found = B::convolve_gradients(wrap(x), wrap(weight), wrap(gradient), stride);
        register(
            ops.parents.map(|node| node.map(|node| node.id)),
            grads,
            found,
        );
    }
}

impl<B: NetworkBackend> Backward<B, 3> for Enlarge {
    type State = Given<2>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [x, weight] = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let weight = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(weight);
        let found = B::enlarge_gradients(wrap(x), wrap(weight), wrap(gradient));
        register(
            ops.parents.map(|node| node.map(|node| node.id)),
            grads,
            found,
        );
    }
}

impl<B: NetworkBackend> Backward<B, 2> for Join {
    /// Channels of the first.
    type State = usize;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let found = B::split(wrap(gradient), ops.state);
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<B>(node.id, unwrap(found));
            }
        }
    }
}

fn register<B: Backend>(
    [x, weight, bias]: [Option<NodeId>; 3],
    grads: &mut Gradients,
    found: Gradients3<B>,
) {
    if let Some(node) = x {
        grads.register::<B>(node, unwrap(found.x));
    }
    if let Some(node) = weight {
        grads.register::<B>(node, unwrap(found.weight));
    }
    if let Some(node) = bias {
        grads.register::<B>(node, unwrap(found.bias));
    }
}

impl<B: NetworkBackend> Backward<B, 3> for Normalise {
    type State = (Given<3>, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([x, scale, shift], slope) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let scale = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(scale);
        let shift = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(shift);
        let found =
            B::normalise_gradients(wrap(x), wrap(scale), wrap(shift), slope, wrap(gradient));
        let [x, scale, shift] = ops.parents;
        if let Some(node) = x {
            grads.register::<B>(node.id, unwrap(found.x));
        }
        if let Some(node) = scale {
            grads.register::<B>(node.id, unwrap(found.scale));
        }
        if let Some(node) = shift {
            grads.register::<B>(node.id, unwrap(found.shift));
        }
    }
}

impl<B: NetworkBackend, C: CheckpointStrategy> NetworkBackend for Autodiff<B, C> {
    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
        stride: [usize; 3],
    ) -> Tensor<Self, 5> {
        let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &weight.device()));
        let (x, weight, bias) = (unwrap(x), unwrap(weight), unwrap(bias));
        let run = |x: B::FloatTensorPrimitive, weight, bias| {
            unwrap(B::convolve(wrap(x), wrap(weight), Some(wrap(bias)), stride))
        };
        let prepared = Convolve
            .prepare::<C>([x.node.clone(), weight.node.clone(), bias.node.clone()])
            .compute_bound()
            .stateful();
        wrap(match prepared {
            OpsKind::Tracked(mut tracked) => {
                let given = [tracked.checkpoint(&x), tracked.checkpoint(&weight)];
                let out = run(x.primitive, weight.primitive, bias.primitive);
                tracked.finish((given, stride), out)
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(run(x.primitive, weight.primitive, bias.primitive))
            }
        })
    }

    fn enlarge(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 5> {
        let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[1]], &weight.device()));
        let (x, weight, bias) = (unwrap(x), unwrap(weight), unwrap(bias));
        let run = |x: B::FloatTensorPrimitive, weight, bias| {
            unwrap(B::enlarge(wrap(x), wrap(weight), Some(wrap(bias))))
        };
        let prepared = Enlarge
            .prepare::<C>([x.node.clone(), weight.node.clone(), bias.node.clone()])
            .compute_bound()
            .stateful();
        wrap(match prepared {
            OpsKind::Tracked(mut tracked) => {
                let given = [tracked.checkpoint(&x), tracked.checkpoint(&weight)];
                let out = run(x.primitive, weight.primitive, bias.primitive);
                tracked.finish(given, out)
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(run(x.primitive, weight.primitive, bias.primitive))
            }
        })
    }

    fn join(a: Tensor<Self, 5>, b: Tensor<Self, 5>) -> Tensor<Self, 5> {
        let channels = a.dims()[1];
        let (a, b) = (unwrap(a), unwrap(b));
        let run = |a, b| unwrap(B::join(wrap(a), wrap(b)));
        let prepared = Join
            .prepare::<C>([a.node.clone(), b.node.clone()])
            .compute_bound()
            .stateful();
        wrap(match prepared {
            OpsKind::Tracked(tracked) => tracked.finish(channels, run(a.primitive, b.primitive)),
            OpsKind::UnTracked(untracked) => untracked.finish(run(a.primitive, b.primitive)),
        })
    }

    fn normalise(
        x: Tensor<Self, 5>,
        scale: Tensor<Self, 1>,
        shift: Tensor<Self, 1>,
        slope: f32,
    ) -> Tensor<Self, 5> {
        let (x, scale, shift) = (unwrap(x), unwrap(scale), unwrap(shift));
        let run = |x: B::FloatTensorPrimitive, scale, shift| {
            unwrap(B::normalise(wrap(x), wrap(scale), wrap(shift), slope))
        };
        let prepared = Normalise
            .prepare::<C>([x.node.clone(), scale.node.clone(), shift.node.clone()])
            .compute_bound()
            .stateful();
        wrap(match prepared {
            OpsKind::Tracked(mut tracked) => {
                let given = [
                    tracked.checkpoint(&x),
                    tracked.checkpoint(&scale),
                    tracked.checkpoint(&shift),
                ];
                let out = run(x.primitive, scale.primitive, shift.primitive);
                tracked.finish((given, slope), out)
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(run(x.primitive, scale.primitive, shift.primitive))
            }
        })
    }
}
