//! Quadratic tetrahedra of a given mean volume from a level set.
//!
//! The surface comes from [`crate::stuffing`], whose lattice is chosen so that elements have the wanted size; TetGen
//! fills it, or the lattice's own elements do. Then every edge gets a middle node, and the middle nodes of the surface
//! move onto the level set as far as the elements allow.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::level_set::LevelSet;
use crate::mesh::{Frame, Mesh, Tet10Mesh};
use crate::stuffing::{Care, MOST_CUBES, MOST_CUBES_IN_ALL, Stuffed, Stuffing, stuff};
use crate::surface::{SurfaceMesh, boundary_faces};
use crate::tetrahedron::{TET10_EDGES, jacobian_ratio, tetrahedron_volume_mm3};

/// What fills the surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesher {
    /// TetGen; where it fails, or where the program was built without it, the lattice.
    TetGen,
    /// The lattice of [`crate::stuffing`].
    Stuffing,
}

impl Mesher {
    /// Whether this build can use TetGen.
    pub const TETGEN_BUILT_IN: bool = cfg!(feature = "tetgen");
}

/// What kind of mesh is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TetrahedralOptions {
    /// Mean volume of the elements, mm³.
    pub mean_volume_mm3: f64,
    /// What fills the surface.
    pub mesher: Mesher,
    /// Whether the middle nodes of the surface move onto it.
    pub curved: bool,
}

/// A body by its surface.
pub trait Solid: Sync {
    /// Depth below the surface at a position of the model frame, mm; positive inside.
    fn depth_mm(&self, at: [f64; 3]) -> f64;

    /// Whether a position lies in a part so thin that elements might not follow it: where some of the body was lost, such
    /// parts are looked at closely.
    fn is_thin(&self, at: [f64; 3]) -> bool;
}

impl Solid for LevelSet {
    fn depth_mm(&self, at: [f64; 3]) -> f64 {
        self.depth_mm(at)
    }

    fn is_thin(&self, at: [f64; 3]) -> bool {
        self.is_thin(at)
    }
}

/// The body to be meshed.
pub struct Body<'a> {
    /// Its surface.
    pub solid: &'a dyn Solid,
    /// Opposite corners of a box that holds the surface, mm.
    pub bounds_mm: [[f64; 3]; 2],
    /// The volume the mesh is to have, mm³; `None` leaves it where the surface puts it.
    pub volume_mm3: Option<f64>,
    /// Smallest edge of the voxels the body comes from, mm.
    pub voxel_mm: f64,
    /// Where the model frame stands in the patient.
    pub frame: Frame,
}

impl<'a> Body<'a> {
    /// The body of a mask, which keeps the mask's volume.
    pub fn of(surface: &'a LevelSet) -> Self {
        Self {
            solid: surface,
            bounds_mm: surface.bounds_mm(),
            volume_mm3: Some(surface.mask_volume_mm3()),
            voxel_mm: surface
                .spacing_mm()
                .into_iter()
                .fold(f64::INFINITY, f64::min),
            frame: surface.frame().clone(),
        }
    }
}

impl Body<'_> {
    /// Volume the mesh is to have, mm³, without what was dropped.
    fn wanted_mm3(&self, stuffed: &Stuffed) -> Option<f64> {
        self.volume_mm3.map(|v| v - stuffed.dropped_volume_mm3)
    }

    /// An offset of the surface within its limits, mm.
    fn limited(&self, offset_mm: f64) -> f64 {
        let [inwards, outwards] = OFFSETS.map(|part| part * self.voxel_mm);
        offset_mm.clamp(inwards, outwards)
    }
}

/// A mesh of quadratic tetrahedra, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct TetrahedralMesh {
    /// Nodes and elements; elements run along the lattice they were made on, or as TetGen left them.
    pub mesh: Tet10Mesh,
    /// Where the model frame stands in the patient.
    pub frame: Frame,
    /// What filled the surface in the end.
    pub mesher: Mesher,
    /// Why TetGen was tried again or given up, in order.
    pub setbacks: Vec<String>,
    /// How far the surface was moved outwards (inwards if negative) for the sake of the volume, mm.
    pub offset_mm: f64,
    /// Volume of parts that hang on the body by nothing the elements can follow, mm³; they are left out.
    pub dropped_volume_mm3: f64,
    /// Middle nodes of the surface that stay on the straight edge, wholly or in part, because an element would turn.
    pub held_middle_nodes: usize,
}

/// Mean volume and total volume are met to these parts.
const MEAN_WITHIN: f64 = 0.03;
const VOLUME_WITHIN: f64 = 0.002;
/// A mean volume further off is no result.
#[cfg(feature = "tetgen")]
const MEAN_AT_MOST: f64 = 0.1;
/// Rounds in the search for lattice size and offset.
const ROUNDS: usize = 8;
/// The surface moves by no more than these parts of a voxel for the sake of the volume, inwards and outwards: inwards less
/// than [`LevelSet`] holds thin parts.
const OFFSETS: [f64; 2] = [-0.12, 0.35];
/// What sticks out between lattice points by less than the larger of these parts of a voxel and of the lattice's edge is let
/// go: a surface of that curvature is not the thinner for it.
const TOLERANCE: f64 = 0.2;
const TOLERANCE_OF_EDGE: f64 = 0.08;
/// Where a part of the body was lost, this is the tolerance, and thin parts are followed by elements of a voxel.
const CLOSE_TOLERANCE: f64 = 0.05;
const CLOSE_COARSEST: f64 = 1.0;
/// Elements are not refined below this part of a voxel.
const FINEST: f64 = 0.4;
/// Rounds in which lost parts are looked at more closely.
const CLOSE_ROUNDS: usize = 3;
/// After the first of them, so small a part of the volume is let go.
const CRUMBS: f64 = 0.001;
/// Halvings of a lattice that sees nothing of a body.
const HALVINGS: usize = 8;
/// The lattice grows by no more than this for the sake of the mean volume: where all is thin, small elements are right.
const LARGEST_GROWTH: f64 = 1.6;
/// Smallest ratio of a curved element's Jacobian to that of the straight one.
const LEAST_JACOBIAN: f64 = 0.2;

/// Meshes a body.
///
/// # Errors
/// [`Error::Parameter`] for a volume that is no positive number or too small for the body, [`Error::EmptyMask`] when nothing lies inside the surface.
pub fn mesh_body(body: &Body, options: &TetrahedralOptions) -> Result<TetrahedralMesh> {
    let target = options.mean_volume_mm3;
    if !(target.is_finite() && target > 0.0) {
        return Err(Error::Parameter(format!(
            "a mean element volume of {target} mm³; it must be positive"
        )));
    }
    let mut setbacks = Vec::new();
    let lattice = shaped(body, options)?;
    let mut filled = None;
    if options.mesher == Mesher::TetGen {
        filled = by_tetgen(&lattice, body, options, &mut setbacks);
        if filled.is_none() {
            setbacks.push("the lattice's own elements are used".into());
        }
    }
    let dropped_volume_mm3 = lattice.stuffed.dropped_volume_mm3;
    let mesher = match filled {
        Some(_) => Mesher::TetGen,
        None => Mesher::Stuffing,
    };
    let (corners, offset_mm) = filled.unwrap_or((lattice.stuffed.mesh, lattice.offset_mm));
    let (mesh, held_middle_nodes) = with_middle_nodes(
        &corners,
        options
            .curved
            .then_some(&|p| body.solid.depth_mm(p) + offset_mm),
    );
    Ok(TetrahedralMesh {
        mesh,
        frame: body.frame.clone(),
        mesher,
        setbacks,
        offset_mm,
        dropped_volume_mm3,
        held_middle_nodes,
    })
}

/// A stuffed body of the right element size and volume.
struct Shaped {
    stuffed: Stuffed,
    offset_mm: f64,
}

/// Refuses elements so small for the body that their lattice cannot be numbered or held in memory.
fn check_lattice(bounds_mm: [[f64; 3]; 2], edge_mm: f64) -> Result<()> {
    let cubes: [f64; 3] =
        std::array::from_fn(|a| ((bounds_mm[1][a] - bounds_mm[0][a]) / edge_mm).ceil() + 2.0);
    let all: f64 = cubes.iter().product();
    if cubes.iter().any(|&n| n > MOST_CUBES) || all > MOST_CUBES_IN_ALL {
        return Err(Error::Parameter(format!(
            "a lattice of {:.0}x{:.0}x{:.0} cubes of {edge_mm:.3} mm is too large: take larger elements",
            cubes[0], cubes[1], cubes[2]
        )));
    }
    Ok(())
}

/// Where parts of the body were lost: cells of a lattice, around which there is to be looked more closely.
#[derive(Default)]
struct Lost {
    cell_mm: f64,
    at_mm: Vec<[f64; 3]>,
    cells: HashSet<[i32; 3]>,
}

impl Lost {
    /// Adds positions and sets how far from all of them counts as near: at least `cell_mm`, at most twice that.
    fn mark(&mut self, at_mm: &[[f64; 3]], cell_mm: f64) {
        self.cell_mm = cell_mm;
        self.at_mm.extend(at_mm);
        self.cells = self.at_mm.iter().map(|at| self.cell(*at)).collect();
    }

    fn cell(&self, at_mm: [f64; 3]) -> [i32; 3] {
        at_mm.map(|x| (x / self.cell_mm).floor() as i32)
    }

    fn near(&self, at_mm: [f64; 3]) -> bool {
        if self.cells.is_empty() {
            return false;
        }
        let [x, y, z] = self.cell(at_mm);
        (0..27).any(|n| {
            self.cells
                .contains(&[x + n % 3 - 1, y + n / 3 % 3 - 1, z + n / 9 - 1])
        })
    }
}

/// Looks for the lattice whose elements have the wanted mean volume, and for the level that encloses the wanted volume.
fn shaped(body: &Body, options: &TetrahedralOptions) -> Result<Shaped> {
    let target_mm3 = options.mean_volume_mm3;
    // A tetrahedron of the lattice has a twelfth of the cube's volume; cut ones are smaller.
    let mut edge_mm = (12.0 * target_mm3 / 0.85).cbrt();
    let mut offset_mm = 0.0;
    let mut lost = Lost::default();
    let mut close_rounds = 0;
    let mut halvings = 0;
    let mut largest_edge_mm = LARGEST_GROWTH * edge_mm;
    let mut best: Option<Shaped> = None;
    let mut nothing_seen = false;
    let mut round = 0;
    loop {
        check_lattice(body.bounds_mm, edge_mm)?;
        let depth = |p: [f64; 3]| body.solid.depth_mm(p) + offset_mm;
        let care = |corners: &[[f64; 3]; 4]| {
            let middle = std::array::from_fn(|a| corners.iter().map(|c| c[a]).sum::<f64>() / 4.0);
            let thin =
                || corners.iter().any(|&c| body.solid.is_thin(c)) || body.solid.is_thin(middle);
            let close = match close_rounds {
                0 => nothing_seen && thin(),
                1 => lost.near(middle),
                _ => lost.near(middle) && thin(),
            };
            let voxel = body.voxel_mm;
            Care {
                tolerance_mm: if close {
                    CLOSE_TOLERANCE * voxel
                } else {
                    (TOLERANCE * voxel).max(TOLERANCE_OF_EDGE * edge_mm)
                },
                coarsest_mm: if close {
                    CLOSE_COARSEST * voxel
                } else {
                    f64::INFINITY
                },
                // A quarter of the lattice's edges, where that is still a voxel's size.
                finest_mm: if close {
                    FINEST * voxel
                } else {
                    (FINEST * voxel).max(0.25 * edge_mm)
                },
            }
        };
        let stuffed = stuff(
            body.bounds_mm,
            &Stuffing {
                edge_mm,
                care: &care,
            },
            &depth,
        );
        let count = stuffed.mesh.elements.len();
        if count == 0 {
            if round > 0 || halvings == HALVINGS {
                return best.ok_or(Error::EmptyMask);
            }
            // So small a body that no lattice point sees it.
            nothing_seen = true;
            halvings += 1;
            edge_mm *= 0.5;
            largest_edge_mm = edge_mm;
            continue;
        }
        let whole: f64 = (0..count)
            .map(|e| tetrahedron_volume_mm3(&stuffed.mesh.positions_mm(e)))
            .sum();
        let let_go = if close_rounds == 0 {
            0.0
        } else {
            CRUMBS * whole
        };
        if stuffed.dropped_volume_mm3 > let_go && close_rounds < CLOSE_ROUNDS {
            close_rounds += 1;
            lost.mark(&stuffed.dropped_at_mm, edge_mm * close_rounds as f64);
            continue;
        }
        let surface = SurfaceMesh::of_tetrahedra(&stuffed.mesh);
        let curved = options.curved.then_some(&depth);
        let volume = with_middle_nodes(&stuffed.mesh, curved)
            .0
            .total_volume_mm3();
        let mean = volume / count as f64;
        let wanted = body.wanted_mm3(&stuffed).unwrap_or(volume);
        let next_offset = body.limited(offset_mm + (wanted - volume) / surface.area_mm2());
        let volume_met = (volume / wanted - 1.0).abs() <= VOLUME_WITHIN
            || (next_offset - offset_mm).abs() < 1e-4 * body.voxel_mm;
        round += 1;
        if (volume_met && (mean / target_mm3 - 1.0).abs() <= MEAN_WITHIN) || round == ROUNDS {
            return Ok(Shaped { stuffed, offset_mm });
        }
        best = Some(Shaped { stuffed, offset_mm });
        offset_mm = next_offset;
        // Thin parts hold many small elements: the plain ones grow at most so far for their sake.
        edge_mm = (edge_mm * (target_mm3 / mean).cbrt().clamp(0.8, 1.25)).min(largest_edge_mm);
    }
}

/// Fills the surface by TetGen: one of even triangles as large as the elements, coarser ones while the elements come out
/// too small, a finer one where walls met, each moved so that the volume is met. Gives the mesh and its offset.
#[cfg(feature = "tetgen")]
fn by_tetgen(
    shaped: &Shaped,
    body: &Body,
    options: &TetrahedralOptions,
    setbacks: &mut Vec<String>,
) -> Option<(Mesh<4>, f64)> {
    use crate::surface::remesh::{Evenness, even};
    let target_mm3 = options.mean_volume_mm3;
    let lattice = SurfaceMesh::of_tetrahedra(&shaped.stuffed.mesh);
    let mut offset_mm = shaped.offset_mm;
    // A regular tetrahedron of volume V has edges of (6 √2 V)^(1/3); TetGen halves some.
    let mut edge_mm = 1.15 * (6.0 * 2.0f64.sqrt() * target_mm3).cbrt();
    let mut bracket: [Option<(f64, f64)>; 2] = [None; 2];
    let mut best: Option<(f64, f64, Mesh<4>, f64)> = None;
    for _ in 0..8 {
        let depth = |p: [f64; 3]| body.solid.depth_mm(p) + offset_mm;
        let wanted = Evenness {
            edge_mm,
            tolerance_mm: (TOLERANCE * body.voxel_mm).max(TOLERANCE_OF_EDGE * edge_mm),
        };
        let surface = even(&lattice, &wanted, &depth);
        let filled = match filled_to_size(&surface, target_mm3) {
            Ok(filled) => filled,
            Err(reason) => {
                setbacks.push(reason);
                edge_mm *= 0.7;
                continue;
            }
        };
        let curved = options.curved.then_some(&depth);
        let volume = with_middle_nodes(&filled.mesh, curved).0.total_volume_mm3();
        let wanted = body.wanted_mm3(&shaped.stuffed).unwrap_or(volume);
        let size = (filled.mean_mm3 / target_mm3).ln();
        let volume_off = volume / wanted - 1.0;
        // Both count in units of what is still accepted.
        let off = size.abs() / MEAN_AT_MOST + volume_off.abs() / (2.0 * VOLUME_WITHIN);
        if best.as_ref().is_none_or(|best| off < best.0) {
            best = Some((off, filled.mean_mm3, filled.mesh, offset_mm));
        }
        let size_met = size.abs() < 2.0 * MEAN_WITHIN;
        if size_met && volume_off.abs() < VOLUME_WITHIN {
            break;
        }
        if !size_met {
            // Between the edges that gave too small and too large elements, once both are known.
            bracket[usize::from(size > 0.0)] = Some((edge_mm, size));
            edge_mm = match bracket {
                [Some((small, below)), Some((large, above))] => {
                    // The sizes between are not even: never the ends again.
                    let part = (-below / (above - below)).clamp(0.2, 0.8);
                    small * f64::powf(large / small, part)
                }
                _ => edge_mm * (1.0 - 0.7 * size),
            };
        }
        offset_mm = body.limited(offset_mm + (wanted - volume) / surface.area_mm2());
    }
    let (_, mean_mm3, mesh, offset_mm) = best?;
    if (mean_mm3 / target_mm3 - 1.0).abs() > MEAN_AT_MOST {
        setbacks.push(format!(
            "TetGen's elements have a mean volume of {mean_mm3:.3} mm³ on this surface, {target_mm3} mm³ are wanted"
        ));
        return None;
    }
    Some((mesh, offset_mm))
}

/// A surface filled by TetGen.
#[cfg(feature = "tetgen")]
struct Filled {
    mesh: Mesh<4>,
    mean_mm3: f64,
}

/// Looks for the bound of TetGen's element volumes that gives the wanted mean.
#[cfg(feature = "tetgen")]
fn filled_to_size(surface: &SurfaceMesh, target_mm3: f64) -> std::result::Result<Filled, String> {
    let volume_mm3 = surface.volume_mm3();
    let fill = |bound: f64| {
        crate::tetgen::fill(surface, bound).map(|mesh| Filled {
            mean_mm3: volume_mm3 / mesh.elements.len() as f64,
            mesh,
        })
    };
    // Elements come out smaller than the bound TetGen is given.
    let mut bound = 2.0 * target_mm3;
    let mut filled = fill(bound)?;
    for _ in 0..4 {
        let ratio = target_mm3 / filled.mean_mm3;
        if (ratio - 1.0).abs() < MEAN_WITHIN {
            break;
        }
        bound *= ratio.powf(1.5).clamp(0.4, 3.0);
        let next = fill(bound)?;
        let gain = (next.mean_mm3 / filled.mean_mm3).ln() / ratio.ln();
        if (next.mean_mm3 / target_mm3).ln().abs() < ratio.ln().abs() {
            filled = next;
        }
        if gain < 0.25 && ratio > 1.0 {
            // The surface, not the bound, decides the size; a low bound always makes elements small.
            break;
        }
    }
    Ok(filled)
}

#[cfg(not(feature = "tetgen"))]
fn by_tetgen(
    _: &Shaped,
    _: &Body,
    _: &TetrahedralOptions,
    setbacks: &mut Vec<String>,
) -> Option<(Mesh<4>, f64)> {
    setbacks.push("this program was built without the feature `tetgen`".into());
    None
}

/// Ten-node tetrahedra from four-node ones. Given a depth, the middle nodes of the surface move to where it is zero, or as
/// far towards it as leaves every Jacobian of their elements above a fifth of its straight value; the second value counts
/// those that do not get there.
fn with_middle_nodes(
    corners: &Mesh<4>,
    depth_mm: Option<&(impl Fn([f64; 3]) -> f64 + Sync)>,
) -> (Tet10Mesh, usize) {
    let mut nodes_mm = corners.nodes_mm.clone();
    let mut middles: HashMap<(u32, u32), u32> = HashMap::new();
    let elements: Vec<[u32; 10]> = corners
        .elements
        .iter()
        .map(|t| {
            std::array::from_fn(|n| {
                if n < 4 {
                    return t[n];
                }
                let [a, b] = TET10_EDGES[n - 4].map(|c| t[c]);
                *middles.entry((a.min(b), a.max(b))).or_insert_with(|| {
                    let [a, b] = [a, b].map(|n| corners.nodes_mm[n as usize]);
                    nodes_mm.push(std::array::from_fn(|n| 0.5 * (a[n] + b[n])));
                    nodes_mm.len() as u32 - 1
                })
            })
        })
        .collect();
    let mut mesh = Tet10Mesh { nodes_mm, elements };
    let Some(depth_mm) = depth_mm else {
        return (mesh, 0);
    };
    let mut outer: Vec<(u32, f64)> = boundary_faces(&corners.elements)
        .iter()
        .flat_map(|(face, _)| {
            (0..3).map(|n| {
                let [a, b] = [face[n], face[(n + 1) % 3]];
                let ends = [a, b].map(|n| corners.nodes_mm[n as usize]);
                let length = (0..3)
                    .map(|n| (ends[0][n] - ends[1][n]).powi(2))
                    .sum::<f64>()
                    .sqrt();
                (middles[&(a.min(b), a.max(b))], length)
            })
        })
        .collect();
    outer.sort_by_key(|edge| edge.0);
    outer.dedup_by_key(|edge| edge.0);
    let targets: Vec<(u32, [f64; 3], [f64; 3])> = outer
        .par_iter()
        .map(|&(node, length)| {
            let straight = mesh.nodes_mm[node as usize];
            (
                node,
                straight,
                onto_surface(straight, 0.25 * length, depth_mm),
            )
        })
        .collect();
    let first = corners.nodes_mm.len();
    let mut part = vec![1.0f64; mesh.nodes_mm.len() - first];
    for &(node, _, target) in &targets {
        mesh.nodes_mm[node as usize] = target;
    }
    // Elements that turn pull all their surface nodes back by half, until none is left; at the straight edges none is.
    loop {
        let mut back: Vec<u32> = mesh
            .elements
            .par_iter()
            .filter(|e| jacobian_ratio(&e.map(|n| mesh.nodes_mm[n as usize])) < LEAST_JACOBIAN)
            .flat_map_iter(|e| e[4..].iter().copied())
            .collect();
        if back.is_empty() {
            break;
        }
        back.sort_unstable();
        back.dedup();
        let mut moved = false;
        for node in back {
            let part = &mut part[node as usize - first];
            let Ok(n) = targets.binary_search_by_key(&node, |t| t.0) else {
                continue;
            };
            if *part == 0.0 {
                continue;
            }
            *part = if *part > 0.1 { 0.5 * *part } else { 0.0 };
            let (_, straight, target) = targets[n];
            mesh.nodes_mm[node as usize] =
                std::array::from_fn(|a| straight[a] + *part * (target[a] - straight[a]));
            moved = true;
        }
        if !moved {
            break;
        }
    }
    let held = part.iter().filter(|part| **part < 1.0).count();
    (mesh, held)
}

/// The nearest point of the zero level along the gradient, at most `limit_mm` away.
pub(crate) fn onto_surface(
    from: [f64; 3],
    limit_mm: f64,
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> [f64; 3] {
    let mut at = from;
    for _ in 0..4 {
        let depth = depth_mm(at);
        let step = 0.1 * limit_mm;
        let gradient: [f64; 3] = std::array::from_fn(|n| {
            let shifted = |by: f64| {
                let mut p = at;
                p[n] += by;
                depth_mm(p)
            };
            (shifted(step) - shifted(-step)) / (2.0 * step)
        });
        let square: f64 = gradient.iter().map(|g| g * g).sum();
        if square < 1e-6 {
            break;
        }
        at = std::array::from_fn(|n| at[n] - depth * gradient[n] / square);
    }
    let away = (0..3)
        .map(|n| (at[n] - from[n]).powi(2))
        .sum::<f64>()
        .sqrt();
    if away <= limit_mm {
        return at;
    }
    std::array::from_fn(|n| from[n] + limit_mm / away * (at[n] - from[n]))
}
