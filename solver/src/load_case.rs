//! Supports, prescribed motion, nodal forces, and how the load is applied in increments.

use meshing::NodeSet;

use crate::device::Device;

/// One displacement component held or moved. At load factor `t` (0 to 1) it stands at `t * displacement_mm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prescribed {
    /// Node number, counted from 0.
    pub node: u32,
    /// 0 = x, 1 = y, 2 = z.
    pub component: u8,
    /// Displacement at load factor 1, mm; 0 for a support.
    pub displacement_mm: f64,
}

/// A force on a node. At load factor `t` it is `t * force_n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodalForce {
    /// Node number, counted from 0.
    pub node: u32,
    /// 0 = x, 1 = y, 2 = z.
    pub component: u8,
    /// Force at load factor 1, N.
    pub force_n: f64,
}

/// A node set whose reaction is recorded in every increment.
pub type Monitor = NodeSet;

/// What is done to the body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadCase {
    /// Held and moved displacement components; a component appears at most once.
    pub prescribed: Vec<Prescribed>,
    /// External forces.
    pub forces: Vec<NodalForce>,
    /// Node sets whose reactions are recorded.
    pub monitors: Vec<Monitor>,
}

/// What is prescribed from increment to increment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathControl {
    /// The load factor. Where the curve turns back (snap-back), the body jumps to the next equilibrium at the same
    /// load factor.
    #[default]
    LoadFactor,
    /// The plastic work of an increment, with the load factor as an unknown: the curve is followed where it turns back,
    /// as long as one zone at a time fails. Plastic work never falls, so that unloading is not mistaken for the path
    /// (Gutierrez 2004; Verhoosel, Remmers and Gutierrez 2009). Until something yields, the load factor is prescribed.
    /// For von Mises material on voxels, without incompatible modes.
    Dissipation,
}

/// How the load is applied and how exactly equilibrium is met.
#[derive(Clone, Debug, PartialEq)]
pub struct Stepping {
    /// Load factor at the end of each planned increment, ascending, the last usually 1.
    pub factors: Vec<f64>,
    /// Fraction of a planned increment that is tried first.
    pub first_fraction: f64,
    /// Smallest fraction a planned increment may be cut to.
    pub smallest_fraction: f64,
    /// Converged increments after which the run ends.
    pub most_increments: usize,
    /// Out-of-balance force over the reaction norm at which an increment is converged.
    pub tolerance: f64,
    /// Relative residual of the linear solves of a linear analysis and of the last Newton steps.
    pub linear_tolerance: f64,
    /// Newton (or secant) iterations before an increment is cut.
    pub max_iterations: usize,
    /// Monitor (number in [`LoadCase::monitors`]) and direction whose projected reaction is watched for the peak.
    pub watch: Option<(usize, [f64; 3])>,
    /// Ends the run once the watched force has stayed below this fraction of its maximum for
    /// `peak_increments` converged increments; `None` runs to the end.
    pub stop_below: Option<f64>,
    /// See `stop_below`.
    pub peak_increments: usize,
    /// What is prescribed from increment to increment.
    pub path: PathControl,
    /// Where the linear systems are solved.
    pub device: Device,
}

impl Stepping {
    /// `increments` equal increments to load factor 1 with the default tolerances.
    pub fn equal(increments: usize) -> Self {
        Self {
            factors: (1..=increments)
                .map(|n| n as f64 / increments as f64)
                .collect(),
            first_fraction: 1.0,
            smallest_fraction: 1.0 / 64.0,
            most_increments: 1_000_000,
            tolerance: 1e-6,
            linear_tolerance: 1e-8,
            max_iterations: 120,
            watch: None,
            stop_below: None,
            peak_increments: 3,
            path: PathControl::LoadFactor,
            device: Device::Cpu,
        }
    }
}
