//! A scan and a model in, a label map out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use segmentation::network::Device;
use segmentation::nnunet::{Choice, Folds, Model, Options, Probabilities};
use segmentation::total_segmentator::{self, Task};

use crate::anatomy::Status;
use crate::automatic::{self, Networks};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{check_file, write_file_with};
use crate::plan::Bone;
use crate::progress::Progress;

/// What is to be segmented, by what, and where the result goes.
#[derive(Clone, Debug)]
pub struct SegmentRequest {
    /// The channels of the scan, one file each.
    pub channels: Vec<PathBuf>,
    /// The built-in networks of a bone, the folder of an nnU-Net v2 model, or that of the models of a task.
    pub model: ModelChoice,
    /// A task of TotalSegmentator, and the names of the classes wanted of it; all where there are none.
    pub task: Option<(Task, Vec<String>)>,
    /// Which folds run.
    pub folds: Folds,
    /// How.
    pub options: Options,
    /// Where the network runs.
    pub device: solver::Device,
    /// The label map.
    pub out: PathBuf,
    /// The probabilities, where they are wanted.
    pub probabilities: Option<PathBuf>,
    /// Whether existing files are replaced.
    pub overwrite: bool,
}

/// Which networks segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// Those that come with the program.
    BuiltIn(Bone),
    /// A folder.
    Folder(PathBuf),
}

/// A label that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its value.
    pub label: u16,
    /// Its name.
    pub name: String,
    /// Its volume, mm³.
    pub volume_mm3: f64,
}

/// Segments a scan and writes the label map; gives the labels of the model and how much of each was found.
///
/// # Errors
/// A [`Failure`] of kind input for a scan or a model that is refused, of kind usage for a file in the way.
pub fn segment(request: &SegmentRequest, progress: &mut Progress) -> anyhow::Result<Vec<Found>> {
    check_file(&request.out, request.overwrite)?;
    if let Some(file) = &request.probabilities {
        check_file(file, request.overwrite)?;
        if file.extension().is_none_or(|ending| ending != "npz") {
            return Err(Failure::usage(format!(
                "--probabilities {}: the file's name must end in .npz",
                file.display()
            ))
            .into());
        }
    }
    progress.stage("read");
    let scan: Vec<Volume<f32>> = request
        .channels
        .iter()
        .map(|path| imaging::read_volume(path))
        .collect::<Result<_, _>>()
        .context("the CT")?;
    progress.stage("model");
    let choice = Choice {
        folds: request.folds.clone(),
        device: network_device(request.device)?,
    };
    let folder = match &request.model {
        ModelChoice::Folder(folder) => folder,
        ModelChoice::BuiltIn(bone) => return built_in(request, *bone, &scan, progress),
    };
    if let Some((task, only)) = &request.task {
        let [scan] = scan.as_slice() else {
            return Err(Failure::usage("a task takes one --ct").into());
        };
        if request.probabilities.is_some() {
            return Err(Failure::usage("a task gives no probabilities").into());
        }
        progress.stage("segment");
        // The bar starts anew with each of the task's models.
        let (labels, names) = total_segmentator::segment(
            task,
            folder,
            scan,
            only,
            &choice,
            &request.options,
            &mut |done, planned| progress.part(done, planned),
        )?;
        progress.stage("write");
        write_file_with(&request.out, |path| write_labels(path, &labels))?;
        progress.finish();
        let mut found = found(&labels, &names);
        found.retain(|found| found.volume_mm3 > 0.0);
        return Ok(found);
    }
    let model = Model::open(folder, &choice)?;
    progress.stage("segment");
    let options = Options {
        probabilities: request.probabilities.is_some(),
        ..request.options
    };
    let mut segmentation = model.segment(&scan, &options, &mut |done, planned| {
        progress.part(done, planned);
    })?;
    model.postprocessing.apply(&mut segmentation.labels);
    progress.stage("write");
    write_file_with(&request.out, |path| {
        write_labels(path, &segmentation.labels)
    })?;
    if let (Some(file), Some(probabilities)) = (&request.probabilities, &segmentation.probabilities)
    {
        write_file_with(file, |path| write_probabilities(path, probabilities))?;
    }
    progress.finish();
    Ok(found(&segmentation.labels, &segmentation.names))
}

/// Segments by the built-in networks, writes the label map, and tells of metal.
fn built_in(
    request: &SegmentRequest,
    bone: Bone,
    scan: &[Volume<f32>],
    progress: &mut Progress,
) -> anyhow::Result<Vec<Found>> {
    let [scan] = scan else {
        return Err(Failure::usage("the built-in networks take one --ct").into());
    };
    if request.probabilities.is_some() || request.task.is_some() || request.folds != Folds::All {
        return Err(Failure::usage(
            "--probabilities, --task and --folds are for model folders, not for the built-in networks",
        )
        .into());
    }
    progress.stage("segment");
    let device = network_device(request.device)?;
    let labelled = automatic::segmented(
        scan,
        bone,
        &Networks::BuiltIn,
        device,
        &request.options,
        progress,
    )?;
    progress.stage("write");
    write_file_with(&request.out, |path| write_labels(path, &labelled.labels))?;
    progress.finish();
    for (label, check) in &labelled.checks {
        if check.status != Status::Pass {
            progress.note(&format!("label {label}: {}", check.reason));
        }
    }
    let mut found = found(&labelled.labels, &labelled.names);
    found.retain(|found| found.volume_mm3 > 0.0);
    Ok(found)
}

/// The device of the command line as the networks know it.
pub(crate) fn network_device(device: solver::Device) -> anyhow::Result<Device> {
    match device {
        solver::Device::Cpu => Ok(Device::Cpu),
        solver::Device::Cuda(number) => Ok(Device::Cuda(usize::from(number))),
        #[allow(unreachable_patterns)]
        other => {
            Err(Failure::usage(format!("--device {other}: networks run on cpu and cuda")).into())
        }
    }
}

/// Writes a label map with one byte a voxel where that is enough.
///
/// # Errors
/// When the file cannot be written.
pub fn write_labels(path: &Path, labels: &LabelMap) -> anyhow::Result<()> {
    match labels.data.iter().all(|&label| label < 255) {
        true => imaging::write_volume(path, &labels.map(|&label| label as u8))?,
        false => imaging::write_volume(path, labels)?,
    }
    Ok(())
}

fn write_probabilities(path: &Path, probabilities: &Probabilities) -> anyhow::Result<()> {
    Ok(probabilities.write_npz(path)?)
}

fn found(labels: &LabelMap, names: &BTreeMap<u16, String>) -> Vec<Found> {
    let mut voxels = vec![0usize; usize::from(u16::MAX) + 1];
    for &label in &labels.data {
        voxels[usize::from(label)] += 1;
    }
    let one = labels.grid.voxel_volume_mm3();
    let of = |(&label, name): (&u16, &String)| Found {
        label,
        name: name.clone(),
        volume_mm3: voxels[usize::from(label)] as f64 * one,
    };
    names.iter().map(of).collect()
}

/// Compares two label maps and gives the figures as JSON.
///
/// # Errors
/// A [`Failure`] of kind input when a map cannot be read or the grids differ.
pub fn evaluate(
    reference: &Path,
    prediction: &Path,
    by_overlap: bool,
) -> anyhow::Result<serde_json::Value> {
    let reference_map = imaging::read_labels(reference).context("the reference")?;
    let predicted_map = imaging::read_labels(prediction).context("the prediction")?;
    let evaluation = match by_overlap {
        true => segmentation::metrics::evaluate_by_overlap(&reference_map, &predicted_map),
        false => segmentation::metrics::evaluate(&reference_map, &predicted_map),
    }
    .kind(Kind::Input)
    .help("resample one map onto the grid of the other")?;
    let voxel = reference_map.grid.voxel_volume_mm3();
    let labels: serde_json::Map<String, serde_json::Value> = evaluation
        .labels
        .iter()
        .map(|(label, found)| {
            let surface = |pick: fn(&segmentation::metrics::SurfaceDistances) -> f64| {
                found.surface.as_ref().map(pick)
            };
            let figures = serde_json::json!({
                "dice": found.dice,
                "iou": found.iou,
                "volume_similarity": found.volume_similarity,
                "hausdorff_mm": surface(|s| s.hausdorff_mm),
                "hausdorff95_mm": surface(|s| s.hausdorff95_mm),
                "mean_surface_distance_mm": surface(|s| s.mean_mm),
                "precision": found.precision,
                "sensitivity": found.sensitivity,
                "reference_volume_mm3": found.reference_voxels as f64 * voxel,
                "predicted_volume_mm3": found.predicted_voxels as f64 * voxel,
            });
            (label.to_string(), figures)
        })
        .collect();
    Ok(serde_json::json!({
        "reference": reference.display().to_string(),
        "prediction": prediction.display().to_string(),
        "labels": labels,
        "gap_dice": evaluation.gap_dice,
        "collision_voxels": evaluation.collision_voxels,
    }))
}
