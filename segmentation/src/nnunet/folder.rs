//! Where the files of a model folder lie.

use std::path::{Path, PathBuf};

use super::model::Folds;
use super::plans::Plans;
use crate::error::{Error, Result};

/// Weight files of a fold, the first that is there is taken.
const CHECKPOINTS: [&str; 2] = ["checkpoint_final.pth", "checkpoint_final.safetensors"];

pub fn only_configuration(directory: &Path) -> Result<String> {
    let names = Plans::configurations(directory)?;
    match names.as_slice() {
        [only] => Ok(only.clone()),
        names => Err(Error::model(
            directory,
            format!(
                "neither the folder's name (Trainer__Plans__configuration) nor the checkpoint says which of the configurations {} it is",
                names.join(", ")
            ),
        )),
    }
}

/// The folder itself, or the only model folder in it.
pub fn model_folder(directory: &Path) -> Result<PathBuf> {
    if directory.join("plans.json").is_file() {
        return Ok(directory.to_owned());
    }
    let entries = std::fs::read_dir(directory).map_err(|source| Error::io(directory, source))?;
    let mut models = vec![];
    for entry in entries {
        let path = entry.map_err(|source| Error::io(directory, source))?.path();
        if path.join("plans.json").is_file() {
            models.push(path);
        }
    }
    models.sort();
    match models.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::model(
            directory,
            "there is no plans.json in it: not a model folder of nnU-Net v2",
        )),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Error::model(
                directory,
                format!(
                    "there are {} models in it, name one: {}",
                    names.len(),
                    names.join(", ")
                ),
            ))
        }
    }
}

/// The model folder of another configuration beside this one.
pub fn sibling(directory: &Path, configuration: &str) -> Result<PathBuf> {
    let name = directory.file_name().and_then(|name| name.to_str());
    let stem = name
        .and_then(|name| name.rsplit_once("__"))
        .map(|(stem, _)| stem);
    let stem = stem.ok_or_else(|| {
        Error::model(
            directory,
            "a cascade needs its folder's own name, Trainer__Plans__configuration",
        )
    })?;
    let path = directory.with_file_name(format!("{stem}__{configuration}"));
    if !path.is_dir() {
        return Err(Error::model(
            &path,
            format!(
                "missing: {name:?} refines the result of this model",
                name = name.unwrap_or_default()
            ),
        ));
    }
    Ok(path)
}

pub fn fold_files(directory: &Path, folds: &Folds) -> Result<Vec<PathBuf>> {
    let file = |fold: &str| -> Option<PathBuf> {
        let folder = directory.join(format!("fold_{fold}"));
        CHECKPOINTS
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file())
    };
    let found: Vec<PathBuf> = match folds {
        Folds::These(folds) => {
            let files = folds.iter().map(|fold| {
                file(&fold.to_string()).ok_or_else(|| {
                    Error::model(
                        &directory.join(format!("fold_{fold}")),
                        format!("there is no {}", CHECKPOINTS.join(" or ")),
                    )
                })
            });
            files.collect::<Result<_>>()?
        }
        Folds::All => {
            let entries =
                std::fs::read_dir(directory).map_err(|source| Error::io(directory, source))?;
            let mut numbers = vec![];
            for entry in entries {
                let name = entry
                    .map_err(|source| Error::io(directory, source))?
                    .file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix("fold_"));
                numbers.extend(number.and_then(|number| number.parse::<usize>().ok()));
            }
            numbers.sort_unstable();
            let numbered = numbers.iter().filter_map(|fold| file(&fold.to_string()));
            let numbered: Vec<PathBuf> = numbered.collect();
            match numbered.is_empty() {
                true => file("all").into_iter().collect(),
                false => numbered,
            }
        }
    };
    if found.is_empty() {
        return Err(Error::model(
            directory,
            format!("no folder fold_N with {} in it", CHECKPOINTS.join(" or ")),
        ));
    }
    Ok(found)
}
