//! Convolution, norm and upsampling with their parameters.

use burn::module::{Module, Param};
use burn::tensor::activation::leaky_relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv_transpose3d, conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, TensorData};

use super::{Architecture, Weights};
use crate::error::Result;

/// Slope of the leaky ReLU below zero.
pub const SLOPE: f64 = 0.01;
/// Added to the variance of an instance norm.
const EPSILON: f64 = 1e-5;

/// How a block enlarges its input. Both give the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsampling {
    /// A transposed convolution: faster on the CPU.
    Convolution,
    /// A matrix product: on a GPU the transposed convolution is a slow kernel.
    MatrixProduct,
}

pub fn parameter<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    Param::from_data(TensorData::new(values, shape), device)
}

/// A convolution, padded so that stride 1 keeps the size.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    weight: Param<Tensor<B, 5>>,
    bias: Option<Param<Tensor<B, 1>>>,
    stride: [usize; 3],
}

impl<B: Backend> Convolution<B> {
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
        let weight = weights.take(&format!("{name}.weight"), &stored)?;
        let bias = match bias {
            true => Some(parameter(
                weights.take(&format!("{name}.bias"), &[outputs])?,
                [outputs],
                device,
            )),
            false => None,
        };
        let [kz, ky, kx] = kernel;
        Ok(Self {
            weight: parameter(weight, [outputs, inputs, kz, ky, kx], device),
            bias,
            stride,
        })
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let [_, _, kz, ky, kx] = self.weight.dims();
        let padding = [kz / 2, ky / 2, kx / 2];
        conv3d(
            x,
            self.weight.val(),
            self.bias.as_ref().map(Param::val),
            ConvOptions::new(self.stride, padding, [1; 3], 1),
        )
    }
}

/// Instance norm with scale and shift: biased variance over the voxels of each channel of each sample.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Norm<B> {
    /// Takes `name.weight` and `name.bias`.
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        channels: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let mut take = |part: &str| weights.take(&format!("{name}.{part}"), &[channels]);
        Ok(Self {
            weight: parameter(take("weight")?, [channels], device),
            bias: parameter(take("bias")?, [channels], device),
        })
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, channels, z, y, w] = x.dims();
        let flat = x.reshape([batch, channels, z * y * w]);
        let centred = flat.clone() - flat.mean_dim(2);
        let variance = centred.clone().powf_scalar(2.0).mean_dim(2);
        let scale = self.weight.val().reshape([1, channels, 1]) / (variance + EPSILON).sqrt();
        let out = centred * scale + self.bias.val().reshape([1, channels, 1]);
        out.reshape([batch, channels, z, y, w])
    }
}

/// Convolution, instance norm and, where asked for, leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvolutionNorm<B: Backend> {
    conv: Convolution<B>,
    norm: Norm<B>,
}

impl<B: Backend> ConvolutionNorm<B> {
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
        self.norm.forward(self.conv.forward(x))
    }

    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        leaky_relu(self.linear(x), SLOPE)
    }
}

/// Convolutions one after the other, the first with a stride.
#[derive(Module, Debug)]
pub struct Convolutions<B: Backend> {
    convs: Vec<ConvolutionNorm<B>>,
}

impl<B: Backend> Convolutions<B> {
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

impl<B: Backend> Enlargement<B> {
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
        let weight = weights.take(&format!("{name}.weight"), &stored)?;
        let bias = match architecture.bias {
            true => Some(parameter(
                weights.take(&format!("{name}.bias"), &[outputs])?,
                [outputs],
                device,
            )),
            false => None,
        };
        let [sz, sy, sx] = stride;
        Ok(Self {
            weight: parameter(weight, [inputs, outputs, sz, sy, sx], device),
            bias,
        })
    }

    pub fn forward(&self, x: Tensor<B, 5>, how: Upsampling) -> Tensor<B, 5> {
        let weight = self.weight.val();
        let bias = self.bias.as_ref().map(Param::val);
        let [inputs, outputs, sz, sy, sx] = weight.dims();
        if how == Upsampling::Convolution {
            let options = ConvTransposeOptions::new([sz, sy, sx], [0; 3], [0; 3], [1; 3], 1);
            return conv_transpose3d(x, weight, bias, options);
        }
        let [batch, _, z, y, w] = x.dims();
        let weight = weight.reshape([inputs, outputs * sz * sy * sx]).transpose();
        let product: Tensor<B, 3> =
            weight
                .unsqueeze::<3>()
                .matmul(x.reshape([batch, inputs, z * y * w]));
        let split: Tensor<B, 8> = product
            .reshape([batch, outputs, sz, sy, sx, z, y, w])
            .permute([0, 1, 5, 2, 6, 3, 7, 4]);
        let enlarged = split.reshape([batch, outputs, sz * z, sy * y, sx * w]);
        match bias {
            Some(bias) => enlarged + bias.reshape([1, outputs, 1, 1, 1]),
            None => enlarged,
        }
    }
}
