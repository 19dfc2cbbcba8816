//! Blood: the aorta or the inferior vena cava, in front of the spine.
//!
//! A round, even body of soft tissue is also a muscle, a loop of bowel, the bladder or a kidney. What tells the great vessels from them is
//! where they run: along the spine, in front of the vertebral bodies, and not beside them as the psoas does. So the spinal canal is found
//! first, as a chain of circles in bone along the body axis; then chains of circles in front of it, with a vertebral body between. Where
//! there is no canal, nothing is found: a hip alone shows no blood.
//!
//! The limits below are our own choice, made on painted trunks and on the scans that `docs/calibration.md` lists; no publication has them.

mod slab;
#[cfg(test)]
mod tests;

use imaging::{Grid, Volume};
use rayon::prelude::*;

use crate::error::Result;
use crate::find;
use slab::{Circle, Slab, Slabs, apart};

/// The spinal canal: CT numbers of its inside, HU (fat, cord and blur), and those of its mean.
const CANAL_HU: [f64; 2] = [-150.0, 130.0];
const CANAL_MEAN_HU: f64 = -20.0;
/// Radius of the canal, mm.
const CANAL_MM: [f64; 2] = [6.0, 14.0];
/// Share of its circumference that is bone.
const CANAL_BONE: f64 = 0.6;
/// Share of the first rays that must meet bone, roughly: most places in a body are none of the canal.
const CANAL_FIRST: f64 = 0.4;
/// The canal is open in front at a disc: slabs without its ring are bridged, and its place continued, over this much, mm.
const CANAL_GAP_MM: f64 = 24.0;
/// Shortest canal, mm, and fewest slabs of it.
const CANAL_LENGTH_MM: f64 = 28.0;
const CANAL_SLABS: usize = 4;

/// CT numbers inside a vessel without contrast agent and with it, HU, noise among them. The lower end lies midway between blood and fat.
const PLAIN_HU: [f64; 2] = [-20.0, 110.0];
const BRIGHT_HU: [f64; 2] = [90.0, 800.0];
/// Mean of blood without contrast agent, HU: 30 to 55, and as much again as a scanner may be off.
pub(super) const BLOOD_HU: [f64; 2] = [20.0, 65.0];
/// From this mean on it is contrast agent, HU.
const AGENT_HU: f64 = 90.0;
/// Radii of a vessel that is measured, mm: the aorta of a small woman to one that is not yet an aneurysm. One with contrast agent may be
/// wider: it must not be overlooked.
const RADII_MM: [f64; 2] = [7.0, 18.0];
const CIRCLE_RADII_MM: [f64; 2] = [6.0, 18.0];
const BRIGHT_RADII_MM: [f64; 2] = [6.0, 26.0];
/// Shares of the circumference with a border, in one slab and in the median; the rest touches a crus or a vessel.
const SHARE: f64 = 0.55;
const MEDIAN_SHARE: f64 = 0.62;
/// Longest arc without a border, degrees.
const OPEN_DEG: f64 = 130.0;
/// Median share with fat or lung beyond it: bone alone encloses the canal.
const FAT_SHARE: f64 = 0.35;
/// Where it lies, seen from the canal: degrees off the front in one slab and in the median (the psoas has 45 and more), mm to a side.
const SIDE_DEG: f64 = 40.0;
const MEDIAN_SIDE_DEG: f64 = 35.0;
const SIDE_MM: f64 = 35.0;
/// A vertebral body lies between its border and the canal's middle, mm: no bone but a vertebra has a canal behind so much of it.
const BODY_MM: f64 = 22.0;
/// What lies further from the canal is no vessel of the spine's front, mm.
const FAR_MM: f64 = 75.0;
/// Bone, HU, from which a vessel's border is not further than this in the median, mm, as seen in this share of the slabs at least:
/// a disc is not bone.
const BONE_HU: f64 = 150.0;
const BONE_GAP_MM: f64 = 15.0;
const BONE_SEEN: f64 = 0.3;
/// From slab to slab: mm to a side per mm and at all, mm of radius, HU.
const DRIFT: f64 = 0.5;
const DRIFT_MM: f64 = 2.0;
const RADIUS_DRIFT: f64 = 0.2;
const MEAN_DRIFT_HU: f64 = 12.0;
/// Slabs in which a branch or a crus hides the border are bridged over this much, mm.
const GAP_MM: f64 = 13.0;
/// Shortest vessel, mm; with contrast agent less is enough to be warned. Share of the slabs in which it is seen.
const LENGTH_MM: f64 = 40.0;
const BRIGHT_LENGTH_MM: f64 = 28.0;
const SEEN: f64 = 0.6;
/// An even inside, HU, in means over the whole length: between its quarters, between core and rim, and the standard deviation of its slabs.
const QUARTERS_HU: f64 = 9.0;
const CORE_HU: f64 = 6.0;
const ALONG_HU: f64 = 8.0;
/// Two vessels hold the same blood, HU.
const SAME_HU: f64 = 12.0;
/// Voxels within this share of the radius are measured.
const MEASURED: f64 = 0.65;
/// Coarser pixels and slabs show no vessel, mm.
const COARSEST_MM: [f64; 3] = [3.5, 3.5, 8.0];

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Vessel {
    /// Voxels of the blood; none where it was not found.
    pub(super) voxels: Vec<(usize, f32)>,
    /// Mean CT number of the vessel, HU, also of one that was left out.
    pub(super) hu_mean: Option<f64>,
    /// Whether it has contrast agent.
    pub(super) agent: bool,
    /// What was found, or why nothing was.
    pub(super) reason: String,
}

impl Vessel {
    fn none(reason: String) -> Self {
        Self {
            voxels: Vec::new(),
            hu_mean: None,
            agent: false,
            reason,
        }
    }
}

/// A thing in each of several slabs.
type Chain<'a> = Vec<(usize, &'a Circle)>;
/// Slab and number of a circle.
type Place = (usize, usize);

/// Looks for blood in the vessels before the spine of a scan in HU.
pub(super) fn blood(ct: &Volume<f32>, head_foot: usize) -> Result<Vessel> {
    let slabs = Slabs::of(ct, head_foot)?;
    let Some(frame) = Frame::of(&ct.grid, &slabs) else {
        return Ok(Vessel::none(
            "blood is not looked for: the axes of the scan are not near the body's, or its voxels are too coarse"
                .into(),
        ));
    };
    let rings = each_slab(&slabs, |_, slab| {
        slab.circles(
            CANAL_HU,
            CANAL_MM,
            CANAL_FIRST,
            |_| true,
            |ring| ring.above >= CANAL_BONE && ring.mean_hu() > CANAL_MEAN_HU,
        )
    })?;
    let spacing = slabs.spacing_mm[2];
    let canals = chains(&rings, CANAL_GAP_MM / spacing, |a, b, slabs| {
        apart(a.centre_mm, b.centre_mm) <= 0.6 * slabs as f64 * spacing + DRIFT_MM
    });
    let canals: Vec<Chain> = canals
        .into_iter()
        .filter(|canal| canal.len() >= CANAL_SLABS && length(canal, spacing) >= CANAL_LENGTH_MM)
        .collect();
    if canals.is_empty() {
        return Ok(Vessel::none(format!(
            "no blood: no spinal canal is seen over {CANAL_LENGTH_MM} mm, and the aorta is looked for in front of it"
        )));
    }
    let canal = |number: usize| canal_at(&canals, number, CANAL_GAP_MM / spacing);

    let bright = tubes(&slabs, &frame, &canal, BRIGHT_HU, BRIGHT_RADII_MM)?;
    let bright = joined(&bright, spacing);
    let bright = bright.iter().filter(|tube| {
        length(tube, spacing) >= BRIGHT_LENGTH_MM && tube.len() * 2 >= slabs_of(tube)
    });
    let brightest = bright
        .map(|tube| median(tube.iter().map(|(_, c)| c.mean_hu())))
        .fold(None, |most: Option<f64>, hu| {
            Some(most.map_or(hu, |most| most.max(hu)))
        });
    if let Some(hu) = brightest.filter(|hu| *hu >= AGENT_HU) {
        return Ok(Vessel {
            hu_mean: Some(hu),
            agent: true,
            ..Vessel::none(format!(
                "blood is left out: a tube in front of the spine has {hu:.0} HU, which is contrast agent; it raises the density of marrow too"
            ))
        });
    }

    let plain = tubes(&slabs, &frame, &canal, PLAIN_HU, CIRCLE_RADII_MM)?;
    let plain = joined(&plain, spacing);
    let mut vessels: Vec<&Chain> = plain
        .iter()
        .filter(|tube| is_vessel(tube, &slabs, &frame, &canal))
        .collect();
    // The largest first: the aorta before the vena cava.
    let volume = |tube: &Chain| -> f64 { tube.iter().map(|(_, c)| c.radius_mm.powi(2)).sum() };
    vessels.sort_by(|a, b| volume(b).total_cmp(&volume(a)));
    let Some(vessel) = vessels.first() else {
        return Ok(Vessel::none(format!(
            "no blood: no round, even tube of {:.0} to {:.0} mm runs over {LENGTH_MM} mm in front of the spine",
            2.0 * RADII_MM[0],
            2.0 * RADII_MM[1]
        )));
    };
    Ok(measured(ct, &slabs, vessel, &vessels[1..]))
}

/// Measures a vessel, unless it or another one speaks against that.
fn measured(ct: &Volume<f32>, slabs: &Slabs, vessel: &Chain, others: &[&Chain]) -> Vessel {
    let voxels = inside(ct, slabs, vessel);
    let mean = |voxels: &[(usize, f32)]| {
        voxels.iter().map(|(_, hu)| f64::from(*hu)).sum::<f64>() / voxels.len() as f64
    };
    let hu = mean(&voxels);
    let left_out = |reason: String| Vessel {
        hu_mean: hu.is_finite().then_some(hu),
        ..Vessel::none(reason)
    };
    let [low, high] = BLOOD_HU;
    if !(low..=high).contains(&hu) {
        return left_out(format!(
            "blood is left out: the vessel in front of the spine has {hu:.0} HU; without contrast agent it has {low} to {high}"
        ));
    }
    let differs = |other: &&&Chain| (mean(&inside(ct, slabs, other)) - hu).abs() > SAME_HU;
    if let Some(other) = others.iter().find(differs) {
        return left_out(format!(
            "blood is left out: tubes of {hu:.0} and {:.0} HU run in front of the spine, and one of them is no blood",
            mean(&inside(ct, slabs, other))
        ));
    }
    let diameter = 2.0 * median(vessel.iter().map(|(_, c)| c.radius_mm));
    let length = length(vessel, slabs.spacing_mm[2]);
    Vessel {
        hu_mean: Some(hu),
        agent: false,
        reason: format!(
            "blood is measured in a vessel of {diameter:.0} mm in front of the spine, over {length:.0} mm"
        ),
        voxels,
    }
}

/// The directions of the body in the plane of the slabs.
struct Frame {
    front: [f64; 2],
    left: [f64; 2],
}

impl Frame {
    /// `None` for axes that are none of the body's and for coarse voxels.
    fn of(grid: &Grid, slabs: &Slabs) -> Option<Self> {
        let [a, b, _] = slabs.axes;
        // LPS: the front is against the second axis.
        let towards = |world: usize, sign: f64| {
            let along = [grid.direction[(world, a)], grid.direction[(world, b)]];
            let norm = along[0].hypot(along[1]);
            (norm > 0.8).then(|| along.map(|c| sign * c / norm))
        };
        let fine = (0..3).all(|axis| slabs.spacing_mm[axis] <= COARSEST_MM[axis]);
        Some(Self {
            front: towards(1, -1.0)?,
            left: towards(0, 1.0)?,
        })
        .filter(|_| fine)
    }

    /// How far a place lies to the front and to the left of another, mm.
    fn seen(&self, place: [f64; 2], from: [f64; 2]) -> (f64, f64) {
        let [x, y] = [place[0] - from[0], place[1] - from[1]];
        let along = |axis: [f64; 2]| x * axis[0] + y * axis[1];
        (along(self.front), along(self.left))
    }

    /// Degrees off the front at which a place is seen, and mm to a side.
    fn off(&self, place: [f64; 2], from: [f64; 2]) -> (f64, f64) {
        let (front, left) = self.seen(place, from);
        (left.abs().atan2(front).to_degrees(), left.abs())
    }
}

/// Works on each slab.
fn each_slab(
    slabs: &Slabs,
    work: impl Fn(usize, &Slab) -> Result<Vec<Circle>> + Sync,
) -> Result<Vec<Vec<Circle>>> {
    (0..slabs.size[2])
        .into_par_iter()
        .map(|number| work(number, &slabs.slab(number)))
        .collect()
}

/// Circles in front of the canal, in each slab.
fn tubes(
    slabs: &Slabs,
    frame: &Frame,
    canal: &(impl Fn(usize) -> Option<[f64; 2]> + Sync),
    band_hu: [f64; 2],
    radii_mm: [f64; 2],
) -> Result<Vec<Vec<Circle>>> {
    each_slab(slabs, |number, slab| {
        let Some(canal) = canal(number) else {
            return Ok(Vec::new());
        };
        let near = |place: [f64; 2]| {
            let (front, left) = frame.seen(place, canal);
            left.abs() <= SIDE_MM + 15.0 && (10.0..=FAR_MM + 40.0).contains(&front)
        };
        slab.circles(band_hu, radii_mm, 0.0, near, |circle| {
            let border = apart(circle.centre_mm, canal) - circle.radius_mm;
            let (degrees, side) = frame.off(circle.centre_mm, canal);
            circle.share >= SHARE
                && circle.open_deg <= OPEN_DEG
                && degrees <= SIDE_DEG
                && side <= SIDE_MM
                && (BODY_MM..=FAR_MM).contains(&border)
        })
    })
}

/// Joins circles to tubes.
fn joined(circles: &[Vec<Circle>], spacing: f64) -> Vec<Chain<'_>> {
    chains(circles, GAP_MM / spacing, |a, b, slabs| {
        apart(a.centre_mm, b.centre_mm) <= DRIFT * slabs as f64 * spacing + DRIFT_MM
            && (a.radius_mm - b.radius_mm).abs() <= DRIFT_MM.max(RADIUS_DRIFT * b.radius_mm)
            && (a.mean_hu() - b.mean_hu()).abs() <= MEAN_DRIFT_HU
    })
}

/// Whether a tube has all that a great vessel has.
fn is_vessel(
    tube: &Chain,
    slabs: &Slabs,
    frame: &Frame,
    canal: &impl Fn(usize) -> Option<[f64; 2]>,
) -> bool {
    let of = |value: &dyn Fn(&Circle) -> f64| median(tube.iter().map(|(_, c)| value(c)));
    let seen = tube.len() as f64 / slabs_of(tube) as f64;
    let long = length(tube, slabs.spacing_mm[2]) >= LENGTH_MM && seen >= SEEN;
    let bordered = (RADII_MM[0]..=RADII_MM[1]).contains(&of(&|c| c.radius_mm))
        && of(&|c| c.share) >= MEDIAN_SHARE
        && of(&|c| c.below) >= FAT_SHARE;

    let (mut off, mut gaps) = (Vec::new(), Vec::new());
    for (number, circle) in tube {
        let Some(canal) = canal(*number) else {
            continue;
        };
        off.push(frame.off(circle.centre_mm, canal).0);
        let gap = bone_gap(&slabs.slab(*number), circle, canal);
        let body = |gap: &f64| apart(circle.centre_mm, canal) - circle.radius_mm - gap;
        gaps.extend(gap.map(|gap| (gap, body(&gap))));
    }
    let placed = median(off.into_iter()) <= MEDIAN_SIDE_DEG
        && gaps.len() as f64 >= BONE_SEEN * tube.len() as f64
        && median(gaps.iter().map(|gap| gap.0)) <= BONE_GAP_MM
        && median(gaps.iter().map(|gap| gap.1)) >= BODY_MM;

    let parts: [f64; 6] = std::array::from_fn(|part| {
        let sums = tube.iter().map(|(_, circle)| circle.parts[part]);
        let (sum, count) = sums.fold((0.0, 0.0), |all, own| (all.0 + own.0, all.1 + own.1));
        sum / count
    });
    let mean = tube.iter().map(|(_, c)| c.mean_hu()).sum::<f64>() / tube.len() as f64;
    let square: f64 = tube.iter().map(|(_, c)| (c.mean_hu() - mean).powi(2)).sum();
    let even = crate::phantom::spread(parts[..4].iter().copied()) <= QUARTERS_HU
        && (parts[4] - parts[5]).abs() <= CORE_HU
        && (square / tube.len() as f64).sqrt() <= ALONG_HU;
    long && bordered && placed && even
}

/// Distance from a circle to the first bone on the way to the canal, mm.
fn bone_gap(slab: &Slab, circle: &Circle, canal: [f64; 2]) -> Option<f64> {
    let length = apart(circle.centre_mm, canal);
    (0..(2.0 * length) as usize).find_map(|step| {
        let t = 0.5 * step as f64;
        let place: [f64; 2] = std::array::from_fn(|a| {
            let from = circle.centre_mm[a];
            from + (canal[a] - from) * t / length
        });
        let bone = t > circle.radius_mm - 2.0 && slab.at(place)? > BONE_HU;
        bone.then_some(t - circle.radius_mm)
    })
}

/// Voxels of the scan inside a tube, away from its wall.
fn inside(ct: &Volume<f32>, slabs: &Slabs, tube: &Chain) -> Vec<(usize, f32)> {
    let [a, b, c] = slabs.axes;
    let fine = &ct.grid;
    // A pixel's place is that of its middle.
    let first = |axis: usize| (slabs.step[axis] - 1) as f64 / 2.0;
    let mut voxels = Vec::new();
    for (number, circle) in tube {
        let reach = MEASURED * circle.radius_mm;
        let range = |plane: usize| {
            let spacing = fine.spacing_mm[slabs.axes[plane]];
            let at = |mm: f64| (circle.centre_mm[plane] + mm) / spacing + first(plane);
            let last = fine.size[slabs.axes[plane]];
            at(-reach).ceil().max(0.0) as usize
                ..((at(reach).floor().max(0.0) as usize) + 1).min(last)
        };
        for w in number * slabs.step[2]..(number + 1) * slabs.step[2] {
            for v in range(1) {
                for u in range(0) {
                    let place = [
                        (u as f64 - first(0)) * fine.spacing_mm[a],
                        (v as f64 - first(1)) * fine.spacing_mm[b],
                    ];
                    if apart(place, circle.centre_mm) > reach {
                        continue;
                    }
                    let mut at = [0; 3];
                    [at[a], at[b], at[c]] = [u, v, w];
                    let index = fine.index(at[0], at[1], at[2]);
                    if ct.data[index].is_finite() {
                        voxels.push((index, ct.data[index]));
                    }
                }
            }
        }
    }
    voxels.sort_by_key(|(index, _)| *index);
    voxels
}

/// Place of the canal in a slab: that of the longest chain that reaches there.
fn canal_at(canals: &[Chain], number: usize, reach: f64) -> Option<[f64; 2]> {
    canals.iter().find_map(|canal| {
        let (first, last) = (canal.first()?, canal.last()?);
        let at = number as f64;
        if at < first.0 as f64 - reach || at > last.0 as f64 + reach {
            return None;
        }
        let next = canal.partition_point(|(slab, _)| *slab < number);
        let after = canal.get(next).unwrap_or(last);
        let before = if next == 0 { first } else { &canal[next - 1] };
        let span = after.0.saturating_sub(before.0) as f64;
        let share = if span > 0.0 {
            (at - before.0 as f64) / span
        } else {
            0.0
        };
        let [from, to] = [before.1.centre_mm, after.1.centre_mm];
        Some(std::array::from_fn(|a| from[a] + (to[a] - from[a]) * share))
    })
}

/// Chains of circles through the slabs, those of most circles first; each circle is in one of them.
fn chains(
    slabs: &[Vec<Circle>],
    reach: f64,
    joins: impl Fn(&Circle, &Circle, usize) -> bool,
) -> Vec<Chain<'_>> {
    let reach = reach.max(1.0) as usize;
    // For each circle the most circles of a chain up to it, and the one before it there.
    let mut best: Vec<Vec<(usize, Option<Place>)>> = Vec::with_capacity(slabs.len());
    for (number, circles) in slabs.iter().enumerate() {
        let own = circles.iter().map(|circle| {
            let mut most = (1, None);
            for back in 1..=reach.min(number) {
                for (other, before) in slabs[number - back].iter().enumerate() {
                    let count = best[number - back][other].0 + 1;
                    if count > most.0 && joins(circle, before, back) {
                        most = (count, Some((number - back, other)));
                    }
                }
            }
            most
        });
        let own = own.collect();
        best.push(own);
    }
    let mut ends: Vec<Place> = (0..slabs.len())
        .flat_map(|number| (0..slabs[number].len()).map(move |circle| (number, circle)))
        .collect();
    ends.sort_by_key(|&(number, circle)| {
        (std::cmp::Reverse(best[number][circle].0), number, circle)
    });
    let mut used: Vec<Vec<bool>> = slabs.iter().map(|own| vec![false; own.len()]).collect();
    let mut chains = Vec::new();
    for end in ends {
        let mut chain = Vec::new();
        let mut next = Some(end);
        while let Some((number, circle)) = next.filter(|&(number, circle)| !used[number][circle]) {
            used[number][circle] = true;
            chain.push((number, &slabs[number][circle]));
            next = best[number][circle].1;
        }
        if !chain.is_empty() {
            chain.reverse();
            chains.push(chain);
        }
    }
    chains.sort_by_key(|chain: &Chain| std::cmp::Reverse(chain.len()));
    chains
}

/// Slabs from the first to the last of a chain.
fn slabs_of(chain: &Chain) -> usize {
    match (chain.first(), chain.last()) {
        (Some(first), Some(last)) => last.0 - first.0 + 1,
        _ => 0,
    }
}

fn length(chain: &Chain, spacing: f64) -> f64 {
    slabs_of(chain) as f64 * spacing
}

/// The median; NaN of nothing, which meets no bound.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    find::median(&mut values.collect::<Vec<_>>()).unwrap_or(f64::NAN)
}
