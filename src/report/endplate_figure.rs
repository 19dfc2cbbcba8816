//! The endplate figure: where the endplates of a vertebra were found, on two slices through its body.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use imaging::resample::linear;
use imaging::{LabelMap, Volume};
use nalgebra::Vector3;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::plot::{BLUE_INK, INK, RED_INK, SOFT_INK, text, use_bundled_font};
use crate::anatomy::VertebraLandmarks;
use crate::anatomy::endplate::{BodyAxes, ImageEndplates};

/// Size of the figure in pixels.
const SIZE: (u32, u32) = (1500, 860);
/// Grey levels run over this range, mg/cm³: soft tissue to cortical bone.
const WINDOW_MG_CM3: [f64; 2] = [-100.0, 700.0];
/// Half the width and half the height of what each slice shows, mm.
const HALF_MM: [f64; 2] = [48.0, 42.0];
/// Distance of the samples that a curve is drawn through, mm.
const STEP_MM: f64 = 0.5;
/// How far a plane is drawn to each side of its point, mm.
const PLANE_MM: f64 = 24.0;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What the figure shows.
pub struct EndplateFigure<'a> {
    /// Density, mg/cm³.
    pub density: &'a Volume<f32>,
    /// The bone, on the same grid.
    pub labels: &'a LabelMap,
    /// Endplates of the mask.
    pub of_mask: &'a VertebraLandmarks,
    /// Endplates of the image, where they were looked for.
    pub of_image: Option<&'a ImageEndplates>,
    /// Name of the bone.
    pub bone: String,
    /// Height of the body that the load refers to, mm.
    pub height_mm: f64,
}

impl EndplateFigure<'_> {
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
        let (head, body) = area.margin(20, 16, 24, 24).split_vertically(92);
        head.draw_text(&format!("Endplates, {}", self.bone), &text(30, INK), (0, 4))?;
        let source = if self.of_image.is_some() {
            "blue: the image's endplates; red: planes fitted to the mask's surface"
        } else {
            "red: planes fitted to the mask's surface"
        };
        let line = format!(
            "{source}; yellow: the mask. Height {:.1} mm, {} to {} mg/cm³",
            self.height_mm, WINDOW_MG_CM3[0], WINDOW_MG_CM3[1]
        );
        head.draw_text(&line, &text(20, SOFT_INK), (0, 46))?;
        let (left, right) = body.split_horizontally((SIZE.0 as i32 - 48) / 2);
        let (left, right) = (left.margin(0, 0, 0, 16), right.margin(0, 0, 16, 0));
        let axes = BodyAxes::new(self.of_mask.body_centroid_mm, self.of_mask.axis);
        self.slice(&left, &axes, 1, "from the side: back at the left")?;
        self.slice(
            &right,
            &axes,
            0,
            "from the front: the patient's right at the left",
        )?;
        area.present()?;
        Ok(())
    }

    /// The slice through the body's middle along its axis and along axis `across` of it.
    fn slice(
        &self,
        area: &DrawingArea<BitMapBackend, Shift>,
        axes: &BodyAxes,
        across: usize,
        caption: &str,
    ) -> Result<(), AnyError> {
        let (width, height) = area.dim_in_pixel();
        let scale = (f64::from(width) / (2.0 * HALF_MM[0]))
            .min((f64::from(height) - 40.0) / (2.0 * HALF_MM[1]));
        let size = HALF_MM.map(|half| (2.0 * half * scale) as i32);
        // LPS: the first axis across runs to the patient's left, the second to the back.
        let sign = if across == 1 { -1.0 } else { 1.0 };
        let world = |along: f64, z: f64| {
            let mut at = [0.0, 0.0, z];
            at[across] = sign * along;
            axes.world(at)
        };
        let pixel = |along: f64, z: f64| {
            (
                ((along + HALF_MM[0]) * scale) as i32,
                ((HALF_MM[1] - z) * scale) as i32,
            )
        };
        let grid = &self.density.grid;
        let voxel = |at: Vector3<f64>| {
            let index = grid.to_index(at).map(f64::round);
            let within = (0..3).all(|a| index[a] >= 0.0 && index[a] < grid.size[a] as f64);
            within.then(|| [index.x, index.y, index.z].map(|v| v as usize))
        };
        let inside =
            |at: Vector3<f64>| voxel(at).is_some_and(|[i, j, k]| self.labels.at(i, j, k) != 0);
        for py in 0..size[1] {
            for px in 0..size[0] {
                let along = (f64::from(px) + 0.5) / scale - HALF_MM[0];
                let z = HALF_MM[1] - (f64::from(py) + 0.5) / scale;
                let at = world(along, z);
                if voxel(at).is_none() {
                    // Beyond the image: left white.
                    continue;
                }
                let density = linear(self.density, grid.to_index(at));
                let level = (density - WINDOW_MG_CM3[0]) / (WINDOW_MG_CM3[1] - WINDOW_MG_CM3[0]);
                let grey = (255.0 * level.clamp(0.0, 1.0)) as u8;
                let step = 1.0 / scale;
                let border = inside(at)
                    && !(inside(world(along + step, z))
                        && inside(world(along - step, z))
                        && inside(world(along, z + step))
                        && inside(world(along, z - step)));
                let colour = if border {
                    RGBColor(230, 190, 40)
                } else {
                    RGBColor(grey, grey, grey)
                };
                area.draw_pixel((px, py), &colour)?;
            }
        }
        for plane in [&self.of_mask.cranial, &self.of_mask.caudal] {
            let [u, v, z] = axes.coordinates(plane.point_mm);
            let at = sign * [u, v][across];
            // The plane's height in this slice, which may miss its point.
            let up = axes.axes[2].dot(&plane.normal);
            let slope = sign * axes.axes[across].dot(&plane.normal) / up;
            let beside = [u, v][1 - across] * axes.axes[1 - across].dot(&plane.normal) / up;
            let line = [-PLANE_MM, PLANE_MM].map(|d| pixel(at + d, z + beside - slope * d));
            area.draw(&PathElement::new(line, RED_INK.stroke_width(2)))?;
        }
        if let Some(found) = self.of_image {
            for plate in [&found.cranial, &found.caudal] {
                let of_slice: Vec<f64> = plate
                    .lines
                    .iter()
                    .filter(|line| line[1 - across].abs() <= 1.0)
                    .map(|line| line[across])
                    .collect();
                let low = of_slice.iter().copied().fold(f64::INFINITY, f64::min);
                let high = of_slice.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if low > high {
                    continue;
                }
                let steps = ((high - low) / STEP_MM).ceil().max(1.0) as usize;
                let curve = (0..=steps).map(|n| {
                    let along = low + (high - low) * n as f64 / steps as f64;
                    let mut across_axis = [0.0; 2];
                    across_axis[across] = along;
                    let z = plate.cap.height_mm(across_axis[0], across_axis[1]);
                    pixel(sign * along, z)
                });
                area.draw(&PathElement::new(
                    curve.collect::<Vec<_>>(),
                    BLUE_INK.stroke_width(3),
                ))?;
            }
        }
        area.draw_text(caption, &text(18, SOFT_INK), (0, size[1] + 10))?;
        Ok(())
    }
}
