//! A CT painted on a given label map.

use anyhow::{Context, Result, ensure};
use imaging::distance::signed_distance_mm;
use imaging::filter::gaussian;
use imaging::{Grid, LabelMap, Mask, Volume};

use super::femur::FemoralTissue;
use super::labelled_femur::{self, LabelledFemur};
use super::pelvis::Shell;
use super::random::{Draws, Purpose, stream};
use super::scanner::{BoneVoxel, Layers, Scanner, scan, voxel_width_mm};
use super::scene::{Description, PlacedLesion, Scene};
use super::solid::{Point, occupancy};
use super::surroundings::Surroundings;
use super::truth::{FemurTruth, plain};
use super::vertebra::level_name;
use super::{Lesion, Options, Parameters, Patient, Side};

/// What the labels of a map mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelMeaning {
    /// 1 and 2 are femora, 3 and 4 hip bones, 5 the sacrum; everything else is some other bone.
    Hip,
    /// Every label is a vertebra, by VerSe numbers.
    Spine,
}

/// Half the width of the band round a bone in which distances are kept, mm: wide enough to see a femoral
/// head from its hip bone.
const BAND_MM: f64 = 9.0;
/// Standard deviation of the smoothing that takes the voxel steps out of a surface, in voxels.
const STAIRCASE_VOXELS: f64 = 0.8;
/// Narrowest field of view that holds the widest shipped phantom, mm.
const LEAST_FIELD_MM: f64 = 150.0;

/// Paints a CT on a label map: each bone gets a cortical shell and a density field, the rest soft
/// tissue, air, table and phantom. The grid is the map's, grown towards the back (and sideways below
/// 150 mm) by whole voxels where the phantom needs room; [`Patient::labels`] is the map itself.
///
/// A bone cut by the edge of the scan gets no cortex on the cut. [`Options::spacing_mm`] and
/// [`Options::shaft_mm`] have no meaning here.
///
/// # Errors
/// A map without a label, an oblique or non-orthogonal grid, a femur whose head or shaft cannot be
/// found, or an option out of its range.
pub fn from_labels(map: &LabelMap, meaning: LabelMeaning, options: &Options) -> Result<Patient> {
    options.check()?;
    let values = map.labels();
    ensure!(
        !values.is_empty(),
        "the label map is empty: there is nothing to paint"
    );
    let bones = values
        .iter()
        .map(|&label| LabelledBone::measure(map, label))
        .collect::<Result<Vec<_>>>()?;
    let seed = options.seed;
    let mut parameters = Parameters::new();
    let mut draws = Draws::new(stream(seed, Purpose::Patient, 0), "", &mut parameters);
    let scanner = Scanner::drawn(&mut draws, options.noise_hu);
    let pelvic = Shell::pelvic(&mut draws);
    let vertebral = Shell {
        thickness_mm: draws.normal("vertebral_shell_mm", 0.7, 0.1),
        cortical: draws.normal("vertebral_shell_mg_cm3", 720.0, 60.0),
        trabecular: draws.normal("vertebral_trabecular_mg_cm3", 122.0, 22.0),
    };
    let surroundings = surroundings(&mut draws, seed, map, &bones);

    let femoral = FemoralTissue::drawn(seed, &mut parameters);
    let mut tissues = Vec::with_capacity(bones.len());
    for bone in &bones {
        tissues.push(match (meaning, bone.label) {
            (LabelMeaning::Hip, 1 | 2) => {
                let rng = stream(seed, Purpose::Bone, u32::from(bone.label));
                let name = format!("femur{}_", bone.label);
                let mut draws = Draws::new(rng, name, &mut parameters);
                Tissue::Femur(Box::new(labelled_femur::find(
                    &mut draws, &femoral, map, bone, &bones,
                )?))
            }
            (LabelMeaning::Hip, _) => Tissue::Shell(pelvic),
            (LabelMeaning::Spine, _) => Tissue::Shell(vertebral),
        });
    }
    let lesion = match options.lesion {
        Lesion::None => None,
        Lesion::Lytic => Some(lesion(seed, &mut parameters, &bones, &tissues)?),
    };
    let mut scene = Scene {
        anatomy: "from_labels",
        options,
        surroundings,
        scanner,
        lesion,
        parameters,
    };
    let (map, shift) = room_for_phantom(map, &mut scene)?;
    let layers = paint(&map, shift, &bones, &tissues, &scene);
    let sides = sides(&bones, meaning);
    Ok(scene.patient(layers, &values, |label| {
        let at = values.iter().position(|&value| value == label).unwrap_or(0);
        describe(label, meaning, sides[at], &tissues[at])
    }))
}

/// A bone of the map: its voxel box and the smoothed signed distance there.
pub(crate) struct LabelledBone {
    pub label: u16,
    /// First voxel of the box.
    pub low: [usize; 3],
    /// Signed distance on the box, mm.
    pub distance: Volume<f32>,
    /// Middle of the bone's box in the world.
    middle: Point,
}

impl LabelledBone {
    fn measure(map: &LabelMap, label: u16) -> Result<Self> {
        let grid = &map.grid;
        let mask = map.select(&[label]);
        let [first, last] = mask.bounding_box().context("a label without a voxel")?;
        let margin = grid.spacing_mm.map(|s| (BAND_MM / s).ceil() as usize);
        let low: [usize; 3] = std::array::from_fn(|a| first[a].saturating_sub(margin[a]));
        let size = std::array::from_fn(|a| (last[a] + 1 + margin[a]).min(grid.size[a]) - low[a]);
        let origin = grid.to_world(Point::from_fn(|a, _| low[a] as f64));
        let cropped = Grid {
            size,
            origin_mm: origin,
            ..grid.clone()
        };
        let mask = Mask::from_fn(cropped, |[i, j, k]| {
            mask.at(low[0] + i, low[1] + j, low[2] + k)
        });
        let distance = signed_distance_mm(&mask)
            .with_context(|| format!("label {label} cannot be painted"))?;
        let sigma = grid.spacing_mm.map(|s| s * STAIRCASE_VOXELS);
        let distance = gaussian(&distance, sigma, 3.0)?;
        let middle = |a: usize| (first[a] + last[a]) as f64 / 2.0;
        Ok(Self {
            label,
            low,
            distance,
            middle: grid.to_world(Point::new(middle(0), middle(1), middle(2))),
        })
    }

    /// Distance at a voxel of the whole map, if it lies in the box.
    pub(crate) fn at(&self, voxel: [usize; 3]) -> Option<f64> {
        let mut inside = [0; 3];
        for axis in 0..3 {
            inside[axis] = voxel[axis].checked_sub(self.low[axis])?;
            if inside[axis] >= self.distance.grid.size[axis] {
                return None;
            }
        }
        Some(f64::from(self.distance.at(inside[0], inside[1], inside[2])))
    }
}

/// What a bone of the map is made of.
enum Tissue {
    Femur(Box<LabelledFemur>),
    Shell(Shell),
}

/// The body round the bones of a map.
fn surroundings(
    draws: &mut Draws<'_>,
    seed: u64,
    map: &LabelMap,
    bones: &[LabelledBone],
) -> Surroundings {
    let (mut low, mut high) = (Point::repeat(f64::MAX), Point::repeat(f64::MIN));
    for bone in bones {
        let grid = &bone.distance.grid;
        for corner in 0..8 {
            let at = Point::from_fn(|a, _| {
                if corner >> a & 1 == 1 {
                    grid.size[a] as f64 - 1.0
                } else {
                    0.0
                }
            });
            let world = map
                .grid
                .to_world(at + Point::from_fn(|a, _| bone.low[a] as f64));
            low = low.inf(&world);
            high = high.sup(&world);
        }
    }
    // The boxes reach BAND_MM beyond the bones.
    let back = high.y - BAND_MM + draws.uniform("bone_under_skin_mm", 10.0, 22.0);
    let half = [
        (high.x - low.x) / 2.0 + draws.uniform("flank_mm", 35.0, 60.0),
        0.62 * (high.y - low.y) + draws.uniform("belly_mm", 30.0, 55.0),
    ];
    let centre = [(low.x + high.x) / 2.0, back + 12.0 - half[1]];
    Surroundings::drawn(draws, seed, centre, half, back)
}

/// Grows the grid towards the back, and sideways if it is narrow, until body, phantom and table fit; also
/// lays the phantom. Returns the grown map and the voxel of it where the old one begins.
fn room_for_phantom(map: &LabelMap, scene: &mut Scene<'_>) -> Result<(LabelMap, [usize; 3])> {
    let grid = &map.grid;
    let axes = grid.closest_axes();
    ensure!(
        grid.is_orthogonal()
            && axes
                .iter()
                .enumerate()
                .all(|(a, &(w, _))| grid.direction[(w, a)].abs() > 0.996),
        "the label map stands oblique in the scanner ({grid}); resample it to axes along the patient first"
    );
    let [low, high] = extent(grid);
    let side = ((LEAST_FIELD_MM - (high.x - low.x)) / 2.0).max(0.0);
    let side = if scene.options.phantom.is_some() {
        side
    } else {
        0.0
    };
    scene.lay_phantom(low.x - side, high.x + side)?;
    let below = if scene.options.phantom.is_some() {
        (scene.bottom_y() - high.y).max(0.0)
    } else {
        0.0
    };
    let mut before = [0; 3];
    let mut size = grid.size;
    for (a, &(world, forward)) in axes.iter().enumerate() {
        let voxels = |mm: f64| (mm / grid.spacing_mm[a]).ceil() as usize;
        let [first, last] = match world {
            0 => [voxels(side), voxels(side)],
            1 if forward => [0, voxels(below)],
            1 => [voxels(below), 0],
            _ => [0, 0],
        };
        before[a] = first;
        size[a] += first + last;
    }
    let grown = Grid {
        size,
        origin_mm: grid.to_world(Point::from_fn(|a, _| -(before[a] as f64))),
        ..grid.clone()
    };
    let mut labels = LabelMap::filled(grown, 0);
    let ni = grid.size[0];
    for (row, values) in map.data.chunks(ni).enumerate() {
        let (j, k) = (row % grid.size[1], row / grid.size[1]);
        let start = labels.grid.index(before[0], j + before[1], k + before[2]);
        labels.data[start..start + ni].copy_from_slice(values);
    }
    Ok((labels, before))
}

fn extent(grid: &Grid) -> [Point; 2] {
    let mut bounds = [Point::repeat(f64::MAX), Point::repeat(f64::MIN)];
    for corner in 0..8 {
        let at = Point::from_fn(|a, _| {
            if corner >> a & 1 == 1 {
                grid.size[a] as f64 - 1.0
            } else {
                0.0
            }
        });
        let world = grid.to_world(at);
        bounds = [bounds[0].inf(&world), bounds[1].sup(&world)];
    }
    bounds
}

/// Scans the labelled bones on the grown map.
fn paint(
    map: &LabelMap,
    shift: [usize; 3],
    bones: &[LabelledBone],
    tissues: &[Tissue],
    scene: &Scene<'_>,
) -> Layers {
    let grid = &map.grid;
    let width = voxel_width_mm(grid);
    let find = |index: usize, p: &Point| {
        let label = map.data[index];
        let voxel = grid.voxel(index);
        let old: Vec<usize> = (0..3)
            .filter_map(|a| voxel[a].checked_sub(shift[a]))
            .collect();
        let old: [usize; 3] = old.try_into().ok()?;
        let (distance, at) = bones
            .iter()
            .enumerate()
            .filter(|(_, bone)| label == 0 || bone.label == label)
            .filter_map(|(at, bone)| Some((bone.at(old)?, at)))
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        if label == 0 && distance >= 0.5 * width {
            return None;
        }
        // A voxel of the map is bone even where the smoothed surface passes it by.
        let inside = if label == 0 {
            distance
        } else {
            distance.min(0.0)
        };
        let mut density = match &tissues[at] {
            Tissue::Femur(femur) => femur.field.density_mg_cm3(p, inside, width),
            Tissue::Shell(shell) => shell.density_mg_cm3(inside, width),
        };
        if let Some(lesion) = scene.lesion.as_ref().filter(|l| l.label == bones[at].label) {
            density = lesion.density(p, density, width);
        }
        Some(BoneVoxel {
            label,
            share: occupancy(distance, width),
            density_mg_cm3: density,
        })
    };
    scan(
        grid.clone(),
        &scene.surroundings,
        &scene.scanner,
        scene.options.seed,
        find,
    )
}

/// A lytic lesion in the neck of one of the femora, or in the deepest place of the middle one of other
/// bones.
fn lesion(
    seed: u64,
    parameters: &mut Parameters,
    bones: &[LabelledBone],
    tissues: &[Tissue],
) -> Result<PlacedLesion> {
    let mut draws = Draws::new(stream(seed, Purpose::Lesion, 0), "lesion_", parameters);
    let femora: Vec<_> = bones
        .iter()
        .zip(tissues)
        .filter_map(|(bone, tissue)| match tissue {
            Tissue::Femur(femur) => Some((bone, femur)),
            Tissue::Shell(_) => None,
        })
        .collect();
    let pick = draws.uniform("bone", 0.0, 1.0);
    if !femora.is_empty() {
        let (bone, femur) = femora[((pick * femora.len() as f64) as usize).min(femora.len() - 1)];
        let (length, neck, _) = femur.field.neck();
        let middle = femur.field.crossing + neck * (0.5 * length);
        return Ok(PlacedLesion::drawn(
            &mut draws,
            bone.label,
            "neck",
            &middle,
            3.0,
            [7.0, 11.0],
        ));
    }
    let bone = &bones[bones.len() / 2];
    // The deepest voxel: inside the body, not in the canal.
    let (index, depth) = bone
        .distance
        .data
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(b.1))
        .context("a bone without a voxel")?;
    ensure!(
        *depth < -4.0,
        "label {}: the bone is too thin for a lesion ({:.1} mm deep)",
        bone.label,
        -depth
    );
    let [i, j, k] = bone.distance.grid.voxel(index);
    let middle = bone
        .distance
        .grid
        .to_world(Point::new(i as f64, j as f64, k as f64));
    Ok(PlacedLesion::drawn(
        &mut draws,
        bone.label,
        "body",
        &middle,
        2.0,
        [6.0, 9.5],
    ))
}

/// Side of each bone: by its place against its mirror twin where the map has both, else by its label.
fn sides(bones: &[LabelledBone], meaning: LabelMeaning) -> Vec<Option<Side>> {
    let twin = |label: u16| match label {
        1 => Some(2),
        2 => Some(1),
        3 => Some(4),
        4 => Some(3),
        _ => None,
    };
    bones
        .iter()
        .map(|bone| {
            if meaning == LabelMeaning::Spine {
                return None;
            }
            let twin = twin(bone.label)?;
            let other = bones.iter().find(|other| other.label == twin);
            let left = match other {
                Some(other) => bone.middle.x > other.middle.x,
                None => matches!(bone.label, 1 | 3),
            };
            Some(if left { Side::Left } else { Side::Right })
        })
        .collect()
}

fn describe(label: u16, meaning: LabelMeaning, side: Option<Side>, tissue: &Tissue) -> Description {
    let name = match (meaning, label) {
        (LabelMeaning::Spine, _) => level_name(label),
        (LabelMeaning::Hip, 1 | 2) => "femur".into(),
        (LabelMeaning::Hip, 3 | 4) => "hip bone".into(),
        (LabelMeaning::Hip, 5) => "sacrum".into(),
        (LabelMeaning::Hip, _) => "bone".into(),
    };
    let femur = match tissue {
        Tissue::Femur(femur) => Some(FemurTruth {
            head_centre_mm: plain(&femur.head.centre),
            head_radius_mm: femur.head.radius,
            neck_axis: plain(&femur.field.neck().1),
            shaft_point_mm: plain(&femur.shaft.point),
            shaft_direction: plain(&femur.shaft.direction),
            neck_shaft_angle_deg: None,
            anteversion_deg: None,
            lesser_trochanter_mm: None,
        }),
        Tissue::Shell(_) => None,
    };
    Description {
        name,
        side,
        femur,
        vertebra: None,
    }
}
