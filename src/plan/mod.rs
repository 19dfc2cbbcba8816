//! The plan: every number and choice of a run, each with where it came from.
//!
//! A plan starts as a protocol, takes the user's `--set key=value`, and is made consistent by rules.
//! It is checked before any work begins, is written beside every result as `plan.toml`, and that file
//! repeats the run. Nothing downstream has defaults of its own.
//!
//! [`Settings`] holds the method (what a protocol decides); [`Subject`] holds the case (bone, side,
//! calibration and so on, which no protocol can know).

mod calibration;
mod choice;
mod file;
mod level_names;
mod settings;
mod spelling;
mod subject;
mod validate;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use calibration::{CALIBRATION_FORMS, CalibrationSpec, RodSource};
pub(crate) use choice::choice;
pub use choice::{
    Basis, Bone, ConstitutiveModel, Coverage, Criterion, ElementFormulation, EndplateSource,
    Interpolation, LabelNames, Lateral, LoadKind, MeshKind, MorphElement, MorphUnit, Resampling,
    Sampling, Side, Softening, TetMesher,
};
pub(crate) use file::{check_keys, position, read_settings};
pub use level_names::FIRST_WITHOUT_LEVEL;
pub use settings::{
    DensitySettings, ElementSettings, FailureSettings, KEYS, Key, LoadSettings, MaskSettings,
    MaterialSettings, MeshSettings, Settings, SolverSettings, key,
};
pub use spelling::{closest, not_one_of};
pub use subject::{LevelChoice, Subject};
pub use validate::{NO_STRENGTH_LAW, SOFTENING_STRENGTH_LAW, USER_LAW};
pub use value::{Direction, Level, Orientation, SettingValue, labels};

use crate::exit::Failure;
use crate::protocol::Protocol;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// The built-in protocol.
    Default,
    /// A rule that follows from other values or from the scan; the sentence says which.
    Rule(String),
    /// The user, by `--set`, a protocol file or an edited plan.
    Given,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Rule(reason) => write!(f, "rule: {reason}"),
            Self::Given => f.write_str("given"),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (text.as_str(), text.strip_prefix("rule: ")) {
            ("default", _) => Ok(Self::Default),
            ("given", _) => Ok(Self::Given),
            (_, Some(reason)) => Ok(Self::Rule(reason.to_owned())),
            _ => Err(format!(
                "`{text}` is no origin; they are default, given, and `rule: ` with a reason"
            )),
        }
    }
}

impl From<Origin> for String {
    fn from(value: Origin) -> Self {
        value.to_string()
    }
}

/// One `key=value` of `--set`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// A key of [`KEYS`].
    pub key: &'static str,
    /// Its value, of the right type and in range.
    pub value: toml::Value,
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not of the form key=value"))?;
        let name = name.trim();
        let key = key(name).ok_or_else(|| unknown_key(name))?;
        let value = key
            .parse(value)
            .map_err(|reason| format!("{name}: {reason}; it takes {}", key.valid()))?;
        Ok(Self {
            key: key.name,
            value,
        })
    }
}

/// Says that a key does not exist, which come close and which there are.
pub fn unknown_key(name: &str) -> String {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    // Someone who forgot the section knows the rest of the name.
    let same_tail = names
        .iter()
        .copied()
        .find(|full| full.split_once('.').is_some_and(|(_, tail)| tail == name));
    let mut message = format!("unknown key `{name}`");
    if let Some(candidate) = same_tail.or_else(|| closest(name, &names)) {
        message += &format!("; did you mean `{candidate}`?");
    }
    message + &format!(" Keys: {}", names.join(", "))
}

/// Every setting of a run, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the protocol it grew from.
    pub protocol: String,
    /// The case.
    pub subject: Subject,
    /// The method.
    pub settings: Settings,
    origins: BTreeMap<String, Origin>,
}

impl Plan {
    /// The plan of a protocol for one case, with the user's settings on top, made consistent and checked.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage: a protocol for another bone, or settings that contradict each other.
    pub fn resolve(
        protocol: &Protocol,
        subject: Subject,
        assignments: &[Assignment],
    ) -> anyhow::Result<Self> {
        if !protocol.bones.contains(&subject.bone) {
            let bones: Vec<&str> = protocol.bones.iter().map(|bone| bone.word()).collect();
            return Err(Failure::usage(format!(
                "protocol `{}` is for the {}, not for a {}",
                protocol.name,
                bones.join(" and "),
                subject.bone
            ))
            .with_help("see `osteoload protocol list`")
            .into());
        }
        let origins = KEYS
            .iter()
            .map(|key| {
                let origin = if protocol.given.contains(&key.name) {
                    Origin::Given
                } else {
                    Origin::Default
                };
                (key.name.to_owned(), origin)
            })
            .collect();
        let plan = Self {
            protocol: protocol.name.clone(),
            subject,
            settings: protocol.settings.clone(),
            origins,
        };
        plan.with(assignments)
    }

    /// The plan with further settings of the user, made consistent and checked.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when settings contradict each other.
    pub fn with(mut self, assignments: &[Assignment]) -> anyhow::Result<Self> {
        for Assignment { key, value } in assignments {
            self.put(key, value.clone(), Origin::Given)?;
        }
        self.name_vertebra()?;
        self.apply_rules()?;
        self.check()?;
        Ok(self)
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Whether the user gave the value of a key.
    pub fn is_given(&self, key: &str) -> bool {
        *self.origin(key) == Origin::Given
    }

    /// The value of a key as TOML.
    pub fn value(&self, key: &str) -> Option<toml::Value> {
        let (section, name) = key.split_once('.')?;
        let table = self.settings.to_table();
        table.get(section)?.get(name).cloned()
    }

    /// Sets a value by a rule, for a reason that is written into the plan. What the user gave stays.
    ///
    /// Returns whether the value was set.
    ///
    /// # Errors
    /// An unknown key or a value of the wrong type or out of range.
    pub fn set_by_rule(
        &mut self,
        key: &str,
        value: impl Into<toml::Value>,
        reason: &str,
    ) -> anyhow::Result<bool> {
        if self.is_given(key) {
            return Ok(false);
        }
        self.put(key, value.into(), Origin::Rule(reason.to_owned()))?;
        Ok(true)
    }

    fn put(&mut self, name: &str, value: toml::Value, origin: Origin) -> anyhow::Result<()> {
        let key = key(name).ok_or_else(|| Failure::usage(unknown_key(name)))?;
        key.check_range(&value)
            .map_err(|reason| Failure::usage(format!("{name}: {reason}")))?;
        let mut table = self.settings.to_table();
        let (section, entry) = key.parts();
        if let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
            section.insert(entry.to_owned(), value);
        }
        self.settings = table
            .try_into()
            .map_err(|error: toml::de::Error| wrong_value(key, error.message()))?;
        self.origins.insert(name.to_owned(), origin);
        Ok(())
    }
}

fn wrong_value(key: &Key, reason: &str) -> Failure {
    Failure::usage(format!("{}: {reason}", key.name)).with_help(format!(
        "{} takes {}",
        key.name,
        key.valid()
    ))
}
