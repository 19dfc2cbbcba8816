//! A sideways fall onto the greater trochanter, linear: `linear-sideways-fall` (load-cases 1 and 2).
//!
//! Model axes: y runs from the greater trochanter to the head and is the load axis; the shaft leans so
//! that load and shaft make 105 degrees. The head is pushed through a cap along -y against a cap under
//! the trochanter; the distal shaft is held along x and z and may move along y.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use imaging::Mask;
use imaging::resample::Interpolation;
use meshing::{NodeSet, Outward, Side as End};
use nalgebra::{Matrix3, Vector3};

use super::cap::{self, CapOptions};
use super::{Body, BoneModel, Displacement, ElementKind, Loading, Meshed, prescribe};
use crate::anatomy::points::range;
use crate::anatomy::side::Side;
use crate::anatomy::{Check, FemurLandmarks};
use crate::pose::{Orientation, PoseOptions, Posed, Resampling, fall_rotation};

/// Settings of the sideways fall.
#[derive(Clone, Debug, PartialEq)]
pub struct FallOptions {
    /// Grid and interpolation.
    pub pose: PoseOptions,
    /// Pose of the femur (`load.orientation`).
    pub orientation: Orientation,
    /// Lean of the shaft in the anatomical pose, degrees (`load.adduction_deg`).
    pub adduction_deg: f64,
    /// Turn about the shaft axis, degrees (`load.internal_rotation_deg`).
    pub internal_rotation_deg: f64,
    /// Length of femur kept over the width of its proximal 40 mm; 0 keeps all
    /// (`load.femur_length_ratio`).
    pub femur_length_ratio: f64,
    /// Caps on head and trochanter.
    pub caps: CapOptions,
    /// Displacement of the head cap; percentages refer to the distance of the cap faces.
    pub displacement: Displacement,
}

impl Default for FallOptions {
    fn default() -> Self {
        Self {
            pose: PoseOptions {
                voxel_mm: 1.0,
                interpolation: Interpolation::CubicBSpline,
                resampling: Resampling::TwoStep,
                margin_mm: 12.0,
            },
            orientation: Orientation::Anatomical,
            adduction_deg: 15.0,
            internal_rotation_deg: 0.0,
            femur_length_ratio: 1.2,
            caps: CapOptions::default(),
            displacement: Displacement::Percent(4.0),
        }
    }
}

/// Shaft direction in model axes that the distal set is found along; the load case's own 15 degrees.
const SHAFT_LEAN_DEG: f64 = 15.0;

/// Builds the model. `input` holds the density and the femur (one label, one piece) on the scan's
/// grid, arrays running as RAS+. `landmarks` are needed for the anatomical pose only.
///
/// # Errors
/// When a setting is out of range, landmarks are missing for the anatomical pose, or a set stays empty.
pub fn build(
    input: &Posed,
    landmarks: Option<&FemurLandmarks>,
    side: Option<Side>,
    options: &FallOptions,
) -> Result<BoneModel> {
    let h = super::cube_side(&options.pose, input)?;
    let rotation = match &options.orientation {
        Orientation::None => Matrix3::identity(),
        Orientation::Matrix(matrix) => *matrix,
        Orientation::Anatomical => fall_rotation(
            landmarks.context("the anatomical pose needs the femur's landmarks")?,
            side,
            options.adduction_deg,
            options.internal_rotation_deg,
        )?,
    };
    let cropped = input.cropped(options.pose.margin_mm)?;
    let mut cubes = cropped.to_cubes(h, options.pose.interpolation)?;
    let (floor, length_mm, check) = femur_length(&cubes.bone(), h, options.femur_length_ratio)?;
    let start = match options.pose.resampling {
        Resampling::TwoStep => {
            cut_below(&mut cubes, floor);
            cubes
        }
        Resampling::OneStep => {
            let mut whole = cropped;
            cut_below(&mut whole, floor);
            whole
        }
    };
    let posed = start.turned(&rotation, h, options.pose.interpolation)?;
    let posed = cap::with_room(posed, options.caps.layers(h)? + 1)?;
    let mut model = load(posed, options, vec![check])?;
    model.femur_length_mm = Some(length_mm);
    Ok(model)
}

/// Caps, mesh and boundary conditions of a femur in its pose.
fn load(posed: Posed, options: &FallOptions, mut checks: Vec<Check>) -> Result<BoneModel> {
    let bone = posed.bone();
    let h = bone.grid.spacing_mm[1];
    let head_end = Outward {
        axis: 1,
        side: End::High,
    };
    let trochanter_end = Outward {
        axis: 1,
        side: End::Low,
    };
    let head = cap::build(&bone, &bone, head_end, &options.caps)?;
    let trochanter = cap::build(&bone, &bone, trochanter_end, &options.caps)?;
    let shaft = distal_shaft(&bone, options.caps.intrusion_mm);
    let mut body = Body::of(posed);
    body.add_cap(&head.voxels);
    body.add_cap(&trochanter.voxels);
    let anchors = cap::in_layer(&bone, &head.voxels, 1, head.face_layer);
    let meshed = body.mesh(&anchors)?;
    let loaded = cap_face(&meshed, "head_cap", head_end, &head, &bone);
    let fixed = cap_face(
        &meshed,
        "trochanter_cap",
        trochanter_end,
        &trochanter,
        &bone,
    );
    let distal = faces_between(&meshed, &shaft);
    checks.push(if distal.nodes.len() < 10 {
        Check::refuse(
            "distal_shaft",
            distal.nodes.len() as f64,
            "fewer than ten nodes hold the distal shaft",
        )
    } else {
        Check::pass(
            "distal_shaft",
            distal.nodes.len() as f64,
            format!("{} nodes hold the distal shaft", distal.nodes.len()),
        )
    });
    let extent_mm = (head.bone_layer + 1 - trochanter.bone_layer) as f64 * h;
    let reference_length_mm =
        extent_mm + 2.0 * (options.caps.thickness_mm - options.caps.intrusion_mm);
    let displacement_mm = options.displacement.mm(reference_length_mm);
    let mut prescribed = prescribe(&loaded, &[(1, -displacement_mm)]);
    prescribed.extend(prescribe(&fixed, &[(1, 0.0)]));
    prescribed.extend(prescribe(&distal, &[(0, 0.0), (2, 0.0)]));
    let loading = Loading {
        loaded,
        fixed,
        held: vec![distal],
        direction: [0.0, -1.0, 0.0],
        displacement_mm,
        prescribed,
        reference_length_mm,
    };
    let elastic = options.caps.elastic;
    let mut model = meshed.with(loading, [elastic, elastic], checks)?;
    model.cap_distance_mm = Some(reference_length_mm);
    model.bone_height_mm = Some(extent_mm);
    Ok(model)
}

/// Nodes of the outer faces of the cap voxels in the cap's outermost layer.
pub(super) fn cap_face(
    meshed: &Meshed,
    name: &str,
    outward: Outward,
    cap: &cap::Cap,
    grid_of: &Mask,
) -> NodeSet {
    meshed.mesh.outer_face_nodes(name, outward, |element| {
        let voxel = meshed.mesh.element_voxels[element];
        meshed.kinds[element] == ElementKind::Cap
            && grid_of.grid.voxel(voxel)[outward.axis] == cap.face_layer
    })
}

/// Image z (mm, voxel centres) of the lowest layer kept, the length kept and what to say of it
/// (load-cases 2.3). `bone` stands on cubes along RAS+ axes.
fn femur_length(bone: &Mask, h_mm: f64, ratio: f64) -> Result<(f64, f64, Check)> {
    let [low, high] = bone.bounding_box().context("the mask is empty")?;
    let level = |k: f64| crate::pose::to_image(bone.grid.to_world(Vector3::new(0.0, 0.0, k))).z;
    let scanned = high[2] + 1 - low[2];
    if ratio <= 0.0 {
        let length = scanned as f64 * h_mm;
        let check = Check::pass("femur_length", length, "all of the scanned femur is kept");
        return Ok((level(low[2] as f64 - 0.5), length, check));
    }
    let top = (40.0 / h_mm).round() as usize;
    let mut indices = [Vec::new(), Vec::new()];
    for (index, _) in bone.data.iter().enumerate().filter(|(_, inside)| **inside) {
        let voxel = bone.grid.voxel(index);
        if voxel[2] + top > high[2] {
            indices[0].push(voxel[0] as f64);
            indices[1].push(voxel[1] as f64);
        }
    }
    let width = indices.map(|values| width_1_to_99(values) * h_mm);
    let wanted = (ratio * width[0].max(width[1]) / h_mm).round() as usize;
    let kept = wanted.min(scanned);
    let length = kept as f64 * h_mm;
    let check = if wanted > scanned {
        Check::review(
            "femur_length",
            length,
            format!(
                "short: {length:.0} mm of femur scanned, {:.0} mm wanted ({ratio} times its width)",
                wanted as f64 * h_mm
            ),
        )
    } else {
        Check::pass(
            "femur_length",
            length,
            format!("{length:.0} mm of femur kept"),
        )
    };
    Ok((level((high[2] + 1 - kept) as f64 - 0.5), length, check))
}

/// Distance of the 1st and the 99th percentile (linear between ranks) plus one.
fn width_1_to_99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let percentile = |p: f64| {
        let rank = p * (values.len().saturating_sub(1)) as f64;
        let below = values.get(rank as usize).copied().unwrap_or(0.0);
        let above = values.get(rank as usize + 1).copied().unwrap_or(below);
        below + (above - below) * rank.fract()
    };
    percentile(0.99) - percentile(0.01) + 1.0
}

/// Removes the bone whose voxel centres lie below an image z.
fn cut_below(posed: &mut Posed, floor_mm: f64) {
    let grid = posed.labels.grid.clone();
    for (index, label) in posed.labels.data.iter_mut().enumerate() {
        if *label != 0 {
            let voxel = grid.voxel(index);
            let world = grid.to_world(Vector3::from_fn(|a, _| voxel[a] as f64));
            if crate::pose::to_image(world).z < floor_mm {
                *label = 0;
            }
        }
    }
}

/// The distal voxels of the shaft (load-cases 2.4): seen from a plane below the bone along the shaft
/// axis, the nearest voxel of each bucket one voxel wide; of these, the ones within `depth_mm`
/// (+0.75 voxel) of the nearest of all. Indices into the grid, ascending.
fn distal_shaft(bone: &Mask, depth_mm: f64) -> Vec<usize> {
    let h = bone.grid.spacing_mm[0];
    let (sin, cos) = SHAFT_LEAN_DEG.to_radians().sin_cos();
    let n = Vector3::new(0.0, -sin, cos);
    let u = Vector3::new(0.0, cos, sin);
    let v = Vector3::new(-1.0, 0.0, 0.0);
    let Some([low, high]) = bone.bounding_box() else {
        return Vec::new();
    };
    let extent = Vector3::from_fn(|a, _| (high[a] - low[a]) as f64 * h);
    let centre = Vector3::from_fn(|a, _| 0.5 * (high[a] + low[a]) as f64 * h);
    let origin = Vector3::new(centre.x, centre.y, low[2] as f64 * h - 0.1 * extent.z);
    let half = |axis: Vector3<f64>| 0.5 * (axis.x.abs() * extent.x + axis.y.abs() * extent.y);
    let (half_u, half_v) = (half(u), half(v));
    let mut nearest: BTreeMap<(i64, i64), (f64, usize)> = BTreeMap::new();
    for (index, _) in bone.data.iter().enumerate().filter(|(_, inside)| **inside) {
        let voxel = bone.grid.voxel(index);
        let from = Vector3::from_fn(|a, _| voxel[a] as f64 * h) - origin;
        let (along, a, b) = (from.dot(&n), from.dot(&u), from.dot(&v));
        if along < 0.0 || a.abs() > half_u + 1e-9 || b.abs() > half_v + 1e-9 {
            continue;
        }
        // Half up, not half to even: no two columns share a bucket.
        let bucket = ((a / h + 0.5).floor() as i64, (b / h + 0.5).floor() as i64);
        let entry = nearest.entry(bucket).or_insert((along, index));
        if along < entry.0 {
            *entry = (along, index);
        }
    }
    let (first, _) = range(nearest.values().map(|e| e.0));
    let mut kept: Vec<usize> = nearest
        .values()
        .filter(|e| e.0 <= first + depth_mm + 0.75 * h)
        .map(|e| e.1)
        .collect();
    kept.sort_unstable();
    kept
}

/// Nodes on the faces between the elements of `voxels` and bone elements that are not among them.
fn faces_between(meshed: &Meshed, voxels: &[usize]) -> NodeSet {
    let elements = &meshed.mesh.mesh.elements;
    let lattice = &meshed.mesh.lattice;
    let kept: Vec<bool> = meshed
        .mesh
        .element_voxels
        .iter()
        .map(|voxel| voxels.binary_search(voxel).is_ok())
        .collect();
    let by_cell: BTreeMap<[u32; 3], usize> = lattice
        .element_cells
        .iter()
        .enumerate()
        .filter(|&(element, _)| meshed.kinds[element] == ElementKind::Bone && !kept[element])
        .map(|(element, &[i, j, k])| ([k, j, i], element))
        .collect();
    let mut nodes = Vec::new();
    for element in (0..elements.len()).filter(|&element| kept[element]) {
        let [i, j, k] = lattice.element_cells[element];
        for (axis, step) in (0..3).flat_map(|axis| [(axis, 1), (axis, u32::MAX)]) {
            let mut cell = [k, j, i];
            cell[2 - axis] = cell[2 - axis].wrapping_add(step);
            if let Some(&other) = by_cell.get(&cell) {
                let shared = |node: &&u32| elements[other].contains(node);
                nodes.extend(elements[element].iter().filter(shared).copied());
            }
        }
    }
    NodeSet::new("distal_shaft", nodes)
}
