//! Endplates found in the image: where bone gives way to disc along the axis of the body.
//!
//! The mask only says where to look. Along lines parallel to the body's axis, from 4 mm inside to 4 mm outside the mask's
//! surface, the steepest fall of density is taken for the outer edge of the endplate. A smooth cap, a cubic polynomial of
//! the two coordinates across the axis, goes through the edges, those that disagree left out. So an endplate stays where
//! the image has it when the mask is a voxel thicker or thinner.

use imaging::filter::gaussian;
use imaging::resample::linear;
use imaging::{Mask, Volume};
use nalgebra::{DMatrix, DVector, Vector3};

use super::vertebra::Endplate;
use super::{Check, Refused, VertebraLandmarks};

/// How far from the mask's surface the edge is looked for, mm; a cap that lies farther away in the mean, by more than half a
/// voxel, is refused.
pub const SEARCH_MM: f64 = 4.0;
/// Distance of the lines, mm.
const LINES_MM: f64 = 1.0;
/// Searches, each around the cap that the last one found.
const SEARCHES: usize = 3;
/// Step along a line, mm.
const STEP_MM: f64 = 0.2;
/// Degree of the cap's polynomial.
const DEGREE: usize = 3;
/// Edges farther than this from the cap are left out, mm; or than three times the spread of all, if that is less.
const OUTLIER_MM: f64 = 1.5;
/// Edges nearer to the cap than this always count, mm: less than half a voxel of any clinical scan.
const ALWAYS_KEPT_MM: f64 = 0.3;
/// Falls less steep than this part of the median one are no edge.
const LEAST_FALL: f64 = 0.3;
/// Parts of the lines on which an edge was found: below the first value the endplate is refused, below the second reviewed.
const FOUND: [f64; 2] = [0.4, 0.7];
/// More voxels than this around the bone with the very same value are no image.
const MASKED_OUT: f64 = 0.5;

/// Coordinates of a vertebral body: two across its axis, one along it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BodyAxes {
    /// Centroid of the body (LPS mm).
    pub origin: Vector3<f64>,
    /// Unit directions: across, across, along the axis towards the head.
    pub axes: [Vector3<f64>; 3],
}

impl BodyAxes {
    /// Axes of a body along `axis`.
    pub fn new(origin: Vector3<f64>, axis: Vector3<f64>) -> Self {
        let across = (Vector3::x() - axis * axis.x).normalize();
        Self {
            origin,
            axes: [across, axis.cross(&across), axis],
        }
    }

    /// Coordinates of a world position (LPS mm), mm.
    pub fn coordinates(&self, world: Vector3<f64>) -> [f64; 3] {
        self.axes.map(|axis| (world - self.origin).dot(&axis))
    }

    /// World position (LPS mm) of coordinates.
    pub fn world(&self, [u, v, z]: [f64; 3]) -> Vector3<f64> {
        self.origin + self.axes[0] * u + self.axes[1] * v + self.axes[2] * z
    }
}

/// A smooth surface over the plane across the axis: height along it, mm, a cubic polynomial of `u` and `v`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    centre: [f64; 2],
    scale: f64,
    coefficients: Vec<f64>,
}

/// Powers of the terms of the polynomial.
fn powers() -> impl Iterator<Item = (i32, i32)> {
    (0..=DEGREE as i32).flat_map(|sum| (0..=sum).map(move |j| (sum - j, j)))
}

impl Cap {
    fn terms(&self, u: f64, v: f64) -> impl Iterator<Item = f64> {
        let x = (u - self.centre[0]) / self.scale;
        let y = (v - self.centre[1]) / self.scale;
        powers().map(move |(i, j)| x.powi(i) * y.powi(j))
    }

    /// Height along the axis, mm.
    pub fn height_mm(&self, u: f64, v: f64) -> f64 {
        self.terms(u, v)
            .zip(&self.coefficients)
            .map(|(term, c)| term * c)
            .sum()
    }

    /// The least-squares surface through points (u, v, height), and which of them it keeps: rounds of leaving out what lies
    /// farther off than [`OUTLIER_MM`] (twice that in the first two) or three times the spread, but never what lies within
    /// [`ALWAYS_KEPT_MM`].
    fn through(points: &[[f64; 3]]) -> Option<(Self, Vec<bool>)> {
        let count = points.len();
        let centre = [0, 1].map(|a| points.iter().map(|p| p[a]).sum::<f64>() / count as f64);
        let mut cap = Self {
            centre,
            scale: 20.0,
            coefficients: Vec::new(),
        };
        let mut kept = vec![true; count];
        let terms = powers().count();
        for round in 0..8 {
            let used: Vec<&[f64; 3]> = points
                .iter()
                .zip(&kept)
                .filter(|(_, k)| **k)
                .map(|(p, _)| p)
                .collect();
            if used.len() < 3 * terms {
                return None;
            }
            let matrix = DMatrix::from_row_iterator(
                used.len(),
                terms,
                used.iter()
                    .flat_map(|p| cap.terms(p[0], p[1]).collect::<Vec<_>>()),
            );
            let heights = DVector::from_iterator(used.len(), used.iter().map(|p| p[2]));
            cap.coefficients = matrix
                .svd(true, true)
                .solve(&heights, 1e-9)
                .ok()?
                .iter()
                .copied()
                .collect();
            let off: Vec<f64> = points
                .iter()
                .map(|p| (p[2] - cap.height_mm(p[0], p[1])).abs())
                .collect();
            // Wide at first: a few wild edges pull the first surface.
            let spread = 1.4826 * super::points::median(off.clone());
            let limit = (3.0 * spread)
                .max(ALWAYS_KEPT_MM)
                .min(if round < 2 { 2.0 } else { 1.0 } * OUTLIER_MM);
            kept = off.iter().map(|off| *off <= limit).collect();
        }
        Some((cap, kept))
    }
}

/// One endplate in the image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageEndplate {
    /// Where the image has it.
    pub cap: Cap,
    /// Where the mask has it: the same kind of surface through the mask's.
    pub mask_cap: Cap,
    /// Part of the lines on which an edge was found that the cap goes by.
    pub found: f64,
    /// Root mean square distance of those edges from the cap, mm.
    pub rms_mm: f64,
    /// Mean height of the image's endplate above the mask's, outwards, mm.
    pub shift_mm: f64,
    /// Coordinates across the axis of the lines that meet the endplate, mm.
    pub lines: Vec<[f64; 2]>,
}

/// Both endplates of a body in the image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageEndplates {
    /// The body's coordinates.
    pub axes: BodyAxes,
    /// Upper endplate.
    pub cranial: ImageEndplate,
    /// Lower endplate.
    pub caudal: ImageEndplate,
}

/// Name of the check of each end.
const ENDS: [(&str, f64); 2] = [("cranial", 1.0), ("caudal", -1.0)];

impl ImageEndplates {
    /// Looks for the endplates of `body` (without the arch) in the density, starting from the landmarks of its mask.
    ///
    /// # Errors
    /// [`Refused`] when the image holds no data around the bone, or too few edges are found.
    pub fn find(
        density: &Volume<f32>,
        body: &Mask,
        landmarks: &VertebraLandmarks,
    ) -> Result<(Self, Vec<Check>), Refused> {
        let refused = |name: &str, value: Option<f64>, reason: String| {
            Refused(Check::refuse(name, value, reason))
        };
        let axes = BodyAxes::new(landmarks.body_centroid_mm, landmarks.axis);
        let spacing = density.grid.spacing_mm;
        // A voxel's breadth of smoothing tells the edge from noise and does not move it.
        let smooth = gaussian(density, spacing.map(|h| 0.7 * h), 3.0)
            .map_err(|error| refused("image_endplates", None, error.to_string()))?;
        let inside = body.map(|&inside| f32::from(u8::from(inside)));
        let mut checks = Vec::new();
        let mut found = Vec::new();
        for ((end, sense), plane) in ENDS
            .into_iter()
            .zip([&landmarks.cranial, &landmarks.caudal])
        {
            let name = format!("image_endplate_{end}");
            let lines = surface_lines(&inside, &axes, sense, plane);
            let Some(same) = constant_part(density, &axes, sense, &lines) else {
                return Err(refused(
                    &name,
                    None,
                    format!(
                        "no line along the axis leaves the body at its {end} end inside the image"
                    ),
                ));
            };
            if same > MASKED_OUT {
                return Err(refused(
                    &name,
                    Some(100.0 * same),
                    format!(
                        "the image holds no data around the bone: {:.0} % of the samples outside the mask have one and the same value; use load.endplates=mask_surface",
                        100.0 * same
                    ),
                ));
            }
            let Some(plate) = endplate(&smooth, &axes, sense, lines) else {
                return Err(refused(
                    &name,
                    None,
                    "too few edges of the bone are found in the image to lay a surface through"
                        .into(),
                ));
            };
            let reason = format!(
                "the image has the {end} endplate {:+.2} mm outside the mask's, by {:.0} % of the lines, which lie within {:.2} mm of it",
                plate.shift_mm,
                100.0 * plate.found,
                plate.rms_mm
            );
            if plate.found < FOUND[0] || plate.shift_mm.abs() > SEARCH_MM + 0.5 * spacing[2] {
                return Err(refused(&name, Some(100.0 * plate.found), reason));
            }
            checks.push(if plate.found < FOUND[1] {
                Check::review(&name, plate.shift_mm, reason)
            } else {
                Check::pass(&name, plate.shift_mm, reason)
            });
            found.push(plate);
        }
        let (Some(caudal), Some(cranial)) = (found.pop(), found.pop()) else {
            return Err(refused(
                "image_endplates",
                None,
                "an endplate is missing".into(),
            ));
        };
        Ok((
            Self {
                axes,
                cranial,
                caudal,
            },
            checks,
        ))
    }

    /// The landmarks with these endplates in place of the mask's: planes fitted to the caps as to the mask's surface, axis,
    /// height and tilt. `up` is the direction tilt is measured from.
    ///
    /// # Errors
    /// [`Refused`] when no plane can be fitted to a cap.
    pub fn landmarks(
        &self,
        of_mask: &VertebraLandmarks,
        up: Vector3<f64>,
    ) -> Result<VertebraLandmarks, Refused> {
        let axis = self.axes.axes[2];
        let plane = |plate: &ImageEndplate, name: &str| {
            let points: Vec<Vector3<f64>> = plate
                .lines
                .iter()
                .map(|&[u, v]| self.axes.world([u, v, plate.cap.height_mm(u, v)]))
                .collect();
            super::vertebra::endplate(&points, axis, LINES_MM * LINES_MM).ok_or_else(|| {
                Refused(Check::refuse(
                    name,
                    None,
                    "no plane can be fitted to the endplate found in the image",
                ))
            })
        };
        Ok(VertebraLandmarks::between(
            plane(&self.cranial, "image_endplate_cranial")?,
            plane(&self.caudal, "image_endplate_caudal")?,
            of_mask.body_centroid_mm,
            up,
        ))
    }
}

/// A line parallel to the axis: its coordinates across, and where the mask ends on it.
struct Line {
    u: f64,
    v: f64,
    surface: f64,
}

/// Lines that leave the body through its endplate: within 3 mm of the plane fitted to the mask.
fn surface_lines(inside: &Volume<f32>, axes: &BodyAxes, sense: f64, plane: &Endplate) -> Vec<Line> {
    // Half the extent of any vertebral body.
    const REACH: i32 = 40;
    let up = axes.axes[2];
    let mut lines = Vec::new();
    for i in -REACH..=REACH {
        for j in -REACH..=REACH {
            let (u, v) = (f64::from(i) * LINES_MM, f64::from(j) * LINES_MM);
            let foot = axes.world([u, v, 0.0]);
            // Height of the plane on this line.
            let middle = (plane.point_mm - foot).dot(&plane.normal) / up.dot(&plane.normal);
            let limit = super::vertebra::ENDPLATE_DEPTH_MM;
            let steps = (2.0 * limit / STEP_MM) as i32;
            let at = |n: i32| middle + sense * (limit - f64::from(n) * STEP_MM);
            let value = |z: f64| sample(inside, foot + up * z);
            // From outside inwards, to where the mask begins.
            let first = (0..=steps).find(|&n| value(at(n)) >= 0.5);
            let Some(n) = first.filter(|&n| n > 0) else {
                continue;
            };
            let (outer, inner) = (value(at(n - 1)), value(at(n)));
            let part = ((0.5 - outer) / (inner - outer)).clamp(0.0, 1.0);
            lines.push(Line {
                u,
                v,
                surface: at(n - 1) + part * (at(n) - at(n - 1)),
            });
        }
    }
    lines
}

/// Trilinear value at a world position.
fn sample(volume: &Volume<f32>, world: Vector3<f64>) -> f64 {
    linear(volume, volume.grid.to_index(world))
}

/// Part of the samples outside the mask that have their most frequent value; `None` when no line leaves the mask inside the
/// image.
fn constant_part(
    density: &Volume<f32>,
    axes: &BodyAxes,
    sense: f64,
    lines: &[Line],
) -> Option<f64> {
    let size = density.grid.size;
    let mut values: Vec<u32> = Vec::new();
    for line in lines {
        for n in 0..4 {
            // Beyond the voxel that the mask's surface cuts.
            let away = 1.5 * density.grid.spacing_mm[2] + f64::from(n) * 0.5;
            let at = axes.world([line.u, line.v, line.surface + sense * away]);
            let index = density.grid.to_index(at);
            let voxel: [f64; 3] = std::array::from_fn(|a| index[a].round());
            if (0..3).all(|a| voxel[a] >= 0.0 && voxel[a] < size[a] as f64) {
                let [i, j, k] = voxel.map(|v| v as usize);
                values.push(density.at(i, j, k).to_bits());
            }
        }
    }
    values.sort_unstable();
    let most = values.chunk_by(|a, b| a == b).map(<[u32]>::len).max()?;
    Some(most as f64 / values.len() as f64)
}

/// The cap through the steepest falls of density on the lines: looked for around the mask's surface first, then around the
/// cap found there, so that an edge near the end of the first search is seen from both sides.
fn endplate(
    smooth: &Volume<f32>,
    axes: &BodyAxes,
    sense: f64,
    lines: Vec<Line>,
) -> Option<ImageEndplate> {
    let of_mask: Vec<[f64; 3]> = lines.iter().map(|l| [l.u, l.v, l.surface]).collect();
    let (mask_cap, _) = Cap::through(&of_mask)?;
    let mut around: Vec<f64> = lines.iter().map(|l| l.surface).collect();
    let mut found = None;
    for _ in 0..SEARCHES {
        let edges: Vec<[f64; 3]> = edges(smooth, axes, sense, &lines, &around);
        let (cap, kept) = Cap::through(&edges)?;
        around = lines.iter().map(|l| cap.height_mm(l.u, l.v)).collect();
        found = Some((cap, kept, edges));
    }
    let (cap, kept, edges) = found?;
    let count = kept.iter().filter(|kept| **kept).count();
    let square: f64 = edges
        .iter()
        .zip(&kept)
        .filter(|(_, kept)| **kept)
        .map(|(e, _)| (e[2] - cap.height_mm(e[0], e[1])).powi(2))
        .sum();
    let shift: f64 = lines
        .iter()
        .map(|l| sense * (cap.height_mm(l.u, l.v) - mask_cap.height_mm(l.u, l.v)))
        .sum();
    Some(ImageEndplate {
        found: count as f64 / lines.len() as f64,
        rms_mm: (square / count as f64).sqrt(),
        shift_mm: shift / lines.len() as f64,
        lines: lines.iter().map(|l| [l.u, l.v]).collect(),
        cap,
        mask_cap,
    })
}

/// The steepest fall of density on each line within [`SEARCH_MM`] of a height on it, where it is a clear one: u, v, height.
fn edges(
    smooth: &Volume<f32>,
    axes: &BodyAxes,
    sense: f64,
    lines: &[Line],
    around: &[f64],
) -> Vec<[f64; 3]> {
    let steps = (2.0 * SEARCH_MM / STEP_MM).round() as usize;
    let falls: Vec<(f64, f64)> = lines
        .iter()
        .zip(around)
        .map(|(line, &around)| {
            let at = |n: f64| around + sense * (n * STEP_MM - SEARCH_MM);
            let profile: Vec<f64> = (0..=steps)
                .map(|n| sample(smooth, axes.world([line.u, line.v, at(n as f64)])))
                .collect();
            steepest_fall(&profile).map_or((around, 0.0), |(n, fall)| (at(n), fall))
        })
        .collect();
    let usual = super::points::median(falls.iter().map(|f| f.1).collect());
    lines
        .iter()
        .zip(&falls)
        .filter(|(_, (_, fall))| *fall > LEAST_FALL * usual && *fall > 0.0)
        .map(|(line, (z, _))| [line.u, line.v, *z])
        .collect()
}

/// Where a profile falls most steeply (in samples, refined by a parabola) and by how much a sample; `None` at its ends.
fn steepest_fall(profile: &[f64]) -> Option<(f64, f64)> {
    // Slopes at the middles of the steps, smoothed over three.
    let slope: Vec<f64> = profile.windows(2).map(|w| w[1] - w[0]).collect();
    let smooth: Vec<f64> = slope
        .windows(3)
        .map(|w| (w[0] + 2.0 * w[1] + w[2]) / 4.0)
        .collect();
    let steepest = (0..smooth.len()).min_by(|&a, &b| smooth[a].total_cmp(&smooth[b]))?;
    if steepest == 0 || steepest + 1 == smooth.len() {
        return None;
    }
    let [a, b, c] = [steepest - 1, steepest, steepest + 1].map(|n| smooth[n]);
    let curvature = a - 2.0 * b + c;
    let bend = if curvature > 0.0 {
        0.5 * (a - c) / curvature
    } else {
        0.0
    };
    Some((steepest as f64 + 1.5 + bend, -b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;
    use nalgebra::Matrix3;

    #[test]
    fn the_steepest_fall_of_a_smooth_step_is_its_middle() {
        let profile: Vec<f64> = (0..40)
            .map(|n| 100.0 / (1.0 + ((f64::from(n) - 17.3) / 1.5).exp()))
            .collect();
        let (at, fall) = steepest_fall(&profile).unwrap();
        assert!((at - 17.3).abs() < 0.05, "{at}");
        // 100 / (4 · 1.5) a sample, less what smoothing takes.
        assert!((fall - 16.7).abs() < 1.5, "{fall}");
        assert!(steepest_fall(&[1.0; 3]).is_none());
    }

    /// A body 40 x 30 mm between two tilted, hollow endplates, in an image with a dense shell and a disc around; the mask is
    /// `off` mm too thick at each endplate. RAS+ arrays, 1 mm.
    fn scan(off: f64, outside: bool) -> (Volume<f32>, Mask, f64) {
        let mut grid = Grid::axis_aligned([60, 50, 50], [1.0; 3]);
        grid.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        grid.origin_mm = Vector3::new(29.5, 24.5, -24.5);
        let at = grid.clone();
        let position = move |v: [usize; 3]| at.to_world(Vector3::from(v.map(|v| v as f64)));
        // Top 13 mm over the middle, sunk by 1.5 mm there, leaning by 6 degrees; the bottom is its mirror image.
        let top = |p: Vector3<f64>| {
            let r2 = (p.x / 20.0).powi(2) + (p.y / 15.0).powi(2);
            13.0 - 1.5 * (1.0 - r2).max(0.0) + 6f64.to_radians().tan() * p.y
        };
        let bottom = |p: Vector3<f64>| -13.0 + 6f64.to_radians().tan() * p.y;
        let side = |p: Vector3<f64>| (p.x / 20.0).powi(2) + (p.y / 15.0).powi(2) < 1.0;
        let density = Volume::from_fn(grid.clone(), |v| {
            let p = position(v);
            // Mean over the voxel along z, a shell of 1.5 mm.
            let mut sum = 0.0;
            for n in 0..10 {
                let z = p.z + (f64::from(n) - 4.5) / 10.0;
                let (above, below) = (top(p) - z, z - bottom(p));
                sum += if !side(p) || above < 0.0 || below < 0.0 {
                    if outside {
                        60.0 + (v[0] * 7 % 5) as f64
                    } else {
                        0.0
                    }
                } else if above.min(below) < 1.5 {
                    350.0
                } else {
                    150.0
                };
            }
            (sum / 10.0) as f32
        });
        let mask = Volume::from_fn(grid, |v| {
            let p = position(v);
            side(p) && p.z < top(p) + off && p.z > bottom(p) - off
        });
        (density, mask, 6.0)
    }

    #[test]
    fn endplates_stay_where_the_image_has_them() {
        for off in [-2.0, -1.0, 0.0, 1.0, 2.0] {
            let (density, mask, lean) = scan(off, true);
            let (of_mask, _) = VertebraLandmarks::find(&mask).unwrap();
            let (found, checks) = ImageEndplates::find(&density, &mask, &of_mask).unwrap();
            assert!(
                checks
                    .iter()
                    .all(|c| c.status == super::super::Status::Pass),
                "{checks:?}"
            );
            for (plate, sense) in [(&found.cranial, 1.0), (&found.caudal, -1.0)] {
                // Outwards of the mask's by what the mask lacks, to a third of a voxel.
                assert!(
                    (plate.shift_mm + off).abs() < 0.35,
                    "{off} {}",
                    plate.shift_mm
                );
                assert!(
                    plate.found > 0.9 && plate.rms_mm < 0.35,
                    "{off} {sense} {plate:?}"
                );
            }
            let landmarks = found.landmarks(&of_mask, Vector3::z()).unwrap();
            assert!(
                (landmarks.tilt_deg - lean).abs() < 1.0,
                "{}",
                landmarks.tilt_deg
            );
            // 26 mm upright at the rim, less the hollow in the middle, seen along the leaning axis.
            assert!(
                (landmarks.height_mm - 25.0).abs() < 0.7,
                "{off} {}",
                landmarks.height_mm
            );
        }
    }

    #[test]
    fn an_image_that_ends_with_the_mask_is_refused() {
        let (density, mask, _) = scan(0.0, false);
        let (of_mask, _) = VertebraLandmarks::find(&mask).unwrap();
        let refused = ImageEndplates::find(&density, &mask, &of_mask)
            .unwrap_err()
            .0;
        assert!(
            refused.reason.contains("holds no data around the bone"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_cap_leaves_wild_edges_out() {
        let surface = |u: f64, v: f64| 3.0 + 0.02 * u - 0.003 * v * v;
        let mut points: Vec<[f64; 3]> = (0..400)
            .map(|n| {
                let (u, v) = (f64::from(n % 20) - 10.0, f64::from(n / 20) - 10.0);
                [u, v, surface(u, v)]
            })
            .collect();
        for point in points.iter_mut().step_by(9) {
            point[2] += 4.0;
        }
        let (cap, kept) = Cap::through(&points).unwrap();
        assert_eq!(kept.iter().filter(|kept| !**kept).count(), 45);
        for (u, v) in [(0.0, 0.0), (9.0, -9.0), (-7.0, 4.0)] {
            assert!((cap.height_mm(u, v) - surface(u, v)).abs() < 1e-6);
        }
    }
}
