//! Rates of convergence on smoothly distorted meshes towards a field that no element contains.

use solver::MaterialModel;
use solver::analytic::PapkovichField;

use super::body::{Body, Material, brick};
use super::interpolation::{field_point, fine_rule};
use super::loading::Loading;
use super::{Criterion, ElementType, Heading, SOLIDS, VerificationRow, solve_linear};

/// Young's modulus (MPa) and Poisson's ratio.
const MATERIAL: (f64, f64) = (1000.0, 0.3);

fn field() -> PapkovichField {
    PapkovichField {
        a: 1.6,
        b: 1.2,
        shear: MATERIAL.0 / (2.0 * (1.0 + MATERIAL.1)),
        poissons_ratio: MATERIAL.1,
    }
}

/// A unit cube of `n` cells along each edge, bent.
fn cube(element: ElementType, n: usize) -> Body {
    brick([n; 3], [0.0; 3], [1.0; 3])
        .then(|[x, y, z]| {
            [
                x + 0.12 * y * z,
                y + 0.10 * (2.0 * x).sin() * z,
                z + 0.08 * x * y * y,
            ]
        })
        .mesh(element)
}

/// Errors of the displacement (L2) and of its gradient (H1 seminorm) with exact displacements on the boundary.
fn errors(element: ElementType, n: usize) -> anyhow::Result<[f64; 2]> {
    let body = cube(element, n);
    let exact = field();
    let mut boundary: Vec<u32> = body.surface(|_| true).into_iter().flatten().collect();
    boundary.sort_unstable();
    boundary.dedup();
    let mut loading = Loading::default();
    loading.follow(&body, &boundary, |p| exact.displacement(p));
    let material = Material::elastic(MATERIAL.0, MATERIAL.1);
    let model = body.model(&material, MaterialModel::Linear);
    let response = solve_linear(&model, &loading.case)?;
    let mut sums = [0.0; 2];
    let rule = fine_rule(element);
    for number in 0..body.mesh.element_count() {
        for (xi, weight) in &rule {
            let point = field_point(&body, &response.displacements_mm, number, *xi);
            let (u, slope) = (
                exact.displacement(point.position),
                exact.gradient(point.position),
            );
            let weight = weight * point.determinant;
            for i in 0..3 {
                sums[0] += weight * (point.displacement[i] - u[i]).powi(2);
                for j in 0..3 {
                    sums[1] += weight * (point.gradient[i][j] - slope[i][j]).powi(2);
                }
            }
        }
    }
    Ok(sums.map(f64::sqrt))
}

/// Rates between the two finer of three meshes: one above the degree of the shape functions for the displacement, the
/// degree for its gradient (Strang and Fix 1973). 0.15 is what meshes of this size leave of the asymptotic rate.
pub(super) fn rates(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "convergence rate, Papkovich field",
        source: "Strang and Fix 1973",
    };
    for &element in SOLIDS {
        let (meshes, degree) = match element {
            ElementType::Tet10 => ([2, 3, 5], 2.0),
            ElementType::Tet4 => ([3, 5, 8], 1.0),
            ElementType::Hex8(_) => ([3, 6, 10], 1.0),
        };
        let mut found = Vec::new();
        for n in meshes {
            found.push(errors(element, n)?);
        }
        for (norm, what, expected) in [(0, "L2", degree + 1.0), (1, "H1", degree)] {
            let mut worst = expected;
            for level in 0..2 {
                let refinement = meshes[level + 1] as f64 / meshes[level] as f64;
                let rate = (found[level][norm] / found[level + 1][norm]).ln() / refinement.ln();
                if f64::abs(rate - expected) >= f64::abs(worst - expected) {
                    worst = rate;
                }
            }
            let quantity = format!("rate in {what}, {} to {} cells", meshes[0], meshes[2]);
            let allowed = Criterion::Absolute(0.15);
            heading.row(rows, element.name(), quantity, expected, worst, allowed);
        }
    }
    Ok(())
}
