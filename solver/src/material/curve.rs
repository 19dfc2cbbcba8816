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
}
