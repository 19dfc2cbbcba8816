//! Bones of known geometry for tests.

use imaging::{Grid, Mask, Volume};
use nalgebra::{Matrix3, Rotation3, Vector3};

/// A left femur made of capsules and spheres, in its own frame: shaft axis = z through the origin,
/// head towards -x (the patient's right), back towards +y.
pub struct TestFemur {
    pub head_centre: Vector3<f64>,
    pub head_radius: f64,
    pub shaft_radius: f64,
    /// Level at which the shaft is cut, mm.
    pub floor: f64,
}

impl Default for TestFemur {
    fn default() -> Self {
        Self {
            head_centre: Vector3::new(-45.0, -3.0, 52.0),
            head_radius: 23.5,
            shaft_radius: 14.5,
            floor: -100.0,
        }
    }
}

impl TestFemur {
    pub fn contains(&self, p: Vector3<f64>) -> bool {
        let capsule = |a: Vector3<f64>, b: Vector3<f64>, r: f64| {
            let t = ((p - a).dot(&(b - a)) / (b - a).norm_squared()).clamp(0.0, 1.0);
            (p - a - (b - a) * t).norm() <= r
        };
        let knee = Vector3::new(0.0, 0.0, -400.0);
        let top = Vector3::new(0.0, 0.0, 25.0);
        // Lesser trochanter: behind and medial, its tip 50 mm below the head centre.
        let trochanter = Vector3::new(-11.0, 12.0, 2.0);
        p.z >= self.floor
            && ((p - self.head_centre).norm() <= self.head_radius
                || capsule(knee, top, self.shaft_radius)
                || capsule(top * 0.7, self.head_centre, 15.0)
                || capsule(top, Vector3::new(14.0, 3.0, 48.0), 17.0)
                || (p - trochanter).norm() <= 11.0)
    }

    /// The femur standing in the world as `world = rotation * own + (30, -20, 700)`, on a grid of the
    /// given spacing whose array axes run along the world axes.
    pub fn mask(&self, rotation: Matrix3<f64>, spacing: [f64; 3]) -> Mask {
        let shift = Vector3::new(30.0, -20.0, 700.0);
        let mut low = Vector3::repeat(f64::INFINITY);
        let mut high = -low;
        for corner in 0..8 {
            let pick = |n: usize, a: f64, b: f64| if corner >> n & 1 == 1 { b } else { a };
            let own = Vector3::new(
                pick(0, -72.0, 35.0),
                pick(1, -30.0, 30.0),
                pick(2, self.floor - 4.0, 80.0),
            );
            low = low.inf(&(rotation * own + shift));
            high = high.sup(&(rotation * own + shift));
        }
        let size: [usize; 3] =
            std::array::from_fn(|a| ((high[a] - low[a]) / spacing[a]).ceil() as usize);
        let mut grid = Grid::axis_aligned(size, spacing);
        grid.origin_mm = low;
        let back = rotation.try_inverse().unwrap();
        let at = grid.clone();
        Volume::from_fn(grid, |v| {
            let world = at.to_world(Vector3::from_fn(|a, _| v[a] as f64));
            self.contains(back * (world - shift))
        })
    }
}

/// The same image with its array axes permuted and flipped; every voxel keeps its place in the world.
pub fn rearranged<T: Copy>(
    volume: &Volume<T>,
    permutation: [usize; 3],
    flip: [bool; 3],
) -> Volume<T> {
    let old = &volume.grid;
    let matrix = old.matrix();
    let mut steps = Matrix3::zeros();
    let mut origin_mm = old.origin_mm;
    let mut size = [0; 3];
    for axis in 0..3 {
        let from = permutation[axis];
        size[axis] = old.size[from];
        let step = matrix.column(from);
        if flip[axis] {
            origin_mm += step * (old.size[from] - 1) as f64;
            steps.set_column(axis, &(-step));
        } else {
            steps.set_column(axis, &step);
        }
    }
    let grid = Grid::from_affine(size, steps, origin_mm).unwrap();
    Volume::from_fn(grid, |v| {
        let mut source = [0; 3];
        for axis in 0..3 {
            source[permutation[axis]] = if flip[axis] {
                size[axis] - 1 - v[axis]
            } else {
                v[axis]
            };
        }
        volume.at(source[0], source[1], source[2])
    })
}

/// All 48 ways to run the array axes of an image.
pub fn arrangements() -> impl Iterator<Item = ([usize; 3], [bool; 3])> {
    [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ]
    .into_iter()
    .flat_map(|p| (0..8).map(move |f| (p, [f & 1 == 1, f & 2 == 2, f & 4 == 4])))
}

/// Rotation by Euler angles in degrees.
pub fn turned(roll: f64, pitch: f64, yaw: f64) -> Matrix3<f64> {
    *Rotation3::from_euler_angles(roll.to_radians(), pitch.to_radians(), yaw.to_radians()).matrix()
}
