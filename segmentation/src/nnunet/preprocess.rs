//! From a scan to the array the network sees: transpose, crop, normalise, resample, in this order.

use imaging::Mask;
use imaging::components::fill_holes;

use super::plans::{Normalisation, Plans};
use super::resample::{new_shape, resample_image, resample_labels};
use crate::channels::Channels;
use crate::error::{Error, Result};

/// The array the network sees, and what leads back from it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The network's array.
    pub image: Channels<f32>,
    /// Voxels before the crop, transposed.
    pub shape_before_crop: [usize; 3],
    /// First voxel of the crop.
    pub crop: [usize; 3],
    /// Voxels of the crop at the scan's own spacing.
    pub cropped_shape: [usize; 3],
    /// The scan's spacing, transposed, mm.
    pub spacing_mm: [f64; 3],
    /// The network's spacing, mm.
    pub network_spacing_mm: [f64; 3],
}

/// Prepares a scan; `previous` is the label map of the stage before, of the scan's own shape (cascade).
///
/// # Errors
/// [`Error::Image`] when the scan has another number of channels, holds one value only, values that are not numbers or voxels too
/// far apart.
pub fn prepare(
    plans: &Plans,
    scan: Channels<f32>,
    spacing_mm: [f64; 3],
    previous: Option<Channels<i16>>,
) -> Result<Prepared> {
    check(plans, &scan)?;
    let axes = plans.transpose_forward;
    let scan = scan.transposed(axes);
    let spacing_mm = axes.map(|axis| spacing_mm[axis]);
    let network_spacing_mm = match plans.spacing_mm.as_slice() {
        [y, x] => [spacing_mm[0], *y, *x],
        all => [all[0], all[1], all[2]],
    };
    for axis in 0..3 {
        let limit = COARSEST_MM.max(2.0 * network_spacing_mm[axis]);
        if spacing_mm[axis] > limit {
            return Err(Error::Image(format!(
                "the voxels are {:.3} mm apart; the model was trained at {:.3} mm and takes at most {limit:.3} mm: use a finer reconstruction of the scan",
                spacing_mm[axis], network_spacing_mm[axis]
            )));
        }
    }
    let (low, high) = nonzero_box(&scan)?;
    let shape_before_crop = scan.shape;
    let mut cropped = scan.into_cropped(low, high);
    normalise(plans, &mut cropped)?;
    let cropped_shape = cropped.shape;
    let shape = new_shape(cropped_shape, spacing_mm, network_spacing_mm);
    if shape.contains(&0) {
        return Err(Error::Image(format!(
            "the scan of {cropped_shape:?} voxels (z, y, x) has none left at the model's spacing {network_spacing_mm:?} mm"
        )));
    }
    let mut image = resample_image(cropped, shape, spacing_mm, network_spacing_mm);
    if let Some(previous) = previous {
        let labels = previous.transposed(axes).into_cropped(low, high);
        let labels = resample_labels(labels, shape, spacing_mm, network_spacing_mm);
        for label in plans.labels.names().into_keys() {
            let one = |&found: &i16| f32::from(u8::from(i32::from(found) == i32::from(label)));
            image.data.extend(labels.data.iter().map(one));
        }
    }
    Ok(Prepared {
        image,
        shape_before_crop,
        crop: low,
        cropped_shape,
        spacing_mm,
        network_spacing_mm,
    })
}

/// Voxels further apart than this show no bone, whatever the model was trained on: a limit of ours, four cortices of a femur wide.
const COARSEST_MM: f64 = 8.0;

fn check(plans: &Plans, scan: &Channels<f32>) -> Result<()> {
    let wanted = plans.channel_names.len();
    if scan.voxels() == 0 {
        return Err(Error::Image("the scan has no voxels".into()));
    }
    if scan.channels() != wanted {
        return Err(Error::Image(format!(
            "the model takes {wanted} channels ({}), {} given",
            plans.channel_names.join(", "),
            scan.channels()
        )));
    }
    let bad = scan.data.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        return Err(Error::Image(format!(
            "{bad} voxels are not numbers; replace them before segmenting"
        )));
    }
    for channel in 0..wanted {
        let values = scan.channel(channel);
        if values.iter().all(|&v| v == values[0]) {
            return Err(Error::Image(format!(
                "channel {channel} is {} everywhere: there is nothing to segment",
                values[0]
            )));
        }
    }
    Ok(())
}

/// First voxel and one past the last in which a channel is not zero.
pub(crate) fn nonzero_box(scan: &Channels<f32>) -> Result<([usize; 3], [usize; 3])> {
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    let [_, rows, columns] = scan.shape;
    for channel in 0..scan.channels() {
        for (index, row) in scan.channel(channel).chunks_exact(columns).enumerate() {
            let Some(first) = row.iter().position(|&v| v != 0.0) else {
                continue;
            };
            let last = row.iter().rposition(|&v| v != 0.0).unwrap_or(first);
            let (z, y) = (index / rows, index % rows);
            for (axis, (from, to)) in [(z, z), (y, y), (first, last)].into_iter().enumerate() {
                low[axis] = low[axis].min(from);
                high[axis] = high[axis].max(to + 1);
            }
        }
    }
    if low[0] == usize::MAX {
        return Err(Error::Image("the scan is zero everywhere".into()));
    }
    Ok((low, high))
}

fn normalise(plans: &Plans, image: &mut Channels<f32>) -> Result<()> {
    let voxels = image.voxels();
    let masked = plans
        .normalisation
        .contains(&Normalisation::ZScore { inside: true });
    let inside = match masked {
        true => Some(nonzero_filled(image)?),
        false => None,
    };
    for (values, scheme) in image
        .data
        .chunks_exact_mut(voxels)
        .zip(&plans.normalisation)
    {
        match *scheme {
            Normalisation::Ct {
                low,
                high,
                mean,
                deviation,
            } => {
                for value in values {
                    *value = (value.clamp(low, high) - mean) / deviation;
                }
            }
            Normalisation::ZScore { inside: true } => {
                let inside = inside.as_ref().map_or(&[][..], |mask| &mask.data);
                let of = values.iter().zip(inside).filter(|(_, inside)| **inside);
                let (mean, deviation) = moments(of.map(|(value, _)| *value));
                for (value, _) in values.iter_mut().zip(inside).filter(|(_, inside)| **inside) {
                    *value = (*value - mean) / deviation;
                }
            }
            Normalisation::ZScore { inside: false } => {
                let (mean, deviation) = moments(values.iter().copied());
                for value in values {
                    *value = (*value - mean) / deviation;
                }
            }
            Normalisation::RescaleTo01 => {
                let low = values.iter().copied().fold(f32::INFINITY, f32::min);
                let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let width = (high - low).max(1e-8);
                for value in values {
                    *value = (*value - low) / width;
                }
            }
            Normalisation::RgbTo01 => {
                for value in values {
                    *value /= 255.0;
                }
            }
            Normalisation::None => {}
        }
    }
    Ok(())
}

/// The voxels that are not zero in some channel, holes filled.
fn nonzero_filled(image: &Channels<f32>) -> Result<Mask> {
    let [z, y, x] = image.shape;
    let mut data = vec![false; image.voxels()];
    for channel in 0..image.channels() {
        for (inside, &value) in data.iter_mut().zip(image.channel(channel)) {
            *inside |= value != 0.0;
        }
    }
    let grid = imaging::Grid::axis_aligned([x, y, z], [1.0; 3]);
    Ok(fill_holes(&Mask::new(grid, data)?))
}

/// Mean and population standard deviation, at least 1e-8.
fn moments(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / count;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, variance.sqrt().max(1e-8) as f32)
}
