//! TetGen, fenced.
//!
//! H. Si, "TetGen, a Delaunay-based quality tetrahedral mesh generator", ACM Trans. Math. Softw. 41, 2015; through the
//! crate `tritet` and only with the feature `tetgen`, because TetGen is licensed under the AGPL. What is fenced: a run
//! that fails comes back as success without an element; the parameter named an angle is TetGen's ratio of radius to
//! edge; the predicates are process-wide, so one mesh is made at a time; enclosed cavities are filled unless marked.

use std::sync::Mutex;

use tritet::Tetgen;

use crate::mesh::Mesh;
use crate::surface::{SurfaceMesh, cross, dot, minus};
use crate::tetrahedron::tetrahedron_volume_mm3;

/// Bound of the ratio of circumscribed radius to shortest edge. The lowest that Delaunay refinement promises to reach is 2;
/// lower ones usually work and give better elements.
const RADIUS_EDGE_RATIO: f64 = 1.4;
/// Elements and surface enclose the same volume to this part; TetGen takes facets for flat that nearly are.
const SAME_VOLUME: f64 = 2e-5;

/// TetGen keeps its predicates in static variables.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Fills a surface with tetrahedra of at most `max_volume_mm3`.
///
/// # Errors
/// The reason, in words, when TetGen fails or its result is no mesh of the surface's inside.
pub(crate) fn fill(surface: &SurfaceMesh, max_volume_mm3: f64) -> Result<Mesh<4>, String> {
    if !surface.is_two_manifold() {
        return Err("the surface is no two-manifold".into());
    }
    // TetGen would refuse it too, but says so on the standard output.
    if let Some(pair) = surface.first_crossing() {
        let at = surface.nodes_mm[surface.triangles[pair[0] as usize][0] as usize];
        return Err(format!(
            "the surface cuts itself near ({:.1}, {:.1}, {:.1}) mm",
            at[0], at[1], at[2]
        ));
    }
    let Ok(_alone) = ONE_AT_A_TIME.lock() else {
        return Err("an earlier mesh ended in a panic".into());
    };
    let tetgen = filled(surface, max_volume_mm3)?;
    if tetgen.out_ncell() == 0 {
        return Err("TetGen found no tetrahedra, as it does for a surface that cuts itself".into());
    }
    let mesh = Mesh::<4> {
        nodes_mm: (0..tetgen.out_npoint())
            .map(|n| std::array::from_fn(|axis| tetgen.out_point(n, axis)))
            .collect(),
        elements: (0..tetgen.out_ncell())
            .map(|e| std::array::from_fn(|m| tetgen.out_cell_point(e, m) as u32))
            .collect(),
    };
    let mut volume = 0.0;
    for element in 0..mesh.elements.len() {
        let one = tetrahedron_volume_mm3(&mesh.positions_mm(element));
        if one <= 0.0 {
            return Err(format!(
                "TetGen's element {element} has a volume of {one:e} mm³"
            ));
        }
        volume += one;
    }
    let enclosed = surface.volume_mm3();
    if (volume - enclosed).abs() > SAME_VOLUME * enclosed {
        return Err(format!(
            "TetGen's elements fill {volume:.3} mm³, the surface encloses {enclosed:.3} mm³"
        ));
    }
    Ok(Mesh::renumbered(&mesh.nodes_mm, mesh.elements))
}

fn filled(surface: &SurfaceMesh, max_volume_mm3: f64) -> Result<Tetgen, &'static str> {
    let holes = points_in_cavities(surface);
    let facets = surface.triangles.len();
    let mut tetgen = Tetgen::new(
        surface.nodes_mm.len(),
        Some(vec![3; facets]),
        None,
        (!holes.is_empty()).then_some(holes.len()),
    )?;
    for (n, [x, y, z]) in surface.nodes_mm.iter().enumerate() {
        tetgen.set_point(n, 0, *x, *y, *z)?;
    }
    for (facet, triangle) in surface.triangles.iter().enumerate() {
        for (corner, &node) in triangle.iter().enumerate() {
            tetgen.set_facet_point(facet, corner, node as usize)?;
        }
    }
    for (n, [x, y, z]) in holes.iter().enumerate() {
        tetgen.set_hole(n, *x, *y, *z)?;
    }
    tetgen.generate_mesh(false, false, Some(max_volume_mm3), Some(RADIUS_EDGE_RATIO))?;
    Ok(tetgen)
}

/// A point in each cavity: just off a triangle of every piece of the surface that encloses a negative volume.
fn points_in_cavities(surface: &SurfaceMesh) -> Vec<[f64; 3]> {
    surface
        .pieces()
        .into_iter()
        .filter_map(|piece| {
            let part = SurfaceMesh {
                nodes_mm: surface.nodes_mm.clone(),
                triangles: piece,
            };
            if part.volume_mm3() >= 0.0 {
                return None;
            }
            // The largest triangle, where a small step is safest.
            part.triangles
                .iter()
                .map(|t| {
                    let [a, b, c] = t.map(|n| part.nodes_mm[n as usize]);
                    let normal = cross(minus(b, a), minus(c, a));
                    (dot(normal, normal), a, b, c, normal)
                })
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(square, a, b, c, normal)| {
                    // A thousandth of the triangle's size outwards, which is into the cavity.
                    let step = 1e-3 * square.powf(-0.25);
                    std::array::from_fn(|n| (a[n] + b[n] + c[n]) / 3.0 + step * normal[n])
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stuffing::{Stuffing, stuff};

    fn ball(radius: f64, hollow: f64) -> SurfaceMesh {
        let options = Stuffing {
            edge_mm: 2.0,
            care: &|_| crate::stuffing::Care {
                tolerance_mm: 0.2,
                coarsest_mm: f64::INFINITY,
                finest_mm: f64::INFINITY,
            },
        };
        let stuffed = stuff([[-radius; 3], [radius; 3]], &options, &|p| {
            let r = dot(p, p).sqrt();
            (radius - r).min(r - hollow)
        });
        SurfaceMesh::of_tetrahedra(&stuffed.mesh)
    }

    #[test]
    fn a_ball_is_filled_and_its_cavity_is_not() {
        for hollow in [-1.0, 5.0] {
            let surface = ball(10.0, hollow);
            let mesh = fill(&surface, 2.0).unwrap();
            let exact = 4.0 / 3.0 * std::f64::consts::PI * (1000.0 - hollow.max(0.0).powi(3));
            let volume: f64 = (0..mesh.elements.len())
                .map(|e| tetrahedron_volume_mm3(&mesh.positions_mm(e)))
                .sum();
            // A polyhedron with edges of 2 mm lies inside its ball by about 1/8 e²/r.
            assert!((volume / exact - 1.0).abs() < 0.04, "{volume} {exact}");
            assert!(mesh.elements.len() > 2000);
        }
    }

    #[test]
    fn a_surface_that_cuts_itself_is_a_reason() {
        let mut surface = ball(10.0, -1.0);
        // One node through the opposite wall.
        surface.nodes_mm[0] = surface.nodes_mm[0].map(|x| -2.0 * x);
        assert!(fill(&surface, 2.0).unwrap_err().contains("cuts itself"));
    }

    #[test]
    fn an_open_surface_is_a_reason() {
        let mut surface = ball(10.0, -1.0);
        surface.triangles.pop();
        assert!(fill(&surface, 2.0).unwrap_err().contains("two-manifold"));
    }
}
