//! Fields of the converged state, for pictures and estimates.

use std::borrow::Cow;

use super::elements::{gather, strain_at};
use super::{Body, System};
use crate::element::hex8::elasticity_matrix;
use crate::material::j2;
use crate::model::MaterialModel;

impl System<'_> {
    /// Fields of an element in the committed state: of a hexahedron at its centre, of a tetrahedron averaged over its
    /// volume.
    pub(crate) fn fields(&self, element: usize) -> ElementFields {
        let (shape, corners, state) = match &self.body {
            Body::Lattice(body) => (
                Cow::Borrowed(&body.shape),
                body.topology.elements[element],
                body.states.get(body.state_of[element] as usize),
            ),
            Body::General(body) => {
                if let Some((shape, corners, state)) = body.hexahedron(self.model, element) {
                    (Cow::Owned(shape), corners, state)
                } else {
                    return body
                        .tetrahedron_fields(self.model, element, &self.committed)
                        .unwrap_or_default();
                }
            }
        };
        let local = gather(&corners, &self.committed);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let ratio = self.model.materials.poissons_ratio[element];
        let strain = strain_at(&shape.centre, &local);
        let mut plastic_strain = [0.0; 6];
        let mut equivalent_plastic = 0.0;
        let mut secant = modulus;
        if let Some(state) = state {
            if self.model.material_model == MaterialModel::J2 {
                for point in &state.points {
                    equivalent_plastic += point.equivalent / 8.0;
                    for i in 0..6 {
                        plastic_strain[i] += point.plastic_strain[i] / 8.0;
                    }
                }
            } else if state.largest_strain > 0.0 {
                let curve =
                    &self.model.materials.curves[self.model.materials.curve[element] as usize];
                secant = (curve.total_strain(modulus, state.largest_strain).0
                    / state.largest_strain)
                    .min(modulus);
            }
        }
        let d = elasticity_matrix(secant, ratio);
        let stress: [f64; 6] = std::array::from_fn(|i| {
            (0..6)
                .map(|j| d[i][j] * (strain[j] - plastic_strain[j]))
                .sum()
        });
        let energy_density = 0.5
            * (0..6)
                .map(|i| stress[i] * (strain[i] - plastic_strain[i]))
                .sum::<f64>();
        ElementFields {
            strain,
            stress_mpa: stress,
            von_mises_mpa: j2::von_mises(&stress),
            equivalent_plastic_strain: equivalent_plastic,
            secant_modulus_mpa: secant,
            strain_energy_density_mpa: energy_density,
        }
    }
}

/// What an element looks like at its centre in the converged state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ElementFields {
    /// Strain.
    pub strain: [f64; 6],
    /// Stress, MPa.
    pub stress_mpa: [f64; 6],
    /// Von Mises stress, MPa.
    pub von_mises_mpa: f64,
    /// Mean equivalent plastic strain of the integration points (J2).
    pub equivalent_plastic_strain: f64,
    /// Secant modulus, MPa (the elastic one for J2).
    pub secant_modulus_mpa: f64,
    /// Elastic strain energy density, MPa (= N mm / mm³).
    pub strain_energy_density_mpa: f64,
}
