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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Grid;
    use crate::pattern::pattern;

    fn close(found: f32, expected: f64) {
        assert!(
            (f64::from(found) - expected).abs() < 1e-5,
            "{found} {expected}"
        );
    }

    /// scipy.ndimage.gaussian_filter(field, [1.2/0.8, 1.2/0.9, 0.6/1.5], truncate=3), scipy 1.17.1.
    #[test]
    fn equals_scipy() {
        let smooth = gaussian(&pattern([6, 5, 4]), [1.2, 1.2, 0.6], 3.0).unwrap();
        close(smooth.at(0, 0, 0), 3.8606473486382615);
        close(smooth.at(3, 2, 1), 4.051389470565298);
        close(smooth.at(5, 4, 3), 3.4642880179457944);
        close(smooth.at(1, 4, 0), 4.6659671555301845);
    }

    /// A kernel longer than the lines, which are reflected again and again; sigma 2.5, 1, 2.5 voxels.
    #[test]
    fn equals_scipy_on_short_lines() {
        let smooth = gaussian(&pattern([2, 1, 3]), [2.0, 0.9, 3.75], 4.0).unwrap();
        let expected = [
            4.5328151662362774,
            4.534266494440122,
            4.540995679157793,
            4.542367561021703,
            4.549131351769755,
            4.5504237473743405,
        ];
        for (found, expected) in smooth.data.iter().zip(expected) {
            close(*found, expected);
        }
    }

    /// scipy.ndimage.convolve1d(mode="constant") of value * mask over that of the mask, radii 2, 2, 1.
    #[test]
    fn the_masked_filter_sees_the_mask_only() {
        let mut volume = pattern([6, 5, 4]);
        let mask = volume.map(|&v| v > 2.0);
        assert_eq!(mask.count(), 79);
        let outside = volume.at(5, 4, 3);
        // Whatever stands outside the mask must not matter.
        volume.data[0] = f32::NAN;
        let smooth = masked_gaussian(&volume, &mask, [1.2, 1.2, 0.6], [2, 2, 1]).unwrap();
        close(smooth.at(0, 1, 1), 6.374748524923909);
        close(smooth.at(1, 0, 0), 6.025560797608224);
        close(smooth.at(3, 2, 1), 5.839383963222697);
        assert_eq!(smooth.at(5, 4, 3), outside);
        let inside = smooth
            .data
            .iter()
            .zip(&mask.data)
            .filter(|(_, inside)| **inside);
        let sum: f64 = inside.map(|(v, _)| f64::from(*v)).sum();
        assert!((sum - 461.4913101859378).abs() < 1e-4, "{sum}");
    }

    #[test]
    fn bad_parameters_are_refused_and_empty_input_passes() {
        let volume = pattern([3, 2, 2]);
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(gaussian(&volume, [1.0, bad, 1.0], 4.0).is_err());
            assert!(gaussian(&volume, [1.0; 3], bad).is_err());
        }
        assert_eq!(gaussian(&volume, [0.0; 3], 4.0).unwrap(), volume);
        let none = Volume::filled(volume.grid.clone(), false);
        let same = masked_gaussian(&volume, &none, [1.0; 3], [1; 3]).unwrap();
        assert_eq!(same, volume);
        let other = Volume::filled(Grid::axis_aligned([3, 2, 1], [1.0; 3]), true);
        assert!(masked_gaussian(&volume, &other, [1.0; 3], [1; 3]).is_err());
        let empty = Volume::filled(Grid::axis_aligned([0, 2, 2], [1.0; 3]), 1.0);
        assert!(gaussian(&empty, [1.0; 3], 4.0).unwrap().data.is_empty());
    }
}
