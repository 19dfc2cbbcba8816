//! From CT numbers to density, and from density to stiffness and strength.
//!
//! The road is `rods -> Calibration -> DensityMap -> (conversion) -> law`:
//!
//! - [`phantom`]: what a calibration phantom is made of, as data files;
//! - [`find`]: the rods found in a scan by their geometry;
//! - [`rods`]: the mean CT number of each rod, from a label map or from given centres;
//! - [`internal`]: calibration without a phantom, by the patient's own tissues;
//! - [`fit`]: the straight line from CT number to density, with its standard errors;
//! - [`density`]: densities that carry their kind, and the published conversions between kinds;
//! - [`law`]: density to Young's modulus and strength, each law with its citation, the kind it reads
//!   and its range;
//! - [`post_yield`]: the plateau, softening and residual stress of Keyak 2005 as coded by Sas 2020;
//! - [`binning`]: moduli in density bins, as the public voxel programs assign them.
//!
//! Densities are mg/cm³ everywhere. The coefficients of the laws stay as printed, for g/cm³; the one
//! division by 1000 stands in [`law::Power::at`]. World positions are LPS millimetres.
//!
//! A wrong kind of density is the quietest way to a wrong failure load: the choice of conversion alone
//! doubles trabecular stiffness. So a law refuses every kind but its own, and only a named conversion
//! changes one.

pub mod binning;
pub mod density;
pub mod error;
pub mod find;
pub mod fit;
pub mod internal;
pub mod law;
pub mod phantom;
pub mod post_yield;
pub mod rods;

pub use binning::{BinOffset, BinnedModulus, Binning};
pub use density::{Density, DensityConversion, DensityKind, DensityMap, ElementDensity, Reads};
pub use error::{Error, Result};
pub use find::{FoundPhantom, RejectedRod, find_rods};
pub use fit::{Calibration, Check, CheckStatus, Method};
pub use internal::{Tissue, TissueRegions, TissueSample, measure_tissues, two_point};
pub use law::{ElasticityLaw, Evaluated, Floor, Power, StrengthForm, StrengthLaw, ValidRange};
pub use phantom::{Phantom, PhantomRod};
pub use post_yield::{PostYieldCurve, Softening, TissueKind};
pub use rods::{Rod, RodCentres, measure_at_centres, measure_labels};
