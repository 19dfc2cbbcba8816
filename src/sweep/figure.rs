//! The sensitivity curve of a sweep: the compared load over erosion and dilation, as SVG and PNG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Sweep;
use crate::plan::{MorphUnit, Plan};
use crate::report::figure::{DrawingFailure, Figure, axis};
use crate::report::plot::{
    BLUE_INK, FAINT, INK, RED_INK, SOFT_INK, below_heading, text, trimmed, use_bundled_font,
};

/// What the figure shows.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepFigure {
    /// First line.
    pub title: String,
    /// Second line.
    pub subtitle: String,
    /// Name of the compared quantity and its unit.
    pub quantity: (&'static str, &'static str),
    /// Name of the levels' unit.
    pub unit: String,
    /// Level, value, and change against level 0 in percent.
    pub points: Vec<(f64, f64, Option<f64>)>,
    /// Levels without a value, and the word for why.
    pub missing: Vec<(f64, String)>,
}

impl SweepFigure {
    /// The figure of a sweep.
    pub fn of(sweep: &Sweep, plan: &Plan) -> Self {
        let title = sweep.quantity.title();
        Self {
            title: format!(
                "Sensitivity of the {title} to the mask, {}",
                sweep.which(plan)
            ),
            subtitle: plan.protocol.clone(),
            quantity: (title, sweep.quantity.unit()),
            unit: match sweep.unit {
                MorphUnit::StandardDeviation => "standard deviations of its surface".into(),
                unit => unit.to_string(),
            },
            points: sweep
                .levels
                .iter()
                .filter_map(|level| Some((level.morph, level.value?, level.change_percent)))
                .collect(),
            missing: sweep
                .levels
                .iter()
                .filter(|level| level.value.is_none())
                .map(|level| (level.morph, level.status.replace('_', " ")))
                .collect(),
        }
    }
}

impl Figure for SweepFigure {
    fn size(&self) -> (u32, u32) {
        (1200, 800)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        use_bundled_font()?;
        let (name, unit) = self.quantity;
        let largest = self.points.iter().map(|p| p.1).fold(0.0, f64::max);
        let (per_n, unit) = match unit {
            "N" if largest >= 1000.0 => (1e-3, "kN"),
            "N/mm" if largest >= 1000.0 => (1e-3, "kN/mm"),
            unit => (1.0, unit),
        };
        let all = || {
            let missing = self.missing.iter().map(|m| m.0);
            self.points.iter().map(|p| p.0).chain(missing)
        };
        let low = all().fold(0.0, f64::min);
        let high = all().fold(0.0, f64::max);
        let margin = 0.08 * (high - low).max(1.0);
        let top = if largest > 0.0 {
            largest * per_n * 1.18
        } else {
            1.0
        };
        let body = below_heading(area, (&self.title, 30), &self.subtitle, 92)?;
        let mut chart = ChartBuilder::on(&body)
            .x_label_area_size(72)
            .y_label_area_size(92)
            .build_cartesian_2d(
                axis("levels", low - margin..high + margin)?,
                axis(name, 0.0..top)?,
            )?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(9)
            .y_labels(8)
            .x_label_formatter(&|x| trimmed(*x))
            .y_label_formatter(&|y| trimmed(*y))
            .x_desc(format!(
                "erosion (−) and dilation (+) of the mask ({})",
                self.unit
            ))
            .y_desc(format!("{name} ({unit})"))
            .label_style(text(20, INK))
            .axis_desc_style(text(23, INK))
            .draw()?;
        let points: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|&(morph, value, _)| (morph, value * per_n))
            .collect();
        if let Some(&(_, base)) = points.iter().find(|point| point.0 == 0.0) {
            chart.draw_series(LineSeries::new(
                [(low - margin, base), (high + margin, base)],
                SOFT_INK.mix(0.6).stroke_width(1),
            ))?;
        }
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            BLUE_INK.stroke_width(3),
        ))?;
        for (&point, &(morph, value, change)) in points.iter().zip(&self.points) {
            let is_base = morph == 0.0;
            let colour = if is_base { RED_INK } else { BLUE_INK };
            chart.draw_series([Circle::new(point, 8, colour.filled())])?;
            let label = match change.filter(|_| !is_base) {
                Some(change) => format!("{change:+.1} %"),
                None => format!("{value:.0} {}", self.quantity.1),
            };
            self.label(&chart, point, &label, colour)?;
        }
        for (morph, word) in &self.missing {
            let point = (*morph, 0.0);
            chart.draw_series([Cross::new(point, 9, RED_INK.stroke_width(3))])?;
            self.label(&chart, point, word, RED_INK)?;
        }
        area.present()?;
        Ok(())
    }
}

impl SweepFigure {
    /// Writes above a point.
    fn label<B: DrawingBackend>(
        &self,
        chart: &ChartContext<
            '_,
            B,
            Cartesian2d<
                plotters::coord::types::RangedCoordf64,
                plotters::coord::types::RangedCoordf64,
            >,
        >,
        at: (f64, f64),
        label: &str,
        colour: RGBColor,
    ) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let style = text(20, colour).pos(Pos::new(HPos::Center, VPos::Bottom));
        let plot = chart.plotting_area();
        let (x, y) = plot.map_coordinate(&at);
        let (left, above) = plot.get_base_pixel();
        let label = Text::new(label.to_owned(), (x - left, y - above - 16), style);
        plot.strip_coord_spec().draw(&label)?;
        Ok(())
    }
}
