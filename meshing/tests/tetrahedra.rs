//! The contract of the tetrahedral mesher: whatever a mask of one piece looks like, the mesh is valid, its surface is a
//! two-manifold, its volume that of the mask. With TetGen where it is built in, and always with the lattice.

use imaging::components::{Connectivity, largest_component};
use imaging::{Grid, Mask, Volume};
use meshing::stuffing::{Care, Stuffing, stuff};
use meshing::tetrahedral::{Body, Mesher, TetrahedralMesh, TetrahedralOptions, mesh_body};
use meshing::tetrahedron::TetrahedronShape;
use meshing::{LevelSet, SurfaceMesh};

const MESHERS: &[Mesher] = if Mesher::TETGEN_BUILT_IN {
    &[Mesher::Stuffing, Mesher::TetGen]
} else {
    &[Mesher::Stuffing]
};

fn mask(size: [usize; 3], spacing: [f64; 3], inside: impl Fn([f64; 3]) -> bool) -> Mask {
    let grid = Grid::axis_aligned(size, spacing);
    Volume::from_fn(grid, |v| {
        inside(std::array::from_fn(|a| (v[a] as f64 + 0.5) * spacing[a]))
    })
}

fn mesh(mask: &Mask, volume_mm3: f64, mesher: Mesher) -> TetrahedralMesh {
    let surface = LevelSet::of(mask).unwrap();
    let body = Body::of(&surface);
    let options = TetrahedralOptions {
        mean_volume_mm3: volume_mm3,
        mesher,
        curved: true,
    };
    mesh_body(&body, &options).unwrap()
}

/// Valid, and closed to a two-manifold; the surface comes back.
fn valid(made: &TetrahedralMesh) -> SurfaceMesh {
    let found = made.mesh.statistics();
    assert!(found.elements > 0);
    assert!(found.min_jacobian_ratio > 0.19, "{found:?}");
    assert!(found.dihedral_deg[0] > 0.5, "{found:?}");
    let surface = SurfaceMesh::of_tetrahedra(&made.mesh);
    assert!(surface.is_two_manifold());
    assert_eq!(surface.first_crossing(), None);
    surface
}

fn ball(radius: f64, spacing: [f64; 3]) -> Mask {
    let size = spacing.map(|h| (2.0 * (radius + 2.0) / h) as usize);
    let middle: [f64; 3] = std::array::from_fn(|a| 0.5 * size[a] as f64 * spacing[a]);
    mask(size, spacing, |p| {
        (0..3).map(|a| (p[a] - middle[a]).powi(2)).sum::<f64>() < radius * radius
    })
}

#[test]
fn a_ball_is_round_again() {
    for spacing in [[1.0; 3], [0.7, 0.7, 1.2]] {
        let mask = ball(12.0, spacing);
        let voxels = mask.count() as f64 * mask.grid.voxel_volume_mm3();
        for &mesher in MESHERS {
            let made = mesh(&mask, 1.0, mesher);
            let surface = valid(&made);
            assert_eq!(surface.euler_characteristic(), 2);
            assert!(made.setbacks.is_empty(), "{:?}", made.setbacks);
            let volume = made.mesh.total_volume_mm3();
            assert!((volume / voxels - 1.0).abs() < 0.005, "{volume} {voxels}");
            let mean = made.mesh.statistics().mean_volume_mm3;
            assert!((mean - 1.0).abs() < 0.1, "{mean}");
            // The surface stands on the ball: a sixth of a voxel off in the mean square, and nowhere by more than half a voxel
            // and a bit, as where the mask ends in a flat pole.
            let centre = made.frame.to_model(std::array::from_fn(|a| {
                (0.5 * mask.grid.size[a] as f64 - 0.5) * spacing[a]
            }));
            let off = surface.nodes_mm.iter().map(|node| {
                let r = (0..3)
                    .map(|a| (node[a] - centre[a]).powi(2))
                    .sum::<f64>()
                    .sqrt();
                (r - 12.0).abs() / spacing[2]
            });
            let square: f64 = off.clone().map(|r| r * r).sum();
            let rms = (square / surface.nodes_mm.len() as f64).sqrt();
            let worst = off.fold(0.0, f64::max);
            assert!(rms < 0.17 && worst < 0.65, "{rms} {worst}");
        }
    }
}

#[test]
fn a_staircase_becomes_a_ramp() {
    // A wedge whose top climbs one voxel in six: the mask's steps are a voxel high, the surface stays within a third of one
    // of the plane, away from the wedge's edges.
    let slope = 1.0 / 6.0;
    let top = |x: f64| 8.0 + slope * x;
    let mask = mask([50, 26, 22], [1.0; 3], |p| {
        (2.0..48.0).contains(&p[0]) && (2.0..24.0).contains(&p[1]) && p[2] > 2.0 && p[2] < top(p[0])
    });
    let surface = LevelSet::of(&mask).unwrap();
    let frame = surface.frame().clone();
    let (mut worst, mut worst_step) = (0.0f64, 0.0f64);
    for i in 60..400 {
        let x = 0.1 * i as f64;
        let depth = |z: f64| surface.depth_mm(frame.to_model([x - 0.5, 13.0 - 0.5, z - 0.5]));
        let (mut low, mut high) = (5.0, 20.0);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if depth(middle) > 0.0 {
                low = middle
            } else {
                high = middle
            }
        }
        worst = worst.max((low - top(x)).abs());
        let step = (0..22)
            .rev()
            .find(|&k| mask.at(x as usize, 13, k))
            .map_or(0.0, |k| k as f64 + 1.0);
        worst_step = worst_step.max((step - top(x)).abs());
    }
    assert!(worst < 0.33, "{worst}");
    assert!((0.4..1.0).contains(&worst_step), "{worst_step}");
}

#[test]
fn the_plain_lattice_keeps_the_published_angles() {
    // Labelle and Shewchuk 2007: 10.7 to 164.8 degrees without refinement.
    let made = stuff(
        [[-11.0; 3], [11.0; 3]],
        &Stuffing {
            edge_mm: 1.9,
            care: &|_| Care {
                tolerance_mm: 1.0,
                coarsest_mm: f64::INFINITY,
                finest_mm: f64::INFINITY,
            },
        },
        &|p| 10.3 - (p[0] * p[0] + 1.3 * p[1] * p[1] + 0.8 * p[2] * p[2]).sqrt(),
    );
    assert_eq!(made.refined_elements, 0);
    let angles = (0..made.mesh.elements.len())
        .map(|e| TetrahedronShape::of(&made.mesh.positions_mm(e)).dihedral_deg)
        .fold([180.0f64, 0.0], |all, one| {
            [all[0].min(one[0]), all[1].max(one[1])]
        });
    assert!(angles[0] > 10.7 && angles[1] < 164.8, "{angles:?}");
}

#[test]
fn a_cavity_stays_empty_and_a_tunnel_open() {
    let hollow = mask([24; 3], [1.0; 3], |p| {
        let r = p.iter().map(|x| (x - 12.0).powi(2)).sum::<f64>().sqrt();
        (5.0..10.0).contains(&r)
    });
    let ring = mask([30, 30, 14], [1.0; 3], |p| {
        let r = ((p[0] - 15.0).powi(2) + (p[1] - 15.0).powi(2)).sqrt();
        ((r - 8.5).powi(2) + (p[2] - 7.0).powi(2)).sqrt() < 4.0
    });
    // A hollow ball has two spheres as its surface, a ring one torus.
    for (mask, euler) in [(hollow, 4), (ring, 0)] {
        for &mesher in MESHERS {
            let made = mesh(&mask, 1.0, mesher);
            assert_eq!(valid(&made).euler_characteristic(), euler);
            let off = made.mesh.total_volume_mm3() / mask.count() as f64 - 1.0;
            assert!(off.abs() < 0.005, "{off}");
        }
    }
}

#[test]
fn voxels_that_touch_at_an_edge_or_a_corner_do_not_pinch() {
    // Two blocks joined by a bridge far away, touching along an edge, or at a corner, where they would pinch the surface.
    for corner in [false, true] {
        let mask = mask([26, 26, 26], [1.0; 3], |p| {
            let a = (3.0..12.0).contains(&p[0]) && (3.0..12.0).contains(&p[1]);
            let b = (12.0..21.0).contains(&p[0]) && (12.0..21.0).contains(&p[1]);
            let low = (3.0..12.0).contains(&p[2]);
            let high = (12.0..21.0).contains(&p[2]);
            let bridge = (3.0..21.0).contains(&p[0]) && (3.0..6.0).contains(&p[1])
                || (18.0..21.0).contains(&p[0]) && (3.0..21.0).contains(&p[1]);
            let bridge = bridge && (3.0..6.0).contains(&p[2])
                || (18.0..21.0).contains(&p[0])
                    && (18.0..21.0).contains(&p[1])
                    && (3.0..21.0).contains(&p[2]);
            a && low || b && (if corner { high } else { low }) || bridge
        });
        let one = largest_component(&mask, Connectivity::Faces);
        assert_eq!(one.count(), mask.count());
        for &mesher in MESHERS {
            valid(&mesh(&mask, 1.0, mesher));
        }
    }
}

#[test]
fn parts_of_one_voxel_are_kept() {
    // Two blocks joined by a rod, and a plate on one of them: all one voxel thick, thinner than an element.
    let mask = mask([44, 20, 20], [1.0; 3], |p| {
        let block = |from: f64| {
            (from..from + 10.0).contains(&p[0])
                && (5.0..15.0).contains(&p[1])
                && (5.0..15.0).contains(&p[2])
        };
        let rod = (10.0..34.0).contains(&p[0])
            && (9.0..10.0).contains(&p[1])
            && (9.0..10.0).contains(&p[2]);
        block(2.0) || block(32.0) || rod
    });
    for &mesher in MESHERS {
        let made = mesh(&mask, 1.0, mesher);
        valid(&made);
        let ends = made
            .mesh
            .nodes_mm
            .iter()
            .fold([f64::INFINITY, f64::NEG_INFINITY], |e, n| {
                [e[0].min(n[0]), e[1].max(n[0])]
            });
        // The rod holds both blocks: neither is dropped.
        assert!(ends[1] - ends[0] > 38.0, "{ends:?}");
        assert_eq!(made.dropped_volume_mm3, 0.0);
    }
}

#[test]
fn any_piece_of_random_voxels_is_meshed() {
    // Knuth's 64-bit linear congruential generator (MMIX).
    let mut state = 7u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    for round in 0..24 {
        let share = 0.2 + 0.03 * round as f64;
        let noise: Vec<bool> = (0..512).map(|_| draw() < share).collect();
        let mask = mask([8; 3], [1.0, 0.8, 1.5], |p| {
            let at = [p[0], p[1] / 0.8, p[2] / 1.5].map(|x| x as usize);
            noise[at[0] + 8 * (at[1] + 8 * at[2])]
        });
        let mask = largest_component(&mask, Connectivity::Faces);
        let made = mesh(&mask, 1.0, Mesher::Stuffing);
        valid(&made);
    }
}

#[test]
fn a_single_voxel_is_a_body() {
    let mask = mask([5; 3], [0.5; 3], |p| {
        p.iter().all(|x| (1.0..1.5).contains(x))
    });
    for &mesher in MESHERS {
        let made = mesh(&mask, 1.0, mesher);
        valid(&made);
        let volume = made.mesh.total_volume_mm3();
        assert!((0.001..0.3).contains(&volume), "{volume}");
    }
}

#[test]
fn the_mesh_does_not_depend_on_the_number_of_threads() {
    let mask = ball(7.0, [1.0; 3]);
    let with = |threads: usize, mesher| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| mesh(&mask, 0.7, mesher))
    };
    for &mesher in MESHERS {
        assert_eq!(with(1, mesher), with(3, mesher));
    }
}

#[test]
fn elements_too_small_for_the_body_are_refused() {
    let mask = ball(20.0, [1.0; 3]);
    let surface = LevelSet::of(&mask).unwrap();
    let options = TetrahedralOptions {
        mean_volume_mm3: 1e-6,
        mesher: Mesher::Stuffing,
        curved: true,
    };
    let refused = mesh_body(&Body::of(&surface), &options)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("larger elements"), "{refused}");
}

#[test]
fn elements_much_larger_than_voxels_are_bisected_to_them() {
    // Blocks of 12 mm and a rod of one voxel of 0.5 mm between them, under elements of 300 mm³: seven halvings of their edges.
    let mask = mask([72, 32, 32], [0.5; 3], |p| {
        let block = |from: f64| (from..from + 12.0).contains(&p[0]);
        let inner = |x: f64| (2.0..14.0).contains(&x);
        let rod =
            (2.0..34.0).contains(&p[0]) && (8.0..8.5).contains(&p[1]) && (8.0..8.5).contains(&p[2]);
        (block(2.0) || block(22.0)) && inner(p[1]) && inner(p[2]) || rod
    });
    let made = mesh(&mask, 300.0, Mesher::Stuffing);
    valid(&made);
    let volume = mask.count() as f64 * 0.125;
    let off = made.mesh.total_volume_mm3() / volume - 1.0;
    assert!(
        off.abs() < 0.05 && made.dropped_volume_mm3 < 0.001 * volume,
        "{off}"
    );
}
