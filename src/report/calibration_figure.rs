//! The calibration figure: where the rods or tissues were measured, and the line through them.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use calibration::fit::{MINDWAYS_INTERCEPT_OFFSET_HU, MINDWAYS_SLOPE_OFFSET};
use calibration::{Calibration, Method, Rod, Tissue};
use imaging::orientation::to_ras_axes;
use imaging::{Grid, LabelMap, Volume};
use nalgebra::Vector3;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::axis;
use super::plot::{BLUE_INK, FAINT, INK, RED_INK, SOFT_INK, text, trimmed, use_bundled_font};

/// Size of the figure in pixels.
const SIZE: (u32, u32) = (1500, 780);
/// Size of the line alone.
const LINE_SIZE: (u32, u32) = (900, 480);
/// Grey levels run over this range, HU: water and rods are told apart.
const WINDOW_HU: [f64; 2] = [-300.0, 700.0];
/// Radius of the rings drawn around the rods, mm: just outside a rod of the usual phantoms.
const RING_MM: f64 = 12.0;
/// Colours of the tissues, in the order of [`Tissue::ALL`].
const TISSUE_INKS: [RGBColor; 5] = [
    RGBColor(240, 190, 40),
    RGBColor(90, 160, 230),
    RGBColor(220, 50, 60),
    RGBColor(60, 190, 110),
    RGBColor(200, 90, 190),
];

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What the figure shows.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationFigure<'a> {
    /// The calibration.
    pub calibration: &'a Calibration,
    /// The scan the rods or tissues were measured in.
    pub scan: &'a Volume<f32>,
    /// The regions of the tissues, for an internal calibration.
    pub tissues: Option<&'a LabelMap>,
}

impl CalibrationFigure<'_> {
    /// Writes the figure as PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_png(&self, path: &Path) -> anyhow::Result<()> {
        let area = BitMapBackend::new(path, SIZE).into_drawing_area();
        self.draw(&area)
            .map_err(|error| anyhow!("the figure cannot be drawn: {error}"))
            .with_context(|| path.display().to_string())
    }

    fn draw(&self, area: &DrawingArea<BitMapBackend, Shift>) -> Result<(), AnyError> {
        use_bundled_font()?;
        area.fill(&WHITE)?;
        let (head, body) = area.margin(20, 16, 24, 32).split_vertically(84);
        let phantom = match self.calibration.method {
            Method::Internal | Method::TwoPoint => "the patient's own tissues",
            _ => self.calibration.phantom.as_deref().unwrap_or("no phantom"),
        };
        head.draw_text(&format!("Calibration, {phantom}"), &text(30, INK), (0, 4))?;
        head.draw_text(&self.equation(), &text(20, SOFT_INK), (0, 46))?;
        let (scan, line) = body.split_horizontally(SIZE.0 as i32 * 45 / 100);
        self.draw_scan(&scan)?;
        draw_line(self.calibration, &line)?;
        area.present()?;
        Ok(())
    }

    fn equation(&self) -> String {
        let c = self.calibration;
        let mut text = format!(
            "density = {:.5} HU {:+.3} mg/cm³ {}",
            c.slope_mg_cm3_per_hu, c.intercept_mg_cm3, c.kind
        );
        if let Some(q) = c.quadratic_mg_cm3_per_hu2 {
            text += &format!(" {q:+.3e} HU²");
        }
        if let Some(r2) = c.r2 {
            text += &format!(", r² = {r2:.5}");
        }
        text
    }

    /// The slice through the middle of the rods, the patient's right at the left of the picture.
    fn draw_scan(&self, area: &DrawingArea<BitMapBackend, Shift>) -> Result<(), AnyError> {
        let centres: Vec<(&Rod, Vector3<f64>)> = self
            .calibration
            .rods
            .iter()
            .filter_map(|rod| rod.centre_mm.map(|at| (rod, Vector3::from(at))))
            .collect();
        if centres.is_empty() {
            area.draw_text(
                "the rods' places are not known",
                &text(20, SOFT_INK),
                (10, 40),
            )?;
            return Ok(());
        }
        let scan = to_ras_axes(self.scan);
        let grid = &scan.grid;
        let tissues = self.tissues.map(to_ras_axes);
        let place = match &tissues {
            Some(tissues) => richest_slice(tissues),
            None => {
                let sum: Vector3<f64> = centres.iter().map(|(_, at)| at).sum();
                sum / centres.len() as f64
            }
        };
        let middle = grid.to_index(place);
        let slice = (middle.z.round().max(0.0) as usize).min(grid.size[2].saturating_sub(1));
        let extent: Vec<f64> = (0..2)
            .map(|axis| grid.size[axis] as f64 * grid.spacing_mm[axis])
            .collect();
        let (width, height) = area.dim_in_pixel();
        let (width, height) = (f64::from(width) - 40.0, f64::from(height) - 48.0);
        let pixels_per_mm = (width / extent[0]).min(height / extent[1]);
        let shape = extent
            .iter()
            .map(|mm| mm * pixels_per_mm)
            .collect::<Vec<_>>();
        // RAS axes: i runs to the patient's right, drawn leftwards; j to the front, drawn upwards.
        for py in 0..shape[1] as i32 {
            for px in 0..shape[0] as i32 {
                let index = |pixel: i32, axis: usize| {
                    let mm = extent[axis] - (f64::from(pixel) + 0.5) / pixels_per_mm;
                    ((mm / grid.spacing_mm[axis]) as usize).min(grid.size[axis] - 1)
                };
                let (i, j) = (index(px, 0), index(py, 1));
                let hu = f64::from(scan.at(i, j, slice));
                let level = (hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]);
                let grey = (255.0 * level.clamp(0.0, 1.0)) as u8;
                let ink = tissues
                    .as_ref()
                    .and_then(|tissues| tissue_ink(tissues, grid, [i, j, slice]));
                let shade = |ink: u8| ((u16::from(grey) + u16::from(ink)) / 2) as u8;
                let colour = ink.map_or(RGBColor(grey, grey, grey), |RGBColor(r, g, b)| {
                    RGBColor(shade(r), shade(g), shade(b))
                });
                area.draw_pixel((px, py), &colour)?;
            }
        }
        if tissues.is_some() {
            let mut left = 0;
            for (tissue, ink) in Tissue::ALL.iter().zip(TISSUE_INKS) {
                if self
                    .calibration
                    .rods
                    .iter()
                    .any(|rod| rod.name == tissue.name())
                {
                    let below = (left, shape[1] as i32 + 10);
                    area.draw_text(&tissue.name().replace('_', " "), &text(18, ink), below)?;
                    left += 10 * tissue.name().len() as i32 + 24;
                }
            }
            return Ok(());
        }
        for (rod, at) in &centres {
            let index = grid.to_index(*at);
            let pixel = |axis: usize| {
                let mm = extent[axis] - (index[axis] + 0.5) * grid.spacing_mm[axis];
                (mm * pixels_per_mm) as i32
            };
            let at = (pixel(0), pixel(1));
            let ring = (RING_MM * pixels_per_mm) as i32;
            area.draw(&Circle::new(at, ring, RED_INK.stroke_width(2)))?;
            let style = text(18, RED_INK).pos(Pos::new(HPos::Center, VPos::Bottom));
            area.draw(&Text::new(rod.name.clone(), (at.0, at.1 - ring - 3), style))?;
        }
        let caption = format!(
            "slice through the rods, {} to {} HU",
            WINDOW_HU[0], WINDOW_HU[1]
        );
        area.draw_text(&caption, &text(18, SOFT_INK), (0, shape[1] as i32 + 10))?;
        Ok(())
    }
}

/// World position of the slice that shows most tissues, and of those the one with most of them.
fn richest_slice(tissues: &LabelMap) -> Vector3<f64> {
    let [ni, nj, nk] = tissues.grid.size;
    let score = |k: usize| {
        let mut counts = [0usize; TISSUE_INKS.len()];
        for label in &tissues.data[k * ni * nj..(k + 1) * ni * nj] {
            if let Some(count) = usize::from(*label)
                .checked_sub(1)
                .and_then(|l| counts.get_mut(l))
            {
                *count += 1;
            }
        }
        let kinds = counts.iter().filter(|count| **count > 0).count();
        (kinds, counts.iter().sum::<usize>())
    };
    let best = (0..nk).fold((0, (0, 0)), |best, k| {
        let found = score(k);
        if found > best.1 { (k, found) } else { best }
    });
    let place = Vector3::new(ni as f64 / 2.0, nj as f64 / 2.0, best.0 as f64);
    tissues.grid.to_world(place)
}

/// Colour of the tissue at a voxel of the scan; `None` outside every region.
fn tissue_ink(tissues: &LabelMap, scan: &Grid, [i, j, k]: [usize; 3]) -> Option<RGBColor> {
    let world = scan.to_world(Vector3::new(i as f64, j as f64, k as f64));
    let at = tissues.grid.to_index(world);
    let near = |axis: usize| {
        let last = tissues.grid.size[axis].saturating_sub(1);
        (at[axis].round().max(0.0) as usize).min(last)
    };
    let label = usize::from(tissues.at(near(0), near(1), near(2)));
    label
        .checked_sub(1)
        .and_then(|tissue| TISSUE_INKS.get(tissue).copied())
}

/// The figure's right half alone, rods and line, as SVG: the scan is not needed for it.
///
/// # Errors
/// When it cannot be drawn.
pub(in crate::report) fn line_svg(calibration: &Calibration) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, LINE_SIZE).into_drawing_area();
        use_bundled_font()?;
        draw_line(calibration, &area)
            .and_then(|()| Ok(area.present()?))
            .map_err(|error| anyhow!("the figure cannot be drawn: {error}"))?;
    }
    Ok(text)
}

/// The rods against the line they gave.
fn draw_line<B: DrawingBackend>(
    c: &Calibration,
    area: &DrawingArea<B, Shift>,
) -> Result<(), AnyError>
where
    B::ErrorType: 'static,
{
    let points: Vec<(&Rod, f64)> = c.rods.iter().map(|rod| (rod, comparable_hu(rod))).collect();
    let low = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::min);
    let high = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::max);
    let hu = [
        low(&mut points.iter().map(|p| p.1)),
        high(&mut points.iter().map(|p| p.1)),
    ];
    let density = [
        low(&mut points.iter().map(|p| p.0.reference_mg_cm3)),
        high(&mut points.iter().map(|p| p.0.reference_mg_cm3)),
    ];
    let wide = |[low, high]: [f64; 2]| {
        let pad = 0.12 * (high - low);
        low - pad..high + pad
    };
    // High enough for the line at both ends: what leaves the chart would be drawn along its edge.
    let ends = wide(hu);
    let line = [ends.start, ends.end].map(|hu| c.density_mg_cm3(hu));
    let tall = wide(density);
    let tall = tall.start.min(line[0])..tall.end.max(line[1]);
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(72)
        .y_label_area_size(104)
        .build_cartesian_2d(axis("CT number", ends.clone())?, axis("density", tall)?)?;
    let water = points.iter().any(|(rod, _)| rod.water_mg_cm3.is_some());
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(7)
        .y_labels(8)
        .x_label_formatter(&|x| trimmed(*x))
        .y_label_formatter(&|y| trimmed(*y))
        .x_desc(if water {
            "CT number, rod material taken out (HU)"
        } else {
            "CT number (HU)"
        })
        .y_desc(format!("density (mg/cm³ {})", c.kind))
        .label_style(text(18, INK))
        .axis_desc_style(text(21, INK))
        .draw()?;
    // A straight line in one piece: each piece ends on whole pixels.
    let pieces = match c.quadratic_mg_cm3_per_hu2 {
        None => 1,
        Some(_) => 60,
    };
    chart.draw_series(LineSeries::new(
        (0..=pieces).map(|step| {
            let hu = ends.start + (ends.end - ends.start) * f64::from(step) / f64::from(pieces);
            (hu, c.density_mg_cm3(hu))
        }),
        BLUE_INK.stroke_width(3),
    ))?;
    // Muscle and blood stand in one place: names below each other.
    let mut named: Vec<(i32, i32)> = Vec::new();
    for (rod, hu) in points {
        let at = (hu, rod.reference_mg_cm3);
        chart.draw_series([Circle::new(at, 7, RED_INK.filled())])?;
        let plot = chart.plotting_area();
        let (x, y) = plot.map_coordinate(&at);
        let (left, above) = plot.get_base_pixel();
        let (width, _) = plot.dim_in_pixel();
        let name = rod.name.replace('_', " ");
        // On the side where the name has room.
        let (side, beside) = match 12 * name.len() as i32 + x - left > width as i32 {
            true => (HPos::Right, -12),
            false => (HPos::Left, 12),
        };
        let style = text(18, RED_INK).pos(Pos::new(side, VPos::Top));
        let mut place = (x - left + beside, y - above + 4);
        while named
            .iter()
            .any(|(x, y)| place.0.abs_diff(*x) < 90 && place.1.abs_diff(*y) < 18)
        {
            place.1 += 19;
        }
        named.push(place);
        let label = Text::new(name, place, style);
        plot.strip_coord_spec().draw(&label)?;
    }
    Ok(())
}

/// The CT number that stands against the rod's density on the line: for a rod of known water-equivalent
/// density what is left when the rod's material is replaced by water (module page of `calibration::fit`).
fn comparable_hu(rod: &Rod) -> f64 {
    match rod.water_mg_cm3 {
        None => rod.hu_mean,
        Some(water) => {
            rod.hu_mean - water - MINDWAYS_SLOPE_OFFSET * rod.reference_mg_cm3
                + MINDWAYS_INTERCEPT_OFFSET_HU
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mindways_rods_lie_on_their_line() {
        // Worked example of the reference: sigma_ref 1.46, beta_ref -1003 on the Model 3 CT rods.
        let phantom = calibration::Phantom::named("mindways-model3-ct").unwrap();
        let hu = [-66.422, -24.014, 186.535, 345.813, 468.912];
        let rods: Vec<Rod> = phantom
            .rods
            .iter()
            .zip(hu)
            .map(|(rod, hu_mean)| Rod {
                name: rod.name.clone(),
                hu_mean,
                hu_sd: None,
                reference_mg_cm3: rod.equivalent_mg_cm3,
                water_mg_cm3: rod.water_mg_cm3,
                voxels: 100,
                centre_mm: None,
            })
            .collect();
        let calibration = Calibration::fit(&phantom, &rods).unwrap();
        for rod in &rods {
            let on_line = calibration.density_mg_cm3(comparable_hu(rod));
            assert!(
                (on_line - rod.reference_mg_cm3).abs() < 0.01,
                "{}",
                rod.name
            );
        }
    }
}
