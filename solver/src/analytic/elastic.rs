//! Linear elasticity.

/// Constrained (oedometer) modulus `E (1 - nu) / ((1 + nu) (1 - 2 nu))`, MPa (Timoshenko and Goodier 1951:
/// Hooke's law with the two lateral strains zero).
pub fn confined_modulus(youngs_modulus: f64, poissons_ratio: f64) -> f64 {
    youngs_modulus * (1.0 - poissons_ratio)
        / ((1.0 + poissons_ratio) * (1.0 - 2.0 * poissons_ratio))
}

/// Elongation of a prismatic bar under an axial force, `F L / (E A)`, mm.
pub fn beam_axial_mm(force_n: f64, length: f64, youngs_modulus: f64, area: f64) -> f64 {
    force_n * length / (youngs_modulus * area)
}

/// Deflection of the tip of a cantilever of rectangular section under a tip force, mm: bending
/// `F L^3 / (3 E I)` and shear `F L / (5/6 G A)` (Timoshenko 1921; Cowper 1966 gives 5/6 for a Poisson's ratio of 0).
pub fn cantilever_tip_mm(
    force_n: f64,
    length: f64,
    depth: f64,
    width: f64,
    youngs_modulus: f64,
    poissons_ratio: f64,
) -> f64 {
    let second_moment = width * depth.powi(3) / 12.0;
    let shear = youngs_modulus / (2.0 * (1.0 + poissons_ratio));
    force_n * length.powi(3) / (3.0 * youngs_modulus * second_moment)
        + force_n * length / (5.0 / 6.0 * shear * depth * width)
}

/// A thick-walled cylinder in plane strain under inner pressure (Lamé 1852; Timoshenko and Goodier 1951).
#[derive(Clone, Copy, Debug)]
pub struct ThickCylinder {
    /// Inner radius, mm.
    pub inner: f64,
    /// Outer radius, mm.
    pub outer: f64,
    /// Young's modulus, MPa.
    pub youngs_modulus: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
}

impl ThickCylinder {
    /// Radial displacement at a radius, mm.
    pub fn displacement(&self, pressure: f64, radius: f64) -> f64 {
        let (a2, b2) = (self.inner * self.inner, self.outer * self.outer);
        let nu = self.poissons_ratio;
        pressure * a2 * (1.0 + nu) / (self.youngs_modulus * (b2 - a2))
            * ((1.0 - 2.0 * nu) * radius + b2 / radius)
    }

    /// Radial and hoop stress at a radius, MPa.
    pub fn stress(&self, pressure: f64, radius: f64) -> [f64; 2] {
        let (a2, b2) = (self.inner * self.inner, self.outer * self.outer);
        let mean = pressure * a2 / (b2 - a2);
        let varying = mean * b2 / (radius * radius);
        [mean - varying, mean + varying]
    }
}

/// A thick-walled sphere under inner pressure (Lamé 1852; Timoshenko and Goodier 1951).
#[derive(Clone, Copy, Debug)]
pub struct ThickSphere {
    /// Inner radius, mm.
    pub inner: f64,
    /// Outer radius, mm.
    pub outer: f64,
    /// Young's modulus, MPa.
    pub youngs_modulus: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
}

impl ThickSphere {
    /// Radial displacement at a radius, mm.
    pub fn displacement(&self, pressure: f64, radius: f64) -> f64 {
        let (a3, b3) = (self.inner.powi(3), self.outer.powi(3));
        let nu = self.poissons_ratio;
        pressure * a3 / (self.youngs_modulus * (b3 - a3))
            * ((1.0 - 2.0 * nu) * radius + 0.5 * (1.0 + nu) * b3 / (radius * radius))
    }
}

/// A displacement field without body forces that is no polynomial: `2 G u = grad(x h) - 4 (1 - nu) h e_x` with the
/// harmonic function `h = sin(a x) cos(b y) exp(c z)`, `c^2 = a^2 + b^2` (Papkovich 1932, Neuber 1934).
#[derive(Clone, Copy, Debug)]
pub struct PapkovichField {
    /// Wave number along x, 1/mm.
    pub a: f64,
    /// Wave number along y, 1/mm.
    pub b: f64,
    /// Shear modulus, MPa.
    pub shear: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
}

impl PapkovichField {
    fn c(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// `h`, its gradient and its second derivatives.
    fn harmonic(&self, [x, y, z]: [f64; 3]) -> (f64, [f64; 3], [[f64; 3]; 3]) {
        let (a, b, c) = (self.a, self.b, self.c());
        let ((sx, cx), (sy, cy), e) = ((a * x).sin_cos(), (b * y).sin_cos(), (c * z).exp());
        let h = sx * cy * e;
        let (h_x, h_y, h_z) = (a * cx * cy * e, -b * sx * sy * e, c * h);
        let (h_xy, h_xz, h_yz) = (-a * b * cx * sy * e, c * h_x, c * h_y);
        (
            h,
            [h_x, h_y, h_z],
            [
                [-a * a * h, h_xy, h_xz],
                [h_xy, -b * b * h, h_yz],
                [h_xz, h_yz, c * c * h],
            ],
        )
    }

    /// Displacement at a point, mm.
    pub fn displacement(&self, point: [f64; 3]) -> [f64; 3] {
        let (h, gradient, _) = self.harmonic(point);
        std::array::from_fn(|i| {
            let along_x = if i == 0 {
                (1.0 - 4.0 * (1.0 - self.poissons_ratio)) * h
            } else {
                0.0
            };
            (point[0] * gradient[i] + along_x) / (2.0 * self.shear)
        })
    }

    /// Displacement gradient `du_i / dx_j` at a point.
    pub fn gradient(&self, point: [f64; 3]) -> [[f64; 3]; 3] {
        let (_, gradient, second) = self.harmonic(point);
        std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let mut value = point[0] * second[i][j];
                if j == 0 {
                    value += gradient[i];
                }
                if i == 0 {
                    value += (1.0 - 4.0 * (1.0 - self.poissons_ratio)) * gradient[j];
                }
                value / (2.0 * self.shear)
            })
        })
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

    #[test]
    fn confined_modulus_of_the_reference_bar() {
        near(confined_modulus(1000.0, 0.3), 1346.154, 1e-6);
    }

    #[test]
    fn slender_beam_of_macneal_and_harder() {
        // Their printed answers: 0.1081 in plane, 0.4321 out of plane, 3e-5 in extension.
        near(
            cantilever_tip_mm(1.0, 6.0, 0.2, 0.1, 1e7, 0.3),
            0.1081,
            1e-3,
        );
        near(
            cantilever_tip_mm(1.0, 6.0, 0.1, 0.2, 1e7, 0.3),
            0.4321,
            1e-3,
        );
        near(beam_axial_mm(1.0, 6.0, 1e7, 0.02), 3e-5, 1e-12);
    }

    #[test]
    fn cylinder_expands_as_tabulated_and_carries_the_pressure() {
        let cylinder = ThickCylinder {
            inner: 100.0,
            outer: 200.0,
            youngs_modulus: 210.0,
            poissons_ratio: 0.3,
        };
        near(cylinder.displacement(0.10, 200.0), 0.057778, 1e-5);
        let [inside, _] = cylinder.stress(0.10, 100.0);
        let [outside, _] = cylinder.stress(0.10, 200.0);
        near(inside, -0.10, 1e-12);
        assert!(outside.abs() < 1e-15);
        // Hooke's law in plane strain at some radius, by a difference of the displacement.
        let (r, h) = (137.0, 1e-3);
        let radial =
            (cylinder.displacement(0.1, r + h) - cylinder.displacement(0.1, r - h)) / (2.0 * h);
        let hoop = cylinder.displacement(0.1, r) / r;
        let lame = 210.0 * 0.3 / (1.3 * 0.4);
        let shear = 210.0 / 2.6;
        let [s_r, s_t] = cylinder.stress(0.1, r);
        near(lame * (radial + hoop) + 2.0 * shear * radial, s_r, 1e-6);
        near(lame * (radial + hoop) + 2.0 * shear * hoop, s_t, 1e-6);
    }

    #[test]
    fn sphere_meets_the_pressure_at_its_inner_wall() {
        let sphere = ThickSphere {
            inner: 100.0,
            outer: 200.0,
            youngs_modulus: 210.0,
            poissons_ratio: 0.3,
        };
        let lame = 210.0 * 0.3 / (1.3 * 0.4);
        let shear = 210.0 / 2.6;
        let h = 1e-3;
        for (r, expected) in [(100.0, -0.14), (200.0, 0.0)] {
            let radial =
                (sphere.displacement(0.14, r + h) - sphere.displacement(0.14, r - h)) / (2.0 * h);
            let hoop = sphere.displacement(0.14, r) / r;
            let stress = lame * (radial + 2.0 * hoop) + 2.0 * shear * radial;
            assert!((stress - expected).abs() < 1e-8, "{stress}");
        }
    }

    /// Navier's equation `(lambda + G) grad div u + G laplace u = 0` by differences of the displacement alone.
    #[test]
    fn papkovich_field_needs_no_body_force() {
        let field = PapkovichField {
            a: 1.1,
            b: 0.8,
            shear: 700.0,
            poissons_ratio: 0.3,
        };
        let lame = 2.0 * 700.0 * 0.3 / (1.0 - 0.6);
        let (at, h) = ([0.4, 0.3, 0.6], 1e-3);
        let second = |i: usize, j: usize, k: usize| {
            let mut sum = 0.0;
            for (sj, sk) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                let mut p = at;
                p[j] += sj * h;
                p[k] += sk * h;
                sum += sj * sk * field.displacement(p)[i];
            }
            sum / (4.0 * h * h)
        };
        let scale = 700.0 * second(0, 0, 0).abs();
        for i in 0..3 {
            let dilatation: f64 = (0..3).map(|j| second(j, j, i)).sum();
            let laplace: f64 = (0..3).map(|j| second(i, j, j)).sum();
            let force = (lame + 700.0) * dilatation + 700.0 * laplace;
            assert!(force.abs() < 1e-4 * scale, "{i}: {force} of {scale}");
        }
        for i in 0..3 {
            for j in 0..3 {
                let (mut up, mut down) = (at, at);
                up[j] += h;
                down[j] -= h;
                let slope = (field.displacement(up)[i] - field.displacement(down)[i]) / (2.0 * h);
                assert!((slope - field.gradient(at)[i][j]).abs() < 1e-8);
            }
        }
    }
}
