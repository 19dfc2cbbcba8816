//! The shape of a bone that was computed, kept small enough to be held for every case of a sweep.

use imaging::Mask;
use meshing::NodeSet;
use rayon::prelude::*;

use crate::bone_model::BoneModel;

/// Mask and boundary nodes of a bone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Stretches of voxels inside the mask, `[first, one after the last]` in the order of the volume.
    stretches: Vec<[usize; 2]>,
    /// Volume of the mask, mm³.
    pub volume_mm3: f64,
    /// Nodes that are moved, world mm.
    pub loaded_mm: Vec<[f64; 3]>,
    /// Nodes that are held, world mm.
    pub fixed_mm: Vec<[f64; 3]>,
    /// Direction in which the loaded nodes move, world, unit.
    pub load_direction: [f64; 3],
}

impl Shape {
    /// The shape of a model that was made of a mask.
    pub fn of(mask: &Mask, model: &BoneModel) -> Self {
        let mut shape = Self::of_mask(mask);
        let frame = model.mesh.frame();
        let nodes = model.mesh.nodes_mm();
        let world = |set: &NodeSet| {
            set.nodes
                .iter()
                .map(|&node| frame.to_world(nodes[node as usize]))
                .collect()
        };
        shape.loaded_mm = world(&model.loaded);
        shape.fixed_mm = world(&model.fixed);
        shape.load_direction = frame.direction_to_world(model.direction);
        shape
    }

    /// A mask without a model.
    pub fn of_mask(mask: &Mask) -> Self {
        let mut stretches: Vec<[usize; 2]> = Vec::new();
        for (index, _) in mask.data.iter().enumerate().filter(|(_, inside)| **inside) {
            match stretches.last_mut() {
                Some([_, end]) if *end == index => *end += 1,
                _ => stretches.push([index, index + 1]),
            }
        }
        Self {
            stretches,
            volume_mm3: mask.count() as f64 * mask.grid.voxel_volume_mm3(),
            ..Self::default()
        }
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.stretches.iter().map(|[from, to]| to - from).sum()
    }

    /// Dice coefficient of two masks on one grid, `2 |A and B| / (|A| + |B|)` (Dice 1945); `None` of two empty ones.
    pub fn dice(&self, other: &Self) -> Option<f64> {
        let (mut shared, mut here, mut there) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.stretches.get(here), other.stretches.get(there)) {
            let (from, to) = (a[0].max(b[0]), a[1].min(b[1]));
            shared += to.saturating_sub(from);
            if a[1] < b[1] {
                here += 1;
            } else {
                there += 1;
            }
        }
        let all = self.voxels() + other.voxels();
        (all > 0).then(|| 2.0 * shared as f64 / all as f64)
    }
}

/// Distance of every point to the nearest of others, mm; empty where there are no others.
pub fn nearest_mm(points: &[[f64; 3]], others: &[[f64; 3]]) -> Vec<f64> {
    if others.is_empty() {
        return Vec::new();
    }
    let squared = |a: &[f64; 3], b: &[f64; 3]| -> f64 {
        (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum()
    };
    // Loaded faces have some thousand nodes.
    points
        .par_iter()
        .map(|point| {
            let nearest = others.iter().map(|other| squared(point, other));
            nearest.fold(f64::INFINITY, f64::min).sqrt()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::{Grid, Volume};

    fn shape(inside: &[usize]) -> Shape {
        let grid = Grid::axis_aligned([4, 2, 2], [1.0, 2.0, 0.5]);
        let data = (0..16).map(|index| inside.contains(&index)).collect();
        Shape::of_mask(&Volume::new(grid, data).unwrap())
    }

    #[test]
    fn dice_by_hand() {
        let (a, b) = (shape(&[0, 1, 2, 5, 6, 15]), shape(&[1, 2, 3, 6, 14, 15]));
        // 1, 2, 6 and 15 are shared: 2 * 4 / 12.
        assert!((a.dice(&b).unwrap() - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(a.dice(&b), b.dice(&a));
        assert_eq!(a.dice(&a), Some(1.0));
        assert_eq!(shape(&[]).dice(&shape(&[])), None);
        assert_eq!(shape(&[3]).dice(&shape(&[4])), Some(0.0));
        assert_eq!(a.volume_mm3, 6.0);
    }

    #[test]
    fn nearest_by_hand() {
        let found = nearest_mm(&[[0.0; 3], [3.0, 4.0, 0.0]], &[[0.0; 3], [3.0, 0.0, 0.0]]);
        assert_eq!(found, [0.0, 4.0]);
        assert!(nearest_mm(&[[0.0; 3]], &[]).is_empty());
    }
}
