//! A vertebra of quadratic tetrahedra between its endplates.
//!
//! The surface is that of the mask, smoothed as far as the mask allows ([`meshing::LevelSet`]); the model frame runs along
//! the image's array axes unless the load case turns it. The density comes from the image by Bonemat's rules.

use anyhow::{Context, Result, bail};
use imaging::extrapolate::continued_from;
use imaging::morphology::{StructuringElement, morph_voxels};
use imaging::{LabelMap, Volume};
use meshing::sampling::{integration_samples, voxel_means};
use meshing::surface::boundary_faces;
use meshing::tetrahedral::{Body, Mesher, TetrahedralMesh, TetrahedralOptions, mesh_body};
use meshing::tetrahedron::TET10_EDGES;
use meshing::{LevelSet, NodeSet, keep_anchored};
use nalgebra::{Matrix3, Vector3};

use super::between_caps::BetweenCaps;
use super::{BoneMesh, ElementKind, Unloaded};
use crate::anatomy::Check;
use crate::anatomy::endplate::{ImageEndplates, SEARCH_MM};
use crate::anatomy::vertebra::Endplate;
use crate::pose::{Posed, to_image};

/// How voxels give their value to an element (`density.sampling`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Mean of the voxels inside, then the laws.
    V1,
    /// Integral, then the laws.
    V2,
    /// The laws at each point, then the mean.
    V3,
}

/// Settings of a mesh of tetrahedra.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TetrahedraOptions {
    /// Element size and mesher.
    pub mesh: TetrahedralOptions,
    /// From voxels to elements.
    pub sampling: Sampling,
    /// Outer layers of voxels that are not sampled, because they are part bone and part not: the image is continued
    /// from further in; 0 = the image as it is (`density.sampling_erosion_voxels`).
    pub sampling_erosion_voxels: u32,
}

/// A surface triangle belongs to an endplate when its normal lies within this angle of the axis.
const FACING_DEG: f64 = 35.0;
/// A triangle lies on the cap of an endplate when its middle is no farther from it, mm.
const ON_CAP_MM: f64 = 0.75;
/// How far beyond the voxels that are sampled the image is continued: farther than a surface strays from its mask.
const CONTINUED_VOXELS: usize = 4;

/// Meshes the labelled bone. Pieces that do not hang on the voxels of the body's label, the first, are left out; the second is
/// that of caps, 0 where there are none, whose voxels are no image of bone.
pub(super) fn mesh(
    mut posed: Posed,
    [body_label, cap_label]: [u16; 2],
    rotation: Option<Matrix3<f64>>,
    endplates: Option<&ImageEndplates>,
    options: &TetrahedraOptions,
    checks: &mut Vec<Check>,
) -> Result<Meshed> {
    let anchors: Vec<usize> = (0..posed.labels.data.len())
        .filter(|&index| posed.labels.data[index] == body_label)
        .collect();
    let (bone, dropped) = keep_anchored(&posed.bone(), &anchors)?;
    for (label, &keep) in posed.labels.data.iter_mut().zip(&bone.data) {
        if !keep {
            *label = 0;
        }
    }
    let surface = LevelSet::of(&bone)?;
    let mut body = Body::of(&surface);
    let between = endplates
        .map(|endplates| BetweenCaps::new(&surface, endplates))
        .transpose()?;
    if let Some(between) = &between {
        body.solid = between;
        body.volume_mm3 = None;
        for axis in 0..3 {
            body.bounds_mm[0][axis] -= SEARCH_MM;
            body.bounds_mm[1][axis] += SEARCH_MM;
        }
    }
    let mut made = mesh_body(&body, &options.mesh)?;
    let volume_mm3 = between.is_none().then(|| surface.mask_volume_mm3());
    checks.extend(mesh_checks(&made, &options.mesh, volume_mm3));
    let facets = facets(&made);
    let near_caps = between.map(|between| {
        let middle = |face: &[u32; 3]| {
            let at = face.map(|n| made.mesh.nodes_mm[n as usize]);
            std::array::from_fn(|a| at.iter().map(|p| p[a]).sum::<f64>() / 3.0)
        };
        facets
            .iter()
            .map(|(face, _)| {
                between
                    .at_endplates(middle(face))
                    .map(|at| at.above_mm.abs() <= ON_CAP_MM && at.within_mm > 0.0)
            })
            .collect()
    });
    let density = if options.sampling_erosion_voxels > 0 {
        let without_caps = posed.labels.map(|&label| label != 0 && label != cap_label);
        let inner = morph_voxels(
            &without_caps,
            -(options.sampling_erosion_voxels as i32),
            StructuringElement::Faces,
        );
        if inner.count() == 0 {
            bail!(
                "density.sampling_erosion_voxels={} leaves no voxel of the bone",
                options.sampling_erosion_voxels
            );
        }
        let layers = options.sampling_erosion_voxels as usize + CONTINUED_VOXELS;
        continued_from(&posed.density, &inner, layers)?
    } else {
        posed.density.clone()
    };
    let (density_mg_cm3, samples) = sample(&made, &density, options.sampling)?;
    let labels = element_labels(&made, &posed.labels, body_label);
    if let Some(rotation) = rotation {
        turn(&mut made, &rotation);
    }
    let elements = made.mesh.elements.len();
    let bone = Unloaded {
        kinds: vec![ElementKind::Bone; elements],
        labels,
        density_mg_cm3,
        samples,
        posed,
        dropped_voxels: dropped.voxels,
        mesh: BoneMesh::Tetrahedra(made),
    };
    Ok(Meshed {
        bone,
        facets,
        near_caps,
    })
}

/// A meshed vertebra and its surface.
pub(super) struct Meshed {
    pub bone: Unloaded,
    /// Triangles of the surface by their corners, each with its element.
    facets: Vec<([u32; 3], u32)>,
    /// Which triangles lie on the cranial and on the caudal cap, where the endplates come from the image.
    near_caps: Option<Vec<[bool; 2]>>,
}

fn facets(made: &TetrahedralMesh) -> Vec<([u32; 3], u32)> {
    let corners: Vec<[u32; 4]> = made
        .mesh
        .elements
        .iter()
        .map(|e| [e[0], e[1], e[2], e[3]])
        .collect();
    boundary_faces(&corners)
}

/// Density of every element, and at its sampling points where the laws are applied there.
fn sample(
    made: &TetrahedralMesh,
    density: &Volume<f32>,
    sampling: Sampling,
) -> Result<(Vec<f64>, Option<meshing::sampling::ElementSamples>)> {
    let (mean, samples) = match sampling {
        Sampling::V1 => (voxel_means(&made.mesh, &made.frame, density).0, None),
        Sampling::V2 | Sampling::V3 => {
            let samples = integration_samples(&made.mesh, &made.frame, density);
            let mean = samples.means(&samples.values);
            (mean, (sampling == Sampling::V3).then_some(samples))
        }
    };
    if let Some(element) = mean.iter().position(|d| !d.is_finite()) {
        bail!(
            "the density at element {element} is {}: the volume has no finite value there; repair the scan or leave the voxels out of the mask",
            mean[element]
        );
    }
    Ok((mean, samples))
}

/// Label of the voxel nearest to the middle of each element.
fn element_labels(made: &TetrahedralMesh, labels: &LabelMap, otherwise: u16) -> Vec<u16> {
    let size = labels.grid.size;
    (0..made.mesh.elements.len())
        .map(|element| {
            let corners = &made.mesh.positions_mm(element)[..4];
            let middle: [f64; 3] =
                std::array::from_fn(|a| corners.iter().map(|c| c[a]).sum::<f64>() / 4.0);
            let at = labels
                .grid
                .to_index(Vector3::from(made.frame.to_world(middle)));
            let mut nearest = (f64::INFINITY, otherwise);
            let around = |axis: usize| {
                let index = at[axis].round().clamp(0.0, (size[axis] - 1) as f64) as usize;
                index.saturating_sub(1)..=(index + 1).min(size[axis] - 1)
            };
            for k in around(2) {
                for j in around(1) {
                    for i in around(0) {
                        let label = labels.at(i, j, k);
                        let away = (Vector3::new(i as f64, j as f64, k as f64) - at).norm();
                        if label != 0 && away < nearest.0 {
                            nearest = (away, label);
                        }
                    }
                }
            }
            nearest.1
        })
        .collect()
}

/// Turns a mesh by a rotation from image axes (RAS+) to model axes.
fn turn(made: &mut TetrahedralMesh, rotation: &Matrix3<f64>) {
    let columns = [0, 1, 2].map(|n| to_image(made.frame.rotation.column(n).into()));
    let rotation = rotation * Matrix3::from_columns(&columns);
    for node in &mut made.mesh.nodes_mm {
        *node = (rotation * Vector3::from(*node)).into();
    }
    made.frame.rotation *= rotation.transpose();
}

/// What is worth knowing of a mesh.
fn mesh_checks(
    made: &TetrahedralMesh,
    wanted: &TetrahedralOptions,
    mask_volume_mm3: Option<f64>,
) -> Vec<Check> {
    let found = made.mesh.statistics();
    let mut checks = Vec::new();
    let mean = found.mean_volume_mm3;
    let reason = format!(
        "{} elements of {mean:.3} mm³ in the mean, dihedral angles from {:.1} to {:.1} degrees, smallest radius ratio {:.3}, {} middle nodes kept off the surface",
        found.elements,
        found.dihedral_deg[0],
        found.dihedral_deg[1],
        found.min_radius_ratio,
        made.held_middle_nodes
    );
    checks.push(if (mean / wanted.mean_volume_mm3 - 1.0).abs() <= 0.1 {
        Check::pass("tetrahedra", mean, reason)
    } else {
        Check::review(
            "tetrahedra",
            mean,
            format!("{reason}; {} mm³ were wanted", wanted.mean_volume_mm3),
        )
    });
    let name = match made.mesher {
        Mesher::TetGen => "TetGen",
        Mesher::Stuffing => "the lattice mesher",
    };
    checks.push(if made.setbacks.is_empty() {
        Check::pass("tetrahedra_mesher", None, format!("meshed by {name}"))
    } else {
        Check::review(
            "tetrahedra_mesher",
            None,
            format!("meshed by {name}: {}", made.setbacks.join("; ")),
        )
    });
    if let Some(volume) = mask_volume_mm3 {
        let off = 100.0 * (made.mesh.total_volume_mm3() / volume - 1.0);
        let reason = format!(
            "the elements fill the mask's volume to {off:+.2} %, with the surface moved by {:+.3} mm",
            made.offset_mm
        );
        checks.push(if off.abs() <= 0.5 {
            Check::pass("tetrahedra_volume", off, reason)
        } else {
            Check::review("tetrahedra_volume", off, reason)
        });
    }
    if made.dropped_volume_mm3 > 0.0 {
        checks.push(Check::review(
            "tetrahedra_dropped",
            made.dropped_volume_mm3,
            format!(
                "{:.1} mm³ hang on the bone by less than an element can follow and are left out",
                made.dropped_volume_mm3
            ),
        ));
    }
    checks
}

/// An end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Towards the head.
    Cranial,
    /// Towards the feet.
    Caudal,
}

impl Meshed {
    /// The nodes of an endplate: triangles of the body's surface that face along `outward` (model frame) and lie within
    /// `depth_mm` of the plane, or on the cap found in the image. The second value is their area as seen along `outward`, mm².
    pub fn endplate_nodes(
        &self,
        end: End,
        body_label: u16,
        outward: Vector3<f64>,
        plane: &Endplate,
        depth_mm: f64,
    ) -> Result<(NodeSet, f64)> {
        let name = match end {
            End::Cranial => "cranial_endplate",
            End::Caudal => "caudal_endplate",
        };
        let near_plane = self.near(|world| plane.above_mm(world).abs() <= depth_mm);
        self.facing_nodes(name, body_label, outward, |n, face| match &self.near_caps {
            Some(near) => near[n][usize::from(end == End::Caudal)],
            None => face.iter().all(|&node| near_plane[node as usize]),
        })
    }

    /// The nodes of the flat outer face of a cap of elements with this label: triangles that lie within `depth_mm` of the plane through
    /// a point (world, mm) and face along its unit normal (world). The second value is their area, mm².
    pub fn flat_face_nodes(
        &self,
        name: &str,
        label: u16,
        [point, normal]: [Vector3<f64>; 2],
        depth_mm: f64,
    ) -> Result<(NodeSet, f64)> {
        let outward = self.bone.mesh.frame().direction_to_model(normal.into());
        let outward = Vector3::from(outward);
        let near_plane = self.near(|world| (world - point).dot(&normal).abs() <= depth_mm);
        self.facing_nodes(name, label, outward, |_, face| {
            face.iter().all(|&node| near_plane[node as usize])
        })
    }

    /// Which nodes have a place (world) that counts.
    fn near(&self, counts: impl Fn(Vector3<f64>) -> bool) -> Vec<bool> {
        let mesh = &self.bone.mesh;
        let nodes = mesh.nodes_mm().iter();
        nodes
            .map(|&node| counts(mesh.frame().to_world(node).into()))
            .collect()
    }

    /// The nodes of those triangles of the elements of a label that are there and face along `outward` (model frame), and their
    /// area as seen along it, mm².
    fn facing_nodes(
        &self,
        name: &str,
        label: u16,
        outward: Vector3<f64>,
        there: impl Fn(usize, &[u32; 3]) -> bool,
    ) -> Result<(NodeSet, f64)> {
        let BoneMesh::Tetrahedra(made) = &self.bone.mesh else {
            bail!("the mesh is none of tetrahedra");
        };
        let mesh = &made.mesh;
        let facing = FACING_DEG.to_radians().cos();
        let at = |node: u32| Vector3::from(mesh.nodes_mm[node as usize]);
        // Normals of the nodes, weighted by area: a single small triangle may lean anyhow.
        let mut normals = vec![Vector3::zeros(); mesh.nodes_mm.len()];
        for (face, _) in &self.facets {
            let [a, b, c] = face.map(at);
            let normal = (b - a).cross(&(c - a));
            for &node in face {
                normals[node as usize] += normal;
            }
        }
        let mut nodes = Vec::new();
        let mut area = 0.0;
        for (n, &(face, element)) in self.facets.iter().enumerate() {
            if !there(n, &face) || self.bone.labels[element as usize] != label {
                continue;
            }
            let normal: Vector3<f64> = face
                .iter()
                .map(|&node| normals[node as usize].normalize())
                .sum();
            if normal.dot(&outward) < facing * normal.norm() {
                continue;
            }
            nodes.extend(face);
            let [a, b, c] = face.map(at);
            area += 0.5 * (b - a).cross(&(c - a)).dot(&outward);
            let element = &mesh.elements[element as usize];
            for (middle, [i, j]) in TET10_EDGES.into_iter().enumerate() {
                if face.contains(&element[i]) && face.contains(&element[j]) {
                    nodes.push(element[4 + middle]);
                }
            }
        }
        let set = NodeSet::new(name, nodes);
        (!set.nodes.is_empty())
            .then_some((set, area))
            .with_context(|| {
                format!("no part of the surface lies at the {name} and faces along the axis")
            })
    }
}
