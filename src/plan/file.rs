//! `plan.toml`: written with the origin and the meaning of each key, and read again.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::settings::{KEYS, Settings};
use super::{Origin, Plan, Subject, unknown_key};
use crate::exit::Failure;
use crate::protocol::Protocol;

/// Version of the file's layout.
const FORMAT: i64 = 1;

#[derive(Deserialize)]
struct Head {
    format: i64,
    protocol: String,
    subject: Subject,
    origin: BTreeMap<String, Origin>,
}

impl Plan {
    /// The plan as a file: one section per group, each key with its origin and meaning, and at the end a
    /// table of the origins for programs.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# OsteoLoad plan. Repeat the run with `osteoload run --plan plan.toml --ct SCAN --out DIR`.\n\
             # Each value is followed by where it came from: default = the protocol, rule = it follows from\n\
             # other values, given = by the user.\n\n\
             format = {FORMAT}\nprotocol = {}\n\n[subject]\n",
            quoted(&self.protocol)
        );
        let subject = toml::Table::try_from(&self.subject).unwrap_or_default();
        for (name, value) in &subject {
            text += &format!("{name} = {value}\n");
        }
        let table = self.settings.to_table();
        let mut current = "";
        for key in KEYS {
            let (section, name) = key.parts();
            let Some(value) = table.get(section).and_then(|section| section.get(name)) else {
                continue;
            };
            if section != current {
                text += &format!("\n[{section}]\n");
                current = section;
            }
            let origin = match self.origin(key.name) {
                Origin::Default => format!("default of {}", self.protocol),
                origin => origin.to_string(),
            };
            // A comment ends with its line, whatever a name or a reason holds.
            let origin = origin.replace(|c: char| c.is_control(), " ");
            text += &format!("# {}\n{name} = {value} # {origin}\n", key.meaning.trim());
        }
        text += "\n[origin]\n";
        for key in KEYS {
            let origin = quoted(&self.origin(key.name).to_string());
            text += &format!("{} = {origin}\n", quoted(key.name));
        }
        text
    }

    /// Reads a plan again. A value that was changed by hand counts as given.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage: text that is no plan, an unknown key, a value of the wrong type, or
    /// settings that contradict each other.
    pub fn from_toml(text: &str) -> anyhow::Result<Self> {
        let refuse = |reason: String| {
            Failure::usage(format!("this is not a plan: {reason}")).with_help(
                "a plan is the `plan.toml` of an earlier run; a protocol file goes to --protocol",
            )
        };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let (line, column) = position(text, e.span());
            refuse(format!("line {line}, column {column}: {}", e.message()))
        })?;
        let mut head = toml::Table::new();
        // What a sweep says of itself beside the plan of its base.
        table.remove("sweep");
        for name in ["format", "protocol", "subject", "origin"] {
            if let Some(value) = table.remove(name) {
                head.insert(name.to_owned(), value);
            }
        }
        let head: Head = head
            .try_into()
            .map_err(|e: toml::de::Error| refuse(e.message().trim().to_owned()))?;
        if head.format != FORMAT {
            return Err(refuse(format!(
                "its format is {}, this program reads {FORMAT}",
                head.format
            ))
            .into());
        }
        if let Some(name) = head.origin.keys().find(|name| super::key(name).is_none()) {
            return Err(Failure::usage(unknown_key(name)).into());
        }
        let settings = read_settings(&table)?;
        let mut plan = Self {
            protocol: head.protocol,
            subject: head.subject,
            settings,
            origins: head.origin,
        };
        plan.mark_edited();
        plan.with(&[])
    }

    /// Marks as given what claims to be a default but is not.
    fn mark_edited(&mut self) {
        for key in KEYS {
            self.origins
                .entry(key.name.to_owned())
                .or_insert(Origin::Given);
        }
        let Ok(protocol) = Protocol::built_in(&self.protocol) else {
            return;
        };
        let (ours, theirs) = (self.settings.to_table(), protocol.settings.to_table());
        for key in KEYS {
            let (section, name) = key.parts();
            let value = |table: &toml::Table| table.get(section).and_then(|s| s.get(name)).cloned();
            if self.origins.get(key.name) == Some(&Origin::Default)
                && value(&ours) != value(&theirs)
            {
                self.origins.insert(key.name.to_owned(), Origin::Given);
            }
        }
    }
}

/// Reads complete settings, with errors that name the key.
///
/// # Errors
/// A [`Failure`] of kind usage naming the unknown, missing or wrong key.
pub(crate) fn read_settings(table: &toml::Table) -> anyhow::Result<Settings> {
    check_keys(table)?;
    for key in KEYS {
        let (section, name) = key.parts();
        if table.get(section).and_then(|s| s.get(name)).is_none() {
            return Err(Failure::usage(format!("the key `{}` is missing", key.name)).into());
        }
    }
    let settings: Result<Settings, toml::de::Error> = table.clone().try_into();
    settings.map_err(|error| Failure::usage(error.message().trim()).into())
}

/// Checks that every key of a table exists and holds a value of the right type and in range.
///
/// # Errors
/// A [`Failure`] of kind usage naming the key.
pub(crate) fn check_keys(table: &toml::Table) -> anyhow::Result<()> {
    for (section, entries) in table {
        let Some(entries) = entries.as_table() else {
            return Err(Failure::usage(unknown_key(section)).into());
        };
        for (name, value) in entries {
            let full = format!("{section}.{name}");
            let key = super::key(&full).ok_or_else(|| Failure::usage(unknown_key(&full)))?;
            key.parse(&plain(value)).map_err(|reason| {
                Failure::usage(format!("{full}: {reason}"))
                    .with_help(format!("{full} takes {}", key.valid()))
            })?;
        }
    }
    Ok(())
}

/// A value as it would be written after `--set key=`.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Line and column, from 1, of the start of a span.
pub(crate) fn position(text: &str, span: Option<std::ops::Range<usize>>) -> (usize, usize) {
    let before = span
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}
