//! Points of a lattice in rows along x, with room beyond both ends of every row.
//!
//! A coarse level of a bone fills a small part of its box, so its vectors hold rows and not the box. A row
//! reaches as far as its eight neighbour rows do and a little further: the kernel of
//! [`super::stencil`] then works on whole lanes of a run of points, and may read and add zeros beside it
//! without leaving the row.

use std::ops::Range;

/// Points that the stencil kernel works on side by side.
pub(crate) const LANES: usize = 8;

/// Rows `(dy, dz)` that follow a row in the order of the points, the row itself first.
pub(crate) const FOLLOWING_ROWS: [[i32; 2]; 5] = [[0, 0], [1, 0], [-1, 1], [0, 1], [1, 1]];

/// Points that follow each other along x.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Entry of the first point.
    pub first: usize,
    /// Number of points.
    pub length: usize,
    /// Lattice point of the first one.
    pub point: [u32; 3],
    /// Distance of the entries of each of [`FOLLOWING_ROWS`] from those of this row.
    pub rows: [isize; 5],
}

impl Run {
    /// Its length in whole lanes.
    pub fn padded(&self) -> usize {
        self.length.next_multiple_of(LANES)
    }
}

/// The runs of a set of points.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Entries of one component of a vector.
    pub length: usize,
    /// Runs, sorted by z, y, x.
    pub runs: Vec<Run>,
    /// Runs of each layer of points.
    pub run_layers: Vec<Range<usize>>,
    /// Entries of each layer of points.
    pub entry_layers: Vec<Range<usize>>,
    /// Entry of x = 0 in each row (y fastest); only meaningful where the row has points or neighbours.
    base: Vec<isize>,
    points_y: usize,
}

impl Rows {
    /// Lays out points sorted by z, y, x; `size` counts the points of the box along each axis.
    pub fn padded(points: &[[u32; 3]], size: [usize; 3]) -> Self {
        let [_, ny, nz] = size;
        let mut spans: Vec<Option<[isize; 2]>> = vec![None; ny * nz];
        let mut runs = split(points);
        for run in &runs {
            let [x, y, z] = run.point.map(|i| i as usize);
            let (low, high) = (x as isize - 1, (x + run.padded()) as isize + 1);
            let span = &mut spans[y + ny * z];
            *span = Some(span.map_or([low, high], |[a, b]| [a.min(low), b.max(high)]));
        }
        let mut base = vec![0isize; ny * nz];
        let mut entry_layers = Vec::with_capacity(nz);
        let mut length = 0usize;
        for z in 0..nz {
            let start = length;
            for y in 0..ny {
                let mut reach: Option<[isize; 2]> = None;
                for nz_ in z.saturating_sub(1)..(z + 2).min(nz) {
                    for ny_ in y.saturating_sub(1)..(y + 2).min(ny) {
                        if let Some([low, high]) = spans[ny_ + ny * nz_] {
                            reach =
                                Some(reach.map_or([low, high], |[a, b]| [a.min(low), b.max(high)]));
                        }
                    }
                }
                if let Some([low, high]) = reach {
                    base[y + ny * z] = length as isize - low;
                    length += (high - low) as usize;
                }
            }
            entry_layers.push(start..length);
        }
        for run in &mut runs {
            let [x, y, z] = run.point.map(|i| i as isize);
            let own = base[y as usize + ny * z as usize];
            run.first = (own + x) as usize;
            run.rows = FOLLOWING_ROWS.map(|[dy, dz]| {
                let (y, z) = (y + dy as isize, z + dz as isize);
                // Rows outside the box have no points, so nothing is read or added there.
                if y < 0 || y >= ny as isize || z >= nz as isize {
                    0
                } else {
                    base[y as usize + ny * z as usize] - own
                }
            });
        }
        let run_layers = layers(&runs, nz);
        Self {
            length,
            runs,
            run_layers,
            entry_layers,
            base,
            points_y: ny,
        }
    }

    /// Points numbered without a gap in their order, as the nodes of a mesh are.
    pub fn compact(points: &[[u32; 3]], size: [usize; 3]) -> Self {
        let mut runs = split(points);
        let mut entry = 0;
        for run in &mut runs {
            run.first = entry;
            entry += run.length;
        }
        let run_layers = layers(&runs, size[2]);
        let at = |run: usize| runs.get(run).map_or(points.len(), |run| run.first);
        let entry_layers = run_layers
            .iter()
            .map(|runs| at(runs.start)..at(runs.end))
            .collect();
        Self {
            length: points.len(),
            runs,
            run_layers,
            entry_layers,
            base: Vec::new(),
            points_y: size[1],
        }
    }

    /// Entry of a point of a padded layout.
    pub fn entry(&self, point: [usize; 3]) -> usize {
        (self.base[point[1] + self.points_y * point[2]] + point[0] as isize) as usize
    }
}

fn split(points: &[[u32; 3]]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &point in points {
        if let Some(run) = runs.last_mut()
            && run.point[1..] == point[1..]
            && run.point[0] + run.length as u32 == point[0]
        {
            run.length += 1;
        } else {
            runs.push(Run {
                first: 0,
                length: 1,
                point,
                rows: [0; 5],
            });
        }
    }
    runs
}

fn layers(runs: &[Run], count: usize) -> Vec<Range<usize>> {
    let mut start = 0;
    (0..count)
        .map(|z| {
            let end = start
                + runs[start..]
                    .iter()
                    .take_while(|run| run.point[2] as usize == z)
                    .count();
            let range = start..end;
            start = end;
            range
        })
        .collect()
}
