//! What can be wrong with a calibration or a law.

use std::path::PathBuf;

use crate::density::DensityKind;

/// Result of a calibration step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a calibration or a law.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A phantom definition that cannot be used.
    #[error("phantom '{phantom}': {reason}")]
    Phantom {
        /// Name of the phantom.
        phantom: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The rods cannot be measured in this image.
    #[error("rods of phantom '{phantom}': {reason}")]
    Rods {
        /// Name of the phantom.
        phantom: String,
        /// Which rod, and what is wrong.
        reason: String,
    },
    /// The measured rods give no line.
    #[error("calibration: {0}")]
    Fit(String),
    /// A density of one kind was given to something that reads another.
    #[error("{reader} reads {expected} density, but this density is {found}; {remedy}")]
    WrongKind {
        /// What was to read the density.
        reader: String,
        /// The kind it reads.
        expected: DensityKind,
        /// The kind it was given.
        found: DensityKind,
        /// What to do about it.
        remedy: String,
    },
    /// NaN or infinite values.
    #[error("{count} of {total} {what} are NaN or infinite; replace them or crop the image")]
    NonFinite {
        /// What the values are.
        what: &'static str,
        /// How many are not finite.
        count: usize,
        /// How many there are.
        total: usize,
    },
    /// A parameter out of its range, or an unknown name.
    #[error("{0}")]
    Parameter(String),
    /// An image that does not fit.
    #[error(transparent)]
    Image(#[from] imaging::Error),
}
