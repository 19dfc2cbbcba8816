//! Areas and axes that the figures of a comparison share.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::marks::{Key, colour, dashed, draw_mark};
use crate::report::figure::{DrawingFailure, axis};
use crate::report::plot::{FAINT, INK, SOFT_INK, text, trimmed, use_bundled_font};

/// Panels stand in rows of at most so many: a row is then as wide as a page.
const COLUMNS: usize = 3;
/// Size of one panel, pixels. Text of 24 pixels is 6.6 points when three of them are printed 175 mm wide.
const PANEL: [u32; 2] = [640, 560];
/// Width of a figure at least, pixels: the title needs it.
pub(super) const LEAST_WIDTH: u32 = 1000;
/// Height of title and a key of one line above the panels, pixels.
const HEAD: u32 = 104;
/// Height of each further line of the key, pixels.
const KEY_LINE: u32 = 34;
/// Left edge of title and key, pixels.
const EDGE: u32 = 28;
/// Free space between two entries of the key, pixels.
const KEY_GAP: u32 = 36;
const TEXT: u32 = 24;
/// Height of the line with a panel's title, pixels.
const PANEL_TITLE: u32 = 40;
/// Height below a panel's axis, pixels.
const BELOW: u32 = 72;
/// The same with two lines of labels.
const BELOW_TWO_LINES: u32 = 96;
/// Free space left of and below a panel, pixels.
const GAP: u32 = 14;
/// Width left of a panel's axis, pixels.
const BESIDE: u32 = 116;

/// Size of a figure with this key and a number of panels per bone, each bone beginning a row.
pub(super) fn size(panels: &[usize], key: &[Key]) -> (u32, u32) {
    let rows: usize = panels.iter().map(|count| count.div_ceil(COLUMNS)).sum();
    let columns = panels.iter().copied().max().unwrap_or(0).clamp(1, COLUMNS);
    let width = (columns as u32 * PANEL[0]).max(LEAST_WIDTH);
    (width, head(width, key) + rows.max(1) as u32 * PANEL[1])
}

/// Height of title and key of a figure of this width, pixels.
pub(super) fn head(width: u32, key: &[Key]) -> u32 {
    let further = key_lines(width, key).len().saturating_sub(1);
    HEAD + KEY_LINE * further as u32
}

/// The entries of a key, a new line where the next would run off the figure.
fn key_lines(width: u32, key: &[Key]) -> Vec<Vec<&Key>> {
    let mut lines: Vec<Vec<&Key>> = Vec::new();
    let mut end = u32::MAX;
    for entry in key {
        let own = entry.sign_width() + words_width(entry.words());
        if end.saturating_add(own) > width - EDGE {
            lines.push(Vec::new());
            end = EDGE;
        }
        end += own + KEY_GAP;
        if let Some(line) = lines.last_mut() {
            line.push(entry);
        }
    }
    lines
}

/// Width of some words of the key, pixels.
fn words_width(words: &str) -> u32 {
    let font = use_bundled_font().map(|()| text(TEXT, INK).font);
    let measured = font.ok().and_then(|font| font.box_size(words).ok());
    // Without the font nothing is drawn, and the error is told there.
    measured.map_or(0, |(width, _)| width)
}

/// Draws title and key, and gives the area below.
pub(super) fn begin<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    key: &[Key],
) -> Result<DrawingArea<B, Shift>, DrawingFailure>
where
    B::ErrorType: 'static,
{
    use_bundled_font()?;
    area.fill(&WHITE)?;
    let (width, _) = area.dim_in_pixel();
    let (head, body) = area.split_vertically(head(width, key));
    head.draw_text(title, &text(30, INK), (EDGE as i32, 18))?;
    let beside = Pos::new(HPos::Left, VPos::Center);
    let mut y = 80;
    for line in key_lines(width, key) {
        let mut x = EDGE as i32;
        for entry in line {
            match entry {
                Key::Mark(mark, _) => draw_mark(&head, (x + 10, y), *mark, 9)?,
                Key::Line(colour, _) => {
                    let ends = [(x, y), (x + 44, y)];
                    head.draw(&PathElement::new(ends, colour.stroke_width(4)))?;
                }
                Key::Dashed(colour, _) => dashed(&head, (x, y), (x + 44, y), *colour)?,
                Key::Note(_) => {}
            }
            x += entry.sign_width() as i32;
            let words = entry.words();
            let style = text(TEXT, INK).pos(beside);
            // The middle of a line of this font lies a little above that of its letters.
            head.draw(&Text::new(words.to_owned(), (x, y + 3), style))?;
            x += (words_width(words) + KEY_GAP) as i32;
        }
        y += KEY_LINE as i32;
    }
    Ok(body)
}

/// The areas of the panels, in the order of bones and panels.
pub(super) fn panels<B: DrawingBackend>(
    body: &DrawingArea<B, Shift>,
    panels: &[usize],
) -> Vec<DrawingArea<B, Shift>> {
    let mut found = Vec::new();
    let mut row = 0;
    let columns = panels.iter().copied().max().unwrap_or(0).clamp(1, COLUMNS);
    let size = (body.dim_in_pixel().0 / columns as u32, PANEL[1]);
    for &count in panels {
        for panel in 0..count {
            let (column, row) = (panel % COLUMNS, row + panel / COLUMNS);
            let corner = (column as i32 * size.0 as i32, row as i32 * size.1 as i32);
            found.push(body.clone().shrink(corner, size));
        }
        row += count.div_ceil(COLUMNS);
    }
    found
}

/// Says in a figure that there is nothing to draw.
pub(super) fn nothing<B: DrawingBackend>(
    body: &DrawingArea<B, Shift>,
    words: &str,
) -> Result<(), DrawingFailure>
where
    B::ErrorType: 'static,
{
    body.draw_text(words, &text(TEXT, SOFT_INK), (EDGE as i32, 40))?;
    body.present()?;
    Ok(())
}

/// What the axes of a panel are.
pub(super) struct Axes<'a> {
    /// Title of the panel.
    pub title: String,
    /// Range from left to right.
    pub x: [f64; 2],
    /// Range from bottom to top.
    pub y: [f64; 2],
    /// Quantity and unit.
    pub x_name: &'a str,
    /// Quantity and unit.
    pub y_name: &'a str,
    /// Whether the horizontal axis has numbers; otherwise its labels are drawn by [`Canvas::below`].
    pub x_numbers: bool,
    /// Whether the vertical axis has numbers.
    pub y_numbers: bool,
    /// Whether [`Canvas::below`] draws two lines.
    pub two_lines: bool,
    /// Width left of the axis, pixels, where not the usual one.
    pub beside: Option<u32>,
    /// Width right of the panel, pixels.
    pub right: u32,
}

impl Default for Axes<'_> {
    fn default() -> Self {
        Self {
            title: String::new(),
            x: [0.0, 1.0],
            y: [0.0, 1.0],
            x_name: "",
            y_name: "",
            x_numbers: true,
            y_numbers: true,
            two_lines: false,
            beside: None,
            right: 28,
        }
    }
}

/// A panel with its axes.
pub(super) struct Canvas<B: DrawingBackend> {
    outer: DrawingArea<B, Shift>,
    plot: DrawingArea<B, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    x: [f64; 2],
    y: [f64; 2],
}

impl<B: DrawingBackend> Canvas<B>
where
    B::ErrorType: 'static,
{
    /// Draws the axes.
    pub(super) fn new(area: &DrawingArea<B, Shift>, axes: &Axes) -> Result<Self, DrawingFailure> {
        let beside = axes.beside.unwrap_or(BESIDE);
        let below = if axes.two_lines {
            BELOW_TWO_LINES
        } else {
            BELOW
        };
        area.draw_text(&axes.title, &text(TEXT, INK), ((GAP + beside) as i32, 8))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(PANEL_TITLE)
            .margin_left(GAP)
            .margin_right(axes.right)
            .margin_bottom(GAP)
            .x_label_area_size(below)
            .y_label_area_size(beside)
            .build_cartesian_2d(
                axis(axes.x_name, axes.x[0]..axes.x[1])?,
                axis(axes.y_name, axes.y[0]..axes.y[1])?,
            )?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(if axes.x_numbers { 6 } else { 0 })
            .y_labels(if axes.y_numbers { 7 } else { 0 })
            .x_label_formatter(&|x| minus(&trimmed(*x)))
            .y_label_formatter(&|y| minus(&trimmed(*y)))
            .x_desc(axes.x_name)
            .y_desc(axes.y_name)
            .label_style(text(TEXT, INK))
            .axis_desc_style(text(TEXT, INK));
        if !axes.x_numbers {
            mesh.disable_x_mesh();
        }
        if !axes.y_numbers {
            mesh.disable_y_mesh();
        }
        mesh.draw()?;
        Ok(Self {
            outer: area.clone(),
            plot: chart.plotting_area().clone(),
            x: axes.x,
            y: axes.y,
        })
    }

    /// Pixel of a point in the panel's whole area.
    fn pixel(&self, at: [f64; 2]) -> (i32, i32) {
        let (x, y) = self.plot.map_coordinate(&(at[0], at[1]));
        let (left, top) = self.outer.get_base_pixel();
        (x - left, y - top)
    }

    pub(super) fn line(
        &self,
        points: &[[f64; 2]],
        style: ShapeStyle,
    ) -> Result<(), DrawingFailure> {
        let points: Vec<(i32, i32)> = points.iter().map(|at| self.pixel(*at)).collect();
        self.outer.draw(&PathElement::new(points, style))?;
        Ok(())
    }

    /// A line from side to side at a height.
    pub(super) fn level(&self, y: f64, style: ShapeStyle) -> Result<(), DrawingFailure> {
        self.line(&[[self.x[0], y], [self.x[1], y]], style)
    }

    /// A dashed line from side to side at a height.
    pub(super) fn dashed_level(&self, y: f64, colour: RGBColor) -> Result<(), DrawingFailure> {
        let [from, to] = [self.x[0], self.x[1]].map(|x| self.pixel([x, y]));
        dashed(&self.outer, from, to, colour)
    }

    /// The line of a case from mark to mark, broken where a point is missing.
    pub(super) fn case(
        &self,
        points: &[Option<[f64; 2]>],
        mark: usize,
        size: i32,
    ) -> Result<(), DrawingFailure> {
        for run in points.split(Option::is_none) {
            let run: Vec<[f64; 2]> = run.iter().copied().flatten().collect();
            self.line(&run, colour(mark).mix(0.45).stroke_width(2))?;
            for at in run {
                self.mark(at, mark, size)?;
            }
        }
        Ok(())
    }

    pub(super) fn mark(&self, at: [f64; 2], mark: usize, size: i32) -> Result<(), DrawingFailure> {
        draw_mark(&self.outer, self.pixel(at), mark, size)
    }

    /// Words under the axis at `x`, in line 0 or 1.
    pub(super) fn below(&self, x: f64, line: i32, words: &str) -> Result<(), DrawingFailure> {
        let (x, y) = self.pixel([x, self.y[0]]);
        let style = text(TEXT, INK).pos(Pos::new(HPos::Center, VPos::Top));
        let at = (x, y + 8 + 28 * line);
        self.outer.draw(&Text::new(words.to_owned(), at, style))?;
        Ok(())
    }

    /// Words centred over a place in the panel.
    pub(super) fn above(&self, at: [f64; 2], words: &str) -> Result<(), DrawingFailure> {
        let style = text(30, INK).pos(Pos::new(HPos::Center, VPos::Center));
        self.outer
            .draw(&Text::new(words.to_owned(), self.pixel(at), style))?;
        Ok(())
    }

    /// Words left of the axis at a height.
    pub(super) fn beside(&self, y: f64, words: &str) -> Result<(), DrawingFailure> {
        let (x, y) = self.pixel([self.x[0], y]);
        let style = text(TEXT, INK).pos(Pos::new(HPos::Right, VPos::Center));
        self.outer
            .draw(&Text::new(words.to_owned(), (x - 12, y + 3), style))?;
        Ok(())
    }

    /// Words right of the panel at heights from the top down, moved apart where they would overlap.
    pub(super) fn right_of(&self, labels: &[(f64, String)]) -> Result<(), DrawingFailure> {
        let mut lowest = i32::MIN;
        for (height, words) in labels {
            let (x, y) = self.pixel([self.x[1], *height]);
            let y = y.max(lowest.saturating_add(TEXT as i32 + 2));
            lowest = y;
            let style = text(TEXT, INK).pos(Pos::new(HPos::Left, VPos::Center));
            self.outer
                .draw(&Text::new(words.clone(), (x + 8, y + 3), style))?;
        }
        Ok(())
    }
}

/// The range of some values with a margin; 0 to 1 when there are none.
pub(super) fn padded(values: impl IntoIterator<Item = f64>) -> [f64; 2] {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.into_iter().filter(|value| value.is_finite()) {
        low = low.min(value);
        high = high.max(value);
    }
    if low > high {
        return [0.0, 1.0];
    }
    let size = low.abs().max(high.abs()).max(1e-9);
    let margin = 0.08 * (high - low).max(0.02 * size);
    [low - margin, high + margin]
}

/// Factor and unit that give loads short numbers: kN from 1000 N.
pub(super) fn force_unit(loads: impl IntoIterator<Item = f64>) -> (f64, &'static str) {
    match loads.into_iter().any(|load| load >= 1000.0) {
        true => (1e-3, "kN"),
        false => (1.0, "N"),
    }
}

/// A number with the minus sign of print.
pub(super) fn minus(number: &str) -> String {
    number.replace('-', "−")
}

/// A number with its sign, as offsets and differences are written.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    minus(&format!("{value:+.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_has_lines_that_fit() {
        let key: Vec<Key> = (0..12)
            .map(|n| Key::Mark(n, format!("group with a long name {n}")))
            .collect();
        let lines = key_lines(LEAST_WIDTH, &key);
        assert!(lines.len() > 2);
        assert_eq!(lines.iter().map(Vec::len).sum::<usize>(), key.len());
        for line in &lines {
            let widths = line.iter().map(|e| e.sign_width() + words_width(e.words()));
            let gaps = KEY_GAP * (line.len() as u32 - 1);
            assert!(EDGE + widths.sum::<u32>() + gaps <= LEAST_WIDTH - EDGE);
        }
        let further = KEY_LINE * (lines.len() as u32 - 1);
        assert_eq!(head(LEAST_WIDTH, &key), HEAD + further);
        assert_eq!(head(LEAST_WIDTH, &key[..1]), HEAD);
        assert_eq!(head(LEAST_WIDTH, &[]), HEAD);
        assert_eq!(
            size(&[4], &key).1 - size(&[4], &key[..1]).1,
            KEY_LINE * (key_lines(3 * PANEL[0], &key).len() as u32 - 1)
        );
    }
}
