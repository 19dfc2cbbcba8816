//! Planes of a few directions (Xu et al., after Perslev et al. 2019): every plane through the scan on one isotropic grid, one 2D network,
//! the answers of all directions summed.
//!
//! Where the paper and its published code differ, the paper is the default: resolution by the third quartile of spacings (code: first),
//! labels eroded by a ball of three voxels before distances are measured (code: two), weights everywhere (code: where no eroded label
//! is, and none below 0.05).

use imaging::morphology::{StructuringElement, morph_voxels};
use imaging::{Grid, LabelMap, Volume};
use nalgebra::{Rotation3, Unit, Vector3};
use serde::{Deserialize, Serialize};

use super::Source;
use super::case::Case;
use super::deformation::Shown;
use super::model::{View, softmax};
use crate::error::{Error, Result};
use crate::metrics::{percentile, two_nearest};
use crate::network::{BatchArchitecture, MOST_STAGES, Network, NormPlacement, Topology};
use crate::training::{Random, Sample, Samples};

/// Planes of a few directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planes {
    /// Channels of each stage.
    pub features: Vec<usize>,
    /// Directions.
    pub views: usize,
    /// Least and most pixels along a side of a plane.
    pub pixels: [usize; 2],
    /// Quartile of all spacings that is the resolution, as a part: 0.75 in the paper, 0.25 in the code.
    pub resolution_quantile: f64,
    /// Standard deviation of the noise on a direction while learning.
    pub tilt: f64,
    /// Part of a batch's planes that must show a label.
    pub labelled: f64,
    /// How much voxels between bones count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<DistanceWeights>,
}

/// `1 + strength · exp(−(d₁ + d₂)² / (2 width²))`, d₁ and d₂ the distances to the two nearest labels, eroded before, in voxels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistanceWeights {
    /// Radius of the ball that labels are eroded by, voxels.
    pub erosion: u32,
    /// Largest addition.
    pub strength: f64,
    /// Width, voxels.
    pub width: f64,
    /// Whether only voxels without an eroded label are weighed, and additions below 0.05 dropped, as the published code does.
    pub background_only: bool,
}

impl DistanceWeights {
    /// Weight of every voxel, in the map's order. A label of which nothing is left after erosion is measured to as it was not there.
    ///
    /// # Errors
    /// [`Error::Imaging`] for a map without voxels.
    pub fn of(&self, labels: &LabelMap) -> Result<Vec<f32>> {
        let mut eroded = LabelMap::filled(labels.grid.clone(), 0);
        for label in labels.labels() {
            let kept = morph_voxels(
                &labels.select(&[label]),
                -i32::try_from(self.erosion).unwrap_or(i32::MAX),
                StructuringElement::Ball,
            );
            for (value, _) in eroded.data.iter_mut().zip(&kept.data).filter(|(_, k)| **k) {
                *value = label;
            }
        }
        let (nearest, second) = two_nearest(&eroded)?;
        let sums = nearest.iter().zip(&second).zip(&eroded.data);
        Ok(sums
            .map(|((d1, d2), &label)| {
                let sum = f64::from(d1 + d2);
                let more = self.strength * (-sum * sum / (2.0 * self.width * self.width)).exp();
                let left_out = self.background_only && (label > 0 || more < 0.05);
                (1.0 + if left_out { 0.0 } else { more }) as f32
            })
            .collect())
    }
}

/// Basis of a plane with that normal: along its rows, along its columns, its normal.
pub fn plane_basis(normal: [f64; 3]) -> [[f64; 3]; 3] {
    let mut n = Vector3::from(normal).normalize();
    // With their signs, as the published code has it.
    if n.x < 0.2 && n.y < 0.2 {
        (n.x, n.y) = (n.x.abs(), n.y.abs());
    }
    let w = n + Vector3::z();
    let axis = n.cross(&w);
    if axis.norm() < 1e-9 {
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    }
    let turn = Rotation3::from_axis_angle(&Unit::new_normalize(axis), -std::f64::consts::FRAC_PI_2);
    let u = turn * n;
    let v = n.cross(&u);
    [u.into(), v.into(), n.into()]
}

/// Points of a plane, mm from the middle of the scan, first index slowest: `pixels` along both sides of `span_mm`, `offset_mm` along
/// the normal. The half span is rounded down to whole mm.
pub fn plane_points(
    basis: &[[f64; 3]; 3],
    pixels: usize,
    span_mm: f64,
    offset_mm: f64,
) -> Vec<[f64; 3]> {
    let at = places(pixels, half_span(span_mm));
    let [u, v, n] = basis;
    let point = |a: f64, b: f64| std::array::from_fn(|k| a * u[k] + b * v[k] + offset_mm * n[k]);
    at.iter()
        .flat_map(|&a| at.iter().map(move |&b| point(a, b)).collect::<Vec<_>>())
        .collect()
}

fn half_span(span_mm: f64) -> f64 {
    (span_mm / 2.0).floor()
}

/// Evenly from −half to half.
fn places(count: usize, half: f64) -> Vec<f64> {
    let step = 2.0 * half / (count.max(2) - 1) as f64;
    (0..count).map(|i| i as f64 * step - half).collect()
}

impl Planes {
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=32).contains(&self.views) || !(0.0..=1.0).contains(&self.labelled) {
            return Err(Error::Parameter(format!(
                "`views` {} and `labelled` {}; 1 to 32 and 0 to 1 are possible",
                self.views, self.labelled
            )));
        }
        if !(0.0..=1.0).contains(&self.resolution_quantile) || self.pixels[0] > self.pixels[1] {
            return Err(Error::Parameter(
                "`resolution_quantile` is a part, and `pixels` the least and the most".into(),
            ));
        }
        for side in self.pixels {
            self.topology(2).check([1, side, side])?;
        }
        Ok(())
    }

    pub(super) fn topology(&self, outputs: usize) -> Topology {
        Topology::BatchUNet(BatchArchitecture {
            dimensions: 2,
            inputs: 1,
            outputs,
            features: self.features.clone(),
            norms: NormPlacement::AfterBoth,
        })
    }

    /// The isotropic grid of the planes, from the extents and spacings of all cases, and the directions, drawn once.
    pub(super) fn view(&self, cases: &[Case], seed: u64) -> View {
        let grids = || cases.iter().map(|case| &case.image.grid);
        let lengths = grids()
            .flat_map(|grid| (0..3).map(|axis| grid.size[axis] as f64 * grid.spacing_mm[axis]));
        let wanted_span = quantile(lengths.collect(), 0.75);
        let spacings = grids().flat_map(|grid| grid.spacing_mm).collect();
        let resolution = quantile(spacings, self.resolution_quantile);
        let factor = 1 << (self.features.len().clamp(1, MOST_STAGES) - 1);
        let wanted = wanted_span / resolution;
        let dim = ((wanted / factor as f64).round() as usize * factor)
            .clamp(self.pixels[0], self.pixels[1]);
        let span_mm = match (dim as f64) < 0.9 * wanted {
            true => (0.7 * wanted_span).floor().max(dim as f64 * resolution),
            false => wanted_span,
        };
        View {
            dim,
            span_mm,
            normals: directions(self.views, seed),
        }
    }

    /// Sums of the probabilities of all directions (class, z, y, x).
    pub(super) fn probabilities(
        &self,
        network: &Network,
        case: &Case,
        view: &View,
        outputs: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        let grid = &case.image.grid;
        let extents: [f64; 3] = std::array::from_fn(|a| grid.size[a] as f64 * grid.spacing_mm[a]);
        let span_mm = view.span_mm.max(extents[1].hypot(extents[2]));
        let half = half_span(span_mm);
        let resolution = span_mm / (view.dim - 1) as f64;
        let reach = 0.5 * extents.iter().map(|e| e * e).sum::<f64>().sqrt();
        let count = ((2.0 * reach / resolution) as usize).max(2);
        let offsets = places(count, reach);
        let outside = first_percentile(&case.image.data);
        let voxels = grid.len();
        let pixels = view.dim * view.dim;
        let mut sums = vec![0.0f32; outputs * voxels];
        let nearest = |along: f64, count: usize, half: f64| {
            let step = 2.0 * half / (count - 1) as f64;
            let place = ((along + half) / step).round();
            (place >= 0.0 && place < count as f64).then_some(place as usize)
        };
        for (number, &normal) in view.normals.iter().enumerate() {
            let basis = plane_basis(normal);
            // What each plane is asked: voxels and their pixels.
            let mut asked: Vec<Vec<[u32; 2]>> = vec![vec![]; count];
            for voxel in 0..voxels {
                let point = centred(grid, grid.voxel(voxel).map(|n| n as f64));
                let [row, column, plane] =
                    basis.map(|axis| (0..3).map(|k| axis[k] * point[k]).sum());
                let found = (
                    nearest(plane, count, reach),
                    nearest(row, view.dim, half),
                    nearest(column, view.dim, half),
                );
                match found {
                    (Some(plane), Some(row), Some(column)) => {
                        asked[plane].push([voxel as u32, (row * view.dim + column) as u32]);
                    }
                    // Beyond the planes there is background.
                    _ => sums[voxel] += 1.0,
                }
            }
            for (done, (&offset, asked)) in offsets.iter().zip(&asked).enumerate() {
                progress(number * count + done + 1, view.normals.len() * count);
                if asked.is_empty() {
                    continue;
                }
                let points = plane_points(&basis, view.dim, span_mm, offset);
                let image = points
                    .iter()
                    .map(|&point| sampled(&case.image, point, outside))
                    .collect();
                let mut logits = network.forward(image, [1, 1, 1, view.dim, view.dim])?;
                softmax(&mut logits, outputs);
                for &[voxel, pixel] in asked {
                    for class in 0..outputs {
                        sums[class * voxels + voxel as usize] +=
                            logits[class * pixels + pixel as usize];
                    }
                }
            }
        }
        Ok(sums)
    }
}

/// Directions at least 60° apart; one degree less for every try that fails.
fn directions(count: usize, seed: u64) -> Vec<[f64; 3]> {
    let mut random = Random::new(seed, u64::MAX);
    let mut least = 60.0f64;
    loop {
        let found: Vec<Vector3<f64>> = (0..count)
            .map(|_| {
                let n = Vector3::from_fn(|_, _| random.normal()).normalize();
                if n.z < 0.0 { -n } else { n }
            })
            .collect();
        let apart = |(i, a): (usize, &Vector3<f64>)| {
            found[i + 1..]
                .iter()
                .all(|b| a.dot(b).clamp(-1.0, 1.0).acos().to_degrees() > least)
        };
        if found.iter().enumerate().all(apart) {
            return found.into_iter().map(Into::into).collect();
        }
        least -= 1.0;
    }
}

fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, part)
}

fn first_percentile(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    let place = values.len() / 100;
    *sorted.select_nth_unstable_by(place, f32::total_cmp).1
}

/// mm from the middle of a grid, along its own axes.
fn centred(grid: &Grid, voxel: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|a| (voxel[a] - 0.5 * (grid.size[a] as f64 - 1.0)) * grid.spacing_mm[a])
}

fn voxel_at(grid: &Grid, point: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|a| point[a] / grid.spacing_mm[a] + 0.5 * (grid.size[a] as f64 - 1.0))
}

/// Value between voxels at a place in mm from the middle; `outside` beyond the outermost voxels' centres.
pub fn sampled(volume: &Volume<f32>, point: [f64; 3], outside: f32) -> f32 {
    let at = voxel_at(&volume.grid, point);
    let size = volume.grid.size;
    if (0..3).any(|a| at[a] < 0.0 || at[a] > size[a] as f64 - 1.0) {
        return outside;
    }
    imaging::resample::linear(volume, Vector3::from(at)) as f32
}

/// Value of the nearest voxel, the lower of two as near; `outside` beyond the outermost voxels' centres.
fn nearest<T: Copy>(volume: &Volume<T>, point: [f64; 3], outside: T) -> T {
    let at = voxel_at(&volume.grid, point);
    let size = volume.grid.size;
    if (0..3).any(|a| at[a] < 0.0 || at[a] > size[a] as f64 - 1.0) {
        return outside;
    }
    let [i, j, k] = at.map(|v| (v - 0.5).ceil().max(0.0) as usize);
    volume.at(i, j, k)
}

pub(super) struct PlaneSamples<'a> {
    planes: &'a Planes,
    source: Source<'a>,
    view: &'a View,
    /// Weights of every case's voxels.
    weights: Vec<Volume<f32>>,
    /// What lies outside each case.
    outside: Vec<f32>,
}

/// Planes drawn before one without a label is taken after all.
const TRIES: usize = 10;

impl<'a> PlaneSamples<'a> {
    pub fn new(planes: &'a Planes, source: Source<'a>) -> Result<Self> {
        let view = source
            .fitted
            .view
            .as_ref()
            .ok_or_else(|| Error::Parameter("the model has no directions".into()))?;
        let mut weights = vec![];
        if let (Some(rule), false) = (&planes.weights, source.judged) {
            for case in source.cases {
                weights.push(Volume::new(
                    case.labels.grid.clone(),
                    rule.of(&case.labels)?,
                )?);
            }
        }
        let outside = source
            .cases
            .iter()
            .map(|case| first_percentile(&case.image.data))
            .collect();
        Ok(Self {
            planes,
            source,
            view,
            weights,
            outside,
        })
    }

    fn drawn(&self, random: &mut Random) -> (Shown, bool) {
        let number = random.below(self.source.cases.len());
        let case = &self.source.cases[number];
        let mut normal = self.view.normals[random.below(self.view.normals.len())];
        if !self.source.judged {
            normal = normal.map(|n| n + self.planes.tilt * random.normal());
        }
        let half = half_span(self.view.span_mm);
        let offset = random.between(-half, half);
        let basis = plane_basis(normal);
        let points = plane_points(&basis, self.view.dim, self.view.span_mm, offset);
        let at = |point: &[f64; 3]| sampled(&case.image, *point, self.outside[number]);
        let label = |point: &[f64; 3]| nearest(&case.labels, *point, 0) as u8;
        let labels: Vec<u8> = points.iter().map(label).collect();
        let weights = match self.weights.get(number) {
            Some(weights) => points.iter().map(|&p| sampled(weights, p, 1.0)).collect(),
            None => vec![],
        };
        let shows = labels.iter().any(|&label| label > 0);
        let shown = Shown {
            image: points.iter().map(at).collect(),
            labels,
            weights,
        };
        (shown, shows)
    }
}

impl Samples for PlaneSamples<'_> {
    fn sample(&self, index: u64) -> Result<Sample> {
        let mut random = self.source.random(0, index);
        // The first of a batch must show a label.
        let place = index as usize % self.source.recipe.batch;
        let must = (self.planes.labelled * self.source.recipe.batch as f64).ceil() as usize;
        let mut shown = self.drawn(&mut random);
        for _ in 0..TRIES {
            if shown.1 || place >= must {
                break;
            }
            shown = self.drawn(&mut random);
        }
        self.source
            .shown(shown.0, self.source.fitted.patch, &mut random)
    }
}
