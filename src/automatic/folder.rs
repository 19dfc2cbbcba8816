//! A model folder, whatever kind of network lies in it, with the pre-processing it was trained behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use segmentation::coregistration::{Side, Template};
use segmentation::network::Device;
use segmentation::nnunet::{Choice, Model, Options};
use segmentation::recipes::RecipeModel;

use crate::exit::{EndWith as _, Failure, Kind};

/// The femur that scans are laid on before the network sees them, in the folder of a model that was trained so.
pub const TEMPLATE: &str = "template.nii.gz";

/// Labels of femora that were laid on a template.
const LEFT: u16 = 1;
const RIGHT: u16 = 2;

enum Network {
    NnUNet(Box<Model>),
    Recipe(Box<RecipeModel>),
}

/// A model folder.
pub struct FolderModel {
    network: Network,
    template: Option<Template>,
    /// The files that fix what it does.
    pub weight_files: Vec<PathBuf>,
}

impl FolderModel {
    /// Whether a folder holds more than an nnU-Net model.
    pub fn is_special(folder: &Path) -> bool {
        RecipeModel::is_in(folder) || folder.join(TEMPLATE).is_file()
    }

    /// Opens a folder; its template is left aside unless `preprocessing`.
    ///
    /// # Errors
    /// A [`Failure`] of kind input for files that are missing or damaged.
    pub fn open(folder: &Path, choice: &Choice, preprocessing: bool) -> anyhow::Result<Self> {
        let (network, mut weight_files) = if RecipeModel::is_in(folder) {
            let model = recipe_model(folder, choice.device)?;
            let files = model.weight_files.clone();
            (Network::Recipe(Box::new(model)), files)
        } else {
            let model = Model::open(folder, choice)
                .context("the model")
                .kind(Kind::Input)?;
            let files = model.weight_files.clone();
            (Network::NnUNet(Box::new(model)), files)
        };
        let file = folder.join(TEMPLATE);
        let template = match preprocessing && file.is_file() {
            true => Some(Template {
                image: imaging::read_volume(&file).kind(Kind::Input)?,
            }),
            false => None,
        };
        if template.is_some() {
            weight_files.push(file);
        }
        Ok(Self {
            network,
            template,
            weight_files,
        })
    }

    /// Names of the labels it writes.
    pub fn names(&self) -> BTreeMap<u16, String> {
        if self.template.is_some() {
            return [(LEFT, "femur_left"), (RIGHT, "femur_right")]
                .map(|(label, name)| (label, name.to_owned()))
                .into();
        }
        match &self.network {
            Network::NnUNet(model) => model.plans.labels.names(),
            Network::Recipe(model) => model.names(),
        }
    }

    /// The label map of a scan, on its grid.
    ///
    /// # Errors
    /// A [`Failure`] of kind input for a scan that is refused.
    pub fn segment(
        &self,
        scan: &Volume<f32>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> anyhow::Result<LabelMap> {
        let Some(template) = &self.template else {
            return self.seen(scan, options, progress);
        };
        let laid = template.lay(scan).context("the scan").kind(Kind::Input)?;
        let mut labels = LabelMap::filled(scan.grid.clone(), 0);
        for femur in &laid {
            // The bar starts anew with each femur.
            let found = self.seen(&femur.image, options, progress)?;
            let own = match femur.side {
                Side::Left => LEFT,
                Side::Right => RIGHT,
            };
            let value = |label: u16| if label > 0 { own } else { 0 };
            template.paste(femur, &found, &scan.grid, &mut labels, value)?;
        }
        Ok(labels)
    }

    fn seen(
        &self,
        scan: &Volume<f32>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> anyhow::Result<LabelMap> {
        match &self.network {
            Network::NnUNet(model) => {
                let found = model.segment(std::slice::from_ref(scan), options, progress);
                let mut found = found.context("the scan").kind(Kind::Input)?;
                model.postprocessing.apply(&mut found.labels);
                Ok(found.labels)
            }
            Network::Recipe(model) => model
                .segment(scan, progress)
                .context("the scan")
                .kind(Kind::Input),
        }
    }
}

/// A paper's trained network in its folder.
fn recipe_model(folder: &Path, device: Device) -> anyhow::Result<RecipeModel> {
    let file = folder.join(RecipeModel::FILES[0]);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{}", file.display()))
        .kind(Kind::Input)?;
    let recipe = toml::from_str(&text).map_err(|error| {
        Failure::input(format!("{}: {error}", file.display()))
            .with_help("train the model anew, or take the file from where it came")
    })?;
    RecipeModel::open(folder, recipe, device)
        .context("the model")
        .kind(Kind::Input)
}
