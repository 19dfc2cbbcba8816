//! Caps of potting material on a vertebra of tetrahedra.

use anyhow::{Context as _, Result};
use nalgebra::Vector3;

use super::{CAUDAL, CRANIAL, CompressionOptions, compress};
use crate::anatomy::{Check, Status};
use crate::bone_model::cap::{self, Cap};
use crate::bone_model::tetrahedra::{self, TetrahedraOptions};
use crate::bone_model::{BoneModel, ElementKind};
use crate::pose::Posed;

/// The face of a cap lacks its rim, about a voxel wide: less of the drawn area than this is for review, or refused.
const LEAST_FACE: [f64; 2] = [0.75, 0.5];
/// The flat face of a cap is rounded at its rim; what lies within this many voxels of its plane, and faces along the load, is the face.
const FACE_VOXELS: f64 = 1.0;

/// Caps as on voxels (load-cases 3.3, 3.4), drawn on the model grid and meshed together with the bone: elements take the material of
/// the voxel that they lie in. What is loaded and held are the flat outer faces.
pub(super) fn between_caps_of_tetrahedra(
    posed: Posed,
    body_label: u16,
    tetrahedra: &TetrahedraOptions,
    options: &CompressionOptions,
    mut checks: Vec<Check>,
) -> Result<BoneModel> {
    let h = posed.labels.grid.spacing_mm[2];
    let mut posed = cap::with_room(posed, options.caps.layers(h)? + 1)?;
    // Marks the voxels of caps while bone and caps are meshed as one body.
    let present = posed.labels.labels();
    let cap_label = (1..=u16::MAX)
        .rev()
        .find(|label| !present.contains(label))
        .context("the label map has every label there is, and the caps need one")?;
    let bone = posed.bone();
    let carrier = posed.labels.select(&[body_label]);
    let upper = cap::build(&carrier, &bone, CRANIAL, &options.caps)?;
    let lower = cap::build(&carrier, &bone, CAUDAL, &options.caps)?;
    for &voxel in upper.voxels.iter().chain(&lower.voxels) {
        posed.labels.data[voxel] = cap_label;
    }
    let grid = posed.labels.grid.clone();
    let mut meshed = tetrahedra::mesh(
        posed,
        [body_label, cap_label],
        None,
        None,
        tetrahedra,
        &mut checks,
    )?;
    let up: Vector3<f64> = grid.direction.column(2).into();
    let mut face = |name: &str, cap: &Cap, sign: f64| {
        let middle = [0, 1].map(|axis| (grid.size[axis] / 2) as f64);
        let layer = cap.face_layer as f64 + 0.5 * sign;
        let plane = [
            grid.to_world(Vector3::new(middle[0], middle[1], layer)),
            up * sign,
        ];
        let (nodes, area) = meshed.flat_face_nodes(name, cap_label, plane, FACE_VOXELS * h)?;
        let drawn = (cap.voxels.iter())
            .filter(|&&voxel| grid.voxel(voxel)[2] == cap.face_layer)
            .count() as f64
            * grid.spacing_mm[0]
            * grid.spacing_mm[1];
        let status = match area / drawn {
            share if share < LEAST_FACE[1] => Status::Refuse,
            share if share < LEAST_FACE[0] => Status::Review,
            _ => Status::Pass,
        };
        checks.push(Check::with(
            &format!("{name}_area"),
            status,
            area,
            format!("{area:.0} mm² of the mesh's surface are the face of the {name}, {drawn:.0} mm² of its voxels"),
        ));
        Ok::<_, anyhow::Error>(nodes)
    };
    let loaded = face("cranial_cap", &upper, 1.0)?;
    let fixed = face("caudal_cap", &lower, -1.0)?;
    let bone = &mut meshed.bone;
    for element in 0..bone.kinds.len() {
        if bone.labels[element] == cap_label {
            bone.kinds[element] = ElementKind::Cap;
            bone.labels[element] = 0;
            bone.density_mg_cm3[element] = 0.0;
        }
    }
    for label in &mut bone.posed.labels.data {
        if *label == cap_label {
            *label = 0;
        }
    }
    let extent_mm = (upper.bone_layer + 1 - lower.bone_layer) as f64 * h;
    let distance_mm = extent_mm + 2.0 * (options.caps.thickness_mm - options.caps.intrusion_mm);
    let down = meshed.bone.mesh.frame().direction_to_model((-up).into());
    let mut model = compress(
        meshed.bone,
        loaded,
        fixed,
        down,
        distance_mm,
        options,
        checks,
    )?;
    model.cap_distance_mm = Some(distance_mm);
    model.bone_height_mm = Some(extent_mm);
    Ok(model)
}
