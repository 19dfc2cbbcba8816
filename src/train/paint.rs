//! Patches of CT painted on label maps, each different in pose, tissue, scanner and field of view.
//!
//! Nothing here aims at looking like a certain scanner: the ranges are wider than reality, so that a network trained on them finds
//! bone by shape and shell rather than by brightness. What is drawn, and how wide, stands in the code at its line; a trial of the
//! method found trabecular contrast to matter most.

mod coarse_result;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use segmentation::training::{Sample, Samples};

use super::anatomy::{Anatomy, At};
use super::scanner;
use super::scenery::{Cloud, Draw, Lump, Table, Tube, Window, between};

/// How CT numbers reach the network: clipped, shifted, scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lowest and highest CT number, HU.
    pub clip_hu: [f32; 2],
    /// What becomes 0, HU.
    pub mean_hu: f32,
    /// What becomes 1 above that, HU.
    pub deviation_hu: f32,
}

impl Range {
    fn normalised(&self, hu: f32) -> f32 {
        (hu.clamp(self.clip_hu[0], self.clip_hu[1]) - self.mean_hu) / self.deviation_hu
    }
}

/// Paints samples of a network.
#[derive(Clone, Debug)]
pub struct Painter {
    /// The anatomies; sample `i` uses one of them.
    pub anatomies: Vec<Anatomy>,
    /// Voxels of a sample, z, y, x.
    pub patch: [usize; 3],
    /// Their spacing, mm.
    pub spacing_mm: f32,
    /// Input range.
    pub range: Range,
    /// Whether the result of a coarser network is further input, one channel per class.
    pub coarse_input: Option<f32>,
    /// Everything random follows from this and the sample's number.
    pub seed: u64,
}

impl Samples for Painter {
    fn sample(&self, index: u64) -> segmentation::Result<Sample> {
        Ok(Scene::drawn(self, index).painted())
    }
}

/// Bone at one voxel.
struct Here {
    /// Distances to the kinds of bone, mm.
    distances: At,
    /// How far behind the bodies of vertebrae it lies, where the first kind is vertebrae.
    behind: Option<f32>,
    /// Share of disc.
    disc: f32,
}

impl Here {
    /// The nearest class and how far it is, mm; vertebral bodies are 1 and arches 2 where the first kind is vertebrae.
    fn nearest(&self, kinds: usize) -> (u8, f32) {
        let d = &self.distances;
        let nearest = (0..kinds)
            .min_by(|&a, &b| d[a].total_cmp(&d[b]))
            .unwrap_or(0);
        let arch = match self.behind {
            Some(behind) if nearest == 0 => behind > 0.0,
            parts => parts.is_some(),
        };
        (nearest as u8 + 1 + u8::from(arch), d[nearest])
    }
}

/// Everything drawn for one sample. Places are mm from the corner of the patch, z, y, x.
struct Scene<'a> {
    painter: &'a Painter,
    anatomy: &'a Anatomy,
    draw: Draw,
    centre: [f32; 3],
    /// From mm in the patch (z, y, x) to voxels of the anatomy (i, j, k).
    turn: [[f32; 3]; 3],
    scale: f32,
    extent: [f32; 3],
}

impl<'a> Scene<'a> {
    fn drawn(painter: &'a Painter, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(painter.seed);
        rng.set_stream(index);
        let mut draw = Draw(rng);
        let anatomy =
            &painter.anatomies[(draw.0.next_u64() % painter.anatomies.len() as u64) as usize];
        // Half at the bone itself, a third at the others, the rest anywhere; of vertebrae more, which not every anatomy holds.
        let own = if anatomy.is_spine() { 0.7 } else { 0.5 };
        let class = match draw.unit() {
            u if u < own => Some(0),
            u if u < 0.85 && anatomy.classes() > 1 => Some(1),
            _ => None,
        };
        let pick = draw.0.next_u64();
        let centre = anatomy.place(class, pick);
        let extent = painter.patch.map(|n| n as f32 * painter.spacing_mm);
        let scale = draw.between(0.82, 1.22);
        let turn = turn(&mut draw, scale, anatomy.voxels_per_mm());
        // The place is somewhere in the middle half of the patch.
        let mut scene = Self {
            painter,
            anatomy,
            draw,
            centre,
            turn,
            scale,
            extent,
        };
        let shift: [f32; 3] =
            std::array::from_fn(|axis| scene.draw.between(-0.3, 0.3) * scene.extent[axis]);
        let moved = scene.rotated(shift);
        for axis in 0..3 {
            scene.centre[axis] += moved[axis];
        }
        scene
    }

    fn rotated(&self, offset: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|axis| (0..3).map(|k| self.turn[axis][k] * offset[k]).sum())
    }

    /// Place in the anatomy of a place in the patch.
    fn in_anatomy(&self, place: [f32; 3]) -> [f32; 3] {
        let offset = std::array::from_fn(|axis| place[axis] - 0.5 * self.extent[axis]);
        let moved = self.rotated(offset);
        std::array::from_fn(|axis| self.centre[axis] + moved[axis])
    }

    fn place(&mut self) -> [f32; 3] {
        std::array::from_fn(|axis| self.draw.unit() * self.extent[axis])
    }

    fn painted(mut self) -> Sample {
        let painter = self.painter;
        let [nz, ny, nx] = painter.patch;
        let h = painter.spacing_mm;
        let classes = self.anatomy.classes();
        let extent = self.extent;
        let warp = self.warp();
        // Shape: the surface moves in and out a little, the same for image and target.
        let swell = self.draw.between(-0.5, 0.5);
        let ripple = self.draw.between(0.0, 0.7);
        let ripples = Cloud::drawn(&mut self.draw, extent, 18.0);
        let gap = self.draw.between(0.3, 3.2);
        // Bone: shell of the head and of the shaft, mm and HU; inside from fatty to dense.
        let shell_thin = self.draw.between(0.4, 1.8);
        let spine = self.anatomy.is_spine();
        let shell_thick = match spine {
            true => self.draw.between(0.8, 4.0),
            false => self.draw.between(2.5, 8.0),
        };
        let shell_hu = self.draw.between(350.0, 1750.0);
        let other_thin = self.draw.between(0.5, 2.8);
        let other_hu = shell_hu * self.draw.between(0.7, 1.1);
        let shells = Cloud::drawn(&mut self.draw, extent, 22.0);
        // Mostly dim: a bright inside would make brightness the rule.
        let inside_hu = match self.draw.unit() {
            u if u < 0.4 => self.draw.between(-90.0, 60.0),
            u if u < 0.8 => self.draw.between(30.0, 200.0),
            _ => self.draw.between(150.0, 420.0),
        };
        let other_inside_hu = inside_hu + self.draw.between(-80.0, 150.0);
        // Old bone is hard to tell from what lies around it, but for its endplates.
        let inside_hu = match spine && self.draw.chance(0.35) {
            true => self.draw.between(-20.0, 90.0),
            false => inside_hu,
        };
        let marrow_hu = match spine {
            true => inside_hu,
            false => self.draw.between(-110.0, 60.0),
        };
        let disc_hu = if spine {
            self.draw.between(30.0, 170.0)
        } else {
            0.0
        };
        let uneven = self.draw.between(0.0, 130.0);
        // Shells of vertebrae thin out until nothing of them is seen.
        let fading = if spine {
            self.draw.between(0.0, 0.9)
        } else {
            0.0
        };
        let fades = spine.then(|| Cloud::drawn(&mut self.draw, extent, 15.0));
        let coarse_pattern = Cloud::drawn(&mut self.draw, extent, 16.0);
        let fine_pattern = Cloud::drawn(&mut self.draw, extent, 5.0);
        let subchondral = if self.draw.chance(0.4) {
            self.draw.between(0.0, 450.0)
        } else {
            0.0
        };
        // Soft tissue: muscle with planes and patches of fat, skin and air beyond.
        let muscle = self.draw.between(15.0, 105.0);
        let fat = self.draw.between(-130.0, -70.0);
        let fat_share = self.draw.between(-1.2, 0.8);
        let fat_sharp = self.draw.between(1.0, 6.0);
        let tissue = Cloud::drawn(&mut self.draw, extent, 20.0);
        let tissue_fine = Cloud::drawn(&mut self.draw, extent, 6.0);
        let skin = match self.draw.chance(0.5) {
            true => self.draw.between(12.0, 60.0),
            false => f32::INFINITY,
        };
        let skins = Cloud::drawn(&mut self.draw, extent, 60.0);
        let tubes = self.tubes();
        let rods = self.rods();
        let table = self.table();
        let turns = self.turns();
        let lumps = self.lumps();
        let ribs = if spine { self.ribs() } else { vec![] };
        // Ribs reach vertebrae; nothing but the pelvis reaches a proximal femur.
        let clear_mm = if spine { 2.0 } else { 12.0 };
        let metal = self
            .draw
            .chance(0.03)
            .then(|| (self.place(), self.draw.between(4.0, 14.0)));
        let blur_mm = h * self.draw.between(0.9, 1.6);

        let voxels = nz * ny * nx;
        let mut hu = vec![0.0f32; voxels];
        let mut target = vec![0u8; voxels];
        let mut fields: Vec<Here> = Vec::with_capacity(voxels);
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    let index = (z * ny + y) * nx + x;
                    let place = [
                        (z as f32 + 0.5) * h,
                        (y as f32 + 0.5) * h,
                        (x as f32 + 0.5) * h,
                    ];
                    let moved = match &warp {
                        Some((strength, clouds)) => std::array::from_fn(|axis| {
                            place[axis] + strength * clouds[axis].at(place)
                        }),
                        None => place,
                    };
                    let at = self.in_anatomy(moved);
                    let mut d = self.anatomy.at(at);
                    let at = self.anatomy.turned(at, &turns);
                    if !turns.is_empty() {
                        d[0] = self.anatomy.first_at(at);
                    }
                    let change = swell + ripple * ripples.at(place);
                    for d in &mut d[..classes] {
                        *d = *d * self.scale + change;
                    }
                    if classes > 1 {
                        for lump in &lumps {
                            let own = lump.distance(place).max(clear_mm - d[0]);
                            d[1] = d[1].min(own);
                        }
                        for rib in &ribs {
                            let own = (rib.distance(place) - rib.radius).max(clear_mm - d[0]);
                            d[1] = d[1].min(own);
                        }
                        // A joint is never closed.
                        d[1] = d[1].max(gap - d[0]);
                    }
                    let [behind, disc] = self.anatomy.spine_at(at).unwrap_or([-1.0, 0.0]);
                    let here = Here {
                        distances: d,
                        behind: spine.then_some(behind),
                        disc,
                    };
                    let (own, distance) = here.nearest(classes);
                    target[index] = if distance < 0.0 { own } else { 0 };
                    fields.push(here);
                    let nearest = d[..classes].iter().copied().fold(60.0, f32::min);
                    let mut soft = {
                        let t = tissue.at(place) + 0.5 * tissue_fine.at(place) - fat_share;
                        let share = (0.5 + fat_sharp * 0.2 * t).clamp(0.0, 1.0);
                        fat + share * (muscle - fat)
                    };
                    soft += disc * (disc_hu - soft);
                    for tube in &tubes {
                        if nearest > 2.0 {
                            soft += tube.share(place, blur_mm) * (tube.hu - soft);
                        }
                    }
                    let air =
                        (0.5 + (nearest - skin - 15.0 * skins.at(place)) / blur_mm).clamp(0.0, 1.0);
                    if air > 0.0 {
                        let beyond = table.as_ref().map_or(-1000.0, |t| t.hu(place, blur_mm));
                        soft += air * (beyond - soft);
                    }
                    // A phantom lies under the patient, and touches nobody's bone.
                    for rod in &rods {
                        if nearest > 8.0 {
                            soft += rod.share(place, blur_mm) * (rod.hu - soft);
                        }
                    }
                    let mut value = soft;
                    let pattern =
                        uneven * (coarse_pattern.at(place) + 0.6 * fine_pattern.at(place));
                    for class in (0..classes).rev() {
                        let share = (0.5 - d[class] / blur_mm).clamp(0.0, 1.0);
                        if share == 0.0 {
                            continue;
                        }
                        let long = class == 0;
                        // From the head (thin shell) to the shaft (thick shell, fatty marrow).
                        let down = if spine {
                            // From body to arch.
                            (0.5 + behind / 6.0).clamp(0.0, 1.0)
                        } else if long {
                            ((self.anatomy.below_top_mm(at) * self.scale - 65.0) / 45.0)
                                .clamp(0.0, 1.0)
                        } else {
                            0.0
                        };
                        let thin = if long { shell_thin } else { other_thin };
                        let thickness = (thin + down * (shell_thick - thin)).max(0.2)
                            * (1.0 + 0.35 * shells.at(place)).max(0.2);
                        let core = (0.5 - (d[class] + thickness) / blur_mm).clamp(0.0, 1.0);
                        let inside = if long { inside_hu } else { other_inside_hu };
                        let mut centre =
                            inside + down * (marrow_hu - inside) + pattern * (1.0 - 0.7 * down);
                        if classes > 1 && subchondral > 0.0 {
                            let facing = d[1 - class.min(1)];
                            let depth = -d[class];
                            if depth < 6.0 && facing < 8.0 {
                                centre += subchondral
                                    * (1.0 - depth / 6.0)
                                    * (1.0 - facing.max(0.0) / 8.0);
                            }
                        }
                        let mut shell = if long { shell_hu } else { other_hu };
                        if let (true, Some(fades)) = (long, &fades) {
                            let left = (1.0 + fading * fades.at(place)).clamp(0.1, 1.3);
                            shell = centre + left * (shell - centre);
                        }
                        let bone = (shell * (share - core) + centre * core) / share;
                        value += share * (bone - value);
                    }
                    if let Some((centre, radius)) = metal {
                        let distance = between(place, centre) - radius;
                        value += (0.5 - distance / blur_mm).clamp(0.0, 1.0) * (3000.0 - value);
                    }
                    hu[index] = value;
                }
            }
        }
        scanner::scan(&mut self.draw, &mut hu, painter.patch);
        let window = self.field_of_view();
        let fill = match self.draw.unit() {
            u if u < 0.5 => -1024.0,
            u if u < 0.75 => 0.0,
            _ => painter.range.mean_hu,
        };
        let mut image: Vec<f32> = hu.iter().map(|&hu| painter.range.normalised(hu)).collect();
        for (index, image) in image.iter_mut().enumerate() {
            if !window.holds([index / (ny * nx), index / nx % ny, index % nx]) {
                *image = painter.range.normalised(fill);
                target[index] = 0;
            }
        }
        if let Some(coarse_mm) = painter.coarse_input {
            let named = classes + usize::from(spine);
            let coarse = self.coarse(&fields, named, coarse_mm, &window);
            for class in 1..=named as u8 {
                image.extend(
                    coarse
                        .iter()
                        .map(|&found| f32::from(u8::from(found == class))),
                );
            }
        }
        Sample {
            image,
            target,
            weights: vec![],
        }
    }

    /// An elastic deformation, mm, where the first kind is vertebrae: few anatomies of them are at hand, and no two are alike.
    fn warp(&mut self) -> Option<(f32, [Cloud; 3])> {
        if !self.anatomy.is_spine() {
            return None;
        }
        let strength = self.draw.between(0.0, 3.5);
        let extent = self.extent;
        let clouds = std::array::from_fn(|_| Cloud::drawn(&mut self.draw, extent, 32.0));
        Some((strength, clouds))
    }

    fn tubes(&mut self) -> Vec<Tube> {
        let mut tubes = vec![];
        // Vessels, with or without contrast agent.
        for _ in 0..self.draw.0.next_u32() % 4 {
            let direction = self.draw.direction();
            tubes.push(Tube {
                point: self.place(),
                direction,
                radius: self.draw.between(2.0, 7.0),
                hu: self.draw.between(30.0, 380.0),
            });
        }
        // Gas.
        if self.draw.chance(0.15) {
            let direction = self.draw.direction();
            tubes.push(Tube {
                point: self.place(),
                direction,
                radius: self.draw.between(4.0, 15.0),
                hu: self.draw.between(-1000.0, -600.0),
            });
        }
        tubes
    }

    /// Long thin bones that are none of the classes: ribs, transverse processes of others, pieces of pelvis.
    fn ribs(&mut self) -> Vec<Tube> {
        let count = if self.draw.chance(0.5) {
            1 + self.draw.0.next_u32() % 3
        } else {
            0
        };
        (0..count)
            .map(|_| Tube {
                point: self.place(),
                direction: self.draw.direction(),
                radius: self.draw.between(2.5, 8.0),
                hu: 0.0,
            })
            .collect()
    }

    /// Rods of a phantom, along z.
    fn rods(&mut self) -> Vec<Tube> {
        if !self.draw.chance(0.15) {
            return vec![];
        }
        let first = self.place();
        let radius = self.draw.between(5.0, 13.0);
        (0..5)
            .map(|rod| Tube {
                point: [0.0, first[1], first[2] + rod as f32 * 2.6 * radius],
                direction: [1.0, 0.0, 0.0],
                radius,
                hu: self.draw.between(-80.0, 900.0),
            })
            .collect()
    }

    /// What the patient lies on, where air lets it be seen.
    fn table(&mut self) -> Option<Table> {
        self.draw.chance(0.5).then(|| Table {
            point: self.place(),
            normal: self.draw.near_direction([0.0, 1.0, 0.0], 0.2),
            half: self.draw.between(5.0, 25.0),
            shell_mm: self.draw.between(1.0, 4.0),
            shell_hu: self.draw.between(-400.0, 500.0),
            core_hu: self.draw.between(-950.0, -500.0),
        })
    }

    /// A turn of every joint: posture.
    fn turns(&mut self) -> Vec<[[f32; 3]; 3]> {
        if !self.draw.chance(0.7) {
            return vec![];
        }
        (0..self.anatomy.joints())
            .map(|_| rotation(&mut self.draw, 13.0))
            .collect()
    }

    fn lumps(&mut self) -> Vec<Lump> {
        let count = if self.draw.chance(0.35) {
            1 + self.draw.0.next_u32() % 3
        } else {
            0
        };
        (0..count)
            .map(|_| {
                let centre = self.place();
                let half = std::array::from_fn(|_| self.draw.between(5.0, 26.0));
                Lump { centre, half }
            })
            .collect()
    }

    /// What of the patch the scan holds: all of it, a part up to a plane, a box around one bone, a scanner's circle.
    fn field_of_view(&mut self) -> Window {
        let patch = self.painter.patch;
        let h = self.painter.spacing_mm;
        let mut window = Window::whole(patch);
        let u = match self.anatomy.is_spine() {
            // Scans of one vertebra end in its neighbours.
            true if self.draw.chance(0.35) => {
                let mut cut =
                    || (patch[0] as f32 * self.draw.between(-0.15, 0.42)).max(0.0) as usize;
                (window.low[0], window.high[0]) = (cut(), patch[0] - cut());
                return window;
            }
            _ => self.draw.unit(),
        };
        match u {
            u if u < 0.15 => {
                let axis = (self.draw.0.next_u32() % 3) as usize;
                let cut = (patch[axis] as f32 * self.draw.between(0.1, 0.6)) as usize;
                match self.draw.chance(0.5) {
                    true => window.high[axis] -= cut,
                    false => window.low[axis] = cut,
                }
            }
            u if u < 0.32 => {
                for axis in 0..3 {
                    let middle = self.draw.between(0.35, 0.65) * self.extent[axis];
                    let half = self.draw.between(30.0, 110.0);
                    window.low[axis] = ((middle - half) / h).max(0.0) as usize;
                    window.high[axis] = (((middle + half) / h) as usize).min(patch[axis]);
                }
            }
            u if u < 0.42 => {
                let radius = self.draw.between(60.0, 240.0);
                let away = self.draw.between(0.0, 0.9) * radius;
                let [_, y, x] = self.draw.direction();
                let length = y.hypot(x).max(1e-3);
                let centre = [(1, y), (2, x)]
                    .map(|(axis, part)| 0.5 * self.extent[axis] / h + away * part / length / h);
                window.circle = Some((centre, radius / h));
            }
            _ => {}
        }
        window
    }
}

/// A random rotation of at most `degrees` about each axis, by columns.
fn rotation(draw: &mut Draw, degrees: f32) -> [[f32; 3]; 3] {
    let angles: [f32; 3] = std::array::from_fn(|_| draw.between(-degrees, degrees).to_radians());
    let [a, b, c] = angles;
    let (sa, ca, sb, cb, sc, cc) = (a.sin(), a.cos(), b.sin(), b.cos(), c.sin(), c.cos());
    [
        [cb * cc, sa * sb * cc - ca * sc, ca * sb * cc + sa * sc],
        [cb * sc, sa * sb * sc + ca * cc, ca * sb * sc - sa * cc],
        [-sb, sa * cb, ca * cb],
    ]
}

/// A random pose: from mm of the patch (z, y, x) to voxels of the anatomy (x, y, z).
fn turn(draw: &mut Draw, scale: f32, voxels_per_mm: f32) -> [[f32; 3]; 3] {
    let mut rotation = rotation(draw, 18.0);
    // Left and right are the same bone, mirrored.
    if draw.chance(0.5) {
        rotation[0] = rotation[0].map(|v| -v);
    }
    let stretch: [f32; 3] = std::array::from_fn(|_| draw.between(0.95, 1.05));
    // Columns in the patch's order: z, y, x.
    std::array::from_fn(|axis| {
        std::array::from_fn(|k| rotation[axis][2 - k] / (scale * stretch[axis]) * voxels_per_mm)
    })
}
