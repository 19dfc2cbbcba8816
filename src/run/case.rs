//! One bone of one scan, read, calibrated and looked at.

use std::sync::Arc;

use anyhow::Context as _;
use calibration::{Calibration, DensityMap};
use imaging::components::{Connectivity, largest_component};
use imaging::morphology::{StructuringElement, morph_mm, morph_voxels};
use imaging::orientation::{axes_of, reorient};
use imaging::{Grid, LabelMap, Mask, Volume};

use super::scan::Scan;
use super::{RunRequest, gates, options};
use crate::anatomy::endplate::ImageEndplates;
use crate::anatomy::one_vertebra::one_vertebra;
use crate::anatomy::vertebra::{canal_wall, split_body};
use crate::anatomy::{self, FemurLandmarks, Refused, VertebraLandmarks, pieces::single_bone};
use crate::automatic::{LEFT_FEMUR, Labelled, RIGHT_FEMUR};
use crate::bone_model::{BoneModel, compression, fall, stance};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::OutputDir;
use crate::plan::{
    Bone, CalibrationSpec, EndplateSource, Level, LevelChoice, LoadKind, MorphElement, MorphUnit,
    Orientation, Plan, Side, Subject,
};
use crate::pose::Posed;
use crate::progress::Progress;
use crate::quality::shape::Cavities;
use crate::quality::{Near, contrast, density, grid, leak, lesion, metal, motion, noise, shape};
use crate::report::result_json::{Check, CheckStatus};
use crate::report::{EndplateFigure, Landmarks};
use crate::segment::write_labels;

/// A label that covers more of the body's surface than this is its cortex; pedicles cover about a tenth.
const ENCLOSED: f64 = 0.5;

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

    fn open_femur(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let subject = &plan.subject;
        let mask = select(&self.labels, &subject.label)?;
        let (mask, check) = single_bone(&mask);
        self.add(check);
        self.look_at_density(&mask, &mask, plan);
        let near = self.look_at_scan(&mask, plan);
        // The gates on the mask look at it as it was given: what --morph does to it is the plan's.
        self.add(shape::thickness(&mask));
        let given = mask;
        let mask = morphed(&given, plan)?;
        let other = self.other_femur(&subject.label);
        match FemurLandmarks::find(&mask) {
            Ok((mut landmarks, checks)) => {
                checks.into_iter().for_each(|check| self.add(check));
                let across = Cavities::AcrossAxis(grid::along_shaft(&given.grid, &landmarks));
                self.add(shape::holes(&given, across));
                self.add(grid::femur_field_of_view(&given, &landmarks));
                if let Some(near) = &near {
                    self.add(leak::femur_joint_leak(near, &landmarks));
                    self.add(lesion::lesion(near, Some(&landmarks)));
                }
                if let Some(other) = other {
                    landmarks
                        .side
                        .read_pair(anatomy::vertebra::centroid(&mask), other);
                }
                let given = subject.side.map(options::anatomy_side);
                let (side, check) = landmarks.side.settle(given);
                self.add(check);
                self.side = side.map(options::plan_side);
                self.femur = Some(landmarks);
            }
            Err(Refused(check)) => {
                self.add(shape::holes(&given, Cavities::AcrossAxis(2)));
                self.add(check);
            }
        }
        self.labels = mask.map(|&inside| u16::from(inside));
        Ok(())
    }

    /// Centroid of the other femur, where the label map holds both under the built-in values.
    fn other_femur(&self, labels: &[u16]) -> Option<nalgebra::Vector3<f64>> {
        let other = match labels {
            [LEFT_FEMUR] => RIGHT_FEMUR,
            [RIGHT_FEMUR] => LEFT_FEMUR,
            _ => return None,
        };
        let mask = self.labels.select(&[other]);
        (mask.count() > 0).then(|| anatomy::vertebra::centroid(&mask))
    }

    fn open_vertebra(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let subject = &plan.subject;
        let caps = &plan.settings.load.cap_labels;
        if subject.label.is_empty() {
            return Err(Failure::usage(
                "no label of the vertebra is given, and one case is one vertebra",
            )
            .with_help("name it with --label or --level")
            .into());
        }
        let whole = select(&self.labels, &subject.label)?;
        for &cap in caps {
            select(&self.labels, &[cap])?;
        }
        let (level, checks) = level(subject, &self.labels);
        self.level = level;
        checks.into_iter().for_each(|check| self.add(check));
        let with_caps = self.labels.select(&[&subject.label[..], caps].concat());
        self.look_at_density(&whole, &with_caps, plan);
        self.look_at_scan(&whole, plan);
        self.add(shape::holes(&whole, Cavities::Enclosed));
        // Both before erosion, which may open the ring that the arch closes around the canal, and before dilation, which
        // would part the body from its cortex.
        let wall = match subject.label[..] {
            [_] if caps.is_empty() => canal_wall(&whole)?,
            _ => None,
        };
        if caps.is_empty() {
            self.join_cortex(&subject.label);
        }
        if subject.morph != 0.0 {
            self.morph_labels(&whole, plan)?;
        }
        if caps.is_empty() {
            // Its cortex may have taken the body's label, and erosion may have taken a process.
            let (single, check) = single_bone(&self.labels.select(&subject.label));
            self.add(check);
            let body = match subject.label[..] {
                [_] => {
                    let (body, check) = split_body(&single, wall);
                    self.add(check);
                    body
                }
                _ => select(&self.labels, &subject.label[..1])?,
            };
            self.find_body(&single, &body, plan);
        }
        for label in &mut self.labels.data {
            if !subject.label.contains(label) && !caps.contains(label) {
                *label = 0;
            }
        }
        Ok(())
    }

    /// Finds the landmarks of a vertebral body, which may come with loose pieces of processes beside it.
    fn find_body(&mut self, whole: &Mask, body: &Mask, plan: &Plan) {
        let main = largest_component(body, Connectivity::Faces);
        self.add(gates::field_of_view(whole, &main));
        self.add(shape::thickness(&main));
        if let Some(near) = Near::of(&self.density.mg_cm3, &self.calibration, &main) {
            self.add(lesion::lesion(&near, None));
        }
        let found = VertebraLandmarks::find(&main);
        let height = found.as_ref().ok().map(|(found, _)| found.height_mm);
        self.add(one_vertebra(body, height));
        match found {
            Ok((landmarks, checks)) => {
                self.of_mask = Some(landmarks.clone());
                let in_image = plan.settings.load.endplates == EndplateSource::ImageEdge
                    && self.find_endplates(&main, &landmarks);
                if !in_image {
                    checks.into_iter().for_each(|check| self.add(check));
                    self.vertebra = Some(landmarks);
                }
            }
            Err(Refused(check)) => self.add(check),
        }
        if plan.subject.label.len() == 1 {
            self.split_body = Some(main);
        }
    }

    /// The gates on the density in the bone and around what is modelled, before the mask is morphed.
    fn look_at_density(&mut self, bone: &Mask, modelled: &Mask, plan: &Plan) {
        let density = &self.density.mg_cm3;
        let checks = [
            gates::density_constant(density, bone),
            gates::density_around_bone(density, modelled, plan),
        ];
        checks.into_iter().for_each(|check| self.add(check));
    }

    /// Centres of the phantom's rods, LPS mm, where it lies in this scan: another scan's say nothing of this one, and the places of
    /// tissues are no rods.
    fn rods_in_scan(&self, plan: &Plan) -> Vec<nalgebra::Vector3<f64>> {
        let subject = &plan.subject;
        let by_rods = matches!(subject.calibration, Some(CalibrationSpec::Phantom(_)));
        if !by_rods || subject.phantom_ct.is_some() {
            return Vec::new();
        }
        let centres = self.calibration.rods.iter().filter_map(|rod| rod.centre_mm);
        centres.map(nalgebra::Vector3::from).collect()
    }

    /// The gates on the scan around a bone, before the mask is morphed.
    fn look_at_scan(&mut self, bone: &Mask, plan: &Plan) -> Option<Near> {
        self.add(grid::grid(&bone.grid));
        let mut near = Near::of(&self.density.mg_cm3, &self.calibration, bone)?;
        near.rods_mm = self.rods_in_scan(plan);
        let checks = [
            metal::metal(&near),
            contrast::contrast_agent(&near),
            noise::noise(&near),
            motion::motion(&near),
            density::impossible_densities(&near),
        ];
        checks.into_iter().for_each(|check| self.add(check));
        Some(near)
    }

    /// Looks for the endplates in the image; whether they take the place of the mask's.
    fn find_endplates(&mut self, body: &Mask, of_mask: &VertebraLandmarks) -> bool {
        let up = body.grid.direction.column(2).into();
        let found = ImageEndplates::find(&self.density.mg_cm3, body, of_mask)
            .and_then(|(found, checks)| Ok((found.landmarks(of_mask, up)?, found, checks)));
        match found {
            Ok((landmarks, found, checks)) => {
                checks.into_iter().for_each(|check| self.add(check));
                let height = landmarks.height_mm;
                self.add(anatomy::Check::pass(
                    "image_endplate_height",
                    height,
                    format!(
                        "{height:.2} mm between the image's endplates, {:.2} mm between the mask's",
                        of_mask.height_mm
                    ),
                ));
                for check in landmarks.checks() {
                    self.add(check);
                }
                self.vertebra = Some(landmarks);
                self.endplates = Some(found);
                true
            }
            Err(Refused(check)) => {
                self.add(check);
                false
            }
        }
    }

    /// Gives the first label, the body's, to every other one that encloses it: some label maps draw the body's cortex as a
    /// label of its own, and endplates are found on the outside.
    fn join_cortex(&mut self, labels: &[u16]) {
        let Some((&body, others)) = labels.split_first() else {
            return;
        };
        for &other in others {
            let part = anatomy::vertebra::enclosed_by(&self.labels, body, other);
            if part < ENCLOSED {
                continue;
            }
            for label in self.labels.data.iter_mut().filter(|label| **label == other) {
                *label = body;
            }
            self.add(anatomy::Check::pass(
                "vertebra_cortex",
                100.0 * part,
                format!(
                    "label {other} covers {:.0} % of the surface of the body's label {body}: it is taken for the body's cortex",
                    100.0 * part
                ),
            ));
        }
    }

    /// Erodes or dilates all labels of the bone as one; a voxel that is gained takes the label next to it.
    fn morph_labels(&mut self, whole: &Mask, plan: &Plan) -> anyhow::Result<()> {
        let target = morphed(whole, plan)?;
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
                if let (Some(body), true) = (&self.split_body, options.endplates) {
                    // Only the body bears the load: its arch gets a label of its own.
                    let arch = labels.iter().max().map_or(1, |last| last.saturating_add(1));
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

/// The mask eroded or dilated as the plan says.
fn morphed(mask: &Mask, plan: &Plan) -> anyhow::Result<Mask> {
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

/// The level that was given, or else the one that a single label names, and what there is to say about it.
fn level(subject: &Subject, map: &LabelMap) -> (Option<Level>, Vec<anatomy::Check>) {
    let names = subject.names();
    let statement = names.statement();
    // A map of nothing but ones is a plain mask, not the atlas alone.
    let (named, read) = match subject.label[..] {
        [1] if map.labels() == [1] => (
            None,
            "the mask holds no other value than 1, which names no level".into(),
        ),
        [label] => match names.level(label) {
            Some(level) if level.has_no_endplates() => (
                None,
                format!(
                    "label {label} is {level} there, which has no two endplates: no level is taken from it"
                ),
            ),
            Some(level) => {
                let read = format!("label {label} is {level}");
                (Some(level), read)
            }
            None => (None, format!("label {label} names no level")),
        },
        _ => (
            None,
            "several labels make up the bone and name no level".into(),
        ),
    };
    let given = match &subject.level {
        Some(LevelChoice::One(level)) => Some(level.clone()),
        _ => None,
    };
    let reason = format!("vertebrae are named by {statement}: {read}");
    // Of a level that is given and one that is read, the given one is believed, wherever the bone's label comes from.
    let believed = given.is_some() && given != named;
    let foreign = names.foreign_label(&map.labels());
    let mut checks = vec![match foreign {
        Some(label) if named.is_some() && !believed => anatomy::Check::refuse(
            "level_names",
            f64::from(label),
            format!(
                "{reason}; but the map holds {label}, which this numbering does not know: is it TotalSegmentator's (--label-names totalsegmentator)?"
            ),
        ),
        _ => anatomy::Check::pass("level_names", None, reason),
    }];
    if let (Some(given), Some(named)) = (&given, &named) {
        checks.push(if given == named {
            anatomy::Check::pass("level", None, format!("{given}, as its label says"))
        } else {
            anatomy::Check::review(
                "level",
                None,
                format!("--level says {given}, the label says {named} in {statement}; {given} is believed"),
            )
        });
    }
    (given.or(named), checks)
}
