//! The network of seven layers that says what the middle of three small patches is (Hallyburton et al.).
//!
//! The abstract gives 3×3 convolutions, pooling, dropout and fully connected layers, seven with weights, and no numbers of channels:
//! taken here as 32, 32, pool, 64, 64, pool, 256, 256, classes.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::batch_unet::pooled;
use super::block::{Convolution, parameter};
use super::mode::{Mode, dropped};
use super::operations::NetworkBackend;
use super::{Architecture, Weights};
use crate::error::{Error, Result};

/// Everything that fixes the shape of such a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchArchitecture {
    /// Pixels along each side of a patch.
    pub side: usize,
    /// Patches, one channel each.
    pub inputs: usize,
    /// Output classes.
    pub outputs: usize,
    /// Channels of the first two convolutions; twice that of the others, eight times that between the fully connected layers.
    pub features: usize,
}

/// Part of the units that are dropped while learning.
const DROPPED: f64 = 0.5;

#[derive(Module, Debug)]
struct Connected<B: NetworkBackend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: NetworkBackend> Connected<B> {
    fn new(
        weights: &mut dyn Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        device: &B::Device,
    ) -> Result<Self> {
        let shape = [outputs, inputs];
        Ok(Self {
            weight: parameter(weights, &format!("{name}.weight"), &shape, shape, device)?,
            bias: parameter(
                weights,
                &format!("{name}.bias"),
                &[outputs],
                [outputs],
                device,
            )?,
        })
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let outputs = self.bias.dims()[0];
        x.matmul(self.weight.val().transpose()) + self.bias.val().reshape([1, outputs])
    }
}

/// A network for patches.
#[derive(Module, Debug)]
pub struct PatchNetwork<B: NetworkBackend> {
    convs: Vec<Convolution<B>>,
    connected: Vec<Connected<B>>,
}

impl<B: NetworkBackend> PatchNetwork<B> {
    /// A network of that shape, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] when a parameter is missing or has another shape, [`Error::Parameter`] for a side that is no multiple of four.
    pub fn new(
        whole: &PatchArchitecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let PatchArchitecture {
            side,
            inputs,
            outputs,
            features,
        } = *whole;
        if !side.is_multiple_of(4) || side == 0 || features == 0 {
            return Err(Error::Parameter(format!(
                "patches of {side} pixels, {features} features; sides are multiples of four"
            )));
        }
        let layers = Architecture::of_layers(2);
        let wide = 2 * features;
        let channels = [
            [inputs, features],
            [features, features],
            [features, wide],
            [wide, wide],
        ];
        let convs = (1..).zip(channels).map(|(number, channels)| {
            let name = format!("conv{number}");
            let kernel = [1, 3, 3];
            Convolution::new(
                &layers, weights, &name, channels, kernel, [1; 3], true, device,
            )
        });
        let convs = convs.collect::<Result<_>>()?;
        let flat = wide * (side / 4) * (side / 4);
        let between = 8 * features;
        let channels = [[flat, between], [between, between], [between, outputs]];
        let connected = (1..).zip(channels).map(|(number, channels)| {
            Connected::new(weights, &format!("connected{number}"), channels, device)
        });
        Ok(Self {
            convs,
            connected: connected.collect::<Result<_>>()?,
        })
    }

    /// Logits (batch, class, 1, 1, 1) of patches (batch, channel, 1, y, x).
    pub fn forward(&self, x: Tensor<B, 5>, mode: Mode<'_>) -> Tensor<B, 5> {
        let mut x = x;
        for (index, conv) in self.convs.iter().enumerate() {
            x = relu(conv.forward(x));
            if index % 2 == 1 {
                x = pooled(x, [1, 2, 2]);
            }
        }
        let batch = x.dims()[0];
        let mut x: Tensor<B, 2> = x.flatten::<2>(1, 4);
        let last = self.connected.len() - 1;
        for (index, layer) in self.connected.iter().enumerate() {
            x = layer.forward(x);
            if index < last {
                x = dropped(relu(x), DROPPED, mode);
            }
        }
        let outputs = x.dims()[1];
        x.reshape([batch, outputs, 1, 1, 1])
    }
}
