//! One bone of one scan, read, calibrated and looked at.

mod look;

use std::sync::Arc;

use anyhow::Context as _;
use calibration::{Calibration, DensityMap};
use imaging::morphology::{StructuringElement, morph_by_mm, morph_mm, morph_voxels};
use imaging::orientation::{axes_of, reorient};
use imaging::{Grid, LabelMap, Mask, Volume};

use super::scan::Scan;
use super::{RunRequest, options};
use crate::anatomy::endplate::ImageEndplates;
use crate::anatomy::{self, FemurLandmarks, VertebraLandmarks};
use crate::automatic::Labelled;
use crate::bone_model::{BoneModel, compression, fall, stance};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::OutputDir;
use crate::plan::{
    Bone, EndplateSource, Level, LoadKind, MorphElement, MorphUnit, Orientation, Plan, Side,
};
use crate::pose::Posed;
use crate::progress::Progress;
use crate::report::result_json::{Check, CheckStatus};
use crate::report::{EndplateFigure, Landmarks};
use crate::segment::write_labels;

/// One bone, with what was found on it. Volumes run along RAS+ array axes.
pub struct Case {
    /// Calibrated density of the scan, mg/cm³.
    pub density: Arc<DensityMap>,
    /// The calibration.
    pub calibration: Calibration,
    /// The labels that belong to the model (bone, discs), after morphing.
    labels: LabelMap,
    /// Side of a femur.
    pub side: Option<Side>,
    /// Level of a vertebra.
    pub level: Option<Level>,
    femur: Option<FemurLandmarks>,
    vertebra: Option<VertebraLandmarks>,
    /// The landmarks of the mask, where those of the image take their place.
    of_mask: Option<VertebraLandmarks>,
    /// Its endplates in the image, where they are asked for.
    endplates: Option<ImageEndplates>,
    /// Body of a vertebra whose one label also covers its arch.
    split_body: Option<Mask>,
    /// The label map of the whole scan, where a network made it.
    automatic: Option<Arc<Labelled>>,
    /// Standard deviation of the surface of the labels, mm, where the mask is to be moved by that.
    uncertainty_mm: Option<Arc<Volume<f32>>>,
    /// The contrast agent that the scan's header states.
    contrast_agent: Option<String>,
    /// The quality gates so far.
    pub checks: Vec<Check>,
    /// The scan's own grid: images are written on it.
    scan_grid: Grid,
}

impl Case {
    /// Reads and calibrates the scan, takes the bone out of the mask and finds its landmarks.
    pub fn open(request: &RunRequest, progress: &mut Progress) -> anyhow::Result<Self> {
        let scan = Scan::open(request, progress)?;
        let request = scan.completed(request)?;
        Self::of(&scan, &request.plan, progress)
    }

    /// Takes the plan's bone out of the mask of a scan and finds its landmarks.
    pub fn of(scan: &Scan, plan: &Plan, progress: &mut Progress) -> anyhow::Result<Self> {
        let mut case = Self {
            density: Arc::clone(&scan.density),
            checks: scan.calibration.checks.clone(),
            calibration: scan.calibration.clone(),
            labels: scan.labels.clone(),
            side: plan.subject.side,
            level: None,
            femur: None,
            vertebra: None,
            of_mask: None,
            endplates: None,
            split_body: None,
            scan_grid: scan.grid.clone(),
            automatic: scan.automatic.clone(),
            uncertainty_mm: scan.uncertainty_mm.clone(),
            contrast_agent: scan
                .acquisition
                .as_ref()
                .and_then(|a| a.contrast_agent.clone()),
        };
        case.add(scan.orientation.clone());
        if let Some(check) = &scan.repaired {
            case.add(check.clone());
        }
        for (label, check) in scan.automatic.iter().flat_map(|found| &found.checks) {
            // Metal is looked for again, around the bone of the case.
            if plan.subject.label.contains(label) && check.name != "metal" {
                case.add(check.clone());
            }
        }
        progress.stage("landmarks");
        match plan.subject.bone {
            Bone::Femur => case.open_femur(plan)?,
            Bone::Vertebra => case.open_vertebra(plan)?,
        }
        Ok(case)
    }

    /// Erodes or dilates all labels of the bone as one; a voxel that is gained takes the label next to it.
    fn morph_labels(&mut self, whole: &Mask, plan: &Plan) -> anyhow::Result<()> {
        let target = morphed(whole, plan, self.uncertainty_mm.as_deref())?;
        let mut gained = Vec::new();
        for (index, label) in self.labels.data.iter_mut().enumerate() {
            match (whole.data[index], target.data[index]) {
                (true, false) => *label = 0,
                (false, true) => {
                    // Whatever bone beside this one stood there.
                    *label = 0;
                    gained.push(index);
                }
                _ => {}
            }
        }
        // Layer by layer outwards, so that the nearest label comes first.
        while !gained.is_empty() {
            let found: Vec<(usize, u16)> = gained
                .iter()
                .filter_map(|&index| Some((index, self.label_beside(index, &target)?)))
                .collect();
            if found.is_empty() {
                // Apart from the bone: left out.
                break;
            }
            for (index, label) in found {
                self.labels.data[index] = label;
            }
            gained.retain(|&index| self.labels.data[index] == 0);
        }
        Ok(())
    }

    /// The label of the nearest of a voxel's 26 neighbours inside `mask` that has one, the smallest of equally near ones.
    fn label_beside(&self, index: usize, mask: &Mask) -> Option<u16> {
        let grid = &self.labels.grid;
        let at = grid.voxel(index);
        (0..27)
            .filter_map(|n| {
                let step = [n % 3, n / 3 % 3, n / 9];
                let mut next = [0; 3];
                for axis in 0..3 {
                    next[axis] = (at[axis] + step[axis]).checked_sub(1)?;
                    if next[axis] >= grid.size[axis] {
                        return None;
                    }
                }
                let label = self.labels.at(next[0], next[1], next[2]);
                let away = step.iter().filter(|s| **s != 1).count();
                (label != 0 && mask.at(next[0], next[1], next[2])).then_some((away, label))
            })
            .min()
            .map(|(_, label)| label)
    }

    /// The bone, without discs, on the scan's RAS+ axes, after morphing.
    pub fn bone(&self, plan: &Plan) -> Mask {
        match plan.subject.bone {
            Bone::Femur => self.labels.map(|&label| label != 0),
            Bone::Vertebra => self.labels.select(&plan.subject.label),
        }
    }

    /// The landmarks that the model is built by.
    pub fn landmarks(&self) -> Option<Landmarks> {
        let of_femur = self.femur.as_ref().map(Landmarks::from);
        of_femur.or_else(|| self.vertebra.as_ref().map(Landmarks::from))
    }

    fn add(&mut self, check: anatomy::Check) {
        self.checks.push(options::check(check));
    }

    /// Ends the run when a gate refuses that the user did not accept by name.
    pub fn pass_gates(&self, plan: &Plan) -> anyhow::Result<()> {
        let accepted = &plan.subject.accept;
        let refusing: Vec<&Check> = self
            .checks
            .iter()
            .filter(|check| check.status == CheckStatus::Refuse && !accepted.contains(&check.name))
            .collect();
        let Some(first) = refusing.first() else {
            return Ok(());
        };
        let text: Vec<String> = refusing
            .iter()
            .map(|check| format!("{}: {}", check.name, check.reason))
            .collect();
        Err(Failure::gate(text.join("; "))
            .with_help(format!(
                "mend the input, or go on at your own risk with --accept {}",
                first.name
            ))
            .into())
    }

    /// Builds the model of the load case.
    pub fn model(&mut self, plan: &Plan, progress: &mut Progress) -> anyhow::Result<BoneModel> {
        progress.stage("mesh");
        let input = Posed::new(self.density.mg_cm3.clone(), self.labels.clone())?;
        let load = &plan.settings.load;
        let femur = || {
            self.femur
                .as_ref()
                .ok_or_else(|| Failure::gate("the femur's landmarks were not found"))
        };
        let model = match load.case {
            LoadKind::Stance => stance::build(&input, femur()?, &options::stance(plan)),
            LoadKind::SidewaysFall => {
                let landmarks = match load.orientation {
                    Orientation::Anatomical => Some(femur()?),
                    _ => self.femur.as_ref(),
                };
                let side = self.side.map(options::anatomy_side);
                fall::build(&input, landmarks, side, &options::fall(plan)?)
            }
            LoadKind::EndplateCompression | LoadKind::PlatenCompression => {
                // The labels of the built-in networks name left femora and vertebrae alike: here the
                // first given is the body.
                let mut labels = plan.subject.label.clone();
                labels.retain(|label| self.labels.data.contains(label));
                let mut input = input;
                let mut options = options::compression(plan)?;
                if load.endplates == EndplateSource::ImageEdge && self.endplates.is_none() {
                    return Err(Failure::gate("the endplates were not found in the image")
                        .with_help("take the mask's with --set load.endplates=mask_surface")
                        .into());
                }
                if let Some(body) = &self.split_body {
                    // Only the body bears the load: its arch gets a label of its own.
                    let arch = (1..u16::MAX)
                        .find(|label| !labels.contains(label))
                        .unwrap_or(u16::MAX);
                    for (label, &inside) in input.labels.data.iter_mut().zip(&body.data) {
                        if *label != 0 && !inside {
                            *label = arch;
                        }
                    }
                    if input.labels.data.contains(&arch) {
                        labels.push(arch);
                    }
                    options.one_bone = true;
                }
                compression::build(
                    &input,
                    &labels,
                    self.vertebra.as_ref(),
                    self.endplates.as_ref(),
                    &options,
                )
            }
        }
        .context("the model cannot be built")
        .kind(Kind::Input)?;
        self.checks
            .extend(model.checks.iter().cloned().map(options::check));
        if model.dropped_voxels > 0 {
            self.checks.push(options::check(anatomy::Check::review(
                "dropped_voxels",
                model.dropped_voxels as f64,
                format!(
                    "{} voxels that hang on nothing loaded or held are left out",
                    model.dropped_voxels
                ),
            )));
        }
        Ok(model)
    }

    /// Writes mask and density on the scan's own grid, and a picture of the endplates of a vertebra.
    pub fn write_images(&self, scan: &Scan, out: &OutputDir) -> anyhow::Result<()> {
        let back = axes_of(&self.scan_grid);
        let mask: Volume<u16> = reorient(&self.labels, back)?;
        imaging::write_volume(&out.join("mask.nii.gz"), &mask)?;
        scan.write_density(&out.join("density.nii.gz"))?;
        if let Some(found) = &self.automatic {
            write_labels(&out.join("segmentation.nii.gz"), &found.labels)?;
            if let Some(doubt) = &found.doubt_mm {
                imaging::write_volume(&out.join("segmentation_uncertainty.nii.gz"), doubt)?;
            }
        }
        if let (Some(of_mask), Some(used)) = (&self.of_mask, &self.vertebra) {
            EndplateFigure {
                density: &self.density.mg_cm3,
                labels: &self.labels,
                of_mask,
                of_image: self.endplates.as_ref(),
                bone: self
                    .level
                    .as_ref()
                    .map_or_else(|| "vertebra".to_owned(), ToString::to_string),
                height_mm: used.height_mm,
            }
            .write_png(&out.join("endplates.png"))?;
        }
        Ok(())
    }
}

/// The voxels of some labels.
fn select(map: &LabelMap, labels: &[u16]) -> anyhow::Result<Mask> {
    let present = map.labels();
    let list = |values: &[u16]| {
        values
            .iter()
            .map(u16::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if present.is_empty() {
        return Err(
            Failure::input("the mask is empty: no voxel carries a label")
                .with_help("check the segmentation")
                .into(),
        );
    }
    for label in labels {
        if !present.contains(label) {
            return Err(Failure::input(format!(
                "no voxel carries label {label}; the label map holds {}",
                list(&present)
            ))
            .with_help("choose with --label")
            .into());
        }
    }
    Ok(map.select(labels))
}

/// The mask eroded or dilated as the plan says, `uncertainty_mm` the standard deviation of its surface.
fn morphed(mask: &Mask, plan: &Plan, uncertainty_mm: Option<&Volume<f32>>) -> anyhow::Result<Mask> {
    let subject = &plan.subject;
    if subject.morph == 0.0 {
        return Ok(mask.clone());
    }
    let changed = match subject.morph_unit {
        MorphUnit::Voxel => {
            if subject.morph.fract() != 0.0 {
                return Err(Failure::usage(format!(
                    "--morph {} voxels: voxels are whole",
                    subject.morph
                ))
                .with_help("give whole voxels, or --morph-unit mm")
                .into());
            }
            let element = match subject.morph_element {
                MorphElement::Faces => StructuringElement::Faces,
                MorphElement::Corners => StructuringElement::Corners,
                MorphElement::Ball => StructuringElement::Ball,
            };
            morph_voxels(mask, subject.morph as i32, element)
        }
        MorphUnit::Millimetre => morph_mm(mask, subject.morph)?,
        MorphUnit::StandardDeviation => {
            let by_mm = uncertainty_mm.context("no map of the surface's standard deviation")?;
            let named = subject.uncertainty.as_deref();
            morph_by_mm(mask, by_mm, subject.morph)
                .with_context(|| {
                    named
                        .unwrap_or("the uncertainty of the segmentation")
                        .to_owned()
                })
                .kind(Kind::Input)?
        }
    };
    if changed.count() == 0 {
        return Err(Failure::input(format!(
            "nothing is left of the mask after --morph {} {}",
            subject.morph, subject.morph_unit
        ))
        .into());
    }
    Ok(changed)
}
