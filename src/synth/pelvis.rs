//! Hip bones and sacrum, simple but of the right size: a socket round each femoral head, ilium, ischium,
//! pubis and the obturator foramen between them.

use nalgebra::Rotation3;

use super::random::Draws;
use super::solid::{Point, cone, ellipsoid, intersection, mix, occupancy, sphere, union};
use super::{Bone, Side, sign};

/// A thin compact shell over an even trabecular core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shell {
    /// Thickness of the shell, mm.
    pub thickness_mm: f64,
    /// Density of the shell, mg/cm³ K2HPO4.
    pub cortical: f64,
    /// Density of the core, mg/cm³ K2HPO4.
    pub trabecular: f64,
}

impl Shell {
    /// The shell of pelvic bone.
    pub(crate) fn pelvic(draws: &mut Draws<'_>) -> Self {
        Self {
            thickness_mm: draws.normal("pelvic_cortex_mm", 1.4, 0.2),
            cortical: draws.normal("pelvic_cortical_mg_cm3", 850.0, 60.0),
            trabecular: draws.normal("pelvic_trabecular_mg_cm3", 130.0, 20.0),
        }
    }

    /// Density over a voxel of `width_mm` whose centre lies `distance` from the surface; soft tissue
    /// outside is left out of the mean.
    pub(crate) fn density_mg_cm3(&self, distance: f64, width_mm: f64) -> f64 {
        let inner = occupancy(distance + self.thickness_mm, width_mm);
        let share = (inner / occupancy(distance, width_mm).max(1e-6)).min(1.0);
        mix(self.cortical, self.trabecular, share)
    }
}

/// The sacrum, in the midline.
#[derive(Clone, Debug)]
pub(crate) struct Sacrum {
    /// Middle of the sacrum.
    pub centre: Point,
    /// Its half width, half depth and half height, mm.
    pub half: Point,
    /// What it is made of.
    pub shell: Shell,
}

impl Sacrum {
    /// The sacrum that goes with femoral heads `head_x` mm from the midline, at height 0.
    pub(crate) fn drawn(draws: &mut Draws<'_>, size: f64, shell: Shell) -> Self {
        Self {
            centre: Point::new(
                0.0,
                draws.normal("sacrum_behind_heads_mm", 48.0 * size, 3.0),
                draws.normal("sacrum_above_heads_mm", 62.0 * size, 4.0),
            ),
            half: Point::new(46.0 * size, 17.0 * size, 56.0 * size),
            shell,
        }
    }
}

impl Bone for Sacrum {
    fn label(&self) -> u16 {
        5
    }

    fn bounds(&self) -> [Point; 2] {
        let reach = self.half.add_scalar(14.0);
        [self.centre - reach, self.centre + reach]
    }

    fn distance(&self, world: &Point) -> f64 {
        let p = world - self.centre;
        // A wedge: narrow at the foot end, bent forward at both ends.
        let rise = (p.z / self.half.z).clamp(-1.0, 1.0);
        let bend = 9.0 * rise * rise;
        let half = Point::new(self.half.x * (0.8 + 0.2 * rise), self.half.y, self.half.z);
        ellipsoid(&Point::new(p.x, p.y + bend, p.z), &half)
    }

    fn density_mg_cm3(&self, _: &Point, distance: f64, width_mm: f64) -> f64 {
        self.shell.density_mg_cm3(distance, width_mm)
    }
}

/// A hip bone round a femoral head, written for the left side about the head's centre.
#[derive(Clone, Debug)]
pub(crate) struct HipBone {
    side: Side,
    /// Head centre as on the left side.
    head: Point,
    head_radius: f64,
    gap_mm: f64,
    opening: Point,
    ilium: Rotation3<f64>,
    size: f64,
    shell: Shell,
    sacrum: Sacrum,
}

/// Least space between hip bone and sacrum, mm.
const SACROILIAC_GAP_MM: f64 = 2.0;
/// Thickness of the floor of the socket, mm. Typical value.
const SOCKET_WALL_MM: f64 = 9.0;

impl HipBone {
    /// The hip bone of a femoral head that stands at `head` as on the left side.
    pub(crate) fn drawn(
        draws: &mut Draws<'_>,
        side: Side,
        head: Point,
        head_radius: f64,
        size: f64,
        sacrum: &Sacrum,
    ) -> Self {
        let inclination = draws
            .normal("socket_inclination_deg", 45.0, 4.0)
            .to_radians();
        let version = draws
            .normal("socket_anteversion_deg", 18.8, 4.0)
            .to_radians();
        // The socket faces sideways, down and forward.
        let opening = Point::new(
            inclination.cos() * version.cos(),
            -version.sin(),
            -inclination.sin() * version.cos(),
        );
        let turn = draws.normal("ilium_turn_deg", 38.0, 4.0).to_radians();
        let flare = draws.normal("ilium_flare_deg", 17.0, 3.0).to_radians();
        Self {
            side,
            head,
            head_radius,
            gap_mm: draws.normal("joint_space_mm", 3.8, 0.5),
            opening,
            ilium: Rotation3::from_axis_angle(&Point::y_axis(), flare)
                * Rotation3::from_axis_angle(&Point::z_axis(), turn),
            size,
            shell: sacrum.shell,
            sacrum: sacrum.clone(),
        }
    }
}

impl Bone for HipBone {
    fn label(&self) -> u16 {
        match self.side {
            Side::Left => 3,
            Side::Right => 4,
        }
    }

    fn bounds(&self) -> [Point; 2] {
        let s = self.size;
        let low = self.head + Point::new(-self.head.x, -62.0 * s, -75.0 * s);
        let high = self.head + Point::new(50.0 * s, 85.0 * s, 150.0 * s);
        match self.side {
            Side::Left => [low, high],
            Side::Right => [
                Point::new(-high.x, low.y, low.z),
                Point::new(-low.x, high.y, high.z),
            ],
        }
    }

    fn distance(&self, world: &Point) -> f64 {
        let s = self.size;
        let v = |x: f64, y: f64, z: f64| Point::new(x * s, y * s, z * s);
        let left = Point::new(world.x * sign(self.side), world.y, world.z);
        let p = left - self.head;
        let cavity = sphere(&p, &Point::zeros(), self.head_radius + self.gap_mm);
        let socket = intersection(cavity - SOCKET_WALL_MM, p.dot(&self.opening) - 5.0, 4.0);

        let root = cone(
            &p,
            &v(-10.0, 4.0, 18.0),
            &v(-8.0, 16.0, 52.0),
            17.0 * s,
            11.0 * s,
        );
        let blade = self
            .ilium
            .inverse_transform_vector(&(p - v(-6.0, 22.0, 78.0)));
        let blade = ellipsoid(&blade, &v(8.0, 62.0, 58.0));
        let mut bone = union(union(socket, root, 14.0), blade, 10.0);

        let tuber = v(-22.0, 32.0, -46.0);
        let body = cone(&p, &v(-20.0, 18.0, -10.0), &tuber, 14.0 * s, 14.0 * s);
        bone = union(bone, body, 10.0);

        // The pubis ends 3 mm from the midline: half the symphysis.
        let medial = 14.0 * s - self.head.x;
        let crest = Point::new(medial, -36.0 * s, -22.0 * s);
        let low = Point::new(medial - 1.0, -30.0 * s, -42.0 * s);
        let upper = cone(&p, &v(-20.0, -12.0, -2.0), &crest, 12.0 * s, 9.0 * s);
        let pubis = cone(&p, &crest, &low, 9.0 * s, 8.0 * s);
        let lower = cone(&p, &low, &(tuber + v(-2.0, -6.0, -4.0)), 7.0 * s, 8.0 * s);
        bone = union(bone, union(union(upper, pubis, 5.0), lower, 5.0), 7.0);

        bone = bone.max(-cavity).max(3.0 - left.x);
        bone.max(SACROILIAC_GAP_MM - self.sacrum.distance(world))
    }

    fn density_mg_cm3(&self, _: &Point, distance: f64, width_mm: f64) -> f64 {
        self.shell.density_mg_cm3(distance, width_mm)
    }
}
