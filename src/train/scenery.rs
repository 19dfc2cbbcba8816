//! What surrounds bones in a painted patch, and the random numbers all of it follows from. Places are mm from the corner of the patch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

/// A stream of random numbers.
pub struct Draw(pub ChaCha8Rng);

impl Draw {
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + self.unit() * (high - low)
    }

    pub fn chance(&mut self, part: f32) -> bool {
        self.unit() < part
    }

    pub fn normal(&mut self) -> f32 {
        // Sum of four even numbers, as the synthetic patients draw theirs.
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 1.732
    }

    pub fn direction(&mut self) -> [f32; 3] {
        self.near_direction([0.0; 3], 1.0)
    }

    /// A direction about `spread` radians from another.
    pub fn near_direction(&mut self, direction: [f32; 3], spread: f32) -> [f32; 3] {
        let v = direction.map(|x| x + spread * self.normal());
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
        v.map(|x| x / length)
    }
}

/// Smooth noise about 0 with a spread of about ±1: random values on a lattice, linear between them.
pub struct Cloud {
    step: f32,
    size: [usize; 3],
    values: Vec<f32>,
}

impl Cloud {
    /// Over `extent` mm with features of `feature` mm.
    pub fn drawn(draw: &mut Draw, extent: [f32; 3], feature: f32) -> Self {
        let size = extent.map(|e| (e / feature).ceil() as usize + 2);
        let values = (0..size.iter().product())
            .map(|_| draw.between(-1.7, 1.7))
            .collect();
        Self {
            step: 1.0 / feature,
            size,
            values,
        }
    }

    /// At a place in mm from the corner of the patch (z, y, x).
    pub fn at(&self, place: [f32; 3]) -> f32 {
        let mut low = [0usize; 3];
        let mut part = [0.0f32; 3];
        for axis in 0..3 {
            let x = (place[axis] * self.step).clamp(0.0, (self.size[axis] - 2) as f32 + 0.999);
            low[axis] = x as usize;
            part[axis] = x - low[axis] as f32;
        }
        let [_, ny, nx] = self.size;
        let start = (low[0] * ny + low[1]) * nx + low[2];
        let row = |offset: usize| {
            let (a, b) = (self.values[start + offset], self.values[start + offset + 1]);
            a + part[2] * (b - a)
        };
        let (front, back) = (row(0), row(nx));
        let below = front + part[1] * (back - front);
        let (front, back) = (row(ny * nx), row(ny * nx + nx));
        let above = front + part[1] * (back - front);
        below + part[0] * (above - below)
    }
}

/// A rod or vessel: a straight tube.
pub struct Tube {
    pub point: [f32; 3],
    pub direction: [f32; 3],
    pub radius: f32,
    pub hu: f32,
}

/// A lump of bone that is no bone of the classes.
pub struct Lump {
    pub centre: [f32; 3],
    pub half: [f32; 3],
}

/// Distance of two places.
pub fn between(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3)
        .map(|axis| (a[axis] - b[axis]).powi(2))
        .sum::<f32>()
        .sqrt()
}

/// A plate of foam in a shell.
pub struct Table {
    pub point: [f32; 3],
    pub normal: [f32; 3],
    /// Half its thickness, mm.
    pub half: f32,
    pub shell_mm: f32,
    pub shell_hu: f32,
    pub core_hu: f32,
}

impl Table {
    /// CT number of table and air around it.
    pub fn hu(&self, place: [f32; 3], blur_mm: f32) -> f32 {
        let across: f32 = (0..3)
            .map(|axis| (place[axis] - self.point[axis]) * self.normal[axis])
            .sum();
        let outside = across.abs() - self.half;
        let plate = (0.5 - outside / blur_mm).clamp(0.0, 1.0);
        let core = (0.5 - (outside + self.shell_mm) / blur_mm).clamp(0.0, 1.0);
        (plate - core) * self.shell_hu + core * self.core_hu - (1.0 - plate) * 1000.0
    }
}

/// What of a patch the scan holds, in voxels z, y, x.
pub struct Window {
    pub low: [usize; 3],
    /// One past the last.
    pub high: [usize; 3],
    /// Centre (y, x) and radius of the circle that a scanner reconstructs.
    pub circle: Option<([f32; 2], f32)>,
}

impl Window {
    pub fn whole(patch: [usize; 3]) -> Self {
        Self {
            low: [0; 3],
            high: patch,
            circle: None,
        }
    }

    pub fn holds(&self, at: [usize; 3]) -> bool {
        let inside = (0..3).all(|axis| (self.low[axis]..self.high[axis]).contains(&at[axis]));
        inside
            && self
                .circle
                .is_none_or(|([y, x], radius)| (at[1] as f32 - y).hypot(at[2] as f32 - x) < radius)
    }
}

impl Tube {
    /// How much of a voxel lies in the tube.
    pub fn share(&self, place: [f32; 3], blur_mm: f32) -> f32 {
        (0.5 - (self.distance(place) - self.radius) / blur_mm).clamp(0.0, 1.0)
    }

    pub fn distance(&self, place: [f32; 3]) -> f32 {
        let offset: [f32; 3] = std::array::from_fn(|axis| place[axis] - self.point[axis]);
        let along: f32 = (0..3).map(|axis| offset[axis] * self.direction[axis]).sum();
        let square: f32 = offset.iter().map(|x| x * x).sum();
        (square - along * along).max(0.0).sqrt()
    }
}

impl Lump {
    /// Signed distance to the ellipsoid, good near its surface.
    pub fn distance(&self, place: [f32; 3]) -> f32 {
        let ratio =
            (0..3).map(|axis| ((place[axis] - self.centre[axis]) / self.half[axis]).powi(2));
        let least = self.half.iter().copied().fold(f32::INFINITY, f32::min);
        (ratio.sum::<f32>().sqrt() - 1.0) * least
    }
}
