//! The decoders of U-Net and U-Net++.

use burn::module::Module;
use burn::tensor::Tensor;

use super::super::mode::Mode;
use super::super::operations::NetworkBackend;
use super::super::weights::Weights;
use super::layers::{ConvNorm, doubled};
use crate::error::Result;

/// Channels after each step up.
pub const CHANNELS: [usize; 5] = [256, 128, 64, 32, 16];

/// Double, join, convolve twice.
#[derive(Module, Debug)]
struct Block<B: NetworkBackend> {
    conv1: ConvNorm<B>,
    conv2: ConvNorm<B>,
}

impl<B: NetworkBackend> Block<B> {
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        device: &B::Device,
    ) -> Result<Self> {
        let conv1 = ConvNorm::new(
            weights,
            &format!("{name}.conv1"),
            [inputs, outputs],
            3,
            device,
        )?;
        let conv2 = ConvNorm::new(weights, &format!("{name}.conv2"), [outputs; 2], 3, device)?;
        Ok(Self { conv1, conv2 })
    }

    fn forward(&self, x: Tensor<B, 4>, skips: Vec<Tensor<B, 4>>, mode: Mode<'_>) -> Tensor<B, 4> {
        let mut joined = vec![doubled(x)];
        joined.extend(skips);
        let first = self.conv1.forward(Tensor::cat(joined, 1), mode);
        self.conv2.forward(first, mode)
    }
}

/// U-Net's decoder.
#[derive(Module, Debug)]
pub struct PlainDecoder<B: NetworkBackend> {
    blocks: Vec<Block<B>>,
}

impl<B: NetworkBackend> PlainDecoder<B> {
    /// `encoder` are the channels of the features, finest first.
    pub fn new(encoder: [usize; 5], weights: &mut dyn Weights, device: &B::Device) -> Result<Self> {
        let blocks = (0..5).map(|step| {
            let below = if step == 0 {
                encoder[4]
            } else {
                CHANNELS[step - 1]
            };
            let skip = if step < 4 { encoder[3 - step] } else { 0 };
            let name = format!("decoder.blocks.{step}");
            Block::new(weights, &name, [below + skip, CHANNELS[step]], device)
        });
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
        })
    }

    /// Features at full resolution.
    pub fn forward(&self, mut features: Vec<Tensor<B, 4>>, mode: Mode<'_>) -> Tensor<B, 4> {
        let mut x = features.remove(4);
        for block in &self.blocks {
            x = block.forward(x, features.pop().into_iter().collect(), mode);
        }
        x
    }
}

/// U-Net++'s decoder: a node for every pair of resolutions, joined with all nodes of its own resolution before it.
#[derive(Module, Debug)]
pub struct NestedDecoder<B: NetworkBackend> {
    /// Node (depth, layer) with depth ≤ layer < 4 stands at `layer (layer + 1) / 2 + depth`; the last is (0, 4).
    nodes: Vec<Block<B>>,
}

impl<B: NetworkBackend> NestedDecoder<B> {
    /// `encoder` are the channels of the features, finest first.
    pub fn new(encoder: [usize; 5], weights: &mut dyn Weights, device: &B::Device) -> Result<Self> {
        let mut nodes = vec![];
        for layer in 0..4 {
            // Channels of the encoder at the node's resolution, and one below.
            let (here, below) = (encoder[3 - layer], encoder[4 - layer]);
            for depth in 0..=layer {
                let joined = here * (layer + 1 - depth);
                let (inputs, outputs) = match (depth, layer) {
                    (0, 0) => (encoder[4], CHANNELS[0]),
                    (0, layer) => (CHANNELS[layer - 1], CHANNELS[layer]),
                    _ => (below, here),
                };
                let name = format!("decoder.blocks.x_{depth}_{layer}");
                nodes.push(Block::new(
                    weights,
                    &name,
                    [inputs + joined, outputs],
                    device,
                )?);
            }
        }
        let last = "decoder.blocks.x_0_4";
        nodes.push(Block::new(
            weights,
            last,
            [CHANNELS[3], CHANNELS[4]],
            device,
        )?);
        Ok(Self { nodes })
    }

    /// Features at full resolution.
    pub fn forward(&self, mut features: Vec<Tensor<B, 4>>, mode: Mode<'_>) -> Tensor<B, 4> {
        features.reverse();
        let place = |depth: usize, layer: usize| layer * (layer + 1) / 2 + depth;
        let mut found: Vec<Option<Tensor<B, 4>>> = vec![None; self.nodes.len()];
        for distance in 0..4 {
            for depth in 0..4 - distance {
                let layer = depth + distance;
                let below = match distance {
                    0 => features[depth].clone(),
                    _ => match &found[place(depth, layer - 1)] {
                        Some(below) => below.clone(),
                        None => continue,
                    },
                };
                let nodes = (depth + 1..=layer).filter_map(|d| found[place(d, layer)].clone());
                let skips = nodes.chain([features[layer + 1].clone()]).collect();
                found[place(depth, layer)] =
                    Some(self.nodes[place(depth, layer)].forward(below, skips, mode));
            }
        }
        let last = self.nodes.len() - 1;
        match found.swap_remove(place(0, 3)) {
            Some(x) => self.nodes[last].forward(x, vec![], mode),
            None => features.swap_remove(4),
        }
    }
}
