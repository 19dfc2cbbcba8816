//! Constitutive laws.

mod curve;
pub mod j2;

pub use curve::HardeningCurve;
