//! What can be wrong with an image.

use std::path::PathBuf;

use crate::scalar::ScalarType;

/// Result of an imaging operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with an image or its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what its name or header says.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the value found, and what would be right.
        reason: String,
    },
    /// A grid that cannot exist.
    #[error("impossible image geometry: {0}")]
    Geometry(String),
    /// Two images that must share a grid do not.
    #[error("the grids differ: expected {expected}; found {found}")]
    GridMismatch {
        /// The grid that was asked for.
        expected: String,
        /// The grid that was found.
        found: String,
    },
    /// The number of values is not the number of voxels.
    #[error("{found} values for a grid of {expected} voxels")]
    Length {
        /// Voxels of the grid.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A volume does not fit into the memory that is free.
    #[error(
        "{}: {voxels} voxels of {scalar_type} need {:.1} GiB of memory and {:.1} GiB are free; crop or resample the volume, or use a machine with more memory",
        path.display(), gib(*needed_bytes), gib(*available_bytes)
    )]
    Memory {
        /// The file or directory.
        path: PathBuf,
        /// Voxels of the volume.
        voxels: usize,
        /// The type they are stored in.
        scalar_type: ScalarType,
        /// What the volume would take, bytes.
        needed_bytes: u64,
        /// What is free, bytes.
        available_bytes: u64,
    },
    /// A parameter of an operation is out of its range.
    #[error("{0}")]
    Parameter(String),
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
