//! Proximal femora: one or two in a scan.

use imaging::components::{Connectivity, fill_holes, label_components, largest_component};
use imaging::morphology::morph_mm;
use imaging::shape::centroid_mm;
use imaging::{LabelMap, Mask, Volume};

use super::surface::over_surface;
use super::{Classes, Stages, as_stored, files, lay, part, paste, weights};
use crate::error::{Error, Result};
use crate::network::Device;
use crate::nnunet::{Files, Options};

/// Labels of both networks.
const FEMUR: u16 = 1;
const OTHER_BONE: u16 = 2;

const CLASSES: Classes<'_> = Classes {
    bone: &[FEMUR],
    others: &[0, OTHER_BONE],
};

/// What is smaller is no femur to be computed, mm³: a femoral head alone has 50 cm³.
const LEAST_MM3: f64 = 12_000.0;
/// Heads of one patient are further apart, and pieces of one femur nearer, in mm across the body.
const APART_MM: f64 = 60.0;
/// A bridge thinner than this leads to another bone, mm: necks of femora are ten times thicker.
const BRIDGE_MM: f64 = 3.0;

/// The networks that find femora.
#[derive(Debug)]
pub struct Femora {
    stages: Stages,
}

/// A femur that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Femur {
    /// Its value in the label map: 1 for the one that the coarse network saw more of, 2 for the other.
    pub label: u16,
    /// Its centroid (LPS mm).
    pub centroid_mm: [f64; 3],
    /// How sure its surface is: standard deviation of one look at it, mm; `None` after one look.
    pub doubt_mm: Option<f64>,
    /// Centroid of the bones around it that are no femur (LPS mm); `None` when none are in sight.
    pub other_bones_mm: Option<[f64; 3]>,
}

/// What was found in a scan.
#[derive(Clone, Debug)]
pub struct FoundFemora {
    /// The femora on the scan's grid, by their [`Femur::label`].
    pub labels: LabelMap,
    /// The femora, one or two.
    pub femora: Vec<Femur>,
    /// Standard deviation of the surface of one look, mm, on the scan's grid near the surfaces; `None` after one look.
    pub doubt_mm: Option<Volume<f32>>,
}

impl Femora {
    /// Makes the networks ready on a device.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn load(device: Device) -> Result<Self> {
        let files = [files!("femur-coarse"), files!("femur-fine")];
        Ok(Self {
            stages: Stages::load(files, device)?,
        })
    }

    /// The weights by the names of their models.
    pub fn weights() -> Vec<(&'static str, &'static [u8])> {
        weights([files!("femur-coarse"), files!("femur-fine")])
    }

    /// Finds the femora in a scan in HU. `progress` is told how many runs of a network are done, and of how many; it starts anew with
    /// each look of a network.
    ///
    /// # Errors
    /// [`Error::Image`] when the scan shows no femur, or does not suit the networks.
    pub fn segment(
        &self,
        scan: &Volume<f32>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FoundFemora> {
        let (upright, rough) = self.stages.rough(scan, options, progress)?;
        let places = places(&rough)?;
        let mut labels = LabelMap::filled(upright.grid.clone(), 0);
        let mut doubted = None;
        let mut centroids = vec![];
        for place in &places {
            let range = self.stages.range(&upright.grid, &rough.grid, *place)?;
            let own = part(&upright, range)?;
            let answer = self
                .stages
                .answer(&own, &rough, &CLASSES, options, progress)?;
            let mask = one_piece(&answer.on_part.map(|&ahead| ahead > 0.0))?;
            if mask.count() as f64 * mask.grid.voxel_volume_mm3() < LEAST_MM3 {
                continue;
            }
            let label = centroids.len() as u16 + 1;
            paste(&mut labels, &mask, range[0], label);
            let doubt = answer.doubt_mm.as_ref();
            lay(&mut doubted, &upright.grid, doubt, range[0]);
            let doubt = doubt.map(|map| over_surface(map, &mask));
            centroids.push((label, centroid_mm(&mask)?, doubt));
        }
        if centroids.is_empty() {
            return Err(none());
        }
        let around = rough.select(&[OTHER_BONE]);
        let other_bones_mm = match around.count() {
            0 => None,
            _ => Some(centroid_mm(&around)?.into()),
        };
        let femora = centroids
            .into_iter()
            .map(|(label, centroid, doubt_mm)| Femur {
                label,
                doubt_mm,
                centroid_mm: centroid.into(),
                other_bones_mm,
            })
            .collect();
        Ok(FoundFemora {
            labels: as_stored(&labels, &scan.grid)?,
            femora,
            doubt_mm: doubted.map(|map| as_stored(&map, &scan.grid)).transpose()?,
        })
    }
}

fn none() -> Error {
    Error::Image(
        "no femur was found in the scan; the built-in network knows proximal femora of a CT in HU"
            .into(),
    )
}

/// The largest piece, parted from what hangs on it by less than [`BRIDGE_MM`], holes filled: an opening, of which the largest piece
/// grows back inside the mask (Saillard et al. 2024 remove islands so).
fn one_piece(mask: &Mask) -> Result<Mask> {
    let core = largest_component(&morph_mm(mask, -0.5 * BRIDGE_MM)?, Connectivity::Faces);
    if core.count() == 0 {
        return Ok(fill_holes(&largest_component(mask, Connectivity::Faces)));
    }
    // A little further than it was eroded, or edges would be rounded off.
    let mut grown = morph_mm(&core, BRIDGE_MM)?;
    for (grown, &inside) in grown.data.iter_mut().zip(&mask.data) {
        *grown &= inside;
    }
    Ok(fill_holes(&largest_component(&grown, Connectivity::Faces)))
}

/// Boxes of the coarse network's femora, one or two: the largest piece, and the largest of those far enough across from it.
fn places(rough: &LabelMap) -> Result<Vec<[[usize; 3]; 2]>> {
    let pieces = label_components(&rough.select(&[FEMUR]), Connectivity::Corners);
    let volume = rough.grid.voxel_volume_mm3();
    let mut kept: Vec<(f64, [[usize; 3]; 2])> = vec![];
    for (piece, &size) in (1u32..).zip(&pieces.sizes) {
        if size as f64 * volume < LEAST_MM3 {
            break;
        }
        let mask = pieces.labels.map(|&label| label == piece);
        let x = centroid_mm(&mask)?.x;
        let apart = kept.iter().all(|(other, _)| (x - other).abs() > APART_MM);
        if let (true, Some(range)) = (apart, mask.bounding_box()) {
            kept.push((x, range));
        }
        if kept.len() == 2 {
            break;
        }
    }
    match kept.is_empty() {
        true => Err(none()),
        false => Ok(kept.into_iter().map(|(_, range)| range).collect()),
    }
}
