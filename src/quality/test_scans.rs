//! Scans of known content for the tests of the gates.

use std::sync::OnceLock;

use calibration::{Calibration, DensityKind};
use imaging::{Grid, Mask, Volume};
use nalgebra::{Matrix3, Vector3};

use super::Near;
use crate::anatomy::FemurLandmarks;
use crate::anatomy::test_shapes::TestFemur;

/// Numbers near normal about 0 with standard deviation 1, the same every time: sums of four uniform ones of a congruential
/// generator (Knuth's MMIX constants).
pub fn normal(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    move || (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f32.sqrt()
}

/// A scan in which 1 HU is 1 mg/cm³, by a line and not as a density map.
pub fn line() -> Calibration {
    Calibration::line(1.0, 0.0, DensityKind::K2Hpo4).unwrap()
}

/// A femur of capsules on voxels of 1.5 mm, 30 mm of muscle around it: a cortex of 3 mm, spongy bone of 150 HU.
pub struct FemurScan {
    pub hu: Volume<f32>,
    pub bone: Mask,
    pub landmarks: FemurLandmarks,
}

impl FemurScan {
    /// `hu` may change the CT number of a voxel, given its place and what it would be.
    pub fn new(hu: impl Fn(Vector3<f64>, f32) -> f32) -> Self {
        let (bone, core, landmarks) = femur();
        let mut noise = normal(3);
        let grid = bone.grid.clone();
        let scan = Volume {
            data: (0..grid.len())
                .map(|n| {
                    let at = grid.voxel(n);
                    let place = grid.to_world(Vector3::from_fn(|a, _| at[a] as f64));
                    let tissue = match (bone.data[n], core.data[n]) {
                        (true, true) => 150.0,
                        (true, false) => 900.0,
                        _ => 50.0,
                    };
                    hu(place, tissue) + 15.0 * noise()
                })
                .collect(),
            grid: grid.clone(),
        };
        Self {
            hu: scan,
            bone: bone.clone(),
            landmarks: landmarks.clone(),
        }
    }

    pub fn near(&self) -> Near {
        Near::of(&self.hu, &line(), &self.bone).unwrap()
    }
}

/// The femur of [`FemurScan`], the part of it inside its cortex, and its landmarks, found once.
fn femur() -> &'static (Mask, Mask, FemurLandmarks) {
    static FEMUR: OnceLock<(Mask, Mask, FemurLandmarks)> = OnceLock::new();
    FEMUR.get_or_init(|| {
        let shape = TestFemur {
            floor: -60.0,
            ..TestFemur::default()
        }
        .mask(Matrix3::identity(), [1.5; 3]);
        let margin = 20;
        let bone = Mask::from_fn(
            Grid {
                // Nothing below: the shaft goes on out of the scan.
                size: std::array::from_fn(|a| {
                    shape.grid.size[a] + if a < 2 { 2 * margin } else { 8 }
                }),
                origin_mm: shape.grid.origin_mm
                    - Vector3::new(1.0, 1.0, 0.0) * (1.5 * margin as f64),
                ..shape.grid.clone()
            },
            |[i, j, k]| {
                let inside =
                    |at: usize, a: usize| (margin..margin + shape.grid.size[a]).contains(&at);
                // The shape's grid starts 4 mm below its floor.
                let k = k + 3;
                inside(i, 0)
                    && inside(j, 1)
                    && k < shape.grid.size[2]
                    && shape.at(i - margin, j - margin, k)
            },
        );
        let core = imaging::morphology::morph_voxels(
            &bone,
            -2,
            imaging::morphology::StructuringElement::Faces,
        );
        let (landmarks, _) = FemurLandmarks::find(&bone).unwrap();
        (bone, core, landmarks)
    })
}

/// A block of bone of 30 mm, 20 mm of muscle around it, voxels of 1 mm, noise of 15 HU; `hu` changes the CT numbers.
pub fn block(hu: impl Fn([usize; 3], f32) -> f32) -> (Volume<f32>, Mask) {
    let grid = Grid::axis_aligned([70; 3], [1.0; 3]);
    let bone = Mask::from_fn(grid.clone(), |at| at.iter().all(|v| (20..50).contains(v)));
    let mut noise = normal(5);
    let scan = Volume::from_fn(grid, |at| {
        let depth = (0..3).map(|a| at[a].min(69 - at[a])).min().unwrap_or(0);
        let tissue = match depth {
            23.. => 150.0,
            20..23 => 800.0,
            _ => 50.0,
        };
        hu(at, tissue) + 15.0 * noise()
    });
    (scan, bone)
}

/// The window of [`block`].
pub fn near_block(hu: impl Fn([usize; 3], f32) -> f32) -> Near {
    let (scan, bone) = block(hu);
    Near::of(&scan, &line(), &bone).unwrap()
}
