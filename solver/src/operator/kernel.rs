//! The inner loops, compiled three times: portable, with AVX2, FMA and F16C, and with AVX-512.

use std::marker::PhantomData;

use super::DenseElements;
use super::flow::{FlowElements, FlowShape, flow_body};
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
    /// AVX2 with fused multiply-add and conversion of half precision.
    Avx2Fma,
    /// AVX-512 (F, VL, DQ, BW).
    Avx512,
}

impl InstructionSet {
    /// The best one of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as detected;
            if detected!("avx2") && detected!("fma") && detected!("f16c") {
                let wider = detected!("avx512f")
                    && detected!("avx512vl")
                    && detected!("avx512dq")
                    && detected!("avx512bw");
                return if wider { Self::Avx512 } else { Self::Avx2Fma };
            }
        }
        Self::Portable
    }
}

/// Defines a function that is compiled for each [`InstructionSet`], its first argument. The bodies must inline what
/// they call.
macro_rules! for_each_set {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$($t:ident: $bound:path),*>
        ($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?
        { portable: $portable:expr, avx2: $avx2:expr, avx512: $avx512:expr $(,)? }) => {
        $(#[$meta])*
        #[allow(clippy::extra_unused_type_parameters)]
        $vis fn $name<$($t: $bound),*>(
            set: $crate::operator::InstructionSet,
            $($arg: $type),*
        ) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<$($t: $bound),*>($($arg: $type),*) $(-> $out)? {
                $avx2
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
            fn avx512<$($t: $bound),*>($($arg: $type),*) $(-> $out)? {
                $avx512
            }
            match set {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `detect` found AVX-512 on this machine.
                $crate::operator::InstructionSet::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `detect` found AVX2 and FMA on this machine.
                $crate::operator::InstructionSet::Avx2Fma => unsafe { avx2($($arg),*) },
                _ => $portable,
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$($t:ident: $bound:path),*>
        ($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? = $body:expr) => {
        for_each_set! {
            $(#[$meta])* $vis fn $name<$($t: $bound),*>($($arg: $type),*) $(-> $out)? {
                portable: $body, avx2: $body, avx512: $body,
            }
        }
    };
}
pub(crate) use for_each_set;

/// A vector that several threads add to at disjoint places.
pub(crate) struct SharedVector<'a, T> {
    start: *mut T,
    length: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `slice`, whose contract forbids overlapping use.
unsafe impl<T: Send> Sync for SharedVector<'_, T> {}

impl<'a, T> SharedVector<'a, T> {
    pub(crate) fn new(vector: &'a mut [T]) -> Self {
        Self {
            start: vector.as_mut_ptr(),
            length: vector.len(),
            owner: PhantomData,
        }
    }

    /// Where it begins.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn start(&self) -> *const T {
        self.start
    }

    /// The whole vector.
    ///
    /// # Safety
    /// Threads that hold it at the same time must touch disjoint entries.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self) -> &'a mut [T] {
        // SAFETY: start and length come from one live exclusive slice; disjointness is the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

#[inline(always)]
pub(super) fn multiply_add<T: Real, const FUSED: bool>(a: T, b: T, c: T) -> T {
    if FUSED { a.fused(b, c) } else { a * b + c }
}

/// Walsh-Hadamard transform over the eight corners, in place, for `L` elements side by side.
#[inline(always)]
pub(super) fn hadamard<T: Real, const L: usize>(v: &mut [[T; L]; 8]) {
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

/// Adds `L` elastic elements of a run from `offset` on; the first `skip` of them count as void.
#[inline(always)]
fn add_lanes<T: Real, const L: usize, const FUSED: bool>(
    work: &ElasticWork<T>,
    run: &Run,
    offset: usize,
    skip: usize,
    y: &mut [T],
) {
    let blocks = T::blocks(&work.tables[usize::from(run.class)]);
    let first = run.first + offset;
    let mut scale = [T::default(); L];
    for (lane, (scale, modulus)) in scale
        .iter_mut()
        .zip(&work.moduli[first..first + L])
        .enumerate()
    {
        *scale = if lane < skip {
            T::default()
        } else {
            work.sign * *modulus
        };
    }
    let mut at = [0; 8];
    for corner in 0..8 {
        at[corner] = run.edges[corner >> 1] + (corner & 1) + offset;
    }
    let mut v = [[[T::default(); L]; 8]; 3];
    for component in 0..3 {
        for corner in 0..8 {
            let start = component * work.nodes + at[corner];
            v[component][corner].copy_from_slice(&work.x[start..start + L]);
        }
    }
    apply_tables::<T, L, FUSED>(blocks, &scale, &mut v);
    // First all corners at the low end of x, then all at the high end: a load from memory that has just been stored
    // to with another offset would have to wait for it.
    for end in 0..2 {
        for edge in 0..4 {
            let corner = 2 * edge + end;
            for component in 0..3 {
                let start = component * work.nodes + at[corner];
                for (y, value) in y[start..start + L].iter_mut().zip(&v[component][corner]) {
                    *y = *y + *value;
                }
            }
        }
    }
}

/// What the elastic kernel reads.
pub(crate) struct ElasticWork<'a, T> {
    /// Nodes of the mesh.
    pub nodes: usize,
    /// One table per material class.
    pub tables: &'a [HadamardTable],
    /// Modulus of each element, MPa.
    pub moduli: &'a [T],
    /// Factor on the result.
    pub sign: T,
    /// The vector to be multiplied.
    pub x: &'a [T],
}

/// Adds a run of at least `L` elements in windows of `L`. The last window reaches back over elements already
/// done, so that no lane leaves the run and every access has the same width.
#[inline(always)]
fn add_run<T: Real, const L: usize, const FUSED: bool>(
    work: &ElasticWork<T>,
    run: &Run,
    y: &mut [T],
) {
    let mut offset = 0;
    while offset + L <= run.length {
        add_lanes::<T, L, FUSED>(work, run, offset, 0, y);
        offset += L;
    }
    if offset < run.length {
        let start = run.length - L;
        add_lanes::<T, L, FUSED>(work, run, start, offset - start, y);
    }
}

/// Adds the runs of a block with the widest windows that fit, at most `widest`.
#[inline(always)]
fn block_body<T: Real, const FUSED: bool>(
    work: &ElasticWork<T>,
    widest: usize,
    block: &Block,
    y: &mut [T],
) {
    for run in &block.runs {
        match run.length.min(widest) {
            16.. => add_run::<T, 16, FUSED>(work, run, y),
            8.. => add_run::<T, 8, FUSED>(work, run, y),
            4.. => add_run::<T, 4, FUSED>(work, run, y),
            2.. => add_run::<T, 2, FUSED>(work, run, y),
            _ => add_run::<T, 1, FUSED>(work, run, y),
        }
    }
}

#[inline(always)]
fn dense_element<T: Real, const FUSED: bool>(
    nodes: usize,
    corners: &[u32; 8],
    matrix: &[f32],
    sign: T,
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
            y[at] = y[at] + sign * sum[8 * component + corner];
        }
    }
}

#[inline(always)]
fn dense_body<T: Real, const FUSED: bool>(
    topology: &Topology,
    dense: &DenseElements,
    sign: T,
    x: &[T],
    y: &mut [T],
) {
    for (&element, matrix) in dense.elements.iter().zip(dense.matrices.chunks_exact(576)) {
        dense_element::<T, FUSED>(
            topology.nodes,
            &topology.elements[element as usize],
            matrix,
            sign,
            x,
            y,
        );
    }
}

for_each_set! {
    /// Adds `sign` times the flowing elements of a block.
    pub(super) fn apply_flow<T: Real>(
        shape: &FlowShape,
        topology: &Topology,
        flow: &FlowElements,
        sign: T,
        x: &[T],
        y: &mut [T],
    ) {
        portable: flow_body::<T, false>(shape, topology, flow, sign, x, y),
        avx2: flow_body::<T, true>(shape, topology, flow, sign, x, y),
        avx512: flow_body::<T, true>(shape, topology, flow, sign, x, y),
    }
}

for_each_set! {
    /// Adds the elastic elements of a block.
    pub(crate) fn apply_block<T: Real>(work: &ElasticWork<T>, block: &Block, y: &mut [T]) {
        // Sixteen single-precision lanes fit a register of AVX-512 too, but the compiler then keeps the element in memory:
        // measured 2.4 times as slow as eight.
        portable: block_body::<T, false>(work, 4, block, y),
        avx2: block_body::<T, true>(work, 32 / size_of::<T>(), block, y),
        avx512: block_body::<T, true>(work, 8, block, y),
    }
}

for_each_set! {
    /// Adds `sign` times the elements of a block that carry their own matrix.
    pub(super) fn apply_dense<T: Real>(
        topology: &Topology,
        dense: &DenseElements,
        sign: T,
        x: &[T],
        y: &mut [T],
    ) {
        portable: dense_body::<T, false>(topology, dense, sign, x, y),
        avx2: dense_body::<T, true>(topology, dense, sign, x, y),
        avx512: dense_body::<T, true>(topology, dense, sign, x, y),
    }
}
