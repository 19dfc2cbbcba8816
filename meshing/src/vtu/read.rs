//! Reads back the `.vtu` files that this crate writes. It is no general reader of VTK's formats: anything laid out in
//! another way is refused, and so is any damage that the checksums of the compressed blocks or the counts of the file
//! reveal.

use std::io::Read as _;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::{BLOCK, cell_type};
use crate::error::{Error, Result};
use crate::mesh::{HexMesh, Mesh, Tet10Mesh};

const XML: &str = "<?xml version=\"1.0\"?>";
const APPENDED: &[u8] = b"<AppendedData encoding=\"raw\">\n_";
const END: &[u8] = b"\n</AppendedData>\n</VTKFile>\n";

/// The mesh of a file, by its kind of element.
#[derive(Clone, Debug, PartialEq)]
pub enum CellMesh {
    /// 4-node tetrahedra.
    Tet4(Mesh<4>),
    /// 8-node hexahedra.
    Hex8(HexMesh),
    /// 10-node tetrahedra.
    Tet10(Tet10Mesh),
}

/// The values of an array that was read.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum OwnedValues {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I32(Vec<i32>),
    U8(Vec<u8>),
}

/// A named array that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Values per node, element or tuple.
    pub components: usize,
    /// The values, tuple after tuple.
    pub values: OwnedValues,
}

/// A `.vtu` file that this crate wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct VtuFile {
    /// Nodes (mm, in the frame the file was written in) and elements. A file without elements has no kind, and is refused.
    pub mesh: CellMesh,
    /// Arrays on the nodes, in the order of the file.
    pub point_data: Vec<Array>,
    /// Arrays on the elements, in the order of the file.
    pub cell_data: Vec<Array>,
    /// Arrays of the file as a whole, in the order of the file.
    pub field_data: Vec<Array>,
}

impl VtuFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for a file that another program wrote or that is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })?;
        Self::parse(path, &bytes)
    }

    /// Reads the content of a file; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::File`] as for [`VtuFile::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        parse(bytes).map_err(|reason| Error::File {
            path: path.into(),
            reason,
        })
    }
}

type Parsed<T> = std::result::Result<T, String>;

/// What an XML head says of an array.
struct Entry {
    section: Section,
    name: String,
    vtk_type: String,
    components: usize,
    /// Number of tuples, where the array itself says it (field data).
    tuples: Option<usize>,
    offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Field,
    Point,
    Cell,
    Points,
    Cells,
}

fn parse(bytes: &[u8]) -> Parsed<VtuFile> {
    let foreign = || "not a VTU file as this program writes it".to_owned();
    let start = bytes
        .windows(APPENDED.len())
        .position(|window| window == APPENDED)
        .ok_or_else(foreign)?;
    let head = std::str::from_utf8(&bytes[..start]).map_err(|_| foreign())?;
    let body = bytes[start + APPENDED.len()..]
        .strip_suffix(END)
        .ok_or("the file is cut short: its end is missing")?;
    let head = Head::parse(head)?;

    let mut at = 0;
    let mut arrays = Vec::new();
    for entry in &head.entries {
        let tuples = match (entry.section, entry.tuples) {
            (Section::Field, Some(tuples)) => Some(tuples),
            (Section::Field, None) => return Err(format!("array {}: no length", entry.name)),
            (Section::Point | Section::Points, _) => Some(head.points),
            (Section::Cell, _) => Some(head.cells),
            // Its length follows from the kind of element, which is not known yet.
            (Section::Cells, _) if entry.name == "connectivity" => None,
            (Section::Cells, _) => Some(head.cells),
        };
        if entry.offset != at {
            return Err(format!(
                "array {} begins at byte {} of the data, not at {at}",
                entry.name, entry.offset
            ));
        }
        let (data, length) = decompress(&body[at..], entry, tuples)
            .map_err(|reason| format!("array {}: {reason}", entry.name))?;
        at += length;
        arrays.push(Array {
            name: entry.name.clone(),
            components: entry.components,
            values: values(&entry.vtk_type, &data)
                .ok_or_else(|| format!("array {}: it holds half a value", entry.name))?,
        });
    }
    if at != body.len() {
        return Err("the data go on behind the last array".into());
    }
    assemble(&head, arrays)
}

struct Head {
    points: usize,
    cells: usize,
    entries: Vec<Entry>,
}

impl Head {
    fn parse(text: &str) -> Parsed<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(XML) {
            return Err("not a VTU file as this program writes it".into());
        }
        let mut section = None;
        let mut counts = None;
        let mut entries = Vec::new();
        let mut known = false;
        for line in lines {
            let tag = Tag::parse(line).ok_or_else(|| format!("line `{line}` is no single tag"))?;
            match tag.name {
                "VTKFile" => {
                    known = [
                        ("type", "UnstructuredGrid"),
                        ("byte_order", "LittleEndian"),
                        ("header_type", "UInt64"),
                        ("compressor", "vtkZLibDataCompressor"),
                    ]
                    .iter()
                    .all(|(name, value)| tag.get(name).as_deref() == Some(*value));
                }
                "Piece" if counts.is_some() => return Err("it has several pieces".into()),
                "Piece" => {
                    counts = Some((tag.count("NumberOfPoints")?, tag.count("NumberOfCells")?));
                }
                "FieldData" => section = Some(Section::Field),
                "PointData" => section = Some(Section::Point),
                "CellData" => section = Some(Section::Cell),
                "Points" => section = Some(Section::Points),
                "Cells" => section = Some(Section::Cells),
                "DataArray" => entries.push(Entry::of(&tag, section)?),
                "UnstructuredGrid" | "/UnstructuredGrid" | "/Piece" => {}
                "/FieldData" | "/PointData" | "/CellData" | "/Points" | "/Cells" => section = None,
                other => return Err(format!("tag `{other}` is not read")),
            }
        }
        if !known {
            return Err(
                "not an unstructured grid in little-endian zlib blocks with 64-bit headers".into(),
            );
        }
        let (points, cells) = counts.ok_or("it has no piece")?;
        Ok(Self {
            points,
            cells,
            entries,
        })
    }
}

impl Entry {
    fn of(tag: &Tag<'_>, section: Option<Section>) -> Parsed<Self> {
        let text = |name: &str| {
            tag.get(name)
                .ok_or_else(|| format!("an array has no {name}"))
        };
        let name = text("Name")?;
        if text("format")? != "appended" {
            return Err(format!("array {name}: it is not appended"));
        }
        let optional = |attribute: &str| match tag.get(attribute) {
            None => Ok(None),
            Some(_) => tag.count(attribute).map(Some),
        };
        Ok(Self {
            section: section.ok_or_else(|| format!("array {name}: it stands in no section"))?,
            vtk_type: text("type")?,
            components: optional("NumberOfComponents")?.unwrap_or(1),
            tuples: optional("NumberOfTuples")?,
            offset: tag.count("offset")?,
            name,
        })
    }

    fn value_bytes(&self) -> Parsed<usize> {
        match self.vtk_type.as_str() {
            "Float64" => Ok(8),
            "Float32" | "Int32" => Ok(4),
            "UInt8" => Ok(1),
            other => Err(format!("type {other} is not read")),
        }
    }
}

/// One XML tag.
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Tag<'a> {
    /// A line that holds one tag and nothing else.
    fn parse(line: &'a str) -> Option<Self> {
        let inside = line.strip_prefix('<')?.strip_suffix('>')?;
        let inside = inside.strip_suffix('/').unwrap_or(inside);
        let (name, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut attributes = Vec::new();
        while !rest.trim_start().is_empty() {
            let (attribute, after) = rest.trim_start().split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            attributes.push((attribute, value));
            rest = after;
        }
        Some(Self { name, attributes })
    }

    fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.attributes.iter().find(|(found, _)| *found == name)?;
        Some(unescape(value))
    }

    fn count(&self, name: &str) -> Parsed<usize> {
        let text = self
            .get(name)
            .ok_or_else(|| format!("{} has no {name}", self.name))?;
        text.parse()
            .map_err(|_| format!("{name} `{text}` is no count"))
    }
}

fn unescape(text: &str) -> String {
    // The ampersand last: `&amp;lt;` is the text `&lt;`.
    text.replace("&quot;", "\"")
        .replace("&gt;", ">")
        .replace("&lt;", "<")
        .replace("&amp;", "&")
}

/// Reads the blocks of an array and says how many bytes of the file they take. `tuples` is the expected number;
/// `None` takes any number of values. No more is allocated than the file's own blocks unpack to.
fn decompress(file: &[u8], entry: &Entry, tuples: Option<usize>) -> Parsed<(Vec<u8>, usize)> {
    let short = || "the file is cut short".to_owned();
    let number = |place: usize| -> Parsed<usize> {
        let from = place.checked_mul(8).ok_or_else(short)?;
        let bytes = file
            .get(from..from.saturating_add(8))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(short)?;
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| short())
    };
    let (blocks, block, rest) = (number(0)?, number(1)?, number(2)?);
    if block != BLOCK || rest >= BLOCK {
        return Err(format!("blocks of {block} and {rest} bytes, not {BLOCK}"));
    }
    let whole = blocks - usize::from(rest > 0 && blocks > 0);
    let length = whole
        .checked_mul(BLOCK)
        .and_then(|length| length.checked_add(rest))
        .ok_or_else(short)?;
    let tuple = entry
        .components
        .checked_mul(entry.value_bytes()?)
        .filter(|tuple| *tuple > 0)
        .ok_or("it has no components")?;
    if let Some(tuples) = tuples
        && tuples.checked_mul(tuple) != Some(length)
    {
        return Err(format!(
            "{length} bytes where {tuples} times {tuple} are expected"
        ));
    }
    if blocks == 0 && rest > 0 {
        return Err(short());
    }
    let mut at = blocks
        .checked_add(3)
        .and_then(|numbers| numbers.checked_mul(8))
        .filter(|at| *at <= file.len())
        .ok_or_else(short)?;
    let mut data = Vec::new();
    for number_of_block in 0..blocks {
        let packed = number(3 + number_of_block)?;
        let end = at.checked_add(packed).ok_or_else(short)?;
        let bytes = file.get(at..end).ok_or_else(short)?;
        let expected = if number_of_block < whole { BLOCK } else { rest };
        let before = data.len();
        let mut decoder = ZlibDecoder::new(bytes);
        // One byte more than expected shows a block that is too long, and no more than that is unpacked.
        decoder
            .by_ref()
            .take(expected as u64 + 1)
            .read_to_end(&mut data)
            .map_err(|error| format!("block {number_of_block} is damaged: {error}"))?;
        if data.len() - before != expected || decoder.total_in() != packed as u64 {
            return Err(format!("block {number_of_block} is damaged: wrong length"));
        }
        at = end;
    }
    Ok((data, at))
}

fn values(vtk_type: &str, data: &[u8]) -> Option<OwnedValues> {
    fn each<const SIZE: usize, T>(data: &[u8], value: impl Fn([u8; SIZE]) -> T) -> Option<Vec<T>> {
        let (tuples, rest) = data.as_chunks::<SIZE>();
        rest.is_empty()
            .then(|| tuples.iter().map(|bytes| value(*bytes)).collect())
    }
    Some(match vtk_type {
        "Float64" => OwnedValues::F64(each(data, f64::from_le_bytes)?),
        "Float32" => OwnedValues::F32(each(data, f32::from_le_bytes)?),
        "Int32" => OwnedValues::I32(each(data, i32::from_le_bytes)?),
        _ => OwnedValues::U8(data.to_vec()),
    })
}

/// Puts the arrays in their places.
fn assemble(head: &Head, arrays: Vec<Array>) -> Parsed<VtuFile> {
    let mut point_data = Vec::new();
    let mut cell_data = Vec::new();
    let mut field_data = Vec::new();
    let mut points = None;
    let (mut connectivity, mut offsets, mut types) = (None, None, None);
    for (entry, array) in head.entries.iter().zip(arrays) {
        match (entry.section, array.values) {
            (Section::Points, OwnedValues::F64(values)) if array.components == 3 => {
                points = Some(values);
            }
            (Section::Cells, OwnedValues::I32(values)) if entry.name == "connectivity" => {
                connectivity = Some(values);
            }
            (Section::Cells, OwnedValues::I32(values)) if entry.name == "offsets" => {
                offsets = Some(values);
            }
            (Section::Cells, OwnedValues::U8(values)) if entry.name == "types" => {
                types = Some(values);
            }
            (Section::Points | Section::Cells, _) => {
                return Err(format!("array {} is not of the kind expected", entry.name));
            }
            (section, values) => {
                let place = match section {
                    Section::Point => &mut point_data,
                    Section::Cell => &mut cell_data,
                    _ => &mut field_data,
                };
                if place.iter().any(|known: &Array| known.name == array.name) {
                    return Err(format!("two arrays are named {}", array.name));
                }
                place.push(Array { values, ..array });
            }
        }
    }
    let nodes_mm: Vec<[f64; 3]> = points
        .ok_or("it has no points")?
        .as_chunks::<3>()
        .0
        .to_vec();
    let connectivity = connectivity.ok_or("it has no connectivity")?;
    let offsets = offsets.ok_or("it has no offsets")?;
    let types = types.ok_or("it has no cell types")?;
    let kind = *types.first().ok_or("it has no elements")?;
    if types.iter().any(|other| *other != kind) {
        return Err("it mixes kinds of elements".into());
    }
    let known = |number: std::result::Result<(u8, &[usize]), Error>| {
        number.is_ok_and(|(number, _)| number == kind)
    };
    let mesh = if known(cell_type::<4>()) {
        CellMesh::Tet4(mesh(nodes_mm, &connectivity, &offsets)?)
    } else if known(cell_type::<8>()) {
        CellMesh::Hex8(mesh(nodes_mm, &connectivity, &offsets)?)
    } else if known(cell_type::<10>()) {
        CellMesh::Tet10(mesh(nodes_mm, &connectivity, &offsets)?)
    } else {
        return Err(format!("cell type {kind} is not read"));
    };
    Ok(VtuFile {
        mesh,
        point_data,
        cell_data,
        field_data,
    })
}

fn mesh<const N: usize>(
    nodes_mm: Vec<[f64; 3]>,
    connectivity: &[i32],
    offsets: &[i32],
) -> Parsed<Mesh<N>> {
    let (elements, rest) = connectivity.as_chunks::<N>();
    let regular = offsets
        .iter()
        .enumerate()
        .all(|(element, offset)| usize::try_from(*offset).ok() == (element + 1).checked_mul(N));
    if !rest.is_empty() || elements.len() != offsets.len() || !regular {
        return Err(format!(
            "its connectivity does not hold {N} nodes per element"
        ));
    }
    let count = nodes_mm.len();
    let node = |number: i32| {
        u32::try_from(number)
            .ok()
            .filter(|number| (*number as usize) < count)
            .ok_or_else(|| format!("an element names node {number} of {count}"))
    };
    let elements = elements
        .iter()
        .map(|element| {
            let mut nodes = [0; N];
            for (place, number) in nodes.iter_mut().zip(element) {
                *place = node(*number)?;
            }
            Ok(nodes)
        })
        .collect::<Parsed<_>>()?;
    Ok(Mesh { nodes_mm, elements })
}

#[cfg(test)]
mod tests;
