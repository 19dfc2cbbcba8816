//! The operations a U-Net is made of, with their gradients: our own kernels on the CPU (`cpu`), burn's elsewhere (`reference`), both
//! under burn's differentiation (`tape`).

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

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

/// The tensor of a back end's primitive.
pub(super) fn wrap<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The primitive of a tensor.
pub(super) fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}
