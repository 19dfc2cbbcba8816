//! Vertebrae as smooth solids: body with waist and hollow endplates, pedicles, laminae, processes.
//!
//! A vertebra has its own frame: origin in the middle of its body, `x` to the patient's left, `y` to the
//! back, `z` to the head.

use nalgebra::Rotation3;

use super::Bone;
use super::pelvis::Shell;
use super::random::{Draws, Texture};
use super::solid::{Point, bump, cone, ellipse, intersection, mix, round_box, smooth_step, union};
use super::truth::{VertebraTruth, plain};

/// VerSe number of the first level that can be drawn (T10).
pub(crate) const FIRST_LEVEL: u16 = 17;
/// VerSe number of the last level that can be drawn (L5).
pub(crate) const LAST_LEVEL: u16 = 24;

/// Mean width, depth and height of the body and height of the disc below it, mm, T10 to L5: rounded
/// typical values in the spread of Panjabi 1991 and 1992.
const LEVELS: [[f64; 4]; 8] = [
    [32.0, 29.0, 23.0, 5.0],
    [34.5, 30.0, 24.0, 5.5],
    [38.5, 31.0, 25.0, 6.5],
    [41.0, 32.0, 26.0, 8.0],
    [42.5, 33.0, 26.5, 9.0],
    [44.5, 33.5, 27.0, 10.0],
    [46.5, 34.0, 27.0, 10.5],
    [48.5, 34.0, 26.5, 10.0],
];

/// Name of a level by its VerSe number.
pub(crate) fn level_name(level: u16) -> String {
    match level {
        1..=7 => format!("C{level}"),
        8..=19 => format!("T{}", level - 7),
        20..=25 => format!("L{}", level - 19),
        28 => "T13".into(),
        _ => format!("vertebra {level}"),
    }
}

/// Size and composition that the levels of one patient share.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    size: f64,
    waist: f64,
    hollow_mm: f64,
    wall: Shell,
    endplate_mm: f64,
    posterior: Shell,
    texture: Texture,
}

impl Build {
    /// A drawn build.
    pub(crate) fn drawn(draws: &mut Draws<'_>, seed: u64, size: f64) -> Self {
        let trabecular = draws.normal("vertebral_trabecular_mg_cm3", 122.0, 22.0);
        Self {
            size,
            waist: draws.normal("vertebral_waist", 0.09, 0.02),
            hollow_mm: draws.normal("endplate_hollow_mm", 1.8, 0.4),
            wall: Shell {
                thickness_mm: draws.normal("vertebral_wall_mm", 0.5, 0.07),
                cortical: draws.normal("vertebral_wall_mg_cm3", 700.0, 60.0),
                trabecular,
            },
            endplate_mm: draws.normal("endplate_mm", 0.7, 0.1),
            posterior: Shell {
                thickness_mm: draws.normal("posterior_cortex_mm", 1.6, 0.2),
                cortical: draws.normal("posterior_cortical_mg_cm3", 850.0, 60.0),
                trabecular: 1.7 * trabecular,
            },
            texture: Texture::new(seed, 1, 6.0),
        }
    }
}

/// One vertebra in its place.
#[derive(Clone, Debug)]
pub(crate) struct Vertebra {
    /// VerSe number.
    pub level: u16,
    /// Half width, half depth and half height of the body, mm.
    pub half: Point,
    /// Middle of the body.
    pub centre: Point,
    /// Bone's frame to world.
    pub rotation: Rotation3<f64>,
    build: Build,
    /// The next vertebra towards the feet, which keeps its joint space.
    below: Option<Box<Vertebra>>,
}

/// A disc between two vertebrae, as a short cylinder.
#[derive(Clone, Debug)]
pub(crate) struct Disc {
    centre: Point,
    rotation: Rotation3<f64>,
    half: Point,
}

impl Disc {
    /// About the signed distance to its surface, mm.
    pub(crate) fn distance(&self, world: &Point) -> f64 {
        let offset = world - self.centre;
        if offset.norm_squared() > 40.0 * 40.0 {
            return 40.0;
        }
        let p = self.rotation.inverse_transform_vector(&offset);
        // As thick as to reach into the hollow endplates; the bone covers what is too much.
        intersection(
            ellipse(p.x, p.y, self.half.x, self.half.y),
            p.z.abs() - self.half.z,
            2.0,
        )
    }
}

/// Least space of a facet joint, mm.
const FACET_GAP_MM: f64 = 1.6;

/// A stack of vertebrae from the head down, the level `middle` upright at the world's origin.
pub(crate) fn stack(
    draws: &mut Draws<'_>,
    build: &Build,
    levels: std::ops::RangeInclusive<u16>,
    middle: u16,
) -> (Vec<Vertebra>, Vec<Disc>) {
    let mut bones: Vec<Vertebra> = Vec::new();
    let mut gaps: Vec<f64> = Vec::new();
    let tilt = draws.normal("tilt_deg", 0.0, 3.0).to_radians();
    let lean = draws.normal("lean_deg", 0.0, 1.5).to_radians();
    for level in levels {
        let [width, depth, height, disc] = LEVELS[usize::from(level - FIRST_LEVEL)];
        let name = level_name(level);
        let s = build.size;
        bones.push(Vertebra {
            level,
            half: Point::new(
                draws.normal(&format!("{name}_width_mm"), width * s, 1.0) / 2.0,
                draws.normal(&format!("{name}_depth_mm"), depth * s, 0.8) / 2.0,
                draws.normal(&format!("{name}_height_mm"), height * s, 0.7) / 2.0,
            ),
            centre: Point::zeros(),
            rotation: Rotation3::from_axis_angle(&Point::x_axis(), tilt)
                * Rotation3::from_axis_angle(&Point::y_axis(), lean),
            build: build.clone(),
            below: None,
        });
        gaps.push(draws.normal(&format!("{name}_disc_below_mm"), disc * s, 0.8));
    }
    let at = bones.iter().position(|b| b.level == middle).unwrap_or(0);
    for index in (0..at).rev() {
        join(draws, &mut bones, index + 1, index, gaps[index], 1.0);
    }
    for index in at + 1..bones.len() {
        join(draws, &mut bones, index - 1, index, gaps[index - 1], -1.0);
    }
    let discs = bones
        .windows(2)
        .map(|pair| disc_between(&pair[0], &pair[1]))
        .collect();
    for index in 1..bones.len() {
        bones[index - 1].below = Some(Box::new(bones[index].clone()));
    }
    (bones, discs)
}

/// Puts bone `to` a disc of `gap_mm` above (`up` 1) or below (`up` -1) bone `from`.
fn join(
    draws: &mut Draws<'_>,
    bones: &mut [Vertebra],
    from: usize,
    to: usize,
    gap_mm: f64,
    up: f64,
) {
    let name = level_name(bones[to].level);
    // Lumbar discs are wedged: higher in front.
    let mean = if bones[from].level.max(bones[to].level) >= 20 {
        5.0
    } else {
        1.0
    };
    let wedge = draws
        .normal(&format!("{name}_wedge_deg"), mean, 1.5)
        .to_radians();
    let base = &bones[from];
    let rotation = base.rotation * Rotation3::from_axis_angle(&Point::x_axis(), -up * wedge);
    let centre = base.centre
        + base.rotation * Point::z() * (up * (base.half.z + 0.5 * gap_mm))
        + rotation * Point::z() * (up * (bones[to].half.z + 0.5 * gap_mm));
    bones[to].rotation = rotation;
    bones[to].centre = centre;
}

fn disc_between(upper: &Vertebra, lower: &Vertebra) -> Disc {
    let top = upper.to_world(&Point::new(0.0, 0.0, -upper.half.z));
    let bottom = lower.to_world(&Point::new(0.0, 0.0, lower.half.z));
    Disc {
        centre: (top + bottom) / 2.0,
        rotation: upper.rotation,
        half: Point::new(
            lower.half.x * 0.97,
            lower.half.y * 0.97,
            (top - bottom).norm() / 2.0 + 2.5,
        ),
    }
}

impl Vertebra {
    /// World point of a point of the bone's frame.
    pub(crate) fn to_world(&self, p: &Point) -> Point {
        self.centre + self.rotation * p
    }

    fn to_bone(&self, world: &Point) -> Point {
        self.rotation
            .inverse_transform_vector(&(world - self.centre))
    }

    /// Landmarks in the world.
    pub(crate) fn truth(&self) -> VertebraTruth {
        let up = self.rotation * Point::z();
        let end = Point::new(0.0, 0.0, self.half.z);
        VertebraTruth {
            body_centre_mm: plain(&self.centre),
            superior_endplate_mm: plain(&self.to_world(&end)),
            superior_normal: plain(&up),
            inferior_endplate_mm: plain(&self.to_world(&-end)),
            inferior_normal: plain(&-up),
            body_height_mm: 2.0 * self.half.z,
        }
    }

    fn body(&self, p: &Point) -> f64 {
        let h = &self.half;
        let rise = (p.z / h.z).clamp(-1.2, 1.2);
        let scale = 1.0 - self.build.waist * (1.0 - rise * rise);
        let wall = ellipse(p.x, p.y, h.x * scale, h.y * scale);
        let notch = ellipse(p.x, p.y - h.y - 6.0, 13.0, 7.5);
        let wall = intersection(wall, -notch, 6.0);
        let from_middle = (p.x / h.x).hypot(p.y / h.y) / 0.9;
        let end = p.z.abs() - (h.z - self.build.hollow_mm * bump(from_middle, 1.0));
        intersection(wall, end, 3.0)
    }

    fn arch(&self, p: &Point) -> f64 {
        let s = self.build.size;
        let (b, h) = (self.half.y, self.half.z);
        let lumbar = smooth_step(18.5, 20.5, f64::from(self.level));
        // Left and right are the same: work on one side.
        let p = Point::new(p.x.abs(), p.y - b, p.z);
        let v = |x: f64, y: f64, z: f64| Point::new(x * s, y * s, z);
        let squeezed = |p: &Point, height: f64, by: f64| Point::new(p.x, p.y, (p.z - height) * by);

        let pedicle = cone(
            &squeezed(&p, 0.35 * h, 0.6),
            &v(14.5, -4.0, 0.0),
            &v(15.0, 10.0, 0.0),
            4.4 * s,
            4.4 * s,
        );
        let lamina = cone(
            &squeezed(&p, -0.1 * h, 0.45),
            &v(15.0, 11.0, 0.1 * h),
            &v(0.0, 20.5, -0.1 * h),
            3.6 * s,
            3.6 * s,
        );
        let mut bone = union(pedicle, lamina, 4.0);
        let spine = p - v(0.0, 31.0, -0.55 * h);
        let spine = Point::new(spine.x, spine.y, spine.z + 0.25 * spine.y);
        bone = union(
            bone,
            round_box(&spine, &v(2.9, 13.0, 8.5 * s), 2.5 * s),
            4.0,
        );
        let reach = mix(26.0, 38.0, lumbar);
        let back = mix(20.0, 12.0, lumbar);
        let transverse = cone(
            &p,
            &v(15.0, 9.0, 0.3 * h),
            &v(reach, back, 0.45 * h),
            5.0 * s,
            3.4 * s,
        );
        bone = union(bone, transverse, 4.0);
        let upper = cone(
            &p,
            &v(15.5, 11.0, 0.3 * h),
            &v(17.0, 13.0, h + 4.0),
            5.0 * s,
            3.8 * s,
        );
        let lower = cone(
            &p,
            &v(12.0, 16.0, -0.2 * h),
            &v(11.0, 19.5, -h - 5.0),
            5.0 * s,
            4.2 * s,
        );
        bone = union(union(bone, upper, 3.0), lower, 3.0);
        // The canal stays free.
        let canal = ellipse(p.x, p.y - 8.0 * s, 11.0 * s, 8.5 * s);
        intersection(bone, -canal, 2.0)
    }

    /// Signed distance without regard to the neighbours.
    fn alone(&self, world: &Point) -> f64 {
        let p = self.to_bone(world);
        union(self.body(&p), self.arch(&p), 3.0)
    }
}

impl Bone for Vertebra {
    fn label(&self) -> u16 {
        self.level
    }

    fn bounds(&self) -> [Point; 2] {
        let s = self.build.size;
        let reach = Point::new(44.0 * s, self.half.y + 4.0, self.half.z + 14.0);
        let back = Point::new(44.0 * s, self.half.y + 48.0 * s, self.half.z + 10.0);
        let mut bounds = [Point::repeat(f64::MAX), Point::repeat(f64::MIN)];
        for corner in 0..8 {
            let at = Point::from_fn(|axis, _| {
                if corner >> axis & 1 == 1 {
                    back[axis]
                } else {
                    -reach[axis]
                }
            });
            let world = self.to_world(&at);
            bounds = [bounds[0].inf(&world), bounds[1].sup(&world)];
        }
        bounds
    }

    fn distance(&self, world: &Point) -> f64 {
        let own = self.alone(world);
        match &self.below {
            Some(below) if own < FACET_GAP_MM => own.max(FACET_GAP_MM - below.alone(world)),
            _ => own,
        }
    }

    fn density_mg_cm3(&self, world: &Point, distance: f64, width_mm: f64) -> f64 {
        let p = self.to_bone(world);
        let behind = smooth_step(self.half.y - 3.0, self.half.y + 4.0, p.y);
        let mut body = self.build.wall;
        let near_end = smooth_step(0.55, 0.95, p.z.abs() / self.half.z);
        body.thickness_mm = mix(body.thickness_mm, self.build.endplate_mm, near_end);
        // Denser towards the endplates, with a random coarse grain.
        body.trabecular *= (0.93 + 0.22 * near_end) * (1.0 + 0.15 * self.build.texture.at(&p));
        mix(
            body.density_mg_cm3(distance, width_mm),
            self.build.posterior.density_mg_cm3(distance, width_mm),
            behind,
        )
    }
}
