//! Landmarks of a femur in a label map: the sphere of its head and the axis of its shaft.

use anyhow::{Context, Result, ensure};
use nalgebra::{DMatrix, DVector};

use super::solid::Point;

/// A fitted sphere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sphere {
    pub centre: Point,
    pub radius: f64,
}

/// Least squares sphere through points, `None` when they do not tell one (algebraic fit:
/// `|p|² = 2 c·p + (r² - |c|²)` is linear in its unknowns).
pub(crate) fn sphere(points: &[Point]) -> Option<Sphere> {
    if points.len() < 10 {
        return None;
    }
    let middle = points.iter().sum::<Point>() / points.len() as f64;
    let shifted: Vec<Point> = points.iter().map(|p| p - middle).collect();
    let matrix = DMatrix::from_fn(points.len(), 4, |row, column| match column {
        3 => 1.0,
        axis => 2.0 * shifted[row][axis],
    });
    let right = DVector::from_iterator(points.len(), shifted.iter().map(|p| p.norm_squared()));
    let normal = matrix.transpose() * &matrix;
    let solution = normal.cholesky()?.solve(&(matrix.transpose() * right));
    let centre = Point::new(solution[0], solution[1], solution[2]);
    let radius = (solution[3] + centre.norm_squared()).sqrt();
    radius.is_finite().then_some(Sphere {
        centre: centre + middle,
        radius,
    })
}

/// A sphere fit that drops points further than 1.5 mm from the sphere, four times.
///
/// # Errors
/// Fewer than 50 points that lie on one sphere, or a radius that no human femoral head has.
pub(crate) fn head(points: &[Point]) -> Result<Sphere> {
    let mut kept = points.to_vec();
    let mut found = sphere(&kept).context("too few surface points on the femoral head")?;
    for reach in [4.0, 2.5, 1.5, 1.5] {
        kept = points
            .iter()
            .filter(|p| ((*p - found.centre).norm() - found.radius).abs() < reach)
            .copied()
            .collect();
        found = sphere(&kept).context("the femoral head is not round enough for a sphere")?;
    }
    ensure!(
        kept.len() >= 50 && (15.0..=32.0).contains(&found.radius),
        "the femoral head could not be found: a sphere of radius {:.1} mm through {} points",
        found.radius,
        kept.len()
    );
    Ok(found)
}

/// A line through the centroids of cross-sections: a point on it and its direction, towards the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    pub point: Point,
    pub direction: Point,
}

/// Least squares line through centroids given from the feet up; `None` for less than `least_mm` of them.
pub(crate) fn axis(centroids: &[Point], least_mm: f64) -> Option<Axis> {
    let (first, last) = (centroids.first()?, centroids.last()?);
    if last.z - first.z < least_mm {
        return None;
    }
    let point = centroids.iter().sum::<Point>() / centroids.len() as f64;
    let (mut slope, mut spread) = (Point::zeros(), 0.0);
    for centroid in centroids {
        let offset = centroid - point;
        slope += offset * offset.z;
        spread += offset.z * offset.z;
    }
    Some(Axis {
        point,
        direction: (slope / spread).normalize(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(centre: Point, radius: f64) -> Vec<Point> {
        let mut points = Vec::new();
        for a in 0..40 {
            for b in 1..12 {
                let (turn, tip) = (f64::from(a) * 0.157, f64::from(b) * 0.1);
                points.push(
                    centre
                        + Point::new(tip.sin() * turn.cos(), tip.sin() * turn.sin(), tip.cos())
                            * radius,
                );
            }
        }
        points
    }

    #[test]
    fn a_sphere_is_found_from_a_cap_with_stray_points() {
        let centre = Point::new(90.0, -4.0, 31.0);
        let mut points = cap(centre, 23.5);
        for stray in 0..30 {
            points.push(centre + Point::new(40.0, f64::from(stray), -20.0));
        }
        let found = head(&points).unwrap();
        assert!((found.centre - centre).norm() < 1e-6, "{:?}", found.centre);
        assert!((found.radius - 23.5).abs() < 1e-6);
    }

    #[test]
    fn a_pea_is_no_femoral_head() {
        let error = head(&cap(Point::zeros(), 6.0)).unwrap_err();
        assert!(error.to_string().contains("radius 6.0 mm"), "{error}");
    }

    #[test]
    fn an_axis_follows_leaning_centroids_and_needs_length() {
        let at = |z: f64| Point::new(5.0 + 0.1 * z, -0.05 * z, z);
        let centroids: Vec<_> = (0..30).map(|z| at(f64::from(z))).collect();
        let found = axis(&centroids, 20.0).unwrap();
        assert!((found.direction - Point::new(0.1, -0.05, 1.0).normalize()).norm() < 1e-12);
        assert!((found.point - at(14.5)).norm() < 1e-9);
        assert!(axis(&centroids, 40.0).is_none());
    }
}
