//! What lies round the bones: muscle, fat, skin, air, phantom and table.

use super::phantom::PlacedPhantom;
use super::random::{Draws, Texture};
use super::solid::{Point, ellipse, intersection, mix, occupancy, smooth_step};
use super::vertebra::Disc;

/// CT number of air.
pub(crate) const AIR_HU: f64 = -1000.0;
/// CT number of an intervertebral disc. Typical value.
const DISC_HU: f64 = 85.0;
/// CT number of the table's carbon skin. Typical value.
const TABLE_SKIN_HU: f64 = -150.0;
/// CT number of the table's foam. Typical value.
const TABLE_FOAM_HU: f64 = -920.0;
/// Thickness of the table's skin, mm. Typical value.
const TABLE_SKIN_MM: f64 = 2.0;
/// Gap between skin and phantom and between phantom and table (pads), mm.
pub(crate) const PAD_MM: f64 = 2.0;

/// Everything in the scan that is not bone.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Middle of the body's cross-section (x, y), mm.
    pub centre: [f64; 2],
    /// Half width and half depth of the body, mm.
    pub half: [f64; 2],
    /// World y of the flattened back, mm.
    pub back_y: f64,
    /// CT number of muscle.
    pub muscle_hu: f64,
    /// CT number of fat.
    pub fat_hu: f64,
    /// Thickness of the fat under the skin, mm.
    pub fat_mm: f64,
    /// Where fat runs between the muscles.
    pub texture: Texture,
    /// The phantom, if there is one.
    pub phantom: Option<PlacedPhantom>,
    /// World y of the table's upper face, mm.
    pub table_y: f64,
    /// The discs of a spine.
    pub discs: Vec<Disc>,
}

impl Surroundings {
    /// A body with drawn tissues; the phantom is laid later, with [`Surroundings::lay`].
    pub(crate) fn drawn(
        draws: &mut Draws<'_>,
        seed: u64,
        centre: [f64; 2],
        half: [f64; 2],
        back_y: f64,
    ) -> Self {
        Self {
            centre,
            half,
            back_y,
            muscle_hu: draws.uniform("muscle_hu", 40.0, 62.0),
            fat_hu: draws.uniform("fat_hu", -112.0, -92.0),
            fat_mm: draws.uniform("subcutaneous_fat_mm", 8.0, 22.0),
            texture: Texture::new(seed, 0, 17.0),
            phantom: None,
            table_y: back_y + PAD_MM,
            discs: Vec::new(),
        }
    }

    /// Lays the phantom between body and table.
    pub(crate) fn lay(&mut self, phantom: Option<PlacedPhantom>) {
        self.table_y = match &phantom {
            Some(phantom) => phantom.bottom_y() + PAD_MM,
            None => self.back_y + PAD_MM,
        };
        self.phantom = phantom;
    }

    /// World y of the upper face of the phantom, mm.
    pub(crate) fn phantom_top_y(&self) -> f64 {
        self.back_y + PAD_MM
    }

    /// CT number at a point that is not bone, over a voxel of `width_mm`.
    pub(crate) fn hu(&self, p: &Point, width_mm: f64) -> f64 {
        let skin = intersection(
            ellipse(
                p.x - self.centre[0],
                p.y - self.centre[1],
                self.half[0],
                self.half[1],
            ),
            p.y - self.back_y,
            25.0,
        );
        let body = occupancy(skin, width_mm);
        let outside = if body < 1.0 {
            self.outside_hu(p, width_mm)
        } else {
            0.0
        };
        if body <= 0.0 {
            return outside;
        }
        // Fat planes between the muscles: thin sheets where the field changes sign.
        let plane = smooth_step(0.16, 0.05, self.texture.at(p).abs());
        let deep = smooth_step(self.fat_mm - 1.0, self.fat_mm + 1.0, -skin);
        let mut tissue = mix(
            self.fat_hu,
            mix(self.muscle_hu, self.fat_hu, 0.75 * plane),
            deep,
        );
        for disc in &self.discs {
            tissue = mix(tissue, DISC_HU, occupancy(disc.distance(p), width_mm));
        }
        mix(outside, tissue, body)
    }

    fn outside_hu(&self, p: &Point, width_mm: f64) -> f64 {
        let into_table = p.y - self.table_y;
        let table = mix(
            TABLE_SKIN_HU,
            TABLE_FOAM_HU,
            occupancy(TABLE_SKIN_MM - into_table, width_mm),
        );
        let around = mix(AIR_HU, table, occupancy(-into_table, width_mm));
        match &self.phantom {
            Some(phantom) => phantom.hu(p, width_mm, around),
            None => around,
        }
    }
}
