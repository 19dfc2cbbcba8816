//! What of `model.vtu` and the files of `fields.pvd` the report draws, in the patient's coordinates.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use meshing::vtu::{Array, CellMesh, OwnedValues, VtuFile};
use meshing::{Frame, Mesh};
use nalgebra::{Matrix3, Vector3};

use super::slices::Load;
use crate::export::surface::{Triangle, outer_surface};

/// Number of caps among the kinds of element of `model.vtu`.
const CAP: i32 = 1;

/// How a node is supported. `viewer.js` interpolates the numbers over triangles, so that free stands in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Support {
    /// Components held at zero.
    Held = 0,
    /// Not at all.
    Free = 1,
    /// A component is moved.
    Moved = 2,
}

/// The mesh that was solved.
pub(super) struct Model {
    mesh: CellMesh,
    /// Node positions, LPS mm.
    pub nodes_mm: Vec<[f64; 3]>,
    /// Whether each element is bone, not a cap.
    pub bone: Vec<bool>,
    /// Density of each element, mg/cm³.
    pub density_mg_cm3: Vec<f64>,
    /// How each node is supported.
    pub support: Vec<Support>,
    /// Where the load acts, where a node is moved.
    pub load: Option<Load>,
}

impl Model {
    /// Reads `model.vtu`.
    ///
    /// # Errors
    /// The file is not there, damaged, or lacks what is drawn.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = VtuFile::read(path)?;
        let nodes = match &file.mesh {
            CellMesh::Tet4(_) => bail!("it holds 4-node tetrahedra"),
            CellMesh::Hex8(mesh) => checked(mesh)?,
            CellMesh::Tet10(mesh) => checked(mesh)?,
        };
        let rotation = doubles(&file.field_data, "frame_rotation")?;
        let origin = doubles(&file.field_data, "frame_origin_mm")?;
        ensure!(
            rotation.len() == 9 && origin.len() == 3,
            "the frame is not one rotation and one origin"
        );
        let frame = Frame {
            rotation: Matrix3::from_row_slice(rotation),
            origin_mm: Vector3::from_column_slice(origin),
        };
        let nodes_mm: Vec<[f64; 3]> = nodes.iter().map(|node| frame.to_world(*node)).collect();
        let OwnedValues::I32(kinds) = &array(&file.cell_data, "kind")?.values else {
            bail!("the array kind is not of integers");
        };
        let bone: Vec<bool> = kinds.iter().map(|kind| *kind != CAP).collect();
        let OwnedValues::U8(components) = &array(&file.point_data, "prescribed_components")?.values
        else {
            bail!("the array prescribed_components is not of bytes");
        };
        let motion = doubles(&file.point_data, "prescribed_mm")?
            .as_chunks::<3>()
            .0;
        ensure!(motion.len() == nodes_mm.len(), "motions are missing");
        let support: Vec<Support> = components
            .iter()
            .zip(motion)
            .map(|(components, motion)| match components {
                0 => Support::Free,
                _ if motion.iter().all(|u| *u == 0.0) => Support::Held,
                _ => Support::Moved,
            })
            .collect();
        let load = load(&nodes_mm, components, &support, motion, &frame);
        let density_mg_cm3 = doubles(&file.cell_data, "density_mg_cm3")?.to_vec();
        Ok(Self {
            mesh: file.mesh,
            nodes_mm,
            bone,
            density_mg_cm3,
            support,
            load,
        })
    }

    /// Nodes of an element, VTK order; none where there is no such element.
    pub fn element(&self, number: usize) -> &[u32] {
        match &self.mesh {
            CellMesh::Hex8(mesh) => mesh.elements.get(number).map_or(&[], |e| e.as_slice()),
            CellMesh::Tet10(mesh) => mesh.elements.get(number).map_or(&[], |e| e.as_slice()),
            CellMesh::Tet4(_) => &[],
        }
    }

    /// Triangles of the surface of the bone, without caps.
    pub fn surface(&self) -> Vec<Triangle> {
        match &self.mesh {
            CellMesh::Hex8(mesh) => surface_of(mesh, &self.bone),
            CellMesh::Tet10(mesh) => surface_of(mesh, &self.bone),
            CellMesh::Tet4(_) => Vec::new(),
        }
    }
}

/// The nodes of a mesh whose elements name no others.
fn checked<const N: usize>(mesh: &Mesh<N>) -> anyhow::Result<&[[f64; 3]]> {
    let nodes = mesh.nodes_mm.len();
    let known = |node: &u32| (*node as usize) < nodes;
    ensure!(
        mesh.elements.iter().flatten().all(known),
        "an element names a node that does not exist"
    );
    Ok(&mesh.nodes_mm)
}

fn surface_of<const N: usize>(mesh: &Mesh<N>, bone: &[bool]) -> Vec<Triangle> {
    let numbers: Vec<u32> = (0..mesh.elements.len() as u32)
        .filter(|&element| bone[element as usize])
        .collect();
    let elements: Vec<[u32; N]> = numbers
        .iter()
        .map(|&element| mesh.elements[element as usize])
        .collect();
    let mut triangles = outer_surface(&elements);
    for triangle in &mut triangles {
        triangle.element = numbers[triangle.element as usize];
    }
    triangles
}

fn load(
    nodes_mm: &[[f64; 3]],
    components: &[u8],
    support: &[Support],
    motion: &[[f64; 3]],
    frame: &Frame,
) -> Option<Load> {
    let middle = |wanted: &dyn Fn(usize) -> bool| {
        let (mut sum, mut count) = (Vector3::zeros(), 0.0);
        for node in (0..nodes_mm.len()).filter(|&node| wanted(node)) {
            sum += Vector3::from(nodes_mm[node]);
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    };
    let whole: Vector3<f64> = motion.iter().map(|u| Vector3::from(*u)).sum();
    let direction = (frame.rotation * whole).try_normalize(0.0)?;
    // In a sideways fall the shaft is guided across the load; only the trochanter bears it.
    let along = (0..3).filter(|&axis| motion.iter().any(|u| u[axis] != 0.0));
    let along = along.fold(0, |mask, axis| mask | 1 << axis);
    Some(Load {
        at_mm: middle(&|node| support[node] == Support::Moved)?,
        direction,
        held_mm: middle(&|node| support[node] == Support::Held && components[node] & along != 0),
    })
}

/// The state of one increment.
pub(super) struct State {
    /// Displacement of each node, LPS mm.
    pub displacement_mm: Vec<[f64; 3]>,
    /// Equivalent plastic strain of each element.
    pub plastic_strain: Vec<f32>,
}

impl State {
    /// Reads a file of `fields.pvd`, which must be of `model`.
    ///
    /// # Errors
    /// The file is not there, damaged, or of another mesh.
    pub fn read(path: &Path, model: &Model) -> anyhow::Result<Self> {
        let file = VtuFile::read(path)?;
        let displacement_mm = doubles(&file.point_data, "displacement_mm")?
            .as_chunks::<3>()
            .0
            .to_vec();
        let OwnedValues::F32(plastic) =
            &array(&file.cell_data, "equivalent_plastic_strain")?.values
        else {
            bail!("the array equivalent_plastic_strain is not of single precision");
        };
        ensure!(
            displacement_mm.len() == model.nodes_mm.len() && plastic.len() == model.bone.len(),
            "{} is not of the mesh of model.vtu",
            path.display()
        );
        Ok(Self {
            displacement_mm,
            plastic_strain: plastic.clone(),
        })
    }
}

/// Displacement (mm) and file of each entry of `fields.pvd` in `directory`.
///
/// # Errors
/// The index is not there or holds no entry.
pub(super) fn series(directory: &Path) -> anyhow::Result<Vec<(f64, PathBuf)>> {
    let index = directory.join("fields.pvd");
    let text = std::fs::read_to_string(&index).with_context(|| index.display().to_string())?;
    let attribute = |line: &str, name: &str| {
        let (_, after) = line.split_once(&format!("{name}=\""))?;
        Some(after.split_once('"')?.0.to_owned())
    };
    let steps: Vec<(f64, PathBuf)> = text
        .lines()
        .filter(|line| line.starts_with("<DataSet"))
        .filter_map(|line| {
            let at_mm = attribute(line, "timestep")?.parse().ok()?;
            let file = attribute(line, "file")?;
            // A file of this directory, wherever the index says it lies.
            let name = Path::new(&file).file_name()?;
            Some((at_mm, directory.join(name)))
        })
        .collect();
    ensure!(!steps.is_empty(), "fields.pvd lists no file");
    Ok(steps)
}

fn array<'a>(arrays: &'a [Array], name: &str) -> anyhow::Result<&'a Array> {
    let found = arrays.iter().find(|array| array.name == name);
    found.with_context(|| format!("it has no array {name}"))
}

fn doubles<'a>(arrays: &'a [Array], name: &str) -> anyhow::Result<&'a [f64]> {
    match &array(arrays, name)?.values {
        OwnedValues::F64(values) => Ok(values),
        _ => bail!("the array {name} is not of doubles"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_what_bears_the_load_is_marked() {
        // As in a sideways fall: one node is pushed along -y, one bears it, two are guided along x and z.
        let nodes = [
            [0.0, 80.0, 0.0],
            [0.0; 3],
            [9.0, 40.0, -90.0],
            [0.0, 40.0, -90.0],
        ];
        let mut motion = [[0.0; 3]; 4];
        motion[0] = [0.0, -1.0, 0.0];
        let support = [Support::Moved, Support::Held, Support::Held, Support::Held];
        // Model y is world x.
        let frame = Frame {
            rotation: Matrix3::new(0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
            origin_mm: Vector3::zeros(),
        };
        let found = load(&nodes, &[2, 2, 5, 5], &support, &motion, &frame).unwrap();
        assert_eq!(found.at_mm, Vector3::new(0.0, 80.0, 0.0));
        assert_eq!(found.direction, Vector3::new(-1.0, 0.0, 0.0));
        assert_eq!(found.held_mm, Some(Vector3::zeros()));
    }

    #[test]
    fn between_a_loaded_and_a_free_node_nothing_is_held() {
        let [held, free, moved] =
            [Support::Held, Support::Free, Support::Moved].map(|support| support as u8);
        assert!(held < free && free < moved);
    }
}
