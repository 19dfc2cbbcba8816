//! Scans of the spine: one vertebra between its neighbours, or the thoracolumbar spine.

use anyhow::{Result, ensure};

use super::random::{Draws, Purpose, stream};
use super::scanner::Scanner;
use super::scene::{Description, PlacedLesion, Scene, check_labels};
use super::solid::Point;
use super::surroundings::Surroundings;
use super::vertebra::{Build, FIRST_LEVEL, LAST_LEVEL, Vertebra, level_name, stack};
use super::{Bone, Lesion, Options, Parameters, Patient};

/// Voxel size of a scan of one vertebra unless asked otherwise, mm.
const VERTEBRA_SPACING_MM: [f64; 3] = [0.7, 0.7, 0.7];
/// Voxel size of a scan of the spine unless asked otherwise, mm.
const SPINE_SPACING_MM: [f64; 3] = [0.8, 0.8, 1.0];
/// Width of the field of view, mm.
const FIELD_MM: f64 = 142.0;

/// A scan of one vertebra (T11 to L4, drawn from T12 to L3 unless [`Options::level`] names it) with the
/// nearer parts of its neighbours. Voxels of 0.7 mm by default.
///
/// # Errors
/// An option out of its range, or a phantom too wide for the field of view of 142 mm.
pub fn vertebra(options: &Options) -> Result<Patient> {
    if let Some(level) = options.level {
        ensure!(
            (FIRST_LEVEL + 1..LAST_LEVEL).contains(&level),
            "level {level} ({}) cannot be drawn; give a VerSe number from {} (T11) to {} (L4)",
            level_name(level),
            FIRST_LEVEL + 1,
            LAST_LEVEL - 1
        );
    }
    scan(options, "vertebra", VERTEBRA_SPACING_MM, 1)
}

/// A scan of the thoracolumbar spine, T11 to L5 (VerSe 18 to 24). A lesion sits in the level of
/// [`Options::level`], else in one of T12 to L3. Voxels of 0.8 x 0.8 x 1.0 mm by default.
///
/// # Errors
/// As [`vertebra`].
pub fn spine(options: &Options) -> Result<Patient> {
    if let Some(level) = options.level {
        ensure!(
            (FIRST_LEVEL + 1..=LAST_LEVEL).contains(&level),
            "level {level} ({}) is not in the scan; give a VerSe number from {} (T11) to {LAST_LEVEL} (L5)",
            level_name(level),
            FIRST_LEVEL + 1
        );
    }
    scan(options, "spine", SPINE_SPACING_MM, 7)
}

/// Scans the drawn level alone with its neighbours (`count` 1) or all of T11 to L5.
fn scan(
    options: &Options,
    anatomy: &'static str,
    spacing_mm: [f64; 3],
    count: usize,
) -> Result<Patient> {
    options.check()?;
    let seed = options.seed;
    let mut parameters = Parameters::new();
    let mut draws = Draws::new(stream(seed, Purpose::Patient, 0), "", &mut parameters);
    let drawn_level = 19 + draws.uniform("level", 0.0, 4.0).floor().min(3.0) as u16;
    let level = options.level.unwrap_or(drawn_level);
    let size = draws.normal("size", 1.0, 0.05);
    let behind = draws.normal("spinous_process_under_skin_mm", 16.0, 3.0);
    let half = [
        draws.normal("body_half_width_mm", 165.0 * size, 8.0),
        draws.normal("body_half_depth_mm", 112.0 * size, 6.0),
    ];
    let scanner = Scanner::drawn(&mut draws, options.noise_hu);
    let mut draws = Draws::new(stream(seed, Purpose::Bone, 0), "", &mut parameters);
    let build = Build::drawn(&mut draws, seed, size);
    let levels = if count == 1 {
        level - 1..=level + 1
    } else {
        FIRST_LEVEL + 1..=LAST_LEVEL
    };
    let (bones, discs) = stack(&mut draws, &build, levels, level);
    let target = bones.iter().find(|bone| bone.level == level);
    let lesion = target
        .filter(|_| options.lesion == Lesion::Lytic)
        .map(|target| body_lesion(seed, target, &mut parameters));
    let back = bones
        .iter()
        .map(|bone| bone.centre.y + bone.half.y + 44.0 * size)
        .fold(f64::MIN, f64::max)
        + behind;
    let centre = [0.0, back + 12.0 - half[1]];
    let mut draws = Draws::new(stream(seed, Purpose::Tissue, 2), "", &mut parameters);
    let mut surroundings = Surroundings::drawn(&mut draws, seed, centre, half, back);
    surroundings.discs = discs;
    let mut scene = Scene {
        anatomy,
        options,
        surroundings,
        scanner,
        lesion,
        parameters,
    };
    scene.lay_phantom(-FIELD_MM / 2.0, FIELD_MM / 2.0)?;
    let [low_z, high_z] = if count == 1 {
        // Up to the middle of the neighbours' bodies.
        [&bones[bones.len() - 1], &bones[0]].map(|bone| bone.centre.z)
    } else {
        let (first, last) = (&bones[0], &bones[bones.len() - 1]);
        [
            last.centre.z - last.half.z - 22.0,
            first.centre.z + first.half.z + 14.0,
        ]
    };
    let front = bones
        .iter()
        .map(|bone| bone.centre.y - bone.half.y)
        .fold(f64::MAX, f64::min);
    let field = [
        Point::new(-FIELD_MM / 2.0, front - 14.0, low_z),
        Point::new(FIELD_MM / 2.0, scene.bottom_y(), high_z),
    ];
    let labels: Vec<u16> = bones.iter().map(|bone| bone.level).collect();
    let truths: Vec<_> = bones
        .iter()
        .map(|bone| (bone.level, bone.truth()))
        .collect();
    let bones: Vec<Box<dyn Bone>> = bones
        .into_iter()
        .map(|bone| Box::new(bone) as Box<dyn Bone>)
        .collect();
    let layers = scene.scan(field, options.spacing_mm.unwrap_or(spacing_mm), &bones);
    check_labels(&layers, &labels)?;
    Ok(scene.patient(layers, &labels, |label| Description {
        name: level_name(label),
        vertebra: truths
            .iter()
            .find(|(level, _)| *level == label)
            .map(|(_, truth)| truth.clone()),
        ..Description::default()
    }))
}

/// A lytic lesion in the body of a vertebra.
fn body_lesion(seed: u64, bone: &Vertebra, parameters: &mut Parameters) -> PlacedLesion {
    let mut draws = Draws::new(stream(seed, Purpose::Lesion, 0), "lesion_", parameters);
    PlacedLesion::drawn(
        &mut draws,
        bone.level,
        "body",
        &bone.centre,
        5.0,
        [6.0, 9.5],
    )
}
