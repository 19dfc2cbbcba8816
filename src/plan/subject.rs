//! What a plan says about the case itself.

use serde::{Deserialize, Serialize};

use super::calibration::{CALIBRATION_FORMS, CalibrationSpec, RodSource};
use super::choice::{Bone, LabelNames, MorphElement, MorphUnit, Side};
use super::value::Level;
use crate::exit::Failure;

/// Which vertebra.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LevelChoice {
    /// Every vertebra that is there whole.
    All,
    /// One level.
    One(Level),
}

impl std::str::FromStr for LevelChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::One)
    }
}

impl std::fmt::Display for LevelChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(level) => write!(f, "{level}"),
        }
    }
}

impl TryFrom<String> for LevelChoice {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LevelChoice> for String {
    fn from(value: LevelChoice) -> Self {
        value.to_string()
    }
}

/// The case of a run: what the user says about it. Whatever is `None` or empty was not given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The bone that is loaded.
    pub bone: Bone,
    /// The patient's side, believed when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The vertebra, believed when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelChoice>,
    /// Whose label values name the vertebrae; set for every vertebra, VerSe unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_names: Option<LabelNames>,
    /// Label values of the bone in the mask; for a vertebra the first is the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<u16>,
    /// Where the calibration comes from; only a mesh does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationSpec>,
    /// Where the phantom's rods are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rods: Option<RodSource>,
    /// Label map of the patient's tissues, where they are drawn and not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tissues: Option<String>,
    /// Scan of an asynchronous phantom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phantom_ct: Option<String>,
    /// Whether gantry tilt and small gaps of a DICOM series are resampled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repair: bool,
    /// Segmentation model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Dilation (positive) or erosion (negative) of the mask, in `morph_unit`.
    #[serde(default)]
    pub morph: f64,
    /// Unit of `morph`.
    #[serde(default = "voxel")]
    pub morph_unit: MorphUnit,
    /// Map of the standard deviation of the mask's surface, mm, for the unit `sd`; a built-in network states its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<String>,
    /// What the mask grows or shrinks by where the unit is a voxel.
    #[serde(default = "faces")]
    pub morph_element: MorphElement,
    /// Body weight, kg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_weight_kg: Option<f64>,
    /// Load the bone is to bear, N.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_load_n: Option<f64>,
    /// Quality gates the user accepts although they refuse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
}

fn voxel() -> MorphUnit {
    MorphUnit::Voxel
}

fn faces() -> MorphElement {
    MorphElement::Faces
}

impl Subject {
    /// A case of which only bone and calibration are known.
    pub fn new(bone: Bone, calibration: Option<CalibrationSpec>) -> Self {
        Self {
            bone,
            side: None,
            level: None,
            label_names: None,
            label: Vec::new(),
            calibration,
            rods: None,
            tissues: None,
            phantom_ct: None,
            repair: false,
            model: None,
            morph: 0.0,
            morph_unit: MorphUnit::Voxel,
            uncertainty: None,
            morph_element: MorphElement::Faces,
            body_weight_kg: None,
            applied_load_n: None,
            accept: Vec::new(),
        }
    }

    /// Where the calibration comes from.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when it was not said, or when rods or tissues are given that it does not use.
    pub fn calibration(&self) -> anyhow::Result<&CalibrationSpec> {
        let Some(spec) = &self.calibration else {
            return Err(
                Failure::usage("no calibration is given, and none is assumed")
                    .with_help(format!("add --calibration with one of {CALIBRATION_FORMS}"))
                    .into(),
            );
        };
        let of_phantom = matches!(spec, CalibrationSpec::Phantom(_));
        if !of_phantom && (self.rods.is_some() || self.phantom_ct.is_some()) {
            return Err(Failure::usage(format!(
                "--rods and --phantom-ct belong to a phantom, and the calibration is {spec}"
            ))
            .with_help("leave them out, or calibrate with phantom:MODEL")
            .into());
        }
        let of_tissues = matches!(
            spec,
            CalibrationSpec::Internal { .. } | CalibrationSpec::TwoTissues { .. }
        );
        if !of_tissues && self.tissues.is_some() {
            return Err(Failure::usage(format!(
                "--tissues belongs to an internal calibration, and the calibration is {spec}"
            ))
            .with_help("leave it out, or calibrate with internal")
            .into());
        }
        Ok(spec)
    }
}
