//! OsteoLoad: from a CT scan to the load that breaks the bone.

pub mod anatomy;
pub mod bone_model;
pub mod cli;
pub mod plan;
pub mod pose;
pub mod report;
pub mod run;
pub mod synth;
