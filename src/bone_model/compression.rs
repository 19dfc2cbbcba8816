//! A vertebra under compression: between caps (`linear-compression`, load-cases 3), between its own
//! labelled discs (load-cases 4), or on its endplates.
//!
//! Model axis z runs from caudal to cranial and is the load axis. The caudal face is held, the cranial
//! face moves down.

mod caps;
mod endplates;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use imaging::components::{Connectivity, largest_component};
use imaging::filter::gaussian;
use imaging::resample::Interpolation;
use imaging::{LabelMap, Volume};
use meshing::{NodeSet, Outward, Side};
use nalgebra::{Matrix3, Vector3};
use solver::load_case::Prescribed;

use super::cap::{self, CapOptions};
use super::fall::cap_face;
use super::tetrahedra::TetrahedraOptions;
use super::{
    Body, BoneModel, Displacement, ElementKind, Lateral, Loading, Meshed, Unloaded, lattice_axis,
    prescribe,
};
use crate::anatomy::endplate::ImageEndplates;
use crate::anatomy::vertebra::ENDPLATE_DEPTH_MM;
use crate::anatomy::{Check, VertebraLandmarks};
use crate::pose::{Orientation, PoseOptions, Posed, Resampling, upright_rotation};

/// Settings of the compression.
#[derive(Clone, Debug, PartialEq)]
pub struct CompressionOptions {
    /// Grid and interpolation.
    pub pose: PoseOptions,
    /// Pose (`load.orientation`).
    pub orientation: Orientation,
    /// Standard deviation of the label smoothing, mm; 0 = off (`mask.smooth_sigma_mm`).
    pub smooth_sigma_mm: f64,
    /// Caps built on the body; of them the endplates use the depth alone, as how far nodes may lie from the fitted plane.
    pub caps: CapOptions,
    /// Label values that are discs or caps already (`load.cap_labels`); empty = none.
    pub cap_labels: Vec<u16>,
    /// Direction of the load in the world, of any length (`load.direction`); `None` = along the body's axis. For endplates without caps.
    pub direction: Option<Vector3<f64>>,
    /// Loads the endplates themselves, without caps (`load.case` = `endplate_compression`).
    pub endplates: bool,
    /// Quadratic tetrahedra instead of voxels; not with discs of the label map.
    pub tetrahedra: Option<TetrahedraOptions>,
    /// Whether all labels are one bone, of which only loose pieces go; else each keeps its own largest piece.
    pub one_bone: bool,
    /// Components across the load axis (`load.lateral`).
    pub lateral: Lateral,
    /// Displacement of the cranial face. Percentages refer to the distance of the cap faces, for
    /// endplates to the height of the body.
    pub displacement: Displacement,
}

impl Default for CompressionOptions {
    /// `linear-compression`.
    fn default() -> Self {
        Self {
            pose: PoseOptions {
                voxel_mm: 1.0,
                interpolation: Interpolation::CubicBSpline,
                resampling: Resampling::TwoStep,
                margin_mm: 8.0,
            },
            orientation: Orientation::Anatomical,
            smooth_sigma_mm: 1.0,
            caps: CapOptions::default(),
            cap_labels: Vec::new(),
            direction: None,
            endplates: false,
            tetrahedra: None,
            one_bone: false,
            lateral: Lateral::Free,
            displacement: Displacement::Percent(0.68),
        }
    }
}

impl CompressionOptions {
    /// Compression of the endplates as in Saillard et al. 2024: 1.9 % of the body height, no cap.
    pub fn saillard2024() -> Self {
        Self {
            smooth_sigma_mm: 0.0,
            endplates: true,
            caps: CapOptions {
                intrusion_mm: ENDPLATE_DEPTH_MM,
                ..CapOptions::default()
            },
            lateral: Lateral::Fixed,
            displacement: Displacement::Percent(1.9),
            pose: PoseOptions {
                resampling: Resampling::OneStep,
                ..Self::default().pose
            },
            ..Self::default()
        }
    }
}

/// Builds the model. `input` holds the density and the labels on the scan's grid, arrays running as
/// RAS+; other labels than `labels` and `options.cap_labels` are ignored. The first of `labels` is the
/// body, the others the posterior elements.
///
/// # Errors
/// When a label is missing, the settings contradict each other, or a node set stays empty.
pub fn build(
    input: &Posed,
    labels: &[u16],
    landmarks: Option<&VertebraLandmarks>,
    of_image: Option<&ImageEndplates>,
    options: &CompressionOptions,
) -> Result<BoneModel> {
    let body_label = *labels
        .first()
        .context("no label value of the vertebra is given")?;
    let mut checks = Vec::new();
    let (labelled, dropped) = clean_labels(&input.labels, labels, options)?;
    if dropped > 0 {
        checks.push(Check::pass(
            "label_pieces",
            dropped as f64,
            format!("{dropped} voxels of loose pieces are dropped"),
        ));
    }
    let mut posed = Posed::new(input.density.clone(), labelled)?.cropped(options.pose.margin_mm)?;
    if options.smooth_sigma_mm > 0.0 {
        posed.labels = smooth_labels(&posed.labels, options)?;
    }
    if let (Some(of_image), None) = (of_image, &options.tetrahedra) {
        endplates::move_endplates(&mut posed.labels, body_label, of_image)?;
    }
    if let (Some(tetrahedra), true) = (&options.tetrahedra, options.endplates) {
        return endplates::between_endplates_of_tetrahedra(
            posed, body_label, landmarks, of_image, tetrahedra, options, checks,
        );
    }
    let posed = on_model_grid(posed, landmarks, options, &mut checks)?;
    if labels.len() == 1 && options.cap_labels.is_empty() && !options.endplates {
        checks.push(Check::review(
            "cap_on_body",
            None,
            "one label for the whole vertebra: the caps are put on what reaches furthest, which may be an articular process",
        ));
    }
    let mut model = if !options.cap_labels.is_empty() {
        between_discs(posed, options, checks)?
    } else if options.endplates {
        let landmarks = landmarks.context("compression of the endplates needs the landmarks")?;
        endplates::between_endplates(posed, body_label, landmarks, options, checks)?
    } else if let Some(tetrahedra) = &options.tetrahedra {
        caps::between_caps_of_tetrahedra(posed, body_label, tetrahedra, options, checks)?
    } else {
        between_caps(posed, body_label, options, checks)?
    };
    if let Some(landmarks) = landmarks {
        model.bone_height_mm = Some(landmarks.height_mm);
    }
    Ok(model)
}

/// Largest piece of every bone label, or, with cap labels, of all of them together. Other labels go.
fn clean_labels(
    map: &LabelMap,
    labels: &[u16],
    options: &CompressionOptions,
) -> Result<(LabelMap, usize)> {
    let cap_labels = &options.cap_labels;
    let wanted: Vec<u16> = labels.iter().chain(cap_labels).copied().collect();
    let groups: Vec<Vec<u16>> = if cap_labels.is_empty() && !options.one_bone {
        labels.iter().map(|&label| vec![label]).collect()
    } else {
        vec![wanted.clone()]
    };
    let mut clean = Volume::filled(map.grid.clone(), 0u16);
    let mut present = 0;
    for &label in &wanted {
        ensure!(
            map.data.contains(&label),
            "the label map has no voxel of label {label}; it has {:?}",
            map.labels()
        );
    }
    for group in groups {
        let mask = map.select(&group);
        present += mask.count();
        let kept = largest_component(&mask, Connectivity::Faces);
        for (index, _) in kept.data.iter().enumerate().filter(|(_, keep)| **keep) {
            clean.data[index] = map.data[index];
        }
    }
    let kept = clean.data.iter().filter(|&&label| label != 0).count();
    Ok((clean, present - kept))
}

/// Gaussian of each label's 0/1 image; a voxel takes the label with the largest value if that is at
/// least 0.5 (load-cases 3.1). Of one bone whose body and arch were parted by a plane it is their sum that counts, or the plane
/// would become a groove.
fn smooth_labels(map: &LabelMap, options: &CompressionOptions) -> Result<LabelMap> {
    let mut best = vec![0.0f32; map.data.len()];
    let mut sum = vec![0.0f32; map.data.len()];
    let mut smooth = Volume::filled(map.grid.clone(), 0u16);
    for label in map.labels() {
        let image = map.map(|&l| f32::from(u8::from(l == label)));
        let blurred = gaussian(&image, [options.smooth_sigma_mm; 3], 4.0)?;
        for (index, &value) in blurred.data.iter().enumerate() {
            sum[index] += value;
            if value > best[index] {
                best[index] = value;
                smooth.data[index] = label;
            }
        }
    }
    let counts = if options.one_bone { &sum } else { &best };
    for (label, &value) in smooth.data.iter_mut().zip(counts) {
        if value < 0.5 {
            *label = 0;
        }
    }
    Ok(smooth)
}

/// Resamples and turns (load-cases 1.2, 1.3, 3.2). With `orientation=none` and the image's own grid
/// nothing is resampled.
fn on_model_grid(
    posed: Posed,
    landmarks: Option<&VertebraLandmarks>,
    options: &CompressionOptions,
    checks: &mut Vec<Check>,
) -> Result<Posed> {
    let pose = &options.pose;
    let rotation = rotation(landmarks, options)?;
    if rotation.is_none() {
        if let Some(tilt) = landmarks.map(|l| l.tilt_deg).filter(|&tilt| tilt > 5.0) {
            checks.push(Check::review(
                "vertebra_tilt",
                tilt,
                format!("the endplates are tilted by {tilt:.1} degrees against the load axis; load.orientation=anatomical would turn the model"),
            ));
        }
        if pose.voxel_mm == 0.0 {
            return Ok(posed);
        }
    }
    let h = super::cube_side(pose, &posed)?;
    let start = match (pose.resampling, rotation.is_some()) {
        (Resampling::OneStep, true) => posed,
        _ => posed.to_cubes(h, pose.interpolation)?,
    };
    start.turned(
        &rotation.unwrap_or_else(Matrix3::identity),
        h,
        pose.interpolation,
    )
}

/// From image axes to model axes; `None` when they are the same.
fn rotation(
    landmarks: Option<&VertebraLandmarks>,
    options: &CompressionOptions,
) -> Result<Option<Matrix3<f64>>> {
    Ok(match &options.orientation {
        Orientation::None => None,
        Orientation::Matrix(matrix) => Some(*matrix),
        Orientation::Anatomical => Some(upright_rotation(
            landmarks
                .context("the anatomical pose needs the vertebra's landmarks")?
                .axis,
        )),
    })
}

const CRANIAL: Outward = Outward {
    axis: 2,
    side: Side::High,
};
const CAUDAL: Outward = Outward {
    axis: 2,
    side: Side::Low,
};

/// Caps on the body (load-cases 3.3, 3.4).
fn between_caps(
    posed: Posed,
    body_label: u16,
    options: &CompressionOptions,
    checks: Vec<Check>,
) -> Result<BoneModel> {
    let h = posed.labels.grid.spacing_mm[2];
    let posed = cap::with_room(posed, options.caps.layers(h)? + 1)?;
    let bone = posed.bone();
    let carrier = posed.labels.select(&[body_label]);
    let upper = cap::build(&carrier, &bone, CRANIAL, &options.caps)?;
    let lower = cap::build(&carrier, &bone, CAUDAL, &options.caps)?;
    let mut body = Body::of(posed);
    body.add_cap(&upper.voxels);
    body.add_cap(&lower.voxels);
    let anchors = cap::in_layer(&bone, &upper.voxels, 2, upper.face_layer);
    let meshed = body.mesh(&anchors)?;
    let loaded = cap_face(&meshed, "cranial_cap", CRANIAL, &upper, &bone);
    let fixed = cap_face(&meshed, "caudal_cap", CAUDAL, &lower, &bone);
    let extent_mm = (upper.bone_layer + 1 - lower.bone_layer) as f64 * h;
    let distance_mm = extent_mm + 2.0 * (options.caps.thickness_mm - options.caps.intrusion_mm);
    let mut model = along_z(meshed, loaded, fixed, distance_mm, options, checks)?;
    model.cap_distance_mm = Some(distance_mm);
    model.bone_height_mm = Some(extent_mm);
    Ok(model)
}

/// Discs that the label map has already (load-cases 4). Which is the upper one is read from their
/// positions.
fn between_discs(
    posed: Posed,
    options: &CompressionOptions,
    checks: Vec<Check>,
) -> Result<BoneModel> {
    let mut by_height: Vec<(f64, u16)> = options
        .cap_labels
        .iter()
        .map(|&label| {
            let disc = posed.labels.select(&[label]);
            let layers = disc.data.iter().enumerate().filter(|(_, inside)| **inside);
            let (sum, count) = layers.fold((0usize, 0usize), |(sum, count), (index, _)| {
                (sum + disc.grid.voxel(index)[2], count + 1)
            });
            (sum as f64 / count.max(1) as f64, label)
        })
        .collect();
    by_height.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [(_, lower), .., (_, upper)] = by_height[..] else {
        bail!("load.cap_labels needs the labels of two discs, one above and one below the body");
    };
    let mut body = Body::of(posed);
    for (kind, label) in body.kinds.iter_mut().zip(&body.posed.labels.data) {
        if options.cap_labels.contains(label) {
            *kind = Some(ElementKind::Cap);
        }
    }
    let anchors: Vec<usize> = (0..body.kinds.len())
        .filter(|&index| body.posed.labels.data[index] == upper)
        .collect();
    let meshed = body.mesh(&anchors)?;
    let loaded = meshed
        .mesh
        .visible_face_nodes("cranial_disc", CRANIAL, |element| {
            meshed.labels[element] == upper
        });
    let fixed = meshed
        .mesh
        .visible_face_nodes("caudal_disc", CAUDAL, |element| {
            meshed.labels[element] == lower
        });
    let layers = |outward, label| {
        meshed
            .mesh
            .outermost_layer(outward, |element| meshed.labels[element] == label)
    };
    let (Some(top), Some(bottom)) = (layers(CRANIAL, upper), layers(CAUDAL, lower)) else {
        bail!("a disc was lost because it hangs on nothing");
    };
    let h = meshed.mesh.lattice.spacing_mm[2];
    let Some(height_mm) = height_between(&meshed, lower, upper) else {
        bail!("the two discs do not lie one above the other: no column of voxels meets both");
    };
    let distance_mm = (top + 1 - bottom) as f64 * h;
    let mut model = along_z(meshed, loaded, fixed, distance_mm, options, checks)?;
    model.cap_distance_mm = Some(distance_mm);
    model.bone_height_mm = Some(height_mm);
    Ok(model)
}

/// Mean distance of the faces that two discs turn to each other, mm, over the columns that meet both. The processes
/// of the bone, which reach beyond its endplates, do not enter.
fn height_between(meshed: &Meshed, lower: u16, upper: u16) -> Option<f64> {
    let lattice = &meshed.mesh.lattice;
    // Top of the lower disc and bottom of the upper one, by column.
    let mut columns: BTreeMap<[u32; 2], [Option<u32>; 2]> = BTreeMap::new();
    for (&[x, y, z], &label) in lattice.element_cells.iter().zip(&meshed.labels) {
        if label == lower {
            let top = &mut columns.entry([x, y]).or_default()[0];
            *top = Some(top.map_or(z + 1, |top| top.max(z + 1)));
        } else if label == upper {
            let bottom = &mut columns.entry([x, y]).or_default()[1];
            *bottom = Some(bottom.map_or(z, |bottom| bottom.min(z)));
        }
    }
    let gaps: Vec<f64> = columns
        .values()
        .filter_map(|&[top, bottom]| Some(f64::from(bottom?) - f64::from(top?)))
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    (mean > 0.0).then(|| mean * lattice.spacing_mm[2])
}

/// Compression along the model's own z axis.
fn along_z(
    meshed: Meshed,
    loaded: NodeSet,
    fixed: NodeSet,
    length_mm: f64,
    options: &CompressionOptions,
    checks: Vec<Check>,
) -> Result<BoneModel> {
    compress(
        meshed.unloaded(),
        loaded,
        fixed,
        [0.0, 0.0, -1.0],
        length_mm,
        options,
        checks,
    )
}

/// Prescribes the motion of the two faces.
fn compress(
    meshed: Unloaded,
    loaded: NodeSet,
    fixed: NodeSet,
    direction: [f64; 3],
    length_mm: f64,
    options: &CompressionOptions,
    mut checks: Vec<Check>,
) -> Result<BoneModel> {
    let d = options.displacement.mm(length_mm);
    let mut direction: [f64; 3] = Vector3::from(direction).normalize().into();
    let axis = lattice_axis(direction);
    if let Some((axis, sign)) = axis {
        direction = [0.0; 3];
        direction[axis] = sign;
    }
    let all_held = [(0, 0.0), (1, 0.0), (2, 0.0)];
    let mut prescribed;
    match (options.lateral, axis) {
        (Lateral::Fixed, _) => {
            let moved: Vec<(u8, f64)> = (0..3).map(|a| (a as u8, d * direction[a])).collect();
            prescribed = prescribe(&loaded, &moved);
            prescribed.extend(prescribe(&fixed, &all_held));
        }
        (Lateral::Free, Some((axis, sign))) => {
            prescribed = prescribe(&loaded, &[(axis as u8, d * sign)]);
            prescribed.extend(prescribe(&fixed, &all_held));
        }
        (Lateral::FreeBoth, Some((axis, sign))) => {
            prescribed = prescribe(&loaded, &[(axis as u8, d * sign)]);
            prescribed.extend(prescribe(&fixed, &[(axis as u8, 0.0)]));
            prescribed.extend(three_point_constraints(&meshed, &fixed, axis)?);
        }
        (_, None) => bail!(
            "load.lateral=free and free_both need the load along a model axis, but it points along ({:.4}, {:.4}, {:.4}): set load.orientation=anatomical, which turns the model, or load.lateral=fixed",
            direction[0],
            direction[1],
            direction[2]
        ),
    }
    checks.push(Check::pass(
        "loaded_nodes",
        loaded.nodes.len() as f64,
        format!(
            "{} cranial nodes are loaded, {} caudal nodes held",
            loaded.nodes.len(),
            fixed.nodes.len()
        ),
    ));
    let loading = Loading {
        loaded,
        fixed,
        held: Vec::new(),
        direction,
        displacement_mm: d,
        prescribed,
        reference_length_mm: length_mm,
    };
    let elastic = options.caps.elastic;
    meshed.with(loading, [elastic, elastic], checks)
}

/// Three constraints across `axis` on two nodes of a flat face that is held along `axis`: they stop
/// the two shifts and the turn that are left, and carry no force, so which nodes they are does not
/// matter.
fn three_point_constraints(
    meshed: &Unloaded,
    face: &NodeSet,
    axis: usize,
) -> Result<[Prescribed; 3]> {
    let [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
    let at = |node: &u32| meshed.mesh.nodes_mm()[*node as usize];
    let by = |a: &&u32, b: &&u32| at(a)[u].total_cmp(&at(b)[u]);
    let (Some(&first), Some(&last)) = (face.nodes.iter().min_by(by), face.nodes.iter().max_by(by))
    else {
        bail!("the held face has no node");
    };
    ensure!(
        at(&last)[u] > at(&first)[u],
        "the held face is a line: nothing stops the body from turning"
    );
    let hold = |node, component: usize| Prescribed {
        node,
        component: component as u8,
        displacement_mm: 0.0,
    };
    Ok([hold(first, u), hold(first, v), hold(last, v)])
}
