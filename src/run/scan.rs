//! A scan, read and calibrated, and the labels of its bones: given, or found by a network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use calibration::{Calibration, DensityKind, DensityMap};
use imaging::dicom::Acquisition;
use imaging::image::Orientation as FileOrientation;
use imaging::orientation::{axes_of, on_grid, reorient, to_ras_axes};
use imaging::{Grid, LabelMap, Volume};
use segmentation::nnunet::Options;

use super::RunRequest;
use crate::anatomy;
use crate::automatic::{self, BUILT_IN, Labelled};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::{Basis, MorphUnit, Subject};
use crate::progress::Progress;
use crate::segment::network_device;

/// A scan, calibrated, and its label map: what the cases of one scan share. Volumes run along RAS+ array axes.
pub struct Scan {
    /// Its calibrated density.
    pub density: Arc<DensityMap>,
    /// The calibration.
    pub calibration: Calibration,
    /// The label map.
    pub labels: LabelMap,
    /// Whether the file says where left is.
    pub orientation: anatomy::Check,
    /// What was repaired of its geometry, where something was.
    pub repaired: Option<anatomy::Check>,
    /// How it was acquired, where its format says it.
    pub acquisition: Option<Acquisition>,
    /// What was done to it beyond reading, in words.
    pub notes: Vec<String>,
    /// Its own grid.
    pub grid: Grid,
    /// What a network found, where no mask was given; on the scan's own grid.
    pub automatic: Option<Arc<Labelled>>,
    /// Standard deviation of the surface of its labels, mm, where the mask is to be moved by that.
    pub uncertainty_mm: Option<Arc<Volume<f32>>>,
    /// Where its density stands as a file already; what several cases share is written once.
    pub density_file: Option<PathBuf>,
}

impl Scan {
    /// Reads and calibrates the scan of a request and reads its mask.
    pub fn open(request: &RunRequest, progress: &mut Progress) -> anyhow::Result<Self> {
        let subject = &request.plan.subject;
        progress.stage("read");
        let crate::ct::Ct {
            volume: ct,
            orientation,
            acquisition,
            notes,
            repairs,
        } = crate::ct::read(&request.ct, subject.repair)
            .context("the scan")
            .kind(Kind::Input)?;
        let given = match &request.mask {
            Some(path) => Some(mask(path, &ct.grid)?),
            None => None,
        };
        let uncertainty = match &subject.uncertainty {
            Some(path) => Some(uncertainty(Path::new(path), &ct.grid)?),
            None => None,
        };
        if !ct.grid.is_orthogonal() {
            return Err(Failure::input(format!(
                "{}: the array axes are not at right angles ({})",
                request.ct.display(),
                ct.grid
            ))
            .with_help("resample the scan and the mask to an orthogonal grid")
            .into());
        }
        // Before a network takes its minute: what cannot be calibrated is refused at once.
        progress.stage("calibrate");
        let calibration = crate::calibrate::for_subject(subject, &ct, acquisition.as_ref())?;
        let (labels, automatic) = match given {
            Some(labels) => (labels, None),
            None => {
                automatic::check(subject)?;
                progress.stage("segment");
                let found = automatic::segmented_for(
                    &ct,
                    subject,
                    network_device(request.device)?,
                    &Options::default(),
                    progress,
                )?;
                (found.labels.clone(), Some(Arc::new(found)))
            }
        };
        let uncertainty_mm = surface_deviation(subject, uncertainty, automatic.as_deref())?;
        progress.stage("density");
        let density = calibration
            .apply(&ct)
            .with_context(|| format!("the scan {}", request.ct.display()))
            .kind(Kind::Input)?;
        let scan_grid = ct.grid.clone();
        drop(ct);
        Ok(Self {
            density: Arc::new(density.map(|volume| to_ras_axes(&volume))),
            calibration,
            labels: to_ras_axes(&labels),
            orientation: stated_sides(orientation),
            repaired: crate::ct::repaired(&repairs),
            acquisition,
            notes,
            grid: scan_grid,
            automatic,
            uncertainty_mm: uncertainty_mm.map(|map| Arc::new(to_ras_axes(&map))),
            density_file: None,
        })
    }

    /// What the calibrated density is equivalent to.
    pub fn basis(&self) -> Basis {
        match self.density.kind {
            DensityKind::Ha => Basis::Ha,
            DensityKind::Ash => Basis::Ash,
            _ => Basis::K2hpo4,
        }
    }

    /// The same scan by another line, in the same basis.
    pub fn recalibrated(&self, line: Calibration) -> Self {
        let density = self.density.as_ref().clone().map(|volume| {
            let hu = |d: f32| self.calibration.hu(f64::from(d));
            volume.map(|&d| line.density_mg_cm3(hu(d)) as f32)
        });
        Self {
            density: Arc::new(density),
            calibration: line,
            labels: self.labels.clone(),
            orientation: self.orientation.clone(),
            repaired: self.repaired.clone(),
            acquisition: self.acquisition.clone(),
            notes: self.notes.clone(),
            grid: self.grid.clone(),
            automatic: self.automatic.clone(),
            uncertainty_mm: self.uncertainty_mm.clone(),
            density_file: None,
        }
    }

    /// Writes its density on its own grid.
    pub fn write_density(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(written) = &self.density_file {
            // Two names for one file where the file system can.
            if std::fs::hard_link(written, path).is_err() {
                std::fs::copy(written, path).with_context(|| path.display().to_string())?;
            }
            return Ok(());
        }
        let density = reorient(&self.density.mg_cm3, axes_of(&self.grid))?;
        Ok(imaging::write_volume(path, &density)?)
    }

    /// The request with the label that a network gave the bone, and the network's name, where no mask was given: its plan then says
    /// where the label comes from.
    pub fn completed(&self, request: &RunRequest) -> anyhow::Result<RunRequest> {
        let mut request = request.clone();
        if let Some(found) = &self.automatic {
            let subject = &mut request.plan.subject;
            subject.label = found.label_of(subject)?;
            subject.model.get_or_insert_with(|| BUILT_IN.to_owned());
        }
        Ok(request)
    }
}

fn mask(path: &Path, grid: &Grid) -> anyhow::Result<LabelMap> {
    let labels = imaging::read_labels(path)
        .context("the mask")
        .kind(Kind::Input)?;
    on_grid(labels, grid)
        .with_context(|| format!("the mask {} is not on the scan's grid", path.display()))
        .kind(Kind::Input)
}

/// A map of the standard deviation of a mask's surface.
fn uncertainty(path: &Path, grid: &Grid) -> anyhow::Result<Volume<f32>> {
    let map = imaging::read_volume(path)
        .context("the uncertainty of the mask")
        .kind(Kind::Input)?;
    if let Some(value) = map.data.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
        return Err(Failure::input(format!(
            "{}: the uncertainty of a surface is {value} mm somewhere",
            path.display()
        ))
        .with_help("it is a standard deviation in mm: 0 or more, 0 where nothing is known")
        .into());
    }
    on_grid(map, grid)
        .with_context(|| format!("the map {} is not on the scan's grid", path.display()))
        .kind(Kind::Input)
}

/// The standard deviation of the surface, where the mask is to be moved by it: the one given, or the network's own.
fn surface_deviation(
    subject: &Subject,
    given: Option<Volume<f32>>,
    automatic: Option<&Labelled>,
) -> anyhow::Result<Option<Volume<f32>>> {
    if subject.morph_unit != MorphUnit::StandardDeviation {
        return Ok(None);
    }
    let found = given.or_else(|| automatic?.doubt_mm.clone());
    let refused = || {
        Failure::usage("nothing states the standard deviation of the surface, mm")
            .with_help("give a map with --uncertainty, or another --morph-unit")
    };
    Ok(Some(found.ok_or_else(refused)?))
}

/// Whether the file itself says where the patient's left is.
fn stated_sides(orientation: FileOrientation) -> anatomy::Check {
    const NAME: &str = "orientation";
    match orientation {
        FileOrientation::Stated(field) => anatomy::Check::pass(
            NAME,
            None,
            format!("the file says where left is, in {field}"),
        ),
        FileOrientation::Assumed(convention) => anatomy::Check::review(
            NAME,
            None,
            format!("the file does not say where left is; taken: {convention}"),
        ),
    }
}
