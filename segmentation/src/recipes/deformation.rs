//! Random maps and deformations that samples are shown under.

use imaging::filter::gaussian;
use imaging::{Grid, Volume};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::training::Random;

/// Rotation, shift, shear and scale, each even within its bounds. Saillard et al. name the four and print no bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Largest rotation about an axis, degrees.
    pub rotation_deg: f64,
    /// Largest shift, as a part of the length.
    pub shift: f64,
    /// Largest shear.
    pub shear: f64,
    /// Least and largest scale.
    pub scale: [f64; 2],
}

/// A deformation by smoothed noise (Simard et al. 2003).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Part of the samples that are deformed.
    pub part: f64,
    /// Strength, voxels, even between these.
    pub alpha: [f64; 2],
    /// Standard deviation of the smoothing, voxels, even between these.
    pub sigma: [f64; 2],
    /// What deformed samples count in the loss.
    pub weight: f64,
}

/// Image, labels and weights of one sample, z, y, x.
pub(super) struct Shown {
    pub image: Vec<f32>,
    pub labels: Vec<u8>,
    pub weights: Vec<f32>,
}

/// From where a voxel takes its value.
type Source<'a> = dyn Fn([f64; 3]) -> [f64; 3] + 'a;

impl Shown {
    /// The sample whose voxels take their values from other places: images and weights linearly, labels from the nearest.
    fn taken_from(&self, shape: [usize; 3], source: &Source<'_>) -> Self {
        let least = self.image.iter().copied().fold(f32::INFINITY, f32::min);
        let voxels = shape.iter().product();
        let mut out = Self {
            image: Vec::with_capacity(voxels),
            labels: Vec::with_capacity(voxels),
            weights: Vec::with_capacity(self.weights.len()),
        };
        for z in 0..shape[0] {
            for y in 0..shape[1] {
                for x in 0..shape[2] {
                    let at = source([z as f64, y as f64, x as f64]);
                    out.image.push(linear(&self.image, shape, at, least));
                    let near: [isize; 3] = at.map(|v| (v - 1e-9).round() as isize);
                    let inside = (0..3).all(|a| near[a] >= 0 && (near[a] as usize) < shape[a]);
                    let index = |at: [isize; 3]| {
                        (at[0] as usize * shape[1] + at[1] as usize) * shape[2] + at[2] as usize
                    };
                    out.labels
                        .push(if inside { self.labels[index(near)] } else { 0 });
                    if !self.weights.is_empty() {
                        out.weights.push(linear(&self.weights, shape, at, 1.0));
                    }
                }
            }
        }
        out
    }

    /// Under a random map about the middle; along z only where there is more than one slice.
    pub fn mapped(self, affine: &Affine, shape: [usize; 3], random: &mut Random) -> Self {
        let flat = shape[0] == 1;
        let within = |random: &mut Random, most: f64| random.between(-most, most);
        let angles = std::array::from_fn(|axis| {
            let angle = within(random, affine.rotation_deg).to_radians();
            if flat && axis != 0 { 0.0 } else { angle }
        });
        let mut matrix = rotation(angles);
        for row in 0..3 {
            for column in 0..3 {
                let shear = within(random, affine.shear);
                if row != column && !(flat && (row == 0 || column == 0)) {
                    for k in 0..3 {
                        // A shear behind the rotation.
                        matrix[k][column] += shear * matrix[k][row];
                    }
                }
            }
        }
        let scale: [f64; 3] = std::array::from_fn(|axis| {
            let scale = random.between(affine.scale[0], affine.scale[1]);
            if flat && axis == 0 { 1.0 } else { scale }
        });
        let shift: [f64; 3] = std::array::from_fn(|axis| {
            let shift = within(random, affine.shift) * shape[axis] as f64;
            if flat && axis == 0 { 0.0 } else { shift }
        });
        let middle = shape.map(|n| 0.5 * (n as f64 - 1.0));
        self.taken_from(shape, &|at| {
            let offset: [f64; 3] = std::array::from_fn(|a| (at[a] - middle[a]) / scale[a]);
            std::array::from_fn(|row| {
                let turned: f64 = (0..3).map(|k| matrix[row][k] * offset[k]).sum();
                middle[row] + shift[row] + turned
            })
        })
    }

    /// Deformed, if chance wants it.
    ///
    /// # Errors
    /// [`crate::Error::Imaging`] for a smoothing that cannot be.
    pub fn deformed(
        self,
        elastic: &Elastic,
        shape: [usize; 3],
        random: &mut Random,
    ) -> Result<Self> {
        if !random.chance(elastic.part) {
            return Ok(self);
        }
        let alpha = random.between(elastic.alpha[0], elastic.alpha[1]);
        let sigma = random.between(elastic.sigma[0], elastic.sigma[1]);
        let [nz, ny, nx] = shape;
        let flat = nz == 1;
        let mut fields: Vec<Vec<f32>> = vec![];
        for axis in 0..3 {
            if flat && axis == 0 {
                fields.push(vec![0.0; nz * ny * nx]);
                continue;
            }
            let noise = Volume::from_fn(Grid::axis_aligned([nx, ny, nz], [1.0; 3]), |_| {
                random.between(-1.0, 1.0) as f32
            });
            let along_z = if flat { 0.0 } else { sigma };
            let smooth = gaussian(&noise, [sigma, sigma, along_z], 4.0)?;
            fields.push(smooth.data);
        }
        let mut moved = self.taken_from(shape, &|at| {
            let index = (at[0] as usize * ny + at[1] as usize) * nx + at[2] as usize;
            std::array::from_fn(|axis| at[axis] + alpha * f64::from(fields[axis][index]))
        });
        let weight = elastic.weight as f32;
        match moved.weights.is_empty() {
            true => moved.weights = vec![weight; nz * ny * nx],
            false => moved.weights.iter_mut().for_each(|w| *w *= weight),
        }
        Ok(moved)
    }
}

/// Rotation about z, y and x, rows z, y, x.
fn rotation([a, b, c]: [f64; 3]) -> [[f64; 3]; 3] {
    let (sa, ca, sb, cb, sc, cc) = (a.sin(), a.cos(), b.sin(), b.cos(), c.sin(), c.cos());
    [
        [cb * cc, -cb * sc, sb],
        [sa * sb * cc + ca * sc, ca * cc - sa * sb * sc, -sa * cb],
        [sa * sc - ca * sb * cc, ca * sb * sc + sa * cc, ca * cb],
    ]
}

/// Value between voxels; `outside` where the place is more than a voxel's half away.
fn linear(values: &[f32], shape: [usize; 3], at: [f64; 3], outside: f32) -> f32 {
    let inside = (0..3).all(|a| at[a] > -0.5 && at[a] < shape[a] as f64 - 0.5);
    if !inside {
        return outside;
    }
    let mut low = [0; 3];
    let mut part = [0.0; 3];
    for axis in 0..3 {
        let place = at[axis].clamp(0.0, shape[axis] as f64 - 1.0);
        low[axis] = (place as usize).min(shape[axis].saturating_sub(2));
        part[axis] = place - low[axis] as f64;
    }
    let mut sum = 0.0;
    for corner in 0..8 {
        let (mut weight, mut index) = (1.0, 0);
        for axis in 0..3 {
            let up = corner >> axis & 1;
            weight *= if up == 1 {
                part[axis]
            } else {
                1.0 - part[axis]
            };
            index = index * shape[axis] + (low[axis] + up).min(shape[axis] - 1);
        }
        if weight > 0.0 {
            sum += weight * f64::from(values[index]);
        }
    }
    sum as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball() -> (Shown, [usize; 3]) {
        let shape = [1, 33, 33];
        let inside = |i: usize| {
            let (y, x) = ((i / 33) as f64 - 16.0, (i % 33) as f64 - 16.0);
            y * y / 36.0 + x * x / 100.0 < 1.0
        };
        let shown = Shown {
            image: (0..33 * 33)
                .map(|i| f32::from(u8::from(inside(i))))
                .collect(),
            labels: (0..33 * 33).map(|i| u8::from(inside(i))).collect(),
            weights: vec![],
        };
        (shown, shape)
    }

    /// Half lengths of the ellipse along y and x from its second moments.
    fn halves(labels: &[u8]) -> [f64; 2] {
        let mut sums = [0.0; 3];
        for (index, _) in labels.iter().enumerate().filter(|(_, l)| **l > 0) {
            let (y, x) = ((index / 33) as f64 - 16.0, (index % 33) as f64 - 16.0);
            sums[0] += 1.0;
            sums[1] += y * y;
            sums[2] += x * x;
        }
        [1, 2].map(|k: usize| 2.0 * (sums[k] / sums[0]).sqrt())
    }

    #[test]
    fn a_scale_makes_larger_and_labels_follow_the_image() {
        let (shown, shape) = ball();
        let affine = Affine {
            rotation_deg: 0.0,
            shift: 0.0,
            shear: 0.0,
            scale: [1.5, 1.5],
        };
        let before = halves(&shown.labels);
        let moved = shown.mapped(&affine, shape, &mut Random::new(1, 1));
        for (before, after) in before.iter().zip(halves(&moved.labels)) {
            assert!((after / before - 1.5).abs() < 0.06, "{before} to {after}");
        }
        let wrong = moved.image.iter().zip(&moved.labels);
        let wrong = wrong.filter(|(i, l)| (**i > 0.5) != (**l > 0)).count();
        // Linear and nearest part at corners of the outline only.
        assert!((0..=12).contains(&wrong), "{wrong} pixels");
    }

    #[test]
    fn a_flat_sample_turns_in_its_plane_only() {
        let (shown, shape) = ball();
        let affine = Affine {
            rotation_deg: 180.0,
            shift: 0.0,
            shear: 0.0,
            scale: [1.0, 1.0],
        };
        let count = shown.labels.iter().filter(|l| **l > 0).count() as f64;
        let moved = shown.mapped(&affine, shape, &mut Random::new(3, 5));
        let after = moved.labels.iter().filter(|l| **l > 0).count() as f64;
        assert!((after / count - 1.0).abs() < 0.06, "{count} to {after}");
    }

    #[test]
    fn a_deformed_sample_counts_less() {
        let (shown, shape) = ball();
        let elastic = Elastic {
            part: 1.0,
            alpha: [40.0, 40.0],
            sigma: [4.0, 4.0],
            weight: 0.33,
        };
        let before = shown.labels.clone();
        let moved = shown
            .deformed(&elastic, shape, &mut Random::new(3, 5))
            .expect("a deformation");
        assert_ne!(moved.labels, before);
        assert!(moved.weights.iter().all(|w| (w - 0.33).abs() < 1e-6));
    }
}
