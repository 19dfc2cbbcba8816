//! The one place that names back ends: a network on a device, behind plain arrays of numbers.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};

use super::operations::NetworkBackend;
use super::{Architecture, PlanarArchitecture, PlanarNetwork, UNet, Weights};
use crate::error::{Error, Result};

/// Where a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Device {
    /// The CPU: the reference.
    #[default]
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
}

/// A network with its weights on a device.
pub struct Network {
    inputs: usize,
    on: Box<dyn Forward>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

trait Forward: Send + Sync {
    fn forward(&self, batch: Vec<f32>, shape: [usize; 5]) -> Result<Vec<f32>>;
}

struct On<B: Backend> {
    network: UNet<B>,
    device: B::Device,
}

impl<B: NetworkBackend> Forward for On<B>
where
    UNet<B>: Send + Sync,
    B::Device: Send + Sync,
{
    fn forward(&self, batch: Vec<f32>, shape: [usize; 5]) -> Result<Vec<f32>> {
        let x = Tensor::<B, 5>::from_data(TensorData::new(batch, shape), &self.device);
        let logits = self.network.forward(x);
        logits.into_data().into_vec().map_err(|error| {
            Error::Device(format!("the network's result cannot be read: {error:?}"))
        })
    }
}

impl Network {
    /// A network of that shape on that device, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not fit, [`Error::Device`] when the device is not there or not built in.
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        device: Device,
    ) -> Result<Self> {
        let on: Box<dyn Forward> = match device {
            Device::Cpu => {
                let device = FlexDevice;
                let network = UNet::<Flex>::new(architecture, weights, &device)?;
                Box::new(On { network, device })
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => {
                let device = burn::backend::cuda::CudaDevice::new(number);
                let network = UNet::<burn::backend::Cuda>::new(architecture, weights, &device)?;
                Box::new(On { network, device })
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => {
                return Err(Error::Device(
                    "this program was built without CUDA; build it with --features cuda".into(),
                ));
            }
        };
        Ok(Self {
            inputs: architecture.inputs,
            on,
        })
    }

    /// Logits (batch, class, z, y, x) of a batch (batch, channel, z, y, x).
    ///
    /// # Errors
    /// [`Error::Parameter`] when the batch is not of that shape, [`Error::Device`] when the device gives no result.
    pub fn forward(&self, batch: Vec<f32>, shape: [usize; 5]) -> Result<Vec<f32>> {
        let voxels: usize = shape.iter().product();
        if voxels == 0 || batch.len() != voxels || shape[1] != self.inputs {
            return Err(Error::Parameter(format!(
                "{} values for a batch of {shape:?} (the network takes {} channels)",
                batch.len(),
                self.inputs
            )));
        }
        self.on.forward(batch, shape)
    }
}

/// A network for slices with its weights, on the CPU.
pub struct SliceNetwork(PlanarNetwork<Flex>);

impl std::fmt::Debug for SliceNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SliceNetwork")
    }
}

impl SliceNetwork {
    /// A network of that shape, its parameters taken from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not fit, [`Error::Parameter`] when there is no such network.
    pub fn new(architecture: &PlanarArchitecture, weights: &mut dyn Weights) -> Result<Self> {
        Ok(Self(PlanarNetwork::new(
            architecture,
            weights,
            &FlexDevice,
        )?))
    }

    /// Logits (batch, class, y, x) of slices (batch, channel, y, x) whose sides are multiples of 32.
    ///
    /// # Errors
    /// [`Error::Parameter`] for other sides.
    pub fn forward(&self, batch: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let voxels: usize = shape.iter().product();
        if voxels == 0 || batch.len() != voxels {
            return Err(Error::Parameter(format!(
                "{} values for slices of {shape:?}",
                batch.len()
            )));
        }
        if !(shape[2].is_multiple_of(32) && shape[3].is_multiple_of(32)) {
            return Err(Error::Parameter(format!(
                "slices of {} × {} pixels; both must be multiples of 32",
                shape[2], shape[3]
            )));
        }
        let x = Tensor::<Flex, 4>::from_data(TensorData::new(batch, shape), &FlexDevice);
        let logits = self.0.forward(x).into_data().into_vec();
        logits.map_err(|error| {
            Error::Device(format!("the network's result cannot be read: {error:?}"))
        })
    }
}
