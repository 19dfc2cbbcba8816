//! The encoder of plain convolutions (`PlainConvEncoder`).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::block::Convolutions;
use super::operations::NetworkBackend;
use super::{Architecture, Weights};
use crate::error::Result;

/// Stages of convolutions, each but the first starting with a stride.
#[derive(Module, Debug)]
pub struct PlainEncoder<B: Backend> {
    stages: Vec<Convolutions<B>>,
}

impl<B: NetworkBackend> PlainEncoder<B> {
    pub fn new(
        architecture: &Architecture,
        weights: &mut dyn Weights,
        device: &B::Device,
    ) -> Result<Self> {
        let stages = (0..architecture.features.len()).map(|stage| {
            let inputs = match stage {
                0 => architecture.inputs,
                stage => architecture.features[stage - 1],
            };
            Convolutions::new(
                architecture,
                weights,
                &format!("encoder.stages.{stage}.0"),
                [inputs, architecture.features[stage]],
                architecture.kernels[stage],
                architecture.strides[stage],
                architecture.encoder[stage],
                device,
            )
        });
        Ok(Self {
            stages: stages.collect::<Result<_>>()?,
        })
    }

    /// The output of every stage, first to deepest.
    pub fn forward(&self, x: Tensor<B, 5>) -> Vec<Tensor<B, 5>> {
        let mut out: Vec<Tensor<B, 5>> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let input = out.last().cloned().unwrap_or_else(|| x.clone());
            out.push(stage.forward(input));
        }
        out
    }
}
