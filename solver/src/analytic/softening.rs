//! Localisation in a bar.

/// A bar in uniaxial stress of which one element is weaker and takes all the softening while the rest unloads
/// elastically (Bažant 1976; Crisfield 1982). With slopes scaled to the element size the curve is that of the specimen.
#[derive(Clone, Copy, Debug)]
pub struct SofteningBar {
    /// Length of the bar (the specimen), mm.
    pub length: f64,
    /// Young's modulus, MPa.
    pub youngs_modulus: f64,
    /// Strength of the weak element, MPa.
    pub strength: f64,
    /// Slope of mean stress over mean strain of the whole bar past the peak (negative), MPa.
    pub specimen_slope: f64,
}

impl SofteningBar {
    /// Slope of stress over total strain of an element of length `h` that gives the bar its specimen slope, MPa:
    /// `h E Ep / (L E - (L - h) Ep)` (the conversion of Keyak 2005, as coded by Sas 2020).
    pub fn element_slope(&self, h: f64) -> f64 {
        let (l, e, slope) = (self.length, self.youngs_modulus, self.specimen_slope);
        h * e * slope / (l * e - (l - h) * slope)
    }

    /// Plastic modulus of that element, `E Et / (E - Et)`, MPa.
    pub fn plastic_modulus(&self, h: f64) -> f64 {
        let slope = self.element_slope(h);
        self.youngs_modulus * slope / (self.youngs_modulus - slope)
    }

    /// Mean stress at an elongation, MPa, down to zero.
    pub fn stress(&self, elongation: f64) -> f64 {
        let strain = elongation / self.length;
        let at_peak = self.strength / self.youngs_modulus;
        if strain <= at_peak {
            self.youngs_modulus * strain
        } else {
            (self.strength + self.specimen_slope * (strain - at_peak)).max(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keyak 2005, trabecular bone of 0.3 g/cm³: a 15 mm specimen with -2080 rho^1.45 MPa and elements of 3 mm.
    #[test]
    fn element_slope_and_plastic_modulus_as_tabulated() {
        let bar = SofteningBar {
            length: 15.0,
            youngs_modulus: 14900.0 * 0.3f64.powf(1.86),
            strength: 102.0 * 0.3f64.powf(1.8),
            specimen_slope: -2080.0 * 0.3f64.powf(1.45),
        };
        assert!((bar.element_slope(3.0) + 61.369).abs() < 2e-3);
        assert!((bar.plastic_modulus(3.0) + 59.085).abs() < 2e-3);
    }

    /// The chain summed element by element: the weak one on its slope, the others unloading.
    #[test]
    fn the_chain_of_elements_has_the_specimen_slope() {
        let bar = SofteningBar {
            length: 20.0,
            youngs_modulus: 1000.0,
            strength: 9.5,
            specimen_slope: -40.0,
        };
        for h in [0.5, 1.0, 4.0] {
            let stress = 6.0;
            let weak = bar.strength / 1000.0 + (stress - bar.strength) / bar.element_slope(h);
            let elongation = weak * h + stress / 1000.0 * (bar.length - h);
            assert!((bar.stress(elongation) - stress).abs() < 1e-9);
        }
    }
}
