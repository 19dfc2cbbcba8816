//! The operations of a U-Net on the CPU, by our own kernels.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::kernel::{self, InstructionSet, Window};
use super::operations::{Gradients3, NetworkBackend, NormGradients, unwrap, wrap};

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    let data = TensorData::new(values, shape);
    wrap(FlexTensor::from_data(data))
}

/// The tensor's numbers in row-major order.
struct Numbers(FlexTensor);

impl Numbers {
    fn of<const D: usize>(tensor: Tensor<Flex, D>) -> Self {
        Self(unwrap(tensor).to_contiguous())
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

/// Whether a batch of slices is better seen as one volume of them: a kernel is then laid out once, not once a slice.
fn are_slices(x: &Tensor<Flex, 5>, window: &Window) -> bool {
    let [batch, _, z, ..] = x.dims();
    batch > 1 && z == 1 && window.kernel[0] == 1 && window.stride[0] == 1
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
        if are_slices(&x, &window) {
            return Self::convolve(x.swap_dims(0, 2), weight, bias, stride).swap_dims(0, 2);
        }
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
        if are_slices(&x, &window) {
            let (x, gradient) = (x.swap_dims(0, 2), gradient.swap_dims(0, 2));
            let found = Self::convolve_gradients(x, weight, gradient, stride);
            return Gradients3 {
                x: found.x.swap_dims(0, 2),
                ..found
            };
        }
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
        let mut x = unwrap(x).to_contiguous();
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
