//! Uniaxial yield stress against equivalent plastic strain.

/// Piecewise-linear yield stress over equivalent plastic strain; constant beyond the last point.
#[derive(Clone, Debug, PartialEq)]
pub struct HardeningCurve {
    points: Vec<[f64; 2]>,
}

impl HardeningCurve {
    /// Builds a curve from `[plastic strain, yield stress in MPa]` points.
    ///
    /// # Errors
    /// A sentence saying which point is wrong: the first plastic strain must be 0, strains must ascend
    /// strictly, stresses must be positive and finite.
    pub fn new(points: Vec<[f64; 2]>) -> Result<Self, String> {
        match points.first() {
            None => return Err("a hardening curve needs at least one point".into()),
            Some(first) if first[0] != 0.0 => {
                return Err(format!(
                    "the first plastic strain is {}; it must be 0",
                    first[0]
                ));
            }
            Some(_) => {}
        }
        for (number, [strain, stress]) in points.iter().enumerate() {
            if !(stress.is_finite() && *stress > 0.0) {
                return Err(format!(
                    "point {number}: yield stress {stress} MPa; it must be positive"
                ));
            }
            if !strain.is_finite() || number > 0 && *strain <= points[number - 1][0] {
                return Err(format!(
                    "point {number}: plastic strain {strain} does not ascend"
                ));
            }
        }
        Ok(Self { points })
    }

    /// Perfect plasticity at one yield stress (MPa).
    ///
    /// # Errors
    /// As [`HardeningCurve::new`].
    pub fn perfect(yield_stress_mpa: f64) -> Result<Self, String> {
        Self::new(vec![[0.0, yield_stress_mpa]])
    }

    /// The points `[plastic strain, yield stress in MPa]`.
    pub fn points(&self) -> &[[f64; 2]] {
        &self.points
    }

    /// Segment that holds a plastic strain: the last point at or below it.
    pub(crate) fn segment(&self, plastic_strain: f64) -> usize {
        self.points
            .iter()
            .skip(1)
            .take_while(|point| point[0] <= plastic_strain)
            .count()
    }

    /// Slope (MPa) of a segment; 0 beyond the last point.
    fn slope(&self, segment: usize) -> f64 {
        match (self.points.get(segment), self.points.get(segment + 1)) {
            (Some(a), Some(b)) => (b[1] - a[1]) / (b[0] - a[0]),
            _ => 0.0,
        }
    }

    /// Yield stress (MPa) at an equivalent plastic strain.
    pub fn stress(&self, plastic_strain: f64) -> f64 {
        let segment = self.segment(plastic_strain);
        let [start, stress] = self.points[segment];
        stress + self.slope(segment) * (plastic_strain - start)
    }

    /// Plastic work (MPa) between two equivalent plastic strains: the area under the curve.
    pub fn work(&self, from: f64, to: f64) -> f64 {
        let mut work = 0.0;
        let mut here = from;
        let mut segment = self.segment(from);
        while here < to {
            let end = self.points.get(segment + 1).map_or(to, |p| p[0].min(to));
            let [start, stress] = self.points[segment];
            let mean = stress + self.slope(segment) * (0.5 * (here + end) - start);
            work += mean * (end - here);
            here = end;
            segment += 1;
        }
        work
    }

    /// Steepest falling slope (MPa); 0 when the curve never falls.
    pub fn steepest_fall(&self) -> f64 {
        (0..self.points.len())
            .map(|segment| self.slope(segment))
            .fold(0.0, f64::min)
    }

    /// Solves `trial - three_g * dp = stress(plastic_strain + dp)` for `dp`, segment by segment.
    /// Returns `dp`, the slope and the segment at its end.
    pub fn return_map(&self, trial: f64, three_g: f64, plastic_strain: f64) -> (f64, f64, usize) {
        let mut segment = self.segment(plastic_strain);
        loop {
            let slope = self.slope(segment);
            let [start, stress] = self.points[segment];
            let here = stress + slope * (plastic_strain - start);
            let increment = (trial - here) / (three_g + slope);
            match self.points.get(segment + 1) {
                Some(next) if plastic_strain + increment > next[0] => segment += 1,
                _ => return (increment, slope, segment),
            }
        }
    }

    /// Stress (MPa) and slope (MPa) of the same curve over *total* uniaxial strain, and its phase:
    /// 0 elastic, then 1 + segment.
    pub fn total_strain(&self, youngs_modulus: f64, strain: f64) -> (f64, f64, usize) {
        let knee = |segment: usize| {
            let [plastic, stress] = self.points[segment];
            plastic + stress / youngs_modulus
        };
        if strain <= knee(0) {
            return (youngs_modulus * strain, youngs_modulus, 0);
        }
        let last = self.points.len() - 1;
        let segment = (0..last)
            .find(|&segment| strain <= knee(segment + 1))
            .unwrap_or(last);
        let hardening = self.slope(segment);
        let slope = hardening * youngs_modulus / (hardening + youngs_modulus);
        (
            self.points[segment][1] + slope * (strain - knee(segment)),
            slope,
            1 + segment,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_curves_are_refused() {
        for points in [
            vec![],
            vec![[0.1, 1.0]],
            vec![[0.0, 0.0]],
            vec![[0.0, 1.0], [0.0, 2.0]],
            vec![[0.0, f64::NAN]],
        ] {
            assert!(HardeningCurve::new(points).is_err());
        }
    }

    #[test]
    fn total_strain_form_of_the_sas_beam() {
        // mechanics of Sas 2020, density 0.5, 3 mm: kinks and slope worked out by hand from Keyak's law.
        let e = 14900.0 * 0.5f64.powf(1.86);
        let (s, minimum) = (102.0 * 0.5f64.powf(1.8), 43.1 * 0.5f64.powf(1.81));
        let tangent = -132.5905;
        let h = e * tangent / (e - tangent);
        let plateau = (0.00189 + 0.0241 * 0.5) * 5.0;
        let curve = HardeningCurve::new(vec![
            [0.0, s],
            [plateau, s],
            [plateau + (minimum - s) / h, minimum],
        ])
        .unwrap();
        for (strain, stress, phase) in [
            (0.003, e * 0.003, 0),
            (0.02, 29.29181, 1),
            (0.0768, 29.29181, 1),
            (0.1, 26.2205, 2),
            (0.3, 12.29173, 3),
        ] {
            let (found, _, found_phase) = curve.total_strain(e, strain);
            assert!((found - stress).abs() < 2e-4 * stress, "{strain}: {found}");
            assert_eq!(found_phase, phase);
        }
        let (_, slope, _) = curve.total_strain(e, 0.1);
        assert!((slope - tangent).abs() < 1e-6 * tangent.abs());
    }
}
