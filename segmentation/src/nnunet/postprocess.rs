//! What cross-validation may have found worth doing after the network.

use std::path::Path;

use imaging::LabelMap;
use imaging::components::{Connectivity, label_components};
use serde_json::Value;

use super::json::read_json;
use crate::error::{Error, Result};

/// Steps of a `postprocessing.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Postprocessing(
    /// Sets of labels of which, joined, only the largest component stays.
    pub Vec<Vec<u16>>,
);

impl Postprocessing {
    /// Reads a `postprocessing.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`] when it is no such file, [`Error::Unsupported`] for a step that is not known.
    pub fn read(path: &Path) -> Result<Self> {
        let json = read_json(path)?;
        let list = |key: &str| {
            json.get(key)
                .and_then(Value::as_array)
                .ok_or_else(|| Error::model(path, format!("`{key}` is missing")))
        };
        let (functions, arguments) = (list("postprocessing_fns")?, list("postprocessing_kwargs")?);
        let steps = functions
            .iter()
            .zip(arguments)
            .map(|(function, arguments)| {
                let name = function.as_str().unwrap_or_default();
                if name != "remove_all_but_largest_component_from_segmentation" {
                    return Err(Error::unsupported(path, format!("`{name}` is not known")));
                }
                let labels = match arguments.get("labels_or_regions") {
                    Some(Value::Array(labels)) => labels.clone(),
                    Some(label) => vec![label.clone()],
                    None => vec![],
                };
                let labels = labels.iter().flat_map(|label| match label {
                    Value::Array(region) => region.clone(),
                    label => vec![label.clone()],
                });
                labels
                    .map(|label| {
                        let label = label.as_u64().and_then(|l| u16::try_from(l).ok());
                        label.ok_or_else(|| Error::model(path, "labels_or_regions holds no labels"))
                    })
                    .collect()
            });
        Ok(Self(steps.collect::<Result<_>>()?))
    }

    /// Applies the steps in their order.
    pub fn apply(&self, map: &mut LabelMap) {
        for labels in &self.0 {
            keep_largest(map, labels);
        }
    }
}

/// Sets to background what belongs to `labels` but not to their largest component (26 neighbours); components of equal size stay.
pub fn keep_largest(map: &mut LabelMap, labels: &[u16]) {
    let mask = map.select(labels);
    let components = label_components(&mask, Connectivity::Corners);
    let largest = components.sizes.iter().copied().max().unwrap_or(0);
    for (value, &component) in map.data.iter_mut().zip(&components.labels.data) {
        if component > 0 && components.sizes[component as usize - 1] < largest {
            *value = 0;
        }
    }
}
