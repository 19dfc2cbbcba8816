//! Affine registration of two scans by the correlation of their CT numbers.
//!
//! First every shift by whole coarse voxels is tried; then all twelve numbers of the map, and the two of a line between the numbers of
//! both scans, follow from least squares (Gauss and Newton, damped as by Levenberg and Marquardt), from coarse voxels to fine ones. Least
//! squares with a free line are the largest correlation.

use imaging::resample::{covering_grid, linear, volume_mean};
use imaging::{Grid, Volume};
use nalgebra::{Matrix3, SMatrix, SVector, Vector3};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Voxels at which the map is sought, mm, one after the other.
const LEVELS_MM: [f64; 3] = [8.0, 4.0, 2.5];
/// Steps at each of them.
const MOST_STEPS: usize = 25;
/// Change of the correlation below which a level is done.
const LEAST_GAIN: f64 = 1e-5;
/// Least and largest stretch that a map between two grown femora may have.
const STRETCH: [f64; 2] = [0.6, 1.6];
/// Part of the template that must lie in the scan while shifts are tried.
const LEAST_OVERLAP: f64 = 0.6;
/// Voxels of a block: partial sums are joined in the order of the blocks, whatever the number of threads.
const BLOCK: usize = 4096;

/// A map of world coordinates (LPS mm): `matrix · x + shift_mm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineMap {
    /// Linear part.
    pub matrix: Matrix3<f64>,
    /// Shift, mm.
    pub shift_mm: Vector3<f64>,
}

impl AffineMap {
    /// Leaves everything where it is.
    pub fn identity() -> Self {
        Self {
            matrix: Matrix3::identity(),
            shift_mm: Vector3::zeros(),
        }
    }

    /// Where a point goes.
    pub fn apply(&self, point: Vector3<f64>) -> Vector3<f64> {
        self.matrix * point + self.shift_mm
    }

    /// The way back; `None` for a map that flattens.
    pub fn inverse(&self) -> Option<Self> {
        let matrix = self.matrix.try_inverse()?;
        Some(Self {
            matrix,
            shift_mm: -(matrix * self.shift_mm),
        })
    }
}

/// The map that carries the template onto its like in the scan, and the correlation of their numbers under it.
///
/// # Errors
/// [`Error::Image`] when the template lies nowhere in the scan, [`Error::Imaging`] for grids that cannot be.
pub fn register(template: &Volume<f32>, scan: &Volume<f32>) -> Result<(AffineMap, f64)> {
    let mut map = None;
    let mut correlation = 0.0;
    for (level, &h) in LEVELS_MM.iter().enumerate() {
        let at = |volume: &Volume<f32>| -> Result<Volume<f32>> {
            let own = volume.grid.spacing_mm.iter().copied().fold(0.0, f64::max);
            Ok(volume_mean(
                volume,
                &covering_grid(&volume.grid, h.max(own))?,
            ))
        };
        let (small, large) = (at(template)?, at(scan)?);
        let start = match map {
            Some(map) => map,
            None => shifted(&small, &large)?,
        };
        let last = level + 1 == LEVELS_MM.len();
        let (better, found) = refined(&small, &large, start, last)?;
        (map, correlation) = (Some(better), found);
    }
    match map {
        Some(map) => Ok((map, correlation)),
        None => Err(nowhere()),
    }
}

fn nowhere() -> Error {
    Error::Image(
        "the femur that others are laid on finds no like in the scan; is it a CT of a hip in HU?"
            .into(),
    )
}

/// The best shift by whole voxels of the scan.
fn shifted(template: &Volume<f32>, scan: &Volume<f32>) -> Result<AffineMap> {
    let grid = &scan.grid;
    // The template on voxels as large and along the same axes as the scan's.
    let mut own = grid.clone();
    own.origin_mm = template.grid.origin_mm;
    let place = |axis: usize| {
        let length = template.grid.size[axis] as f64 * template.grid.spacing_mm[axis];
        ((length / grid.spacing_mm[axis]).round() as usize).max(1)
    };
    own.size = [place(0), place(1), place(2)];
    let part = volume_mean(template, &own);
    let room = |axis: usize| {
        let missing = ((1.0 - LEAST_OVERLAP) * own.size[axis] as f64) as isize;
        let last = grid.size[axis] as isize - own.size[axis] as isize + missing;
        let first = -missing;
        if last < first {
            // The scan is the smaller one: the middles lie on each other.
            let middle = (grid.size[axis] as isize - own.size[axis] as isize) / 2;
            middle..=middle
        } else {
            first..=last
        }
    };
    let mut shifts = vec![];
    for k in room(2) {
        for j in room(1) {
            for i in room(0) {
                shifts.push([i, j, k]);
            }
        }
    }
    let scored: Vec<f64> = shifts
        .par_iter()
        .map(|&shift| correlation_at(&part, scan, shift))
        .collect();
    let best = (0..shifts.len())
        .max_by(|&a, &b| scored[a].total_cmp(&scored[b]).then(b.cmp(&a)))
        .ok_or_else(nowhere)?;
    if !scored[best].is_finite() {
        return Err(nowhere());
    }
    let to = grid.to_world(Vector3::from(shifts[best].map(|n| n as f64)));
    Ok(AffineMap {
        matrix: Matrix3::identity(),
        shift_mm: to - own.origin_mm,
    })
}

fn correlation_at(part: &Volume<f32>, scan: &Volume<f32>, shift: [isize; 3]) -> f64 {
    let mut sums = [0.0f64; 6];
    for (index, &a) in part.data.iter().enumerate() {
        let at = part.grid.voxel(index);
        let to: [isize; 3] = std::array::from_fn(|axis| at[axis] as isize + shift[axis]);
        if (0..3).any(|axis| to[axis] < 0 || to[axis] as usize >= scan.grid.size[axis]) {
            continue;
        }
        let [i, j, k] = to.map(|n| n as usize);
        let (a, b) = (f64::from(a), f64::from(scan.at(i, j, k)));
        for (sum, value) in sums.iter_mut().zip([1.0, a, b, a * a, b * b, a * b]) {
            *sum += value;
        }
    }
    let [n, a, b, aa, bb, ab] = sums;
    if n < 0.3 * part.data.len() as f64 {
        return f64::NEG_INFINITY;
    }
    let (va, vb) = (aa - a * a / n, bb - b * b / n);
    match va > 0.0 && vb > 0.0 {
        true => (ab - a * b / n) / (va * vb).sqrt(),
        false => f64::NEG_INFINITY,
    }
}

/// Unknowns: the matrix row by row with its shift, and the line.
type Normal = SMatrix<f64, 14, 14>;
type Right = SVector<f64, 14>;

/// Sums of a block: normal matrix, right side, and those of the correlation.
struct Sums {
    normal: Normal,
    right: Right,
    line: [f64; 6],
}

/// Better maps until they get no better.
fn refined(
    template: &Volume<f32>,
    scan: &Volume<f32>,
    start: AffineMap,
    last: bool,
) -> Result<(AffineMap, f64)> {
    // Distances to the middle keep the unknowns alike in size.
    let middle = middle_mm(&template.grid);
    let mut map = start;
    let mut now = summed(template, scan, &map, middle, None);
    let mut damping = 1e-3;
    for _ in 0..MOST_STEPS {
        let Some((before, line)) = correlation(&now.line) else {
            return Err(nowhere());
        };
        let own = summed(template, scan, &map, middle, Some(line));
        let mut better = false;
        for _ in 0..8 {
            let mut normal = own.normal;
            for k in 0..14 {
                normal[(k, k)] += damping * normal[(k, k)].max(1e-9);
            }
            let Some(step) = normal.cholesky().map(|factor| factor.solve(&own.right)) else {
                damping *= 10.0;
                continue;
            };
            let mut tried = map;
            for row in 0..3 {
                for column in 0..3 {
                    tried.matrix[(row, column)] += step[4 * row + column];
                }
            }
            // The middle moves by the shift's step; the matrix turns about it.
            let moved = Vector3::from_fn(|row, _| step[4 * row + 3]);
            tried.shift_mm = map.apply(middle) + moved - tried.matrix * middle;
            let stretches = tried.matrix.singular_values();
            let sound = stretches
                .iter()
                .all(|s| (STRETCH[0]..=STRETCH[1]).contains(s));
            let found = summed(template, scan, &tried, middle, None);
            match correlation(&found.line) {
                Some((after, _)) if sound && after > before => {
                    better = after - before > LEAST_GAIN;
                    (map, now) = (tried, found);
                    damping = (damping * 0.3).max(1e-6);
                    break;
                }
                _ => damping *= 10.0,
            }
        }
        if !better {
            break;
        }
    }
    match correlation(&now.line) {
        Some((found, _)) => Ok((map, found)),
        None if last => Err(nowhere()),
        None => Ok((map, 0.0)),
    }
}

/// Middle of a grid, LPS mm.
fn middle_mm(grid: &Grid) -> Vector3<f64> {
    grid.to_world(Vector3::from(grid.size.map(|n| 0.5 * (n as f64 - 1.0))))
}

/// Correlation and the line template ≈ slope · scan + intercept; `None` where too little of the template lies in the scan.
fn correlation(&[n, a, b, aa, bb, ab]: &[f64; 6]) -> Option<(f64, [f64; 2])> {
    let (va, vb, vab) = (aa - a * a / n, bb - b * b / n, ab - a * b / n);
    if !(n > 0.0 && va > 0.0 && vb > 0.0) {
        return None;
    }
    let slope = vab / vb;
    Some((vab / (va * vb).sqrt(), [slope, (a - slope * b) / n]))
}

/// Sums over the template's voxels; those of the normal equations where the line is known.
fn summed(
    template: &Volume<f32>,
    scan: &Volume<f32>,
    map: &AffineMap,
    middle: Vector3<f64>,
    line: Option<[f64; 2]>,
) -> Sums {
    let zero = || Sums {
        normal: Normal::zeros(),
        right: Right::zeros(),
        line: [0.0; 6],
    };
    let index = |point| scan.grid.to_index(point);
    let unit = [Vector3::x(), Vector3::y(), Vector3::z()];
    // Steps of the index along the world's axes.
    let origin = index(Vector3::zeros());
    let steps = unit.map(|axis| index(axis) - origin);
    let blocks: Vec<Sums> = template
        .data
        .par_chunks(BLOCK)
        .enumerate()
        .map(|(block, values)| {
            let mut sums = zero();
            for (offset, &a) in values.iter().enumerate() {
                let voxel = template.grid.voxel(block * BLOCK + offset);
                let point = template
                    .grid
                    .to_world(Vector3::from(voxel.map(|n| n as f64)));
                let at = index(map.apply(point));
                let size = scan.grid.size;
                if (0..3).any(|k| at[k] < 0.0 || at[k] > size[k] as f64 - 1.0) {
                    continue;
                }
                let (a, b) = (f64::from(a), linear(scan, at));
                for (sum, value) in sums.line.iter_mut().zip([1.0, a, b, a * a, b * b, a * b]) {
                    *sum += value;
                }
                let Some([slope, intercept]) = line else {
                    continue;
                };
                let by_index = Vector3::from_fn(|k, _| {
                    let mut step = Vector3::zeros();
                    step[k] = 0.5;
                    linear(scan, at + step) - linear(scan, at - step)
                });
                let arm = point - middle;
                let mut row = Right::zeros();
                for axis in 0..3 {
                    let slope = slope * by_index.dot(&steps[axis]);
                    for k in 0..3 {
                        row[4 * axis + k] = slope * arm[k];
                    }
                    row[4 * axis + 3] = slope;
                }
                row[12] = b;
                row[13] = 1.0;
                let off = a - slope * b - intercept;
                sums.normal.ger(1.0, &row, &row, 1.0);
                sums.right.axpy(off, &row, 1.0);
            }
            sums
        })
        .collect();
    blocks.into_iter().fold(zero(), |mut all, block| {
        all.normal += block.normal;
        all.right += block.right;
        for (sum, own) in all.line.iter_mut().zip(block.line) {
            *sum += own;
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Rotation3;

    /// A bone-like shape in soft tissue: a shaft, a ball beside its top, a ridge; at a world point.
    fn hu(at: Vector3<f64>) -> f32 {
        let shaft = (at.x.powi(2) + at.y.powi(2)).sqrt() - (11.0 + 4.0 * (at.z / 60.0).max(0.0));
        let shaft = shaft.max(at.z - 45.0);
        let ball = (at - Vector3::new(-38.0, -4.0, 52.0)).norm() - 22.0;
        let neck = {
            let (from, to) = (
                Vector3::new(0.0, 0.0, 25.0),
                Vector3::new(-38.0, -4.0, 52.0),
            );
            let along =
                ((at - from).dot(&(to - from)) / (to - from).norm_squared()).clamp(0.0, 1.0);
            (at - from - along * (to - from)).norm() - 12.0
        };
        let ridge = (at - Vector3::new(12.0, 6.0, 35.0)).norm() - 14.0;
        let distance = shaft.min(ball).min(neck).min(ridge);
        let share = (0.5 - distance / 4.0).clamp(0.0, 1.0);
        let inside = if distance < -5.0 { 250.0 } else { 900.0 };
        (40.0 + share * (inside - 40.0)) as f32
    }

    fn volume(size: [usize; 3], origin: [f64; 3], of: impl Fn(Vector3<f64>) -> f32) -> Volume<f32> {
        let mut grid = Grid::axis_aligned(size, [3.0; 3]);
        grid.origin_mm = Vector3::from(origin);
        let world = grid.clone();
        Volume::from_fn(grid, |at| {
            of(world.to_world(Vector3::from(at.map(|n| n as f64))))
        })
    }

    #[test]
    fn a_map_is_found_again() {
        let template = volume([36, 24, 56], [-72.0, -35.0, -80.0], hu);
        let turn = Rotation3::from_euler_angles(0.12, -0.08, 0.15);
        let truth = AffineMap {
            matrix: turn.matrix() * Matrix3::from_diagonal(&Vector3::new(1.08, 0.95, 1.05)),
            shift_mm: Vector3::new(130.0, -60.0, 40.0),
        };
        let back = truth.inverse().expect("a way back");
        // Another scanner's numbers.
        let scan = volume([70, 55, 80], [30.0, -140.0, -80.0], |at| {
            0.9 * hu(back.apply(at)) + 15.0
        });
        let (found, correlation) = register(&template, &scan).expect("a map");
        assert!((0.97..=1.0).contains(&correlation), "{correlation}");
        for corner in [[-40.0, 0.0, 50.0], [10.0, 5.0, 35.0], [0.0, 0.0, -60.0]] {
            let point = Vector3::from(corner);
            let off = (found.apply(point) - truth.apply(point)).norm();
            assert!(off < 1.5, "{corner:?}: off by {off} mm");
        }
    }

    #[test]
    fn nothing_is_laid_on_an_even_scan() {
        let template = volume([36, 24, 56], [-72.0, -35.0, -80.0], hu);
        let scan = volume([60, 50, 80], [0.0; 3], |_| 40.0);
        let error = register(&template, &scan).expect_err("no like").to_string();
        assert!(error.contains("finds no like"), "{error}");
    }
}
