//! J2 plasticity at small strains.

use crate::material::HardeningCurve;

/// A thick-walled cylinder in plane strain, elastic and perfectly plastic, under growing inner pressure (Hill 1950,
/// chapter V.2; de Souza Neto, Perić and Owen 2008, section 7.5.1). Exact for Tresca; for von Mises with
/// `Y = 2 yield / sqrt 3`, it neglects the elastic part of the axial strain in the plastic zone.
#[derive(Clone, Copy, Debug)]
pub struct PressurisedCylinder {
    /// Inner radius, mm.
    pub inner: f64,
    /// Outer radius, mm.
    pub outer: f64,
    /// Young's modulus, MPa.
    pub youngs_modulus: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
    /// Uniaxial yield stress, MPa.
    pub yield_stress: f64,
}

/// A thick-walled sphere, elastic and perfectly plastic, under growing inner pressure (Hill 1950, chapter V.3; exact).
#[derive(Clone, Copy, Debug)]
pub struct PressurisedSphere {
    /// Inner radius, mm.
    pub inner: f64,
    /// Outer radius, mm.
    pub outer: f64,
    /// Young's modulus, MPa.
    pub youngs_modulus: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
    /// Uniaxial yield stress, MPa.
    pub yield_stress: f64,
}

/// Radius in `[inner, outer]` where the rising function `pressure_of` takes `pressure`, by bisection.
fn front(inner: f64, outer: f64, pressure: f64, pressure_of: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (inner, outer);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if pressure_of(middle) < pressure {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

impl PressurisedCylinder {
    fn shear_yield(&self) -> f64 {
        2.0 * self.yield_stress / 3f64.sqrt()
    }

    /// Pressure with the plastic zone reaching to a radius: `Y (ln(c/a) + (1 - c^2/b^2) / 2)`, MPa.
    pub fn pressure_at_front(&self, radius: f64) -> f64 {
        self.shear_yield()
            * ((radius / self.inner).ln() + 0.5 * (1.0 - (radius / self.outer).powi(2)))
    }

    /// Pressure at which the inner wall yields, MPa.
    pub fn first_yield_pressure(&self) -> f64 {
        self.pressure_at_front(self.inner)
    }

    /// Pressure at which the whole wall is plastic, `Y ln(b/a)`, MPa.
    pub fn collapse_pressure(&self) -> f64 {
        self.pressure_at_front(self.outer)
    }

    /// Radius of the plastic front, mm; `None` while elastic or beyond collapse.
    pub fn plastic_radius(&self, pressure: f64) -> Option<f64> {
        (self.first_yield_pressure()..=self.collapse_pressure())
            .contains(&pressure)
            .then(|| {
                front(self.inner, self.outer, pressure, |c| {
                    self.pressure_at_front(c)
                })
            })
    }

    /// Radial displacement of the outer wall, mm; `None` beyond collapse.
    pub fn outer_displacement(&self, pressure: f64) -> Option<f64> {
        let (e, nu, b) = (self.youngs_modulus, self.poissons_ratio, self.outer);
        if pressure < self.first_yield_pressure() {
            let ratio = (b / self.inner).powi(2) - 1.0;
            return Some(2.0 * pressure * b * (1.0 - nu * nu) / (e * ratio));
        }
        let c = self.plastic_radius(pressure)?;
        Some(self.shear_yield() * c * c * (1.0 - nu * nu) / (e * b))
    }
}

impl PressurisedSphere {
    /// Pressure with the plastic zone reaching to a radius: `2 Y ln(c/a) + 2/3 Y (1 - c^3/b^3)`, MPa.
    pub fn pressure_at_front(&self, radius: f64) -> f64 {
        2.0 * self.yield_stress
            * ((radius / self.inner).ln() + (1.0 - (radius / self.outer).powi(3)) / 3.0)
    }

    /// Pressure at which the inner wall yields, MPa.
    pub fn first_yield_pressure(&self) -> f64 {
        self.pressure_at_front(self.inner)
    }

    /// Pressure at which the whole wall is plastic, `2 Y ln(b/a)`, MPa.
    pub fn collapse_pressure(&self) -> f64 {
        self.pressure_at_front(self.outer)
    }

    /// Radius of the plastic front, mm; `None` while elastic or beyond collapse.
    pub fn plastic_radius(&self, pressure: f64) -> Option<f64> {
        (self.first_yield_pressure()..=self.collapse_pressure())
            .contains(&pressure)
            .then(|| {
                front(self.inner, self.outer, pressure, |c| {
                    self.pressure_at_front(c)
                })
            })
    }

    /// Radial displacement of the outer wall, mm; `None` beyond collapse.
    pub fn outer_displacement(&self, pressure: f64) -> Option<f64> {
        let (e, nu, b) = (self.youngs_modulus, self.poissons_ratio, self.outer);
        if pressure < self.first_yield_pressure() {
            let ratio = (b / self.inner).powi(3) - 1.0;
            return Some(1.5 * pressure * b * (1.0 - nu) / (e * ratio));
        }
        let c = self.plastic_radius(pressure)?;
        Some(self.yield_stress * c.powi(3) * (1.0 - nu) / (e * b * b))
    }
}

/// Bending moment of a rectangular beam over the moment of first yield, at a curvature over that of first yield:
/// `1.5 - 0.5 / k^2` beyond 1 (elastic and perfectly plastic, uniaxial stress; Timoshenko 1956, part II).
pub fn bending_moment_ratio(curvature_ratio: f64) -> f64 {
    let k = curvature_ratio.abs();
    let ratio = if k <= 1.0 { k } else { 1.5 - 0.5 / (k * k) };
    ratio.copysign(curvature_ratio)
}

/// State of a material point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlasticPoint {
    /// Stress along the loading: axial compressive stress, or shear stress, MPa.
    pub stress: f64,
    /// Lateral compressive stress; 0 in shear, MPa.
    pub lateral: f64,
    /// Equivalent plastic strain.
    pub plastic_strain: f64,
}

/// Plastic strain with `trial - 3 G p = yield(p)`, by bisection: the left side falls faster than any curve of bone.
fn plastic_strain(trial: f64, shear: f64, curve: &HardeningCurve) -> f64 {
    if trial <= curve.stress(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, trial / (3.0 * shear));
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if trial - 3.0 * shear * middle > curve.stress(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Uniaxial strain (compression, counted positive) of a J2 material. The deviator keeps its direction, so that the
/// total response is that of one radial return (Hill 1950, chapter II).
pub fn confined_compression(
    youngs_modulus: f64,
    poissons_ratio: f64,
    curve: &HardeningCurve,
    strain: f64,
) -> PlasticPoint {
    let shear = youngs_modulus / (2.0 * (1.0 + poissons_ratio));
    let bulk = youngs_modulus / (3.0 * (1.0 - 2.0 * poissons_ratio));
    let trial = 2.0 * shear * strain;
    let p = plastic_strain(trial, shear, curve);
    let equivalent = trial - 3.0 * shear * p;
    PlasticPoint {
        stress: bulk * strain + 2.0 / 3.0 * equivalent,
        lateral: bulk * strain - equivalent / 3.0,
        plastic_strain: p,
    }
}

/// Simple shear by an engineering strain of a J2 material (Hill 1950, chapter II).
pub fn simple_shear(
    youngs_modulus: f64,
    poissons_ratio: f64,
    curve: &HardeningCurve,
    strain: f64,
) -> PlasticPoint {
    let shear = youngs_modulus / (2.0 * (1.0 + poissons_ratio));
    let trial = 3f64.sqrt() * shear * strain;
    let p = plastic_strain(trial, shear, curve);
    PlasticPoint {
        stress: (trial - 3.0 * shear * p) / 3f64.sqrt(),
        lateral: 0.0,
        plastic_strain: p,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!(
            (found - expected).abs() <= tolerance * expected.abs(),
            "{found} {expected}"
        );
    }

    /// Printed values: de Souza Neto, Perić and Owen 2008, sections 7.5.1 and 7.5.2, as coded by the pmsim project.
    #[test]
    fn cylinder_as_tabulated() {
        let cylinder = PressurisedCylinder {
            inner: 100.0,
            outer: 200.0,
            youngs_modulus: 210.0,
            poissons_ratio: 0.3,
            yield_stress: 0.24,
        };
        near(cylinder.first_yield_pressure(), 0.103923, 5e-6);
        near(cylinder.collapse_pressure(), 0.192091, 5e-6);
        assert_eq!(cylinder.plastic_radius(0.10), None);
        assert_eq!(cylinder.outer_displacement(0.2), None);
        near(cylinder.outer_displacement(0.10).unwrap(), 0.057778, 1e-5);
        for (pressure, c, u) in [
            (0.14, 120.539, 0.087242),
            (0.18, 159.785, 0.153301),
            (0.19, 182.888, 0.200837),
        ] {
            near(cylinder.plastic_radius(pressure).unwrap(), c, 5e-6);
            near(cylinder.outer_displacement(pressure).unwrap(), u, 1e-5);
        }
    }

    #[test]
    fn sphere_as_tabulated() {
        let sphere = PressurisedSphere {
            inner: 100.0,
            outer: 200.0,
            youngs_modulus: 210.0,
            poissons_ratio: 0.3,
            yield_stress: 0.24,
        };
        near(sphere.first_yield_pressure(), 0.14, 1e-12);
        near(sphere.collapse_pressure(), 0.332711, 5e-6);
        // Elastic: Lamé's solution, which is worked out independently of this one.
        let elastic = super::super::ThickSphere {
            inner: 100.0,
            outer: 200.0,
            youngs_modulus: 210.0,
            poissons_ratio: 0.3,
        };
        near(
            sphere.outer_displacement(0.12).unwrap(),
            elastic.displacement(0.12, 200.0),
            1e-12,
        );
        for (pressure, c, u) in [
            (0.15, 102.422, 0.021489),
            (0.28, 146.296, 0.062622),
            (0.30, 157.562, 0.078233),
            (0.33, 187.732, 0.132327),
        ] {
            near(sphere.plastic_radius(pressure).unwrap(), c, 5e-6);
            near(sphere.outer_displacement(pressure).unwrap(), u, 2e-5);
        }
    }

    #[test]
    fn bending_ends_at_three_halves() {
        assert_eq!(bending_moment_ratio(0.5), 0.5);
        near(bending_moment_ratio(2.0), 1.375, 1e-12);
        near(bending_moment_ratio(1e6), 1.5, 1e-9);
        near(bending_moment_ratio(-2.0), -1.375, 1e-12);
    }

    #[test]
    fn oedometer_as_tabulated() {
        let curve = HardeningCurve::perfect(10.0).unwrap();
        near(
            confined_compression(1000.0, 0.3, &curve, 0.013).stress,
            17.5,
            1e-9,
        );
        let beyond = confined_compression(1000.0, 0.3, &curve, 0.026).stress;
        near((beyond - 17.5) / 0.013, 833.333, 1e-6);
    }

    /// Keyak 2005, trabecular, ash density 0.3 g/cm³, 3 mm elements, nu 0.4.
    #[test]
    fn keyak_points_as_tabulated() {
        let (s, h, minimum, plateau) = (11.679343, -59.084686, 4.876034, 0.0456);
        let curve = HardeningCurve::new(vec![
            [0.0, s],
            [plateau, s],
            [plateau + (minimum - s) / h, minimum],
        ])
        .unwrap();
        for (strain, axial, lateral, p) in [
            (0.05, 140.05294, 128.37360, 0.026465),
            (0.10, 271.74023, 260.93002, 0.060310),
            (0.15, 402.64669, 393.87686, 0.094843),
            (0.20, 533.55315, 526.82369, 0.129376),
        ] {
            let point = confined_compression(1587.2005, 0.4, &curve, strain);
            near(point.stress, axial, 1e-6);
            near(point.lateral, lateral, 1e-6);
            near(point.plastic_strain, p, 2e-5);
        }
        for (strain, tau, p) in [
            (0.05, 6.74307, 0.022000),
            (0.10, 6.55693, 0.051057),
            (0.15, 5.53674, 0.080963),
            (0.20, 4.51655, 0.110870),
            (0.25, 3.49636, 0.140776),
            (0.30, 2.81518, 0.170338),
        ] {
            let point = simple_shear(1587.2005, 0.4, &curve, strain);
            near(point.stress, tau, 2e-6);
            near(point.plastic_strain, p, 2e-5);
        }
    }
}
