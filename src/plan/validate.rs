//! Rules that make a plan consistent, and the contradictions that no rule can mend.

use calibration::DensityConversion;
use calibration::law::{ElasticityLaw, Power, StrengthLaw};

use super::choice::{
    Bone, ConstitutiveModel, Criterion, EndplateSource, LoadKind, MeshKind, Softening,
};
use super::spelling::not_one_of;
use super::value::{Direction, Orientation};
use super::{LevelChoice, Plan};
use crate::exit::Failure;

/// Largest element for which the softening of cortical bone can be scaled, mm: the specimens of the law
/// were 5 mm long (Keyak 2005; derivation from the series chain of element and specimen).
const LARGEST_SOFTENING_ELEMENT_MM: f64 = 5.0;

/// The strength law whose curve has a plateau and a softening branch.
pub const SOFTENING_STRENGTH_LAW: &str = "keyak2005";
/// No strength law: the bone never yields.
pub const NO_STRENGTH_LAW: &str = "none";

/// A law whose coefficients the user gives.
pub const USER_LAW: &str = "user";

const COEFFICIENTS_HELP: &str = "a law is a rho^b + c in MPa with rho in g/cm3: give a,b or a,b,c";

type Contradiction = Option<(String, &'static str)>;

impl Plan {
    /// Follows from what the user gave to what they did not.
    pub(super) fn apply_rules(&mut self) -> anyhow::Result<()> {
        const MM: &str = "load.displacement_mm";
        const PERCENT: &str = "load.displacement_percent";
        let load = &self.settings.load;
        if load.displacement_mm > 0.0 && load.displacement_percent > 0.0 {
            if self.is_given(MM) {
                self.set_by_rule(PERCENT, 0.0, "load.displacement_mm was given")?;
            } else if self.is_given(PERCENT) {
                self.set_by_rule(MM, 0.0, "load.displacement_percent was given")?;
            }
        }
        let linear = self.settings.material.model == ConstitutiveModel::Linear;
        if linear && self.settings.failure.criterion == Criterion::MaximumForce {
            let reason = "a linear model has no maximum force";
            self.set_by_rule("failure.criterion", "none", reason)?;
        }
        let law = &self.settings.material.strength_law;
        if self.settings.material.softening != Softening::Off
            && (linear || law != SOFTENING_STRENGTH_LAW)
        {
            let reason = if linear {
                "a linear model does not soften"
            } else {
                "the strength law has no softening branch"
            };
            self.set_by_rule("material.softening", "off", reason)?;
        }
        Ok(())
    }

    /// Refuses settings that contradict each other.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let found = self
            .check_subject()
            .or_else(|| self.check_load())
            .or_else(|| self.check_laws())
            .or_else(|| self.check_material())
            .or_else(|| self.check_failure());
        match found {
            None => Ok(()),
            Some((message, "")) => Err(Failure::usage(message).into()),
            Some((message, help)) => Err(Failure::usage(message).with_help(help).into()),
        }
    }

    /// Refuses what a plan may say but this version cannot do.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage.
    pub fn check_available(&self) -> anyhow::Result<()> {
        let load = &self.settings.load;
        let case = load.case;
        if self.settings.mesh.kind != MeshKind::Tet10 {
            return Ok(());
        }
        if case == LoadKind::PlatenCompression && !load.cap_labels.is_empty() {
            return Err(Failure::usage(format!(
                "load.cap_labels ({}) names discs of the label map, which are there for mesh.kind=hex only; mesh.kind is tet10 ({})",
                self.origin("load.cap_labels"),
                self.origin("mesh.kind")
            ))
            .with_help("add --set mesh.kind=hex, or let caps be drawn: --set 'load.cap_labels=[]'")
            .into());
        }
        if !matches!(
            case,
            LoadKind::EndplateCompression | LoadKind::PlatenCompression
        ) {
            return Err(Failure::usage(format!(
                "tetrahedra are available for vertebrae under compression only; load.case is {case} ({}) and mesh.kind is tet10 ({})",
                self.origin("load.case"),
                self.origin("mesh.kind")
            ))
            .with_help("add --set mesh.kind=hex")
            .into());
        }
        Ok(())
    }

    fn check_subject(&self) -> Contradiction {
        let subject = &self.subject;
        if subject.bone == Bone::Femur && subject.level.is_some() {
            return found("--level is for a vertebra, and the bone is a femur", "");
        }
        if subject.bone == Bone::Femur && subject.label_names.is_some() {
            return found(
                "--label-names is for a vertebra, and the bone is a femur",
                "",
            );
        }
        if subject.bone == Bone::Vertebra && subject.side.is_some() {
            return found(
                "--side is for a femur, and the bone is a vertebra",
                "name the vertebra with --level",
            );
        }
        if subject.level == Some(LevelChoice::All) && !subject.label.is_empty() {
            return found(
                "--level all takes every vertebra, --label names one",
                "leave one of them out",
            );
        }
        if subject.level == Some(LevelChoice::All) && !self.settings.load.cap_labels.is_empty() {
            return found(
                "--level all takes every vertebra, load.cap_labels draws the caps of one",
                "run that vertebra with its own --label",
            );
        }
        for (option, value) in [
            ("--body-weight-kg", subject.body_weight_kg),
            ("--applied-load-n", subject.applied_load_n),
        ] {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                return found(format!("{option} must be a positive number"), "");
            }
        }
        if !subject.morph.is_finite() {
            return found("--morph must be a number", "");
        }
        if subject.morph_unit == super::MorphUnit::Voxel && subject.morph.fract() != 0.0 {
            return found(
                format!("--morph {} is no whole number of voxels", subject.morph),
                "add --morph-unit mm for fractions of a voxel",
            );
        }
        if subject.morph_unit != super::MorphUnit::Voxel
            && subject.morph_element != super::MorphElement::Faces
        {
            return found(
                format!(
                    "--morph-element is for a --morph in voxels, and --morph-unit is {}",
                    subject.morph_unit
                ),
                "leave one of them out",
            );
        }
        if subject.uncertainty.is_some()
            && subject.morph_unit != super::MorphUnit::StandardDeviation
        {
            return found(
                format!(
                    "--uncertainty is for a --morph in standard deviations, and --morph-unit is {}",
                    subject.morph_unit
                ),
                "add --morph-unit sd, or leave it out",
            );
        }
        None
    }

    fn check_load(&self) -> Contradiction {
        let load = &self.settings.load;
        let femur_case = matches!(load.case, LoadKind::Stance | LoadKind::SidewaysFall);
        if femur_case != (self.subject.bone == Bone::Femur) {
            return found(
                format!("load.case {} is not for a {}", load.case, self.subject.bone),
                "femur: stance, sideways_fall; vertebra: endplate_compression, platen_compression",
            );
        }
        if load.endplates == EndplateSource::ImageEdge && load.case != LoadKind::EndplateCompression
        {
            return found(
                format!(
                    "load.endplates=image_edge is for load.case=endplate_compression, and load.case is {}",
                    load.case
                ),
                "set load.endplates to mask_surface",
            );
        }
        match (load.displacement_mm > 0.0, load.displacement_percent > 0.0) {
            (true, true) => {
                return found(
                    "load.displacement_mm and load.displacement_percent are both set",
                    "set one of them to 0",
                );
            }
            (false, false) => {
                return found(
                    "the load has no displacement",
                    "set load.displacement_mm or load.displacement_percent above 0",
                );
            }
            _ => {}
        }
        let fits = match load.direction {
            Direction::Shaft => load.case == LoadKind::Stance,
            Direction::Endplates => load.case == LoadKind::EndplateCompression,
            Direction::Model => matches!(
                load.case,
                LoadKind::SidewaysFall | LoadKind::PlatenCompression
            ),
            Direction::Scan | Direction::Vector(_) => {
                matches!(load.case, LoadKind::Stance | LoadKind::EndplateCompression)
            }
        };
        if !fits {
            return found(
                format!(
                    "load.direction {} does not go with load.case {}",
                    load.direction, load.case
                ),
                "stance: shaft, scan, vector; endplate_compression: endplates, scan, vector; the caps of sideways_fall and platen_compression follow the model: model, turned by load.orientation",
            );
        }
        if load.angle_deg != 0.0 && load.case != LoadKind::Stance {
            return found(
                format!("load.angle_deg turns a stance load, not {}", load.case),
                "set it to 0",
            );
        }
        if !load.cap_labels.is_empty() && load.case != LoadKind::PlatenCompression {
            return found(
                "load.cap_labels names discs or caps, which only load.case platen_compression loads",
                "",
            );
        }
        if let Some(shared) = load
            .cap_labels
            .iter()
            .find(|l| self.subject.label.contains(l))
        {
            return found(
                format!("label {shared} is both bone (--label) and cap (load.cap_labels)"),
                "",
            );
        }
        if load.orientation != Orientation::None && self.settings.mesh.voxel_mm == 0.0 {
            return found(
                "a turned bone needs cubes to be resampled to, and mesh.voxel_mm is 0",
                "set mesh.voxel_mm above 0, or load.orientation to none",
            );
        }
        None
    }

    fn check_laws(&self) -> Contradiction {
        let material = &self.settings.material;
        let elasticity: Vec<&str> = ElasticityLaw::names().chain([USER_LAW]).collect();
        let strength: Vec<&str> = StrengthLaw::names()
            .chain([USER_LAW, NO_STRENGTH_LAW])
            .collect();
        let conversions: Vec<&str> = DensityConversion::ALL.iter().map(|c| c.name).collect();
        for (key, name, known) in [
            ("material.law", &material.law, elasticity),
            ("material.strength_law", &material.strength_law, strength),
            (
                "density.conversion",
                &self.settings.density.conversion,
                conversions,
            ),
        ] {
            if !known.contains(&name.as_str()) {
                return found(format!("{key}: {}", not_one_of(name, &known)), "");
            }
        }
        let law = &material.coefficients;
        if material.law == USER_LAW && law.is_empty() {
            return found("material.law user needs coefficients", COEFFICIENTS_HELP);
        }
        if !law.is_empty()
            && let Err(error) = Power::from_coefficients(law)
        {
            return found(format!("material.coefficients: {error}"), COEFFICIENTS_HELP);
        }
        let coefficients = &material.strength_coefficients;
        let checked = match (material.strength_law.as_str(), coefficients.is_empty()) {
            (USER_LAW, true) => {
                return found(
                    "material.strength_law user needs coefficients",
                    COEFFICIENTS_HELP,
                );
            }
            (NO_STRENGTH_LAW, false) => {
                return found(
                    "material.strength_coefficients are given, and material.strength_law is none",
                    "",
                );
            }
            (_, true) => Ok(()),
            (USER_LAW, false) => Power::from_coefficients(coefficients).map(drop),
            (name, false) => StrengthLaw::named(name)
                .and_then(|law| law.with_coefficients(coefficients))
                .map(drop),
        };
        match checked {
            Ok(()) => None,
            Err(error) => found(format!("material.strength_coefficients: {error}"), ""),
        }
    }

    fn check_material(&self) -> Contradiction {
        let material = &self.settings.material;
        let linear = material.model == ConstitutiveModel::Linear;
        if !linear && material.strength_law == NO_STRENGTH_LAW {
            return found(
                format!(
                    "material.model {} needs a strength law, and material.strength_law is none",
                    material.model
                ),
                "name one with material.strength_law, or set material.model to linear",
            );
        }
        if material.bin_offset > 0 && material.bins == 0 {
            return found(
                "material.bin_offset shifts bins, and material.bins is 0",
                "",
            );
        }
        if material.softening != Softening::Off {
            if linear {
                return found(
                    "a linear model does not soften",
                    "set material.softening to off",
                );
            }
            if material.strength_law != SOFTENING_STRENGTH_LAW {
                return found(
                    format!(
                        "the strength law {} has no softening branch",
                        material.strength_law
                    ),
                    "set material.softening to off, or material.strength_law to keyak2005",
                );
            }
        }
        let mesh = &self.settings.mesh;
        let (size_mm, remedy) = match mesh.kind {
            MeshKind::Hex => (
                mesh.voxel_mm,
                "set mesh.voxel_mm to 5 or less, or material.softening to off",
            ),
            // The edge of a cube of the element's volume.
            MeshKind::Tet10 => (
                mesh.tet_volume_mm3.cbrt(),
                "set mesh.tet_volume_mm3 to 125 or less, or material.softening to off",
            ),
        };
        if material.softening == Softening::ElementSize && size_mm > LARGEST_SOFTENING_ELEMENT_MM {
            return found(
                format!(
                    "softening cannot be scaled to elements of {size_mm} mm: the specimens were {LARGEST_SOFTENING_ELEMENT_MM} mm long"
                ),
                remedy,
            );
        }
        let secant = matches!(
            material.model,
            ConstitutiveModel::Secant | ConstitutiveModel::SecantExplicit
        );
        if material.bins > 0 && self.settings.mesh.kind == MeshKind::Tet10 {
            return found(
                "bins of moduli belong to benchmarks on voxels, and mesh.kind is tet10",
                "set material.bins to 0; `export --bins` groups materials for other programs",
            );
        }
        if secant && self.settings.mesh.kind == MeshKind::Tet10 {
            return found(
                "the secant model is one for hexahedra",
                "set mesh.kind to hex, or material.model to j2",
            );
        }
        None
    }

    fn check_failure(&self) -> Contradiction {
        let (failure, load) = (&self.settings.failure, &self.settings.load);
        let linear = self.settings.material.model == ConstitutiveModel::Linear;
        match failure.criterion {
            Criterion::MaximumForce if linear => found(
                "a linear model has no maximum force",
                "set failure.criterion to none, pistoia or height_reduction",
            ),
            Criterion::Pistoia if !linear => found(
                format!(
                    "Pistoia's criterion scales a linear solution, and material.model is {}",
                    self.settings.material.model
                ),
                "set material.model to linear, or another failure.criterion",
            ),
            Criterion::HeightReduction if self.subject.bone == Bone::Femur => found(
                "the height of a femur is not defined",
                "set failure.criterion to maximum_force",
            ),
            Criterion::HeightReduction
                if load.case == LoadKind::EndplateCompression
                    && load.displacement_percent > 0.0
                    && failure.height_reduction_percent
                        > load.displacement_percent * load.extension * (1.0 + 1e-12) =>
            {
                found(
                    format!(
                        "the load ends at {} % of the height, before the {} % at which it is read",
                        load.displacement_percent * load.extension,
                        failure.height_reduction_percent
                    ),
                    "raise load.displacement_percent",
                )
            }
            _ => None,
        }
    }
}

fn found(message: impl Into<String>, help: &'static str) -> Contradiction {
    Some((message.into(), help))
}
