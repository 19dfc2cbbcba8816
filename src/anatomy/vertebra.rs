//! Landmarks of a vertebra: its body, its two endplates, its height and tilt.
//!
//! Arrays run as RAS+ here (third axis cranial): the endplates are what one sees of the body from
//! above and from below along that axis. Recipe: first and last body voxel of every column; inside
//! 70 % of the body's width a plane by random sampling (inliers within 1.5 mm), refitted to its
//! inliers by least squares. The body axis is the mean of the two normals, the height the distance of
//! the planes along it through the body's centroid.

use imaging::components::{Connectivity, fill_holes_in_slices, label_components};
use imaging::morphology::morph_mm;
use imaging::orientation::{crop, pad};
use imaging::{Mask, Volume};
use nalgebra::{Matrix3, SymmetricEigen, Vector3};

use super::points::mean;
use super::{Check, Refused};

/// A plane fitted to one endplate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endplate {
    /// A point on the plane: mean of the inliers (LPS mm).
    pub point_mm: Vector3<f64>,
    /// Unit normal, pointing cranially (LPS).
    pub normal: Vector3<f64>,
    /// Area of the surface within 3 mm of the plane, as seen along the third array axis, mm².
    pub area_mm2: f64,
    /// Root mean square distance of the inliers from the plane, mm.
    pub rms_mm: f64,
}

impl Endplate {
    /// Distance of a point above the plane, mm.
    pub fn above_mm(&self, p: Vector3<f64>) -> f64 {
        (p - self.point_mm).dot(&self.normal)
    }
}

/// What was found on a vertebra.
#[derive(Clone, Debug, PartialEq)]
pub struct VertebraLandmarks {
    /// Upper endplate.
    pub cranial: Endplate,
    /// Lower endplate.
    pub caudal: Endplate,
    /// Unit direction from caudal to cranial, mean of the two normals (LPS).
    pub axis: Vector3<f64>,
    /// Mean of the body's voxel centres (LPS mm).
    pub body_centroid_mm: Vector3<f64>,
    /// Height of the body along the axis, between the two planes at the body's centroid, mm.
    pub height_mm: f64,
    /// Angle between the body axis and the third array axis, degrees.
    pub tilt_deg: f64,
}

/// Surface this close to an endplate's plane belongs to the endplate, mm.
pub const ENDPLATE_DEPTH_MM: f64 = 3.0;
/// No vertebral body is higher, mm: lumbar ones measure 25 to 35.
pub const HIGHEST_BODY_MM: f64 = 45.0;
/// Inliers of the random sampling, mm.
const INLIER_MM: f64 = 1.5;
/// Part of the body's width the plane is fitted in; the rim outside it is rounded.
const INNER_WIDTH: f64 = 0.7;

impl VertebraLandmarks {
    /// Finds the endplates of a vertebral body. `body` is the body without the arch, in one piece, its
    /// arrays running as RAS+; see [`split_body`] where body and arch share a label.
    ///
    /// # Errors
    /// [`Refused`] when the mask is too small to have endplates.
    pub fn find(body: &Mask) -> Result<(Self, Vec<Check>), Refused> {
        let refused = |reason: &str| Refused(Check::refuse("vertebra_endplates", None, reason));
        let [cranial, caudal] = visible_surfaces(body);
        if cranial.len() < 50 {
            return Err(refused(
                "the vertebral body has too few voxels to have endplates",
            ));
        }
        let up: Vector3<f64> = body.grid.direction.column(2).into();
        let column_mm2 = body.grid.voxel_volume_mm3() / body.grid.spacing_mm[2];
        let fit = |surface: &[Vector3<f64>]| endplate(surface, up, column_mm2);
        let (Some(cranial), Some(caudal)) = (fit(&cranial), fit(&caudal)) else {
            return Err(refused("no plane can be fitted to an endplate"));
        };
        let centroid = centroid(body);
        let found = Self::between(cranial, caudal, centroid, up);
        let checks = found.checks();
        Ok((found, checks))
    }

    /// The landmarks of a body between two endplates; `up` is the direction tilt is measured from.
    pub fn between(
        cranial: Endplate,
        caudal: Endplate,
        body_centroid_mm: Vector3<f64>,
        up: Vector3<f64>,
    ) -> Self {
        let axis = (cranial.normal + caudal.normal).normalize();
        let reach = |plane: &Endplate| {
            (plane.point_mm - body_centroid_mm).dot(&plane.normal) / axis.dot(&plane.normal)
        };
        Self {
            height_mm: reach(&cranial) - reach(&caudal),
            tilt_deg: axis.dot(&up).clamp(-1.0, 1.0).acos().to_degrees(),
            cranial,
            caudal,
            axis,
            body_centroid_mm,
        }
    }

    /// What is worth knowing of the landmarks.
    pub fn checks(&self) -> Vec<Check> {
        let within = |name: &str, value: f64, low: f64, high: f64, reason: String| {
            if (low..=high).contains(&value) {
                Check::pass(name, value, reason)
            } else {
                Check::review(name, value, format!("{reason}; {low}-{high} expected"))
            }
        };
        let between = self
            .cranial
            .normal
            .dot(&self.caudal.normal)
            .clamp(-1.0, 1.0);
        let between = between.acos().to_degrees();
        let mut checks: Vec<Check> = [("cranial", &self.cranial), ("caudal", &self.caudal)]
            .into_iter()
            .map(|(end, plate)| {
                within(
                    &format!("vertebra_{end}_endplate"),
                    plate.area_mm2,
                    500.0,
                    2500.0,
                    format!("{end} endplate of {:.0} mm²", plate.area_mm2),
                )
            })
            .collect();
        checks.push(within(
            "vertebra_tilt_in_scan",
            self.tilt_deg,
            0.0,
            25.0,
            format!(
                "the axis of the body leans by {:.1} degrees in the scan",
                self.tilt_deg
            ),
        ));
        checks.push(within(
            "vertebra_endplate_angle",
            between,
            0.0,
            25.0,
            format!("{between:.1} degrees between the endplates"),
        ));
        let height = self.height_mm;
        let reason = format!("body height {height:.1} mm");
        checks.push(if height > 0.0 {
            within("vertebra_height", height, 12.0, HIGHEST_BODY_MM, reason)
        } else {
            Check::refuse("vertebra_height", height, reason)
        });
        checks
    }
}

/// Mean of the voxel centres of a mask (LPS mm).
pub fn centroid(mask: &Mask) -> Vector3<f64> {
    let mut sum = Vector3::zeros();
    let mut count = 0usize;
    for (index, _) in mask.data.iter().enumerate().filter(|(_, inside)| **inside) {
        sum += Vector3::from(mask.grid.voxel(index).map(|v| v as f64));
        count += 1;
    }
    mask.grid.to_world(sum / count.max(1) as f64)
}

/// Outer face centres of the last and the first voxel of every column along the third array axis:
/// what one sees from cranial and from caudal (LPS mm).
fn visible_surfaces(mask: &Mask) -> [Vec<Vector3<f64>>; 2] {
    let grid = &mask.grid;
    let mut surfaces = [Vec::new(), Vec::new()];
    for j in 0..grid.size[1] {
        for i in 0..grid.size[0] {
            let inside = |k: &usize| mask.at(i, j, *k);
            let at = |k: f64| grid.to_world(Vector3::new(i as f64, j as f64, k));
            if let Some(last) = (0..grid.size[2]).rev().find(inside) {
                surfaces[0].push(at(last as f64 + 0.5));
            }
            if let Some(first) = (0..grid.size[2]).find(inside) {
                surfaces[1].push(at(first as f64 - 0.5));
            }
        }
    }
    surfaces
}

/// Fits one endplate to the surface seen along `up`.
pub(super) fn endplate(
    surface: &[Vector3<f64>],
    up: Vector3<f64>,
    column_mm2: f64,
) -> Option<Endplate> {
    let centre = mean(surface);
    // Two directions across the viewing direction, along the principal widths of the outline.
    let mut spread = Matrix3::zeros();
    for p in surface {
        let across = (p - centre) - up * (p - centre).dot(&up);
        spread += across * across.transpose();
    }
    let eigen = SymmetricEigen::new(spread / surface.len() as f64);
    // The outline is taken for an ellipse: a uniform one has a variance of (half width)²/4.
    let inner: Vec<Vector3<f64>> = surface
        .iter()
        .copied()
        .filter(|p| {
            let out: f64 = (0..3)
                .filter(|&n| eigen.eigenvalues[n] > 1e-3)
                .map(|n| {
                    let along = (p - centre).dot(&eigen.eigenvectors.column(n));
                    let along = if eigen.eigenvectors.column(n).dot(&up).abs() > 0.5 {
                        0.0
                    } else {
                        along
                    };
                    along * along / (4.0 * eigen.eigenvalues[n])
                })
                .sum();
            out <= INNER_WIDTH * INNER_WIDTH
        })
        .collect();
    let (mut point, mut normal) = sampled_plane(&inner, up)?;
    let mut rms_mm = 0.0;
    for _ in 0..5 {
        let inliers: Vec<Vector3<f64>> = inner
            .iter()
            .copied()
            .filter(|p| (p - point).dot(&normal).abs() < INLIER_MM)
            .collect();
        (point, normal) = least_squares_plane(&inliers, up)?;
        let squares: f64 = inliers
            .iter()
            .map(|p| (p - point).dot(&normal).powi(2))
            .sum();
        rms_mm = (squares / inliers.len() as f64).sqrt();
    }
    let near = surface
        .iter()
        .filter(|p| (*p - point).dot(&normal).abs() <= ENDPLATE_DEPTH_MM)
        .count();
    Some(Endplate {
        point_mm: point,
        normal,
        area_mm2: near as f64 * column_mm2,
        rms_mm,
    })
}

/// Plane through three of the points with most other points within 1.5 mm; the triples come from a
/// fixed sequence, so the same surface gives the same plane.
fn sampled_plane(
    points: &[Vector3<f64>],
    up: Vector3<f64>,
) -> Option<(Vector3<f64>, Vector3<f64>)> {
    if points.len() < 10 {
        return None;
    }
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = || {
        // Knuth's 64-bit linear congruential generator (MMIX).
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        points[((state >> 33) as usize) % points.len()]
    };
    let mut best = (0, None);
    for _ in 0..300 {
        let (a, b, c) = (draw(), draw(), draw());
        let Some(normal) = (b - a).cross(&(c - a)).try_normalize(1.0) else {
            continue;
        };
        // An endplate within 45 degrees of the viewing direction.
        if normal.dot(&up).abs() < std::f64::consts::FRAC_1_SQRT_2 {
            continue;
        }
        let inliers = points
            .iter()
            .filter(|p| (*p - a).dot(&normal).abs() < INLIER_MM)
            .count();
        if inliers > best.0 {
            best = (inliers, Some((a, normal)));
        }
    }
    best.1
}

/// Least-squares plane: point and unit normal along `up`.
fn least_squares_plane(
    points: &[Vector3<f64>],
    up: Vector3<f64>,
) -> Option<(Vector3<f64>, Vector3<f64>)> {
    if points.len() < 3 {
        return None;
    }
    let normal = super::points::principal_axes(points)[2];
    let sign = if normal.dot(&up) < 0.0 { -1.0 } else { 1.0 };
    Some((mean(points), normal * sign))
}

/// Part of the surface of label `inner` (faces of its voxels with another label or none) that label `outer` covers.
pub fn enclosed_by(map: &imaging::LabelMap, inner: u16, outer: u16) -> f64 {
    let size = map.grid.size;
    let (mut faces, mut covered) = (0usize, 0usize);
    for (index, _) in map
        .data
        .iter()
        .enumerate()
        .filter(|(_, label)| **label == inner)
    {
        let at = map.grid.voxel(index);
        for axis in 0..3 {
            for step in [0usize, 2] {
                let mut next = at;
                next[axis] = (at[axis] + step).wrapping_sub(1);
                let label = if next[axis] < size[axis] {
                    map.at(next[0], next[1], next[2])
                } else {
                    0
                };
                faces += usize::from(label != inner);
                covered += usize::from(label == outer);
            }
        }
    }
    covered as f64 / faces.max(1) as f64
}

/// Least area of the canal in a slice, mm²: a canal covers 150 to 500, foramina and gaps in a mask far less.
const LEAST_CANAL_MM2: f64 = 100.0;
/// Least part of a slice's bone that lies in front of the canal. The body is half to three quarters of the bone at that height, a
/// cervical one a little less; in front of the hollow that a concave endplate leaves in a slice, or of a lesion, there is only a rim.
const LEAST_SHARE_IN_FRONT: f64 = 0.4;
/// Least part of the vertebra's depth from front to back that lies in front of the canal; a body takes a quarter to a half.
const LEAST_DEPTH_IN_FRONT: f64 = 0.2;
/// Radii by which the mask is closed in turn until a canal shows, mm: automatic masks often leave gaps in the arch. A ball closes gaps
/// of up to twice its radius in a thick arch, and less in a thin one.
const CLOSED_BY_MM: [f64; 3] = [0.0, 2.0, 4.0];

/// The front wall of the spinal canal in a mask that covers body and arch: the largest index along the second array axis
/// (anterior; arrays run as RAS+) of the hole that the arch closes in slices across the third, the median over the slices.
/// `None` where no such hole is found.
///
/// Holes without a body in front of them are not the canal. An arch with gaps of a few millimetres is taken as closed.
///
/// # Errors
/// [`imaging::Error`] when the holes cannot be filled.
pub fn canal_wall(whole: &Mask) -> imaging::Result<Option<f64>> {
    let Some([low, high]) = whole.bounding_box() else {
        return Ok(None);
    };
    let bone = crop(whole, low, high)?;
    for radius_mm in CLOSED_BY_MM {
        // Room to grow into, or a mask at the edge of its box would not shrink back.
        let room = bone
            .grid
            .spacing_mm
            .map(|spacing| (radius_mm / spacing).ceil() as usize + 1);
        let closed = morph_mm(&morph_mm(&pad(&bone, room, false)?, radius_mm)?, -radius_mm)?;
        if let Some(wall) = wall_of_holes(&closed)? {
            return Ok(Some(wall + low[1] as f64 - room[1] as f64));
        }
    }
    Ok(None)
}

/// The front wall of the rearmost hole, in slices across the third axis, that can be the canal.
fn wall_of_holes(whole: &Mask) -> imaging::Result<Option<f64>> {
    let mut holes = fill_holes_in_slices(whole, 2)?;
    for (hole, bone) in holes.data.iter_mut().zip(&whole.data) {
        *hole &= !bone;
    }
    let grid = &whole.grid;
    let [ni, nj, nk] = grid.size;
    let Some([low, high]) = whole.bounding_box() else {
        return Ok(None);
    };
    let depth = (high[1] + 1 - low[1]) as f64;
    let holes = label_components(&holes, Connectivity::Faces);
    // Area and front of each hole in each slice.
    let mut sections = vec![(0usize, 0usize); holes.sizes.len() * nk];
    for (index, &hole) in holes.labels.data.iter().enumerate() {
        if let Some(hole) = (hole as usize).checked_sub(1) {
            let [_, j, k] = grid.voxel(index);
            let (area, front) = &mut sections[hole * nk + k];
            *area += 1;
            *front = (*front).max(j);
        }
    }
    let bone = |rows: std::ops::Range<usize>, k: usize| {
        rows.map(|j| (0..ni).filter(|&i| whole.at(i, j, k)).count())
            .sum::<usize>()
    };
    let face_mm2 = grid.spacing_mm[0] * grid.spacing_mm[1];
    let canals = sections.chunks(nk.max(1)).filter_map(|hole| {
        let fronts: Vec<f64> = hole
            .iter()
            .enumerate()
            .filter(|&(k, &(area, front))| {
                area as f64 * face_mm2 > LEAST_CANAL_MM2
                    && bone(front + 1..nj, k) as f64 >= LEAST_SHARE_IN_FRONT * bone(0..nj, k) as f64
                    && (high[1] - front) as f64 >= LEAST_DEPTH_IN_FRONT * depth
            })
            .map(|(_, &(_, front))| front as f64)
            .collect();
        (!fronts.is_empty()).then(|| super::points::median(fronts))
    });
    Ok(canals.reduce(f64::min))
}

/// Least part of a vertebra that its body makes up: less is no body but what a gap in the mask left of it. A lumbar body makes up
/// two thirds, a cervical one some 40 %, and less of a mask that was dilated.
const LEAST_BODY_SHARE: f64 = 0.25;

/// The body of a vertebra whose body and arch share a label: everything in front of the canal's wall (see [`canal_wall`]).
///
/// The check `vertebra_body` is `review` when there is no wall; the mask then comes back whole. It refuses a body that is too small a
/// part of the vertebra.
pub fn split_body(whole: &Mask, wall: Option<f64>) -> (Mask, Check) {
    const NAME: &str = "vertebra_body";
    let Some(wall) = wall else {
        let check = Check::review(
            NAME,
            None,
            "no spinal canal found in the mask: the whole mask is taken for the body, and a process may be taken for an endplate; give body and processes two labels",
        );
        return (whole.clone(), check);
    };
    let grid = &whole.grid;
    let body = Volume {
        grid: grid.clone(),
        data: (0..grid.len())
            .map(|index| whole.data[index] && grid.voxel(index)[1] as f64 > wall)
            .collect(),
    };
    let count = body.count();
    let share = count as f64 / whole.count().max(1) as f64;
    let check = if share < LEAST_BODY_SHARE {
        Check::refuse(
            NAME,
            count as f64,
            format!(
                "the part in front of the spinal canal is only {:.0} % of the vertebra: no body is so small, so the canal was not found where it is; fill gaps in the mask, or give body and processes two labels",
                100.0 * share
            ),
        )
    } else {
        Check::pass(
            NAME,
            count as f64,
            format!(
                "body = the part in front of the spinal canal, {:.0} % of the vertebra",
                100.0 * share
            ),
        )
    };
    (body, check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use imaging::Grid;

    /// An elliptic body 44 x 32 mm with endplates tilted by `tilt` degrees about x, the upper one by
    /// `wedge` degrees more, `height` apart at the centre; RAS+ arrays.
    fn body(height: f64, tilt: f64, wedge: f64, spacing: [f64; 3]) -> Mask {
        let size = std::array::from_fn(|a| (70.0 / spacing[a]) as usize);
        let mut grid = Grid::axis_aligned(size, spacing);
        grid.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        grid.origin_mm = Vector3::new(135.0, 35.0, -35.0);
        let at = grid.clone();
        Volume::from_fn(grid, |v| {
            let p =
                at.to_world(Vector3::from_fn(|a, _| v[a] as f64)) - Vector3::new(100.0, 0.0, 0.0);
            let slope = |degrees: f64| degrees.to_radians().tan() * p.y;
            (p.x / 22.0).powi(2) + (p.y / 16.0).powi(2) <= 1.0
                && p.z <= height / 2.0 + slope(tilt + wedge)
                && p.z >= -height / 2.0 + slope(tilt)
        })
    }

    #[test]
    fn endplates_of_a_tilted_wedge() {
        for (tilt, wedge, spacing) in [
            (0.0, 0.0, [1.0; 3]),
            (12.0, 6.0, [0.8, 0.8, 1.0]),
            (-10.0, -8.0, [1.0, 1.0, 2.0]),
        ] {
            let (found, checks) =
                VertebraLandmarks::find(&body(27.0, tilt, wedge, spacing)).unwrap();
            // A plane z = y tan(a) has the normal (0, -sin a, cos a).
            let lean = |n: Vector3<f64>| (-n.y).atan2(n.z).to_degrees();
            assert!((lean(found.caudal.normal) - tilt).abs() < 0.8, "{found:?}");
            assert!((lean(found.cranial.normal) - tilt - wedge).abs() < 0.8);
            assert!((lean(found.axis) - tilt - wedge / 2.0).abs() < 0.8);
            // Along an axis leaning by t the planes are 27 cos(t) ... apart, both passing the centre line.
            let axis = (tilt + wedge / 2.0).to_radians();
            let reach = |plane: f64| 13.5 * plane.cos() / (plane - axis).cos();
            let height = reach(tilt.to_radians()) + reach((tilt + wedge).to_radians());
            assert!(
                (found.height_mm - height).abs() < 0.6,
                "{} {height}",
                found.height_mm
            );
            assert!(
                checks.iter().all(|c| c.status == Status::Pass),
                "{checks:?}"
            );
        }
    }

    #[test]
    fn the_body_lies_in_front_of_the_canal() {
        let solid = body(27.0, 0.0, 0.0, [1.0; 3]);
        // An arch behind: a ring with an 18 mm canal around y = +24 (LPS, back).
        let whole = Volume::from_fn(solid.grid.clone(), |v| {
            let p = solid.grid.to_world(Vector3::from_fn(|a, _| v[a] as f64));
            let r = ((p.x - 100.0).powi(2) + (p.y - 24.0).powi(2)).sqrt();
            solid.at(v[0], v[1], v[2]) || (p.z.abs() < 8.0 && (9.0..14.0).contains(&r))
        });
        let (cut, check) = split_body(&whole, canal_wall(&whole).unwrap());
        assert_eq!(check.status, Status::Pass);
        // The canal starts at y = 15 behind; the body ends at 16.
        let behind = |index: usize| {
            whole
                .grid
                .to_world(Vector3::from(whole.grid.voxel(index).map(|v| v as f64)))
                .y
        };
        let back = (0..cut.data.len())
            .filter(|&n| cut.data[n])
            .map(behind)
            .fold(f64::MIN, f64::max);
        assert!((14.0..=16.0).contains(&back), "{back}");
        assert_eq!(canal_wall(&solid).unwrap(), None);
        assert_eq!(split_body(&solid, None).1.status, Status::Review);

        let without = |mask: &Mask, gap: &dyn Fn(Vector3<f64>) -> bool| {
            Volume::from_fn(mask.grid.clone(), |v| {
                let p = mask.grid.to_world(Vector3::from_fn(|a, _| v[a] as f64));
                mask.at(v[0], v[1], v[2]) && !gap(p)
            })
        };
        let wall = canal_wall(&whole).unwrap().expect("a canal");
        // A hollow in the body, 14 mm wide, does not move the wall; alone it is no canal.
        let hollow = |p: Vector3<f64>| (p.x - 100.0).hypot(p.y + 6.0) < 7.0 && p.z.abs() < 10.0;
        assert_eq!(canal_wall(&without(&whole, &hollow)).unwrap(), Some(wall));
        assert_eq!(canal_wall(&without(&solid, &hollow)).unwrap(), None);
        // An arch with a gap of 3 mm is closed, one with a gap of 12 mm is not.
        let gap = |half: f64| move |p: Vector3<f64>| (p.x - 100.0).abs() < half && p.y > 24.0;
        let closed = canal_wall(&without(&whole, &gap(1.5))).unwrap();
        assert!(
            closed.is_some_and(|closed| (closed - wall).abs() <= 1.0),
            "{closed:?} {wall}"
        );
        assert_eq!(canal_wall(&without(&whole, &gap(6.0))).unwrap(), None);
        // A wall that leaves a sliver in front of it is no canal's.
        assert_eq!(
            split_body(&whole, Some(wall + 25.0)).1.status,
            Status::Refuse
        );
    }
}
