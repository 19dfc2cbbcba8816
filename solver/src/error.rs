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
    /// The supports leave the body free to move, or an element is inverted.
    #[error("the stiffness matrix is not positive definite: {0}")]
    Singular(String),
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
