//! A Mindways phantom: from the CT numbers of its five rods to a density.
//!
//! ```text
//!        patient            The rods are plastic, not bone mineral in water. Their CT number follows
//!      __________           from two densities, what they stand for and what their plastic weighs as
//!     /          \          water, so the line comes from two equations and not from one:
//!     \__________/
//!    =A==B==C==D==E=  pad   HU - rho_water = sigma_ref rho_K2HPO4 + beta_ref     (least squares)
//!    ---------------- table rho_K2HPO4     = (HU - beta_ref - 999.6) / (sigma_ref - 0.2174)
//! ```
//!
//! Run with `cargo run --example calibrate_phantom`. Expected output:
//!
//! ```text
//! rod   HU       K2HPO4 mg/cm3
//! A     -66.42   -51.83
//! B     -24.01   -53.40
//! C     186.54    58.88
//! D     345.81   157.05
//! E     468.91   375.83
//! right: density = 0.804764 HU +2.736; 300 HU -> 244.2 mg/cm3
//! naive: 300 HU -> 192.7 mg/cm3
//! slope 0.804764 mg/cm3 per HU
//! ```

use calibration::{Calibration, Phantom, measure_labels};
use imaging::{Grid, LabelMap, Volume};

/// CT numbers of the rods for sigma_ref 1.46 and beta_ref -1003, worked by hand.
const ROD_HU: [f32; 5] = [-66.422, -24.014, 186.535, 345.813, 468.912];

fn main() -> anyhow::Result<()> {
    let phantom = Phantom::named("mindways-model3-ct")?;
    let labels = rods_in_a_pad();
    let scan = labels.map(|&label| match label {
        0 => -1000.0,
        rod => ROD_HU[usize::from(rod) - 1],
    });

    let rods = measure_labels(&scan, &labels, &phantom)?;
    println!("rod   HU       K2HPO4 mg/cm3");
    for rod in &rods {
        println!(
            "{}    {:>7.2}  {:>7.2}",
            rod.name, rod.hu_mean, rod.reference_mg_cm3
        );
    }
    let right = Calibration::fit(&phantom, &rods)?;

    // The same rods as if they were mineral in water: the mistake that the two equations avoid.
    let mut plain = phantom.clone();
    let mut plain_rods = rods.clone();
    for (definition, rod) in plain.rods.iter_mut().zip(&mut plain_rods) {
        definition.water_mg_cm3 = None;
        rod.water_mg_cm3 = None;
    }
    let naive = Calibration::fit(&plain, &plain_rods)?;

    println!(
        "right: density = {:.6} HU {:+.3}; 300 HU -> {:.1} mg/cm3",
        right.slope_mg_cm3_per_hu,
        right.intercept_mg_cm3,
        right.density_mg_cm3(300.0)
    );
    println!("naive: 300 HU -> {:.1} mg/cm3", naive.density_mg_cm3(300.0));
    println!("slope {:.6} mg/cm3 per HU", right.slope_mg_cm3_per_hu);
    assert!((right.slope_mg_cm3_per_hu - 0.804764).abs() < 1e-5);
    Ok(())
}

/// Five rods of 14 mm along k, 24 mm apart along i: label 1 is rod A, and so on.
fn rods_in_a_pad() -> LabelMap {
    Volume::from_fn(Grid::axis_aligned([120, 24, 10], [1.0; 3]), |[i, j, _]| {
        let across = [(i % 24) as f64 - 11.5, j as f64 - 11.5];
        if across[0].hypot(across[1]) <= 7.0 {
            (i / 24 + 1) as u16
        } else {
            0
        }
    })
}
