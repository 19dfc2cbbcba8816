//! What is looked for on a bone before anything is modelled: its parts, its landmarks and every gate.

use imaging::components::{Connectivity, largest_component};
use imaging::{LabelMap, Mask};

use super::super::{gates, options};
use super::{Case, morphed, select};
use crate::anatomy::endplate::ImageEndplates;
use crate::anatomy::one_vertebra::one_vertebra;
use crate::anatomy::vertebra::{canal_wall, split_body};
use crate::anatomy::{self, FemurLandmarks, Refused, VertebraLandmarks, pieces::single_bone};
use crate::automatic::{LEFT_FEMUR, RIGHT_FEMUR};
use crate::exit::Failure;
use crate::plan::{CalibrationSpec, EndplateSource, Level, LevelChoice, Plan, Subject};
use crate::quality::shape::Cavities;
use crate::quality::{
    Near, contrast, density, grid, labels, leak, lesion, metal, motion, noise, shape,
};

/// A label that covers more of the body's surface than this is its cortex; pedicles cover about a tenth.
const ENCLOSED: f64 = 0.5;

impl Case {
    pub(super) fn open_femur(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let subject = &plan.subject;
        let mask = select(&self.labels, &subject.label)?;
        let (mask, check) = single_bone(&mask);
        self.add(check);
        self.look_at_density(&mask, &mask, plan);
        let near = self.look_at_scan(&mask, plan);
        // The gates on the mask look at it as it was given: what --morph does to it is the plan's.
        self.add(shape::thickness(&mask));
        let given = mask;
        let mask = morphed(&given, plan, self.uncertainty_mm.as_deref())?;
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

    pub(super) fn open_vertebra(&mut self, plan: &Plan) -> anyhow::Result<()> {
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
        let found = VertebraLandmarks::find(&main);
        let landmarks = found.as_ref().ok().map(|(found, _)| found);
        let load = &plan.settings.load;
        self.add(gates::field_of_view(whole, &main, landmarks, load));
        self.add(labels::other_labels(
            &self.labels,
            &plan.subject.label,
            &main,
        ));
        self.add(shape::thickness(&main));
        if let Some(near) = Near::of(&self.density.mg_cm3, &self.calibration, &main) {
            self.add(lesion::lesion(&near, None));
        }
        self.add(one_vertebra(body, landmarks.map(|found| found.height_mm)));
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
            contrast::contrast_agent(&near, self.contrast_agent.as_deref()),
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
