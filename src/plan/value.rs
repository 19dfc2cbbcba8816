//! Setting values that are more than a word or a number.

use serde::{Deserialize, Serialize};

/// How a value is read from `--set key=value`.
pub trait SettingValue {
    /// What may stand there, in words.
    fn valid() -> String;
    /// The value as TOML.
    ///
    /// # Errors
    /// A sentence saying what is wrong.
    fn parse(text: &str) -> Result<toml::Value, String>;
}

impl SettingValue for f64 {
    fn valid() -> String {
        "a number".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value.into()),
            _ => Err(format!("`{text}` is not a number")),
        }
    }
}

impl SettingValue for usize {
    fn valid() -> String {
        "a whole number".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        text.parse::<u32>()
            .map(|value| i64::from(value).into())
            .map_err(|_| format!("`{text}` is not a whole number"))
    }
}

impl SettingValue for Vec<f64> {
    fn valid() -> String {
        "numbers separated by commas, or nothing".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        Ok(numbers(text)?.into())
    }
}

impl SettingValue for Vec<u16> {
    fn valid() -> String {
        "label values separated by commas, or nothing".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        let labels = labels(text)?;
        Ok(labels.into_iter().map(i64::from).collect::<Vec<_>>().into())
    }
}

impl SettingValue for String {
    fn valid() -> String {
        "a name".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        Ok(text.into())
    }
}

/// Numbers separated by commas; brackets around them are allowed.
///
/// # Errors
/// A sentence naming the part that is no finite number.
pub fn numbers(text: &str) -> Result<Vec<f64>, String> {
    parts(text)
        .map(|part| match part.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("`{part}` is not a number")),
        })
        .collect()
}

/// Label values separated by commas; brackets around them are allowed.
///
/// # Errors
/// A sentence naming the part that is no label between 1 and 65535.
pub fn labels(text: &str) -> Result<Vec<u16>, String> {
    parts(text)
        .map(|part| match part.parse::<u16>() {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(format!("`{part}` is not a label value from 1 to 65535")),
        })
        .collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    let inner = text.trim();
    let inner = inner
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(inner);
    inner.split(',').map(str::trim).filter(|p| !p.is_empty())
}

/// How the bone is turned into the model axes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Orientation {
    /// By the bone's own landmarks.
    Anatomical,
    /// Not at all: the model axes are the image's.
    None,
    /// By a given proper rotation from image axes to model axes, row by row.
    Matrix([[f64; 3]; 3]),
}

/// Largest departure of a given orientation matrix from a rotation.
const ROTATION_TOLERANCE: f64 = 1e-3;

impl std::str::FromStr for Orientation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(list) = text.strip_prefix("matrix:") {
            let values = numbers(list)?;
            let [a, b, c, d, e, f, g, h, i] = values[..] else {
                return Err(format!(
                    "matrix: takes nine numbers, row by row; found {}",
                    values.len()
                ));
            };
            let rows = [[a, b, c], [d, e, f], [g, h, i]];
            check_rotation(rows)?;
            return Ok(Self::Matrix(rows));
        }
        match text {
            "anatomical" => Ok(Self::Anatomical),
            "none" => Ok(Self::None),
            _ => Err(super::spelling::not_one_of(
                text,
                &[
                    "anatomical",
                    "none",
                    "matrix:R11,R12,R13,R21,R22,R23,R31,R32,R33",
                ],
            )),
        }
    }
}

fn check_rotation(rows: [[f64; 3]; 3]) -> Result<(), String> {
    let m = nalgebra::Matrix3::from_fn(|r, c| rows[r][c]);
    let departure = (m * m.transpose() - nalgebra::Matrix3::identity())
        .abs()
        .max();
    let determinant = m.determinant();
    if departure > ROTATION_TOLERANCE || determinant < 0.0 {
        return Err(format!(
            "the matrix is no proper rotation: R·Rᵀ departs from 1 by {departure:.1e} and the determinant is {determinant:.4}; rows must be orthonormal and the determinant +1"
        ));
    }
    Ok(())
}

impl std::fmt::Display for Orientation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anatomical => f.write_str("anatomical"),
            Self::None => f.write_str("none"),
            Self::Matrix(rows) => {
                let list: Vec<String> = rows.as_flattened().iter().map(f64::to_string).collect();
                write!(f, "matrix:{}", list.join(","))
            }
        }
    }
}

impl TryFrom<String> for Orientation {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Orientation> for String {
    fn from(value: Orientation) -> Self {
        value.to_string()
    }
}

impl SettingValue for Orientation {
    fn valid() -> String {
        "anatomical, none, or matrix: and nine numbers separated by commas, row by row".into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        text.parse::<Self>().map(|value| value.to_string().into())
    }
}

/// The line along which the load acts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Direction {
    /// From the head down the femoral shaft.
    Shaft,
    /// The mean normal of the two endplates, downwards.
    Endplates,
    /// The load axis of the posed model: -y of a sideways fall, -z of a compression.
    Model,
    /// From head to foot of the scan.
    Scan,
    /// A given direction in patient coordinates (LPS), of unit length.
    Vector([f64; 3]),
}

impl std::str::FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(list) = text.strip_prefix("vector:") {
            let values = numbers(list)?;
            let [x, y, z] = values[..] else {
                return Err(format!(
                    "vector: takes three numbers; found {}",
                    values.len()
                ));
            };
            let length = (x * x + y * y + z * z).sqrt();
            if length < 1e-12 {
                return Err("the direction has no length".into());
            }
            // A unit vector read again must stay what it is, to the last bit.
            if (length - 1.0).abs() < 1e-14 {
                return Ok(Self::Vector([x, y, z]));
            }
            return Ok(Self::Vector([x / length, y / length, z / length]));
        }
        match text {
            "shaft" => Ok(Self::Shaft),
            "endplates" => Ok(Self::Endplates),
            "model" => Ok(Self::Model),
            "scan" => Ok(Self::Scan),
            _ => Err(super::spelling::not_one_of(
                text,
                &["shaft", "endplates", "model", "scan", "vector:X,Y,Z"],
            )),
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shaft => f.write_str("shaft"),
            Self::Endplates => f.write_str("endplates"),
            Self::Model => f.write_str("model"),
            Self::Scan => f.write_str("scan"),
            Self::Vector([x, y, z]) => write!(f, "vector:{x},{y},{z}"),
        }
    }
}

impl TryFrom<String> for Direction {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Direction> for String {
    fn from(value: Direction) -> Self {
        value.to_string()
    }
}

impl SettingValue for Direction {
    fn valid() -> String {
        "shaft, endplates, model, scan, or vector: and three numbers in patient coordinates (LPS)"
            .into()
    }
    fn parse(text: &str) -> Result<toml::Value, String> {
        text.parse::<Self>().map(|value| value.to_string().into())
    }
}

/// A vertebral level by its usual name, `C1` to `L6`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Level(String);

impl Level {
    /// The name, such as `L1`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The level that a VerSe label value names.
    pub fn from_verse_label(label: u16) -> Option<Self> {
        let (region, number) = match label {
            1..=7 => ('C', label),
            8..=19 => ('T', label - 7),
            28 => ('T', 13),
            20..=25 => ('L', label - 19),
            _ => return None,
        };
        Some(Self(format!("{region}{number}")))
    }

    /// Its place in the spine counted from the head: C1 = 1, T13 between T12 and L1.
    pub fn place_from_head(&self) -> u16 {
        let number: u16 = self.0[1..].parse().unwrap_or(0);
        match &self.0[..1] {
            "C" => number,
            "T" => 7 + number,
            _ => 20 + number,
        }
    }

    /// Whether it is the atlas or the axis, which have no two endplates to be loaded on.
    pub fn has_no_endplates(&self) -> bool {
        self.place_from_head() <= 2
    }

    /// The VerSe label value: 1 to 24 for C1 to L5, 25 for L6, 28 for T13 (Sekuboyina 2021).
    pub fn verse_label(&self) -> u16 {
        let number: u16 = self.0[1..].parse().unwrap_or(0);
        match (&self.0[..1], number) {
            ("C", n) => n,
            ("T", 13) => 28,
            ("T", n) => 7 + n,
            (_, n) => 19 + n,
        }
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_uppercase();
        // As TotalSegmentator names them.
        let name = name.strip_prefix("VERTEBRAE_").unwrap_or(&name);
        let last = match name.chars().next() {
            Some('C') => 7,
            Some('T') => 13,
            Some('L') => 6,
            _ => 0,
        };
        let known = name
            .get(1..)
            .filter(|digits| !digits.starts_with(['0', '+']))
            .and_then(|digits| digits.parse::<u16>().ok())
            .is_some_and(|number| number <= last);
        if known {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!(
                "`{text}` is no vertebral level; they run C1 to C7, T1 to T13, L1 to L6, or vertebrae_C1 and so on"
            ))
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Level {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Level> for String {
    fn from(value: Level) -> Self {
        value.0
    }
}
