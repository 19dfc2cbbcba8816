//! The parity kit of the official nnU-Net v2, walked in the order of its documentation: functions, checkpoints, networks, whole cases.
//!
//! The kit is found by OSTEOLOAD_SHARED; without it each test prints that it skipped.

mod functions;
mod kit;
mod multi_planar;
mod networks;
mod planner;
mod predict;
mod slices;
mod training;
