//! Resampling of sheared or unevenly spaced slices to a straight, regular grid.
//!
//! Tilt: each slice is shifted within its plane (linear interpolation along rows and columns), so
//! nothing is mixed between slices. Gaps and uneven spacing: linear interpolation between the two
//! neighbouring slices. The grid is widened by the shift; what no slice covers becomes air.

/// What has to be resampled, in voxels of the slices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Repair {
    /// Size of the slices and their number.
    size: [usize; 3],
    /// Height of each slice above the first, mm.
    heights: Vec<f64>,
    /// Shift within the plane, in voxels along rows and columns, per mm of height.
    shear: [f64; 2],
    /// Distance of the new slices, mm.
    step_mm: f64,
    tilt_deg: Option<f64>,
    spacing: Option<String>,
}

impl Repair {
    pub fn new(
        size: [usize; 3],
        heights: &[f64],
        shear: [f64; 2],
        step_mm: f64,
        tilt_deg: Option<f64>,
        spacing: Option<String>,
    ) -> Self {
        // Slices that count as even stand where the even grid has them, and none is mixed.
        let heights = match spacing {
            Some(_) => heights.to_vec(),
            None => (0..size[2]).map(|k| step_mm * k as f64).collect(),
        };
        Self {
            size,
            heights,
            shear,
            step_mm,
            tilt_deg,
            spacing,
        }
    }

    fn length_mm(&self) -> f64 {
        self.heights.last().copied().unwrap_or(0.0)
    }

    pub fn step_mm(&self) -> f64 {
        self.step_mm
    }

    /// Shifts of the first and last slice, whichever is less, rounded out to whole voxels.
    pub fn first_voxel(&self) -> [f64; 2] {
        self.shear.map(|s| (s * self.length_mm()).min(0.0).floor())
    }

    /// Size of the repaired volume.
    pub fn size(&self) -> [usize; 3] {
        let wider = |axis: usize| (self.shear[axis] * self.length_mm()).abs().ceil() as usize;
        // A slice for every step that the heights reach, with the rounding of the texts.
        let slices = (self.length_mm() / self.step_mm + 0.05).floor() as usize + 1;
        [self.size[0] + wider(0), self.size[1] + wider(1), slices]
    }

    /// What was done, in words.
    pub fn notes(&self) -> Vec<String> {
        let tilt = self
            .tilt_deg
            .map(|tilt| format!("gantry tilt of {tilt:.1}° resampled to a straight grid"));
        tilt.into_iter().chain(self.spacing.clone()).collect()
    }

    /// The repaired real values, `outside` where no slice is. `slices` are the real values of the
    /// slices in order.
    pub fn apply(&self, slices: &[f32], outside: f32) -> Vec<f32> {
        let [ni, nj, nk] = self.size();
        let [first_i, first_j] = self.first_voxel();
        let mut repaired = Vec::with_capacity(ni * nj * nk);
        for k in 0..nk {
            let height = (self.step_mm * k as f64).min(self.length_mm());
            let above = self.heights.partition_point(|h| *h < height);
            let above = above.min(self.heights.len() - 1);
            let below = above.saturating_sub(1);
            let gap = self.heights[above] - self.heights[below];
            let weight = if gap > 0.0 {
                (height - self.heights[below]) / gap
            } else {
                1.0
            };
            for j in 0..nj {
                for i in 0..ni {
                    // Each of the two slices is sampled where it stands itself.
                    let at = |slice: usize| {
                        let h = self.heights[slice];
                        let x = first_i + i as f64 - self.shear[0] * h;
                        let y = first_j + j as f64 - self.shear[1] * h;
                        self.sample(slices, slice, x, y)
                    };
                    // Where only one of the two slices reaches, nothing is known between them.
                    let value = if weight >= 1.0 {
                        at(above)
                    } else {
                        at(below)
                            .zip(at(above))
                            .map(|(low, high)| low + (high - low) * weight)
                    };
                    let value = value.unwrap_or(f64::from(outside));
                    repaired.push(value as f32);
                }
            }
        }
        repaired
    }

    /// Linear interpolation within a slice; `None` outside of it.
    fn sample(&self, slices: &[f32], slice: usize, x: f64, y: f64) -> Option<f64> {
        // Shifts are sums of products: a hair outside is on the edge.
        const EDGE: f64 = 1e-6;
        let [ni, nj, _] = self.size;
        let inside = |v: f64, n: usize| v >= -EDGE && v <= (n - 1) as f64 + EDGE;
        if !inside(x, ni) || !inside(y, nj) {
            return None;
        }
        let split = |v: f64, n: usize| {
            let v = v.clamp(0.0, (n - 1) as f64);
            let low = (v.floor() as usize).min(n.saturating_sub(2));
            (low, (low + 1).min(n - 1), v - low as f64)
        };
        let (i0, i1, u) = split(x, ni);
        let (j0, j1, v) = split(y, nj);
        let at = |i: usize, j: usize| f64::from(slices[i + ni * (j + nj * slice)]);
        let row = |j: usize| at(i0, j) * (1.0 - u) + at(i1, j) * u;
        Some(row(j0) * (1.0 - v) + row(j1) * v)
    }
}
