//! The loop around the trainer: judgements, the log, the pictures, the state, the weights.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use segmentation::network::{Device, Network, Topology};
use segmentation::recipes::Patience;
use segmentation::training::{Parameters, Samples, TrainPlan, Trainer};
use serde_json::json;

use super::picture::{self, Seen};
use crate::output_dir::{write_file, write_file_with};
use crate::progress::Progress;

/// Samples that are drawn at every judgement.
const PICTURED: u64 = 12;

/// How good the network is on samples it never saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Dice of each class, over all samples together.
    pub dice: Vec<f64>,
}

impl Judgement {
    fn mean(&self) -> f64 {
        self.dice.iter().sum::<f64>() / self.dice.len().max(1) as f64
    }
}

/// Which weights a training leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Those of the best judgement.
    Best,
    /// Those of the least loss while learning.
    LeastLoss,
    /// The last.
    Last,
}

/// A training, whatever its samples are made of.
pub(super) struct Course {
    pub training: TrainPlan,
    pub topology: Topology,
    /// Names of the classes without the background.
    pub names: Vec<String>,
    /// What the checkpoint says of itself.
    pub configuration: String,
    pub trainer: &'static str,
    /// Axes of the network's array that may be mirrored when it runs.
    pub mirrored: Vec<usize>,
    pub judge_every: u64,
    pub judged_samples: u64,
    pub keep: Keep,
    /// When the rate falls and training ends early.
    pub patience: Option<Patience>,
    /// Where the log, the pictures and the state go.
    pub folder: PathBuf,
    /// The file of the weights.
    pub weights: PathBuf,
    /// Weights to start from.
    pub given: Parameters,
}

impl Course {
    /// Whether the last step has been judged.
    pub fn is_done(&self) -> anyhow::Result<bool> {
        let log = self.folder.join("training.csv");
        let rows = std::fs::read_to_string(&log).with_context(|| format!("{}", log.display()))?;
        let last = format!("{},", self.training.steps);
        let stopped = self
            .patience
            .is_some_and(|own| Wait::after(&rows, &own).over);
        Ok(stopped || rows.lines().any(|row| row.starts_with(&last)))
    }

    /// Trains; gives the last judgement.
    pub fn run(
        &self,
        samples: &dyn Samples,
        judge: &dyn Samples,
        resume: bool,
        at_most: Option<u64>,
        progress: &mut Progress,
    ) -> anyhow::Result<Judgement> {
        let state = self.folder.join("checkpoint_latest.safetensors");
        let log = self.folder.join("training.csv");
        if !resume {
            // What an earlier training left must not pass for this one's, should it be stopped before its first judgement.
            for file in [
                &state,
                &log,
                &self.weights,
                &self.folder.join("samples.png"),
            ] {
                match std::fs::remove_file(file) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("{}", file.display()));
                    }
                    _ => {}
                }
            }
        }
        let topology = self.topology.clone();
        let (mut trainer, mut rows) = match resume && state.is_file() {
            true => (
                Trainer::resume(topology, self.training, &state)?,
                std::fs::read_to_string(&log).unwrap_or_default(),
            ),
            false => (
                Trainer::new(topology, self.training, self.given.clone())?,
                self.header(),
            ),
        };
        // Rows after the state that is taken up again belong to steps that are done once more.
        rows = kept(&rows, trainer.step());
        let mut best = self.best_of(&rows);
        if let Some(patience) = &self.patience {
            let wait = Wait::after(&rows, patience);
            trainer.rate_factor = wait.factor;
            if wait.over {
                return Ok(Judgement { dice: vec![] });
            }
        }
        let mut last = Judgement { dice: vec![] };
        progress.stage("train");
        let first = trainer.step();
        // A training stops where it is judged: so one that was stopped leaves the same files as one that was not.
        let asked = at_most.map_or(u64::MAX, |n| n.next_multiple_of(self.judge_every));
        let until = first.saturating_add(asked).min(self.training.steps);
        let (mut loss, mut dice, mut counted) = (0.0, 0.0, 0.0);
        trainer.run(samples, Device::Cpu, until, |trainer, step| {
            loss += step.loss;
            dice += step.dice;
            counted += 1.0;
            progress.part((step.step - first) as usize, (until - first) as usize);
            if step.step % self.judge_every != 0 && step.step != self.training.steps {
                return Ok(true);
            }
            let mut goes_on = true;
            let outcome = (|| -> anyhow::Result<()> {
                let result = trainer.result();
                let (judgement, seen) = self.judged(judge, &result)?;
                last = judgement;
                if !seen.is_empty() {
                    write_file_with(&self.folder.join("samples.png"), |path| {
                        picture::draw(path, self.training.patch, &seen)
                    })?;
                }
                let _ = write!(
                    rows,
                    "{},{:.6},{:.5},{:.5},{:.3e}",
                    step.step,
                    loss / counted,
                    dice / counted,
                    last.mean(),
                    step.rate
                );
                for dice in &last.dice {
                    let _ = write!(rows, ",{dice:.5}");
                }
                rows.push('\n');
                let merit = match self.keep {
                    Keep::LeastLoss => -loss / counted,
                    Keep::Best | Keep::Last => last.mean(),
                };
                if merit > best || self.keep == Keep::Last {
                    best = best.max(merit);
                    self.keep(&result, step.step, &last)?;
                }
                if let Some(patience) = &self.patience {
                    let wait = Wait::after(&rows, patience);
                    trainer.rate_factor = wait.factor;
                    goes_on = !wait.over;
                }
                // The state last: rows behind it are dropped when it is taken up again.
                write_file(&log, rows.as_bytes())?;
                trainer.save(&state)?;
                (loss, dice, counted) = (0.0, 0.0, 0.0);
                Ok(())
            })();
            outcome.map_err(|error| segmentation::Error::Parameter(format!("{error:#}")))?;
            Ok(goes_on)
        })?;
        progress.finish();
        Ok(last)
    }

    fn header(&self) -> String {
        let mut text = String::from("step,loss,soft_dice,judged_dice,rate");
        for name in &self.names {
            let _ = write!(text, ",{name}");
        }
        text + "\n"
    }

    /// Dice of the classes over the samples kept for judging.
    fn judged(
        &self,
        judge: &dyn Samples,
        weights: &Parameters,
    ) -> anyhow::Result<(Judgement, Vec<Seen>)> {
        let network = Network::new(self.topology.clone(), &mut &*weights, Device::Cpu)?;
        let classes = self.names.len();
        let [z, y, x] = self.training.patch;
        let answered = self.topology.answered([z, y, x]);
        let voxels: usize = answered.iter().product();
        // Twice the voxels that are right, and the voxels of both.
        let mut counts = vec![[0.0f64; 2]; classes + 1];
        let mut seen = vec![];
        for index in 0..self.judged_samples {
            let sample = judge.sample(index)?;
            let logits =
                network.forward(sample.image.clone(), [1, self.topology.inputs(), z, y, x])?;
            let mut labels = vec![0u8; voxels];
            for (voxel, &own) in sample.target.iter().enumerate() {
                let value = |class: usize| logits[class * voxels + voxel];
                let largest = |best, class| {
                    if value(class) > value(best) {
                        class
                    } else {
                        best
                    }
                };
                let (found, own) = ((1..=classes).fold(0, largest), usize::from(own));
                labels[voxel] = found as u8;
                counts[found][1] += 1.0;
                counts[own][1] += 1.0;
                if found == own {
                    counts[own][0] += 2.0;
                }
            }
            if index < PICTURED && answered == [z, y, x] {
                seen.push(Seen {
                    sample,
                    found: labels,
                });
            }
        }
        let dice = counts.iter().skip(1).map(|[right, of]| match *of {
            0.0 => 1.0,
            of => right / of,
        });
        let judgement = Judgement {
            dice: dice.collect(),
        };
        Ok((judgement, seen))
    }

    /// The best of the epochs so far.
    fn best_of(&self, rows: &str) -> f64 {
        let (number, sign) = match self.keep {
            Keep::LeastLoss => (1, -1.0),
            Keep::Best | Keep::Last => (3, 1.0),
        };
        let merits = column(rows, number).map(|value| sign * value);
        merits.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Writes the weights of the model folder, in half precision.
    fn keep(&self, weights: &Parameters, step: u64, judged: &Judgement) -> anyhow::Result<()> {
        let facts = BTreeMap::from([
            ("configuration".to_owned(), self.configuration.clone()),
            ("trainer_name".to_owned(), self.trainer.to_owned()),
            (
                "inference_allowed_mirroring_axes".to_owned(),
                json!(self.mirrored).to_string(),
            ),
            ("step".to_owned(), step.to_string()),
            ("judged_dice".to_owned(), json!(judged.dice).to_string()),
            ("seed".to_owned(), self.training.seed.to_string()),
        ]);
        let file = &self.weights;
        let partial = file.with_extension("partial");
        weights
            .to_stored()
            .write_safetensors(&partial, &facts, true)?;
        std::fs::rename(&partial, file).with_context(|| format!("{}", file.display()))
    }
}

fn kept(rows: &str, step: u64) -> String {
    let within = |row: &&str| {
        let number = row.split(',').next().and_then(|n| n.parse::<u64>().ok());
        number.is_none_or(|n| n <= step)
    };
    rows.lines()
        .filter(within)
        .map(|row| format!("{row}\n"))
        .collect()
}

/// Numbers of a column of the log.
fn column(rows: &str, column: usize) -> impl Iterator<Item = f64> {
    rows.lines()
        .skip(1)
        .filter_map(move |row| row.split(',').nth(column)?.parse::<f64>().ok())
}

/// What patience has come to: a function of the log alone, so that a resumed training goes on as it would have.
#[derive(Debug, PartialEq)]
struct Wait {
    /// What the rate is multiplied by.
    factor: f64,
    /// Whether training ends.
    over: bool,
}

impl Wait {
    fn after(rows: &str, patience: &Patience) -> Self {
        let mut wait = Self {
            factor: 1.0,
            over: false,
        };
        let (mut best, mut stale, mut since_fall) = (f64::NEG_INFINITY, 0, 0);
        for judged in column(rows, 3) {
            if judged > best {
                (best, stale, since_fall) = (judged, 0, 0);
                continue;
            }
            stale += 1;
            since_fall += 1;
            if since_fall >= patience.fall_after {
                wait.factor *= patience.factor;
                since_fall = 0;
            }
            wait.over |= stale >= patience.stop_after;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_and_training_ends_where_nothing_gets_better() {
        let patience = Patience {
            fall_after: 2,
            factor: 0.9,
            stop_after: 5,
        };
        let rows = |judged: &[f64]| {
            let row = |(step, dice): (usize, &f64)| format!("{step},0.1,0.2,{dice},1e-3\n");
            let rows: String = judged.iter().enumerate().map(row).collect();
            format!("step,loss,soft_dice,judged_dice,rate\n{rows}")
        };
        let wait = |judged: &[f64]| Wait::after(&rows(judged), &patience);
        let (going, over) = (false, true);
        assert_eq!(
            wait(&[0.1, 0.2, 0.1]),
            Wait {
                factor: 1.0,
                over: going
            }
        );
        assert_eq!(
            wait(&[0.3, 0.2, 0.1]),
            Wait {
                factor: 0.9,
                over: going
            }
        );
        let twice = Wait {
            factor: 0.9 * 0.9,
            over: going,
        };
        assert_eq!(wait(&[0.3, 0.2, 0.1, 0.4, 0.4, 0.3]), twice);
        let ended = Wait {
            factor: 0.9 * 0.9,
            over,
        };
        assert_eq!(wait(&[0.3, 0.2, 0.2, 0.2, 0.2, 0.2]), ended);
    }
}
