//! Cross-entropy plus soft Dice, with its gradient.
//!
//! Source: nnU-Net v2 2.8.1, `DC_and_CE_loss` with `MemoryEfficientSoftDiceLoss`: Dice without background, smoothed by 1e-5, a ratio for
//! each sample or, with `batch_dice`, one for the whole batch.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Smoothing of the Dice ratio.
const SMOOTH: f64 = 1e-5;

/// Which parts of the loss count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOptions {
    /// Weight of the cross-entropy.
    pub cross_entropy: f64,
    /// Weight of the Dice loss.
    pub dice: f64,
    /// Whether Dice is taken over the batch rather than for every sample.
    pub batch_dice: bool,
    /// Target value that counts nowhere.
    pub ignore: Option<u8>,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self {
            cross_entropy: 1.0,
            dice: 1.0,
            batch_dice: false,
            ignore: None,
        }
    }
}

/// A loss and its gradient by the logits.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// Its Dice part, unweighted.
    pub dice: f64,
    /// Gradient by the logits, in their order.
    pub gradient: Vec<f32>,
}

impl LossOptions {
    /// Loss of `logits` (sample, class, voxel) against `target` (sample, voxel); `weights` (sample, voxel), none for ones, scale what each
    /// voxel adds to the cross-entropy.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the lengths do not fit or a target is not a class.
    pub fn of(
        &self,
        logits: &[f32],
        classes: usize,
        target: &[u8],
        weights: &[f32],
        samples: usize,
    ) -> Result<Loss> {
        let voxels = target.len() / samples.max(1);
        if voxels * samples != target.len()
            || logits.len() != classes * target.len()
            || classes < 2
            || !(weights.is_empty() || weights.len() == target.len())
        {
            return Err(Error::Parameter(format!(
                "{} logits, {} targets and {} weights for {samples} samples of {classes} classes",
                logits.len(),
                target.len(),
                weights.len()
            )));
        }
        let ignored = |value: u8| self.ignore == Some(value);
        if let Some(value) = target
            .iter()
            .find(|&&t| usize::from(t) >= classes && !ignored(t))
        {
            return Err(Error::Parameter(format!(
                "target {value} of {classes} classes"
            )));
        }
        let mut likely = logits.to_vec();
        let of_sample = |sample: usize| weights.get(sample * voxels..(sample + 1) * voxels);
        // Per sample: sum of the cross-entropy, counted voxels, and for each class intersection, sum of likelihoods, sum of targets.
        let sums: Vec<Sums> = likely
            .par_chunks_mut(classes * voxels)
            .zip(target.par_chunks(voxels))
            .enumerate()
            .map(|(sample, (likely, target))| {
                softmax(likely, classes, target, of_sample(sample), &ignored)
            })
            .collect();
        let counted: f64 = sums.iter().map(|s| s.counted).sum();
        let entropy: f64 = sums.iter().map(|s| s.entropy).sum();
        let entropy_scale = self.cross_entropy / counted.max(1.0);
        // Each ratio and its derivatives by intersection and by the sum of likelihoods.
        let groups: Vec<Sums> = match self.batch_dice {
            true => vec![Sums::joined(&sums, classes)],
            false => sums.clone(),
        };
        let ratios = (groups.len() * (classes - 1)) as f64;
        let mut dice = 0.0;
        let slopes: Vec<Vec<(f64, f64)>> = groups
            .iter()
            .map(|group| {
                (0..classes)
                    .map(|class| {
                        if class == 0 {
                            return (0.0, 0.0);
                        }
                        let above = 2.0 * group.both[class] + SMOOTH;
                        let below = (group.likely[class] + group.target[class] + SMOOTH).max(1e-8);
                        dice -= above / below / ratios;
                        (-2.0 / below / ratios, above / (below * below) / ratios)
                    })
                    .collect()
            })
            .collect();
        likely
            .par_chunks_mut(classes * voxels)
            .zip(target.par_chunks(voxels))
            .enumerate()
            .for_each(|(sample, (likely, target))| {
                let slopes = &slopes[if self.batch_dice { 0 } else { sample }];
                let weights = of_sample(sample);
                self.gradient(likely, classes, target, slopes, weights, entropy_scale);
            });
        Ok(Loss {
            value: entropy * entropy_scale + self.dice * dice,
            dice,
            gradient: likely,
        })
    }

    /// Turns likelihoods into the gradient by the logits.
    fn gradient(
        &self,
        likely: &mut [f32],
        classes: usize,
        target: &[u8],
        slopes: &[(f64, f64)],
        weights: Option<&[f32]>,
        entropy_scale: f64,
    ) {
        let voxels = target.len();
        let slopes: Vec<[f32; 2]> = slopes
            .iter()
            .map(|(hit, sum)| [(hit * self.dice) as f32, (sum * self.dice) as f32])
            .collect();
        for (voxel, &own) in target.iter().enumerate() {
            if self.ignore == Some(own) {
                for class in 0..classes {
                    likely[class * voxels + voxel] = 0.0;
                }
                continue;
            }
            let own = usize::from(own);
            let scale = (entropy_scale * weight(weights, voxel)) as f32;
            // Derivative of the Dice part by each likelihood, and its mean under the likelihoods.
            let slope = |class: usize| {
                let [hit, sum] = slopes[class];
                if class == own { hit + sum } else { sum }
            };
            let mean: f32 = (0..classes)
                .map(|class| likely[class * voxels + voxel] * slope(class))
                .sum();
            for class in 0..classes {
                let p = likely[class * voxels + voxel];
                let hit = if class == own { 1.0 } else { 0.0 };
                likely[class * voxels + voxel] = scale * (p - hit) + p * (slope(class) - mean);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Sums {
    entropy: f64,
    counted: f64,
    both: Vec<f64>,
    likely: Vec<f64>,
    target: Vec<f64>,
}

impl Sums {
    fn joined(all: &[Self], classes: usize) -> Self {
        let sum = |pick: fn(&Self) -> &Vec<f64>| -> Vec<f64> {
            (0..classes)
                .map(|class| all.iter().map(|s| pick(s)[class]).sum())
                .collect()
        };
        Self {
            entropy: 0.0,
            counted: 0.0,
            both: sum(|s| &s.both),
            likely: sum(|s| &s.likely),
            target: sum(|s| &s.target),
        }
    }
}

/// What a voxel counts; one where nothing is weighed.
fn weight(weights: Option<&[f32]>, voxel: usize) -> f64 {
    weights.map_or(1.0, |weights| f64::from(weights[voxel]))
}

/// Likelihoods in place of the logits of one sample, and their sums.
fn softmax(
    logits: &mut [f32],
    classes: usize,
    target: &[u8],
    weights: Option<&[f32]>,
    ignored: &dyn Fn(u8) -> bool,
) -> Sums {
    let voxels = target.len();
    let mut sums = Sums {
        both: vec![0.0; classes],
        likely: vec![0.0; classes],
        target: vec![0.0; classes],
        ..Sums::default()
    };
    for (voxel, &own) in target.iter().enumerate() {
        let at = |class: usize| class * voxels + voxel;
        let most = (0..classes)
            .map(|c| logits[at(c)])
            .fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = (0..classes).map(|c| (logits[at(c)] - most).exp()).sum();
        let counts = !ignored(own);
        if counts {
            sums.counted += 1.0;
            let entropy = total.ln() + most - logits[at(usize::from(own))];
            sums.entropy += weight(weights, voxel) * f64::from(entropy);
        }
        for class in 0..classes {
            let p = (logits[at(class)] - most).exp() / total;
            logits[at(class)] = p;
            if counts {
                sums.likely[class] += f64::from(p);
                if class == usize::from(own) {
                    sums.both[class] += f64::from(p);
                    sums.target[class] += 1.0;
                }
            }
        }
    }
    sums
}

/// Weights of the resolutions of a deeply supervised network with `levels` heads, full resolution first: halved at each, the lowest
/// left out, their sum one.
pub fn supervision_weights(levels: usize) -> Vec<f64> {
    if levels == 1 {
        return vec![1.0];
    }
    let mut weights: Vec<f64> = (0..levels).map(|level| 0.5f64.powi(level as i32)).collect();
    if let Some(last) = weights.last_mut() {
        *last = 0.0;
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Targets (sample, voxel) of `shape` at another `shape`: the nearest voxel, `floor((i + 0.5) n_in / n_out)`.
pub fn targets_at(target: &[u8], shape: [usize; 3], samples: usize, to: [usize; 3]) -> Vec<u8> {
    if shape == to {
        return target.to_vec();
    }
    let index = |axis: usize| -> Vec<usize> {
        let (from, to) = (shape[axis], to[axis]);
        let nearest = |i: usize| ((i as f64 + 0.5) * from as f64 / to as f64) as usize;
        (0..to).map(nearest).map(|i| i.min(from - 1)).collect()
    };
    let [zs, ys, xs] = [index(0), index(1), index(2)];
    let voxels: usize = shape.iter().product();
    let mut out = Vec::with_capacity(samples * to.iter().product::<usize>());
    for sample in target.chunks_exact(voxels) {
        for z in &zs {
            for y in &ys {
                let row = &sample[(z * shape[1] + y) * shape[2]..][..shape[2]];
                out.extend(xs.iter().map(|&x| row[x]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_scale_the_cross_entropy_and_its_gradient() {
        let options = LossOptions {
            dice: 0.0,
            ..LossOptions::default()
        };
        // Two samples of two voxels, two classes.
        let logits = [0.3, -0.2, 0.8, 0.1, -0.5, 0.4, 0.9, -1.1];
        let (target, weights) = ([0, 1, 1, 0], [1.0, 3.0, 0.5, 2.0]);
        let of = |logits: &[f32]| options.of(logits, 2, &target, &weights, 2).expect("a loss");
        let found = of(&logits);
        let plain = |sample: usize, voxel: usize| {
            let [a, b] = [0, 2].map(|c| f64::from(logits[4 * sample + c + voxel]));
            let own = if target[2 * sample + voxel] == 0 {
                a
            } else {
                b
            };
            (a.exp() + b.exp()).ln() - own
        };
        let wanted =
            (plain(0, 0) + 3.0 * plain(0, 1) + 0.5 * plain(1, 0) + 2.0 * plain(1, 1)) / 4.0;
        assert!(
            (found.value - wanted).abs() < 1e-6,
            "{} {wanted}",
            found.value
        );
        for index in 0..8 {
            let mut moved = [logits, logits];
            moved[0][index] += 1e-2;
            moved[1][index] -= 1e-2;
            let slope = (of(&moved[0]).value - of(&moved[1]).value) / 2e-2;
            let off = slope - f64::from(found.gradient[index]);
            assert!(off.abs() < 1e-4, "{index}: off by {off}");
        }
    }
}
