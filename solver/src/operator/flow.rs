//! Elements in plastic flow, applied at their eight Gauss points.
//!
//! The consistent tangent of von Mises plasticity is `K 1x1 + a I_dev - m x m` at every point: with the
//! bulk modulus of the element that is 49 numbers instead of a 24x24 matrix. The strains at the Gauss
//! points of a box follow from the Walsh-Hadamard transform of the corner displacements by a few
//! additions, and forces from stresses by the transposed steps.

use super::kernel::{Real, hadamard, multiply_add};
use super::topology::Topology;
use crate::element::gauss_box::{OTHER_AXES as OTHERS, STRESS_PLACE as PLACE};
use crate::element::{GaussBox, HexElement};

/// Elements worked on side by side.
pub const BATCH: usize = 8;

/// Tangent of one element at its Gauss points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowTangent {
    /// Bulk modulus, MPa.
    pub bulk: f32,
    /// Deviatoric stiffness at each point, MPa (twice the shear modulus where it is elastic).
    pub deviatoric: [f32; 8],
    /// The deviator `m` at each point, xx, yy, yz, xz, xy in square roots of MPa; zz closes the trace.
    pub flow: [[f32; 5]; 8],
}

/// Up to [`BATCH`] elements, number by number side by side.
#[derive(Clone, Debug)]
struct Batch {
    elements: [u32; BATCH],
    bulk: [f32; BATCH],
    deviatoric: [[f32; BATCH]; 8],
    flow: [[[f32; BATCH]; 5]; 8],
}

/// The flowing elements of one block.
#[derive(Clone, Debug, Default)]
pub struct FlowElements {
    count: usize,
    batches: Vec<Batch>,
}

impl FlowElements {
    /// Appends an element; elements must ascend.
    pub fn push(&mut self, element: u32, tangent: &FlowTangent) {
        let lane = self.count % BATCH;
        if lane == 0 {
            // Lanes that stay empty repeat the first element without stiffness.
            self.batches.push(Batch {
                elements: [element; BATCH],
                bulk: [0.0; BATCH],
                deviatoric: [[0.0; BATCH]; 8],
                flow: [[[0.0; BATCH]; 5]; 8],
            });
        }
        self.count += 1;
        let Some(batch) = self.batches.last_mut() else {
            return;
        };
        batch.elements[lane] = element;
        batch.bulk[lane] = tangent.bulk;
        for point in 0..8 {
            batch.deviatoric[point][lane] = tangent.deviatoric[point];
            for i in 0..5 {
                batch.flow[point][i][lane] = tangent.flow[point][i];
            }
        }
    }

    /// How many they are.
    #[cfg(feature = "gpu")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// One of the numbers of their tangents for all elements: 0 the bulk modulus, then eight deviatoric stiffnesses, then
    /// five numbers of the deviator at each point.
    #[cfg(feature = "gpu")]
    pub fn copy_number(&self, number: usize, values: &mut [f32]) {
        for (values, batch) in values.chunks_mut(BATCH).zip(&self.batches) {
            let lanes = match number {
                0 => &batch.bulk,
                1..9 => &batch.deviatoric[number - 1],
                _ => &batch.flow[(number - 9) / 5][(number - 9) % 5],
            };
            values.copy_from_slice(&lanes[..values.len()]);
        }
    }

    /// Element numbers, ascending.
    pub fn elements(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.count).map(|number| self.batches[number / BATCH].elements[number % BATCH])
    }

    /// The tangent of the element at a place in the list.
    #[inline(always)]
    pub fn tangent(&self, number: usize) -> FlowTangent {
        let (batch, lane) = (&self.batches[number / BATCH], number % BATCH);
        let mut tangent = FlowTangent {
            bulk: batch.bulk[lane],
            deviatoric: [0.0; 8],
            flow: [[0.0; 5]; 8],
        };
        for point in 0..8 {
            tangent.deviatoric[point] = batch.deviatoric[point][lane];
            for i in 0..5 {
                tangent.flow[point][i] = batch.flow[point][i][lane];
            }
        }
        tangent
    }
}

type Matrix = [f32; 576];

/// What the shape of the box adds to a [`FlowTangent`].
#[derive(Clone, Debug)]
pub struct FlowShape {
    /// The box.
    pub gauss_box: GaussBox,
    /// Stiffness for a bulk modulus of 1 MPa alone.
    bulk: Box<Matrix>,
    /// Stiffness for a deviatoric stiffness of 1 MPa at one point.
    deviatoric: Box<[Matrix; 8]>,
    /// Deviatoric strain from displacements at each point: xx, yy, zz, yz, xz, xy (engineering), times the square root
    /// of its weight.
    strain: Box<[[[f32; 24]; 6]; 8]>,
}

impl FlowShape {
    /// `shape` is the same box with the same rule for the dilatation, without incompatible modes.
    pub fn new(gauss_box: GaussBox, shape: &HexElement) -> Self {
        let mut bulk = [[0.0; 6]; 6];
        let mut deviatoric = [[0.0; 6]; 6];
        for i in 0..3 {
            for j in 0..3 {
                bulk[i][j] = 1.0;
                deviatoric[i][j] = -1.0 / 3.0;
            }
            deviatoric[i][i] += 1.0;
            deviatoric[i + 3][i + 3] = 0.5;
        }
        let single = |tangents: &[[[f64; 6]; 6]; 8]| -> Matrix {
            let matrix = shape.stiffness(tangents).0;
            std::array::from_fn(|i| matrix[i] as f32)
        };
        let at_point = |point: usize| {
            let mut tangents = [[[0.0; 6]; 6]; 8];
            tangents[point] = deviatoric;
            single(&tangents)
        };
        let strain = std::array::from_fn(|point| {
            let b = &shape.points[point].b;
            let root = shape.points[point].weight.sqrt();
            std::array::from_fn(|row| {
                std::array::from_fn(|dof| {
                    let mean = (b[0][dof] + b[1][dof] + b[2][dof]) / 3.0;
                    let value = if row < 3 {
                        b[row][dof] - mean
                    } else {
                        b[row][dof]
                    };
                    (root * value) as f32
                })
            })
        });
        Self {
            gauss_box,
            bulk: Box::new(single(&[bulk; 8])),
            deviatoric: Box::new(std::array::from_fn(at_point)),
            strain: Box::new(strain),
        }
    }

    /// Forces of the flow deviator at a point for unit rates along it.
    #[inline(always)]
    fn flow_forces(&self, point: usize, m: &[f32; 5]) -> [f32; 24] {
        let strain = &self.strain[point];
        let rows = [m[0], m[1], -m[0] - m[1], m[2], m[3], m[4]];
        let mut forces = [0.0; 24];
        for (row, m) in rows.iter().enumerate() {
            for dof in 0..24 {
                forces[dof] += m * strain[row][dof];
            }
        }
        forces
    }

    /// The 24x24 stiffness of an element.
    #[inline(always)]
    pub fn matrix(&self, tangent: &FlowTangent) -> Matrix {
        let mut forces = [[0.0f32; 24]; 8];
        for point in 0..8 {
            forces[point] = self.flow_forces(point, &tangent.flow[point]);
        }
        let mut matrix = [0.0f32; 576];
        for i in 0..24 {
            let mut row = [0.0f32; 24];
            for (row, bulk) in row.iter_mut().zip(&self.bulk[24 * i..24 * i + 24]) {
                *row = tangent.bulk * bulk;
            }
            for point in 0..8 {
                let a = tangent.deviatoric[point];
                let unit = &self.deviatoric[point][24 * i..24 * i + 24];
                let forces = &forces[point];
                for j in 0..24 {
                    row[j] += a * unit[j] - forces[i] * forces[j];
                }
            }
            matrix[24 * i..24 * i + 24].copy_from_slice(&row);
        }
        matrix
    }

    /// The diagonal of [`FlowShape::matrix`].
    pub fn diagonal(&self, tangent: &FlowTangent) -> [f32; 24] {
        let mut sum: [f32; 24] = std::array::from_fn(|i| tangent.bulk * self.bulk[25 * i]);
        for point in 0..8 {
            let forces = self.flow_forces(point, &tangent.flow[point]);
            for i in 0..24 {
                sum[i] += tangent.deviatoric[point] * self.deviatoric[point][25 * i]
                    - forces[i] * forces[i];
            }
        }
        sum
    }
}

#[inline(always)]
fn lanes<T: Real>(f: impl Fn(usize) -> T) -> [T; BATCH] {
    let mut lanes = [T::default(); BATCH];
    for lane in 0..BATCH {
        lanes[lane] = f(lane);
    }
    lanes
}

/// Sums of four numbers with the signs of the Walsh-Hadamard transform of two axes.
#[inline(always)]
fn four<T: Real>(v: [[T; BATCH]; 4]) -> [[T; BATCH]; 4] {
    let mut out = v;
    for bit in [1, 2] {
        for low in 0..4 {
            if low & bit == 0 {
                let (a, b) = (out[low], out[low | bit]);
                out[low] = lanes(|l| a[l] + b[l]);
                out[low | bit] = lanes(|l| a[l] - b[l]);
            }
        }
    }
    out
}

/// Adds `sign` times the flowing elements of a block.
#[inline(always)]
pub(super) fn flow_body<T: Real, const FUSED: bool>(
    shape: &FlowShape,
    topology: &Topology,
    flow: &FlowElements,
    sign: T,
    x: &[T],
    y: &mut [T],
) {
    let nodes = topology.nodes;
    let slope = shape.gauss_box.slope.map(|axis| axis.map(T::of));
    let weight = T::of(shape.gauss_box.weight);
    let third = T::of(1.0 / 3.0);
    let half = T::of(0.5);
    for batch in &flow.batches {
        let mut v = [[[T::default(); BATCH]; 8]; 3];
        for (lane, &element) in batch.elements.iter().enumerate() {
            let corners = &topology.elements[element as usize];
            for component in 0..3 {
                for corner in 0..8 {
                    v[component][corner][lane] = x[component * nodes + corners[corner] as usize];
                }
            }
        }
        for component in v.iter_mut() {
            hadamard(component);
        }
        // Displacement gradients: four values each, by the signs of the two other axes.
        let mut gradient = [[[[T::default(); BATCH]; 4]; 3]; 3];
        for component in 0..3 {
            for axis in 0..3 {
                let [b, c] = OTHERS[axis];
                let bit = 1 << axis;
                let u = &v[component];
                let [s0, s1, s2] = slope[axis];
                gradient[component][axis] = four([
                    lanes(|l| s0 * u[bit][l]),
                    lanes(|l| s1 * u[bit | b][l]),
                    lanes(|l| s1 * u[bit | c][l]),
                    lanes(|l| s2 * u[bit | b | c][l]),
                ]);
            }
        }
        let mean: [T; BATCH] = lanes(|l| {
            slope[0][0] * v[0][1][l] + slope[1][0] * v[1][2][l] + slope[2][0] * v[2][4][l]
        });
        let bulk: [T; BATCH] = lanes(|l| T::of_single(batch.bulk[l]));
        let mut forces = [[[[T::default(); BATCH]; 4]; 3]; 3];
        for point in 0..8 {
            // Plain loops instead of closures over arrays, which the compiler may leave out of line and then
            // without wide instructions.
            let mut at = [0; 3];
            for axis in 0..3 {
                let [b, c] = OTHERS[axis];
                at[axis] = usize::from(point & b != 0) + 2 * usize::from(point & c != 0);
            }
            let g = |component: usize, axis: usize| &gradient[component][axis][at[axis]];
            let trace: [T; BATCH] = lanes(|l| g(0, 0)[l] + g(1, 1)[l] + g(2, 2)[l]);
            // Deviatoric strain, engineering shear.
            let strain: [[T; BATCH]; 6] = [
                lanes(|l| g(0, 0)[l] - third * trace[l]),
                lanes(|l| g(1, 1)[l] - third * trace[l]),
                lanes(|l| g(2, 2)[l] - third * trace[l]),
                lanes(|l| g(1, 2)[l] + g(2, 1)[l]),
                lanes(|l| g(0, 2)[l] + g(2, 0)[l]),
                lanes(|l| g(0, 1)[l] + g(1, 0)[l]),
            ];
            let mut m = [[T::default(); BATCH]; 6];
            for (row, flow) in [0, 1, 3, 4, 5].into_iter().zip(&batch.flow[point]) {
                for lane in 0..BATCH {
                    m[row][lane] = T::of_single(flow[lane]);
                }
            }
            for lane in 0..BATCH {
                m[2][lane] = T::default() - m[0][lane] - m[1][lane];
            }
            let mut rate = [T::default(); BATCH];
            for row in 0..6 {
                for l in 0..BATCH {
                    rate[l] = multiply_add::<T, FUSED>(m[row][l], strain[row][l], rate[l]);
                }
            }
            let dilatation = if shape.gauss_box.mean_dilatation {
                &mean
            } else {
                &trace
            };
            let pressure: [T; BATCH] = lanes(|l| bulk[l] * dilatation[l]);
            let a: [T; BATCH] = lanes(|l| T::of_single(batch.deviatoric[point][l]));
            let back: [T; BATCH] = lanes(|l| T::default() - rate[l]);
            let mut stress = [[T::default(); BATCH]; 6];
            for i in 0..3 {
                for l in 0..BATCH {
                    let normal = multiply_add::<T, FUSED>(back[l], m[i][l], pressure[l]);
                    stress[i][l] = multiply_add::<T, FUSED>(a[l], strain[i][l], normal);
                    let shear = back[l] * m[i + 3][l];
                    stress[i + 3][l] =
                        multiply_add::<T, FUSED>(half * a[l], strain[i + 3][l], shear);
                }
            }
            for component in 0..3 {
                for axis in 0..3 {
                    let sum = &mut forces[component][axis][at[axis]];
                    let stress = &stress[PLACE[component][axis]];
                    for lane in 0..BATCH {
                        sum[lane] = sum[lane] + stress[lane];
                    }
                }
            }
        }
        v = [[[T::default(); BATCH]; 8]; 3];
        for component in 0..3 {
            for axis in 0..3 {
                let [b, c] = OTHERS[axis];
                let bit = 1 << axis;
                let [s0, s1, s2] = slope[axis];
                let sums = four(forces[component][axis]);
                for (pattern, sums, s) in [
                    (bit, &sums[0], s0),
                    (bit | b, &sums[1], s1),
                    (bit | c, &sums[2], s1),
                    (bit | b | c, &sums[3], s2),
                ] {
                    let factor = sign * weight * s;
                    for lane in 0..BATCH {
                        let sum = &mut v[component][pattern][lane];
                        *sum = multiply_add::<T, FUSED>(factor, sums[lane], *sum);
                    }
                }
            }
        }
        for component in v.iter_mut() {
            hadamard(component);
        }
        for (lane, &element) in batch.elements.iter().enumerate() {
            let corners = &topology.elements[element as usize];
            for component in 0..3 {
                for corner in 0..8 {
                    let at = component * nodes + corners[corner] as usize;
                    y[at] = y[at] + v[component][corner][lane];
                }
            }
        }
    }
}
