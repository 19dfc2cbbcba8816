//! The plan's settings in the words of the parts that use them.

use anyhow::Context as _;
use imaging::resample::Interpolation;
use meshing::tetrahedral::{Mesher, TetrahedralOptions};
use nalgebra::{Matrix3, Vector3};

use crate::anatomy;
use crate::bone_model::cap::CapOptions;
use crate::bone_model::compression::CompressionOptions;
use crate::bone_model::fall::FallOptions;
use crate::bone_model::stance::{Coverage, CupOptions, StanceOptions};
use crate::bone_model::tetrahedra::{Sampling, TetrahedraOptions};
use crate::bone_model::{Displacement, Elastic, Lateral};
use crate::plan::{self, Direction, LoadKind, MeshKind, Plan};
use crate::pose::{Orientation, PoseOptions, Resampling};
use crate::report::result_json::{Check, CheckStatus};

/// How far beyond the bone the image is kept, mm (load-case description 1.1).
const FEMUR_MARGIN_MM: f64 = 12.0;
const VERTEBRA_MARGIN_MM: f64 = 8.0;

pub fn anatomy_side(side: plan::Side) -> anatomy::Side {
    match side {
        plan::Side::Left => anatomy::Side::Left,
        plan::Side::Right => anatomy::Side::Right,
    }
}

pub fn plan_side(side: anatomy::Side) -> plan::Side {
    match side {
        anatomy::Side::Left => plan::Side::Left,
        anatomy::Side::Right => plan::Side::Right,
    }
}

pub fn check(check: anatomy::Check) -> Check {
    Check {
        name: check.name,
        status: match check.status {
            anatomy::Status::Pass => CheckStatus::Pass,
            anatomy::Status::Review => CheckStatus::Review,
            anatomy::Status::Refuse => CheckStatus::Refuse,
        },
        value: check.value,
        reason: check.reason,
    }
}

fn pose(plan: &Plan, margin_mm: f64) -> PoseOptions {
    let mesh = &plan.settings.mesh;
    PoseOptions {
        voxel_mm: mesh.voxel_mm,
        interpolation: match mesh.interpolation {
            plan::Interpolation::Bspline => Interpolation::CubicBSpline,
            plan::Interpolation::Linear => Interpolation::Linear,
        },
        resampling: match mesh.resampling {
            plan::Resampling::TwoStep => Resampling::TwoStep,
            plan::Resampling::OneStep => Resampling::OneStep,
        },
        margin_mm,
    }
}

fn orientation(plan: &Plan) -> Orientation {
    match plan.settings.load.orientation {
        plan::Orientation::Anatomical => Orientation::Anatomical,
        plan::Orientation::None => Orientation::None,
        plan::Orientation::Matrix(rows) => {
            Orientation::Matrix(Matrix3::from_fn(|row, column| rows[row][column]))
        }
    }
}

fn lateral(plan: &Plan) -> Lateral {
    match plan.settings.load.lateral {
        plan::Lateral::Fixed => Lateral::Fixed,
        plan::Lateral::Free => Lateral::Free,
        plan::Lateral::FreeBoth => Lateral::FreeBoth,
    }
}

fn displacement(plan: &Plan) -> Displacement {
    let load = &plan.settings.load;
    if load.displacement_mm > 0.0 {
        Displacement::Mm(load.displacement_mm)
    } else {
        Displacement::Percent(load.displacement_percent)
    }
}

fn caps(plan: &Plan) -> CapOptions {
    let load = &plan.settings.load;
    CapOptions {
        thickness_mm: load.cap_thickness_mm,
        intrusion_mm: load.cap_intrusion_mm,
        elastic: cap_elastic(plan),
    }
}

fn cap_elastic(plan: &Plan) -> Elastic {
    let load = &plan.settings.load;
    Elastic {
        youngs_modulus_mpa: load.cap_modulus_mpa,
        poissons_ratio: load.cap_poissons_ratio,
    }
}

/// Settings of the stance load case.
pub fn stance(plan: &Plan) -> StanceOptions {
    let (mesh, load) = (&plan.settings.mesh, &plan.settings.load);
    let cup = (load.cap_thickness_mm > 0.0).then(|| CupOptions {
        thickness_mm: load.cap_thickness_mm,
        depth_mm: load.cap_intrusion_mm,
        influence_mm: load.influence_depth_mm,
        elastic: cap_elastic(plan),
        influence: Elastic {
            youngs_modulus_mpa: load.influence_modulus_mpa,
            poissons_ratio: plan.settings.material.poissons_ratio,
        },
    });
    StanceOptions {
        pose: pose(plan, FEMUR_MARGIN_MM),
        orientation: orientation(plan),
        angle_deg: load.angle_deg,
        direction: given_direction(load.direction),
        displacement_mm: load.displacement_mm,
        head_cap_depth_mm: load.cap_intrusion_mm,
        lateral: lateral(plan),
        coverage: match mesh.coverage {
            plan::Coverage::Point => Coverage::Point,
            plan::Coverage::Volume => Coverage::Volume,
        },
        minimum_fraction: mesh.minimum_fraction,
        fixation_mm: load.fixation_mm,
        shaft_below_lesser_trochanter_mm: load.shaft_length_mm,
        smoothing_fwhm_mm: plan.settings.density.smoothing_fwhm_mm,
        cup,
    }
}

/// A direction in the world that the plan names, where the landmarks do not.
fn given_direction(direction: Direction) -> Option<Vector3<f64>> {
    match direction {
        Direction::Vector(v) => Some(Vector3::from(v)),
        // World coordinates are LPS: feet are towards -z.
        Direction::Scan => Some(-Vector3::z()),
        _ => None,
    }
}

/// Settings of the sideways fall.
pub fn fall(plan: &Plan) -> anyhow::Result<FallOptions> {
    let load = &plan.settings.load;
    refuse_smoothing(plan).context("load.case=sideways_fall")?;
    Ok(FallOptions {
        pose: pose(plan, FEMUR_MARGIN_MM),
        orientation: orientation(plan),
        adduction_deg: load.adduction_deg,
        internal_rotation_deg: load.internal_rotation_deg,
        femur_length_ratio: load.femur_length_ratio,
        caps: caps(plan),
        displacement: displacement(plan),
    })
}

/// Settings of the compression of a vertebra.
pub fn compression(plan: &Plan) -> anyhow::Result<CompressionOptions> {
    let load = &plan.settings.load;
    refuse_smoothing(plan).context("a compression")?;
    Ok(CompressionOptions {
        pose: pose(plan, VERTEBRA_MARGIN_MM),
        orientation: orientation(plan),
        smooth_sigma_mm: plan.settings.mask.smooth_sigma_mm,
        caps: caps(plan),
        cap_labels: load.cap_labels.clone(),
        direction: given_direction(load.direction),
        endplates: load.case == LoadKind::EndplateCompression,
        tetrahedra: (plan.settings.mesh.kind == MeshKind::Tet10).then(|| tetrahedra(plan)),
        one_bone: false,
        lateral: lateral(plan),
        displacement: displacement(plan),
    })
}

/// Settings of a mesh of tetrahedra.
fn tetrahedra(plan: &Plan) -> TetrahedraOptions {
    let (mesh, density) = (&plan.settings.mesh, &plan.settings.density);
    TetrahedraOptions {
        mesh: TetrahedralOptions {
            mean_volume_mm3: mesh.tet_volume_mm3,
            mesher: match mesh.tet_mesher {
                plan::TetMesher::Tetgen => Mesher::TetGen,
                plan::TetMesher::Lattice => Mesher::Stuffing,
            },
            curved: true,
        },
        sampling: match density.sampling {
            plan::Sampling::V1 => Sampling::V1,
            plan::Sampling::V2 => Sampling::V2,
            plan::Sampling::V3 => Sampling::V3,
        },
        sampling_erosion_voxels: density.sampling_erosion_voxels as u32,
    }
}

/// The density smoothing of Sas 2020 belongs to the stance model only.
fn refuse_smoothing(plan: &Plan) -> anyhow::Result<()> {
    if plan.settings.density.smoothing_fwhm_mm > 0.0 {
        return Err(crate::exit::Failure::usage(
            "density.smoothing_fwhm_mm is not available for this load case",
        )
        .with_help("set density.smoothing_fwhm_mm=0")
        .into());
    }
    Ok(())
}
