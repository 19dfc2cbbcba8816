//! The operations of a U-Net in burn's own: what runs where there are no kernels of ours, and what ours are compared with.

use burn::tensor::backend::Backend;
use burn::tensor::module::conv3d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorPrimitive};

use super::operations::{Gradients3, NormGradients};

/// Added to the variance of an instance norm.
const EPSILON: f64 = 1e-5;

fn options<B: Backend>(weight: &Tensor<B, 5>, stride: [usize; 3]) -> ConvOptions<3> {
    let [_, _, z, y, x] = weight.dims();
    ConvOptions::new(stride, [z / 2, y / 2, x / 2], [1; 3], 1)
}

pub fn convolve<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    bias: Option<Tensor<B, 1>>,
    stride: [usize; 3],
) -> Tensor<B, 5> {
    let options = options(&weight, stride);
    conv3d(x, weight, bias, options)
}

pub fn convolve_gradients<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    gradient: Tensor<B, 5>,
    stride: [usize; 3],
) -> Gradients3<B> {
    let options = options(&weight, stride);
    let bias = gradient.clone().sum_dim(0).sum_dim(2).sum_dim(3).sum_dim(4);
    let outputs = weight.dims()[0];
    let raw = |tensor: Tensor<B, 5>| tensor.into_primitive().tensor();
    let (x, weight, gradient) = (raw(x), raw(weight), raw(gradient));
    let by_x = B::conv3d_x_backward(x.clone(), weight.clone(), gradient.clone(), options.clone());
    let by_weight = B::conv3d_weight_backward(x, weight, gradient, options);
    Gradients3 {
        x: Tensor::from_primitive(TensorPrimitive::Float(by_x)),
        weight: Tensor::from_primitive(TensorPrimitive::Float(by_weight)),
        bias: bias.reshape([outputs]),
    }
}

/// As a matrix product: on a GPU the transposed convolution is a slow kernel.
pub fn enlarge<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 5> {
    let [batch, inputs, z, y, w] = x.dims();
    let [_, outputs, sz, sy, sx] = weight.dims();
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

pub fn enlarge_gradients<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    gradient: Tensor<B, 5>,
) -> Gradients3<B> {
    let [batch, inputs, z, y, w] = x.dims();
    let [_, outputs, sz, sy, sx] = weight.dims();
    let bias = gradient.clone().sum_dim(0).sum_dim(2).sum_dim(3).sum_dim(4);
    // (batch, output · tap, voxel) of the small image.
    let split: Tensor<B, 8> = gradient
        .reshape([batch, outputs, z, sz, y, sy, w, sx])
        .permute([0, 1, 3, 5, 7, 2, 4, 6]);
    let gradient: Tensor<B, 3> = split.reshape([batch, outputs * sz * sy * sx, z * y * w]);
    let matrix = weight.reshape([inputs, outputs * sz * sy * sx]);
    let by_x: Tensor<B, 3> = matrix.unsqueeze::<3>().matmul(gradient.clone());
    let flat = x.reshape([batch, inputs, z * y * w]);
    let by_weight = flat.matmul(gradient.swap_dims(1, 2)).sum_dim(0);
    Gradients3 {
        x: by_x.reshape([batch, inputs, z, y, w]),
        weight: by_weight.reshape([inputs, outputs, sz, sy, sx]),
        bias: bias.reshape([outputs]),
    }
}

/// The normalised values and the reciprocals of the standard deviations (batch, channel, voxel).
fn standardised<B: Backend>(x: Tensor<B, 5>) -> (Tensor<B, 3>, Tensor<B, 3>) {
    let [batch, channels, z, y, w] = x.dims();
    let flat = x.reshape([batch, channels, z * y * w]);
    let centred = flat.clone() - flat.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let rate = (variance + EPSILON).sqrt().recip();
    (centred * rate.clone(), rate)
}

pub fn normalise<B: Backend>(
    x: Tensor<B, 5>,
    scale: Tensor<B, 1>,
    shift: Tensor<B, 1>,
    slope: f32,
) -> Tensor<B, 5> {
    let shape = x.dims();
    let (standard, _) = standardised(x);
    let value = standard * scale.reshape([1, shape[1], 1]) + shift.reshape([1, shape[1], 1]);
    let below = value.clone().lower_elem(0.0);
    let sloped = value.clone() * slope;
    value.mask_where(below, sloped).reshape(shape)
}

pub fn normalise_gradients<B: Backend>(
    x: Tensor<B, 5>,
    scale: Tensor<B, 1>,
    shift: Tensor<B, 1>,
    slope: f32,
    gradient: Tensor<B, 5>,
) -> NormGradients<B> {
    let shape = x.dims();
    let [batch, channels, z, y, w] = shape;
    let (standard, rate) = standardised(x);
    let scale = scale.reshape([1, channels, 1]);
    let value = standard.clone() * scale.clone() + shift.reshape([1, channels, 1]);
    let gradient = gradient.reshape([batch, channels, z * y * w]);
    let sloped = gradient.clone() * slope;
    let gradient = gradient.mask_where(value.lower_elem(0.0), sloped);
    let product = gradient.clone() * standard.clone();
    let by_x =
        (gradient.clone() - gradient.clone().mean_dim(2) - standard * product.clone().mean_dim(2))
            * rate
            * scale;
    NormGradients {
        x: by_x.reshape(shape),
        scale: product.sum_dim(2).sum_dim(0).reshape([channels]),
        shift: gradient.sum_dim(2).sum_dim(0).reshape([channels]),
    }
}
