//! What the papers do to a label map.

use imaging::components::{Connectivity, fill_holes, label_components, largest_component};
use imaging::morphology::{StructuringElement, morph_voxels, opening};
use imaging::{LabelMap, Mask};
use serde::{Deserialize, Serialize};

use crate::metrics::swap_components;

/// What is done to a label map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Postprocess {
    /// Nothing.
    #[default]
    None,
    /// Islands go: each label opened by a ball, its largest part grown back within the label. Saillard et al. print no radius.
    Islands {
        /// Radius of the ball, voxels.
        radius: u32,
    },
    /// Of each label the largest part stays; before that the parts of symmetric bones change sides (Xu et al.).
    Largest {
        /// Labels that are mirror images of each other.
        #[serde(default)]
        symmetric: Vec<[u16; 2]>,
    },
    /// Small clusters go, holes are filled, what is thin goes (Hallyburton et al., without numbers).
    Clusters {
        /// Voxels of the smallest cluster that stays.
        least: usize,
        /// Radius of the opening, voxels.
        radius: u32,
    },
}

impl Postprocess {
    pub(super) fn apply(&self, labels: &mut LabelMap) {
        let each = |labels: &mut LabelMap, change: &dyn Fn(&Mask) -> Mask| {
            for label in labels.labels() {
                let kept = change(&labels.select(&[label]));
                for (value, &kept) in labels.data.iter_mut().zip(&kept.data) {
                    if kept && *value == 0 {
                        *value = label;
                    } else if !kept && *value == label {
                        *value = 0;
                    }
                }
            }
        };
        match self {
            Self::None => {}
            Self::Islands { radius } => each(labels, &|mask| {
                let steps = *radius as i32;
                let ball = StructuringElement::Ball;
                let core = largest_component(&opening(mask, *radius, ball), Connectivity::Faces);
                if core.count() == 0 {
                    // Thinner than the ball everywhere.
                    return largest_component(mask, Connectivity::Faces);
                }
                let mut grown = morph_voxels(&core, steps, ball);
                for (grown, &own) in grown.data.iter_mut().zip(&mask.data) {
                    *grown &= own;
                }
                grown
            }),
            Self::Largest { symmetric } => {
                for &pair in symmetric {
                    swap_components(labels, pair);
                }
                each(labels, &|mask| largest_component(mask, Connectivity::Faces));
            }
            Self::Clusters { least, radius } => each(labels, &|mask| {
                let parts = label_components(mask, Connectivity::Faces);
                let large = parts
                    .labels
                    .map(|&part| part > 0 && parts.sizes[part as usize - 1] >= *least);
                opening(&fill_holes(&large), *radius, StructuringElement::Ball)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;

    fn map(boxes: &[([usize; 3], [usize; 3], u16)]) -> LabelMap {
        LabelMap::from_fn(Grid::axis_aligned([30, 20, 20], [1.0; 3]), |at| {
            let within = |(low, high, _): &&([usize; 3], [usize; 3], u16)| {
                (0..3).all(|a| (low[a]..high[a]).contains(&at[a]))
            };
            boxes.iter().find(within).map_or(0, |found| found.2)
        })
    }

    #[test]
    fn islands_and_what_hangs_on_a_thread_go() {
        let mut found = map(&[
            ([2, 2, 2], [12, 12, 12], 1),
            ([12, 6, 6], [16, 7, 7], 1),
            ([16, 4, 4], [20, 9, 9], 1),
            ([25, 15, 15], [27, 17, 17], 1),
        ]);
        Postprocess::Islands { radius: 1 }.apply(&mut found);
        let count = found.select(&[1]).count();
        // The large box but for its eight corners, and the root of the thread.
        assert!((992..=994).contains(&count), "{count}");
    }

    #[test]
    fn sides_change_and_small_parts_go() {
        let mut found = map(&[
            ([2, 2, 2], [10, 10, 10], 1),
            ([20, 2, 2], [28, 10, 10], 2),
            ([28, 2, 2], [30, 10, 10], 1),
        ]);
        Postprocess::Largest {
            symmetric: vec![[1, 2]],
        }
        .apply(&mut found);
        assert_eq!(found.select(&[1]).count(), 512);
        assert_eq!(found.select(&[2]).count(), 640);
    }

    #[test]
    fn clusters_are_filled_or_go() {
        let mut found = map(&[
            ([5, 5, 5], [7, 7, 7], 0),
            ([2, 2, 2], [12, 12, 12], 1),
            ([20, 10, 10], [22, 12, 12], 1),
        ]);
        Postprocess::Clusters {
            least: 20,
            radius: 1,
        }
        .apply(&mut found);
        let filled = found.at(6, 6, 6);
        assert_eq!(filled, 1, "the hole");
        assert_eq!(found.at(20, 10, 10), 0, "the speck");
        let count = found.select(&[1]).count();
        // An opening by a ball of one voxel takes the edges of a box.
        assert!((880..=1000).contains(&count), "{count}");
    }
}
