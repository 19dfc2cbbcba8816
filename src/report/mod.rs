//! The files that a run leaves behind.

pub mod calibration_figure;
pub mod curve;
pub mod endplate_figure;
pub mod figure;
pub mod html;
pub mod landmarks;
pub mod plot;
pub mod result_json;
pub mod surface_figure;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::example_result;

pub use calibration_figure::CalibrationFigure;
pub use curve::CurvePoint;
pub use endplate_figure::EndplateFigure;
pub use figure::Figure;
pub use landmarks::Landmarks;
pub use plot::CurveFigure;
pub use result_json::{
    Check, CheckStatus, DensityStatistics, MeshStatistics, RunOutcome, RunResult, status_word,
};
pub use surface_figure::{ColouredSurface, SurfaceFigure, SurfaceRow};

use anyhow::Context as _;

use crate::output_dir::{OutputDir, PROVENANCE_FILE};
use crate::plan::Plan;
use crate::provenance::Provenance;

/// Writes everything of a run that is not an image or a field: `result.json`, `curve.csv`, `curve.svg`,
/// `curve.png`, `timings.csv`, `plan.toml`, `provenance.json`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_run(
    out: &OutputDir,
    result: &RunResult,
    curve: &[CurvePoint],
    plan: &Plan,
    provenance: &Provenance,
) -> anyhow::Result<()> {
    let write = |name: &str, contents: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, contents).with_context(|| path.display().to_string())
    };
    write("result.json", result.to_json()?.as_bytes())?;
    write("curve.csv", &curve::to_csv(curve)?)?;
    let figure = run_figure(result, curve, plan);
    figure.write_svg(&out.join("curve.svg"))?;
    figure.write_png(&out.join("curve.png"))?;
    write("timings.csv", result.timings_s.to_csv().as_bytes())?;
    write("plan.toml", plan.to_toml().as_bytes())?;
    write(PROVENANCE_FILE, provenance.to_json()?.as_bytes())
}

fn run_figure<'a>(result: &RunResult, curve: &'a [CurvePoint], plan: &Plan) -> CurveFigure<'a> {
    CurveFigure {
        title: format!("Force and displacement, {}", result.which()),
        subtitle: format!(
            "{}, {}, {}",
            plan.protocol,
            plan.settings.load.case.word().replace('_', " "),
            result.outcome.word().replace('_', " ")
        ),
        curve,
        failure: result.failure_displacement_mm.zip(result.failure_load_n),
        stiffness_n_per_mm: result.stiffness_n_per_mm,
    }
}
