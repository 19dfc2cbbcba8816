//! What is known exactly about a synthetic patient. World positions are LPS mm.

use serde::Serialize;

use super::phantom::{K2HPO4_PER_HA, PlacedPhantom, RodBasis};
use super::scanner::{Layers, Scanner};
use super::solid::Point;
use super::{Parameters, Side};

/// Everything that is true about a patient.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// `femur`, `hip`, `vertebra`, `spine` or `from_labels`.
    pub anatomy: String,
    /// The seed that all of it follows from.
    pub seed: u64,
    /// Voxel size, mm.
    pub spacing_mm: [f64; 3],
    /// One entry per label, ascending.
    pub bones: Vec<BoneTruth>,
    /// The lesion, if there is one.
    pub lesion: Option<LesionTruth>,
    /// The phantom, if there is one.
    pub phantom: Option<PhantomTruth>,
    /// The scanner.
    pub scanner: ScannerTruth,
    /// Every drawn parameter by name.
    pub parameters: Parameters,
}

/// Truth about one bone.
#[derive(Clone, Debug, Serialize)]
pub struct BoneTruth {
    /// Its value in the label map.
    pub label: u16,
    /// Its name: `femur`, `hip bone`, `sacrum`, a vertebral level, or `bone`.
    pub name: String,
    /// Its side, where it has one.
    pub side: Option<Side>,
    /// Volume of its voxels, mm³.
    pub mask_volume_mm3: f64,
    /// Mean true density of its voxels, mg/cm³ K2HPO4.
    pub mean_density_mg_cm3: f64,
    /// Landmarks of a femur.
    pub femur: Option<FemurTruth>,
    /// Landmarks of a vertebra.
    pub vertebra: Option<VertebraTruth>,
}

/// Landmarks of a femur. Entries that a given label map does not tell are `null`.
#[derive(Clone, Debug, Serialize)]
pub struct FemurTruth {
    /// Centre of the head.
    pub head_centre_mm: [f64; 3],
    /// Radius of the head.
    pub head_radius_mm: f64,
    /// Unit vector along the neck, shaft to head.
    pub neck_axis: [f64; 3],
    /// A point on the shaft axis.
    pub shaft_point_mm: [f64; 3],
    /// Unit vector along the shaft, distal to proximal.
    pub shaft_direction: [f64; 3],
    /// Angle between neck axis and distal shaft axis.
    pub neck_shaft_angle_deg: Option<f64>,
    /// Angle of the neck forward of the bone's frontal plane.
    pub anteversion_deg: Option<f64>,
    /// Tip of the lesser trochanter.
    pub lesser_trochanter_mm: Option<[f64; 3]>,
}

/// Landmarks of a vertebra.
#[derive(Clone, Debug, Serialize)]
pub struct VertebraTruth {
    /// Centre of the body.
    pub body_centre_mm: [f64; 3],
    /// Middle of the rim plane of the upper endplate.
    pub superior_endplate_mm: [f64; 3],
    /// Outward unit normal of the upper endplate.
    pub superior_normal: [f64; 3],
    /// Middle of the rim plane of the lower endplate.
    pub inferior_endplate_mm: [f64; 3],
    /// Outward unit normal of the lower endplate.
    pub inferior_normal: [f64; 3],
    /// Distance of the two rim planes at the body's centre.
    pub body_height_mm: f64,
}

/// An osteolytic lesion: an ellipsoid with world-aligned axes.
#[derive(Clone, Debug, Serialize)]
pub struct LesionTruth {
    /// Label of the bone that carries it.
    pub label: u16,
    /// Where it sits: `neck`, `trochanter` or `body`.
    pub site: String,
    /// Its centre.
    pub centre_mm: [f64; 3],
    /// Its half axes along x, y, z.
    pub half_axes_mm: [f64; 3],
    /// Volume of the bone's voxels whose centre it holds, mm³.
    pub volume_in_bone_mm3: f64,
    /// Its density, mg/cm³ K2HPO4.
    pub density_mg_cm3: f64,
}

/// The scanner's constants.
#[derive(Clone, Debug, Serialize)]
pub struct ScannerTruth {
    /// CT number per density: `HU = slope * density + intercept`, HU per mg/cm³ K2HPO4.
    pub slope_hu_per_mg_cm3: f64,
    /// CT number of zero density.
    pub intercept_hu: f64,
    /// Width of the point spread in the slice (full width at half maximum).
    pub in_plane_fwhm_mm: f64,
    /// Width of the slice profile (full width at half maximum).
    pub slice_fwhm_mm: f64,
    /// Standard deviation of the noise.
    pub noise_hu: f64,
}

/// The phantom and the calibration that it must give.
#[derive(Clone, Debug, Serialize)]
pub struct PhantomTruth {
    /// Its name.
    pub name: String,
    /// What its rods are equivalent to.
    pub basis: RodBasis,
    /// Slope of the true calibration in the phantom's basis: `density = slope * HU + intercept`.
    pub slope_mg_cm3_per_hu: f64,
    /// Intercept of the true calibration in the phantom's basis.
    pub intercept_mg_cm3: f64,
    /// Its rods in the order of their labels.
    pub rods: Vec<RodTruth>,
}

/// One rod, an endless cylinder along z.
#[derive(Clone, Debug, Serialize)]
pub struct RodTruth {
    /// Its label.
    pub label: u16,
    /// Its name.
    pub name: String,
    /// Its true CT number.
    pub mean_hu: f64,
    /// Its equivalent density.
    pub equivalent_mg_cm3: f64,
    /// Its water-equivalent density, where it has one.
    pub water_mg_cm3: Option<f64>,
    /// Its axis (x, y).
    pub axis_mm: [f64; 2],
    /// Its diameter.
    pub diameter_mm: f64,
}

/// A point as plain numbers.
pub(crate) fn plain(p: &Point) -> [f64; 3] {
    [p.x, p.y, p.z]
}

impl ScannerTruth {
    pub(crate) fn of(scanner: &Scanner) -> Self {
        Self {
            slope_hu_per_mg_cm3: scanner.sigma_ct(),
            intercept_hu: scanner.beta_ct(),
            in_plane_fwhm_mm: scanner.in_plane_fwhm_mm,
            slice_fwhm_mm: scanner.slice_fwhm_mm,
            noise_hu: scanner.noise_hu,
        }
    }
}

impl PhantomTruth {
    pub(crate) fn of(phantom: &PlacedPhantom, scanner: &Scanner) -> Self {
        let per_k2hpo4 = match phantom.basis {
            RodBasis::K2hpo4 => 1.0,
            RodBasis::Ha => 1.0 / K2HPO4_PER_HA,
        };
        Self {
            name: phantom.name.clone(),
            basis: phantom.basis,
            slope_mg_cm3_per_hu: per_k2hpo4 / scanner.sigma_ct(),
            intercept_mg_cm3: -per_k2hpo4 * scanner.beta_ct() / scanner.sigma_ct(),
            rods: (1..)
                .zip(&phantom.rods)
                .map(|(label, rod)| RodTruth {
                    label,
                    name: rod.spec.name.clone(),
                    mean_hu: rod.hu,
                    equivalent_mg_cm3: rod.spec.equivalent_mg_cm3,
                    water_mg_cm3: rod.spec.water_mg_cm3,
                    axis_mm: [rod.x, rod.y],
                    diameter_mm: 2.0 * rod.radius,
                })
                .collect(),
        }
    }
}

/// Volume and mean density of one label.
pub(crate) fn measure(layers: &Layers, label: u16) -> (f64, f64) {
    let (mut count, mut sum) = (0usize, 0.0);
    for (_, &density) in layers
        .labels
        .data
        .iter()
        .zip(&layers.density.data)
        .filter(|(l, _)| **l == label)
    {
        count += 1;
        sum += f64::from(density);
    }
    (
        count as f64 * layers.labels.grid.voxel_volume_mm3(),
        sum / count.max(1) as f64,
    )
}
