//! A bone found in the scan by a network: the built-in ones, or a model of the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::distance::distance_to_mask_mm;
use imaging::orientation::crop;
use imaging::{LabelMap, Mask, Volume};
use nalgebra::Vector3;
use segmentation::builtin::{Femora, Femur};
use segmentation::network::Device;
use segmentation::nnunet::{Choice, Model, Options};

use crate::anatomy::{Check, FemurLandmarks, Side};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::{Bone, CalibrationSpec, LevelChoice, Subject};
use crate::progress::Progress;
use crate::provenance::{sha256, sha256_of};

/// Name of the built-in networks.
pub const BUILT_IN: &str = "builtin";
/// Label of a left femur by the built-in networks.
pub const LEFT_FEMUR: u16 = 1;
/// Label of a right one.
pub const RIGHT_FEMUR: u16 = 2;

/// CT numbers from here on are metal, HU: cortical bone stays below 2400 whatever the kernel, and scanners of twelve bits end at 3071.
const METAL_HU: f32 = 2800.0;
/// Metal up to this far from a bone is in it or on it, mm.
const METAL_NEAR_MM: f64 = 10.0;
/// Less is a speck of noise or a clip, mm³.
const METAL_LEAST_MM3: f64 = 200.0;

/// What is known of a load by the built-in networks' outline. Measured on the demo's femur, the synthetic ones 701 and 703 and that of
/// the tests (41): figures and commands stand in docs/segmentation.md.
const FEMUR_STATEMENT: &str = "outlined by the built-in networks, whose training is not finished: on four synthetic femora the failure load was -18 to +16 % off that of the true mask (stiffness up to 4 %); look at segmentation.nii.gz, and do not rely on the load without a checked mask";

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
        (Networks::BuiltIn, Bone::Femur) => femora(scan, device, options, progress),
        (Networks::BuiltIn, Bone::Vertebra) => Err(no_vertebrae()),
        (Networks::Folder(folder), _) => by_folder(scan, folder, device, options, progress),
    }
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
    match Networks::named(subject.model.as_deref()) {
        Networks::BuiltIn if subject.bone == Bone::Vertebra => Err(no_vertebrae()),
        _ => Ok(()),
    }
}

/// Why the built-in networks find no vertebra.
fn no_vertebrae() -> anyhow::Error {
    Failure::usage("there are no built-in segmentation weights for vertebrae yet")
        .with_help("give the bone with --mask MASK --label K, or a model with --model MODEL_DIR")
        .into()
}

fn femora(
    scan: &Volume<f32>,
    device: Device,
    options: &Options,
    progress: &mut Progress,
) -> anyhow::Result<Labelled> {
    let networks = Femora::load(device)?;
    let mut found = networks
        .segment(scan, options, &mut |done, planned| {
            progress.part(done, planned)
        })
        .context("the scan")
        .kind(Kind::Input)?;
    let sides = sides(&found.femora, &found.labels)?;
    for label in found.labels.data.iter_mut().filter(|label| **label > 0) {
        *label = sides[usize::from(*label) - 1];
    }
    let present = found.labels.labels();
    let mut checks = vec![];
    for &label in &present {
        checks.push((label, metal(scan, &found.labels.select(&[label]))?));
        checks.push((label, Check::review("segmentation", None, FEMUR_STATEMENT)));
    }
    Ok(Labelled {
        labels: found.labels,
        names: BTreeMap::from([
            (LEFT_FEMUR, "femur_left".to_owned()),
            (RIGHT_FEMUR, "femur_right".to_owned()),
        ]),
        checks,
        weights: Femora::weights()
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), sha256_of(bytes)))
            .collect(),
    })
}

/// The label of each femur that was found, in their order.
fn sides(femora: &[Femur], labels: &LabelMap) -> anyhow::Result<Vec<u16>> {
    let label = |side| match side {
        Side::Left => LEFT_FEMUR,
        Side::Right => RIGHT_FEMUR,
    };
    if let [first, second] = femora {
        // Left is +x in LPS.
        let first_left = first.centroid_mm[0] > second.centroid_mm[0];
        let (left, right) = (label(Side::Left), label(Side::Right));
        return Ok(if first_left {
            vec![left, right]
        } else {
            vec![right, left]
        });
    }
    let [femur] = femora else {
        return Ok(vec![]);
    };
    // The pelvis lies medial of a femur; where none is in sight, its head does.
    let medial = femur.other_bones_mm.map(|other| {
        let away = Vector3::from(other) - Vector3::from(femur.centroid_mm);
        away.x / away.norm().max(1e-9)
    });
    let by_pelvis = medial.filter(|x| x.abs() > 0.3).map(|x| match x < 0.0 {
        true => Side::Left,
        false => Side::Right,
    });
    let by_head = || {
        let (landmarks, _) = FemurLandmarks::find(&labels.select(&[femur.label])).ok()?;
        landmarks.side.from_affine
    };
    let side = by_pelvis.or_else(by_head).ok_or_else(|| {
        Failure::input("a femur was found, but nothing around it tells left from right")
            .with_help("give a scan that shows more of the hip, or the bone with --mask and --side")
    })?;
    Ok(vec![label(side)])
}

/// Whether a bone carries metal: an implant bears load that no density tells of, and its streaks spoil the density around it.
fn metal(scan: &Volume<f32>, bone: &Mask) -> anyhow::Result<Check> {
    const NAME: &str = "metal";
    let grid = &bone.grid;
    let Some([low, high]) = bone.bounding_box() else {
        return Ok(Check::pass(NAME, 0.0, "no bone"));
    };
    let margin: [usize; 3] =
        std::array::from_fn(|axis| (METAL_NEAR_MM / grid.spacing_mm[axis]).ceil() as usize);
    let low = std::array::from_fn(|axis| low[axis].saturating_sub(margin[axis]));
    let high = std::array::from_fn(|axis| (high[axis] + margin[axis]).min(grid.size[axis] - 1));
    let (hu, bone) = (crop(scan, low, high)?, crop(bone, low, high)?);
    let dense = |hu: f32| hu >= METAL_HU;
    if !hu.data.iter().any(|&hu| dense(hu)) {
        return Ok(Check::pass(
            NAME,
            0.0,
            format!("no voxel near the bone reaches {METAL_HU} HU"),
        ));
    }
    let distance = distance_to_mask_mm(&bone)?;
    let near = |(hu, distance): (&f32, &f32)| dense(*hu) && f64::from(*distance) <= METAL_NEAR_MM;
    let voxels = hu
        .data
        .iter()
        .zip(&distance.data)
        .filter(|&v| near(v))
        .count();
    let volume = voxels as f64 * bone.grid.voxel_volume_mm3();
    let reason = format!(
        "{:.2} cm3 within {METAL_NEAR_MM} mm of the bone reach {METAL_HU} HU",
        volume / 1000.0
    );
    Ok(match volume > METAL_LEAST_MM3 {
        true => Check::refuse(
            NAME,
            volume,
            format!(
                "{reason}: metal, which no density law knows and which spoils the CT numbers around it"
            ),
        ),
        false => Check::pass(NAME, volume, reason),
    })
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
    let model = Model::open(folder, &choice)
        .context("the model")
        .kind(Kind::Input)?;
    let mut found = model
        .segment(std::slice::from_ref(scan), options, &mut |done, planned| {
            progress.part(done, planned);
        })
        .context("the scan")
        .kind(Kind::Input)?;
    model.postprocessing.apply(&mut found.labels);
    let mut weights = BTreeMap::new();
    for file in &model.weight_files {
        let parts = file.iter().rev().take(2).map(|part| part.to_string_lossy());
        let parts: Vec<_> = parts.collect();
        let name = parts.into_iter().rev().collect::<Vec<_>>().join("/");
        let (hash, _) = sha256(file).with_context(|| format!("{}", file.display()))?;
        weights.insert(name, hash);
    }
    Ok(Labelled {
        labels: found.labels,
        names: found.names,
        checks: vec![],
        weights,
    })
}

impl Labelled {
    /// The values that make the bone of a case: those given, else those whose names say so.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when the case leaves it open, of kind input when the bone is not there.
    pub fn label_of(&self, subject: &Subject) -> anyhow::Result<Vec<u16>> {
        if !subject.label.is_empty() {
            return Ok(subject.label.clone());
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
            .with_help("name the bone's values with --label")
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
