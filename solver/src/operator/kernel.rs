//! The inner loops, compiled twice: portable, and with AVX2 and FMA where the machine has them.

use std::marker::PhantomData;

use super::DenseElements;
use super::tensor::HadamardTable;
use super::topology::{Block, Run, Topology};

/// Floating-point type of a kernel.
pub trait Real:
    Copy
    + Default
    + Send
    + Sync
    + PartialEq
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + 'static
{
    /// `self * b + c` in one rounding.
    fn fused(self, b: Self, c: Self) -> Self;
    /// From double precision.
    fn of(value: f64) -> Self;
    /// From single precision.
    fn of_single(value: f32) -> Self;
    /// To double precision.
    fn to_f64(self) -> f64;
    /// The one of two arrays that has this type.
    fn select<'a>(double: &'a [f64], single: &'a [f32]) -> &'a [Self];
    /// The blocks of a table in this type.
    fn blocks(table: &HadamardTable) -> &[[[Self; 3]; 3]; 8];
}

impl Real for f64 {
    #[inline(always)]
    fn fused(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn of_single(value: f32) -> Self {
        f64::from(value)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    fn select<'a>(double: &'a [f64], _single: &'a [f32]) -> &'a [Self] {
        double
    }
    #[inline(always)]
    fn blocks(table: &HadamardTable) -> &[[[Self; 3]; 3]; 8] {
        &table.blocks
    }
}

impl Real for f32 {
    #[inline(always)]
    fn fused(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn of_single(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn select<'a>(_double: &'a [f64], single: &'a [f32]) -> &'a [Self] {
        single
    }
    #[inline(always)]
    fn blocks(table: &HadamardTable) -> &[[[Self; 3]; 3]; 8] {
        &table.blocks_single
    }
}

/// Instruction set the kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// Whatever the program was compiled for.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2Fma,
}

impl InstructionSet {
    /// The best one of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return Self::Avx2Fma;
        }
        Self::Portable
    }
}

/// A vector that several threads add to at disjoint places.
pub(super) struct SharedVector<'a, T> {
    start: *mut T,
    length: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `slice`, whose contract forbids overlapping use.
unsafe impl<T: Send> Sync for SharedVector<'_, T> {}

impl<'a, T> SharedVector<'a, T> {
    pub(super) fn new(vector: &'a mut [T]) -> Self {
        Self {
            start: vector.as_mut_ptr(),
            length: vector.len(),
            owner: PhantomData,
        }
    }

    /// The whole vector.
    ///
    /// # Safety
    /// Threads that hold it at the same time must touch disjoint entries.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self) -> &'a mut [T] {
        // SAFETY: start and length come from one live exclusive slice; disjointness is the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

#[inline(always)]
fn multiply_add<T: Real, const FUSED: bool>(a: T, b: T, c: T) -> T {
    if FUSED { a.fused(b, c) } else { a * b + c }
}

/// Walsh-Hadamard transform over the eight corners, in place, for `L` elements side by side.
#[inline(always)]
fn hadamard<T: Real, const L: usize>(v: &mut [[T; L]; 8]) {
    for bit in [1, 2, 4] {
        for low in 0..8 {
            if low & bit == 0 {
                let (a, b) = (v[low], v[low | bit]);
                for lane in 0..L {
                    v[low][lane] = a[lane] + b[lane];
                    v[low | bit][lane] = a[lane] - b[lane];
                }
            }
        }
    }
}

/// Applies the tables to `L` elements whose displacements stand side by side.
#[inline(always)]
fn apply_tables<T: Real, const L: usize, const FUSED: bool>(
    blocks: &[[[T; 3]; 3]; 8],
    moduli: &[T; L],
    v: &mut [[[T; L]; 8]; 3],
) {
    for component in v.iter_mut() {
        hadamard(component);
    }
    for parity in 0..8 {
        let patterns = [parity ^ 1, parity ^ 2, parity ^ 4];
        let block = &blocks[parity];
        let mut result = [[T::default(); L]; 3];
        for row in 0..3 {
            for column in 0..3 {
                let value = block[row][column];
                for lane in 0..L {
                    result[row][lane] = multiply_add::<T, FUSED>(
                        value,
                        v[column][patterns[column]][lane],
                        result[row][lane],
                    );
                }
            }
        }
        for row in 0..3 {
            for lane in 0..L {
                v[row][patterns[row]][lane] = result[row][lane] * moduli[lane];
            }
        }
    }
    for component in v.iter_mut() {
        hadamard(component);
    }
}

/// Adds the elastic elements `first .. first + count` (at most `L`) of a run.
#[inline(always)]
fn apply_lanes<T: Real, const L: usize, const FUSED: bool>(
    nodes: usize,
    run: &Run,
    offset: usize,
    count: usize,
    blocks: &[[[T; 3]; 3]; 8],
    moduli: &[T],
    x: &[T],
    y: &mut [T],
) {
    let mut scale = [T::default(); L];
    let first = run.first + offset;
    scale[..count].copy_from_slice(&moduli[first..first + count]);
    let mut v = [[[T::default(); L]; 8]; 3];
    for component in 0..3 {
        for corner in 0..8 {
            let start = component * nodes + run.edges[corner >> 1] + (corner & 1) + offset;
            v[component][corner][..count].copy_from_slice(&x[start..start + count]);
        }
    }
    apply_tables::<T, L, FUSED>(blocks, &scale, &mut v);
    for component in 0..3 {
        for corner in 0..8 {
            let start = component * nodes + run.edges[corner >> 1] + (corner & 1) + offset;
            let target = &mut y[start..start + count];
            for lane in 0..count {
                target[lane] = target[lane] + v[component][corner][lane];
            }
        }
    }
}

#[inline(always)]
fn block_body<T: Real, const L: usize, const FUSED: bool>(
    topology: &Topology,
    block: &Block,
    tables: &[HadamardTable],
    moduli: &[T],
    x: &[T],
    y: &mut [T],
) {
    for run in &block.runs {
        let blocks = T::blocks(&tables[usize::from(run.class)]);
        let mut offset = 0;
        while offset + L <= run.length {
            apply_lanes::<T, L, FUSED>(topology.nodes, run, offset, L, blocks, moduli, x, y);
            offset += L;
        }
        if offset < run.length {
            apply_lanes::<T, L, FUSED>(
                topology.nodes,
                run,
                offset,
                run.length - offset,
                blocks,
                moduli,
                x,
                y,
            );
        }
    }
}

#[inline(always)]
fn dense_element<T: Real, const FUSED: bool>(
    nodes: usize,
    corners: &[u32; 8],
    matrix: &[f32],
    x: &[T],
    y: &mut [T],
) {
    let mut sum = [T::default(); 24];
    for component in 0..3 {
        for corner in 0..8 {
            let value = x[component * nodes + corners[corner] as usize];
            let column = &matrix[24 * (8 * component + corner)..24 * (8 * component + corner + 1)];
            for local in 0..24 {
                sum[local] =
                    multiply_add::<T, FUSED>(T::of_single(column[local]), value, sum[local]);
            }
        }
    }
    for component in 0..3 {
        for corner in 0..8 {
            let at = component * nodes + corners[corner] as usize;
            y[at] = y[at] + sum[8 * component + corner];
        }
    }
}

#[inline(always)]
fn dense_body<T: Real, const FUSED: bool>(
    topology: &Topology,
    dense: &DenseElements,
    x: &[T],
    y: &mut [T],
) {
    for (&element, matrix) in dense.elements.iter().zip(dense.matrices.chunks_exact(576)) {
        dense_element::<T, FUSED>(
            topology.nodes,
            &topology.elements[element as usize],
            matrix,
            x,
            y,
        );
    }
}

#[inline(always)]
fn all_dense_body<const FUSED: bool>(
    topology: &Topology,
    block: &Block,
    matrices: &[f32],
    x: &[f32],
    y: &mut [f32],
) {
    for element in block.elements.clone() {
        let matrix = &matrices[576 * element..576 * (element + 1)];
        dense_element::<f32, FUSED>(topology.nodes, &topology.elements[element], matrix, x, y);
    }
}

/// Lanes of the wide kernels: two AVX registers per value in double precision, one in single.
const LANES: usize = 8;

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn block<T: Real>(
        topology: &Topology,
        block: &Block,
        tables: &[HadamardTable],
        moduli: &[T],
        x: &[T],
        y: &mut [T],
    ) {
        if size_of::<T>() == 8 {
            block_body::<T, 4, true>(topology, block, tables, moduli, x, y);
        } else {
            block_body::<T, LANES, true>(topology, block, tables, moduli, x, y);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dense<T: Real>(topology: &Topology, dense: &DenseElements, x: &[T], y: &mut [T]) {
        dense_body::<T, true>(topology, dense, x, y);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn all_dense(
        topology: &Topology,
        block: &Block,
        matrices: &[f32],
        x: &[f32],
        y: &mut [f32],
    ) {
        all_dense_body::<true>(topology, block, matrices, x, y);
    }
}

/// Adds the elastic elements of a block.
pub(super) fn apply_block<T: Real>(
    instructions: InstructionSet,
    topology: &Topology,
    block: &Block,
    tables: &[HadamardTable],
    moduli: &[T],
    x: &[T],
    y: &mut [T],
) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX2 and FMA on this machine.
        InstructionSet::Avx2Fma => unsafe { wide::block(topology, block, tables, moduli, x, y) },
        _ => block_body::<T, 4, false>(topology, block, tables, moduli, x, y),
    }
}

/// Adds the elements of a block that carry their own matrix.
pub(super) fn apply_dense<T: Real>(
    instructions: InstructionSet,
    topology: &Topology,
    dense: &DenseElements,
    x: &[T],
    y: &mut [T],
) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX2 and FMA on this machine.
        InstructionSet::Avx2Fma => unsafe { wide::dense(topology, dense, x, y) },
        _ => dense_body::<T, false>(topology, dense, x, y),
    }
}

/// Adds all elements of a block of a coarse operator.
pub(super) fn apply_all_dense(
    instructions: InstructionSet,
    topology: &Topology,
    block: &Block,
    matrices: &[f32],
    x: &[f32],
    y: &mut [f32],
) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX2 and FMA on this machine.
        InstructionSet::Avx2Fma => unsafe { wide::all_dense(topology, block, matrices, x, y) },
        _ => all_dense_body::<false>(topology, block, matrices, x, y),
    }
}
