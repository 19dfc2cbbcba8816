//! A label map as smooth signed distances, ready to be sampled at any pose and scale.

use anyhow::Context as _;
use half::f16;
use imaging::distance::signed_distance_mm;
use imaging::filter::gaussian;
use imaging::orientation::{RAS, reorient};
use imaging::resample::{isotropic_grid, resample_labels};
use imaging::{Grid, LabelMap, Mask, Volume};

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
}

/// Most classes of an anatomy.
pub const MOST_CLASSES: usize = 4;

/// Distance of a class that is nowhere near, mm.
const FAR_MM: f32 = 60.0;

/// Distances at one point, mm, by class.
pub type At = [f32; MOST_CLASSES];

impl Anatomy {
    /// Measures a label map.
    ///
    /// # Errors
    /// When the map holds none of the first class, or its grid is oblique.
    pub fn of(map: &LabelMap, classes: &Classes) -> anyhow::Result<Self> {
        let map = reorient(map, RAS)?;
        let grid = isotropic_grid(&map.grid, SPACING_MM)?;
        let map = resample_labels(&map, &grid);
        let size = map.grid.size.map(|n| n + 2 * MARGIN);
        let wide = Grid::axis_aligned(size, [SPACING_MM; 3]);
        let mut distances = vec![];
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
                let layers = near.iter().map(|at| at[2]);
                top = f32::from(
                    layers
                        .max()
                        .context("the label map holds none of the bone to learn")?,
                );
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
        Ok(Self {
            size,
            distances,
            surfaces,
            top,
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.distances.len()
    }

    /// A place near the surface of a class, or anywhere where there is none; `pick` is any number.
    pub fn place(&self, class: Option<usize>, pick: u64) -> [f32; 3] {
        match class
            .map(|class| &self.surfaces[class])
            .filter(|near| !near.is_empty())
        {
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
        for (out, distances) in out.iter_mut().zip(&self.distances) {
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

/// The mask on the wider grid; what touches the first or last layer along k goes on to the border.
fn widened(bone: &Mask, wide: &Grid) -> Mask {
    let [nx, ny, nz] = bone.grid.size;
    Volume::from_fn(wide.clone(), |[i, j, k]| {
        let inside = (MARGIN..MARGIN + nx).contains(&i) && (MARGIN..MARGIN + ny).contains(&j);
        let k = k.saturating_sub(MARGIN).min(nz - 1);
        inside && bone.at(i - MARGIN, j - MARGIN, k)
    })
}
