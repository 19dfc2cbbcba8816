//! The papers' networks: their sizes, that they learn, and that samples are what they should be.

mod learning;
mod sizes;
