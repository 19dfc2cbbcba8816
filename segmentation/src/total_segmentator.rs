//! What TotalSegmentator does around nnU-Net: its own resampling, several models for one map, its numbers and names.
//!
//! ```text
//!    scan ── axes to RAS ── 1.5 mm, corners aligned, whole numbers ──┬── model of part 1 ── + offset ──┐
//!                                                                     ├── model of part 2 ── + offset ──┼── one map ── back
//!                                                                     └── …                            ─┘
//! ```
//!
//! Source: TotalSegmentator 2.18.0 (Wasserthal et al. 2023). Its weights are not part of this program: a user who has them gives the folder
//! that holds the `DatasetNNN_…` folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imaging::orientation::{AxisDirection, RAS, crop, reorient};
use imaging::{Grid, LabelMap, Volume};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::nnunet::{Choice, Model, Options};

/// A model of a task: number of its data set, and what is added to its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the data set.
    pub dataset: u16,
    /// First label of the part in the task's map, less one.
    pub offset: u16,
    /// Labels of the part.
    pub labels: u16,
}

/// One of TotalSegmentator's tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub name: &'static str,
    /// The models, in the order in which later ones overwrite.
    pub parts: Vec<Part>,
    /// Spacing of the models, mm.
    pub spacing_mm: f64,
    /// Distance of tiles as a part of their size.
    pub step: f64,
    /// Names of the labels.
    pub names: BTreeMap<u16, String>,
}

/// Names of the tasks that are known.
pub const TASKS: [&str; 8] = [
    "total",
    "total_3mm",
    "total_6mm",
    "total_v3",
    "total_v3_3mm",
    "total_v3_6mm",
    "vertebrae_body",
    "appendicular_bones",
];

/// Voxels above which a map of several parts is made in three pieces along z, and the slices they overlap by.
const LARGE: usize = 512 * 512 * 900;
const OVERLAP: usize = 20;

impl Task {
    /// The task of that name.
    ///
    /// # Errors
    /// [`Error::Parameter`] with the names that are known.
    pub fn named(name: &str) -> Result<Self> {
        let parts = |of: &[(u16, u16)]| {
            let mut offset = 0;
            let part = |&(dataset, labels): &(u16, u16)| {
                let part = Part {
                    dataset,
                    offset,
                    labels,
                };
                offset += labels;
                part
            };
            of.iter().map(part).collect::<Vec<_>>()
        };
        let (name, parts, spacing_mm, step) = match name {
            "total" => (
                "total",
                parts(&[(291, 24), (292, 26), (293, 18), (294, 23), (295, 26)]),
                1.5,
                0.8,
            ),
            "total_3mm" => ("total_3mm", parts(&[(297, 117)]), 3.0, 0.8),
            "total_6mm" => ("total_6mm", parts(&[(298, 117)]), 6.0, 0.8),
            "total_v3" => (
                "total_v3",
                parts(&[(831, 24), (832, 26), (833, 18), (834, 23), (835, 26)]),
                1.5,
                0.8,
            ),
            "total_v3_3mm" => ("total_v3_3mm", parts(&[(836, 117)]), 3.0, 0.8),
            "total_v3_6mm" => ("total_v3_6mm", parts(&[(837, 117)]), 6.0, 0.8),
            "vertebrae_body" => ("vertebrae_body", parts(&[(305, 2)]), 1.5, 0.5),
            "appendicular_bones" => ("appendicular_bones", parts(&[(304, 15)]), 1.5, 0.5),
            other => {
                return Err(Error::Parameter(format!(
                    "there is no task `{other}`; known are {}",
                    TASKS.join(", ")
                )));
            }
        };
        let names = match name {
            "vertebrae_body" => named(&["vertebrae_body", "intervertebral_discs"]),
            // They stand in the model's own data set.
            "appendicular_bones" => BTreeMap::new(),
            _ => total_names(name.starts_with("total_v3")),
        };
        Ok(Self {
            name,
            parts,
            spacing_mm,
            step,
            names,
        })
    }

    /// Labels of names; all where none are given.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a name the task does not have.
    fn wanted(&self, names: &[String]) -> Result<Option<Vec<u16>>> {
        if names.is_empty() {
            return Ok(None);
        }
        let label = |name: &String| {
            let found = self.names.iter().find(|(_, own)| *own == name);
            found.map(|(&label, _)| label).ok_or_else(|| {
                Error::Parameter(format!("the task {} has no class `{name}`", self.name))
            })
        };
        names
            .iter()
            .map(label)
            .collect::<Result<Vec<u16>>>()
            .map(Some)
    }
}

fn named(names: &[&str]) -> BTreeMap<u16, String> {
    (1..)
        .zip(names.iter().map(|name| (*name).to_owned()))
        .collect()
}

/// The 117 classes of the task `total`.
fn total_names(v3: bool) -> BTreeMap<u16, String> {
    let mut names: Vec<String> = [
        "spleen",
        "kidney_right",
        "kidney_left",
        "gallbladder",
        "liver",
        "stomach",
        "pancreas",
        "adrenal_gland_right",
        "adrenal_gland_left",
        "lung_upper_lobe_left",
        "lung_lower_lobe_left",
        "lung_upper_lobe_right",
        "lung_middle_lobe_right",
        "lung_lower_lobe_right",
        "esophagus",
        "trachea",
        "thyroid_gland",
        "small_bowel",
        "duodenum",
        "colon",
        "urinary_bladder",
        "prostate",
        "kidney_cyst_left",
        "kidney_cyst_right",
        "sacrum",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(if v3 { "vertebrae_L6" } else { "vertebrae_S1" }.to_owned());
    for (region, count) in [('L', 5), ('T', 12), ('C', 7)] {
        names.extend(
            (1..=count)
                .rev()
                .map(|number| format!("vertebrae_{region}{number}")),
        );
    }
    names.extend(
        [
            "heart",
            "aorta",
            "pulmonary_vein",
            "brachiocephalic_trunk",
            "subclavian_artery_right",
            "subclavian_artery_left",
            "common_carotid_artery_right",
            "common_carotid_artery_left",
            "brachiocephalic_vein_left",
            "brachiocephalic_vein_right",
            "atrial_appendage_left",
            "superior_vena_cava",
            "inferior_vena_cava",
            "portal_vein_and_splenic_vein",
            "iliac_artery_left",
            "iliac_artery_right",
            "iliac_vena_left",
            "iliac_vena_right",
        ]
        .map(str::to_owned),
    );
    for bone in ["humerus", "scapula", "clavicula", "femur", "hip"] {
        names.extend(["left", "right"].map(|side| format!("{bone}_{side}")));
    }
    names.push("spinal_cord".into());
    for muscle in [
        "gluteus_maximus",
        "gluteus_medius",
        "gluteus_minimus",
        "autochthon",
        "iliopsoas",
    ] {
        names.extend(["left", "right"].map(|side| format!("{muscle}_{side}")));
    }
    names.extend(["brain", "skull"].map(str::to_owned));
    for side in ["left", "right"] {
        names.extend((1..=12).map(|number| format!("rib_{side}_{number}")));
    }
    names.extend(["sternum", "costal_cartilages"].map(str::to_owned));
    (1..).zip(names).collect()
}

/// Segments a scan with the models of a task that lie in `directory`; with `only`, the classes of these names and no model that has
/// none of them. Gives the labels and their names. `progress` is told the runs of each model's network as in [`Model::segment`].
///
/// # Errors
/// [`Error::Model`] when a model is missing, and those of [`Model::open`] and [`Model::segment`].
pub fn segment(
    task: &Task,
    directory: &Path,
    scan: &Volume<f32>,
    only: &[String],
    choice: &Choice,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(LabelMap, BTreeMap<u16, String>)> {
    let wanted = task.wanted(only)?;
    let within = |part: &&Part| match &wanted {
        None => true,
        Some(labels) => {
            let own = part.offset + 1..=part.offset + part.labels;
            labels.iter().any(|label| own.contains(label))
        }
    };
    let parts: Vec<Part> = task.parts.iter().filter(within).copied().collect();
    let upright = reorient(scan, RAS)?;
    let coarse = resampled(&upright, task.spacing_mm)?;
    let mut map = LabelMap::filled(coarse.grid.clone(), 0);
    let options = Options {
        // Its models are trained without mirroring, and it never mirrors.
        mirroring: false,
        step: task.step,
        probabilities: false,
        ..*options
    };
    let mut names = task.names.clone();
    for part in &parts {
        let model = Model::open(&model_of(directory, part.dataset)?, choice)?;
        if task.names.is_empty() {
            names.extend(model.plans.labels.names());
        }
        for piece in pieces(&coarse, task.parts.len() > 1) {
            let [nx, ny, _] = coarse.grid.size;
            let own = crop(
                &coarse,
                [0, 0, piece.read[0]],
                [nx - 1, ny - 1, piece.read[1] - 1],
            )?;
            let found = model
                .segment(std::slice::from_ref(&own), &options, progress)?
                .labels;
            let skip = (piece.keep[0] - piece.read[0]) * nx * ny;
            let to = &mut map.data[piece.keep[0] * nx * ny..piece.keep[1] * nx * ny];
            for (to, &label) in to.iter_mut().zip(&found.data[skip..]) {
                if label > 0 {
                    *to = label + part.offset;
                }
            }
        }
    }
    if let Some(wanted) = &wanted {
        for label in map.data.iter_mut().filter(|label| !wanted.contains(label)) {
            *label = 0;
        }
    }
    if task.name == "appendicular_bones" {
        // Humerus, femur, liver and spleen only help this model to know its place.
        for label in map
            .data
            .iter_mut()
            .filter(|label| (12..=15).contains(*label))
        {
            *label = 0;
        }
        names.retain(|label, _| !(12..=15).contains(label));
    }
    let back = labels_at(&map, &upright.grid);
    let mut back = reorient(&back, own_axes(&scan.grid))?;
    back.grid = scan.grid.clone();
    Ok((back, names))
}

/// The directions in which a grid's axes run.
fn own_axes(grid: &Grid) -> [AxisDirection; 3] {
    use AxisDirection::{Anterior, Inferior, Left, Posterior, Right, Superior};
    grid.closest_axes().map(|axis| match axis {
        (0, true) => Left,
        (0, false) => Right,
        (1, true) => Posterior,
        (1, false) => Anterior,
        (_, true) => Superior,
        (_, false) => Inferior,
    })
}

/// The model folder of a data set, by its number.
fn model_of(directory: &Path, dataset: u16) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory).map_err(|source| Error::io(directory, source))?;
    let start = format!("Dataset{dataset:03}_");
    for entry in entries {
        let path = entry.map_err(|source| Error::io(directory, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(&start)) {
            return Ok(path);
        }
    }
    Err(Error::model(
        directory,
        format!("there is no folder {start}…: the weights of this task are not complete"),
    ))
}

/// A range of slices to read, and those of its result to keep.
struct Piece {
    read: [usize; 2],
    keep: [usize; 2],
}

/// A very large volume is segmented in three pieces with an overlap, as the original does.
fn pieces(scan: &Volume<f32>, several_parts: bool) -> Vec<Piece> {
    let nz = scan.grid.size[2];
    if !(several_parts && scan.grid.len() > LARGE && nz > 200) {
        return vec![Piece {
            read: [0, nz],
            keep: [0, nz],
        }];
    }
    let third = nz / 3;
    vec![
        Piece {
            read: [0, third + OVERLAP],
            keep: [0, third],
        },
        Piece {
            read: [third + 1 - OVERLAP, 2 * third + OVERLAP],
            keep: [third, 2 * third],
        },
        Piece {
            read: [2 * third + 1 - OVERLAP, nz],
            keep: [2 * third, nz],
        },
    ]
}

/// Place in an axis of `from` samples of sample `i` of `to`: first and last samples on each other.
fn aligned(i: usize, from: usize, to: usize) -> f64 {
    match to {
        0 | 1 => 0.0,
        to => i as f64 * ((from - 1) as f64 / (to - 1) as f64),
    }
}

/// The scan at another spacing: linear, corners aligned, cut to whole numbers; untouched where it has that spacing.
fn resampled(scan: &Volume<f32>, spacing_mm: f64) -> Result<Volume<f32>> {
    let from = scan.grid.size;
    let spacing = scan.grid.spacing_mm;
    if spacing.iter().all(|s| *s == spacing_mm) {
        return Ok(scan.clone());
    }
    let to: [usize; 3] = std::array::from_fn(|axis| {
        (from[axis] as f64 * (spacing[axis] / spacing_mm)).round_ties_even() as usize
    });
    if to.contains(&0) {
        return Err(Error::Image(format!(
            "the scan of {from:?} voxels has none left at {spacing_mm} mm"
        )));
    }
    let taps: [Vec<(usize, usize, f64)>; 3] = std::array::from_fn(|axis| {
        (0..to[axis])
            .map(|i| {
                let x = aligned(i, from[axis], to[axis]);
                let below = (x.floor() as usize).min(from[axis] - 1);
                (below, (below + 1).min(from[axis] - 1), x - below as f64)
            })
            .collect()
    });
    let mut data = vec![0.0f32; to.iter().product()];
    let row = |j: usize, k: usize| &scan.data[(k * from[1] + j) * from[0]..][..from[0]];
    data.par_chunks_mut(to[0] * to[1])
        .enumerate()
        .for_each(|(k, slice)| {
            let (k0, k1, tk) = taps[2][k];
            for (j, out) in slice.chunks_exact_mut(to[0]).enumerate() {
                let (j0, j1, tj) = taps[1][j];
                let rows = [row(j0, k0), row(j1, k0), row(j0, k1), row(j1, k1)];
                for (out, &(i0, i1, ti)) in out.iter_mut().zip(&taps[0]) {
                    let along = |row: &[f32]| {
                        let (a, b) = (f64::from(row[i0]), f64::from(row[i1]));
                        a * (1.0 - ti) + b * ti
                    };
                    let [a, b, c, d] = rows.map(along);
                    let value =
                        (a * (1.0 - tj) + b * tj) * (1.0 - tk) + (c * (1.0 - tj) + d * tj) * tk;
                    *out = value.trunc() as f32;
                }
            }
        });
    let mut grid = scan.grid.clone();
    grid.size = to;
    grid.spacing_mm = [spacing_mm; 3];
    Ok(Volume::new(grid, data)?)
}

/// A label map on the voxels of another grid of the same field, corners aligned, nearest voxel.
fn labels_at(map: &LabelMap, grid: &Grid) -> LabelMap {
    let (from, to) = (map.grid.size, grid.size);
    let nearest: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let near = |i| (aligned(i, from[axis], to[axis]) + 0.5).floor() as usize;
        (0..to[axis])
            .map(near)
            .map(|at: usize| at.min(from[axis] - 1))
            .collect()
    });
    let mut data = vec![0; grid.len()];
    data.par_chunks_mut(to[0] * to[1])
        .enumerate()
        .for_each(|(k, slice)| {
            for (j, out) in slice.chunks_exact_mut(to[0]).enumerate() {
                let row = (nearest[2][k] * from[1] + nearest[1][j]) * from[0];
                for (out, &i) in out.iter_mut().zip(&nearest[0]) {
                    *out = map.data[row + i];
                }
            }
        });
    LabelMap {
        grid: grid.clone(),
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_numbers() {
        let names = Task::named("total").unwrap().names;
        assert_eq!(names.len(), 117);
        for (label, name) in [
            (1, "spleen"),
            (25, "sacrum"),
            (26, "vertebrae_S1"),
            (27, "vertebrae_L5"),
            (31, "vertebrae_L1"),
            (32, "vertebrae_T12"),
            (43, "vertebrae_T1"),
            (44, "vertebrae_C7"),
            (50, "vertebrae_C1"),
            (69, "humerus_left"),
            (74, "clavicula_right"),
            (75, "femur_left"),
            (76, "femur_right"),
            (77, "hip_left"),
            (78, "hip_right"),
            (91, "skull"),
            (92, "rib_left_1"),
            (115, "rib_right_12"),
            (116, "sternum"),
            (117, "costal_cartilages"),
        ] {
            assert_eq!(names[&label], name, "{label}");
        }
        let v3 = Task::named("total_v3").unwrap();
        assert_eq!(v3.names[&26], "vertebrae_L6");
        for name in TASKS {
            let task = Task::named(name).unwrap();
            let labels: u16 = task.parts.iter().map(|part| part.labels).sum();
            assert!(
                task.names.is_empty() || usize::from(labels) == task.names.len(),
                "{name}"
            );
        }
        // Local numbers of the parts.
        let parts = Task::named("total").unwrap().parts;
        assert_eq!(parts[3].offset + 7, 75, "femur_left is 7 in model 294");
        assert_eq!(parts[1].offset + 3, 27, "L5 is 3 in model 292");
        assert!(Task::named("totally").is_err());
    }

    #[test]
    fn corners_stay_on_corners_and_numbers_are_cut() {
        let grid = Grid::axis_aligned([5, 1, 3], [1.0, 3.0, 2.0]);
        let ramp = Volume::from_fn(grid, |[i, _, k]| -10.0 + 4.0 * i as f32 + 100.0 * k as f32);
        let coarse = resampled(&ramp, 1.5).unwrap();
        // round(5 / 1.5), round(1 · 3 / 1.5), round(3 · 2 / 1.5).
        assert_eq!(coarse.grid.size, [3, 2, 4]);
        assert_eq!(coarse.grid.spacing_mm, [1.5; 3]);
        assert_eq!(coarse.grid.origin_mm, ramp.grid.origin_mm);
        // i = 0, 2, 4; k = 0, 2/3, 4/3, 2: −10 + 8 i' + 66.67 k', cut towards zero.
        let row = |k: usize| [0, 1, 2].map(|i| coarse.at(i, 0, k));
        assert_eq!(row(0), [-10.0, -2.0, 6.0]);
        assert_eq!(row(1), [56.0, 64.0, 72.0]);
        assert_eq!(row(3), [190.0, 198.0, 206.0]);
        let labels = coarse.map(|&v| v.max(0.0) as u16);
        let back = labels_at(&labels, &ramp.grid);
        // Nearest of 0, 0.5, 1, 1.5, 2: halves go up.
        let found = [0, 1, 2, 3, 4].map(|i| back.at(i, 0, 2));
        assert_eq!(found, [190, 198, 198, 206, 206]);
    }

    #[test]
    fn a_very_large_volume_is_taken_in_three_overlapping_pieces() {
        let grid = |nz| Grid::axis_aligned([4, 4, nz], [1.5; 3]);
        let small = Volume::filled(grid(600), 0.0);
        assert_eq!(pieces(&small, true).len(), 1);
        let mut large = small;
        // Only the size is looked at.
        large.grid.size = [600, 600, 901];
        let three = pieces(&large, true);
        let keep: Vec<[usize; 2]> = three.iter().map(|piece| piece.keep).collect();
        assert_eq!(keep, [[0, 300], [300, 600], [600, 901]]);
        assert_eq!(three[1].read, [281, 620]);
        assert!(
            three
                .iter()
                .all(|p| p.read[0] <= p.keep[0] && p.keep[1] <= p.read[1])
        );
        assert_eq!(pieces(&large, false).len(), 1);
    }
}
