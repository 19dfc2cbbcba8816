//! The U-Nets of nnU-Net v2: an encoder, and a decoder with a head at every resolution.
//!
//! Source: Isensee et al. 2021 and 2024; dynamic-network-architectures 0.4.4, whose parameter names are kept.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::block::{Convolution, Convolutions, Enlargement};
use super::operations::NetworkBackend;
use super::plain::PlainEncoder;
use super::residual::ResidualEncoder;
use super::{Architecture, Kind, Weights};
use crate::error::Result;

#[derive(Module, Debug)]
enum Encoder<B: Backend> {
    Plain(PlainEncoder<B>),
    Residual(ResidualEncoder<B>),
}

/// A step of the decoder: enlarge, join with the encoder's output of that size, convolve.
#[derive(Module, Debug)]
struct Step<B: Backend> {
    enlargement: Enlargement<B>,
    convolutions: Convolutions<B>,
    head: Convolution<B>,
}

/// A U-Net with a head at every resolution but the lowest.
#[derive(Module, Debug)]
pub struct UNet<B: Backend> {
    encoder: Encoder<B>,
    /// Deepest first.
    decoder: Vec<Step<B>>,
}

impl<B: NetworkBackend> UNet<B> {
    /// A network of that shape, its parameters taken from `weights` under the names of the original.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] when a parameter is missing or has another shape.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let encoder = match architecture.kind {
            Kind::Plain => Encoder::Plain(PlainEncoder::new(architecture, weights, device)?),
            Kind::ResidualEncoder => {
                Encoder::Residual(ResidualEncoder::new(architecture, weights, device)?)
            }
        };
        let stages = architecture.features.len();
        let decoder = (0..stages - 1).map(|step| {
            let from = stages - 1 - step;
            let [below, here] = [architecture.features[from], architecture.features[from - 1]];
            Ok(Step {
                enlargement: Enlargement::new(
                    architecture,
                    weights,
                    &format!("decoder.transpconvs.{step}"),
                    [below, here],
                    architecture.strides[from],
                    device,
                )?,
                convolutions: Convolutions::new(
                    architecture,
                    weights,
                    &format!("decoder.stages.{step}"),
                    [2 * here, here],
                    architecture.kernels[from - 1],
                    [1; 3],
                    architecture.decoder[step],
                    device,
                )?,
                head: Convolution::new(
                    architecture,
                    weights,
                    &format!("decoder.seg_layers.{step}"),
                    [here, architecture.outputs],
                    [1; 3],
                    [1; 3],
                    true,
                    device,
                )?,
            })
        });
        Ok(Self {
            encoder,
            decoder: decoder.collect::<Result<_>>()?,
        })
    }

    /// Logits at full resolution of a batch (batch, channel, z, y, x).
    pub fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let (x, last) = self.decode(x, |_, _| ());
        last.head.forward(x)
    }

    /// Logits at every resolution, full resolution first, as deep supervision trains them.
    pub fn forward_all(&self, x: Tensor<B, 5>) -> Vec<Tensor<B, 5>> {
        let mut heads = Vec::with_capacity(self.decoder.len());
        self.decode(x, |step, x| heads.push(step.head.forward(x.clone())));
        heads.reverse();
        heads
    }

    fn decode(
        &self,
        x: Tensor<B, 5>,
        mut each: impl FnMut(&Step<B>, &Tensor<B, 5>),
    ) -> (Tensor<B, 5>, &Step<B>) {
        let mut skips = match &self.encoder {
            Encoder::Plain(encoder) => encoder.forward(x.clone()),
            Encoder::Residual(encoder) => encoder.forward(x.clone()),
        };
        let mut x = skips.pop().unwrap_or(x);
        for step in &self.decoder {
            let enlarged = step.enlargement.forward(x);
            let joined = match skips.pop() {
                Some(skip) => B::join(enlarged, skip),
                None => enlarged,
            };
            x = step.convolutions.forward(joined);
            each(step, &x);
        }
        (x, &self.decoder[self.decoder.len() - 1])
    }
}
