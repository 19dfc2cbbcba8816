//! MetaImage: `.mha` (one file) and `.mhd` (header beside its voxels).
//!
//! World coordinates are LPS, as ITK takes them; `AnatomicalOrientation` is, as in ITK, a remark
//! that changes nothing. The rows of `TransformMatrix` are the directions of the array axes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nalgebra::{Matrix3, Vector3};

use crate::error::Result;
use crate::grid::Grid;
use crate::image::{Header, Info, Orientation, lower_name};
use crate::payload::{Packing, Payload, Start, format_error, write_atomic, zlib};
use crate::scalar::{self, Endian, ScalarType, Voxels};
use crate::text_header::{
    data_file, listed_files, number, numbers, read_start, shortened, take_line,
};

/// The fields of a header by lower-case name, and what follows it.
struct Fields<'a> {
    values: BTreeMap<String, String>,
    /// Bytes of the header.
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
    let size = fields.size()?;
    let scalar = fields.scalar_type()?;
    let (grid, orientation) = fields.grid(size)?;
    let payload = fields.payload(path, scalar)?;
    let factor = |name, default| {
        fields
            .get(&[name])
            .map_or(Ok(default), |t| number::<f64>(name, t))
    };
    let slope = factor("elementtointensityfunctionslope", 1.0)?;
    let intercept = factor("elementtointensityfunctionoffset", 0.0)?;
    if (slope, intercept) != (1.0, 0.0) {
        return Err(format!(
            "ElementToIntensityFunction is {slope} * value + {intercept}; programs disagree on whether to apply it (ITK does not): store the real values"
        ));
    }
    Ok(Header {
        info: Info {
            format: "MetaImage",
            grid,
            scalar_type: scalar,
            slope: 1.0,
            intercept: 0.0,
            orientation,
        },
        payload,
    })
}

impl<'a> Fields<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let mut values = BTreeMap::new();
        loop {
            let Some(line) = take_line(&mut rest) else {
                return Err("is not a MetaImage header, or one that is cut off: it does not end in ElementDataFile".into());
            };
            if line.trim().is_empty() {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return Err(format!(
                    "is not a MetaImage header: the line {:?} is not of the form name = value",
                    shortened(&line)
                ));
            };
            let name = name.trim().to_lowercase();
            let last = name == "elementdatafile";
            values.insert(name, value.trim().to_string());
            if last {
                break;
            }
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
        self.get(&[name.to_lowercase().as_str()])
            .ok_or_else(|| format!("the header has no field {name}; write the file again"))
    }

    fn is_true(&self, names: &[&str]) -> Result<bool, String> {
        match self.get(names).map(str::to_lowercase).as_deref() {
            None | Some("false" | "0" | "f") => Ok(false),
            Some("true" | "1" | "t") => Ok(true),
            Some(other) => Err(format!(
                "{} is {:?}; True or False is needed",
                names[0],
                shortened(other)
            )),
        }
    }

    fn size(&self) -> Result<[usize; 3], String> {
        if let Some(kind) = self.get(&["objecttype"])
            && !kind.eq_ignore_ascii_case("image")
        {
            return Err(format!(
                "ObjectType is {:?}; Image is needed",
                shortened(kind)
            ));
        }
        if let Some(text) = self.get(&["elementnumberofchannels"])
            && number::<usize>("ElementNumberOfChannels", text)? != 1
        {
            return Err(format!(
                "the image has {} values per voxel (ElementNumberOfChannels); one is needed: extract a channel",
                shortened(text)
            ));
        }
        let axes: usize = number("NDims", self.need("NDims")?)?;
        let text = self.need("DimSize")?;
        if axes != 3 {
            return Err(format!(
                "the image has {axes} axes of size {}; one 3-D volume is needed: extract it to a file of its own",
                shortened(text)
            ));
        }
        numbers("DimSize", text)
    }

    fn scalar_type(&self) -> Result<ScalarType, String> {
        let text = self.need("ElementType")?;
        Ok(match text {
            "MET_CHAR" => ScalarType::I8,
            "MET_UCHAR" => ScalarType::U8,
            "MET_SHORT" => ScalarType::I16,
            "MET_USHORT" => ScalarType::U16,
            // Four bytes in MetaImage files, whatever `long` is on a machine.
            "MET_INT" | "MET_LONG" => ScalarType::I32,
            "MET_UINT" | "MET_ULONG" => ScalarType::U32,
            "MET_LONG_LONG" => ScalarType::I64,
            "MET_ULONG_LONG" => ScalarType::U64,
            "MET_FLOAT" => ScalarType::F32,
            "MET_DOUBLE" => ScalarType::F64,
            _ => {
                return Err(format!(
                    "ElementType is {:?}; MET_CHAR to MET_DOUBLE are supported, arrays and text are not",
                    shortened(text)
                ));
            }
        })
    }

    fn grid(&self, size: [usize; 3]) -> Result<(Grid, Orientation), String> {
        let Some(text) = self.get(&["elementspacing", "elementsize"]) else {
            return Err(
                "the header has neither ElementSpacing nor ElementSize, so the voxel size is not known; add one of them"
                    .into(),
            );
        };
        let unit_mm = self.unit_mm()?;
        let spacing = Vector3::from(numbers::<f64, 3>("ElementSpacing", text)?) * unit_mm;
        let origin = match self.get(&["offset", "origin", "position"]) {
            Some(text) => Vector3::from(numbers::<f64, 3>("Offset", text)?) * unit_mm,
            None => Vector3::zeros(),
        };
        let (direction, orientation) =
            match self.get(&["transformmatrix", "rotation", "orientation"]) {
                Some(text) => (
                    Matrix3::from_column_slice(&numbers::<f64, 9>("TransformMatrix", text)?),
                    Orientation::Stated("TransformMatrix"),
                ),
                None => (
                    Matrix3::identity(),
                    Orientation::Assumed(
                        "no TransformMatrix; taken as left, back, head (as ITK does)",
                    ),
                ),
            };
        if let Some(axis) = (0..3).find(|&a| !(0.999..1.001).contains(&direction.column(a).norm()))
        {
            return Err(format!(
                "the direction of axis {axis} in TransformMatrix has length {}; unit vectors are needed: put the voxel size in ElementSpacing",
                direction.column(axis).norm()
            ));
        }
        let mut unit = direction;
        for axis in 0..3 {
            unit.column_mut(axis).normalize_mut();
        }
        Grid::from_affine(size, unit * Matrix3::from_diagonal(&spacing), origin)
            .map(|grid| (grid, orientation))
            .map_err(|e| format!("{e}; correct ElementSpacing, Offset or TransformMatrix"))
    }

    fn unit_mm(&self) -> Result<f64, String> {
        match self.get(&["distanceunits"]) {
            None | Some("mm" | "?" | "") => Ok(1.0),
            Some("um") => Ok(1e-3),
            Some("cm") => Ok(10.0),
            Some(other) => Err(format!(
                "DistanceUnits is {:?}; um, mm and cm are known",
                shortened(other)
            )),
        }
    }

    fn payload(&self, path: &Path, scalar: ScalarType) -> Result<Payload, String> {
        let text = self.get(&["binarydata"]).is_some() && !self.is_true(&["binarydata"])?;
        let packing = if self.is_true(&["compresseddata"])? {
            Packing::Deflate
        } else if text {
            Packing::Text
        } else {
            Packing::Raw
        };
        let big = self.is_true(&["binarydatabyteordermsb", "elementbyteordermsb"])?;
        let files = self.files(path)?;
        let local = files.is_empty();
        let header_size = match self.get(&["headersize"]) {
            Some(text) => number::<i64>("HeaderSize", text)?,
            None => 0,
        };
        let start = match (header_size, local) {
            (-1, _) if packing == Packing::Raw => Start::BeforeEnd,
            (0, true) => Start::After {
                bytes: self.length as u64,
                lines: 0,
            },
            (0.., false) => Start::After {
                bytes: header_size.unsigned_abs(),
                lines: 0,
            },
            _ => {
                return Err(format!(
                    "HeaderSize is {header_size}; 0 is needed for voxels in this file, a count of bytes for those in another, or -1 for uncompressed voxels at the end"
                ));
            }
        };
        Ok(Payload {
            files: if local {
                vec![path.to_path_buf()]
            } else {
                files
            },
            start,
            packing,
            skip_unpacked: 0,
            scalar,
            endian: if big { Endian::Big } else { Endian::Little },
        })
    }

    /// The data files; none when the voxels follow the header.
    fn files(&self, path: &Path) -> Result<Vec<PathBuf>, String> {
        let name = self.need("ElementDataFile")?;
        match name {
            "" => Err("ElementDataFile is empty; name the file of the voxels".into()),
            "LOCAL" | "Local" | "local" => Ok(Vec::new()),
            "LIST" | "LIST 2D" => {
                let files = listed_files(path, self.rest);
                if files.is_empty() {
                    return Err("the list of data files is empty".into());
                }
                Ok(files)
            }
            _ if name.contains('%') || name.starts_with("LIST") => Err(format!(
                "ElementDataFile is {:?}; one file, LOCAL or a list of slices (LIST) is supported",
                shortened(name)
            )),
            _ => Ok(vec![data_file(path, name)]),
        }
    }
}

/// Writes an image: `.mha` in one file, `.mhd` with its voxels in a `.zraw` beside it.
pub(crate) fn write(path: &Path, grid: &Grid, voxels: &Voxels) -> Result<()> {
    let mut packed = Vec::new();
    zlib(&mut packed, |target| scalar::write_binary(target, voxels))
        .map_err(|e| crate::payload::io_error(path, e))?;
    let head = |data_file: &str| header(grid, voxels.scalar_type(), packed.len(), data_file);
    if lower_name(path).ends_with(".mhd") {
        let data_path = path.with_extension("zraw");
        let name = data_path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return Err(format_error(
                path,
                "a file name in Unicode is needed for a .mhd",
            ));
        };
        write_atomic(&data_path, |target| target.write_all(&packed))?;
        write_atomic(path, |target| target.write_all(head(name).as_bytes()))
    } else {
        write_atomic(path, |target| {
            target.write_all(head("LOCAL").as_bytes())?;
            target.write_all(&packed)
        })
    }
}

fn header(grid: &Grid, scalar: ScalarType, packed: usize, data_file: &str) -> String {
    let kind = match scalar {
        ScalarType::I8 => "MET_CHAR",
        ScalarType::U8 => "MET_UCHAR",
        ScalarType::I16 => "MET_SHORT",
        ScalarType::U16 => "MET_USHORT",
        ScalarType::I32 => "MET_INT",
        ScalarType::U32 => "MET_UINT",
        ScalarType::I64 => "MET_LONG_LONG",
        ScalarType::U64 => "MET_ULONG_LONG",
        ScalarType::F32 => "MET_FLOAT",
        ScalarType::F64 => "MET_DOUBLE",
    };
    let list = |values: &[f64]| {
        let words: Vec<String> = values.iter().map(f64::to_string).collect();
        words.join(" ")
    };
    let [ni, nj, nk] = grid.size;
    format!(
        "ObjectType = Image\n\
         NDims = 3\n\
         BinaryData = True\n\
         BinaryDataByteOrderMSB = False\n\
         CompressedData = True\n\
         CompressedDataSize = {packed}\n\
         TransformMatrix = {}\n\
         Offset = {}\n\
         CenterOfRotation = 0 0 0\n\
         ElementSpacing = {}\n\
         DimSize = {ni} {nj} {nk}\n\
         ElementType = {kind}\n\
         ElementDataFile = {data_file}\n",
        list(grid.direction.as_slice()),
        list(grid.origin_mm.as_slice()),
        list(&grid.spacing_mm),
    )
}
