//! `osteoload verify`: problems with known answers, solved on this machine by this build.

use anyhow::Context as _;
use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, NodeSet};
use solver::{
    Control, Formulation, HardeningCurve, LoadCase, MaterialModel, Materials, Model, Prescribed,
    Response, SolidMesh, Stepping,
};

use crate::progress::Progress;

/// One line of `osteoload verify`.
#[derive(Clone, Debug, PartialEq)]
pub struct VerificationRow {
    /// Problem and quantity.
    pub quantity: String,
    /// What it should be.
    pub reference: f64,
    /// What it is.
    pub result: f64,
    /// Largest relative error that passes.
    pub tolerance: f64,
}

impl VerificationRow {
    /// Difference to the reference over its magnitude; over 1 for a reference of 0.
    pub fn relative_error(&self) -> f64 {
        let scale = if self.reference == 0.0 {
            1.0
        } else {
            self.reference.abs()
        };
        (self.result - self.reference) / scale
    }

    /// Whether the error is within the tolerance. NaN is not.
    pub fn passes(&self) -> bool {
        self.relative_error().abs() <= self.tolerance
    }
}

/// Runs the verification problems.
///
/// # Errors
/// When a problem cannot be solved at all.
pub fn verify(progress: &mut Progress) -> anyhow::Result<Vec<VerificationRow>> {
    let mut rows = Vec::new();
    progress.stage("calibration");
    mindways(&mut rows)?;
    progress.stage("elastic bars");
    bars(&mut rows)?;
    progress.stage("oedometer");
    oedometer(&mut rows)?;
    progress.stage("beam of Sas 2020");
    beam(&mut rows)?;
    progress.finish();
    Ok(rows)
}

fn row(
    quantity: impl Into<String>,
    reference: f64,
    result: f64,
    tolerance: f64,
) -> VerificationRow {
    VerificationRow {
        quantity: quantity.into(),
        reference,
        result,
        tolerance,
    }
}

/// The Mindways regression with sigma_ref 1.46 and beta_ref -1003 (QCT PRO user guide; worked by hand).
fn mindways(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let phantom = calibration::Phantom::named("mindways-model3-ct")?;
    let hu = [-66.422, -24.014, 186.535, 345.813, 468.912];
    let rods: Vec<calibration::Rod> = phantom
        .rods
        .iter()
        .zip(hu)
        .map(|(rod, hu_mean)| calibration::Rod {
            name: rod.name.clone(),
            hu_mean,
            hu_sd: Some(10.0),
            voxels: 1000,
            reference_mg_cm3: rod.equivalent_mg_cm3,
            water_mg_cm3: rod.water_mg_cm3,
            centre_mm: None,
        })
        .collect();
    let fit = calibration::Calibration::fit(&phantom, &rods)?;
    rows.push(row(
        "Mindways slope, mg/cm3 per HU",
        0.804764,
        fit.slope_mg_cm3_per_hu,
        2e-5,
    ));
    rows.push(row(
        "Mindways intercept, mg/cm3",
        2.736198,
        fit.intercept_mg_cm3,
        2e-3,
    ));
    Ok(())
}

/// A block of boxes.
fn block(cells: [usize; 3], spacing: [f64; 3]) -> (HexMesh, Lattice) {
    let points = cells.map(|n| n + 1);
    let at = |p: [usize; 3]| (p[0] + points[0] * (p[1] + points[1] * p[2])) as u32;
    let grid = |n: [usize; 3]| {
        (0..n[2]).flat_map(move |k| (0..n[1]).flat_map(move |j| (0..n[0]).map(move |i| [i, j, k])))
    };
    let mesh = HexMesh {
        nodes_mm: grid(points)
            .map(|p| std::array::from_fn(|a| p[a] as f64 * spacing[a]))
            .collect(),
        elements: grid(cells)
            .map(|cell| HEX_CORNERS.map(|c| at(std::array::from_fn(|a| cell[a] + c[a]))))
            .collect(),
    };
    let lattice = Lattice {
        spacing_mm: spacing,
        cells,
        element_cells: grid(cells).map(|c| c.map(|i| i as u32)).collect(),
        node_points: grid(points).map(|p| p.map(|i| i as u32)).collect(),
    };
    (mesh, lattice)
}

struct Problem {
    cells: [usize; 3],
    spacing: [f64; 3],
    modulus: f64,
    ratio: f64,
    curve: Option<HardeningCurve>,
    formulation: Formulation,
    law: MaterialModel,
}

impl Problem {
    fn model(&self) -> Model {
        let (mesh, lattice) = block(self.cells, self.spacing);
        let n = mesh.elements.len();
        Model {
            mesh: SolidMesh::Voxels { mesh, lattice },
            materials: Materials {
                youngs_modulus_mpa: vec![self.modulus; n],
                poissons_ratio: vec![self.ratio; n],
                curve: vec![
                    if self.curve.is_some() {
                        0
                    } else {
                        Materials::ELASTIC
                    };
                    n
                ],
                curves: self.curve.iter().cloned().collect(),
            },
            formulation: self.formulation,
            material_model: self.law,
        }
    }

    /// Compresses along z by `uz` mm with free or held sides, in equal increments.
    fn press(&self, uz: f64, confined: bool, increments: usize) -> anyhow::Result<Response> {
        let model = self.model();
        let high: [f64; 3] = std::array::from_fn(|a| self.cells[a] as f64 * self.spacing[a]);
        let mut case = LoadCase::default();
        let mut top = Vec::new();
        for (node, p) in model.mesh.nodes_mm().iter().enumerate() {
            let node = node as u32;
            let mut put = |component: u8, displacement_mm: f64| {
                case.prescribed.push(Prescribed {
                    node,
                    component,
                    displacement_mm,
                });
            };
            let end = |axis: usize| p[axis] == 0.0 || p[axis] == high[axis];
            let origin = p[1] == 0.0 && p[2] == 0.0 && end(0);
            if (confined && end(0)) || (!confined && origin && p[0] == 0.0) {
                put(0, 0.0);
            }
            if (confined && end(1)) || (!confined && origin) {
                put(1, 0.0);
            }
            if p[2] == 0.0 {
                put(2, 0.0);
            } else if p[2] == high[2] {
                put(2, -uz);
                top.push(node);
            }
        }
        case.monitors.push(NodeSet {
            name: "top".into(),
            nodes: top,
        });
        let stepping = Stepping::equal(increments);
        solver::analyse(&model, &case, &stepping, &mut |_| Control::Continue)
            .context("a verification problem")
    }
}

fn force_at(response: &Response, factor: f64) -> f64 {
    response
        .increments
        .iter()
        .find(|i| (i.factor - factor).abs() < 1e-9)
        .map_or(f64::NAN, |i| -i.reactions_n[0][2])
}

/// Uniaxial (E A u / L) and confined (constrained modulus) bars of each formulation.
fn bars(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    for formulation in [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ] {
        for (confined, reference) in [(false, 500.0), (true, 673.076_923_076_9)] {
            let bar = Problem {
                cells: [5, 4, 8],
                spacing: [2.0, 2.5, 2.5],
                modulus: 1000.0,
                ratio: 0.3,
                curve: None,
                formulation,
                law: MaterialModel::Linear,
            };
            let response = bar.press(0.1, confined, 1)?;
            let kind = if confined { "confined" } else { "uniaxial" };
            rows.push(row(
                format!("{kind} bar, {formulation:?}, N"),
                reference,
                force_at(&response, 1.0),
                1e-7,
            ));
        }
    }
    Ok(())
}

/// Oedometer with perfect J2: E 1000, nu 0.3, yield stress 10 MPa. It yields at 17.5 MPa and 1.3 % strain; then the
/// slope is the bulk modulus, 833.333 MPa.
fn oedometer(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let curve = HardeningCurve::perfect(10.0).map_err(anyhow::Error::msg)?;
    let oedometer = Problem {
        cells: [1; 3],
        spacing: [1.0; 3],
        modulus: 1000.0,
        ratio: 0.3,
        curve: Some(curve),
        formulation: Formulation::BBar,
        law: MaterialModel::J2,
    };
    let response = oedometer.press(0.026, true, 2)?;
    rows.push(row(
        "oedometer at first yield, MPa",
        17.5,
        force_at(&response, 0.5),
        1e-6,
    ));
    rows.push(row(
        "oedometer at twice that strain, MPa",
        17.5 + 0.013 * 833.333_333,
        force_at(&response, 1.0),
        1e-6,
    ));
    Ok(())
}

/// The homogeneous beam of Sas et al. 2020 on one element of its size, by Keyak's law at 0.5 g/cm³.
fn beam(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    use calibration::post_yield::{PostYieldCurve, Softening, TissueKind};
    let modulus = calibration::law::ElasticityLaw::named("keyak2005")?.at_mpa(500.0);
    let strength = calibration::law::StrengthLaw::named("keyak2005")?.at_mpa(500.0, modulus);
    let curve = PostYieldCurve::keyak2005(
        500.0,
        TissueKind::Trabecular,
        modulus,
        strength,
        Softening::Fixed3mm,
    )?;
    let curve = HardeningCurve::new(curve.points()).map_err(anyhow::Error::msg)?;
    for law in [MaterialModel::J2, MaterialModel::Secant] {
        let beam = Problem {
            cells: [1; 3],
            spacing: [30.0, 30.0, 50.0],
            modulus,
            ratio: 0.3,
            curve: Some(curve.clone()),
            formulation: Formulation::Full,
            law,
        };
        let response = beam.press(12.0, false, 120)?;
        for (u, reference) in [
            (0.3, 22.1648),
            (1.0, 26.3626),
            (4.0, 25.9851),
            (8.0, 16.4386),
            (12.0, 11.0626),
        ] {
            let result = force_at(&response, u / 12.0) / 1000.0;
            rows.push(row(
                format!("beam of Sas 2020 at {u} mm, {law:?}, kN"),
                reference,
                result,
                6e-5,
            ));
        }
    }
    Ok(())
}
