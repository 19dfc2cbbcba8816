//! The CPU's own kernels: convolution, its transpose, its gradients and the instance norm.
//!
//! ```text
//!    input, padded, planes flattened        a tile of outputs, held in registers
//!    ┌────────────────┐                     channel 0   ▮▮▮▮ ▮▮▮▮ ▮▮▮▮
//!    │ 0 0 0 0 0 0 0  │  tap = an offset    channel 1   ▮▮▮▮ ▮▮▮▮ ▮▮▮▮     += weight × input at p + offset
//!    │ 0 a b c d e 0  │ ───────────────►       ⋮
//!    │ 0 f g h i j 0  │                     channel 7   ▮▮▮▮ ▮▮▮▮ ▮▮▮▮
//!    └────────────────┘                     consecutive positions p of the plane
//! ```
//!
//! In a padded plane laid out as one line every tap of the kernel is a constant distance, so outputs can be computed in vectors of any
//! length without a word about borders; the few outputs that fall on the padding are not copied out. A strided convolution reads
//! planes that are split by the remainders of y and x first, and is then the same loop. All sums run in an order that does not depend
//! on the number of threads.

mod convolve;
mod gradient;
mod lanes;
mod norm;
mod planes;
mod shared;
#[cfg(test)]
mod tests;

pub use convolve::{convolve, transpose};
pub use gradient::{bias_gradient, weight_gradient};
pub use lanes::InstructionSet;
pub use norm::{normalise, normalise_gradient};

/// How a convolution's window moves: input index = stride · output index + tap − padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Voxels of the kernel.
    pub kernel: [usize; 3],
    /// Step between windows.
    pub stride: [usize; 3],
    /// Voxels of zeros in front of each axis.
    pub padding: [usize; 3],
}

impl Window {
    /// Outputs of an input of `shape`, as many zeros behind as in front.
    pub fn outputs(&self, shape: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| {
            (shape[axis] + 2 * self.padding[axis]).saturating_sub(self.kernel[axis])
                / self.stride[axis]
                + 1
        })
    }

    fn taps(&self) -> impl Iterator<Item = [usize; 3]> {
        let [kz, ky, kx] = self.kernel;
        (0..kz).flat_map(move |z| (0..ky).flat_map(move |y| (0..kx).map(move |x| [z, y, x])))
    }
}
