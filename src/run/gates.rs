//! Quality gates that look at scan and mask together.

use std::collections::HashMap;

use imaging::morphology::{StructuringElement, morph_voxels};
use imaging::{Mask, Volume};
use nalgebra::Vector3;

use crate::anatomy::vertebra::ENDPLATE_DEPTH_MM;
use crate::anatomy::{Check, VertebraLandmarks};
use crate::plan::{EndplateSource, LoadKind, LoadSettings, Plan};

/// Densities of a bone that differ by no more than this are no image of it, mg/cm³; trabecular bone alone spreads over 100.
const CONSTANT_MG_CM3: f64 = 1.0;
/// The voxels around the bone that are looked at, in layers, after the first: where a masked scan was resampled, that one
/// holds values between bone and filling.
const SHELL_LAYERS: usize = 3;
/// One value in more than this share of them is a fill value: noise never repeats so often.
const FILLED: f64 = 0.9;

/// Whether the body of a vertebra is whole in the scan; a cut process carries little of a load on the endplates. Nor does what grows
/// beyond an endplate round the disc (an osteophyte, a bridge to the next vertebra) where the endplates themselves are loaded. A cap
/// stands on what reaches furthest, so that under caps nothing of the body may be cut.
pub fn field_of_view(
    whole: &Mask,
    body: &Mask,
    landmarks: Option<&VertebraLandmarks>,
    load: &LoadSettings,
) -> Check {
    const NAME: &str = "vertebra_field_of_view";
    let on_endplates = load.case == LoadKind::EndplateCompression;
    // What is no farther from the plane than this is loaded.
    let depth_mm = ENDPLATE_DEPTH_MM.max(load.cap_intrusion_mm);
    let between_endplates = |place: Vector3<f64>| {
        landmarks.filter(|_| on_endplates).is_none_or(|found| {
            found.cranial.above_mm(place) <= depth_mm && found.caudal.above_mm(place) >= -depth_mm
        })
    };
    let cut_body = at_the_edge(body, between_endplates);
    let (grown, cut) = (at_the_edge(body, |_| true), at_the_edge(whole, |_| true));
    if cut_body > 0 {
        Check::refuse(
            NAME,
            cut_body as f64,
            format!(
                "the vertebral body reaches the edge of the scan with {cut_body} voxels: it may be cut"
            ),
        )
    } else if grown > 0 {
        Check::review(
            NAME,
            cut as f64,
            format!(
                "bone that grows beyond an endplate reaches the edge of the scan with {grown} voxels and is cut there; the body is whole between its endplates"
            ),
        )
    } else if cut > 0 {
        Check::review(
            NAME,
            cut as f64,
            format!(
                "a process reaches the edge of the scan with {cut} voxels and may be cut; the body is whole"
            ),
        )
    } else {
        Check::pass(NAME, 0.0, "the whole vertebra is in the scan")
    }
}

/// Number of voxels of a mask in the outermost layer of the scan whose place (LPS mm) counts.
fn at_the_edge(mask: &Mask, counts: impl Fn(Vector3<f64>) -> bool) -> usize {
    let size = mask.grid.size;
    mask.data
        .iter()
        .enumerate()
        .filter(|(index, inside)| {
            **inside && {
                let at = mask.grid.voxel(*index);
                (0..3).any(|axis| at[axis] == 0 || at[axis] + 1 == size[axis])
                    && counts(
                        mask.grid
                            .to_world(Vector3::from_fn(|axis, _| at[axis] as f64)),
                    )
            }
        })
        .count()
}

/// Whether the density differs at all inside the bone; its value is largest minus smallest density, mg/cm³.
pub fn density_constant(density_mg_cm3: &Volume<f32>, bone: &Mask) -> Check {
    const NAME: &str = "density_constant";
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (&density, _) in density_mg_cm3
        .data
        .iter()
        .zip(&bone.data)
        .filter(|(_, inside)| **inside)
    {
        low = low.min(f64::from(density));
        high = high.max(f64::from(density));
    }
    if low > high {
        // No voxel: other gates say so.
        return Check::pass(NAME, None, "no voxel to look at");
    }
    let spread = high - low;
    if spread <= CONSTANT_MG_CM3 {
        Check::refuse(
            NAME,
            spread,
            format!(
                "the density is the same in the whole bone, {low:.0} mg/cm³: the scan shows no bone there"
            ),
        )
    } else {
        Check::pass(
            NAME,
            spread,
            format!("densities from {low:.0} to {high:.0} mg/cm³ in the bone"),
        )
    }
}

/// Whether the scan goes on around the bone: one value in more than 90 % of the second and third layer of voxels outside the mask
/// is a fill value. (The search for endplates has a stricter rule of its own, on the lines that it looks along.) A mask must then not be dilated, and no endplate be looked for in the image. The value is that share in percent.
pub fn density_around_bone(density_mg_cm3: &Volume<f32>, bone: &Mask, plan: &Plan) -> Check {
    const NAME: &str = "density_around_bone";
    let Some((value, share)) = commonest_around(density_mg_cm3, bone) else {
        return Check::pass(NAME, None, "the bone fills the scan");
    };
    let percent = 100.0 * share;
    if share <= FILLED {
        return Check::pass(
            NAME,
            percent,
            format!(
                "the scan goes on around the bone: no value takes more than {percent:.0} % of the voxels there"
            ),
        );
    }
    let found = format!(
        "the scan is masked: {percent:.0} % of the voxels around the bone are {value:.0} mg/cm³"
    );
    if plan.subject.morph > 0.0 {
        Check::refuse(
            NAME,
            percent,
            format!(
                "{found}, and --morph {} {} would take them for bone",
                plan.subject.morph, plan.subject.morph_unit
            ),
        )
    } else if plan.settings.load.endplates == EndplateSource::ImageEdge {
        Check::refuse(
            NAME,
            percent,
            format!("{found}, and load.endplates=image_edge would find the mask's edge"),
        )
    } else {
        Check::review(
            NAME,
            percent,
            format!("{found}; dilation and endplates from the image are not possible"),
        )
    }
}

/// The commonest value in the layers around a mask and its share of their voxels. Of equally common values the smallest.
fn commonest_around(density: &Volume<f32>, bone: &Mask) -> Option<(f32, f64)> {
    let [low, high] = bone.bounding_box()?;
    let start = low.map(|at| at.saturating_sub(SHELL_LAYERS));
    let mut grid = bone.grid.clone();
    for axis in 0..3 {
        let end = (high[axis] + 1 + SHELL_LAYERS).min(bone.grid.size[axis]);
        grid.size[axis] = end - start[axis];
    }
    // Only counted on: the place of the piece in the world does not matter.
    let near = Volume::from_fn(grid, |[i, j, k]| {
        bone.at(start[0] + i, start[1] + j, start[2] + k)
    });
    let first = morph_voxels(&near, 1, StructuringElement::Faces);
    let grown = morph_voxels(&near, SHELL_LAYERS as i32, StructuringElement::Faces);
    let mut counts: HashMap<u32, usize> = HashMap::new();
    let mut total = 0;
    for (index, _) in grown
        .data
        .iter()
        .zip(&first.data)
        .enumerate()
        .filter(|(_, (grown, first))| **grown && !**first)
    {
        let [i, j, k] = near.grid.voxel(index);
        // Adding zero makes one value of 0 and -0.
        let value = density.at(start[0] + i, start[1] + j, start[2] + k) + 0.0;
        *counts.entry(value.to_bits()).or_default() += 1;
        total += 1;
    }
    let (value, count) = counts
        .into_iter()
        .map(|(bits, count)| (f32::from_bits(bits), count))
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.total_cmp(&a.0)))?;
    Some((value, count as f64 / total as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use crate::protocol::Protocol;
    use imaging::Grid;

    /// A body of 36 x 30 mm from one level to another, with a wall of 3 mm round the disc from the lowest slice to it.
    fn body(from: usize, to: usize, bridged: bool) -> Mask {
        Volume::from_fn(
            Grid::axis_aligned([48, 42, 40], [1.0; 3]),
            move |[i, j, k]| {
                let within = |inset: usize| {
                    (6 + inset..42 - inset).contains(&i) && (6 + inset..36 - inset).contains(&j)
                };
                let bridge = bridged && k < from && within(0) && !within(3);
                within(0) && (from..to).contains(&k) || bridge
            },
        )
    }

    fn load() -> LoadSettings {
        let protocol = Protocol::built_in("saillard2024-vertebra").unwrap();
        protocol.settings.load
    }

    fn field_under(body: &Mask, load: &LoadSettings) -> Check {
        let (landmarks, _) = VertebraLandmarks::find(body).unwrap();
        field_of_view(body, body, Some(&landmarks), load)
    }

    fn field(body: &Mask) -> Check {
        field_under(body, &load())
    }

    #[test]
    fn a_bridge_round_the_disc_may_be_cut_and_the_body_may_not() {
        assert_eq!(field(&body(8, 32, false)).status, Status::Pass);
        let bridged = body(8, 32, true);
        let found = field(&bridged);
        // The wall's section: 36 x 30 mm less 30 x 24 mm.
        assert_eq!((found.status, found.value), (Status::Review, Some(360.0)));
        let without = field_of_view(&bridged, &bridged, None, &load());
        assert_eq!(without.status, Status::Refuse);
        // What is cut lies 7.5 mm beyond the endplate. It is refused where that is loaded, or a cap would stand on it.
        let deep = LoadSettings {
            cap_intrusion_mm: 8.0,
            ..load()
        };
        let caps = LoadSettings {
            case: LoadKind::PlatenCompression,
            ..load()
        };
        for load in [deep, caps] {
            assert_eq!(field_under(&bridged, &load).status, Status::Refuse);
        }
        let cut = field(&body(0, 24, false));
        assert_eq!((cut.status, cut.value), (Status::Refuse, Some(1080.0)));
        // Cut just above its endplate all the same.
        assert_eq!(field(&body(2, 26, true)).status, Status::Refuse);
    }
}
