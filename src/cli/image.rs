//! `osteoload info` and `osteoload convert`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use imaging::Volume;
use imaging::image::{Info, Orientation, describe};
use serde_json::{Value, json};

use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::check_file;

/// Say what an image is: grid, sides, type, range
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// Image: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd
    scan: PathBuf,
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
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
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
        print!("{}", self.text()?);
        Ok(())
    }

    pub(super) fn text(&self) -> anyhow::Result<String> {
        let info = describe(&self.scan)?;
        let range = Range::of(&imaging::read_volume(&self.scan)?);
        if self.json {
            return Ok(serde_json::to_string_pretty(&as_json(&info, &range))? + "\n");
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
        Ok(text)
    }
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
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        check_file(&self.to, self.overwrite)?;
        if self.from == self.to {
            return Err(Failure::usage("IN and OUT are the same file").into());
        }
        let image = imaging::read_image(&self.from)?;
        imaging::write_image(&self.to, &image)
            .context("the converted image")
            .kind(Kind::Usage)
    }
}
