//! Where the calibration of a scan comes from: `--calibration SPEC`.

use std::path::{Path, PathBuf};

use calibration::Tissue;
use serde::{Deserialize, Serialize};

use super::choice::Basis;
use super::value::numbers;

/// How CT numbers become densities. There is no default: a guess here moves the answer more than anything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CalibrationSpec {
    /// A calibration made before and kept in a JSON file.
    File(PathBuf),
    /// mg/cm³ = slope · HU + intercept.
    Line {
        /// mg/cm³ per HU.
        slope: f64,
        /// mg/cm³.
        intercept: f64,
        /// What the density is equivalent to.
        basis: Basis,
    },
    /// The volume holds mg/cm³ already.
    Density {
        /// What the density is equivalent to.
        basis: Basis,
    },
    /// A phantom scanned with, or beside, the patient: a name or a definition file.
    Phantom(String),
    /// By the patient's own tissues, those left out excepted.
    Internal {
        /// Tissues that are not to count although they are found.
        without: Vec<Tissue>,
    },
    /// By the line through two of the patient's tissues, whose densities are known.
    TwoTissues {
        /// The tissues and their densities, mg/cm³.
        densities_mg_cm3: [(Tissue, f64); 2],
        /// What the density is equivalent to.
        basis: Basis,
    },
}

/// Forms that `--calibration` takes, for help texts and errors.
pub const CALIBRATION_FORMS: &str = "file:calibration.json, line:SLOPE,INTERCEPT[,BASIS], density[:BASIS], phantom:MODEL, internal, internal:without=TISSUE[+TISSUE], internal:TISSUE=DENSITY,TISSUE=DENSITY[,BASIS]";

impl std::str::FromStr for CalibrationSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, rest) = match text.split_once(':') {
            Some((form, rest)) => (form, Some(rest.trim())),
            None => (text, None),
        };
        match (form, rest) {
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            ("line", Some(list)) => line(list),
            ("density", None) => Ok(Self::Density {
                basis: Basis::K2hpo4,
            }),
            ("density", Some(basis)) => Ok(Self::Density {
                basis: basis.parse()?,
            }),
            ("phantom", Some(model)) if !model.is_empty() => Ok(Self::Phantom(model.into())),
            ("internal", None) => Ok(Self::Internal {
                without: Vec::new(),
            }),
            ("internal", Some(rest)) => match rest.strip_prefix("without=") {
                Some(list) => without(list),
                None => two_tissues(rest),
            },
            ("file" | "line" | "phantom", _) => Err(format!(
                "`{form}:` needs a value; forms are {CALIBRATION_FORMS}"
            )),
            _ => Err(format!(
                "`{text}` is no calibration; forms are {CALIBRATION_FORMS}"
            )),
        }
    }
}

fn line(list: &str) -> Result<CalibrationSpec, String> {
    let parts: Vec<&str> = list.split(',').map(str::trim).collect();
    let (line, basis) = match parts[..] {
        [slope, intercept] => ([slope, intercept], Basis::K2hpo4),
        [slope, intercept, basis] => ([slope, intercept], basis.parse()?),
        _ => {
            return Err(format!(
                "line: takes SLOPE,INTERCEPT[,BASIS]; found `{list}`"
            ));
        }
    };
    let [slope, intercept] = line.map(one_number);
    let (slope, intercept) = (slope?, intercept?);
    if slope <= 0.0 {
        return Err(format!(
            "slope {slope} mg/cm³ per HU: denser bone absorbs more, so it must be positive"
        ));
    }
    Ok(CalibrationSpec::Line {
        slope,
        intercept,
        basis,
    })
}

fn without(list: &str) -> Result<CalibrationSpec, String> {
    let mut without: Vec<Tissue> = Vec::new();
    for name in list.split('+').map(str::trim) {
        let tissue = name.parse()?;
        if without.contains(&tissue) {
            return Err(format!("internal:without= names {name} twice"));
        }
        without.push(tissue);
    }
    Ok(CalibrationSpec::Internal { without })
}

fn two_tissues(list: &str) -> Result<CalibrationSpec, String> {
    let forms = || {
        format!(
            "internal: takes without=TISSUE[+TISSUE] or TISSUE=DENSITY,TISSUE=DENSITY[,BASIS] with densities in mg/cm³; found `{list}`"
        )
    };
    let parts: Vec<&str> = list.split(',').map(str::trim).collect();
    let (pair, basis) = match parts[..] {
        [one, other] => ([one, other], Basis::K2hpo4),
        [one, other, basis] => ([one, other], basis.parse()?),
        _ => return Err(forms()),
    };
    let [one, other] = pair.map(|part| {
        let (name, number) = part.split_once('=').ok_or_else(forms)?;
        Ok::<_, String>((name.trim().parse::<Tissue>()?, one_number(number)?))
    });
    let densities_mg_cm3 = [one?, other?];
    if densities_mg_cm3[0].0 == densities_mg_cm3[1].0 {
        return Err(format!("internal: names one tissue twice in `{list}`"));
    }
    Ok(CalibrationSpec::TwoTissues {
        densities_mg_cm3,
        basis,
    })
}

fn one_number(text: &str) -> Result<f64, String> {
    numbers(text).and_then(|found| match found[..] {
        [value] => Ok(value),
        _ => Err(format!("`{text}` is not a number")),
    })
}

impl std::fmt::Display for CalibrationSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Line {
                slope,
                intercept,
                basis,
            } => write!(f, "line:{slope},{intercept},{basis}"),
            Self::Density { basis } => write!(f, "density:{basis}"),
            Self::Phantom(model) => write!(f, "phantom:{model}"),
            Self::Internal { without } if without.is_empty() => f.write_str("internal"),
            Self::Internal { without } => {
                let names: Vec<&str> = without.iter().map(|tissue| tissue.name()).collect();
                write!(f, "internal:without={}", names.join("+"))
            }
            Self::TwoTissues {
                densities_mg_cm3: [(one, low), (other, high)],
                basis,
            } => write!(
                f,
                "internal:{}={low},{}={high},{basis}",
                one.name(),
                other.name()
            ),
        }
    }
}

impl TryFrom<String> for CalibrationSpec {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CalibrationSpec> for String {
    fn from(value: CalibrationSpec) -> Self {
        value.to_string()
    }
}

/// Where the phantom's rods are: `--rods`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RodSource {
    /// A label map on the scan's grid, one value per rod.
    Labels(PathBuf),
    /// A TOML file with the rods' centres.
    Centres(PathBuf),
}

impl RodSource {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Labels(path) | Self::Centres(path) => path,
        }
    }
}

impl std::str::FromStr for RodSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if path.as_os_str().is_empty() {
            return Err("it names no file".into());
        }
        Ok(if path.extension().is_some_and(|e| e == "toml") {
            Self::Centres(path)
        } else {
            Self::Labels(path)
        })
    }
}

impl TryFrom<String> for RodSource {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RodSource> for String {
    fn from(value: RodSource) -> Self {
        value.path().display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CalibrationSpec, String> {
        text.parse()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, back) in [
            ("file:a/b.json", "file:a/b.json"),
            ("line:0.8,-3.5", "line:0.8,-3.5,k2hpo4"),
            ("line:1,0,ash", "line:1,0,ash"),
            ("density", "density:k2hpo4"),
            ("density:ha", "density:ha"),
            ("phantom:mindways-model3-ct", "phantom:mindways-model3-ct"),
            ("phantom:C:/x/my.toml", "phantom:C:/x/my.toml"),
            ("internal", "internal"),
            (
                "internal:without=muscle+blood",
                "internal:without=muscle+blood",
            ),
            (
                "internal: air=-1060, adipose=-85.5",
                "internal:air=-1060,adipose=-85.5,k2hpo4",
            ),
            (
                "internal:air=-1060,blood=20,ha",
                "internal:air=-1060,blood=20,ha",
            ),
        ] {
            let spec = parse(text).unwrap();
            assert_eq!(spec.to_string(), back);
            assert_eq!(parse(back).unwrap(), spec);
        }
    }

    #[test]
    fn wrong_forms_say_why() {
        for (text, part) in [
            ("", "forms are"),
            ("lines:1,2", "forms are"),
            ("line:1", "SLOPE,INTERCEPT"),
            ("line:x,0", "`x` is not a number"),
            ("line:,0", "is not a number"),
            ("line:-0.8,0", "positive"),
            ("line:0.8,nan", "`nan`"),
            ("density:bone", "k2hpo4, ha, ash"),
            ("phantom:", "needs a value"),
            ("internal:", "without=TISSUE"),
            ("internal:x", "without=TISSUE"),
            ("internal:x,y", "without=TISSUE"),
            ("internal:fat=-85,air=-1060", "tissues are adipose, air"),
            ("internal:air=-1060,adipose=low", "`low`"),
            ("internal:air=-1060,air=-1050", "twice"),
            ("internal:air=-1060,adipose=-85,bone", "k2hpo4, ha, ash"),
            ("internal:without=", "is no tissue"),
            ("internal:without=air+air", "twice"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn rods_are_told_apart_by_their_file() {
        assert_eq!(
            "rods.toml".parse::<RodSource>().unwrap(),
            RodSource::Centres("rods.toml".into())
        );
        assert_eq!(
            "rods.nii.gz".parse::<RodSource>().unwrap(),
            RodSource::Labels("rods.nii.gz".into())
        );
    }
}
