//! Gaussian smoothing, in mm.

use crate::error::{Error, Result};
use crate::lines::for_each_line;
use crate::orientation::crop;
use crate::volume::{Mask, Volume};

/// What a filter sees beyond the ends of a line.
#[derive(Clone, Copy)]
enum Ends {
    /// The line reflected about its faces: `c b a | a b c`.
    Reflect,
    /// Nothing.
    Zero,
}

/// Gaussian filter with standard deviation `sigma_mm` along each array axis, cut off at `truncate`
/// standard deviations; an axis with sigma 0 is left alone.
///
/// Equal to `scipy.ndimage.gaussian_filter` with its default `mode="reflect"` (the volume reflected
/// about its outer faces). Sums in `f64`. NaN voxels spread over the reach of the kernel.
///
/// # Errors
/// [`Error::Parameter`] when a sigma or `truncate` is negative or not finite.
pub fn gaussian(volume: &Volume<f32>, sigma_mm: [f64; 3], truncate: f64) -> Result<Volume<f32>> {
    check_sigma(sigma_mm)?;
    if !(truncate.is_finite() && truncate >= 0.0) {
        return Err(Error::Parameter(format!(
            "a Gaussian cannot be cut off at {truncate} standard deviations; give a number such as 4"
        )));
    }
    let mut smooth = volume.clone();
    for axis in 0..3 {
        let sigma = sigma_mm[axis] / volume.grid.spacing_mm[axis];
        let reach = (truncate * sigma + 0.5).floor() as usize;
        // Beyond 40 standard deviations every weight underflows: no need for more.
        let reach = reach.min((40.0 * sigma).ceil() as usize);
        let kernel = kernel(sigma, reach);
        smooth_axis(
            &mut smooth.data,
            volume.grid.size,
            axis,
            &kernel,
            Ends::Reflect,
            |sum| sum as f32,
        );
    }
    Ok(smooth)
}

/// Gaussian filter that sees only the voxels of the mask: weights normalised over the neighbours
/// inside it, at most `radius_voxels` away along each array axis. Voxels outside the mask keep their
/// value.
///
/// With `radius_voxels` of 1 or 2 and sigma = 3 mm / sqrt(8 ln 2) this is the smoothing of density
/// before the material law of Saillard et al. 2024.
///
/// # Errors
/// [`Error::GridMismatch`] when mask and volume stand on different grids, [`Error::Parameter`] when a
/// sigma is negative or not finite.
pub fn masked_gaussian(
    volume: &Volume<f32>,
    mask: &Mask,
    sigma_mm: [f64; 3],
    radius_voxels: [usize; 3],
) -> Result<Volume<f32>> {
    check_sigma(sigma_mm)?;
    volume.grid.check_same(&mask.grid)?;
    let mut smooth = volume.clone();
    let Some([low, high]) = mask.bounding_box() else {
        return Ok(smooth);
    };
    // All neighbours that count lie in the mask's box.
    let inside = crop(mask, low, high)?;
    let values = crop(volume, low, high)?;
    let mut weights: Vec<f64> = inside
        .data
        .iter()
        .map(|&v| f64::from(u8::from(v)))
        .collect();
    let mut sums: Vec<f64> = values
        .data
        .iter()
        .zip(&inside.data)
        .map(|(&value, &inside)| if inside { f64::from(value) } else { 0.0 })
        .collect();
    for axis in 0..3 {
        let sigma = sigma_mm[axis] / volume.grid.spacing_mm[axis];
        let reach = radius_voxels[axis].min(inside.grid.size[axis]);
        let kernel = kernel(sigma, reach);
        for data in [&mut sums, &mut weights] {
            smooth_axis(data, inside.grid.size, axis, &kernel, Ends::Zero, |sum| sum);
        }
    }
    for (index, _) in inside
        .data
        .iter()
        .enumerate()
        .filter(|(_, inside)| **inside)
    {
        let [i, j, k] = inside.grid.voxel(index);
        let at = volume.grid.index(i + low[0], j + low[1], k + low[2]);
        smooth.data[at] = (sums[index] / weights[index]) as f32;
    }
    Ok(smooth)
}

fn check_sigma(sigma_mm: [f64; 3]) -> Result<()> {
    if sigma_mm.iter().all(|s| s.is_finite() && *s >= 0.0) {
        Ok(())
    } else {
        Err(Error::Parameter(format!(
            "the standard deviation of a Gaussian is {sigma_mm:?} mm; finite values from 0 up are needed"
        )))
    }
}

/// One side of a normalised Gaussian, from the centre to `reach` voxels; sigma in voxels.
fn kernel(sigma: f64, reach: usize) -> Vec<f64> {
    if sigma <= 0.0 || reach == 0 {
        return vec![1.0];
    }
    let mut side: Vec<f64> = (0..=reach)
        .map(|at| (-0.5 * (at as f64 / sigma).powi(2)).exp())
        .collect();
    let total = side[0] + 2.0 * side[1..].iter().sum::<f64>();
    side.iter_mut().for_each(|weight| *weight /= total);
    side
}

/// Convolves every line along an axis with a symmetric kernel.
fn smooth_axis<T: Copy + Default + Into<f64> + Send + Sync>(
    data: &mut [T],
    size: [usize; 3],
    axis: usize,
    kernel: &[f64],
    ends: Ends,
    rounded: impl Fn(f64) -> T + Sync + Send,
) {
    let reach = kernel.len() - 1;
    if reach == 0 {
        return;
    }
    for_each_line(
        data,
        size,
        axis,
        Vec::new,
        |line, extended: &mut Vec<f64>| {
            let n = line.len();
            extended.clear();
            extended.extend((0..n + 2 * reach).map(|at| {
                // Position in the reflected line, which repeats after 2 n values.
                let folded = (at + 2 * n * reach - reach) % (2 * n);
                let within = (reach..reach + n).contains(&at);
                match ends {
                    Ends::Zero if !within => 0.0,
                    _ => line[folded.min(2 * n - 1 - folded)].into(),
                }
            }));
            for (at, value) in line.iter_mut().enumerate() {
                let centre = at + reach;
                let mut sum = kernel[0] * extended[centre];
                for (step, weight) in kernel.iter().enumerate().skip(1) {
                    sum += weight * (extended[centre - step] + extended[centre + step]);
                }
                *value = rounded(sum);
            }
        },
    );
}
