//! The loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use serde::{Deserialize, Serialize};

use super::loss::{LossOptions, supervision_weights, targets_at};
use super::optimiser::{Optimiser, Schedule};
use super::parameters::{Beginning, Initial, Parameter, Parameters};
use crate::error::{Error, Result};
use crate::network::{
    AnyNetwork, Device, Learning, Mode, NetworkBackend, Stored, Topology, Weights as _, name_number,
};

/// One training sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Input channels (channel, z, y, x), normalised.
    pub image: Vec<f32>,
    /// A class for every voxel that the network answers for.
    pub target: Vec<u8>,
    /// What each voxel counts in the cross-entropy; empty where all count alike.
    pub weights: Vec<f32>,
}

/// Where samples come from: number `index` is always the same one.
pub trait Samples: Sync {
    /// Makes a sample.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn sample(&self, index: u64) -> Result<Sample>;
}

/// Everything that fixes a training but the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Voxels of a sample.
    pub patch: [usize; 3],
    /// Samples of a step.
    pub batch: usize,
    /// Steps in all.
    pub steps: u64,
    /// Rule of the steps.
    pub optimiser: Optimiser,
    /// Learning rate.
    pub schedule: Schedule,
    /// Norm to which gradients are cut.
    pub clip: f64,
    /// Weight of the cross-entropy and of the Dice loss.
    pub loss: [f64; 2],
    /// Whether Dice is taken over the batch.
    pub batch_dice: bool,
    /// Whether all resolutions are trained.
    pub deep_supervision: bool,
    /// Memory of the running mean of the weights; 0 keeps none.
    pub mean_memory: f64,
    /// Seed of the weights.
    pub seed: u64,
}

/// Part of the statistics of a batch norm that stays at each step.
const NORM_MEMORY: f32 = 0.9;

/// Where a training stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss of the step.
    pub loss: f64,
    /// Mean foreground Dice of the step at full resolution, soft.
    pub dice: f64,
    /// Norm of the gradient before it was cut.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub rate: f64,
}

/// A network in training.
#[derive(Clone, Debug)]
pub struct Trainer {
    /// What is trained.
    pub topology: Topology,
    /// How.
    pub plan: TrainPlan,
    /// The weights.
    pub parameters: Parameters,
    /// What the rate of the schedule is multiplied by.
    pub rate_factor: f64,
    memory: Vec<BTreeMap<String, Vec<f32>>>,
    mean: Option<BTreeMap<String, Vec<f32>>>,
    step: u64,
}

impl Trainer {
    /// A new network; `given` are weights to start from where names and shapes agree.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a plan that cannot be.
    pub fn new(topology: impl Into<Topology>, plan: TrainPlan, given: Parameters) -> Result<Self> {
        let topology = topology.into();
        if plan.batch == 0 || plan.steps == 0 || plan.patch.contains(&0) {
            return Err(Error::Parameter(format!(
                "batch {}, steps {}, patch {:?}: all must be positive",
                plan.batch, plan.steps, plan.patch
            )));
        }
        topology.check(plan.patch)?;
        let beginning = match topology {
            // As its authors begin.
            Topology::Patch(_) => Beginning::Xavier { bias: 0.1 },
            _ => Beginning::Kaiming,
        };
        let mut initial = Initial::new(plan.seed, beginning);
        initial.given = given;
        AnyNetwork::<Flex>::new(&topology, &mut initial, &FlexDevice)?;
        let parameters = initial.made;
        let memory = (0..plan.optimiser.memories())
            .map(|_| parameters.zeros())
            .collect();
        Ok(Self {
            mean: (plan.mean_memory > 0.0).then(|| parameters.zeros()),
            memory,
            parameters,
            topology,
            plan,
            rate_factor: 1.0,
            step: 0,
        })
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Trains until `until` steps are done, or `watch` says stop by giving `false`. The next samples are made while the network learns.
    ///
    /// # Errors
    /// Those of the samples; [`Error::NotFinite`] when the loss is not a number.
    pub fn run(
        &mut self,
        samples: &dyn Samples,
        device: Device,
        until: u64,
        mut watch: impl FnMut(&mut Self, &Progress) -> Result<bool>,
    ) -> Result<()> {
        let (first, until) = (self.step, until.min(self.plan.steps));
        let batch = self.plan.batch as u64;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(2);
            scope.spawn(move || {
                for step in first..until {
                    let batch: Result<Vec<Sample>> = (0..batch)
                        .map(|i| samples.sample(step * batch + i))
                        .collect();
                    if send.send(batch).is_err() {
                        return;
                    }
                }
            });
            while self.step < until {
                let Ok(batch) = receive.recv() else {
                    return Err(Error::Parameter("the samples ended early".into()));
                };
                let progress = self.learn(&batch?, device)?;
                if !watch(self, &progress)? {
                    break;
                }
            }
            drop(receive);
            Ok(())
        })
    }

    /// One step with these samples.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn learn(&mut self, batch: &[Sample], device: Device) -> Result<Progress> {
        let voxels: usize = self.plan.patch.iter().product();
        let answered: usize = self.topology.answered(self.plan.patch).iter().product();
        let inputs = self.topology.inputs();
        let fits = |sample: &Sample| {
            let weighed = sample.weights.len();
            sample.image.len() == voxels * inputs
                && sample.target.len() == answered
                && (weighed == 0 || weighed == answered)
        };
        if batch.is_empty() || !batch.iter().all(fits) {
            return Err(Error::Parameter(format!(
                "samples must hold {inputs} channels of {:?} voxels and a target of {answered}",
                self.plan.patch
            )));
        }
        let Found {
            loss,
            dice,
            mut gradients,
            seen,
        } = match device {
            Device::Cpu => self.gradients::<Autodiff<Flex>>(batch, &FlexDevice)?,
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => {
                let device = burn::backend::cuda::CudaDevice::new(number);
                self.gradients::<Autodiff<burn::backend::Cuda>>(batch, &device)?
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => {
                return Err(Error::Device(
                    "this program was built without CUDA; build it with --features cuda".into(),
                ));
            }
        };
        let square = |values: &Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let gradient_norm = gradients.values().map(square).sum::<f64>().sqrt();
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return Err(Error::NotFinite(format!(
                "step {}: the loss is {loss} and the gradient's norm {gradient_norm}; lower the learning rate",
                self.step
            )));
        }
        // As PyTorch: the ratio, at most one.
        let ratio = (self.plan.clip / (gradient_norm + 1e-6)).min(1.0) as f32;
        if ratio < 1.0 {
            for values in gradients.values_mut() {
                values.iter_mut().for_each(|v| *v *= ratio);
            }
        }
        let rate = self.rate_factor * self.plan.schedule.at(self.step, self.plan.steps);
        self.plan.optimiser.apply(
            &mut self.parameters,
            &mut self.memory,
            &gradients,
            rate,
            self.step,
        );
        if let Some(mean) = &mut self.mean {
            // Shorter memory at the start, so that the first weights are soon forgotten.
            let taken = self.step as f64;
            let memory = self.plan.mean_memory.min((1.0 + taken) / (10.0 + taken)) as f32;
            for (name, mean) in mean.iter_mut() {
                let values = self.parameters.0.get(name).map_or(&[][..], |p| &p.values);
                for (mean, value) in mean.iter_mut().zip(values) {
                    *mean = memory * *mean + (1.0 - memory) * value;
                }
            }
        }
        // Statistics of batch norms follow those of the batches, as PyTorch lets them.
        for (name, parameter) in &mut self.parameters.0 {
            if let Some(seen) = seen.get(&name_number(name)) {
                for (value, seen) in parameter.values.iter_mut().zip(seen) {
                    *value = NORM_MEMORY * *value + (1.0 - NORM_MEMORY) * seen;
                }
            }
        }
        self.step += 1;
        Ok(Progress {
            step: self.step,
            steps: self.plan.steps,
            loss,
            dice: -dice,
            gradient_norm,
            rate,
        })
    }

    fn gradients<B: AutodiffBackend + NetworkBackend>(
        &self,
        batch: &[Sample],
        device: &B::Device,
    ) -> Result<Found> {
        let network = AnyNetwork::<B>::new(&self.topology, &mut &self.parameters, device)?;
        let [z, y, x] = self.plan.patch;
        let shape = [batch.len(), self.topology.inputs(), z, y, x];
        let images = batch
            .iter()
            .map(|s| s.image.as_slice())
            .collect::<Vec<_>>()
            .concat();
        let target = batch
            .iter()
            .map(|s| s.target.as_slice())
            .collect::<Vec<_>>()
            .concat();
        // Samples that weigh nothing in particular weigh one.
        let weighed = batch.iter().any(|s| !s.weights.is_empty());
        let weights: Vec<f32> = match weighed {
            false => vec![],
            true => batch
                .iter()
                .flat_map(|s| match s.weights.is_empty() {
                    true => vec![1.0; s.target.len()],
                    false => s.weights.clone(),
                })
                .collect(),
        };
        let images = Tensor::<B, 5>::from_data(TensorData::new(images, shape), device);
        let learning = Learning::new(self.plan.seed.wrapping_add(self.step << 20));
        let mode = Mode::Learn(&learning);
        let heads = match self.plan.deep_supervision {
            true => network.forward_all(images, mode),
            false => vec![network.forward(images, mode)],
        };
        if weighed && heads.len() > 1 {
            return Err(Error::Parameter(
                "voxels are weighed at full resolution only; train without deep supervision".into(),
            ));
        }
        let options = LossOptions {
            cross_entropy: self.plan.loss[0],
            dice: self.plan.loss[1],
            batch_dice: self.plan.batch_dice,
            ignore: None,
        };
        let shares = supervision_weights(heads.len());
        let answered = self.topology.answered(self.plan.patch);
        let (mut total, mut dice) = (0.0, 0.0);
        let mut surrogate: Option<Tensor<B, 1>> = None;
        for (level, (head, share)) in heads.into_iter().zip(shares).enumerate() {
            if share == 0.0 {
                continue;
            }
            let dims = head.dims();
            let [samples, classes, hz, hy, hx] = dims;
            let logits = numbers(head.clone().inner())?;
            let target = targets_at(&target, answered, samples, [hz, hy, hx]);
            let loss = options.of(&logits, classes, &target, &weights, samples)?;
            total += share * loss.value;
            if level == 0 {
                dice = loss.dice;
            }
            let gradient = loss
                .gradient
                .iter()
                .map(|g| g * share as f32)
                .collect::<Vec<_>>();
            // The gradient of ⟨head, constant⟩ by the head is the constant: what follows differentiates the network alone.
            let constant = Tensor::<B, 5>::from_data(TensorData::new(gradient, dims), device);
            let product = (head * constant).sum();
            surrogate = Some(match surrogate {
                None => product,
                Some(sum) => sum + product,
            });
        }
        let surrogate = surrogate.ok_or_else(|| Error::Parameter("no head to train".into()))?;
        let tape = surrogate.backward();
        let mut collect = Collect::<B> {
            tape: &tape,
            found: BTreeMap::new(),
            error: None,
        };
        network.visit(&mut collect);
        if let Some(error) = collect.error {
            return Err(error);
        }
        let mut gradients = BTreeMap::new();
        for name in self.parameters.0.keys() {
            if let Some(values) = collect.found.remove(&name_number(name)) {
                gradients.insert(name.clone(), values);
            }
        }
        Ok(Found {
            loss: total,
            dice,
            gradients,
            seen: learning.into_seen(),
        })
    }

    /// The weights to use: their running mean, where one is kept.
    pub fn result(&self) -> Parameters {
        let mut result = self.parameters.clone();
        for (name, mean) in self.mean.iter().flatten() {
            if let Some(parameter) = result.0.get_mut(name) {
                parameter.values.clone_from(mean);
            }
        }
        result
    }

    /// Writes everything a resumed training needs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut stored = self.parameters.to_stored();
        let arrays = self
            .memory
            .iter()
            .enumerate()
            .map(|(i, m)| (format!("memory{i}/"), m));
        let mean = self.mean.iter().map(|mean| ("mean/".to_owned(), mean));
        for (prefix, arrays) in arrays.chain(mean) {
            for (name, values) in arrays {
                stored.insert(
                    format!("{prefix}{name}"),
                    vec![values.len()],
                    values.clone(),
                );
            }
        }
        let plan = serde_json::to_string(&self.plan).unwrap_or_default();
        let facts = BTreeMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("plan".to_owned(), plan),
        ]);
        let partial = path.with_extension("partial");
        stored.write_safetensors(&partial, &facts, false)?;
        std::fs::rename(&partial, path).map_err(|source| Error::io(path, source))
    }

    /// Takes up a saved training of the same architecture and plan.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`] when the file is of another training.
    pub fn resume(topology: impl Into<Topology>, plan: TrainPlan, path: &Path) -> Result<Self> {
        let (mut stored, facts) = Stored::read_safetensors(path)?;
        let saved: Option<TrainPlan> = facts
            .get("plan")
            .and_then(|plan| serde_json::from_str(plan).ok());
        if saved != Some(plan) {
            return Err(Error::model(
                path,
                "it was saved by a training with another plan; resume with that plan, or start anew",
            ));
        }
        let step = facts.get("step").and_then(|step| step.parse().ok());
        let step =
            step.ok_or_else(|| Error::model(path, "it does not say how far the training got"))?;
        let mut trainer = Self::new(topology, plan, Parameters::default())?;
        let fits = |error: Error| match error {
            Error::Weights(reason) => Error::model(path, reason),
            error => error,
        };
        for (name, parameter) in &mut trainer.parameters.0 {
            let Parameter { shape, values } = parameter;
            *values = stored.take(name, shape).map_err(fits)?;
        }
        let arrays = trainer
            .memory
            .iter_mut()
            .enumerate()
            .map(|(i, m)| (format!("memory{i}/"), m));
        let mean = trainer
            .mean
            .iter_mut()
            .map(|mean| ("mean/".to_owned(), mean));
        for (prefix, arrays) in arrays.chain(mean) {
            for (name, values) in arrays.iter_mut() {
                *values = stored
                    .take(&format!("{prefix}{name}"), &[values.len()])
                    .map_err(fits)?;
            }
        }
        stored.finish().map_err(fits)?;
        trainer.step = step;
        Ok(trainer)
    }
}

struct Found {
    loss: f64,
    dice: f64,
    gradients: BTreeMap<String, Vec<f32>>,
    /// Statistics of batch norms by the numbers of the parameters that store them.
    seen: BTreeMap<u64, Vec<f32>>,
}

fn numbers<B: burn::tensor::backend::Backend, const D: usize>(
    tensor: Tensor<B, D>,
) -> Result<Vec<f32>> {
    tensor
        .into_data()
        .into_vec()
        .map_err(|error| Error::Device(format!("a result cannot be read: {error:?}")))
}

/// Collects the gradients of a network by the numbers of its parameters.
struct Collect<'a, B: AutodiffBackend> {
    tape: &'a B::Gradients,
    found: BTreeMap<u64, Vec<f32>>,
    error: Option<Error>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.tape) {
            match numbers(gradient) {
                Ok(values) => {
                    self.found.insert(param.id.val(), values);
                }
                Err(error) => self.error = Some(error),
            }
        }
    }
}
