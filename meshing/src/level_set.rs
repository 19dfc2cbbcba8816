//! The surface of a mask as the zero level of a smooth function.
//!
//! A mask is a staircase; the bone behind it is not. The signed distance of the mask is smoothed over and over, and
//! after each pass every voxel centre is held on its own side of zero (the constrained level set of R. Whitaker,
//! "Reducing aliasing artifacts in iso-surfaces of binary volumes", VolVis 2000). Steps disappear, because the
//! surface may wander between a voxel centre inside and its neighbour outside; nothing else does, because it may
//! not pass a centre: a process of one voxel stays, a gap of one voxel stays open.

use imaging::distance::signed_distance_mm;
use imaging::morphology::{StructuringElement, morph_voxels, opening};
use imaging::{Mask, Volume};
use nalgebra::Vector3;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::mesh::Frame;

/// Empty voxels kept around the mask, so that the surface closes inside the samples.
const MARGIN: usize = 4;
/// Smoothing passes, each with a variance of one voxel: together they level steps up to about eight voxels wide.
const PASSES: usize = 6;
/// How far from zero a voxel centre is kept, in units of the smallest spacing …
const HOLD: f64 = 0.05;
/// … and where one voxel of erosion would take a part away: thin parts keep about half their thickness.
const HOLD_THIN: f64 = 0.25;

/// Depth below the smoothed surface of a mask, mm: positive inside, negative outside, trilinear between voxel centres.
///
/// Positions are in the model frame of the mask: the one [`crate::VoxelMesh::from_mask`] uses, with the origin at
/// the outer corner of the first voxel of the bounding box.
#[derive(Clone, Debug)]
pub struct LevelSet {
    size: [usize; 3],
    spacing_mm: [f64; 3],
    /// Voxels between the first sample and the model origin.
    margin: usize,
    depth: Vec<f32>,
    /// Whether a voxel belongs to, or touches, a part that one voxel of erosion would take away.
    thin: Vec<bool>,
    frame: Frame,
    mask_volume_mm3: f64,
}

impl LevelSet {
    /// The smoothed surface of a mask. Where the mask ends with the image, it is closed there.
    ///
    /// # Errors
    /// [`Error::EmptyMask`]; [`Error::Sheared`] when the image axes are not at right angles.
    pub fn of(mask: &Mask) -> Result<Self> {
        let grid = &mask.grid;
        let [low, high] = mask.bounding_box().ok_or(Error::EmptyMask)?;
        if !grid.is_orthogonal() {
            return Err(Error::Sheared(grid.to_string()));
        }
        let size: [usize; 3] = std::array::from_fn(|axis| high[axis] + 1 - low[axis] + 2 * MARGIN);
        let mut padded = Volume::filled(imaging::Grid::axis_aligned(size, grid.spacing_mm), false);
        for (index, inside) in padded.data.iter_mut().enumerate() {
            let at = [
                index % size[0],
                index / size[0] % size[1],
                index / (size[0] * size[1]),
            ];
            let within = (0..3).all(|a| (MARGIN..size[a] - MARGIN).contains(&at[a]));
            *inside = within
                && mask.at(
                    at[0] - MARGIN + low[0],
                    at[1] - MARGIN + low[1],
                    at[2] - MARGIN + low[2],
                );
        }
        let mut depth: Vec<f32> = signed_distance_mm(&padded)?
            .data
            .iter()
            .map(|distance| -distance)
            .collect();
        let stout = opening(&padded, 1, StructuringElement::Faces);
        // Edges and corners of stout parts are none.
        let beside = morph_voxels(&stout, 1, StructuringElement::Corners);
        let slight = Volume {
            grid: padded.grid.clone(),
            data: padded
                .data
                .iter()
                .zip(&beside.data)
                .map(|(&inside, &beside)| inside && !beside)
                .collect(),
        };
        let thin = morph_voxels(&slight, 2, StructuringElement::Corners).data;
        let smallest = grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
        let [hold, hold_thin] = [HOLD, HOLD_THIN].map(|part| (part * smallest) as f32);
        for _ in 0..PASSES {
            // Twice the smoothed field less the twice smoothed one: steps go, curvature stays, so nothing shrinks.
            let once = smoothed(&depth, size);
            let twice = smoothed(&once, size);
            depth
                .par_iter_mut()
                .zip(once.par_iter().zip(&twice))
                .zip(padded.data.par_iter().zip(&slight.data))
                .for_each(|((depth, (once, twice)), (&inside, &slight))| {
                    let smooth = 2.0 * once - twice;
                    *depth = if slight {
                        smooth.max(hold_thin)
                    } else if inside {
                        smooth.max(hold)
                    } else {
                        smooth.min(-hold)
                    };
                });
        }
        let corner = Vector3::from_fn(|axis, _| low[axis] as f64 - 0.5);
        Ok(Self {
            thin,
            size,
            spacing_mm: grid.spacing_mm,
            margin: MARGIN,
            depth,
            frame: Frame {
                rotation: grid.direction,
                origin_mm: grid.to_world(corner),
            },
            mask_volume_mm3: mask.count() as f64 * grid.voxel_volume_mm3(),
        })
    }

    /// Depth of a position of the model frame, mm. Beyond the samples the nearest of them counts.
    pub fn depth_mm(&self, at: [f64; 3]) -> f64 {
        let mut corner = [0usize; 3];
        let mut part = [0.0; 3];
        for axis in 0..3 {
            let index = at[axis] / self.spacing_mm[axis] - 0.5 + self.margin as f64;
            let index = index.clamp(0.0, (self.size[axis] - 1) as f64);
            corner[axis] = (index as usize).min(self.size[axis] - 2);
            part[axis] = index - corner[axis] as f64;
        }
        let [nx, ny, _] = self.size;
        let first = corner[0] + nx * (corner[1] + ny * corner[2]);
        let row = |offset: usize| {
            let [a, b] =
                [self.depth[first + offset], self.depth[first + offset + 1]].map(f64::from);
            a + (b - a) * part[0]
        };
        let plane = |offset: usize| {
            let [a, b] = [row(offset), row(offset + nx)];
            a + (b - a) * part[1]
        };
        let [a, b] = [plane(0), plane(nx * ny)];
        a + (b - a) * part[2]
    }

    /// Whether a position lies in or beside a part of the mask that one voxel of erosion would take away.
    pub fn is_thin(&self, at: [f64; 3]) -> bool {
        let mut place = [0usize; 3];
        for axis in 0..3 {
            let index = (at[axis] / self.spacing_mm[axis]).floor() + self.margin as f64;
            place[axis] = index.clamp(0.0, (self.size[axis] - 1) as f64) as usize;
        }
        self.thin[place[0] + self.size[0] * (place[1] + self.size[1] * place[2])]
    }

    /// Opposite corners of a box that holds the surface, model frame, mm.
    pub fn bounds_mm(&self) -> [[f64; 3]; 2] {
        [
            std::array::from_fn(|axis| -self.spacing_mm[axis]),
            std::array::from_fn(|axis| {
                (self.size[axis] - 2 * self.margin + 1) as f64 * self.spacing_mm[axis]
            }),
        ]
    }

    /// Volume of the mask, mm³.
    pub fn mask_volume_mm3(&self) -> f64 {
        self.mask_volume_mm3
    }

    /// Edge lengths of a voxel, mm.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// Where the model frame stands in the patient.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// Smoothed along each axis, with a variance of one voxel.
fn smoothed(depth: &[f32], size: [usize; 3]) -> Vec<f32> {
    let mut from = depth.to_vec();
    let mut to = vec![0.0f32; depth.len()];
    for axis in 0..3 {
        smooth(&from, &mut to, size, axis);
        std::mem::swap(&mut from, &mut to);
    }
    from
}

/// Binomial smoothing (1 4 6 4 1)/16 along one axis; beyond the ends the last sample counts.
fn smooth(from: &[f32], to: &mut [f32], size: [usize; 3], axis: usize) {
    let [nx, ny, _] = size;
    let stride = [1, nx, nx * ny][axis];
    to.par_chunks_mut(nx).enumerate().for_each(|(row, line)| {
        let start = row * nx;
        for (i, value) in line.iter_mut().enumerate() {
            let at = [i, row % ny, row / ny][axis];
            let here = start + i;
            let sample = |offset: isize| {
                let wanted = (at as isize + offset).clamp(0, size[axis] as isize - 1);
                from[(here as isize + (wanted - at as isize) * stride as isize) as usize]
            };
            *value = 0.375 * from[here]
                + 0.25 * (sample(-1) + sample(1))
                + 0.0625 * (sample(-2) + sample(2));
        }
    });
}
