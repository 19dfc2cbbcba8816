//! Where the patient's tissues are in a scan.

use imaging::components::{Connectivity, fill_holes_in_slices, largest_component};
use imaging::filter::gaussian;
use imaging::morphology::{StructuringElement, morph_voxels, opening};
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::Vector3;

use super::{Tissue, TissueSample, vessel};
use crate::error::{Error, Result};
use crate::fit::{Check, CheckStatus};

/// Side of the blocks that regions are made of, mm.
const BLOCK_MM: f64 = 2.0;
/// What is denser belongs to the body, HU.
const BODY_HU: f32 = -300.0;
/// Air outside the body is thinner than this, HU.
const AIR_HU: f32 = -900.0;
/// Air keeps this many blocks off everything else: 10 mm.
const AIR_OFF: i32 = 5;
/// Bone of which the cortical sample is taken is denser than this, HU.
const BONE_HU: f32 = 600.0;
/// The densest voxels left out, and those that make the cortical sample (Ogo).
const CORTICAL_DROPPED: usize = 50;
const CORTICAL_VOXELS: usize = 899;
/// Fewest blocks of a region: 400 mm³, more than the 10 mm² that Michalski 2020 asks for.
const LEAST_BLOCKS: usize = 50;
/// Smallest largest slice of a drawn region, mm² (Michalski 2020).
const LEAST_DRAWN_MM2: f64 = 10.0;
/// Padding outside a round field of view is thinner than this, HU, over a neighbourhood: noisy air is not.
const PADDING_HU: f32 = -1015.0;
/// Width of the smoothing that regions are chosen on, mm: chosen on noisy values, a region would be those
/// voxels that the noise puts near its middle.
const SIGMA_MM: f64 = 2.0;

/// The tissues of a scan and their regions.
#[derive(Clone, Debug, PartialEq)]
pub struct TissueRegions {
    /// The tissues found, in the order of [`Tissue::ALL`].
    pub samples: Vec<TissueSample>,
    /// Their regions in blocks of about 2 mm: the label of a tissue is its place in [`Tissue::ALL`], from 1.
    /// The cortical sample is marked by the blocks that hold a voxel of it.
    pub labels: LabelMap,
    /// Whether blood was found, where it was looked for: the check `tissue_blood_found`, for review where a vessel has contrast agent.
    pub checks: Vec<Check>,
}

impl TissueRegions {
    /// Takes a tissue out.
    fn drop_tissue(&mut self, tissue: Tissue) {
        self.samples.retain(|sample| sample.tissue != tissue);
        let own = label_of(tissue);
        let labels = self.labels.data.iter_mut();
        labels
            .filter(|label| **label == own)
            .for_each(|label| *label = 0);
    }

    /// Takes all but these out.
    fn keep(&mut self, tissues: &[Tissue]) {
        let others = Tissue::ALL.iter().filter(|other| !tissues.contains(other));
        others.for_each(|other| self.drop_tissue(*other));
    }
}

/// Blocks of voxels, their means smoothed.
struct Blocks {
    grid: Grid,
    step: [usize; 3],
    mean: Vec<f32>,
}

/// Finds and measures the tissues of a scan: see [`measure_tissues`].
fn find_tissues(ct_hu: &Volume<f32>, blocks: &Blocks) -> Result<TissueRegions> {
    let mask = |inside: &dyn Fn(usize) -> bool| Mask {
        grid: blocks.grid.clone(),
        data: (0..blocks.mean.len()).map(inside).collect(),
    };
    let head_foot = head_foot(&blocks.grid);
    let dense = mask(&|b| blocks.mean[b] > BODY_HU);
    // The opening takes the thin skin of the table off.
    let body = largest_component(
        &opening(&dense, 2, StructuringElement::Ball),
        Connectivity::Faces,
    );
    let body = fill_holes_in_slices(&body, head_foot)?;
    if body.count() < LEAST_BLOCKS {
        return Err(Error::Fit(
            "there is no body in the scan: an internal calibration needs fat, muscle and bone"
                .into(),
        ));
    }
    let cut = |mask: Mask, off: i32| morph_voxels(&mask, -off, StructuringElement::Ball);
    let within = |low: f32, high: f32| {
        mask(&|b| body.data[b] && blocks.mean[b] > low && blocks.mean[b] < high)
    };
    let air = mask(&|b| !body.data[b] && blocks.mean[b] > PADDING_HU && blocks.mean[b] < AIR_HU);
    let air = largest_component(&cut(air, AIR_OFF), Connectivity::Faces);
    let adipose = commonest(&cut(within(-150.0, -50.0), 1), &blocks.mean, 25.0);
    let muscle = commonest(&cut(within(0.0, 100.0), 2), &blocks.mean, 20.0);
    let mut labels = vec![0u16; blocks.mean.len()];
    for (tissue, region) in [
        (Tissue::Adipose, &adipose),
        (Tissue::Air, &air),
        (Tissue::Muscle, &muscle),
    ] {
        if region.count() >= LEAST_BLOCKS {
            for (label, _) in labels
                .iter_mut()
                .zip(&region.data)
                .filter(|(_, in_it)| **in_it)
            {
                *label = label_of(tissue);
            }
        }
    }
    let mut found = vec![Vec::new(); Tissue::ALL.len()];
    for (index, hu) in ct_hu
        .data
        .iter()
        .enumerate()
        .filter(|(_, hu)| hu.is_finite())
    {
        let label = labels[blocks.holding(&ct_hu.grid, index)];
        if label > 0 {
            found[usize::from(label) - 1].push((index, *hu));
        }
    }
    let cortical = densest(ct_hu, |index| body.data[blocks.holding(&ct_hu.grid, index)]);
    for (index, _) in &cortical {
        labels[blocks.holding(&ct_hu.grid, *index)] = label_of(Tissue::CorticalBone);
    }
    found[usize::from(label_of(Tissue::CorticalBone)) - 1] = cortical;
    let samples = Tissue::ALL
        .iter()
        .zip(&found)
        .filter(|(_, voxels)| !voxels.is_empty())
        .map(|(tissue, voxels)| sample(*tissue, voxels, &ct_hu.grid))
        .collect();
    Ok(TissueRegions {
        samples,
        labels: LabelMap {
            grid: blocks.grid.clone(),
            data: labels,
        },
        checks: Vec::new(),
    })
}

/// Looks for blood in a scan.
fn find_blood(ct_hu: &Volume<f32>, blocks: &Blocks, regions: &mut TissueRegions) -> Result<()> {
    let vessel = vessel::blood(ct_hu, head_foot(&ct_hu.grid))?;
    for (index, _) in &vessel.voxels {
        regions.labels.data[blocks.holding(&ct_hu.grid, *index)] = label_of(Tissue::Blood);
    }
    if !vessel.voxels.is_empty() {
        let blood = sample(Tissue::Blood, &vessel.voxels, &ct_hu.grid);
        regions.samples.push(blood);
    }
    regions.checks.push(Check {
        name: "tissue_blood_found".into(),
        status: if vessel.agent {
            CheckStatus::Review
        } else {
            CheckStatus::Pass
        },
        value: vessel.hu_mean,
        reason: vessel.reason,
    });
    Ok(())
}

/// Measures the `wanted` tissues of a patient in a scan (CT numbers in HU): those that a label map shows (label `n` is the `n`-th of
/// [`Tissue::ALL`]) there, and the others where they are found:
///
/// - **air**: outside the body, 10 mm off everything else, without padding;
/// - **adipose**: blocks of 2 mm between -150 and -50 HU with all their neighbours, round their commonest value;
/// - **muscle**: the same between 0 and 100 HU, two blocks off everything else;
/// - **cortical bone**: the 899 densest voxels of the body above 600 HU, without the 50 densest (Ogo);
/// - **blood**: the aorta or the vena cava in front of the spine, where it is sure to be one and has no contrast agent; else it is left
///   out, and [`TissueRegions::checks`] says why.
///
/// A tissue that is found over less than 400 mm³ is left out.
///
/// # Errors
/// [`Error::Fit`] for a label that is no tissue, a CT number that is not finite and a region of less than 10 mm² in its largest
/// slice (Michalski 2020), and, where tissues must be found, when there is no body in the scan; [`Error::Image`] for a map on
/// another grid.
pub fn measure_tissues(
    ct_hu: &Volume<f32>,
    wanted: &[Tissue],
    drawn: Option<&LabelMap>,
) -> Result<TissueRegions> {
    if ct_hu.grid.is_empty() {
        return Err(Error::Fit("the scan holds no voxel".into()));
    }
    if let Some(drawn) = drawn {
        ct_hu.grid.check_same(&drawn.grid)?;
    }
    let mut voxels = vec![Vec::new(); Tissue::ALL.len()];
    let labels = drawn.map_or(&[][..], |drawn| &drawn.data);
    for (index, &label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let Some(list) = voxels.get_mut(usize::from(label) - 1) else {
            return Err(Error::Fit(format!(
                "label {label} is no tissue: 1 is adipose, 2 air, 3 blood, 4 cortical_bone and 5 muscle"
            )));
        };
        let hu = ct_hu.data[index];
        if !hu.is_finite() {
            return Err(Error::Fit(format!(
                "label {label} holds a voxel whose CT number is {hu}"
            )));
        }
        list.push((index, hu));
    }
    let shown = |tissue: &Tissue| !voxels[usize::from(label_of(*tissue)) - 1].is_empty();
    let look = |tissue: &Tissue| *tissue != Tissue::Blood && !shown(tissue);
    let blocks = Blocks::of(ct_hu)?;
    let mut regions = if wanted.iter().any(look) {
        find_tissues(ct_hu, &blocks)?
    } else {
        TissueRegions {
            samples: Vec::new(),
            labels: LabelMap::filled(blocks.grid.clone(), 0),
            checks: Vec::new(),
        }
    };
    if wanted.contains(&Tissue::Blood) && !shown(&Tissue::Blood) {
        find_blood(ct_hu, &blocks, &mut regions)?;
    }
    let grid = &ct_hu.grid;
    for (tissue, list) in Tissue::ALL.iter().zip(&voxels) {
        if list.is_empty() {
            continue;
        }
        regions.drop_tissue(*tissue);
        let area = largest_slice(grid, list);
        if area < LEAST_DRAWN_MM2 {
            return Err(Error::Fit(format!(
                "{} is drawn over {area:.1} mm2 in its largest slice; {LEAST_DRAWN_MM2} are needed",
                tissue.name()
            )));
        }
        for (index, _) in list {
            regions.labels.data[blocks.holding(grid, *index)] = label_of(*tissue);
        }
        regions.samples.push(sample(*tissue, list, grid));
    }
    regions
        .samples
        .sort_by_key(|sample| label_of(sample.tissue));
    regions.keep(wanted);
    Ok(regions)
}

/// Largest area of voxels in a slice across the head-foot axis, mm².
fn largest_slice(grid: &Grid, voxels: &[(usize, f32)]) -> f64 {
    let along = head_foot(grid);
    let mut counts = vec![0usize; grid.size[along]];
    for (index, _) in voxels {
        counts[grid.voxel(*index)[along]] += 1;
    }
    let most = counts.into_iter().max().unwrap_or(0);
    most as f64 * grid.voxel_volume_mm3() / grid.spacing_mm[along]
}

pub(super) fn head_foot(grid: &Grid) -> usize {
    let axes = grid.closest_axes();
    (0..3).find(|&a| axes[a].0 == 2).unwrap_or(2)
}

fn label_of(tissue: Tissue) -> u16 {
    let place = Tissue::ALL.iter().position(|other| *other == tissue);
    place.map_or(0, |place| place as u16 + 1)
}

impl Blocks {
    fn of(ct: &Volume<f32>) -> Result<Self> {
        let fine = &ct.grid;
        let step: [usize; 3] = std::array::from_fn(|a| {
            let voxels = (BLOCK_MM / fine.spacing_mm[a]).round() as usize;
            voxels.clamp(1, fine.size[a])
        });
        let mut grid = fine.clone();
        let mut first = Vector3::zeros();
        for a in 0..3 {
            grid.size[a] = fine.size[a].div_ceil(step[a]);
            grid.spacing_mm[a] *= step[a] as f64;
            first[a] = (step[a] - 1) as f64 / 2.0;
        }
        grid.origin_mm = fine.to_world(first);
        let mut sums = vec![(0f64, 0u32); grid.len()];
        let mut blocks = Self {
            grid,
            step,
            mean: Vec::new(),
        };
        for (index, hu) in ct.data.iter().enumerate() {
            // NaN counts as padding.
            let hu = if hu.is_finite() {
                hu.clamp(-1100.0, 2500.0)
            } else {
                -1100.0
            };
            let (sum, count) = &mut sums[blocks.holding(fine, index)];
            *sum += f64::from(hu);
            *count += 1;
        }
        let mean = sums
            .iter()
            .map(|(sum, count)| (sum / f64::from(*count)) as f32)
            .collect();
        let mean = Volume::new(blocks.grid.clone(), mean)?;
        blocks.mean = gaussian(&mean, [SIGMA_MM; 3], 3.0)?.data;
        Ok(blocks)
    }

    /// The block that holds a voxel of the fine grid.
    fn holding(&self, fine: &Grid, index: usize) -> usize {
        let [i, j, k] = fine.voxel(index);
        let [a, b, c] = self.step;
        self.grid.index(i / a, j / b, k / c)
    }
}

/// The part of a region whose values lie near the commonest: bins of 5 HU, each with its two neighbours.
fn commonest(region: &Mask, mean: &[f32], near_hu: f32) -> Mask {
    const BIN_HU: f32 = 5.0;
    let mut bins = [0usize; 64];
    let bin = |hu: f32| (((hu + 160.0) / BIN_HU) as usize).min(63);
    for (b, _) in region.data.iter().enumerate().filter(|(_, in_it)| **in_it) {
        bins[bin(mean[b])] += 1;
    }
    let around = |at: usize| -> usize { bins[at.saturating_sub(1)..(at + 2).min(64)].iter().sum() };
    let best = (0..64).fold(
        0,
        |best, at| if around(at) > around(best) { at } else { best },
    );
    let middle = (best as f32 + 0.5) * BIN_HU - 160.0;
    Mask {
        grid: region.grid.clone(),
        data: region
            .data
            .iter()
            .zip(mean)
            .map(|(in_it, hu)| *in_it && (hu - middle).abs() <= near_hu)
            .collect(),
    }
}

/// The densest voxels of the body without the very densest; none where there is not enough bone.
fn densest(ct_hu: &Volume<f32>, in_body: impl Fn(usize) -> bool) -> Vec<(usize, f32)> {
    let mut bone: Vec<(usize, f32)> = ct_hu
        .data
        .iter()
        .enumerate()
        .filter(|(index, hu)| hu.is_finite() && **hu > BONE_HU && in_body(*index))
        .map(|(index, hu)| (index, *hu))
        .collect();
    let wanted = CORTICAL_DROPPED + CORTICAL_VOXELS;
    if bone.len() < wanted {
        return Vec::new();
    }
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    bone.select_nth_unstable_by(wanted - 1, order);
    bone.truncate(wanted);
    bone.sort_by(order);
    bone.split_off(CORTICAL_DROPPED)
}

fn sample(tissue: Tissue, voxels: &[(usize, f32)], grid: &Grid) -> TissueSample {
    let count = voxels.len() as f64;
    let hu_mean = voxels.iter().map(|(_, hu)| f64::from(*hu)).sum::<f64>() / count;
    let square: f64 = voxels
        .iter()
        .map(|(_, hu)| (f64::from(*hu) - hu_mean).powi(2))
        .sum();
    let place = |index: usize| {
        let [i, j, k] = grid.voxel(index);
        Vector3::new(i as f64, j as f64, k as f64)
    };
    let middle = voxels
        .iter()
        .fold(Vector3::zeros(), |sum, (index, _)| sum + place(*index))
        / count;
    // A region may lie round its middle, as fat under the skin: a voxel of it is named.
    let nearest = voxels.iter().min_by(|a, b| {
        let distance = |index: usize| (place(index) - middle).norm_squared();
        distance(a.0).total_cmp(&distance(b.0)).then(a.0.cmp(&b.0))
    });
    TissueSample {
        tissue,
        hu_mean,
        hu_sd: (voxels.len() > 1).then(|| (square / (count - 1.0)).sqrt()),
        voxels: voxels.len(),
        centre_mm: nearest.map(|(index, _)| grid.to_world(place(*index)).into()),
    }
}
