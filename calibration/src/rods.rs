//! Mean CT number of each rod: from a label map, or from given centres.
//!
//! **Label map** ([`measure_labels`]): label `n` is the `n`-th rod of the phantom file. A label painted
//! out to the rod's edge holds blurred voxels, and those few per cent go straight into the slope: a rod
//! of 15 mm under a scanner blur of 1.2 mm reads about 5 % too close to its surroundings. So each
//! label is thinned by 1 mm (at least one voxel) across the rod, not along it, as long as every rod
//! keeps at least [`LEAST_CORE_VOXELS`] voxels and a quarter of its label; else all labels are taken as
//! they are.
//!
//! **Centres** ([`measure_at_centres`]): a file of cylinders or balls, taken exactly as given:
//!
//! ```toml
//! frame = "LPS"                      # or "RAS"; LPS (DICOM, ITK) when left out
//!
//! [[rod]]
//! name = "A"
//! centre_mm = [12.0, 140.5, -310.0]
//! radius_mm = 5.0
//! length_mm = 40.0                   # optional: a cylinder; without it, a ball of that radius
//! direction = [0.0, 0.0, 1.0]        # optional axis of the cylinder; head to foot when left out
//! ```
//!
//! Outliers inside a rod (air bubbles, metal) are not removed; they show in `hu_sd`.

use std::path::Path;

use imaging::{Grid, LabelMap, Volume};
use nalgebra::Vector3;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::phantom::{Phantom, PhantomRod};

/// Rim taken off a labelled rod, mm.
pub const RIM_MM: f64 = 1.0;
/// Fewest voxels that a thinned rod may keep.
pub const LEAST_CORE_VOXELS: usize = 20;

/// A rod as measured in a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rod {
    /// Its name on the certificate.
    pub name: String,
    /// Mean CT number, HU.
    pub hu_mean: f64,
    /// Sample standard deviation of the CT number over its voxels, HU; `None` for a single voxel.
    #[serde(default)]
    pub hu_sd: Option<f64>,
    /// Its equivalent density by the phantom's definition, mg/cm³.
    pub reference_mg_cm3: f64,
    /// Its water-equivalent density by the phantom's definition, mg/cm³.
    #[serde(default)]
    pub water_mg_cm3: Option<f64>,
    /// Voxels measured.
    pub voxels: usize,
    /// Mean position of the voxels measured, LPS mm; `None` when it is not known.
    #[serde(default)]
    pub centre_mm: Option<[f64; 3]>,
}

/// The world frame of the numbers in a file of rod centres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum CentreFrame {
    /// x to the left, y to the back, z to the head (DICOM, ITK).
    #[default]
    #[serde(rename = "LPS")]
    Lps,
    /// x to the right, y to the front, z to the head (NIfTI).
    #[serde(rename = "RAS")]
    Ras,
}

/// Where one rod is to be measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RodCentre {
    /// The rod's name in the phantom's definition.
    pub name: String,
    /// Centre of the cylinder or ball, mm.
    pub centre_mm: [f64; 3],
    /// Its radius, mm.
    pub radius_mm: f64,
    /// Length of the cylinder, mm; without it, a ball.
    #[serde(default)]
    pub length_mm: Option<f64>,
    /// Axis of the cylinder, of any length; head to foot when left out.
    #[serde(default)]
    pub direction: Option<[f64; 3]>,
}

/// Where the rods of a phantom are to be measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RodCentres {
    /// The frame of the numbers.
    #[serde(default)]
    pub frame: CentreFrame,
    /// The rods, in any order.
    #[serde(rename = "rod")]
    pub rods: Vec<RodCentre>,
}

impl RodCentres {
    /// Reads a file of rod centres.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file, the rod and what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let format = |reason: String| Error::Format {
            path: path.to_path_buf(),
            reason,
        };
        let centres: Self = toml::from_str(&text).map_err(|error| format(error.to_string()))?;
        for rod in &centres.rods {
            rod.check()
                .map_err(|reason| format(format!("rod '{}': {reason}", rod.name)))?;
        }
        Ok(centres)
    }
}

impl RodCentre {
    fn check(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !self.centre_mm.iter().all(|v| v.is_finite()) {
            return Err("centre_mm is not finite".into());
        }
        if !positive(self.radius_mm) {
            return Err(format!(
                "radius_mm is {}; it must be positive",
                self.radius_mm
            ));
        }
        if let Some(length) = self.length_mm.filter(|length| !positive(*length)) {
            return Err(format!("length_mm is {length}; it must be positive"));
        }
        match self.direction {
            Some(_) if self.length_mm.is_none() => {
                Err("direction without length_mm; give the length of the cylinder".into())
            }
            Some(d) if !positive(Vector3::from(d).norm()) => {
                Err(format!("direction {d:?} has no length"))
            }
            _ => Ok(()),
        }
    }
}

/// Measures the rods of a phantom from a label map on the CT's grid; label `n` is the `n`-th rod. See the
/// module page for the thinning.
///
/// # Errors
/// [`Error::Image`] when the grids differ; [`Error::Rods`] naming a rod without voxels or with CT
/// numbers that are not finite, or a label that is no rod.
pub fn measure_labels(
    ct_hu: &Volume<f32>,
    labels: &LabelMap,
    phantom: &Phantom,
) -> Result<Vec<Rod>> {
    phantom.check()?;
    ct_hu.grid.check_same(&labels.grid)?;
    let count = phantom.rods.len();
    let mut voxels = vec![Vec::new(); count];
    for (index, label) in labels
        .data
        .iter()
        .enumerate()
        .filter(|(_, label)| **label > 0)
    {
        let Some(list) = voxels.get_mut(usize::from(*label) - 1) else {
            return Err(rods_error(
                phantom,
                format!(
                    "label {label} is no rod: the labels run from 1 to {count}, in the order of the phantom's definition"
                ),
            ));
        };
        list.push(index);
    }
    if let Some(empty) = voxels.iter().position(Vec::is_empty) {
        return Err(rods_error(
            phantom,
            format!(
                "rod '{}' (label {}) has no voxel in the label map",
                phantom.rods[empty].name,
                empty + 1
            ),
        ));
    }
    let cores: Vec<Vec<usize>> = voxels.iter().map(|list| core(labels, list)).collect();
    let thick_enough = cores
        .iter()
        .zip(&voxels)
        .all(|(core, label)| core.len() >= LEAST_CORE_VOXELS && 4 * core.len() >= label.len());
    let measured = if thick_enough { cores } else { voxels };
    phantom
        .rods
        .iter()
        .zip(&measured)
        .map(|(rod, voxels)| measure(ct_hu, voxels, rod, phantom))
        .collect()
}

/// Measures the rods of a phantom at given centres: the mean over the voxels whose centre lies inside the
/// cylinder or ball.
///
/// # Errors
/// [`Error::Rods`] naming a rod that is missing, unknown, given twice, badly described, outside the image
/// or too small to hold a voxel centre, or whose CT numbers are not finite.
pub fn measure_at_centres(
    ct_hu: &Volume<f32>,
    centres: &RodCentres,
    phantom: &Phantom,
) -> Result<Vec<Rod>> {
    phantom.check()?;
    for (number, given) in centres.rods.iter().enumerate() {
        let fault = if !phantom.rods.iter().any(|rod| rod.name == given.name) {
            let names: Vec<_> = phantom.rods.iter().map(|rod| rod.name.as_str()).collect();
            Some(format!(
                "there is no such rod; its rods are {}",
                names.join(", ")
            ))
        } else if centres.rods[..number]
            .iter()
            .any(|other| other.name == given.name)
        {
            Some("its centre is given twice".into())
        } else {
            given.check().err()
        };
        if let Some(fault) = fault {
            return Err(rods_error(
                phantom,
                format!("rod '{}': {fault}", given.name),
            ));
        }
    }
    phantom
        .rods
        .iter()
        .map(|rod| {
            let given = centres.rods.iter().find(|given| given.name == rod.name);
            let given = given.ok_or_else(|| {
                rods_error(
                    phantom,
                    format!("rod '{}' is missing from the given centres", rod.name),
                )
            })?;
            let voxels = inside(&ct_hu.grid, given, centres.frame)
                .map_err(|reason| rods_error(phantom, format!("rod '{}' {reason}", rod.name)))?;
            measure(ct_hu, &voxels, rod, phantom)
        })
        .collect()
}

/// Measures one rod in a cylinder in LPS; errors as [`measure_at_centres`].
pub(crate) fn measure_cylinder(
    ct_hu: &Volume<f32>,
    cylinder: &RodCentre,
    rod: &PhantomRod,
    phantom: &Phantom,
) -> Result<Rod> {
    let voxels = inside(&ct_hu.grid, cylinder, CentreFrame::Lps)
        .map_err(|reason| rods_error(phantom, format!("rod '{}' {reason}", rod.name)))?;
    measure(ct_hu, &voxels, rod, phantom)
}

fn rods_error(phantom: &Phantom, reason: String) -> Error {
    Error::Rods {
        phantom: phantom.name.clone(),
        reason,
    }
}

/// The voxels of one label that stand at least [`RIM_MM`] inside it, across its long axis.
fn core(labels: &LabelMap, voxels: &[usize]) -> Vec<usize> {
    let grid = &labels.grid;
    let mut low = [usize::MAX; 3];
    let mut high = [0; 3];
    for &index in voxels {
        let at = grid.voxel(index);
        for axis in 0..3 {
            low[axis] = low[axis].min(at[axis]);
            high[axis] = high[axis].max(at[axis]);
        }
    }
    let extent = |axis: usize| (high[axis] + 1 - low[axis]) as f64 * grid.spacing_mm[axis];
    // Of equally long axes, the one nearest to head-foot: rods lie along the table.
    let head_foot = (0..3).find(|&a| grid.closest_axes()[a].0 == 2).unwrap_or(2);
    let along = (0..3).fold(head_foot, |best, axis| {
        if extent(axis) > extent(best) {
            axis
        } else {
            best
        }
    });
    let strides = [1, grid.size[0], grid.size[0] * grid.size[1]];
    let deep_enough = |index: usize| {
        let at = grid.voxel(index);
        (0..3).filter(|&axis| axis != along).all(|axis| {
            let steps = (RIM_MM / grid.spacing_mm[axis] - 1e-6).ceil().max(1.0) as usize;
            (1..=steps).all(|step| {
                at[axis] >= step
                    && at[axis] + step < grid.size[axis]
                    && labels.data[index - step * strides[axis]] == labels.data[index]
                    && labels.data[index + step * strides[axis]] == labels.data[index]
            })
        })
    };
    voxels
        .iter()
        .copied()
        .filter(|&index| deep_enough(index))
        .collect()
}

/// The voxels whose centre lies inside a cylinder or ball.
fn inside(grid: &Grid, rod: &RodCentre, frame: CentreFrame) -> Result<Vec<usize>, String> {
    let to_lps = |v: [f64; 3]| match frame {
        CentreFrame::Lps => Vector3::from(v),
        CentreFrame::Ras => Vector3::new(-v[0], -v[1], v[2]),
    };
    let centre = to_lps(rod.centre_mm);
    let axis = to_lps(rod.direction.unwrap_or([0.0, 0.0, 1.0])).normalize();
    let half = rod.length_mm.map(|length| 0.5 * length);
    let reach = rod.radius_mm.hypot(half.unwrap_or(0.0));
    let at = grid.to_index(centre);
    let in_image = (0..3).all(|a| at[a] >= -0.5 && at[a] <= grid.size[a] as f64 - 0.5);
    if !in_image {
        return Err(format!(
            "has its centre ({:.1}, {:.1}, {:.1}) mm LPS outside the image ({grid})",
            centre.x, centre.y, centre.z
        ));
    }
    let inverse = grid
        .matrix()
        .try_inverse()
        .ok_or("stands on a singular grid")?;
    let range: [std::ops::Range<usize>; 3] = std::array::from_fn(|a| {
        let margin = reach * inverse.row(a).norm();
        let first = (at[a] - margin).ceil().max(0.0) as usize;
        let last = ((at[a] + margin).floor().max(-1.0) + 1.0) as usize;
        first..last.min(grid.size[a])
    });
    let mut voxels = Vec::new();
    for k in range[2].clone() {
        for j in range[1].clone() {
            for i in range[0].clone() {
                let offset = grid.to_world(Vector3::new(i as f64, j as f64, k as f64)) - centre;
                let belongs = match half {
                    None => offset.norm() <= rod.radius_mm,
                    Some(half) => {
                        let along = offset.dot(&axis);
                        along.abs() <= half && (offset - along * axis).norm() <= rod.radius_mm
                    }
                };
                if belongs {
                    voxels.push(grid.index(i, j, k));
                }
            }
        }
    }
    if voxels.is_empty() {
        return Err(format!(
            "holds no voxel centre with radius_mm = {}",
            rod.radius_mm
        ));
    }
    Ok(voxels)
}

fn measure(
    ct_hu: &Volume<f32>,
    voxels: &[usize],
    rod: &PhantomRod,
    phantom: &Phantom,
) -> Result<Rod> {
    let broken = voxels
        .iter()
        .filter(|&&v| !ct_hu.data[v].is_finite())
        .count();
    if broken > 0 {
        return Err(rods_error(
            phantom,
            format!(
                "{broken} of the {} voxels of rod '{}' are NaN or infinite",
                voxels.len(),
                rod.name
            ),
        ));
    }
    let count = voxels.len() as f64;
    let hu = |v: &usize| f64::from(ct_hu.data[*v]);
    let hu_mean = voxels.iter().map(hu).sum::<f64>() / count;
    let square_sum: f64 = voxels.iter().map(|v| (hu(v) - hu_mean).powi(2)).sum();
    let mean_index = voxels.iter().fold(Vector3::zeros(), |sum, &v| {
        let [i, j, k] = ct_hu.grid.voxel(v);
        sum + Vector3::new(i as f64, j as f64, k as f64)
    }) / count;
    Ok(Rod {
        name: rod.name.clone(),
        hu_mean,
        hu_sd: (voxels.len() > 1).then(|| (square_sum / (count - 1.0)).sqrt()),
        reference_mg_cm3: rod.equivalent_mg_cm3,
        water_mg_cm3: rod.water_mg_cm3,
        voxels: voxels.len(),
        centre_mm: Some(ct_hu.grid.to_world(mean_index).into()),
    })
}

#[cfg(test)]
mod tests;
