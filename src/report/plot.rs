//! The force-displacement figure, as SVG and PNG, drawn from the points of `curve.csv` and nothing else.

use std::sync::OnceLock;

use anyhow::anyhow;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::curve::CurvePoint;
use super::figure::{DrawingFailure, Figure, axis};

/// DejaVu Sans, unmodified; its licence stands beside it in `assets/`.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");
const FAMILY: &str = "sans-serif";

/// Size of the figure in pixels. The SVG has the same coordinates.
const SIZE: (u32, u32) = (1200, 800);

pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const SOFT_INK: RGBColor = RGBColor(0x66, 0x66, 0x66);
pub(crate) const FAINT: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const GREY: RGBColor = RGBColor(0x9a, 0x9a, 0x9a);
pub(crate) const BLUE_INK: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
pub(crate) const RED_INK: RGBColor = RGBColor(0xc0, 0x2f, 0x2a);

/// What the figure shows.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveFigure<'a> {
    /// First line, such as `left femur`.
    pub title: String,
    /// Second line, such as protocol and outcome.
    pub subtitle: String,
    /// The curve.
    pub curve: &'a [CurvePoint],
    /// Displacement (mm) and force (N) of the failure load, where there is one.
    pub failure: Option<(f64, f64)>,
    /// Initial stiffness, N/mm, drawn as a faint line.
    pub stiffness_n_per_mm: Option<f64>,
}

impl Figure for CurveFigure<'_> {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        use_bundled_font()?;
        let scale = Scale::of(self.curve);
        let (right, top) = (scale.x_end, scale.y_end);
        let body = below_heading(area, (&self.title, 32), &self.subtitle, 92)?;

        let mut chart = ChartBuilder::on(&body)
            .x_label_area_size(72)
            .y_label_area_size(92)
            .build_cartesian_2d(axis("displacement", 0.0..right)?, axis("force", 0.0..top)?)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(9)
            .y_labels(8)
            .x_label_formatter(&|x| trimmed(*x))
            .y_label_formatter(&|y| trimmed(*y))
            .x_desc("displacement (mm)")
            .y_desc(format!("force ({})", scale.unit))
            .label_style(text(20, INK))
            .axis_desc_style(text(23, INK))
            .draw()?;

        if let Some(stiffness) = self.stiffness_n_per_mm.filter(|k| *k > 0.0) {
            let slope = stiffness * scale.per_n;
            let end = (top / slope).min(right);
            chart.draw_series(LineSeries::new(
                [(0.0, 0.0), (end, slope * end)],
                GREY.stroke_width(2),
            ))?;
        }
        let points: Vec<(f64, f64)> = std::iter::once((0.0, 0.0))
            .chain(
                self.curve
                    .iter()
                    .map(|p| (p.displacement_mm, p.force_n * scale.per_n)),
            )
            .collect();
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            BLUE_INK.stroke_width(3),
        ))?;
        chart.draw_series(
            points[1..]
                .iter()
                .map(|point| Circle::new(*point, 3, BLUE_INK.filled())),
        )?;
        if let Some((at_mm, load_n)) = self.failure {
            mark_failure(&mut chart, (at_mm, load_n * scale.per_n), load_n, right)?;
        }
        self.draw_legend(&chart.plotting_area().strip_coord_spec())?;
        area.present()?;
        Ok(())
    }
}

impl CurveFigure<'_> {
    /// The key, in the lower right corner, which neither a rising nor a falling curve crosses.
    fn draw_legend<B: DrawingBackend>(
        &self,
        plot: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        B::ErrorType: 'static,
    {
        let mut lines = vec![(BLUE_INK, "converged increments".to_owned())];
        if let Some(stiffness) = self.stiffness_n_per_mm.filter(|k| *k > 0.0) {
            lines.push((GREY, format!("initial stiffness {stiffness:.0} N/mm")));
        }
        lines.push(match self.failure {
            Some((at_mm, load_n)) => (
                RED_INK,
                format!("failure load {load_n:.0} N at {at_mm:.2} mm"),
            ),
            None => (INK, "no failure load".to_owned()),
        });
        let (width, height) = plot.dim_in_pixel();
        let (width, height) = (width as i32, height as i32);
        let row = 32;
        let (box_width, box_height) = (430, 20 + row * lines.len() as i32);
        let left = width - box_width - 16;
        let top = height - box_height - 16;
        plot.draw(&Rectangle::new(
            [(left, top), (left + box_width, top + box_height)],
            WHITE.mix(0.92).filled(),
        ))?;
        plot.draw(&Rectangle::new(
            [(left, top), (left + box_width, top + box_height)],
            FAINT.stroke_width(1),
        ))?;
        for (number, (colour, label)) in lines.into_iter().enumerate() {
            let y = top + 10 + row * number as i32 + row / 2;
            if colour == RED_INK {
                plot.draw(&Circle::new((left + 32, y), 8, colour.filled()))?;
            } else if colour != INK {
                plot.draw(&PathElement::new(
                    [(left + 14, y), (left + 50, y)],
                    colour.stroke_width(3),
                ))?;
            }
            let style = text(20, INK).pos(Pos::new(HPos::Left, VPos::Center));
            plot.draw(&Text::new(label, (left + 64, y + 3), style))?;
        }
        Ok(())
    }
}

/// Draws title (with its size) and subtitle on white, `left` pixels from the margin, and gives what is below them.
pub(crate) fn below_heading<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    (title, size): (&str, u32),
    subtitle: &str,
    left: i32,
) -> Result<DrawingArea<B, plotters::coord::Shift>, DrawingFailure>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let (head, body) = area.margin(24, 20, 24, 36).split_vertically(84);
    head.draw_text(title, &text(size, INK), (left, 4))?;
    head.draw_text(subtitle, &text(20, SOFT_INK), (left, 46))?;
    Ok(body)
}

type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;

/// Draws the failure load at `at` with its value beside it; `right` is the end of the displacement axis.
fn mark_failure<B: DrawingBackend>(
    chart: &mut ChartContext<'_, B, Plane>,
    at: (f64, f64),
    load_n: f64,
    right: f64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    B::ErrorType: 'static,
{
    let thin = RED_INK.mix(0.4).stroke_width(1);
    chart.draw_series([
        PathElement::new([(at.0, 0.0), at], thin),
        PathElement::new([(0.0, at.1), at], thin),
    ])?;
    chart.draw_series([Circle::new(at, 8, RED_INK.filled())])?;
    // Beside the edges the label grows inwards.
    let anchor = match at.0 / right {
        part if part < 0.1 => HPos::Left,
        part if part > 0.9 => HPos::Right,
        _ => HPos::Center,
    };
    let style = text(20, RED_INK).pos(Pos::new(anchor, VPos::Bottom));
    let plot = chart.plotting_area();
    let (x, y) = plot.map_coordinate(&at);
    let (left, above) = plot.get_base_pixel();
    let label = Text::new(format!("{load_n:.0} N"), (x - left, y - above - 16), style);
    plot.strip_coord_spec().draw(&label)?;
    Ok(())
}

/// Ends of the axes and unit of the force.
struct Scale {
    x_end: f64,
    y_end: f64,
    per_n: f64,
    unit: &'static str,
}

impl Scale {
    fn of(curve: &[CurvePoint]) -> Self {
        let largest = |value: fn(&CurvePoint) -> f64| {
            curve
                .iter()
                .map(value)
                .filter(|v| v.is_finite())
                .fold(0.0, f64::max)
        };
        let force_n = largest(|p| p.force_n);
        let displacement_mm = largest(|p| p.displacement_mm);
        let (per_n, unit) = if force_n >= 1000.0 {
            (1e-3, "kN")
        } else {
            (1.0, "N")
        };
        let end = |value: f64| if value > 0.0 { value } else { 1.0 };
        Self {
            x_end: end(displacement_mm) * 1.04,
            y_end: end(force_n * per_n) * 1.12,
            per_n,
            unit,
        }
    }
}

/// A number without needless zeros.
pub(crate) fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

pub(crate) fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FAMILY, size).into_font().color(&colour)
}

/// Registers the bundled font once: no figure depends on what the machine has installed.
pub(crate) fn use_bundled_font() -> anyhow::Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered =
        REGISTERED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok());
    if *registered {
        Ok(())
    } else {
        Err(anyhow!("the bundled font cannot be read"))
    }
}
