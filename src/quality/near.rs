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
    /// From CT number to density and back.
    line: Calibration,
    /// Whether the CT numbers are made from densities by a usual scanner's line.
    pub densities_only: bool,
    /// Standard deviation of the noise in the soft tissue, HU; `None` where there is too little of it.
    pub noise_hu: Option<f64>,
    /// Centres of the rods of a phantom that lies in this scan (LPS mm); none unless the caller names them.
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
        let densities_only = calibration.method == Method::Density;
        let line = if densities_only {
            Calibration::line(USUAL_SLOPE, 0.0, calibration.kind).ok()?
        } else {
            calibration.clone()
        };
        let mut near = Self {
            density_mg_cm3: crop(density_mg_cm3, low, high).ok()?,
            bone: crop(bone, low, high).ok()?,
            line,
            densities_only,
            noise_hu: None,
            rods_mm: Vec::new(),
        };
        near.noise_hu = super::noise::level_hu(&near);
        Some(near)
    }

    /// CT number of a density.
    #[inline]
    pub fn hu(&self, density_mg_cm3: f32) -> f64 {
        self.line.hu(f64::from(density_mg_cm3))
    }

    /// Density of a CT number, mg/cm³.
    pub fn density_of(&self, hu: f64) -> f64 {
        self.line.density_mg_cm3(hu)
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

#[cfg(test)]
mod tests {
    use super::super::metal::metal;
    use super::super::test_scans::block;
    use super::*;
    use crate::anatomy::Status;
    use calibration::DensityKind;

    /// The gates see CT numbers as they are in the scan, also where the calibration is a parabola.
    #[test]
    fn an_internal_calibration_is_undone_as_the_parabola_it_is() {
        let mut calibration = Calibration::line(0.475, 37.0, DensityKind::K2Hpo4).unwrap();
        calibration.method = Method::Internal;
        calibration.quadratic_mg_cm3_per_hu2 = Some(4.07e-4);
        for (hu, status) in [(1400.0, Status::Pass), (2900.0, Status::Refuse)] {
            let (scan, bone) = block(|[i, j, k], tissue| {
                let inside = [i, j, k].iter().all(|at| (30..40).contains(at));
                if inside { hu } else { tissue }
            });
            let density = calibration.apply(&scan).unwrap();
            let near = Near::of(&density.mg_cm3, &calibration, &bone).unwrap();
            assert_eq!(metal(&near).status, status, "{hu} HU");
            let at = bone.grid.index(35, 35, 35);
            let back = near.hu(density.mg_cm3.data[at]);
            assert!((back - f64::from(scan.data[at])).abs() < 0.1, "{back}");
            // The noise of 15 HU comes back as such.
            let noise = near.noise_hu.unwrap();
            assert!((noise - 15.0).abs() < 3.0, "{noise}");
        }
    }
}
