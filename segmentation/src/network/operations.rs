//! The operations a U-Net is made of, with their gradients: our own kernels on the CPU, burn's elsewhere.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

use super::kernel::{self, InstructionSet, Window};
use super::reference;

/// Gradients by input, weight and bias.
pub struct Gradients3<B: Backend> {
    pub x: Tensor<B, 5>,
    pub weight: Tensor<B, 5>,
    pub bias: Tensor<B, 1>,
}

/// Gradients by input, scale and shift.
pub struct NormGradients<B: Backend> {
    pub x: Tensor<B, 5>,
    pub scale: Tensor<B, 1>,
    pub shift: Tensor<B, 1>,
}

/// A back end with the operations of a U-Net.
pub trait NetworkBackend: Backend {
    /// Convolution, padded so that stride 1 keeps the size; kernels are odd.
    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
        stride: [usize; 3],
    ) -> Tensor<Self, 5> {
        reference::convolve(x, weight, bias, stride)
    }

    /// Gradients of [`Self::convolve`].
    fn convolve_gradients(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        gradient: Tensor<Self, 5>,
        stride: [usize; 3],
    ) -> Gradients3<Self> {
        reference::convolve_gradients(x, weight, gradient, stride)
    }

    /// Transposed convolution whose stride is its kernel; `weight` has the inputs first.
    fn enlarge(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 5> {
        reference::enlarge(x, weight, bias)
    }

    /// Gradients of [`Self::enlarge`].
    fn enlarge_gradients(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        gradient: Tensor<Self, 5>,
    ) -> Gradients3<Self> {
        reference::enlarge_gradients(x, weight, gradient)
    }

    /// The channels of both, `a` first.
    fn join(a: Tensor<Self, 5>, b: Tensor<Self, 5>) -> Tensor<Self, 5> {
        Tensor::cat(vec![a, b], 1)
    }

    /// The first `channels` channels, and the others.
    fn split(x: Tensor<Self, 5>, channels: usize) -> [Tensor<Self, 5>; 2] {
        let all = x.dims()[1];
        [
            x.clone().narrow(1, 0, channels),
            x.narrow(1, channels, all - channels),
        ]
    }

    /// Instance norm; values below zero are multiplied by `slope` afterwards.
    fn normalise(
        x: Tensor<Self, 5>,
        scale: Tensor<Self, 1>,
        shift: Tensor<Self, 1>,
        slope: f32,
    ) -> Tensor<Self, 5> {
        reference::normalise(x, scale, shift, slope)
    }

    /// Gradients of [`Self::normalise`].
    fn normalise_gradients(
        x: Tensor<Self, 5>,
        scale: Tensor<Self, 1>,
        shift: Tensor<Self, 1>,
        slope: f32,
        gradient: Tensor<Self, 5>,
    ) -> NormGradients<Self> {
        reference::normalise_gradients(x, scale, shift, slope, gradient)
    }
}

#[cfg(feature = "cuda")]
impl NetworkBackend for burn::backend::Cuda {}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    let data = TensorData::new(values, shape);
    Tensor::from_primitive(TensorPrimitive::Float(FlexTensor::from_data(data)))
}

/// The tensor's numbers in row-major order.
struct Numbers(FlexTensor);

impl Numbers {
    fn of<const D: usize>(tensor: Tensor<Flex, D>) -> Self {
        Self(tensor.into_primitive().tensor().to_contiguous())
    }

    fn slice(&self) -> &[f32] {
        self.0.as_slice().unwrap_or(&[])
    }

    /// The channels of each sample.
    fn samples(&self, batch: usize, channels: usize) -> Vec<Vec<&[f32]>> {
        let voxels = self.slice().len() / (batch * channels);
        let mut all = self.slice().chunks_exact(voxels);
        (0..batch)
            .map(|_| all.by_ref().take(channels).collect())
            .collect()
    }
}

fn window(weight: &Tensor<Flex, 5>, stride: [usize; 3]) -> Window {
    let [_, _, z, y, x] = weight.dims();
    Window {
        kernel: [z, y, x],
        stride,
        padding: [z / 2, y / 2, x / 2],
    }
}

impl NetworkBackend for Flex {
    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
        stride: [usize; 3],
    ) -> Tensor<Self, 5> {
        let [batch, inputs, z, y, w] = x.dims();
        let [outputs, ..] = weight.dims();
        let window = window(&weight, stride);
        let [oz, oy, ox] = window.outputs([z, y, w]);
        let (x, weight, bias) = (Numbers::of(x), Numbers::of(weight), bias.map(Numbers::of));
        let mut out = vec![0.0; batch * outputs * oz * oy * ox];
        let each = out.chunks_exact_mut(outputs * oz * oy * ox);
        for (out, channels) in each.zip(x.samples(batch, inputs)) {
            let bias = bias.as_ref().map(Numbers::slice);
            kernel::convolve(
                InstructionSet::detect(),
                &channels,
                [z, y, w],
                weight.slice(),
                bias,
                &window,
                out,
            );
        }
        tensor(out, [batch, outputs, oz, oy, ox])
    }

    fn convolve_gradients(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        gradient: Tensor<Self, 5>,
        stride: [usize; 3],
    ) -> Gradients3<Self> {
        let [batch, inputs, z, y, w] = x.dims();
        let [_, outputs, oz, oy, ox] = gradient.dims();
        let shape = weight.dims();
        let window = window(&weight, stride);
        let (x, weight, gradient) = (Numbers::of(x), Numbers::of(weight), Numbers::of(gradient));
        let mut by_x = vec![0.0; x.slice().len()];
        let mut by_weight = vec![0.0; weight.slice().len()];
        let mut by_bias = vec![0.0; outputs];
        let each = by_x.chunks_exact_mut(inputs * z * y * w);
        let samples = x
            .samples(batch, inputs)
            .into_iter()
            .zip(gradient.samples(batch, outputs));
        for (by_x, (x, gradient)) in each.zip(samples) {
            kernel::transpose(
                InstructionSet::detect(),
                &gradient,
                [oz, oy, ox],
                weight.slice(),
                None,
                &window,
                [z, y, w],
                by_x,
            );
            kernel::weight_gradient(
                InstructionSet::detect(),
                &gradient,
                &x,
                [z, y, w],
                &window,
                [oz, oy, ox],
                &mut by_weight,
            );
            kernel::bias_gradient(&gradient, &mut by_bias);
        }
        Gradients3 {
            x: tensor(by_x, [batch, inputs, z, y, w]),
            weight: tensor(by_weight, shape),
            bias: tensor(by_bias, [outputs]),
        }
    }

    fn enlarge(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 5> {
        let [batch, inputs, z, y, w] = x.dims();
        let [_, outputs, sz, sy, sx] = weight.dims();
        let large = [z * sz, y * sy, w * sx];
        let window = enlarging([sz, sy, sx]);
        let (x, weight, bias) = (Numbers::of(x), Numbers::of(weight), bias.map(Numbers::of));
        let mut out = vec![0.0; batch * outputs * large.iter().product::<usize>()];
        let length = out.len() / batch;
        for (out, channels) in out.chunks_exact_mut(length).zip(x.samples(batch, inputs)) {
            let bias = bias.as_ref().map(Numbers::slice);
            kernel::transpose(
                InstructionSet::detect(),
                &channels,
                [z, y, w],
                weight.slice(),
                bias,
                &window,
                large,
                out,
            );
        }
        tensor(out, [batch, outputs, large[0], large[1], large[2]])
    }

    fn enlarge_gradients(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        gradient: Tensor<Self, 5>,
    ) -> Gradients3<Self> {
        let [batch, inputs, z, y, w] = x.dims();
        let [_, outputs, gz, gy, gx] = gradient.dims();
        let shape = weight.dims();
        let window = enlarging([shape[2], shape[3], shape[4]]);
        let (x, weight, gradient) = (Numbers::of(x), Numbers::of(weight), Numbers::of(gradient));
        let mut by_x = vec![0.0; x.slice().len()];
        let mut by_weight = vec![0.0; weight.slice().len()];
        let mut by_bias = vec![0.0; outputs];
        let large = [gz, gy, gx];
        let each = by_x.chunks_exact_mut(inputs * z * y * w);
        let samples = x
            .samples(batch, inputs)
            .into_iter()
            .zip(gradient.samples(batch, outputs));
        for (by_x, (x, gradient)) in each.zip(samples) {
            kernel::convolve(
                InstructionSet::detect(),
                &gradient,
                large,
                weight.slice(),
                None,
                &window,
                by_x,
            );
            kernel::weight_gradient(
                InstructionSet::detect(),
                &x,
                &gradient,
                large,
                &window,
                [z, y, w],
                &mut by_weight,
            );
            kernel::bias_gradient(&gradient, &mut by_bias);
        }
        Gradients3 {
            x: tensor(by_x, [batch, inputs, z, y, w]),
            weight: tensor(by_weight, shape),
            bias: tensor(by_bias, [outputs]),
        }
    }

    fn join(a: Tensor<Self, 5>, b: Tensor<Self, 5>) -> Tensor<Self, 5> {
        let ([batch, first, z, y, x], [_, second, ..]) = (a.dims(), b.dims());
        let (a, b) = (Numbers::of(a), Numbers::of(b));
        let mut out = Vec::with_capacity(a.slice().len() + b.slice().len());
        let voxels = z * y * x;
        let samples = a.slice().chunks_exact(first * voxels);
        for (a, b) in samples.zip(b.slice().chunks_exact(second * voxels)) {
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        }
        tensor(out, [batch, first + second, z, y, x])
    }

    fn split(x: Tensor<Self, 5>, channels: usize) -> [Tensor<Self, 5>; 2] {
        let [batch, all, z, y, w] = x.dims();
        let x = Numbers::of(x);
        let voxels = z * y * w;
        let mut parts = [channels, all - channels].map(|n| Vec::with_capacity(batch * n * voxels));
        for sample in x.slice().chunks_exact(all * voxels) {
            let (first, second) = sample.split_at(channels * voxels);
            parts[0].extend_from_slice(first);
            parts[1].extend_from_slice(second);
        }
        let [first, second] = parts;
        [
            tensor(first, [batch, channels, z, y, w]),
            tensor(second, [batch, all - channels, z, y, w]),
        ]
    }

    fn normalise(
        x: Tensor<Self, 5>,
        scale: Tensor<Self, 1>,
        shift: Tensor<Self, 1>,
        slope: f32,
    ) -> Tensor<Self, 5> {
        let shape = x.dims();
        let (scale, shift) = (Numbers::of(scale), Numbers::of(shift));
        // In place where nobody else holds the input: a fresh array of this size costs more than the norm.
        let mut x = x.into_primitive().tensor().to_contiguous();
        if x.as_slice::<f32>()
            .is_some_and(|numbers| numbers.len() != x.storage::<f32>().len())
        {
            x = FlexTensor::from_data(x.into_data());
        }
        let numbers = x.storage_mut::<f32>();
        kernel::normalise(
            numbers,
            shape[1],
            scale.slice(),
            shift.slice(),
            slope,
            shape[0],
        );
        wrap::<Self, 5>(x)
    }

    fn normalise_gradients(
        x: Tensor<Self, 5>,
        scale: Tensor<Self, 1>,
        shift: Tensor<Self, 1>,
        slope: f32,
        gradient: Tensor<Self, 5>,
    ) -> NormGradients<Self> {
        let shape = x.dims();
        let (x, scale, shift) = (Numbers::of(x), Numbers::of(scale), Numbers::of(shift));
        let gradient = Numbers::of(gradient);
        let found = kernel::normalise_gradient(
            x.slice(),
            gradient.slice(),
            shape[1],
            scale.slice(),
            shift.slice(),
            slope,
            shape[0],
        );
        NormGradients {
            x: tensor(found.x, shape),
            scale: tensor(found.scale, [shape[1]]),
            shift: tensor(found.shift, [shape[1]]),
        }
    }
}

/// The window of a transposed convolution whose stride is its kernel.
fn enlarging(stride: [usize; 3]) -> Window {
    Window {
        kernel: stride,
        stride,
        padding: [0; 3],
    }
}

fn wrap<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

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
