//! Series for the DICOM tests: written by the crate, then edited as scanners and archives edit them.

#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};

use dicom_core::value::{DataSetSequence, PixelFragmentSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject, open_file};
use imaging::dicom::{SliceFacts, write_series};
use imaging::{Grid, Image, Voxels};
use nalgebra::{Matrix3, Rotation3, Vector3};

/// HU of voxel `(i, j, k)` of the test image: every voxel of a slice differs, and slices differ.
pub fn hu(i: usize, j: usize, k: usize) -> i16 {
    (7 * i as i16 - 11 * j as i16) + 100 * k as i16 - 300
}

/// An image on an oblique grid of right hand.
pub fn image(size: [usize; 3]) -> Image {
    let direction = Rotation3::from_euler_angles(0.3, -0.2, 0.5).into_inner();
    let steps = Matrix3::from_diagonal(&Vector3::new(0.7, 0.8, 2.5));
    let grid = Grid::from_affine(size, direction * steps, Vector3::new(-101.3, 57.9, -203.77));
    on(grid.unwrap())
}

/// The image with its axes along the patient's.
pub fn axial(size: [usize; 3]) -> Image {
    let mut grid = Grid::axis_aligned(size, [0.7, 0.8, 2.5]);
    grid.origin_mm = Vector3::new(-101.5, 57.25, -203.75);
    on(grid)
}

fn on(grid: Grid) -> Image {
    let values = (0..grid.len())
        .map(|n| {
            let [i, j, k] = grid.voxel(n);
            hu(i, j, k)
        })
        .collect();
    Image::new(grid, Voxels::I16(values)).unwrap()
}

/// Writes an image as a series and returns its files.
pub fn write(folder: &Path, image: &Image, seed: u64) -> Vec<PathBuf> {
    let facts = SliceFacts {
        patient_name: "Mueller^Anna".into(),
        patient_id: "4711".into(),
        ..SliceFacts::synthetic(seed)
    };
    write_series(folder, image, &facts).unwrap()
}

/// Edits a file in place.
pub fn edit(path: &Path, change: impl FnOnce(&mut DefaultDicomObject)) {
    let mut object = open_file(path).unwrap();
    change(&mut object);
    std::fs::remove_file(path).unwrap();
    object.write_to_file(path).unwrap();
}

/// Puts a text into a file.
pub fn put(path: &Path, tag: Tag, vr: VR, text: &str) {
    edit(path, |object| {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    });
}

/// Puts numbers of 16 bits into a file.
pub fn put_u16(path: &Path, tag: Tag, value: u16) {
    edit(path, |object| {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    });
}

/// The position of a slice, LPS mm.
pub fn position(path: &Path) -> Vector3<f64> {
    let object = open_file(path).unwrap();
    let numbers = object
        .element(tags::IMAGE_POSITION_PATIENT)
        .unwrap()
        .to_multi_float64()
        .unwrap();
    Vector3::from_column_slice(&numbers)
}

/// Moves a slice.
pub fn move_to(path: &Path, to: Vector3<f64>) {
    let text = format!("{:.6}\\{:.6}\\{:.6}", to.x, to.y, to.z);
    put(path, tags::IMAGE_POSITION_PATIENT, VR::DS, &text);
}

/// Replaces the pixels of a file by fragments in another transfer syntax.
pub fn pack(path: &Path, syntax: &str, fragments: Vec<Vec<u8>>) {
    let object = open_file(path).unwrap();
    let mut dataset = (*object).clone();
    let fragments = PixelFragmentSequence::new_fragments(fragments);
    dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    save(path, dataset, syntax);
}

/// Writes a data set with the Part 10 header.
pub fn save(path: &Path, dataset: InMemDicomObject, syntax: &str) {
    let class = dataset
        .element(tags::SOP_CLASS_UID)
        .map_or(String::new(), |e| e.to_str().unwrap().into_owned());
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid("2.25.1")
        .transfer_syntax(syntax);
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    dataset
        .with_meta(meta)
        .unwrap()
        .write_to_file(path)
        .unwrap();
}

/// An object of another class.
pub fn other(path: &Path, class: &str, image_type: &str, modality: &str) {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, text) in [
        (tags::IMAGE_TYPE, VR::CS, image_type),
        (tags::SOP_CLASS_UID, VR::UI, class),
        (tags::MODALITY, VR::CS, modality),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4"),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    }
    save(path, object, uids::EXPLICIT_VR_LITTLE_ENDIAN);
}

/// PackBits of one segment, literally.
fn literal(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for part in bytes.chunks(128) {
        packed.push(part.len() as u8 - 1);
        packed.extend(part);
    }
    if packed.len() % 2 == 1 {
        packed.push(0x80);
    }
    packed
}

/// A frame in RLE Lossless, 16 bits.
pub fn rle(values: &[i16]) -> Vec<u8> {
    let planes = [
        literal(
            &values
                .iter()
                .map(|v| v.to_be_bytes()[0])
                .collect::<Vec<_>>(),
        ),
        literal(
            &values
                .iter()
                .map(|v| v.to_be_bytes()[1])
                .collect::<Vec<_>>(),
        ),
    ];
    let mut frame = Vec::new();
    let offsets = [2, 64, 64 + planes[0].len() as u32];
    for word in offsets.into_iter().chain([0; 13]) {
        frame.extend(word.to_le_bytes());
    }
    frame.extend(planes.concat());
    frame
}

/// An item of a sequence.
pub fn item(elements: Vec<DataElement<InMemDicomObject>>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

/// A sequence.
pub fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A text element.
pub fn text(tag: Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}

/// An enhanced multi-frame CT made of the slices of a series, in the order given; the frames are
/// stored as `HU - intercept` with an intercept of their own.
pub fn enhanced(path: &Path, slices: &[PathBuf], order: &[usize], packed: bool) {
    let first = open_file(&slices[0]).unwrap();
    let mut object = (*first).clone();
    for tag in [
        tags::IMAGE_POSITION_PATIENT,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::PIXEL_SPACING,
        tags::RESCALE_SLOPE,
        tags::RESCALE_INTERCEPT,
        tags::KVP,
        tags::CONVOLUTION_KERNEL,
        tags::SLICE_THICKNESS,
    ] {
        object.remove_element(tag);
    }
    let of = |slice: &DefaultDicomObject, tag: Tag| {
        let element = slice.element(tag).unwrap();
        text(tag, VR::DS, &element.to_str().unwrap())
    };
    let mut items = Vec::new();
    let mut frames: Vec<Vec<i16>> = Vec::new();
    for (n, &slice) in order.iter().enumerate() {
        let file = open_file(&slices[slice]).unwrap();
        let intercept = 10 * n as i16;
        items.push(item(vec![
            sequence(
                tags::PLANE_POSITION_SEQUENCE,
                vec![item(vec![of(&file, tags::IMAGE_POSITION_PATIENT)])],
            ),
            sequence(
                tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
                vec![item(vec![
                    text(tags::RESCALE_INTERCEPT, VR::DS, &intercept.to_string()),
                    text(tags::RESCALE_SLOPE, VR::DS, "1"),
                ])],
            ),
        ]));
        let bytes = file.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        frames.push(
            bytes
                .chunks_exact(2)
                .map(|b| i16::from_le_bytes([b[0], b[1]]) - intercept)
                .collect(),
        );
    }
    let shared = item(vec![
        sequence(
            tags::PLANE_ORIENTATION_SEQUENCE,
            vec![item(vec![of(&first, tags::IMAGE_ORIENTATION_PATIENT)])],
        ),
        sequence(
            tags::PIXEL_MEASURES_SEQUENCE,
            vec![item(vec![of(&first, tags::PIXEL_SPACING)])],
        ),
        sequence(
            tags::CT_RECONSTRUCTION_SEQUENCE,
            vec![item(vec![text(tags::CONVOLUTION_KERNEL, VR::SH, "B30f")])],
        ),
        sequence(
            tags::CTX_RAY_DETAILS_SEQUENCE,
            vec![item(vec![text(tags::KVP, VR::DS, "110")])],
        ),
    ]);
    object.put(sequence(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        vec![shared],
    ));
    object.put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, items));
    object.put(text(
        tags::SOP_CLASS_UID,
        VR::UI,
        uids::ENHANCED_CT_IMAGE_STORAGE,
    ));
    object.put(text(
        tags::NUMBER_OF_FRAMES,
        VR::IS,
        &frames.len().to_string(),
    ));
    if packed {
        let fragments = frames.iter().map(|frame| rle(frame)).collect::<Vec<_>>();
        let fragments = PixelFragmentSequence::new_fragments(fragments);
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
        save(path, object, uids::RLE_LOSSLESS);
    } else {
        let words: Vec<u16> = frames.concat().iter().map(|v| v.cast_unsigned()).collect();
        object.put(DataElement::new(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::U16(words.into()),
        ));
        save(path, object, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    }
}
