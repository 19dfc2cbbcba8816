//! Training: loss, optimiser, and a loop that can be stopped and taken up again without a trace.
//!
//! ```text
//!    sample(i) ──► network ──► loss and its gradient ──► gradients of parameters ──► optimiser
//!    a pure function of i      a pure function of logits and targets
//! ```
//!
//! Everything random follows from the seed and the number of the step, so a run that was killed and resumed ends with the same bytes as
//! one that was not, whatever the number of threads.

mod augment;
mod dataset;
mod loss;
mod optimiser;
mod parameters;
mod random;
mod trainer;

pub use augment::{Augmentation, Patch};
pub use dataset::{Patches, RawCase, RawDataset, StoredCase};
pub use loss::{Loss, LossOptions, supervision_weights, targets_at};
pub use optimiser::{Optimiser, Schedule};
pub use parameters::{Beginning, Initial, Parameters};
pub use random::Random;
pub use trainer::{Progress, Sample, Samples, TrainPlan, Trainer};
