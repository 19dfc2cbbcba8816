//! The scanner: partial volume, blur, noise and whole CT numbers.

use imaging::{Grid, LabelMap, Volume};
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;

use super::random::{Draws, Purpose, near_normal_of, stream};
use super::solid::{Point, mix};
use super::surroundings::Surroundings;

/// Least and largest CT number a scanner stores.
const HU_RANGE: [f32; 2] = [-1024.0, 3071.0];
/// Ratio of full width at half maximum to standard deviation of a Gaussian, `sqrt(8 ln 2)`.
const FWHM_PER_SIGMA: f64 = 2.354_820_045;
/// Densities are kept to 1/64 mg/cm³, so that the last bit of a processor's arithmetic does not show.
const DENSITY_STEPS: f64 = 64.0;

/// Constants of one scanner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanner {
    /// Slope of the Mindways reference equation, HU per mg/cm³ K2HPO4.
    pub sigma_ref: f64,
    /// Offset of the Mindways reference equation, HU.
    pub beta_ref: f64,
    /// Width of the point spread in the slice, mm.
    pub in_plane_fwhm_mm: f64,
    /// Width of the slice sensitivity profile, mm.
    pub slice_fwhm_mm: f64,
    /// Standard deviation of the noise, HU.
    pub noise_hu: f64,
}

impl Scanner {
    /// A drawn scanner; `noise_hu` fixes the noise.
    pub(crate) fn drawn(draws: &mut Draws<'_>, noise_hu: Option<f64>) -> Self {
        let drawn = Self {
            sigma_ref: draws.normal("sigma_ref_hu_per_mg_cm3", 1.46, 0.02),
            beta_ref: draws.normal("beta_ref_hu", -1003.0, 2.0),
            in_plane_fwhm_mm: draws.uniform("in_plane_fwhm_mm", 1.0, 1.4),
            slice_fwhm_mm: draws.uniform("slice_fwhm_mm", 0.8, 1.2),
            noise_hu: draws.uniform("noise_hu", 15.0, 25.0),
        };
        Self {
            noise_hu: noise_hu.unwrap_or(drawn.noise_hu),
            ..drawn
        }
    }

    /// Slope of the scanner's own line, HU per mg/cm³ K2HPO4: `sigma_ref - 0.2174` (Mindways QCT PRO
    /// User's Guide, version 5.0).
    pub(crate) fn sigma_ct(&self) -> f64 {
        self.sigma_ref - 0.2174
    }

    /// CT number of zero density: `beta_ref + 999.6` (as [`Scanner::sigma_ct`]).
    pub(crate) fn beta_ct(&self) -> f64 {
        self.beta_ref + 999.6
    }

    /// CT number of a K2HPO4 density in mg/cm³.
    pub(crate) fn hu(&self, density_mg_cm3: f64) -> f64 {
        self.sigma_ct() * density_mg_cm3 + self.beta_ct()
    }
}

/// What a bone contributes to a voxel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoneVoxel {
    /// Label of the voxel; 0 where the bone only grazes it.
    pub label: u16,
    /// Share of the voxel that is bone.
    pub share: f64,
    /// Density of that share, mg/cm³ K2HPO4.
    pub density_mg_cm3: f64,
}

/// The volumes of a patient.
pub(crate) struct Layers {
    pub ct: Volume<f32>,
    pub labels: LabelMap,
    pub density: Volume<f32>,
    pub rods: LabelMap,
}

/// Mean voxel size, mm: the width over which a surface is smeared.
pub(crate) fn voxel_width_mm(grid: &Grid) -> f64 {
    grid.spacing_mm.iter().sum::<f64>() / 3.0
}

/// Scans a patient: `bone` tells what bone a voxel `(index, world position)` holds.
pub(crate) fn scan(
    grid: Grid,
    surroundings: &Surroundings,
    scanner: &Scanner,
    seed: u64,
    bone: impl Fn(usize, &Point) -> Option<BoneVoxel> + Sync,
) -> Layers {
    let [ni, nj, _] = grid.size;
    let slice = ni * nj;
    let (matrix, origin, width) = (grid.matrix(), grid.origin_mm, voxel_width_mm(&grid));
    let mut ct = vec![0f32; grid.len()];
    let mut labels = vec![0u16; grid.len()];
    let mut density = vec![0f32; grid.len()];
    let mut rods = vec![0u16; grid.len()];
    ct.par_chunks_mut(slice)
        .zip(labels.par_chunks_mut(slice))
        .zip(
            density
                .par_chunks_mut(slice)
                .zip(rods.par_chunks_mut(slice)),
        )
        .enumerate()
        .for_each(|(k, ((ct, labels), (density, rods)))| {
            for at in 0..slice {
                let index = Point::new((at % ni) as f64, (at / ni) as f64, k as f64);
                let p = origin + matrix * index;
                let found = bone(k * slice + at, &p);
                let share = found.map_or(0.0, |b| b.share);
                let mut hu = if share < 1.0 {
                    surroundings.hu(&p, width)
                } else {
                    0.0
                };
                if let Some(b) = found {
                    hu = mix(hu, scanner.hu(b.density_mg_cm3), share);
                    labels[at] = b.label;
                    if b.label != 0 {
                        let steps = (b.density_mg_cm3 * DENSITY_STEPS).round();
                        density[at] = (steps / DENSITY_STEPS) as f32;
                    }
                }
                ct[at] = hu as f32;
                if let Some(phantom) = &surroundings.phantom {
                    rods[at] = phantom.rod_label(&p);
                }
            }
        });
    let ct = image(&grid, ct, scanner, seed);
    Layers {
        ct: Volume {
            grid: grid.clone(),
            data: ct,
        },
        labels: Volume {
            grid: grid.clone(),
            data: labels,
        },
        density: Volume {
            grid: grid.clone(),
            data: density,
        },
        rods: Volume { grid, data: rods },
    }
}

/// Blurs true CT numbers with the scanner's point spread, adds noise and rounds.
fn image(grid: &Grid, truth: Vec<f32>, scanner: &Scanner, seed: u64) -> Vec<f32> {
    let [ni, nj, nk] = grid.size;
    let slice = ni * nj;
    let in_plane: [Vec<f32>; 2] =
        std::array::from_fn(|axis| kernel(scanner.in_plane_fwhm_mm, grid.spacing_mm[axis]));
    let across = kernel(scanner.slice_fwhm_mm, grid.spacing_mm[2]);
    let mut blurred = truth;
    blurred.par_chunks_mut(slice).for_each(|plane| {
        blur_plane(plane, [ni, nj], &in_plane);
    });
    let reach = across.len() / 2;
    let mut out = vec![0f32; blurred.len()];
    out.par_chunks_mut(slice).enumerate().for_each(|(k, out)| {
        for (tap, &weight) in across.iter().enumerate() {
            let from = (k + tap).saturating_sub(reach).min(nk - 1);
            let plane = &blurred[from * slice..(from + 1) * slice];
            for (value, &source) in out.iter_mut().zip(plane) {
                *value += weight * source;
            }
        }
        let noise = noise_plane([ni, nj], seed, k as u32);
        for (value, noise) in out.iter_mut().zip(noise) {
            let hu = *value + scanner.noise_hu as f32 * noise;
            *value = hu.round().clamp(HU_RANGE[0], HU_RANGE[1]);
        }
    });
    out
}

/// Gaussian weights of one axis, an odd number of them, summing to 1.
pub(crate) fn kernel(fwhm_mm: f64, spacing_mm: f64) -> Vec<f32> {
    let sigma = fwhm_mm / FWHM_PER_SIGMA / spacing_mm;
    let reach = (3.0 * sigma).ceil().max(1.0) as i64;
    let weights: Vec<f64> = (-reach..=reach)
        .map(|at| (-0.5 * (at as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| (w / sum) as f32).collect()
}

/// Blurs one plane along both its axes; values beyond the edge are those of the edge.
pub(crate) fn blur_plane(plane: &mut [f32], [ni, nj]: [usize; 2], kernels: &[Vec<f32>; 2]) {
    let reach = kernels[0].len() / 2;
    let mut line = vec![0f32; ni + 2 * reach];
    for row in plane.chunks_mut(ni) {
        line[..reach].fill(row[0]);
        line[reach..reach + ni].copy_from_slice(row);
        line[reach + ni..].fill(row[ni - 1]);
        for (i, value) in row.iter_mut().enumerate() {
            *value = kernels[0].iter().zip(&line[i..]).map(|(w, v)| w * v).sum();
        }
    }
    let source = plane.to_vec();
    let reach = kernels[1].len() / 2;
    for (j, row) in plane.chunks_mut(ni).enumerate() {
        row.fill(0.0);
        for (tap, &weight) in kernels[1].iter().enumerate() {
            let from = (j + tap).saturating_sub(reach).min(nj - 1);
            for (value, &v) in row.iter_mut().zip(&source[from * ni..]) {
                *value += weight * v;
            }
        }
    }
}

/// Noise of unit variance for one slice, correlated between neighbours as a reconstruction kernel
/// leaves it (weights 1 2 1 along both axes).
fn noise_plane([ni, nj]: [usize; 2], seed: u64, k: u32) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Noise, k);
    let (wi, wj) = (ni + 2, nj + 2);
    let white: Vec<f32> = (0..wi * wj)
        .map(|_| near_normal_of(rng.next_u64()))
        .collect();
    let mut out = Vec::with_capacity(ni * nj);
    for j in 0..nj {
        for i in 0..ni {
            let row = |r: usize| {
                let at = (j + r) * wi + i;
                white[at] + 2.0 * white[at + 1] + white[at + 2]
            };
            // Each axis leaves the variance 1 + 4 + 1 = 6 times that of one value.
            out.push((row(0) + 2.0 * row(1) + row(2)) / 6.0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_follows_the_two_equation_regression() {
        let scanner = Scanner {
            sigma_ref: 1.46,
            beta_ref: -1003.0,
            in_plane_fwhm_mm: 1.0,
            slice_fwhm_mm: 1.0,
            noise_hu: 0.0,
        };
        assert!((scanner.sigma_ct() - 1.2426).abs() < 1e-12);
        assert!((scanner.beta_ct() + 3.4).abs() < 1e-9);
        // 807.5 mg/cm³ at 1000 HU: the worked number of the regression.
        assert!((scanner.hu(807.500) - 1000.0).abs() < 1e-3);
    }

    #[test]
    fn noise_has_unit_variance_and_is_correlated_with_its_neighbour() {
        let size = [200, 200];
        let plane = noise_plane(size, 9, 4);
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        let variance = plane.iter().map(|v| v * v).sum::<f32>() / plane.len() as f32;
        let next = plane.windows(2).map(|w| w[0] * w[1]).sum::<f32>() / plane.len() as f32;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.04, "{variance}");
        // (1 2 1) with itself shifted by one: 4 / 6.
        assert!((next - 2.0 / 3.0).abs() < 0.05, "{next}");
    }

    #[test]
    fn blur_keeps_a_constant_and_has_the_asked_width() {
        let kernels = [kernel(2.0, 0.5), kernel(2.0, 0.5)];
        let mut flat = vec![7f32; 30 * 20];
        blur_plane(&mut flat, [30, 20], &kernels);
        assert!(flat.iter().all(|v| (v - 7.0).abs() < 1e-4));
        let mut point = vec![0f32; 41 * 41];
        point[20 + 41 * 20] = 1.0;
        blur_plane(&mut point, [41, 41], &kernels);
        // Half the maximum 1 mm (2 voxels) off the centre, along either axis.
        let top = point[20 + 41 * 20];
        assert!((point[22 + 41 * 20] / top - 0.5).abs() < 1e-3);
        assert!((point[20 + 41 * 22] / top - 0.5).abs() < 1e-3);
    }
}
