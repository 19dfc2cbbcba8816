//! The 3D view: surface of the bone, its displacement and its plastic zone by increment, packed for `viewer.js`.
//!
//! The data are zlib-compressed and written in base64. Uncompressed they are, one after the other, for `n` nodes,
//! `t` triangles, `m` points of the plastic zone:
//!
//! | what | values |
//! |---|---|
//! | positions | 3 components of `n` 16-bit numbers, times `position_mm`, around `centre_mm` |
//! | triangles | 3 `t` 32-bit node numbers |
//! | density, supports | `n` bytes each |
//! | points of the plastic zone | 3 components of `m` 16-bit numbers, as positions |
//! | each increment | displacements (3 × `n` 16-bit numbers, times `displacement_mm`), plastic strain (`n` bytes), displacements (3 × `m`) and plastic strain (`m` bytes) of the points |
//!
//! Numbers of more than one byte are differences from the one before, their low bytes first, then the higher ones: what
//! varies little packs well.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::markup::{base64, note};
use super::model::{Model, State, series};
use super::packing::{put_bytes, put_numbers, put_vectors};
use crate::report::CurvePoint;

const VIEWER: &str = include_str!("../../../assets/report/viewer.js");
const PANEL: &str = include_str!("../../../assets/report/viewer.html");

/// Increments shown at most.
const STATES: usize = 20;
/// Files read at a time: each unpacks to some 100 bytes per node and element.
const AT_A_TIME: usize = 4;
/// Points of the plastic zone at most; of more, a part is drawn, and larger.
const POINTS: usize = 24_000;
/// Displacements are written in so many steps to each side.
const DISPLACEMENT_STEPS: f64 = 2047.0;
/// Positions are written in so many steps to each side.
const POSITION_STEPS: f64 = 32_000.0;
/// Part of the elements yielded at failure whose plastic strain the scale holds; above it is the last colour.
const PERCENTILE: f64 = 0.9;

/// The view of a run's directory; `failure_mm` is the displacement at the failure load,
/// `element_mm3` the mean volume of an element.
///
/// # Errors
/// A file of the series cannot be read.
pub(super) fn view(
    directory: &Path,
    model: &Model,
    curve: &[CurvePoint],
    failure_mm: Option<f64>,
    element_mm3: f64,
) -> anyhow::Result<String> {
    let steps = chosen(series(directory)?, failure_mm);
    let surface = Surface::of(model);
    let mut states = Vec::with_capacity(steps.len());
    for group in steps.chunks(AT_A_TIME) {
        let read: anyhow::Result<Vec<Reduced>> = group
            .par_iter()
            .map(|(_, file)| Ok(surface.reduce(State::read(file, model)?)))
            .collect();
        states.extend(read?);
    }
    let zone = Zone::of(model, &states);
    // What localises after the peak would leave no colours for the state at failure.
    let at_failure = failure_mm.and_then(|mm| nearest(&steps, mm));
    let scaled_by = at_failure.map_or(states.last(), |at| states.get(at));
    let (mut head, data) = pack(model, &surface, &zone, &states, scaled_by, element_mm3)?;
    let frames: Vec<Value> = steps
        .iter()
        .map(|(at_mm, _)| {
            let point = curve.iter().min_by(|a, b| {
                let off = |p: &CurvePoint| (p.displacement_mm - at_mm).abs();
                off(a).total_cmp(&off(b))
            });
            json!({
                "increment": point.map(|point| point.increment),
                "displacement_mm": at_mm,
                "force_n": point.map(|point| point.force_n),
            })
        })
        .collect();
    head["frames"] = Value::from(frames);
    head["failure_mm"] = json!(failure_mm);
    // `<` cannot end the script early: there is none in numbers and known keys, nor in base64.
    let mut html = PANEL.to_owned();
    html += &format!("<script type=\"application/json\" id=\"scene\">{head}</script>\n");
    html += &format!(
        "<script type=\"text/plain\" id=\"scene-data\">{}</script>\n<script>\n{VIEWER}</script>\n",
        base64(&data)
    );
    let increments = match curve.len() {
        0 => format!("{} increments", steps.len()),
        all => format!("{} of {all} increments of the curve", steps.len()),
    };
    html += &note(&format!(
        "{} triangles of the surface of the bone, {increments}. Values of elements are averaged at the \
         nodes. The plastic zone shows {} of {} yielded elements inside the bone. Drag to turn, wheel or pinch to zoom, arrow \
         keys turn too.",
        surface.triangles.len() / 3,
        zone.elements.len(),
        zone.yielded,
    ));
    Ok(html)
}

/// At most [`STATES`] steps, evenly chosen, with the last and the one nearest to failure among them.
fn chosen(steps: Vec<(f64, PathBuf)>, failure_mm: Option<f64>) -> Vec<(f64, PathBuf)> {
    let count = steps.len();
    if count <= STATES {
        return steps;
    }
    let mut keep: Vec<usize> = (1..STATES).map(|n| n * count / (STATES - 1) - 1).collect();
    keep.extend(failure_mm.and_then(|mm| nearest(&steps, mm)));
    keep.sort_unstable();
    keep.dedup();
    keep.into_iter().map(|at| steps[at].clone()).collect()
}

/// The step nearest to a displacement (mm).
fn nearest(steps: &[(f64, PathBuf)], at_mm: f64) -> Option<usize> {
    let off = |at: &usize| (steps[*at].0 - at_mm).abs();
    (0..steps.len()).min_by(|a, b| off(a).total_cmp(&off(b)))
}

/// The surface with nodes of its own numbering.
struct Surface {
    /// Nodes of the mesh, ascending.
    nodes: Vec<u32>,
    /// Three nodes of the surface per triangle.
    triangles: Vec<u32>,
    /// Elements of the triangles.
    elements: Vec<u32>,
}

/// A state on the nodes of the surface, and the plastic strain of all elements.
struct Reduced {
    displacement_mm: Vec<[f64; 3]>,
    plastic_at_nodes: Vec<f64>,
    whole: State,
}

impl Surface {
    fn of(model: &Model) -> Self {
        let found = model.surface();
        let mut number = vec![u32::MAX; model.nodes_mm.len()];
        for node in found.iter().flat_map(|triangle| triangle.nodes) {
            number[node as usize] = 0;
        }
        let mut nodes = Vec::new();
        for (node, number) in number.iter_mut().enumerate().filter(|(_, n)| **n == 0) {
            *number = nodes.len() as u32;
            nodes.push(node as u32);
        }
        Self {
            triangles: found
                .iter()
                .flat_map(|triangle| triangle.nodes)
                .map(|node| number[node as usize])
                .collect(),
            elements: found.iter().map(|triangle| triangle.element).collect(),
            nodes,
        }
    }

    /// Values of elements averaged over the triangles at each node.
    fn at_nodes(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0_f64); self.nodes.len()];
        for (triangle, element) in self.triangles.as_chunks::<3>().0.iter().zip(&self.elements) {
            let value = value(*element as usize);
            for node in triangle {
                let (sum, count) = &mut sums[*node as usize];
                *sum += value;
                *count += 1.0;
            }
        }
        sums.into_iter()
            .map(|(sum, count)| sum / count.max(1.0))
            .collect()
    }

    fn reduce(&self, state: State) -> Reduced {
        Reduced {
            displacement_mm: self
                .nodes
                .iter()
                .map(|node| state.displacement_mm[*node as usize])
                .collect(),
            plastic_at_nodes: self.at_nodes(|element| f64::from(state.plastic_strain[element])),
            whole: state,
        }
    }
}

/// The bone that yields in any of the states.
struct Zone {
    /// Those drawn.
    elements: Vec<u32>,
    /// How many yield.
    yielded: usize,
    /// One in so many is drawn.
    stride: usize,
}

impl Zone {
    fn of(model: &Model, states: &[Reduced]) -> Self {
        let all: Vec<u32> = (0..model.bone.len())
            .filter(|&element| {
                model.bone[element]
                    && states
                        .iter()
                        .any(|state| state.whole.plastic_strain[element] > 0.0)
            })
            .map(|element| element as u32)
            .collect();
        let (yielded, stride) = (all.len(), all.len().div_ceil(POINTS).max(1));
        Self {
            elements: scattered(all, stride),
            yielded,
            stride,
        }
    }

    /// Mean over the nodes of each element.
    fn at_centres(&self, model: &Model, values: &[[f64; 3]]) -> Vec<[f64; 3]> {
        self.elements
            .iter()
            .map(|&element| {
                let nodes = model.element(element as usize);
                let mut mean = [0.0; 3];
                for node in nodes {
                    for axis in 0..3 {
                        mean[axis] += values[*node as usize][axis] / nodes.len() as f64;
                    }
                }
                mean
            })
            .collect()
    }
}

/// About one in `stride` of some elements, at most [`POINTS`], the same ones each time.
fn scattered(elements: Vec<u32>, stride: usize) -> Vec<u32> {
    // Scattered by a multiplicative hash (Knuth): every so many in a row would leave stripes.
    let kept = |element: &u32| {
        ((element.wrapping_mul(2_654_435_761) >> 8) as usize).is_multiple_of(stride)
    };
    // The hash keeps one in so many on average; the few above it are cut.
    elements.into_iter().filter(kept).take(POINTS).collect()
}

/// What `viewer.js` must know of the data, and the data.
fn pack(
    model: &Model,
    surface: &Surface,
    zone: &Zone,
    states: &[Reduced],
    scaled_by: Option<&Reduced>,
    element_mm3: f64,
) -> anyhow::Result<(Value, Vec<u8>)> {
    let positions: Vec<[f64; 3]> = surface
        .nodes
        .iter()
        .map(|node| model.nodes_mm[*node as usize])
        .collect();
    let ends: [[f64; 2]; 3] = std::array::from_fn(|axis| {
        let along = || positions.iter().map(|at| at[axis]);
        [
            along().fold(f64::INFINITY, f64::min),
            along().fold(f64::NEG_INFINITY, f64::max),
        ]
    });
    let centre = ends.map(|[low, high]| if low <= high { (low + high) / 2.0 } else { 0.0 });
    let reach = ends
        .iter()
        .map(|[low, high]| (high - low) / 2.0)
        .fold(1e-3, f64::max);
    let position_mm = reach / POSITION_STEPS;
    let largest =
        |values: &[[f64; 3]]| values.iter().flatten().map(|u| u.abs()).fold(0.0, f64::max);
    let farthest = states
        .iter()
        .map(|state| largest(&state.whole.displacement_mm))
        .fold(1e-6, f64::max);
    let displacement_mm = farthest / DISPLACEMENT_STEPS;
    let density = surface.at_nodes(|element| model.density_mg_cm3[element]);
    let densities = [
        density
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
            .min(0.0),
        density.iter().copied().fold(1.0, f64::max),
    ];
    let plastic = plastic_scale(model, scaled_by);

    let mut data = Vec::new();
    put_vectors(&mut data, &positions, centre, position_mm);
    put_numbers(&mut data, &surface.triangles);
    put_bytes(&mut data, &density, densities);
    data.extend(
        surface
            .nodes
            .iter()
            .map(|node| model.support[*node as usize] as u8),
    );
    put_vectors(
        &mut data,
        &zone.at_centres(model, &model.nodes_mm),
        centre,
        position_mm,
    );
    for state in states {
        put_vectors(&mut data, &state.displacement_mm, [0.0; 3], displacement_mm);
        put_bytes(&mut data, &state.plastic_at_nodes, [0.0, plastic]);
        let moved = zone.at_centres(model, &state.whole.displacement_mm);
        put_vectors(&mut data, &moved, [0.0; 3], displacement_mm);
        let strain = |element: &u32| f64::from(state.whole.plastic_strain[*element as usize]);
        put_bytes(
            &mut data,
            &zone.elements.iter().map(strain).collect::<Vec<_>>(),
            [0.0, plastic],
        );
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(6));
    packed.write_all(&data)?;
    let head = json!({
        "nodes": surface.nodes.len(),
        "triangles": surface.elements.len(),
        "points": zone.elements.len(),
        "point_mm": (zone.stride as f64 * element_mm3.max(0.0)).cbrt(),
        "bytes": data.len(),
        "centre_mm": centre,
        "position_mm": position_mm,
        "displacement_mm": displacement_mm,
        "density_mg_cm3": densities,
        "plastic_strain": plastic,
    });
    Ok((head, packed.finish()?))
}

/// End of the scale of plastic strain: what most of the yielded bone stays below in a state.
fn plastic_scale(model: &Model, state: Option<&Reduced>) -> f64 {
    let mut yielded: Vec<f32> = state
        .iter()
        .flat_map(|state| state.whole.plastic_strain.iter().zip(&model.bone))
        .filter(|(strain, bone)| **bone && **strain > 0.0)
        .map(|(strain, _)| *strain)
        .collect();
    if yielded.is_empty() {
        return 0.01;
    }
    let place = ((yielded.len() - 1) as f64 * PERCENTILE) as usize;
    let (_, value, _) = yielded.select_nth_unstable_by(place, f32::total_cmp);
    f64::from(*value).max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_and_failure_are_kept() {
        let steps: Vec<_> = (1..=80).map(|n| (f64::from(n), PathBuf::new())).collect();
        let kept: Vec<f64> = chosen(steps.clone(), Some(33.2))
            .iter()
            .map(|s| s.0)
            .collect();
        assert!(kept.len() <= STATES && kept.contains(&33.0) && kept.contains(&80.0));
        assert_eq!(chosen(steps[..7].to_vec(), None), steps[..7]);
    }

    #[test]
    fn no_more_points_than_said() {
        for size in (POINTS - 7..12 * POINTS).step_by(POINTS / 8) {
            let stride = size.div_ceil(POINTS);
            let kept = scattered((0..size as u32).collect(), stride);
            assert!(
                kept.len() <= POINTS && kept.len() > size / stride * 9 / 10,
                "{size}"
            );
        }
    }
}
