//! The calibration phantom: what its rods are made of and where they lie.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::scanner::Scanner;
use super::solid::{Point, mix, occupancy, round_box};

/// What the densities of a phantom's rods are equivalent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RodBasis {
    /// Dipotassium phosphate.
    K2hpo4,
    /// Calcium hydroxyapatite.
    Ha,
}

/// One rod of a phantom.
#[derive(Clone, Debug, PartialEq)]
pub struct RodSpec {
    /// Its name on the certificate.
    pub name: String,
    /// Equivalent density of the phantom's basis, mg/cm³.
    pub equivalent_mg_cm3: f64,
    /// Water-equivalent density, mg/cm³, for phantoms of the two-equation kind.
    pub water_mg_cm3: Option<f64>,
    /// Diameter, mm; 16 mm where not known.
    pub diameter_mm: Option<f64>,
    /// Centre in the phantom's own frame (x to the patient's left, y to the back), mm; `None` lays the
    /// rods side by side.
    pub position_mm: Option<[f64; 3]>,
}

/// The rods of a calibration phantom.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomRods {
    /// Its name.
    pub name: String,
    /// What the rods are equivalent to.
    pub basis: RodBasis,
    /// The rods; rod `i` gets label `i + 1`.
    pub rods: Vec<RodSpec>,
}

/// Diameter of a rod whose definition gives none, mm. Assumed: published detectors look for rods of
/// 12 to 20 mm.
const DEFAULT_DIAMETER_MM: f64 = 16.0;
/// Distance of neighbouring rods whose definition gives no positions, mm. Assumed.
const PITCH_MM: f64 = 27.0;
/// Thickness of the phantom's body, mm. Assumed.
const BODY_THICKNESS_MM: f64 = 26.0;
/// Plastic beyond the outermost rod centre, mm. Assumed.
const BODY_MARGIN_MM: f64 = 13.0;
/// CT number of the phantom's body: between the rods, so that each stands out. Assumed.
const BODY_HU: f64 = 60.0;
/// Width of the rim of a rod that stays out of the rod's label, mm, so that blur does not reach it.
const RIM_MM: f64 = 2.5;
/// K2HPO4 density over hydroxyapatite density at 120 kVp: between 0.86 (80 kVp) and 0.81 (140 kVp)
/// of Goodsitt 1992.
pub(crate) const K2HPO4_PER_HA: f64 = 0.83;

impl PhantomRods {
    /// Mindways Model 3 CT with the reference values of one published certificate (serials 4541A and
    /// 4560, as used by the Ogo program of the Bonelab, Calgary).
    pub fn mindways_model3_ct() -> Self {
        let rod = |name: &str, equivalent, water| RodSpec {
            name: name.into(),
            equivalent_mg_cm3: equivalent,
            water_mg_cm3: Some(water),
            diameter_mm: None,
            position_mm: None,
        };
        Self {
            name: "mindways-model3-ct".into(),
            basis: RodBasis::K2hpo4,
            rods: vec![
                rod("A", -51.83, 1012.25),
                rod("B", -53.40, 1056.95),
                rod("C", 58.88, 1103.57),
                rod("D", 157.05, 1119.52),
                rod("E", 375.83, 923.20),
            ],
        }
    }

    /// Checks a definition that a user may have written.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            !self.rods.is_empty() && self.rods.len() <= 32,
            "phantom {}: {} rods; 1 to 32 are possible",
            self.name,
            self.rods.len()
        );
        for rod in &self.rods {
            let diameter = rod.diameter_mm.unwrap_or(DEFAULT_DIAMETER_MM);
            ensure!(
                (6.0..=40.0).contains(&diameter),
                "phantom {}, rod {}: a diameter of {diameter} mm is out of range; give 6 to 40 mm",
                self.name,
                rod.name
            );
            ensure!(
                rod.equivalent_mg_cm3.is_finite() && rod.water_mg_cm3.is_none_or(f64::is_finite),
                "phantom {}, rod {}: a density is not a finite number",
                self.name,
                rod.name
            );
        }
        Ok(())
    }
}

/// A rod that has its place: an endless cylinder along z.
#[derive(Clone, Debug)]
pub(crate) struct PlacedRod {
    pub spec: RodSpec,
    pub x: f64,
    pub y: f64,
    pub radius: f64,
    pub hu: f64,
}

/// The phantom in the world: a slab along z with its rods.
#[derive(Clone, Debug)]
pub(crate) struct PlacedPhantom {
    pub name: String,
    pub basis: RodBasis,
    pub rods: Vec<PlacedRod>,
    centre: [f64; 2],
    half: [f64; 2],
}

impl PlacedPhantom {
    /// Lays a phantom under the patient: centred at `centre_x`, its upper face at `top_y`, inside a
    /// field of view `width_mm` wide.
    pub(crate) fn place(
        definition: &PhantomRods,
        scanner: &Scanner,
        centre_x: f64,
        top_y: f64,
        width_mm: f64,
    ) -> Result<Self> {
        let count = definition.rods.len();
        let room = width_mm - 2.0 * BODY_MARGIN_MM - 4.0;
        let pitch = PITCH_MM.min(room / (count.max(2) - 1) as f64);
        let middle = |axis: usize| {
            let (mut low, mut high) = (f64::MAX, f64::MIN);
            for position in definition.rods.iter().filter_map(|rod| rod.position_mm) {
                low = low.min(position[axis]);
                high = high.max(position[axis]);
            }
            (low + high) / 2.0
        };
        let centre_y = top_y + BODY_THICKNESS_MM / 2.0;
        let mut rods = Vec::with_capacity(count);
        for (number, spec) in definition.rods.iter().enumerate() {
            let radius = spec.diameter_mm.unwrap_or(DEFAULT_DIAMETER_MM) / 2.0;
            let [x, y] = match spec.position_mm {
                Some(position) => [position[0] - middle(0), position[1] - middle(1)],
                None => [(number as f64 - (count - 1) as f64 / 2.0) * pitch, 0.0],
            };
            rods.push(PlacedRod {
                x: centre_x + x,
                y: centre_y + y,
                radius,
                hu: rod_hu(spec, definition.basis, scanner),
                spec: spec.clone(),
            });
        }
        for (number, rod) in rods.iter().enumerate() {
            for other in &rods[..number] {
                let gap = (rod.x - other.x).hypot(rod.y - other.y) - rod.radius - other.radius;
                ensure!(
                    gap >= 1.0,
                    "phantom {}: rods {} and {} do not fit side by side in a field of view of {width_mm:.0} mm; use fewer rods, thinner rods or a wider field",
                    definition.name,
                    other.spec.name,
                    rod.spec.name
                );
            }
        }
        let reach = |centre: f64, at: fn(&PlacedRod) -> f64| {
            rods.iter()
                .map(|rod| (at(rod) - centre).abs() + rod.radius)
                .fold(0.0, f64::max)
        };
        let half_x =
            (reach(centre_x, |rod| rod.x) + BODY_MARGIN_MM - DEFAULT_DIAMETER_MM / 2.0).max(20.0);
        let half_y = (reach(centre_y, |rod| rod.y) + 3.0).max(BODY_THICKNESS_MM / 2.0);
        ensure!(
            2.0 * half_x <= width_mm,
            "phantom {} is {:.0} mm wide, the field of view only {width_mm:.0} mm",
            definition.name,
            2.0 * half_x
        );
        let shift = half_y - BODY_THICKNESS_MM / 2.0;
        for rod in &mut rods {
            rod.y += shift;
        }
        Ok(Self {
            name: definition.name.clone(),
            basis: definition.basis,
            rods,
            centre: [centre_x, centre_y + shift],
            half: [half_x, half_y],
        })
    }

    /// World y of the lower face, mm.
    pub(crate) fn bottom_y(&self) -> f64 {
        self.centre[1] + self.half[1]
    }

    /// CT number at a point, over `around` where the phantom does not fill the voxel.
    pub(crate) fn hu(&self, p: &Point, width_mm: f64, around: f64) -> f64 {
        let flat = Point::new(p.x - self.centre[0], p.y - self.centre[1], 0.0);
        let half = Point::new(self.half[0], self.half[1], 1e3);
        let body = occupancy(round_box(&flat, &half, 6.0), width_mm);
        if body <= 0.0 {
            return around;
        }
        let mut inside = BODY_HU;
        for rod in &self.rods {
            let distance = (p.x - rod.x).hypot(p.y - rod.y) - rod.radius;
            inside = mix(inside, rod.hu, occupancy(distance, width_mm));
        }
        mix(around, inside, body)
    }

    /// Label of the rod whose core holds the point, 0 for none.
    pub(crate) fn rod_label(&self, p: &Point) -> u16 {
        self.rods
            .iter()
            .position(|rod| (p.x - rod.x).hypot(p.y - rod.y) <= rod.radius - RIM_MM)
            .map_or(0, |number| number as u16 + 1)
    }
}

/// True CT number of a rod in this scanner.
///
/// A rod with a water-equivalent density obeys `HU = sigma_ref * rho + beta_ref + rho_water` (Mindways
/// QCT PRO User's Guide, version 5.0); a plain one the scanner's own line.
fn rod_hu(rod: &RodSpec, basis: RodBasis, scanner: &Scanner) -> f64 {
    let k2hpo4 = match basis {
        RodBasis::K2hpo4 => rod.equivalent_mg_cm3,
        RodBasis::Ha => rod.equivalent_mg_cm3 * K2HPO4_PER_HA,
    };
    match rod.water_mg_cm3 {
        Some(water) => scanner.sigma_ref * k2hpo4 + scanner.beta_ref + water,
        None => scanner.hu(k2hpo4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner() -> Scanner {
        Scanner {
            sigma_ref: 1.46,
            beta_ref: -1003.0,
            in_plane_fwhm_mm: 1.2,
            slice_fwhm_mm: 1.0,
            noise_hu: 0.0,
        }
    }

    #[test]
    fn model_3_rods_have_the_published_worked_numbers() {
        // Worked by hand from the two equations at sigma_ref 1.46, beta_ref -1003.
        let expected = [-66.422, -24.014, 186.535, 345.813, 468.912];
        let phantom = PhantomRods::mindways_model3_ct();
        for (rod, expected) in phantom.rods.iter().zip(expected) {
            let hu = rod_hu(rod, phantom.basis, &scanner());
            assert!((hu - expected).abs() < 5e-4, "rod {}: {hu}", rod.name);
        }
    }

    #[test]
    fn rods_lie_apart_and_their_labels_keep_off_the_rim() {
        let placed = PlacedPhantom::place(
            &PhantomRods::mindways_model3_ct(),
            &scanner(),
            90.0,
            70.0,
            150.0,
        )
        .unwrap();
        assert!((placed.rods[0].x - 36.0).abs() < 1e-9);
        assert!((placed.rods[4].x - 144.0).abs() < 1e-9);
        let at = |x: f64| placed.rod_label(&Point::new(x, 83.0, 5.0));
        assert_eq!(at(36.0), 1);
        assert_eq!(at(36.0 + 5.4), 1);
        assert_eq!(at(36.0 + 5.6), 0);
        assert_eq!(at(144.0), 5);
    }

    #[test]
    fn too_many_rods_for_the_field_are_refused() {
        let mut phantom = PhantomRods::mindways_model3_ct();
        let more = phantom.rods.clone();
        phantom.rods.extend(more);
        let error = PlacedPhantom::place(&phantom, &scanner(), 0.0, 0.0, 150.0).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }
}
