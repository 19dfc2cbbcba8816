//! The interpolating cubic B-spline of a volume.

use nalgebra::Vector3;

use crate::lines::for_each_line;
use crate::resample::mirrored;
use crate::volume::Volume;

/// Cubic B-spline that passes through the voxel values of a volume; mirrored about the outermost
/// voxel centres beyond them.
///
/// Holds the coefficients in `f64`: 8 bytes per voxel.
#[derive(Clone, Debug)]
pub struct Spline {
    size: [usize; 3],
    coefficients: Vec<f64>,
}

impl Spline {
    /// Finds the coefficients by the recursive filter of Unser 1999 (see [`crate::resample`]), along
    /// the three axes in turn.
    pub fn new(volume: &Volume<f32>) -> Self {
        let size = volume.grid.size;
        let mut coefficients: Vec<f64> = volume.data.iter().map(|&v| f64::from(v)).collect();
        for axis in 0..3 {
            if size[axis] > 1 {
                for_each_line(
                    &mut coefficients,
                    size,
                    axis,
                    || (),
                    |line, ()| prefilter(line),
                );
            }
        }
        Self { size, coefficients }
    }

    /// Value at a continuous voxel index. Beyond the outermost voxel centres the volume is mirrored;
    /// whoever wants something else there decides before asking. NaN for an empty volume or an index
    /// that is not finite.
    pub fn value_at(&self, index: Vector3<f64>) -> f64 {
        if self.coefficients.is_empty() || !index.iter().all(|v| v.is_finite()) {
            return f64::NAN;
        }
        let [ti, tj, tk] = std::array::from_fn(|axis| taps(index[axis], self.size[axis]));
        let [ni, nj, _] = self.size;
        let mut sum = 0.0;
        for c in 0..4 {
            let mut in_slice = 0.0;
            for b in 0..4 {
                let row = ni * (tj.at[b] + nj * tk.at[c]);
                let mut in_row = 0.0;
                for a in 0..4 {
                    in_row += ti.weight[a] * self.coefficients[row + ti.at[a]];
                }
                in_slice += tj.weight[b] * in_row;
            }
            sum += tk.weight[c] * in_slice;
        }
        sum
    }
}

/// The four coefficients that matter at a point of one axis, and their weights.
struct Taps {
    at: [usize; 4],
    weight: [f64; 4],
}

fn taps(index: f64, n: usize) -> Taps {
    let index = mirrored(index, n);
    let base = index.floor();
    let t = index - base;
    let u = 1.0 - t;
    let weight = [
        u * u * u / 6.0,
        2.0 / 3.0 - 0.5 * t * t * (2.0 - t),
        2.0 / 3.0 - 0.5 * u * u * (2.0 - u),
        t * t * t / 6.0,
    ];
    let base = base as usize;
    let at = if base >= 1 && base + 2 < n {
        [base - 1, base, base + 1, base + 2]
    } else {
        std::array::from_fn(|tap| mirrored(base as f64 + tap as f64 - 1.0, n) as usize)
    };
    Taps { at, weight }
}

/// Voxel values of a line to spline coefficients, in place; mirror ends. At least two values.
fn prefilter(line: &mut [f64]) {
    let pole = 3f64.sqrt() - 2.0;
    let n = line.len();
    for value in line.iter_mut() {
        *value *= 6.0; // (1 - pole) (1 - 1 / pole)
    }
    // First causal value: the mirrored line is periodic, its geometric series is summed exactly.
    let mut power = pole;
    let last_power = pole.powi((n - 1).min(1 << 20) as i32);
    let mut first = line[0] + last_power * line[n - 1];
    let mut mirrored_power = last_power * last_power / pole;
    for value in &line[1..n - 1] {
        first += (power + mirrored_power) * value;
        power *= pole;
        mirrored_power /= pole;
        if power.abs() < 1e-30 {
            break; // the mirrored terms are smaller still unless the line is short
        }
    }
    line[0] = first / (1.0 - last_power * last_power);
    for at in 1..n {
        line[at] += pole * line[at - 1];
    }
    line[n - 1] = pole / (pole * pole - 1.0) * (line[n - 1] + pole * line[n - 2]);
    for at in (0..n - 1).rev() {
        line[at] = pole * (line[at + 1] - line[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::pattern;

    fn check(volume: &Volume<f32>, at: [f64; 3], expected: f64) {
        let found = Spline::new(volume).value_at(Vector3::from(at));
        assert!(
            (found - expected).abs() < 1e-10,
            "{at:?}: {found} {expected}"
        );
    }

    /// scipy.ndimage.map_coordinates(field, points, order=3, mode="mirror"), scipy 1.17.1, inside and
    /// outside the volume.
    #[test]
    fn equals_scipy() {
        let volume = pattern([6, 5, 4]);
        check(&volume, [0.3, 1.7, 2.2], 4.306504809178949);
        check(&volume, [2.5, 2.5, 1.5], 6.266357421875003);
        check(&volume, [-0.4, 4.3, 3.1], 5.730894799821059);
        check(&volume, [5.45, -0.2, 0.0], 1.9621302481203011);
        check(&volume, [0.0, 0.0, 0.0], 0.0);
        check(&volume, [4.0, 3.0, 2.0], 6.0);
        check(&volume, [7.3, -2.6, 9.9], 4.2146694226015065);
    }

    /// As above, on axes of one, two and three voxels and on one of 80.
    #[test]
    fn equals_scipy_on_short_and_long_lines() {
        let thin = pattern([2, 1, 3]);
        check(&thin, [0.5, 0.0, 1.25], 6.037109375000003);
        check(&thin, [0.9, 0.0, 0.1], 6.6766710000000025);
        for axis in 0..3 {
            let mut size = [1; 3];
            size[axis] = 80;
            let grid = crate::Grid::axis_aligned(size, [1.0; 3]);
            let long = Volume::from_fn(grid, |at| ((37 * at[axis]) % 101) as f32);
            for (x, expected) in [
                (0.5, 10.682574885154786),
                (40.25, 56.42590400431026),
                (78.9, 94.52685460839723),
            ] {
                let mut at = [0.0; 3];
                at[axis] = x;
                check(&long, at, expected);
            }
        }
    }

    #[test]
    fn passes_through_every_voxel_value() {
        let volume = pattern([7, 6, 5]);
        let spline = Spline::new(&volume);
        for (index, &value) in volume.data.iter().enumerate() {
            let at = volume.grid.voxel(index).map(|v| v as f64);
            let found = spline.value_at(Vector3::from(at));
            assert!((found - f64::from(value)).abs() < 1e-12, "{found} {value}");
        }
    }

    #[test]
    fn nothing_to_interpolate_is_nan() {
        let empty = Volume::filled(crate::Grid::axis_aligned([0, 4, 4], [1.0; 3]), 0.0);
        assert!(Spline::new(&empty).value_at(Vector3::zeros()).is_nan());
        let spline = Spline::new(&pattern([3, 3, 3]));
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(spline.value_at(Vector3::new(0.0, bad, 0.0)).is_nan());
        }
    }
}
