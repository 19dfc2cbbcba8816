//! The tangent stiffness as an operator: elements that behave elastically share one small table per
//! Poisson's ratio and are applied in the Walsh-Hadamard basis; elements in plastic flow are applied at
//! their Gauss points; what fits neither carries its own 24x24 matrix.
//!
//! Vectors are ordered by component first: entry `component * nodes + node`. Elements are worked on in
//! blocks of whole lattice layers; blocks of one colour share no node, so that they run in parallel and
//! every node still receives its contributions in one fixed order. The result does not depend on the
//! number of threads.

mod flow;
mod kernel;
mod tensor;
mod topology;
pub(crate) mod vector;

pub use flow::{FlowElements, FlowShape, FlowTangent};
pub use kernel::{InstructionSet, Real};
pub use tensor::HadamardTable;
pub use topology::{Block, Topology};

use rayon::prelude::*;

pub(crate) use kernel::{ElasticWork, SharedVector, apply_block, for_each_set};

/// All a linear solver may know of a matrix.
pub trait Operator<T>: Sync {
    /// Number of unknowns.
    fn size(&self) -> usize;
    /// `y = A x`.
    fn apply(&self, x: &[T], y: &mut [T]);
}

/// Elements of one block that carry a matrix of their own.
#[derive(Clone, Debug, Default)]
pub struct DenseElements {
    /// Element numbers, ascending.
    pub elements: Vec<u32>,
    /// Their 24x24 matrices, one after the other.
    pub matrices: Vec<f32>,
}

/// The stiffness of a hexahedral lattice mesh.
#[derive(Clone, Debug)]
pub struct LatticeOperator<'a> {
    /// Elements, blocks, runs.
    pub topology: &'a Topology,
    /// One table per material class, for a Young's modulus of 1 MPa.
    pub tables: &'a [HadamardTable],
    /// Young's (or secant) modulus of each element, MPa; 0 where the element is in `flow` or `dense`.
    pub moduli: &'a [f64],
    /// The same in single precision.
    pub moduli_single: Vec<f32>,
    /// Elements in plastic flow, per block.
    pub flow: &'a [FlowElements],
    /// What their shape adds.
    pub flow_shape: Option<&'a FlowShape>,
    /// Elements with their own matrix, per block.
    pub dense: &'a [DenseElements],
    /// Constrained unknowns, ascending: rows and columns of the operator that are zero.
    pub constrained: &'a [u32],
    /// Instruction set of the kernels.
    pub instructions: InstructionSet,
}

impl<T: Real> Operator<T> for LatticeOperator<'_> {
    fn size(&self) -> usize {
        3 * self.topology.nodes
    }

    /// `y = A x` for an `x` that is zero at the constrained unknowns.
    fn apply(&self, x: &[T], y: &mut [T]) {
        self.apply_unmasked(x, y);
        for &dof in self.constrained {
            y[dof as usize] = T::default();
        }
    }
}

impl LatticeOperator<'_> {
    /// `y = K x` with the rows of the constrained unknowns kept.
    pub fn apply_unmasked<T: Real>(&self, x: &[T], y: &mut [T]) {
        vector::fill(y, T::default());
        self.add_product(T::of(1.0), x, y);
    }

    /// `y += sign * K x` with the rows of the constrained unknowns kept.
    pub fn add_product<T: Real>(&self, sign: T, x: &[T], y: &mut [T]) {
        let moduli = T::select(self.moduli, &self.moduli_single);
        let work = kernel::ElasticWork {
            nodes: self.topology.nodes,
            tables: self.tables,
            moduli,
            sign,
            x,
        };
        let shared = SharedVector::new(y);
        self.topology.for_each_block(|number, block| {
            // SAFETY: blocks that run at the same time have no node in common (Topology::new).
            let y = unsafe { shared.slice() };
            kernel::apply_block(self.instructions, &work, block, y);
            if let Some(shape) = self.flow_shape {
                kernel::apply_flow(
                    self.instructions,
                    shape,
                    self.topology,
                    &self.flow[number],
                    sign,
                    x,
                    y,
                );
            }
            kernel::apply_dense(
                self.instructions,
                self.topology,
                &self.dense[number],
                sign,
                x,
                y,
            );
        });
    }

    /// The diagonal; 0 at constrained unknowns.
    pub fn diagonal(&self) -> Vec<f64> {
        let nodes = self.topology.nodes;
        let mut diagonal = vec![0.0; 3 * nodes];
        let shared = SharedVector::new(&mut diagonal);
        self.topology.for_each_block(|number, block| {
            // SAFETY: blocks that run at the same time have no node in common (Topology::new).
            let diagonal = unsafe { shared.slice() };
            for element in block.elements.clone() {
                let modulus = self.moduli[element];
                if modulus != 0.0 {
                    let table = &self.tables[usize::from(self.topology.class[element])];
                    for &node in &self.topology.elements[element] {
                        for component in 0..3 {
                            diagonal[component * nodes + node as usize] +=
                                modulus * table.diagonal[component];
                        }
                    }
                }
            }
            if let Some(shape) = self.flow_shape {
                for (place, element) in self.flow[number].elements().enumerate() {
                    let values = shape.diagonal(&self.flow[number].tangent(place));
                    for local in 0..24 {
                        let node = self.topology.elements[element as usize][local % 8] as usize;
                        diagonal[local / 8 * nodes + node] += f64::from(values[local]);
                    }
                }
            }
            let dense = &self.dense[number];
            for (slot, &element) in dense.elements.iter().enumerate() {
                let matrix = &dense.matrices[576 * slot..576 * (slot + 1)];
                for local in 0..24 {
                    let node = self.topology.elements[element as usize][local % 8] as usize;
                    diagonal[local / 8 * nodes + node] += f64::from(matrix[25 * local]);
                }
            }
        });
        for &dof in self.constrained {
            diagonal[dof as usize] = 0.0;
        }
        diagonal
    }
}

impl Topology {
    /// Runs `work` on every block: one colour after the other, the blocks of a colour in parallel.
    pub fn for_each_block(&self, work: impl Fn(usize, &Block) + Sync) {
        for colour in &self.colours {
            if self.elements.len() < 512 {
                colour
                    .iter()
                    .for_each(|&number| work(number, &self.blocks[number]));
            } else {
                colour
                    .par_iter()
                    .for_each(|&number| work(number, &self.blocks[number]));
            }
        }
    }
}
