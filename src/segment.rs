//! A scan and a model in, a label map out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use segmentation::network::Device;
use segmentation::nnunet::{Choice, Folds, Model, Options, Probabilities};
use segmentation::recipes::RecipeModel;
use segmentation::total_segmentator::{self, Task};

use crate::anatomy::Status;
use crate::automatic::{self, FolderModel, Networks};
use crate::exit::Failure;
use crate::output_dir::{check_file, write_file_with};
use crate::plan::Bone;
use crate::progress::Progress;

/// What is to be segmented, by what, and where the result goes.
#[derive(Clone, Debug)]
pub struct SegmentRequest {
    /// The channels of the scan, one file or DICOM directory each.
    pub channels: Vec<PathBuf>,
    /// Whether gantry tilt and small gaps of a DICOM series are resampled.
    pub repair: bool,
    /// The built-in networks of a bone, the folder of an nnU-Net v2 model, or that of the models of a task.
    pub model: ModelChoice,
    /// A task of TotalSegmentator, and the names of the classes wanted of it; all where there are none.
    pub task: Option<(Task, Vec<String>)>,
    /// Which folds run.
    pub folds: Folds,
    /// Whether the pre-processing that a model was trained behind is done.
    pub preprocessing: bool,
    /// How.
    pub options: Options,
    /// Where the network runs.
    pub device: solver::Device,
    /// The label map.
    pub out: PathBuf,
    /// The probabilities, where they are wanted.
    pub probabilities: Option<PathBuf>,
    /// The map of doubt of the built-in networks, where it is wanted.
    pub uncertainty: Option<PathBuf>,
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
    if let Some(file) = &request.uncertainty {
        check_file(file, request.overwrite)?;
        if !matches!(request.model, ModelChoice::BuiltIn(_)) {
            return Err(Failure::usage(
                "--uncertainty is of the built-in networks; a model folder gives --probabilities",
            )
            .into());
        }
        if !request.options.mirroring {
            return Err(Failure::usage(
                "--uncertainty compares two looks, of which --mirroring off leaves one",
            )
            .into());
        }
    }
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
    let mut scan: Vec<Volume<f32>> = Vec::new();
    for path in &request.channels {
        let ct = crate::ct::read(path, request.repair).context("the CT")?;
        for note in &ct.notes {
            progress.note(&format!("the CT: {note}"));
        }
        scan.push(ct.volume);
    }
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
    if FolderModel::is_special(folder) {
        return by_folder(request, folder, &choice, &scan, progress);
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

/// Segments by a paper's network, or one behind a paper's pre-processing, and writes the label map.
fn by_folder(
    request: &SegmentRequest,
    folder: &Path,
    choice: &Choice,
    scan: &[Volume<f32>],
    progress: &mut Progress,
) -> anyhow::Result<Vec<Found>> {
    let [scan] = scan else {
        return Err(Failure::usage("the papers' networks take one --ct").into());
    };
    let one_network = RecipeModel::is_in(folder);
    if request.probabilities.is_some() || (one_network && request.folds != Folds::All) {
        return Err(Failure::usage(
            "--probabilities and --folds are for plain nnU-Net models, not for the papers' own networks",
        )
        .into());
    }
    let model = FolderModel::open(folder, choice, request.preprocessing)?;
    progress.stage("segment");
    let labels = model.segment(scan, &request.options, &mut |done, planned| {
        progress.part(done, planned);
    })?;
    progress.stage("write");
    write_file_with(&request.out, |path| write_labels(path, &labels))?;
    progress.finish();
    Ok(found(&labels, &model.names()))
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
    if let (Some(file), Some(doubt)) = (&request.uncertainty, &labelled.doubt_mm) {
        write_file_with(file, |path| Ok(imaging::write_volume(path, doubt)?))?;
    }
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
