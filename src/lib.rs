//! OsteoLoad: from a CT scan to the load that breaks the bone.

pub mod anatomy;
pub mod cli;
pub mod exit;
pub mod plan;
pub mod protocol;
pub mod report;
pub mod run;
pub mod synth;
