//! The model of a finished run for other programs: mesh, materials, boundary sets.
//!
//! A run leaves what it solved in one file, `model.vtu` ([`StoredModel`]). [`export`] reads it and writes one of six
//! formats. Node and element numbers are those of `model.vtu` plus one in every format, lengths are mm, stresses MPa,
//! and positions and directions are those of the model frame.

mod boundary;
mod cdb;
mod feb;
mod inp;
mod material;
mod msh;
mod numbers;
mod stl;
mod store;
pub(crate) mod surface;

use std::path::{Path, PathBuf};

use meshing::{Frame, HexMesh, NodeSet, Tet10Mesh};
use solver::{Formulation, LoadCase, MaterialModel, Materials, Model, Prescribed, SolidMesh};

use crate::bone_model::ElementKind;
use crate::exit::Failure;
use crate::output_dir::{check_file, write_file};
use material::Grouped;

/// Name of the file in a run's directory that holds what was solved.
pub const MODEL_FILE: &str = "model.vtu";

/// The mesh of a stored model.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredMesh {
    /// 8-node hexahedra.
    Hex8(HexMesh),
    /// 10-node tetrahedra.
    Tet10(Tet10Mesh),
}

impl StoredMesh {
    /// Node positions in the model frame, mm.
    pub fn nodes_mm(&self) -> &[[f64; 3]] {
        match self {
            Self::Hex8(mesh) => &mesh.nodes_mm,
            Self::Tet10(mesh) => &mesh.nodes_mm,
        }
    }

    /// Number of elements.
    pub fn element_count(&self) -> usize {
        match self {
            Self::Hex8(mesh) => mesh.elements.len(),
            Self::Tet10(mesh) => mesh.elements.len(),
        }
    }

    /// Nodes of an element, VTK order.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn element(&self, number: usize) -> &[u32] {
        match self {
            Self::Hex8(mesh) => &mesh.elements[number],
            Self::Tet10(mesh) => &mesh.elements[number],
        }
    }

    /// Volume of an element, mm³.
    fn volume_mm3(&self, number: usize) -> anyhow::Result<f64> {
        let volume = match self {
            Self::Hex8(mesh) => mesh.volume_mm3(number),
            Self::Tet10(mesh) => mesh.volume_mm3(number),
        };
        if volume > 0.0 {
            return Ok(volume);
        }
        let number = number + 1;
        Err(Failure::input(format!("element {number} is flat or turned inside out")).into())
    }
}

/// What a run solved.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// Nodes and elements in the model frame.
    pub mesh: StoredMesh,
    /// Where the model frame stands in the patient.
    pub frame: Frame,
    /// Material of every element.
    pub materials: Materials,
    /// What every element is made of.
    pub kinds: Vec<ElementKind>,
    /// Density of every element as the calibration gave it, before the conversion and the floors of the laws, mg/cm³; 0 for
    /// caps.
    pub density_mg_cm3: Vec<f64>,
    /// Loaded, fixed and further held nodes.
    pub sets: Vec<NodeSet>,
    /// Every held or moved component at load factor 1, sorted by node and component.
    pub prescribed: Vec<Prescribed>,
    /// Number of equal increments to load factor 1.
    pub increments: usize,
    /// Constitutive model of the elements with a hardening curve.
    pub material_model: MaterialModel,
    /// Formulation of hexahedra.
    pub formulation: Formulation,
}

impl StoredModel {
    /// The model of an analysis that begins.
    ///
    /// # Errors
    /// The mesh is neither of 8-node hexahedra nor of 10-node tetrahedra, or the parts do not fit together.
    pub fn of(
        body: &Model,
        frame: &Frame,
        kinds: &[ElementKind],
        density_mg_cm3: &[f64],
        load: &LoadCase,
        increments: usize,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(load.forces.is_empty(), "nodal forces are not stored");
        let mesh = match &body.mesh {
            SolidMesh::Voxels { mesh, .. } | SolidMesh::Hex8(mesh) => {
                StoredMesh::Hex8(mesh.clone())
            }
            SolidMesh::Tet10(mesh) => StoredMesh::Tet10(mesh.clone()),
            SolidMesh::Tet4(_) => anyhow::bail!("4-node tetrahedra are not stored"),
        };
        let mut prescribed = load.prescribed.clone();
        prescribed.sort_by_key(|held| (held.node, held.component));
        let model = Self {
            mesh,
            frame: frame.clone(),
            materials: body.materials.clone(),
            kinds: kinds.to_vec(),
            density_mg_cm3: density_mg_cm3.to_vec(),
            sets: load.monitors.clone(),
            prescribed,
            increments,
            material_model: body.material_model,
            formulation: body.formulation,
        };
        model.check()?;
        Ok(model)
    }

    /// Whether any element can yield.
    fn is_plastic(&self) -> bool {
        self.material_model != MaterialModel::Linear
            && self
                .materials
                .curve
                .iter()
                .any(|c| *c != Materials::ELASTIC)
    }
}

/// Stores what a run solves in its directory.
///
/// # Errors
/// As [`StoredModel::of`] and [`StoredModel::write`].
pub fn store(
    directory: &Path,
    body: &Model,
    frame: &Frame,
    kinds: &[ElementKind],
    density_mg_cm3: &[f64],
    load: &LoadCase,
    increments: usize,
) -> anyhow::Result<()> {
    StoredModel::of(body, frame, kinds, density_mg_cm3, load, increments)?
        .write(&directory.join(MODEL_FILE))
}

/// A format of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Abaqus and CalculiX keyword deck.
    Inp,
    /// Ansys coded database.
    Cdb,
    /// FEBio specification 4.0.
    Feb,
    /// Gmsh 4.1, ASCII.
    Msh,
    /// VTK unstructured grid.
    Vtu,
    /// Binary STL of the surface.
    Stl,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [
        Self::Inp,
        Self::Cdb,
        Self::Feb,
        Self::Msh,
        Self::Vtu,
        Self::Stl,
    ];

    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Inp => "inp",
            Self::Cdb => "cdb",
            Self::Feb => "feb",
            Self::Msh => "msh",
            Self::Vtu => "vtu",
            Self::Stl => "stl",
        }
    }

    /// Name of the file where none is given; that of [`MODEL_FILE`] is taken.
    fn default_name(self) -> &'static str {
        match self {
            Self::Inp => "model.inp",
            Self::Cdb => "model.cdb",
            Self::Feb => "model.feb",
            Self::Msh => "model.msh",
            Self::Vtu => "export.vtu",
            Self::Stl => "model.stl",
        }
    }
}

/// What to export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRequest {
    /// Directory of a finished run.
    pub run: PathBuf,
    /// The format.
    pub format: Format,
    /// The file to write; `None` puts it into the directory of the run.
    pub out: Option<PathBuf>,
    /// Greatest number of bins of moduli for each kind of material; `None` keeps every material as it is.
    pub bins: Option<usize>,
    /// Whether an existing file is replaced.
    pub overwrite: bool,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The file.
    pub place: PathBuf,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of elements.
    pub elements: usize,
    /// Number of materials; 0 where the format holds none.
    pub materials: usize,
    /// What the file does not say as the run had it.
    pub notes: Vec<String>,
}

/// The text or bytes of a format, and what it does not say.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    pub(crate) notes: Vec<String>,
}

/// Exports the model of a finished run.
///
/// # Errors
/// A [`Failure`] of kind input for a directory without a model or with a damaged one, of kind usage for an output that
/// exists or cannot be written and for bins of a format without materials.
pub fn export(request: &ExportRequest) -> anyhow::Result<Exported> {
    let format = request.format;
    let place = match &request.out {
        Some(path) => path.clone(),
        None => request.run.join(format.default_name()),
    };
    if format == Format::Stl && request.bins.is_some() {
        return Err(Failure::usage("--bins: an STL file holds no materials").into());
    }
    check_file(&place, request.overwrite)?;
    let source = request.run.join(MODEL_FILE);
    if same_file(&place, &source) {
        return Err(
            Failure::usage(format!("{} is the model that is exported", place.display()))
                .with_help("choose another name with --out")
                .into(),
        );
    }
    let model = StoredModel::read(&source)?;
    let grouped = match request.bins {
        Some(bins) => material::binned(&model, bins)?,
        None => material::distinct(&model),
    };
    let mut written = model.content(format, &grouped)?;
    if let Some(bins) = request.bins {
        written.notes.push(format!(
            "moduli in at most {bins} bins: the modulus of an element changes by up to {:.2} %",
            100.0 * grouped.largest_change
        ));
    } else if format != Format::Stl && grouped.materials.len() > MANY_MATERIALS {
        written.notes.push(format!(
            "{} materials, one per distinct law; other programs slow down with so many: --bins N groups them",
            grouped.materials.len()
        ));
    }
    write_file(&place, &written.bytes)?;
    Ok(Exported {
        place,
        nodes: model.mesh.nodes_mm().len(),
        elements: model.mesh.element_count(),
        materials: match format {
            Format::Stl => 0,
            _ => grouped.materials.len(),
        },
        notes: written.notes,
    })
}

/// Number of materials above which the user is told of `--bins`.
const MANY_MATERIALS: usize = 1000;

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

impl StoredModel {
    /// The content of an export. The same model gives the same bytes.
    pub(crate) fn content(&self, format: Format, grouped: &Grouped) -> anyhow::Result<Written> {
        Ok(match format {
            Format::Inp => inp::write(self, grouped)?,
            Format::Cdb => cdb::write(self, grouped),
            Format::Feb => feb::write(self, grouped),
            Format::Msh => msh::write(self, grouped),
            Format::Vtu => Written {
                bytes: self.to_bytes(Some(&grouped.numbers(self.mesh.element_count())))?,
                notes: Vec::new(),
            },
            Format::Stl => stl::write(self),
        })
    }
}

#[cfg(test)]
mod tests;
