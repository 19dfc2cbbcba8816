//! Every setting of a run, defined once: name, type, range, meaning.

use serde::{Deserialize, Serialize};

use super::choice::{
    ConstitutiveModel, Coverage, Criterion, ElementFormulation, EndplateSource, Interpolation,
    Lateral, LoadKind, MeshKind, Resampling, Sampling, Softening, TetMesher,
};
use super::value::{Direction, Orientation, SettingValue};

/// A key of the plan: what it means and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Full name, such as `mesh.voxel_mm`.
    pub name: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
    /// Smallest and largest allowed number, both allowed themselves.
    pub range: Option<[f64; 2]>,
    valid: fn() -> String,
    parse: fn(&str) -> Result<toml::Value, String>,
}

impl Key {
    /// What the key takes, in words.
    pub fn valid(&self) -> String {
        match self.range {
            Some([low, high]) => format!("{} from {low} to {high}", (self.valid)()),
            None => (self.valid)(),
        }
    }

    /// Reads a value written on the command line.
    ///
    /// # Errors
    /// A sentence saying what is wrong.
    pub fn parse(&self, text: &str) -> Result<toml::Value, String> {
        let value = (self.parse)(text.trim())?;
        self.check_range(&value)?;
        Ok(value)
    }

    /// Checks a number against the range.
    ///
    /// # Errors
    /// A sentence naming the value and the range.
    pub fn check_range(&self, value: &toml::Value) -> Result<(), String> {
        let number = match value {
            toml::Value::Integer(n) => *n as f64,
            toml::Value::Float(x) => *x,
            _ => return Ok(()),
        };
        match self.range {
            Some([low, high]) if !(low..=high).contains(&number) => Err(format!(
                "{number} is out of range: it must lie from {low} to {high}"
            )),
            _ if !number.is_finite() => Err(format!("{number} is not a finite number")),
            _ => Ok(()),
        }
    }

    /// Section and name in it, such as `mesh` and `voxel_mm`.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }
}

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])* $key:ident: $type:ty $([$low:literal, $high:literal])?, )*
        }
    )*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $doc])* pub $key: $type, )*
            }
        )*

        /// Every setting of a run. Built from a protocol, never by hand.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
        }

        /// Every key, in the order plans are written.
        pub const KEYS: &[Key] = &[$($(
            Key {
                name: concat!(stringify!($section), ".", stringify!($key)),
                meaning: concat!($($doc),*),
                range: settings!(@range $($low, $high)?),
                valid: <$type as SettingValue>::valid,
                parse: <$type as SettingValue>::parse,
            },
        )*)*];
    };
    (@range) => { None };
    (@range $low:literal, $high:literal) => { Some([$low, $high]) };
}

settings! {
    /// The finite-element mesh.
    mesh: MeshSettings {
        /// Element kind.
        kind: MeshKind,
        /// Edge of the cubes, mm; 0 = the voxels of the CT as they are.
        voxel_mm: f64 [0.0, 10.0],
        /// Target volume of a tetrahedron, mm3.
        tet_volume_mm3: f64 [0.01, 1000.0],
        /// What fills the surface with tetrahedra.
        tet_mesher: TetMesher,
        /// Interpolation of the density between voxels.
        interpolation: Interpolation,
        /// Two resamplings (cubes, then rotation) or one, where the bone is turned.
        resampling: Resampling,
        /// What a resampled element knows of the voxels it covers: the value at its centre, or bone fraction and mean.
        coverage: Coverage,
        /// Bone fraction from which an element exists, with coverage `volume`.
        minimum_fraction: f64 [0.01, 1.0],
    }
    /// The mask before meshing.
    mask: MaskSettings {
        /// Standard deviation of the Gaussian that smooths each label, mm; 0 = off.
        smooth_sigma_mm: f64 [0.0, 10.0],
    }
    /// From the calibrated scan to the density the laws are written in.
    density: DensitySettings {
        /// Conversion of the calibrated density to the law's basis.
        conversion: String,
        /// Calibrated densities below this are raised to it and counted, mg/cm3; -1000 = off.
        minimum_mg_cm3: f64 [-1000.0, 1000.0],
        /// Full width at half maximum of the Gaussian that smooths the density inside the bone, mm; 0 = off.
        smoothing_fwhm_mm: f64 [0.0, 20.0],
        /// Density from which bone counts as cortical, g/cm3, in the law's basis.
        cortical_threshold_g_cm3: f64 [0.0, 10.0],
        /// How voxels give their value to a tetrahedron.
        sampling: Sampling,
        /// Outer layers of the bone's voxels that tetrahedra do not sample; the image is continued from further in. 0 = none.
        sampling_erosion_voxels: usize [0.0, 5.0],
    }
    /// From density to stiffness and strength.
    material: MaterialSettings {
        /// Elasticity law.
        law: String,
        /// Coefficients in place of the law's published ones, in its order; empty = as published.
        coefficients: Vec<f64>,
        /// Strength law; `none` for a linear model.
        strength_law: String,
        /// Coefficients in place of the strength law's published ones, in its order; empty = as published.
        strength_coefficients: Vec<f64>,
        /// Densities below this are raised to it before the laws and counted, g/cm3, in the law's basis.
        minimum_density_g_cm3: f64 [0.0, 1.0],
        /// Smallest Young's modulus, MPa.
        floor_mpa: f64 [0.0, 10000.0],
        /// Number of density bins, one modulus each; 0 = every element its own modulus.
        bins: usize [0.0, 65535.0],
        /// 1 = the indexing slip of the published benchmark table, for comparison with it only.
        bin_offset: usize [0.0, 1.0],
        /// Poisson's ratio of bone.
        poissons_ratio: f64 [0.0, 0.499],
        /// Constitutive model.
        model: ConstitutiveModel,
        /// What follows the plateau of the Keyak law.
        softening: Softening,
    }
    /// The element.
    element: ElementSettings {
        /// Formulation of the hexahedron.
        formulation: ElementFormulation,
    }
    /// What is done to the bone.
    load: LoadSettings {
        /// Load case.
        case: LoadKind,
        /// Where the endplates of a vertebra are taken from.
        endplates: EndplateSource,
        /// Line of the load.
        direction: Direction,
        /// Angle between load and `load.direction`, degrees; positive tilts a stance load towards the midline, from the head down and outwards.
        angle_deg: f64 [-90.0, 90.0],
        /// How the bone is turned into the model axes before it is meshed.
        orientation: Orientation,
        /// Lean of the shaft in a sideways fall, degrees: load axis and shaft make 90 degrees plus this.
        adduction_deg: f64 [-60.0, 60.0],
        /// Turn of the femur about its shaft, degrees; 0 = neck in the plane of the load.
        internal_rotation_deg: f64 [-90.0, 90.0],
        /// Femur length kept, as a multiple of the width of its upper 40 mm; 0 = all.
        femur_length_ratio: f64 [0.0, 10.0],
        /// Shaft length kept below the lesser trochanter, mm; 0 = all that is scanned.
        shaft_length_mm: f64 [0.0, 500.0],
        /// Height of the held end of the shaft, mm; 0 = its end face only.
        fixation_mm: f64 [0.0, 200.0],
        /// Thickness of the caps, mm, measured from the deepest bone they reach; 0 = no cap, the bone's own surface is loaded.
        cap_thickness_mm: f64 [0.0, 50.0],
        /// Depth to which caps, or the loaded surface where there is no cap, reach down the bone, mm.
        cap_intrusion_mm: f64 [0.0, 50.0],
        /// Young's modulus of the caps, MPa.
        cap_modulus_mpa: f64 [0.001, 1000000.0],
        /// Poisson's ratio of the caps.
        cap_poissons_ratio: f64 [0.0, 0.499],
        /// Yield stress of the caps, MPa; 0 = they stay elastic.
        cap_yield_mpa: f64 [0.0, 100000.0],
        /// Label values that are discs or caps already drawn, caudal and cranial.
        cap_labels: Vec<u16>,
        /// Depth of the bone under the cap that is stiffened so that it does not crumble, mm; 0 = off.
        influence_depth_mm: f64 [0.0, 50.0],
        /// Young's modulus of that bone, MPa.
        influence_modulus_mpa: f64 [0.001, 1000000.0],
        /// Yield stress of that bone, MPa, without softening.
        influence_yield_mpa: f64 [0.001, 100000.0],
        /// Where the loaded faces are held across the load.
        lateral: Lateral,
        /// Displacement of the loaded face, mm; 0 = by `load.displacement_percent`.
        displacement_mm: f64 [0.0, 100.0],
        /// Displacement in percent of the height (endplates) or of the distance between the loaded and the held face; 0 = by `load.displacement_mm`.
        displacement_percent: f64 [0.0, 90.0],
        /// The displacement goes on to this multiple of itself, in the same increments, while no peak is confirmed.
        extension: f64 [1.0, 10.0],
        /// Increments to the displacement.
        increments: usize [1.0, 100000.0],
    }
    /// What counts as failure.
    failure: FailureSettings {
        /// Criterion of the failure load.
        criterion: Criterion,
        /// A peak is confirmed when the force stays below this fraction of it.
        drop_fraction: f64 [0.01, 0.9999],
        /// Increments for which it must stay there.
        drop_increments: usize [1.0, 1000.0],
        /// Reduction of height at which the force is read, percent of the bone's height.
        height_reduction_percent: f64 [0.01, 90.0],
        /// Pistoia: percent of the bone volume that may exceed the strain.
        pistoia_volume_percent: f64 [0.001, 99.0],
        /// Pistoia: effective strain, percent.
        pistoia_strain_percent: f64 [0.001, 99.0],
    }
    /// How exactly equilibrium is met.
    solver: SolverSettings {
        /// Out-of-balance force over the reactions at which an increment has converged.
        tolerance: f64 [1e-14, 0.1],
        /// Relative residual of a linear analysis.
        linear_tolerance: f64 [1e-14, 0.01],
        /// Iterations before an increment is cut.
        max_iterations: usize [1.0, 10000.0],
        /// Smallest fraction an increment may be cut to.
        smallest_fraction: f64 [1e-6, 1.0],
    }
}

impl Settings {
    /// The settings as a table of sections.
    pub fn to_table(&self) -> toml::Table {
        // Words, numbers and lists of them always have a TOML form.
        toml::Table::try_from(self).unwrap_or_default()
    }
}

/// The key of that name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_are_single_sentences() {
        for key in KEYS {
            let meaning = key.meaning.trim();
            assert!(
                meaning.ends_with('.') && !meaning.contains('\n'),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn the_contract_keys_are_all_there() {
        let contract = "mesh.kind mesh.voxel_mm mesh.tet_volume_mm3 mesh.interpolation mesh.resampling \
            mask.smooth_sigma_mm density.conversion density.smoothing_fwhm_mm density.cortical_threshold_g_cm3 \
            density.sampling material.law material.coefficients material.strength_law \
            material.strength_coefficients material.floor_mpa material.bins material.bin_offset \
            material.poissons_ratio material.model material.softening element.formulation load.case \
            load.direction load.angle_deg load.orientation load.adduction_deg load.internal_rotation_deg \
            load.femur_length_ratio load.cap_thickness_mm load.cap_intrusion_mm load.cap_modulus_mpa \
            load.cap_poissons_ratio load.cap_labels load.lateral load.displacement_mm \
            load.displacement_percent load.increments failure.criterion";
        for name in contract.split_whitespace() {
            assert!(key(name).is_some(), "{name}");
        }
    }

    #[test]
    fn ranges_are_kept() {
        let voxel = key("mesh.voxel_mm").unwrap();
        assert_eq!(voxel.parse("1").unwrap(), toml::Value::Float(1.0));
        assert!(voxel.parse("-1").unwrap_err().contains("from 0 to 10"));
        assert!(voxel.parse("nan").is_err());
        let ratio = key("material.poissons_ratio").unwrap();
        assert!(ratio.parse("0.5").is_err());
        assert!(ratio.parse("0.499").is_ok());
    }
}
