//! A figure drawn once and written as SVG and as PNG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// What drawing may end with.
pub(crate) type DrawingFailure = Box<dyn std::error::Error + Send + Sync>;

/// Something that can be drawn on any surface of `plotters`.
pub trait Figure {
    /// Width and height in pixels; the SVG has the same coordinates.
    fn size(&self) -> (u32, u32);

    /// Draws the figure.
    ///
    /// # Errors
    /// Those of the surface.
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        B::ErrorType: 'static;

    /// The figure as SVG.
    ///
    /// # Errors
    /// When the figure cannot be drawn.
    fn svg(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, self.size()).into_drawing_area();
            self.draw(&area).map_err(not_drawn)?;
        }
        Ok(text)
    }

    /// Writes the figure as SVG.
    ///
    /// # Errors
    /// When the figure cannot be drawn or the file cannot be written.
    fn write_svg(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.svg()?).with_context(|| path.display().to_string())
    }

    /// Writes the figure as PNG.
    ///
    /// # Errors
    /// When the figure cannot be drawn or the file cannot be written.
    fn write_png(&self, path: &Path) -> anyhow::Result<()> {
        let area = BitMapBackend::new(path, self.size()).into_drawing_area();
        self.draw(&area)
            .map_err(not_drawn)
            .with_context(|| path.display().to_string())
    }

    /// Writes `name.svg` and `name.png` into a folder.
    ///
    /// # Errors
    /// When the figure cannot be drawn or a file cannot be written.
    fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        self.write_svg(&folder.join(format!("{name}.svg")))?;
        self.write_png(&folder.join(format!("{name}.png")))
    }
}

/// Smallest length of an axis over the numbers at it: their steps must be more than round-off.
const SHORTEST_AXIS: f64 = 1e-9;

/// A range that can be an axis. Along one that is infinite, or so short that a step changes no number, `plotters` looks for the places
/// of its labels for ever.
///
/// # Errors
/// With the range, when it cannot.
pub(crate) fn axis(what: &str, range: Range<f64>) -> Result<Range<f64>, DrawingFailure> {
    let length = range.end - range.start;
    let numbers = range.start.abs().max(range.end.abs());
    // Not a number fails both.
    if length.is_finite() && length >= (SHORTEST_AXIS * numbers).max(f64::MIN_POSITIVE) {
        return Ok(range);
    }
    Err(format!(
        "no axis of {what} runs from {:e} to {:e}",
        range.start, range.end
    )
    .into())
}

pub(crate) fn not_drawn(error: DrawingFailure) -> anyhow::Error {
    anyhow!("the figure cannot be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_can_be_no_axis_are_refused() {
        for range in [
            0.0..1.0,
            -3.0..-2.9,
            1e300..2e300,
            0.0..1e-300,
            1e9..1e9 + 2.0,
        ] {
            assert_eq!(axis("load", range.clone()).unwrap(), range);
        }
        let infinite = f64::INFINITY;
        for range in [
            0.0..infinite,
            -infinite..0.0,
            -1e308..1e308,
            0.0..f64::NAN,
            f64::NAN..1.0,
            2.0..2.0,
            2.0..1.0,
            0.0..0.0,
            1e9..1e9 + 0.5,
        ] {
            let error = axis("load", range.clone()).unwrap_err().to_string();
            assert!(error.contains("no axis of load"), "{range:?}: {error}");
        }
    }
}
