//! Putting a patient together: bones, surroundings, phantom, field of view.

use anyhow::{Context, Result};
use imaging::Grid;

use super::phantom::PlacedPhantom;
use super::random::Draws;
use super::scanner::{BoneVoxel, Layers, Scanner, scan, voxel_width_mm};
use super::solid::{Point, ellipsoid, mix, occupancy};
use super::surroundings::Surroundings;
use super::truth::{
    BoneTruth, FemurTruth, LesionTruth, PhantomTruth, ScannerTruth, Truth, VertebraTruth, measure,
    plain,
};
use super::{Bone, Options, Parameters, Patient, Side};

/// Density of the tissue that fills a lytic lesion, mg/cm³ K2HPO4: about 50 HU seen through the
/// reference line, as muscle. Typical value.
pub(crate) const LYTIC_MG_CM3: f64 = 40.0;

/// A lesion that has its place.
#[derive(Clone, Debug)]
pub(crate) struct PlacedLesion {
    pub label: u16,
    pub site: &'static str,
    pub centre: Point,
    pub half: Point,
}

impl PlacedLesion {
    /// A lytic lesion of drawn size in the bone `label`, its centre within `spread` mm of `middle`.
    pub(crate) fn drawn(
        draws: &mut Draws<'_>,
        label: u16,
        site: &'static str,
        middle: &Point,
        spread: f64,
        half_mm: [f64; 2],
    ) -> Self {
        let mut along = |what: &str, low, high| {
            Point::from_fn(|axis, _| {
                draws.uniform(&format!("{what}_{}_mm", ["x", "y", "z"][axis]), low, high)
            })
        };
        let centre = middle + along("shift", -spread, spread);
        let half = along("half_axis", half_mm[0], half_mm[1]);
        Self {
            label,
            site,
            centre,
            half,
        }
    }

    /// Density after the lesion has eaten its share of a voxel.
    pub(crate) fn density(&self, p: &Point, density: f64, width_mm: f64) -> f64 {
        let share = occupancy(ellipsoid(&(p - self.centre), &self.half), width_mm);
        mix(density, LYTIC_MG_CM3, share)
    }

    fn holds(&self, p: &Point) -> bool {
        ellipsoid(&(p - self.centre), &self.half) <= 0.0
    }
}

/// Everything that a scan of a patient needs.
pub(crate) struct Scene<'a> {
    pub anatomy: &'static str,
    pub options: &'a Options,
    pub surroundings: Surroundings,
    pub scanner: Scanner,
    pub lesion: Option<PlacedLesion>,
    pub parameters: Parameters,
}

impl Scene<'_> {
    /// Lays the phantom of the options in a field of view from `low` to `high` (x, mm).
    pub(crate) fn lay_phantom(&mut self, low: f64, high: f64) -> Result<()> {
        let top = self.surroundings.phantom_top_y();
        let phantom = match &self.options.phantom {
            Some(definition) => Some(PlacedPhantom::place(
                definition,
                &self.scanner,
                (low + high) / 2.0,
                top,
                high - low,
            )?),
            None => None,
        };
        self.surroundings.lay(phantom);
        Ok(())
    }

    /// World y just under the table's skin, where a field of view may end.
    pub(crate) fn bottom_y(&self) -> f64 {
        self.surroundings.table_y + 8.0
    }

    /// Scans implicit bones inside a world box.
    pub(crate) fn scan(
        &self,
        field: [Point; 2],
        spacing_mm: [f64; 3],
        bones: &[Box<dyn Bone>],
    ) -> Layers {
        let size = std::array::from_fn(|axis| {
            ((field[1][axis] - field[0][axis]) / spacing_mm[axis])
                .round()
                .max(1.0) as usize
                + 1
        });
        let mut grid = Grid::axis_aligned(size, spacing_mm);
        grid.origin_mm = field[0];
        let width = voxel_width_mm(&grid);
        let boxes: Vec<_> = bones.iter().map(|bone| bone.bounds()).collect();
        let find = |_: usize, p: &Point| {
            let mut nearest: Option<(f64, &dyn Bone)> = None;
            for (bone, [low, high]) in bones.iter().zip(&boxes) {
                if (0..3).any(|axis| p[axis] < low[axis] || p[axis] > high[axis]) {
                    continue;
                }
                let distance = bone.distance(p);
                if nearest.is_none_or(|(other, _)| distance < other) {
                    nearest = Some((distance, bone.as_ref()));
                }
            }
            let (distance, bone) = nearest.filter(|(distance, _)| *distance < 0.5 * width)?;
            let mut density = bone.density_mg_cm3(p, distance, width);
            if let Some(lesion) = self.lesion.as_ref().filter(|l| l.label == bone.label()) {
                density = lesion.density(p, density, width);
            }
            Some(BoneVoxel {
                label: if distance <= 0.0 { bone.label() } else { 0 },
                share: occupancy(distance, width),
                density_mg_cm3: density,
            })
        };
        scan(
            grid,
            &self.surroundings,
            &self.scanner,
            self.options.seed,
            find,
        )
    }

    /// Joins volumes and truth; `describe` names a label and gives its landmarks.
    pub(crate) fn patient(
        self,
        layers: Layers,
        labels: &[u16],
        describe: impl Fn(u16) -> Description,
    ) -> Patient {
        let bones = labels
            .iter()
            .map(|&label| {
                let (volume, density) = measure(&layers, label);
                let described = describe(label);
                BoneTruth {
                    label,
                    name: described.name,
                    side: described.side,
                    mask_volume_mm3: volume,
                    mean_density_mg_cm3: density,
                    femur: described.femur,
                    vertebra: described.vertebra,
                }
            })
            .collect();
        let lesion = self.lesion.as_ref().map(|lesion| LesionTruth {
            label: lesion.label,
            site: lesion.site.into(),
            centre_mm: plain(&lesion.centre),
            half_axes_mm: plain(&lesion.half),
            volume_in_bone_mm3: lesion_volume_mm3(lesion, &layers),
            density_mg_cm3: LYTIC_MG_CM3,
        });
        let truth = Truth {
            anatomy: self.anatomy.into(),
            seed: self.options.seed,
            spacing_mm: layers.ct.grid.spacing_mm,
            bones,
            lesion,
            phantom: self
                .surroundings
                .phantom
                .as_ref()
                .map(|phantom| PhantomTruth::of(phantom, &self.scanner)),
            scanner: ScannerTruth::of(&self.scanner),
            parameters: self.parameters,
        };
        Patient {
            ct: layers.ct,
            labels: layers.labels,
            density: layers.density,
            rods: layers.rods,
            truth,
        }
    }
}

/// Name and landmarks of one label.
#[derive(Default)]
pub(crate) struct Description {
    pub name: String,
    pub side: Option<Side>,
    pub femur: Option<FemurTruth>,
    pub vertebra: Option<VertebraTruth>,
}

fn lesion_volume_mm3(lesion: &PlacedLesion, layers: &Layers) -> f64 {
    let grid = &layers.labels.grid;
    let (matrix, origin) = (grid.matrix(), grid.origin_mm);
    let held = layers
        .labels
        .data
        .iter()
        .enumerate()
        .filter(|&(index, &label)| {
            let [i, j, k] = grid.voxel(index);
            label == lesion.label
                && lesion.holds(&(origin + matrix * Point::new(i as f64, j as f64, k as f64)))
        })
        .count();
    held as f64 * grid.voxel_volume_mm3()
}

/// Checks that every bone that was asked for is in the scan.
pub(crate) fn check_labels(layers: &Layers, labels: &[u16]) -> Result<()> {
    let present = layers.labels.labels();
    let missing = labels.iter().find(|label| !present.contains(label));
    missing.map_or(Some(()), |_| None).with_context(|| {
        format!(
            "the scan holds the labels {present:?} of {labels:?}; use a finer voxel size than {:?} mm",
            layers.ct.grid.spacing_mm
        )
    })
}
