//! The encoder of residual blocks (`ResidualEncoder` with basic blocks).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;
use burn::tensor::backend::Backend;

use super::block::{ConvolutionNorm, Convolutions, SLOPE};
use super::operations::NetworkBackend;
use super::{Architecture, Weights};
use crate::error::Result;

/// Two convolutions beside a shortcut, which is averaged over the stride and projected where the channels change.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    conv1: ConvolutionNorm<B>,
    conv2: ConvolutionNorm<B>,
    projection: Option<ConvolutionNorm<B>>,
    stride: [usize; 3],
}

impl<B: NetworkBackend> Block<B> {
    fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 3],
        stride: [usize; 3],
        device: &B::Device,
    ) -> Result<Self> {
        let [inputs, outputs] = channels;
        let mut conv = |part: &str, channels, kernel, stride, bias| {
            ConvolutionNorm::new(
                architecture,
                weights,
                &format!("{name}.{part}"),
                channels,
                kernel,
                stride,
                bias,
                device,
            )
        };
        let bias = architecture.bias;
        Ok(Self {
            conv1: conv("conv1", channels, kernel, stride, bias)?,
            conv2: conv("conv2", [outputs, outputs], kernel, [1; 3], bias)?,
            projection: match inputs == outputs {
                true => None,
                false => {
                    // Behind the average, where there is one.
                    let index = usize::from(stride != [1; 3]);
                    Some(conv(
                        &format!("skip.{index}"),
                        channels,
                        [1; 3],
                        [1; 3],
                        false,
                    )?)
                }
            },
            stride,
        })
    }

    fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let averaged = average(x.clone(), self.stride);
        let shortcut = match &self.projection {
            Some(projection) => projection.linear(averaged),
            None => averaged,
        };
        let main = self.conv2.linear(self.conv1.forward(x));
        leaky_relu(main + shortcut, f64::from(SLOPE))
    }
}

/// The mean over blocks of `stride` voxels; what does not fill a block is left out.
fn average<B: Backend>(x: Tensor<B, 5>, stride: [usize; 3]) -> Tensor<B, 5> {
    if stride == [1; 3] {
        return x;
    }
    let [batch, channels, z, y, w] = x.dims();
    let [sz, sy, sx] = stride;
    let [nz, ny, nx] = [z / sz, y / sy, w / sx];
    x.slice([0..batch, 0..channels, 0..nz * sz, 0..ny * sy, 0..nx * sx])
        .reshape([batch * channels * nz, sz, ny, sy, nx, sx])
        .mean_dim(5)
        .mean_dim(3)
        .mean_dim(1)
        .reshape([batch, channels, nz, ny, nx])
}

#[derive(Module, Debug)]
struct Stage<B: Backend> {
    blocks: Vec<Block<B>>,
}

/// A stem of one convolution and stages of residual blocks.
#[derive(Module, Debug)]
pub struct ResidualEncoder<B: Backend> {
    stem: Convolutions<B>,
    stages: Vec<Stage<B>>,
}

impl<B: NetworkBackend> ResidualEncoder<B> {
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let features = &architecture.features;
        let stem = Convolutions::new(
            architecture,
            weights,
            "encoder.stem",
            [architecture.inputs, features[0]],
            architecture.kernels[0],
            [1; 3],
            1,
            device,
        )?;
        let stages = (0..features.len()).map(|stage| {
            let blocks = (0..architecture.encoder[stage]).map(|block| {
                let (inputs, stride) = match (block, stage) {
                    (0, 0) => (features[0], architecture.strides[0]),
                    (0, stage) => (features[stage - 1], architecture.strides[stage]),
                    _ => (features[stage], [1; 3]),
                };
                Block::new(
                    architecture,
                    weights,
                    &format!("encoder.stages.{stage}.blocks.{block}"),
                    [inputs, features[stage]],
                    architecture.kernels[stage],
                    stride,
                    device,
                )
            });
            Ok(Stage {
                blocks: blocks.collect::<Result<_>>()?,
            })
        });
        Ok(Self {
            stem,
            stages: stages.collect::<Result<_>>()?,
        })
    }

    /// The output of every stage, first to deepest.
    pub fn forward(&self, x: Tensor<B, 5>) -> Vec<Tensor<B, 5>> {
        let mut x = self.stem.forward(x);
        let mut out = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x));
            out.push(x.clone());
        }
        out
    }
}
