//! Any of the networks, behind one interface of five axes.

use burn::module::Module;
use burn::tensor::Tensor;

use super::batch_unet::{BatchArchitecture, BatchUNet};
use super::mode::Mode;
use super::operations::NetworkBackend;
use super::patch_network::{PatchArchitecture, PatchNetwork};
use super::planar::PlanarNetwork;
use super::unet::UNet;
use super::{Architecture, PlanarArchitecture, Weights};
use crate::error::{Error, Result};

/// Everything that fixes the shape of a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Topology {
    /// A U-Net of nnU-Net.
    UNet(Architecture),
    /// A U-Net with batch norms.
    BatchUNet(BatchArchitecture),
    /// A network for slices.
    Planar(PlanarArchitecture),
    /// A network that says what the middle of patches is.
    Patch(PatchArchitecture),
}

impl From<Architecture> for Topology {
    fn from(architecture: Architecture) -> Self {
        Self::UNet(architecture)
    }
}

impl From<&Architecture> for Topology {
    fn from(architecture: &Architecture) -> Self {
        Self::UNet(architecture.clone())
    }
}

impl Topology {
    /// Input channels.
    pub fn inputs(&self) -> usize {
        match self {
            Self::UNet(own) => own.inputs,
            Self::BatchUNet(own) => own.inputs,
            Self::Planar(own) => own.inputs,
            Self::Patch(own) => own.inputs,
        }
    }

    /// Output classes.
    pub fn outputs(&self) -> usize {
        match self {
            Self::UNet(own) => own.outputs,
            Self::BatchUNet(own) => own.outputs,
            Self::Planar(own) => own.outputs,
            Self::Patch(own) => own.outputs,
        }
    }

    /// Voxels the network answers for when it sees `patch`.
    pub fn answered(&self, patch: [usize; 3]) -> [usize; 3] {
        match self {
            Self::Patch(_) => [1; 3],
            _ => patch,
        }
    }

    /// Why a network of this shape cannot see `patch` (z, y, x), if it cannot.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn check(&self, patch: [usize; 3]) -> Result<()> {
        let factor = match self {
            // Its strides are checked where it is planned.
            Self::UNet(_) => return Ok(()),
            Self::BatchUNet(own) => own.factor(),
            Self::Planar(_) => [1, 32, 32],
            Self::Patch(own) => {
                return match patch == [1, own.side, own.side] {
                    true => Ok(()),
                    false => Err(Error::Parameter(format!(
                        "patches of {patch:?}; the network takes {0} × {0} pixels",
                        own.side
                    ))),
                };
            }
        };
        let flat = matches!(self, Self::Planar(_));
        let fits = patch
            .iter()
            .zip(factor)
            .all(|(&n, f)| n > 0 && n.is_multiple_of(f));
        match fits && !(flat && patch[0] != 1) {
            true => Ok(()),
            false => Err(Error::Parameter(format!(
                "patches of {patch:?} voxels (z, y, x); the network takes multiples of {factor:?}{}",
                if flat { ", one slice each" } else { "" }
            ))),
        }
    }
}

// A module cannot be boxed, and there is one network at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum AnyNetwork<B: NetworkBackend> {
    UNet(UNet<B>),
    BatchUNet(BatchUNet<B>),
    Planar(PlanarNetwork<B>),
    Patch(PatchNetwork<B>),
}

impl<B: NetworkBackend> AnyNetwork<B> {
    /// A network of that shape, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] when a parameter is missing or has another shape, [`Error::Parameter`] for a shape that cannot be.
    pub fn new(topology: &Topology, weights: &mut dyn Weights, device: &B::Device) -> Result<Self> {
        Ok(match topology {
            Topology::UNet(own) => Self::UNet(UNet::new(own, weights, device)?),
            Topology::BatchUNet(own) => Self::BatchUNet(BatchUNet::new(own, weights, device)?),
            Topology::Planar(own) => Self::Planar(PlanarNetwork::new(own, weights, device)?),
            Topology::Patch(own) => Self::Patch(PatchNetwork::new(own, weights, device)?),
        })
    }

    /// Logits (batch, class, z, y, x) of a batch (batch, channel, z, y, x).
    pub fn forward(&self, x: Tensor<B, 5>, mode: Mode<'_>) -> Tensor<B, 5> {
        match self {
            Self::UNet(network) => network.forward(x),
            Self::BatchUNet(network) => network.forward(x, mode),
            Self::Planar(network) => {
                let [batch, channels, _, height, width] = x.dims();
                let logits = network.forward(x.reshape([batch, channels, height, width]), mode);
                let [batch, classes, height, width] = logits.dims();
                logits.reshape([batch, classes, 1, height, width])
            }
            Self::Patch(network) => network.forward(x, mode),
        }
    }

    /// Logits at every resolution that the network has a head for, full resolution first.
    pub fn forward_all(&self, x: Tensor<B, 5>, mode: Mode<'_>) -> Vec<Tensor<B, 5>> {
        match self {
            Self::UNet(network) => network.forward_all(x),
            network => vec![network.forward(x, mode)],
        }
    }
}
