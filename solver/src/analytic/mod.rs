//! Closed forms the solver is checked against. Each names its source; lengths are mm, stresses MPa (a consistent set
//! such as mm and GPa does as well).

mod elastic;
mod limit;
mod plastic;
mod softening;

pub use elastic::{
    PapkovichField, ThickCylinder, ThickSphere, beam_axial_mm, cantilever_tip_mm, confined_modulus,
};
pub use limit::{
    circular_plate_pressure, deep_notch_stress, perforated_plate_stress, strip_footing_pressure,
};
pub use plastic::{
    PlasticPoint, PressurisedCylinder, PressurisedSphere, bending_moment_ratio,
    confined_compression, simple_shear,
};
pub use softening::SofteningBar;
