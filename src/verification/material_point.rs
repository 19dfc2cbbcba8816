//! One element under a homogeneous strain.

use solver::{Control, ElementFields, HardeningCurve, MaterialModel, Stepping, analytic};

use super::body::{Body, Material, brick, close};
use super::elastic::press;
use super::loading::Loading;
use super::{Criterion, ElementType, Heading, SOLIDS, VerificationRow};

/// Step of the upper edge, mm.
const STEP: f64 = 0.006240377207533829;
/// Stresses yy and zz (MPa) and equivalent plastic strain after each step.
const HYPLAS: [[f64; 3]; 5] = [
    [-9.984603532054, -2.496150883014, 0.0],
    [-13.98625002482, -4.672438536528, 0.004165950446951],
    [-17.93461000239, -6.609745592748, 0.008387168334146],
    [-21.86859179698, -8.428114152557, 0.01262982370547],
    [-25.79776552780, -10.18084555327, 0.01688281158043],
];

/// Fields of the first element at every increment. The strain is homogeneous, so that any element of the body will do.
fn fields(
    body: &Body,
    loading: &Loading,
    material: &Material,
    increments: usize,
) -> anyhow::Result<Vec<ElementFields>> {
    let mut stepping = Stepping::equal(increments);
    stepping.tolerance = 1e-11;
    let mut found = Vec::new();
    let model = body.model(material, MaterialModel::J2);
    solver::analyse(&model, &loading.case, &stepping, &mut |state| {
        found.push(state.element(0));
        Control::Continue
    })?;
    anyhow::ensure!(
        found.len() == increments,
        "{} of {increments} increments converged",
        found.len()
    );
    Ok(found)
}

/// HYPLAS: a unit square in plane strain, E 1500, nu 0.25, yield stress 9, hardening modulus 800; the upper edge goes down in
/// five steps, the right side is free.
pub(super) fn hyplas(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "one element in plane strain, linear hardening",
        source: "HYPLAS, de Souza Neto et al. 2008",
    };
    let curve = HardeningCurve::new(vec![[0.0, 9.0], [1.0, 809.0]]).map_err(anyhow::Error::msg)?;
    let material = Material {
        curve: Some(curve),
        ..Material::elastic(1500.0, 0.25)
    };
    for &element in SOLIDS {
        let body = brick([1; 3], [0.0; 3], [1.0; 3]).mesh(element);
        let mut loading = Loading::default();
        loading.hold(&body.select(|p| close(p[0], 0.0)), 0, 0.0);
        loading.hold(&body.select(|p| close(p[1], 0.0)), 1, 0.0);
        loading.hold(&body.select(|p| close(p[1], 1.0)), 1, -5.0 * STEP);
        loading.hold(&body.select(|_| true), 2, 0.0);
        for (number, (state, expected)) in fields(&body, &loading, &material, 5)?
            .iter()
            .zip(HYPLAS)
            .enumerate()
        {
            let found = [
                state.stress_mpa[1],
                state.stress_mpa[2],
                state.equivalent_plastic_strain,
            ];
            for (what, found, expected) in [
                ("stress yy, MPa", found[0], expected[0]),
                ("stress zz, MPa", found[1], expected[1]),
                ("equivalent plastic strain", found[2], expected[2]),
            ] {
                let criterion = if expected == 0.0 {
                    Criterion::Absolute(1e-9)
                } else {
                    Criterion::Relative(1e-9)
                };
                let quantity = format!("{what}, step {}", number + 1);
                heading.row(rows, element.name(), quantity, expected, found, criterion);
            }
        }
    }
    Ok(())
}

/// Keyak's law (trabecular, ash density 0.3 g/cm³, 3 mm elements, nu 0.4) in uniaxial strain and in simple shear, through
/// plateau, softening and residual strength.
pub(super) fn keyak(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "Keyak's law at a point, J2",
        source: "closed form for the law of Keyak 2005",
    };
    let (strength, slope, residual, plateau) = (11.679343, -59.084686, 4.876034, 0.0456);
    let curve = HardeningCurve::new(vec![
        [0.0, strength],
        [plateau, strength],
        [plateau + (residual - strength) / slope, residual],
    ])
    .map_err(anyhow::Error::msg)?;
    let material = Material {
        curve: Some(curve.clone()),
        ..Material::elastic(1587.2005, 0.4)
    };
    for &element in SOLIDS {
        if matches!(element, ElementType::FULL | ElementType::INCOMPATIBLE) {
            continue;
        }
        let body = brick([1; 3], [0.0; 3], [1.0; 3]).mesh(element);
        let confined = press(&body.mesh, 0.20, true);
        let mut shear = Loading::default();
        shear.follow(&body, &body.select(|_| true), |p| [0.0, 0.30 * p[2], 0.0]);
        let mut add = |quantity: String, expected: f64, found: f64| {
            let allowed = Criterion::Relative(1e-6);
            heading.row(rows, element.name(), quantity, expected, found, allowed);
        };
        for (number, state) in fields(&body, &confined, &material, 20)?.iter().enumerate() {
            if (number + 1) % 5 != 0 {
                continue;
            }
            let strain = 0.01 * (number + 1) as f64;
            let exact = analytic::confined_compression(1587.2005, 0.4, &curve, strain);
            let at = format!("uniaxial strain {strain:.2}");
            let [x, _, z, ..] = state.stress_mpa;
            add(format!("axial stress, MPa, {at}"), -exact.stress, z);
            add(format!("lateral stress, MPa, {at}"), -exact.lateral, x);
            let p = state.equivalent_plastic_strain;
            add(format!("plastic strain, {at}"), exact.plastic_strain, p);
        }
        for (number, state) in fields(&body, &shear, &material, 30)?.iter().enumerate() {
            if (number + 1) % 5 != 0 {
                continue;
            }
            let strain = 0.01 * (number + 1) as f64;
            let exact = analytic::simple_shear(1587.2005, 0.4, &curve, strain);
            let at = format!("simple shear {strain:.2}");
            add(
                format!("shear stress, MPa, {at}"),
                exact.stress,
                state.stress_mpa[3],
            );
            let p = state.equivalent_plastic_strain;
            add(format!("plastic strain, {at}"), exact.plastic_strain, p);
        }
    }
    Ok(())
}
