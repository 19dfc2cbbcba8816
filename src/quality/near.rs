//! A bone and what lies around it, cut out of a scan.

use calibration::{Calibration, Method};
use imaging::orientation::crop;
use imaging::{Mask, Volume};
use nalgebra::Vector3;

/// How far around the bone the gates look, mm: the femoral artery passes 15 to 20 mm in front of the head, the aorta 5 to 10 mm
/// in front of the lumbar bodies.
pub const MARGIN_MM: f64 = 30.0;
/// Slope of a scanner's line at 120 kVp, mg/cm³ K2HPO4 per HU: 1 / (1.46 - 0.2174), the Mindways reference equation (QCT PRO
/// User's Guide, version 5.0). Taken where the volume holds densities and no line is known.
const USUAL_SLOPE: f64 = 0.805;

/// The box of a bone and [`MARGIN_MM`] around it.
#[derive(Clone, Debug)]
pub struct Near {
    /// Density, mg/cm³.
    pub density_mg_cm3: Volume<f32>,
    /// The bone, on the same grid.
    pub bone: Mask,
    /// From density to CT number: slope and intercept.
    to_hu: [f64; 2],
    /// Whether the CT numbers are made from densities by a usual scanner's line.
    pub densities_only: bool,
    /// Centres of the phantom's rods (LPS mm), where they are known.
    pub rods_mm: Vec<Vector3<f64>>,
}

impl Near {
    /// Cuts a bone out of a calibrated scan; `None` where the mask is empty.
    pub fn of(
        density_mg_cm3: &Volume<f32>,
        calibration: &Calibration,
        bone: &Mask,
    ) -> Option<Self> {
        let grid = &bone.grid;
        let [low, high] = bone.bounding_box()?;
        let margin = grid.spacing_mm.map(|s| (MARGIN_MM / s).ceil() as usize);
        let low = std::array::from_fn(|a| low[a].saturating_sub(margin[a]));
        let high = std::array::from_fn(|a| (high[a] + margin[a]).min(grid.size[a] - 1));
        let slope = calibration.slope_mg_cm3_per_hu;
        let densities_only = calibration.method == Method::Density || slope.abs() < 1e-9;
        let to_hu = if densities_only {
            [1.0 / USUAL_SLOPE, 0.0]
        } else {
            [1.0 / slope, -calibration.intercept_mg_cm3 / slope]
        };
        Some(Self {
            density_mg_cm3: crop(density_mg_cm3, low, high).ok()?,
            bone: crop(bone, low, high).ok()?,
            to_hu,
            densities_only,
            rods_mm: calibration
                .rods
                .iter()
                .filter_map(|rod| rod.centre_mm)
                .map(Vector3::from)
                .collect(),
        })
    }

    /// CT number of a density.
    #[inline]
    pub fn hu(&self, density_mg_cm3: f32) -> f64 {
        self.to_hu[0] * f64::from(density_mg_cm3) + self.to_hu[1]
    }

    /// Density of a CT number, mg/cm³.
    pub fn density_of(&self, hu: f64) -> f64 {
        (hu - self.to_hu[1]) / self.to_hu[0]
    }

    /// What to add to a reason that speaks of CT numbers.
    pub fn how_hu(&self) -> &'static str {
        if self.densities_only {
            " (the scan holds densities; HU by a usual line of 0.8 mg/cm³ per HU)"
        } else {
            ""
        }
    }
}
