//! What a run solved, in one file: `model.vtu`, which ParaView opens and [`StoredModel::read`] reads back bit by bit.
//!
//! | array | on | what it holds |
//! |---|---|---|
//! | `youngs_modulus_mpa`, `poissons_ratio` | elements | as the run used them |
//! | `density_mg_cm3` | elements | as the calibration gave it, before the conversion and the floors of the laws; 0 for caps |
//! | `kind` | elements | 0 bone, 1 cap, 2 influence region |
//! | `curve` | elements | number of the hardening curve, -1 where there is none |
//! | `set:NAME` | nodes | 1 on the nodes of a set, else 0; in the order of the sets |
//! | `prescribed_components` | nodes | held or moved components: 1 for x plus 2 for y plus 4 for z |
//! | `prescribed_mm` | nodes | their displacements at load factor 1, 0 elsewhere |
//! | `curve_ends` | file | number of points of the curves up to and with each |
//! | `curve_points` | file | plastic strain and yield stress (MPa) of each point |
//! | `frame_rotation`, `frame_origin_mm` | file | [`meshing::Frame`], the rotation row by row |
//! | `increments` | file | equal increments to load factor 1 |
//! | `material_model` | file | 0 J2, 1 secant, 2 secant with explicit stepping, 3 linear |
//! | `hex_formulation` | file | 0 B-bar, 1 full, 2 incompatible modes |
//! | `layout` | file | 1, the layout described here |

use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use meshing::vtu::{Array, CellMesh, Field, OwnedValues, Values, Vtu, VtuFile};
use meshing::{Frame, Mesh, NodeSet};
use nalgebra::{Matrix3, Vector3};
use solver::{Formulation, HardeningCurve, MaterialModel, Materials, Prescribed};

use super::{StoredMesh, StoredModel};
use crate::bone_model::ElementKind;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::write_file;

const LAYOUT: i32 = 1;
const SET: &str = "set:";
const KINDS: [ElementKind; 3] = [ElementKind::Bone, ElementKind::Cap, ElementKind::Influence];
const MATERIAL_MODELS: [MaterialModel; 4] = [
    MaterialModel::J2,
    MaterialModel::Secant,
    MaterialModel::SecantExplicit,
    MaterialModel::Linear,
];
const FORMULATIONS: [Formulation; 3] = [
    Formulation::BBar,
    Formulation::Full,
    Formulation::Incompatible,
];

impl StoredModel {
    /// Writes the file.
    ///
    /// # Errors
    /// The model does not fit into a file, or the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_file(path, &self.to_bytes(None)?)
    }

    /// The content of the file, with the material numbers of an export where there are some.
    pub(super) fn to_bytes(&self, material: Option<&[i32]>) -> anyhow::Result<Vec<u8>> {
        let nodes = self.mesh.nodes_mm().len();
        let curve: Vec<i32> = self
            .materials
            .curve
            .iter()
            .map(|&number| match number {
                Materials::ELASTIC => Ok(-1),
                number => i32::try_from(number),
            })
            .collect::<Result<_, _>>()
            .context("there are too many hardening curves for one file")?;
        let sets: Vec<(String, Vec<u8>)> = self
            .sets
            .iter()
            .map(|set| {
                let mut member = vec![0; nodes];
                for &node in &set.nodes {
                    member[node as usize] = 1;
                }
                (format!("{SET}{}", set.name), member)
            })
            .collect();
        let mut components = vec![0_u8; nodes];
        let mut motion = vec![0.0; 3 * nodes];
        for held in &self.prescribed {
            components[held.node as usize] |= 1 << held.component;
            motion[3 * held.node as usize + usize::from(held.component)] = held.displacement_mm;
        }
        let mut ends = Vec::new();
        let mut points = Vec::new();
        for curve in &self.materials.curves {
            points.extend(curve.points().iter().flatten().copied());
            ends.push(
                i32::try_from(points.len() / 2)
                    .context("the hardening curves have too many points for one file")?,
            );
        }
        let rotation: Vec<f64> = self.frame.rotation.transpose().iter().copied().collect();
        let increments = [i32::try_from(self.increments).context("there are too many increments")?];
        let model = [code(&MATERIAL_MODELS, &self.material_model)?];
        let formulation = [code(&FORMULATIONS, &self.formulation)?];

        let m = &self.materials;
        let kinds: Vec<i32> = self
            .kinds
            .iter()
            .map(|kind| code(&KINDS, kind))
            .collect::<anyhow::Result<_>>()?;
        let mut cell_data = vec![
            Field::scalar("youngs_modulus_mpa", Values::F64(&m.youngs_modulus_mpa)),
            Field::scalar("poissons_ratio", Values::F64(&m.poissons_ratio)),
            Field::scalar("density_mg_cm3", Values::F64(&self.density_mg_cm3)),
            Field::scalar("kind", Values::I32(&kinds)),
            Field::scalar("curve", Values::I32(&curve)),
        ];
        if let Some(numbers) = material {
            cell_data.push(Field::scalar("material", Values::I32(numbers)));
        }
        let mut point_data: Vec<Field<'_>> = sets
            .iter()
            .map(|(name, member)| Field::scalar(name, Values::U8(member)))
            .collect();
        point_data.extend([
            Field::scalar("prescribed_components", Values::U8(&components)),
            Field::vector("prescribed_mm", &motion),
        ]);
        let field_data = [
            Field::scalar("layout", Values::I32(&[LAYOUT])),
            Field::scalar("curve_ends", Values::I32(&ends)),
            Field::array("curve_points", 2, Values::F64(&points)),
            Field::array("frame_rotation", 9, Values::F64(&rotation)),
            Field::array(
                "frame_origin_mm",
                3,
                Values::F64(self.frame.origin_mm.as_slice()),
            ),
            Field::scalar("increments", Values::I32(&increments)),
            Field::scalar("material_model", Values::I32(&model)),
            Field::scalar("hex_formulation", Values::I32(&formulation)),
        ];
        match &self.mesh {
            StoredMesh::Hex8(mesh) => bytes(mesh, point_data, cell_data, &field_data),
            StoredMesh::Tet10(mesh) => bytes(mesh, point_data, cell_data, &field_data),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// A [`Failure`] of kind input: no file, a foreign or a damaged one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.is_file() {
            return Err(Failure::input(format!(
                "{} is not there: nothing to export",
                path.display()
            ))
            .with_help(
                "name the directory of a finished `osteoload run`; a run of an older version must be repeated with `osteoload run --plan plan.toml`",
            )
            .into());
        }
        let file = VtuFile::read(path).kind(Kind::Input)?;
        Self::from_file(file)
            .with_context(|| format!("{} is no model of a run", path.display()))
            .kind(Kind::Input)
    }

    pub(super) fn from_file(file: VtuFile) -> anyhow::Result<Self> {
        let mesh = match file.mesh {
            CellMesh::Hex8(mesh) => StoredMesh::Hex8(mesh),
            CellMesh::Tet10(mesh) => StoredMesh::Tet10(mesh),
            CellMesh::Tet4(_) => bail!("it holds 4-node tetrahedra"),
        };
        let fields = Arrays(file.field_data);
        let layout = fields.integer("layout")?;
        ensure!(
            layout == LAYOUT,
            "layout {layout} is not read here, {LAYOUT} is"
        );
        let cells = Arrays(file.cell_data);
        let points = Arrays(file.point_data);
        let curve = cells
            .i32("curve")?
            .iter()
            .map(|&number| match number {
                -1 => Ok(Materials::ELASTIC),
                number => u32::try_from(number).map_err(|_| anyhow!("curve number {number}")),
            })
            .collect::<anyhow::Result<_>>()?;
        let mut sets = Vec::new();
        for array in &points.0 {
            if let (Some(name), OwnedValues::U8(member)) =
                (array.name.strip_prefix(SET), &array.values)
            {
                let nodes = (0..).zip(member).filter(|(_, member)| **member != 0);
                sets.push(NodeSet::new(name, nodes.map(|(node, _)| node).collect()));
            }
        }
        let motion = points.f64("prescribed_mm", 3)?;
        let mut prescribed = Vec::new();
        for (node, (held, values)) in points
            .u8("prescribed_components")?
            .iter()
            .zip(motion.as_chunks::<3>().0)
            .enumerate()
        {
            ensure!(*held < 8, "node {node} has components of the number {held}");
            for component in (0..3_u8).filter(|component| held >> component & 1 == 1) {
                prescribed.push(Prescribed {
                    node: node as u32,
                    component,
                    displacement_mm: values[usize::from(component)],
                });
            }
        }
        let rotation = fields.f64("frame_rotation", 9)?;
        let origin = fields.f64("frame_origin_mm", 3)?;
        ensure!(
            rotation.len() == 9 && origin.len() == 3,
            "the frame is not one rotation and one origin"
        );
        let model = Self {
            mesh,
            frame: Frame {
                rotation: Matrix3::from_row_slice(rotation),
                origin_mm: Vector3::from_column_slice(origin),
            },
            materials: Materials {
                youngs_modulus_mpa: cells.f64("youngs_modulus_mpa", 1)?.to_vec(),
                poissons_ratio: cells.f64("poissons_ratio", 1)?.to_vec(),
                curve,
                curves: curves(fields.i32("curve_ends")?, fields.f64("curve_points", 2)?)?,
            },
            kinds: cells
                .i32("kind")?
                .iter()
                .map(|number| meaning(&KINDS, *number))
                .collect::<anyhow::Result<_>>()?,
            density_mg_cm3: cells.f64("density_mg_cm3", 1)?.to_vec(),
            sets,
            prescribed,
            increments: usize::try_from(fields.integer("increments")?)?,
            material_model: meaning(&MATERIAL_MODELS, fields.integer("material_model")?)?,
            formulation: meaning(&FORMULATIONS, fields.integer("hex_formulation")?)?,
        };
        model.check()?;
        Ok(model)
    }

    /// Checks that the parts fit together and that every number is one.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let (nodes, elements) = (self.mesh.nodes_mm().len(), self.mesh.element_count());
        let m = &self.materials;
        ensure!(
            self.mesh.nodes_mm().iter().flatten().all(|x| x.is_finite()),
            "a node has no finite position"
        );
        ensure!(
            (0..elements).all(|e| self.mesh.element(e).iter().all(|n| (*n as usize) < nodes)),
            "an element names a node that does not exist"
        );
        for length in [
            m.youngs_modulus_mpa.len(),
            m.poissons_ratio.len(),
            m.curve.len(),
            self.density_mg_cm3.len(),
            self.kinds.len(),
        ] {
            ensure!(
                length == elements,
                "{length} values for {elements} elements"
            );
        }
        ensure!(elements > 0, "it has no element");
        ensure!(self.increments > 0, "it has no increment");
        for element in 0..elements {
            let (modulus, ratio) = (m.youngs_modulus_mpa[element], m.poissons_ratio[element]);
            ensure!(
                modulus.is_finite() && modulus > 0.0 && ratio > -1.0 && ratio < 0.5,
                "element {element}: Young's modulus {modulus} MPa, Poisson's ratio {ratio}"
            );
            let curve = m.curve[element];
            ensure!(
                curve == Materials::ELASTIC || (curve as usize) < m.curves.len(),
                "element {element}: hardening curve {curve} does not exist"
            );
        }
        for (number, set) in self.sets.iter().enumerate() {
            ensure!(
                set.nodes.iter().all(|node| (*node as usize) < nodes),
                "the set {} names a node that does not exist",
                set.name
            );
            ensure!(
                self.sets[..number]
                    .iter()
                    .all(|other| other.name != set.name),
                "two sets are named {}",
                set.name
            );
        }
        for held in &self.prescribed {
            ensure!(
                (held.node as usize) < nodes
                    && held.component < 3
                    && held.displacement_mm.is_finite(),
                "component {} of node {} is prescribed {} mm",
                held.component,
                held.node,
                held.displacement_mm
            );
        }
        Ok(())
    }
}

fn bytes<const N: usize>(
    mesh: &Mesh<N>,
    point_data: Vec<Field<'_>>,
    cell_data: Vec<Field<'_>>,
    field_data: &[Field<'_>],
) -> anyhow::Result<Vec<u8>> {
    let vtu = Vtu {
        mesh,
        // In the model frame: turned into the patient's axes, positions would not read back bit by bit.
        frame: None,
        point_data,
        cell_data,
    };
    Ok(vtu.to_bytes_with(field_data)?)
}

fn code<T: PartialEq>(list: &[T], value: &T) -> anyhow::Result<i32> {
    let place = list.iter().position(|known| known == value);
    Ok(i32::try_from(place.context("a setting has no number")?)?)
}

fn meaning<T: Copy>(list: &[T], code: i32) -> anyhow::Result<T> {
    usize::try_from(code)
        .ok()
        .and_then(|place| list.get(place).copied())
        .with_context(|| format!("a setting has the unknown number {code}"))
}

fn curves(ends: &[i32], points: &[f64]) -> anyhow::Result<Vec<HardeningCurve>> {
    let points = points.as_chunks::<2>().0;
    let mut begin = 0;
    let mut curves = Vec::new();
    for (number, &end) in ends.iter().enumerate() {
        let end = usize::try_from(end)?;
        let own = points
            .get(begin..end)
            .with_context(|| format!("hardening curve {number} ends at point {end}"))?;
        let curve = HardeningCurve::new(own.to_vec())
            .map_err(|reason| anyhow!("hardening curve {number}: {reason}"))?;
        curves.push(curve);
        begin = end;
    }
    ensure!(
        begin == points.len(),
        "points that belong to no hardening curve"
    );
    Ok(curves)
}

/// Arrays by name.
struct Arrays(Vec<Array>);

impl Arrays {
    fn get(&self, name: &str, components: usize) -> anyhow::Result<&OwnedValues> {
        let found = self.0.iter().find(|array| array.name == name);
        let array = found.with_context(|| format!("it has no array {name}"))?;
        ensure!(
            array.components == components,
            "array {name} has {} components",
            array.components
        );
        Ok(&array.values)
    }

    fn f64(&self, name: &str, components: usize) -> anyhow::Result<&[f64]> {
        match self.get(name, components)? {
            OwnedValues::F64(values) => Ok(values),
            _ => bail!("array {name} is not of doubles"),
        }
    }

    fn i32(&self, name: &str) -> anyhow::Result<&[i32]> {
        match self.get(name, 1)? {
            OwnedValues::I32(values) => Ok(values),
            _ => bail!("array {name} is not of integers"),
        }
    }

    fn u8(&self, name: &str) -> anyhow::Result<&[u8]> {
        match self.get(name, 1)? {
            OwnedValues::U8(values) => Ok(values),
            _ => bail!("array {name} is not of bytes"),
        }
    }

    /// The one value of an array.
    fn integer(&self, name: &str) -> anyhow::Result<i32> {
        match self.i32(name)? {
            [value] => Ok(*value),
            other => bail!("array {name} has {} values, not one", other.len()),
        }
    }
}
