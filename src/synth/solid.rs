//! Smooth implicit solids: functions that are about the signed distance in mm, negative inside.

use nalgebra::Vector3;

pub(crate) type Point = Vector3<f64>;

/// 0 up to `low`, 1 from `high` on, a smooth cubic between (either order of the two).
pub(crate) fn smooth_step(low: f64, high: f64, value: f64) -> f64 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// `a` at weight 0, `b` at weight 1.
pub(crate) fn mix(a: f64, b: f64, weight: f64) -> f64 {
    a + (b - a) * weight
}

/// A bump of height 1 at distance 0 that ends smoothly at `reach`.
pub(crate) fn bump(distance: f64, reach: f64) -> f64 {
    let t = (distance / reach).min(1.0);
    let s = 1.0 - t * t;
    s * s
}

/// Union with a fillet of size `k` mm (polynomial smooth minimum).
pub(crate) fn union(a: f64, b: f64, k: f64) -> f64 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// Intersection with a rounded edge of size `k` mm.
pub(crate) fn intersection(a: f64, b: f64, k: f64) -> f64 {
    -union(-a, -b, k)
}

/// Sphere.
pub(crate) fn sphere(p: &Point, centre: &Point, radius: f64) -> f64 {
    (p - centre).norm() - radius
}

/// Ellipsoid about the origin with the given half axes; first-order distance.
pub(crate) fn ellipsoid(p: &Point, half: &Point) -> f64 {
    let k0 = p.component_div(half).norm();
    let k1 = p.component_div(&half.component_mul(half)).norm();
    if k1 < 1e-12 {
        return -half.min();
    }
    k0 * (k0 - 1.0) / k1
}

/// Ellipse about the origin of the plane with half axes `a` and `b`; first-order distance.
pub(crate) fn ellipse(x: f64, y: f64, a: f64, b: f64) -> f64 {
    let (u, v) = (x / a, y / b);
    let k0 = u.hypot(v);
    let k1 = (u / a).hypot(v / b);
    if k1 < 1e-12 {
        return -a.min(b);
    }
    k0 * (k0 - 1.0) / k1
}

/// Position of the point of segment `a`–`b` that is nearest to `p`, as a fraction of the segment.
pub(crate) fn along(p: &Point, a: &Point, b: &Point) -> f64 {
    let axis = b - a;
    ((p - a).dot(&axis) / axis.norm_squared()).clamp(0.0, 1.0)
}

/// Distance to the segment `a`–`b`.
pub(crate) fn segment(p: &Point, a: &Point, b: &Point) -> f64 {
    (p - (a + (b - a) * along(p, a, b))).norm()
}

/// Capsule whose radius runs from `ra` at `a` to `rb` at `b`.
pub(crate) fn cone(p: &Point, a: &Point, b: &Point, ra: f64, rb: f64) -> f64 {
    let t = along(p, a, b);
    (p - (a + (b - a) * t)).norm() - mix(ra, rb, t)
}

/// Box of half sizes `half` about the origin with edges rounded by `r` (inside the half sizes).
pub(crate) fn round_box(p: &Point, half: &Point, r: f64) -> f64 {
    let q = p.abs() - half.add_scalar(-r);
    q.map(|v| v.max(0.0)).norm() + q.max().min(0.0) - r
}

/// Share of a voxel of size `width_mm` that lies inside a surface at signed distance `distance`.
pub(crate) fn occupancy(distance: f64, width_mm: f64) -> f64 {
    (0.5 - distance / width_mm).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_at_points_worked_by_hand() {
        let p = Point::new(3.0, 4.0, 0.0);
        assert!((sphere(&p, &Point::zeros(), 2.0) - 3.0).abs() < 1e-12);
        // On an axis of an ellipsoid the first-order distance is exact.
        let half = Point::new(2.0, 5.0, 7.0);
        assert!((ellipsoid(&Point::new(0.0, 6.5, 0.0), &half) - 1.5).abs() < 1e-12);
        assert!((ellipse(3.0, 0.0, 2.0, 9.0) - 1.0).abs() < 1e-12);
        // Half way along, radius 1.5.
        let (a, b) = (Point::zeros(), Point::new(10.0, 0.0, 0.0));
        assert!((cone(&Point::new(5.0, 4.0, 0.0), &a, &b, 1.0, 2.0) - 2.5).abs() < 1e-12);
        assert!(
            (round_box(&Point::new(5.0, 0.0, 0.0), &Point::new(2.0, 3.0, 4.0), 1.0) - 3.0).abs()
                < 1e-12
        );
        assert!((round_box(&Point::zeros(), &Point::new(2.0, 3.0, 4.0), 1.0) + 2.0).abs() < 1e-12);
    }

    #[test]
    fn smooth_union_adds_a_fillet_only_where_surfaces_meet() {
        assert!((union(1.0, 9.0, 4.0) - 1.0).abs() < 1e-12);
        // Equal distances: lowered by k / 4.
        assert!((union(1.0, 1.0, 4.0) - 0.0).abs() < 1e-12);
        assert!((intersection(1.0, 1.0, 4.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn occupancy_of_a_voxel_cut_by_a_plane() {
        assert_eq!(occupancy(0.0, 0.8), 0.5);
        assert_eq!(occupancy(-0.4, 0.8), 1.0);
        assert!((occupancy(0.2, 0.8) - 0.25).abs() < 1e-12);
    }
}
