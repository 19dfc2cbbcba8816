//! Convolution, norm and upsampling with their parameters.

use burn::module::{Module, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::operations::NetworkBackend;
use super::weights::name_number;
use super::{Architecture, Weights};
use crate::error::Result;

/// Slope of the leaky ReLU below zero.
pub const SLOPE: f32 = 0.01;

/// Takes a parameter; its number in burn follows from its name, so that gradients can be found by name.
pub fn parameter<B: Backend, const D: usize>(
    weights: &mut dyn Weights,
    name: &str,
    stored: &[usize],
    shape: [usize; D],
    device: &B::Device,
) -> Result<Param<Tensor<B, D>>> {
    let values = TensorData::new(weights.take(name, stored)?, shape);
    let value = Tensor::from_data(values, device).require_grad();
    Ok(Param::initialized(ParamId::from(name_number(name)), value))
}

/// A convolution, padded so that stride 1 keeps the size.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    weight: Param<Tensor<B, 5>>,
    bias: Option<Param<Tensor<B, 1>>>,
    stride: [usize; 3],
}

impl<B: NetworkBackend> Convolution<B> {
    /// Takes `name.weight` and, where `bias`, `name.bias`.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 3],
        stride: [usize; 3],
        bias: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let [inputs, outputs] = channels;
        let stored = architecture.stored_shape([outputs, inputs], kernel);
        let [kz, ky, kx] = kernel;
        let shape = [outputs, inputs, kz, ky, kx];
        let weight = parameter(weights, &format!("{name}.weight"), &stored, shape, device)?;
        let name = format!("{name}.bias");
        let bias = match bias {
            true => Some(parameter(weights, &name, &[outputs], [outputs], device)?),
            false => None,
        };
        Ok(Self {
            weight,
            bias,
            stride,
        })
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let bias = self.bias.as_ref().map(Param::val);
        B::convolve(x, self.weight.val(), bias, self.stride)
    }
}

/// Instance norm with scale and shift: biased variance over the voxels of each channel of each sample.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: NetworkBackend> Norm<B> {
    /// Takes `name.weight` and `name.bias`.
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        channels: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let mut take = |part: &str| {
            let name = format!("{name}.{part}");
            parameter(weights, &name, &[channels], [channels], device)
        };
        Ok(Self {
            weight: take("weight")?,
            bias: take("bias")?,
        })
    }

    /// Values below zero are multiplied by `slope` afterwards.
    pub fn forward(&self, x: Tensor<B, 5>, slope: f32) -> Tensor<B, 5> {
        B::normalise(x, self.weight.val(), self.bias.val(), slope)
    }
}

/// Convolution, instance norm and, where asked for, leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvolutionNorm<B: Backend> {
    conv: Convolution<B>,
    norm: Norm<B>,
}

impl<B: NetworkBackend> ConvolutionNorm<B> {
    /// Takes `name.conv.*` and `name.norm.*`.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 3],
        stride: [usize; 3],
        bias: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let conv = format!("{name}.conv");
        Ok(Self {
            conv: Convolution::new(
                architecture,
                weights,
                &conv,
                channels,
                kernel,
                stride,
                bias,
                device,
            )?,
            norm: Norm::new(weights, &format!("{name}.norm"), channels[1], device)?,
        })
    }

    pub fn linear(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        self.norm.forward(self.conv.forward(x), 1.0)
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        self.norm.forward(self.conv.forward(x), SLOPE)
    }
}

/// Convolutions one after the other, the first with a stride.
#[derive(Module, Debug)]
pub struct Convolutions<B: Backend> {
    convs: Vec<ConvolutionNorm<B>>,
}

impl<B: NetworkBackend> Convolutions<B> {
    /// Takes `name.convs.0.*` to `name.convs.{count - 1}.*`.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 3],
        stride: [usize; 3],
        count: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let [inputs, outputs] = channels;
        let convs = (0..count).map(|index| {
            let (inputs, stride) = match index {
                0 => (inputs, stride),
                _ => (outputs, [1; 3]),
            };
            ConvolutionNorm::new(
                architecture,
                weights,
                &format!("{name}.convs.{index}"),
                [inputs, outputs],
                kernel,
                stride,
                architecture.bias,
                device,
            )
        });
        Ok(Self {
            convs: convs.collect::<Result<_>>()?,
        })
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        self.convs.iter().fold(x, |x, conv| conv.forward(x))
    }
}

/// Enlarges by its stride: a transposed convolution whose kernel is its stride, so that outputs never overlap.
#[derive(Module, Debug)]
pub struct Enlargement<B: Backend> {
    weight: Param<Tensor<B, 5>>,
    bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: NetworkBackend> Enlargement<B> {
    /// Takes `name.weight` (inputs first) and, where the network has them, `name.bias`.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        stride: [usize; 3],
        device: &B::Device,
    ) -> Result<Self> {
        let [inputs, outputs] = channels;
        let stored = architecture.stored_shape([inputs, outputs], stride);
        let [sz, sy, sx] = stride;
        let shape = [inputs, outputs, sz, sy, sx];
        let weight = parameter(weights, &format!("{name}.weight"), &stored, shape, device)?;
        let name = format!("{name}.bias");
        let bias = match architecture.bias {
            true => Some(parameter(weights, &name, &[outputs], [outputs], device)?),
            false => None,
        };
        Ok(Self { weight, bias })
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        B::enlarge(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}
