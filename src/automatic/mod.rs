//! A bone found in the scan by a network: the built-in ones, or a model of the user's.

mod femur;
mod folder;
mod vertebra;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use segmentation::network::Device;
use segmentation::nnunet::{Choice, Options};

pub use femur::{LEFT_FEMUR, RIGHT_FEMUR};
pub use folder::{FolderModel, TEMPLATE};

use crate::anatomy::Check;
use crate::exit::Failure;
use crate::plan::{Bone, CalibrationSpec, LevelChoice, Subject};
use crate::progress::Progress;
use crate::provenance::sha256;

/// Name of the built-in networks.
pub const BUILT_IN: &str = "builtin";
/// Looks of the networks that place a bone's surface no further apart than this agree, mm: half a voxel of a clinical scan. This and
/// the next are judgement, not yet compared with true errors.
const SURE_MM: f64 = 0.4;
/// Further apart than this they contradict each other, mm.
const UNSURE_MM: f64 = 2.0;

/// Networks that find a bone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Those that come with the program.
    BuiltIn,
    /// A model folder.
    Folder(PathBuf),
}

impl Networks {
    /// As a plan or the command line names them; the built-in ones where nothing is named.
    pub fn named(name: Option<&str>) -> Self {
        match name {
            None | Some(BUILT_IN) => Self::BuiltIn,
            Some(folder) => Self::Folder(PathBuf::from(folder)),
        }
    }
}

/// Labels a network gave to a scan.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// On the scan's grid.
    pub labels: LabelMap,
    /// What the values stand for.
    pub names: BTreeMap<u16, String>,
    /// Doubts about the scan that only the scan can raise, by label.
    pub checks: Vec<(u16, Check)>,
    /// Labels of vertebrae whose body the border of the scan may cut.
    pub cut: BTreeSet<u16>,
    /// How far two looks of the networks differ about the surface, as a standard deviation, mm, near the surfaces on the scan's grid;
    /// `None` where they looked once.
    pub doubt_mm: Option<Volume<f32>>,
    /// SHA-256 of the weights by name.
    pub weights: BTreeMap<String, String>,
}

/// Segments a scan in HU.
///
/// # Errors
/// A [`Failure`] of kind input when the scan is refused or shows no such bone, of kind usage when there is no such network.
pub fn segmented(
    scan: &Volume<f32>,
    bone: Bone,
    networks: &Networks,
    device: Device,
    options: &Options,
    progress: &mut Progress,
) -> anyhow::Result<Labelled> {
    match (networks, bone) {
        (Networks::BuiltIn, Bone::Femur) => femur::femora(scan, device, options, progress),
        (Networks::BuiltIn, Bone::Vertebra) => vertebra::vertebrae(scan, device, options, progress),
        (Networks::Folder(folder), _) => by_folder(scan, folder, device, options, progress),
    }
}

/// Segments a scan in HU for a case, by the networks that it names.
///
/// # Errors
/// As [`segmented`]; also when the case names a level and the scan shows several vertebrae.
pub fn segmented_for(
    scan: &Volume<f32>,
    subject: &Subject,
    device: Device,
    options: &Options,
    progress: &mut Progress,
) -> anyhow::Result<Labelled> {
    let networks = Networks::named(subject.model.as_deref());
    let mut found = segmented(scan, subject.bone, &networks, device, options, progress)?;
    if networks == Networks::BuiltIn && subject.bone == Bone::Vertebra {
        found.name_level(subject)?;
    }
    Ok(found)
}

/// Refuses a case without a mask in which no network can find the bone.
///
/// # Errors
/// A [`Failure`] of kind usage.
pub fn check(subject: &Subject) -> anyhow::Result<()> {
    if matches!(subject.calibration, Some(CalibrationSpec::Density { .. })) {
        return Err(Failure::usage(
            "--mask is missing: the scan is a density map, and the networks know CT numbers only",
        )
        .with_help("give the bone with --mask MASK --label K")
        .into());
    }
    Ok(())
}

/// Whether two looks of the networks agree about the surface of a bone.
fn agreement(doubt_mm: Option<f64>) -> Check {
    const NAME: &str = "segmentation_agreement";
    let Some(doubt) = doubt_mm else {
        return Check::review(
            NAME,
            None,
            "the networks looked once (mirroring off): nothing tells how sure they are",
        );
    };
    let reason = format!(
        "two looks at the scan, one at its mirror image and half a voxel off, place the surface {doubt:.2} mm apart (standard deviation of one)"
    );
    match doubt {
        d if d <= SURE_MM => Check::pass(NAME, doubt, reason),
        d if d <= UNSURE_MM => Check::review(NAME, doubt, reason),
        _ => Check::refuse(NAME, doubt, reason),
    }
}

fn by_folder(
    scan: &Volume<f32>,
    folder: &Path,
    device: Device,
    options: &Options,
    progress: &mut Progress,
) -> anyhow::Result<Labelled> {
    let choice = Choice {
        device,
        ..Choice::default()
    };
    let model = FolderModel::open(folder, &choice, true)?;
    let labels = model.segment(scan, options, &mut |done, planned| {
        progress.part(done, planned);
    })?;
    let mut weights = BTreeMap::new();
    for file in &model.weight_files {
        let parts = file.iter().rev().take(2).map(|part| part.to_string_lossy());
        let parts: Vec<_> = parts.collect();
        let name = parts.into_iter().rev().collect::<Vec<_>>().join("/");
        let (hash, _) = sha256(file).with_context(|| format!("{}", file.display()))?;
        weights.insert(name, hash);
    }
    Ok(Labelled {
        labels,
        names: model.names(),
        checks: vec![],
        cut: BTreeSet::new(),
        doubt_mm: None,
        weights,
    })
}

impl Labelled {
    /// The values that make the bone of a case: those given, else those whose names say so.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when the case leaves it open, of kind input when the bone is not there.
    pub fn label_of(&self, subject: &Subject) -> anyhow::Result<Vec<u16>> {
        // A label that only follows from the level is the scan's, not the model's.
        if !subject.label.is_empty() && !subject.label_follows_level() {
            return Ok(subject.label.clone());
        }
        let built_in = Networks::named(subject.model.as_deref()) == Networks::BuiltIn;
        if built_in && subject.bone == Bone::Vertebra && subject.level.is_none() {
            return Ok(vec![self.only_vertebra()?]);
        }
        let present = self.labels.labels();
        let named = |wanted: &dyn Fn(&str) -> bool| {
            let mut labels = self.names.iter().filter(|(_, name)| wanted(&bare(name)));
            labels.next().map(|(&label, _)| label)
        };
        let there = |label: &u16| present.contains(label);
        let (found, what) = match (subject.bone, subject.side, &subject.level) {
            (Bone::Femur, side, _) => {
                let of = |side: &str| {
                    named(&|name| {
                        name == format!("femur_{side}") || name == format!("{side}_femur")
                    })
                };
                let (left, right) = (of("left"), of("right"));
                let plain = named(&|name| name == "femur");
                match side.map(|side| side.to_string()) {
                    Some(side) => (of(&side).or(plain), format!("{side} femur")),
                    None => match (left.filter(there), right.filter(there)) {
                        (Some(_), Some(_)) => {
                            return Err(Failure::usage("the scan shows both femora")
                                .with_help("choose one with --side left or --side right")
                                .into());
                        }
                        (one, other) => (one.or(other).or(plain), "femur".to_owned()),
                    },
                }
            }
            (Bone::Vertebra, _, Some(LevelChoice::One(level))) => {
                let level = level.name().to_lowercase();
                let of = |name: &str| name == level || name == format!("vertebrae_{level}");
                (named(&of), format!("vertebra {}", level.to_uppercase()))
            }
            (Bone::Vertebra, ..) => (named(&|name| name == "vertebra"), "vertebra".to_owned()),
        };
        let known = || {
            let names = self
                .names
                .iter()
                .map(|(label, name)| format!("{label} {name}"));
            names.collect::<Vec<_>>().join(", ")
        };
        let label = found.ok_or_else(|| {
            Failure::usage(format!(
                "the model has no {what}; its labels are {}",
                known()
            ))
            .with_help("name the bone's values with --label, and leave --level out")
        })?;
        if !there(&label) {
            return Err(Failure::input(format!("no {what} was found in the scan"))
                .with_help("look at the scan's field of view, or give the bone with --mask")
                .into());
        }
        Ok(vec![label])
    }
}

/// A name as both schemes spell it: small letters, words joined by `_`.
fn bare(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_")
}
