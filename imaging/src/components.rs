//! Connected components and holes of a mask.
//!
//! Works on runs of voxels along the first array axis, joined by union-find: there are far fewer of
//! them than voxels.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::volume::{Mask, Volume};

/// Which voxels count as neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// The 6 voxels that share a face.
    Faces,
    /// The 26 voxels that share a face, an edge or a corner.
    Corners,
}

/// The connected components of a mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// Number of the component of each voxel, from 1 for the largest; 0 outside the mask. Components
    /// of the same size are numbered by their lowest voxel index.
    pub labels: Volume<u32>,
    /// Number of voxels of component 1, 2, ...
    pub sizes: Vec<usize>,
}

/// Finds the connected components of a mask, largest first.
pub fn label_components(mask: &Mask, connectivity: Connectivity) -> Components {
    let runs = Runs::new(mask, true, Joins::of(connectivity));
    let (number, sizes) = runs.numbered();
    let mut labels = Volume::filled(mask.grid.clone(), 0);
    for (run, root) in runs.runs.iter().zip(&runs.roots) {
        labels.data[run.start..run.end].fill(number[*root as usize]);
    }
    Components { labels, sizes }
}

/// The largest connected component of a mask (of equal ones, that with the lowest voxel index); empty
/// for an empty mask.
pub fn largest_component(mask: &Mask, connectivity: Connectivity) -> Mask {
    let runs = Runs::new(mask, true, Joins::of(connectivity));
    let (number, _) = runs.numbered();
    let mut largest = Volume::filled(mask.grid.clone(), false);
    for (run, root) in runs.runs.iter().zip(&runs.roots) {
        if number[*root as usize] == 1 {
            largest.data[run.start..run.end].fill(true);
        }
    }
    largest
}

/// Fills the holes of a mask: background that is not connected through faces to the border of the
/// volume. In a volume one voxel thick everything touches the border; see [`fill_holes_in_slices`].
pub fn fill_holes(mask: &Mask) -> Mask {
    fill_enclosed(mask, [true; 3])
}

/// Fills the holes of every slice perpendicular to array axis `axis`: background not connected through
/// faces, within the slice, to the border of the slice.
///
/// # Errors
/// [`Error::Parameter`] when `axis` is not 0, 1 or 2.
pub fn fill_holes_in_slices(mask: &Mask, axis: usize) -> Result<Mask> {
    if axis > 2 {
        return Err(Error::Parameter(format!(
            "array axis {axis} does not exist; slices stand perpendicular to axis 0, 1 or 2"
        )));
    }
    let mut axes = [true; 3];
    axes[axis] = false;
    Ok(fill_enclosed(mask, axes))
}

/// Fills the background that does not reach a border along one of `axes` by steps along them.
fn fill_enclosed(mask: &Mask, axes: [bool; 3]) -> Mask {
    let [ni, nj, nk] = mask.grid.size;
    let joins = Joins {
        axes,
        corners: false,
    };
    let runs = Runs::new(mask, false, joins);
    let mut open = vec![false; runs.runs.len()];
    for (run, root) in runs.runs.iter().zip(&runs.roots) {
        let (j, k) = (run.row % nj, run.row / nj);
        let first = run.row * ni;
        let at_border = axes[0] && (run.start == first || run.end == first + ni)
            || axes[1] && (j == 0 || j + 1 == nj)
            || axes[2] && (k == 0 || k + 1 == nk);
        open[*root as usize] |= at_border;
    }
    let mut filled = mask.clone();
    for (run, root) in runs.runs.iter().zip(&runs.roots) {
        if !open[*root as usize] {
            filled.data[run.start..run.end].fill(true);
        }
    }
    filled
}

/// Along which axes, and whether over edges and corners too, voxels are joined.
#[derive(Clone, Copy)]
struct Joins {
    axes: [bool; 3],
    corners: bool,
}

impl Joins {
    fn of(connectivity: Connectivity) -> Self {
        Self {
            axes: [true; 3],
            corners: connectivity == Connectivity::Corners,
        }
    }
}

/// Neighbouring voxels of one row.
#[derive(Clone, Copy)]
struct Run {
    /// Row `j + nj * k`.
    row: usize,
    /// Data position of the first voxel.
    start: usize,
    /// Data position after the last voxel.
    end: usize,
}

/// All runs of a mask in the order of the data, each with the first run of its component.
struct Runs {
    runs: Vec<Run>,
    roots: Vec<u32>,
}

impl Runs {
    /// Finds and joins the runs of voxels that are `value`.
    fn new(mask: &Mask, value: bool, joins: Joins) -> Self {
        let [ni, nj, _] = mask.grid.size;
        if mask.data.is_empty() {
            return Self {
                runs: Vec::new(),
                roots: Vec::new(),
            };
        }
        let rows: Vec<Vec<Run>> = mask
            .data
            .par_chunks(ni)
            .enumerate()
            .map(|(row, line)| runs_of_row(row, line, value, joins.axes[0]))
            .collect();
        let mut begins = Vec::with_capacity(rows.len() + 1);
        begins.push(0);
        for row in &rows {
            begins.push(begins[begins.len() - 1] + row.len());
        }
        let mut all = Self {
            roots: (0..begins[rows.len()] as u32).collect(),
            runs: rows.into_iter().flatten().collect(),
        };
        for row in 0..begins.len() - 1 {
            let (j, k) = (row % nj, row / nj);
            let own = begins[row]..begins[row + 1];
            let mut join = |other: usize| {
                all.join_rows(
                    own.clone(),
                    begins[other]..begins[other + 1],
                    ni,
                    joins.corners,
                );
            };
            if joins.axes[1] && j > 0 {
                join(row - 1);
            }
            if joins.axes[2] && k > 0 {
                join(row - nj);
                if joins.corners && j > 0 {
                    join(row - nj - 1);
                }
                if joins.corners && j + 1 < nj {
                    join(row - nj + 1);
                }
            }
        }
        for run in 0..all.roots.len() {
            all.roots[run] = all.roots[all.roots[run] as usize]; // parents come first
        }
        all
    }

    /// Joins the runs of two rows that touch; over corners, runs one voxel apart touch too.
    fn join_rows(
        &mut self,
        own: std::ops::Range<usize>,
        other: std::ops::Range<usize>,
        ni: usize,
        corners: bool,
    ) {
        let reach = usize::from(corners);
        let mut b = other.start;
        for a in own {
            let start = self.runs[a].start % ni;
            let end = start + (self.runs[a].end - self.runs[a].start);
            while b < other.end {
                let from = self.runs[b].start % ni;
                let to = from + (self.runs[b].end - self.runs[b].start);
                if from >= end + reach {
                    break;
                }
                if to + reach > start {
                    self.join(a, b);
                }
                if to > end {
                    break; // may touch the next run of this row as well
                }
                b += 1;
            }
        }
    }

    fn root(&mut self, mut run: usize) -> usize {
        while self.roots[run] as usize != run {
            self.roots[run] = self.roots[self.roots[run] as usize];
            run = self.roots[run] as usize;
        }
        run
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The lower run leads, so a component is known by its first voxel.
        self.roots[a.max(b)] = a.min(b) as u32;
    }

    /// The number of each root run's component by descending size, and the sizes in that order.
    fn numbered(&self) -> (Vec<u32>, Vec<usize>) {
        let mut size = vec![0; self.runs.len()];
        for (run, root) in self.runs.iter().zip(&self.roots) {
            size[*root as usize] += run.end - run.start;
        }
        let mut roots: Vec<usize> = (0..size.len()).filter(|&run| size[run] > 0).collect();
        roots.sort_by_key(|&root| (std::cmp::Reverse(size[root]), root));
        let mut number = vec![0; size.len()];
        for (at, &root) in roots.iter().enumerate() {
            number[root] = at as u32 + 1;
        }
        (number, roots.iter().map(|&root| size[root]).collect())
    }
}

/// The runs of one row; single voxels when they are not joined along it.
fn runs_of_row(row: usize, line: &[bool], value: bool, joined: bool) -> Vec<Run> {
    let first = row * line.len();
    let mut runs: Vec<Run> = Vec::new();
    for (i, _) in line.iter().enumerate().filter(|(_, v)| **v == value) {
        match runs.last_mut() {
            Some(run) if joined && run.end == first + i => run.end += 1,
            _ => runs.push(Run {
                row,
                start: first + i,
                end: first + i + 1,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Grid;
    use crate::pattern::pattern;

    /// scipy.ndimage.label with generate_binary_structure(3, 1) and (3, 3), scipy 1.17.1.
    #[test]
    fn sizes_equal_scipy() {
        let mask = pattern([9, 8, 7]).map(|&v| v > 6.0);
        let faces = label_components(&mask, Connectivity::Faces);
        assert_eq!(faces.sizes.len(), 60);
        assert_eq!(faces.sizes[..9], [36, 22, 4, 4, 4, 3, 3, 3, 3]);
        assert_eq!(faces.sizes.iter().sum::<usize>(), 139);
        let corners = label_components(&mask, Connectivity::Corners);
        assert_eq!(corners.sizes, [138, 1]);
    }

    /// Flood fill, step by step, gives the same partition; numbers follow size, then first voxel.
    #[test]
    fn labels_equal_a_flood_fill() {
        for connectivity in [Connectivity::Faces, Connectivity::Corners] {
            for (size, cut) in [
                ([9, 8, 7], 4.0),
                ([9, 8, 7], 7.0),
                ([1, 9, 8], 5.0),
                ([9, 1, 8], 5.0),
            ] {
                let mask = pattern(size).map(|&v| v > cut);
                let found = label_components(&mask, connectivity);
                let mut expected = vec![0; mask.data.len()];
                let mut components = Vec::new();
                for seed in 0..mask.data.len() {
                    if mask.data[seed] && expected[seed] == 0 {
                        components.push((seed, flood(&mask, seed, connectivity)));
                        for &at in &components[components.len() - 1].1 {
                            expected[at] = 1;
                        }
                    }
                }
                components.sort_by_key(|(seed, voxels)| (std::cmp::Reverse(voxels.len()), *seed));
                for (number, (_, voxels)) in components.iter().enumerate() {
                    assert_eq!(found.sizes[number], voxels.len());
                    for &at in voxels {
                        expected[at] = number as u32 + 1;
                    }
                }
                assert_eq!(found.sizes.len(), components.len());
                assert_eq!(found.labels.data, expected);
                let largest = largest_component(&mask, connectivity);
                assert_eq!(largest, found.labels.map(|&l| l == 1));
            }
        }
    }

    fn flood(mask: &Mask, seed: usize, connectivity: Connectivity) -> Vec<usize> {
        let mut seen = vec![false; mask.data.len()];
        seen[seed] = true;
        let mut voxels = vec![seed];
        let mut next = 0;
        while next < voxels.len() {
            let a = mask.grid.voxel(voxels[next]);
            next += 1;
            for b in 0..mask.data.len() {
                let at = mask.grid.voxel(b);
                let apart = [0, 1, 2].map(|axis| a[axis].abs_diff(at[axis]));
                let touches = match connectivity {
                    Connectivity::Faces => apart.iter().sum::<usize>() <= 1,
                    Connectivity::Corners => apart.iter().all(|&d| d <= 1),
                };
                if touches && mask.data[b] && !seen[b] {
                    seen[b] = true;
                    voxels.push(b);
                }
            }
        }
        voxels
    }

    /// scipy.ndimage.binary_fill_holes in 3-D and slice by slice.
    #[test]
    fn holes_equal_scipy() {
        let mask = pattern([9, 8, 7]).map(|&v| v > 0.5);
        assert_eq!(mask.count(), 392);
        assert_eq!(fill_holes(&mask).count(), 404);
        for (axis, expected) in [424, 427, 433].into_iter().enumerate() {
            let filled = fill_holes_in_slices(&mask, axis).unwrap();
            assert_eq!(filled.count(), expected, "axis {axis}");
        }
        assert!(fill_holes_in_slices(&mask, 3).is_err());
    }

    /// A tube open at one end has no hole in 3-D but one in each slice across it.
    #[test]
    fn a_tube_is_filled_slice_by_slice_only() {
        let tube = Volume::from_fn(Grid::axis_aligned([5, 5, 4], [1.0; 3]), |[i, j, k]| {
            let wall = [0, 4].contains(&i) || [0, 4].contains(&j);
            wall || k == 0
        });
        assert_eq!(fill_holes(&tube), tube);
        assert_eq!(fill_holes_in_slices(&tube, 2).unwrap().count(), 100);
        assert_eq!(fill_holes_in_slices(&tube, 0).unwrap(), tube);
    }

    #[test]
    fn empty_and_full_masks_pass() {
        for size in [[0, 3, 3], [3, 0, 3], [1, 1, 1], [3, 2, 1]] {
            for value in [false, true] {
                let mask = Volume::filled(Grid::axis_aligned(size, [1.0; 3]), value);
                let found = label_components(&mask, Connectivity::Corners);
                assert_eq!(
                    found.sizes.len(),
                    usize::from(value && !mask.grid.is_empty())
                );
                assert_eq!(largest_component(&mask, Connectivity::Faces), mask);
                assert_eq!(fill_holes(&mask), mask);
                assert_eq!(fill_holes_in_slices(&mask, 1).unwrap(), mask);
            }
        }
    }
}
