//! What can be wrong with a model, an image for it, or what is asked of both.

use std::path::{Path, PathBuf};

/// Result of a segmentation step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a model, an image for it, or what is asked of both.
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
    /// A model's file is damaged, incomplete or contradicts another of its files.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, with the value found, and what would be right.
        reason: String,
    },
    /// A model asks for something this program does not do.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What it asks for, and what can be done.
        reason: String,
    },
    /// The weights do not fit the network.
    #[error("{0}")]
    Weights(String),
    /// The image cannot be segmented by this model.
    #[error("{0}")]
    Image(String),
    /// A parameter is out of its range.
    #[error("{0}")]
    Parameter(String),
    /// The device cannot be used.
    #[error("{0}")]
    Device(String),
    /// The network gave a value that is not a number.
    #[error("{0}")]
    NotFinite(String),
    /// An image could not be read, resampled or written.
    #[error(transparent)]
    Imaging(#[from] imaging::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn model(path: &Path, reason: impl Into<String>) -> Self {
        Self::Model {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
