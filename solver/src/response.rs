//! What came of it.

/// How an analysis ended. None of these is an error.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// A linear analysis was solved.
    Linear,
    /// The watched force passed a maximum and fell below the given fraction of it.
    PeakPassed,
    /// The last planned load factor was reached. A maximum may or may not have been passed before.
    TargetReached,
    /// The last planned load factor was reached with the watched force at its maximum and still growing: the body did
    /// not fail.
    StillRising,
    /// The last allowed increment was taken before the last planned load factor was reached.
    IncrementLimit,
    /// An increment did not converge even when cut to the smallest allowed fraction.
    StepTooSmall {
        /// Load factor that could not be reached.
        factor: f64,
        /// Out-of-balance force over the reaction norm at the last attempt.
        residual: f64,
    },
}

/// One converged increment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increment {
    /// Number, from 1.
    pub number: usize,
    /// Load factor reached.
    pub factor: f64,
    /// Sum of the nodal reactions of each monitor, N: the force the support or loading device exerts on the body.
    pub reactions_n: Vec<[f64; 3]>,
    /// Sum of all reactions over the largest monitor reaction, as a balance check.
    pub force_balance: f64,
    /// Newton (or secant) iterations.
    pub iterations: usize,
    /// Iterations of the linear solver.
    pub linear_iterations: usize,
    /// Out-of-balance force over the reaction norm at convergence.
    pub residual: f64,
    /// Out-of-balance force over the reaction norm before each iteration and at the end.
    pub residual_history: Vec<f64>,
    /// Fraction of the elements with plastic strain (J2) or lowered modulus (secant) at any point.
    pub plastic_fraction: f64,
    /// Elements by the phase of their most advanced point: elastic, then one count per segment of the curve
    /// (for the Keyak law: plateau, softening, residual); longer curves share the last entry.
    pub phases: [usize; 4],
}

/// The history of a run and its last state.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Converged increments in order.
    pub increments: Vec<Increment>,
    /// How it ended.
    pub outcome: Outcome,
    /// Displacements at the last converged increment, mm, three per node.
    pub displacements_mm: Vec<f64>,
    /// Newton iterations spent, cut attempts included.
    pub iterations: usize,
    /// Linear iterations spent, cut attempts included.
    pub linear_iterations: usize,
    /// Times a preconditioner was set up.
    pub set_ups: usize,
    /// Times the internal forces of the whole body were evaluated.
    pub evaluations: usize,
    /// Increments that were cut.
    pub cutbacks: usize,
}
