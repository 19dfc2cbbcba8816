//! OsteoLoad: from a CT scan to the load that breaks the bone.

pub mod anatomy;
pub mod automatic;
pub mod bone_model;
pub mod calibrate;
pub mod cli;
pub mod cohort;
pub mod compare;
pub mod evaluate;
pub mod exit;
pub mod export;
pub mod interruption;
pub mod output_dir;
pub mod plan;
pub mod pose;
pub mod progress;
pub mod protocol;
pub mod provenance;
pub mod quality;
pub mod report;
pub mod risk;
pub mod run;
pub mod segment;
pub mod sweep;
pub mod synth;
pub mod train;
pub mod verification;
