//! Networks for single slices, with encoders that ImageNet weights exist for: those of Pivi et al.
//!
//! Names and shapes of parameters are those of segmentation_models.pytorch 0.6. What the paper calls a DeepLabV3 encoder is, in its
//! published code, MobileNetV3-Large; the real DeepLabV3 and V3+ are here as well.

mod decoder;
mod deeplab;
mod layers;
mod mobilenet;
mod resnet;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use self::decoder::{NestedDecoder, PlainDecoder};
use self::deeplab::{DeepLab, DeepLabPlus};
use self::layers::Conv;
use self::mobilenet::MobileNet;
use self::resnet::ResNet;
use super::Weights;
use super::mode::Mode;
use super::operations::NetworkBackend;
use crate::error::Result;

/// The encoder of a slice network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// ResNet-34 (He et al. 2016).
    ResNet34,
    /// ResNet-50.
    ResNet50,
    /// MobileNetV3-Large as ported from TensorFlow (Howard et al. 2019).
    MobileNetV3Large,
}

/// What follows the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// U-Net (Ronneberger et al. 2015).
    UNet,
    /// U-Net++ (Zhou et al. 2018).
    UNetPlusPlus,
    /// DeepLabV3 (Chen et al. 2017); a ResNet encoder only.
    DeepLabV3,
    /// DeepLabV3+ (Chen et al. 2018); a ResNet encoder only.
    DeepLabV3Plus,
}

/// Everything that fixes the shape of a slice network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanarArchitecture {
    /// Its encoder.
    pub encoder: EncoderKind,
    /// Its decoder.
    pub decoder: DecoderKind,
    /// Input channels.
    pub inputs: usize,
    /// Output classes.
    pub outputs: usize,
}

// A module cannot be boxed, and there is one of each in a network.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Encoder<B: NetworkBackend> {
    ResNet(ResNet<B>),
    MobileNet(MobileNet<B>),
}

// A module cannot be boxed, and there is one of each in a network.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Decoder<B: NetworkBackend> {
    Plain(PlainDecoder<B>),
    Nested(NestedDecoder<B>),
    DeepLab(DeepLab<B>),
    DeepLabPlus(DeepLabPlus<B>),
}

/// A network for slices.
#[derive(Module, Debug)]
pub struct PlanarNetwork<B: NetworkBackend> {
    encoder: Encoder<B>,
    decoder: Decoder<B>,
    head: Conv<B>,
}

impl<B: NetworkBackend> PlanarNetwork<B> {
    /// A network of that shape, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] when a parameter is missing or has another shape, [`crate::Error::Parameter`] for a DeepLab on another
    /// encoder than a ResNet.
    pub fn new(
        architecture: &PlanarArchitecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let dilations = match architecture.decoder {
            DecoderKind::DeepLabV3 => [1, 2, 4],
            DecoderKind::DeepLabV3Plus => [1, 1, 2],
            _ => [1, 1, 1],
        };
        let inputs = architecture.inputs;
        let (encoder, channels) = match architecture.encoder {
            EncoderKind::MobileNetV3Large => {
                if dilations != [1; 3] {
                    return Err(crate::Error::Parameter(
                        "DeepLabV3 and V3+ stand on ResNet34 or ResNet50".into(),
                    ));
                }
                let encoder = MobileNet::new(inputs, weights, device)?;
                (Encoder::MobileNet(encoder), mobilenet::CHANNELS)
            }
            kind => {
                let deep = kind == EncoderKind::ResNet50;
                let encoder = ResNet::new(inputs, deep, dilations, weights, device)?;
                (Encoder::ResNet(encoder), resnet::channels(deep))
            }
        };
        let (decoder, features, kernel) = match architecture.decoder {
            DecoderKind::UNet => {
                let decoder = PlainDecoder::new(channels, weights, device)?;
                (Decoder::Plain(decoder), decoder::CHANNELS[4], 3)
            }
            DecoderKind::UNetPlusPlus => {
                let decoder = NestedDecoder::new(channels, weights, device)?;
                (Decoder::Nested(decoder), decoder::CHANNELS[4], 3)
            }
            DecoderKind::DeepLabV3 => {
                let decoder = DeepLab::new(channels[4], weights, device)?;
                (Decoder::DeepLab(decoder), deeplab::CHANNELS, 1)
            }
            DecoderKind::DeepLabV3Plus => {
                let decoder = DeepLabPlus::new([channels[1], channels[4]], weights, device)?;
                (Decoder::DeepLabPlus(decoder), deeplab::CHANNELS, 1)
            }
        };
        let head = Conv::new(
            weights,
            "segmentation_head.0",
            [features, architecture.outputs],
            kernel,
            device,
        )?;
        Ok(Self {
            encoder,
            decoder,
            head: head.with_bias(weights, "segmentation_head.0", device)?,
        })
    }

    /// Logits (batch, class, y, x) of slices (batch, channel, y, x) whose sides are multiples of 32.
    pub fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        let features = match &self.encoder {
            Encoder::ResNet(encoder) => encoder.forward(x, mode),
            Encoder::MobileNet(encoder) => encoder.forward(x, mode),
        };
        let (decoded, factor) = match &self.decoder {
            Decoder::Plain(decoder) => (decoder.forward(features, mode), 1),
            Decoder::Nested(decoder) => (decoder.forward(features, mode), 1),
            Decoder::DeepLab(decoder) => (decoder.forward(features, mode), 8),
            Decoder::DeepLabPlus(decoder) => (decoder.forward(features, mode), 4),
        };
        let logits = self.head.forward(decoded);
        match factor {
            1 => logits,
            factor => layers::enlarged(logits, factor),
        }
    }
}
