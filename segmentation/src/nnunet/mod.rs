//! nnU-Net v2 inference: model folders as they come, the steps in their order, the numbers of the original.
//!
//! Source: Isensee et al. 2021, "nnU-Net", and the code of version 2.8.1. `--precision exact` repeats its half-precision arithmetic;
//! `fast` accumulates in single precision and keeps no more of the logits than a tile is deep.

mod checkpoint;
mod export;
mod folder;
mod json;
mod model;
pub mod planner;
mod plans;
mod plans_file;
mod postprocess;
mod preprocess;
mod probabilities;
pub mod resample;
pub mod sliding_window;

pub use checkpoint::Checkpoint;
pub use model::{Choice, Files, Folds, Model, Options, Precision, Probabilities, Segmentation};
pub use plans::{Labels, Normalisation, Plans, Reader};
pub use plans_file::{architecture as architecture_json, plans_json};
pub use postprocess::{Postprocessing, keep_largest};
pub(crate) use preprocess::nonzero_box;
pub use preprocess::{Prepared, prepare};
