//! Synthetic patients: CT scans whose anatomy, density and calibration are known exactly.
//!
//! A bone is a smooth implicit solid ([`femur`], [`hip`], [`vertebra`], [`spine`]) or a given label map
//! ([`from_labels`]); it gets a cortical shell and a trabecular density field, lies in muscle and fat on
//! a table with a calibration phantom, and goes through a scanner: partial volume, blur, noise, whole
//! CT numbers. What was drawn and where everything lies is in [`Truth`].
//!
//! The same seed gives the same bytes, whatever the number of threads.
//!
//! # Ranges
//! Every varied parameter, its spread and its source stand below, and in `docs/synthetic-patients.md`; the
//! values drawn for one patient are in [`Truth::parameters`].
//!
#![doc = include_str!("../../docs/synthetic-patients.md")]

mod femur;
pub(crate) mod fit;
mod hips;
mod labelled;
mod labelled_femur;
mod pelvis;
mod phantom;
mod random;
mod scanner;
mod scene;
mod solid;
mod spines;
mod surroundings;
mod truth;
mod vertebra;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use imaging::{LabelMap, Volume};
use serde::Serialize;

pub use hips::{femur, hip};
pub use labelled::{LabelMeaning, from_labels};
pub use phantom::{PhantomRods, RodBasis, RodSpec};
pub use spines::{spine, vertebra};
pub use truth::{
    BoneTruth, FemurTruth, LesionTruth, PhantomTruth, RodTruth, ScannerTruth, Truth, VertebraTruth,
};

pub use crate::anatomy::Side;
use solid::Point;

/// A synthetic scan and what is true about it; all volumes share one grid.
#[derive(Clone, Debug)]
pub struct Patient {
    /// The CT in HU: whole numbers in the range of `i16`.
    pub ct: Volume<f32>,
    /// The bones: femur 1 left, 2 right; hip bone 3 left, 4 right; sacrum 5; vertebrae by VerSe numbers
    /// (8 T1 … 19 T12, 20 L1 … 24 L5). For [`from_labels`], the given map.
    pub labels: LabelMap,
    /// True bone density in mg/cm³ K2HPO4, before blur and noise; 0 outside the labels. Soft tissue
    /// outside the bone has no part in the mean over a surface voxel. Marrow may be negative.
    pub density: Volume<f32>,
    /// Cores of the phantom rods, labelled 1, 2, … in the order of the phantom's definition.
    pub rods: LabelMap,
    /// What is known exactly.
    pub truth: Truth,
}

/// Sign of the world x coordinate on a side.
fn sign(side: Side) -> f64 {
    match side {
        Side::Left => 1.0,
        Side::Right => -1.0,
    }
}

/// Whether the bone carries a lesion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lesion {
    /// No lesion.
    #[default]
    None,
    /// An osteolytic lesion: an ellipsoid of soft tissue in the femoral neck or trochanter, or in the
    /// vertebral body.
    Lytic,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random follows from this number.
    pub seed: u64,
    /// Whether the bone carries a lesion.
    pub lesion: Lesion,
    /// The calibration phantom under the patient; `None` for a scan without one.
    pub phantom: Option<PhantomRods>,
    /// Voxel size (i, j, k), mm; `None` for the anatomy's own: see each function.
    pub spacing_mm: Option<[f64; 3]>,
    /// Side of a single femur, or of the lesion of a hip; `None` draws it.
    /// Not read by [`from_labels`], which draws the femur of a lesion.
    pub side: Option<Side>,
    /// VerSe number of the vertebra (18 T11 … 23 L4); `None` draws T12 to L3.
    pub level: Option<u16>,
    /// Length of femoral shaft below the lesser trochanter in the scan, mm.
    pub shaft_mm: f64,
    /// Standard deviation of the noise in HU; `None` draws 15 to 25.
    pub noise_hu: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            lesion: Lesion::None,
            phantom: Some(PhantomRods::mindways_model3_ct()),
            spacing_mm: None,
            side: None,
            level: None,
            shaft_mm: 105.0,
            noise_hu: None,
        }
    }
}

impl Options {
    /// Checks what a caller can get wrong.
    fn check(&self) -> Result<()> {
        if let Some(spacing) = self.spacing_mm {
            ensure!(
                spacing.iter().all(|s| (0.2..=5.0).contains(s)),
                "the voxel size {spacing:?} mm is out of range; give 0.2 to 5 mm per axis"
            );
        }
        ensure!(
            (20.0..=250.0).contains(&self.shaft_mm),
            "{} mm of femoral shaft is out of range; give 20 to 250 mm below the lesser trochanter",
            self.shaft_mm
        );
        if let Some(noise) = self.noise_hu {
            ensure!(
                (0.0..=200.0).contains(&noise),
                "noise of {noise} HU is out of range; give 0 to 200 HU"
            );
        }
        if let Some(phantom) = &self.phantom {
            phantom.check()?;
        }
        Ok(())
    }
}

/// A bone to paint: its shape and its density.
trait Bone: Sync {
    /// Its value in the label map.
    fn label(&self) -> u16;
    /// A world box that holds the bone and a margin of a voxel.
    fn bounds(&self) -> [Point; 2];
    /// About the signed distance to its surface in mm, negative inside.
    fn distance(&self, world: &Point) -> f64;
    /// Density of its bone in mg/cm³ K2HPO4 over a voxel of `width_mm`, at a point whose
    /// [`Bone::distance`] is `distance`.
    fn density_mg_cm3(&self, world: &Point, distance: f64, width_mm: f64) -> f64;
}

/// The drawn parameters under their names.
type Parameters = BTreeMap<String, f64>;

#[cfg(test)]
mod tests;
