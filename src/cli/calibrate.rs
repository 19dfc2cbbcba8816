//! `osteoload calibrate`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Globals;
use crate::calibrate::{by_phantom, internal};
use crate::exit::Failure;
use crate::output_dir::{check_file, write_file, write_file_with};
use crate::plan::{CalibrationSpec, RodSource};
use crate::report::{CalibrationFigure, CheckStatus, status_word};

/// Calibrate a CT scan: from CT number to density
#[derive(Clone, Debug, Args)]
pub struct CalibrateArgs {
    /// CT scan with the phantom, of any format that `run` reads
    #[arg(long, value_name = "SCAN")]
    ct: PathBuf,
    /// Resample gantry tilt, uneven spacing and gaps of one or two slices of a DICOM series
    #[arg(long)]
    repair: bool,
    /// Phantom: a name, or a definition ending in .toml
    #[arg(long, value_name = "MODEL|FILE", required_unless_present = "internal")]
    phantom: Option<String>,
    /// The phantom's rods: a label map with one value per rod, or a .toml with their centres (left out: found)
    #[arg(long, value_name = "LABELS|CENTRES", requires = "phantom")]
    rods: Option<RodSource>,
    /// Calibrate by the patient's own tissues: all that are found, those but some (without=TISSUE[+TISSUE]), or by a line through two
    /// of known densities (TISSUE=DENSITY,TISSUE=DENSITY[,BASIS], mg/cm³)
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "phantom")]
    internal: Option<String>,
    /// The tissues: a label map of 1 adipose, 2 air, 3 blood, 4 cortical bone, 5 muscle (those not in it are found)
    #[arg(long, value_name = "LABELS", requires = "internal")]
    tissues: Option<PathBuf>,
    /// The calibration; a figure of what was found is put beside it
    #[arg(long, value_name = "calibration.json")]
    out: PathBuf,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

/// The calibration that `--internal[=HOW]` asks for.
fn by_tissues(how: &str) -> anyhow::Result<CalibrationSpec> {
    let text = match how {
        "" => "internal".to_owned(),
        how => format!("internal:{how}"),
    };
    text.parse()
        .map_err(|reason: String| Failure::usage(format!("--internal: {reason}")).into())
}

impl CalibrateArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let figure_file = self.out.with_extension("png");
        if figure_file == self.out {
            return Err(Failure::usage("--out must not end in .png")
                .with_help("name a file such as calibration.json")
                .into());
        }
        let spec = self.internal.as_deref().map(by_tissues).transpose()?;
        check_file(&self.out, self.overwrite)?;
        check_file(&figure_file, self.overwrite)?;
        let scan = crate::ct::read(&self.ct, self.repair).context("the CT")?;
        for note in &scan.notes {
            globals.say(format!("the CT: {note}"));
        }
        let ct = scan.volume;
        let (mut calibration, tissues) = match (&spec, &self.phantom) {
            (None, Some(model)) => (by_phantom(model, self.rods.as_ref(), &ct)?, None),
            (spec, _) => {
                let all = CalibrationSpec::Internal {
                    without: Vec::new(),
                };
                let spec = spec.as_ref().unwrap_or(&all);
                let (calibration, regions) = internal(spec, self.tissues.as_deref(), &ct)?;
                (calibration, Some(regions.labels))
            }
        };
        calibration
            .checks
            .extend(crate::calibrate::repaired(&scan.repairs));
        let figure = CalibrationFigure {
            calibration: &calibration,
            scan: &ct,
            tissues: tissues.as_ref(),
        };
        write_file(&self.out, calibration.to_json()?.as_bytes())?;
        write_file_with(&figure_file, |path| figure.write_png(path))?;
        let square = calibration
            .quadratic_mg_cm3_per_hu2
            .map_or_else(String::new, |q| format!(" {q:+.6e} HU²"));
        globals.say(format!(
            "density (mg/cm3 {}) = {:.6} HU {:+.4}{square}",
            calibration.kind, calibration.slope_mg_cm3_per_hu, calibration.intercept_mg_cm3
        ));
        for check in &calibration.checks {
            let status = status_word(check.status);
            globals.say(format!("{status} {}: {}", check.name, check.reason));
        }
        if calibration.status() == CheckStatus::Refuse {
            let reasons: Vec<&str> = calibration
                .checks
                .iter()
                .filter(|check| check.status == CheckStatus::Refuse)
                .map(|check| check.reason.as_str())
                .collect();
            return Err(Failure::gate(reasons.join("; "))
                .with_help(format!("look at {}", figure_file.display()))
                .into());
        }
        Ok(())
    }
}
