//! Damaged files never make the readers panic or ask for absurd memory.

#[path = "../../tests/fuzz/counting.rs"]
mod counting;

use std::path::Path;

use counting::{alone, peak};
use imaging::{Grid, Image, Voxels, read_image, read_labels, write_image};
use nalgebra::{Matrix3, Rotation3, Vector3};

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

/// Writes a new file: truncating the old one makes some file systems wait for the disk.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'9', b'-', b'\n', b'('][random.below(8)],
            2 => bytes[at] = random.below(256) as u8,
            3 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, random.below(256) as u8),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    if random.below(8) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

fn image(size: [usize; 3]) -> Image {
    let direction = Rotation3::from_euler_angles(0.3, -0.7, 2.1).into_inner();
    let steps = Matrix3::from_diagonal(&Vector3::new(0.7, 1.25, 3.1));
    let origin = Vector3::new(-101.3, 57.9, 203.77);
    let grid = Grid::from_affine(size, direction * steps, origin).unwrap();
    let voxels = Voxels::I16((0..grid.len()).map(|n| n as i16 % 5).collect());
    Image::new(grid, voxels).unwrap()
}

/// Reads `rounds` mutations of `mutated`, a file that belongs to the image `opened`.
fn attack(folder: &Path, opened: &str, mutated: &str, rounds: usize) {
    let opened = folder.join(opened);
    let mutated = folder.join(mutated);
    let original = std::fs::read(&mutated).unwrap();
    assert!(read_image(&opened).is_ok());
    let mut random = Random(original.len() as u64);
    let mut refused = 0;
    for _ in 0..rounds {
        replace(&mutated, &mutate(&original, &mut random));
        let (taken, ()) = peak(|| {
            refused += usize::from(read_image(&opened).is_err());
            let _ = read_labels(&opened);
        });
        // The limit set for the readers is 1 GiB; a file of a kilobyte stays far below.
        assert!(taken < 16 << 20, "{taken} bytes for {}", opened.display());
    }
    // The test means little unless most of the damage is met.
    assert!(refused > rounds / 10, "{refused} of {rounds}");
    std::fs::write(&mutated, original).unwrap();
}

#[test]
fn mutated_files_never_panic() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"] {
        write_image(&path(name), &image([4, 3, 2])).unwrap();
        attack(folder.path(), name, name, 2000);
    }
    attack(folder.path(), "a.nhdr", "a.raw.gz", 1000);
    attack(folder.path(), "a.mhd", "a.zraw", 1000);
}

#[test]
fn every_header_byte_of_nifti_set_to_extremes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nii");
    for (size, header) in [([4, 3, 2], 352), ([32768, 1, 1], 544)] {
        write_image(&path, &image(size)).unwrap();
        let original = std::fs::read(&path).unwrap();
        // The voxels are left out: whatever the header says, they are missing.
        let mut bytes = original[..header].to_vec();
        for at in 0..header {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let kept = std::mem::replace(&mut bytes[at], value);
                replace(&path, &bytes);
                assert!(read_image(&path).is_err());
                bytes[at] = kept;
            }
        }
        for length in 0..header {
            replace(&path, &original[..length]);
            assert!(read_image(&path).is_err());
        }
    }
}

/// A small packed file whose header asks for 3.5 GB reserves next to nothing.
#[test]
fn a_lying_header_of_a_packed_file_reserves_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nii.gz");
    let plain = folder.path().join("x.nii");
    write_image(&plain, &image([40, 30, 20])).unwrap();
    let mut bytes = std::fs::read(&plain).unwrap();
    for at in [42, 44, 46] {
        bytes[at..at + 2].copy_from_slice(&1200_i16.to_le_bytes());
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    // Enough bytes behind the stream that 3.5 GB could come out of the file.
    let mut packed = encoder.finish().unwrap();
    for padding in [0, 4 << 20] {
        packed.resize(packed.len() + padding, 0);
        std::fs::write(&path, &packed).unwrap();
        let (taken, message) = peak(|| read_image(&path).unwrap_err().to_string());
        assert!(message.contains("cut off"), "{message}");
        assert!(taken < 64 << 20, "{taken} bytes");
    }
}

/// 200 damaged copies of each NIfTI and Analyze file that other projects test their readers with, in its folder, where its other half is.
#[test]
fn damaged_third_party_images() {
    const COPIES: usize = 200;
    let _alone = alone();
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let data = Path::new(&shared).join("data/reader-hardening");
    let mut tried = 0;
    for folder in ["nibabel", "nifti-rs"] {
        let place = tempfile::tempdir().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(data.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".dcm") && !name.ends_with(".rst"))
            .collect();
        names.sort();
        for name in &names {
            let bytes = std::fs::read(data.join(folder).join(name)).unwrap();
            std::fs::write(place.path().join(name), bytes).unwrap();
        }
        for name in &names {
            let file = place.path().join(name);
            let original = std::fs::read(&file).unwrap();
            let mut random = Random(original.len() as u64);
            let mut refused = 0;
            for copy in 0..COPIES {
                replace(&file, &mutate(&original, &mut random));
                let (taken, ()) = peak(|| {
                    refused += usize::from(read_image(&file).is_err());
                    let _ = read_labels(&file);
                });
                // Packed values grow by a thousand at most.
                let allowed = (16 << 20) + 1100 * original.len();
                assert!(taken < allowed, "{taken} bytes for copy {copy} of {name}");
            }
            replace(&file, &original);
            println!("{folder}/{name}: {refused} of {COPIES} refused");
            tried += 1;
        }
    }
    assert_eq!(tried, 20);
}
