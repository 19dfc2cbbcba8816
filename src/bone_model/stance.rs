//! A femur loaded on its head as in standing: `saillard2024-femur` and `sas2020-femur`.
//!
//! The head is pushed along the shaft axis (tilted in the frontal plane by a chosen angle), the shaft
//! is held at its distal end. Without a cup the displacement acts on the surface nodes of the head
//! within a small depth of the most proximal one (Saillard et al. 2024). With a cup (Sas et al. 2020)
//! voxels of cement are added on the head and loaded on their outer face, and the head under them is
//! stiff and linear.

use anyhow::{Context, Result, ensure};
use imaging::filter::masked_gaussian;
use imaging::resample::{
    Interpolation, Outside, isotropic_grid, mask_fraction, resample, volume_mean,
};
use imaging::{Mask, Volume};
use meshing::NodeSet;
use nalgebra::Vector3;

use super::{
    Body, BoneModel, Elastic, ElementKind, Lateral, Loading, Meshed, lattice_axis, prescribe,
};
use crate::anatomy::points::range;
use crate::anatomy::{Check, FemurLandmarks};
use crate::pose::{Orientation, PoseOptions, Posed, Resampling, stance_rotation};

/// A cup of cement on the head (Sas 2020).
#[derive(Clone, Debug, PartialEq)]
pub struct CupOptions {
    /// Thickness of the cup over the head sphere, mm. The published model leaves it open.
    pub thickness_mm: f64,
    /// How far the cup reaches down the head from its top along the load axis, mm. Left open as well.
    pub depth_mm: f64,
    /// Depth of the influence region below the head's surface, mm; 0 = none. Left open as well.
    pub influence_mm: f64,
    /// Cup: 2 GPa (Sas 2020).
    pub elastic: Elastic,
    /// Influence region: 20 GPa, linear (Sas 2020).
    pub influence: Elastic,
}

impl Default for CupOptions {
    fn default() -> Self {
        Self {
            thickness_mm: 5.0,
            depth_mm: 8.0,
            influence_mm: 3.0,
            elastic: Elastic {
                youngs_modulus_mpa: 2000.0,
                poissons_ratio: 0.3,
            },
            influence: Elastic {
                youngs_modulus_mpa: 20_000.0,
                poissons_ratio: 0.3,
            },
        }
    }
}

/// Settings of the stance load case.
#[derive(Clone, Debug, PartialEq)]
pub struct StanceOptions {
    /// Grid and interpolation; `voxel_mm` 1.0 by default.
    pub pose: PoseOptions,
    /// `None` keeps the array axes; `Anatomical` lays the load axis along z.
    pub orientation: Orientation,
    /// Tilt of the load in the frontal plane, degrees (`load.angle_deg`): at 0 it runs down the shaft
    /// axis; positive pushes the head towards lateral.
    pub angle_deg: f64,
    /// Load direction (world, LPS) in place of the one from the landmarks.
    pub direction: Option<Vector3<f64>>,
    /// Prescribed displacement of the head at load factor 1, mm.
    pub displacement_mm: f64,
    /// Depth of the loaded head cap along the load axis, mm.
    pub head_cap_depth_mm: f64,
    /// `Fixed`: all three components of the loaded nodes are prescribed. `Free`: only that along the
    /// load, which then must be a model axis.
    pub lateral: Lateral,
    /// How a resampled element gets its density.
    pub coverage: Coverage,
    /// Share of its volume an element must have in the mask to exist.
    pub minimum_fraction: f64,
    /// Height of the held end of the shaft, mm; less than one element holds one layer.
    pub fixation_mm: f64,
    /// Length of shaft kept below the tip of the lesser trochanter, mm; 0 keeps all that was scanned.
    pub shaft_below_lesser_trochanter_mm: f64,
    /// Full width at half maximum of the density smoothing, mm; 0 = off (`density.smoothing_fwhm_mm`).
    pub smoothing_fwhm_mm: f64,
    /// Cup on the head.
    pub cup: Option<CupOptions>,
}

impl Default for StanceOptions {
    /// `saillard2024-femur`.
    fn default() -> Self {
        Self {
            pose: PoseOptions {
                voxel_mm: 1.0,
                interpolation: Interpolation::CubicBSpline,
                resampling: Resampling::OneStep,
                margin_mm: 12.0,
            },
            orientation: Orientation::None,
            angle_deg: 0.0,
            direction: None,
            displacement_mm: 4.0,
            head_cap_depth_mm: 3.0,
            lateral: Lateral::Fixed,
            coverage: Coverage::Volume,
            minimum_fraction: 0.5,
            fixation_mm: 0.0,
            shaft_below_lesser_trochanter_mm: 100.0,
            smoothing_fwhm_mm: 0.0,
            cup: None,
        }
    }
}

impl StanceOptions {
    /// `sas2020-femur`: cup with influence region, density smoothed with 3 mm full width.
    pub fn sas2020() -> Self {
        Self {
            smoothing_fwhm_mm: 3.0,
            cup: Some(CupOptions::default()),
            ..Self::default()
        }
    }
}

/// What a resampled element knows of the voxels it covers (`mesh.coverage`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// The density interpolated at its centre, from all tissue: a surface element keeps the partial
    /// volume of the scan.
    Point,
    /// The mean density of the part of its volume that is bone.
    #[default]
    Volume,
}

/// Builds the model. `input` holds the density and the femur (one label) on the scan's grid, arrays
/// running as RAS+.
///
/// # Errors
/// When the settings contradict each other (an oblique load with free lateral components, caps without
/// room) or a node set stays empty.
pub fn build(
    input: &Posed,
    landmarks: &FemurLandmarks,
    options: &StanceOptions,
) -> Result<BoneModel> {
    ensure!(
        options.lateral != Lateral::FreeBoth,
        "load.lateral=free_both is no setting of the stance load case: choose fixed or free"
    );
    let direction = load_direction(landmarks, options)?;
    let mut posed = on_model_grid(input, landmarks, direction, options)?;
    let floor_mm = cut_shaft(
        &mut posed,
        landmarks,
        options.shaft_below_lesser_trochanter_mm,
    );
    let mut checks = vec![match floor_mm {
        Some(floor) => Check::pass(
            "femur_length",
            landmarks.proximal_mm - floor,
            "the shaft is cut to the set length below the lesser trochanter",
        ),
        None => Check::pass(
            "femur_length",
            landmarks.length_mm(),
            "all of the scanned femur is kept",
        ),
    }];
    let mut body = Body::of(posed);
    let cup = match &options.cup {
        Some(cup) => Some(add_cup(&mut body, landmarks, direction, cup)?),
        None => None,
    };
    if options.smoothing_fwhm_mm > 0.0 {
        smooth_density(&mut body, options.smoothing_fwhm_mm)?;
    }
    let anchor = head_voxels(&body, landmarks);
    let meshed = body.mesh(&anchor)?;
    let loaded = match &cup {
        Some(outer) => cup_face(&meshed, outer),
        None => head_cap(&meshed, landmarks, direction, options.head_cap_depth_mm),
    };
    let fixed = distal_end(&meshed, landmarks, floor_mm.is_some(), options.fixation_mm);
    checks.push(Check::pass(
        "loaded_nodes",
        loaded.nodes.len() as f64,
        format!(
            "{} nodes of the head are loaded, {} distal nodes held",
            loaded.nodes.len(),
            fixed.nodes.len()
        ),
    ));
    let loading = loading(&meshed, loaded, fixed, direction, landmarks, options)?;
    let (cap, influence) = options.cup.as_ref().map_or_else(
        || {
            (
                CupOptions::default().elastic,
                CupOptions::default().influence,
            )
        },
        |c| (c.elastic, c.influence),
    );
    let mut model = meshed.with(loading, [cap, influence], checks)?;
    model.femur_length_mm = Some(landmarks.proximal_mm - floor_mm.unwrap_or(landmarks.distal_mm));
    Ok(model)
}

/// Direction of the load in the world (LPS), unit.
fn load_direction(landmarks: &FemurLandmarks, options: &StanceOptions) -> Result<Vector3<f64>> {
    if let Some(given) = options.direction {
        return given
            .try_normalize(1e-9)
            .context("the load direction has no length");
    }
    let (sin, cos) = options.angle_deg.to_radians().sin_cos();
    Ok(-landmarks.shaft.direction * cos - landmarks.medial * sin)
}

/// Femur and density on the grid that is meshed.
fn on_model_grid(
    input: &Posed,
    landmarks: &FemurLandmarks,
    direction: Vector3<f64>,
    options: &StanceOptions,
) -> Result<Posed> {
    let pose = &options.pose;
    let cropped = input.cropped(pose.margin_mm)?;
    let rotation = match &options.orientation {
        Orientation::None => None,
        Orientation::Matrix(matrix) => Some(*matrix),
        Orientation::Anatomical => Some(stance_rotation(direction, landmarks.medial)),
    };
    let Some(rotation) = rotation else {
        if pose.voxel_mm == 0.0 {
            return Ok(cropped);
        }
        let target = centred_cubes(&cropped.density.grid, pose.voxel_mm)?;
        return by_fraction(&cropped, &target, options);
    };
    let h = if pose.voxel_mm > 0.0 {
        pose.voxel_mm
    } else {
        // A turned model has no CT grid to stand on: cubes of the finest spacing.
        cropped
            .density
            .grid
            .spacing_mm
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
    };
    let start = match pose.resampling {
        Resampling::OneStep => cropped,
        Resampling::TwoStep => {
            let target = centred_cubes(&cropped.density.grid, h)?;
            by_fraction(&cropped, &target, options)?
        }
    };
    let grid = crate::pose::model_grid(&start.bone(), &rotation, h)?;
    by_fraction(&start, &grid, options)
}

/// Cubes that share their middle with the image box, not its first voxel: a mirrored scan is then cut into the
/// mirrored cubes.
fn centred_cubes(source: &imaging::Grid, h_mm: f64) -> Result<imaging::Grid> {
    let mut cubes = isotropic_grid(source, h_mm)?;
    let middle = |grid: &imaging::Grid| {
        grid.to_world(Vector3::from_fn(|a, _| 0.5 * (grid.size[a] as f64 - 1.0)))
    };
    cubes.origin_mm += middle(source) - middle(&cubes);
    Ok(cubes)
}

/// Resamples with the mask decided by volume fraction: partial voxels at the bone's edge neither
/// vanish nor grow on the average, which nearest neighbour does not grant on coarser grids.
fn by_fraction(input: &Posed, target: &imaging::Grid, options: &StanceOptions) -> Result<Posed> {
    let bone = input.bone();
    let fraction = mask_fraction(&bone, target);
    let label = input.labels.data.iter().copied().max().unwrap_or(0);
    let density = match options.coverage {
        Coverage::Point => resample(
            &input.density,
            target,
            options.pose.interpolation,
            Outside::Mirror,
        ),
        Coverage::Volume => {
            let mut inside = input.density.clone();
            for (value, &bone) in inside.data.iter_mut().zip(&bone.data) {
                if !bone {
                    *value = 0.0;
                }
            }
            let mut mean = volume_mean(&inside, target);
            for (value, &fraction) in mean.data.iter_mut().zip(&fraction.data) {
                *value = if fraction > 0.0 {
                    *value / fraction
                } else {
                    0.0
                };
            }
            mean
        }
    };
    let least = options.minimum_fraction as f32;
    Posed::new(
        density,
        fraction.map(|&f| if f > 0.0 && f >= least { label } else { 0 }),
    )
}

/// Removes the shaft further than `below_mm` under the tip of the lesser trochanter; returns the level
/// of the cut along the shaft when there is one.
fn cut_shaft(posed: &mut Posed, landmarks: &FemurLandmarks, below_mm: f64) -> Option<f64> {
    let floor = landmarks.lesser_trochanter?.tip_mm - below_mm;
    if below_mm <= 0.0 || floor <= landmarks.distal_mm {
        return None;
    }
    let grid = posed.labels.grid.clone();
    for (index, label) in posed.labels.data.iter_mut().enumerate() {
        if *label != 0 && landmarks.shaft.along(world_of(&grid, index)) < floor {
            *label = 0;
        }
    }
    Some(floor)
}

fn world_of(grid: &imaging::Grid, index: usize) -> Vector3<f64> {
    let voxel = grid.voxel(index);
    grid.to_world(Vector3::from_fn(|a, _| voxel[a] as f64))
}

/// Voxels of the body inside the head sphere: the piece that is kept holds them.
fn head_voxels(body: &Body, landmarks: &FemurLandmarks) -> Vec<usize> {
    (0..body.kinds.len())
        .filter(|&index| body.kinds[index].is_some())
        .filter(|&index| {
            let from = world_of(body.grid(), index) - landmarks.head.centre_mm;
            from.norm() < 0.5 * landmarks.head.radius_mm
        })
        .collect()
}

/// Geometry of the cup, for finding its outer face.
struct Cup {
    centre_mm: Vector3<f64>,
    outer_mm: f64,
}

/// Adds the cup: empty voxels outside the bone, inside a sphere `thickness` larger than the head and
/// above the plane `depth` below its top along the load axis. Marks the influence region below it.
fn add_cup(
    body: &mut Body,
    landmarks: &FemurLandmarks,
    direction: Vector3<f64>,
    options: &CupOptions,
) -> Result<Cup> {
    let head = landmarks.head;
    let spacing = body.grid().spacing_mm.iter().copied().fold(0.0, f64::max);
    let layers = (options.thickness_mm / spacing).ceil() as usize + 2;
    let posed = super::cap::with_room(body.posed.clone(), layers)?;
    *body = Body::of(posed);
    let outer_mm = head.radius_mm + options.thickness_mm;
    let grid = body.grid().clone();
    for index in 0..body.kinds.len() {
        let from = world_of(&grid, index) - head.centre_mm;
        let (r, height) = (from.norm(), -from.dot(&direction));
        if height < head.radius_mm - options.depth_mm || r > outer_mm {
            continue;
        }
        match body.kinds[index] {
            None => body.kinds[index] = Some(ElementKind::Cap),
            Some(ElementKind::Bone) if r > head.radius_mm - options.influence_mm => {
                body.kinds[index] = Some(ElementKind::Influence);
            }
            Some(_) => {}
        }
    }
    Ok(Cup {
        centre_mm: head.centre_mm,
        outer_mm,
    })
}

/// Smooths the density of the bone over its neighbours inside the bone and outside the influence
/// region (Sas 2020): full width at half maximum `fwhm_mm`, cut off at ceil((6 - voxel) / 4) voxels.
fn smooth_density(body: &mut Body, fwhm_mm: f64) -> Result<()> {
    let sigma = fwhm_mm / (8.0 * std::f64::consts::LN_2).sqrt();
    let mask: Mask = Volume {
        grid: body.grid().clone(),
        data: body
            .kinds
            .iter()
            .map(|&kind| kind == Some(ElementKind::Bone))
            .collect(),
    };
    // The published radius assumes its 3 mm width; it scales with the width here.
    let radius = body.grid().spacing_mm.map(|s| {
        let published = ((6.0 - s) / 4.0).ceil().max(1.0);
        (published * fwhm_mm / 3.0).ceil() as usize
    });
    body.posed.density = masked_gaussian(&body.posed.density, &mask, [sigma; 3], radius)?;
    Ok(())
}

/// Surface nodes of the head within `depth_mm` of its most proximal node along the load axis.
fn head_cap(
    meshed: &Meshed,
    landmarks: &FemurLandmarks,
    direction: Vector3<f64>,
    depth_mm: f64,
) -> NodeSet {
    let head = landmarks.head;
    let voxel = meshed
        .mesh
        .lattice
        .spacing_mm
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let on_head: Vec<(u32, f64)> = meshed
        .surface_nodes()
        .into_iter()
        .filter_map(|node| {
            let from = meshed.node_world(node) - head.centre_mm;
            let height = -from.dot(&direction);
            // The upper half of the sphere, and a little around it: heads are not quite round.
            (from.norm() < head.radius_mm + 2.0 + voxel && height > 0.0).then_some((node, height))
        })
        .collect();
    let (_, top) = range(on_head.iter().map(|n| n.1));
    let nodes = on_head
        .into_iter()
        .filter(|n| n.1 >= top - depth_mm)
        .map(|n| n.0)
        .collect();
    NodeSet::new("head_cap", nodes)
}

/// Surface nodes of the cup on its outer sphere.
fn cup_face(meshed: &Meshed, cup: &Cup) -> NodeSet {
    let of_cup = meshed
        .mesh
        .mesh
        .nodes_of_elements("cup", |e| meshed.kinds[e] == ElementKind::Cap);
    let voxel = meshed
        .mesh
        .lattice
        .spacing_mm
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let surface = meshed.surface_nodes();
    let nodes = of_cup
        .nodes
        .into_iter()
        .filter(|node| surface.binary_search(node).is_ok())
        .filter(|&node| (meshed.node_world(node) - cup.centre_mm).norm() > cup.outer_mm - voxel)
        .collect();
    NodeSet::new("cup", nodes)
}

/// Nodes at the distal end: within one element of the plane the shaft ends at.
///
/// A scan cuts along its own slices, a set length cuts across the shaft: of the model axes and the
/// shaft axis, the direction that puts most nodes into its last layer is that of the cut.
fn distal_end(
    meshed: &Meshed,
    landmarks: &FemurLandmarks,
    cut_across_shaft: bool,
    height_mm: f64,
) -> NodeSet {
    let proximal = landmarks.shaft.direction;
    let frame = &meshed.mesh.frame;
    let shaft = Vector3::from(frame.direction_to_model(proximal.into()));
    let spacing = Vector3::from(meshed.mesh.lattice.spacing_mm);
    let mut normals = vec![shaft];
    if !cut_across_shaft {
        let axes = (0..3).map(|axis| Vector3::ith(axis, shaft[axis].signum()));
        normals.extend(axes.filter(|axis| axis.dot(&shaft) > 0.7));
    }
    let nodes = &meshed.mesh.mesh.nodes_mm;
    let layer = |normal: &Vector3<f64>| -> Vec<u32> {
        let along = |x: &[f64; 3]| Vector3::from(*x).dot(normal);
        let (end, _) = range(nodes.iter().map(along));
        let element = normal.abs().dot(&spacing).max(height_mm);
        (0..nodes.len() as u32)
            .filter(|&node| along(&nodes[node as usize]) < end + element * (1.0 + 1e-9))
            .collect()
    };
    let mut best = Vec::new();
    for normal in &normals {
        let found = layer(normal);
        if found.len() > best.len() {
            best = found;
        }
    }
    NodeSet::new("distal", best)
}

/// Prescribed motion of the loaded and the fixed nodes.
fn loading(
    meshed: &Meshed,
    loaded: NodeSet,
    fixed: NodeSet,
    direction: Vector3<f64>,
    landmarks: &FemurLandmarks,
    options: &StanceOptions,
) -> Result<Loading> {
    let model = Vector3::from(meshed.mesh.frame.direction_to_model(direction.into()));
    let d = options.displacement_mm;
    let mut direction: [f64; 3] = model.normalize().into();
    let axis = lattice_axis(direction);
    if let Some((axis, sign)) = axis {
        // Free of rounding, so that the components across are exactly zero.
        direction = [0.0; 3];
        direction[axis] = sign;
    }
    let values: Vec<(u8, f64)> = match (options.lateral, axis) {
        (Lateral::Fixed, _) => (0..3).map(|a| (a as u8, d * direction[a])).collect(),
        (_, Some((axis, sign))) => vec![(axis as u8, d * sign)],
        (_, None) => anyhow::bail!(
            "load.lateral=free needs the load along a model axis, but it points along ({:.4}, {:.4}, {:.4}): set load.orientation=anatomical, which turns the model, or load.lateral=fixed",
            direction[0],
            direction[1],
            direction[2]
        ),
    };
    let mut prescribed = prescribe(&loaded, &values);
    prescribed.extend(prescribe(&fixed, &[(0, 0.0), (1, 0.0), (2, 0.0)]));
    Ok(Loading {
        loaded,
        fixed,
        held: Vec::new(),
        direction,
        displacement_mm: d,
        prescribed,
        reference_length_mm: landmarks.length_mm(),
    })
}
