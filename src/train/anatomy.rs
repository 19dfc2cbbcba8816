//! A label map as smooth signed distances, ready to be sampled at any pose and scale.

use anyhow::Context as _;
use half::f16;
use imaging::components::{Connectivity, label_components};
use imaging::distance::signed_distance_mm;
use imaging::filter::gaussian;
use imaging::orientation::{RAS, reorient};
use imaging::resample::{isotropic_grid, resample_labels};
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::Vector3;

use crate::anatomy::vertebra::{canal_wall, split_body};
use crate::synth::fit;

/// Spacing of the distances, mm.
const SPACING_MM: f64 = 1.5;
/// Layers of voxels put around the map: bone that is cut at the top or bottom goes on there.
const MARGIN: usize = 24;
/// Smoothing that takes the voxel steps out of a surface, in voxels.
const STAIRCASE_VOXELS: f64 = 0.8;

/// Classes of bone by the labels that make each.
pub type Classes = Vec<Vec<u16>>;

/// Signed distances to every class of bone, negative inside, on one isotropic grid: i to the right, j to the front, k to the head.
#[derive(Clone, Debug)]
pub struct Anatomy {
    size: [usize; 3],
    /// One array per class.
    distances: Vec<Vec<f16>>,
    /// For every class, voxels near its surface and inside the map.
    surfaces: Vec<Vec<[u16; 3]>>,
    /// Highest voxel layer of the first class: where its head ends.
    top: f32,
    /// What tells the parts of vertebrae, where the first class is vertebrae.
    spine: Option<Spine>,
    /// Centres of the heads of the first class in the sockets of the second, from left to right of the image, in voxels.
    joints: Vec<[f32; 3]>,
}

/// Body and arch of vertebrae, and what lies between the bodies.
#[derive(Clone, Debug)]
struct Spine {
    /// Distance to the nearest body less that to the nearest arch, mm.
    behind: Vec<f16>,
    /// Share of disc.
    disc: Vec<f16>,
}

/// Most classes of an anatomy.
pub const MOST_CLASSES: usize = 4;

/// Distance of a class that is nowhere near, mm.
const FAR_MM: f32 = 60.0;

/// Distances at one point, mm, by class.
pub type At = [f32; MOST_CLASSES];

/// Bodies further apart than this have no disc between them, mm.
const HIGHEST_DISC_MM: f64 = 18.0;

impl Anatomy {
    /// Measures a label map; `vertebrae` when the first class is vertebrae, one label each, of which body and arch are told apart.
    ///
    /// # Errors
    /// When the map holds none of the classes.
    pub fn of(map: &LabelMap, classes: &Classes, vertebrae: bool) -> anyhow::Result<Self> {
        let map = reorient(map, RAS)?;
        let grid = isotropic_grid(&map.grid, SPACING_MM)?;
        let map = resample_labels(&map, &grid);
        let size = map.grid.size.map(|n| n + 2 * MARGIN);
        let wide = Grid::axis_aligned(size, [SPACING_MM; 3]);
        let mut distances: Vec<Vec<f16>> = vec![];
        let mut surfaces = vec![];
        let mut top = 0.0;
        for labels in classes {
            let bone = map.select(labels);
            let mask = widened(&bone, &wide);
            if !mask.data.contains(&true) {
                distances.push(vec![f16::from_f32(FAR_MM); wide.len()]);
                surfaces.push(vec![]);
                continue;
            }
            let sharp = signed_distance_mm(&mask).context("the distances of a label map")?;
            let smooth = gaussian(&sharp, [STAIRCASE_VOXELS * SPACING_MM; 3], 3.0)?;
            let mut near = vec![];
            for (index, &distance) in smooth.data.iter().enumerate() {
                let at = wide.voxel(index);
                let inside = (0..3).all(|axis| (MARGIN..size[axis] - MARGIN).contains(&at[axis]));
                if inside && distance.abs() < 8.0 {
                    near.push(at.map(|n| n as u16));
                }
            }
            if distances.is_empty() {
                top = near.iter().map(|at| f32::from(at[2])).fold(0.0, f32::max);
            }
            surfaces.push(near);
            distances.push(
                smooth
                    .data
                    .iter()
                    .map(|&d| f16::from_f32(d.clamp(-FAR_MM, FAR_MM)))
                    .collect(),
            );
        }
        anyhow::ensure!(
            surfaces.iter().any(|near| !near.is_empty()),
            "the label map holds none of the bones to learn"
        );
        let spine = match (vertebrae, classes.first()) {
            (true, Some(labels)) => Some(Spine::of(&map, labels, &wide)?),
            _ => None,
        };
        let mut anatomy = Self {
            size,
            distances,
            surfaces,
            top,
            spine,
            joints: vec![],
        };
        if !vertebrae {
            anatomy.joints = anatomy.heads(&wide);
        }
        Ok(anatomy)
    }

    /// Centres of balls of the first class that sit in the second: of either of its two largest pieces, where one is found.
    fn heads(&self, grid: &Grid) -> Vec<[f32; 3]> {
        let [Some(ball), Some(socket)] = [0, 1].map(|class| self.distances.get(class)) else {
            return vec![];
        };
        let inside = Volume {
            grid: grid.clone(),
            data: ball.iter().map(|d| d.to_f32() < 0.0).collect(),
        };
        let pieces = label_components(&inside, Connectivity::Faces).labels;
        let mut joints: Vec<[f32; 3]> = (1..=2)
            .filter_map(|piece| {
                let points: Vec<Vector3<f64>> = (0..grid.len())
                    .filter(|&i| pieces.data[i] == piece)
                    .filter(|&i| ball[i].to_f32() > -SPACING_MM as f32 && socket[i].to_f32() < 7.0)
                    .map(|i| Vector3::from(grid.voxel(i).map(|n| n as f64 * SPACING_MM)))
                    .collect();
                let head = fit::head(&points).ok()?;
                let voxels = head.centre / SPACING_MM;
                Some([voxels.x as f32, voxels.y as f32, voxels.z as f32])
            })
            .collect();
        joints.sort_by(|a, b| a[0].total_cmp(&b[0]));
        joints
    }

    /// Number of joints the first class has with the second: none, one or two.
    pub fn joints(&self) -> usize {
        self.joints.len()
    }

    /// The place that a turn of the joint next to it brings here; `turns` has one rotation per joint.
    pub fn turned(&self, place: [f32; 3], turns: &[[[f32; 3]; 3]]) -> [f32; 3] {
        let nearer = match self.joints.as_slice() {
            [] => return place,
            [_] => 0,
            [left, right, ..] => usize::from(2.0 * place[0] > left[0] + right[0]),
        };
        let (Some(joint), Some(turn)) = (self.joints.get(nearer), turns.get(nearer)) else {
            return place;
        };
        std::array::from_fn(|axis| {
            let moved: f32 = (0..3).map(|k| turn[axis][k] * (place[k] - joint[k])).sum();
            joint[axis] + moved
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.distances.len()
    }

    /// A place near the surface of a class, or anywhere where there is none; `pick` is any number.
    pub fn place(&self, class: Option<usize>, pick: u64) -> [f32; 3] {
        // A map without a class shows another one.
        let near = class.and_then(|class| {
            let mut lists = std::iter::once(&self.surfaces[class]).chain(&self.surfaces);
            lists.find(|near| !near.is_empty())
        });
        match near {
            Some(near) => near[(pick % near.len() as u64) as usize].map(f32::from),
            None => std::array::from_fn(|axis| {
                let span = (self.size[axis] - 2 * MARGIN) as u64;
                let own = pick
                    .rotate_left(21 * axis as u32)
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    >> 20;
                (MARGIN as u64 + own % span) as f32
            }),
        }
    }

    /// Distances at a place given in voxels of the distances' grid; the nearest border value outside.
    pub fn at(&self, place: [f32; 3]) -> At {
        self.between_voxels(place, &self.distances)
    }

    /// Whether the first class is vertebrae.
    pub fn is_spine(&self) -> bool {
        self.spine.is_some()
    }

    /// How far behind the bodies of vertebrae a place lies, mm (0 where body and arch meet), and the share of disc there; `None`
    /// where the first class is no vertebrae.
    pub fn spine_at(&self, place: [f32; 3]) -> Option<[f32; 2]> {
        let Spine { behind, disc } = self.spine.as_ref()?;
        let [behind, ..] = self.between_voxels(place, std::slice::from_ref(behind));
        let [disc, ..] = self.between_voxels(place, std::slice::from_ref(disc));
        Some([behind, disc])
    }

    /// As [`Self::at`] of the first class alone.
    pub fn first_at(&self, place: [f32; 3]) -> f32 {
        self.between_voxels(place, &self.distances[..1])[0]
    }

    fn between_voxels(&self, place: [f32; 3], fields: &[Vec<f16>]) -> At {
        let mut low = [0usize; 3];
        let mut part = [0.0f32; 3];
        for axis in 0..3 {
            let x = place[axis].clamp(0.0, (self.size[axis] - 1) as f32 - 1e-3);
            low[axis] = x as usize;
            part[axis] = x - low[axis] as f32;
        }
        let [nx, ny, _] = self.size;
        let start = (low[2] * ny + low[1]) * nx + low[0];
        let mut out = [FAR_MM; MOST_CLASSES];
        for (out, distances) in out.iter_mut().zip(fields) {
            let row = |offset: usize| {
                let (a, b) = (
                    distances[start + offset].to_f32(),
                    distances[start + offset + 1].to_f32(),
                );
                a + part[0] * (b - a)
            };
            let (front, back) = (row(0), row(nx));
            let below = front + part[1] * (back - front);
            let (front, back) = (row(nx * ny), row(nx * ny + nx));
            let above = front + part[1] * (back - front);
            *out = below + part[2] * (above - below);
        }
        out
    }

    /// Millimetres between a place and the top of the first class, positive below it.
    pub fn below_top_mm(&self, place: [f32; 3]) -> f32 {
        (self.top - place[2]) * SPACING_MM as f32
    }

    /// Voxels of the distances' grid per mm.
    pub fn voxels_per_mm(&self) -> f32 {
        1.0 / SPACING_MM as f32
    }
}

impl Spine {
    /// Parts vertebrae at the front wall of their canals and finds the gaps between bodies.
    fn of(map: &LabelMap, labels: &[u16], wide: &Grid) -> anyhow::Result<Self> {
        let mut parts = [
            Mask::filled(map.grid.clone(), false),
            Mask::filled(map.grid.clone(), false),
        ];
        for label in map
            .labels()
            .into_iter()
            .filter(|label| labels.contains(label))
        {
            let whole = map.select(&[label]);
            let (body, _) = split_body(&whole, canal_wall(&whole)?);
            for (index, &inside) in whole.data.iter().enumerate() {
                if inside {
                    parts[usize::from(!body.data[index])].data[index] = true;
                }
            }
        }
        let [body, arch] = parts.map(|part| widened(&part, wide));
        let distance = |mask: &Mask| -> anyhow::Result<Volume<f32>> {
            if !mask.data.contains(&true) {
                return Ok(Volume::filled(wide.clone(), FAR_MM));
            }
            Ok(signed_distance_mm(mask)?)
        };
        let (to_body, to_arch) = (distance(&body)?, distance(&arch)?);
        let behind = to_body.data.iter().zip(&to_arch.data).map(|(body, arch)| {
            let near = |d: &f32| d.clamp(-FAR_MM, FAR_MM);
            f16::from_f32(near(body) - near(arch))
        });
        let mut disc = Volume::filled(wide.clone(), 0.0f32);
        let [nx, ny, nz] = wide.size;
        let most = (HIGHEST_DISC_MM / SPACING_MM) as usize;
        for column in 0..nx * ny {
            let mut below = None;
            for k in 0..nz {
                let index = k * nx * ny + column;
                if !body.data[index] {
                    continue;
                }
                if let Some(last) = below
                    && k - last <= most
                {
                    for between in last + 1..k {
                        disc.data[between * nx * ny + column] = 1.0;
                    }
                }
                below = Some(k);
            }
        }
        let disc = gaussian(&disc, [SPACING_MM; 3], 3.0)?;
        Ok(Self {
            behind: behind.collect(),
            disc: disc
                .data
                .iter()
                .map(|&share| f16::from_f32(share))
                .collect(),
        })
    }
}

/// The mask on the wider grid; what touches the first or last layer along k goes on to the border.
fn widened(bone: &Mask, wide: &Grid) -> Mask {
    let [nx, ny, nz] = bone.grid.size;
    Volume::from_fn(wide.clone(), |[i, j, k]| {
        let inside = (MARGIN..MARGIN + nx).contains(&i) && (MARGIN..MARGIN + ny).contains(&j);
        let k = k.saturating_sub(MARGIN).min(nz - 1);
        inside && bone.at(i - MARGIN, j - MARGIN, k)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two vertebrae, one above the other: a block in front of a ring, arrays as RAS.
    fn two_vertebrae() -> LabelMap {
        let mut grid = Grid::axis_aligned([40, 50, 50], [1.5; 3]);
        grid.direction = nalgebra::Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        LabelMap::from_fn(grid, |[i, j, k]| {
            let label = match k {
                5..=19 => 20,
                26..=40 => 19,
                _ => return 0,
            };
            let body = (10..30).contains(&i) && (30..45).contains(&j);
            let ring = (8..32).contains(&i)
                && (10..30).contains(&j)
                && !((14..26).contains(&i) && (16..30).contains(&j));
            if body || ring { label } else { 0 }
        })
    }

    fn spine_of(map: &LabelMap, voxel: [f32; 3]) -> [f32; 2] {
        let anatomy = Anatomy::of(map, &vec![vec![19, 20]], true).expect("an anatomy");
        let place = voxel.map(|v| v + MARGIN as f32);
        anatomy.spine_at(place).expect("a spine")
    }

    #[test]
    fn bodies_lie_before_the_canal_and_discs_between_bodies() {
        let map = two_vertebrae();
        let [body, no_disc] = spine_of(&map, [20.0, 38.0, 12.0]);
        let [arch, _] = spine_of(&map, [10.0, 14.0, 12.0]);
        let [_, disc] = spine_of(&map, [20.0, 38.0, 22.5]);
        let [_, behind_the_disc] = spine_of(&map, [10.0, 14.0, 22.5]);
        assert!(body < -5.0 && arch > 5.0, "{body} {arch}");
        assert!(disc > 0.9 && no_disc < 0.1, "{disc} {no_disc}");
        assert!(behind_the_disc < 0.1, "{behind_the_disc}");
    }

    #[test]
    fn a_map_without_any_bone_to_learn_is_refused() {
        let map = two_vertebrae();
        let error = Anatomy::of(&map, &vec![vec![1], vec![2]], false);
        assert!(
            error
                .expect_err("refused")
                .to_string()
                .contains("none of the bones")
        );
    }
}
