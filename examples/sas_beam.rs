//! The homogeneous beam of Sas et al. 2020 on one element: up to the peak, and down behind it.
//!
//! ```text
//!     u (down)                 force
//!   ____|____                    |    ___________
//!  /___/____/|  30 x 30 x 50 mm  |   /           \
//!  |   :    ||  ash 0.5 g/cm3    |  /             \
//!  |   :    ||  trabecular       | /               \____________
//!  |   : . .||  sides free       |/
//!  |_._____ |/                   +-------------------------------- u
//!   u_z = 0                       0  0.36       3.84      10.25  mm
//! ```
//!
//! Closed form: the force is the uniaxial curve of Keyak 2005 (softening for elements of 3 mm, as in the program of
//! Sas 2020) times 900 mm2, over its strain times 50 mm.
//!
//! Run with `cargo run --example sas_beam`. Expected output:
//!
//! ```text
//!  u mm    J2 kN     secant kN  closed form kN
//!   0.3   22.1648    22.1648    22.1648
//!   1.0   26.3626    26.3626    26.3626
//!   4.0   25.9851    25.9851    25.9851
//!   8.0   16.4386    16.4386    16.4386
//!  12.0   11.0626    11.0626    11.0626
//! peak 26.3626 kN
//! ```

use anyhow::Error;
use calibration::{ElasticityLaw, PostYieldCurve, Softening, StrengthLaw, TissueKind};
use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, NodeSet};
use solver::{
    Control, Formulation, HardeningCurve, LoadCase, MaterialModel, Materials, Model, Prescribed,
    SolidMesh, Stepping,
};

const SIDES_MM: [f64; 3] = [30.0, 30.0, 50.0];
const ASH_MG_CM3: f64 = 500.0;

fn main() -> anyhow::Result<()> {
    let modulus = ElasticityLaw::named("keyak2005")?.at_mpa(ASH_MG_CM3);
    let strength = StrengthLaw::named("keyak2005")?.at_mpa(ASH_MG_CM3, modulus);
    let (tissue, softening) = (TissueKind::Trabecular, Softening::Fixed3mm);
    let law = PostYieldCurve::keyak2005(ASH_MG_CM3, tissue, modulus, strength, softening)?;
    let curve = HardeningCurve::new(law.points()).map_err(Error::msg)?;
    let j2 = forces_kn(modulus, &curve, MaterialModel::J2)?;
    let secant = forces_kn(modulus, &curve, MaterialModel::Secant)?;

    println!(" u mm    J2 kN     secant kN  closed form kN");
    for tenth in [3, 10, 40, 80, 120] {
        let u = f64::from(tenth) / 10.0;
        let exact = stress_mpa(modulus, &curve, u / SIDES_MM[2]) * 0.9;
        let (a, b) = (j2[tenth as usize - 1], secant[tenth as usize - 1]);
        println!("{u:>5.1}  {a:>8.4}   {b:>8.4}   {exact:>8.4}");
        assert!((a - exact).abs() < 1e-4 * exact && (b - exact).abs() < 1e-4 * exact);
    }
    let peak = j2.iter().copied().fold(0.0, f64::max);
    println!("peak {peak:.4} kN");
    assert!((peak - 26.3626).abs() < 1e-3);
    Ok(())
}

/// Uniaxial stress (MPa) at a total strain: up the elastic line, then where it meets the falling curve.
fn stress_mpa(modulus: f64, curve: &HardeningCurve, strain: f64) -> f64 {
    let (mut low, mut high) = (0.0, strain);
    for _ in 0..60 {
        let plastic = 0.5 * (low + high);
        if modulus * (strain - plastic) > curve.stress(plastic) {
            low = plastic;
        } else {
            high = plastic;
        }
    }
    modulus * (strain - low)
}

/// Force (kN) after each of 120 increments of 0.1 mm.
fn forces_kn(e: f64, curve: &HardeningCurve, law: MaterialModel) -> anyhow::Result<Vec<f64>> {
    let corners = HEX_CORNERS.map(|c| std::array::from_fn(|axis| c[axis] as f64 * SIDES_MM[axis]));
    let model = Model {
        mesh: SolidMesh::Hex8(HexMesh {
            nodes_mm: corners.to_vec(),
            elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
        }),
        materials: Materials {
            youngs_modulus_mpa: vec![e],
            poissons_ratio: vec![0.3],
            curve: vec![0],
            curves: vec![curve.clone()],
        },
        formulation: Formulation::Full,
        material_model: law,
    };
    // u_z on both faces; the bottom corner 0 is held, and corner 1 kept from turning about z.
    let hold = |node, component, displacement_mm| Prescribed {
        node,
        component,
        displacement_mm,
    };
    let faces = (0..8).map(|node| hold(node, 2, if node < 4 { 0.0 } else { -12.0 }));
    let case = LoadCase {
        prescribed: faces
            .chain([hold(0, 0, 0.0), hold(0, 1, 0.0), hold(1, 1, 0.0)])
            .collect(),
        forces: Vec::new(),
        monitors: vec![NodeSet {
            name: "top".into(),
            nodes: vec![4, 5, 6, 7],
        }],
    };
    let response = solver::analyse(&model, &case, &Stepping::equal(120), &mut |_| {
        Control::Continue
    })?;
    let force = |increment: &solver::response::Increment| -increment.reactions_n[0][2] / 1000.0;
    Ok(response.increments.iter().map(force).collect())
}
