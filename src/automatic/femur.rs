//! Femora by the built-in networks.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use nalgebra::Vector3;
use segmentation::builtin::{Femora, Femur};
use segmentation::network::Device;
use segmentation::nnunet::Options;

use super::{Labelled, agreement};
use crate::anatomy::{Check, FemurLandmarks, Side};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::progress::Progress;
use crate::provenance::sha256_of;
use crate::quality::metal::metal_in_hu;

/// Label of a left femur by the built-in networks.
pub const LEFT_FEMUR: u16 = 1;
/// Label of a right one.
pub const RIGHT_FEMUR: u16 = 2;

/// What is known of a load by the built-in networks' outline. Measured on the demo's femur, the synthetic ones 701 and 703 and that of
/// the tests (41): figures and commands stand in docs/segmentation.md.
const FEMUR_STATEMENT: &str = "outlined by the built-in networks, whose training is not finished: on four synthetic femora the failure load was -18 to +16 % off that of the true mask (stiffness up to 4 %); look at segmentation.nii.gz, and do not rely on the load without a checked mask";

/// Segments a scan in HU with the built-in networks of femora.
///
/// # Errors
/// As [`super::segmented`].
pub(super) fn femora(
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
    let mut checks = vec![];
    for (femur, &label) in found.femora.iter().zip(&sides) {
        checks.push((label, agreement(femur.doubt_mm)));
        checks.push((label, metal_in_hu(scan, &found.labels.select(&[label]))));
        checks.push((label, Check::review("segmentation", None, FEMUR_STATEMENT)));
    }
    Ok(Labelled {
        labels: found.labels,
        names: BTreeMap::from([
            (LEFT_FEMUR, "femur_left".to_owned()),
            (RIGHT_FEMUR, "femur_right".to_owned()),
        ]),
        checks,
        cut: BTreeSet::new(),
        doubt_mm: found.doubt_mm,
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
