//! Protocols: named sets of settings, built in or from a file.

use std::path::Path;

use crate::exit::Failure;
use crate::plan::{Bone, KEYS, Settings, not_one_of};

/// The built-in protocols: name and file.
pub const BUILT_IN: &[(&str, &str)] = &[
    (
        "saillard2024-femur",
        include_str!("../protocols/saillard2024-femur.toml"),
    ),
    (
        "saillard2024-vertebra",
        include_str!("../protocols/saillard2024-vertebra.toml"),
    ),
    (
        "sas2020-femur",
        include_str!("../protocols/sas2020-femur.toml"),
    ),
    (
        "linear-sideways-fall",
        include_str!("../protocols/linear-sideways-fall.toml"),
    ),
    (
        "linear-compression",
        include_str!("../protocols/linear-compression.toml"),
    ),
];

/// A named set of settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// Its name.
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// The bones it is for.
    pub bones: Vec<Bone>,
    /// All settings.
    pub settings: Settings,
    /// Keys that a user's file set; empty for a built-in protocol.
    pub given: Vec<&'static str>,
}

impl Protocol {
    /// The protocol used when none is named.
    pub fn default_name(bone: Bone) -> &'static str {
        match bone {
            Bone::Femur => "saillard2024-femur",
            Bone::Vertebra => "saillard2024-vertebra",
        }
    }

    /// The text of a built-in protocol.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage listing the names there are.
    pub fn text(name: &str) -> anyhow::Result<&'static str> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| *text).ok_or_else(|| {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Failure::usage(format!("protocol {}", not_one_of(name, &names)))
                .with_help("a file of your own must end in .toml")
                .into()
        })
    }

    /// A built-in protocol.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when there is none of that name.
    pub fn built_in(name: &str) -> anyhow::Result<Self> {
        Self::parse(name, Self::text(name)?, None)
    }

    /// A built-in protocol by name, or one from a file whose name ends in `.toml`.
    ///
    /// A file may leave out keys: they come from the protocol it `extends`, by default that of the bone.
    ///
    /// # Errors
    /// A [`Failure`]: of kind usage for an unknown name or key, of kind input for an unreadable file.
    pub fn load(name_or_file: &str, bone: Bone) -> anyhow::Result<Self> {
        let path = Path::new(name_or_file);
        if path.extension().is_none_or(|e| e != "toml") {
            return Self::built_in(name_or_file);
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::input(format!("the protocol file {name_or_file} cannot be read"))
                .because(error)
        })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text, Some(bone)).map_err(|error| {
            Failure::default()
                .because(error.context(name_or_file.to_owned()))
                .into()
        })
    }

    /// Reads a protocol: complete when built in (`bone` is `None`), else on top of another.
    fn parse(name: &str, text: &str, bone: Option<Bone>) -> anyhow::Result<Self> {
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let (line, column) = crate::plan::position(text, error.span());
            Failure::usage(format!(
                "line {line}, column {column}: {}",
                error.message().trim()
            ))
        })?;
        let name = take_text(&mut table, "name")?.unwrap_or_else(|| name.to_owned());
        let summary = take_text(&mut table, "summary")?.unwrap_or_default();
        let bones = take_bones(&mut table)?;
        let extends = take_text(&mut table, "extends")?;
        crate::plan::check_keys(&table)?;
        let Some(bone) = bone else {
            let settings = crate::plan::read_settings(&table)?;
            return Ok(Self {
                name,
                summary,
                bones,
                settings,
                given: Vec::new(),
            });
        };
        let base = Self::built_in(extends.as_deref().unwrap_or(Self::default_name(bone)))?;
        let mut merged = base.settings.to_table();
        let mut given = Vec::new();
        for key in KEYS {
            let (section, entry) = key.parts();
            if let Some(value) = table.get(section).and_then(|s| s.get(entry)) {
                if let Some(section) = merged.get_mut(section).and_then(toml::Value::as_table_mut) {
                    section.insert(entry.to_owned(), value.clone());
                }
                given.push(key.name);
            }
        }
        Ok(Self {
            name,
            summary,
            bones: if bones.is_empty() { base.bones } else { bones },
            settings: crate::plan::read_settings(&merged)?,
            given,
        })
    }
}

fn take_text(table: &mut toml::Table, name: &str) -> anyhow::Result<Option<String>> {
    match table.remove(name) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Failure::usage(format!("`{name}` must be text; found {other}")).into()),
    }
}

fn take_bones(table: &mut toml::Table) -> anyhow::Result<Vec<Bone>> {
    let Some(text) = take_text(table, "bone")? else {
        return Ok(Vec::new());
    };
    let bone = text
        .parse()
        .map_err(|reason| Failure::usage(format!("bone: {reason}")))?;
    Ok(vec![bone])
}
