//! The coarse matrices `P^T A P`, layer by layer of elements.

use rayon::prelude::*;

use super::hierarchy::CoarseLevel;
use super::stencil::Stencil;
use crate::operator::{LatticeOperator, for_each_set};

type Matrix = [f32; 576];

/// Galerkin matrices of one layer of elements of the last of `levels`, summed into the stencils of all levels on
/// the way up; returns them for the next coarser level. `spare` holds memory of earlier layers.
pub(super) fn fill_layer(
    levels: &[CoarseLevel],
    stencils: &mut [Stencil],
    galerkin: &FineGalerkin,
    layer: usize,
    spare: &mut Vec<Vec<f32>>,
) -> Vec<f32> {
    let (Some((level, finer_levels)), Some((stencil, finer_stencils))) =
        (levels.split_last(), stencils.split_last_mut())
    else {
        return Vec::new();
    };
    let finer = finer_levels.last().map(|finer| {
        let layers = [2 * layer, 2 * layer + 1];
        layers.map(|layer| {
            if layer < finer.layout.layers() {
                let first = finer.layout.layer(layer).start;
                let matrices = fill_layer(finer_levels, finer_stencils, galerkin, layer, spare);
                (first, matrices)
            } else {
                (0, Vec::new())
            }
        })
    });
    let instructions = galerkin.fine.instructions;
    let elements = level.layout.layer(layer);
    let mut matrices = spare.pop().unwrap_or_default();
    matrices.resize(576 * elements.len(), 0.0);
    matrices
        .par_chunks_mut(576)
        .zip(&level.children[elements])
        .with_min_len(16)
        .for_each(|(target, children)| {
            sum_children(instructions, galerkin, finer.as_ref(), children, target);
        });
    stencil.add_layer(&level.layout, layer, &matrices);
    spare.extend(finer.into_iter().flatten().map(|(_, used)| used));
    matrices
}

/// First element and matrices of two layers of finer elements.
type FinerLayers = [(usize, Vec<f32>); 2];

for_each_set! {
    /// Sum of the Galerkin products of the children of an element.
    fn sum_children<>(
        galerkin: &FineGalerkin,
        finer: Option<&FinerLayers>,
        children: &[u32; 8],
        target: &mut [f32],
    ) = sum_children_body(galerkin, finer, children, target)
}

#[inline(always)]
fn sum_children_body(
    galerkin: &FineGalerkin,
    finer: Option<&FinerLayers>,
    children: &[u32; 8],
    target: &mut [f32],
) {
    let mut sum = [0.0; 576];
    for (octant, &child) in children.iter().enumerate() {
        if child == u32::MAX {
            continue;
        }
        match finer {
            None => galerkin.add(child as usize, octant, &mut sum),
            Some(layers) => {
                // The octant's third bit says which of the two layers the child is in.
                let (first, matrices) = &layers[octant >> 2];
                let start = 576 * (child as usize - first);
                if let Ok(matrix) = <&Matrix>::try_from(&matrices[start..start + 576]) {
                    add_product_of(matrix, octant, &mut sum);
                }
            }
        }
    }
    target.copy_from_slice(&sum);
}

/// Marks a place among dense elements.
const DENSE: u32 = 1 << 31;

/// Galerkin products of the finest level.
pub(super) struct FineGalerkin<'a, 'b> {
    fine: &'a LatticeOperator<'b>,
    /// `P^T K P` of each class and octant for a Young's modulus of 1 MPa.
    products: Vec<[Box<Matrix>; 8]>,
    constrained: Vec<bool>,
    /// Nodes with a constrained unknown.
    touched: Vec<bool>,
    /// Place of each element among the flowing elements of its block, or with [`DENSE`] among the dense ones;
    /// `u32::MAX` = elastic.
    slot: Vec<u32>,
}

impl<'a, 'b> FineGalerkin<'a, 'b> {
    pub(super) fn new(fine: &'a LatticeOperator<'b>) -> Self {
        let products = fine
            .tables
            .iter()
            .map(|table| {
                let matrix: Matrix = std::array::from_fn(|i| table.matrix[i] as f32);
                std::array::from_fn(|octant| {
                    let mut sum = Box::new([0.0; 576]);
                    add_product_of(&matrix, octant, &mut sum);
                    sum
                })
            })
            .collect();
        let nodes = fine.topology.nodes;
        let mut constrained = vec![false; 3 * nodes];
        let mut touched = vec![false; nodes];
        for &dof in fine.constrained {
            constrained[dof as usize] = true;
            touched[dof as usize % nodes] = true;
        }
        let mut slot = vec![u32::MAX; fine.topology.elements.len()];
        for (flow, dense) in fine.flow.iter().zip(fine.dense) {
            for (number, element) in flow.elements().enumerate() {
                slot[element as usize] = number as u32;
            }
            for (number, &element) in dense.elements.iter().enumerate() {
                slot[element as usize] = DENSE | number as u32;
            }
        }
        Self {
            fine,
            products,
            constrained,
            touched,
            slot,
        }
    }

    #[inline(always)]
    fn add(&self, element: usize, octant: usize, sum: &mut Matrix) {
        let topology = self.fine.topology;
        let class = usize::from(topology.class[element]);
        let corners = &topology.elements[element];
        let mut held = [false; 24];
        let mut any_held = false;
        if corners.iter().any(|&node| self.touched[node as usize]) {
            for local in 0..24 {
                let dof = local / 8 * topology.nodes + corners[local % 8] as usize;
                held[local] = self.constrained[dof];
                any_held |= held[local];
            }
        }
        let slot = self.slot[element];
        if slot == u32::MAX && !any_held {
            let modulus = self.fine.moduli_single[element];
            for (sum, value) in sum.iter_mut().zip(self.products[class][octant].iter()) {
                *sum += modulus * value;
            }
            return;
        }
        let mut matrix: Matrix = if slot == u32::MAX {
            let modulus = self.fine.moduli[element];
            let mut matrix = [0.0; 576];
            for (matrix, unit) in matrix.iter_mut().zip(self.fine.tables[class].matrix.iter()) {
                *matrix = (modulus * unit) as f32;
            }
            matrix
        } else {
            let block = topology.block_of[element] as usize;
            match self.fine.flow_shape {
                Some(shape) if slot & DENSE == 0 => {
                    shape.matrix(&self.fine.flow[block].tangent(slot as usize))
                }
                _ => {
                    let start = 576 * (slot & !DENSE) as usize;
                    let mut matrix = [0.0; 576];
                    matrix.copy_from_slice(&self.fine.dense[block].matrices[start..start + 576]);
                    matrix
                }
            }
        };
        if any_held {
            for row in 0..24 {
                for column in 0..24 {
                    if held[row] || held[column] {
                        matrix[24 * row + column] = 0.0;
                    }
                }
            }
        }
        add_product_of(&matrix, octant, sum);
    }
}

/// `rows <- P^T rows`: interpolation of the corners of one octant from the corners of the parent, transposed.
#[inline(always)]
fn transposed_interpolation(rows: &mut Matrix, octant: usize) {
    for component in 0..3 {
        for axis in 0..3 {
            let bit = 1 << axis;
            for corner in (0..8).filter(|corner| corner & bit == 0) {
                let low = 24 * (8 * component + corner);
                let high = 24 * (8 * component + (corner | bit));
                // Child corners on this axis stand at 0 and 1/2 (low octant) or 1/2 and 1 of the parent.
                for column in 0..24 {
                    let (a, b) = (rows[low + column], rows[high + column]);
                    if octant & bit == 0 {
                        rows[low + column] = a + 0.5 * b;
                        rows[high + column] = 0.5 * b;
                    } else {
                        rows[low + column] = 0.5 * a;
                        rows[high + column] = 0.5 * a + b;
                    }
                }
            }
        }
    }
}

/// Share of each corner of the parent (second index) in each corner of the child in `octant`.
#[inline(always)]
fn interpolation(octant: usize) -> [[f32; 8]; 8] {
    let mut shares = [[1.0; 8]; 8];
    for (child, shares) in shares.iter_mut().enumerate() {
        for (parent, share) in shares.iter_mut().enumerate() {
            for axis in 0..3 {
                let bit = |number: usize| number >> axis & 1;
                // In halves of the parent's edge.
                let at = bit(octant) + bit(child);
                let part = if bit(parent) == 1 { at } else { 2 - at };
                *share *= 0.5 * part as f32;
            }
        }
    }
    shares
}

/// `sum += P^T matrix P` for the child in `octant`.
#[inline(always)]
fn add_product_of(matrix: &Matrix, octant: usize, sum: &mut Matrix) {
    let mut left = *matrix;
    transposed_interpolation(&mut left, octant);
    let shares = interpolation(octant);
    for (left, sum) in left.chunks_exact(8).zip(sum.chunks_exact_mut(8)) {
        let mut row = [0.0f32; 8];
        for child in 0..8 {
            for parent in 0..8 {
                row[parent] += left[child] * shares[child][parent];
            }
        }
        for parent in 0..8 {
            sum[parent] += row[parent];
        }
    }
}
