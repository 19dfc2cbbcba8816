//! Whether the patient moved between two slices.
//!
//! Between neighbouring slices the picture of a bone wanders steadily: with the lean of the shaft, with the neck. The step of each
//! pair is the shift that makes the slices most alike (least mean square over the bone and 5 mm around it); a pair whose step differs
//! from those before and after it, and whose slices that shift makes alike, is a jump.

use imaging::Mask;

use super::Near;
use crate::anatomy::Check;

/// Around the bone, mm: its surface and the tissue it moves with.
const AROUND_MM: f64 = 5.0;
/// Steps are looked for up to this, mm.
const FURTHEST_MM: f64 = 5.0;
/// Pixels are joined to about this, mm: twice the usual one, which takes most of the noise out and most of the time.
const PIXEL_MM: f64 = 1.5;
/// Pairs of slices before and after that tell the steady wandering.
const NEIGHBOURS: usize = 4;
/// Jumps up to this do no harm to a load on voxels of 1 mm, mm; nor are they told from the anatomy below three quarters of a pixel.
const JUMP_MM: f64 = 1.5;
/// A shift explains a difference when it leaves less than this share of it: where one shape ends and another begins (the top of the
/// head, an endplate) the best shift leaves 0.58 and more.
const EXPLAINED: f64 = 0.4;
/// Fewer pixels of a slice say nothing.
const LEAST_PIXELS: usize = 60;

/// Jumps between neighbouring slices; the value is the largest, mm.
pub fn motion(near: &Near) -> Check {
    const NAME: &str = "motion";
    let Some(slices) = Slices::of(near) else {
        return Check::pass(NAME, None, "too few slices to tell motion from");
    };
    let found = slices.jumps();
    let Some(&(jump_mm, k)) = found.iter().max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Check::pass(NAME, 0.0, "no jump between neighbouring slices");
    };
    let grid = &near.bone.grid;
    let place = |k: f64| {
        let middle =
            nalgebra::Vector3::new(grid.size[0] as f64 / 2.0, grid.size[1] as f64 / 2.0, k);
        grid.to_world(middle).z
    };
    let z = place(k as f64 + 0.5);
    let more = match found.len() {
        1 => String::new(),
        n => format!(", the largest of {n}"),
    };
    Check::review(
        NAME,
        jump_mm,
        format!(
            "the bone jumps by {jump_mm:.1} mm between two slices at z = {z:.1} mm{more}: the patient may have moved"
        ),
    )
}

/// The slices of a bone, on pixels of at least [`PIXEL_MM`].
struct Slices {
    /// First slice of the bone in the window.
    first: usize,
    /// Pixels of each slice along both axes.
    size: [usize; 2],
    spacing_mm: [f64; 2],
    /// CT numbers, slice by slice.
    hu: Vec<f32>,
    /// The bone and its surroundings.
    looked_at: Vec<bool>,
}

impl Slices {
    fn of(near: &Near) -> Option<Self> {
        let grid = &near.bone.grid;
        let [low, high] = near.bone.bounding_box()?;
        let (first, count) = (low[2], high[2] + 1 - low[2]);
        if count < 2 * NEIGHBOURS {
            return None;
        }
        let join = [0, 1].map(|a| ((PIXEL_MM / grid.spacing_mm[a]).round() as usize).max(1));
        let spacing_mm = [0, 1].map(|a| grid.spacing_mm[a] * join[a] as f64);
        let margin =
            [0, 1].map(|a| ((AROUND_MM + FURTHEST_MM) / grid.spacing_mm[a]).ceil() as usize);
        let start = [0, 1].map(|a| low[a].saturating_sub(margin[a]));
        let end = [0, 1].map(|a| (high[a] + 1 + margin[a]).min(grid.size[a]));
        let size = [0, 1].map(|a| (end[a] - start[a]) / join[a]);
        if size[0] < 8 || size[1] < 8 {
            return None;
        }
        let mut slices = Self {
            first,
            size,
            spacing_mm,
            hu: Vec::with_capacity(size[0] * size[1] * count),
            looked_at: Vec::new(),
        };
        let part = 1.0 / (join[0] * join[1]) as f64;
        let mut bone = Vec::with_capacity(size[0] * size[1] * count);
        for k in first..first + count {
            for q in 0..size[1] {
                for p in 0..size[0] {
                    let (mut sum, mut inside) = (0.0, false);
                    for j in 0..join[1] {
                        let row = grid.index(start[0] + p * join[0], start[1] + q * join[1] + j, k);
                        for at in row..row + join[0] {
                            sum += near.hu(near.density_mg_cm3.data[at]);
                            inside |= near.bone.data[at];
                        }
                    }
                    slices.hu.push((sum * part) as f32);
                    bone.push(inside);
                }
            }
        }
        slices.looked_at = slices.grown(&bone, count)?;
        Some(slices)
    }

    /// The bone and [`AROUND_MM`] around it, within each slice.
    fn grown(&self, bone: &[bool], count: usize) -> Option<Vec<bool>> {
        use imaging::morphology::{StructuringElement, morph_voxels};
        let steps = (AROUND_MM / self.spacing_mm[0]).round().max(1.0) as i32;
        let pixels = self.size[0] * self.size[1];
        let grid = imaging::Grid::axis_aligned([self.size[0], self.size[1], 1], [1.0; 3]);
        let mut grown = Vec::with_capacity(bone.len());
        for slice in bone.chunks(pixels).take(count) {
            let mask = Mask::new(grid.clone(), slice.to_vec()).ok()?;
            grown.extend(morph_voxels(&mask, steps, StructuringElement::Corners).data);
        }
        Some(grown)
    }

    /// Step from slice `n` to the next; `None` where there is too little to see.
    fn step(&self, n: usize) -> Option<Step> {
        let [ni, nj] = self.size;
        let pixels = ni * nj;
        let (this, next) = (n * pixels, (n + 1) * pixels);
        let reach = [0, 1].map(|a| (FURTHEST_MM / self.spacing_mm[a]).ceil() as usize);
        let places: Vec<usize> = (reach[1]..nj.saturating_sub(reach[1]))
            .flat_map(|q| (reach[0]..ni.saturating_sub(reach[0])).map(move |p| p + ni * q))
            .filter(|&at| self.looked_at[this + at])
            .collect();
        if places.len() < LEAST_PIXELS {
            return None;
        }
        let width = [2 * reach[0] + 1, 2 * reach[1] + 1];
        let mut squares = Vec::with_capacity(width[0] * width[1]);
        for dq in 0..width[1] {
            for dp in 0..width[0] {
                let shift = (dp + ni * dq) as isize - (reach[0] + ni * reach[1]) as isize;
                let sum: f64 = places
                    .iter()
                    .map(|&at| {
                        let to = (next + at).wrapping_add_signed(shift);
                        let difference = self.hu[to] - self.hu[this + at];
                        f64::from(difference * difference)
                    })
                    .sum();
                squares.push(sum / places.len() as f64);
            }
        }
        let best = (0..squares.len()).fold(0, |best, at| match squares[at] < squares[best] {
            true => at,
            false => best,
        });
        let at = [best % width[0], best / width[0]];
        // Between pixels, by the parabola through three.
        let strides = [1, width[0]];
        let shift_mm = [0, 1].map(|a| {
            let mut shift = at[a] as f64 - reach[a] as f64;
            if at[a] > 0 && at[a] + 1 < width[a] {
                let (left, middle, right) = (
                    squares[best - strides[a]],
                    squares[best],
                    squares[best + strides[a]],
                );
                let bend = left - 2.0 * middle + right;
                if bend > 0.0 {
                    shift += 0.5 * (left - right) / bend;
                }
            }
            shift * self.spacing_mm[a]
        });
        let at_limit = (0..2).any(|a| at[a] == 0 || at[a] + 1 == width[a]);
        Some(Step {
            shift_mm,
            at_limit,
            squares,
            width,
            reach,
        })
    }

    /// Size and slice of every jump.
    fn jumps(&self) -> Vec<(f64, usize)> {
        let count = self.hu.len() / (self.size[0] * self.size[1]);
        let steps: Vec<Option<Step>> = (0..count - 1).map(|n| self.step(n)).collect();
        let pixel = self.spacing_mm[0].max(self.spacing_mm[1]);
        let mut jumps = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let Some(step) = step else { continue };
            let (from, to) = (
                n.saturating_sub(NEIGHBOURS),
                (n + NEIGHBOURS).min(steps.len() - 1),
            );
            let near: Vec<&Step> = (from..=to)
                .filter(|&m| m != n)
                .filter_map(|m| steps[m].as_ref())
                .collect();
            if near.len() < NEIGHBOURS {
                continue;
            }
            let steady = [0, 1].map(|a| {
                let mut values: Vec<f64> = near.iter().map(|s| s.shift_mm[a]).collect();
                values.sort_by(f64::total_cmp);
                0.5 * (values[(values.len() - 1) / 2] + values[values.len() / 2])
            });
            let jump = (step.shift_mm[0] - steady[0]).hypot(step.shift_mm[1] - steady[1]);
            let explained = step.left_at(step.shift_mm, self.spacing_mm)
                < EXPLAINED * step.left_at(steady, self.spacing_mm);
            if jump > JUMP_MM.max(0.75 * pixel) && explained && !step.at_limit {
                jumps.push((jump, self.first + n));
            }
        }
        jumps
    }
}

/// How one slice goes on in the next.
struct Step {
    shift_mm: [f64; 2],
    /// Whether it is the furthest looked for: no shift fits then.
    at_limit: bool,
    /// Mean square difference under each shift.
    squares: Vec<f64>,
    width: [usize; 2],
    reach: [usize; 2],
}

impl Step {
    /// Mean square difference under the shift nearest to this one.
    fn left_at(&self, shift_mm: [f64; 2], spacing_mm: [f64; 2]) -> f64 {
        let at = [0, 1].map(|a| {
            let pixels = (shift_mm[a] / spacing_mm[a]).round() + self.reach[a] as f64;
            pixels.clamp(0.0, (self.width[a] - 1) as f64) as usize
        });
        self.squares[at[0] + self.width[0] * at[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::FemurScan;
    use super::*;
    use crate::anatomy::Status;

    /// The window with everything from slice `from` on shifted by `pixels` along an axis.
    fn shifted(axis: usize, from: usize, pixels: usize) -> (Near, f64) {
        let mut near = FemurScan::new(|_, hu| hu).near();
        let old = near.density_mg_cm3.clone();
        let size = old.grid.size;
        for (n, density) in near.density_mg_cm3.data.iter_mut().enumerate() {
            let mut at = old.grid.voxel(n);
            if at[2] >= from {
                at[axis] = (at[axis] + size[axis] - pixels) % size[axis];
                *density = old.at(at[0], at[1], at[2]);
            }
        }
        let z = old.grid.origin_mm.z + (from as f64 - 0.5) * old.grid.spacing_mm[2];
        (near, z)
    }

    #[test]
    fn a_femur_at_rest_passes_and_one_that_jumps_is_named_by_its_place() {
        assert_eq!(motion(&shifted(0, 0, 0).0).value, Some(0.0));
        for (axis, from, pixels) in [(0, 40, 2), (1, 40, 2), (0, 30, 3), (1, 20, 2)] {
            let (near, z) = shifted(axis, from, pixels);
            let found = motion(&near);
            assert_eq!(found.status, Status::Review, "{axis} {from}");
            let jump = found.value.unwrap();
            assert!((jump - 1.5 * pixels as f64).abs() < 0.8, "{jump}");
            assert!(
                found.reason.contains(&format!("z = {z:.1} mm")),
                "{}",
                found.reason
            );
        }
    }
}
