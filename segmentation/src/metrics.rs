//! How well two label maps agree.
//!
//! | metric | definition |
//! |---|---|
//! | Dice | 2 TP / (2 TP + FP + FN) |
//! | IoU | TP / (TP + FP + FN) |
//! | volume similarity | 1 − (FN − FP) / (2 TP + FP + FN): above 1 the prediction is too large (Pivi et al. 2025) |
//! | precision, sensitivity | TP / (TP + FP), TP / (TP + FN) |
//! | surface distances | from every surface voxel of one to the nearest surface voxel of the other, centre to centre, mm |
//! | Hausdorff, 95 % | the larger of the two directed maxima, or 95 % percentiles |
//! | mean surface distance | mean over the surface voxels of both |
//! | gap Dice | mean Dice of the labels where the two nearest bones are together less than 10 voxels away (Xu et al.) |
//! | collision | predicted voxels of a bone at most 2 voxels from another |
//!
//! What does not exist is `None`: a distance to a label that is not there, a gap between fewer than two bones.

use std::collections::{BTreeMap, BTreeSet};

use imaging::components::{Connectivity, label_components};
use imaging::distance::distance_to_mask_mm;
use imaging::orientation::crop;
use imaging::shape::surface_voxels;
use imaging::{Grid, LabelMap, Mask};

use crate::error::Result;

/// Agreement of one label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Voxels of the label in the reference.
    pub reference_voxels: usize,
    /// Voxels of the label in the prediction.
    pub predicted_voxels: usize,
    /// Dice coefficient.
    pub dice: Option<f64>,
    /// Intersection over union.
    pub iou: Option<f64>,
    /// Volume similarity, above 1 where the prediction is too large.
    pub volume_similarity: Option<f64>,
    /// Share of the prediction that is right.
    pub precision: Option<f64>,
    /// Share of the reference that is found.
    pub sensitivity: Option<f64>,
    /// Distances of the surfaces; `None` where either has none.
    pub surface: Option<SurfaceDistances>,
}

/// Distances between two surfaces, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// Largest.
    pub hausdorff_mm: f64,
    /// 95 % percentile, of the side where it is larger.
    pub hausdorff95_mm: f64,
    /// Mean over both surfaces.
    pub mean_mm: f64,
}

/// Agreement of every label, and of the gaps between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// By label.
    pub labels: BTreeMap<u16, Agreement>,
    /// Mean Dice of the labels near the gap between two of them.
    pub gap_dice: Option<f64>,
    /// Predicted voxels of a bone that all but touch another.
    pub collision_voxels: Option<usize>,
}

/// Compares a prediction with a reference on the same grid, for every label that either holds.
///
/// # Errors
/// [`crate::Error::Imaging`] when the grids differ.
pub fn evaluate(reference: &LabelMap, prediction: &LabelMap) -> Result<Evaluation> {
    reference.grid.check_same(&prediction.grid)?;
    let present: BTreeSet<u16> = [reference.labels(), prediction.labels()]
        .concat()
        .into_iter()
        .collect();
    let mut labels = BTreeMap::new();
    for label in present {
        let of = |map: &LabelMap| map.select(&[label]);
        labels.insert(label, agreement(&of(reference), &of(prediction))?);
    }
    let several = labels.len() > 1;
    Ok(Evaluation {
        gap_dice: match several {
            true => {
                let gap = gap_dice(reference, prediction, GAP_VOXELS)?;
                let count = gap.len() as f64;
                (!gap.is_empty()).then(|| gap.values().sum::<f64>() / count)
            }
            false => None,
        },
        collision_voxels: match several {
            true => Some(collision(prediction, COLLISION_VOXELS)?),
            false => None,
        },
        labels,
    })
}

/// Sum of distances to the two nearest bones below which a voxel belongs to the gap (Xu et al.).
pub const GAP_VOXELS: f64 = 10.0;
/// Distance to another bone up to which a voxel collides (Xu et al.).
pub const COLLISION_VOXELS: f64 = 2.0;

/// Compares two masks on the same grid.
///
/// # Errors
/// [`crate::Error::Imaging`] when the grids differ or their axes are not at right angles.
pub fn agreement(reference: &Mask, prediction: &Mask) -> Result<Agreement> {
    reference.grid.check_same(&prediction.grid)?;
    let pairs = reference.data.iter().zip(&prediction.data);
    let both = pairs.filter(|(a, b)| **a && **b).count();
    let (whole, found) = (reference.count(), prediction.count());
    let ratio = |part: f64, of: usize| (of > 0).then(|| part / of as f64);
    let hits = both as f64;
    Ok(Agreement {
        reference_voxels: whole,
        predicted_voxels: found,
        dice: ratio(2.0 * hits, whole + found),
        iou: ratio(hits, whole + found - both),
        volume_similarity: ratio(found as f64 - whole as f64, whole + found).map(|d| 1.0 + d),
        precision: ratio(hits, found),
        sensitivity: ratio(hits, whole),
        surface: match whole > 0 && found > 0 {
            true => Some(surface_distances(reference, prediction)?),
            false => None,
        },
    })
}

/// Two masks on one grid cut to the smallest box that holds both; `None` of two empty ones.
///
/// # Errors
/// [`crate::Error::Imaging`] when a mask cannot be cut.
pub fn boxed(a: &Mask, b: &Mask) -> Result<Option<[Mask; 2]>> {
    let bounds = [a, b].into_iter().filter_map(Mask::bounding_box);
    let both = bounds.reduce(|[low, high], [low_b, high_b]| {
        [
            std::array::from_fn(|axis| low[axis].min(low_b[axis])),
            std::array::from_fn(|axis| high[axis].max(high_b[axis])),
        ]
    });
    let Some([low, high]) = both else {
        return Ok(None);
    };
    Ok(Some([crop(a, low, high)?, crop(b, low, high)?]))
}

fn surface_distances(a: &Mask, b: &Mask) -> Result<SurfaceDistances> {
    let boxes = boxed(a, b)?;
    let (a, b) = boxes.as_ref().map_or((a, b), |[a, b]| (a, b));
    let surface = |mask: &Mask| {
        let mut shell = Mask::filled(mask.grid.clone(), false);
        for [i, j, k] in surface_voxels(mask) {
            let index = shell.grid.index(i, j, k);
            shell.data[index] = true;
        }
        shell
    };
    let (a, b) = (surface(a), surface(b));
    let directed = |from: &Mask, to: &Mask| -> Result<Vec<f64>> {
        let distance = distance_to_mask_mm(to)?;
        let at = from.data.iter().zip(&distance.data).filter(|(on, _)| **on);
        let mut distances: Vec<f64> = at.map(|(_, d)| f64::from(*d)).collect();
        distances.sort_by(f64::total_cmp);
        Ok(distances)
    };
    let (there, back) = (directed(&a, &b)?, directed(&b, &a)?);
    let largest = |of: &[f64]| of.last().copied().unwrap_or(0.0);
    let count = (there.len() + back.len()) as f64;
    Ok(SurfaceDistances {
        hausdorff_mm: largest(&there).max(largest(&back)),
        hausdorff95_mm: percentile(&there, 0.95).max(percentile(&back, 0.95)),
        mean_mm: there.iter().chain(&back).sum::<f64>() / count,
    })
}

/// Percentile of sorted values, linear between two of them.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = part * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

/// Distance of every voxel to the nearest and second nearest label, in voxels; infinite where there is none.
pub fn two_nearest(map: &LabelMap) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut nearest = vec![f32::INFINITY; map.data.len()];
    let mut second = nearest.clone();
    let grid = Grid::axis_aligned(map.grid.size, [1.0; 3]);
    for label in map.labels() {
        let mask = Mask::new(grid.clone(), map.select(&[label]).data)?;
        let distances = distance_to_mask_mm(&mask)?;
        for ((nearest, second), &d) in nearest.iter_mut().zip(&mut second).zip(&distances.data) {
            if d < *nearest {
                *second = *nearest;
                *nearest = d;
            } else if d < *second {
                *second = d;
            }
        }
    }
    Ok((nearest, second))
}

/// Dice of each label of the reference inside the gap: where the distances to its two nearest labels sum to less than `below` voxels.
///
/// # Errors
/// [`crate::Error::Imaging`] when the grids differ.
pub fn gap_dice(
    reference: &LabelMap,
    prediction: &LabelMap,
    below: f64,
) -> Result<BTreeMap<u16, f64>> {
    reference.grid.check_same(&prediction.grid)?;
    let (nearest, second) = two_nearest(reference)?;
    let mut counts: BTreeMap<u16, [usize; 3]> = BTreeMap::new();
    for (index, (d1, d2)) in nearest.iter().zip(&second).enumerate() {
        if f64::from(d1 + d2) >= below {
            continue;
        }
        let (a, b) = (reference.data[index], prediction.data[index]);
        if a > 0 {
            counts.entry(a).or_default()[0] += 1;
        }
        if b > 0 {
            counts.entry(b).or_default()[1] += 1;
        }
        if a > 0 && a == b {
            counts.entry(a).or_default()[2] += 1;
        }
    }
    let dice = counts
        .into_iter()
        .map(|(label, [a, b, both])| (label, 2.0 * both as f64 / (a + b) as f64));
    Ok(dice.collect())
}

/// Labelled voxels at most `within` voxels from another label.
///
/// # Errors
/// [`crate::Error::Imaging`] for a map without voxels.
pub fn collision(map: &LabelMap, within: f64) -> Result<usize> {
    let (_, second) = two_nearest(map)?;
    let labelled = map
        .data
        .iter()
        .zip(&second)
        .filter(|(label, _)| **label > 0);
    Ok(labelled.filter(|(_, d)| f64::from(**d) <= within).count())
}

/// The agreement of instances whose numbers say nothing: each label of the reference with the predicted label that shares most voxels
/// with it, its own number given in the result's key.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_by_overlap(reference: &LabelMap, prediction: &LabelMap) -> Result<Evaluation> {
    reference.grid.check_same(&prediction.grid)?;
    let mut labels = BTreeMap::new();
    for label in reference.labels() {
        let mask = reference.select(&[label]);
        let found = largest_overlap(&mask, prediction);
        labels.insert(
            label,
            agreement(&mask, &prediction.select(found.as_slice()))?,
        );
    }
    Ok(Evaluation {
        labels,
        ..Evaluation::default()
    })
}

/// The label of a map that shares most voxels with a mask on the same grid, the lowest of several.
pub fn largest_overlap(mask: &Mask, map: &LabelMap) -> Option<u16> {
    let mut shared: BTreeMap<u16, usize> = BTreeMap::new();
    let inside = mask
        .data
        .iter()
        .zip(&map.data)
        .filter(|(inside, _)| **inside);
    for (_, &found) in inside.filter(|(_, found)| **found > 0) {
        *shared.entry(found).or_default() += 1;
    }
    let most = shared
        .into_iter()
        .max_by_key(|&(label, count)| (count, std::cmp::Reverse(label)));
    most.map(|(label, _)| label)
}

/// Symmetric bones told apart (Xu et al.): of each of two labels the largest component keeps its label and all others get the other's;
/// components of 6 neighbours, both taken from the map as it came, the second's verdict last.
pub fn swap_components(map: &mut LabelMap, [first, second]: [u16; 2]) {
    let before = map.clone();
    let pairs = [(first, second), (second, first)];
    for (label, _) in pairs {
        for value in map.data.iter_mut().filter(|value| **value == label) {
            *value = 0;
        }
    }
    for (label, other) in pairs {
        let components = label_components(&before.select(&[label]), Connectivity::Faces);
        for (value, &component) in map.data.iter_mut().zip(&components.labels.data) {
            match component {
                0 => {}
                1 => *value = label,
                _ => *value = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of voxels in a grid with three spacings.
    fn block(low: [usize; 3], high: [usize; 3], label: u16) -> LabelMap {
        let grid = Grid::axis_aligned([20, 20, 20], [0.5, 1.0, 2.0]);
        LabelMap::from_fn(grid, |at| {
            let inside = (0..3).all(|axis| (low[axis]..high[axis]).contains(&at[axis]));
            if inside { label } else { 0 }
        })
    }

    #[test]
    fn a_shifted_box() {
        let reference = block([2, 2, 2], [12, 12, 12], 1);
        let prediction = block([6, 2, 2], [16, 12, 12], 1);
        let found = &evaluate(&reference, &prediction).unwrap().labels[&1];
        assert_eq!(found.dice, Some(0.6));
        assert_eq!(found.iou, Some(600.0 / 1400.0));
        assert_eq!(found.volume_similarity, Some(1.0));
        assert_eq!(found.precision, Some(0.6));
        assert_eq!(found.sensitivity, Some(0.6));
        let surface = found.surface.unwrap();
        // Four voxels of 0.5 mm.
        assert_eq!(surface.hausdorff_mm, 2.0);
        assert!(surface.mean_mm > 0.3 && surface.mean_mm < 2.0);
        assert!(surface.hausdorff95_mm <= 2.0);
    }

    #[test]
    fn distances_are_those_of_every_pair_of_surface_voxels() {
        let reference = block([3, 4, 5], [9, 9, 8], 1);
        let prediction = block([1, 6, 2], [12, 11, 7], 1);
        let (a, b) = (reference.select(&[1]), prediction.select(&[1]));
        let place = |[i, j, k]: [usize; 3]| [i as f64 * 0.5, j as f64, k as f64 * 2.0];
        let distances = |from: &Mask, to: &Mask| -> Vec<f64> {
            let to: Vec<[f64; 3]> = surface_voxels(to).into_iter().map(place).collect();
            let nearest = |at: [f64; 3]| {
                let square = |b: &[f64; 3]| (0..3).map(|i| (at[i] - b[i]).powi(2)).sum::<f64>();
                to.iter().map(square).fold(f64::INFINITY, f64::min).sqrt()
            };
            surface_voxels(from)
                .into_iter()
                .map(place)
                .map(nearest)
                .collect()
        };
        let (there, back) = (distances(&a, &b), distances(&b, &a));
        let all: Vec<f64> = there.iter().chain(&back).copied().collect();
        let found = surface_distances(&a, &b).unwrap();
        let largest = all.iter().copied().fold(0.0, f64::max);
        assert!((found.hausdorff_mm - largest).abs() < 1e-6);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((found.mean_mm - mean).abs() < 1e-6);
        // At least 95 % of each direction lie at or below the percentile, and it is no larger than the maximum.
        for direction in [there, back] {
            let below = direction
                .iter()
                .filter(|d| **d <= found.hausdorff95_mm + 1e-6)
                .count();
            assert!(below as f64 >= 0.95 * direction.len() as f64);
        }
    }

    #[test]
    fn what_is_not_there_has_no_distance() {
        let reference = block([2, 2, 2], [5, 5, 5], 1);
        let prediction = block([2, 2, 2], [5, 5, 5], 2);
        let found = evaluate(&reference, &prediction).unwrap();
        assert_eq!(found.labels[&1].dice, Some(0.0));
        assert_eq!(found.labels[&1].precision, None);
        assert_eq!(found.labels[&2].sensitivity, None);
        assert_eq!(found.labels[&1].surface, None);
    }

    #[test]
    fn instances_are_matched_by_overlap() {
        let reference = block([2, 2, 2], [12, 12, 12], 7);
        let prediction = block([2, 2, 2], [12, 12, 11], 101);
        let found = evaluate_by_overlap(&reference, &prediction).unwrap();
        assert_eq!(found.labels.len(), 1);
        assert!((found.labels[&7].dice.unwrap() - 1800.0 / 1900.0).abs() < 1e-12);
    }
}
