//! The tornado plot of a budget: a bar per factor from its lowest to its highest load, the widest on top.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::budget::Budget;
use crate::report::figure::{DrawingFailure, Figure, axis};
use crate::report::plot::{
    BLUE_INK, FAINT, INK, RED_INK, SOFT_INK, below_heading, text, trimmed, use_bundled_font,
};

/// Pixels of the figure's width, of a row, and of what stands above and below the rows.
const WIDTH: u32 = 1200;
const ROW: u32 = 64;
const HEAD_AND_AXIS: u32 = 250;
/// Pixels for the names of the factors.
const NAMES: i32 = 200;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    factor: String,
    /// Setting and change, percent.
    low: (String, f64),
    high: (String, f64),
}

/// What the figure shows.
#[derive(Clone, Debug, PartialEq)]
pub struct TornadoFigure {
    title: String,
    subtitle: String,
    /// The widest first.
    bars: Vec<Bar>,
}

impl TornadoFigure {
    /// The figure of a budget of the bone called `which`; `None` where no factor has a value.
    pub fn of(budget: &Budget, which: &str, protocol: &str) -> Option<Self> {
        let base = budget.base?;
        let mut bars: Vec<Bar> = budget
            .rows
            .iter()
            .filter_map(|row| {
                let [low, high] = row.ends(base)?;
                let setting = |setting: &str| setting.replace('_', " ");
                Some(Bar {
                    factor: row.factor.word().replace('-', " "),
                    low: (setting(low.setting), low.change_percent),
                    high: (setting(high.setting), high.change_percent),
                })
            })
            .collect();
        let width = |bar: &Bar| bar.high.1 - bar.low.1;
        // Equal widths keep the order they were asked in.
        bars.sort_by(|a, b| width(b).total_cmp(&width(a)));
        (!bars.is_empty()).then(|| Self {
            title: format!("What moves the {} of the {which}", budget.quantity.title()),
            subtitle: format!(
                "{protocol}; one factor changed at a time; unchanged {base:.0} {}",
                budget.quantity.unit()
            ),
            bars,
        })
    }
}

impl Figure for TornadoFigure {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEAD_AND_AXIS + ROW * self.bars.len() as u32)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        use_bundled_font()?;
        let body = below_heading(area, (&self.title, 30), &self.subtitle, 20)?;
        let least = self.bars.iter().map(|bar| bar.low.1).fold(0.0, f64::min);
        let most = self.bars.iter().map(|bar| bar.high.1).fold(0.0, f64::max);
        // Beside every bar its setting is written.
        let margin = 0.32 * (most - least).max(1.0);
        let rows = self.bars.len() as f64;
        let mut chart = ChartBuilder::on(&body)
            .x_label_area_size(72)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(
                axis("loads", least - margin..most + margin)?,
                axis("factors", 0.0..rows)?,
            )?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(9)
            .x_label_formatter(&|x| trimmed(*x))
            .x_desc("change against the unchanged case (%)")
            .label_style(text(20, INK))
            .axis_desc_style(text(23, INK))
            .draw()?;
        for (number, bar) in self.bars.iter().enumerate() {
            let middle = rows - number as f64 - 0.5;
            for ((_, change), colour) in [(&bar.low, RED_INK), (&bar.high, BLUE_INK)] {
                chart.draw_series([Rectangle::new(
                    [(0.0, middle - 0.28), (*change, middle + 0.28)],
                    colour.mix(0.75).filled(),
                )])?;
            }
        }
        chart.draw_series([PathElement::new(
            [(0.0, 0.0), (0.0, rows)],
            INK.stroke_width(2),
        )])?;
        let plot = chart.plotting_area();
        let (left, above) = plot.get_base_pixel();
        let whole = plot.strip_coord_spec();
        for (number, bar) in self.bars.iter().enumerate() {
            let middle = rows - number as f64 - 0.5;
            let pixel = |change: f64| {
                let (x, y) = plot.map_coordinate(&(change, middle));
                (x - left, y - above)
            };
            for ((setting, change), anchor, step) in
                [(&bar.low, HPos::Right, -10), (&bar.high, HPos::Left, 10)]
            {
                let (x, y) = pixel(*change);
                let at = |dy| (x + step, y + dy);
                let style = |size, colour| text(size, colour).pos(Pos::new(anchor, VPos::Center));
                let label = match *change == 0.0 {
                    true => "unchanged".to_owned(),
                    false => format!("{change:+.1} %"),
                };
                whole.draw(&Text::new(label, at(-11), style(18, INK)))?;
                whole.draw(&Text::new(setting.clone(), at(11), style(16, SOFT_INK)))?;
            }
            let (_, y) = pixel(0.0);
            let style = text(21, INK).pos(Pos::new(HPos::Right, VPos::Center));
            // The names stand left of the plot, in the body's own coordinates.
            let (body_left, body_above) = body.get_base_pixel();
            body.draw(&Text::new(
                bar.factor.clone(),
                (left - body_left - 14, y + above - body_above),
                style,
            ))?;
        }
        area.present()?;
        Ok(())
    }
}
