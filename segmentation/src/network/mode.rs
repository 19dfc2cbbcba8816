//! What differs between running a network and letting it learn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::block::parameter;
use super::operations::NetworkBackend;
use super::weights::Weights;
use crate::error::Result;
use crate::training::Random;

/// Whether a network runs or learns.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch norms use their stored statistics, and nothing is dropped.
    Run,
    /// Batch norms use the batch's own statistics, which are noted; units are dropped at random.
    Learn(&'a Learning),
}

/// What a pass of learning draws and notes.
#[derive(Debug)]
pub struct Learning {
    seed: u64,
    /// Streams of random numbers handed out so far.
    streams: Cell<u64>,
    seen: RefCell<BTreeMap<u64, Vec<f32>>>,
}

impl Learning {
    /// A pass whose random numbers follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            streams: Cell::new(0),
            seen: RefCell::default(),
        }
    }

    /// Statistics of the batch by the numbers of the parameters that store them.
    pub fn into_seen(self) -> BTreeMap<u64, Vec<f32>> {
        self.seen.into_inner()
    }

    fn note<B: Backend>(&self, at: &Param<Tensor<B, 1>>, values: Tensor<B, 1>) {
        // A result that cannot be read leaves the stored statistics as they were.
        if let Ok(values) = values.into_data().into_vec() {
            self.seen.borrow_mut().insert(at.id.val(), values);
        }
    }
}

/// Added to the variance by PyTorch's batch norms.
pub const EPSILON: f64 = 1e-5;

/// Batch norm: over the batch while learning, by stored statistics while running.
#[derive(Module, Debug)]
pub struct BatchNorm<B: NetworkBackend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    running_mean: Param<Tensor<B, 1>>,
    running_var: Param<Tensor<B, 1>>,
    epsilon: f64,
}

impl<B: NetworkBackend> BatchNorm<B> {
    /// Takes `name.weight`, `.bias`, `.running_mean` and `.running_var`.
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        channels: usize,
        epsilon: f64,
        device: &B::Device,
    ) -> Result<Self> {
        let mut take = |part: &str| {
            let name = format!("{name}.{part}");
            parameter(weights, &name, &[channels], [channels], device)
        };
        Ok(Self {
            weight: take("weight")?,
            bias: take("bias")?,
            running_mean: take("running_mean")?,
            running_var: take("running_var")?,
            epsilon,
        })
    }

    /// Normalised (batch, channel, …).
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>, mode: Mode<'_>) -> Tensor<B, D> {
        match mode {
            Mode::Run => self.stored(x),
            Mode::Learn(learning) => self.learnt(x, 1.0, learning),
        }
    }

    /// The same, and zero below zero.
    pub fn forward_relu<const D: usize>(&self, x: Tensor<B, D>, mode: Mode<'_>) -> Tensor<B, D> {
        match mode {
            Mode::Run => relu(self.stored(x)),
            Mode::Learn(learning) => self.learnt(x, 0.0, learning),
        }
    }

    fn stored<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let mut shape = [1; D];
        shape[1] = self.weight.dims()[0];
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        x * scale.reshape(shape) + shift.reshape(shape)
    }

    fn learnt<const D: usize>(
        &self,
        x: Tensor<B, D>,
        slope: f32,
        learning: &Learning,
    ) -> Tensor<B, D> {
        let dims = x.dims();
        let (batch, channels) = (dims[0], dims[1]);
        let rest: usize = dims[2..].iter().product();
        // An instance norm of the batch's slices laid one on the other is a batch norm.
        let stacked: Tensor<B, 5> = x
            .reshape([batch, channels, 1, 1, rest])
            .swap_dims(0, 1)
            .reshape([1, channels, batch, 1, rest]);
        let flat = stacked.clone().detach().reshape([channels, batch * rest]);
        let (variance, mean) = flat.var_mean(1);
        learning.note(&self.running_mean, mean.reshape([channels]));
        if batch * rest > 1 {
            learning.note(&self.running_var, variance.reshape([channels]));
        }
        let normalised = if self.epsilon == EPSILON {
            B::normalise(stacked, self.weight.val(), self.bias.val(), slope)
        } else {
            let flat = stacked.reshape([channels, batch * rest]);
            let centred = flat.clone() - flat.mean_dim(1);
            let variance = centred.clone().powi_scalar(2).mean_dim(1);
            let value = centred / (variance + self.epsilon).sqrt()
                * self.weight.val().reshape([channels, 1])
                + self.bias.val().reshape([channels, 1]);
            let value = if slope == 0.0 { relu(value) } else { value };
            value.reshape([1, channels, batch, 1, rest])
        };
        normalised
            .reshape([channels, batch, 1, 1, rest])
            .swap_dims(0, 1)
            .reshape(dims)
    }
}

/// Drops values at random while learning, and makes up for it in those that stay.
pub fn dropped<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    part: f64,
    mode: Mode<'_>,
) -> Tensor<B, D> {
    let Mode::Learn(learning) = mode else {
        return x;
    };
    let stream = learning.streams.get();
    learning.streams.set(stream + 1);
    let mut random = Random::new(learning.seed, stream);
    let kept = (1.0 / (1.0 - part)) as f32;
    let dims = x.dims();
    let mask: Vec<f32> = (0..dims.iter().product())
        .map(|_| if random.chance(part) { 0.0 } else { kept })
        .collect();
    let device = x.device();
    x * Tensor::from_data(TensorData::new(mask, dims), &device)
}
