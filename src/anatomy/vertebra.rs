//! Landmarks of a vertebra.

/// What was found on a vertebra.
#[derive(Clone, Debug, PartialEq)]
pub struct VertebraLandmarks {}
