//! Putting a patient together: bones, surroundings, phantom, field of view.

use anyhow::{Context, Result};
use imaging::Grid;

use super::femur::Femur;
use super::phantom::PlacedPhantom;
use super::random::{Draws, Purpose, stream};
use super::scanner::{BoneVoxel, Layers, Scanner, scan, voxel_width_mm};
use super::solid::{Point, ellipsoid, mix, occupancy};
use super::surroundings::Surroundings;
use super::truth::{
    BoneTruth, FemurTruth, LesionTruth, PhantomTruth, ScannerTruth, Truth, VertebraTruth, measure,
    plain,
};
use super::{Bone, Lesion, Options, Parameters, Patient, Side};

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

/// Landmarks of a drawn femur in the world.
pub(crate) fn femur_truth(femur: &Femur) -> FemurTruth {
    let field = &femur.field;
    let (_, neck, _) = field.neck();
    FemurTruth {
        head_centre_mm: plain(&femur.to_world(&field.head)),
        head_radius_mm: field.head_radius,
        neck_axis: plain(&femur.direction_to_world(&neck)),
        shaft_point_mm: plain(&femur.to_world(&femur.shaft_point())),
        shaft_direction: plain(&femur.direction_to_world(&Point::z())),
        neck_shaft_angle_deg: Some(femur.neck_shaft_angle_deg),
        anteversion_deg: Some(femur.anteversion_deg),
        lesser_trochanter_mm: Some(plain(&femur.to_world(&femur.lesser_trochanter_point()))),
    }
}

/// A lytic lesion in a drawn femur.
pub(crate) fn femur_lesion(seed: u64, femur: &Femur, parameters: &mut Parameters) -> PlacedLesion {
    let mut draws = Draws::new(stream(seed, Purpose::Lesion, 0), "lesion_", parameters);
    let (length, neck, up) = femur.field.neck();
    let (site, middle) = if draws.uniform("site", 0.0, 1.0) < 0.5 {
        ("neck", neck * (0.5 * length) - up * 2.0)
    } else {
        let depth = femur.field.lesser_trochanter;
        ("trochanter", Point::new(4.0, 2.0, 0.35 * depth))
    };
    let middle = femur.to_world(&middle);
    PlacedLesion::drawn(&mut draws, femur.label(), site, &middle, 3.0, [7.0, 11.0])
}

/// Voxel size of a single-femur scan unless asked otherwise, mm: the median of Saillard 2024.
const FEMUR_SPACING_MM: [f64; 3] = [0.78, 0.78, 0.67];
/// Width of the field of view of a single-femur scan, mm.
const FEMUR_FIELD_MM: f64 = 150.0;

/// A scan of one proximal femur: a field of view of 150 mm round the hip, cut through the shaft
/// [`Options::shaft_mm`] below the lesser trochanter; voxels of 0.78 x 0.78 x 0.67 mm by default.
///
/// # Errors
/// An option out of its range, or a phantom too wide for the field of view.
pub fn femur(options: &Options) -> Result<Patient> {
    options.check()?;
    let seed = options.seed;
    let mut parameters = Parameters::new();
    let mut draws = Draws::new(stream(seed, Purpose::Patient, 0), "", &mut parameters);
    let coin = draws.uniform("side", 0.0, 1.0);
    let side = options
        .side
        .unwrap_or(if coin < 0.5 { Side::Left } else { Side::Right });
    let size = draws.normal("size", 1.0, 0.05);
    let head_x = draws.normal("head_from_midline_mm", 89.0 * size, 3.0);
    let back_y = draws.normal("head_above_back_mm", 74.0 * size, 3.0);
    let half = [
        draws.normal("body_half_width_mm", 182.0 * size, 6.0),
        draws.normal("body_half_depth_mm", 112.0 * size, 5.0),
    ];
    let scanner = Scanner::drawn(&mut draws, options.noise_hu);
    let centre = [0.0, back_y + 12.0 - half[1]];
    let surroundings = Surroundings::drawn(&mut draws, seed, centre, half, back_y);
    let head = Point::new(head_x, 0.0, 0.0);
    let mut bone_draws = Draws::new(stream(seed, Purpose::Bone, 0), "femur_", &mut parameters);
    let femur = Femur::drawn(&mut bone_draws, side, size, head, options.shaft_mm);
    let lesion =
        (options.lesion == Lesion::Lytic).then(|| femur_lesion(seed, &femur, &mut parameters));

    let mut scene = Scene {
        anatomy: "femur",
        options,
        surroundings,
        scanner,
        lesion,
        parameters,
    };
    let medial = side.sign() * (head_x - 50.0 * size);
    let lateral = medial + side.sign() * FEMUR_FIELD_MM;
    let (low_x, high_x) = (medial.min(lateral), medial.max(lateral));
    scene.lay_phantom(low_x, high_x)?;
    let truth = femur_truth(&femur);
    let floor = femur.to_world(&femur.lesser_trochanter_point()).z - options.shaft_mm;
    let field = [
        Point::new(low_x, -46.0 * size, floor),
        Point::new(high_x, scene.bottom_y(), femur.field.head_radius + 12.0),
    ];
    let label = femur.label();
    let bones: Vec<Box<dyn Bone>> = vec![Box::new(femur)];
    let layers = scene.scan(
        field,
        options.spacing_mm.unwrap_or(FEMUR_SPACING_MM),
        &bones,
    );
    check_labels(&layers, &[label])?;
    Ok(scene.patient(layers, &[label], |_| Description {
        name: "femur".into(),
        side: Some(side),
        femur: Some(truth.clone()),
        vertebra: None,
    }))
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
