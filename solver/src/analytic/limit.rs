//! Limit loads of perfectly plastic bodies (von Mises).

use std::f64::consts::PI;

/// Mean pressure under a strip footing in plane strain, `(2 + pi) k` with the shear strength `k = yield / sqrt 3`, MPa
/// (Prandtl 1920, slip lines; Hill 1950, chapter IX).
pub fn strip_footing_pressure(yield_stress: f64) -> f64 {
    (2.0 + PI) * yield_stress / 3f64.sqrt()
}

/// Net-section stress of a deeply double-edge-notched strip in plane-strain tension, `(2 + pi) k` = 2.97 yield stresses,
/// MPa (Hill 1952; used as the test of locking by Nagtegaal, Parks and Rice 1974).
pub fn deep_notch_stress(yield_stress: f64) -> f64 {
    (2.0 + PI) * yield_stress / 3f64.sqrt()
}

/// Collapse pressure of a simply supported circular plate, `6.52 M_y / R^2` with `M_y = yield t^2 / 4`, MPa (Hopkins and
/// Wang 1954, von Mises; Skrzypek 1993; de Souza Neto, Perić and Owen 2008, section 7.5.3).
pub fn circular_plate_pressure(yield_stress: f64, radius: f64, thickness: f64) -> f64 {
    6.52 * 0.25 * yield_stress * thickness * thickness / (radius * radius)
}

/// Collapse stress of a square plate with a small central hole under uniaxial tension in plane stress,
/// `(1 - r / w) yield` for a hole radius `r` and half width `w`, MPa (Gaydon and McCrum 1954).
pub fn perforated_plate_stress(yield_stress: f64, radius_over_half_width: f64) -> f64 {
    (1.0 - radius_over_half_width) * yield_stress
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tabulated_limits() {
        let c = 848.7 / 3f64.sqrt();
        assert!((strip_footing_pressure(848.7) / c - 5.14).abs() < 2e-3);
        assert!((deep_notch_stress(0.45) / 0.45 - 2.97).abs() < 2e-3);
        assert!((circular_plate_pressure(16000.0, 10.0, 1.0) - 260.8).abs() < 1e-9);
        assert!((perforated_plate_stress(1.0, 0.2) - 0.8).abs() < 1e-12);
    }
}
