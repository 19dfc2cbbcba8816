//! The networks: their shapes, their parameters by name, and one interface to run them on any device.
//!
//! All are written for five axes (batch, channel, z, y, x); a 2D network is one whose kernels and strides are 1 along z.

mod batch_unet;
mod block;
mod cpu;
mod kernel;
mod mode;
mod operations;
#[cfg(test)]
mod operations_tests;
mod patch_network;
mod plain;
mod planar;
mod reference;
mod residual;
mod runner;
mod tape;
mod topology;
mod unet;
mod weights;

pub(crate) use batch_unet::MOST_STAGES;
pub use batch_unet::{BatchArchitecture, NormPlacement};
pub(crate) use mode::{Learning, Mode};
pub use operations::NetworkBackend;
pub use patch_network::PatchArchitecture;
pub use planar::{DecoderKind, EncoderKind, PlanarArchitecture};
pub use runner::{Device, Network};
pub(crate) use topology::AnyNetwork;
pub use topology::Topology;
pub use weights::{Stored, Weights};
pub(crate) use weights::{floats, name_number};

/// Kind of encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain convolutions (`PlainConvUNet`).
    Plain,
    /// Residual blocks (`ResidualEncoderUNet`).
    ResidualEncoder,
}

/// Everything that fixes the shape of a U-Net.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Kind of encoder.
    pub kind: Kind,
    /// 2 or 3: how many axes the stored kernels have.
    pub dimensions: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Channels of each stage.
    pub features: Vec<usize>,
    /// Kernel of each stage along z, y, x.
    pub kernels: Vec<[usize; 3]>,
    /// Stride at the start of each stage along z, y, x.
    pub strides: Vec<[usize; 3]>,
    /// Convolutions (plain) or blocks (residual) of each stage of the encoder.
    pub encoder: Vec<usize>,
    /// Convolutions of each step of the decoder, deepest first.
    pub decoder: Vec<usize>,
    /// Whether convolutions have a bias.
    pub bias: bool,
}

impl Architecture {
    /// What single layers are told of a network whose shape is fixed elsewhere: only the number of axes counts to them.
    pub(crate) fn of_layers(dimensions: usize) -> Self {
        Self {
            kind: Kind::Plain,
            dimensions,
            inputs: 0,
            outputs: 0,
            features: vec![],
            kernels: vec![],
            strides: vec![],
            encoder: vec![],
            decoder: vec![],
            bias: true,
        }
    }

    /// Why no network has this shape, if none has.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let stages = self.features.len();
        if stages < 2 {
            return Err(format!("{stages} stages; a U-Net has two or more"));
        }
        if self.kernels.len() != stages || self.strides.len() != stages {
            return Err(format!(
                "{stages} stages, {} kernels and {} strides",
                self.kernels.len(),
                self.strides.len()
            ));
        }
        let all = self
            .features
            .iter()
            .chain(&self.encoder)
            .chain(&self.decoder);
        if all.chain(self.strides.iter().flatten()).any(|&n| n == 0) {
            return Err("a stage without features, convolutions or stride".into());
        }
        match self
            .kernels
            .iter()
            .find(|kernel| kernel.iter().any(|k| k % 2 == 0))
        {
            Some(kernel) => Err(format!("kernel {kernel:?}; kernels must be odd")),
            None => Ok(()),
        }
    }

    /// Shape of a convolution's weight in the file: without the first axis of the kernel where the network is 2D.
    pub(crate) fn stored_shape(&self, outer: [usize; 2], kernel: [usize; 3]) -> Vec<usize> {
        let kernel = &kernel[3 - self.dimensions..];
        [outer.as_slice(), kernel].concat()
    }
}
