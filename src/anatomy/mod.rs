//! Where the parts of a bone are: landmarks found from a mask, and the doubts that come with them.
//!
//! Everything here works on world positions (LPS mm), so no answer depends on how the arrays of the
//! file run. A doubt is data: each finding carries [`Check`]s, and the caller decides what a
//! [`Status::Refuse`] does to the run.

pub mod endplate;
pub mod femur;
pub mod head;
pub mod one_vertebra;
pub mod pieces;
pub mod points;
pub mod regions;
pub mod side;
pub mod trochanter;
pub mod vertebra;

#[cfg(test)]
pub(crate) mod test_shapes;

use serde::Serialize;

pub use femur::{FemurLandmarks, Line};
pub use head::Sphere;
pub use side::{Side, SideEvidence};
pub use trochanter::LesserTrochanter;
pub use vertebra::VertebraLandmarks;

/// What a check says about going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing to object.
    Pass,
    /// A person should look at it.
    Review,
    /// The case must not be analysed as it stands.
    Refuse,
}

/// One quality check: what was looked at, what it says, and the number behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Name of the check, such as `femur_head_cut`.
    pub name: String,
    /// What it says.
    pub status: Status,
    /// The number behind it, in the unit named in `reason`; `None` where there is none.
    pub value: Option<f64>,
    /// Why, in a sentence.
    pub reason: String,
}

impl Check {
    /// A check that passed.
    pub fn pass(name: &str, value: impl Into<Option<f64>>, reason: impl Into<String>) -> Self {
        Self::with(name, Status::Pass, value, reason)
    }

    /// A check that a person should look at.
    pub fn review(name: &str, value: impl Into<Option<f64>>, reason: impl Into<String>) -> Self {
        Self::with(name, Status::Review, value, reason)
    }

    /// A check that refuses the case.
    pub fn refuse(name: &str, value: impl Into<Option<f64>>, reason: impl Into<String>) -> Self {
        Self::with(name, Status::Refuse, value, reason)
    }

    /// A check with a given status.
    pub fn with(
        name: &str,
        status: Status,
        value: impl Into<Option<f64>>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            status,
            value: value.into(),
            reason: reason.into(),
        }
    }
}

/// A case that geometry alone refuses: no landmark could be found at all.
///
/// Carried as an error so that `anyhow` callers can find it by `downcast_ref` and give it the exit
/// status of a quality gate.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.name, .0.reason)]
pub struct Refused(pub Check);
