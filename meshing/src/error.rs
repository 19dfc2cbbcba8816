//! What can be wrong with a mesh.

/// Result of a meshing operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a mesh or its input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mask holds no voxel.
    #[error("the mask is empty: there is nothing to mesh")]
    EmptyMask,
    /// The image grid cannot be meshed with boxes.
    #[error(
        "the image axes are not at right angles ({0}); resample the image to an orthogonal grid first"
    )]
    Sheared(String),
    /// A parameter is out of its range.
    #[error("{0}")]
    Parameter(String),
    /// The images given do not fit together.
    #[error(transparent)]
    Image(#[from] imaging::Error),
    /// A file is damaged, or not of the kind that is read here.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
