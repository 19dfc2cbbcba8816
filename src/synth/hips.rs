//! Scans of the hip: one proximal femur, or both with the pelvis.

use anyhow::Result;

use super::femur::{FemoralTissue, Femur};
use super::pelvis::{HipBone, Sacrum, Shell};
use super::random::{Draws, Purpose, stream};
use super::scanner::Scanner;
use super::scene::{Description, PlacedLesion, Scene, check_labels};
use super::solid::Point;
use super::surroundings::Surroundings;
use super::truth::{FemurTruth, plain};
use super::{Bone, Lesion, Options, Parameters, Patient, Side, sign};

/// Voxel size of a single-femur scan unless asked otherwise, mm: the median of Saillard 2024.
const FEMUR_SPACING_MM: [f64; 3] = [0.78, 0.78, 0.67];
/// Width of the field of view of a single-femur scan, mm.
const FEMUR_FIELD_MM: f64 = 150.0;
/// Voxel size of a scan of both hips unless asked otherwise, mm: as clinical pelvis scans.
const HIP_SPACING_MM: [f64; 3] = [0.9, 0.9, 1.25];

/// The patient that both scans share.
struct Hips {
    size: f64,
    head_x: f64,
    side: Side,
    surroundings: Surroundings,
    scanner: Scanner,
    sacrum: Sacrum,
    tissue: FemoralTissue,
    parameters: Parameters,
}

impl Hips {
    fn drawn(options: &Options) -> Self {
        let seed = options.seed;
        let mut parameters = Parameters::new();
        let mut draws = Draws::new(stream(seed, Purpose::Patient, 0), "", &mut parameters);
        let coin = draws.uniform("side", 0.0, 1.0);
        let drawn_side = if coin < 0.5 { Side::Left } else { Side::Right };
        let size = draws.normal("size", 1.0, 0.05);
        let head_x = draws.normal("head_from_midline_mm", 89.0 * size, 3.0);
        let back_y = draws.normal("head_above_back_mm", 76.0 * size, 3.0);
        let half = [
            draws.normal("body_half_width_mm", 182.0 * size, 6.0),
            draws.normal("body_half_depth_mm", 112.0 * size, 5.0),
        ];
        let scanner = Scanner::drawn(&mut draws, options.noise_hu);
        let centre = [0.0, back_y + 12.0 - half[1]];
        let surroundings = Surroundings::drawn(&mut draws, seed, centre, half, back_y);
        let shell = Shell::pelvic(&mut draws);
        let sacrum = Sacrum::drawn(&mut draws, size, shell);
        let tissue = FemoralTissue::drawn(seed, &mut parameters);
        Self {
            size,
            head_x,
            side: options.side.unwrap_or(drawn_side),
            surroundings,
            scanner,
            sacrum,
            tissue,
            parameters,
        }
    }

    /// Femur and hip bone of one side.
    fn bones(&mut self, options: &Options, side: Side) -> (Femur, HipBone) {
        let (index, prefix) = match side {
            Side::Left => (0, "left_"),
            Side::Right => (1, "right_"),
        };
        let rng = stream(options.seed, Purpose::Bone, index);
        let mut draws = Draws::new(rng, prefix, &mut self.parameters);
        let head = Point::new(self.head_x, 0.0, 0.0);
        let femur = Femur::drawn(
            &mut draws,
            &self.tissue,
            side,
            self.size,
            head,
            options.shaft_mm,
        );
        let radius = femur.field.head_radius;
        let hip = HipBone::drawn(&mut draws, side, head, radius, self.size, &self.sacrum);
        (femur, hip)
    }

    fn lesion(&mut self, options: &Options, femur: &Femur) -> Option<PlacedLesion> {
        (options.lesion == Lesion::Lytic)
            .then(|| femur_lesion(options.seed, femur, &mut self.parameters))
    }

    fn scene<'a>(
        self,
        anatomy: &'static str,
        options: &'a Options,
        lesion: Option<PlacedLesion>,
    ) -> Scene<'a> {
        Scene {
            anatomy,
            options,
            surroundings: self.surroundings,
            scanner: self.scanner,
            lesion,
            parameters: self.parameters,
        }
    }
}

/// A scan of one proximal femur in its socket: a field of view of 150 mm round the hip, cut through the
/// shaft [`Options::shaft_mm`] below the lesser trochanter. Voxels of 0.78 x 0.78 x 0.67 mm by default.
///
/// The label map holds the femur (1 left, 2 right) and what the field shows of its hip bone (3, 4).
///
/// # Errors
/// An option out of its range, or a phantom too wide for the field of view.
pub fn femur(options: &Options) -> Result<Patient> {
    options.check()?;
    let mut hips = Hips::drawn(options);
    let (side, size, head_x) = (hips.side, hips.size, hips.head_x);
    let (femur, hip_bone) = hips.bones(options, side);
    let lesion = hips.lesion(options, &femur);
    let mut scene = hips.scene("femur", options, lesion);

    let medial = sign(side) * (head_x - 50.0 * size);
    let lateral = medial + sign(side) * FEMUR_FIELD_MM;
    let (low_x, high_x) = (medial.min(lateral), medial.max(lateral));
    scene.lay_phantom(low_x, high_x)?;
    let floor = femur.to_world(&femur.lesser_trochanter_point()).z - options.shaft_mm;
    let field = [
        Point::new(low_x, -46.0 * size, floor),
        Point::new(high_x, scene.bottom_y(), femur.field.head_radius + 12.0),
    ];
    let truth = femur_truth(&femur);
    let labels = [femur.label(), hip_bone.label()];
    let bones: Vec<Box<dyn Bone>> = vec![Box::new(femur), Box::new(hip_bone)];
    let layers = scene.scan(
        field,
        options.spacing_mm.unwrap_or(FEMUR_SPACING_MM),
        &bones,
    );
    check_labels(&layers, &labels)?;
    Ok(scene.patient(layers, &labels, |label| {
        describe(label, std::slice::from_ref(&truth))
    }))
}

/// A scan of both hips: femora, hip bones and sacrum. Voxels of 0.9 x 0.9 x 1.25 mm by default. A lesion
/// sits in the femur of [`Options::side`].
///
/// # Errors
/// As [`femur`].
pub fn hip(options: &Options) -> Result<Patient> {
    options.check()?;
    let mut hips = Hips::drawn(options);
    let (left, left_hip) = hips.bones(options, Side::Left);
    let (right, right_hip) = hips.bones(options, Side::Right);
    let struck = match hips.side {
        Side::Left => &left,
        Side::Right => &right,
    };
    let lesion = hips.lesion(options, struck);
    let (size, sacrum) = (hips.size, hips.sacrum.clone());
    let mut scene = hips.scene("hip", options, lesion);

    let half_width = scene.surroundings.half[0] + 12.0;
    scene.lay_phantom(-half_width, half_width)?;
    let floor = |femur: &Femur| femur.to_world(&femur.lesser_trochanter_point()).z;
    let field = [
        Point::new(
            -half_width,
            scene.surroundings.centre[1] - scene.surroundings.half[1] - 8.0,
            floor(&left).min(floor(&right)) - options.shaft_mm,
        ),
        Point::new(half_width, scene.bottom_y(), 62.0 * size),
    ];
    let truths = [femur_truth(&left), femur_truth(&right)];
    let bones: Vec<Box<dyn Bone>> = vec![
        Box::new(left),
        Box::new(right),
        Box::new(left_hip),
        Box::new(right_hip),
        Box::new(sacrum),
    ];
    let labels: Vec<u16> = bones.iter().map(|bone| bone.label()).collect();
    let layers = scene.scan(field, options.spacing_mm.unwrap_or(HIP_SPACING_MM), &bones);
    check_labels(&layers, &labels)?;
    Ok(scene.patient(layers, &labels, |label| describe(label, &truths)))
}

/// Name and side of a label of the hip; `femurs` are the landmarks of the femora in ascending label.
fn describe(label: u16, femurs: &[FemurTruth]) -> Description {
    let side = match label {
        1 | 3 => Some(Side::Left),
        2 | 4 => Some(Side::Right),
        _ => None,
    };
    let (name, femur) = match label {
        1 => ("femur", femurs.first()),
        2 => ("femur", femurs.last()),
        3 | 4 => ("hip bone", None),
        _ => ("sacrum", None),
    };
    Description {
        name: name.into(),
        side,
        femur: femur.cloned(),
        vertebra: None,
    }
}

/// Landmarks of a drawn femur in the world.
fn femur_truth(femur: &Femur) -> FemurTruth {
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

/// A lytic lesion in the neck or the trochanter of a drawn femur.
fn femur_lesion(seed: u64, femur: &Femur, parameters: &mut Parameters) -> PlacedLesion {
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
