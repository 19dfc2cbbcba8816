//! What the step from phantom density to ash density does to the stiffness of femoral bone.
//!
//! ```text
//!   CT number --phantom--> rho_K2HPO4 --conversion--> rho_ash --Keyak 2005--> E = 14900 rho_ash^1.86 MPa
//!                                          ^
//!                          identity: take the number as it is
//!                          keyak1994:     1.06 rho + 0.0389 g/cm3
//!                          trabelsi2011:  1.22 rho + 0.0523 g/cm3
//! ```
//!
//! The power 1.86 turns a small difference of density into a large one of stiffness. This choice moves
//! a failure load more than any other; see `docs/choosing-settings.md`.
//!
//! Run with `cargo run --example density_conversions`. Expected output:
//!
//! ```text
//! K2HPO4 mg/cm3   E in MPa: identity   keyak1994  trabelsi2011
//!           100                206         410         578
//!           200                747        1138        1551
//!           400               2710        3556        4741
//!           800               9839       11919       15694
//!          1200              20915       24653       32318
//! trabecular bone of 100 mg/cm3: keyak1994 is 1.99 times as stiff as identity
//! ```

use calibration::{Density, DensityConversion, DensityKind, ElasticityLaw};

fn main() -> anyhow::Result<()> {
    let law = ElasticityLaw::named("keyak2005")?;
    let modulus_mpa = |conversion: &str, k2hpo4_mg_cm3: f64| -> anyhow::Result<f64> {
        let measured = Density::new(DensityKind::K2Hpo4, vec![k2hpo4_mg_cm3]);
        let ash = DensityConversion::named(conversion)?.convert(measured, DensityKind::Ash)?;
        Ok(law.modulus(&ash)?.mpa[0])
    };

    println!("K2HPO4 mg/cm3   E in MPa: identity   keyak1994  trabelsi2011");
    for density in [100.0, 200.0, 400.0, 800.0, 1200.0] {
        println!(
            "{density:>13}   {:>16.0}   {:>9.0}   {:>9.0}",
            modulus_mpa("identity", density)?,
            modulus_mpa("keyak1994", density)?,
            modulus_mpa("trabelsi2011", density)?
        );
    }

    let ratio = modulus_mpa("keyak1994", 100.0)? / modulus_mpa("identity", 100.0)?;
    println!("trabecular bone of 100 mg/cm3: keyak1994 is {ratio:.2} times as stiff as identity");
    // By hand: ((1.06 * 0.1 + 0.0389) / 0.1)^1.86 = 1.449^1.86.
    assert!((ratio - 1.449_f64.powf(1.86)).abs() < 1e-6);
    Ok(())
}
