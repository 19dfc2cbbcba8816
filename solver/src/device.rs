//! Where the linear systems are solved.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::linear::{CgResult, Hierarchy, Multigrid};
use crate::operator::{FlowShape, HadamardTable, LatticeOperator, Topology};

/// Where the linear systems are solved. Elements, states and the set-up of the preconditioner are always the
/// processor's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number; needs the feature `cuda`.
    Cuda(u16),
    /// The first device that Vulkan offers, a software one included: the kernels of the GPU, for tests without one.
    #[cfg(feature = "wgpu")]
    Wgpu,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => write!(f, "wgpu"),
        }
    }
}

impl FromStr for Device {
    type Err = ();

    /// Reads `cpu`, `cuda` or `cuda:N`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        number.map(Self::Cuda).ok_or(())
    }
}

impl Device {
    /// Checks that this build and this machine can use the device.
    ///
    /// # Errors
    /// [`Error::Device`] with the reason and a remedy.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Cpu => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => crate::gpu::check_cuda(number),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(Error::Device {
                device: self,
                reason: "this build computes on the CPU only".into(),
                remedy: "build with the feature cuda, or compute on the CPU".into(),
            }),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(()),
        }
    }

    /// Prepares the device for a body of voxels; `None` for the processor, which takes any body.
    pub(crate) fn open(self, body: Option<VoxelBody>) -> Result<Option<Box<dyn LinearDevice>>> {
        self.check()?;
        match (self, body) {
            (Self::Cpu, _) => Ok(None),
            #[cfg(feature = "cuda")]
            (Self::Cuda(number), Some(body)) => crate::gpu::open_cuda(number, &body).map(Some),
            #[cfg(feature = "wgpu")]
            (Self::Wgpu, Some(body)) => crate::gpu::open_wgpu(&body).map(Some),
            _ => Err(Error::Device {
                device: self,
                reason: "it solves voxel meshes only, and this mesh is none".into(),
                remedy: "solve it on the CPU".into(),
            }),
        }
    }
}

/// What a device must know of a body of voxels.
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub(crate) struct VoxelBody<'a> {
    /// Elements and nodes.
    pub topology: &'a Topology,
    /// One table per material class.
    pub tables: &'a [HadamardTable],
    /// What the shape of the voxels adds to flowing elements.
    pub flow_shape: Option<&'a FlowShape>,
    /// Constrained unknowns.
    pub constrained: &'a [u32],
    /// The coarse levels.
    pub hierarchy: &'a Hierarchy,
}

/// A device that solves the linear systems of one body.
pub(crate) trait LinearDevice {
    /// Takes over a tangent.
    fn load_operator(&mut self, operator: &LatticeOperator) -> Result<()>;

    /// Takes over a preconditioner that has been set up.
    fn load_preconditioner(&mut self, multigrid: &Multigrid) -> Result<()>;

    /// What [`crate::linear::conjugate_gradients`] does.
    fn conjugate_gradients(
        &mut self,
        b: &[f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult>;
}
