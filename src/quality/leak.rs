//! A part of the pelvis in the mask of a femur.
//!
//! Two signs. **Bone outside the sphere of the head** on the side away from the neck. And **a joint space inside the mask**: a shell of
//! the socket around the head makes the fitted sphere a larger one, and leaves no bone outside it; but between head and socket the
//! density falls to that of cartilage and rises again, which inside a head it never does.

use nalgebra::Vector3;

use super::Near;
use crate::anatomy::{Check, FemurLandmarks};

/// Bone this far outside the sphere of the head belongs to something else, mm, beside half a voxel: heads differ from a sphere by
/// less than 1 mm, and osteophytes of the rim lie on the side of the neck.
const CLEAR_MM: f64 = 3.0;
/// Less is a spike of the surface, mm³: a plate of 10 by 10 by 2 mm.
const REVIEW_MM3: f64 = 200.0;
/// A piece of the socket of 10 cm² by 2 mm, a third of the head's cartilage, mm³: the load would go in through the pelvis.
const REFUSE_MM3: f64 = 2000.0;
/// Directions from the centre of the head in which a joint space is looked for, over the whole sphere.
const DIRECTIONS: usize = 30;
/// Directions that make a joint space: one may be a cyst or the fovea.
const SPACE_REVIEW: usize = 2;
/// And one that covers a quarter of the joint's side, where no cyst is.
const SPACE_REFUSE: usize = 4;
/// A joint space is this much darker than the bone on both its sides, or more: cartilage has a tenth of a subchondral plate.
const SPACE_SHARE: f64 = 0.5;
/// How far on both sides of a joint space bone is looked for, mm.
const SIDES_MM: usize = 5;
/// Nearer to the centre of the head there is no joint, mm: the smallest heads have a radius of 18.
const INNER_MM: usize = 14;
/// Fewest voxels that give a mean.
const LEAST_VOXELS: usize = 8;

/// Whether bone goes on beyond the head towards its socket; the value is the volume outside the sphere of the head or beyond a joint
/// space, on the side away from the neck, mm³.
pub fn femur_joint_leak(near: &Near, landmarks: &FemurLandmarks) -> Check {
    const NAME: &str = "femur_joint_leak";
    let outside = outside_mm3(near, landmarks);
    let (directions, beyond) = beyond_joint_mm3(near, landmarks);
    let space = directions >= SPACE_REVIEW;
    let volume = if space { outside.max(beyond) } else { outside };
    let mut reason = format!(
        "{outside:.0} mm³ of the mask lie more than {CLEAR_MM} mm outside the sphere of the head, on the side of the joint"
    );
    if space {
        reason += &format!(
            "; in {directions} directions the mask crosses a joint space, and {beyond:.0} mm³ lie beyond it"
        );
    }
    if outside > REFUSE_MM3 || directions >= SPACE_REFUSE && beyond > REFUSE_MM3 {
        Check::refuse(
            NAME,
            volume,
            format!(
                "{reason}: a part of the pelvis is in the mask, and the load would go through it"
            ),
        )
    } else if volume > REVIEW_MM3 {
        Check::review(NAME, volume, format!("{reason}: is it the pelvis?"))
    } else {
        Check::pass(NAME, volume, reason)
    }
}

/// Calls `see` with the density and the place, from the centre of the head, of every voxel of the bone.
fn for_each_voxel(near: &Near, centre_mm: Vector3<f64>, mut see: impl FnMut(f32, Vector3<f64>)) {
    let grid = &near.bone.grid;
    let (matrix, origin) = (grid.matrix(), grid.origin_mm - centre_mm);
    for (index, _) in near
        .bone
        .data
        .iter()
        .enumerate()
        .filter(|(_, inside)| **inside)
    {
        let at = grid.voxel(index);
        let from = origin + matrix * Vector3::from_fn(|a, _| at[a] as f64);
        see(near.density_mg_cm3.data[index], from);
    }
}

fn outside_mm3(near: &Near, landmarks: &FemurLandmarks) -> f64 {
    let grid = &near.bone.grid;
    let coarsest = grid.spacing_mm.iter().copied().fold(0.0, f64::max);
    let clear = landmarks.head.radius_mm + CLEAR_MM + 0.5 * coarsest;
    let mut voxels = 0usize;
    for_each_voxel(near, landmarks.head.centre_mm, |_, from| {
        if from.dot(&landmarks.neck) > 0.0 && from.norm_squared() > clear * clear {
            voxels += 1;
        }
    });
    voxels as f64 * grid.voxel_volume_mm3()
}

/// Number of directions in which a joint space lies inside the mask, and the volume beyond it in them.
fn beyond_joint_mm3(near: &Near, landmarks: &FemurLandmarks) -> (usize, f64) {
    let directions: Vec<Vector3<f64>> = evenly(DIRECTIONS)
        .into_iter()
        .filter(|direction| direction.dot(&landmarks.neck) > 0.0)
        .collect();
    if directions.is_empty() {
        return (0, 0.0);
    }
    let furthest = landmarks.head.radius_mm + 25.0;
    let shells = furthest as usize + 1;
    // Sum of densities and number of voxels, by direction and distance in mm.
    let mut sums = vec![(0.0f64, 0usize); directions.len() * shells];
    for_each_voxel(near, landmarks.head.centre_mm, |density, from| {
        let r = from.norm();
        if r >= furthest || from.dot(&landmarks.neck) <= 0.0 {
            return;
        }
        let nearest = (0..directions.len()).fold(0, |best, n| {
            if directions[n].dot(&from) > directions[best].dot(&from) {
                n
            } else {
                best
            }
        });
        let sum = &mut sums[nearest * shells + r as usize];
        *sum = (sum.0 + f64::from(density), sum.1 + 1);
    });
    let (mut found, mut voxels) = (0, 0usize);
    for profile in sums.chunks(shells) {
        if let Some(space) = joint_space(profile) {
            found += 1;
            voxels += profile[space..].iter().map(|shell| shell.1).sum::<usize>();
        }
    }
    (found, voxels as f64 * near.bone.grid.voxel_volume_mm3())
}

/// The shell of a profile that is dark between two bright ones.
fn joint_space(profile: &[(f64, usize)]) -> Option<usize> {
    let mean = |shell: usize| {
        let (sum, count) = profile[shell];
        (count >= LEAST_VOXELS).then(|| sum / count as f64)
    };
    let brightest = |range: std::ops::Range<usize>| range.filter_map(mean).fold(f64::MIN, f64::max);
    (INNER_MM..profile.len().saturating_sub(1)).find(|&shell| {
        let Some(here) = mean(shell) else {
            return false;
        };
        let before = brightest(shell - SIDES_MM..shell);
        let after = brightest(shell + 1..(shell + 1 + SIDES_MM).min(profile.len()));
        let limit = SPACE_SHARE * before.min(after);
        // A density below that of water says nothing of bone around.
        limit > 0.0 && here < limit
    })
}

/// Directions spread evenly over the sphere (Fibonacci lattice).
fn evenly(count: usize) -> Vec<Vector3<f64>> {
    let golden = std::f64::consts::PI * (3.0 - 5f64.sqrt());
    (0..count)
        .map(|n| {
            let z = 1.0 - (2.0 * n as f64 + 1.0) / count as f64;
            let (sin, cos) = (golden * n as f64).sin_cos();
            let width = (1.0 - z * z).sqrt();
            Vector3::new(width * cos, width * sin, z)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::FemurScan;
    use super::*;
    use crate::anatomy::Status;

    /// A femur whose mask takes in what `also` says, given the place from the centre of the head; the landmarks are those of the
    /// femur with a head of this much larger radius.
    fn leaking(
        hu: impl Fn(f64, f32) -> f32,
        also: impl Fn(Vector3<f64>) -> bool,
        larger_mm: f64,
    ) -> Check {
        let plain = FemurScan::new(|_, hu| hu);
        let centre = plain.landmarks.head.centre_mm;
        let mut scan = FemurScan::new(|place, tissue| hu((place - centre).norm(), tissue));
        let grid = scan.bone.grid.clone();
        for (n, inside) in scan.bone.data.iter_mut().enumerate() {
            let at = grid.voxel(n);
            *inside |= also(grid.to_world(Vector3::from_fn(|a, _| at[a] as f64)) - centre);
        }
        let mut landmarks = scan.landmarks.clone();
        landmarks.head.radius_mm += larger_mm;
        femur_joint_leak(&scan.near(), &landmarks)
    }

    #[test]
    fn bone_outside_the_sphere_of_the_head_is_a_leak() {
        let found = leaking(|_, hu| hu, |_| false, 0.0);
        assert_eq!((found.status, found.value), (Status::Pass, Some(0.0)));
        // A peg of 8 or 24 mm on the medial side of the head; half of its first 5 mm is taken for the head's rim.
        let peg = |half: f64| {
            move |p: Vector3<f64>| {
                (-40.0..0.0).contains(&p.x) && p.y.abs() < half && p.z.abs() < half
            }
        };
        let found = leaking(|_, hu| hu, peg(4.0), 0.0);
        assert_eq!(found.status, Status::Review, "{found:?}");
        let found = leaking(|_, hu| hu, peg(12.0), 0.0);
        assert_eq!(found.status, Status::Refuse, "{found:?}");
    }

    /// A shell of the socket all around: the sphere of the landmarks is that of the socket, and nothing lies outside it.
    #[test]
    fn a_joint_space_inside_the_mask_is_a_leak() {
        let socket = |p: Vector3<f64>| p.norm() < 33.0 && p.x < 6.0;
        // Head of 23.5 mm, cartilage of 3 mm, socket of 7 mm.
        let joint = |r: f64, hu: f32| match r {
            r if (26.5..33.0).contains(&r) => 700.0,
            r if (23.5..26.5).contains(&r) => 60.0,
            _ => hu,
        };
        let found = leaking(joint, socket, 9.5);
        assert_eq!(found.status, Status::Refuse, "{found:?}");
        assert!(found.reason.contains("joint space"), "{}", found.reason);
        // The same mask on a head that is as large as that.
        let solid = |r: f64, hu: f32| if r < 33.0 { 300.0 } else { hu };
        assert_eq!(leaking(solid, socket, 9.5).status, Status::Pass);
    }
}
