//! Caps: potting material on one side of a bone, on the voxel grid (load-cases 1.6).

use anyhow::{Result, ensure};
use imaging::{Mask, Volume};
use meshing::{Outward, Side};

use super::Elastic;
use crate::pose::Posed;

/// Settings of the caps.
#[derive(Clone, Debug, PartialEq)]
pub struct CapOptions {
    /// Distance from the outer face to the deepest bone a cap reaches, mm (`load.cap_thickness_mm`).
    pub thickness_mm: f64,
    /// How deep the bone's highest point sits in the cap, mm (`load.cap_intrusion_mm`).
    pub intrusion_mm: f64,
    /// Modulus and Poisson's ratio (`load.cap_modulus_mpa`, `load.cap_poissons_ratio`).
    pub elastic: Elastic,
}

impl Default for CapOptions {
    /// 10 mm thick, 6 mm intrusion, 2500 MPa and 0.3 (PMMA).
    fn default() -> Self {
        Self {
            thickness_mm: 10.0,
            intrusion_mm: 6.0,
            elastic: Elastic {
                youngs_modulus_mpa: 2500.0,
                poissons_ratio: 0.3,
            },
        }
    }
}

impl CapOptions {
    /// Layers of cap over the highest point of the bone.
    ///
    /// # Errors
    /// When the cap is no thicker than its intrusion.
    pub fn layers(&self, h_mm: f64) -> Result<usize> {
        let over = self.thickness_mm - self.intrusion_mm;
        let layers = (over / h_mm).round();
        ensure!(
            layers >= 1.0 && self.intrusion_mm >= 0.0,
            "a cap of {} mm with {} mm intrusion has no layer of {h_mm} mm over the bone",
            self.thickness_mm,
            self.intrusion_mm
        );
        Ok(layers as usize)
    }
}

/// A cap on one side of a bone.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// Voxels of the cap, ascending.
    pub voxels: Vec<usize>,
    /// Index along the axis of the outermost bone voxel of all columns.
    pub bone_layer: usize,
    /// Index along the axis of the outermost cap layer.
    pub face_layer: usize,
}

/// How many voxels further in than the intrusion a column may start: the 0.75 of load-cases 1.6.
const COLUMN_TOLERANCE: f64 = 0.75;

/// Builds a cap over the `carrier` (the bone that gets the cap) on a grid of cubes. A column belongs
/// to the cap when its outermost carrier voxel lies at most the intrusion (+0.75 voxel) behind the
/// outermost of all; it is filled from there to the flat outer face and never overwrites `bone`.
///
/// # Errors
/// When the carrier is empty or the grid ends before the cap does.
pub fn build(carrier: &Mask, bone: &Mask, outward: Outward, options: &CapOptions) -> Result<Cap> {
    let grid = &carrier.grid;
    let (axis, h) = (outward.axis, grid.spacing_mm[outward.axis]);
    let layers = options.layers(h)?;
    let [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
    let last = grid.size[axis] - 1;
    // Depth counted inward from the outer end of the grid, so that both sides read alike.
    let layer_at = |depth: usize| match outward.side {
        Side::Low => depth,
        Side::High => last - depth,
    };
    let voxel_at = |depth: usize, a: usize, b: usize| {
        let mut at = [0; 3];
        (at[axis], at[u], at[v]) = (layer_at(depth), a, b);
        grid.index(at[0], at[1], at[2])
    };
    let surface: Vec<(usize, usize, usize)> = (0..grid.size[v])
        .flat_map(|b| (0..grid.size[u]).map(move |a| (a, b)))
        .filter_map(|(a, b)| {
            (0..=last)
                .find(|&depth| carrier.data[voxel_at(depth, a, b)])
                .map(|depth| (a, b, depth))
        })
        .collect();
    let highest = surface.iter().map(|s| s.2).min();
    let Some(highest) = highest else {
        anyhow::bail!("there is no bone to put a cap on");
    };
    ensure!(
        highest >= layers,
        "the model grid has {highest} layers of voxels outside the bone, the cap needs {layers}"
    );
    let reach = options.intrusion_mm + COLUMN_TOLERANCE * h;
    let mut voxels: Vec<usize> = surface
        .iter()
        .filter(|s| (s.2 - highest) as f64 * h <= reach)
        .flat_map(|&(a, b, depth)| (highest - layers..depth).map(move |d| (d, a, b)))
        .map(|(d, a, b)| voxel_at(d, a, b))
        .filter(|&voxel| !bone.data[voxel])
        .collect();
    voxels.sort_unstable();
    Ok(Cap {
        voxels,
        bone_layer: layer_at(highest),
        face_layer: layer_at(highest - layers),
    })
}

/// Adds empty layers around a posed bone until `layers` of them lie outside the bone on every side.
///
/// # Errors
/// When the bone is empty or the grid becomes too large.
pub fn with_room(posed: Posed, layers: usize) -> Result<Posed> {
    let Some([low, high]) = posed.bone().bounding_box() else {
        anyhow::bail!("the mask is empty");
    };
    let grid = &posed.labels.grid;
    let missing = (0..3)
        .map(|axis| {
            let room = low[axis].min(grid.size[axis] - 1 - high[axis]);
            layers.saturating_sub(room)
        })
        .max()
        .unwrap_or(0);
    if missing == 0 {
        return Ok(posed);
    }
    Ok(Posed {
        density: imaging::orientation::pad(&posed.density, [missing; 3], 0.0)?,
        labels: imaging::orientation::pad(&posed.labels, [missing; 3], 0)?,
    })
}

/// The voxels of a mask in one layer.
pub fn in_layer<T>(volume: &Volume<T>, voxels: &[usize], axis: usize, layer: usize) -> Vec<usize> {
    voxels
        .iter()
        .copied()
        .filter(|&voxel| volume.grid.voxel(voxel)[axis] == layer)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;

    /// Heights of the bone in each of 5 columns along x (one row), on a grid 20 high; columns stand on
    /// layer 5 and the bone reaches up to layer 5 + height - 1.
    fn columns(heights: [usize; 5]) -> Mask {
        Volume::from_fn(Grid::axis_aligned([7, 3, 20], [1.0; 3]), |[i, j, k]| {
            j == 1 && (1..6).contains(&i) && k >= 5 && k < 5 + heights[i - 1]
        })
    }

    fn listed(mask: &Mask, cap: &Cap) -> Vec<[usize; 3]> {
        cap.voxels.iter().map(|&v| mask.grid.voxel(v)).collect()
    }

    fn options(thickness_mm: f64, intrusion_mm: f64) -> CapOptions {
        CapOptions {
            thickness_mm,
            intrusion_mm,
            ..CapOptions::default()
        }
    }

    #[test]
    fn a_cap_fills_the_columns_near_the_top_up_to_a_flat_face() {
        // Tops at layers 12, 10, 9, 11 and none; intrusion 2 mm: the column at 9 is 3 behind.
        let bone = columns([8, 6, 5, 7, 0]);
        let outward = Outward {
            axis: 2,
            side: Side::High,
        };
        let cap = build(&bone, &bone, outward, &options(4.0, 2.0)).unwrap();
        assert_eq!((cap.bone_layer, cap.face_layer), (12, 14));
        let expected = [
            [2, 1, 11],
            [2, 1, 12],
            [4, 1, 12],
            [1, 1, 13],
            [2, 1, 13],
            [4, 1, 13],
            [1, 1, 14],
            [2, 1, 14],
            [4, 1, 14],
        ];
        assert_eq!(listed(&bone, &cap), expected);
    }

    #[test]
    fn the_lower_cap_is_built_downwards_and_spares_other_bone() {
        // All columns start at layer 5; a voxel of another label hangs below column 2.
        let carrier = columns([3, 3, 3, 0, 0]);
        let mut bone = carrier.clone();
        let other = bone.grid.index(2, 1, 4);
        bone.data[other] = true;
        let outward = Outward {
            axis: 2,
            side: Side::Low,
        };
        let cap = build(&carrier, &bone, outward, &options(3.0, 1.0)).unwrap();
        assert_eq!((cap.bone_layer, cap.face_layer), (5, 3));
        let expected = [[1, 1, 3], [2, 1, 3], [3, 1, 3], [1, 1, 4], [3, 1, 4]];
        assert_eq!(listed(&bone, &cap), expected);
    }

    #[test]
    fn six_whole_voxels_of_intrusion_at_one_millimetre() {
        // 6 mm + 0.75 voxel takes a column 6 behind and leaves one 7 behind; caps along +x here.
        let outward = Outward {
            axis: 2,
            side: Side::High,
        };
        let bone = columns([10, 4, 3, 0, 0]);
        let cap = build(&bone, &bone, outward, &CapOptions::default()).unwrap();
        let second = listed(&bone, &cap).iter().filter(|v| v[0] == 2).count();
        let third = listed(&bone, &cap).iter().filter(|v| v[0] == 3).count();
        assert_eq!((second, third), (10, 0));
    }

    #[test]
    fn a_cap_that_has_no_room_is_an_error() {
        let bone = columns([14, 14, 14, 14, 14]);
        let outward = Outward {
            axis: 2,
            side: Side::High,
        };
        let error = build(&bone, &bone, outward, &CapOptions::default()).unwrap_err();
        assert!(error.to_string().contains("1 layers"), "{error}");
    }
}
