//! What can be wrong with an image.

use std::path::PathBuf;

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
    /// A parameter of an operation is out of its range.
    #[error("{0}")]
    Parameter(String),
}
