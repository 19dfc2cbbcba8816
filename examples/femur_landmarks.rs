//! Landmarks of a synthetic femur, found from its mask alone, beside the truth it was drawn from.
//!
//! ```text
//!      greater trochanter   head (sphere)
//!                    __      ___
//!                   /  \____/ o \     o  head centre
//!                  |   neck \___/     |  shaft axis
//!                   \  |  ___/
//!        lateral     | | |  <- lesser trochanter        medial
//!                    | | |
//!                    |_|_|  cut of the scan
//! ```
//!
//! Run with `cargo run --example femur_landmarks`. Expected output:
//!
//! ```text
//! head radius 20.8 mm (drawn 20.8 mm), centre 0.0 mm off
//! shaft axis 0.4 degrees off
//! neck-shaft angle 133 degrees (drawn 133)
//! 5 of 5 checks pass
//! error of the head radius 0.00 mm
//! ```

use nalgebra::Vector3;
use osteoload::anatomy::{FemurLandmarks, Status};
use osteoload::synth::{Options, femur};

fn main() -> anyhow::Result<()> {
    let patient = femur(&Options {
        seed: 7,
        phantom: None,
        spacing_mm: Some([1.5; 3]),
        ..Options::default()
    })?;
    let truth = patient
        .truth
        .bones
        .iter()
        .find_map(|bone| bone.femur.clone().map(|femur| (bone.label, femur)));
    let (label, truth) = truth.ok_or_else(|| anyhow::anyhow!("the patient has no femur"))?;

    let (found, checks) = FemurLandmarks::find(&patient.labels.select(&[label]))?;
    let centre_mm = (found.head.centre_mm - Vector3::from(truth.head_centre_mm)).norm();
    let axis = Vector3::from(truth.shaft_direction);
    let tilt_deg = found
        .shaft
        .direction
        .dot(&axis)
        .min(1.0)
        .acos()
        .to_degrees();

    println!(
        "head radius {:.1} mm (drawn {:.1} mm), centre {centre_mm:.1} mm off",
        found.head.radius_mm, truth.head_radius_mm
    );
    println!("shaft axis {tilt_deg:.1} degrees off");
    println!(
        "neck-shaft angle {:.0} degrees (drawn {:.0})",
        found.neck_shaft_angle_deg,
        truth.neck_shaft_angle_deg.unwrap_or(f64::NAN)
    );
    let passed = checks.iter().filter(|check| check.status == Status::Pass);
    println!("{} of {} checks pass", passed.count(), checks.len());
    let radius_error_mm = (found.head.radius_mm - truth.head_radius_mm).abs();
    println!("error of the head radius {radius_error_mm:.2} mm");
    assert!(centre_mm < 1.5 && tilt_deg < 3.0 && radius_error_mm < 0.3);
    Ok(())
}
