//! Compression of a vertebra on its own endplates: those of its mask, or those of the image.

use anyhow::{Context, Result, ensure};
use imaging::LabelMap;
use meshing::tetrahedral::Solid as _;
use meshing::{LevelSet, NodeSet};
use nalgebra::Vector3;

use super::{CAUDAL, CRANIAL, CompressionOptions, compress, rotation};
use crate::anatomy::endplate::{ImageEndplates, SEARCH_MM};
use crate::anatomy::vertebra::Endplate;
use crate::anatomy::{Check, VertebraLandmarks};
use crate::bone_model::between_caps::BetweenCaps;
use crate::bone_model::tetrahedra::{self, End, TetrahedraOptions};
use crate::bone_model::{Body, BoneModel};
use crate::pose::Posed;

/// Gives the voxels between the endplates of the image to the body, and takes those beyond away.
pub(super) fn move_endplates(
    labels: &mut LabelMap,
    body_label: u16,
    endplates: &ImageEndplates,
) -> Result<()> {
    let surface = LevelSet::of(&labels.map(|&label| label != 0))?;
    let between = BetweenCaps::new(&surface, endplates)?;
    let grid = labels.grid.clone();
    for (index, label) in labels.data.iter_mut().enumerate() {
        let world = grid.to_world(Vector3::from(grid.voxel(index).map(|v| v as f64)));
        let at = surface.frame().to_model(world.into());
        let near = between
            .at_endplates(at)
            .iter()
            .any(|at| at.above_mm.abs() < 2.0 * SEARCH_MM && at.within_mm > 0.0);
        if near {
            match (*label != 0, between.depth_mm(at) > 0.0) {
                (true, false) => *label = 0,
                (false, true) => *label = body_label,
                _ => {}
            }
        }
    }
    Ok(())
}

/// The endplates themselves: what one sees of the body from above and from below, near the
/// fitted planes. The load runs along the body axis.
pub(super) fn between_endplates(
    posed: Posed,
    body_label: u16,
    landmarks: &VertebraLandmarks,
    options: &CompressionOptions,
    checks: Vec<Check>,
) -> Result<BoneModel> {
    let anchors: Vec<usize> = (0..posed.labels.data.len())
        .filter(|&index| posed.labels.data[index] == body_label)
        .collect();
    let meshed = Body::of(posed).mesh(&anchors)?;
    let depth_mm = options.caps.intrusion_mm;
    let seen = |name: &str, outward, plane: &Endplate| {
        let face = meshed.mesh.outer_face_nodes(name, outward, |element| {
            meshed.labels[element] == body_label
        });
        let near = |node: &u32| plane.above_mm(meshed.node_world(*node)).abs() <= depth_mm;
        NodeSet::new(name, face.nodes.into_iter().filter(near).collect())
    };
    let loaded = seen("cranial_endplate", CRANIAL, &landmarks.cranial);
    let fixed = seen("caudal_endplate", CAUDAL, &landmarks.caudal);
    let down = meshed
        .mesh
        .frame
        .direction_to_model(load_direction(landmarks, options)?.into());
    compress(
        meshed.unloaded(),
        loaded,
        fixed,
        down,
        landmarks.height_mm,
        options,
        checks,
    )
}

/// Direction of the load in the world, unit.
fn load_direction(
    landmarks: &VertebraLandmarks,
    options: &CompressionOptions,
) -> Result<Vector3<f64>> {
    let Some(given) = options.direction else {
        return Ok(-landmarks.axis);
    };
    let given = given
        .try_normalize(1e-9)
        .context("the load direction has no length")?;
    ensure!(
        given.dot(&landmarks.axis) < -0.5,
        "load.direction points {:.0} degrees away from the axis of the body, from its cranial endplate down: a compression needs less than 60",
        given
            .dot(&-landmarks.axis)
            .clamp(-1.0, 1.0)
            .acos()
            .to_degrees()
    );
    Ok(given)
}

/// The same on quadratic tetrahedra: triangles of the body's surface that face up or down, near the planes or on the
/// caps found in the image.
pub(super) fn between_endplates_of_tetrahedra(
    posed: Posed,
    body_label: u16,
    landmarks: Option<&VertebraLandmarks>,
    endplates: Option<&ImageEndplates>,
    tetrahedra: &TetrahedraOptions,
    options: &CompressionOptions,
    mut checks: Vec<Check>,
) -> Result<BoneModel> {
    let turn = rotation(landmarks, options)?;
    let landmarks = landmarks.context("compression of the endplates needs the landmarks")?;
    let meshed = tetrahedra::mesh(
        posed,
        [body_label, 0],
        turn,
        endplates,
        tetrahedra,
        &mut checks,
    )?;
    let up = Vector3::from(
        meshed
            .bone
            .mesh
            .frame()
            .direction_to_model(landmarks.axis.into()),
    );
    let depth_mm = options.caps.intrusion_mm;
    let (loaded, upper_mm2) =
        meshed.endplate_nodes(End::Cranial, body_label, up, &landmarks.cranial, depth_mm)?;
    let (fixed, lower_mm2) =
        meshed.endplate_nodes(End::Caudal, body_label, -up, &landmarks.caudal, depth_mm)?;
    for (name, area) in [("cranial", upper_mm2), ("caudal", lower_mm2)] {
        checks.push(Check::pass(
            &format!("{name}_loaded_area"),
            area,
            format!("{area:.0} mm² of the mesh's surface are the {name} endplate"),
        ));
    }
    let down = load_direction(landmarks, options)?;
    let down = meshed.bone.mesh.frame().direction_to_model(down.into());
    let mut model = compress(
        meshed.bone,
        loaded,
        fixed,
        down,
        landmarks.height_mm,
        options,
        checks,
    )?;
    model.bone_height_mm = Some(landmarks.height_mm);
    Ok(model)
}
