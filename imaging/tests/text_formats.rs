//! NRRD and MetaImage headers as other programs write them. What ITK makes of each was looked up
//! with SimpleITK 2.5.7 where a comment says so.

use std::io::Write;
use std::path::Path;

use imaging::{Image, Orientation, Result, Voxels, describe, read_image};
use nalgebra::{Matrix3, Vector3};

/// `int16` voxels 0, 1, 2, ... of a 2 x 3 x 4 image.
fn voxels() -> Vec<u8> {
    (0..24_i16).flat_map(i16::to_le_bytes).collect()
}

fn numbers() -> Voxels {
    Voxels::I16((0..24).collect())
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(name: &str, header: &str, data: &[u8]) -> Result<Image> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
    read_image(&path)
}

const NRRD: &str =
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nendian: little\n";

fn nrrd(more: &str) -> Result<Image> {
    read("x.nrrd", &format!("{NRRD}{more}\n"), &voxels())
}

fn refusal(result: Result<Image>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("/x.") || message.contains("\\x."),
        "{message}"
    );
    message
}

fn assert_placed(image: &Image, steps: [[f64; 3]; 3], origin: [f64; 3]) {
    let expected = Matrix3::from_fn(|row, column| steps[row][column]);
    let matrix = image.grid.matrix();
    assert!(
        (matrix - expected).abs().max() < 1e-12,
        "{matrix} {expected}"
    );
    let off = image.grid.origin_mm - Vector3::from(origin);
    assert!(off.norm() < 1e-12, "{}", image.grid.origin_mm);
    assert_eq!(image.voxels, numbers());
}

fn diagonal(x: f64, y: f64, z: f64) -> [[f64; 3]; 3] {
    [[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, z]]
}

#[test]
fn nrrd_spaces() {
    let place = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n";
    // As SimpleITK places them.
    for (space, x, y) in [
        ("left-posterior-superior", 1.0, 1.0),
        ("LPS", 1.0, 1.0),
        ("right-anterior-superior", -1.0, -1.0),
        ("RAS", -1.0, -1.0),
        ("left-anterior-superior", 1.0, -1.0),
        ("LAS", 1.0, -1.0),
        ("scanner-xyz", 1.0, 1.0),
    ] {
        let image = nrrd(&format!("space: {space}\n{place}")).unwrap();
        assert_placed(&image, diagonal(2.0 * x, 3.0 * y, 4.0), [x, 2.0 * y, 3.0]);
    }
    let image = nrrd(&format!("space dimension: 3\n{place}")).unwrap();
    assert_placed(&image, diagonal(2.0, 3.0, 4.0), [1.0, 2.0, 3.0]);
    let message = refusal(nrrd(&format!(
        "space: left-posterior-superior-time\n{place}"
    )));
    assert!(
        message.contains("left-posterior-superior-time"),
        "{message}"
    );
}

#[test]
fn nrrd_oblique_directions_and_blanks() {
    let image = nrrd(
        "# a comment: with a colon\nspace: LPS\nkey:=value: 3\nspace directions:  ( 0, 1.5,0)  (0,0,-2) (3,0,0.5)\nspace origin: (1, 2, 3)\n",
    )
    .unwrap();
    assert_placed(
        &image,
        [[0.0, 0.0, 3.0], [1.5, 0.0, 0.0], [0.0, -2.0, 0.5]],
        [1.0, 2.0, 3.0],
    );
}

#[test]
fn nrrd_spacings_only() {
    // As SimpleITK places them: minimum of a cell plus half a step, of a node as it is.
    assert_placed(
        &nrrd("spacings: 2 3 4\n").unwrap(),
        diagonal(2.0, 3.0, 4.0),
        [0.0; 3],
    );
    let mins = "spacings: 2 3 4\naxis mins: 10 20 30\n";
    assert_placed(
        &nrrd(mins).unwrap(),
        diagonal(2.0, 3.0, 4.0),
        [11.0, 21.5, 32.0],
    );
    let nodes = format!("{mins}centerings: node node node\n");
    assert_placed(
        &nrrd(&nodes).unwrap(),
        diagonal(2.0, 3.0, 4.0),
        [10.0, 20.0, 30.0],
    );
    assert_placed(
        &nrrd("spacings: -2 3 4\n").unwrap(),
        diagonal(-2.0, 3.0, 4.0),
        [0.0; 3],
    );
    assert!(refusal(nrrd("")).contains("neither space directions nor spacings"));
    assert!(refusal(nrrd("spacings: 2 3\n")).contains("3 numbers are needed"));
    assert!(refusal(nrrd("spacings: 2 NaN 4\n")).contains("axis 1 is NaN"));
    assert!(refusal(nrrd("spacings: 2 0 4\n")).contains("axis 1 is 0"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nrrd");
    std::fs::write(&path, format!("{NRRD}spacings: 2 3 4\n\n")).unwrap();
    assert!(matches!(
        describe(&path).unwrap().orientation,
        Orientation::Assumed(_)
    ));
}

#[test]
fn nrrd_units_become_millimetres() {
    let place = "space: LPS\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n";
    for (unit, factor) in [("mm", 1.0), ("um", 1e-3), ("m", 1e3), ("cm", 10.0)] {
        let text = format!("{place}space units: \"{unit}\" \"{unit}\" \"{unit}\"\n");
        let f = factor;
        assert_placed(
            &nrrd(&text).unwrap(),
            diagonal(2.0 * f, 3.0 * f, 4.0 * f),
            [f, 2.0 * f, 3.0 * f],
        );
    }
    let mixed = format!("{place}space units: \"mm\" \"mm\" \"um\"\n");
    assert!(refusal(nrrd(&mixed)).contains("one unit of length"));
}

#[test]
fn nrrd_axes_that_are_no_space() {
    let header = |sizes: &str, directions: &str| {
        format!(
            "NRRD0005\ntype: int16\ndimension: 4\nspace: LPS\nsizes: {sizes}\nspace directions: {directions}\nspace origin: (0,0,0)\nencoding: raw\nendian: little\n\n"
        )
    };
    let four = header("1 2 3 4", "none (2,0,0) (0,3,0) (0,0,4)");
    assert_placed(
        &read("x.nrrd", &four, &voxels()).unwrap(),
        diagonal(2.0, 3.0, 4.0),
        [0.0; 3],
    );
    let colours = header("3 2 3 4", "none (2,0,0) (0,3,0) (0,0,4)");
    assert!(
        refusal(read("x.nrrd", &colours, &voxels())).contains("axis 0 is no direction of space: 3")
    );
    let flat = "NRRD0004\ntype: short\ndimension: 2\nsizes: 2 3\nencoding: raw\nendian: little\nspacings: 1 1\n\n";
    assert!(refusal(read("x.nrrd", flat, &voxels())).contains("one scalar 3-D volume is needed"));
}

#[test]
fn nrrd_encodings_and_skips() {
    let header = |encoding: &str, more: &str| {
        format!(
            "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nspacings: 2 3 4\nencoding: {encoding}\n{more}\n"
        )
    };
    let little = "endian: little\n";
    let big: Vec<u8> = (0..24_i16).flat_map(i16::to_be_bytes).collect();
    let text = (0..24).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let skipped = [b"line one\nline two\nxyz".as_slice(), &voxels()].concat();
    let packed = [
        b"a line\n".to_vec(),
        gzip(&[b"xyz".as_slice(), &voxels()].concat()),
    ]
    .concat();
    for (header, data) in [
        (header("raw", "endian: big\n"), big),
        (header("gzip", little), gzip(&voxels())),
        (header("GZ", little), gzip(&voxels())),
        (header("ascii", ""), text.into_bytes()),
        (
            header("raw", &format!("{little}line skip: 2\nbyte skip: 3\n")),
            skipped.clone(),
        ),
        (header("raw", &format!("{little}byteskip: -1\n")), skipped),
        (
            header("gzip", &format!("{little}lineskip: 1\nbyte skip: 3\n")),
            packed,
        ),
        (header("raw", little).replace('\n', "\r\n"), voxels()),
    ] {
        let image = read("x.nrrd", &header, &data).unwrap_or_else(|e| panic!("{header}: {e}"));
        assert_eq!(image.voxels, numbers(), "{header}");
    }
    for encoding in ["bzip2", "hex"] {
        assert!(refusal(read("x.nrrd", &header(encoding, little), &voxels())).contains(encoding));
    }
    assert!(
        refusal(read("x.nrrd", &header("raw", ""), &voxels())).contains("endian is \"missing\"")
    );
    assert!(
        refusal(read("x.nrrd", &header("raw", little), &voxels()[1..]))
            .contains("need 48 bytes, 47 are there")
    );
    assert!(
        refusal(read(
            "x.nrrd",
            &header("ascii", ""),
            &[b"1 2 x ".as_slice(), &[b' '; 40]].concat()
        ))
        .contains("\"x\"")
    );
}

#[test]
fn nrrd_type_names() {
    let all: [(&str, usize); 10] = [
        ("signed char|int8|int8_t", 1),
        ("uchar|unsigned char|uint8|uint8_t", 1),
        (
            "short|short int|signed short|signed short int|int16|int16_t",
            2,
        ),
        (
            "ushort|unsigned short|unsigned short int|uint16|uint16_t",
            2,
        ),
        ("int|signed int|int32|int32_t", 4),
        ("uint|unsigned int|uint32|uint32_t", 4),
        (
            "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
            8,
        ),
        (
            "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
            8,
        ),
        ("float", 4),
        ("double", 8),
    ];
    let mut seen = Vec::new();
    for (names, bytes) in all {
        for name in names.split('|') {
            let header = format!("{NRRD}spacings: 1 1 1\n\n").replace("short", name);
            let voxels = read("x.nrrd", &header, &vec![0; 24 * bytes])
                .unwrap()
                .voxels;
            seen.push(voxels.scalar_type().name());
        }
        seen.dedup();
    }
    let expected = [
        "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32",
        "float64",
    ];
    assert_eq!(seen, expected);
    let block = format!("{NRRD}spacings: 1 1 1\n\n").replace("short", "block");
    assert!(refusal(read("x.nrrd", &block, &voxels())).contains("\"block\""));
}

/// Writes the voxels in two files and a header that lists them.
fn listed(folder: &Path, name: &str, header: &str) -> Result<Image> {
    std::fs::create_dir(folder.join("slices")).unwrap();
    std::fs::write(folder.join("slices/a.raw"), &voxels()[..24]).unwrap();
    std::fs::write(folder.join("slices/b c.raw"), &voxels()[24..]).unwrap();
    std::fs::write(
        folder.join(name),
        format!("{header}slices/a.raw\nslices/b c.raw\n"),
    )
    .unwrap();
    read_image(&folder.join(name))
}

#[test]
fn detached_voxels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(
        at("x.nhdr"),
        format!("{NRRD}spacings: 2 3 4\ndata file: voxels.raw\n"),
    )
    .unwrap();
    let message = read_image(&at("x.nhdr")).unwrap_err().to_string();
    assert!(message.contains("voxels.raw"), "{message}");
    std::fs::write(at("voxels.raw"), voxels()).unwrap();
    assert_eq!(read_image(&at("x.nhdr")).unwrap().voxels, numbers());
    let list = format!("{NRRD}spacings: 2 3 4\ndata file: LIST\n");
    assert_eq!(
        listed(folder.path(), "list.nhdr", &list).unwrap().voxels,
        numbers()
    );
    let pattern = format!("{NRRD}spacings: 2 3 4\ndata file: s%03d.raw 1 4 1\n\n");
    std::fs::write(at("x.nhdr"), pattern).unwrap();
    assert!(
        read_image(&at("x.nhdr"))
            .unwrap_err()
            .to_string()
            .contains("pattern")
    );

    let folder = tempfile::tempdir().unwrap();
    let list = mha_header("ElementSpacing = 2 3 4\n").replace("LOCAL", "LIST");
    assert_eq!(
        listed(folder.path(), "list.mhd", &list).unwrap().voxels,
        numbers()
    );
    let mhd = mha_header("ElementSpacing = 2 3 4\nHeaderSize = 5\n").replace("LOCAL", "v.raw");
    std::fs::write(folder.path().join("x.mhd"), mhd).unwrap();
    std::fs::write(
        folder.path().join("v.raw"),
        [b"12345".as_slice(), &voxels()].concat(),
    )
    .unwrap();
    assert_eq!(
        read_image(&folder.path().join("x.mhd")).unwrap().voxels,
        numbers()
    );
}

fn mha_header(more: &str) -> String {
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 3 4\nElementType = MET_SHORT\n{more}ElementDataFile = LOCAL\n"
    )
}

fn mha(more: &str) -> Result<Image> {
    read("x.mha", &mha_header(more), &voxels())
}

#[test]
fn metaimage_geometry() {
    let plain = diagonal(2.0, 3.0, 4.0);
    // All as SimpleITK places them.
    assert_placed(&mha("ElementSpacing = 2 3 4\n").unwrap(), plain, [0.0; 3]);
    assert_placed(&mha("ElementSize = 2 3 4\n").unwrap(), plain, [0.0; 3]);
    assert_placed(
        &mha("ElementSpacing = -2 3 4\n").unwrap(),
        diagonal(-2.0, 3.0, 4.0),
        [0.0; 3],
    );
    let said = "ElementSpacing = 2 3 4\nAnatomicalOrientation = RAI\nCenterOfRotation = 5 5 5\n";
    assert_placed(&mha(said).unwrap(), plain, [0.0; 3]);
    let turned = [[0.0, 0.0, 4.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]];
    for (matrix, offset) in [
        ("TransformMatrix", "Offset"),
        ("Rotation", "Position"),
        ("Orientation", "Origin"),
    ] {
        let more =
            format!("ElementSpacing = 2 3 4\n{matrix} = 0 1 0 0 0 1 1 0 0\n{offset} = 1 2 3\n");
        assert_placed(&mha(&more).unwrap(), turned, [1.0, 2.0, 3.0]);
    }
    assert!(refusal(mha("")).contains("neither ElementSpacing nor ElementSize"));
    assert!(refusal(mha("ElementSpacing = 2 3\n")).contains("3 numbers are needed"));
    let long = "ElementSpacing = 2 3 4\nTransformMatrix = 2 0 0 0 1 0 0 0 1\n";
    assert!(refusal(mha(long)).contains("axis 0 in TransformMatrix has length 2"));
    let flat = "ElementSpacing = 2 3 4\nTransformMatrix = 1 0 0 1 0 0 0 0 1\n";
    assert!(refusal(mha(flat)).contains("lie in one plane"));
    let micro = "ElementSpacing = 2000 3000 4000\nDistanceUnits = um\n";
    assert_placed(&mha(micro).unwrap(), plain, [0.0; 3]);
}

#[test]
fn metaimage_data() {
    let spaced = |more: &str| mha_header(&format!("ElementSpacing = 2 3 4\n{more}"));
    let big: Vec<u8> = (0..24_i16).flat_map(i16::to_be_bytes).collect();
    let text = (0..24)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join("\n");
    for (header, data) in [
        (spaced("BinaryDataByteOrderMSB = True\n"), big.clone()),
        (spaced("ElementByteOrderMSB = True\n"), big),
        (spaced("CompressedData = True\n"), zlib(&voxels())),
        (spaced("CompressedData = True\n"), gzip(&voxels())),
        (
            spaced("HeaderSize = -1\n"),
            [b"junk".as_slice(), &voxels()].concat(),
        ),
        (
            spaced("").replace("BinaryData = True", "BinaryData = False"),
            text.into_bytes(),
        ),
    ] {
        let image = read("x.mha", &header, &data).unwrap_or_else(|e| panic!("{header}: {e}"));
        assert_eq!(image.voxels, numbers(), "{header}");
    }
    // SimpleITK reads MET_LONG as four bytes too.
    let long = spaced("").replace("MET_SHORT", "MET_LONG");
    let bytes: Vec<u8> = (0..24_i32).flat_map(i32::to_le_bytes).collect();
    assert_eq!(
        read("x.mha", &long, &bytes).unwrap().voxels,
        Voxels::I32((0..24).collect())
    );
    let refused = |header: &str| refusal(read("x.mha", header, &voxels()));
    assert!(refused(&spaced("ElementNumberOfChannels = 3\n")).contains("3 values per voxel"));
    assert!(
        refused(&spaced("").replace("MET_SHORT", "MET_FLOAT_ARRAY")).contains("MET_FLOAT_ARRAY")
    );
    assert!(refused(&spaced("").replace("NDims = 3", "NDims = 4")).contains("4 axes"));
    assert!(
        refused(&spaced("").replace("2 3 4\nElementType", "2 3 0\nElementType"))
            .contains("axis 2 holds no voxel")
    );
    assert!(
        refused(&spaced("").replace("DimSize = 2 3 4", "DimSize = 99999999 99999999 99999999"))
            .contains("more than a computer can address")
    );
    assert!(
        refused(&spaced("").replace("DimSize = 2 3 4", "DimSize = 9999 9999 9999"))
            .contains("cut off")
    );
    assert!(
        refused(&spaced("ElementToIntensityFunctionSlope = 2\n"))
            .contains("ElementToIntensityFunction")
    );
    let packed = spaced("CompressedData = True\n");
    let mut damaged = zlib(&voxels());
    damaged.truncate(20);
    assert!(refusal(read("x.mha", &packed, &damaged)).contains("cut off"));
    assert!(refused("hello").contains("is not a MetaImage header"));
    assert!(refusal(read("x.nrrd", "hello", &[])).contains("is not an NRRD file"));
}

#[test]
fn names_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("x.png");
    let message = read_image(&picture).unwrap_err().to_string();
    // The system's own words for a file that is not there.
    assert!(
        message.contains("x.png") && !message.contains("image format"),
        "{message}"
    );
    std::fs::write(&picture, "picture").unwrap();
    let message = read_image(&picture).unwrap_err().to_string();
    assert!(
        message.contains("does not end in an image format"),
        "{message}"
    );
    let message = read_image(&folder.path().join("x.nii"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("x.nii"), "{message}");
    let sub = folder.path().join("x.mha");
    std::fs::create_dir(&sub).unwrap();
    assert!(
        read_image(&sub)
            .unwrap_err()
            .to_string()
            .contains("holds no CT series")
    );
}
