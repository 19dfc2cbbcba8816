//! The rules of the NIfTI standard, on headers made byte by byte.

use std::io::Write;
use std::path::{Path, PathBuf};

use imaging::{Orientation, ScalarType, Voxels, describe, read_image, read_volume};
use nalgebra::{Matrix3, Vector3};

/// A little-endian NIfTI-1 file of `int16` voxels 0, 1, 2, ... whose fields can be set.
struct File {
    bytes: Vec<u8>,
}

impl File {
    fn new(dim: &[i16]) -> Self {
        let mut file = Self {
            bytes: vec![0; 352],
        };
        file.set(0, &348_i32.to_le_bytes());
        file.i16(40, dim.len() as i16);
        for n in 1..8 {
            file.i16(40 + 2 * n, dim.get(n - 1).copied().unwrap_or(1));
        }
        file.i16(70, 4).i16(72, 16);
        for n in 0..8 {
            file.f32(76 + 4 * n, 1.0);
        }
        file.f32(108, 352.0).set(344, b"n+1\0");
        let count: i16 = dim.iter().product();
        file.bytes.extend((0..count).flat_map(i16::to_le_bytes));
        file
    }

    /// Steps 2, 3, 4 mm towards right, front and head by the sform.
    fn placed(dim: &[i16]) -> Self {
        let mut file = Self::new(dim);
        file.i16(254, 1);
        file.f32s(
            280,
            &[
                2.0, 0.0, 0.0, 10.0, 0.0, 3.0, 0.0, 20.0, 0.0, 0.0, 4.0, 30.0,
            ],
        );
        file
    }

    fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn i16(&mut self, at: usize, value: i16) -> &mut Self {
        self.set(at, &value.to_le_bytes())
    }

    fn f32(&mut self, at: usize, value: f32) -> &mut Self {
        self.set(at, &value.to_le_bytes())
    }

    fn f32s(&mut self, at: usize, values: &[f32]) -> &mut Self {
        for (n, &value) in values.iter().enumerate() {
            self.f32(at + 4 * n, value);
        }
        self
    }

    fn save(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }
}

fn refusal(file: &File) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file.save(folder.path(), "image.nii");
    let message = read_image(&path).unwrap_err().to_string();
    assert!(message.contains("image.nii"), "{message}");
    message
}

fn matrix(file: &File) -> (Matrix3<f64>, Vector3<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let grid = describe(&file.save(folder.path(), "image.nii"))
        .unwrap()
        .grid;
    (grid.matrix(), grid.origin_mm)
}

fn assert_close(found: (Matrix3<f64>, Vector3<f64>), steps: [[f64; 3]; 3], origin: [f64; 3]) {
    let expected = Matrix3::from_fn(|row, column| steps[row][column]);
    assert!(
        (found.0 - expected).abs().max() < 1e-6,
        "{} {expected}",
        found.0
    );
    assert!(
        (found.1 - Vector3::from(origin)).abs().max() < 1e-6,
        "{}",
        found.1
    );
}

#[test]
fn sform_comes_first_and_becomes_lps() {
    let mut file = File::placed(&[3, 4, 2]);
    file.i16(252, 1).f32s(76, &[1.0, 9.0, 9.0, 9.0]);
    let steps = [[-2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 4.0]];
    assert_close(matrix(&file), steps, [-10.0, -20.0, 30.0]);
}

#[test]
fn qform_with_and_without_qfac() {
    let mut file = File::new(&[3, 4, 2]);
    file.i16(252, 1).f32s(76, &[-1.0, 2.0, 3.0, 4.0]);
    file.f32s(256, &[0.1, -0.2, 0.3, 10.0, 20.0, 30.0]);
    // nibabel 5.4.2, Nifti1Header.get_qform of the same fields; the first two rows negated.
    let expected = [
        [-1.479_999_97, 1.789_251_39, -1.243_778_96],
        [-1.032_834_26, -2.399_999_96, -1.221_889_51],
        [0.861_889_49, 0.196_417_10, -3.599_999_99],
    ];
    assert_close(matrix(&file), expected, [-10.0, -20.0, 30.0]);
    // qfac +1 turns the third axis round, and 0 counts as +1.
    let turned = expected.map(|[a, b, c]: [f64; 3]| [a, b, -c]);
    for qfac in [1.0, 0.0] {
        file.f32(76, qfac);
        assert_close(matrix(&file), turned, [-10.0, -20.0, 30.0]);
    }
    // Voxel sizes lose their sign, as in nibabel and ITK.
    file.f32s(76, &[-1.0, -2.0, 3.0, -4.0]);
    assert_close(matrix(&file), expected, [-10.0, -20.0, 30.0]);
    file.f32(84, 0.0);
    assert!(refusal(&file).contains("pixdim[2] is 0"));
    file.f32(84, 3.0).f32(256, 1.5);
    assert!(refusal(&file).contains("quaternion (1.5"));
}

#[test]
fn without_a_form_the_sides_are_assumed_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::new(&[3, 5, 7]);
    file.f32s(76, &[1.0, 3.0, 2.0, 1.0]);
    // RAS by nibabel's documentation of get_base_affine: diagonal -3, 2, 1, origin 3, -4, -3.
    let steps = [[3.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 1.0]];
    assert_close(matrix(&file), steps, [-3.0, 4.0, -3.0]);
    let told = describe(&file.save(folder.path(), "x.nii")).unwrap();
    assert!(matches!(told.orientation, Orientation::Assumed(_)));
}

#[test]
fn lengths_become_millimetres() {
    for (code, factor) in [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (10, 1.0)] {
        let mut file = File::placed(&[3, 4, 2]);
        file.set(123, &[code]);
        let steps =
            [[-2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 4.0]].map(|r| r.map(|v| v * factor));
        assert_close(
            matrix(&file),
            steps,
            [-10.0 * factor, -20.0 * factor, 30.0 * factor],
        );
    }
    let mut file = File::placed(&[3, 4, 2]);
    file.set(123, &[5]);
    assert!(refusal(&file).contains("unit of length has code 5"));
}

#[test]
fn scaling_and_its_absence() {
    let folder = tempfile::tempdir().unwrap();
    let values = |slope: f32, intercept: f32| {
        let mut file = File::placed(&[2, 1, 2]);
        file.f32s(112, &[slope, intercept]);
        let path = file.save(folder.path(), "x.nii");
        read_volume(&path)
            .map(|v| v.data)
            .map_err(|e| e.to_string())
    };
    assert_eq!(
        values(2.0, -1024.0).unwrap(),
        [-1024.0, -1022.0, -1020.0, -1018.0]
    );
    for slope in [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(values(slope, 5.0).unwrap(), [0.0, 1.0, 2.0, 3.0], "{slope}");
    }
    assert!(
        values(2.0, f32::NAN)
            .unwrap_err()
            .contains("scl_inter is NaN")
    );
}

#[test]
fn axes_beyond_the_third() {
    let folder = tempfile::tempdir().unwrap();
    let size = |dim: &[i16]| {
        describe(&File::placed(dim).save(folder.path(), "x.nii"))
            .unwrap()
            .grid
            .size
    };
    assert_eq!(size(&[3, 4, 2, 1]), [3, 4, 2]);
    assert_eq!(size(&[3, 4, 2, 1, 1, 1, 1]), [3, 4, 2]);
    assert_eq!(size(&[3, 4]), [3, 4, 1]);
    assert!(refusal(&File::placed(&[3, 4, 2, 5])).contains("5 volumes"));
    assert!(refusal(&File::placed(&[3, 4, 2, 1, 3])).contains("3 values per voxel"));
}

#[test]
fn a_single_slice_needs_no_third_step() {
    let mut file = File::placed(&[3, 4]);
    file.f32(280 + 40, 0.0);
    let steps = [[-2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 1.0]];
    assert_close(matrix(&file), steps, [-10.0, -20.0, 30.0]);
    let mut volume = File::placed(&[3, 4, 2]);
    volume.f32(280 + 40, 0.0);
    assert!(refusal(&volume).contains("sform: impossible image geometry"));
}

#[test]
fn damaged_headers_are_refused_by_field() {
    let mut file = File::placed(&[3, 4, 2]);
    file.i16(42, -3);
    assert!(refusal(&file).contains("dim[1] is -3"));
    file.i16(42, 3).i16(40, 0);
    assert!(refusal(&file).contains("dim[0] is 0"));
    file.i16(40, 3).i16(70, 128);
    assert!(refusal(&file).contains("rgb24 (128)"));
    for (code, name) in [
        (1, "binary"),
        (32, "complex64"),
        (1536, "float128"),
        (77, "77"),
    ] {
        file.i16(70, code);
        assert!(refusal(&file).contains(name), "{}", refusal(&file));
    }
    file.i16(70, 4).f32(108, 0.0);
    assert!(refusal(&file).contains("vox_offset is 0"));
    file.f32(108, f32::NAN);
    assert!(refusal(&file).contains("vox_offset is NaN"));
    file.f32(108, 352.0).f32(280, f32::NAN);
    assert!(refusal(&file).contains("sform"));
    file.f32(280, 2.0).set(344, b"ni1\0");
    assert!(refusal(&file).contains("file of their own"));
    file.set(344, b"\0\0\0\0");
    assert!(refusal(&file).contains("no NIfTI mark"));
    file.set(0, b"GIF8");
    assert!(refusal(&file).contains("is not a NIfTI file"));
    let mut file = File::placed(&[3, 4, 2]);
    file.bytes.truncate(300);
    assert!(refusal(&file).contains("300 of 348 bytes"));
    let mut file = File::placed(&[3, 4, 2]);
    file.bytes.pop();
    assert!(refusal(&file).contains("need 48 bytes, 47 are there"));
    // 70 TB are neither read nor reserved.
    let mut file = File::placed(&[3, 4, 2]);
    file.i16(42, i16::MAX).i16(44, i16::MAX).i16(46, i16::MAX);
    assert!(refusal(&file).contains("the file is cut off"));
}

#[test]
fn packed_files_are_recognised_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nii.gz");
    // Larger than what is read for the header, so that the voxels' own checks are met.
    let file = File::placed(&[30, 30, 2]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let numbers = Voxels::I16((0..1800).collect());
    // One member; two members, as parallel packers write them; junk after the end; no packing at all.
    let one = gzip(&file.bytes);
    let two = [gzip(&file.bytes[..100]), gzip(&file.bytes[100..])].concat();
    let junk = [one.as_slice(), &[0; 20]].concat();
    for bytes in [&one, &two, &junk, &file.bytes] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_image(&path).unwrap().voxels, numbers);
    }
    let mut wrong_sum = one.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for bytes in [
        &wrong_sum[..],
        &one[..one.len() - 1],
        &one[..one.len() - 20],
        &one[..9],
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = read_image(&path).unwrap_err().to_string();
        assert!(
            message.contains("damaged or cut off") && message.contains("x.nii.gz"),
            "{message}"
        );
    }
}

#[test]
fn extensions_are_skipped_and_pairs_found() {
    let folder = tempfile::tempdir().unwrap();
    let plain = File::placed(&[3, 4, 2]);
    let mut extended = File::placed(&[3, 4, 2]);
    extended.f32(108, 352.0 + 32.0).set(348, &[1, 0, 0, 0]);
    extended.bytes.splice(352..352, [7; 32]);
    let path = extended.save(folder.path(), "extended.nii");
    assert_eq!(
        read_image(&path).unwrap(),
        read_image(&plain.save(folder.path(), "plain.nii")).unwrap()
    );

    let mut pair = File::placed(&[3, 4, 2]);
    let voxels = pair.bytes.split_off(352);
    pair.f32(108, 5.0).set(344, b"ni1\0");
    let header = pair.save(folder.path(), "pair.hdr");
    let message = read_image(&header).unwrap_err().to_string();
    assert!(
        message.contains("its voxels are missing") && message.contains("pair.img"),
        "{message}"
    );
    std::fs::write(
        folder.path().join("pair.img"),
        [&[9; 5], voxels.as_slice()].concat(),
    )
    .unwrap();
    for name in ["pair.hdr", "pair.img"] {
        let image = read_image(&folder.path().join(name)).unwrap();
        assert_eq!(image.voxels, Voxels::I16((0..24).collect()));
    }
}

#[test]
fn big_endian_nifti_2() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0_u8; 544];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, &540_i32.to_be_bytes());
    set(4, b"n+2\0\r\n\x1a\n");
    set(12, &[768_i16.to_be_bytes(), 32_i16.to_be_bytes()].concat());
    for (n, dim) in [3_i64, 2, 1, 2, 1, 1, 1, 1].iter().enumerate() {
        set(16 + 8 * n, &dim.to_be_bytes());
    }
    set(168, &544_i64.to_be_bytes());
    set(176, &0.5_f64.to_be_bytes());
    set(184, &(-1.0_f64).to_be_bytes());
    set(348, &2_i32.to_be_bytes());
    for (n, v) in [
        0.0, 0.0, -5.0, 1.0, 6.0, 0.0, 0.0, 2.0, 0.0, 7.0, 0.0, 3.0_f64,
    ]
    .iter()
    .enumerate()
    {
        set(400 + 8 * n, &v.to_be_bytes());
    }
    set(500, &2_i32.to_be_bytes());
    for v in [0_u32, 1, 70_000, u32::MAX] {
        bytes.extend(v.to_be_bytes());
    }
    let path = folder.path().join("two.nii");
    std::fs::write(&path, &bytes).unwrap();
    let told = describe(&path).unwrap();
    assert_eq!(
        (told.format, told.scalar_type),
        ("NIfTI-2", ScalarType::U32)
    );
    assert_eq!((told.slope, told.intercept), (0.5, -1.0));
    let steps = [[0.0, 0.0, 5.0], [-6.0, 0.0, 0.0], [0.0, 7.0, 0.0]];
    assert_close(
        (told.grid.matrix(), told.grid.origin_mm),
        steps,
        [-1.0, -2.0, 3.0],
    );
    assert_eq!(told.grid.axis_code(), "ASL");
    assert_eq!(
        read_image(&path).unwrap().voxels,
        Voxels::U32(vec![0, 1, 70_000, u32::MAX])
    );
    bytes[8] = b'\n';
    std::fs::write(&path, &bytes).unwrap();
    assert!(
        read_image(&path)
            .unwrap_err()
            .to_string()
            .contains("text-mode transfer")
    );
}
