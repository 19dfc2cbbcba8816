//! What the network sees and says: middle slices of samples, with the outline of the target and of the prediction.

use std::path::Path;

use plotters::backend::BitMapBackend;
use plotters::drawing::IntoDrawingArea as _;
use plotters::style::RGBColor;
use segmentation::training::Sample;

/// Screen pixels of a voxel.
const ZOOM: usize = 4;
/// Samples of a row.
const COLUMNS: usize = 4;

/// A sample and the class the network gives each of its voxels.
pub struct Seen {
    pub sample: Sample,
    pub found: Vec<u8>,
}

/// Draws an axial and a coronal slice of each sample: target outlined in green, prediction in red, both yellow.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, patch: [usize; 3], seen: &[Seen]) -> anyhow::Result<()> {
    let [nz, ny, nx] = patch;
    let cell = [nx * ZOOM + 4, (ny + nz) * ZOOM + 8];
    let rows = seen.len().div_ceil(COLUMNS);
    let size = [(COLUMNS * cell[0]) as u32, (rows * cell[1]) as u32];
    let area = BitMapBackend::new(path, (size[0], size[1])).into_drawing_area();
    area.fill(&RGBColor(20, 20, 30))?;
    for (index, seen) in seen.iter().enumerate() {
        let corner = [index % COLUMNS * cell[0], index / COLUMNS * cell[1]];
        let axial = |row: usize, column: usize| ((nz / 2) * ny + (ny - 1 - row)) * nx + column;
        let coronal = |row: usize, column: usize| ((nz - 1 - row) * ny + ny / 2) * nx + column;
        slice(&area, corner, [ny, nx], seen, &axial)?;
        let below = [corner[0], corner[1] + ny * ZOOM + 4];
        slice(&area, below, [nz, nx], seen, &coronal)?;
    }
    area.present()?;
    Ok(())
}

type Area<'a> = plotters::drawing::DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn slice(
    area: &Area<'_>,
    corner: [usize; 2],
    [rows, columns]: [usize; 2],
    seen: &Seen,
    index: &dyn Fn(usize, usize) -> usize,
) -> anyhow::Result<()> {
    let edge = |labels: &[u8], row: usize, column: usize| {
        let own = labels[index(row, column)];
        let next = [
            (row + 1 < rows).then(|| index(row + 1, column)),
            (column + 1 < columns).then(|| index(row, column + 1)),
        ];
        next.into_iter().flatten().any(|next| labels[next] != own)
    };
    for row in 0..rows {
        for column in 0..columns {
            let at = index(row, column);
            let grey = ((seen.sample.image[at] + 1.2) / 4.5).clamp(0.0, 1.0) * 255.0;
            let grey = grey as u8;
            let colour = match (
                edge(&seen.sample.target, row, column),
                edge(&seen.found, row, column),
            ) {
                (true, true) => RGBColor(250, 220, 0),
                (true, false) => RGBColor(0, 220, 60),
                (false, true) => RGBColor(240, 40, 40),
                (false, false) => RGBColor(grey, grey, grey),
            };
            for y in 0..ZOOM {
                for x in 0..ZOOM {
                    let place = (
                        (corner[0] + column * ZOOM + x) as i32,
                        (corner[1] + row * ZOOM + y) as i32,
                    );
                    area.draw_pixel(place, &colour)?;
                }
            }
        }
    }
    Ok(())
}
