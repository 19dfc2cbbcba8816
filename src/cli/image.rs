//! `osteoload info` and `osteoload convert`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use imaging::dicom::{self, Acquisition};
use imaging::image::{Info, Orientation};
use imaging::{Image, Volume};
use serde_json::{Value, json};

use super::Globals;
use super::output::print;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::check_file;

/// Say what an image is: grid, sides, type, range; of DICOM also how it was acquired
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// Image: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, a directory of DICOM slices, or DIR#SERIES by number or UID
    scan: PathBuf,
    /// Resample gantry tilt, uneven spacing and gaps of one or two slices of a DICOM series
    #[arg(long)]
    repair: bool,
    /// Print the patient's name and number too (DICOM)
    #[arg(long)]
    patient: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Convert an image to another format, by the names' endings
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// Image to read
    #[arg(value_name = "IN")]
    from: PathBuf,
    /// Image to write: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// Resample gantry tilt, uneven spacing and gaps of one or two slices of a DICOM series
    #[arg(long)]
    repair: bool,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

/// Reads an image of any format; of a DICOM series also how it was acquired and what was done to it.
fn read(path: &Path, repair: bool) -> anyhow::Result<(Image, Option<Acquisition>, Vec<String>)> {
    if !dicom::is_dicom(path) {
        return Ok((imaging::read_image(path)?, None, Vec::new()));
    }
    let series = dicom::read_series(path, &dicom::Options { repair })?;
    Ok((series.image, Some(series.acquisition), series.notes))
}

/// Range of the values of an image.
struct Range {
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    not_finite: usize,
}

impl Range {
    fn of(volume: &Volume<f32>) -> Self {
        let finite = || {
            volume
                .data
                .iter()
                .filter(|v| v.is_finite())
                .map(|v| f64::from(*v))
        };
        let count = finite().count();
        Self {
            min: finite().reduce(f64::min),
            max: finite().reduce(f64::max),
            mean: (count > 0).then(|| finite().sum::<f64>() / count as f64),
            not_finite: volume.data.len() - count,
        }
    }
}

impl InfoArgs {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        print(self.text()?)
    }

    pub(super) fn text(&self) -> anyhow::Result<String> {
        let info = crate::ct::describe(&self.scan, self.repair)?;
        let (image, acquisition, notes) = read(&self.scan, self.repair)?;
        let range = Range::of(&image.into_volume()?);
        let patient = match self.patient && acquisition.is_some() {
            true => Some(dicom::patient(&self.scan)?),
            false => None,
        };
        if self.json {
            let mut json = as_json(&info, &range);
            if let Some(acquisition) = &acquisition {
                let mut facts = crate::ct::acquisition_json(acquisition);
                facts.insert("series_uid".into(), json!(acquisition.series_uid));
                facts.insert("series_number".into(), json!(acquisition.series_number));
                facts.insert(
                    "series_description".into(),
                    json!(acquisition.series_description),
                );
                facts.insert("image_type".into(), json!(acquisition.image_type));
                facts.insert("notes".into(), json!(notes));
                json["acquisition"] = Value::Object(facts);
            }
            if let Some(patient) = &patient {
                json["patient"] = json!({ "name": patient.name, "id": patient.id });
            }
            return Ok(serde_json::to_string_pretty(&json)? + "\n");
        }
        let number = |value: Option<f64>| value.map_or("none".into(), |v| format!("{v}"));
        let mut text = format!(
            "format     {}\ngrid       {}\ntype       {}\nvalues     {} to {}, mean {}\nscaling    {} x stored + {}\n",
            info.format,
            info.grid,
            info.scalar_type,
            number(range.min),
            number(range.max),
            number(range.mean),
            info.slope,
            info.intercept,
        );
        text += &match info.orientation {
            Orientation::Stated(field) => format!("sides      stated by {field}\n"),
            Orientation::Assumed(convention) => format!("sides      ASSUMED: {convention}\n"),
        };
        if range.not_finite > 0 {
            text += &format!("not finite {} voxels\n", range.not_finite);
        }
        if let Some(acquisition) = &acquisition {
            text += &acquisition_text(acquisition);
        }
        for note in &notes {
            text += &format!("note       {note}\n");
        }
        if let Some(patient) = &patient {
            let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
            text += &format!(
                "patient    {}\npatient id {}\n",
                of(&patient.name),
                of(&patient.id)
            );
        }
        Ok(text)
    }
}

/// How a series was acquired, a fact a line; what the file does not say is left out.
fn acquisition_text(a: &Acquisition) -> String {
    let with = |value: Option<f64>, unit: &str| value.map(|v| format!("{v} {unit}"));
    let scanner: Vec<&str> = [&a.manufacturer, &a.model, &a.software]
        .into_iter()
        .filter_map(Option::as_deref)
        .collect();
    let series = match (a.series_number, &a.series_description) {
        (Some(number), Some(text)) => Some(format!("{number} {text:?}")),
        (Some(number), None) => Some(number.to_string()),
        (None, text) => text.as_ref().map(|text| format!("{text:?}")),
    };
    let facts = [
        ("series", series),
        ("series uid", a.series_uid.clone()),
        ("slices", Some(format!("{} in {} files", a.slices, a.files))),
        ("syntax", Some(a.transfer_syntax.clone())),
        ("modality", a.modality.clone()),
        (
            "scanner",
            Some(scanner.join(", ")).filter(|s| !s.is_empty()),
        ),
        ("voltage", with(a.tube_voltage_kv, "kV")),
        ("current", with(a.tube_current_ma, "mA")),
        ("exposure", with(a.exposure_mas, "mAs")),
        ("kernel", a.kernel.clone()),
        ("thickness", with(a.slice_thickness_mm, "mm")),
        ("table", with(a.table_height_mm, "mm")),
        ("tilt", with(a.gantry_tilt_deg, "degrees")),
        ("contrast", a.contrast_agent.clone()),
        ("position", a.patient_position.clone()),
        ("study", a.study_date.clone()),
        ("acquired", a.acquisition_date.clone()),
        ("image type", a.image_type.clone()),
    ];
    facts
        .iter()
        .filter_map(|(name, fact)| fact.as_ref().map(|fact| format!("{name:<10} {fact}\n")))
        .collect()
}

fn as_json(info: &Info, range: &Range) -> Value {
    let grid = &info.grid;
    let rows: Vec<Vec<f64>> = (0..3)
        .map(|row| (0..3).map(|axis| grid.direction[(row, axis)]).collect())
        .collect();
    let (sides, stated) = match info.orientation {
        Orientation::Stated(field) => (field, true),
        Orientation::Assumed(convention) => (convention, false),
    };
    json!({
        "format": info.format,
        "type": info.scalar_type.to_string(),
        "size": grid.size,
        "spacing_mm": grid.spacing_mm,
        "origin_lps_mm": grid.origin_mm.as_slice(),
        "direction_lps": rows,
        "axes": grid.axis_code(),
        "orthogonal": grid.is_orthogonal(),
        "sides": sides,
        "sides_stated": stated,
        "slope": info.slope,
        "intercept": info.intercept,
        "min": range.min,
        "max": range.max,
        "mean": range.mean,
        "not_finite": range.not_finite,
    })
}

impl ConvertArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        check_file(&self.to, self.overwrite)?;
        if self.from == self.to {
            return Err(Failure::usage("IN and OUT are the same file").into());
        }
        let (image, _, notes) = read(&self.from, self.repair)?;
        for note in notes {
            globals.say(note);
        }
        imaging::write_image(&self.to, &image)
            .context("the converted image")
            .kind(Kind::Usage)
    }
}
