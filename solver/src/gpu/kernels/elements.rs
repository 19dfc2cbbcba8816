//! Forces of elements. Each kernel writes 24 numbers an element; [`product`] and the smoother add them up node by
//! node, in the order of the corners.
//!
//! The arithmetic is that of `operator::kernel` and `operator::flow`.

use cubecl::prelude::*;

use super::NONE;
use crate::element::gauss_box::OTHER_AXES;

#[cube]
fn butterfly<F: Float>(v: &mut Array<F>, low: usize, high: usize) {
    let a = v[low];
    let b = v[high];
    v[low] = a + b;
    v[high] = a - b;
}

/// Walsh-Hadamard transform of each displacement component over the eight corners.
#[cube]
fn hadamard<F: Float>(v: &mut Array<F>) {
    #[unroll]
    for component in 0..3usize {
        let first = 8 * component;
        #[unroll]
        for pair in 0..4usize {
            butterfly::<F>(v, first + 2 * pair, first + 2 * pair + 1);
        }
        butterfly::<F>(v, first, first + 2);
        butterfly::<F>(v, first + 1, first + 3);
        butterfly::<F>(v, first + 4, first + 6);
        butterfly::<F>(v, first + 5, first + 7);
        #[unroll]
        for pair in 0..4usize {
            butterfly::<F>(v, first + pair, first + pair + 4);
        }
    }
}

/// Displacements of an element.
#[cube]
fn displacements<F: Float>(
    x: &Array<F>,
    corners: &Array<u32>,
    v: &mut Array<F>,
    nodes: usize,
    elements: usize,
    element: usize,
) {
    #[unroll]
    for corner in 0..8usize {
        let node = corners[corner * elements + element] as usize;
        #[unroll]
        for component in 0..3usize {
            v[8 * component + corner] = x[component * nodes + node];
        }
    }
}

/// Forces of the elements that have a modulus.
#[cube(launch_unchecked)]
pub fn elastic_forces<F: Float>(
    x: &Array<F>,
    corners: &Array<u32>,
    class: &Array<u32>,
    moduli: &Array<F>,
    tables: &Array<F>,
    forces: &mut Array<F>,
    nodes: usize,
    elements: usize,
) {
    let element = ABSOLUTE_POS;
    if element < elements {
        let modulus = moduli[element];
        if modulus != F::new(0.0) {
            let mut v = Array::<F>::new(24usize);
            displacements::<F>(x, corners, &mut v, nodes, elements, element);
            hadamard::<F>(&mut v);
            let table = class[element] as usize * 72;
            #[unroll]
            for parity in 0..8usize {
                let at = table + 9 * parity;
                let a = v[parity ^ 1];
                let b = v[8 + (parity ^ 2)];
                let c = v[16 + (parity ^ 4)];
                v[parity ^ 1] =
                    modulus * (tables[at] * a + tables[at + 1] * b + tables[at + 2] * c);
                v[8 + (parity ^ 2)] =
                    modulus * (tables[at + 3] * a + tables[at + 4] * b + tables[at + 5] * c);
                v[16 + (parity ^ 4)] =
                    modulus * (tables[at + 6] * a + tables[at + 7] * b + tables[at + 8] * c);
            }
            hadamard::<F>(&mut v);
            #[unroll]
            for local in 0..24usize {
                forces[local * elements + element] = v[local];
            }
        }
    }
}

/// Sums of four numbers with the signs of the Walsh-Hadamard transform of two axes.
#[cube]
fn four<F: Float>(v: &mut Array<F>, #[comptime] first: usize) {
    butterfly::<F>(v, first, comptime!(first + 1));
    butterfly::<F>(v, comptime!(first + 2), comptime!(first + 3));
    butterfly::<F>(v, first, comptime!(first + 2));
    butterfly::<F>(v, comptime!(first + 1), comptime!(first + 3));
}

/// Displacement gradient of a component along an axis: four values, by the signs of the two other axes.
#[cube]
fn gradient_along<F: Float>(
    v: &Array<F>,
    shape: &Array<F>,
    gradient: &mut Array<F>,
    #[comptime] component: usize,
    #[comptime] axis: usize,
) {
    let bit = comptime!(8 * component + (1 << axis));
    let b = comptime!(OTHER_AXES[axis][0]);
    let c = comptime!(OTHER_AXES[axis][1]);
    let at = comptime!(4 * (3 * component + axis));
    let slope = comptime!(3 * axis);
    gradient[at] = shape[slope] * v[bit];
    gradient[comptime!(at + 1)] = shape[comptime!(slope + 1)] * v[comptime!(bit + b)];
    gradient[comptime!(at + 2)] = shape[comptime!(slope + 1)] * v[comptime!(bit + c)];
    gradient[comptime!(at + 3)] = shape[comptime!(slope + 2)] * v[comptime!(bit + b + c)];
    four::<F>(gradient, at);
}

/// The transposed step: forces of a component from the stresses summed along an axis.
#[cube]
fn forces_along<F: Float>(
    sums: &mut Array<F>,
    shape: &Array<F>,
    v: &mut Array<F>,
    #[comptime] component: usize,
    #[comptime] axis: usize,
) {
    let bit = comptime!(8 * component + (1 << axis));
    let b = comptime!(OTHER_AXES[axis][0]);
    let c = comptime!(OTHER_AXES[axis][1]);
    let at = comptime!(4 * (3 * component + axis));
    let slope = comptime!(3 * axis);
    four::<F>(sums, at);
    let weight = shape[9];
    v[bit] += weight * shape[slope] * sums[at];
    v[comptime!(bit + b)] += weight * shape[comptime!(slope + 1)] * sums[comptime!(at + 1)];
    v[comptime!(bit + c)] += weight * shape[comptime!(slope + 1)] * sums[comptime!(at + 2)];
    v[comptime!(bit + b + c)] += weight * shape[comptime!(slope + 2)] * sums[comptime!(at + 3)];
}

/// Stresses of one Gauss point, added to the sums along the axes.
#[cube]
fn add_point<F: Float>(
    gradient: &Array<F>,
    tangents: &Array<f32>,
    sums: &mut Array<F>,
    mean: F,
    place: usize,
    count: usize,
    #[comptime] mean_dilatation: bool,
    #[comptime] point: usize,
) {
    // Place of the point among the four values of each axis.
    let x = comptime!(point >> 1);
    let y = comptime!((point & 1) + 2 * (point >> 2));
    let z = comptime!(point & 3);
    let xx = gradient[x];
    let yy = gradient[comptime!(16 + y)];
    let zz = gradient[comptime!(32 + z)];
    let trace = xx + yy + zz;
    let third = trace / F::new(3.0);
    // Deviatoric strain, engineering shear.
    let e0 = xx - third;
    let e1 = yy - third;
    let e2 = zz - third;
    let e3 = gradient[comptime!(20 + z)] + gradient[comptime!(28 + y)];
    let e4 = gradient[comptime!(8 + z)] + gradient[comptime!(24 + x)];
    let e5 = gradient[comptime!(4 + y)] + gradient[comptime!(12 + x)];
    let at = comptime!(9 + 5 * point) * count + place;
    let m0 = F::cast_from(tangents[at]);
    let m1 = F::cast_from(tangents[at + count]);
    let m2 = F::new(0.0) - m0 - m1;
    let m3 = F::cast_from(tangents[at + 2 * count]);
    let m4 = F::cast_from(tangents[at + 3 * count]);
    let m5 = F::cast_from(tangents[at + 4 * count]);
    let rate = m0 * e0 + m1 * e1 + m2 * e2 + m3 * e3 + m4 * e4 + m5 * e5;
    let bulk = F::cast_from(tangents[place]);
    let mut pressure = bulk * trace;
    if comptime!(mean_dilatation) {
        pressure = bulk * mean;
    }
    let a = F::cast_from(tangents[comptime!(1 + point) * count + place]);
    let half = F::new(0.5) * a;
    let yz = half * e3 - rate * m3;
    let xz = half * e4 - rate * m4;
    let xy = half * e5 - rate * m5;
    sums[x] += a * e0 - rate * m0 + pressure;
    sums[comptime!(4 + y)] += xy;
    sums[comptime!(8 + z)] += xz;
    sums[comptime!(12 + x)] += xy;
    sums[comptime!(16 + y)] += a * e1 - rate * m1 + pressure;
    sums[comptime!(20 + z)] += yz;
    sums[comptime!(24 + x)] += xz;
    sums[comptime!(28 + y)] += yz;
    sums[comptime!(32 + z)] += a * e2 - rate * m2 + pressure;
}

/// Forces of the elements in plastic flow. `tangents` holds, each for all of them: bulk modulus, eight deviatoric
/// stiffnesses, five numbers of the deviator at each of eight points. `shape` holds the slopes of
/// [`crate::element::GaussBox`] and its weight.
#[cube(launch_unchecked)]
pub fn flow_forces<F: Float>(
    x: &Array<F>,
    corners: &Array<u32>,
    list: &Array<u32>,
    tangents: &Array<f32>,
    shape: &Array<F>,
    forces: &mut Array<F>,
    nodes: usize,
    elements: usize,
    count: usize,
    #[comptime] mean_dilatation: bool,
) {
    let place = ABSOLUTE_POS;
    if place < count {
        let element = list[place] as usize;
        let mut v = Array::<F>::new(24usize);
        displacements::<F>(x, corners, &mut v, nodes, elements, element);
        hadamard::<F>(&mut v);
        let mut gradient = Array::<F>::new(36usize);
        gradient_along::<F>(&v, shape, &mut gradient, 0usize, 0usize);
        gradient_along::<F>(&v, shape, &mut gradient, 0usize, 1usize);
        gradient_along::<F>(&v, shape, &mut gradient, 0usize, 2usize);
        gradient_along::<F>(&v, shape, &mut gradient, 1usize, 0usize);
        gradient_along::<F>(&v, shape, &mut gradient, 1usize, 1usize);
        gradient_along::<F>(&v, shape, &mut gradient, 1usize, 2usize);
        gradient_along::<F>(&v, shape, &mut gradient, 2usize, 0usize);
        gradient_along::<F>(&v, shape, &mut gradient, 2usize, 1usize);
        gradient_along::<F>(&v, shape, &mut gradient, 2usize, 2usize);
        let mean = shape[0] * v[1] + shape[3] * v[10] + shape[6] * v[20];
        let mut sums = Array::<F>::new(36usize);
        #[unroll]
        for i in 0..36usize {
            sums[i] = F::new(0.0);
        }
        let m = mean_dilatation;
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 0usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 1usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 2usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 3usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 4usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 5usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 6usize,
        );
        add_point::<F>(
            &gradient, tangents, &mut sums, mean, place, count, m, 7usize,
        );
        #[unroll]
        for i in 0..24usize {
            v[i] = F::new(0.0);
        }
        forces_along::<F>(&mut sums, shape, &mut v, 0usize, 0usize);
        forces_along::<F>(&mut sums, shape, &mut v, 0usize, 1usize);
        forces_along::<F>(&mut sums, shape, &mut v, 0usize, 2usize);
        forces_along::<F>(&mut sums, shape, &mut v, 1usize, 0usize);
        forces_along::<F>(&mut sums, shape, &mut v, 1usize, 1usize);
        forces_along::<F>(&mut sums, shape, &mut v, 1usize, 2usize);
        forces_along::<F>(&mut sums, shape, &mut v, 2usize, 0usize);
        forces_along::<F>(&mut sums, shape, &mut v, 2usize, 1usize);
        forces_along::<F>(&mut sums, shape, &mut v, 2usize, 2usize);
        hadamard::<F>(&mut v);
        #[unroll]
        for local in 0..24usize {
            forces[local * elements + element] = v[local];
        }
    }
}

/// Forces of the elements with a matrix of their own, a row a thread.
#[cube(launch_unchecked)]
pub fn dense_forces<F: Float>(
    x: &Array<F>,
    corners: &Array<u32>,
    list: &Array<u32>,
    matrices: &Array<f32>,
    forces: &mut Array<F>,
    nodes: usize,
    elements: usize,
    count: usize,
) {
    let place = ABSOLUTE_POS / 24;
    let row = ABSOLUTE_POS % 24;
    if place < count {
        let element = list[place] as usize;
        let mut sum = F::new(0.0);
        for corner in 0..8usize {
            let node = corners[corner * elements + element] as usize;
            for component in 0..3usize {
                // The matrices are symmetric: read by columns, neighbouring threads read neighbouring numbers.
                let value = matrices[576 * place + 24 * (8 * component + corner) + row];
                sum += F::cast_from(value) * x[component * nodes + node];
            }
        }
        forces[row * elements + element] = sum;
    }
}

/// Sum of the forces of the elements around a node, for one unknown.
#[cube]
pub fn gathered<F: Float>(
    forces: &Array<F>,
    adjacent: &Array<u32>,
    nodes: usize,
    elements: usize,
    dof: usize,
) -> F {
    let component = dof / nodes;
    let node = dof % nodes;
    let mut sum = F::new(0.0);
    #[unroll]
    for corner in 0..8usize {
        let element = adjacent[corner * nodes + node];
        if element != NONE {
            sum += forces[(8 * component + corner) * elements + element as usize];
        }
    }
    sum
}

/// `y` = the gathered forces, zero at the constrained unknowns.
#[cube(launch_unchecked)]
pub fn product<F: Float>(
    forces: &Array<F>,
    adjacent: &Array<u32>,
    free: &Array<u32>,
    y: &mut Array<F>,
    nodes: usize,
    elements: usize,
) {
    let dof = ABSOLUTE_POS;
    if dof < 3 * nodes {
        let mut sum = F::new(0.0);
        if free[dof] != 0 {
            sum = gathered::<F>(forces, adjacent, nodes, elements, dof);
        }
        y[dof] = sum;
    }
}
