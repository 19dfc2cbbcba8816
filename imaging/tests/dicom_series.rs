//! Series in every form they come in: found among other files, chosen, unpacked and rescaled.

mod slices;

use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{InMemDicomObject, open_file};
use dicom_transfer_syntax_registry::entries;
use imaging::dicom::{self, AIR_HU, Options, list_series, patient, read_series};
use imaging::{Image, Voxels, describe, read_image, read_volume, write_image};
use slices::{axial, edit, enhanced, hu, image, other, pack, put, put_u16, rle, save, write};

const SIZE: [usize; 3] = [24, 20, 6];

fn real(image: Image) -> Vec<f32> {
    image.into_volume().unwrap().data
}

fn refusal(path: &Path) -> String {
    read_image(path).unwrap_err().to_string()
}

fn refused(path: &Path, words: &[&str]) {
    let message = refusal(path);
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

#[test]
fn a_written_series_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let scaled = Image {
        slope: 0.5,
        intercept: -3.25,
        ..image(SIZE)
    };
    for (name, image) in [
        ("plain", image(SIZE)),
        ("axial", axial(SIZE)),
        ("scaled", scaled),
    ] {
        let place = folder.path().join(name);
        write(&place, &image, 3);
        let read = read_image(&place).unwrap();
        read.grid.check_same(&image.grid).unwrap();
        assert_eq!(read.voxels, image.voxels);
        assert_eq!((read.slope, read.intercept), (image.slope, image.intercept));
        let info = describe(&place).unwrap();
        info.grid.check_same(&image.grid).unwrap();
        assert_eq!(info.scalar_type, image.voxels.scalar_type());
    }
}

#[test]
fn the_same_volume_through_dicom_and_nifti() {
    let folder = tempfile::tempdir().unwrap();
    let [slices, nifti] = ["slices", "ct.nii.gz"].map(|name| folder.path().join(name));
    write(&slices, &image(SIZE), 3);
    write_image(&nifti, &image(SIZE)).unwrap();
    let (a, b) = (read_volume(&slices).unwrap(), read_volume(&nifti).unwrap());
    a.grid.check_same(&b.grid).unwrap();
    assert_eq!(a.data, b.data);
}

#[test]
fn written_bytes_depend_on_the_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, seed| -> Vec<Vec<u8>> {
        let files = write(&folder.path().join(name), &image(SIZE), seed);
        files
            .iter()
            .map(|file| std::fs::read(file).unwrap())
            .collect()
    };
    let (one, again, another) = (bytes("a", 1), bytes("b", 1), bytes("c", 2));
    assert_eq!(one, again);
    assert!(one.iter().zip(&another).all(|(a, b)| a != b));
}

#[test]
fn values_that_no_slice_holds_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    for value in [0.5, 40_000.0, f32::NAN] {
        let mut values = vec![0.0; 24 * 20 * 6];
        values[77] = value;
        let image = Image::new(image(SIZE).grid, Voxels::F32(values)).unwrap();
        let facts = dicom::SliceFacts::synthetic(1);
        let error = dicom::write_series(&folder.path().join("x"), &image, &facts).unwrap_err();
        assert!(
            error.to_string().contains(&format!("the value {value}")),
            "{error}"
        );
    }
}

/// A directory as it comes from a disc: nested, with an index, a report, a localizer, a secondary
/// capture, a text and an image of another format.
#[test]
fn a_series_is_found_among_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let deep = place.join("PAT/ST1/SE2");
    write(&deep, &image(SIZE), 3);
    // Names of slices mean nothing.
    std::fs::rename(deep.join("0003.dcm"), deep.join("0")).unwrap();
    std::fs::rename(deep.join("0005.dcm"), place.join("a file.IMA")).unwrap();
    other(
        &place.join("DICOMDIR"),
        uids::MEDIA_STORAGE_DIRECTORY_STORAGE,
        "",
        "",
    );
    other(&place.join("report"), uids::BASIC_TEXT_SR_STORAGE, "", "SR");
    let scout = "ORIGINAL\\PRIMARY\\LOCALIZER";
    other(&place.join("scout"), uids::CT_IMAGE_STORAGE, scout, "CT");
    other(
        &place.join("dose"),
        uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        "",
        "CT",
    );
    std::fs::write(place.join("readme.txt"), "Viewer for Windows\n").unwrap();
    std::fs::write(place.join("empty"), "").unwrap();
    write_image(&place.join("mask.nii"), &image(SIZE)).unwrap();
    let read = read_image(place).unwrap();
    read.grid.check_same(&image(SIZE).grid).unwrap();
    assert_eq!(read.voxels, image(SIZE).voxels);
    assert_eq!(list_series(place).unwrap().len(), 1);
    // A link that leads round in a circle.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place, place.join("PAT/again")).unwrap();
        assert_eq!(read_image(place).unwrap().voxels, image(SIZE).voxels);
    }
}

#[test]
fn where_there_is_no_series_the_refusal_says_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    refused(place, &["holds no CT series", "no file"]);
    let scout = "ORIGINAL\\PRIMARY\\LOCALIZER";
    other(
        &place.join("scout.dcm"),
        uids::CT_IMAGE_STORAGE,
        scout,
        "CT",
    );
    refused(place, &["1 x localizer"]);
    refused(&place.join("scout.dcm"), &["is a localizer"]);
    other(
        &place.join("capture"),
        uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        "",
        "CT",
    );
    refused(place, &["1 x localizer", "1 x secondary capture"]);
    refused(&place.join("capture"), &["is a secondary capture"]);
    std::fs::write(place.join("readme.txt"), "Viewer for Windows\n").unwrap();
    refused(place, &["1 files that are no DICOM"]);
    refused(
        &place.join("readme.txt"),
        &["does not end in an image format"],
    );
    std::fs::write(place.join("x.dcm"), "Viewer for Windows\n").unwrap();
    refused(&place.join("x.dcm"), &["is no DICOM file"]);
}

/// Another series of the disc that cannot be read is no reason to refuse the one that was named.
#[test]
fn a_faulty_series_is_refused_only_where_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    write(&place.join("a"), &image(SIZE), 1);
    let second = write(&place.join("b"), &axial(SIZE), 2);
    put(&second[2], tags::PIXEL_SPACING, VR::DS, "0.7\\-0.8");
    let named = |series: &str| {
        place.with_file_name(format!(
            "{}#{series}",
            place.file_name().unwrap().to_str().unwrap()
        ))
    };
    let list = list_series(place).unwrap();
    let faulty: Vec<_> = list.iter().filter(|s| s.fault.is_some()).collect();
    assert_eq!((list.len(), faulty.len(), faulty[0].slices), (2, 1, 5));
    // Both have number 1, so each goes by its UID.
    let cause = "PixelSpacing is 0.7, -0.8 mm";
    refused(
        place,
        &["2 series are here", "cannot be read", cause, "#2.25."],
    );
    let sound = list.iter().find(|s| s.fault.is_none()).unwrap();
    let read = read_image(&named(&sound.uid)).unwrap();
    assert_eq!(read.voxels, image(SIZE).voxels);
    refused(&named(&faulty[0].uid), &[cause, "0003.dcm"]);
    // A fault of a file that does not say which series it is of could be a slice of any.
    edit(&second[2], |object| {
        object.remove_element(tags::SERIES_INSTANCE_UID);
    });
    refused(&named(&sound.uid), &[cause, "0003.dcm"]);
    refused(&place.join("b"), &[cause]);
}

#[test]
fn a_contrast_agent_is_stated_as_text_code_or_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder.path().join("a"), &axial(SIZE), 1).swap_remove(0);
    let stated = || dicom::acquisition(&file).unwrap().unwrap().contrast_agent;
    assert_eq!(stated(), None);
    put(&file, tags::CONTRAST_BOLUS_ROUTE, VR::LO, "INTRAVENOUS");
    assert_eq!(stated().as_deref(), Some("INTRAVENOUS"));
    edit(&file, |object| {
        let mut code = InMemDicomObject::new_empty();
        code.put(DataElement::new(
            tags::CODE_MEANING,
            VR::LO,
            PrimitiveValue::from("Iohexol"),
        ));
        let codes = DataSetSequence::from(vec![code]);
        object.put(DataElement::new(
            tags::CONTRAST_BOLUS_AGENT_SEQUENCE,
            VR::SQ,
            codes,
        ));
    });
    assert_eq!(stated().as_deref(), Some("Iohexol"));
    put(&file, tags::CONTRAST_BOLUS_AGENT, VR::LO, "NO");
    assert_eq!(stated().as_deref(), Some("NO"));
}

#[test]
fn of_several_series_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let first = write(&place.join("a"), &image(SIZE), 1);
    let second = write(&place.join("b"), &axial(SIZE), 2);
    for file in &second {
        put(file, tags::SERIES_NUMBER, VR::IS, "2 ");
        put(file, tags::SERIES_DESCRIPTION, VR::LO, "Bone 1.0");
    }
    refused(
        place,
        &[
            "2 series are here",
            "#1 CT 24x20, 6 slices",
            "#2 CT",
            "\"Bone 1.0\"",
        ],
    );
    let named = |series: &str| {
        place.with_file_name(format!(
            "{}#{series}",
            place.file_name().unwrap().to_str().unwrap()
        ))
    };
    let read = |series: &str| read_image(&named(series)).unwrap();
    assert_eq!(read("1").grid, read_image(&place.join("a")).unwrap().grid);
    read("2").grid.check_same(&axial(SIZE).grid).unwrap();
    let uid = open_file(&first[0]).unwrap();
    let uid = uid
        .element(tags::SERIES_INSTANCE_UID)
        .unwrap()
        .to_str()
        .unwrap()
        .into_owned();
    read(&uid).grid.check_same(&image(SIZE).grid).unwrap();
    refused(&named("3"), &["has no series \"3\"", "#1", "#2"]);
    // A CT beside series of other kinds needs no name.
    for file in &second {
        put(file, tags::MODALITY, VR::CS, "MR");
        put(file, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    }
    assert_eq!(read_image(place).unwrap().grid, read("1").grid);
    read("2").grid.check_same(&axial(SIZE).grid).unwrap();
    // Two series of one number are told apart by their UIDs only.
    for file in &second {
        put(file, tags::SERIES_NUMBER, VR::IS, "1");
    }
    refused(&named("1"), &["2 series are here"]);
}

/// The data set alone, as old scanners stored it.
#[test]
fn files_without_the_part_10_header_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let syntaxes = [
        entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
        entries::EXPLICIT_VR_BIG_ENDIAN.erased(),
    ];
    for (n, syntax) in syntaxes.iter().enumerate() {
        let place = folder.path().join(n.to_string());
        for file in write(&place, &image(SIZE), 3) {
            let object = (*open_file(&file).unwrap()).clone();
            let mut bytes = Vec::new();
            object.write_dataset_with_ts(&mut bytes, syntax).unwrap();
            std::fs::remove_file(&file).unwrap();
            std::fs::write(file.with_extension("ct"), &bytes).unwrap();
            // And with the preamble and mark, but without group 2.
            if n == 1 {
                let mut marked = vec![0; 128];
                marked.extend(b"DICM");
                marked.extend(&bytes);
                std::fs::write(file.with_extension("ct"), marked).unwrap();
            }
        }
        let read = read_image(&place).unwrap();
        read.grid.check_same(&image(SIZE).grid).unwrap();
        assert_eq!(read.voxels, image(SIZE).voxels, "{}", syntax.name());
    }
}

#[test]
fn every_uncompressed_syntax_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for syntax in [uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"] {
        let place = folder.path().join(syntax);
        for file in write(&place, &image(SIZE), 3) {
            let object = (*open_file(&file).unwrap()).clone();
            save(&file, object, syntax);
        }
        assert_eq!(
            read_image(&place).unwrap().voxels,
            image(SIZE).voxels,
            "{syntax}"
        );
    }
    // Deflated: the data set behind the header is packed as a whole.
    let place = folder.path().join("deflated");
    for file in write(&place, &image(SIZE), 3) {
        let object = (*open_file(&file).unwrap()).clone();
        let explicit = entries::EXPLICIT_VR_LITTLE_ENDIAN.erased();
        let mut dataset = Vec::new();
        object
            .write_dataset_with_ts(&mut dataset, &explicit)
            .unwrap();
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99");
        let mut encoder =
            flate2::write::DeflateEncoder::new(&mut bytes, flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, &dataset).unwrap();
        encoder.finish().unwrap();
        std::fs::write(&file, &bytes).unwrap();
    }
    let read = read_series(&place, &Options::default()).unwrap();
    assert_eq!(read.image.voxels, image(SIZE).voxels);
    assert_eq!(
        read.acquisition.transfer_syntax,
        "Deflated Explicit VR Little Endian"
    );
}

#[test]
fn stored_bits_and_signs_are_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let files = write(place, &image(SIZE), 3);
    // 12 bits in the upper part of 16, unsigned, with an overlay in the lower four.
    for (k, file) in files.iter().enumerate() {
        edit(file, |object| {
            let words: Vec<u16> = (0..24 * 20)
                .map(|n| (hu(n % 24, n / 24, k) + 1024) as u16)
                .map(|v| v << 4 | 0b1010)
                .collect();
            object.put(DataElement::new(
                tags::PIXEL_DATA,
                VR::OW,
                PrimitiveValue::U16(words.into()),
            ));
            for (tag, value) in [
                (tags::BITS_STORED, 12_u16),
                (tags::HIGH_BIT, 15),
                (tags::PIXEL_REPRESENTATION, 0),
            ] {
                object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
            }
            object.put(DataElement::new(
                tags::RESCALE_INTERCEPT,
                VR::DS,
                PrimitiveValue::from("-1024"),
            ));
        });
    }
    let read = read_image(place).unwrap();
    assert_eq!(read.voxels.scalar_type(), imaging::ScalarType::U16);
    assert_eq!(real(read), real(image(SIZE)));
    // The same 12 bits as signed numbers.
    for file in &files {
        put_u16(file, tags::PIXEL_REPRESENTATION, 1);
    }
    let expected: Vec<f32> = real(image(SIZE))
        .iter()
        .map(|hu| {
            let stored = hu + 1024.0;
            (if stored >= 2048.0 {
                stored - 4096.0
            } else {
                stored
            }) - 1024.0
        })
        .collect();
    assert_eq!(real(read_image(place).unwrap()), expected);
}

#[test]
fn slices_of_8_and_32_bits_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for bits in [8_u16, 32] {
        let place = folder.path().join(bits.to_string());
        for (k, file) in write(&place, &image(SIZE), 3).iter().enumerate() {
            edit(file, |object| {
                let value = |n: usize| i32::from(hu(n % 24, n / 24, k)) * 100;
                let bytes: Vec<u8> = (0..24 * 20)
                    .flat_map(|n| match bits {
                        8 => vec![value(n) as u8],
                        _ => value(n).to_le_bytes().to_vec(),
                    })
                    .collect();
                object.put(DataElement::new(
                    tags::PIXEL_DATA,
                    VR::OB,
                    PrimitiveValue::from(bytes),
                ));
                for (tag, value) in [
                    (tags::BITS_ALLOCATED, bits),
                    (tags::BITS_STORED, bits),
                    (tags::HIGH_BIT, bits - 1),
                    (tags::PIXEL_REPRESENTATION, u16::from(bits == 32)),
                ] {
                    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
                }
            });
        }
        let found = read_image(&place).unwrap().voxels;
        let expected: Vec<i32> = real(image(SIZE)).iter().map(|v| *v as i32 * 100).collect();
        match found {
            Voxels::U8(values) => {
                assert!(values.iter().zip(&expected).all(|(a, b)| *a == *b as u8));
            }
            other => assert_eq!(other, Voxels::I32(expected)),
        }
    }
}

#[test]
fn each_slice_has_its_own_line() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let files = write(place, &image(SIZE), 3);
    // Whole lines keep whole HU; the stored numbers of slice k are (HU + 4 k) / 1.
    put(&files[2], tags::RESCALE_INTERCEPT, VR::DS, "-40");
    put(&files[3], tags::RESCALE_SLOPE, VR::DS, "2");
    let slice = 24 * 20;
    let mut expected = real(image(SIZE));
    expected[2 * slice..3 * slice]
        .iter_mut()
        .for_each(|v| *v -= 40.0);
    expected[3 * slice..4 * slice]
        .iter_mut()
        .for_each(|v| *v *= 2.0);
    let read = read_image(place).unwrap();
    assert_eq!((read.slope, read.intercept), (1.0, 0.0));
    assert_eq!(read.voxels.scalar_type(), imaging::ScalarType::I32);
    assert_eq!(
        describe(place).unwrap().scalar_type,
        imaging::ScalarType::I32
    );
    assert_eq!(real(read), expected);
    // A broken line makes real values.
    put(&files[3], tags::RESCALE_SLOPE, VR::DS, "2.5");
    expected[3 * slice..4 * slice]
        .iter_mut()
        .for_each(|v| *v *= 1.25);
    let read = read_image(place).unwrap();
    assert_eq!(read.voxels, Voxels::F32(expected));
    put(&files[3], tags::RESCALE_SLOPE, VR::DS, "0");
    refused(place, &["RescaleSlope is 0"]);
    put(&files[3], tags::RESCALE_SLOPE, VR::DS, "nan");
    refused(place, &["RescaleSlope holds"]);
    edit(&files[3], |object| {
        object.remove_element(tags::RESCALE_SLOPE);
    });
    refused(
        place,
        &["RescaleSlope or RescaleIntercept is missing", "0004.dcm"],
    );
}

#[test]
fn padding_below_every_ct_number_becomes_air() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let files = write(place, &image(SIZE), 3);
    let set = |value: i16, tag| {
        for file in &files {
            edit(file, |object| {
                object.put(DataElement::new(tag, VR::SS, PrimitiveValue::from(value)));
            });
        }
    };
    let with = |pad: i16| {
        for (k, file) in files.iter().enumerate() {
            edit(file, |object| {
                let mut words: Vec<u16> = (0..24 * 20)
                    .map(|n| hu(n % 24, n / 24, k).cast_unsigned())
                    .collect();
                words[..5].fill(pad.cast_unsigned());
                words[5] = (pad + 1).cast_unsigned();
                object.put(DataElement::new(
                    tags::PIXEL_DATA,
                    VR::OW,
                    PrimitiveValue::U16(words.into()),
                ));
            });
        }
    };
    with(-2000);
    set(-2000, tags::PIXEL_PADDING_VALUE);
    let read = read_series(place, &Options::default()).unwrap();
    assert_eq!(read.notes, ["30 voxels of padding set to -1024 HU"]);
    // Padding is no repair: nothing within the body changes.
    assert!(read.repairs.is_empty());
    let values = real(read.image);
    assert_eq!(
        values[..6],
        [AIR_HU as f32, -1024.0, -1024.0, -1024.0, -1024.0, -1999.0]
    );
    assert_eq!(values[6..480], real(image(SIZE))[6..480]);
    // A range takes the neighbour in.
    set(-1990, tags::PIXEL_PADDING_RANGE_LIMIT);
    let read = read_series(place, &Options::default()).unwrap();
    assert_eq!(real(read.image)[5], -1024.0);
    // A padding value that is a CT number of tissue is believed by nobody.
    set(40, tags::PIXEL_PADDING_VALUE);
    set(40, tags::PIXEL_PADDING_RANGE_LIMIT);
    with(40);
    let read = read_series(place, &Options::default()).unwrap();
    assert!(read.notes.is_empty());
    assert_eq!(real(read.image)[..6], [40.0, 40.0, 40.0, 40.0, 40.0, 41.0]);
}

#[test]
fn an_enhanced_multi_frame_file_is_a_series() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(&folder.path().join("slices"), &image(SIZE), 3);
    for packed in [false, true] {
        let path = folder.path().join(format!("enhanced-{packed}.dcm"));
        enhanced(&path, &files, &[4, 0, 2, 5, 1, 3], packed);
        let read = read_series(&path, &Options::default()).unwrap();
        read.image.grid.check_same(&image(SIZE).grid).unwrap();
        assert_eq!(real(read.image), real(image(SIZE)), "packed {packed}");
        assert_eq!(read.acquisition.tube_voltage_kv, Some(110.0));
        assert_eq!(read.acquisition.kernel.as_deref(), Some("B30f"));
        assert_eq!((read.acquisition.slices, read.acquisition.files), (6, 1));
    }
    let path = folder.path().join("enhanced-false.dcm");
    put(&path, tags::NUMBER_OF_FRAMES, VR::IS, "7");
    refused(&path, &["NumberOfFrames is 7", "6 frames"]);
    enhanced(&path, &files, &[4, 0, 5, 1, 3], false);
    refused(&path, &["missing slices", "frame"]);
}

#[test]
fn packed_frames_are_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("rle");
    for (k, file) in write(&place, &image(SIZE), 3).iter().enumerate() {
        let values: Vec<i16> = (0..480).map(|n| hu(n % 24, n / 24, k)).collect();
        pack(file, uids::RLE_LOSSLESS, vec![rle(&values)]);
    }
    assert_eq!(read_image(&place).unwrap().voxels, image(SIZE).voxels);

    // Streams of other programs (tests/interop/dicom_streams.py).
    let pattern = |n: usize| {
        let (i, j) = (n as i64 % 24, n as i64 / 24);
        37 * i - 61 * j + 7 * (i * j % 29)
    };
    let ramp = |n: usize| (4 * (n % 24) + 3 * (n / 24)) as i64;
    let unsigned = |n: usize| pattern(n) + 1200;
    let eight = |n: usize| pattern(n).rem_euclid(256);
    type Value<'a> = &'a dyn Fn(usize) -> i64;
    type Stream<'a> = (&'a [u8], &'a str, [u16; 2], Value<'a>, i64);
    let streams: [Stream; 7] = [
        (
            include_bytes!("data/streams/signed.jpll"),
            uids::JPEG_LOSSLESS_SV1,
            [16, 1],
            &pattern,
            0,
        ),
        (
            include_bytes!("data/streams/unsigned.jpll"),
            uids::JPEG_LOSSLESS,
            [16, 0],
            &unsigned,
            0,
        ),
        (
            include_bytes!("data/streams/signed.j2k"),
            uids::JPEG2000_LOSSLESS,
            [16, 1],
            &pattern,
            0,
        ),
        (
            include_bytes!("data/streams/unsigned.j2k"),
            uids::JPEG2000,
            [16, 0],
            &unsigned,
            0,
        ),
        (
            include_bytes!("data/streams/eight.jp2"),
            uids::JPEG2000,
            [8, 0],
            &eight,
            0,
        ),
        // Baseline is lossy, by a step or two at this quality.
        (
            include_bytes!("data/streams/ramp.jpg"),
            uids::JPEG_BASELINE8_BIT,
            [8, 0],
            &ramp,
            2,
        ),
        (
            include_bytes!("data/streams/ramp.jpg"),
            uids::JPEG_EXTENDED12_BIT,
            [8, 0],
            &ramp,
            2,
        ),
    ];
    for (n, (stream, syntax, [bits, sign], value, tolerance)) in streams.into_iter().enumerate() {
        let place = folder.path().join(format!("{n}"));
        for file in write(&place, &image([24, 20, 2]), 3) {
            for (tag, value) in [
                (tags::BITS_ALLOCATED, bits),
                (tags::BITS_STORED, bits),
                (tags::HIGH_BIT, bits - 1),
                (tags::PIXEL_REPRESENTATION, sign),
            ] {
                put_u16(&file, tag, value);
            }
            // In two fragments, as long frames come.
            let (a, b) = stream.split_at(100);
            let mut b = b.to_vec();
            b.resize(b.len().next_multiple_of(2), 0);
            pack(&file, syntax, vec![a.to_vec(), b]);
        }
        // A line of its own for the second slice: the values pass through real numbers.
        put(
            &place.join("0002.dcm"),
            tags::RESCALE_INTERCEPT,
            VR::DS,
            "1",
        );
        let found = real(read_image(&place).unwrap());
        for (at, found) in found.iter().enumerate() {
            let expected = value(at % 480) + (at / 480) as i64;
            let off = (*found as i64 - expected).abs();
            assert!(
                off <= tolerance,
                "{syntax}: voxel {at} holds {found}, not {expected}"
            );
        }
        // A header that contradicts the stream.
        put_u16(&place.join("0001.dcm"), tags::ROWS, 19);
        put_u16(&place.join("0002.dcm"), tags::ROWS, 19);
        refused(&place, &["cannot be decoded", "24 x 20", "24 x 19"]);
    }
}

#[test]
fn other_transfer_syntaxes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (syntax, name) in [
        (
            "1.2.840.10008.1.2.4.80",
            "JPEG-LS Lossless Image Compression",
        ),
        ("1.2.840.10008.1.2.4.81", "JPEG-LS"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.3.4.5", "transfer syntax 1.2.3.4.5"),
    ] {
        let place = folder.path().join(syntax);
        for file in write(&place, &image([24, 20, 2]), 3) {
            pack(&file, uids::RLE_LOSSLESS, vec![vec![0; 64]]);
            // The name in the header, and nothing else, is that of the other syntax.
            let bytes = std::fs::read(&file).unwrap();
            let old = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.5\0";
            let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
            let mut uid = syntax.as_bytes().to_vec();
            uid.resize(uid.len().next_multiple_of(2), 0);
            let mut new = bytes[..at + 6].to_vec();
            new.extend((uid.len() as u16).to_le_bytes());
            new.extend(uid);
            new.extend(&bytes[at + old.len()..]);
            std::fs::write(&file, new).unwrap();
        }
        refused(&place, &[name, "is not supported", "gdcmconv --raw"]);
    }
}

#[test]
fn facts_of_the_acquisition_without_the_patient() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let files = write(place, &image(SIZE), 3);
    for file in &files {
        for (tag, vr, text) in [
            (tags::MANUFACTURER, VR::LO, "SIEMENS "),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, "Sensation 64"),
            (tags::CONVOLUTION_KERNEL, VR::SH, "Br38f\\3"),
            (tags::TABLE_HEIGHT, VR::DS, "188.5"),
            (tags::EXPOSURE, VR::IS, "120"),
            (tags::X_RAY_TUBE_CURRENT, VR::IS, "240"),
            (tags::STUDY_DATE, VR::DA, "20240229"),
            (tags::ACQUISITION_DATE, VR::DA, "2024.03.01"),
            (tags::CONTRAST_BOLUS_AGENT, VR::LO, "none\u{7}"),
            (tags::PATIENT_COMMENTS, VR::LT, "Mueller, Anna"),
        ] {
            put(file, tag, vr, text);
        }
    }
    let acquisition = dicom::acquisition(place).unwrap().unwrap();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    assert_eq!(text(&acquisition.manufacturer), "SIEMENS");
    assert_eq!(text(&acquisition.model), "Sensation 64");
    assert_eq!(text(&acquisition.kernel), "Br38f\\3");
    assert_eq!(text(&acquisition.study_date), "2024-02-29");
    assert_eq!(text(&acquisition.acquisition_date), "2024-03-01");
    assert_eq!(text(&acquisition.contrast_agent), "none");
    assert_eq!(text(&acquisition.patient_position), "HFS");
    assert_eq!(text(&acquisition.modality), "CT");
    assert_eq!(acquisition.tube_voltage_kv, Some(120.0));
    assert_eq!(acquisition.table_height_mm, Some(188.5));
    assert_eq!(acquisition.exposure_mas, Some(120.0));
    assert_eq!(acquisition.tube_current_ma, Some(240.0));
    assert_eq!(acquisition.slice_thickness_mm, Some(2.5));
    assert_eq!((acquisition.slices, acquisition.files), (6, 6));
    let series = read_series(place, &Options::default()).unwrap();
    let everything = format!("{:?} {:?}", series.acquisition, series.notes);
    for word in ["Mueller", "Anna", "4711"] {
        assert!(!everything.contains(word), "{everything}");
    }
    let patient = patient(place).unwrap();
    assert_eq!(text(&patient.name), "Mueller^Anna");
    assert_eq!(text(&patient.id), "4711");
    let nifti = folder.path().join("x.nii");
    write_image(&nifti, &image(SIZE)).unwrap();
    assert_eq!(dicom::acquisition(&nifti).unwrap(), None);
}

#[test]
fn one_slice_is_a_volume_where_its_thickness_is_stated() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &image(SIZE), 3);
    let read = read_image(&files[2]).unwrap();
    assert_eq!(read.grid.size, [24, 20, 1]);
    assert!((read.grid.spacing_mm[2] - 2.5).abs() < 1e-9);
    put(&files[2], tags::SPACING_BETWEEN_SLICES, VR::DS, "3");
    assert!((read_image(&files[2]).unwrap().grid.spacing_mm[2] - 3.0).abs() < 1e-9);
    edit(&files[2], |object| {
        object.remove_element(tags::SPACING_BETWEEN_SLICES);
        object.remove_element(tags::SLICE_THICKNESS);
    });
    refused(&files[2], &["how thick it is"]);
    // In its series the slice needs none.
    assert_eq!(
        read_image(folder.path()).unwrap().voxels,
        image(SIZE).voxels
    );
}

#[test]
fn an_element_longer_than_its_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &image(SIZE), 3);
    let mut bytes = std::fs::read(&files[2]).unwrap();
    // ConvolutionKernel, explicit: tag, SH, length.
    let header = b"\x18\x00\x10\x12SH";
    let at = bytes.windows(6).position(|w| w == header).unwrap();
    bytes[at + 6..at + 8].copy_from_slice(&0x7ff0_u16.to_le_bytes());
    std::fs::write(&files[2], bytes).unwrap();
    refused(
        folder.path(),
        &["0003.dcm", "element (0018,1210) needs 32752 bytes"],
    );
}
