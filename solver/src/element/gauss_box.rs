//! Strains and forces at the 2x2x2 Gauss points of a box by the Walsh-Hadamard transform of its corners.
//!
//! The displacement in a box is a sum of the eight sign patterns of its corners, so a displacement
//! gradient at a Gauss point needs four of the transformed numbers instead of eight corners. Forces follow
//! from stresses by the transposed steps.

use super::hex8::LOCAL_DOFS;

/// The two other axes of each axis, as bits.
pub const OTHER_AXES: [[usize; 2]; 3] = [[2, 4], [1, 4], [1, 2]];
/// Place in a stress vector of (displacement component, axis).
pub const STRESS_PLACE: [[usize; 3]; 3] = [[0, 5, 4], [5, 1, 3], [4, 3, 2]];

/// A box with 2x2x2 Gauss points, numbered by their coordinate bits as the corners are.
#[derive(Clone, Debug)]
pub struct GaussBox {
    /// `-g^n / (4 h)` for each axis and number `n` of further axes in a pattern; `g` is the Gauss coordinate,
    /// `h` the edge in mm.
    pub slope: [[f64; 3]; 3],
    /// Volume of a Gauss point, mm³.
    pub weight: f64,
    /// Whether the dilatation is the mean one of the element (B-bar).
    pub mean_dilatation: bool,
}

/// Sign of a pattern at a corner or Gauss point.
const fn sign(pattern: usize, point: usize) -> f64 {
    if (pattern & point).count_ones() % 2 == 1 {
        -1.0
    } else {
        1.0
    }
}

/// Signs of every pattern at the eight points.
const SIGNS: [[f64; 8]; 8] = {
    let mut signs = [[0.0; 8]; 8];
    let mut pattern = 0;
    while pattern < 8 {
        let mut point = 0;
        while point < 8 {
            signs[pattern][point] = sign(pattern, point);
            point += 1;
        }
        pattern += 1;
    }
    signs
};

#[inline(always)]
fn transform(v: &[f64; 8]) -> [f64; 8] {
    let mut sums = [0.0; 8];
    for (pattern, value) in v.iter().enumerate() {
        for point in 0..8 {
            sums[point] += value * SIGNS[pattern][point];
        }
    }
    sums
}

impl GaussBox {
    /// For boxes with these edges, mm.
    pub fn new(edges_mm: [f64; 3], mean_dilatation: bool) -> Self {
        let gauss = 1.0 / 3f64.sqrt();
        Self {
            slope: edges_mm.map(|h| [1.0, gauss, gauss * gauss].map(|g| -g / (4.0 * h))),
            weight: edges_mm.iter().product::<f64>() / 8.0,
            mean_dilatation,
        }
    }

    /// Strain components at the eight points from the displacements of the corners (component first).
    #[inline(always)]
    pub fn strains(&self, local: &[f64; LOCAL_DOFS]) -> [[f64; 8]; 6] {
        let mut patterns = [[0.0; 8]; 3];
        for component in 0..3 {
            let mut corners = [0.0; 8];
            corners.copy_from_slice(&local[8 * component..8 * component + 8]);
            patterns[component] = transform(&corners);
        }
        let mut strain = [[0.0; 8]; 6];
        for component in 0..3 {
            for axis in 0..3 {
                let [b, c] = OTHER_AXES[axis];
                let bit = 1 << axis;
                let u = &patterns[component];
                let [s0, s1, s2] = self.slope[axis];
                let (constant, along_b, along_c, twist) = (
                    s0 * u[bit],
                    s1 * u[bit | b],
                    s1 * u[bit | c],
                    s2 * u[bit | b | c],
                );
                let target = &mut strain[STRESS_PLACE[component][axis]];
                for point in 0..8 {
                    target[point] += constant
                        + along_b * SIGNS[b][point]
                        + along_c * SIGNS[c][point]
                        + twist * SIGNS[b | c][point];
                }
            }
        }
        if self.mean_dilatation {
            let mean = (0..3)
                .map(|axis| self.slope[axis][0] * patterns[axis][1 << axis])
                .sum::<f64>();
            for point in 0..8 {
                let shift = (mean - strain[0][point] - strain[1][point] - strain[2][point]) / 3.0;
                for row in 0..3 {
                    strain[row][point] += shift;
                }
            }
        }
        strain
    }

    /// Forces on the corners from the stress components at the eight points.
    #[inline(always)]
    pub fn forces(&self, stress: &[[f64; 8]; 6]) -> [f64; LOCAL_DOFS] {
        let mut stress = *stress;
        if self.mean_dilatation {
            let mut pressure = [0.0; 8];
            for point in 0..8 {
                pressure[point] = (stress[0][point] + stress[1][point] + stress[2][point]) / 3.0;
            }
            let mean = pressure.iter().sum::<f64>() / 8.0;
            for point in 0..8 {
                for row in 0..3 {
                    stress[row][point] += mean - pressure[point];
                }
            }
        }
        let mut sums = [[0.0; 8]; 6];
        for row in 0..6 {
            sums[row] = transform(&stress[row]);
        }
        let mut local = [0.0; LOCAL_DOFS];
        for component in 0..3 {
            let mut patterns = [0.0; 8];
            for axis in 0..3 {
                let [b, c] = OTHER_AXES[axis];
                let bit = 1 << axis;
                let sum = &sums[STRESS_PLACE[component][axis]];
                let [s0, s1, s2] = self.slope[axis].map(|slope| slope * self.weight);
                patterns[bit] += s0 * sum[0];
                patterns[bit | b] += s1 * sum[b];
                patterns[bit | c] += s1 * sum[c];
                patterns[bit | b | c] += s2 * sum[b | c];
            }
            local[8 * component..8 * component + 8].copy_from_slice(&transform(&patterns));
        }
        local
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::HexElement;
    use crate::model::Formulation;

    #[test]
    fn strains_and_forces_are_those_of_the_strain_matrices() {
        let edges = [0.8, 1.1, 1.7];
        let nodes =
            meshing::mesh::HEX_CORNERS.map(|c| std::array::from_fn(|a| c[a] as f64 * edges[a]));
        for (formulation, mean) in [(Formulation::Full, false), (Formulation::BBar, true)] {
            let element = HexElement::new(nodes, formulation).unwrap();
            let gauss_box = GaussBox::new(edges, mean);
            let local: [f64; 24] = std::array::from_fn(|i| ((i * i + 5 * i) % 23) as f64 / 23.0);
            let stress: [[f64; 8]; 6] =
                std::array::from_fn(|i| std::array::from_fn(|q| ((7 * i + 3 * q * q) % 11) as f64));
            let strains = gauss_box.strains(&local);
            let forces = gauss_box.forces(&stress);
            let mut expected = [0.0; 24];
            for (q, point) in element.points.iter().enumerate() {
                for row in 0..6 {
                    let strain: f64 = (0..24).map(|dof| point.b[row][dof] * local[dof]).sum();
                    assert!((strain - strains[row][q]).abs() < 1e-13, "{row} {q}");
                    for dof in 0..24 {
                        expected[dof] += point.weight * point.b[row][dof] * stress[row][q];
                    }
                }
            }
            for dof in 0..24 {
                assert!((expected[dof] - forces[dof]).abs() < 1e-12, "{dof}");
            }
        }
    }
}
