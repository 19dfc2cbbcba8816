use super::super::{Field, Values, Vtu};
use super::*;
use crate::mesh::HEX_CORNERS;

fn read(bytes: &[u8]) -> Result<VtuFile> {
    VtuFile::parse(Path::new("model.vtu"), bytes)
}

/// A cube with an array of every type and place.
fn cube() -> (Vec<u8>, HexMesh) {
    let mesh = HexMesh {
        nodes_mm: HEX_CORNERS.map(|c| c.map(|v| v as f64 / 3.0)).to_vec(),
        elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
    };
    let u: Vec<f64> = (0..24).map(|n| f64::from(n).exp()).collect();
    let flags = [0, 1, 0, 1, 0, 0, 1, 255];
    let bytes = Vtu {
        mesh: &mesh,
        frame: None,
        point_data: vec![
            Field::vector("u", &u),
            Field::scalar("flag", Values::U8(&flags)),
        ],
        cell_data: vec![
            Field::scalar("e", Values::F32(&[1.5])),
            Field::scalar("curve", Values::I32(&[-1])),
        ],
    }
    .to_bytes_with(&[
        Field::array("a<\"&lt;\">", 2, Values::F64(&[f64::MIN_POSITIVE, -0.0])),
        Field::scalar("none", Values::I32(&[])),
    ])
    .unwrap();
    (bytes, mesh)
}

#[test]
fn what_is_written_is_read_bit_by_bit() {
    let (bytes, mesh) = cube();
    let file = read(&bytes).unwrap();
    assert_eq!(file.mesh, CellMesh::Hex8(mesh));
    let array = |place: &[Array], name: &str| {
        let found = place.iter().find(|a| a.name == name).unwrap();
        (found.components, found.values.clone())
    };
    let u = (0..24).map(|n| f64::from(n).exp()).collect();
    assert_eq!(array(&file.point_data, "u"), (3, OwnedValues::F64(u)));
    let flags = vec![0, 1, 0, 1, 0, 0, 1, 255];
    assert_eq!(array(&file.point_data, "flag"), (1, OwnedValues::U8(flags)));
    let e = OwnedValues::F32(vec![1.5]);
    assert_eq!(array(&file.cell_data, "e"), (1, e));
    let curve = OwnedValues::I32(vec![-1]);
    assert_eq!(array(&file.cell_data, "curve"), (1, curve));
    let (components, values) = array(&file.field_data, "a<\"&lt;\">");
    assert_eq!(components, 2);
    let OwnedValues::F64(values) = values else {
        panic!("another type");
    };
    let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [f64::MIN_POSITIVE.to_bits(), (-0.0_f64).to_bits()]);
    let none = OwnedValues::I32(Vec::new());
    assert_eq!(array(&file.field_data, "none"), (1, none));
}

#[test]
fn all_kinds_of_elements_and_long_arrays() {
    let nodes_mm: Vec<[f64; 3]> = (0..30_000).map(|n| [f64::from(n), 0.5, -1.0]).collect();
    let tet10 = Tet10Mesh {
        nodes_mm: nodes_mm.clone(),
        elements: (0..20_000)
            .map(|e| std::array::from_fn(|n| e + n as u32))
            .collect(),
    };
    let tet4 = Mesh::<4> {
        nodes_mm,
        elements: vec![[0, 5, 7, 29_999]],
    };
    fn bytes<const N: usize>(mesh: &Mesh<N>) -> Vec<u8> {
        let vtu = Vtu {
            mesh,
            frame: None,
            point_data: vec![],
            cell_data: vec![],
        };
        vtu.to_bytes().unwrap()
    }
    assert_eq!(read(&bytes(&tet10)).unwrap().mesh, CellMesh::Tet10(tet10));
    assert_eq!(read(&bytes(&tet4)).unwrap().mesh, CellMesh::Tet4(tet4));
}

#[test]
fn damage_is_found_and_never_panics() {
    let (bytes, _) = cube();
    let whole = read(&bytes).unwrap();
    let data = bytes
        .windows(APPENDED.len())
        .position(|window| window == APPENDED)
        .unwrap();
    for place in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            let found = read(&damaged);
            match found {
                Err(error) => assert!(matches!(error, Error::File { .. })),
                // Blocks carry a checksum, but not over the bits that pad them to whole bytes.
                Ok(file) if place >= data => assert_eq!(file, whole, "byte {place}"),
                // Names in the head are not protected; what they stand for is.
                Ok(file) => assert_eq!(file.mesh, whole.mesh, "byte {place}"),
            }
        }
    }
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn lengths_that_no_file_can_hold_are_refused() {
    let (bytes, _) = cube();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let head = text.find("<AppendedData").unwrap();
    let replaced = |from: &str, to: &str| {
        let mut damaged = text[..head].replacen(from, to, 1).into_bytes();
        assert_ne!(damaged, bytes[..head]);
        damaged.extend_from_slice(&bytes[head..]);
        read(&damaged).unwrap_err().to_string()
    };
    let most = u64::MAX.to_string();
    for (from, to) in [
        ("NumberOfPoints=\"8\"", format!("NumberOfPoints=\"{most}\"")),
        ("NumberOfCells=\"1\"", format!("NumberOfCells=\"{most}\"")),
        ("NumberOfTuples=\"1\"", format!("NumberOfTuples=\"{most}\"")),
        (
            "NumberOfComponents=\"3\"",
            format!("NumberOfComponents=\"{most}\""),
        ),
        ("offset=\"0\"", format!("offset=\"{most}\"")),
    ] {
        assert!(replaced(from, &to).starts_with("model.vtu: "), "{to}");
    }
    // The number of blocks of the first array.
    for blocks in [u64::MAX, u64::MAX / 8, 1 << 40, 2] {
        let mut damaged = bytes.clone();
        let at = head + APPENDED.len();
        damaged[at..at + 8].copy_from_slice(&blocks.to_le_bytes());
        assert!(read(&damaged).is_err());
    }
}

#[test]
fn foreign_files_are_named_as_such() {
    for text in [
        "",
        "solid cube\nendsolid\n",
        "<?xml version=\"1.0\"?>\n<VTKFile/>\n",
    ] {
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("as this program writes it"), "{error}");
    }
    let (bytes, _) = cube();
    let at = bytes
        .windows(12)
        .position(|w| w == b"LittleEndian")
        .unwrap();
    let mut foreign = bytes.clone();
    foreign[at..at + 12].copy_from_slice(b"BigEndian   ");
    assert!(
        read(&foreign)
            .unwrap_err()
            .to_string()
            .contains("little-endian")
    );
    assert!(matches!(
        VtuFile::read(Path::new("no/such.vtu")),
        Err(Error::Io { .. })
    ));
}
