//! A figure drawn once and written as SVG and as PNG.

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

pub(crate) fn not_drawn(error: DrawingFailure) -> anyhow::Error {
    anyhow!("the figure cannot be drawn: {error}")
}
