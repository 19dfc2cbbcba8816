//! The surfaces of a segmentation, coloured by their signed distance to a reference (Figure 1 of Saillard et al. 2024).

mod surface;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;

use anyhow::Context as _;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rayon::prelude::*;

use super::figure::{DrawingFailure, not_drawn};
use super::plot::{INK, SOFT_INK, text, trimmed, use_bundled_font};
pub use surface::ColouredSurface;
pub use view::View;
use view::{Camera, Picture, colour};

/// Width of the figure in pixels.
const WIDTH: u32 = 1600;
/// Free space at its edges.
const EDGE: i32 = 28;
/// Heights of the title, of a row's heading, of the captions below it and of the line with the scale bar.
const HEAD: i32 = 100;
const HEADING: i32 = 40;
const CAPTION: i32 = 48;
const FOOT: i32 = 56;
/// Width of the colour bar with its numbers.
const BAR: i32 = 170;
const BAR_HEIGHT: i32 = 420;
/// Least space between two pictures.
const GAP: f64 = 24.0;
/// A picture is at most so high, and a body is not drawn larger than this.
const HIGHEST: f64 = 560.0;
const LARGEST_PER_MM: f64 = 12.0;
/// Height of a row that has nothing to show: its reason stands in the place of the captions.
const EMPTY_ROW: i32 = 0;
/// Length of the scale bar.
const SCALE_MM: f64 = 20.0;
/// The colours hold this part of all distances …
const PERCENTILE: f64 = 0.99;
/// … and reach at least so far, mm: less is the noise of the voxels.
const LEAST_RANGE_MM: f64 = 0.5;

/// One structure.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceRow {
    /// Its name and figures.
    pub heading: String,
    /// The surface, or why there is none.
    pub surface: Result<ColouredSurface, String>,
}

/// What the figure shows.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceFigure {
    /// First line.
    pub title: String,
    /// One row of views per structure.
    pub rows: Vec<SurfaceRow>,
}

/// Where things stand, in pixels.
struct Layout {
    pixels_per_mm: f64,
    /// Left edge and width of the column of each view.
    columns: [[i32; 2]; 4],
    /// Height of the pictures of each row.
    rows: Vec<i32>,
}

impl SurfaceFigure {
    /// Writes the figure as PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_png(&self, path: &Path) -> anyhow::Result<()> {
        let layout = self.layout();
        let area = BitMapBackend::new(path, self.size(&layout)).into_drawing_area();
        self.draw(&area, &layout)
            .map_err(not_drawn)
            .with_context(|| path.display().to_string())
    }

    fn surfaces(&self) -> impl Iterator<Item = &ColouredSurface> {
        self.rows.iter().filter_map(|row| row.surface.as_ref().ok())
    }

    fn layout(&self) -> Layout {
        let edges = |surface: &ColouredSurface| {
            let [low, high] = surface.bounds_mm();
            high - low
        };
        let extents = |view: View| {
            self.surfaces()
                .map(move |surface| view.extent(edges(surface)))
        };
        let largest = |view: View, side: usize| extents(view).map(|e| e[side]).fold(0.0, f64::max);
        let room = f64::from(WIDTH as i32 - 2 * EDGE - BAR) - 3.0 * GAP;
        let across: f64 = View::ALL.map(|view| largest(view, 0)).iter().sum();
        let up = View::ALL.map(|view| largest(view, 1)).into_iter();
        let pixels_per_mm = (room / across)
            .min(HIGHEST / up.fold(0.0, f64::max))
            .min(LARGEST_PER_MM);
        let pixels = |mm: f64| (mm * pixels_per_mm).ceil() as i32;
        let widths = View::ALL.map(|view| pixels(largest(view, 0)));
        let free = (room + 3.0 * GAP) as i32 - widths.iter().sum::<i32>();
        let mut left = EDGE;
        let columns = widths.map(|width| {
            let column = [left, width];
            left += width + free / 3;
            column
        });
        let height = |row: &SurfaceRow| match &row.surface {
            Ok(surface) => {
                let up = View::ALL.map(|view| view.extent(edges(surface))[1]);
                pixels(up.into_iter().fold(0.0, f64::max))
            }
            Err(_) => EMPTY_ROW,
        };
        Layout {
            pixels_per_mm,
            columns,
            rows: self.rows.iter().map(height).collect(),
        }
    }

    fn size(&self, layout: &Layout) -> (u32, u32) {
        let rows: i32 = layout
            .rows
            .iter()
            .map(|height| HEADING + height + CAPTION)
            .sum();
        (WIDTH, (HEAD + rows.max(BAR_HEIGHT / 2 + 80) + FOOT) as u32)
    }

    /// The distance at the ends of the colours, mm, and whether there are larger ones.
    fn range_mm(&self) -> (f64, bool) {
        let mut all: Vec<f64> = self
            .surfaces()
            .flat_map(|s| &s.distance_mm)
            .map(|d| d.abs())
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        let Some(&largest) = all.last() else {
            return (LEAST_RANGE_MM, false);
        };
        let most = all[(PERCENTILE * (all.len() - 1) as f64) as usize];
        let range = tidy(most.max(LEAST_RANGE_MM));
        (range, largest > range)
    }

    fn draw(
        &self,
        area: &DrawingArea<BitMapBackend, Shift>,
        layout: &Layout,
    ) -> Result<(), DrawingFailure> {
        use_bundled_font()?;
        area.fill(&WHITE)?;
        area.draw_text(&self.title, &text(30, INK), (EDGE, 16))?;
        let note = "Surface of the prediction; colour: signed distance to the surface of the reference. \
                    Bones that the image cuts are closed there.";
        area.draw_text(note, &text(20, SOFT_INK), (EDGE, 58))?;
        let range = self.range_mm();
        let mut top = HEAD;
        for (row, &height) in self.rows.iter().zip(&layout.rows) {
            area.draw_text(&row.heading, &text(23, INK), (EDGE, top))?;
            top += HEADING;
            match &row.surface {
                Ok(surface) => draw_views(area, surface, layout, [top, height], range.0)?,
                Err(why) => area.draw_text(why, &text(20, SOFT_INK), (EDGE, top))?,
            }
            top += height + CAPTION;
        }
        let (_, bottom) = area.dim_in_pixel();
        let bottom = bottom as i32;
        if self.surfaces().next().is_some() {
            let bar = (bottom - HEAD - HEADING - FOOT - 50).min(BAR_HEIGHT);
            draw_colour_bar(area, range, bar)?;
            let length = (SCALE_MM * layout.pixels_per_mm).round() as i32;
            let y = bottom - FOOT / 2;
            area.draw(&Rectangle::new(
                [(EDGE, y - 2), (EDGE + length, y + 2)],
                INK.filled(),
            ))?;
            let beside = text(20, INK).pos(Pos::new(HPos::Left, VPos::Center));
            let words = format!("{} mm, in all views", trimmed(SCALE_MM));
            area.draw(&Text::new(words, (EDGE + length + 12, y + 2), beside))?;
        }
        area.present()?;
        Ok(())
    }
}

/// The views of one surface, in a row at `top` of this `height`.
fn draw_views(
    area: &DrawingArea<BitMapBackend, Shift>,
    surface: &ColouredSurface,
    layout: &Layout,
    [top, height]: [i32; 2],
    range_mm: f64,
) -> Result<(), DrawingFailure> {
    let [low, high] = surface.bounds_mm();
    let cameras: Vec<Camera> = View::ALL
        .into_iter()
        .zip(layout.columns)
        .map(|(view, [_, width])| Camera {
            view,
            centre_mm: (low + high) / 2.0,
            pixels_per_mm: layout.pixels_per_mm,
            size: [width, height].map(|pixels| pixels.max(0) as usize),
            range_mm,
        })
        .collect();
    let pictures: Vec<Picture> = cameras
        .par_iter()
        .map(|camera| camera.picture(surface))
        .collect();
    for ((picture, view), [left, width]) in pictures.iter().zip(View::ALL).zip(layout.columns) {
        for (index, &[red, green, blue]) in picture.pixels.iter().enumerate() {
            if [red, green, blue] != [255; 3] {
                let at = (
                    left + (index % picture.width) as i32,
                    top + (index / picture.width) as i32,
                );
                area.draw_pixel(at, &RGBColor(red, green, blue))?;
            }
        }
        let below = text(20, SOFT_INK).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(
            view.caption(),
            (left + width / 2, top + height + 8),
            below,
        ))?;
    }
    Ok(())
}

/// The colours with their distances, red above.
fn draw_colour_bar(
    area: &DrawingArea<BitMapBackend, Shift>,
    (range_mm, beyond): (f64, bool),
    height: i32,
) -> Result<(), DrawingFailure> {
    let (left, top) = (WIDTH as i32 - EDGE - BAR + 50, HEAD + HEADING);
    let width = 28;
    for row in 0..height {
        let part = 1.0 - 2.0 * (f64::from(row) + 0.5) / f64::from(height);
        let [red, green, blue] = colour(part).map(|v| v.round() as u8);
        let line = [(left, top + row), (left + width, top + row + 1)];
        area.draw(&Rectangle::new(line, RGBColor(red, green, blue).filled()))?;
    }
    area.draw(&Rectangle::new(
        [(left, top), (left + width, top + height)],
        SOFT_INK.stroke_width(1),
    ))?;
    let beside = text(20, INK).pos(Pos::new(HPos::Left, VPos::Center));
    for tick in -2..=2 {
        let part = 0.5 * f64::from(tick);
        let sign = ["≤ −", "−", "", "+", "≥ +"][(tick + 2) as usize];
        let sign = sign.trim_start_matches(if beyond { "" } else { "≤ " });
        let sign = sign.trim_start_matches(if beyond { "" } else { "≥ " });
        let words = format!("{sign}{}", trimmed((part * range_mm).abs()));
        let y = top + (0.5 * (1.0 - part) * f64::from(height)) as i32;
        area.draw(&PathElement::new(
            [(left + width, y), (left + width + 6, y)],
            SOFT_INK,
        ))?;
        area.draw(&Text::new(
            words,
            (left + width + 12, y + 2),
            beside.clone(),
        ))?;
    }
    let middle = Pos::new(HPos::Center, VPos::Bottom);
    let end = |words: &'static str, y: i32| {
        Text::new(words, (left + width / 2 + 20, y), text(20, INK).pos(middle))
    };
    area.draw(&end("outside, mm", top - 12))?;
    area.draw(&end("inside, mm", top + height + 38))?;
    Ok(())
}

/// The next number that is easy to read.
fn tidy(value: f64) -> f64 {
    let ten = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = |step: &f64| step * ten >= value * (1.0 - 1e-9);
    ten * steps.into_iter().find(fits).unwrap_or(10.0)
}
