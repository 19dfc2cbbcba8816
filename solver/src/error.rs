//! What the solver refuses.

/// Result of a solver operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the solver refuses. An analysis that ends early is no error: see [`crate::Outcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model contradicts itself.
    #[error("the finite-element model is inconsistent: {0}")]
    Model(String),
    /// A material parameter is out of its range.
    #[error("element {element}: {reason}")]
    Material {
        /// Element number, counted from 0.
        element: usize,
        /// What is wrong.
        reason: String,
    },
    /// The stiffness has no inverse, or an element is inverted.
    #[error("the stiffness matrix is not positive definite: {0}")]
    Singular(String),
    /// The supports leave a part of the body free to move without strain.
    #[error(
        "node {node} (counted from 0) is free to {motion}: the supports do not hold the part of the body it belongs to"
    )]
    FreeToMove {
        /// The node that moves most, counted from 0.
        node: usize,
        /// The motion.
        motion: String,
    },
    /// The iteration for the linear equations did not reach its tolerance.
    #[error(
        "the linear equations were not solved to {tolerance:e} within the iteration limit; ask for a larger tolerance"
    )]
    Unfinished {
        /// Relative residual asked for.
        tolerance: f64,
    },
    /// The device asked for cannot do the work.
    #[error("device {device}: {reason}")]
    Device {
        /// The device.
        device: crate::Device,
        /// What is wrong.
        reason: String,
        /// What can be done about it.
        remedy: String,
    },
    /// A deck cannot be read.
    #[error("{file}:{line}: {reason}")]
    Deck {
        /// The deck.
        file: String,
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong.
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
