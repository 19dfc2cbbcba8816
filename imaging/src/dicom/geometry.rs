//! From the places of the slices to one grid (PS3.3, C.7.6.2.1.1).

use nalgebra::{Matrix3, Vector3};

use super::frame::Frame;
use super::repair::Repair;
use crate::grid::Grid;

/// Largest distance of a slice from its place on the regular grid, mm. Positions are texts, often
/// of one or two decimals.
const OFF_PLACE_MM: f64 = 0.05;
/// The same as a part of the spacing, for thin slices.
const OFF_PLACE_PART: f64 = 0.05;
/// Never less than the last of two decimals, mm.
const OFF_PLACE_LEAST_MM: f64 = 0.01;
/// Sideways drift of the whole stack that still counts as none, mm.
const DRIFT_MM: f64 = 0.2;
/// Positions closer than this are the same, mm.
const SAME_PLACE_MM: f64 = 1e-3;
/// Difference of direction cosines that counts as another orientation.
const SAME_DIRECTION: f64 = 1e-4;
/// Difference of pixel spacings that counts as another spacing, mm.
const SAME_SPACING_MM: f64 = 1e-4;
/// A stated tilt below this is none, degrees.
const NO_TILT_DEG: f64 = 0.5;
/// No gantry tilts further, degrees; more drift than this is another fault.
const MOST_TILT_DEG: f64 = 45.0;
/// Pixels by which repair of a tilt may widen the slices: 1 m of drift, more than any stack has, on pixels of 0.25 mm.
const MOST_WIDER_VOXELS: f64 = 4096.0;
/// Missing slices in a row that repair bridges.
const MOST_MISSING: f64 = 2.0;
/// Longest way between two slices that repair bridges, mm. Beyond it a line between two voxels
/// says nothing of the bone between them.
const LONGEST_BRIDGE_MM: f64 = 10.0;

/// Slices in order, and their grid.
#[derive(Debug)]
pub(super) struct Arranged {
    /// The slices, in the direction of the normal.
    pub frames: Vec<Frame>,
    /// The grid of the slices; of the repaired volume where there is something to repair.
    pub grid: Grid,
    /// What has to be resampled.
    pub repair: Option<Repair>,
}

/// Orders slices and finds their grid.
///
/// # Errors
/// A sentence naming what does not fit together, and the remedy.
pub(super) fn arrange(mut frames: Vec<Frame>, repair: bool) -> Result<Arranged, String> {
    let Some(first) = frames.first() else {
        return Err("has no slice".into());
    };
    same_kind(&frames)?;
    // Rows and columns may be off a right angle by the digits of their texts: the rows are believed.
    let row = first.along_row.normalize();
    let normal = row.cross(&first.along_column).normalize();
    let column = normal.cross(&row);
    let [along_i, along_j] = first.spacing;
    let size = |frames: &[Frame]| {
        [
            first_layout(frames)[0],
            first_layout(frames)[1],
            frames.len(),
        ]
    };
    let height = |frame: &Frame| frame.position.dot(&normal);
    frames.sort_by(|a, b| height(a).total_cmp(&height(b)));
    distinct(&frames, &normal)?;
    let origin = frames[0].position;
    let (last, count) = (&frames[frames.len() - 1], frames.len());
    if count == 1 {
        let thickness = frames[0].thickness.ok_or(
            "it is one slice, and neither SpacingBetweenSlices nor SliceThickness says how thick it is; give the directory of the whole series",
        )?;
        let steps = Matrix3::from_columns(&[row * along_i, column * along_j, normal * thickness]);
        let grid = Grid::from_affine(size(&frames), steps, origin).map_err(|e| e.to_string())?;
        return Ok(Arranged {
            frames,
            grid,
            repair: None,
        });
    }
    let whole = last.position - origin;
    let length = whole.dot(&normal);
    let drift = whole - normal * length;
    let tilt_deg = drift.norm().atan2(length).to_degrees();
    let tilted = drift.norm() > DRIFT_MM;
    let heights: Vec<f64> = frames
        .iter()
        .map(|f| height(f) - height(&frames[0]))
        .collect();
    sideways(&frames, &heights, &drift, length)?;
    let uneven = spacing(&frames, &heights)?;
    if tilted && tilt_deg > MOST_TILT_DEG {
        return Err(format!(
            "the slices are not stacked along their normal: they run {tilt_deg:.1}° off it, more than any gantry tilt; export the original axial series"
        ));
    }
    if tilted && !repair {
        return Err(format!(
            "gantry tilt of {tilt_deg:.1}°: the slices are sheared, {:.2} mm over the stack; --repair resamples them to a straight grid",
            drift.norm()
        ));
    }
    if !tilted {
        stated_tilt(&frames)?;
    }
    let step = uneven.step_mm;
    if let (Some(fault), false) = (&uneven.fault, repair) {
        return Err(fault.clone());
    }
    if let (Some(_), Some(reason)) = (&uneven.fault, &uneven.hopeless) {
        return Err(reason.clone());
    }
    let steps =
        |step: f64| Matrix3::from_columns(&[row * along_i, column * along_j, normal * step]);
    if !tilted && uneven.fault.is_none() {
        let step = length / (count - 1) as f64;
        let grid =
            Grid::from_affine(size(&frames), steps(step), origin).map_err(|e| e.to_string())?;
        return Ok(Arranged {
            frames,
            grid,
            repair: None,
        });
    }
    let shear = [
        drift.dot(&row) / length / along_i,
        drift.dot(&column) / length / along_j,
    ];
    let wider = shear.map(|voxels| (voxels * length).abs());
    if tilted
        && wider
            .iter()
            .any(|voxels| !(0.0..=MOST_WIDER_VOXELS).contains(voxels))
    {
        return Err(format!(
            "gantry tilt of {tilt_deg:.1}°: resampled, the slices would be {:.0} and {:.0} pixels wider; PixelSpacing {along_j} and {along_i} mm cannot be right",
            wider[0], wider[1]
        ));
    }
    let repair = Repair::new(
        size(&frames),
        &heights,
        if tilted { shear } else { [0.0; 2] },
        if uneven.fault.is_some() {
            step
        } else {
            length / (count - 1) as f64
        },
        tilted.then_some(tilt_deg),
        uneven.what,
    );
    let [i, j] = repair.first_voxel();
    let corner = origin + row * (along_i * i) + column * (along_j * j);
    let grid = Grid::from_affine(repair.size(), steps(repair.step_mm()), corner)
        .map_err(|e| e.to_string())?;
    Ok(Arranged {
        frames,
        grid,
        repair: Some(repair),
    })
}

fn first_layout(frames: &[Frame]) -> [usize; 2] {
    frames
        .first()
        .map_or([0; 2], |f| [f.layout.columns, f.layout.rows])
}

/// Distinct values with the number of slices that have each, in order of appearance.
fn tally(values: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for value in values {
        match found.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => found.push((value, 1)),
        }
    }
    found
}

/// Checks that all slices are of one kind: size, pixel spacing, orientation, kernel, voltage.
fn same_kind(frames: &[Frame]) -> Result<(), String> {
    let refuse = |what: &str, values: Vec<(String, usize)>| {
        if values.len() < 2 {
            return Ok(());
        }
        let list: Vec<String> = values
            .iter()
            .take(4)
            .map(|(value, count)| format!("{value} ({count} slices)"))
            .collect();
        Err(format!(
            "mixed {what}: {}; keep one reconstruction in a directory, or export the series again",
            list.join(", ")
        ))
    };
    let sizes = frames
        .iter()
        .map(|f| format!("{} x {}", f.layout.columns, f.layout.rows));
    refuse("sizes", tally(sizes))?;
    let first = &frames[0];
    let spacings = frames.iter().map(|f| {
        let same = (0..2).all(|a| (f.spacing[a] - first.spacing[a]).abs() <= SAME_SPACING_MM);
        let of = if same { first } else { f };
        format!("{} x {} mm", of.spacing[0], of.spacing[1])
    });
    refuse("pixel spacings", tally(spacings))?;
    let orientations = frames.iter().map(|f| {
        let same = (f.along_row - first.along_row).abs().max() <= SAME_DIRECTION
            && (f.along_column - first.along_column).abs().max() <= SAME_DIRECTION;
        let of = if same { first } else { f };
        let [a, b] = [of.along_row, of.along_column];
        format!(
            "[{:.4} {:.4} {:.4} {:.4} {:.4} {:.4}]",
            a.x, a.y, a.z, b.x, b.y, b.z
        )
    });
    refuse("orientations", tally(orientations))?;
    let kernels = frames.iter().map(|f| {
        if f.kernel.is_empty() {
            "none stated".to_owned()
        } else {
            f.kernel.clone()
        }
    });
    refuse("kernels", tally(kernels))?;
    let voltages = frames.iter().map(|f| {
        f.kvp
            .map_or_else(|| "none stated".to_owned(), |kv| format!("{kv} kV"))
    });
    refuse("tube voltages", tally(voltages))
}

/// Checks that no two slices stand at one height.
fn distinct(frames: &[Frame], normal: &Vector3<f64>) -> Result<(), String> {
    for pair in frames.windows(2) {
        let [a, b] = pair else { continue };
        let heights = [a.position.dot(normal), b.position.dot(normal)];
        if heights[1] - heights[0] > SAME_PLACE_MM {
            continue;
        }
        let acquisitions = if a.acquisition_number == b.acquisition_number {
            String::new()
        } else {
            format!(
                " (acquisitions {} and {})",
                a.acquisition_number, b.acquisition_number
            )
        };
        return Err(format!(
            "duplicate positions: {} and {} both stand at {:.3} mm along the slice normal{acquisitions}; remove the copies, or keep one phase in a directory",
            name(a),
            name(b),
            heights[0]
        ));
    }
    Ok(())
}

/// File name of a slice, with its frame where the file has several.
fn name(frame: &Frame) -> String {
    let file = frame
        .path()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if frame.pixels.frames > 1 {
        format!("frame {} of {file}", frame.index + 1)
    } else {
        file
    }
}

/// How far a slice may be off its place, mm.
fn tolerance(step: f64) -> f64 {
    (OFF_PLACE_PART * step).clamp(OFF_PLACE_LEAST_MM, OFF_PLACE_MM)
}

/// Checks that the slices stand on one line, whatever its direction.
fn sideways(
    frames: &[Frame],
    heights: &[f64],
    drift: &Vector3<f64>,
    length: f64,
) -> Result<(), String> {
    let origin = frames[0].position;
    let whole = frames[frames.len() - 1].position - origin;
    let normal = (whole - drift) / length;
    for (frame, height) in frames.iter().zip(heights) {
        let expected = origin + normal * *height + drift * (height / length);
        let off = (frame.position - expected).norm();
        if off > DRIFT_MM {
            return Err(format!(
                "uneven slices: {} stands {off:.2} mm beside the line of the others; export the series again",
                name(frame)
            ));
        }
    }
    Ok(())
}

/// The distances of the slices.
struct Spacing {
    /// The usual distance, mm.
    step_mm: f64,
    /// What is wrong with the others, for a refusal.
    fault: Option<String>,
    /// Why repair cannot help.
    hopeless: Option<String>,
    /// What is wrong, for a note.
    what: Option<String>,
}

fn spacing(frames: &[Frame], heights: &[f64]) -> Result<Spacing, String> {
    let count = heights.len();
    let length = heights[count - 1];
    let even = length / (count - 1) as f64;
    let off_place = heights
        .iter()
        .enumerate()
        .map(|(k, height)| (height - even * k as f64).abs())
        .fold(0.0, f64::max);
    if off_place <= tolerance(even) {
        return Ok(Spacing {
            step_mm: even,
            fault: None,
            hopeless: None,
            what: None,
        });
    }
    let gaps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    // The lower median: with half of the slices gone the usual distance is still among the gaps.
    let step = sorted[(sorted.len() - 1) / 2];
    let allowed = 2.0 * tolerance(step);
    let places: Vec<f64> = gaps.iter().map(|gap| (gap / step).round()).collect();
    let on_places = gaps
        .iter()
        .zip(&places)
        .all(|(gap, n)| *n >= 1.0 && (gap - n * step).abs() <= allowed);
    let widest = (0..gaps.len())
        .max_by(|&a, &b| gaps[a].total_cmp(&gaps[b]))
        .unwrap_or(0);
    let between = format!(
        "{:.3} mm between {} and {}",
        gaps[widest],
        name(&frames[widest]),
        name(&frames[widest + 1])
    );
    let longest = gaps[widest];
    let missing: f64 = places.iter().map(|n| n - 1.0).sum();
    let bridged = longest <= LONGEST_BRIDGE_MM && longest <= (MOST_MISSING + 1.5) * step;
    let hopeless = (!bridged).then(|| {
        format!(
            "{}: {between}, more than --repair bridges ({MOST_MISSING} slices and {LONGEST_BRIDGE_MM} mm); export the whole series",
            if on_places { "missing slices" } else { "uneven slices" }
        )
    });
    let (fault, what) = if on_places {
        (
            format!(
                "missing slices: {missing} of {}, the widest gap is {between}, the others are {step:.3} mm apart; export the whole series, or --repair fills small gaps",
                count as f64 + missing
            ),
            format!("{missing} missing slices filled from their neighbours"),
        )
    } else {
        (
            format!(
                "uneven slices: they are {:.3} to {:.3} mm apart, usually {step:.3}; the widest gap is {between}; export the series again, or --repair resamples it",
                sorted[0], longest
            ),
            format!(
                "slices {:.3} to {:.3} mm apart resampled to {step:.3} mm",
                sorted[0], longest
            ),
        )
    };
    Ok(Spacing {
        step_mm: step,
        fault: Some(fault),
        hopeless,
        what: Some(what),
    })
}

/// Refuses a tilt that is stated but not in the positions: one of the two is wrong, and where the
/// positions are, every length is.
fn stated_tilt(frames: &[Frame]) -> Result<(), String> {
    let stated = frames
        .iter()
        .map(|f| f.tilt_deg)
        .fold(
            0.0,
            |most: f64, tilt| if tilt.abs() > most.abs() { tilt } else { most },
        );
    if stated.abs() <= NO_TILT_DEG {
        return Ok(());
    }
    Err(format!(
        "gantry tilt of {stated:.1}° is stated (GantryDetectorTilt), but the positions of the slices show none: one of them is wrong; export the series again, or set GantryDetectorTilt to 0 if the slices are known to be straight"
    ))
}
