//! Damaged DICOM files never make the reader panic, hang or ask for absurd memory.

#[path = "../../tests/fuzz/counting.rs"]
mod counting;
mod slices;

use std::path::{Path, PathBuf};

use counting::{alone, peak};
use dicom_dictionary_std::{tags, uids};
use dicom_object::open_file;
use dicom_transfer_syntax_registry::entries;
use imaging::dicom::{Options, acquisition, list_series, read_series};
use imaging::{describe, read_image};
use slices::{enhanced, hu, image, pack, put_u16, rle, save, write};

/// A 64-bit linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Flips bits, sets bytes to extremes, drops and adds some; one copy in four is cut off. Two of
/// three places are in the first part of the file, where the header is.
fn damage(bytes: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let reach = match random.below(3) {
            0 => bytes.len(),
            _ => header.min(bytes.len()),
        };
        let at = random.below(reach);
        match random.below(6) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'9', b'-', b'\\', b'.'][random.below(8)],
            3 => bytes[at] = random.below(256) as u8,
            4 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

/// What a damaged copy may take: the file, its values and what its decoder needs.
fn allowed(file: usize) -> usize {
    (64 << 20) + 64 * file
}

/// Reads damaged copies of `file` by opening `opened`; returns how many were refused.
fn attack(opened: &Path, file: &Path, copies: usize) -> usize {
    let original = std::fs::read(file).unwrap();
    let header = original.len().min(3000);
    let mut random = Random(original.len() as u64);
    let mut refused = 0;
    for copy in 0..copies {
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, damage(&original, header, &mut random)).unwrap();
        let (taken, ()) = peak(|| {
            refused += usize::from(read_image(opened).is_err());
            let _ = read_series(opened, &Options { repair: true });
            let _ = (describe(opened), acquisition(opened), list_series(opened));
        });
        let which = format!("copy {copy} of {}", file.display());
        assert!(taken < allowed(original.len()), "{taken} bytes for {which}");
    }
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, original).unwrap();
    refused
}

/// Damaged copies of each file.
const COPIES: usize = 200;

/// A series of each packing; returns the place and one of its files.
fn series(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut all = Vec::new();
    let mut make = |name: &str, change: &dyn Fn(usize, &Path)| {
        let place = folder.join(name);
        let files = write(&place, &image([24, 20, 3]), 3);
        for (k, file) in files.iter().enumerate() {
            change(k, file);
        }
        all.push((place, files[1].clone()));
    };
    make("explicit", &|_, _| ());
    for syntax in [uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"] {
        make(syntax, &|_, file| {
            let object = (*open_file(file).unwrap()).clone();
            save(file, object, syntax);
        });
    }
    make("headerless", &|_, file| {
        let object = (*open_file(file).unwrap()).clone();
        let mut bytes = Vec::new();
        let implicit = entries::IMPLICIT_VR_LITTLE_ENDIAN.erased();
        object.write_dataset_with_ts(&mut bytes, &implicit).unwrap();
        std::fs::write(file, bytes).unwrap();
    });
    make("rle", &|k, file| {
        let values: Vec<i16> = (0..480).map(|n| hu(n % 24, n / 24, k)).collect();
        pack(file, uids::RLE_LOSSLESS, vec![rle(&values)]);
    });
    let streams: [(&str, &[u8], &str); 4] = [
        (
            "lossless",
            include_bytes!("data/streams/signed.jpll"),
            uids::JPEG_LOSSLESS_SV1,
        ),
        (
            "j2k",
            include_bytes!("data/streams/signed.j2k"),
            uids::JPEG2000_LOSSLESS,
        ),
        (
            "jp2",
            include_bytes!("data/streams/eight.jp2"),
            uids::JPEG2000,
        ),
        (
            "baseline",
            include_bytes!("data/streams/ramp.jpg"),
            uids::JPEG_BASELINE8_BIT,
        ),
    ];
    for (name, stream, syntax) in streams {
        make(name, &|_, file| {
            if matches!(name, "jp2" | "baseline") {
                for (tag, value) in [
                    (tags::BITS_ALLOCATED, 8),
                    (tags::BITS_STORED, 8),
                    (tags::HIGH_BIT, 7),
                    (tags::PIXEL_REPRESENTATION, 0),
                ] {
                    put_u16(file, tag, value);
                }
            }
            let mut stream = stream.to_vec();
            stream.resize(stream.len().next_multiple_of(2), 0);
            pack(file, syntax, vec![stream]);
        });
    }
    let slices = write(&folder.join("of enhanced"), &image([24, 20, 6]), 3);
    for packed in [false, true] {
        let path = folder.join(format!("enhanced {packed}.dcm"));
        enhanced(&path, &slices, &[4, 0, 2, 5, 1, 3], packed);
        all.push((path.clone(), path));
    }
    all
}

#[test]
fn damaged_slices_of_every_packing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for (opened, file) in series(folder.path()) {
        read_image(&opened).unwrap_or_else(|e| panic!("{e}"));
        let refused = attack(&opened, &file, COPIES);
        println!("{}: {refused} of {COPIES} refused", opened.display());
        // The test means little unless much of the damage is met.
        assert!(refused > COPIES / 4, "{refused} of {COPIES}");
    }
}

/// A header that asks for 8 GiB in a file of some kilobytes.
#[test]
fn a_lying_size_reserves_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for (opened, file) in series(folder.path()) {
        let mut files: Vec<PathBuf> = match opened.is_dir() {
            true => std::fs::read_dir(&opened)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect(),
            false => vec![file],
        };
        files.sort();
        // The writer of the tests reads Part 10 files only.
        if files.iter().any(|f| open_file(f).is_err()) {
            continue;
        }
        for file in &files {
            put_u16(file, tags::ROWS, 65535);
            put_u16(file, tags::COLUMNS, 65535);
        }
        let (taken, message) = peak(|| read_image(&opened).unwrap_err().to_string());
        assert!(taken < 16 << 20, "{taken} bytes: {message}");
        assert!(
            message.contains("cut off") || message.contains("cannot be packed"),
            "{message}"
        );
    }
}

#[test]
fn damaged_third_party_files() {
    let _alone = alone();
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let data = Path::new(&shared).join("data");
    let folder = tempfile::tempdir().unwrap();
    let list = |place: &str| -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(data.join(place))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
    };
    let mut files = list("reader-hardening/pydicom");
    files.extend(list("reader-hardening/nibabel"));
    files.retain(|f| f.extension().is_some_and(|e| e == "dcm"));
    // One slice of each series stands for the others.
    files.push(list("phantom/cylinder-ge-1998-egsnrc").swap_remove(0));
    files.push(list("ct-hu/dicom-jpeg2000-totalsegmentator/series").swap_remove(0));
    assert_eq!(files.len(), 26);
    for original in files {
        let copy = folder.path().join("copy.dcm");
        std::fs::write(&copy, std::fs::read(&original).unwrap()).unwrap();
        let refused = attack(&copy, &copy, COPIES);
        println!("{}: {refused} of {COPIES} refused", original.display());
        std::fs::remove_file(&copy).unwrap();
    }
}
