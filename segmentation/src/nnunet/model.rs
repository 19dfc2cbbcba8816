//! A model folder, opened once and run on any number of scans.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imaging::orientation::{RAS, axes_of, reorient};
use imaging::{LabelMap, Volume};

use super::checkpoint::Checkpoint;
use super::export::{Exporter, sigmoid};
use super::folder::{fold_files, model_folder, only_configuration, sibling};
use super::plans::{Labels, Plans, Reader};
use super::postprocess::Postprocessing;
use super::preprocess::{Prepared, prepare};
use super::resample::logit_taps;
use super::sliding_window::{Ensemble, Tiling, importance, logits_by_slice, logits_in_half};
use crate::channels::Channels;
use crate::error::{Error, Result};
use crate::network::{Device, Network};

/// Which folds of a model run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Folds {
    /// All that are there; `fold_all` only where it is the only one.
    #[default]
    All,
    /// These.
    These(Vec<usize>),
}

/// What to open of a model folder.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Which folds.
    pub folds: Folds,
    /// Where the networks run.
    pub device: Device,
}

/// What a model folder of one fold holds.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// `plans.json`.
    pub plans: &'a [u8],
    /// `dataset.json`.
    pub dataset: &'a [u8],
    /// The checkpoint, safetensors.
    pub weights: &'a [u8],
}

/// Arithmetic of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    /// Half precision as the original: the same labels, to the last tie.
    Exact,
    /// Single precision, with memory for one layer of tiles only.
    #[default]
    Fast,
}

/// How a scan is segmented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Whether tiles are also mirrored along the axes that the checkpoint allows.
    pub mirroring: bool,
    /// Distance of tiles as a part of their size.
    pub step: f64,
    /// Arithmetic of logits.
    pub precision: Precision,
    /// Whether probabilities are wanted beside the labels.
    pub probabilities: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mirroring: true,
            step: 0.5,
            precision: Precision::Fast,
            probabilities: false,
        }
    }
}

/// A model folder with the weights of its folds on a device.
#[derive(Debug)]
pub struct Model {
    /// What the model was trained for.
    pub plans: Plans,
    /// The files the weights came from.
    pub weight_files: Vec<PathBuf>,
    /// Name of the trainer.
    pub trainer: Option<String>,
    /// Steps that follow the network, when cross-validation found any.
    pub postprocessing: Postprocessing,
    networks: Vec<Network>,
    mirror_axes: Vec<usize>,
    /// The model whose result this one refines (cascade).
    previous: Option<Box<Model>>,
}

/// Labels of a scan.
#[derive(Clone, Debug)]
pub struct Segmentation {
    /// Labels on the scan's grid.
    pub labels: LabelMap,
    /// Names of the labels.
    pub names: BTreeMap<u16, String>,
    /// Probabilities, where asked for.
    pub probabilities: Option<Probabilities>,
}

/// Probability of every class at every voxel, channel by channel in the order of the network's outputs.
#[derive(Clone, Debug)]
pub struct Probabilities {
    /// The scan's voxels along z, y, x and the values.
    pub values: Channels<f32>,
}

impl Model {
    /// Opens a model folder `Trainer__Plans__configuration`, or the folder of a data set that holds one of them only.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Model`] when files are missing, damaged or contradict each other, [`Error::Unsupported`],
    /// [`Error::Weights`], [`Error::Device`].
    pub fn open(directory: &Path, choice: &Choice) -> Result<Self> {
        let directory = model_folder(directory)?;
        let folds = fold_files(&directory, &choice.folds)?;
        let named = directory
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.rsplit_once("__"))
            .map(|(_, configuration)| configuration.to_owned());
        let mut networks = vec![];
        let mut facts: Option<(Plans, Vec<usize>, Option<String>)> = None;
        for file in &folds {
            let mut checkpoint = Checkpoint::read(file)?;
            if facts.is_none() {
                let configuration = match named.as_ref().or(checkpoint.configuration.as_ref()) {
                    Some(configuration) => configuration.clone(),
                    None => only_configuration(&directory)?,
                };
                let plans = Plans::read(&directory, &configuration)?;
                let axes = mirror_axes(file, &plans, &checkpoint)?;
                facts = Some((plans, axes, checkpoint.trainer.clone()));
            }
            let Some((plans, ..)) = &facts else { continue };
            networks.push(network(file, plans, &mut checkpoint, choice.device)?);
        }
        let (plans, mirror_axes, trainer) =
            facts.ok_or_else(|| Error::model(&directory, "there is no fold to run"))?;
        let previous = match &plans.previous_stage {
            Some(stage) => Some(Box::new(Self::open(&sibling(&directory, stage)?, choice)?)),
            None => None,
        };
        let file = directory.join("postprocessing.json");
        let postprocessing = match file.is_file() {
            true => Postprocessing::read(&file)?,
            false => Postprocessing::default(),
        };
        Ok(Self {
            plans,
            weight_files: folds,
            trainer,
            postprocessing,
            networks,
            mirror_axes,
            previous,
        })
    }

    /// A model of one fold whose files lie in memory. The stage before it, where it refines one, is the caller's: see
    /// [`Self::segment_after`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_memory(files: &Files<'_>, device: Device) -> Result<Self> {
        let name = Path::new(files.name);
        let mut checkpoint = Checkpoint::parse(name, files.weights)?;
        let configuration = checkpoint.configuration.clone();
        let configuration = configuration
            .ok_or_else(|| Error::model(name, "the weights do not name their configuration"))?;
        let plans = Plans::parse(name, files.plans, files.dataset, &configuration)?;
        Ok(Self {
            mirror_axes: mirror_axes(name, &plans, &checkpoint)?,
            networks: vec![network(name, &plans, &mut checkpoint, device)?],
            plans,
            weight_files: vec![],
            trainer: checkpoint.trainer,
            postprocessing: Postprocessing::default(),
            previous: None,
        })
    }

    /// Axes (0 z, 1 y, 2 x of the network's array) along which the weights allow mirroring.
    pub fn mirror_axes(&self) -> &[usize] {
        &self.mirror_axes
    }

    /// Segments a scan, given as one volume per channel on one grid. `progress` is told how many runs of the network are done, and of
    /// how many.
    ///
    /// # Errors
    /// [`Error::Image`] when the scan does not suit the model, [`Error::Parameter`] for a step outside 0 to 1,
    /// [`Error::NotFinite`], [`Error::Device`].
    pub fn segment(
        &self,
        scan: &[Volume<f32>],
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Segmentation> {
        let previous = match &self.previous {
            Some(model) => {
                let options = Options {
                    probabilities: false,
                    ..*options
                };
                Some(model.segment(scan, &options, progress)?.labels)
            }
            None => None,
        };
        self.segment_after(scan, previous.as_ref(), options, progress)
    }

    /// As [`Self::segment`], with the labels that the stage before found, on the scan's grid.
    ///
    /// # Errors
    /// As [`Self::segment`]; [`Error::Parameter`] when the model refines a stage and none is given, or the other way round.
    pub fn segment_after(
        &self,
        scan: &[Volume<f32>],
        previous: Option<&LabelMap>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Segmentation> {
        if previous.is_some() != self.plans.previous_stage.is_some() {
            return Err(Error::Parameter(match &self.plans.previous_stage {
                Some(stage) => {
                    format!("the model refines the result of `{stage}`, which is not given")
                }
                None => "the model refines no other, but a result is given".into(),
            }));
        }
        if !(options.step > 0.0 && options.step <= 1.0) {
            return Err(Error::Parameter(format!(
                "step {}; it is a part of a tile, above 0 and at most 1",
                options.step
            )));
        }
        let edge = self
            .plans
            .patch
            .iter()
            .copied()
            .filter(|&n| n > 1)
            .min()
            .unwrap_or(1);
        if options.step * (edge as f64) < 1.0 {
            return Err(Error::Parameter(format!(
                "step {} of a tile of {edge} voxels is less than a voxel",
                options.step
            )));
        }
        let first = scan
            .first()
            .ok_or_else(|| Error::Image("no channel given".into()))?;
        for volume in scan {
            first.grid.check_same(&volume.grid)?;
        }
        let previous = match previous {
            Some(labels) => {
                first.grid.check_same(&labels.grid)?;
                let read = self.as_read(labels)?;
                Some(read.data.iter().map(|&l| l as i16).collect::<Vec<i16>>())
            }
            None => None,
        };
        let mut grid = first.grid.clone();
        let mut data = Vec::with_capacity(scan.len() * first.data.len());
        for volume in scan {
            let read = self.as_read(volume)?;
            data.extend_from_slice(&read.data);
            grid.clone_from(&read.grid);
        }
        let [x, y, z] = grid.size;
        let [sx, sy, sz] = grid.spacing_mm;
        let shape = [z, y, x];
        let array = Channels { shape, data };
        let previous = previous.map(|data| Channels { shape, data });
        let mut prepared = prepare(&self.plans, array, [sz, sy, sx], previous)?;
        let (map, logits) = self.predict(&mut prepared, options, progress)?;
        let labels = self.restored(
            &prepared,
            &Channels {
                shape: prepared.cropped_shape,
                data: map,
            },
            &[0],
        );
        let probabilities = logits.map(|logits| {
            let background: Vec<f32> = match &self.plans.labels {
                Labels::Regions(regions) => vec![0.0; regions.len()],
                Labels::Exclusive(names) => {
                    let foreground = std::iter::repeat_n(0.0, names.len());
                    std::iter::once(1.0).chain(foreground).collect()
                }
            };
            self.restored(&prepared, &self.likely(&prepared, &logits), &background)
        });
        let labels = Volume::new(grid.clone(), labels.data)?;
        let back = |labels: LabelMap| self.as_stored(labels, first);
        let probabilities = match probabilities {
            None => None,
            Some(values) => {
                let channels = (0..values.channels()).map(|channel| {
                    let volume = Volume::new(grid.clone(), values.channel(channel).to_vec())?;
                    Ok(self.as_stored(volume, first)?.data)
                });
                let [x, y, z] = first.grid.size;
                let data: Vec<Vec<f32>> = channels.collect::<Result<_>>()?;
                Some(Probabilities {
                    values: Channels {
                        shape: [z, y, x],
                        data: data.concat(),
                    },
                })
            }
        };
        Ok(Segmentation {
            labels: back(labels)?,
            names: self.plans.labels.names(),
            probabilities,
        })
    }

    /// The volume as the model's reader would have it.
    fn as_read<'a, T: Copy + Send + Sync>(
        &self,
        volume: &'a Volume<T>,
    ) -> Result<Cow<'a, Volume<T>>> {
        Ok(match self.plans.reader {
            Reader::AsStored => Cow::Borrowed(volume),
            Reader::Reoriented => Cow::Owned(reorient(volume, RAS)?),
        })
    }

    /// Undoes [`Self::as_read`].
    fn as_stored<T: Copy + Send + Sync, U>(
        &self,
        volume: Volume<T>,
        scan: &Volume<U>,
    ) -> Result<Volume<T>> {
        if self.plans.reader == Reader::AsStored {
            return Ok(volume);
        }
        let mut back = reorient(&volume, axes_of(&scan.grid))?;
        // The same to rounding; the scan's own numbers are kept.
        back.grid = scan.grid.clone();
        Ok(back)
    }

    /// Labels, and where asked for logits slice by slice, on the cropped scan.
    fn predict(
        &self,
        prepared: &mut Prepared,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Vec<u16>, Option<Vec<f32>>)> {
        // The image is needed no longer than the networks run.
        let image = std::mem::take(&mut prepared.image);
        let shape = image.shape;
        let plans = &self.plans;
        let tiling = Tiling::new(shape, plans.patch, options.step, plans.is_2d());
        let weights = importance(plans.patch, plans.is_2d());
        let ensemble = Ensemble {
            networks: &self.networks,
            mirror_axes: match options.mirroring {
                true => self.mirror_axes.clone(),
                false => vec![],
            },
            classes: plans.labels.outputs(),
        };
        let taps = logit_taps(
            shape,
            prepared.cropped_shape,
            prepared.network_spacing_mm,
            prepared.spacing_mm,
        );
        let mut exporter = Exporter::new(
            &plans.labels,
            shape,
            prepared.cropped_shape,
            taps,
            options.precision == Precision::Exact,
            options.probabilities,
        );
        let mut done = 0;
        match options.precision {
            Precision::Exact => {
                let total = tiling.len() * self.networks.len();
                let logits = logits_in_half(image, &tiling, &weights, &ensemble, || {
                    done += 1;
                    progress(done, total);
                })?;
                let area = shape[1] * shape[2];
                for z in 0..shape[0] {
                    let slice = (0..ensemble.classes).flat_map(|class| {
                        let from = &logits.channel(class)[z * area..(z + 1) * area];
                        from.iter().map(|v| v.to_f32())
                    });
                    exporter.push(slice.collect());
                }
            }
            Precision::Fast => {
                let total = tiling.len();
                logits_by_slice(
                    image,
                    &tiling,
                    &weights,
                    &ensemble,
                    || {
                        done += 1;
                        progress(done, total);
                    },
                    |slice| {
                        exporter.push(slice);
                        Ok(())
                    },
                )?;
            }
        }
        Ok((exporter.map, exporter.logits))
    }

    /// Probabilities (class, z, y, x) of logits stored slice by slice (z, class, y, x).
    fn likely(&self, prepared: &Prepared, logits: &[f32]) -> Channels<f32> {
        let classes = self.plans.labels.outputs();
        let shape = prepared.cropped_shape;
        let area = shape[1] * shape[2];
        let mut likely = Channels::filled(classes, shape, 0.0f32);
        let voxels = likely.voxels();
        for (z, slice) in logits.chunks_exact(classes * area).enumerate() {
            for at in 0..area {
                let of = |class: usize| slice[class * area + at];
                let index = |class: usize| class * voxels + z * area + at;
                if matches!(self.plans.labels, Labels::Regions(_)) {
                    for class in 0..classes {
                        likely.data[index(class)] = sigmoid(of(class));
                    }
                    continue;
                }
                let most = (0..classes).map(of).fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = (0..classes).map(|class| (of(class) - most).exp()).sum();
                for class in 0..classes {
                    likely.data[index(class)] = (of(class) - most).exp() / sum;
                }
            }
        }
        likely
    }

    /// A result on the crop, put back where the crop came from, in the file's order of axes.
    fn restored<T: Copy>(
        &self,
        prepared: &Prepared,
        cropped: &Channels<T>,
        outside: &[T],
    ) -> Channels<T> {
        let low = prepared.crop;
        let after: [usize; 3] = std::array::from_fn(|axis| {
            prepared.shape_before_crop[axis] - low[axis] - prepared.cropped_shape[axis]
        });
        let mut whole: Option<Channels<T>> = None;
        for (channel, &outside) in outside.iter().enumerate() {
            let one = Channels {
                shape: cropped.shape,
                data: cropped.channel(channel).to_vec(),
            }
            .padded(low, after, outside);
            match &mut whole {
                None => whole = Some(one),
                Some(whole) => whole.data.extend(one.data),
            }
        }
        let mut back = [0; 3];
        for (to, &from) in self.plans.transpose_forward.iter().enumerate() {
            back[from] = to;
        }
        whole.map_or_else(
            || Channels {
                shape: prepared.shape_before_crop,
                data: vec![],
            },
            |whole| whole.transposed(back),
        )
    }
}

/// The network of a fold.
fn network(
    file: &Path,
    plans: &Plans,
    checkpoint: &mut Checkpoint,
    device: Device,
) -> Result<Network> {
    let fits = |error: Error| match error {
        Error::Weights(reason) => Error::model(file, reason),
        error => error,
    };
    let network = Network::new(&plans.architecture, &mut checkpoint.weights, device);
    let network = network.map_err(fits)?;
    checkpoint.weights.finish().map_err(fits)?;
    Ok(network)
}

/// Axes of the network's array along which it may see a mirrored image.
fn mirror_axes(file: &Path, plans: &Plans, checkpoint: &Checkpoint) -> Result<Vec<usize>> {
    let offset = 3 - plans.architecture.dimensions;
    let axes = checkpoint.mirror_axes.iter().map(|axis| axis + offset);
    let axes: Vec<usize> = axes.collect();
    match axes.iter().find(|&&axis| axis > 2) {
        Some(axis) => Err(Error::model(
            file,
            format!("mirroring along axis {} of a 2D network", axis - offset),
        )),
        None => Ok(axes),
    }
}
