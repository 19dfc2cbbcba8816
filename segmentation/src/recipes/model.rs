//! A trained recipe in its folder, and what it makes of a scan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imaging::orientation::{axes_of, reorient};
use imaging::resample::resample_labels;
use imaging::{LabelMap, Volume};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::{Method, Recipe};
use crate::error::{Error, Result};
use crate::network::{Device, Network, Stored};

/// The isotropic grid of planes, and their directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Pixels along a side of a plane.
    pub dim: usize,
    /// Length of a side, mm.
    pub span_mm: f64,
    /// The directions.
    pub normals: Vec<[f64; 3]>,
}

/// What a recipe took from the cases it learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// Names of the labels 1, 2, ….
    pub names: Vec<String>,
    /// Voxels of a sample, z, y, x.
    pub patch: [usize; 3],
    /// Planes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// Probability from which a voxel is bone; the likeliest label where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Area under the curve that the threshold was chosen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

impl Fitted {
    /// Chooses the threshold by Youden's J of what a network says of voxels.
    pub fn choose_threshold(&mut self, scores: &[(f32, bool)]) {
        if let Some((threshold, auc)) = super::triplanar::youden(scores) {
            self.threshold = Some(threshold);
            self.auc = Some(auc);
        }
    }
}

/// A trained recipe.
#[derive(Debug)]
pub struct RecipeModel {
    recipe: Recipe,
    /// What it took from its cases.
    pub fitted: Fitted,
    /// The files of its weights.
    pub weight_files: Vec<PathBuf>,
    networks: Vec<Network>,
}

/// The recipe in a model folder.
const RECIPE: &str = "recipe.toml";
/// What it took from its cases.
const FITTED: &str = "fitted.json";

impl RecipeModel {
    /// File of the recipe in a model folder, and of what it took from its cases.
    pub const FILES: [&str; 2] = [RECIPE, FITTED];

    /// Whether a folder holds a trained recipe.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(RECIPE).is_file()
    }

    /// File of a network's weights in a model folder.
    pub fn weights_file(network: &str) -> String {
        format!("{network}/checkpoint_final.safetensors")
    }

    /// Opens a model folder; `recipe` is its [`RecipeModel::FILES`]'s first, parsed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`] for files that are missing or damaged.
    pub fn open(folder: &Path, recipe: Recipe, device: Device) -> Result<Self> {
        recipe
            .check()
            .map_err(|error| Error::model(&folder.join(RECIPE), error.to_string()))?;
        let file = folder.join(FITTED);
        if !file.exists() {
            return Err(Error::model(
                &file,
                "missing: the training that makes it has not ended; go on with `train --resume`",
            ));
        }
        let text = std::fs::read(&file).map_err(|source| Error::io(&file, source))?;
        let fitted: Fitted = serde_json::from_slice(&text)
            .map_err(|error| Error::model(&file, format!("damaged: {error}")))?;
        if fitted.names.is_empty() || fitted.names.len() > 254 {
            return Err(Error::model(&file, "it names no label, or too many"));
        }
        if let Some(view) = &fitted.view {
            let bad = view.dim < 2
                || !(view.span_mm.is_finite() && view.span_mm > 2.0)
                || view.normals.is_empty();
            if bad {
                return Err(Error::model(&file, "its planes cannot be"));
            }
        } else if matches!(recipe.method, Method::Planes(_)) {
            return Err(Error::model(&file, "`view` is missing"));
        }
        let outputs = fitted.names.len() + 1;
        let names = recipe.networks();
        let weight_files: Vec<PathBuf> = names
            .iter()
            .map(|name| folder.join(Self::weights_file(name)))
            .collect();
        let networks = weight_files.iter().map(|file| {
            let (mut weights, _) = Stored::read_safetensors(file)?;
            let network = Network::new(recipe.topology(outputs), &mut weights, device);
            let network = network.map_err(|error| match error {
                Error::Weights(reason) => Error::model(file, reason),
                error => error,
            })?;
            weights
                .finish()
                .map_err(|error| Error::model(file, error.to_string()))?;
            Ok(network)
        });
        Ok(Self {
            networks: networks.collect::<Result<_>>()?,
            weight_files,
            recipe,
            fitted,
        })
    }

    /// Names of the labels.
    pub fn names(&self) -> BTreeMap<u16, String> {
        (1..).zip(self.fitted.names.iter().cloned()).collect()
    }

    /// The label map of a scan, on its grid. `progress` is told how many runs of a network are done, and of how many.
    ///
    /// # Errors
    /// [`Error::Image`] for a scan that does not suit the network.
    pub fn segment(
        &self,
        scan: &Volume<f32>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<LabelMap> {
        let recipe = &self.recipe;
        let case = Case::new(scan, None, recipe.spacing_mm, &recipe.normalisation)?;
        let outputs = self.fitted.names.len() + 1;
        let network = &self.networks[0];
        let found = match &recipe.method {
            Method::Slices(own) => {
                own.probabilities(&self.networks, &case, recipe, outputs, progress)?
            }
            Method::Volumetric(own) => own.probabilities(network, &case, outputs, progress)?,
            Method::Planes(own) => {
                let view = self.fitted.view.as_ref();
                let view = view.ok_or_else(|| Error::Parameter("no planes".into()))?;
                own.probabilities(network, &case, view, outputs, progress)?
            }
            Method::Triplanar(own) => own.probabilities(network, &case, outputs, progress)?,
        };
        if found.iter().any(|value| !value.is_finite()) {
            return Err(Error::NotFinite(
                "the network gave a value that is not a number; its weights may be damaged".into(),
            ));
        }
        let voxels = case.image.data.len();
        let mut labels = case.labels;
        for (voxel, label) in labels.data.iter_mut().enumerate() {
            let value = |class: usize| found[class * voxels + voxel];
            *label = match self.fitted.threshold {
                Some(threshold) if outputs == 2 => u16::from(f64::from(value(1)) >= threshold),
                _ => (1..outputs).fold(0, |best, class| {
                    if value(class) > value(best) {
                        class
                    } else {
                        best
                    }
                }) as u16,
            };
        }
        recipe.postprocess.apply(&mut labels);
        let on_scan = resample_labels(&labels, &case.upright);
        let mut on_scan = reorient(&on_scan, axes_of(&scan.grid))?;
        on_scan.grid = scan.grid.clone();
        Ok(on_scan)
    }
}

/// Probabilities in place of logits (class, voxel).
pub(super) fn softmax(logits: &mut [f32], classes: usize) {
    let voxels = logits.len() / classes;
    for voxel in 0..voxels {
        let at = |class: usize| class * voxels + voxel;
        let most = (0..classes)
            .map(|class| logits[at(class)])
            .fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for class in 0..classes {
            let value = (logits[at(class)] - most).exp();
            logits[at(class)] = value;
            total += value;
        }
        for class in 0..classes {
            logits[at(class)] /= total;
        }
    }
}
