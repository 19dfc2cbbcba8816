//! `osteoload sweep`: how the failure load moves with the mask.
//!
//! The scan is read and calibrated once; every level then is a run of its own ([`crate::run`]), its mask eroded or dilated, with
//! the result that `run --morph` gives. Levels run beside each other.

mod figure;
mod levels;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

pub use figure::SweepFigure;
pub use levels::{Level, Moved, Quantity, Sweep};

use crate::exit::{Ending, Failure, Kind};
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE};
use crate::plan::{LevelChoice, MorphUnit};
use crate::progress::Progress;
use crate::run::beside::{Task, expected_memory_mib, jobs, run_beside};
use crate::run::{RunRequest, Scan, provenance};

/// A sweep over a mask.
#[derive(Clone, Debug)]
pub struct SweepRequest {
    /// The case, unmorphed; its output directory is that of the sweep.
    pub base: RunRequest,
    /// Erosions (negative) and dilations (positive), in the plan's `morph_unit`. 0 is computed whether it is there or not.
    pub morphs: Vec<f64>,
    /// Levels to compute at a time; as many as there are threads and memory when it is not given.
    pub jobs: Option<NonZeroUsize>,
}

/// What a sweep left behind.
#[derive(Clone, Debug)]
pub struct SweepFinished {
    /// The levels and what follows from them.
    pub sweep: Sweep,
    /// The output directory.
    pub place: PathBuf,
}

impl SweepFinished {
    /// Whether the unmorphed mask has the failure load that was asked for and nobody interrupted.
    ///
    /// # Errors
    /// A [`Failure`] that ends the program as a run of the unmorphed mask would.
    pub fn answered(&self) -> anyhow::Result<()> {
        let interrupted = Kind::Interrupted.status();
        let ending = |level: &Level| level.ending.clone();
        let levels = &self.sweep.levels;
        if levels
            .iter()
            .filter_map(ending)
            .any(|ending| ending.status == interrupted)
        {
            return Err(Failure::interrupted(
                "interrupted; the levels done are kept, see sweep.csv",
            )
            .into());
        }
        match self.sweep.base().and_then(ending) {
            None => Ok(()),
            Some(ending) => Err(Failure::from(Ending {
                error: format!("without erosion or dilation: {}", ending.error),
                ..ending
            })
            .into()),
        }
    }
}

/// Computes a sweep.
///
/// The directory holds a folder per level that ran, each as [`crate::run::run`] writes it, `sweep.csv`, `sweep.json`, `sweep.svg`,
/// `sweep.png` and `density.nii.gz`, which is that of every level.
///
/// # Errors
/// A [`Failure`]: usage, or a scan or mask that is refused. What happens to a single level is no error here: see
/// [`SweepFinished::answered`].
pub fn sweep(request: &SweepRequest, progress: &mut Progress) -> anyhow::Result<SweepFinished> {
    let base = &request.base;
    if base.plan.subject.level == Some(LevelChoice::All) {
        return Err(
            Failure::usage("a sweep takes one vertebra, not --level all")
                .with_help("name one, such as --level L2, or list them for `osteoload cohort`")
                .into(),
        );
    }
    let unit = base.plan.subject.morph_unit;
    let morphs = ordered(&request.morphs)?;
    let out = OutputDir::begin(&base.out, base.existing)?;
    let mut scan = Scan::open(base, progress)?;
    let density = out.join("density.nii.gz");
    scan.write_density(&density)?;
    scan.density_file = Some(density);
    let scan = Arc::new(scan);
    let base = scan.completed(base)?;
    let tasks: Vec<Task> = morphs
        .iter()
        .map(|&morph| {
            let mut request = base.clone();
            request.plan.subject.morph = morph;
            request.plan = request.plan.with(&[])?;
            request.out = out.join(&folder(morph, unit));
            request.existing = Existing::Refuse;
            Ok(Task {
                name: format!("{} {unit}", signed(morph)),
                scan: Arc::clone(&scan),
                request,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let bone_mm3 = scan.labels.select(&base.plan.subject.label).count() as f64
        * scan.labels.grid.voxel_volume_mm3();
    let memory_mib = expected_memory_mib(&scan, &base.plan, bone_mm3);
    let (jobs, note) = jobs(request.jobs, tasks.len(), memory_mib);
    if let Some(note) = note {
        progress.note(&note);
    }
    // The largest first, so that the threads end together.
    let order: Vec<usize> = (0..tasks.len()).rev().collect();
    let done = run_beside(&tasks, &order, jobs, "sweep", progress)?;
    if done.iter().all(|done| done.shape.is_none()) {
        // Nothing was computed: there is nothing to keep.
        let unmorphed = morphs.iter().position(|&morph| morph == 0.0).unwrap_or(0);
        let ending = done
            .get(unmorphed)
            .and_then(|done| done.ending.ending(&base.plan));
        if let Some(ending) = ending {
            return Err(Failure::from(ending).into());
        }
    }
    progress.stage("write");
    let sweep = Sweep::of(&base.plan, scan.grid.spacing_mm, &morphs, done);
    let write = |name: &str, contents: &[u8]| {
        std::fs::write(out.join(name), contents).with_context(|| name.to_owned())
    };
    write("sweep.csv", &sweep.to_csv()?)?;
    write("sweep.json", sweep.to_json()?.as_bytes())?;
    let figure = SweepFigure::of(&sweep, &base.plan);
    figure.write_svg(&out.join("sweep.svg"))?;
    figure.write_png(&out.join("sweep.png"))?;
    write("plan.toml", base.plan.to_toml().as_bytes())?;
    let provenance = provenance(&scan, &base, "sweep")?;
    write(PROVENANCE_FILE, provenance.to_json()?.as_bytes())?;
    write("timings.csv", progress.finish().to_csv().as_bytes())?;
    Ok(SweepFinished {
        sweep,
        place: out.finish()?,
    })
}

/// The levels of a sweep in rising order, each once, with the unmorphed mask.
fn ordered(morphs: &[f64]) -> anyhow::Result<Vec<f64>> {
    if let Some(wrong) = morphs.iter().find(|morph| !morph.is_finite()) {
        return Err(Failure::usage(format!("--morph {wrong} is not a number")).into());
    }
    let mut list = morphs.to_vec();
    list.push(0.0);
    // Adding 0 makes -0 a 0.
    list.iter_mut().for_each(|morph| *morph += 0.0);
    list.sort_by(f64::total_cmp);
    list.dedup();
    Ok(list)
}

/// A level with its sign.
pub(crate) fn signed(morph: f64) -> String {
    if morph > 0.0 {
        format!("+{morph}")
    } else {
        format!("{morph}")
    }
}

/// Folder of a level.
fn folder(morph: f64, unit: MorphUnit) -> String {
    format!("morph_{}_{unit}", signed(morph))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_order_with_the_base_and_once() {
        assert_eq!(ordered(&[2.0, -1.0, 2.0]).unwrap(), [-1.0, 0.0, 2.0]);
        assert_eq!(ordered(&[-0.0]).unwrap(), [0.0]);
        assert!(ordered(&[f64::NAN]).is_err());
        assert_eq!(folder(-0.5, MorphUnit::Millimetre), "morph_-0.5_mm");
        assert_eq!(folder(0.0, MorphUnit::Voxel), "morph_0_voxel");
        assert_eq!(folder(1.0, MorphUnit::Voxel), "morph_+1_voxel");
    }
}
