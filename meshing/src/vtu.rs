//! VTU and PVD files, the unstructured grids and time series that ParaView opens.
//!
//! A `.vtu` file holds nodes, elements and their fields as zlib-compressed raw binary blocks appended to the XML
//! (VTK file format, `vtkZLibDataCompressor`, 64-bit headers, little-endian). A `.pvd` file lists `.vtu` files by
//! time. The same content gives the same bytes; a file appears complete or not at all. [`VtuFile`] reads them back.

mod read;

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::mesh::{Frame, Mesh};

pub use read::{Array, CellMesh, OwnedValues, VtuFile};

/// Uncompressed size of a compressed block, bytes.
const BLOCK: usize = 1 << 17;
/// zlib level: the next ones cost twice the time for a few percent of the size.
const LEVEL: u32 = 3;

/// The values of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Values<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    I32(&'a [i32]),
    U8(&'a [u8]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U8(v) => v.len(),
        }
    }

    fn vtk_type(&self) -> &'static str {
        match self {
            Self::F64(_) => "Float64",
            Self::F32(_) => "Float32",
            Self::I32(_) => "Int32",
            Self::U8(_) => "UInt8",
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::F64(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::I32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::U8(v) => v.to_vec(),
        }
    }
}

/// A named field on the nodes or on the elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    name: &'a str,
    components: usize,
    direction: bool,
    values: Values<'a>,
}

impl<'a> Field<'a> {
    /// One value per node or element.
    pub fn scalar(name: &'a str, values: Values<'a>) -> Self {
        Self::array(name, 1, values)
    }

    /// `components` values per node or element, written as they are.
    pub fn array(name: &'a str, components: usize, values: Values<'a>) -> Self {
        Self {
            name,
            components,
            direction: false,
            values,
        }
    }

    /// A vector of the model frame per node or element, such as a displacement; turned into the patient's axes when
    /// the file is written in world coordinates.
    pub fn vector(name: &'a str, values: &'a [f64]) -> Self {
        Self {
            name,
            components: 3,
            direction: true,
            values: Values::F64(values),
        }
    }
}

/// A mesh and its fields, ready to be written.
#[derive(Clone, Debug)]
pub struct Vtu<'a, const N: usize> {
    /// The mesh: 4 (tetrahedra), 8 (hexahedra) or 10 (quadratic tetrahedra) nodes per element.
    pub mesh: &'a Mesh<N>,
    /// Where the mesh stands in the patient: the file is then in world coordinates (LPS mm). `None` writes the model frame.
    pub frame: Option<&'a Frame>,
    /// Fields on the nodes.
    pub point_data: Vec<Field<'a>>,
    /// Fields on the elements.
    pub cell_data: Vec<Field<'a>>,
}

impl<const N: usize> Vtu<'_, N> {
    /// Writes the file under a temporary name beside `path` and renames it when complete.
    ///
    /// # Errors
    /// [`Error::Parameter`] when a field has the wrong number of values, a name appears twice, or the element has no
    /// VTK cell type here; [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes()?)
    }

    /// The content of the file.
    ///
    /// # Errors
    /// [`Error::Parameter`] as for [`Vtu::write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.to_bytes_with(&[])
    }

    /// The content of the file with arrays that belong to it as a whole (VTK's field data), of any length.
    ///
    /// # Errors
    /// As [`Vtu::to_bytes`]; [`Error::Parameter`] when an array does not hold whole tuples or a name appears twice.
    pub fn to_bytes_with(&self, field_data: &[Field<'_>]) -> Result<Vec<u8>> {
        let (cell_type, mirrored) = cell_type::<N>()?;
        let nodes = self.mesh.nodes_mm.len();
        let elements = self.mesh.elements.len();
        if i32::try_from(nodes.max(elements.saturating_mul(N))).is_err() {
            return Err(Error::Parameter(format!(
                "{nodes} nodes and {elements} elements are too many for one VTU file"
            )));
        }
        check_fields(&self.point_data, nodes, "node")?;
        check_fields(&self.cell_data, elements, "element")?;
        check_field_data(field_data)?;

        let mut body = Body::default();
        let mut xml = String::from(
            "<?xml version=\"1.0\"?>\n<VTKFile type=\"UnstructuredGrid\" version=\"1.0\" \
             byte_order=\"LittleEndian\" header_type=\"UInt64\" compressor=\"vtkZLibDataCompressor\">\n\
             <UnstructuredGrid>\n",
        );
        if !field_data.is_empty() {
            xml += "<FieldData>\n";
            for field in field_data {
                let tuples = field.values.len() / field.components;
                let tag = body.array(
                    field.name,
                    field.values.vtk_type(),
                    field.components,
                    &field.values.bytes(),
                )?;
                xml += &tag.replacen(
                    " format=",
                    &format!(" NumberOfTuples=\"{tuples}\" format="),
                    1,
                );
            }
            xml += "</FieldData>\n";
        }
        xml += &format!("<Piece NumberOfPoints=\"{nodes}\" NumberOfCells=\"{elements}\">\n");
        for (tag, fields) in [
            ("PointData", &self.point_data),
            ("CellData", &self.cell_data),
        ] {
            xml += &format!("<{tag}>\n");
            for field in fields {
                let bytes = self.field_bytes(field);
                xml += &body.array(
                    field.name,
                    field.values.vtk_type(),
                    field.components,
                    &bytes,
                )?;
            }
            xml += &format!("</{tag}>\n");
        }
        xml += "<Points>\n";
        xml += &body.array("Points", "Float64", 3, &self.point_bytes())?;
        xml += "</Points>\n<Cells>\n";
        let reflected = self.frame.is_some_and(|f| f.rotation.determinant() < 0.0);
        let connectivity: Vec<u8> = self
            .mesh
            .elements
            .iter()
            .flat_map(|element| {
                std::array::from_fn::<u32, N, _>(|n| {
                    element[if reflected { mirrored[n] } else { n }]
                })
            })
            .flat_map(u32::to_le_bytes)
            .collect();
        xml += &body.array("connectivity", "Int32", 1, &connectivity)?;
        let offsets: Vec<u8> = (1..=elements as u32)
            .flat_map(|n| (n * N as u32).to_le_bytes())
            .collect();
        xml += &body.array("offsets", "Int32", 1, &offsets)?;
        xml += &body.array("types", "UInt8", 1, &vec![cell_type; elements])?;
        xml += "</Cells>\n</Piece>\n</UnstructuredGrid>\n<AppendedData encoding=\"raw\">\n_";
        let mut file = xml.into_bytes();
        file.extend_from_slice(&body.bytes);
        file.extend_from_slice(b"\n</AppendedData>\n</VTKFile>\n");
        Ok(file)
    }

    fn point_bytes(&self) -> Vec<u8> {
        self.mesh
            .nodes_mm
            .iter()
            .flat_map(|&at| self.frame.map_or(at, |frame| frame.to_world(at)))
            .flat_map(f64::to_le_bytes)
            .collect()
    }

    fn field_bytes(&self, field: &Field<'_>) -> Vec<u8> {
        match (self.frame, field.values) {
            (Some(frame), Values::F64(values)) if field.direction => values
                .chunks_exact(3)
                .flat_map(|v| frame.direction_to_world([v[0], v[1], v[2]]))
                .flat_map(f64::to_le_bytes)
                .collect(),
            _ => field.values.bytes(),
        }
    }
}

/// VTK cell type of an element with `N` nodes and the node order of its mirror image.
fn cell_type<const N: usize>() -> Result<(u8, &'static [usize])> {
    match N {
        4 => Ok((10, &[1, 0, 2, 3])),
        8 => Ok((12, &[4, 5, 6, 7, 0, 1, 2, 3])),
        10 => Ok((24, &[1, 0, 2, 3, 4, 6, 5, 8, 7, 9])),
        _ => Err(Error::Parameter(format!(
            "elements with {N} nodes cannot be written to VTU; 4, 8 and 10 nodes can"
        ))),
    }
}

fn check_fields(fields: &[Field<'_>], count: usize, place: &str) -> Result<()> {
    for (number, field) in fields.iter().enumerate() {
        let (found, expected) = (field.values.len(), count.saturating_mul(field.components));
        if found != expected || field.components == 0 {
            return Err(Error::Parameter(format!(
                "field {}: {found} values; {} per {place} for {count} {place}s would be {expected}",
                field.name, field.components
            )));
        }
        if fields[..number].iter().any(|f| f.name == field.name) {
            return Err(Error::Parameter(format!(
                "two {place} fields are named {}",
                field.name
            )));
        }
    }
    Ok(())
}

fn check_field_data(fields: &[Field<'_>]) -> Result<()> {
    for (number, field) in fields.iter().enumerate() {
        let found = field.values.len();
        if field.components == 0 || !found.is_multiple_of(field.components) {
            return Err(Error::Parameter(format!(
                "field data {}: {found} values are no whole tuples of {}",
                field.name, field.components
            )));
        }
        if fields[..number].iter().any(|f| f.name == field.name) {
            return Err(Error::Parameter(format!(
                "two arrays of field data are named {}",
                field.name
            )));
        }
    }
    Ok(())
}

/// The appended section: compressed arrays one after the other.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Appends an array and returns the XML that points to it.
    fn array(
        &mut self,
        name: &str,
        vtk_type: &str,
        components: usize,
        data: &[u8],
    ) -> Result<String> {
        let offset = self.bytes.len();
        self.append(data)?;
        // One component is the default; readers make a column of one where it is spelt out.
        let components = match components {
            1 => String::new(),
            n => format!(" NumberOfComponents=\"{n}\""),
        };
        Ok(format!(
            "<DataArray type=\"{vtk_type}\" Name=\"{}\"{components} \
             format=\"appended\" offset=\"{offset}\"/>\n",
            escape(name)
        ))
    }

    /// Header (number of blocks, block size, size of a last, shorter block or 0, compressed sizes), then the blocks.
    fn append(&mut self, data: &[u8]) -> Result<()> {
        let blocks: Vec<Vec<u8>> = data
            .par_chunks(BLOCK)
            .map(|chunk| {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(LEVEL));
                encoder.write_all(chunk)?;
                encoder.finish()
            })
            .collect::<std::io::Result<_>>()
            .map_err(|source| Error::Io {
                path: PathBuf::from("VTU data in memory"),
                source,
            })?;
        let header = [blocks.len(), BLOCK, data.len() % BLOCK];
        for number in header.into_iter().chain(blocks.iter().map(Vec::len)) {
            self.bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        for block in &blocks {
            self.bytes.extend_from_slice(block);
        }
        Ok(())
    }
}

/// Writes a `.pvd` file that lists `.vtu` files (paths as ParaView shall read them, relative to the `.pvd`) with their times.
///
/// # Errors
/// [`Error::Io`].
pub fn write_pvd<S: AsRef<str>>(path: &Path, steps: &[(f64, S)]) -> Result<()> {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<VTKFile type=\"Collection\" version=\"1.0\" byte_order=\"LittleEndian\">\n<Collection>\n",
    );
    for (time, file) in steps {
        xml += &format!(
            "<DataSet timestep=\"{time}\" group=\"\" part=\"0\" file=\"{}\"/>\n",
            escape(file.as_ref())
        );
    }
    xml += "</Collection>\n</VTKFile>\n";
    write_whole(path, xml.as_bytes())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Writes a file under a temporary name and renames it, so that it is never seen half written.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = path.with_file_name(name);
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|source| {
            // The write has failed already; a left-over file is the smaller evil.
            let _ = std::fs::remove_file(&partial);
            Error::Io {
                path: path.into(),
                source,
            }
        })
}

#[cfg(test)]
mod tests;
