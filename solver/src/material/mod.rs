//! Constitutive laws.

mod curve;

pub use curve::HardeningCurve;
