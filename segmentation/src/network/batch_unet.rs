//! U-Nets with batch norms, max pooling and enlargement by repetition: Saillard et al.'s own, and the one under Xu et al.'s many planes.
//!
//! Neither paper gives its network layer by layer. What is here has the numbers they print: 34,525,889 parameters with one channel, one
//! class and 64 to 1024 features (Saillard et al. 2024, 34.5 million); 90 to 1448 features (Perslev et al. 2019, whose network Xu et al.
//! take).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::block::{Convolution, parameter};
use super::mode::{BatchNorm, EPSILON, Mode};
use super::operations::NetworkBackend;
use super::{Architecture, Weights};
use crate::error::{Error, Result};

/// Where norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// Convolution, norm, ReLU, twice; upwards a 3×3 convolution, norm, ReLU.
    AfterEach,
    /// Convolution, ReLU, twice, and one norm after both; upwards a 2×2 convolution, ReLU, norm.
    AfterBoth,
}

/// Stages of the deepest network.
pub const MOST_STAGES: usize = 8;

/// Everything that fixes the shape of such a network.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchArchitecture {
    /// 2 or 3.
    pub dimensions: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output classes.
    pub outputs: usize,
    /// Channels of each stage.
    pub features: Vec<usize>,
    /// Where norms stand.
    pub norms: NormPlacement,
}

impl BatchArchitecture {
    /// By how much each axis shrinks to the deepest stage.
    pub fn factor(&self) -> [usize; 3] {
        let factor = 1 << (self.features.len().clamp(1, MOST_STAGES) - 1);
        let along_z = if self.dimensions == 3 { factor } else { 1 };
        [along_z, factor, factor]
    }

    fn stride(&self) -> [usize; 3] {
        [if self.dimensions == 3 { 2 } else { 1 }, 2, 2]
    }

    fn layers(&self) -> Architecture {
        Architecture::of_layers(self.dimensions)
    }
}

/// Two convolutions with their norms.
#[derive(Module, Debug)]
struct Pair<B: NetworkBackend> {
    convs: Vec<Convolution<B>>,
    norms: Vec<BatchNorm<B>>,
}

impl<B: NetworkBackend> Pair<B> {
    fn new(
        whole: &BatchArchitecture,
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        device: &B::Device,
    ) -> Result<Self> {
        let kernel = [if whole.dimensions == 3 { 3 } else { 1 }, 3, 3];
        let mut convs = vec![];
        for (number, inputs) in [(1, inputs), (2, outputs)] {
            convs.push(Convolution::new(
                &whole.layers(),
                weights,
                &format!("{name}.conv{number}"),
                [inputs, outputs],
                kernel,
                [1; 3],
                true,
                device,
            )?);
        }
        let count = match whole.norms {
            NormPlacement::AfterEach => 2,
            NormPlacement::AfterBoth => 1,
        };
        let norms = (1..=count).map(|number| {
            let name = format!("{name}.norm{number}");
            BatchNorm::new(weights, &name, outputs, EPSILON, device)
        });
        Ok(Self {
            convs,
            norms: norms.collect::<Result<_>>()?,
        })
    }

    fn forward(&self, mut x: Tensor<B, 5>, mode: Mode<'_>) -> Tensor<B, 5> {
        if self.norms.len() == self.convs.len() {
            for (conv, norm) in self.convs.iter().zip(&self.norms) {
                x = norm.forward_relu(conv.forward(x), mode);
            }
            return x;
        }
        for conv in &self.convs {
            x = relu(conv.forward(x));
        }
        self.norms.iter().fold(x, |x, norm| norm.forward(x, mode))
    }
}

/// A 2×2 convolution, zeros put behind only, as Keras pads even kernels.
#[derive(Module, Debug)]
struct EvenConvolution<B: NetworkBackend> {
    weight: burn::module::Param<Tensor<B, 5>>,
    bias: burn::module::Param<Tensor<B, 1>>,
}

impl<B: NetworkBackend> EvenConvolution<B> {
    fn new(
        whole: &BatchArchitecture,
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        device: &B::Device,
    ) -> Result<Self> {
        let [kz, ky, kx] = whole.stride();
        let stored = whole.layers().stored_shape([outputs, inputs], [kz, ky, kx]);
        let shape = [outputs, inputs, kz, ky, kx];
        Ok(Self {
            weight: parameter(weights, &format!("{name}.weight"), &stored, shape, device)?,
            bias: parameter(
                weights,
                &format!("{name}.bias"),
                &[outputs],
                [outputs],
                device,
            )?,
        })
    }

    fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        // The same as a kernel of three with zeros in front.
        let mut weight = self.weight.val();
        for axis in 2..5 {
            let mut dims = weight.dims();
            if dims[axis] == 2 {
                dims[axis] = 1;
                let zeros = Tensor::zeros(dims, &weight.device());
                weight = Tensor::cat(vec![zeros, weight], axis);
            }
        }
        B::convolve(x, weight, Some(self.bias.val()), [1; 3])
    }
}

// A module cannot be boxed, and a network has a handful.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Upward<B: NetworkBackend> {
    Odd(Convolution<B>),
    Even(EvenConvolution<B>),
}

#[derive(Module, Debug)]
struct Step<B: NetworkBackend> {
    upward: Upward<B>,
    norm: BatchNorm<B>,
    pair: Pair<B>,
}

/// A U-Net with batch norms.
#[derive(Module, Debug)]
pub struct BatchUNet<B: NetworkBackend> {
    encoder: Vec<Pair<B>>,
    /// Deepest first.
    decoder: Vec<Step<B>>,
    head: Convolution<B>,
    stride: [usize; 3],
}

impl<B: NetworkBackend> BatchUNet<B> {
    /// A network of that shape, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] when a parameter is missing or has another shape, [`Error::Parameter`] for a shape that cannot be.
    pub fn new(
        whole: &BatchArchitecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let features = &whole.features;
        if !(2..=MOST_STAGES).contains(&features.len())
            || features.iter().any(|n| !(1..=4096).contains(n))
            || !(2..=3).contains(&whole.dimensions)
        {
            return Err(Error::Parameter(format!(
                "features {features:?} in {} dimensions; two to {MOST_STAGES} stages of 1 to 4096 in 2 or 3 are possible",
                whole.dimensions
            )));
        }
        let encoder = (0..features.len()).map(|stage| {
            let inputs = match stage {
                0 => whole.inputs,
                stage => features[stage - 1],
            };
            let name = format!("encoder.{stage}");
            Pair::new(whole, weights, &name, [inputs, features[stage]], device)
        });
        let encoder = encoder.collect::<Result<_>>()?;
        let decoder = (0..features.len() - 1).rev().map(|stage| {
            let [below, here] = [features[stage + 1], features[stage]];
            let name = format!("decoder.{stage}");
            let own = format!("{name}.up");
            let upward = match whole.norms {
                NormPlacement::AfterEach => Upward::Odd(Convolution::new(
                    &whole.layers(),
                    weights,
                    &own,
                    [below, here],
                    [if whole.dimensions == 3 { 3 } else { 1 }, 3, 3],
                    [1; 3],
                    true,
                    device,
                )?),
                NormPlacement::AfterBoth => {
                    let channels = [below, here];
                    Upward::Even(EvenConvolution::new(
                        whole, weights, &own, channels, device,
                    )?)
                }
            };
            let norm = format!("{name}.up_norm");
            Ok(Step {
                upward,
                norm: BatchNorm::new(weights, &norm, here, EPSILON, device)?,
                pair: Pair::new(whole, weights, &name, [2 * here, here], device)?,
            })
        });
        let decoder = decoder.collect::<Result<_>>()?;
        let head = Convolution::new(
            &whole.layers(),
            weights,
            "head",
            [features[0], whole.outputs],
            [1; 3],
            [1; 3],
            true,
            device,
        )?;
        Ok(Self {
            encoder,
            decoder,
            head,
            stride: whole.stride(),
        })
    }

    /// Logits of a batch (batch, channel, z, y, x) whose lengths are multiples of [`BatchArchitecture::factor`].
    pub fn forward(&self, x: Tensor<B, 5>, mode: Mode<'_>) -> Tensor<B, 5> {
        let mut x = x;
        let mut skips = vec![];
        for (stage, pair) in self.encoder.iter().enumerate() {
            if stage > 0 {
                skips.push(x.clone());
                x = pooled(x, self.stride);
            }
            x = pair.forward(x, mode);
        }
        for step in &self.decoder {
            x = repeated(x, self.stride);
            x = match &step.upward {
                Upward::Odd(conv) => step.norm.forward_relu(conv.forward(x), mode),
                Upward::Even(conv) => step.norm.forward(relu(conv.forward(x)), mode),
            };
            if let Some(skip) = skips.pop() {
                x = B::join(skip, x);
            }
            x = step.pair.forward(x, mode);
        }
        self.head.forward(x)
    }
}

/// The largest of every block of `stride` voxels.
pub fn pooled<B: Backend>(mut x: Tensor<B, 5>, stride: [usize; 3]) -> Tensor<B, 5> {
    for axis in (0..3).rev() {
        if stride[axis] == 1 {
            continue;
        }
        let mut dims = x.dims();
        dims[axis + 2] /= stride[axis];
        // Rows of what lies before the axis, its blocks, their voxels, what lies behind.
        let before: usize = dims[..axis + 3].iter().product();
        let behind: usize = dims[axis + 3..].iter().product();
        let blocks: Tensor<B, 3> = x.reshape([before, stride[axis], behind]);
        x = blocks.max_dim(1).reshape(dims);
    }
    x
}

/// Every voxel `stride` times along each axis.
fn repeated<B: Backend>(mut x: Tensor<B, 5>, stride: [usize; 3]) -> Tensor<B, 5> {
    for axis in 0..3 {
        if stride[axis] == 1 {
            continue;
        }
        let mut dims = x.dims();
        let before: usize = dims[..axis + 3].iter().product();
        let behind: usize = dims[axis + 3..].iter().product();
        let once: Tensor<B, 3> = x.reshape([before, 1, behind]);
        dims[axis + 2] *= stride[axis];
        x = once.expand([before, stride[axis], behind]).reshape(dims);
    }
    x
}
