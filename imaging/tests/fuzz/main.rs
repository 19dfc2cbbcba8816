//! Damaged images of every format are read or refused; nothing panics or asks for absurd memory.
//!
//! How the attack works is told in the engine; `docs/robustness.md` has the figures. The corpus is
//! made by [`renew_corpus`] from images of this crate's own writers; what was a finding once is kept
//! beside them under a name that begins with `found`.

mod bombs;
#[path = "../../../tests/fuzz/engine.rs"]
mod engine;
#[path = "../slices/mod.rs"]
mod slices;

use std::io::Write;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::uids;
use engine::{Answer, Target, targets};
use imaging::dicom::{Options, acquisition, list_series, read_series};
use imaging::{Grid, Image, Voxels, describe, read_image, read_labels, write_image};
use nalgebra::{Matrix3, Rotation3, Vector3};

targets!(
    nifti: 10,
    nifti_gz: 5,
    nrrd: 12,
    nrrd_gz: 8,
    mha: 10,
    mhd: 10,
    label_map: 5,
    dicom: 20
);

/// A folder of the target, with the file that is replaced by every input.
struct Place {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        Self { folder, file }
    }

    /// Writes a new file: truncating the old one makes some file systems wait for the disk.
    fn put(&self, bytes: &[u8]) {
        let _ = std::fs::remove_file(&self.file);
        std::fs::write(&self.file, bytes).unwrap();
    }

    /// A refusal without the folder's name, which is another one in every run.
    fn refusal(&self, error: &imaging::Error) -> String {
        let text = error.to_string();
        text.replace(&self.folder.path().display().to_string(), "")
    }
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn target(
    name: &'static str,
    words: &'static [&'static str],
    tries: u64,
    read: impl FnMut(&[u8]) -> Answer + 'static,
) -> Target {
    Target {
        name,
        corpora: corpora(),
        seeds: Vec::new(),
        words,
        tries,
        memory: (16 << 20, 64),
        read: Box::new(read),
    }
}

/// What was read of an image, without its size.
fn summary(place: &Place) -> Answer {
    let image = read_image(&place.file).map_err(|e| place.refusal(&e))?;
    let info = describe(&place.file).map_err(|e| format!("only read: {e}"))?;
    assert_eq!(image.voxels.len(), info.grid.len());
    assert_eq!(image.voxels.scalar_type(), info.scalar_type);
    let scaled = image.is_scaled();
    let kind = info.scalar_type;
    let labels = read_labels(&place.file).is_ok();
    let volume = image.into_volume().map_err(|e| place.refusal(&e))?;
    let finite = volume.count_non_finite() == 0;
    Ok(format!(
        "{} {kind} {:?} scaled {scaled} labels {labels} finite {finite}",
        info.format, info.orientation
    ))
}

fn images(name: &'static str, file: &str, words: &'static [&'static str], tries: u64) -> Target {
    let place = Place::new(file);
    target(name, words, tries, move |bytes| {
        place.put(bytes);
        summary(&place)
    })
}

fn nifti() -> Target {
    images(
        "nifti",
        "x.nii",
        &["n+1\0", "n+2\0", "ni1\0", "\x5c\x01\0\0"],
        8000,
    )
}

/// The first byte of an input says whether the rest is packed as it is or a stream already: damage
/// to a stream seldom gets past its checksum.
fn packed(bytes: &[u8]) -> Vec<u8> {
    match bytes.split_first() {
        Some((b'P', plain)) => gzip(plain),
        Some((_, stream)) => stream.to_vec(),
        None => Vec::new(),
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn nifti_gz() -> Target {
    let place = Place::new("x.nii.gz");
    let mut target = target("nifti_gz", &["n+1\0", "\x1f\u{8}"], 6000, move |bytes| {
        place.put(&packed(bytes));
        summary(&place)
    });
    // A byte of a deflate stream may honestly become 1032; the values are held twice as f64.
    target.memory.1 = 1100;
    target
}

/// Words of the NRRD format.
const NRRD: &[&str] = &[
    "NRRD0004\n",
    "encoding: raw\n",
    "encoding: gzip\n",
    "encoding: ascii\n",
    "type: double\n",
    "type: uchar\n",
    "sizes: 2 2 2\n",
    "dimension: 4\n",
    "none ",
    "(nan,0,0)",
    "data file: LIST\n",
    "data file: x.nrrd\n",
    "data file: x%03d.raw 1 9999999 1\n",
    "line skip: ",
    "byte skip: -1\n",
    "space: RAS\n",
    "spacings: 1 1 1\n",
    "axis mins: 0 0 0\n",
    "endian: big\n",
    "\n\n",
    ":=",
    "#",
];

fn nrrd() -> Target {
    images("nrrd", "x.nrrd", NRRD, 8000)
}

fn nrrd_gz() -> Target {
    let mut target = images("nrrd_gz", "x.nrrd", NRRD, 6000);
    target.memory.1 = 1100;
    target
}

/// Words of the MetaImage format.
const META: &[&str] = &[
    "ElementDataFile = LOCAL\n",
    "ElementDataFile = LIST\n",
    "ElementDataFile = x.mha\n",
    "CompressedData = False\n",
    "BinaryData = False\n",
    "HeaderSize = -1\n",
    "HeaderSize = 10\n",
    "ElementType = MET_DOUBLE\n",
    "NDims = 3\n",
    "DimSize = 2 2 2\n",
    "DistanceUnits = um\n",
    "ElementNumberOfChannels = 3\n",
    "BinaryDataByteOrderMSB = True\n",
    "ElementSpacing = 0 0 0\n",
];

fn mha() -> Target {
    let mut target = images("mha", "x.mha", META, 8000);
    target.memory.1 = 1100;
    target
}

/// A header whose voxels are in the files beside it.
fn mhd() -> Target {
    let place = Place::new("x.mhd");
    let mut plain = Vec::new();
    for n in 0..24_i16 {
        plain.extend(n.to_le_bytes());
    }
    let beside = |name: &str, bytes: &[u8]| {
        std::fs::write(place.folder.path().join(name), bytes).unwrap();
    };
    beside("x.raw", &plain);
    beside("x.zraw", &gzip(&plain));
    beside(
        "x.txt",
        b"1 2 3 4 5 6 7 8 9 10 11 12\n13 14 15 16 17 18 19 20 21 22 23 24\n",
    );
    std::fs::create_dir(place.folder.path().join("folder")).unwrap();
    target("mhd", META, 6000, move |bytes| {
        place.put(bytes);
        summary(&place)
    })
}

fn label_map() -> Target {
    let place = Place::new("x.nii");
    target("label_map", &["n+1\0"], 4000, move |bytes| {
        place.put(bytes);
        let map = read_labels(&place.file).map_err(|e| place.refusal(&e))?;
        let most = map.data.iter().max().copied().unwrap_or(0);
        Ok(format!("labels of {} bits", 16 - most.leading_zeros()))
    })
}

/// A directory of two sound slices and the input, which is then read alone.
fn dicom() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let files = slices::write(
        &folder.path().join("series"),
        &slices::image([24, 20, 3]),
        3,
    );
    let place = Place {
        file: files[1].clone(),
        folder,
    };
    let mut target = target(
        "dicom",
        &[
            "DICM",
            "\\",
            "1.2.840.10008.1.2.5",
            "1.2.840.10008.1.2.4.90",
            "\u{fe}\u{ff}",
        ],
        1200,
        move |bytes| {
            place.put(bytes);
            let opened = place.folder.path().join("series");
            let _ = (
                list_series(&opened),
                describe(&opened),
                acquisition(&opened),
            );
            let _ = read_series(&opened, &Options { repair: true });
            let together = read_image(&opened).map_err(|e| place.refusal(&e));
            let alone = read_image(&place.file).map_err(|e| place.refusal(&e));
            match (together, alone) {
                (Ok(image), _) => Ok(format!("series {}", image.voxels.scalar_type())),
                (Err(_), Ok(image)) => Ok(format!("alone {}", image.voxels.scalar_type())),
                (Err(a), Err(b)) if a == b => Err(a),
                (Err(a), Err(b)) => Err(format!("{a}; {b}")),
            }
        },
    );
    // As in the tests of damaged slices: the decoders have tables.
    target.memory = (64 << 20, 64);
    target
}

pub(crate) fn oblique() -> Grid {
    let direction = Rotation3::from_euler_angles(0.3, -0.7, 2.1).into_inner();
    let steps = Matrix3::from_diagonal(&Vector3::new(0.7, 1.25, 3.1));
    let origin = Vector3::new(-101.3, 57.9, 203.77);
    Grid::from_affine([4, 3, 2], direction * steps, origin).unwrap()
}

/// Writes the corpus again; files that were findings are left alone.
#[test]
#[ignore = "writes into the source tree"]
fn renew_corpus() {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpora().join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, image: &Image| {
        let path = folder.path().join(name);
        write_image(&path, image).unwrap();
        std::fs::read(path).unwrap()
    };
    let image = |voxels| Image::new(oblique(), voxels).unwrap();
    let i16s = image(Voxels::I16((0..24).map(|n| n % 5).collect()));
    let f64s = image(Voxels::F64((0..24).map(|n| f64::from(n) * 0.3).collect()));
    let u8s = image(Voxels::U8((0..24).map(|n| n % 3).collect()));
    let mut scaled = i16s.clone();
    (scaled.slope, scaled.intercept) = (0.5, -1000.0);
    let grid = Grid::axis_aligned([32768, 1, 1], [1.0; 3]);
    let long = Image::new(grid, Voxels::U8(vec![1; 32768])).unwrap();
    for (name, image) in [
        ("i16", &i16s),
        ("f64", &f64s),
        ("u8", &u8s),
        ("scaled", &scaled),
    ] {
        let plain = written("a.nii", image);
        put("nifti", name, &plain);
        put("nifti_gz", name, &[b"P", &plain[..]].concat());
        put("label_map", name, &plain);
        put("nrrd_gz", name, &written("a.nrrd", image));
        put("mha", name, &written("a.mha", image));
    }
    let plain = written("a.nii", &long);
    put("nifti", "version_2", &plain[..600]);
    put("nifti_gz", "version_2", &[b"P", &plain[..]].concat());
    put(
        "nifti_gz",
        "stream",
        &[b"S", &written("a.nii.gz", &i16s)[..]].concat(),
    );
    let list: String = (0..24).map(|n| format!("{n} ")).collect();
    let raw: Vec<u8> = (0..24_i16).flat_map(i16::to_le_bytes).collect();
    let nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\n";
    let vectors = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)\n";
    put(
        "nrrd",
        "raw",
        &[
            nrrd.as_bytes(),
            vectors.as_bytes(),
            b"encoding: raw\nendian: little\n\n",
            &raw,
        ]
        .concat(),
    );
    put(
        "nrrd",
        "text",
        format!("{nrrd}spacings: 1 1 2\naxis mins: 0 0 0\nencoding: ascii\n\n{list}").as_bytes(),
    );
    put("nrrd", "four_axes", format!("NRRD0005\ntype: uchar\ndimension: 4\nsizes: 1 2 3 4\nspace: RAS\nspace directions: none (1,0,0) (0,1,0) (0,0,2)\nkinds: list domain domain domain\nencoding: txt\n\n{list}").as_bytes());
    put(
        "nrrd",
        "list",
        format!("{nrrd}{vectors}encoding: raw\nendian: big\ndata file: LIST\nx.nrrd\nx.nrrd\n")
            .as_bytes(),
    );
    put(
        "nrrd",
        "beside",
        format!(
            "{nrrd}{vectors}encoding: raw\nendian: big\nbyte skip: -1\ndata file: x.nrrd\n\n{list}"
        )
        .as_bytes(),
    );
    let meta = "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementSpacing = 1 1 2\nOffset = 1 2 3\n";
    let turned = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n";
    put(
        "mha",
        "raw",
        &[
            meta.as_bytes(),
            b"BinaryData = True\nElementDataFile = LOCAL\n",
            &raw,
        ]
        .concat(),
    );
    put(
        "mhd",
        "raw",
        format!("{meta}{turned}BinaryData = True\nElementDataFile = x.raw\n").as_bytes(),
    );
    put(
        "mhd",
        "packed",
        format!("{meta}{turned}CompressedData = True\nElementDataFile = x.zraw\n").as_bytes(),
    );
    put(
        "mhd",
        "text",
        format!("{meta}BinaryData = False\nElementDataFile = x.txt\n").as_bytes(),
    );
    put(
        "mhd",
        "list",
        format!("{meta}HeaderSize = -1\nElementDataFile = LIST\nx.raw\nx.raw\n").as_bytes(),
    );
    put(
        "mhd",
        "folder",
        format!("{meta}ElementDataFile = folder\n").as_bytes(),
    );
    renew_slices(&put);
}

/// The middle slice of a series in every packing.
fn renew_slices(put: &dyn Fn(&str, &str, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let middle = |name: &str, change: &dyn Fn(&Path)| {
        let files = slices::write(&folder.path().join(name), &slices::image([24, 20, 3]), 3);
        change(&files[1]);
        put("dicom", name, &std::fs::read(&files[1]).unwrap());
    };
    middle("explicit", &|_| ());
    for (name, syntax) in [
        ("implicit", uids::IMPLICIT_VR_LITTLE_ENDIAN),
        ("big_endian", "1.2.840.10008.1.2.2"),
    ] {
        middle(name, &|file| {
            let object = (*dicom_object::open_file(file).unwrap()).clone();
            slices::save(file, object, syntax);
        });
    }
    middle("rle", &|file| {
        let values: Vec<i16> = (0..480).map(|n| slices::hu(n % 24, n / 24, 1)).collect();
        slices::pack(file, uids::RLE_LOSSLESS, vec![slices::rle(&values)]);
    });
    let streams: [(&str, &[u8], &str); 2] = [
        (
            "lossless",
            include_bytes!("../data/streams/signed.jpll"),
            uids::JPEG_LOSSLESS_SV1,
        ),
        (
            "j2k",
            include_bytes!("../data/streams/signed.j2k"),
            uids::JPEG2000_LOSSLESS,
        ),
    ];
    for (name, stream, syntax) in streams {
        middle(name, &|file| {
            let mut stream = stream.to_vec();
            stream.resize(stream.len().next_multiple_of(2), 0);
            slices::pack(file, syntax, vec![stream]);
        });
    }
    let files = slices::write(
        &folder.path().join("of enhanced"),
        &slices::image([24, 20, 6]),
        3,
    );
    let path = folder.path().join("enhanced.dcm");
    slices::enhanced(&path, &files, &[4, 0, 2, 5, 1, 3], false);
    put("dicom", "enhanced", &std::fs::read(path).unwrap());
}
