//! The stiffness of an isotropic box in the Walsh-Hadamard basis.
//!
//! A box is unchanged by reflections along x, y and z. In the basis of the eight sign patterns of the
//! corners (the Walsh-Hadamard transform of each displacement component) its stiffness therefore falls
//! apart into eight blocks, one per parity, of three functions each: 45 numbers instead of 576 (the
//! three translations are zero). This holds for full integration, B-bar and incompatible modes alike.

use crate::element::hex8::ElementMatrix;

/// The blocks of one element stiffness, and what else the operator needs of it.
#[derive(Clone, Debug)]
pub struct HadamardTable {
    /// `blocks[parity][row][column]`; row or column `c` is component `c` with the sign pattern `parity ^ (1 << c)`.
    pub blocks: [[[f64; 3]; 3]; 8],
    /// The same in single precision.
    pub blocks_single: [[[f32; 3]; 3]; 8],
    /// Diagonal entry of each component; the same at all corners.
    pub diagonal: [f64; 3],
    /// The full matrix, for Young's modulus 1 MPa.
    pub matrix: Box<ElementMatrix>,
}

impl HadamardTable {
    /// Transforms an element stiffness. `None` when it does not fall apart, that is when the element is no box.
    pub fn new(matrix: Box<ElementMatrix>) -> Option<Self> {
        let sign = |pattern: usize, corner: usize| {
            if (pattern & corner).count_ones() % 2 == 1 {
                -1.0
            } else {
                1.0
            }
        };
        let mut transformed = vec![0.0; 576];
        for ci in 0..3 {
            for cj in 0..3 {
                for pi in 0..8 {
                    for pj in 0..8 {
                        let mut sum = 0.0;
                        for i in 0..8 {
                            for j in 0..8 {
                                sum += sign(pi, i)
                                    * sign(pj, j)
                                    * matrix[24 * (8 * ci + i) + 8 * cj + j];
                            }
                        }
                        transformed[24 * (8 * ci + pi) + 8 * cj + pj] = sum / 64.0;
                    }
                }
            }
        }
        let mut blocks = [[[0.0; 3]; 3]; 8];
        let mut inside = vec![false; 576];
        for (parity, block) in blocks.iter_mut().enumerate() {
            for row in 0..3 {
                for column in 0..3 {
                    let at = 24 * (8 * row + (parity ^ (1 << row)))
                        + 8 * column
                        + (parity ^ (1 << column));
                    block[row][column] = transformed[at];
                    inside[at] = true;
                }
            }
        }
        let largest = transformed.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let outside = transformed
            .iter()
            .zip(&inside)
            .filter(|(_, inside)| !**inside);
        if outside.map(|(value, _)| value.abs()).fold(0.0, f64::max) > 1e-9 * largest {
            return None;
        }
        // Translations do no work: their rows are zero up to round-off.
        for block in &mut blocks {
            for value in block.iter_mut().flatten() {
                if value.abs() < 1e-13 * largest {
                    *value = 0.0;
                }
            }
        }
        let diagonal = std::array::from_fn(|component| matrix[25 * 8 * component]);
        let blocks_single = blocks.map(|block| block.map(|row| row.map(|value| value as f32)));
        Some(Self {
            blocks,
            blocks_single,
            diagonal,
            matrix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::HexElement;
    use crate::model::Formulation;

    #[test]
    fn boxes_have_45_numbers_and_other_shapes_are_refused() {
        let corner = |n: [usize; 3], size: [f64; 3]| std::array::from_fn(|a| n[a] as f64 * size[a]);
        for (size, formulation) in [
            ([1.0, 1.0, 1.0], Formulation::Full),
            ([0.78, 0.78, 0.67], Formulation::BBar),
            ([1.0, 2.0, 3.0], Formulation::Incompatible),
        ] {
            let nodes = meshing::mesh::HEX_CORNERS.map(|n| corner(n, size));
            let k = HexElement::new(nodes, formulation)
                .unwrap()
                .elastic_stiffness(1.0, 0.3);
            let table = HadamardTable::new(k).unwrap();
            let count = table
                .blocks
                .iter()
                .flatten()
                .flatten()
                .filter(|v| **v != 0.0)
                .count();
            assert_eq!(count, 45, "{formulation:?}");
        }
        let mut nodes = meshing::mesh::HEX_CORNERS.map(|n| corner(n, [1.0; 3]));
        nodes[6][0] += 0.2;
        let k = HexElement::new(nodes, Formulation::Full)
            .unwrap()
            .elastic_stiffness(1.0, 0.3);
        assert!(HadamardTable::new(k).is_none());
    }
}
