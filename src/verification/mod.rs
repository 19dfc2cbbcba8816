//! Problems with known answers, solved on this machine by this build: what `osteoload verify` runs.
//!
//! References are closed forms ([`solver::analytic`]), published numbers, or limit loads. A tolerance is what the
//! reference and the mesh justify; where a published limit is only approximate, the row says so.

mod body;
mod bones;
mod calibration;
mod convergence;
mod elastic;
mod interpolation;
mod loading;
mod material_point;
mod plastic;
mod system;
mod table;

use anyhow::Context as _;
use solver::{Control, Formulation, LoadCase, Model, Response, Stepping};

use crate::progress::Progress;

pub use table::markdown;

/// What a result is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Criterion {
    /// The error over the magnitude of the reference is at most this, on either side.
    Relative(f64),
    /// The error is at most this, on either side.
    Absolute(f64),
    /// The result is not below the reference.
    AtLeast,
}

/// One line of `osteoload verify`.
#[derive(Clone, Debug, PartialEq)]
pub struct VerificationRow {
    /// The problem.
    pub problem: String,
    /// Element, or the model where no element matters.
    pub element: String,
    /// What is compared, with its unit.
    pub quantity: String,
    /// Where the reference comes from.
    pub source: String,
    /// What it should be.
    pub reference: f64,
    /// What it is.
    pub result: f64,
    /// What passes.
    pub criterion: Criterion,
}

impl VerificationRow {
    /// Difference to the reference; over its magnitude unless the criterion is an absolute one.
    pub fn error(&self) -> f64 {
        let difference = self.result - self.reference;
        match self.criterion {
            Criterion::Absolute(_) => difference,
            Criterion::Relative(_) | Criterion::AtLeast => difference / self.reference.abs(),
        }
    }

    /// Whether the error is allowed. NaN is not.
    pub fn passes(&self) -> bool {
        match self.criterion {
            Criterion::Relative(allowed) | Criterion::Absolute(allowed) => {
                self.error().abs() <= allowed
            }
            Criterion::AtLeast => self.result >= self.reference,
        }
    }
}

/// Runs the verification problems.
///
/// # Errors
/// When a problem cannot be solved at all.
pub fn verify(progress: &mut Progress) -> anyhow::Result<Vec<VerificationRow>> {
    let mut rows = Vec::new();
    for (stage, run) in STAGES {
        progress.stage(stage);
        run(&mut rows).with_context(|| format!("verification problem: {stage}"))?;
    }
    progress.finish();
    Ok(rows)
}

/// Adds the rows of one problem or a family of them.
type Stage = fn(&mut Vec<VerificationRow>) -> anyhow::Result<()>;

const STAGES: [(&str, Stage); 26] = [
    ("calibration", calibration::mindways),
    ("patch test", elastic::patch_test),
    ("zero modes", elastic::zero_modes),
    ("bars", elastic::bars),
    ("Cook's membrane", elastic::cooks_membrane),
    ("NAFEMS LE10", elastic::nafems_le10),
    ("NAFEMS LE1", elastic::nafems_le1),
    ("thick cylinder", elastic::thick_cylinder),
    ("slender beam", elastic::slender_beam),
    ("convergence", convergence::rates),
    ("pressurised cylinder", plastic::pressurised_cylinder),
    ("pressurised sphere", plastic::pressurised_sphere),
    ("circular plate", plastic::circular_plate),
    ("strip footing", plastic::strip_footing),
    ("notched strip", plastic::notched_strip),
    ("perforated plate", plastic::perforated_plate),
    ("plastic bending", plastic::pure_bending),
    ("oedometer", plastic::oedometer),
    ("one element in plane strain", material_point::hyplas),
    ("Keyak's law at a point", material_point::keyak),
    ("beam of Sas 2020", system::sas_beam),
    ("softening bar", system::softening_bar),
    ("increments", system::increments),
    ("mirror and scaling", system::mirror_and_scaling),
    ("a femur", bones::femur),
    ("a vertebra", bones::vertebra),
];

/// The elements that are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ElementType {
    /// 8-node hexahedron.
    Hex8(Formulation),
    /// 4-node tetrahedron.
    Tet4,
    /// 10-node tetrahedron.
    Tet10,
}

impl ElementType {
    const FULL: Self = Self::Hex8(Formulation::Full);
    const BBAR: Self = Self::Hex8(Formulation::BBar);
    const INCOMPATIBLE: Self = Self::Hex8(Formulation::Incompatible);

    fn name(self) -> &'static str {
        match self {
            Self::Hex8(Formulation::Full) => "hex8 full",
            Self::Hex8(Formulation::BBar) => "hex8 B-bar",
            Self::Hex8(Formulation::Incompatible) => "hex8 incompatible",
            Self::Tet4 => "TET4",
            Self::Tet10 => "TET10",
        }
    }

    fn formulation(self) -> Formulation {
        match self {
            Self::Hex8(formulation) => formulation,
            Self::Tet4 | Self::Tet10 => Formulation::BBar,
        }
    }
}

/// The formulations of the 8-node hexahedron.
const HEXAHEDRA: [ElementType; 3] = [
    ElementType::FULL,
    ElementType::BBAR,
    ElementType::INCOMPATIBLE,
];
/// Every element; a problem leaves out those it does not apply to.
const SOLIDS: &[ElementType] = &[
    ElementType::FULL,
    ElementType::BBAR,
    ElementType::INCOMPATIBLE,
    ElementType::Tet4,
    ElementType::Tet10,
];

/// Problem and source of a group of rows.
#[derive(Clone, Copy, Debug)]
struct Heading {
    problem: &'static str,
    source: &'static str,
}

impl Heading {
    fn row(
        &self,
        rows: &mut Vec<VerificationRow>,
        element: &str,
        quantity: impl Into<String>,
        reference: f64,
        result: f64,
        criterion: Criterion,
    ) {
        rows.push(VerificationRow {
            problem: self.problem.into(),
            element: element.into(),
            quantity: quantity.into(),
            source: self.source.into(),
            reference,
            result,
            criterion,
        });
    }
}

/// Solves without watching.
fn solve(model: &Model, case: &LoadCase, stepping: &Stepping) -> anyhow::Result<Response> {
    Ok(solver::analyse(model, case, stepping, &mut |_| {
        Control::Continue
    })?)
}

/// One increment to the full load.
fn solve_linear(model: &Model, case: &LoadCase) -> anyhow::Result<Response> {
    solve(model, case, &Stepping::equal(1))
}

/// Reaction of the first monitor along an axis at a load factor; NaN where the run did not get there.
fn reaction_at(response: &Response, factor: f64, axis: usize) -> f64 {
    response
        .increments
        .iter()
        .find(|i| (i.factor - factor).abs() < 1e-9)
        .map_or(f64::NAN, |i| i.reactions_n[0][axis])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reference: f64, result: f64, criterion: Criterion) -> VerificationRow {
        VerificationRow {
            problem: String::new(),
            element: String::new(),
            quantity: String::new(),
            source: String::new(),
            reference,
            result,
            criterion,
        }
    }

    #[test]
    fn a_wrong_result_fails_on_either_side() {
        for (reference, result, passes) in [
            (100.0, 101.0, true),
            (100.0, 99.0, true),
            (100.0, 101.1, false),
            (100.0, 98.9, false),
            (-100.0, -98.9, false),
            (-100.0, -101.1, false),
            (-100.0, -100.5, true),
            (100.0, -100.0, false),
            (100.0, f64::NAN, false),
            (100.0, f64::INFINITY, false),
        ] {
            let row = row(reference, result, Criterion::Relative(0.01 + 1e-12));
            assert_eq!(row.passes(), passes, "{row:?}");
        }
        for (result, passes) in [(0.5, true), (-0.5, true), (0.51, false), (-0.51, false)] {
            assert_eq!(row(0.0, result, Criterion::Absolute(0.5)).passes(), passes);
        }
        assert!(!row(0.0, f64::NAN, Criterion::Absolute(0.5)).passes());
        assert!(row(1.0, 1.0, Criterion::AtLeast).passes());
        assert!(!row(1.0, 0.999, Criterion::AtLeast).passes());
        assert!(!row(1.0, f64::NAN, Criterion::AtLeast).passes());
    }

    #[test]
    fn the_error_has_a_sign() {
        assert!((row(-2.0, -2.1, Criterion::Relative(0.0)).error() + 0.05).abs() < 1e-12);
        assert!((row(-2.0, -2.1, Criterion::Absolute(0.0)).error() + 0.1).abs() < 1e-12);
    }
}
