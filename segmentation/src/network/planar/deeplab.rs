//! DeepLabV3 and V3+: parallel convolutions of several dilations over the deepest features.

use burn::module::Module;
use burn::tensor::Tensor;

use super::super::mode::{BatchNorm, EPSILON, Mode, dropped};
use super::super::operations::NetworkBackend;
use super::super::weights::Weights;
use super::layers::{Conv, ConvNorm, enlarged};
use crate::error::Result;

/// Channels of the decoder.
pub const CHANNELS: usize = 256;
/// Dilations of the three wide convolutions.
const RATES: [usize; 3] = [12, 24, 36];
/// Part of the pyramid's result that is dropped while learning.
const DROPPED: f64 = 0.5;

/// A convolution of each channel by itself, then one across channels.
#[derive(Module, Debug)]
struct Separable<B: NetworkBackend> {
    depthwise: Conv<B>,
    pointwise: Conv<B>,
}

impl<B: NetworkBackend> Separable<B> {
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        dilation: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let depthwise = Conv::depthwise(weights, &format!("{name}.0"), inputs, 3, device)?;
        Ok(Self {
            depthwise: depthwise.with_dilation(dilation),
            pointwise: Conv::new(weights, &format!("{name}.1"), [inputs, outputs], 1, device)?,
        })
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.pointwise.forward(self.depthwise.forward(x))
    }
}

#[derive(Module, Debug)]
struct SeparableNorm<B: NetworkBackend> {
    conv: Separable<B>,
    norm: BatchNorm<B>,
}

impl<B: NetworkBackend> SeparableNorm<B> {
    /// Takes `name.0.*` and `name.1.*`.
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        channels: [usize; 2],
        dilation: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let conv = Separable::new(weights, &format!("{name}.0"), channels, dilation, device)?;
        Ok(Self {
            conv,
            norm: BatchNorm::new(weights, &format!("{name}.1"), channels[1], EPSILON, device)?,
        })
    }

    fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        self.norm.forward_relu(self.conv.forward(x), mode)
    }
}

// A module cannot be boxed, and there is one of each in a network.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Wide<B: NetworkBackend> {
    Whole(ConvNorm<B>),
    Separable(SeparableNorm<B>),
}

/// Atrous spatial pyramid pooling.
#[derive(Module, Debug)]
struct Pyramid<B: NetworkBackend> {
    narrow: ConvNorm<B>,
    wide: Vec<Wide<B>>,
    pooled: Conv<B>,
    pooled_norm: BatchNorm<B>,
    project: ConvNorm<B>,
}

impl<B: NetworkBackend> Pyramid<B> {
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        inputs: usize,
        separable: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let channels = [inputs, CHANNELS];
        let narrow = ConvNorm::new(weights, &format!("{name}.convs.0"), channels, 1, device)?;
        let wide = (1..).zip(RATES).map(|(number, rate)| {
            let name = format!("{name}.convs.{number}");
            Ok(match separable {
                true => {
                    Wide::Separable(SeparableNorm::new(weights, &name, channels, rate, device)?)
                }
                false => Wide::Whole(
                    ConvNorm::new(weights, &name, channels, 3, device)?.with_dilation(rate),
                ),
            })
        });
        let wide = wide.collect::<Result<_>>()?;
        let own = format!("{name}.convs.4");
        let pooled = Conv::new(weights, &format!("{own}.1"), channels, 1, device)?;
        let pooled_norm = BatchNorm::new(weights, &format!("{own}.2"), CHANNELS, EPSILON, device)?;
        let project = format!("{name}.project");
        let project = ConvNorm::new(weights, &project, [5 * CHANNELS, CHANNELS], 1, device)?;
        Ok(Self {
            narrow,
            wide,
            pooled,
            pooled_norm,
            project,
        })
    }

    fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        let [batch, _, height, width] = x.dims();
        let mut parts = vec![self.narrow.forward(x.clone(), mode)];
        for wide in &self.wide {
            parts.push(match wide {
                Wide::Whole(conv) => conv.forward(x.clone(), mode),
                Wide::Separable(conv) => conv.forward(x.clone(), mode),
            });
        }
        let mean = x.mean_dim(2).mean_dim(3);
        let pooled = self.pooled.forward(mean);
        let pooled = self.pooled_norm.forward_relu(pooled, mode);
        parts.push(pooled.expand([batch, CHANNELS, height, width]));
        dropped(
            self.project.forward(Tensor::cat(parts, 1), mode),
            DROPPED,
            mode,
        )
    }
}

/// DeepLabV3's decoder, at an eighth of the input.
#[derive(Module, Debug)]
pub struct DeepLab<B: NetworkBackend> {
    pyramid: Pyramid<B>,
    conv: Conv<B>,
    norm: BatchNorm<B>,
}

impl<B: NetworkBackend> DeepLab<B> {
    pub fn new(inputs: usize, weights: &mut dyn Weights, device: &B::Device) -> Result<Self> {
        Ok(Self {
            pyramid: Pyramid::new(weights, "decoder.aspp", inputs, false, device)?,
            conv: Conv::new(weights, "decoder.conv", [CHANNELS; 2], 3, device)?,
            norm: BatchNorm::new(weights, "decoder.bn", CHANNELS, EPSILON, device)?,
        })
    }

    pub fn forward(&self, mut features: Vec<Tensor<B, 4>>, mode: Mode<'_>) -> Tensor<B, 4> {
        let x = self.pyramid.forward(features.swap_remove(4), mode);
        self.norm.forward_relu(self.conv.forward(x), mode)
    }
}

/// Channels that DeepLabV3+ keeps of the features at a quarter of the input.
const FINE: usize = 48;

/// DeepLabV3+'s decoder, at a quarter of the input.
#[derive(Module, Debug)]
pub struct DeepLabPlus<B: NetworkBackend> {
    pyramid: Pyramid<B>,
    conv: Separable<B>,
    norm: BatchNorm<B>,
    fine: ConvNorm<B>,
    joined: SeparableNorm<B>,
}

impl<B: NetworkBackend> DeepLabPlus<B> {
    /// Channels of the features at a quarter of the input, and of the deepest.
    pub fn new(
        [fine, deep]: [usize; 2],
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let joined = [CHANNELS + FINE, CHANNELS];
        Ok(Self {
            pyramid: Pyramid::new(weights, "decoder.aspp.0", deep, true, device)?,
            conv: Separable::new(weights, "decoder.aspp.1", [CHANNELS; 2], 1, device)?,
            norm: BatchNorm::new(weights, "decoder.aspp.2", CHANNELS, EPSILON, device)?,
            fine: ConvNorm::new(weights, "decoder.block1", [fine, FINE], 1, device)?,
            joined: SeparableNorm::new(weights, "decoder.block2", joined, 1, device)?,
        })
    }

    pub fn forward(&self, features: Vec<Tensor<B, 4>>, mode: Mode<'_>) -> Tensor<B, 4> {
        let deep = self.pyramid.forward(features[4].clone(), mode);
        let deep = self.norm.forward_relu(self.conv.forward(deep), mode);
        let fine = self.fine.forward(features[1].clone(), mode);
        let joined = Tensor::cat(vec![enlarged(deep, 4), fine], 1);
        self.joined.forward(joined, mode)
    }
}
