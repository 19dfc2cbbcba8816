//! What plastic flow dissipates, and its gradient: the measure of path-following.

use rayon::prelude::*;

use super::elements::{LocalVector, gather};
use super::lattice::LatticeBody;
use super::{Body, System};
use crate::material::j2::{self, Moduli};

/// Plastic work from the committed state to a displacement.
pub(crate) struct Dissipation {
    /// N mm.
    pub(crate) work: f64,
    /// Its derivative by every displacement component, N; zero where nothing flows.
    pub(crate) gradient: Vec<f64>,
}

impl System<'_> {
    /// Plastic work between the committed state and `u`; `None` where it is not defined: it is for the von Mises
    /// material on a lattice, without incompatible modes.
    pub(crate) fn dissipation(&self, u: &[f64]) -> Option<Dissipation> {
        let Body::Lattice(body) = &self.body else {
            return None;
        };
        let gauss_box = &body.flow_shape.as_ref()?.gauss_box;
        let parts: Vec<Vec<(usize, f64, LocalVector)>> = body
            .topology
            .blocks
            .par_iter()
            .map(|block| {
                block
                    .elements
                    .clone()
                    .filter_map(|element| {
                        let (work, stress) = self.element_dissipation(body, element, u)?;
                        Some((element, work, gauss_box.forces(&stress)))
                    })
                    .collect()
            })
            .collect();
        // Summed in the order of the elements, whatever the number of threads.
        let nodes = self.nodes();
        let mut sum = Dissipation {
            work: 0.0,
            gradient: vec![0.0; u.len()],
        };
        for (element, work, local) in parts.into_iter().flatten() {
            sum.work += work;
            let corners = &body.topology.elements[element];
            for i in 0..24 {
                sum.gradient[i / 8 * nodes + corners[i % 8] as usize] += local[i];
            }
        }
        Some(sum)
    }

    /// Plastic work of an element, and its derivative by the strain at each point over the point's volume.
    fn element_dissipation(
        &self,
        body: &LatticeBody,
        element: usize,
        u: &[f64],
    ) -> Option<(f64, [[f64; 8]; 6])> {
        let state = body.state_of[element];
        if state == u32::MAX {
            return None;
        }
        let gauss_box = &body.flow_shape.as_ref()?.gauss_box;
        let materials = &self.model.materials;
        let moduli = Moduli::new(
            materials.youngs_modulus_mpa[element],
            materials.poissons_ratio[element],
        );
        let curve = &materials.curves[materials.curve[element] as usize];
        let strain = gauss_box.strains(&gather(&body.topology.elements[element], u));
        let mut gradient = [[0.0; 8]; 6];
        let mut work = 0.0;
        for point in 0..8 {
            let old = &body.states[state as usize].points[point];
            let strain = std::array::from_fn(|row| strain[row][point]);
            let new = j2::update(&strain, old, moduli, curve);
            let Some(flow) = new.flow else { continue };
            let (from, to) = (old.equivalent, new.state.equivalent);
            work += gauss_box.weight * curve.work(from, to);
            let yield_stress = curve.stress(to);
            for (row, slope) in flow.strain_gradient(moduli).into_iter().enumerate() {
                gradient[row][point] = yield_stress * slope;
            }
        }
        (work > 0.0).then_some((work, gradient))
    }
}
