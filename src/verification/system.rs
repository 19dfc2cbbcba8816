//! Whole analyses: the beam of Sas 2020, softening, increments, mirroring and scaling.

use calibration::post_yield::{PostYieldCurve, Softening, TissueKind};
use solver::analytic::SofteningBar;
use solver::{HardeningCurve, MaterialModel, Materials, Model, SolidMesh, Stepping};

use super::body::{Material, model, voxels};
use super::elastic::press;
use super::{Criterion, ElementType, Heading, VerificationRow, reaction_at, solve, solve_linear};

/// Keyak's law for trabecular bone of a density, elements of 3 mm.
fn keyak(density_mg_cm3: f64) -> anyhow::Result<Material> {
    let modulus = calibration::law::ElasticityLaw::named("keyak2005")?.at_mpa(density_mg_cm3);
    let strength =
        calibration::law::StrengthLaw::named("keyak2005")?.at_mpa(density_mg_cm3, modulus);
    let curve = PostYieldCurve::keyak2005(
        density_mg_cm3,
        TissueKind::Trabecular,
        modulus,
        strength,
        Softening::Fixed3mm,
    )?;
    let curve = HardeningCurve::new(curve.points()).map_err(anyhow::Error::msg)?;
    Ok(Material {
        curve: Some(curve),
        ..Material::elastic(modulus, 0.3)
    })
}

/// S1: the homogeneous beam of Sas et al. 2020 by Keyak's law at 0.5 g/cm³: its stiffness on all 5625 voxels, and the whole
/// curve on one element of its size (the softening beam of many elements has no stable uniform state).
pub(super) fn sas_beam(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "S1 beam of Sas 2020",
        source: "Sas et al. 2020, example file; Keyak 2005",
    };
    let material = keyak(500.0)?;
    let mesh = voxels([15, 15, 25], [2.0; 3], |_| true);
    let loading = press(&mesh, 0.3, false);
    let fine = model(mesh, &material, ElementType::FULL, MaterialModel::Linear);
    let response = solve_linear(&fine, &loading.case)?;
    let stiffness = -reaction_at(&response, 1.0, 2) / 0.3 / 1000.0;
    let allowed = Criterion::Relative(2e-6);
    let name = "hex8 full, 15 x 15 x 25";
    heading.row(rows, name, "stiffness, kN/mm", 73.8827, stiffness, allowed);
    for (law, name) in [
        (MaterialModel::J2, "hex8 full, J2"),
        (MaterialModel::Secant, "hex8 full, secant"),
    ] {
        let mesh = voxels([1; 3], [30.0, 30.0, 50.0], |_| true);
        let loading = press(&mesh, 12.0, false);
        let beam = model(mesh, &material, ElementType::FULL, law);
        let response = solve(&beam, &loading.case, &Stepping::equal(120))?;
        for (u, reference) in [
            (0.3, 22.1648),
            (1.0, 26.3626),
            (4.0, 25.9851),
            (6.0, 21.2118),
            (8.0, 16.4386),
            (10.0, 11.6653),
            (12.0, 11.0626),
        ] {
            let found = -reaction_at(&response, u / 12.0, 2) / 1000.0;
            // The reference is printed to six digits.
            let allowed = Criterion::Relative(6e-6);
            heading.row(
                rows,
                name,
                format!("force, kN, at {u} mm"),
                reference,
                found,
                allowed,
            );
        }
    }
    // The published scheme, whose moduli lag one increment behind, overshoots with the size of its steps.
    let mesh = voxels([1; 3], [30.0, 30.0, 50.0], |_| true);
    let loading = press(&mesh, 12.0, false);
    let explicit = MaterialModel::SecantExplicit;
    let beam = model(mesh, &material, ElementType::FULL, explicit);
    for (increments, step, at_1_mm, at_8_mm) in [
        (120, "0.1", 29.2918, 16.8884),
        (480, "0.025", 27.0386, 16.5500),
        (2400, "0.005", 26.4951, 16.4608),
    ] {
        let response = solve(&beam, &loading.case, &Stepping::equal(increments))?;
        for (u, reference) in [(1.0, at_1_mm), (8.0, at_8_mm)] {
            let found = -reaction_at(&response, u / 12.0, 2) / 1000.0;
            let quantity = format!("force, kN, at {u} mm in steps of {step} mm");
            let name = "hex8 full, explicit secant";
            let allowed = Criterion::Relative(6e-6);
            heading.row(rows, name, quantity, reference, found, allowed);
        }
    }
    Ok(())
}

/// S2: a bar with one element weaker by 5 %, its slopes scaled to the element size: one curve whatever the mesh.
pub(super) fn softening_bar(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    // Exact for the secant model with a Poisson's ratio of 0. The plastic flow of J2 spreads sideways and drags the
    // neighbours of the weak element into yield, so it has no such closed form.
    let heading = Heading {
        problem: "S2 bar with a weak element, secant",
        source: "series of springs; slopes as Keyak 2005",
    };
    let bar = SofteningBar {
        length: 20.0,
        youngs_modulus: 1000.0,
        strength: 9.5,
        specimen_slope: -40.0,
    };
    for n in [5, 10, 20, 40] {
        let h = bar.length / n as f64;
        let slope = bar.plastic_modulus(h);
        let falling = |strength: f64| {
            HardeningCurve::new(vec![[0.0, strength], [(0.5 - strength) / slope, 0.5]])
                .map_err(anyhow::Error::msg)
        };
        let material = Material {
            curve: Some(falling(10.0)?),
            ..Material::elastic(bar.youngs_modulus, 0.0)
        };
        let mesh = voxels([1, 1, n], [3.0, 3.0, h], |_| true);
        let loading = press(&mesh, 3.0, false);
        let mut body = model(mesh, &material, ElementType::FULL, MaterialModel::Secant);
        body.materials.curves.push(falling(bar.strength)?);
        body.materials.curve[n / 2] = 1;
        let response = solve(&body, &loading.case, &Stepping::equal(60))?;
        for u in [0.15, 0.5, 1.0, 2.0, 3.0] {
            let found = -reaction_at(&response, u / 3.0, 2) / 9.0;
            let quantity = format!("mean stress, MPa, at {u} mm");
            let allowed = Criterion::Relative(1e-4);
            heading.row(
                rows,
                &format!("hex8 full, {n} elements"),
                quantity,
                bar.stress(u),
                found,
                allowed,
            );
        }
    }
    Ok(())
}

/// A notched block of `stretch` mm cells whose density (mg/cm³) differs from cell to cell, by Keyak's law; `mirrored`
/// turns it over along x.
fn notched(density_factor: f64, stretch: f64, mirrored: bool) -> anyhow::Result<Model> {
    let cells = [8, 5, 9];
    let at = |cell: [usize; 3]| {
        let x = if mirrored {
            cells[0] - 1 - cell[0]
        } else {
            cell[0]
        };
        [x, cell[1], cell[2]]
    };
    let mesh = voxels(cells, [2.0 * stretch; 3], |cell| {
        let [x, _, z] = at(cell);
        !(x >= 5 && (3..6).contains(&z))
    });
    let kinds = (0..7)
        .map(|kind| keyak(density_factor * (250.0 + 40.0 * f64::from(kind))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let kind_of: Vec<usize> = match &mesh {
        SolidMesh::Voxels { lattice, .. } => lattice
            .element_cells
            .iter()
            .map(|cell| {
                let [x, y, z] = at(cell.map(|i| i as usize));
                (3 * x + 5 * y + 2 * z) % 7
            })
            .collect(),
        _ => Vec::new(),
    };
    let materials = Materials {
        youngs_modulus_mpa: kind_of.iter().map(|&k| kinds[k].youngs_modulus).collect(),
        poissons_ratio: vec![0.3; kind_of.len()],
        curve: kind_of.iter().map(|&k| k as u32).collect(),
        curves: kinds.into_iter().filter_map(|kind| kind.curve).collect(),
    };
    let bbar = ElementType::BBAR.formulation();
    Ok(Model {
        mesh,
        materials,
        formulation: bbar,
        material_model: MaterialModel::J2,
    })
}

/// Forces of a block pressed by 2 % of its height, N.
fn forces(body: &Model, increments: usize, tolerance: f64) -> anyhow::Result<Vec<f64>> {
    let height = body
        .mesh
        .nodes_mm()
        .iter()
        .map(|p| p[2])
        .fold(0.0, f64::max);
    let loading = press(&body.mesh, 0.02 * height, false);
    let mut stepping = Stepping::equal(increments);
    stepping.tolerance = tolerance;
    let response = solve(body, &loading.case, &stepping)?;
    Ok(response
        .increments
        .iter()
        .map(|i| -i.reactions_n[0][2])
        .collect())
}

fn largest(forces: &[f64]) -> f64 {
    forces.iter().copied().fold(f64::NAN, f64::max)
}

/// S3: twice as many increments change the largest force little.
pub(super) fn increments(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "S3 notched block, increments",
        source: "itself with twice as many increments",
    };
    let body = notched(1.0, 1.0, false)?;
    let fine = largest(&forces(&body, 16, 1e-6)?);
    let coarse = largest(&forces(&body, 8, 1e-6)?);
    let allowed = Criterion::Relative(0.01);
    heading.row(
        rows,
        "hex8 B-bar",
        "largest force, N, 8 increments",
        fine,
        coarse,
        allowed,
    );
    Ok(())
}

/// S6 and S8: the mirror image is as strong; strength grows with density as the law says and with size as its square.
pub(super) fn mirror_and_scaling(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let mirror = Heading {
        problem: "S6 notched block, mirrored",
        source: "symmetry of mechanics",
    };
    let density = Heading {
        problem: "S8 notched block, density x 1.2",
        source: "powers of Keyak 2005: E 1.86, S 1.80",
    };
    let size = Heading {
        problem: "S8 notched block, size x 1.5",
        source: "similarity",
    };
    let name = "hex8 B-bar";
    let run = |density: f64, stretch: f64, mirrored: bool| {
        forces(&notched(density, stretch, mirrored)?, 8, 1e-10)
    };
    let original = run(1.0, 1.0, false)?;
    let mirrored = run(1.0, 1.0, true)?;
    let quantity = "largest force, N";
    let (reference, found) = (largest(&original), largest(&mirrored));
    mirror.row(
        rows,
        name,
        quantity,
        reference,
        found,
        Criterion::Relative(1e-8),
    );
    let denser = run(1.2, 1.0, false)?;
    let power = |a: f64, b: f64| (b / a).ln() / 1.2f64.ln();
    let found = power(original[0], denser[0]);
    let quantity = "power of the force at 0.25 % (elastic)";
    density.row(
        rows,
        name,
        quantity,
        1.86,
        found,
        Criterion::Absolute(0.002),
    );
    let found = power(largest(&original), largest(&denser));
    let quantity = "power of the largest force, between 1.80 and 1.86";
    density.row(rows, name, quantity, 1.83, found, Criterion::Absolute(0.03));
    let larger = run(1.0, 1.5, false)?;
    let found = largest(&larger) / largest(&original);
    size.row(
        rows,
        name,
        "factor of the largest force",
        2.25,
        found,
        Criterion::Relative(1e-8),
    );
    Ok(())
}
