//! What runs on the device. One thread per element, per unknown or per point; no atomics, and sums in a fixed order,
//! so that a result is the same every time.

pub(super) mod elements;
pub(super) mod smoother;
pub(super) mod vectors;

/// Marks a place that is empty in a table of elements or points.
pub(super) const NONE: u32 = u32::MAX;

/// Threads that work side by side on the entries of a vector.
pub(super) const THREADS: usize = 256;

/// Threads that work side by side on the rows of a coarse level: fewer, so that a small level still spreads over the
/// whole device.
pub(super) const ROW_THREADS: usize = 64;
