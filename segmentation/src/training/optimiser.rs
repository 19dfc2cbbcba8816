//! How parameters follow their gradients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parameters::Parameters;

/// The rule by which parameters change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimiser {
    /// Stochastic gradient descent with momentum as PyTorch has it; weight decay is added to the gradient of every parameter.
    Sgd {
        /// Part of the last step that is kept.
        momentum: f64,
        /// Whether the gradient is looked up ahead.
        nesterov: bool,
        /// Weight decay.
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba 2015), with weight decay apart from the gradient (Loshchilov and Hutter 2019).
    Adam {
        /// Memory of the mean.
        beta1: f64,
        /// Memory of the square.
        beta2: f64,
        /// Weight decay, of kernels only.
        weight_decay: f64,
    },
}

impl Optimiser {
    /// What nnU-Net trains with.
    pub fn nnunet() -> Self {
        Self::Sgd {
            momentum: 0.99,
            nesterov: true,
            weight_decay: 3e-5,
        }
    }

    /// Arrays of memory per parameter.
    pub(crate) fn memories(&self) -> usize {
        match self {
            Self::Sgd { .. } => 1,
            Self::Adam { .. } => 2,
        }
    }

    /// Takes step number `step` (from 0).
    pub(crate) fn apply(
        &self,
        parameters: &mut Parameters,
        memory: &mut [BTreeMap<String, Vec<f32>>],
        gradients: &BTreeMap<String, Vec<f32>>,
        rate: f64,
        step: u64,
    ) {
        for (name, parameter) in &mut parameters.0 {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let mut own = memory.iter_mut().filter_map(|memory| memory.get_mut(name));
            let values = parameter.values.iter_mut().zip(gradient);
            match *self {
                Self::Sgd {
                    momentum,
                    nesterov,
                    weight_decay,
                } => {
                    let Some(speed) = own.next() else { continue };
                    let (momentum, rate, decay) =
                        (momentum as f32, rate as f32, weight_decay as f32);
                    for ((value, gradient), speed) in values.zip(speed) {
                        let gradient = gradient + decay * *value;
                        *speed = match step {
                            0 => gradient,
                            _ => momentum * *speed + gradient,
                        };
                        *value -= rate
                            * match nesterov {
                                true => gradient + momentum * *speed,
                                false => *speed,
                            };
                    }
                }
                Self::Adam {
                    beta1,
                    beta2,
                    weight_decay,
                } => {
                    let (Some(mean), Some(square)) = (own.next(), own.next()) else {
                        continue;
                    };
                    let taken = i32::try_from(step + 1).unwrap_or(i32::MAX);
                    let (c1, c2) = (1.0 - beta1.powi(taken), 1.0 - beta2.powi(taken));
                    let kernel = parameter.shape.len() > 1;
                    let decay = if kernel {
                        (rate * weight_decay) as f32
                    } else {
                        0.0
                    };
                    let (b1, b2) = (beta1 as f32, beta2 as f32);
                    let (scale, root) = ((rate / c1) as f32, (1.0 / c2) as f32);
                    for ((value, gradient), (mean, square)) in
                        values.zip(mean.iter_mut().zip(square))
                    {
                        *mean = b1 * *mean + (1.0 - b1) * gradient;
                        *square = b2 * *square + (1.0 - b2) * gradient * gradient;
                        let step = scale * *mean / ((*square * root).sqrt() + 1e-8);
                        *value -= step + decay * *value;
                    }
                }
            }
        }
    }
}

/// The learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Schedule {
    /// `rate · (1 − epoch / epochs)^0.9`, constant within an epoch of so many steps.
    Polynomial {
        /// Rate at the start.
        rate: f64,
        /// Steps of an epoch.
        epoch_steps: u64,
    },
    /// Grows for so many steps, then falls as a half cosine to zero.
    Cosine {
        /// Highest rate.
        rate: f64,
        /// Steps of growth.
        warm_up: u64,
    },
    /// Stays.
    Constant {
        /// The rate.
        rate: f64,
    },
}

impl Schedule {
    /// Learning rate of a step of so many.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        match *self {
            Self::Polynomial { rate, epoch_steps } => {
                let epochs = steps.div_ceil(epoch_steps.max(1)).max(1) as f64;
                let epoch = (step / epoch_steps.max(1)) as f64;
                rate * (1.0 - epoch / epochs).max(0.0).powf(0.9)
            }
            Self::Cosine { rate, warm_up } => {
                if step < warm_up {
                    return rate * (step + 1) as f64 / warm_up as f64;
                }
                let span = steps.saturating_sub(warm_up).max(1) as f64;
                let part = ((step - warm_up) as f64 / span).min(1.0);
                rate * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
            Self::Constant { rate } => rate,
        }
    }
}
