//! ResNet-34 and ResNet-50, their strides replaced by dilation where a DeepLab asks for it.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;

use super::super::mode::{BatchNorm, EPSILON, Mode};
use super::super::operations::NetworkBackend;
use super::super::weights::Weights;
use super::layers::Conv;
use crate::error::Result;

/// Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input.
pub fn channels(deep: bool) -> [usize; 5] {
    if deep {
        [64, 256, 512, 1024, 2048]
    } else {
        [64, 64, 128, 256, 512]
    }
}

/// Blocks of each layer.
const BLOCKS: [usize; 4] = [3, 4, 6, 3];

#[derive(Module, Debug)]
struct Block<B: NetworkBackend> {
    convs: Vec<Conv<B>>,
    norms: Vec<BatchNorm<B>>,
    shortcut: Option<Conv<B>>,
    shortcut_norm: Option<BatchNorm<B>>,
}

impl<B: NetworkBackend> Block<B> {
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        deep: bool,
        stride: usize,
        dilation: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let inner = if deep { outputs / 4 } else { outputs };
        // Kernel and channels of each convolution; the first of kernel 3 carries the stride.
        let shapes: &[(usize, [usize; 2])] = if deep {
            &[
                (1, [inputs, inner]),
                (3, [inner, inner]),
                (1, [inner, outputs]),
            ]
        } else {
            &[(3, [inputs, inner]), (3, [inner, outputs])]
        };
        let strided = if deep { 1 } else { 0 };
        let mut convs = vec![];
        let mut norms = vec![];
        for (index, &(kernel, channels)) in shapes.iter().enumerate() {
            let number = index + 1;
            let conv = Conv::new(
                weights,
                &format!("{name}.conv{number}"),
                channels,
                kernel,
                device,
            )?;
            convs.push(
                conv.with_stride(if index == strided { stride } else { 1 })
                    .with_dilation(dilation),
            );
            let norm = format!("{name}.bn{number}");
            norms.push(BatchNorm::new(
                weights,
                &norm,
                channels[1],
                EPSILON,
                device,
            )?);
        }
        let projected = stride != 1 || inputs != outputs;
        let (mut shortcut, mut shortcut_norm) = (None, None);
        if projected {
            let own = format!("{name}.downsample");
            let conv = Conv::new(weights, &format!("{own}.0"), [inputs, outputs], 1, device)?;
            shortcut = Some(conv.with_stride(stride));
            let norm = BatchNorm::new(weights, &format!("{own}.1"), outputs, EPSILON, device)?;
            shortcut_norm = Some(norm);
        }
        Ok(Self {
            convs,
            norms,
            shortcut,
            shortcut_norm,
        })
    }

    fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        let beside = match (&self.shortcut, &self.shortcut_norm) {
            (Some(conv), Some(norm)) => norm.forward(conv.forward(x.clone()), mode),
            _ => x.clone(),
        };
        let last = self.convs.len() - 1;
        let mut y = x;
        for (index, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            let convolved = conv.forward(y);
            y = match index < last {
                true => norm.forward_relu(convolved, mode),
                false => norm.forward(convolved, mode),
            };
        }
        relu(y + beside)
    }
}

#[derive(Module, Debug)]
struct Layer<B: NetworkBackend> {
    blocks: Vec<Block<B>>,
}

/// A ResNet without its classifier.
#[derive(Module, Debug)]
pub struct ResNet<B: NetworkBackend> {
    stem: Conv<B>,
    stem_norm: BatchNorm<B>,
    layers: Vec<Layer<B>>,
}

impl<B: NetworkBackend> ResNet<B> {
    /// `dilations` are those of the last three layers; a dilated layer has no stride.
    pub fn new(
        inputs: usize,
        deep: bool,
        dilations: [usize; 3],
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let channels = channels(deep);
        let stem = Conv::new(weights, "encoder.conv1", [inputs, 64], 7, device)?.with_stride(2);
        let stem_norm = BatchNorm::new(weights, "encoder.bn1", 64, EPSILON, device)?;
        let layers = (0..4).map(|layer| {
            let outputs = channels[layer + 1];
            let before = if layer == 0 { 64 } else { channels[layer] };
            let dilation = if layer == 0 { 1 } else { dilations[layer - 1] };
            let blocks = (0..BLOCKS[layer]).map(|block| {
                let first = block == 0;
                // A projection is there wherever the undilated layer has one: the parameters are the same.
                let stride = if first && layer > 0 && dilation == 1 {
                    2
                } else {
                    1
                };
                Block::new(
                    weights,
                    &format!("encoder.layer{}.{block}", layer + 1),
                    [if first { before } else { outputs }, outputs],
                    deep,
                    stride,
                    dilation,
                    device,
                )
            });
            Ok(Layer {
                blocks: blocks.collect::<Result<_>>()?,
            })
        });
        Ok(Self {
            stem,
            stem_norm,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Features of the five resolutions, finest first.
    pub fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Vec<Tensor<B, 4>> {
        let first = self.stem_norm.forward_relu(self.stem.forward(x), mode);
        let mut x = max_pool2d(first.clone(), [3; 2], [2; 2], [1; 2], [1; 2], false);
        let mut features = vec![first];
        for layer in &self.layers {
            x = layer
                .blocks
                .iter()
                .fold(x, |x, block| block.forward(x, mode));
            features.push(x.clone());
        }
        features
    }
}
