//! NRRD: `.nrrd` (one file) and `.nhdr` (header beside its voxels).
//!
//! Read as the format's definition (NRRD0001 to NRRD0005) says, for scalar 3-D images in the
//! spaces left-posterior-superior, right-anterior-superior and left-anterior-superior. A file that
//! names none of them does not say where the patient's left is; as in ITK its axes are then taken
//! as LPS, and [`Orientation::Assumed`] says so. Units of length other than millimetres are
//! converted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use nalgebra::{Matrix3, Vector3};

use crate::error::Result;
use crate::grid::Grid;
use crate::image::{Header, Info, Orientation, lower_name};
use crate::payload::{Packing, Payload, Start, format_error, gzip, write_atomic};
use crate::scalar::{self, Endian, ScalarType, Voxels};
use crate::text_header::{
    data_file, listed_files, number, numbers, read_start, shortened, take_line,
};

/// The fields of a header by lower-case name, and what follows it.
struct Fields<'a> {
    values: BTreeMap<String, String>,
    /// Bytes of the header, the blank line included.
    length: usize,
    /// Everything after the header that was read.
    rest: &'a [u8],
}

pub(crate) fn read_header(path: &Path) -> Result<Header> {
    let bytes = read_start(path)?;
    parse(path, &bytes).map_err(|reason| format_error(path, reason))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Header, String> {
    let fields = Fields::parse(bytes)?;
    let axes = fields.axes()?;
    let scalar = fields.scalar_type()?;
    let (grid, orientation) = fields.grid(&axes)?;
    let payload = fields.payload(path, scalar)?;
    Ok(Header {
        info: Info {
            format: "NRRD",
            grid,
            scalar_type: scalar,
            slope: 1.0,
            intercept: 0.0,
            orientation,
        },
        payload,
    })
}

/// The three axes of space among the axes of the array.
struct Axes {
    size: [usize; 3],
    /// Their places among all axes.
    places: [usize; 3],
}

impl<'a> Fields<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let magic = take_line(&mut rest).unwrap_or_default();
        match magic.strip_prefix("NRRD000").map(str::trim_end) {
            Some("1" | "2" | "3" | "4" | "5") => {}
            Some(version) => {
                return Err(format!(
                    "NRRD version {:?} is not known; versions 1 to 5 are",
                    shortened(version)
                ));
            }
            None => {
                return Err(format!(
                    "is not an NRRD file: it begins with {:?}, not with NRRD0004",
                    shortened(&magic)
                ));
            }
        }
        let mut values = BTreeMap::new();
        let mut ended = false;
        while let Some(line) = take_line(&mut rest) {
            let line = line.trim_end();
            if line.is_empty() {
                ended = true;
                break;
            }
            if line.starts_with('#') {
                continue;
            }
            // `key:=value` pairs are free text of the writing program.
            let Some((name, value)) = line.split_once(": ").or_else(|| line.split_once(':')) else {
                return Err(format!("the header line {:?} is no field", shortened(line)));
            };
            if value.starts_with('=') || name.contains(":=") {
                continue;
            }
            let name = name.trim().to_lowercase();
            let is_list = matches!(name.as_str(), "data file" | "datafile")
                && value.trim().starts_with("LIST");
            values.insert(name, value.trim().to_string());
            if is_list {
                ended = true;
                break;
            }
        }
        if !ended && !values.contains_key("data file") && !values.contains_key("datafile") {
            return Err("the header does not end in a blank line: the file is cut off".into());
        }
        Ok(Self {
            values,
            length: bytes.len() - rest.len(),
            rest,
        })
    }

    fn get(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|&name| self.values.get(name))
            .map(String::as_str)
    }

    fn need(&self, name: &str) -> Result<&str, String> {
        self.get(&[name])
            .ok_or_else(|| format!("the header has no field {name:?}; write the file again"))
    }

    fn axes(&self) -> Result<Axes, String> {
        let dimension: usize = number("dimension", self.need("dimension")?)?;
        let text = self.need("sizes")?;
        let sizes: Vec<usize> = text
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()
            .filter(|sizes: &Vec<usize>| sizes.len() == dimension)
            .ok_or_else(|| {
                format!(
                    "sizes is {:?}; {dimension} whole numbers are needed",
                    shortened(text)
                )
            })?;
        let refuse = |what: String| {
            Err(format!(
                "the image has {dimension} axes of size {}{what}; one scalar 3-D volume is needed: extract it to a file of its own",
                shortened(text)
            ))
        };
        if dimension < 3 {
            return refuse(String::new());
        }
        let directions = self.directions()?;
        if directions.as_ref().is_some_and(|d| d.len() != dimension) {
            return Err(format!(
                "space directions has {} entries for {dimension} axes",
                directions.map_or(0, |d| d.len())
            ));
        }
        let spatial = |axis: usize| directions.as_ref().is_none_or(|d| d[axis].is_some());
        let mut places: Vec<usize> = (0..dimension).filter(|&axis| spatial(axis)).collect();
        // Without directions, axes of size one beyond the third are dropped from the end.
        while directions.is_none()
            && places.len() > 3
            && places.last().is_some_and(|&a| sizes[a] == 1)
        {
            places.pop();
        }
        if let Some(axis) = (0..dimension).find(|axis| !places.contains(axis) && sizes[*axis] != 1)
        {
            return refuse(format!(
                ", and axis {axis} is no direction of space: {} volumes or values per voxel",
                sizes[axis]
            ));
        }
        match <[usize; 3]>::try_from(places) {
            Ok(places) => Ok(Axes {
                size: places.map(|axis| sizes[axis]),
                places,
            }),
            Err(places) => refuse(format!(", {} of them directions of space", places.len())),
        }
    }

    /// The `space directions`: one vector or none per axis.
    fn directions(&self) -> Result<Option<Vec<Option<Vector3<f64>>>>, String> {
        let Some(text) = self.get(&["space directions"]) else {
            return Ok(None);
        };
        let fail = || {
            format!(
                "space directions is {:?}; vectors such as (1,0,0) or none are needed",
                shortened(text)
            )
        };
        let mut rest = text.trim();
        let mut directions = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("none") {
                directions.push(None);
                rest = after.trim_start();
            } else {
                let (vector, after) = rest.split_once(')').ok_or_else(fail)?;
                directions.push(Some(vector_3(vector).ok_or_else(fail)?));
                rest = after.trim_start();
            }
        }
        Ok(Some(directions))
    }

    /// Matrix that turns the file's space into LPS, in millimetres.
    fn space(&self) -> Result<(Matrix3<f64>, Orientation), String> {
        let flip = |x, y| Matrix3::from_diagonal(&Vector3::new(x, y, 1.0));
        let space = self.get(&["space"]).map(str::to_lowercase);
        let (turn, orientation) = match space.as_deref() {
            Some("left-posterior-superior" | "lps") => {
                (flip(1.0, 1.0), Orientation::Stated("space"))
            }
            Some("right-anterior-superior" | "ras") => {
                (flip(-1.0, -1.0), Orientation::Stated("space"))
            }
            Some("left-anterior-superior" | "las") => {
                (flip(1.0, -1.0), Orientation::Stated("space"))
            }
            None | Some("scanner-xyz" | "3d-right-handed" | "3d-left-handed") => (
                flip(1.0, 1.0),
                Orientation::Assumed(
                    "no anatomical space; taken as left, back, head (as ITK does)",
                ),
            ),
            Some(other) => {
                return Err(format!(
                    "the space is {:?}; left-posterior-superior, right-anterior-superior and left-anterior-superior are supported",
                    shortened(other)
                ));
            }
        };
        Ok((turn * self.unit_mm()?, orientation))
    }

    fn unit_mm(&self) -> Result<f64, String> {
        let Some(text) = self.get(&["space units", "units"]) else {
            return Ok(1.0);
        };
        let mut units: Vec<&str> = text
            .split(|c: char| c == '"' || c.is_whitespace())
            .filter(|word| !word.is_empty() && *word != "none" && *word != "???")
            .collect();
        units.dedup();
        match units.as_slice() {
            [] | ["mm" | "millimeter" | "millimetre"] => Ok(1.0),
            ["m" | "meter" | "metre"] => Ok(1e3),
            ["cm"] => Ok(10.0),
            ["um" | "µm" | "μm" | "micron" | "micrometer" | "micrometre"] => Ok(1e-3),
            _ => Err(format!(
                "the units are {:?}; one unit of length (mm, cm, m or um) for all axes is needed",
                shortened(text)
            )),
        }
    }

    fn grid(&self, axes: &Axes) -> Result<(Grid, Orientation), String> {
        if let Some(text) = self.get(&["space dimension"])
            && number::<usize>("space dimension", text)? != 3
        {
            return Err(format!(
                "space dimension is {}; 3 is needed",
                shortened(text)
            ));
        }
        let (to_lps, orientation) = self.space()?;
        let (matrix, origin) = match self.directions()? {
            Some(directions) => {
                let column = |axis: usize| directions[axes.places[axis]].unwrap_or_default();
                let origin = match self.get(&["space origin"]) {
                    Some(text) => vector_3(text.trim().trim_end_matches(')')).ok_or_else(|| {
                        format!("space origin is {:?}; a vector is needed", shortened(text))
                    })?,
                    None => Vector3::zeros(),
                };
                (
                    Matrix3::from_columns(&[column(0), column(1), column(2)]),
                    origin,
                )
            }
            None => self.plain_axes(axes)?,
        };
        Grid::from_affine(axes.size, to_lps * matrix, to_lps * origin)
            .map(|grid| (grid, orientation))
            .map_err(|e| format!("{e}; correct the space directions or spacings"))
    }

    /// Steps and origin of a file with `spacings`, and perhaps `axis mins`, instead of vectors.
    fn plain_axes(&self, axes: &Axes) -> Result<(Matrix3<f64>, Vector3<f64>), String> {
        let Some(text) = self.get(&["spacings"]) else {
            return Err(
                "the header has neither space directions nor spacings, so the voxel size is not known; add one of them"
                    .into(),
            );
        };
        let spacing = Vector3::from(pick(axes, "spacings", text)?);
        let origin = match self.get(&["axis mins", "axismins"]) {
            None => Vector3::zeros(),
            Some(text) => {
                let least = Vector3::from(pick(axes, "axis mins", text)?);
                // The minimum of a cell-centred axis is the outer face of its first voxel.
                let nodes = self
                    .get(&["centers", "centerings"])
                    .is_some_and(|text| text.contains("node"));
                least
                    + if nodes {
                        Vector3::zeros()
                    } else {
                        spacing / 2.0
                    }
            }
        };
        Ok((Matrix3::from_diagonal(&spacing), origin))
    }

    fn scalar_type(&self) -> Result<ScalarType, String> {
        let text = self.need("type")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(match words.join(" ").to_lowercase().as_str() {
            "signed char" | "int8" | "int8_t" => ScalarType::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => ScalarType::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
                ScalarType::I16
            }
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => {
                ScalarType::U16
            }
            "int" | "signed int" | "int32" | "int32_t" => ScalarType::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => ScalarType::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => ScalarType::I64,
            "ulonglong"
            | "unsigned long long"
            | "unsigned long long int"
            | "uint64"
            | "uint64_t" => ScalarType::U64,
            "float" => ScalarType::F32,
            "double" => ScalarType::F64,
            _ => {
                return Err(format!(
                    "the type is {:?}; integers of 8 to 64 bits, float and double are supported",
                    shortened(text)
                ));
            }
        })
    }

    fn payload(&self, path: &Path, scalar: ScalarType) -> Result<Payload, String> {
        let packing = match self.need("encoding")?.to_lowercase().as_str() {
            "raw" => Packing::Raw,
            "gzip" | "gz" => Packing::Deflate,
            "ascii" | "text" | "txt" => Packing::Text,
            other => {
                return Err(format!(
                    "the encoding is {:?}; raw, gzip and ascii are supported: save the image with one of them",
                    shortened(other)
                ));
            }
        };
        let endian = match self.get(&["endian"]).map(str::to_lowercase).as_deref() {
            Some("little") => Endian::Little,
            Some("big") => Endian::Big,
            None if scalar.bytes() == 1 || packing == Packing::Text => Endian::Little,
            other => {
                return Err(format!(
                    "endian is {:?}; little or big is needed for values of type {scalar}",
                    shortened(other.unwrap_or("missing"))
                ));
            }
        };
        let files = self.files(path)?;
        let attached = files.is_empty();
        let lines = self.count(&["line skip", "lineskip"])?;
        let skip = self.count(&["byte skip", "byteskip"])?;
        let before = if attached { self.length as u64 } else { 0 };
        let start = match (skip, packing) {
            (None, Packing::Raw) => Start::BeforeEnd,
            (None, _) => return Err("byte skip is -1, which only raw voxels can have".into()),
            (Some(_), _) => Start::After {
                bytes: before,
                lines: lines.ok_or("line skip is -1; a count is needed")?,
            },
        };
        Ok(Payload {
            files: if attached {
                vec![path.to_path_buf()]
            } else {
                files
            },
            start,
            packing,
            skip_unpacked: skip.unwrap_or(0),
            scalar,
            endian,
        })
    }

    /// A count that may be -1, given as `None`.
    fn count(&self, names: &[&str]) -> Result<Option<u64>, String> {
        match self.get(names) {
            None => Ok(Some(0)),
            Some("-1") => Ok(None),
            Some(text) => number(names[0], text).map(Some),
        }
    }

    /// The data files of a detached header; none for an attached one.
    fn files(&self, path: &Path) -> Result<Vec<PathBuf>, String> {
        let Some(name) = self.get(&["data file", "datafile"]) else {
            return Ok(Vec::new());
        };
        if let Some(dimension) = name.strip_prefix("LIST") {
            if !matches!(dimension.trim(), "" | "2") {
                return Err(format!(
                    "data file is {:?}; a list of slices (LIST or LIST 2) is supported",
                    shortened(name)
                ));
            }
            let files = listed_files(path, self.rest);
            return if files.is_empty() {
                Err("the list of data files is empty".into())
            } else {
                Ok(files)
            };
        }
        if name.contains('%') {
            return Err(format!(
                "data file is the pattern {:?}, which is not supported: save the image in one file",
                shortened(name)
            ));
        }
        Ok(vec![data_file(path, name)])
    }
}

/// The vector of `(x,y,z`, the closing bracket taken off already.
fn vector_3(text: &str) -> Option<Vector3<f64>> {
    let parts: Vec<f64> = text
        .trim()
        .strip_prefix('(')?
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect::<Option<_>>()?;
    <[f64; 3]>::try_from(parts).ok().map(Vector3::from)
}

/// The numbers of the three axes of space out of a per-axis field.
fn pick(axes: &Axes, field: &str, text: &str) -> Result<[f64; 3], String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let chosen: Vec<&str> = axes
        .places
        .iter()
        .filter_map(|&axis| words.get(axis).copied())
        .collect();
    numbers(field, &chosen.join(" "))
}

/// Writes an image: `.nrrd` in one file, `.nhdr` with its voxels in a `.raw.gz` beside it.
pub(crate) fn write(path: &Path, grid: &Grid, voxels: &Voxels) -> Result<()> {
    let detached = lower_name(path).ends_with(".nhdr");
    let data_path = path.with_extension("raw.gz");
    let mut header = header(grid, voxels.scalar_type());
    if detached {
        let name = data_path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return Err(format_error(
                path,
                "a file name in Unicode is needed for a .nhdr",
            ));
        };
        header.push_str(&format!("data file: {name}\n"));
    }
    header.push('\n');
    let pack = |target: &mut dyn Write| gzip(target, |t| scalar::write_binary(t, voxels));
    if detached {
        write_atomic(&data_path, pack)?;
        write_atomic(path, |target| target.write_all(header.as_bytes()))
    } else {
        write_atomic(path, |target| {
            target.write_all(header.as_bytes())?;
            pack(target)
        })
    }
}

fn header(grid: &Grid, scalar: ScalarType) -> String {
    let [ni, nj, nk] = grid.size;
    let name = match scalar {
        ScalarType::F32 => "float",
        ScalarType::F64 => "double",
        other => other.name(),
    };
    let vector = |v: Vector3<f64>| format!("({},{},{})", v.x, v.y, v.z);
    let matrix = grid.matrix();
    let [a, b, c] = [0, 1, 2].map(|axis| vector(matrix.column(axis).into_owned()));
    format!(
        "NRRD0004\n\
         type: {name}\n\
         dimension: 3\n\
         space: left-posterior-superior\n\
         sizes: {ni} {nj} {nk}\n\
         space directions: {a} {b} {c}\n\
         kinds: domain domain domain\n\
         endian: little\n\
         encoding: gzip\n\
         space origin: {}\n",
        vector(grid.origin_mm)
    )
}
