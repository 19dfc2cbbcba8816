//! The surface of a vertebra whose endplates are where the image has them.
//!
//! Under each endplate the mask's surface is shifted along the axis by the distance of the two caps, less and less down
//! to 10 mm below; then what rises above the cap is cut off and what does not reach it is filled. Beside the body, at its
//! processes, nothing changes.

use imaging::distance::signed_distance_mm;
use imaging::resample::linear;
use imaging::{Grid, Mask, Volume};
use meshing::tetrahedral::Solid;
use meshing::{Frame, LevelSet};
use nalgebra::Vector3;

use crate::anatomy::endplate::{BodyAxes, ImageEndplate, ImageEndplates};

/// Depth under the endplate over which the shift fades, mm.
const FADE_MM: f64 = 10.0;
/// The shift is whole so far inside the endplate's outline and gone so far outside it, mm.
const OUTLINE_MM: [f64; 2] = [1.0, -2.0];
/// Thickness of the layer that is filled up to the cap, mm: more than the search reaches.
const FILL_MM: f64 = 6.0;
/// Half the width of the square that outlines are drawn on, mm.
const REACH_MM: f64 = 50.0;

/// A vertebra between the caps of its image.
pub struct BetweenCaps<'a> {
    surface: &'a LevelSet,
    frame: Frame,
    axes: BodyAxes,
    /// The axis in the model frame.
    up: Vector3<f64>,
    ends: [End; 2],
}

struct End {
    plate: ImageEndplate,
    sense: f64,
    /// Distance outside the outline of the endplate, mm, on a grid over the plane across the axis.
    outline: Volume<f32>,
}

/// Where a position is with respect to an endplate.
#[derive(Clone, Copy, Debug)]
pub struct AtEndplate {
    /// Height above the cap, outwards, mm.
    pub above_mm: f64,
    /// Distance inside the endplate's outline, mm.
    pub within_mm: f64,
}

impl<'a> BetweenCaps<'a> {
    /// The surface of a mask between these endplates.
    ///
    /// # Errors
    /// When an endplate has no outline.
    pub fn new(surface: &'a LevelSet, endplates: &ImageEndplates) -> imaging::Result<Self> {
        let frame = surface.frame().clone();
        let axes = endplates.axes;
        let end = |plate: &ImageEndplate, sense: f64| -> imaging::Result<End> {
            Ok(End {
                outline: outline(plate)?,
                plate: plate.clone(),
                sense,
            })
        };
        Ok(Self {
            up: Vector3::from(frame.direction_to_model(axes.axes[2].into())),
            ends: [end(&endplates.cranial, 1.0)?, end(&endplates.caudal, -1.0)?],
            surface,
            frame,
            axes,
        })
    }

    /// Where a position of the model frame is with respect to the cranial and the caudal endplate.
    pub fn at_endplates(&self, model: [f64; 3]) -> [AtEndplate; 2] {
        let [u, v, z] = self
            .axes
            .coordinates(Vector3::from(self.frame.to_world(model)));
        [0, 1].map(|n| {
            let end = &self.ends[n];
            AtEndplate {
                above_mm: end.sense * (z - end.plate.cap.height_mm(u, v)),
                within_mm: end.within_mm(u, v),
            }
        })
    }
}

impl End {
    fn within_mm(&self, u: f64, v: f64) -> f64 {
        let at = self.outline.grid.to_index(Vector3::new(u, v, 0.0));
        -linear(&self.outline, at)
    }
}

impl Solid for BetweenCaps<'_> {
    fn depth_mm(&self, at: [f64; 3]) -> f64 {
        let [u, v, z] = self
            .axes
            .coordinates(Vector3::from(self.frame.to_world(at)));
        let mut shift = 0.0;
        let (mut cut, mut fill) = (f64::INFINITY, f64::NEG_INFINITY);
        for end in &self.ends {
            let within = end.within_mm(u, v);
            let weight = smooth_step((within - OUTLINE_MM[1]) / (OUTLINE_MM[0] - OUTLINE_MM[1]));
            if weight == 0.0 {
                continue;
            }
            let cap = end.plate.cap.height_mm(u, v);
            let above = end.sense * (z - cap);
            if above < -FADE_MM {
                continue;
            }
            let fade = smooth_step((above + FADE_MM) / FADE_MM);
            shift += (cap - end.plate.mask_cap.height_mm(u, v)) * weight * fade;
            cut = f64::min(cut, -above + (1.0 - weight) * REACH_MM);
            fill = f64::max(
                fill,
                (-above).min(FILL_MM + above).min(within - OUTLINE_MM[0]),
            );
        }
        let from = Vector3::from(at) - self.up * shift;
        self.surface.depth_mm(from.into()).max(fill).min(cut)
    }

    fn is_thin(&self, at: [f64; 3]) -> bool {
        self.surface.is_thin(at)
    }
}

/// 0 below 0, 1 above 1, smooth between.
fn smooth_step(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Signed distance from the outline of the lines that meet an endplate, mm, on a grid whose world coordinates are u and v.
fn outline(plate: &ImageEndplate) -> imaging::Result<Volume<f32>> {
    let side = 2 * REACH_MM as usize + 1;
    let mut grid = Grid::axis_aligned([side, side, 1], [1.0; 3]);
    grid.origin_mm = Vector3::new(-REACH_MM, -REACH_MM, 0.0);
    let mut mask: Mask = Volume::filled(grid.clone(), false);
    for &[u, v] in &plate.lines {
        let at = grid.to_index(Vector3::new(u, v, 0.0)).map(f64::round);
        if (0..2).all(|a| at[a] >= 0.0 && at[a] < side as f64) {
            mask.data[grid.index(at.x as usize, at.y as usize, 0)] = true;
        }
    }
    signed_distance_mm(&mask)
}
