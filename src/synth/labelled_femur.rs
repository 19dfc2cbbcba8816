//! A femur of a given label map: its head, its shaft, and the density field laid about them.

use anyhow::{Context, Result, ensure};
use imaging::LabelMap;

use super::femur::{FemoralTissue, FemurField};
use super::fit::{self, Axis, Sphere};
use super::labelled::LabelledBone;
use super::random::Draws;
use super::solid::Point;

/// Furthest that a point of the femoral head lies from the hip bone, mm: found on 40 painted heads.
const JOINT_MM: f64 = 7.0;
/// Neck-shaft angle that places the neck where a label map does not tell it, degrees: between the means
/// of Noble 1988 and Toogood 2009, as the drawn femora.
const NECK_SHAFT_DEG: f64 = 127.0;
/// Height of the head centre above the lesser trochanter in head radii (51.6 / 23.05, Noble 1988).
const HEAD_ABOVE_TROCHANTER: f64 = 2.24;

/// A femur of a label map.
pub(crate) struct LabelledFemur {
    /// Its density field, in the world.
    pub field: FemurField,
    /// Its head.
    pub head: Sphere,
    /// Its shaft.
    pub shaft: Axis,
}

/// Finds the landmarks of a femur and lays its density field about them.
pub(crate) fn find(
    draws: &mut Draws<'_>,
    tissue: &FemoralTissue,
    map: &LabelMap,
    bone: &LabelledBone,
    all: &[LabelledBone],
) -> Result<LabelledFemur> {
    let name = format!("label {}", bone.label);
    let head = head(map, bone, all).with_context(|| name.clone())?;
    let shaft = shaft(map, bone, &head).with_context(|| name.clone())?;
    let mut field = FemurField::drawn(draws, tissue);
    let along = (head.centre - shaft.point).dot(&shaft.direction);
    let foot = shaft.point + shaft.direction * along;
    let offset = (head.centre - foot).norm();
    ensure!(
        (15.0..=75.0).contains(&offset),
        "{name}: the femoral head stands {offset:.0} mm from the shaft axis, 15 to 75 mm are possible; is this label one femur?"
    );
    let rise = offset / (180.0 - NECK_SHAFT_DEG).to_radians().tan();
    field.head = head.centre;
    field.head_radius = head.radius;
    field.shaft = shaft.direction;
    field.crossing = foot - shaft.direction * rise;
    field.lesser_trochanter = rise - HEAD_ABOVE_TROCHANTER * head.radius;
    field.neck_half_height = 0.72 * head.radius;
    Ok(LabelledFemur { field, head, shaft })
}

/// Sphere of the head: through the surface that faces a hip bone; without one, through the top of the
/// bone.
fn head(map: &LabelMap, bone: &LabelledBone, all: &[LabelledBone]) -> Result<Sphere> {
    let grid = &map.grid;
    let mut facing = Vec::new();
    let mut top = Vec::new();
    let inner = &bone.distance;
    let skin = 0.9 * grid.spacing_mm.iter().fold(0.0, |a: f64, &b| a.max(b));
    for (index, &distance) in inner.data.iter().enumerate() {
        if f64::from(distance).abs() > skin {
            continue;
        }
        let [i, j, k] = inner.grid.voxel(index);
        let p = inner
            .grid
            .to_world(Point::new(i as f64, j as f64, k as f64));
        // Down to the surface itself.
        let voxel = [i + bone.low[0], j + bone.low[1], k + bone.low[2]];
        let near = all
            .iter()
            .filter(|other| matches!(other.label, 3 | 4))
            .filter_map(|other| other.at(voxel))
            .fold(f64::MAX, f64::min);
        if near < JOINT_MM {
            facing.push(p);
        }
        top.push(p);
    }
    if facing.len() >= 200 {
        return fit::head(&facing);
    }
    let highest = top.iter().map(|p| p.z).fold(f64::MIN, f64::max);
    top.retain(|p| p.z > highest - 22.0);
    fit::head(&top)
}

/// Axis of the shaft: through the cross-sections below the lesser trochanter; upright through the lowest
/// ones where the scan holds less than 15 mm of shaft.
fn shaft(map: &LabelMap, bone: &LabelledBone, head: &Sphere) -> Result<Axis> {
    let grid = &map.grid;
    let ceiling = head.centre.z - HEAD_ABOVE_TROCHANTER * head.radius;
    let [ni, nj, nk] = bone.distance.grid.size;
    let mut centroids = Vec::new();
    for k in 0..nk {
        let (mut sum, mut count) = (Point::zeros(), 0usize);
        for j in 0..nj {
            for i in 0..ni {
                let voxel = [i + bone.low[0], j + bone.low[1], k + bone.low[2]];
                if map.at(voxel[0], voxel[1], voxel[2]) == bone.label {
                    sum += Point::new(voxel[0] as f64, voxel[1] as f64, voxel[2] as f64);
                    count += 1;
                }
            }
        }
        let area = count as f64 * grid.spacing_mm[0] * grid.spacing_mm[1];
        // A cut that grazes the shaft has no centroid to rely on.
        if area > 250.0 {
            centroids.push(grid.to_world(sum / count as f64));
        }
    }
    centroids.sort_by(|a, b| a.z.total_cmp(&b.z));
    let below: Vec<_> = centroids
        .iter()
        .copied()
        .filter(|c| c.z < ceiling)
        .collect();
    if let Some(axis) = fit::axis(&below, 15.0) {
        return Ok(axis);
    }
    let lowest = centroids
        .first()
        .context("the femur has no cross-section of more than 250 mm²")?;
    ensure!(
        lowest.z < head.centre.z - head.radius,
        "the scan ends at the femoral head: there is no shaft to paint"
    );
    Ok(Axis {
        point: *lowest,
        direction: Point::z(),
    })
}
