//! The femoral head as a sphere, and the neck behind it.

use nalgebra::{Matrix4, Vector3, Vector4};

use super::femur::Line;
use super::points::{BonePoints, range, sections};

/// A sphere fitted to a part of a bone's surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sphere {
    /// Centre (LPS mm).
    pub centre_mm: Vector3<f64>,
    /// Radius, mm.
    pub radius_mm: f64,
    /// Root mean square distance of the surface points used from the sphere, mm.
    pub rms_mm: f64,
    /// Share of the half sphere away from the neck that has bone surface on it, 0 to 1.
    pub coverage: f64,
}

/// Radius the search starts from, mm: middle of the 19.0-27.2 mm measured on 40 clinical heads.
const START_RADIUS_MM: f64 = 23.0;
/// Angle between neck and shaft the search starts from, degrees: the textbook 130.
const START_NECK_SHAFT_DEG: f64 = 130.0;
/// How far below the proximal end the head is looked for, mm.
const SEARCH_DEPTH_MM: f64 = 110.0;
/// Points whose direction from the centre makes a larger angle with the neck axis than acos of this
/// belong to the neck, not to the head.
const NECK_SIDE_COSINE: f64 = -0.2;

/// Fits the femoral head: starts from the part of the bone furthest from the shaft axis, which is the
/// medial wall of the head, and refits a sphere to the surface near it with a shrinking tolerance.
///
/// `None` when no sphere can be fitted.
pub fn fit_head(bone: &BonePoints, shaft: &Line) -> Option<(Sphere, Vector3<f64>)> {
    let (_, top) = range(bone.voxels_mm.iter().map(|&p| shaft.along(p)));
    let candidates: Vec<Vector3<f64>> = bone
        .surface_mm
        .iter()
        .copied()
        .filter(|&p| shaft.along(p) > top - SEARCH_DEPTH_MM)
        .collect();
    let (_, furthest) = range(candidates.iter().map(|&p| shaft.away(p).norm()));
    if !furthest.is_finite() || furthest < 1e-6 {
        return None;
    }
    let wall: Vec<Vector3<f64>> = candidates
        .iter()
        .copied()
        .filter(|&p| shaft.away(p).norm() > furthest - 3.0)
        .collect();
    let wall = super::points::mean(&wall);
    let medial = shaft.away(wall).normalize();
    let lean = START_NECK_SHAFT_DEG.to_radians();
    let mut neck = medial * lean.sin() - shaft.direction * lean.cos();
    let mut sphere = Sphere {
        centre_mm: wall - medial * START_RADIUS_MM,
        radius_mm: START_RADIUS_MM,
        rms_mm: f64::INFINITY,
        coverage: 0.0,
    };
    let finest = (0.75 * bone.coarsest_mm).max(1.5);
    for tolerance in [12.0, 9.0, 6.0, 4.0, 3.0, 2.5, 2.0] {
        sphere = refit(&candidates, sphere, neck, f64::max(tolerance, finest))?;
    }
    for _ in 0..20 {
        if let Some(found) = neck_axis(bone, &sphere, neck) {
            neck = found;
        }
        let next = refit(&candidates, sphere, neck, finest)?;
        let moved = (next.centre_mm - sphere.centre_mm).norm();
        sphere = next;
        if moved < 1e-3 {
            break;
        }
    }
    sphere.coverage = coverage(&candidates, &sphere, neck, finest);
    Some((sphere, neck))
}

/// One least-squares sphere through the surface points near `sphere` and not on its neck side.
fn refit(
    surface: &[Vector3<f64>],
    sphere: Sphere,
    neck: Vector3<f64>,
    tolerance_mm: f64,
) -> Option<Sphere> {
    let near: Vec<Vector3<f64>> = surface
        .iter()
        .copied()
        .filter(|p| {
            let from = p - sphere.centre_mm;
            let r = from.norm();
            (r - sphere.radius_mm).abs() < tolerance_mm && from.dot(&neck) > NECK_SIDE_COSINE * r
        })
        .collect();
    let mut fitted = sphere_through(&near, sphere.centre_mm)?;
    // A radius outside any human head means that the points are not those of a head.
    if !(10.0..45.0).contains(&fitted.radius_mm) {
        return None;
    }
    fitted.coverage = sphere.coverage;
    Some(fitted)
}

/// Algebraic least-squares sphere: minimises the sum of (|p - c|² - r²)², which is linear in
/// (c, r² - |c|²). `about` keeps the numbers small.
fn sphere_through(points: &[Vector3<f64>], about: Vector3<f64>) -> Option<Sphere> {
    if points.len() < 20 {
        return None;
    }
    let mut normal = Matrix4::zeros();
    let mut right = Vector4::zeros();
    for p in points {
        let q = p - about;
        let row = Vector4::new(2.0 * q.x, 2.0 * q.y, 2.0 * q.z, 1.0);
        normal += row * row.transpose();
        right += row * q.norm_squared();
    }
    let solved = normal.lu().solve(&right)?;
    let offset = Vector3::new(solved[0], solved[1], solved[2]);
    let radius_mm = (solved[3] + offset.norm_squared()).sqrt();
    if !radius_mm.is_finite() {
        return None;
    }
    let centre_mm = about + offset;
    let squares: f64 = points
        .iter()
        .map(|p| ((p - centre_mm).norm() - radius_mm).powi(2))
        .sum();
    Some(Sphere {
        centre_mm,
        radius_mm,
        rms_mm: (squares / points.len() as f64).sqrt(),
        coverage: 0.0,
    })
}

/// Direction from the narrowest cross-section of the neck to the head centre.
fn neck_axis(bone: &BonePoints, sphere: &Sphere, start: Vector3<f64>) -> Option<Vector3<f64>> {
    let (centre, radius) = (sphere.centre_mm, sphere.radius_mm);
    let mut axis = start;
    for _ in 0..6 {
        // Only bone near the axis, so that the tip of the greater trochanter stays out.
        let near: Vec<Vector3<f64>> = bone
            .voxels_mm
            .iter()
            .copied()
            .filter(|p| {
                let from = p - centre;
                let along = from.dot(&axis);
                (-2.2 * radius..-0.6 * radius).contains(&along)
                    && (from - axis * along).norm() < 1.15 * radius
            })
            .collect();
        let tube = BonePoints {
            voxels_mm: near,
            surface_mm: Vec::new(),
            border_mm: Vec::new(),
            ..*bone
        };
        let slabs = sections(&tube, centre, axis, bone.coarsest_mm.max(2.0));
        let inner = slabs.get(1..slabs.len().saturating_sub(1))?;
        let narrowest = inner
            .iter()
            .min_by(|a, b| a.area_mm2.total_cmp(&b.area_mm2))?;
        let next = (centre - narrowest.centroid_mm).try_normalize(1e-9)?;
        let turned = (next - axis).norm();
        axis = next;
        if turned < 1e-4 {
            break;
        }
    }
    Some(axis)
}

/// Share of evenly spread directions, within 90 degrees of `pole`, that have surface on the sphere.
fn coverage(
    surface: &[Vector3<f64>],
    sphere: &Sphere,
    pole: Vector3<f64>,
    tolerance_mm: f64,
) -> f64 {
    const DIRECTIONS: usize = 300;
    let golden = std::f64::consts::PI * (3.0 - 5.0f64.sqrt());
    let directions: Vec<Vector3<f64>> = (0..DIRECTIONS)
        .map(|n| {
            let z = 1.0 - 2.0 * (n as f64 + 0.5) / DIRECTIONS as f64;
            let r = (1.0 - z * z).sqrt();
            let turn = golden * n as f64;
            Vector3::new(r * turn.cos(), r * turn.sin(), z)
        })
        .filter(|d| d.dot(&pole) > 0.0)
        .collect();
    let near: Vec<Vector3<f64>> = surface
        .iter()
        .map(|p| p - sphere.centre_mm)
        .filter(|from| (from.norm() - sphere.radius_mm).abs() < 1.5 * tolerance_mm)
        .map(|from| from.normalize())
        .collect();
    // Surface points stand at most a voxel apart; the cone is a good voxel wide.
    let cone = (tolerance_mm * 2.0 / sphere.radius_mm).min(0.5).cos();
    let covered = directions
        .iter()
        .filter(|d| near.iter().any(|n| n.dot(d) > cone))
        .count();
    covered as f64 / directions.len().max(1) as f64
}
