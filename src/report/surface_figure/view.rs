//! Pictures of a coloured surface: parallel projection, the nearest point of each line of sight, one light.

use nalgebra::Vector3;

use super::surface::ColouredSurface;

/// Samples along each side of a pixel.
const SAMPLES: usize = 2;
/// Where the light comes from: right, up and towards the eye.
const LIGHT: [f64; 3] = [-0.25, 0.35, 0.9];
/// Brightness of a surface that the light does not reach.
const AMBIENT: f64 = 0.5;

/// A side that the patient is seen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// From the front, the patient's right at the left.
    Anterior,
    /// From behind, the patient's left at the left.
    Posterior,
    /// From the patient's left, the front at the left.
    Left,
    /// From above, the front above and the patient's left at the left.
    Superior,
}

impl View {
    /// All of them, in the order of the figure.
    pub const ALL: [Self; 4] = [Self::Anterior, Self::Posterior, Self::Left, Self::Superior];

    /// The view in words.
    pub fn caption(self) -> &'static str {
        match self {
            Self::Anterior => "A: from the front",
            Self::Posterior => "P: from behind",
            Self::Left => "L: from the left",
            Self::Superior => "S: from above, front up",
        }
    }

    /// Axis (0 = L, 1 = P, 2 = S) and sign of what runs to the right, up and towards the eye.
    const fn axes(self) -> [(usize, f64); 3] {
        match self {
            Self::Anterior => [(0, 1.0), (2, 1.0), (1, -1.0)],
            Self::Posterior => [(0, -1.0), (2, 1.0), (1, 1.0)],
            Self::Left => [(1, 1.0), (2, 1.0), (0, 1.0)],
            Self::Superior => [(0, -1.0), (1, -1.0), (2, 1.0)],
        }
    }

    /// A vector of the patient as right, up and towards the eye.
    pub(super) fn turned(self, at: Vector3<f64>) -> Vector3<f64> {
        Vector3::from(self.axes().map(|(axis, sign)| sign * at[axis]))
    }

    /// Width and height of a box with these edges.
    pub(super) fn extent(self, edges: Vector3<f64>) -> [f64; 2] {
        let [(right, _), (up, _), _] = self.axes();
        [edges[right], edges[up]]
    }
}

/// Blue through white to red at even steps, told apart with any colour vision (C. Brewer's RdBu, reversed).
const COLOURS: [[u8; 3]; 9] = [
    [0x21, 0x66, 0xac],
    [0x43, 0x93, 0xc3],
    [0x92, 0xc5, 0xde],
    [0xd1, 0xe5, 0xf0],
    [0xf7, 0xf7, 0xf7],
    [0xfd, 0xdb, 0xc7],
    [0xf4, 0xa5, 0x82],
    [0xd6, 0x60, 0x4d],
    [0xb2, 0x18, 0x2b],
];

/// The colour of a part of the range, from -1 to 1.
pub(super) fn colour(part: f64) -> [f64; 3] {
    let last = COLOURS.len() - 1;
    let at = 0.5 * (part.clamp(-1.0, 1.0) + 1.0) * last as f64;
    let below = (at as usize).min(last - 1);
    let share = at - below as f64;
    std::array::from_fn(|n| {
        let [a, b] = [COLOURS[below][n], COLOURS[below + 1][n]].map(f64::from);
        a + share * (b - a)
    })
}

/// A picture on white, row by row from above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) pixels: Vec<[u8; 3]>,
}

/// How a surface is seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    pub(super) view: View,
    /// What stands in the middle of the picture, LPS, mm.
    pub(super) centre_mm: Vector3<f64>,
    pub(super) pixels_per_mm: f64,
    /// Width and height in pixels.
    pub(super) size: [usize; 2],
    /// The distance that gets the last colour, mm.
    pub(super) range_mm: f64,
}

/// A node as the camera has it.
struct Seen {
    /// Right and down in samples, towards the eye in mm.
    at: [f64; 3],
    normal: Vector3<f64>,
    /// Part of the range.
    part: f64,
}

impl Camera {
    pub(super) fn picture(&self, surface: &ColouredSurface) -> Picture {
        let [width, height] = self.size.map(|size| size * SAMPLES);
        let scale = self.pixels_per_mm * SAMPLES as f64;
        let nodes = surface.nodes_mm.iter().zip(&surface.normals);
        let seen: Vec<Seen> = nodes
            .zip(&surface.distance_mm)
            .map(|((node, normal), distance)| {
                let at = self.view.turned(node - self.centre_mm);
                Seen {
                    at: [
                        0.5 * width as f64 + scale * at.x,
                        0.5 * height as f64 - scale * at.y,
                        at.z,
                    ],
                    normal: self.view.turned(*normal),
                    part: distance / self.range_mm,
                }
            })
            .collect();
        let mut samples = Samples {
            size: [width, height],
            depth: vec![f64::NEG_INFINITY; width * height],
            colour: vec![[255.0; 3]; width * height],
        };
        for triangle in &surface.triangles {
            samples.add(triangle.map(|n| &seen[n as usize]));
        }
        samples.picture()
    }
}

struct Samples {
    size: [usize; 2],
    /// Of the nearest point so far, towards the eye.
    depth: Vec<f64>,
    colour: Vec<[f64; 3]>,
}

impl Samples {
    fn add(&mut self, corners: [&Seen; 3]) {
        let [a, b, c] = corners.map(|corner| corner.at);
        let twice = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if !twice.is_normal() {
            return;
        }
        let span = |axis: usize| {
            let [low, high] =
                [f64::min, f64::max].map(|pick| pick(pick(a[axis], b[axis]), c[axis]));
            // The middle of sample n stands at n + 0.5.
            let first = (low - 0.5).ceil().max(0.0) as usize;
            let end = ((high - 0.5).floor() + 1.0).max(0.0) as usize;
            first..end.min(self.size[axis])
        };
        let columns = span(0);
        for row in span(1) {
            let y = row as f64 + 0.5;
            for column in columns.clone() {
                let x = column as f64 + 0.5;
                let edge = |p: [f64; 3], q: [f64; 3]| {
                    ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / twice
                };
                let weights = [edge(b, c), edge(c, a), edge(a, b)];
                if weights.iter().any(|&weight| weight < 0.0) {
                    continue;
                }
                let mean = |value: fn(&Seen) -> f64| {
                    (0..3).map(|n| weights[n] * value(corners[n])).sum::<f64>()
                };
                let depth = mean(|corner| corner.at[2]);
                let index = row * self.size[0] + column;
                if depth > self.depth[index] {
                    self.depth[index] = depth;
                    let normal = Vector3::new(
                        mean(|corner| corner.normal.x),
                        mean(|corner| corner.normal.y),
                        mean(|corner| corner.normal.z),
                    );
                    let light = Vector3::from(LIGHT).normalize();
                    let normal = normal.try_normalize(0.0).unwrap_or_default();
                    let bright = AMBIENT + (1.0 - AMBIENT) * normal.dot(&light).max(0.0);
                    self.colour[index] = colour(mean(|corner| corner.part)).map(|v| v * bright);
                }
            }
        }
    }

    fn picture(&self) -> Picture {
        let [width, height] = self.size.map(|size| size / SAMPLES);
        let pixel = |index: usize| {
            let (x, y) = (index % width * SAMPLES, index / width * SAMPLES);
            let mut sum = [0.0; 3];
            for (dx, dy) in (0..SAMPLES).flat_map(|dy| (0..SAMPLES).map(move |dx| (dx, dy))) {
                let sample = self.colour[(y + dy) * self.size[0] + x + dx];
                for n in 0..3 {
                    sum[n] += sample[n];
                }
            }
            sum.map(|v| (v / (SAMPLES * SAMPLES) as f64).round() as u8)
        };
        Picture {
            width,
            pixels: (0..width * height).map(pixel).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three triangles at one place, the patient's left, front and top ones nearest to the eye.
    #[test]
    fn every_view_is_right_handed_and_shows_what_is_nearest() {
        for view in View::ALL {
            let [right, up, towards] = [0, 1, 2].map(|axis| {
                let (world, sign) = view.axes()[axis];
                Vector3::from_fn(|n, _| if n == world { sign } else { 0.0 })
            });
            assert_eq!(right.cross(&up), towards, "{view:?}");
            let mut surface = ColouredSurface::default();
            for (depth, distance) in [(1.0, 1.0), (3.0, -1.0), (2.0, 1.0)] {
                let first = surface.nodes_mm.len() as u32;
                surface.triangles.push([first, first + 1, first + 2]);
                for (x, y) in [(-9.0, -9.0), (9.0, -9.0), (0.0, 9.0)] {
                    surface.nodes_mm.push(x * right + y * up + depth * towards);
                    surface.normals.push(towards);
                    surface.distance_mm.push(distance);
                }
            }
            let camera = Camera {
                view,
                centre_mm: Vector3::zeros(),
                pixels_per_mm: 2.0,
                size: [41, 21],
                range_mm: 1.0,
            };
            let found = camera.picture(&surface);
            assert_eq!(found.pixels.len(), 41 * 21);
            let [red, green, blue] = found.pixels[10 * 41 + 20];
            assert!(blue > green && green > red, "{view:?}");
            // Above the tip of the triangle there is nothing.
            assert_eq!(found.pixels[0], [255; 3]);
            assert_eq!(found, camera.picture(&surface));
        }
    }

    #[test]
    fn colours_run_from_blue_over_white_to_red() {
        assert_eq!(colour(-3.0), [33.0, 102.0, 172.0]);
        assert_eq!(colour(0.0), [247.0; 3]);
        assert_eq!(colour(1.0), [178.0, 24.0, 43.0]);
        assert_eq!(colour(f64::NAN.max(-0.5)), [146.0, 197.0, 222.0]);
    }
}
