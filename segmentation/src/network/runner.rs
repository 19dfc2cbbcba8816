//! The one place that names back ends: a network on a device, behind plain arrays of numbers.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};

use super::Weights;
use super::mode::Mode;
use super::operations::NetworkBackend;
use super::topology::{AnyNetwork, Topology};
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
    topology: Topology,
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

struct On<B: NetworkBackend> {
    network: AnyNetwork<B>,
    device: B::Device,
}

impl<B: NetworkBackend> Forward for On<B>
where
    AnyNetwork<B>: Send + Sync,
    B::Device: Send + Sync,
{
    fn forward(&self, batch: Vec<f32>, shape: [usize; 5]) -> Result<Vec<f32>> {
        let x = Tensor::<B, 5>::from_data(TensorData::new(batch, shape), &self.device);
        let logits = self.network.forward(x, Mode::Run);
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
        topology: impl Into<Topology>,
        weights: &mut dyn Weights,
        device: Device,
    ) -> Result<Self> {
        let topology = topology.into();
        let on: Box<dyn Forward> = match device {
            Device::Cpu => {
                let device = FlexDevice;
                let network = AnyNetwork::<Flex>::new(&topology, weights, &device)?;
                Box::new(On { network, device })
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => {
                let device = burn::backend::cuda::CudaDevice::new(number);
                let network = AnyNetwork::<burn::backend::Cuda>::new(&topology, weights, &device)?;
                Box::new(On { network, device })
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => {
                return Err(Error::Device(
                    "this program was built without CUDA; build it with --features cuda".into(),
                ));
            }
        };
        Ok(Self { topology, on })
    }

    /// Logits (batch, class, z, y, x) of a batch (batch, channel, z, y, x).
    ///
    /// # Errors
    /// [`Error::Parameter`] when the batch is not of that shape, [`Error::Device`] when the device gives no result.
    pub fn forward(&self, batch: Vec<f32>, shape: [usize; 5]) -> Result<Vec<f32>> {
        let voxels: usize = shape.iter().product();
        let inputs = self.topology.inputs();
        if voxels == 0 || batch.len() != voxels || shape[1] != inputs {
            return Err(Error::Parameter(format!(
                "{} values for a batch of {shape:?} (the network takes {inputs} channels)",
                batch.len(),
            )));
        }
        let [_, _, z, y, x] = shape;
        self.topology.check([z, y, x])?;
        self.on.forward(batch, shape)
    }
}
