//! The parameters being trained, by name, with what the optimiser remembers of each.

use std::collections::BTreeMap;

use super::random::Random;
use crate::error::{Error, Result};
use crate::network::{Stored, Weights, name_number};

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Parameters by name, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(pub(crate) BTreeMap<String, Parameter>);

impl Weights for &Parameters {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.0.get(name) {
            Some(parameter) if parameter.shape == shape => Ok(parameter.values.clone()),
            Some(parameter) => Err(Error::Weights(format!(
                "`{name}` has shape {:?}, the network needs {shape:?}",
                parameter.shape
            ))),
            None => Err(Error::Weights(format!(
                "`{name}` of shape {shape:?} is missing"
            ))),
        }
    }
}

impl Parameters {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.0
            .values()
            .map(|parameter| parameter.values.len())
            .sum()
    }

    /// Adds a parameter.
    pub fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.0.insert(name, Parameter { shape, values });
    }

    /// Sum of the values of a parameter.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let parameter = self.0.get(name)?;
        Some(parameter.values.iter().map(|v| f64::from(*v)).sum())
    }

    /// The same as a file's contents.
    pub fn to_stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (name, parameter) in &self.0 {
            stored.insert(
                name.clone(),
                parameter.shape.clone(),
                parameter.values.clone(),
            );
        }
        stored
    }

    /// Zeros of the same shapes.
    pub(crate) fn zeros(&self) -> BTreeMap<String, Vec<f32>> {
        let zeros = |parameter: &Parameter| vec![0.0; parameter.values.len()];
        self.0
            .iter()
            .map(|(name, p)| (name.clone(), zeros(p)))
            .collect()
    }
}

/// How kernels and biases begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beginning {
    /// Kernels normal (He et al. 2015; fan in, slope 0.01), biases zero.
    Kaiming,
    /// Kernels even (Glorot and Bengio 2010), biases of one value.
    Xavier {
        /// The biases.
        bias: f32,
    },
}

/// New parameters; norms of scale one. Each follows from the seed and its own name.
#[derive(Debug)]
pub struct Initial {
    seed: u64,
    beginning: Beginning,
    /// What was handed out.
    pub made: Parameters,
    /// Parameters that are taken as they are where names and shapes agree, as fine-tuning does.
    pub given: Parameters,
}

impl Initial {
    /// New parameters of a seed.
    pub fn new(seed: u64, beginning: Beginning) -> Self {
        Self {
            seed,
            beginning,
            made: Parameters::default(),
            given: Parameters::default(),
        }
    }
}

impl Weights for Initial {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let known = self.given.0.get(name).filter(|given| given.shape == shape);
        let values = match known {
            Some(given) => given.values.clone(),
            None if shape.len() >= 2 => {
                let fan_in: usize = shape[1..].iter().product();
                let fan_out = shape[0] * shape[2..].iter().product::<usize>();
                let mut random = Random::new(self.seed ^ name_number(name), 0);
                let mut value = || match self.beginning {
                    Beginning::Kaiming => {
                        let deviation = (2.0 / (1.0 + 0.01f64.powi(2)) / fan_in as f64).sqrt();
                        (deviation * random.normal()) as f32
                    }
                    Beginning::Xavier { .. } => {
                        let limit = (6.0 / (fan_in + fan_out) as f64).sqrt();
                        random.between(-limit, limit) as f32
                    }
                };
                let count = shape.iter().product();
                (0..count).map(|_| value()).collect()
            }
            None if name.ends_with(".weight") || name.ends_with(".running_var") => {
                vec![1.0; shape[0]]
            }
            None => {
                let value = match self.beginning {
                    Beginning::Xavier { bias } if name.ends_with(".bias") => bias,
                    _ => 0.0,
                };
                vec![value; shape[0]]
            }
        };
        let parameter = Parameter {
            shape: shape.to_vec(),
            values: values.clone(),
        };
        self.made.0.insert(name.to_owned(), parameter);
        Ok(values)
    }
}
