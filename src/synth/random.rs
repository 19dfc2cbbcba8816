//! Random numbers that do not depend on threads: one ChaCha stream per purpose, one per slice.
//!
//! A stream is a function of the seed, the purpose and an index only, so slices may be filled in any
//! order. Normal numbers are sums of uniform integers: no logarithm, no difference between machines.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random numbers is for. The number is part of the stream: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Patient-wide draws: side, size, pose, scanner.
    Patient = 1,
    /// The shape and density of one bone.
    Bone = 2,
    /// Whether and where a lesion sits.
    Lesion = 3,
    /// Detector noise of one slice.
    Noise = 4,
    /// Fat and muscle pattern.
    Tissue = 5,
    /// What the two femora of a patient share.
    FemoralTissue = 6,
}

/// The stream of `purpose` and `index` under `seed`.
pub(crate) fn stream(seed: u64, purpose: Purpose, index: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((purpose as u64) << 32 | u64::from(index));
    rng
}

/// A number of mean 0 and variance 1, near normal and never beyond ±3.47: the sum of four 16-bit
/// uniform integers.
pub(crate) fn near_normal(rng: &mut ChaCha8Rng) -> f32 {
    near_normal_of(rng.next_u64())
}

/// [`near_normal`] from 64 random bits.
pub(crate) fn near_normal_of(bits: u64) -> f32 {
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Mean 4 * 65535 / 2, variance 4 * (65536² - 1) / 12.
    (sum as f32 - 131_070.0) / 37_837.227
}

/// Parameters drawn under their names, kept for the truth file.
#[derive(Debug)]
pub(crate) struct Draws<'a> {
    rng: ChaCha8Rng,
    prefix: String,
    record: &'a mut BTreeMap<String, f64>,
}

impl<'a> Draws<'a> {
    /// Draws of one stream; each is recorded as `prefix` and its name.
    pub(crate) fn new(
        rng: ChaCha8Rng,
        prefix: impl Into<String>,
        record: &'a mut BTreeMap<String, f64>,
    ) -> Self {
        Self {
            rng,
            prefix: prefix.into(),
            record,
        }
    }

    /// A number evenly spread over `low..high`.
    pub(crate) fn uniform(&mut self, name: &str, low: f64, high: f64) -> f64 {
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        self.keep(name, low + unit * (high - low))
    }

    /// A number near normal about `mean`, cut at two standard deviations.
    pub(crate) fn normal(&mut self, name: &str, mean: f64, sd: f64) -> f64 {
        let unit = f64::from(near_normal(&mut self.rng)).clamp(-2.0, 2.0);
        self.keep(name, mean + unit * sd)
    }

    fn keep(&mut self, name: &str, value: f64) -> f64 {
        self.record.insert(format!("{}{name}", self.prefix), value);
        value
    }
}

/// Smooth random field over space with values in `-1..1`: hashed values on a lattice, joined smoothly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texture {
    key: u64,
    cell_mm: f64,
}

impl Texture {
    /// A field with features of about `cell_mm`.
    pub(crate) fn new(seed: u64, index: u32, cell_mm: f64) -> Self {
        let key = stream(seed, Purpose::Tissue, index).next_u64();
        Self { key, cell_mm }
    }

    /// Value at a point.
    pub(crate) fn at(&self, point: &nalgebra::Vector3<f64>) -> f64 {
        let scaled = point / self.cell_mm;
        let base = scaled.map(f64::floor);
        let weight = (scaled - base).map(|f| f * f * (3.0 - 2.0 * f));
        let cell = base.map(|v| v as i64);
        let mut sum = 0.0;
        for corner in 0..8i64 {
            let step = nalgebra::Vector3::new(corner & 1, corner >> 1 & 1, corner >> 2 & 1);
            let mut share = 1.0;
            for axis in 0..3 {
                share *= if step[axis] == 1 {
                    weight[axis]
                } else {
                    1.0 - weight[axis]
                };
            }
            sum += share * self.lattice(cell + step);
        }
        sum
    }

    fn lattice(&self, cell: nalgebra::Vector3<i64>) -> f64 {
        let mut h = self.key;
        for axis in 0..3 {
            // The finaliser of splitmix64 after each coordinate (Steele, Lea and Flood 2014).
            h = h.wrapping_add((cell[axis] as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            h = (h ^ h >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            h = (h ^ h >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            h ^= h >> 31;
        }
        (h >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_normal_has_mean_zero_and_unit_variance() {
        let mut rng = stream(5, Purpose::Noise, 0);
        let n = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let value = f64::from(near_normal(&mut rng));
            sum += value;
            squares += value * value;
        }
        // Standard errors at n = 200 000: 0.0022 for the mean, 0.003 for the variance.
        assert!((sum / n as f64).abs() < 0.01);
        assert!((squares / n as f64 - 1.0).abs() < 0.015);
        assert!((near_normal_of(0) + 3.4641).abs() < 1e-3);
        assert!((near_normal_of(u64::MAX) - 3.4641).abs() < 1e-3);
    }

    #[test]
    fn streams_differ_by_purpose_and_index() {
        let first = |seed, purpose, index| stream(seed, purpose, index).next_u64();
        let values = [
            first(1, Purpose::Noise, 0),
            first(1, Purpose::Noise, 1),
            first(1, Purpose::Bone, 0),
            first(2, Purpose::Noise, 0),
        ];
        for a in 0..4 {
            for b in 0..a {
                assert_ne!(values[a], values[b]);
            }
        }
    }

    #[test]
    fn texture_is_continuous_and_bounded() {
        let texture = Texture::new(3, 0, 10.0);
        let at = |x: f64| texture.at(&nalgebra::Vector3::new(x, -7.3, 12.1));
        for step in 0..400 {
            let x = f64::from(step) * 0.1 - 20.0;
            assert!(at(x).abs() <= 1.0);
            // Largest slope of the smooth step is 1.5 per cell, values differ by 2 at most.
            assert!((at(x + 1e-3) - at(x)).abs() < 3.1e-4);
        }
    }
}
