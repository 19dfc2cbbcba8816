//! The proximal femur as a smooth solid with its density field.
//!
//! Everything is written for a left femur in its own frame: `z` up along the shaft axis, `x` to the
//! side (lateral), `y` to the back; the origin is where the neck axis meets the shaft axis. A right
//! femur is the mirror image.

use nalgebra::{Rotation3, Vector3};

use super::random::{Draws, Purpose, stream};
use super::solid::{
    Point, bump, cone, ellipse, intersection, mix, occupancy, segment, smooth_step, sphere, union,
};
use super::{Bone, Parameters, Side, sign};

/// Density of the fatty marrow of the canal, mg/cm³ K2HPO4: about -60 HU seen through the reference
/// line. Typical value; negative because fat attenuates less than water.
pub(crate) const MARROW_MG_CM3: f64 = -40.0;

/// Where the landmarks of one femur lie, and how its density is laid out about them.
///
/// The frame may be the bone's own or the world's: only the vectors matter.
#[derive(Clone, Debug)]
pub(crate) struct FemurField {
    /// Centre of the head.
    pub head: Point,
    /// Radius of the head, mm.
    pub head_radius: f64,
    /// Where neck axis and shaft axis come closest, on the shaft axis.
    pub crossing: Point,
    /// Unit vector along the shaft, distal to proximal.
    pub shaft: Point,
    /// Height of the lesser trochanter above the crossing along the shaft, mm (negative).
    pub lesser_trochanter: f64,
    /// Half the height of the narrowest neck, mm.
    pub neck_half_height: f64,
    /// Thickness of the cortex of the shaft, mm.
    pub cortex_shaft: f64,
    /// Thickness of the cortex of the lower (calcar) and upper neck, mm.
    pub cortex_neck: [f64; 2],
    /// Thickness of the thin cortex of head and trochanters, mm.
    pub cortex_thin: f64,
    /// Density of the compact bone, mg/cm³ K2HPO4.
    pub cortical: f64,
    /// Factor on all trabecular densities.
    pub trabecular: f64,
}

/// Thicknesses and densities that the two femora of one patient share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FemoralTissue {
    cortex_shaft: f64,
    cortex_neck: [f64; 2],
    cortex_thin: f64,
    cortical: f64,
    trabecular: f64,
}

impl FemoralTissue {
    /// Draws what the patient of `seed` has; recorded as `femoral_…`.
    pub(crate) fn drawn(seed: u64, parameters: &mut Parameters) -> Self {
        let rng = stream(seed, Purpose::FemoralTissue, 0);
        let mut draws = Draws::new(rng, "femoral_", parameters);
        Self {
            cortex_shaft: draws.normal("cortex_shaft_mm", 5.6, 0.5),
            cortex_neck: [
                draws.normal("cortex_neck_inferior_mm", 2.5, 0.4),
                draws.normal("cortex_neck_superior_mm", 1.0, 0.15),
            ],
            cortex_thin: draws.normal("cortex_thin_mm", 0.8, 0.1),
            cortical: draws.normal("cortical_mg_cm3", 1050.0, 40.0),
            trabecular: draws.normal("trabecular_factor", 0.85, 0.12),
        }
    }
}

impl FemurField {
    /// The patient's tissue with the small differences of one side; the landmarks are left at the origin.
    pub(crate) fn drawn(draws: &mut Draws<'_>, tissue: &FemoralTissue) -> Self {
        let cortex = draws.normal("cortex_side_factor", 1.0, 0.02);
        Self {
            head: Point::zeros(),
            head_radius: 23.0,
            crossing: Point::zeros(),
            shaft: Point::z(),
            lesser_trochanter: -20.0,
            neck_half_height: 16.5,
            cortex_shaft: cortex * tissue.cortex_shaft,
            cortex_neck: tissue.cortex_neck.map(|thickness| cortex * thickness),
            cortex_thin: cortex * tissue.cortex_thin,
            cortical: tissue.cortical,
            trabecular: tissue.trabecular * draws.normal("trabecular_side_factor", 1.0, 0.03),
        }
    }

    /// Neck axis: length from crossing to head centre, unit vector, and the unit vector that points to
    /// the upper side of the neck.
    pub(crate) fn neck(&self) -> (f64, Point, Point) {
        let axis = self.head - self.crossing;
        let length = axis.norm().max(1e-6);
        let n = axis / length;
        let up = self.shaft - n * n.dot(&self.shaft);
        (length, n, up / up.norm().max(1e-6))
    }

    /// Thickness of the cortex nearest to `p`, mm.
    pub(crate) fn cortex_mm(&self, p: &Point) -> f64 {
        let (length, n, up) = self.neck();
        let q = p - self.crossing;
        let depth = self.lesser_trochanter - q.dot(&self.shaft);
        let t = q.dot(&n);
        let across = q - n * t;
        let lower = -across.dot(&up) / across.norm().max(1e-6);
        let neck = mix(
            self.cortex_neck[1],
            self.cortex_neck[0],
            smooth_step(-0.3, 0.9, lower),
        );
        let in_neck = smooth_step(0.05, 0.3, t / length) * smooth_step(0.95, 0.6, t / length);
        let mut thickness = mix(self.cortex_thin * 1.25, neck, in_neck);
        // The calcar: the medial wall between neck and shaft.
        let medial = n - self.shaft * n.dot(&self.shaft);
        let radial = q - self.shaft * q.dot(&self.shaft);
        let side = radial.dot(&medial) / (radial.norm() * medial.norm()).max(1e-6);
        let calcar = smooth_step(0.2, 0.9, side)
            * smooth_step(-30.0, -12.0, depth)
            * smooth_step(0.55, 0.35, t / length);
        thickness = thickness.max(mix(thickness, self.cortex_neck[0] * 1.2, calcar));
        thickness = mix(
            thickness,
            self.cortex_shaft,
            smooth_step(-14.0, 38.0, depth),
        );
        let from_head = (p - self.head).norm() / self.head_radius;
        mix(
            thickness,
            self.cortex_thin,
            smooth_step(1.15, 0.9, from_head),
        )
    }

    /// Density of the bone inside the cortex at `p`, mg/cm³ K2HPO4.
    pub(crate) fn trabecular_mg_cm3(&self, p: &Point) -> f64 {
        let (length, n, up) = self.neck();
        let r = self.head_radius;
        let q = p - self.crossing;
        let depth = self.lesser_trochanter - q.dot(&self.shaft);
        let medial = (n - self.shaft * n.dot(&self.shaft)).normalize();
        let calcar = self.crossing + n * (0.32 * length) - up * (0.8 * self.neck_half_height);
        let dome = self.head + self.shaft * (0.75 * r);
        let in_head = smooth_step(1.15, 0.6, (p - self.head).norm() / r);
        let compressive = bump(segment(p, &dome, &calcar), 0.75 * r);
        let lateral = self.crossing - medial * 14.0 - self.shaft * 12.0;
        let arch = self.crossing + n * (0.5 * length) + up * (0.6 * self.neck_half_height);
        let tensile = bump(
            segment(p, &lateral, &arch).min(segment(p, &arch, &self.head)),
            11.0,
        );
        let foot = self.crossing + medial * 11.0 + self.shaft * (self.lesser_trochanter + 4.0);
        let tip = self.crossing - medial * 12.0 + self.shaft * 2.0;
        let secondary = bump(segment(p, &foot, &tip), 11.0);
        let ward = self.crossing + n * (0.3 * length) - up * (0.15 * self.neck_half_height);
        let hollow = bump((p - ward).norm(), 12.0);
        let bone = 85.0 + 130.0 * in_head + 150.0 * compressive + 60.0 * tensile + 35.0 * secondary
            - 55.0 * hollow;
        mix(
            bone.max(15.0) * self.trabecular,
            MARROW_MG_CM3,
            smooth_step(-8.0, 32.0, depth),
        )
    }

    /// Density of the bone at `p`, which lies `distance` from the surface (negative inside), averaged
    /// over a voxel of `width_mm`; soft tissue outside is left out of the mean.
    pub(crate) fn density_mg_cm3(&self, p: &Point, distance: f64, width_mm: f64) -> f64 {
        let thickness = self.cortex_mm(p);
        let inner = occupancy(distance + thickness, width_mm);
        if inner <= 0.0 {
            return self.cortical;
        }
        let share = (inner / occupancy(distance, width_mm).max(1e-6)).min(1.0);
        mix(self.cortical, self.trabecular_mg_cm3(p), share)
    }
}

/// A femur: shape, field and pose.
#[derive(Clone, Debug)]
pub(crate) struct Femur {
    /// Which side it belongs to.
    pub side: Side,
    /// Landmarks in the bone's own frame, and the density field.
    pub field: FemurField,
    /// Half width of the narrowest neck front to back, mm.
    neck_half_depth: f64,
    /// Outer radius of the shaft at its thinnest, mm.
    shaft_radius: f64,
    /// Radius of the forward bow of the shaft, mm.
    bow_radius: f64,
    /// Angle between neck axis and distal shaft axis, degrees.
    pub neck_shaft_angle_deg: f64,
    /// Angle of the neck forward of the frontal plane of the bone, degrees.
    pub anteversion_deg: f64,
    /// Rotation from the bone's frame to the world of a left femur.
    rotation: Rotation3<f64>,
    /// World position of the bone's origin, as a left femur.
    origin: Point,
    /// Lowest height of the shaft that the scan holds, in the bone's frame, mm.
    floor: f64,
}

/// Depth below the lesser trochanter at which the bow touches the shaft axis, mm.
const BOW_TOUCH_MM: f64 = 60.0;

impl Femur {
    /// Draws a femur whose head centre stands at `head_mm`, written as for a left femur; the scan holds
    /// `shaft_mm` of its shaft below the lesser trochanter.
    pub(crate) fn drawn(
        draws: &mut Draws<'_>,
        tissue: &FemoralTissue,
        side: Side,
        size: f64,
        head_mm: Point,
        shaft_mm: f64,
    ) -> Self {
        let mut field = FemurField::drawn(draws, tissue);
        field.head_radius = draws.normal("head_radius_mm", 23.0 * size, 0.5);
        let offset = draws.normal("head_offset_mm", 43.0 * size, 2.5);
        let head_height = draws.normal("head_above_lesser_trochanter_mm", 51.6 * size, 2.5);
        let angle = draws.normal("neck_shaft_angle_deg", 127.0, 4.0);
        let anteversion = draws.normal("anteversion_deg", 10.5, 4.0);
        field.neck_half_height = draws.normal("neck_half_height_mm", 16.5 * size, 0.6);
        let neck_half_depth = draws.normal("neck_half_depth_mm", 13.2 * size, 0.6);
        let shaft_radius = draws.normal("shaft_radius_mm", 14.0 * size, 0.5);
        let bow_radius = draws.normal("shaft_bow_radius_mm", 943.0, 90.0);
        let adduction = draws.normal("shaft_obliquity_deg", 6.0, 2.0);
        let flexion = draws.normal("shaft_flexion_deg", 0.0, 2.0);
        let rotation = draws.normal("internal_rotation_deg", 5.0, 5.0);

        let (sin, cos) = angle.to_radians().sin_cos();
        let (sin_a, cos_a) = anteversion.to_radians().sin_cos();
        let length = offset / sin;
        let n = Vector3::new(-sin * cos_a, -sin * sin_a, -cos);
        field.head = n * length;
        field.lesser_trochanter = field.head.z - head_height;
        // The knee end leans towards the midline; the limb turns inwards about its length.
        let pose = Rotation3::from_axis_angle(&Vector3::y_axis(), adduction.to_radians())
            * Rotation3::from_axis_angle(&Vector3::x_axis(), flexion.to_radians())
            * Rotation3::from_axis_angle(&Vector3::z_axis(), rotation.to_radians());
        Self {
            side,
            origin: head_mm - pose * field.head,
            floor: field.lesser_trochanter - shaft_mm,
            field,
            neck_half_depth,
            shaft_radius,
            bow_radius,
            neck_shaft_angle_deg: angle,
            anteversion_deg: anteversion,
            rotation: pose,
        }
    }

    /// The bone's own coordinates of a world point.
    fn to_bone(&self, world: &Point) -> Point {
        let left = Point::new(world.x * sign(self.side), world.y, world.z);
        self.rotation
            .inverse_transform_vector(&(left - self.origin))
    }

    /// World direction of a direction of the bone's frame.
    pub(crate) fn direction_to_world(&self, direction: &Point) -> Point {
        let left = self.rotation * direction;
        Point::new(left.x * sign(self.side), left.y, left.z)
    }

    /// World point of a point of the bone's frame.
    pub(crate) fn to_world(&self, point: &Point) -> Point {
        let left = self.rotation * point + self.origin;
        Point::new(left.x * sign(self.side), left.y, left.z)
    }

    /// A point on the shaft axis, in the bone's frame: where the bowed centre line lies on average
    /// between 20 and 100 mm below the lesser trochanter.
    pub(crate) fn shaft_point(&self) -> Point {
        // Mean of (u - 60)² over 20..100 is 40² / 3.
        let bow = 1600.0 / 3.0 / (2.0 * self.bow_radius);
        Point::new(0.0, bow, self.field.lesser_trochanter - BOW_TOUCH_MM)
    }

    /// The tip of the lesser trochanter, in the bone's frame.
    pub(crate) fn lesser_trochanter_point(&self) -> Point {
        let s = self.scale();
        Point::new(-11.0 * s, 19.0 * s, self.field.lesser_trochanter)
    }

    fn scale(&self) -> f64 {
        self.field.head_radius / 23.0
    }

    /// Signed distance in the bone's frame.
    fn solid(&self, p: &Point) -> f64 {
        let s = self.scale();
        let lt = self.field.lesser_trochanter;
        let v = Point::new;
        let depth = lt - p.z;

        let bow = (depth - BOW_TOUCH_MM).powi(2) / (2.0 * self.bow_radius);
        let radius = self.shaft_radius + 3.0 * s * smooth_step(60.0, -10.0, depth);
        let shaft = ellipse(p.x, p.y - bow, radius * 1.02, radius * 0.98);
        let mut bone = intersection(shaft, p.z + 6.0, 8.0);

        let flare = cone(
            p,
            &v(-1.0, 1.0, lt - 6.0),
            &v(1.5 * s, 0.0, -5.0),
            15.5 * s,
            18.0 * s,
        );
        bone = union(bone, flare, 10.0);

        let trochanter_top = self.field.head.z - 0.2 * self.field.head_radius - 11.0 * s;
        let greater = cone(
            p,
            &v(8.0 * s, 2.0, -7.0 * s),
            &v(15.0 * s, 8.0 * s, trochanter_top),
            17.0 * s,
            11.0 * s,
        );
        bone = union(bone, greater, 9.0);

        let lesser = cone(
            p,
            &v(-5.0 * s, 8.0 * s, lt + 3.0),
            &v(-10.0 * s, 14.0 * s, lt),
            10.0 * s,
            6.5 * s,
        );
        bone = union(bone, lesser, 7.0);

        bone = union(bone, self.neck_solid(p), 10.0);
        union(
            bone,
            sphere(p, &self.field.head, self.field.head_radius),
            4.0,
        )
    }

    fn neck_solid(&self, p: &Point) -> f64 {
        let (length, n, up) = self.field.neck();
        let front = n.cross(&up);
        let t = p.dot(&n);
        let across = p - n * t;
        // Narrowest at 0.58 of the way to the head centre; wider towards the trochanters.
        let away = (t / length).clamp(0.0, 1.0) - 0.58;
        let widen = if away < 0.0 { 1.1 } else { 0.6 } * away * away;
        let side = ellipse(
            across.dot(&up),
            across.dot(&front),
            self.field.neck_half_height * (1.0 + widen),
            self.neck_half_depth * (1.0 + 1.4 * widen),
        );
        let ends = (t - length).max(-2.0 - t);
        intersection(side, ends, 4.0)
    }
}

impl Bone for Femur {
    fn label(&self) -> u16 {
        match self.side {
            Side::Left => 1,
            Side::Right => 2,
        }
    }

    fn bounds(&self) -> [Point; 2] {
        let s = self.scale();
        let head = self.field.head;
        let r = self.field.head_radius;
        let reach = 36.0 * s;
        let low = Point::new(
            head.x - r - 3.0,
            (head.y - r).min(-reach),
            self.floor - 40.0,
        );
        let high = Point::new(reach, reach, head.z + r + 3.0);
        let mut bounds = [Point::repeat(f64::MAX), Point::repeat(f64::MIN)];
        for corner in 0..8 {
            let at = Point::from_fn(|axis, _| {
                if corner >> axis & 1 == 1 {
                    high[axis]
                } else {
                    low[axis]
                }
            });
            let world = self.to_world(&at);
            bounds = [bounds[0].inf(&world), bounds[1].sup(&world)];
        }
        bounds
    }

    fn distance(&self, world: &Point) -> f64 {
        self.solid(&self.to_bone(world))
    }

    fn density_mg_cm3(&self, world: &Point, distance: f64, width_mm: f64) -> f64 {
        self.field
            .density_mg_cm3(&self.to_bone(world), distance, width_mm)
    }
}
