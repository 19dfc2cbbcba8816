//! Nonlinear quasi-static finite elements for bone.
//!
//! Units are mm, N and MPa. Stress and strain vectors are ordered xx, yy, zz, yz, xz, xy with
//! engineering shear strains; this is said here and nowhere else.

pub mod analysis;
pub mod analytic;
#[doc(hidden)]
pub mod bench;
pub mod deck;
mod device;
pub mod element;
pub mod error;
#[cfg(feature = "gpu")]
mod gpu;
mod linear;
pub mod load_case;
pub mod material;
pub mod model;
mod operator;
pub mod response;
mod system;

pub use analysis::{Control, Snapshot, analyse};
pub use device::Device;
pub use error::{Error, Result};
pub use load_case::{LoadCase, Monitor, NodalForce, PathControl, Prescribed, Stepping};
pub use material::HardeningCurve;
pub use model::{Formulation, MaterialModel, Materials, Model, SolidMesh};
pub use response::{Increment, Outcome, Response};
pub use system::ElementFields;
