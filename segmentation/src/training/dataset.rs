//! A data set in nnU-Net's raw layout: found, measured, prepared, and cut into patches.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use imaging::orientation::{on_grid, to_ras_axes};
use imaging::{LabelMap, Volume};
use serde_json::{Value, json};

use super::augment::{Augmentation, Patch, middle};
use super::random::Random;
use super::trainer::{Sample, Samples};
use crate::channels::Channels;
use crate::error::{Error, Result};
use crate::nnunet::planner::{Fingerprint, Intensities};
use crate::nnunet::resample::resample_labels;
use crate::nnunet::{Labels, Plans, Reader, nonzero_box, prepare};

/// A data set as it lies in its folder.
#[derive(Clone, Debug)]
pub struct RawDataset {
    /// The contents of `dataset.json`.
    pub json: Value,
    /// Names of the channels.
    pub channels: Vec<String>,
    /// Names of the classes by label.
    pub names: BTreeMap<u16, String>,
    /// How arrays are read.
    pub reader: Reader,
    /// The cases, by name.
    pub cases: Vec<RawCase>,
}

/// Files of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCase {
    /// Its name.
    pub name: String,
    /// One image per channel.
    pub images: Vec<PathBuf>,
    /// The label map.
    pub labels: PathBuf,
}

impl RawDataset {
    /// Reads `dataset.json` and finds the files of `imagesTr` and `labelsTr`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`] for files that are missing or left over, [`Error::Unsupported`] for regions and ignored labels.
    pub fn open(directory: &Path) -> Result<Self> {
        let file = directory.join("dataset.json");
        let text = std::fs::read(&file).map_err(|source| Error::io(&file, source))?;
        let json: Value = serde_json::from_slice(&text)
            .map_err(|error| Error::model(&file, format!("not a JSON file: {error}")))?;
        let (channels, labels, reader) = Plans::dataset(&file, &text)?;
        let Labels::Exclusive(names) = labels else {
            return Err(Error::unsupported(
                &file,
                "the labels are regions; training takes labels that exclude each other",
            ));
        };
        if json
            .get("labels")
            .and_then(|labels| labels.get("ignore"))
            .is_some()
        {
            return Err(Error::unsupported(
                &file,
                "there is an `ignore` label, which training does not take; label all voxels",
            ));
        }
        if !(1..=255).contains(&names.len()) || names.keys().copied().ne(1..=names.len() as u16) {
            return Err(Error::model(
                &file,
                format!(
                    "labels must be 1, 2, … without a gap, at most 255; there are {:?}",
                    names.keys().collect::<Vec<_>>()
                ),
            ));
        }
        let ending = json.get("file_ending").and_then(Value::as_str);
        let ending = ending.ok_or_else(|| Error::model(&file, "`file_ending` is missing"))?;
        let labels = directory.join("labelsTr");
        let entries = std::fs::read_dir(&labels).map_err(|source| Error::io(&labels, source))?;
        let mut cases = vec![];
        for entry in entries {
            let path = entry.map_err(|source| Error::io(&labels, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(|name| name.strip_suffix(ending)) else {
                continue;
            };
            let images = (0..channels.len()).map(|channel| {
                let image = directory
                    .join("imagesTr")
                    .join(format!("{name}_{channel:04}{ending}"));
                match image.is_file() {
                    true => Ok(image),
                    false => Err(Error::model(
                        &image,
                        format!("missing: there is a label map of {name:?}"),
                    )),
                }
            });
            cases.push(RawCase {
                name: name.to_owned(),
                images: images.collect::<Result<_>>()?,
                labels: path.clone(),
            });
        }
        if cases.is_empty() {
            return Err(Error::model(
                &labels,
                format!("there is no label map with the ending {ending}"),
            ));
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            json,
            channels,
            names,
            reader,
            cases,
        })
    }

    /// The channels and the label map of a case.
    ///
    /// # Errors
    /// Those of reading; [`Error::Model`] for grids that differ and labels without a name.
    pub fn read(&self, case: &RawCase) -> Result<(Vec<Volume<f32>>, LabelMap)> {
        let mut labels = imaging::read_labels(&case.labels)?;
        let mut images: Vec<Volume<f32>> = vec![];
        for path in &case.images {
            let image = imaging::read_volume(path)?;
            let off = |error: imaging::Error| {
                Error::model(path, format!("not on the grid of its label map: {error}"))
            };
            // The order of the axes is the scan's: prediction sees no label map.
            images.push(match images.first() {
                Some(first) => on_grid(image, &first.grid).map_err(off)?,
                None => {
                    labels = on_grid(labels, &image.grid).map_err(off)?;
                    image
                }
            });
        }
        if let Some(label) = labels
            .labels()
            .into_iter()
            .find(|l| !self.names.contains_key(l))
        {
            return Err(Error::model(
                &case.labels,
                format!("holds label {label}, which dataset.json does not name"),
            ));
        }
        Ok(match self.reader {
            Reader::AsStored => (images, labels),
            Reader::Reoriented => (
                images.iter().map(to_ras_axes).collect(),
                to_ras_axes(&labels),
            ),
        })
    }

    /// Measures spacings, sizes and the CT numbers of the foreground.
    ///
    /// # Errors
    /// Those of reading; [`Error::Model`] when nothing is labelled anywhere.
    pub fn fingerprint(&self, mut seen: impl FnMut(usize)) -> Result<Fingerprint> {
        let mut spacings = vec![];
        let mut shapes = vec![];
        let mut kept = vec![];
        let mut values: Vec<Vec<(f32, f64)>> = vec![vec![]; self.channels.len()];
        for (done, case) in self.cases.iter().enumerate() {
            let (images, labels) = self.read(case)?;
            let [sx, sy, sz] = labels.grid.spacing_mm;
            spacings.push([sz, sy, sx]);
            let array = joined(&images)?;
            let (low, high) = nonzero_box(&array)?;
            let shape: [usize; 3] = std::array::from_fn(|axis| high[axis] - low[axis]);
            shapes.push(shape);
            kept.push(shape.iter().product::<usize>() as f64 / array.voxels() as f64);
            // The original draws as many voxels of every case, so that each counts alike; here each voxel counts by its case.
            let labelled = labels.data.iter().filter(|&&label| label > 0).count();
            let every = labelled
                .div_ceil((MOST_SAMPLES / self.cases.len()).max(1))
                .max(1);
            let weight = 1.0 / labelled.div_ceil(every).max(1) as f64;
            for (channel, values) in values.iter_mut().enumerate() {
                let inside = array.channel(channel).iter().zip(&labels.data);
                let inside = inside.filter(|(_, label)| **label > 0);
                values.extend(inside.step_by(every).map(|(value, _)| (*value, weight)));
            }
            seen(done + 1);
        }
        let mut intensities = BTreeMap::new();
        for (channel, values) in values.into_iter().enumerate() {
            if values.is_empty() {
                return Err(Error::Parameter(
                    "no voxel of the data set carries a label".into(),
                ));
            }
            intensities.insert(channel.to_string(), Intensities::of(values));
        }
        kept.sort_by(f64::total_cmp);
        let middle = kept.len() / 2;
        Ok(Fingerprint {
            spacings,
            shapes_after_crop: shapes,
            median_relative_size_after_cropping: match kept.len() % 2 {
                1 => kept[middle],
                _ => 0.5 * (kept[middle - 1] + kept[middle]),
            },
            foreground_intensity_properties_per_channel: intensities,
        })
    }

    /// Brings a case to the network's grid and stores it in `directory`.
    ///
    /// # Errors
    /// Those of reading and writing; [`Error::Image`] for a scan that does not suit the plans.
    pub fn prepare(&self, case: &RawCase, plans: &Plans, directory: &Path) -> Result<()> {
        let (images, labels) = self.read(case)?;
        let [sx, sy, sz] = labels.grid.spacing_mm;
        let [x, y, z] = labels.grid.size;
        let array = joined(&images)?;
        drop(images);
        let map = Channels {
            shape: [z, y, x],
            data: labels.data.iter().map(|&label| label as i16).collect(),
        };
        let prepared = prepare(plans, array, [sz, sy, sx], None)?;
        let map = map.transposed(plans.transpose_forward);
        let high = std::array::from_fn(|axis| prepared.crop[axis] + prepared.cropped_shape[axis]);
        let map = resample_labels(
            map.into_cropped(prepared.crop, high),
            prepared.image.shape,
            prepared.spacing_mm,
            prepared.network_spacing_mm,
        );
        let stored = StoredCase {
            name: case.name.clone(),
            directory: directory.to_owned(),
            shape: map.shape,
            channels: prepared.image.channels(),
            places: places(&map.data, &case.name),
        };
        stored.write(&prepared.image.data, &map.data)
    }
}

/// Voxels of the foreground that the original draws in all.
const MOST_SAMPLES: usize = 100_000_000;
/// Voxels of a class that are remembered of a case, and the smallest part of them.
const MOST_PLACES: usize = 10_000;
const LEAST_PART: f64 = 0.01;
/// Seed of the places, as the original's.
const PLACES_SEED: u64 = 1234;

impl Intensities {
    /// Of values with weights.
    fn of(mut values: Vec<(f32, f64)>) -> Self {
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let sum: f64 = values.iter().map(|(_, weight)| weight).sum();
        let over = |of: &dyn Fn(f64) -> f64| {
            let all = values
                .iter()
                .map(|&(value, weight)| weight * of(f64::from(value)));
            all.sum::<f64>() / sum
        };
        let mean = over(&|value| value);
        let variance = over(&|value| (value - mean).powi(2));
        let percentile = |part: f64| {
            let mut below = 0.0;
            let reached = values.iter().find(|(_, weight)| {
                below += weight;
                below >= part * sum
            });
            f64::from(reached.or(values.last()).map_or(0.0, |(value, _)| *value))
        };
        Self {
            mean,
            median: percentile(0.5),
            std: variance.sqrt(),
            min: percentile(0.0),
            max: percentile(1.0 + 1e-9),
            percentile_00_5: percentile(0.005),
            percentile_99_5: percentile(0.995),
        }
    }
}

/// Channels of one grid as one array.
fn joined(images: &[Volume<f32>]) -> Result<Channels<f32>> {
    let first = images
        .first()
        .ok_or_else(|| Error::Image("no channel".into()))?;
    let [x, y, z] = first.grid.size;
    let data: Vec<&[f32]> = images.iter().map(|image| image.data.as_slice()).collect();
    Ok(Channels {
        shape: [z, y, x],
        data: data.concat(),
    })
}

/// Some voxels of every class that is there.
fn places(labels: &[i16], name: &str) -> BTreeMap<u8, Vec<u32>> {
    let mut all: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        if label > 0 {
            all.entry(label as u8).or_default().push(index as u32);
        }
    }
    for (class, places) in &mut all {
        let wanted = MOST_PLACES.max((LEAST_PART * places.len() as f64).ceil() as usize);
        if places.len() <= wanted {
            continue;
        }
        let own = crate::network::name_number(name);
        let mut random = Random::new(PLACES_SEED ^ own, u64::from(*class));
        // The first of a shuffle.
        for i in 0..wanted {
            let other = i + random.below(places.len() - i);
            places.swap(i, other);
        }
        places.truncate(wanted);
    }
    all
}

/// A case on the network's grid, in files.
#[derive(Clone, Debug)]
pub struct StoredCase {
    /// Its name.
    pub name: String,
    directory: PathBuf,
    shape: [usize; 3],
    channels: usize,
    /// Some voxels of every class.
    places: BTreeMap<u8, Vec<u32>>,
}

impl StoredCase {
    fn file(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }

    fn write(&self, image: &[f32], labels: &[i16]) -> Result<()> {
        write(
            &self.file("image"),
            image.iter().flat_map(|v| v.to_le_bytes()),
        )?;
        write(
            &self.file("labels"),
            labels.iter().flat_map(|v| v.to_le_bytes()),
        )?;
        let facts = json!({
            "shape": self.shape,
            "channels": self.channels,
            "places": self.places,
        });
        // Last: a case without it is not done.
        write(&self.file("json"), facts.to_string().into_bytes())
    }

    /// Whether the case has been prepared.
    pub fn is_there(directory: &Path, name: &str) -> bool {
        directory.join(format!("{name}.json")).is_file()
    }

    /// Opens a case that has been prepared.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`].
    pub fn open(directory: &Path, name: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Facts {
            shape: [usize; 3],
            channels: usize,
            places: BTreeMap<u8, Vec<u32>>,
        }
        let file = directory.join(format!("{name}.json"));
        let text = std::fs::read(&file).map_err(|source| Error::io(&file, source))?;
        let facts: Facts = serde_json::from_slice(&text)
            .map_err(|error| Error::model(&file, format!("not a prepared case: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            shape: facts.shape,
            channels: facts.channels,
            places: facts.places,
        })
    }

    /// A part of the case, which may reach beyond it: image 0 and label −1 there.
    fn read(&self, low: [isize; 3], size: [usize; 3]) -> Result<Patch> {
        let voxels: usize = self.shape.iter().product();
        let count: usize = size.iter().product();
        let mut image = vec![0.0f32; self.channels * count];
        let mut labels = vec![-1i16; count];
        let inside = |axis: usize| {
            let from = low[axis].clamp(0, self.shape[axis] as isize);
            let to = (low[axis] + size[axis] as isize).clamp(from, self.shape[axis] as isize);
            (from as usize, to as usize)
        };
        let [(z0, z1), (y0, y1), (x0, x1)] = [inside(0), inside(1), inside(2)];
        let width = x1 - x0;
        let open = |ending: &str| {
            let file = self.file(ending);
            File::open(&file).map_err(|source| Error::io(&file, source))
        };
        let (mut images, mut maps) = (open("image")?, open("labels")?);
        let mut bytes = vec![0u8; 4 * width];
        for z in z0..z1 {
            for y in y0..y1 {
                let from = (z * self.shape[1] + y) * self.shape[2] + x0;
                let to = ((z as isize - low[0]) as usize * size[1]
                    + (y as isize - low[1]) as usize)
                    * size[2]
                    + (x0 as isize - low[2]) as usize;
                for channel in 0..self.channels {
                    read_at(&mut images, 4 * (channel * voxels + from), &mut bytes)
                        .map_err(|source| Error::io(&self.file("image"), source))?;
                    let row = &mut image[channel * count + to..][..width];
                    for (value, bytes) in row.iter_mut().zip(bytes.chunks_exact(4)) {
                        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    }
                }
                let bytes = &mut bytes[..2 * width];
                read_at(&mut maps, 2 * from, bytes)
                    .map_err(|source| Error::io(&self.file("labels"), source))?;
                for (value, bytes) in labels[to..].iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = i16::from_le_bytes([bytes[0], bytes[1]]);
                }
            }
        }
        Ok(Patch {
            shape: size,
            image,
            labels,
        })
    }
}

fn read_at(file: &mut File, at: usize, bytes: &mut [u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.read_exact(bytes)
}

/// Writes under another name and renames.
fn write(path: &Path, bytes: impl IntoIterator<Item = u8>) -> Result<()> {
    let partial = path.with_extension("partial");
    let all = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(File::create(&partial)?);
        let mut block = Vec::with_capacity(1 << 16);
        for byte in bytes {
            block.push(byte);
            if block.len() == 1 << 16 {
                file.write_all(&block)?;
                block.clear();
            }
        }
        file.write_all(&block)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(&partial, path)
    };
    all().map_err(|source| Error::io(path, source))
}

/// Patches of prepared cases: sample `i` is the same whenever it is asked for.
#[derive(Clone, Debug)]
pub struct Patches {
    /// The cases.
    pub cases: Vec<StoredCase>,
    /// What is done to a patch.
    pub augmentation: Augmentation,
    /// Whether patches are changed at all, or cut as they are (for judging).
    pub augmented: bool,
    /// Samples of a batch.
    pub batch: usize,
    /// Part of a batch that is put on foreground.
    pub foreground: f64,
    /// Everything random follows from this and the sample's number.
    pub seed: u64,
}

impl Samples for Patches {
    fn sample(&self, index: u64) -> Result<Sample> {
        let mut random = Random::new(self.seed, index);
        let case = self
            .cases
            .get(random.below(self.cases.len()))
            .ok_or_else(|| Error::Parameter("there is no case to learn from".into()))?;
        let place_in_batch = (index % self.batch.max(1) as u64) as f64;
        let first = (self.batch as f64 * (1.0 - self.foreground)).round_ties_even();
        let forced = place_in_batch >= first && !case.places.is_empty();
        let patch = self.augmentation.patch;
        let size = match self.augmented {
            true => self.augmentation.read_size(),
            false => patch,
        };
        let voxel = forced.then(|| {
            let classes: Vec<&Vec<u32>> = case.places.values().collect();
            let places = classes[random.below(classes.len())];
            let index = places[random.below(places.len())] as usize;
            let [_, ny, nx] = case.shape;
            [index / (ny * nx), index / nx % ny, index % nx]
        });
        let low = std::array::from_fn(|axis| {
            // How far the patch may reach out: what is read beyond the network's size, or as much as the case is too small.
            let more = (size[axis] - patch[axis]).max(size[axis].saturating_sub(case.shape[axis]));
            let (first, last) = (
                -(more.div_ceil(2) as isize),
                (case.shape[axis] + more / 2 + more % 2) as isize - size[axis] as isize,
            );
            match voxel {
                Some(voxel) => first.max(voxel[axis] as isize - size[axis] as isize / 2),
                None => first + random.below((last - first).max(0) as usize + 1) as isize,
            }
        });
        let read = case.read(low, size)?;
        let made = match self.augmented {
            true => self.augmentation.apply(&read, &mut random),
            false => middle(&read, patch),
        };
        Ok(Sample {
            target: made
                .labels
                .iter()
                .map(|&label| label.max(0) as u8)
                .collect(),
            image: made.image,
            weights: vec![],
        })
    }
}

#[cfg(test)]
mod tests {
    use imaging::orientation::{parse_axis_code, reorient};
    use imaging::{Grid, write_volume};

    use super::*;

    /// A label map and a second channel whose axes run otherwise come in the order of the first channel, in which the network will see
    /// a scan.
    #[test]
    fn a_case_has_the_axes_of_its_scan() {
        let folder = tempfile::tempdir().unwrap();
        let grid = Grid::axis_aligned([4, 3, 2], [0.7, 0.8, 1.5]);
        let scan = Volume::from_fn(grid.clone(), |[i, j, k]| (i + 10 * j + 100 * k) as f32);
        let map = scan.map(|&value| u16::from(value > 100.0));
        let turned = parse_axis_code("SRA").unwrap();
        let path = |name: &str| folder.path().join(name);
        write_volume(&path("scan.nii"), &scan).unwrap();
        write_volume(&path("second.nii"), &reorient(&scan, turned).unwrap()).unwrap();
        write_volume(&path("map.nii"), &reorient(&map, turned).unwrap()).unwrap();
        let data = RawDataset {
            json: Value::Null,
            channels: vec!["CT".into(), "CT".into()],
            names: BTreeMap::from([(1, "bone".into())]),
            reader: Reader::AsStored,
            cases: Vec::new(),
        };
        let case = RawCase {
            name: "case".into(),
            images: vec![path("scan.nii"), path("second.nii")],
            labels: path("map.nii"),
        };
        let (images, labels) = data.read(&case).unwrap();
        for image in &images {
            image.grid.check_same(&grid).unwrap();
            assert_eq!(image.data, scan.data);
        }
        assert_eq!(labels.data, map.data);
        // Another grid is refused as before.
        let mut other = map;
        other.grid.origin_mm.x += 0.7;
        std::fs::remove_file(path("map.nii")).unwrap();
        write_volume(&path("map.nii"), &other).unwrap();
        let refused = data.read(&case).unwrap_err().to_string();
        assert!(
            refused.contains("not on the grid of its label map"),
            "{refused}"
        );
    }
}
