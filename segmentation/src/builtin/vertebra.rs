//! Vertebrae: each in sight an instance of its own.

use imaging::components::{Connectivity, fill_holes, label_components, largest_component};
use imaging::resample::resample_labels;
use imaging::shape::centroid_mm;
use imaging::{Grid, LabelMap, Mask, Volume};

use super::instances::{instances, keep};
use super::surface::over_surface;
use super::{Classes, Stages, as_stored, files, lay, part, paste, weights};
use crate::error::{Error, Result};
use crate::network::Device;
use crate::nnunet::{Files, Options};

/// Classes of both networks.
const BODY: u16 = 1;
const ARCH: u16 = 2;
const OTHER_BONE: u16 = 3;

const CLASSES: Classes<'_> = Classes {
    bone: &[BODY, ARCH],
    others: &[0, OTHER_BONE],
};

/// What is smaller is no body to be computed, mm³: the first thoracic one has 6 cm³, and half of it may be in sight.
pub(super) const LEAST_BODY_MM3: f64 = 3_000.0;
/// The networks that find vertebrae.
#[derive(Debug)]
pub struct Vertebrae {
    stages: Stages,
}

/// A vertebra that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertebra {
    /// Its value in the label map: 1, 2, … from head to foot.
    pub label: u16,
    /// Centroid of its body (LPS mm).
    pub body_mm: [f64; 3],
    /// Whether its body reaches the border of the scan, and so may not be there whole.
    pub cut: bool,
    /// How sure its surface is: standard deviation of one look at it, mm; `None` after one look.
    pub doubt_mm: Option<f64>,
}

/// What was found in a scan.
#[derive(Clone, Debug)]
pub struct FoundVertebrae {
    /// The vertebrae on the scan's grid, by their [`Vertebra::label`].
    pub labels: LabelMap,
    /// The vertebrae from head to foot.
    pub vertebrae: Vec<Vertebra>,
    /// Standard deviation of the surface of one look, mm, on the scan's grid near the surfaces; `None` after one look.
    pub doubt_mm: Option<Volume<f32>>,
}

impl Vertebrae {
    /// Makes the networks ready on a device.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn load(device: Device) -> Result<Self> {
        let files = [files!("vertebra-coarse"), files!("vertebra-fine")];
        Ok(Self {
            stages: Stages::load(files, device)?,
        })
    }

    /// The weights by the names of their models.
    pub fn weights() -> Vec<(&'static str, &'static [u8])> {
        weights([files!("vertebra-coarse"), files!("vertebra-fine")])
    }

    /// Finds the vertebrae in a scan in HU. `progress` is told how many runs of a network are done, and of how many; it starts anew with
    /// each look of a network.
    ///
    /// # Errors
    /// [`Error::Image`] when the scan shows no vertebra, or does not suit the networks.
    pub fn segment(
        &self,
        scan: &Volume<f32>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FoundVertebrae> {
        let (upright, rough) = self.stages.rough(scan, options, progress)?;
        let place = place(&rough).ok_or_else(none)?;
        let range = self.stages.range(&upright.grid, &rough.grid, place)?;
        let own = part(&upright, range)?;
        let answer = self
            .stages
            .answer(&own, &rough, &CLASSES, options, progress)?;
        let bodies = answer.labels.select(&[BODY]);
        let instances = instances(&bodies, &answer.ahead)?;
        let instances = resample_labels(&instances, &own.grid);
        let bodies = resample_labels(&answer.labels, &own.grid);
        let mut labels = LabelMap::filled(upright.grid.clone(), 0);
        let mut doubted = None;
        lay(
            &mut doubted,
            &upright.grid,
            answer.doubt_mm.as_ref(),
            range[0],
        );
        let mut vertebrae = vec![];
        for instance in 1..=instances.labels().last().copied().unwrap_or(0) {
            let own = instances.map(|&label| label == instance);
            let Some(bounds) = own.bounding_box() else {
                continue;
            };
            let mut mask = part(&own, bounds)?;
            let near = part(&answer.on_part, bounds)?;
            keep(&mut mask, &near.map(|&ahead| ahead > 0.0));
            let mask = fill_holes(&largest_component(&mask, Connectivity::Faces));
            let mut body = part(&bodies, bounds)?.map(|&label| label == BODY);
            keep(&mut body, &mask);
            if body.count() as f64 * body.grid.voxel_volume_mm3() < LEAST_BODY_MM3 {
                continue;
            }
            let low: [usize; 3] = std::array::from_fn(|axis| range[0][axis] + bounds[0][axis]);
            let label = vertebrae.len() as u16 + 1;
            paste(&mut labels, &mask, low, label);
            vertebrae.push(Vertebra {
                label,
                body_mm: centroid_mm(&body)?.into(),
                cut: at_border(&body, low, &upright.grid),
                doubt_mm: answer
                    .doubt_mm
                    .as_ref()
                    .map(|map| Ok::<_, Error>(over_surface(&part(map, bounds)?, &mask)))
                    .transpose()?,
            });
        }
        if vertebrae.is_empty() {
            return Err(none());
        }
        Ok(FoundVertebrae {
            labels: as_stored(&labels, &scan.grid)?,
            vertebrae,
            doubt_mm: doubted.map(|map| as_stored(&map, &scan.grid)).transpose()?,
        })
    }
}

fn none() -> Error {
    Error::Image(
        "no vertebra was found in the scan; the built-in network knows thoracic and lumbar ones of a CT in HU"
            .into(),
    )
}

/// The box around all that the coarse network took for vertebrae; `None` where there is no body among it.
fn place(rough: &LabelMap) -> Option<[[usize; 3]; 2]> {
    let voxel = rough.grid.voxel_volume_mm3();
    let pieces = label_components(&rough.select(&[BODY, ARCH]), Connectivity::Corners);
    let mut bodies = vec![0usize; pieces.sizes.len() + 1];
    for (&piece, &label) in pieces.labels.data.iter().zip(&rough.data) {
        bodies[piece as usize] += usize::from(label == BODY);
    }
    let kept = |piece: u32| piece > 0 && bodies[piece as usize] as f64 * voxel >= LEAST_BODY_MM3;
    pieces.labels.map(|&piece| kept(piece)).bounding_box()
}

/// Whether a mask whose first voxel is `low` of a grid reaches that grid's border.
fn at_border(mask: &Mask, low: [usize; 3], grid: &Grid) -> bool {
    mask.bounding_box().is_some_and(|[first, last]| {
        (0..3).any(|axis| {
            low[axis] + first[axis] == 0 || low[axis] + last[axis] + 1 == grid.size[axis]
        })
    })
}
