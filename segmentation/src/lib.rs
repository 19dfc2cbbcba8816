//! Automatic bone segmentation: U-Nets in burn, nnU-Net v2 models as they come.
//!
//! ```text
//!    CT ── transpose, crop, normalise, resample ── tiles ── network ── logits ── resample back ── labels
//!          nnunet::preprocess                      nnunet::sliding_window        nnunet::export
//! ```
//!
//! [`nnunet::Model::open`] reads a model folder and [`nnunet::Model::segment`] runs all of it. Arrays inside are (channel, z, y, x),
//! x fastest, as [`imaging::Volume`] stores them. Only [`network`] knows burn.

pub mod builtin;
mod channels;
pub mod coregistration;
mod error;
pub mod metrics;
pub mod network;
pub mod nnunet;
pub mod recipes;
pub mod total_segmentator;
pub mod training;

pub use channels::Channels;
pub use error::{Error, Result};
