//! Which vertebra each voxel of bone belongs to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use imaging::distance::signed_distance_mm;
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::Vector3;

use super::vertebra::LEAST_BODY_MM3;
use crate::error::Result;

/// The middle of a body lies deeper under the surface than the neck to its neighbour by this, mm.
const NECK_MM: f32 = 2.0;
/// Arches are cut where they are thinner than on both sides by this, mm.
const ARCH_NECK_MM: f32 = 0.5;
/// Bone of this depth is twice as slow to pass as thick bone, mm: laminae and pedicles are two to three deep, what joins neighbours
/// over a joint less.
const THIN_MM: f64 = 2.0;
/// Middles of neighbouring bodies are further apart along the body, mm.
const APART_MM: f64 = 11.0;
/// By how much bone is likelier than all else where neighbours are told apart: gaps of joints open up.
const SURE: f32 = 0.4;

/// Numbers vertebrae from head to foot: the cores of bodies first, which grow into their bodies, thick and sure bone before thin and
/// doubtful; then arches, piece by piece. A layer outside the bone is numbered too: its surface runs between voxels.
pub(super) fn instances(bodies: &Mask, ahead: &Volume<f32>) -> Result<LabelMap> {
    let nothing = LabelMap::filled(bodies.grid.clone(), 0);
    let bone = ahead.map(|&ahead| ahead > 0.0);
    if bodies.count() == 0 {
        return Ok(nothing);
    }
    let sure = ahead.map(|&ahead| ahead > SURE);
    let mut sure_bodies = bodies.clone();
    keep(&mut sure_bodies, &sure);
    let mut cores = cores(&sure_bodies)?;
    // From head to foot: the third axis runs to the head.
    cores.sort_by(|a, b| b.middle_mm.z.total_cmp(&a.middle_mm.z));
    let mut seeds = nothing;
    for (label, core) in (1..).zip(&cores) {
        for &voxel in &core.voxels {
            seeds.data[voxel] = label;
        }
    }
    let depth = match sure.data.contains(&true) && sure.data.contains(&false) {
        true => signed_distance_mm(&sure)?,
        false => Volume::filled(sure.grid.clone(), 0.0),
    };
    // Bodies are given away before arches, lest an arch that touches its neighbour's body take it.
    let mut body_first = bodies.clone();
    keep(&mut body_first, &bone);
    let grown = flooded(&seeds, &body_first, &depth);
    let grown = arches(&with_bone_from_outside(&grown, &bone), &bone, &depth);
    let layer = grown_by_one(&grown, &bone);
    let all = flooded(&grown, &layer, &Volume::filled(bone.grid, 0.0));
    Ok(without_bone_from_outside(all, cores.len() as u16))
}

/// Labels of bone that enters at the head's end and at the foot's end and is no body: arches whose bodies may lie outside.
const FROM_ABOVE: u16 = u16::MAX - 1;
const FROM_BELOW: u16 = u16::MAX;
/// A body further from the foot's end than this has a neighbour whose body must be in sight too, mm: a disc of about 10 and some of a
/// body (judgement).
const NEXT_MM: f64 = 15.0;

/// The labels of bodies, and of bone that enters at the ends. Below, an arch ends behind the next body: its tip may be the last one's
/// own, unless there is room for the next.
fn with_bone_from_outside(bodies: &LabelMap, bone: &Mask) -> LabelMap {
    let grid = &bodies.grid;
    let slice = grid.size[0] * grid.size[1];
    let lowest = bodies.data.iter().position(|&label| label > 0);
    let room = lowest.map_or(0.0, |voxel| (voxel / slice) as f64 * grid.spacing_mm[2]);
    let mut labels = bodies.clone();
    let mut seed = |range: std::ops::Range<usize>, label: u16| {
        for voxel in range {
            if bone.data[voxel] && labels.data[voxel] == 0 {
                labels.data[voxel] = label;
            }
        }
    };
    seed(grid.len() - slice..grid.len(), FROM_ABOVE);
    if room > NEXT_MM {
        seed(0..slice, FROM_BELOW);
    }
    labels
}

/// Bone from outside is the outermost body's where that body reaches the same end, and else nobody's.
fn without_bone_from_outside(mut labels: LabelMap, last: u16) -> LabelMap {
    let slice = labels.grid.size[0] * labels.grid.size[1];
    let ends = [
        (FROM_ABOVE, 1, labels.data.len() - slice..labels.data.len()),
        (FROM_BELOW, last, 0..slice),
    ];
    for (label, body, end) in ends {
        let reaches = labels.data[end].contains(&body);
        let owner = if reaches { body } else { 0 };
        for value in labels.data.iter_mut().filter(|value| **value == label) {
            *value = owner;
        }
    }
    labels
}

/// Leaves of a mask what lies in another on the same grid.
pub(super) fn keep(mask: &mut Mask, other: &Mask) {
    for (inside, &other) in mask.data.iter_mut().zip(&other.data) {
        *inside &= other;
    }
}

/// Where a vertebra begins.
struct Core {
    voxels: Vec<usize>,
    middle_mm: Vector3<f64>,
}

/// One core for every body: the places deep under the surface of `bodies`, of which each lies deeper than the neck between it and the
/// next by [`NECK_MM`]. A network that lets bodies grow together over a disc leaves a neck there.
fn cores(bodies: &Mask) -> Result<Vec<Core>> {
    let grid = &bodies.grid;
    if !(bodies.data.contains(&true) && bodies.data.contains(&false)) {
        return Ok(vec![]);
    }
    let depth = signed_distance_mm(bodies)?.map(|&distance| -distance);
    let hills = Hills::of(&depth, NECK_MM);
    let mut cores: Vec<Core> = vec![];
    for hill in hills.largest_first() {
        if hill.voxels.len() as f64 * grid.voxel_volume_mm3() < LEAST_BODY_MM3 {
            continue;
        }
        let top = |&&voxel: &&usize| depth.data[voxel] >= hill.peak - NECK_MM;
        let voxels: Vec<usize> = hill.voxels.iter().filter(top).copied().collect();
        let middle_mm = middle(grid, &voxels);
        // What lies side by side is one body with a hole in it.
        let beside = |core: &&mut Core| (core.middle_mm.z - middle_mm.z).abs() < APART_MM;
        match cores.iter_mut().find(beside) {
            Some(core) => core.voxels.extend(voxels),
            None => cores.push(Core { voxels, middle_mm }),
        }
    }
    Ok(cores)
}

/// A field's hills: what is left of its maxima when those are joined that no valley deeper than a neck parts.
struct Hills {
    /// The voxel each was joined to, or itself; `usize::MAX` where the field is not positive.
    joined: Vec<usize>,
    /// Height of the top of a hill, at the voxel where its chain ends.
    peaks: Vec<f32>,
}

struct Hill {
    peak: f32,
    voxels: Vec<usize>,
}

impl Hills {
    fn of(height: &Volume<f32>, neck: f32) -> Self {
        let mut order: Vec<usize> = (0..height.data.len())
            .filter(|&voxel| height.data[voxel] > 0.0)
            .collect();
        order.sort_by(|&a, &b| height.data[b].total_cmp(&height.data[a]).then(a.cmp(&b)));
        let mut hills = Self {
            joined: vec![usize::MAX; height.data.len()],
            peaks: vec![0.0; height.data.len()],
        };
        for voxel in order {
            let here = height.data[voxel];
            let mut around: Vec<usize> = neighbours(&height.grid, voxel)
                .filter(|&neighbour| hills.joined[neighbour] != usize::MAX)
                .collect();
            for neighbour in &mut around {
                *neighbour = hills.top_of(*neighbour);
            }
            around.sort_by(|&a, &b| hills.peaks[b].total_cmp(&hills.peaks[a]).then(a.cmp(&b)));
            around.dedup();
            hills.joined[voxel] = voxel;
            let Some((&highest, lower)) = around.split_first() else {
                hills.peaks[voxel] = here;
                continue;
            };
            hills.joined[voxel] = highest;
            for &other in lower {
                if hills.peaks[other] - here < neck {
                    hills.joined[other] = highest;
                }
            }
        }
        hills
    }

    fn top_of(&mut self, voxel: usize) -> usize {
        let mut at = voxel;
        while self.joined[at] != at {
            self.joined[at] = self.joined[self.joined[at]];
            at = self.joined[at];
        }
        at
    }

    fn largest_first(mut self) -> Vec<Hill> {
        let mut hills: BTreeMap<usize, Hill> = BTreeMap::new();
        for voxel in 0..self.joined.len() {
            if self.joined[voxel] == usize::MAX {
                continue;
            }
            let top = self.top_of(voxel);
            let peak = self.peaks[top];
            let hill = hills.entry(top).or_insert(Hill {
                peak,
                voxels: vec![],
            });
            hill.voxels.push(voxel);
        }
        let mut hills: Vec<Hill> = hills.into_values().collect();
        hills.sort_by_key(|hill| Reverse(hill.voxels.len()));
        hills
    }
}

fn middle(grid: &Grid, voxels: &[usize]) -> Vector3<f64> {
    let sum: Vector3<f64> = voxels
        .iter()
        .map(|&voxel| grid.to_world(Vector3::from(grid.voxel(voxel).map(|n| n as f64))))
        .sum();
    sum / voxels.len().max(1) as f64
}

/// Gives arches to the bodies of `labels`. Arches touch in their joints, often more broadly than a pedicle is thick, so a voxel alone
/// cannot tell whose it is: the bone is cut at its necks, and every piece goes to the body that most of it is nearest to, by ways
/// that avoid thin bone. `depth` is negative inside.
fn arches(labels: &LabelMap, bone: &Mask, depth: &Volume<f32>) -> LabelMap {
    let reached = reached(labels, bone, depth);
    let mut height = depth.map(|&depth| -depth);
    for (height, &label) in height.data.iter_mut().zip(&labels.data) {
        if label > 0 {
            *height = 0.0;
        }
    }
    let mut found = labels.clone();
    for hill in Hills::of(&height, ARCH_NECK_MM).largest_first() {
        let mut votes = BTreeMap::<u16, f64>::new();
        for &voxel in &hill.voxels {
            let label = reached.data[voxel];
            if label > 0 {
                *votes.entry(label).or_default() += f64::from(height.data[voxel]);
            }
        }
        // Of equal votes the vertebra nearer to the head.
        let most = votes
            .iter()
            .fold(None, |most: Option<(u16, f64)>, (&l, &v)| match most {
                Some((_, best)) if best >= v => most,
                _ => Some((l, v)),
            });
        if let Some((label, _)) = most {
            for &voxel in &hill.voxels {
                found.data[voxel] = label;
            }
        }
    }
    flooded(&found, bone, depth)
}

/// The label that reaches each voxel of `domain` first, thin bone being slow.
fn reached(seeds: &LabelMap, domain: &Mask, depth: &Volume<f32>) -> LabelMap {
    let grid = &seeds.grid;
    let slowness = |voxel: usize| {
        let depth = f64::from(-depth.data[voxel]).max(0.5);
        1.0 + (THIN_MM / depth).powi(2)
    };
    let mut labels = seeds.clone();
    let mut settled: Vec<bool> = seeds.data.iter().map(|&label| label > 0).collect();
    let mut queue = BinaryHeap::new();
    // Times by micrometres: whole numbers have an order.
    let spread = |queue: &mut BinaryHeap<Reverse<(u64, u16, usize)>>, time: u64, label, voxel| {
        let at = grid.voxel(voxel);
        for neighbour in neighbours(grid, voxel) {
            if domain.data[neighbour] && seeds.data[neighbour] == 0 {
                let other = grid.voxel(neighbour);
                let axis = (0..3).find(|&axis| at[axis] != other[axis]).unwrap_or(0);
                let cost = 0.5 * (slowness(voxel) + slowness(neighbour)) * grid.spacing_mm[axis];
                queue.push(Reverse((time + (cost * 1000.0) as u64, label, neighbour)));
            }
        }
    };
    for (voxel, &label) in seeds.data.iter().enumerate() {
        if label > 0 {
            spread(&mut queue, 0, label, voxel);
        }
    }
    while let Some(Reverse((time, label, voxel))) = queue.pop() {
        if settled[voxel] {
            continue;
        }
        settled[voxel] = true;
        labels.data[voxel] = label;
        spread(&mut queue, time, label, voxel);
    }
    labels
}

/// Lets labels flow through the voxels of `domain`, lowest `level` first, as water rises (Meyer's flooding); of equal ones that which
/// was reached first.
fn flooded(seeds: &LabelMap, domain: &Mask, level: &Volume<f32>) -> LabelMap {
    // Levels by micrometres: whole numbers have an order.
    let height = |voxel: usize| (f64::from(level.data[voxel]) * 1000.0) as i64;
    let mut labels = seeds.clone();
    let mut queue = BinaryHeap::new();
    let mut count = 0u64;
    for (voxel, &label) in seeds.data.iter().enumerate() {
        if label > 0 {
            queue.push(Reverse((height(voxel), count, voxel)));
            count += 1;
        }
    }
    while let Some(Reverse((_, _, voxel))) = queue.pop() {
        for neighbour in neighbours(&seeds.grid, voxel) {
            if domain.data[neighbour] && labels.data[neighbour] == 0 {
                labels.data[neighbour] = labels.data[voxel];
                queue.push(Reverse((height(neighbour), count, neighbour)));
                count += 1;
            }
        }
    }
    labels
}

/// A mask and the voxels that share a face with a label.
fn grown_by_one(labels: &LabelMap, mask: &Mask) -> Mask {
    let mut grown = mask.clone();
    for (voxel, &label) in labels.data.iter().enumerate() {
        if label > 0 {
            for neighbour in neighbours(&labels.grid, voxel) {
                grown.data[neighbour] = true;
            }
        }
    }
    grown
}

/// The voxels that share a face with one.
fn neighbours(grid: &Grid, voxel: usize) -> impl Iterator<Item = usize> {
    let at = grid.voxel(voxel);
    let size = grid.size;
    let strides = [1, size[0], size[0] * size[1]];
    (0..3).flat_map(move |axis| {
        let below = (at[axis] > 0).then(|| voxel - strides[axis]);
        let above = (at[axis] + 1 < size[axis]).then(|| voxel + strides[axis]);
        below.into_iter().chain(above)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks with an arch behind each, arrays as RAS; `bridge` joins bodies and arches by thin doubtful bone.
    fn two(bridge: bool) -> (Mask, Volume<f32>, LabelMap) {
        let mut grid = Grid::axis_aligned([30, 40, 44], [1.5; 3]);
        grid.direction = nalgebra::Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        let truth = LabelMap::from_fn(grid, |[i, j, k]| {
            let label = match k {
                2..=17 => 2,
                22..=39 => 1,
                _ => return 0,
            };
            let body = (5..25).contains(&i) && (20..36).contains(&j);
            let arch = (8..22).contains(&i) && (6..20).contains(&j) && (k % 20) > 5;
            if body || arch { label } else { 0 }
        });
        let joined = |[i, j, k]: [usize; 3]| {
            bridge && (17..=22).contains(&k) && (14..16).contains(&i) && (8..30).contains(&j)
        };
        let bodies = Volume::from_fn(truth.grid.clone(), |at @ [_, j, _]| {
            j >= 20 && (truth.at(at[0], at[1], at[2]) > 0 || joined(at))
        });
        let ahead = Volume::from_fn(truth.grid.clone(), |at| {
            match (truth.at(at[0], at[1], at[2]) > 0, joined(at)) {
                (true, _) => 0.9,
                (false, true) => 0.2,
                _ => -0.9,
            }
        });
        (bodies, ahead, truth)
    }

    #[test]
    fn neighbours_part_where_they_touch_least() {
        for bridge in [false, true] {
            let (bodies, ahead, truth) = two(bridge);
            let found = instances(&bodies, &ahead).expect("instances");
            let wrong = found
                .data
                .iter()
                .zip(&truth.data)
                .filter(|(found, truth)| **truth > 0 && found != truth)
                .count();
            assert_eq!(wrong, 0, "bridge {bridge}");
            assert_eq!(found.labels(), [1, 2]);
            // One layer more than the bone, for the surface between voxels.
            assert_eq!(found.at(4, 25, 30), 1);
            assert_eq!(found.at(3, 25, 30), 0);
        }
    }

    #[test]
    fn an_arch_without_a_body_is_nobodys() {
        let (bodies, ahead, truth) = two(false);
        // The upper vertebra's body is out of sight, its arch is not.
        let above = |at: [usize; 3]| truth.at(at[0], at[1], at[2]) == 1;
        let bodies = Volume::from_fn(bodies.grid.clone(), |at @ [i, j, k]| {
            bodies.at(i, j, k) && !above(at)
        });
        // It enters from above, and touches the lower one's arch in a joint.
        let ahead = Volume::from_fn(ahead.grid.clone(), |at @ [i, j, k]| {
            let arch = (8..22).contains(&i) && (6..20).contains(&j) && k > 24;
            let joint = (10..13).contains(&i) && (10..13).contains(&j) && (17..25).contains(&k);
            match (arch || joint, above(at) && j >= 20) {
                (true, _) => 0.9,
                (_, true) => -0.9,
                _ => ahead.at(i, j, k),
            }
        });
        let found = instances(&bodies, &ahead).expect("instances");
        assert_eq!(found.labels(), [1]);
        let count = |wanted: u16, low: usize, high: usize| {
            let voxels = found.data.iter().enumerate();
            let own = voxels.filter(|(index, label)| {
                **label == wanted && (low..high).contains(&found.grid.voxel(*index)[2])
            });
            own.count()
        };
        assert!(count(1, 0, 18) >= truth.select(&[2]).count());
        assert_eq!(count(1, 26, 44), 0, "nothing of the upper arch");
    }

    #[test]
    fn bodies_grown_together_over_a_disc_have_a_core_each() {
        let grid = Grid::axis_aligned([40, 40, 50], [1.5; 3]);
        let within = |at: [usize; 3], low: [usize; 3], high: [usize; 3]| {
            (0..3).all(|axis| (low[axis]..high[axis]).contains(&at[axis]))
        };
        // Two bodies, 36 x 36 x 24 mm, joined over 6 mm of disc by a column of 15 mm; a flat body; a speck.
        let bodies = Mask::from_fn(grid, |at| {
            within(at, [3, 3, 2], [27, 27, 18])
                || within(at, [10, 10, 18], [20, 20, 22])
                || within(at, [3, 3, 22], [27, 27, 38])
                || within(at, [3, 3, 43], [27, 27, 47])
                || within(at, [33, 33, 20], [37, 37, 24])
        });
        let mut cores = cores(&bodies).expect("cores");
        cores.sort_by(|a, b| a.middle_mm.z.total_cmp(&b.middle_mm.z));
        let levels: Vec<f64> = cores.iter().map(|core| core.middle_mm.z).collect();
        assert_eq!(levels.len(), 3, "{levels:?}");
        for (level, expected) in levels.iter().zip([14.25, 44.25, 66.75]) {
            assert!((level - expected).abs() < 1.0, "{levels:?}");
        }
    }
}
