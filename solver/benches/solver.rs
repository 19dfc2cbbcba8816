//! Times of the parts of the solver and of whole analyses, with what this machine allows. `cargo bench -p solver`;
//! docs/performance.md reads the figures. One thread unless `RAYON_NUM_THREADS` says otherwise.

mod bodies;

use bodies::{Law, cylinder, femur};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use solver::bench::with_lattice_parts;
use solver::{Control, LoadCase, Model, Outcome, Response, Stepping, analyse};

fn main() {
    divan::main();
}

/// What the machine allows.
mod machine {
    use super::*;
    use rayon::prelude::*;

    /// `a = b + s c` on arrays far larger than the caches, on all threads: 24 bytes an entry.
    #[divan::bench(sample_count = 10)]
    fn triad(bencher: Bencher) {
        const LENGTH: usize = 16 << 20;
        let mut a = vec![0.0f64; LENGTH];
        let (b, c) = (vec![1.0f64; LENGTH], vec![2.0f64; LENGTH]);
        bencher
            .counter(BytesCount::new(24 * LENGTH))
            .bench_local(|| {
                a.par_chunks_mut(1 << 16)
                    .zip(b.par_chunks(1 << 16).zip(c.par_chunks(1 << 16)))
                    .for_each(|(a, (b, c))| {
                        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                            *a = *b + 3.0 * *c;
                        }
                    });
                black_box(&mut a);
            });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn fused_double(sums: &mut [f64; 48], rounds: usize) {
        for _ in 0..rounds {
            for sum in sums.iter_mut() {
                *sum = sum.mul_add(0.999, 0.5);
            }
        }
    }

    /// Fused multiply-add in AVX2 registers, double precision: items are multiply-adds.
    #[cfg(target_arch = "x86_64")]
    #[divan::bench(sample_count = 10)]
    fn fused_multiply_add_double(bencher: Bencher) {
        if !(std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma"))
        {
            return;
        }
        const ROUNDS: usize = 1 << 20;
        let mut sums = [1.0; 48];
        bencher
            .counter(ItemsCount::new(48 * ROUNDS))
            .bench_local(|| {
                // SAFETY: AVX2 and FMA were found above.
                unsafe { fused_double(black_box(&mut sums), ROUNDS) }
            });
    }
}

fn solve(model: &Model, case: &LoadCase, stepping: &Stepping) -> Response {
    let response =
        analyse(model, case, stepping, &mut |_| Control::Continue).expect("the body is sound");
    assert!(!matches!(response.outcome, Outcome::StepTooSmall { .. }));
    response
}

/// Parts of the voxel path, by the edge of a voxel in mm.
mod voxels {
    use super::*;

    const EDGES_MM: [f64; 3] = [3.0, 2.0, 1.0];

    #[divan::bench(args = EDGES_MM, sample_count = 20)]
    fn operator_double(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Linear, 1.0);
        with_lattice_parts(&model, &case, |parts| {
            let x: Vec<f64> = (0..parts.unknowns()).map(|i| (i % 7) as f64).collect();
            let mut y = vec![0.0; x.len()];
            bencher
                .counter(ItemsCount::new(model.mesh.element_count()))
                .bench_local(|| parts.apply_double(black_box(&x), &mut y));
        })
        .expect("a lattice");
    }

    #[divan::bench(args = EDGES_MM, sample_count = 20)]
    fn operator_single(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Linear, 1.0);
        with_lattice_parts(&model, &case, |parts| {
            let x: Vec<f32> = (0..parts.unknowns()).map(|i| (i % 7) as f32).collect();
            let mut y = vec![0.0; x.len()];
            bencher
                .counter(ItemsCount::new(model.mesh.element_count()))
                .bench_local(|| parts.apply_single(black_box(&x), &mut y));
        })
        .expect("a lattice");
    }

    #[divan::bench(args = EDGES_MM, sample_count = 10)]
    fn multigrid_set_up(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Linear, 1.0);
        with_lattice_parts(&model, &case, |parts| {
            bencher
                .counter(ItemsCount::new(model.mesh.element_count()))
                .bench_local(|| parts.set_up());
        })
        .expect("a lattice");
    }

    #[divan::bench(args = EDGES_MM, sample_count = 20)]
    fn v_cycle(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Linear, 1.0);
        with_lattice_parts(&model, &case, |parts| {
            let r: Vec<f64> = (0..parts.unknowns())
                .map(|i| (i % 7) as f64 - 3.0)
                .collect();
            let mut z = vec![0.0; r.len()];
            bencher
                .counter(ItemsCount::new(model.mesh.element_count()))
                .bench_local(|| parts.cycle(black_box(&r), &mut z));
        })
        .expect("a lattice");
    }

    /// Linear solution to 1e-8.
    #[divan::bench(args = [3.0, 2.0, 1.0, 0.5], sample_count = 5)]
    fn linear(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Linear, 1.0);
        bencher
            .counter(ItemsCount::new(model.mesh.element_count()))
            .bench_local(|| solve(&model, &case, &Stepping::equal(1)));
    }

    /// Perfectly plastic to 4 mm in 20 increments.
    #[divan::bench(args = [3.0, 2.0], sample_count = 5)]
    fn perfectly_plastic(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Perfect, 4.0);
        bencher.bench_local(|| solve(&model, &case, &Stepping::equal(20)));
    }

    /// Plateau and softening to 4 mm in 40 increments.
    #[divan::bench(args = [3.0, 2.0], sample_count = 5)]
    fn softening(bencher: Bencher, edge_mm: f64) {
        let (model, case) = femur(edge_mm, Law::Softening, 4.0);
        bencher.bench_local(|| solve(&model, &case, &Stepping::equal(40)));
    }
}

/// Quadratic tetrahedra.
mod tetrahedra {
    use super::*;

    /// Linear solution to 1e-8; 3072, 27216 and 60000 elements.
    #[divan::bench(args = [[8, 8], [18, 14], [25, 16]], sample_count = 5)]
    fn linear(bencher: Bencher, cells: [usize; 2]) {
        let (model, case) = cylinder(20.0, 25.0, cells, None, 0.2);
        bencher
            .counter(ItemsCount::new(model.mesh.element_count()))
            .bench_local(|| solve(&model, &case, &Stepping::equal(1)));
    }

    /// Perfectly plastic to 3 % in 20 increments, 1296 elements.
    #[divan::bench(sample_count = 5)]
    fn perfectly_plastic(bencher: Bencher) {
        let (model, case) = cylinder(15.0, 20.0, [6, 6], Some(3.0), 0.6);
        bencher.bench_local(|| solve(&model, &case, &Stepping::equal(20)));
    }
}
