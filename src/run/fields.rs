//! The VTU series of a run.

use std::path::{Path, PathBuf};

use meshing::vtu::{Field, Values, Vtu, write_pvd};
use rayon::prelude::*;
use solver::Snapshot;

use super::Assigned;
use crate::bone_model::{BoneMesh, BoneModel};

/// Files a series holds at most, the first maximum and the last state besides.
const FRAMES: usize = 10;

/// State of the body at one increment.
struct Frame {
    displacement_mm: f64,
    force_n: f64,
    displacements: Vec<f64>,
    von_mises: Vec<f32>,
    plastic_strain: Vec<f32>,
    secant_modulus: Vec<f32>,
}

/// Writes `fields.pvd` and its files: every so many increments, the state of the highest force, the last state.
pub struct FieldWriter<'a> {
    model: &'a BoneModel,
    modulus: Vec<f32>,
    density: Vec<f32>,
    directory: PathBuf,
    stride: usize,
    steps: Vec<(f64, String)>,
    highest: Option<Frame>,
    last: Option<Frame>,
}

impl<'a> FieldWriter<'a> {
    /// A writer for a run of about `increments` increments.
    pub fn new(
        model: &'a BoneModel,
        assigned: &Assigned,
        directory: &Path,
        increments: usize,
    ) -> Self {
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect();
        Self {
            model,
            modulus: single(&assigned.materials.youngs_modulus_mpa),
            density: single(&model.density_mg_cm3),
            directory: directory.to_owned(),
            stride: increments.div_ceil(FRAMES).max(1),
            steps: Vec::new(),
            highest: None,
            last: None,
        }
    }

    /// Looks at a converged increment.
    pub fn see(
        &mut self,
        snapshot: &Snapshot,
        displacement_mm: f64,
        force_n: f64,
    ) -> anyhow::Result<()> {
        let elements: Vec<_> = (0..snapshot.elements())
            .into_par_iter()
            .map(|element| {
                let f = snapshot.element(element);
                (
                    f.von_mises_mpa as f32,
                    f.equivalent_plastic_strain as f32,
                    f.secant_modulus_mpa as f32,
                )
            })
            .collect();
        let frame = Frame {
            displacement_mm,
            force_n,
            displacements: snapshot.displacements_mm().into_iter().flatten().collect(),
            von_mises: elements.iter().map(|e| e.0).collect(),
            plastic_strain: elements.iter().map(|e| e.1).collect(),
            secant_modulus: elements.iter().map(|e| e.2).collect(),
        };
        if snapshot.increment.number.is_multiple_of(self.stride) {
            self.write(&frame)?;
            self.last = None;
        } else if self
            .highest
            .as_ref()
            .is_none_or(|highest| force_n > highest.force_n)
        {
            self.highest = Some(frame);
            self.last = None;
            return Ok(());
        } else {
            self.last = Some(frame);
            return Ok(());
        }
        if self
            .highest
            .as_ref()
            .is_some_and(|highest| frame.force_n >= highest.force_n)
        {
            self.highest = None;
        }
        Ok(())
    }

    fn write(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let name = format!("fields_{:03}.vtu", self.steps.len() + 1);
        let point_data = vec![Field::vector("displacement_mm", &frame.displacements)];
        let cell_data = vec![
            Field::scalar("density_mg_cm3", Values::F32(&self.density)),
            Field::scalar("youngs_modulus_mpa", Values::F32(&self.modulus)),
            Field::scalar("von_mises_mpa", Values::F32(&frame.von_mises)),
            Field::scalar(
                "equivalent_plastic_strain",
                Values::F32(&frame.plastic_strain),
            ),
            Field::scalar("secant_modulus_mpa", Values::F32(&frame.secant_modulus)),
        ];
        let path = self.directory.join(&name);
        write_vtu(&path, &self.model.mesh, point_data, cell_data)?;
        self.steps.push((frame.displacement_mm, name));
        Ok(())
    }

    /// Writes what is pending and the index of the series.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let mut pending: Vec<Frame> = [self.highest.take(), self.last.take()]
            .into_iter()
            .flatten()
            .collect();
        pending.sort_by(|a, b| a.displacement_mm.total_cmp(&b.displacement_mm));
        for frame in &pending {
            self.write(frame)?;
        }
        self.steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        write_pvd(&self.directory.join("fields.pvd"), &self.steps)?;
        Ok(())
    }
}

/// Writes a mesh with its densities.
pub fn write_mesh(path: &Path, model: &BoneModel) -> anyhow::Result<()> {
    let density: Vec<f32> = model.density_mg_cm3.iter().map(|&v| v as f32).collect();
    let cell_data = vec![Field::scalar("density_mg_cm3", Values::F32(&density))];
    write_vtu(path, &model.mesh, Vec::new(), cell_data)
}

/// Writes a mesh and its fields in the patient's coordinates.
fn write_vtu(
    path: &Path,
    mesh: &BoneMesh,
    point_data: Vec<Field>,
    cell_data: Vec<Field>,
) -> anyhow::Result<()> {
    let frame = Some(mesh.frame());
    match mesh {
        BoneMesh::Voxels(mesh) => Vtu {
            mesh: &mesh.mesh,
            frame,
            point_data,
            cell_data,
        }
        .write(path)?,
        BoneMesh::Tetrahedra(mesh) => Vtu {
            mesh: &mesh.mesh,
            frame,
            point_data,
            cell_data,
        }
        .write(path)?,
    }
    Ok(())
}
