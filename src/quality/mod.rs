//! Quality gates: what scan and mask must be like before a failure load is worth computing.
//!
//! Every gate is a pure function of volumes and landmarks and returns one [`Check`](crate::anatomy::Check) with the number
//! behind it. None looks at the whole scan: a [`Near`] holds the bone's box and a margin. What each gate measures, and where
//! its limits come from, stands at the limits and in docs/gates.md.
//!
//! A gate that refuses ends the case, so it refuses only what no reader would analyse; what may be real goes to review.

mod cells;
pub mod contrast;
pub mod density;
pub mod grid;
pub mod labels;
pub mod leak;
pub mod lesion;
pub mod metal;
pub mod motion;
pub mod near;
pub mod noise;
pub mod shape;

pub use near::Near;

#[cfg(test)]
mod test_scans;
