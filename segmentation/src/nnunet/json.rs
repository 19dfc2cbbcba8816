//! JSON read with its place, so that what is wrong can be named.

use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Reads a JSON file.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    parse_json(path, &text)
}

/// Reads JSON that came from `path`.
pub fn parse_json(path: &Path, text: &[u8]) -> Result<Value> {
    serde_json::from_slice(text)
        .map_err(|error| Error::model(path, format!("not a JSON file: {error}")))
}

/// A JSON value, its file and its place in it, for errors that say where.
pub struct At<'a> {
    pub file: &'a Path,
    pub place: String,
    pub value: &'a Value,
}

impl<'a> At<'a> {
    pub fn new(file: &'a Path, value: &'a Value) -> Self {
        Self {
            file,
            place: String::new(),
            value,
        }
    }

    pub fn named(mut self, place: &str) -> Self {
        self.place = place.to_owned();
        self
    }

    pub fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let place = match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        };
        Some(Self {
            file: self.file,
            place,
            value,
        })
    }

    pub fn field(&self, key: &str) -> Result<Self> {
        self.get(key).ok_or_else(|| {
            let within = match self.place.as_str() {
                "" => String::new(),
                place => format!(" in `{place}`"),
            };
            Error::model(self.file, format!("`{key}` is missing{within}"))
        })
    }

    pub fn wrong(&self, reason: &str) -> Error {
        Error::model(self.file, format!("{}: {reason}", self.place))
    }

    pub fn unsupported(&self, reason: &str) -> Error {
        Error::unsupported(self.file, format!("{}: {reason}", self.place))
    }

    pub fn object(&self) -> Result<&'a Map<String, Value>> {
        self.value
            .as_object()
            .ok_or_else(|| self.wrong("not a table"))
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("not a text"))
    }

    pub fn array(&self) -> Result<&'a Vec<Value>> {
        self.value
            .as_array()
            .ok_or_else(|| self.wrong("not a list"))
    }

    pub fn number(&self) -> Result<f64> {
        self.value
            .as_f64()
            .ok_or_else(|| self.wrong(&format!("{} is not a number", self.value)))
    }

    pub fn numbers(&self) -> Result<Vec<f64>> {
        self.array()?
            .iter()
            .map(|value| {
                value
                    .as_f64()
                    .ok_or_else(|| self.wrong(&format!("{value} is not a number")))
            })
            .collect()
    }

    pub fn integers(&self) -> Result<Vec<usize>> {
        integers(self.value)
            .ok_or_else(|| self.wrong(&format!("{} is not a list of whole numbers", self.value)))
    }
}

/// A list of whole numbers.
pub fn integers(value: &Value) -> Option<Vec<usize>> {
    let numbers = value.as_array()?.iter();
    numbers.map(|v| usize::try_from(v.as_u64()?).ok()).collect()
}

/// The entries of a table in the order of the file, which the order of regions depends on.
pub struct InOrder(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<InOrder, A::Error> {
                let mut entries = vec![];
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
