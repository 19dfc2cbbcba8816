//! Convolution with stride, dilation and groups, batch norm, and the ways up.

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

use super::super::block::parameter;
use super::super::mode::{BatchNorm, EPSILON, Mode};
use super::super::operations::NetworkBackend;
use super::super::weights::Weights;
use crate::error::Result;

/// A convolution over slices; padded so that stride 1 keeps the size, unless told otherwise.
#[derive(Module, Debug)]
pub struct Conv<B: NetworkBackend> {
    weight: Param<Tensor<B, 4>>,
    bias: Option<Param<Tensor<B, 1>>>,
    stride: usize,
    dilation: usize,
    groups: usize,
    /// Whether zeros are put as TensorFlow does: as few as needed, the odd one behind.
    tight: bool,
}

impl<B: NetworkBackend> Conv<B> {
    /// Takes `name.weight`.
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        device: &B::Device,
    ) -> Result<Self> {
        Self::grouped(weights, name, [inputs, outputs], kernel, 1, device)
    }

    /// One kernel for each channel.
    pub fn depthwise(
        weights: &mut dyn Weights,
        name: &str,
        channels: usize,
        kernel: usize,
        device: &B::Device,
    ) -> Result<Self> {
        Self::grouped(weights, name, [channels; 2], kernel, channels, device)
    }

    fn grouped(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        groups: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let shape = [outputs, inputs / groups, kernel, kernel];
        Ok(Self {
            weight: parameter(weights, &format!("{name}.weight"), &shape, shape, device)?,
            bias: None,
            stride: 1,
            dilation: 1,
            groups,
            tight: false,
        })
    }

    /// The same with `name.bias`.
    pub fn with_bias(
        mut self,
        weights: &mut dyn Weights,
        name: &str,
        device: &B::Device,
    ) -> Result<Self> {
        let outputs = self.weight.dims()[0];
        let name = format!("{name}.bias");
        self.bias = Some(parameter(weights, &name, &[outputs], [outputs], device)?);
        Ok(self)
    }

    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    pub fn with_dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    pub fn padded_tightly(mut self) -> Self {
        self.tight = true;
        self
    }

    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let bias = self.bias.as_ref().map(Param::val);
        if !self.tight && self.groups == 1 && self.dilation == 1 {
            let [batch, channels, height, width] = x.dims();
            let x = x.reshape([batch, channels, 1, height, width]);
            let weight = self.weight.val();
            let weight = weight.reshape([outputs, inputs, 1, kernel, kernel]);
            let y = B::convolve(x, weight, bias, [1, self.stride, self.stride]);
            let [batch, channels, _, height, width] = y.dims();
            return y.reshape([batch, channels, height, width]);
        }
        let (x, padding) = match self.tight {
            false => (x, kernel / 2 * self.dilation),
            true => {
                let [_, _, height, width] = x.dims();
                let zeros = |length: usize| {
                    let steps = length.div_ceil(self.stride) - 1;
                    let all = (steps * self.stride + kernel).saturating_sub(length);
                    (all / 2, all - all / 2)
                };
                let ((top, bottom), (left, right)) = (zeros(height), zeros(width));
                (x.pad((left, right, top, bottom), 0.0), 0)
            }
        };
        let options = ConvOptions::new(
            [self.stride; 2],
            [padding; 2],
            [self.dilation; 2],
            self.groups,
        );
        conv2d(x, self.weight.val(), bias, options)
    }
}

/// Convolution, batch norm, ReLU: `name.0`, `name.1`.
#[derive(Module, Debug)]
pub struct ConvNorm<B: NetworkBackend> {
    conv: Conv<B>,
    norm: BatchNorm<B>,
}

impl<B: NetworkBackend> ConvNorm<B> {
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        kernel: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let conv = Conv::new(weights, &format!("{name}.0"), channels, kernel, device)?;
        Ok(Self {
            conv,
            norm: BatchNorm::new(weights, &format!("{name}.1"), channels[1], EPSILON, device)?,
        })
    }

    pub fn with_dilation(mut self, dilation: usize) -> Self {
        self.conv = self.conv.with_dilation(dilation);
        self
    }

    pub fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        self.norm.forward_relu(self.conv.forward(x), mode)
    }
}

/// Every voxel twice along both axes.
pub fn doubled<B: NetworkBackend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = x.dims();
    let twice: Tensor<B, 6> = x
        .reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2]);
    twice.reshape([batch, channels, 2 * height, 2 * width])
}

/// Bilinear enlargement with corners on corners.
pub fn enlarged<B: NetworkBackend>(x: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [_, _, height, width] = x.dims();
    let device = x.device();
    // A matrix for each axis: two entries a row.
    let matrix = |from: usize| -> Tensor<B, 4> {
        let to = from * factor;
        let mut values = vec![0.0f32; to * from];
        for (row, values) in values.chunks_exact_mut(from).enumerate() {
            let at = row as f64 * (from - 1) as f64 / (to - 1) as f64;
            let below = (at.floor() as usize).min(from - 1);
            let part = at - below as f64;
            values[below] += (1.0 - part) as f32;
            values[(below + 1).min(from - 1)] += part as f32;
        }
        Tensor::from_data(TensorData::new(values, [1, 1, to, from]), &device)
    };
    let down = matrix(height).matmul(x);
    down.matmul(matrix(width).transpose())
}
