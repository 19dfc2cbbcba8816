//! Which line is which rod.
//!
//! Two lines and the two rods they are taken for place the whole phantom in the scan: by the definition's
//! `position_mm`, or side by side at equal, unknown distance where it gives none. Every such placing is
//! tried, in either order. Where a rod should be and no line was seen, the scan is looked at: there must
//! be even plastic (a rod may have the CT number of the phantom's body) or the edge of the field. What
//! survives is judged by the straight line through its rods.

use std::ops::Range;

use super::lines::{Axis, LEAST_LENGTH_MM};
use super::section::{Levels, Section, core_mm, extent, profile};
use super::slabs::Slabs;
use crate::fit::Calibration;
use crate::phantom::{Phantom, PhantomRod};
use crate::rods::Rod;

/// How far a rod may lie from its place in the layout, mm, and as a share of its distance from the rods
/// that placed it.
const PLACE_MM: f64 = 2.0;
const PLACE_SHARE: f64 = 0.02;
/// Largest difference of the directions of two rods of one phantom, as a tangent; a length of line over
/// which a millimetre is added to it.
const PARALLEL: f64 = 0.03;
const PARALLEL_MM: f64 = 1.0;
/// Largest difference of the radii of rods of unknown diameter, mm, and from a known radius.
const RADIUS_MM: f64 = 1.5;
/// Largest difference of the plastic round two rods of one phantom, HU.
const AROUND_HU: f64 = 30.0;
/// Largest distance of neighbouring rods of a phantom without positions, mm.
const LARGEST_PITCH_MM: f64 = 60.0;
/// Least plastic between two rods, mm.
const LEAST_GAP_MM: f64 = 1.0;
/// A further rod this near to the phantom's rods is one of them, mm.
const BESIDE_MM: f64 = 60.0;
/// CT number at which a voxel counts as padding outside the field of view.
const PADDING_HU: f64 = -1015.0;
/// Slopes of a possible line, mg/cm³ per HU.
pub(super) const SLOPES: [f64; 2] = [0.5, 2.0];
/// Largest CT number of density 0, HU: it is water, give or take the beam hardening under a patient.
pub(super) const WATER_HU: f64 = 40.0;
/// Largest root mean square distance of the rods from the line, HU, and as a share of their span.
const RMS_HU: f64 = 15.0;
const RMS_SHARE: f64 = 0.03;
/// Two lines are one if they agree to this: slope as a share, density at 100 HU in mg/cm³.
const SAME_SLOPE: f64 = 0.01;
const SAME_MG_CM3: f64 = 2.5;
/// A second line counts as nearly as good up to this many times the distance of the best, taken as at
/// least [`CLEAR_HU`].
const CLEAR_TIMES: f64 = 4.0;
const CLEAR_HU: f64 = 2.0;

/// A line that looks like a rod in plastic.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub axis: Axis,
    pub radius_mm: f64,
    /// Clearness of its edge, HU/mm.
    pub edge: f64,
    pub levels: Levels,
    pub extent: Range<usize>,
    /// Standard deviation of its mean from slab to slab, HU.
    pub along_sd: f64,
    /// Whether single slabs show it.
    pub clear: bool,
}

/// What is known of one rod of the phantom in one placing.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A line was seen.
    Seen { axis: Axis, hu: f64 },
    /// Even plastic stands where the layout has the rod, over these slabs.
    Faint {
        axis: Axis,
        hu: f64,
        run: Range<usize>,
    },
    /// The layout has it outside the field of view.
    Outside,
    /// What stands there is no rod.
    Broken(String),
}

/// One way to lay the phantom on the lines.
#[derive(Clone, Debug)]
pub(super) struct Placing {
    pub rods: Vec<Place>,
    pub radius_mm: f64,
    pub extent: Range<usize>,
    seen: usize,
    line: Option<(Calibration, f64)>,
    /// The rod that the line leaves out.
    pub off_line: Option<usize>,
}

/// Where the rods are in the phantom's own frame.
enum Layout {
    /// Side by side, at equal unknown distance.
    Row,
    /// At these places, mm.
    Given(Vec<[f64; 2]>),
}

fn layout(phantom: &Phantom) -> Result<Layout, String> {
    let given: Vec<[f64; 2]> = phantom
        .rods
        .iter()
        .filter_map(|rod| rod.position_mm.map(|[x, y, _]| [x, y]))
        .collect();
    if given.is_empty() {
        return Ok(Layout::Row);
    }
    if given.len() != phantom.rods.len() {
        return Err(format!(
            "position_mm is given for {} of {} rods; give it for all of them or for none",
            given.len(),
            phantom.rods.len()
        ));
    }
    for (number, place) in given.iter().enumerate() {
        if let Some(other) = given[..number].iter().position(|o| apart(*o, *place) < 4.0) {
            return Err(format!(
                "rods '{}' and '{}' lie one behind the other along the axis; only rods side by side are found",
                phantom.rods[other].name, phantom.rods[number].name
            ));
        }
    }
    Ok(Layout::Given(given))
}

fn apart(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The placing that the scan shows, or why there is none.
pub(super) fn place(
    slabs: &Slabs<'_>,
    candidates: &[Candidate],
    phantom: &Phantom,
) -> Result<Placing, String> {
    let layout = layout(phantom)?;
    let mut tried: Vec<Vec<Option<usize>>> = Vec::new();
    let mut fitting: Vec<Placing> = Vec::new();
    // The reason given is that of the placing with most rods seen.
    let mut reason: Option<(usize, String)> = None;
    for i in 0..candidates.len() {
        for j in 0..candidates.len() {
            if i == j || !are_kin(slabs, &candidates[i], &candidates[j], phantom) {
                continue;
            }
            let w = middle(
                slabs,
                &overlap(&candidates[i].extent, &candidates[j].extent),
            );
            for spots in spots(
                &layout,
                phantom.rods.len(),
                &candidates[i],
                &candidates[j],
                w,
            ) {
                let matched = matched(slabs, candidates, &spots, i, phantom, w);
                let seen = matched.iter().flatten().count();
                let needed = phantom.rods.len().saturating_sub(1).clamp(2, 3);
                let is_known = seen > 2 && tried.contains(&matched);
                if seen < needed || is_known {
                    continue;
                }
                tried.push(matched.clone());
                match judged(slabs, candidates, &layout, &spots, &matched, phantom, w) {
                    Ok(placing) => fitting.push(placing),
                    Err(why) => {
                        if reason.as_ref().is_none_or(|(most, _)| seen > *most) {
                            reason = Some((seen, why));
                        }
                    }
                }
            }
        }
    }
    fitting.sort_by(|a, b| {
        let rms = |p: &Placing| p.line.as_ref().map_or(f64::INFINITY, |line| line.1);
        (b.seen, b.measured())
            .cmp(&(a.seen, a.measured()))
            .then(rms(a).total_cmp(&rms(b)))
    });
    let Some((best, others)) = fitting.split_first() else {
        return Err(reason.map_or_else(
            || "no two of them lie as the rods of this phantom do".to_string(),
            |(_, why)| why,
        ));
    };
    if let Some(rival) = others.iter().find(|other| rivals(best, other)) {
        return Err(two_ways(best, rival));
    }
    Ok(best.clone())
}

fn two_ways(best: &Placing, rival: &Placing) -> String {
    let words = |p: &Placing| {
        p.line.as_ref().map_or_else(String::new, |(line, rms)| {
            format!(
                "{:.4} HU {:+.1} mg/cm3 ({rms:.1} HU off)",
                line.slope_mg_cm3_per_hu, line.intercept_mg_cm3
            )
        })
    };
    format!(
        "two ways to tell the rods apart fit nearly alike: {} and {}",
        words(best),
        words(rival)
    )
}

/// Whether two placings give different lines and fit nearly alike.
fn rivals(best: &Placing, other: &Placing) -> bool {
    let (Some((a, rms_a)), Some((b, rms_b))) = (&best.line, &other.line) else {
        return false;
    };
    let same = (a.slope_mg_cm3_per_hu / b.slope_mg_cm3_per_hu - 1.0).abs() <= SAME_SLOPE
        && (a.density_mg_cm3(100.0) - b.density_mg_cm3(100.0)).abs() <= SAME_MG_CM3;
    !same && *rms_b <= CLEAR_TIMES * rms_a.max(CLEAR_HU)
}

impl Placing {
    /// Radius of a rod: half its known diameter, or the mean of those seen, mm.
    pub fn radius_of(&self, rod: &PhantomRod) -> f64 {
        rod.diameter_mm.map_or(self.radius_mm, |d| d / 2.0)
    }

    fn measured(&self) -> usize {
        let measured = |p: &&Place| matches!(p, Place::Seen { .. } | Place::Faint { .. });
        self.rods.iter().filter(measured).count()
    }
}

pub(super) fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end).max(a.start.max(b.start))
}

fn middle(slabs: &Slabs<'_>, extent: &Range<usize>) -> f64 {
    let last = slabs.w_mm.len() - 1;
    0.5 * (slabs.w_mm[extent.start.min(last)] + slabs.w_mm[extent.end.saturating_sub(1).min(last)])
}

fn length(slabs: &Slabs<'_>, extent: &Range<usize>) -> f64 {
    extent.len() as f64 * slabs.thickness_mm
}

/// Whether two lines may be rods of one phantom.
pub(super) fn are_kin(slabs: &Slabs<'_>, a: &Candidate, b: &Candidate, phantom: &Phantom) -> bool {
    let common = overlap(&a.extent, &b.extent);
    let shorter = a.extent.len().min(b.extent.len());
    let tilt = (a.axis.du - b.axis.du).hypot(a.axis.dv - b.axis.dv);
    let allowed = PARALLEL + PARALLEL_MM / length(slabs, &(0..shorter));
    length(slabs, &common) >= LEAST_LENGTH_MM
        && 2 * common.len() >= shorter
        && tilt <= allowed
        && (!phantom.is_of_one_size() || (a.radius_mm - b.radius_mm).abs() <= RADIUS_MM)
        && (a.levels.around - b.levels.around).abs() <= AROUND_HU
}

/// Every place of the phantom's rods (at height `w`) in which two given lines are two of its rods.
fn spots(
    layout: &Layout,
    count: usize,
    first: &Candidate,
    second: &Candidate,
    w: f64,
) -> Vec<Vec<[f64; 2]>> {
    let (p, q) = (first.axis.at(w), second.axis.at(w));
    let between = [q[0] - p[0], q[1] - p[1]];
    let distance = apart(p, q);
    let mut all = Vec::new();
    match layout {
        Layout::Row => {
            for a in 0..count {
                for b in a + 1..count {
                    let steps = (b - a) as f64;
                    let pitch = distance / steps;
                    let least = 2.0 * first.radius_mm + LEAST_GAP_MM;
                    if !(least..=LARGEST_PITCH_MM).contains(&pitch) {
                        continue;
                    }
                    let spot = |k: usize| {
                        let step = (k as f64 - a as f64) / steps;
                        [p[0] + step * between[0], p[1] + step * between[1]]
                    };
                    all.push((0..count).map(spot).collect());
                }
            }
        }
        Layout::Given(places) => {
            for a in 0..count {
                for b in (0..count).filter(|&b| b != a) {
                    if (apart(places[a], places[b]) - distance).abs() > PLACE_MM {
                        continue;
                    }
                    for mirror in [1.0, -1.0] {
                        all.push(laid(places, [a, b], mirror, p, between));
                    }
                }
            }
        }
    }
    all
}

/// The layout turned (and mirrored, for a phantom laid the other way round) so that two rods stand in a
/// given direction of each other.
fn laid(
    places: &[[f64; 2]],
    [a, b]: [usize; 2],
    mirror: f64,
    at: [f64; 2],
    between: [f64; 2],
) -> Vec<[f64; 2]> {
    let own = |k: usize| {
        [
            mirror * (places[k][0] - places[a][0]),
            places[k][1] - places[a][1],
        ]
    };
    let from = own(b);
    let scale = from[0].hypot(from[1]) * between[0].hypot(between[1]);
    let cos = (from[0] * between[0] + from[1] * between[1]) / scale;
    let sin = (from[0] * between[1] - from[1] * between[0]) / scale;
    (0..places.len())
        .map(own)
        .map(|[x, y]| [at[0] + cos * x - sin * y, at[1] + sin * x + cos * y])
        .collect()
}

/// The line seen at each spot.
fn matched(
    slabs: &Slabs<'_>,
    candidates: &[Candidate],
    spots: &[[f64; 2]],
    kin_of: usize,
    phantom: &Phantom,
    w: f64,
) -> Vec<Option<usize>> {
    let home = candidates[kin_of].axis.at(w);
    let mut matched = Vec::with_capacity(spots.len());
    for (spot, rod) in spots.iter().zip(&phantom.rods) {
        let reach = PLACE_MM + PLACE_SHARE * apart(*spot, home);
        let nearest = (0..candidates.len())
            .filter(|&c| {
                let one = &candidates[c];
                (c == kin_of || are_kin(slabs, &candidates[kin_of], one, phantom))
                    && rod
                        .diameter_mm
                        .is_none_or(|d| (d / 2.0 - one.radius_mm).abs() <= RADIUS_MM)
            })
            .map(|c| (apart(candidates[c].axis.at(w), *spot), c))
            .filter(|(distance, _)| *distance <= reach)
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        matched.push(nearest.map(|(_, c)| c));
    }
    matched
}

/// Measures every rod of a placing and fits its line; `Err` says what speaks against it.
fn judged(
    slabs: &Slabs<'_>,
    candidates: &[Candidate],
    layout: &Layout,
    spots: &[[f64; 2]],
    matched: &[Option<usize>],
    phantom: &Phantom,
    w: f64,
) -> Result<Placing, String> {
    let seen: Vec<&Candidate> = matched.iter().flatten().map(|&c| &candidates[c]).collect();
    let extent = seen
        .iter()
        .skip(1)
        .fold(seen[0].extent.clone(), |common, one| {
            overlap(&common, &one.extent)
        });
    if length(slabs, &extent) < LEAST_LENGTH_MM {
        return Err("the rods seen do not run beside each other".into());
    }
    let share = 1.0 / seen.len() as f64;
    let mean = |value: fn(&Candidate) -> f64| seen.iter().map(|c| value(c)).sum::<f64>() * share;
    let radius_mm = mean(|c| c.radius_mm);
    let around = mean(|c| c.levels.around);
    let tilt = Axis {
        u0: 0.0,
        v0: 0.0,
        du: mean(|c| c.axis.du),
        dv: mean(|c| c.axis.dv),
    };
    if let Some(extra) = (0..candidates.len()).find(|c| {
        let one = &candidates[*c];
        one.clear
            && !matched.contains(&Some(*c))
            && seen.iter().all(|s| are_kin(slabs, s, one, phantom))
            && seen
                .iter()
                .any(|s| apart(s.axis.at(w), one.axis.at(w)) <= BESIDE_MM)
    }) {
        let [u, v] = candidates[extra].axis.at(w);
        let at = slabs.world(u, v, w);
        return Err(format!(
            "one more rod lies beside the {} of this phantom, at ({:.0}, {:.0}, {:.0}) mm LPS: check the model",
            phantom.rods.len(),
            at.x,
            at.y,
            at.z
        ));
    }
    let spots = settled(layout, spots, matched, candidates, w);
    let radius = |rod: &PhantomRod| rod.diameter_mm.map_or(radius_mm, |d| d / 2.0);
    let places: Vec<Place> = matched
        .iter()
        .zip(&spots)
        .zip(&phantom.rods)
        .map(|((matched, spot), rod)| match matched {
            Some(c) => Place::Seen {
                axis: candidates[*c].axis,
                hu: mean_along(slabs, &candidates[*c].axis, radius(rod), &extent)
                    .unwrap_or(candidates[*c].levels.inside),
            },
            None => unseen(
                slabs,
                &tilt.moved_to(*spot, w),
                radius(rod),
                around,
                &extent,
            ),
        })
        .collect();
    let extent = places.iter().fold(extent, |common, place| match place {
        Place::Faint { run, .. } => overlap(&common, run),
        _ => common,
    });
    if length(slabs, &extent) < LEAST_LENGTH_MM {
        return Err("the rods do not run beside each other".into());
    }
    let last = places.len() - 1;
    for (k, place) in places.iter().enumerate() {
        let Place::Broken(why) = place else { continue };
        let at_end = matches!(layout, Layout::Row) && (k == 0 || k == last);
        let others = places
            .iter()
            .filter(|p| matches!(p, Place::Broken(_)))
            .count();
        if at_end || others > 1 || seen.len() < 3 {
            return Err(format!(
                "where rod '{}' should be {why}",
                phantom.rods[k].name
            ));
        }
    }
    let mut placing = Placing {
        rods: places,
        radius_mm,
        extent,
        seen: seen.len(),
        line: None,
        off_line: None,
    };
    let measured = placing.measured();
    let needed = phantom.rods.len().min(3);
    if measured < needed {
        return Err(format!(
            "only {measured} of the {} rods lie in the field of view; {needed} are needed",
            phantom.rods.len()
        ));
    }
    placing.fit(phantom)?;
    Ok(placing)
}

/// The spots moved onto the lines seen: the row by least squares, a given layout by the mean shift.
fn settled(
    layout: &Layout,
    spots: &[[f64; 2]],
    matched: &[Option<usize>],
    candidates: &[Candidate],
    w: f64,
) -> Vec<[f64; 2]> {
    let seen: Vec<(f64, [f64; 2], [f64; 2])> = matched
        .iter()
        .zip(spots)
        .enumerate()
        .filter_map(|(k, (c, spot))| c.map(|c| (k as f64, candidates[c].axis.at(w), *spot)))
        .collect();
    let count = seen.len() as f64;
    match layout {
        Layout::Row => {
            let points: Vec<[f64; 3]> = seen.iter().map(|(k, at, _)| [*k, at[0], at[1]]).collect();
            let row = super::lines::fitted(&points);
            (0..spots.len()).map(|k| row.at(k as f64)).collect()
        }
        Layout::Given(_) => {
            let shift = [0, 1].map(|axis| {
                seen.iter()
                    .map(|(_, at, s)| at[axis] - s[axis])
                    .sum::<f64>()
                    / count
            });
            spots
                .iter()
                .map(|s| [s[0] + shift[0], s[1] + shift[1]])
                .collect()
        }
    }
}

/// Mean along a rod over a range of slabs.
fn mean_along(
    slabs: &Slabs<'_>,
    axis: &Axis,
    radius_mm: f64,
    extent: &Range<usize>,
) -> Option<f64> {
    let profile = profile(slabs, axis, radius_mm);
    let values: Vec<f64> = profile[extent.clone()].iter().flatten().copied().collect();
    (values.len() == extent.len()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// What stands where the layout has a rod that was not seen.
fn unseen(
    slabs: &Slabs<'_>,
    axis: &Axis,
    radius_mm: f64,
    around: f64,
    over: &Range<usize>,
) -> Place {
    if is_outside(slabs, axis, radius_mm, over) {
        return Place::Outside;
    }
    let section = Section::along(slabs, axis, over.clone());
    let near = [radius_mm - 1.0, radius_mm + 1.0];
    let clear = [true, false]
        .into_iter()
        .filter_map(|bright| section.clearest([0.0; 2], PLACE_MM, near, bright))
        .filter(|ring| ring.edge >= super::FAINT_EDGE_HU_PER_MM)
        .max_by(|a, b| a.edge.total_cmp(&b.edge));
    let centre = clear.map_or([0.0; 2], |ring| [ring.du, ring.dv]);
    let Some(levels) = section.levels(centre, radius_mm) else {
        return Place::Outside;
    };
    let w = middle(slabs, over);
    let [u, v] = axis.at(w);
    let axis = axis.moved_to([u + centre[0], v + centre[1]], w);
    let profile = profile(slabs, &axis, radius_mm);
    let seen: Vec<usize> = over.clone().collect();
    let contrast = levels.inside - levels.around;
    // A tilted phantom ends earlier on one side, so the run may be shorter than that of the others.
    let run = extent(&profile, &seen, contrast).map_or(0..0, |run| overlap(&run, over));
    if levels.inside < super::LEAST_HU {
        Place::Broken(format!(
            "there is nothing denser than {:.0} HU",
            levels.inside
        ))
    } else if let Err(why) = super::is_rod_in_plastic(&levels) {
        Place::Broken(why)
    } else if (levels.around - around).abs() > AROUND_HU {
        Place::Broken(format!(
            "the surroundings have {:.0} HU, and {around:.0} HU round the other rods",
            levels.around
        ))
    } else if 5 * run.len() < 3 * over.len() {
        Place::Broken("the CT number changes along the phantom".into())
    } else {
        let hu = profile[run.clone()].iter().flatten().sum::<f64>() / run.len() as f64;
        Place::Faint { axis, hu, run }
    }
}

/// Whether the core of a rod leaves the field of view, or lies in its padding.
fn is_outside(slabs: &Slabs<'_>, axis: &Axis, radius_mm: f64, over: &Range<usize>) -> bool {
    let reach = core_mm(radius_mm) + 1.0;
    over.clone().any(|s| {
        let [u, v] = axis.at(slabs.w_mm[s]);
        let fits = |at: f64, extent: f64| at >= reach && at <= extent - reach;
        let padded = [
            [0.0, 0.0],
            [reach, 0.0],
            [-reach, 0.0],
            [0.0, reach],
            [0.0, -reach],
        ]
        .iter()
        .any(|[du, dv]| {
            slabs
                .at(s, u + du, v + dv)
                .is_none_or(|hu| hu <= PADDING_HU)
        });
        !fits(u, slabs.extent_mm[0]) || !fits(v, slabs.extent_mm[1]) || padded
    })
}

impl Placing {
    /// Fits the line to the measured rods, without one rod where that one alone spoils it.
    fn fit(&mut self, phantom: &Phantom) -> Result<(), String> {
        let rods: Vec<(usize, Rod)> = self
            .rods
            .iter()
            .zip(&phantom.rods)
            .enumerate()
            .filter_map(|(k, (place, rod))| match place {
                Place::Seen { hu, .. } | Place::Faint { hu, .. } => Some((
                    k,
                    Rod {
                        name: rod.name.clone(),
                        hu_mean: *hu,
                        hu_sd: None,
                        reference_mg_cm3: rod.equivalent_mg_cm3,
                        water_mg_cm3: rod.water_mg_cm3,
                        voxels: 1,
                        centre_mm: None,
                    },
                )),
                _ => None,
            })
            .collect();
        let all: Vec<Rod> = rods.iter().map(|(_, rod)| rod.clone()).collect();
        let whole = fitted(phantom, &all);
        let why = match whole {
            Ok(line) => {
                self.line = Some(line);
                return Ok(());
            }
            Err(why) => why,
        };
        // A rod that only the layout vouches for is never the one to leave out: it is the placing that is wrong.
        let mut best: Option<(usize, (Calibration, f64))> = None;
        for (number, (k, _)) in rods.iter().enumerate() {
            if !matches!(self.rods[*k], Place::Seen { .. }) || rods.len() < 4 {
                continue;
            }
            let mut rest = all.clone();
            rest.remove(number);
            if let Ok(line) = fitted(phantom, &rest)
                && line.1 <= RMS_HU / 3.0
                && best.as_ref().is_none_or(|(_, least)| line.1 < least.1)
            {
                best = Some((*k, line));
            }
        }
        let (off, line) = best.ok_or(why)?;
        self.off_line = Some(off);
        self.seen -= 1;
        self.line = Some(line);
        Ok(())
    }
}

/// The line through rods and their root mean square distance from it, HU, if it is a possible one.
pub(super) fn fitted(phantom: &Phantom, rods: &[Rod]) -> Result<(Calibration, f64), String> {
    let line = Calibration::fit(phantom, rods).map_err(|error| error.to_string())?;
    let slope = line.slope_mg_cm3_per_hu;
    if !(SLOPES[0]..=SLOPES[1]).contains(&slope) {
        return Err(format!(
            "the line through the rods would have {slope:.3} mg/cm3 per HU; possible are {} to {}",
            SLOPES[0], SLOPES[1]
        ));
    }
    let water = line.hu(0.0);
    if water.abs() > WATER_HU {
        return Err(format!(
            "the line through the rods would put density 0 at {water:.0} HU; it is water and lies within {WATER_HU} HU of 0"
        ));
    }
    let residuals = line.residuals_hu();
    let square: f64 = residuals.iter().map(|r| r * r).sum();
    let freedom = rods.len().saturating_sub(2).max(1) as f64;
    let rms = (square / freedom).sqrt();
    let span = crate::phantom::spread(rods.iter().map(|rod| rod.hu_mean));
    let limit = RMS_HU.max(RMS_SHARE * span);
    if rms > limit {
        return Err(format!(
            "the rods would lie {rms:.0} HU off their line; {limit:.0} HU are allowed"
        ));
    }
    Ok((line, rms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::DensityKind;

    fn placing(slope: f64, intercept: f64, rms: f64) -> Placing {
        let line = Calibration::line(slope, intercept, DensityKind::Ha).unwrap();
        Placing {
            rods: Vec::new(),
            radius_mm: 8.0,
            extent: 0..1,
            seen: 3,
            line: Some((line, rms)),
            off_line: None,
        }
    }

    #[test]
    fn two_ways_with_different_lines_and_like_fits_are_rivals() {
        let best = placing(0.8, 2.0, 1.0);
        assert!(rivals(&best, &placing(0.9, 2.0, 7.0)), "the slope differs");
        assert!(
            rivals(&best, &placing(0.8, 6.0, 7.0)),
            "the intercept differs"
        );
        assert!(
            !rivals(&best, &placing(0.9, 2.0, 9.0)),
            "the fit is far worse"
        );
        assert!(
            !rivals(&best, &placing(0.804, 2.0, 1.0)),
            "the line is the same"
        );
    }
}
