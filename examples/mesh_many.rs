//! Quadratic tetrahedra of many bones, eroded and dilated: does a mesh ever fail, and how good are its elements?
//!
//! ```text
//!    mask ── voxels −2 −1 0 +1 +2 ── smoothed surface ──┬── lattice, cut at the surface (isosurface stuffing)
//!    of one bone                                        └── TetGen
//! ```
//!
//! Run with `cargo run --release --example mesh_many`: one synthetic vertebra, in three sizes. `-- 40 DIR` meshes 40 synthetic
//! vertebrae and both femora (labels 1 and 2) of every label map in DIR, in five sizes, as docs/meshing.md quotes it; a third
//! argument, `lattice` or `TetGen`, leaves the other mesher out.
//! The last lines are the worst of all meshes, by mesher; expected without arguments:
//!
//! ```text
//! lattice: 3 meshes, 0 inverted, 0 open surfaces, mean volume 0.98 to 1.02 mm3 …
//! ```

use std::path::PathBuf;

use anyhow::{Context, ensure};
use imaging::components::{Connectivity, largest_component};
use imaging::morphology::{StructuringElement, morph_voxels};
use imaging::{LabelMap, Mask};
use meshing::tetrahedral::{Body, Mesher, TetrahedralOptions, mesh_body};
use meshing::{LevelSet, SurfaceMesh};
use osteoload::synth;

/// Worst figures over many meshes.
struct Worst {
    name: &'static str,
    mesher: Mesher,
    meshes: usize,
    inverted: usize,
    open: usize,
    given_up: usize,
    mean: [f64; 2],
    volume_off: f64,
    dihedral: f64,
    ratio: f64,
    seconds: f64,
}

impl Worst {
    fn of(name: &'static str, mesher: Mesher) -> Self {
        Self {
            name,
            mesher,
            meshes: 0,
            inverted: 0,
            open: 0,
            given_up: 0,
            mean: [f64::INFINITY, 0.0],
            volume_off: 0.0,
            dihedral: 180.0,
            ratio: 1.0,
            seconds: 0.0,
        }
    }

    fn add(&mut self, bone: &str, steps: i32, mask: &Mask) -> anyhow::Result<()> {
        let begun = std::time::Instant::now();
        let surface = LevelSet::of(mask)?;
        let body = Body::of(&surface);
        let options = TetrahedralOptions {
            mean_volume_mm3: 1.0,
            mesher: self.mesher,
            curved: true,
        };
        let made = mesh_body(&body, &options).with_context(|| format!("{bone} {steps}"))?;
        let seconds = begun.elapsed().as_secs_f64();
        let found = made.mesh.statistics();
        let off = made.mesh.total_volume_mm3() / surface.mask_volume_mm3() - 1.0;
        let closed = SurfaceMesh::of_tetrahedra(&made.mesh).is_two_manifold();
        self.meshes += 1;
        self.inverted += usize::from(found.min_jacobian_ratio <= 0.0);
        self.open += usize::from(!closed);
        self.given_up += usize::from(made.mesher != self.mesher);
        self.mean = [
            self.mean[0].min(found.mean_volume_mm3),
            self.mean[1].max(found.mean_volume_mm3),
        ];
        self.volume_off = self.volume_off.max(off.abs());
        self.dihedral = self.dihedral.min(found.dihedral_deg[0]);
        self.ratio = self.ratio.min(found.min_radius_ratio);
        self.seconds = self.seconds.max(seconds);
        println!(
            "{bone} {steps:+} {}: {} elements of {:.3} mm3, volume {:+.2} %, dihedral from {:.1} deg ({} below 10), radius ratio from {:.3}, {seconds:.1} s{}",
            self.name,
            found.elements,
            found.mean_volume_mm3,
            100.0 * off,
            found.dihedral_deg[0],
            found.flat_elements,
            found.min_radius_ratio,
            if made.setbacks.is_empty() {
                String::new()
            } else {
                format!(" [{}]", made.setbacks.join("; "))
            },
        );
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let directory = arguments.next().map(PathBuf::from);
    let only = arguments.next();
    let all = directory.is_some() || count > 1;
    let mut worst = vec![Worst::of("lattice", Mesher::Stuffing)];
    if all && Mesher::TETGEN_BUILT_IN {
        worst.push(Worst::of("TetGen", Mesher::TetGen));
    }
    if let Some(only) = only {
        worst.retain(|worst| worst.name == only);
    }
    let steps: &[i32] = if all { &[-2, -1, 0, 1, 2] } else { &[-1, 0, 1] };
    let mut mesh = |bone: &str, map: &LabelMap, label: u16| -> anyhow::Result<()> {
        let mask = map.select(&[label]);
        for &step in steps {
            let morphed = morph_voxels(&mask, step, StructuringElement::Faces);
            let one = largest_component(&morphed, Connectivity::Faces);
            for worst in &mut worst {
                worst.add(bone, step, &one)?;
            }
        }
        Ok(())
    };
    for seed in 1..=count {
        let patient = synth::vertebra(&synth::Options {
            seed,
            ..synth::Options::default()
        })?;
        // The whole vertebra; of its neighbours only parts are in the scan.
        let bones = patient.truth.bones.iter();
        let subject = bones.max_by(|a, b| a.mask_volume_mm3.total_cmp(&b.mask_volume_mm3));
        let label = subject.context("the patient has no bone")?.label;
        mesh(&format!("vertebra {seed}"), &patient.labels, label)?;
    }
    if let Some(directory) = directory {
        let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.to_string_lossy().ends_with(".nii.gz"));
        files.sort();
        for file in files {
            let map = imaging::read_labels(&file)?;
            for label in [1, 2] {
                mesh(&format!("{} {label}", file.display()), &map, label)?;
            }
        }
    }
    for w in &worst {
        println!(
            "{}: {} meshes, {} inverted, {} open surfaces, {} left to the lattice, mean volume {:.2} to {:.2} mm3, total volume within {:.2} %, dihedral from {:.1} deg, radius ratio from {:.3}, at most {:.1} s",
            w.name,
            w.meshes,
            w.inverted,
            w.open,
            w.given_up,
            w.mean[0],
            w.mean[1],
            100.0 * w.volume_off,
            w.dihedral,
            w.ratio,
            w.seconds,
        );
        ensure!(w.inverted == 0 && w.open == 0, "a mesh is not valid");
    }
    Ok(())
}
