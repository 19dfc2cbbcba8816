//! A bone ready to be loaded: voxel mesh, density of every element, node sets and prescribed motion.
//!
//! One builder per load case: [`stance`], [`fall`], [`compression`]. None of them knows a material
//! law: bone elements carry their density, caps and the like a modulus of their own.

pub mod between_caps;
pub mod cap;
pub mod compression;
pub mod fall;
mod mesh;
mod retain;
pub mod stance;
pub mod tetrahedra;

use anyhow::{Context, Result, bail, ensure};
use imaging::{Grid, LabelMap, Mask, Volume};
use meshing::sampling::ElementSamples;
use meshing::{NodeSet, VoxelMesh, keep_anchored};
use nalgebra::Vector3;
use solver::load_case::{LoadCase, Prescribed};

pub use mesh::BoneMesh;

use crate::anatomy::Check;
use crate::pose::Posed;

/// What an element is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementKind {
    /// Bone: modulus and strength follow from its density.
    Bone,
    /// Cap, cup, disc: linear, with the modulus of [`BoneModel::cap`].
    Cap,
    /// Head voxels under the cup: linear, with the modulus of [`BoneModel::influence`].
    Influence,
}

/// Elastic constants assigned directly, not through density.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elastic {
    /// Young's modulus, MPa.
    pub youngs_modulus_mpa: f64,
    /// Poisson's ratio.
    pub poissons_ratio: f64,
}

/// Where displacement components are held besides the loading itself (`load.lateral`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lateral {
    /// Held on both loaded faces.
    #[default]
    Fixed,
    /// Held only at the fixed face.
    Free,
    /// Held nowhere; three point constraints remove the rigid-body modes.
    FreeBoth,
}

/// How far the loaded nodes are moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Displacement {
    /// By so many mm.
    Mm(f64),
    /// By so many percent of the load case's reference length.
    Percent(f64),
}

impl Displacement {
    /// The displacement in mm.
    pub fn mm(self, reference_length_mm: f64) -> f64 {
        match self {
            Self::Mm(mm) => mm,
            Self::Percent(percent) => percent / 100.0 * reference_length_mm,
        }
    }
}

/// A bone ready to be loaded.
#[derive(Clone, Debug)]
pub struct BoneModel {
    /// The mesh; the model frame of voxels runs along the array axes of `density`.
    pub mesh: BoneMesh,
    /// What each element is made of.
    pub kinds: Vec<ElementKind>,
    /// Label value of each element; 0 for a cap that was built on.
    pub labels: Vec<u16>,
    /// Density of each element, mg/cm³; 0 for caps, which do not use it.
    pub density_mg_cm3: Vec<f64>,
    /// Densities at the sampling points of every element, mg/cm³, where the laws are to be applied there.
    pub samples: Option<ElementSamples>,
    /// Elastic constants of the cap elements.
    pub cap: Elastic,
    /// Elastic constants of the influence region.
    pub influence: Elastic,
    /// Density on the whole model grid, mg/cm³: bins are spaced over all of it (load-cases 1.4).
    pub density: Volume<f32>,
    /// The labels that were meshed, on the model grid, without caps.
    pub labels_on_grid: LabelMap,
    /// Nodes that are moved.
    pub loaded: NodeSet,
    /// Nodes whose reactions balance those of the loaded nodes.
    pub fixed: NodeSet,
    /// Further sets that are held, such as the distal shaft of a sideways fall.
    pub held: Vec<NodeSet>,
    /// Direction in which the loaded nodes move (model frame, unit): force is projected on it.
    pub direction: [f64; 3],
    /// Displacement of the loaded nodes along `direction` at load factor 1, mm.
    pub displacement_mm: f64,
    /// Every held or moved component at load factor 1.
    pub prescribed: Vec<Prescribed>,
    /// Length that percentages of displacement refer to, mm.
    pub reference_length_mm: f64,
    /// Distance of the cap faces along the load axis, mm.
    pub cap_distance_mm: Option<f64>,
    /// Height of a vertebra: of its body between the endplates where landmarks were given, otherwise
    /// of the carrier of the caps, or of all bone between discs, along the load axis, mm.
    pub bone_height_mm: Option<f64>,
    /// Length of femur kept along the shaft axis, mm.
    pub femur_length_mm: Option<f64>,
    /// Checks of the model building.
    pub checks: Vec<Check>,
    /// Voxels left out because they hang on nothing that is loaded or held.
    pub dropped_voxels: usize,
}

impl BoneModel {
    /// The load case for the solver: monitor 0 = loaded nodes, monitor 1 = fixed nodes, then the
    /// further held sets.
    pub fn load_case(&self) -> LoadCase {
        let mut monitors = vec![self.loaded.clone(), self.fixed.clone()];
        monitors.extend(self.held.iter().cloned());
        LoadCase {
            prescribed: self.prescribed.clone(),
            forces: Vec::new(),
            monitors,
        }
    }

    /// Number of elements of one kind.
    pub fn count(&self, kind: ElementKind) -> usize {
        self.kinds.iter().filter(|&&k| k == kind).count()
    }
}

/// Bone and caps on the model grid, before meshing.
pub(crate) struct Body {
    pub posed: Posed,
    pub kinds: Vec<Option<ElementKind>>,
}

impl Body {
    /// All bone, no cap.
    pub fn of(posed: Posed) -> Self {
        let kinds = posed
            .labels
            .data
            .iter()
            .map(|&label| (label != 0).then_some(ElementKind::Bone))
            .collect();
        Self { posed, kinds }
    }

    pub fn grid(&self) -> &Grid {
        &self.posed.labels.grid
    }

    /// Turns empty voxels into cap.
    pub fn add_cap(&mut self, voxels: &[usize]) {
        for &voxel in voxels {
            self.kinds[voxel].get_or_insert(ElementKind::Cap);
        }
    }

    /// Drops what does not hang on `anchors` through faces, and meshes the rest.
    pub fn mesh(mut self, anchors: &[usize]) -> Result<Meshed> {
        let mask: Mask = Volume {
            grid: self.grid().clone(),
            data: self.kinds.iter().map(Option::is_some).collect(),
        };
        let (kept, dropped) = keep_anchored(&mask, anchors)?;
        for (kind, &keep) in self.kinds.iter_mut().zip(&kept.data) {
            if !keep {
                *kind = None;
            }
        }
        for (label, kind) in self.posed.labels.data.iter_mut().zip(&self.kinds) {
            if kind.is_none() {
                *label = 0;
            }
        }
        let mesh = VoxelMesh::from_mask(&kept)?;
        let at = |voxel: &usize| self.kinds[*voxel].context("a meshed voxel has no kind");
        let kinds: Vec<ElementKind> = mesh.element_voxels.iter().map(at).collect::<Result<_>>()?;
        let density_mg_cm3: Vec<f64> = mesh
            .element_voxels
            .iter()
            .zip(&kinds)
            .map(|(&voxel, &kind)| match kind {
                ElementKind::Cap => 0.0,
                _ => f64::from(self.posed.density.data[voxel]),
            })
            .collect();
        if let Some(element) = density_mg_cm3.iter().position(|d| !d.is_finite()) {
            bail!(
                "the density at element {element} is {}: the volume has no finite value there; repair the scan or leave the voxels out of the mask",
                density_mg_cm3[element]
            );
        }
        let labels = mesh
            .element_voxels
            .iter()
            .map(|&voxel| self.posed.labels.data[voxel])
            .collect();
        Ok(Meshed {
            mesh,
            kinds,
            labels,
            density_mg_cm3,
            posed: self.posed,
            dropped_voxels: dropped.voxels,
        })
    }
}

/// A meshed body, before the load.
pub(crate) struct Meshed {
    pub mesh: VoxelMesh,
    pub kinds: Vec<ElementKind>,
    pub labels: Vec<u16>,
    pub density_mg_cm3: Vec<f64>,
    pub posed: Posed,
    pub dropped_voxels: usize,
}

/// What is done to a meshed body.
pub(crate) struct Loading {
    pub loaded: NodeSet,
    pub fixed: NodeSet,
    pub held: Vec<NodeSet>,
    pub direction: [f64; 3],
    pub displacement_mm: f64,
    pub prescribed: Vec<Prescribed>,
    pub reference_length_mm: f64,
}

impl Meshed {
    /// World position (LPS mm) of a node.
    pub fn node_world(&self, node: u32) -> Vector3<f64> {
        Vector3::from(
            self.mesh
                .frame
                .to_world(self.mesh.mesh.nodes_mm[node as usize]),
        )
    }

    /// Nodes that fewer than eight elements share: the surface of the mesh.
    pub fn surface_nodes(&self) -> Vec<u32> {
        let mut shared = vec![0u8; self.mesh.mesh.nodes_mm.len()];
        for element in &self.mesh.mesh.elements {
            for &node in element {
                shared[node as usize] += 1;
            }
        }
        (0..shared.len() as u32)
            .filter(|&node| shared[node as usize] < 8)
            .collect()
    }

    /// The same, whatever it is meshed with.
    pub fn unloaded(self) -> Unloaded {
        Unloaded {
            mesh: BoneMesh::Voxels(self.mesh),
            kinds: self.kinds,
            labels: self.labels,
            density_mg_cm3: self.density_mg_cm3,
            samples: None,
            posed: self.posed,
            dropped_voxels: self.dropped_voxels,
        }
    }

    /// Puts the load on.
    pub fn with(
        self,
        loading: Loading,
        caps: [Elastic; 2],
        checks: Vec<Check>,
    ) -> Result<BoneModel> {
        self.unloaded().with(loading, caps, checks)
    }
}

/// A meshed bone of any kind of element, before the load.
pub(crate) struct Unloaded {
    pub mesh: BoneMesh,
    pub kinds: Vec<ElementKind>,
    pub labels: Vec<u16>,
    pub density_mg_cm3: Vec<f64>,
    pub samples: Option<ElementSamples>,
    pub posed: Posed,
    pub dropped_voxels: usize,
}

impl Unloaded {
    /// Puts the load on.
    pub fn with(
        self,
        loading: Loading,
        caps: [Elastic; 2],
        checks: Vec<Check>,
    ) -> Result<BoneModel> {
        ensure!(
            !loading.loaded.nodes.is_empty(),
            "the node set `{}` is empty: nothing would be loaded",
            loading.loaded.name
        );
        ensure!(
            !loading.fixed.nodes.is_empty(),
            "the node set `{}` is empty: nothing would be held",
            loading.fixed.name
        );
        ensure!(
            loading.displacement_mm.is_finite() && loading.displacement_mm > 0.0,
            "the prescribed displacement is {} mm; it must be positive",
            loading.displacement_mm
        );
        let mut prescribed = loading.prescribed;
        prescribed.sort_by_key(|p| (p.node, p.component));
        if let Some(twice) = prescribed
            .windows(2)
            .find(|w| (w[0].node, w[0].component) == (w[1].node, w[1].component))
        {
            bail!(
                "node {} belongs to a loaded and to a held set: the bone is too short for this load case",
                twice[0].node
            );
        }
        Ok(BoneModel {
            mesh: self.mesh,
            kinds: self.kinds,
            labels: self.labels,
            density_mg_cm3: self.density_mg_cm3,
            samples: self.samples,
            cap: caps[0],
            influence: caps[1],
            density: self.posed.density,
            labels_on_grid: self.posed.labels,
            loaded: loading.loaded,
            fixed: loading.fixed,
            held: loading.held,
            direction: loading.direction,
            displacement_mm: loading.displacement_mm,
            prescribed,
            reference_length_mm: loading.reference_length_mm,
            cap_distance_mm: None,
            bone_height_mm: None,
            femur_length_mm: None,
            checks,
            dropped_voxels: self.dropped_voxels,
        })
    }
}

/// Prescribes components `values` (component, displacement in mm) on every node of a set.
pub(crate) fn prescribe(set: &NodeSet, values: &[(u8, f64)]) -> Vec<Prescribed> {
    set.nodes
        .iter()
        .flat_map(|&node| {
            values
                .iter()
                .map(move |&(component, displacement_mm)| Prescribed {
                    node,
                    component,
                    displacement_mm,
                })
        })
        .collect()
}

/// The model axis (0, 1, 2) a direction runs along, and its sign; `None` when it is oblique.
pub(crate) fn lattice_axis(direction: [f64; 3]) -> Option<(usize, f64)> {
    (0..3)
        .find(|&axis| direction[axis].abs() > 1.0 - 1e-9)
        .map(|axis| (axis, direction[axis].signum()))
}

/// Edge of the cubes a load case on cubes is built from, mm: the setting, or with 0 the image's own
/// spacing, which then must be the same along all axes.
pub(crate) fn cube_side(pose: &crate::pose::PoseOptions, input: &Posed) -> Result<f64> {
    if pose.voxel_mm > 0.0 {
        return Ok(pose.voxel_mm);
    }
    let [x, y, z] = input.density.grid.spacing_mm;
    ensure!(
        (x - y).abs() <= 1e-3 && (x - z).abs() <= 1e-3,
        "mesh.voxel_mm=0 keeps the image's grid, but its voxels of {x:.4}x{y:.4}x{z:.4} mm are no cubes, which this load case needs: set mesh.voxel_mm"
    );
    Ok(x)
}

#[cfg(test)]
mod real_data_tests;
#[cfg(test)]
mod tests;
