//! Finds the rods of a phantom in a scan by their geometry.
//!
//! Nothing is assumed of the scanner: no CT number of a rod, of the phantom's body or of its place in the
//! image. A rod is a straight, even, round thing in even plastic:
//!
//! 1. the scan is cut into slabs of up to 6 mm, smoothed to 1 mm pixels;
//! 2. circles of a rod's size are found in each slab by votes of the gradient;
//! 3. circles are linked into straight lines, tilted by up to 10 degrees;
//! 4. the mean cross-section along each line gives centre, tilt and radius, and tells plastic from tissue:
//!    the edge goes round, the inside is even, an even ring lies round it, and it stays so along the line;
//! 5. the slabs are averaged along each rod's direction, where its fainter neighbours stand out of the noise
//!    (rods of one phantom are parallel);
//! 6. the phantom's layout is laid on every two lines, in either order: by `position_mm` where the
//!    definition has it, else side by side at equal distance, which is measured. A rod that no line shows
//!    must stand in even plastic, or outside the field of view;
//! 7. the straight line through the rods must be a possible one: 0.5 to 2 mg/cm³ per HU, water within
//!    40 HU of 0, rods within 15 HU (or 3 % of their span) of it. Two ways to tell the rods apart that give
//!    different lines and fit nearly alike are refused, as is a further rod that the model does not have;
//! 8. rods are measured in the scan itself, in cylinders 2 mm inside their edge, their ends left out. One rod
//!    may be left out, with its reason. Where the noise of the image leaves the slope uncertain by more than
//!    1 %, because the rods are short or close in density, the phantom is refused.
//!
//! Hough circles, straight lines and cylinders follow the public program Ogo (Bonelab), which looks for circles
//! inside a mask painted by hand; here no mask is needed.
//!
//! Limits: rods must be seen beside each other in the cross-sections, at right angles to the head-foot axis
//! of the array to 10 degrees. Two rods always lie on a line: for a phantom of two, only geometry and the
//! limits on the line speak against a wrong one.

mod checks;
mod circles;
mod layout;
mod lines;
mod section;
mod slabs;

pub(crate) use section::median;
pub(crate) use slabs::bilinear;

use std::ops::Range;

use imaging::Volume;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fit::{Calibration, Check};
use crate::phantom::Phantom;
use crate::rods::{CentreFrame, Rod, RodCentre, RodCentres};
use layout::{Candidate, Place, Placing};
use lines::{Axis, Line};
use slabs::Slabs;

/// Radii looked for where the definition has no `diameter_mm`, mm.
const RADII_MM: [f64; 2] = [4.0, 13.0];
/// How far a radius may lie from half of `diameter_mm`, mm.
const DIAMETER_SLACK_MM: f64 = 1.5;
/// Least change of CT number across a rod's edge, HU/mm, in three quarters of the directions on the mean
/// cross-section: of a line seen in single slabs, and of one seen in their mean.
const EDGE_HU_PER_MM: f64 = 2.5;
const FAINT_EDGE_HU_PER_MM: f64 = 1.5;
/// Largest standard deviation inside a rod on the mean cross-section, HU, and as a share of its contrast.
const EVEN_HU: f64 = 8.0;
const EVEN_SHARE: f64 = 0.04;
/// Least share of the ring round a rod that must be even.
const RING_SHARE: f64 = 0.4;
/// Least CT number of a rod and of the plastic round it, HU.
const LEAST_HU: f64 = -300.0;
/// Largest CT number of the plastic round a rod, HU: above it is bone round marrow. (PMMA has 120 HU.)
const MOST_AROUND_HU: f64 = 500.0;
/// Directions nearer than this are one, as a tangent, when fainter rods are looked for along them.
const SAME_DIRECTION: f64 = 0.02;
/// Most directions along which they are looked for, those of the clearest lines.
const MOST_DIRECTIONS: usize = 6;
/// Fainter rods lie this near to the clear one, mm.
const FAINT_WITHIN_MM: f64 = 200.0;
/// Where all rods are of one size, the circle of a fainter one differs by no more than this in its radius, mm.
const FAINT_RADIUS_MM: f64 = 2.5;
/// The CT number of a fainter rod may scatter this many times more from slab to slab than the clear one's,
/// and by 1 HU: tissue changes along z, plastic does not.
const FAINT_SCATTER: f64 = 1.6;
/// Part of a rod's edge that is not measured, mm: three times the usual blur of a scanner.
const RIM_MM: f64 = 2.0;
/// Least radius that is measured, mm.
const LEAST_CORE_MM: f64 = 2.0;
/// Largest standard error of the slope that the image's noise may leave, %. Our own choice: an error of 2 %
/// is then two of them.
const NOISE_REFUSE_PERCENT: f64 = 1.0;
/// Share of the rod left out at either end, and the most of it, mm (Ogo leaves out 10 slices of 1 mm).
const END_SHARE: f64 = 0.15;
const END_MM: f64 = 10.0;
/// A rod whose CT numbers scatter this many times more than those of the median rod is left out.
const SCATTER_TIMES: f64 = 3.0;

/// A rod that was found and is not used.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedRod {
    /// Its name in the phantom's definition.
    pub name: String,
    /// Why it is not used.
    pub reason: String,
}

/// A phantom found in a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPhantom {
    /// The rods as measured, in the order of the definition; without those left out.
    pub rods: Vec<Rod>,
    /// The cylinders they were measured in, LPS mm: what a file of rod centres would hold.
    pub centres: RodCentres,
    /// Rods left out, with the reason.
    pub rejected: Vec<RejectedRod>,
    /// How sure it is: rods seen, rods left out, drift along z, cupping across the phantom.
    pub checks: Vec<Check>,
}

impl FoundPhantom {
    /// The line through the rods, with the checks of the finder added to those of the fit.
    ///
    /// # Errors
    /// As [`Calibration::fit`].
    pub fn calibrate(&self, phantom: &Phantom) -> Result<Calibration> {
        let mut calibration = Calibration::fit(phantom, &self.rods)?;
        calibration.checks.extend(self.checks.iter().cloned());
        Ok(calibration)
    }
}

/// Finds and measures the rods of a phantom in a scan (module page). `ct_hu` holds CT numbers, HU.
///
/// # Errors
/// [`Error::Phantom`] for a definition that does not pass [`Phantom::check`]; [`Error::Rods`] when the
/// phantom is not in the scan, is not sure to be it, or its rods cannot be told apart;
/// [`Error::Parameter`] for an image whose axes are not at right angles.
pub fn find_rods(ct_hu: &Volume<f32>, phantom: &Phantom) -> Result<FoundPhantom> {
    phantom.check()?;
    let refused = |reason: String| Error::Rods {
        phantom: phantom.name.clone(),
        reason: format!(
            "{reason}; where the phantom's rods do not lie side by side at equal distance, give their position_mm and diameter_mm in its definition, or measure them from a label map or at given centres"
        ),
    };
    if ct_hu.grid.is_empty() {
        return Err(refused("the scan holds no voxel".into()));
    }
    let slabs = Slabs::of(ct_hu)?;
    let radii_mm = radii_mm(phantom);
    let pixels = radii_mm[0].floor() as usize..=radii_mm[1].ceil() as usize;
    let circles: Vec<_> = slabs
        .planes
        .par_iter()
        .map(|plane| {
            let least = circles::GRADIENT_OF_SLAB;
            circles::circles(plane, slabs.size, pixels.clone(), least)
        })
        .collect();
    let lines = lines::lines(&slabs, &circles);
    let found: Vec<Option<Candidate>> = lines
        .par_iter()
        .map(|line| candidate(&slabs, line, radii_mm, EDGE_HU_PER_MM))
        .collect();
    let clear = apart(found.into_iter().flatten().collect(), &slabs);
    let candidates = with_fainter(clear, &slabs, &pixels, phantom);
    if candidates.len() < 2 {
        return Err(refused(format!(
            "no phantom was found: {} straight round structures run along the scan, and {} of them are even and lie in even plastic",
            lines.len(),
            candidates.len()
        )));
    }
    let placing = layout::place(&slabs, &candidates, phantom).map_err(|why| {
        refused(format!(
            "the phantom was not found for sure: of {} rod-like structures, {why}",
            candidates.len()
        ))
    })?;
    measured(ct_hu, &slabs, &placing, phantom).map_err(|error| match error {
        Error::Rods { reason, .. } => refused(reason),
        other => other,
    })
}

fn radii_mm(phantom: &Phantom) -> [f64; 2] {
    let known: Vec<f64> = phantom
        .rods
        .iter()
        .filter_map(|rod| rod.diameter_mm.map(|d| d / 2.0))
        .collect();
    if known.len() < phantom.rods.len() {
        return RADII_MM;
    }
    let least = known.iter().copied().fold(f64::INFINITY, f64::min);
    let most = known.iter().copied().fold(0.0, f64::max);
    [
        (least - DIAMETER_SLACK_MM).max(2.5),
        (most + DIAMETER_SLACK_MM).min(20.0),
    ]
}

/// What a line is on a close look; `None` where it is no rod.
fn candidate(
    slabs: &Slabs<'_>,
    line: &Line,
    radii_mm: [f64; 2],
    least_edge: f64,
) -> Option<Candidate> {
    let (axis, ring) = section::centred(slabs, line, radii_mm)?;
    let steep = axis.du.hypot(axis.dv) > lines::STEEPEST + 0.02;
    if steep || ring.edge < least_edge {
        return None;
    }
    let profile = section::profile(slabs, &axis, ring.radius_mm);
    let section = section::Section::along(slabs, &axis, line.slabs.iter().copied());
    let levels = section.levels([0.0; 2], ring.radius_mm)?;
    if levels.inside < LEAST_HU || is_rod_in_plastic(&levels).is_err() {
        return None;
    }
    let contrast = levels.inside - levels.around;
    let extent = section::extent(&profile, &line.slabs, contrast)?;
    let long = extent.len() as f64 * slabs.thickness_mm >= lines::LEAST_LENGTH_MM;
    long.then_some(Candidate {
        axis,
        radius_mm: ring.radius_mm,
        edge: ring.edge,
        levels,
        along_sd: section::scatter(slabs, &profile, &extent),
        extent,
        clear: true,
    })
}

/// Whether levels are those of an even rod in even plastic; `Err` says what they are instead.
fn is_rod_in_plastic(levels: &section::Levels) -> Result<(), String> {
    let contrast = (levels.inside - levels.around).abs();
    if levels.around > MOST_AROUND_HU {
        Err(format!("there is bone round it ({:.0} HU)", levels.around))
    } else if levels.around < LEAST_HU {
        Err(format!(
            "there is no plastic round it ({:.0} HU)",
            levels.around
        ))
    } else if levels.inside_sd > EVEN_HU.max(EVEN_SHARE * contrast) {
        Err(format!(
            "the inside is uneven (by {:.0} HU)",
            levels.inside_sd
        ))
    } else if levels.around_share < RING_SHARE {
        Err("the surroundings are uneven".into())
    } else {
        Ok(())
    }
}

/// The candidates and what runs parallel to them, too faint to be seen in one slab.
fn with_fainter(
    clear: Vec<Candidate>,
    slabs: &Slabs<'_>,
    pixels: &std::ops::RangeInclusive<usize>,
    phantom: &Phantom,
) -> Vec<Candidate> {
    let radii_mm = radii_mm(phantom);
    let mut directions: Vec<&Candidate> = Vec::new();
    for one in &clear {
        let known = directions.iter().any(|other| {
            let apart = (one.axis.du - other.axis.du).hypot(one.axis.dv - other.axis.dv);
            apart <= SAME_DIRECTION && one.extent == other.extent
        });
        if !known && directions.len() < MOST_DIRECTIONS {
            directions.push(one);
        }
    }
    let fainter: Vec<Candidate> = directions
        .into_par_iter()
        .flat_map_iter(|along| {
            let over = along.extent.clone();
            let mean = slabs.mean_along([along.axis.du, along.axis.dv], over.clone());
            let least = circles::GRADIENT_OF_MEAN;
            circles::circles(&mean, slabs.size, pixels.clone(), least)
                .into_iter()
                .filter_map(move |circle| {
                    let start = slabs.w_mm[over.start];
                    let [u, v] = along.axis.at(start);
                    let far = (circle.u - u).hypot(circle.v - v) > FAINT_WITHIN_MM;
                    let other = phantom.is_of_one_size()
                        && (circle.radius_mm - along.radius_mm).abs() > FAINT_RADIUS_MM;
                    if far || other || circle.hu < LEAST_HU {
                        return None;
                    }
                    let line = Line {
                        axis: along.axis.moved_to([circle.u, circle.v], start),
                        slabs: over.clone().collect(),
                        bright: circle.bright,
                        radius_mm: circle.radius_mm,
                    };
                    let found = candidate(slabs, &line, radii_mm, FAINT_EDGE_HU_PER_MM);
                    found.filter(|one| {
                        layout::are_kin(slabs, along, one, phantom)
                            && one.along_sd <= FAINT_SCATTER * along.along_sd + 1.0
                    })
                })
                .map(|one| Candidate {
                    clear: false,
                    ..one
                })
        })
        .collect();
    apart(clear.into_iter().chain(fainter).collect(), slabs)
}

/// The candidates, clearest first, without those that stand for the same rod as a clearer one.
fn apart(mut candidates: Vec<Candidate>, slabs: &Slabs<'_>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.edge.total_cmp(&a.edge));
    let mut kept: Vec<Candidate> = Vec::new();
    for one in candidates {
        let middle =
            |extent: &Range<usize>| 0.5 * (slabs.w_mm[extent.start] + slabs.w_mm[extent.end - 1]);
        let double = kept.iter().any(|other| {
            let common = layout::overlap(&one.extent, &other.extent);
            let w = if common.is_empty() {
                middle(&one.extent)
            } else {
                middle(&common)
            };
            let (a, b) = (one.axis.at(w), other.axis.at(w));
            (a[0] - b[0]).hypot(a[1] - b[1]) < one.radius_mm.min(other.radius_mm)
        });
        if !double {
            kept.push(one);
        }
    }
    kept
}

/// Measures the rods of a placing in the scan, and leaves out what is no good.
fn measured(
    ct_hu: &Volume<f32>,
    slabs: &Slabs<'_>,
    placing: &Placing,
    phantom: &Phantom,
) -> Result<FoundPhantom> {
    let mut rods: Vec<(Rod, RodCentre, Axis)> = Vec::new();
    let mut rejected: Vec<RejectedRod> = Vec::new();
    let mut faint = 0;
    for (k, (place, rod)) in placing.rods.iter().zip(&phantom.rods).enumerate() {
        let mut reject = |reason: String| {
            rejected.push(RejectedRod {
                name: rod.name.clone(),
                reason,
            });
        };
        let axis = match place {
            Place::Outside => {
                reject("it lies outside the field of view".into());
                continue;
            }
            Place::Broken(why) => {
                reject(format!("where it should be {why}"));
                continue;
            }
            Place::Seen { axis, .. } => axis,
            Place::Faint { axis, .. } => {
                faint += 1;
                axis
            }
        };
        let cylinder = cylinder(slabs, axis, placing, rod);
        let rod = crate::rods::measure_cylinder(ct_hu, &cylinder, rod, phantom)?;
        if placing.off_line == Some(k) {
            reject(format!(
                "its {:.0} HU do not lie on the line of the others",
                rod.hu_mean
            ));
            continue;
        }
        rods.push((rod, cylinder, *axis));
    }
    leave_out_scatter(&mut rods, &mut rejected);
    let needed = phantom.rods.len().min(3);
    let used: Vec<Rod> = rods.iter().map(|(rod, ..)| rod.clone()).collect();
    if rods.len() < needed {
        return Err(Error::Rods {
            phantom: phantom.name.clone(),
            reason: format!(
                "only {} of {} rods can be used; {needed} are needed ({})",
                rods.len(),
                phantom.rods.len(),
                reasons(&rejected)
            ),
        });
    }
    layout::fitted(phantom, &used).map_err(|reason| Error::Rods {
        phantom: phantom.name.clone(),
        reason,
    })?;
    let noise = checks::noise_percent(slabs, placing, &rods);
    if noise.is_nan() || noise > NOISE_REFUSE_PERCENT {
        return Err(Error::Rods {
            phantom: phantom.name.clone(),
            reason: format!(
                "the noise of the image leaves the slope uncertain by {noise:.1} %, and {NOISE_REFUSE_PERCENT} % is allowed: the rods seen are too short or too close in density for it"
            ),
        });
    }
    let axes: Vec<Axis> = rods.iter().map(|(.., axis)| *axis).collect();
    let mut checks = checks::checks(slabs, placing, &axes, phantom.rods.len(), faint, &rejected);
    checks.push(checks::noise(noise));
    Ok(FoundPhantom {
        rods: used,
        centres: RodCentres {
            frame: CentreFrame::Lps,
            rods: rods.into_iter().map(|(_, centre, _)| centre).collect(),
        },
        rejected,
        checks,
    })
}

fn reasons(rejected: &[RejectedRod]) -> String {
    let words: Vec<String> = rejected
        .iter()
        .map(|rod| format!("rod '{}': {}", rod.name, rod.reason))
        .collect();
    words.join("; ")
}

/// The cylinder that a rod is measured in.
fn cylinder(
    slabs: &Slabs<'_>,
    axis: &Axis,
    placing: &Placing,
    rod: &crate::phantom::PhantomRod,
) -> RodCentre {
    let half_slab = slabs.thickness_mm / 2.0;
    let low = slabs.w_mm[placing.extent.start] - half_slab;
    let high = slabs.w_mm[placing.extent.end - 1] + half_slab;
    let trim = (END_SHARE * (high - low)).min(END_MM);
    let [start, end] = [low + trim, high - trim].map(|w| {
        let [u, v] = axis.at(w);
        slabs.world(u, v, w)
    });
    RodCentre {
        name: rod.name.clone(),
        centre_mm: (0.5 * (start + end)).into(),
        radius_mm: (placing.radius_of(rod) - RIM_MM).max(LEAST_CORE_MM),
        length_mm: Some((end - start).norm()),
        direction: Some((end - start).normalize().into()),
    }
}

/// Leaves out rods whose CT numbers scatter far more than those of the median rod: air, metal, a crack.
fn leave_out_scatter(rods: &mut Vec<(Rod, RodCentre, Axis)>, rejected: &mut Vec<RejectedRod>) {
    let mut all: Vec<f64> = rods.iter().filter_map(|(rod, ..)| rod.hu_sd).collect();
    let Some(usual) = section::median(&mut all) else {
        return;
    };
    rods.retain(|(rod, ..)| {
        let scatter = rod.hu_sd.unwrap_or(0.0);
        let fine = scatter <= SCATTER_TIMES * usual;
        if !fine {
            rejected.push(RejectedRod {
                name: rod.name.clone(),
                reason: format!("its CT numbers scatter by {scatter:.0} HU, those of the others by {usual:.0} HU"),
            });
        }
        fine
    });
}

#[cfg(test)]
mod tests;
