//! Small files that ask for much, and places that are not what they seem.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use imaging::dicom::list_series;
use imaging::{Error, Image, Voxels, describe, read_image, write_image};

use crate::engine::{alone, peak};
use crate::slices;

const MIB: usize = 1 << 20;

fn put(folder: &Path, name: &str, parts: &[&[u8]]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, parts.concat()).unwrap();
    path
}

/// The refusal of an image, and the memory it took.
fn refusal(path: &Path) -> (usize, String) {
    let (bytes, answer) = peak(|| read_image(path));
    (bytes, answer.unwrap_err().to_string())
}

fn nrrd(size: &str, kind: &str, encoding: &str) -> String {
    format!(
        "NRRD0004\ntype: {kind}\ndimension: 3\nsizes: {size}\nspacings: 1 1 1\nendian: little\nencoding: {encoding}\n\n"
    )
}

/// 4 GiB of zeros behind 24 voxels: what the header does not announce is not unpacked.
#[test]
fn what_follows_the_announced_voxels_is_not_unpacked() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("a.nii");
    let image = Image::new(crate::oblique(), Voxels::U8((0..24).collect())).unwrap();
    write_image(&plain, &image).unwrap();
    let member = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zeros = member(&vec![0; MIB]).repeat(4096);
    let packed = member(&std::fs::read(&plain).unwrap());
    let nifti = put(folder.path(), "b.nii.gz", &[&packed, &zeros]);
    let header = nrrd("4 3 2", "uchar", "gzip");
    let nrrd = put(
        folder.path(),
        "b.nrrd",
        &[header.as_bytes(), &member(&[7; 24]), &zeros],
    );
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(1));
    for _ in 0..256 {
        encoder.write_all(&vec![0; MIB]).unwrap();
    }
    let header = "NDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\nCompressedData = True\nElementDataFile = LOCAL\n";
    let meta = put(
        folder.path(),
        "b.mha",
        &[header.as_bytes(), &encoder.finish().unwrap()],
    );
    for path in [nifti, nrrd, meta] {
        let (bytes, image) = peak(|| read_image(&path));
        assert_eq!(image.unwrap().voxels.len(), 24, "{}", path.display());
        assert!(bytes < 4 * MIB, "{bytes} bytes for {}", path.display());
    }
}

/// Headers of 200 TiB and more over a few bytes: refused by what is missing, with next to no memory.
#[test]
fn announced_terabytes_are_refused_before_they_are_reserved() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let size = "60000 60000 60000";
    let meta = format!(
        "NDims = 3\nDimSize = {size}\nElementType = MET_SHORT\nElementSpacing = 1 1 1\nElementDataFile = LOCAL\n"
    );
    let wanted = "432000000000000 bytes";
    for (name, header) in [
        ("a.nrrd", nrrd(size, "short", "raw")),
        ("b.nrrd", nrrd(size, "short", "gzip")),
        ("a.mha", meta),
    ] {
        let path = put(folder.path(), name, &[header.as_bytes(), &[0; 100]]);
        let (bytes, text) = refusal(&path);
        assert!(
            text.contains(wanted) || text.contains("cannot hold"),
            "{text}"
        );
        assert!(bytes < 2 * MIB, "{bytes} bytes for {name}");
        // What the header says can still be looked at.
        assert_eq!(describe(&path).unwrap().grid.size, [60000; 3]);
    }
    let beyond = nrrd("4294967296 4294967296 4294967296", "double", "raw");
    let path = put(folder.path(), "c.nrrd", &[beyond.as_bytes()]);
    let (_, text) = refusal(&path);
    assert!(text.contains("more than a computer can address"), "{text}");
}

/// A file with a hole of 8 TiB holds every voxel it announces: no machine has the memory.
#[test]
#[cfg(target_os = "linux")]
fn a_volume_larger_than_the_machine_is_refused_with_what_it_needs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let header = nrrd("20000 20000 20000", "uchar", "raw");
    let path = put(folder.path(), "a.nrrd", &[header.as_bytes()]);
    let voxels = 20000_u64.pow(3);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if let Err(e) = file.set_len(header.len() as u64 + voxels) {
        println!("skipped: the file system makes no such file ({e})");
        return;
    }
    let (bytes, answer) = peak(|| read_image(&path));
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::Memory { needed_bytes, .. } if needed_bytes == 5 * voxels));
    assert!(error.to_string().contains("37252.9 GiB"), "{error}");
    assert!(bytes < 4 * MIB, "{bytes} bytes");
    // One file named three times: what is counted is the volume, not the file.
    let part = "20000 20000 60000";
    let list = "a.nrrd\n".repeat(3);
    let text = nrrd(part, "uchar", "raw").replace("\n\n", &format!("\ndata file: LIST\n{list}"));
    let path = put(folder.path(), "b.nhdr", &[text.as_bytes()]);
    let error = read_image(&path).unwrap_err();
    assert!(
        matches!(error, Error::Memory { voxels: found, .. } if found as u64 == 3 * voxels),
        "{error}"
    );
}

/// Links that lead round in a circle or nowhere are passed over; a linked slice is that slice.
#[test]
#[cfg(unix)]
fn links_in_a_directory_of_slices() {
    use std::os::unix::fs::symlink;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("series");
    let files = slices::write(&place, &slices::image([24, 20, 3]), 3);
    symlink(&place, place.join("round")).unwrap();
    symlink(place.join("b"), place.join("a")).unwrap();
    symlink(place.join("a"), place.join("b")).unwrap();
    symlink(folder.path().join("nowhere"), place.join("broken")).unwrap();
    let elsewhere = folder.path().join("elsewhere.dcm");
    std::fs::rename(&files[1], &elsewhere).unwrap();
    symlink(&elsewhere, &files[1]).unwrap();
    assert_eq!(list_series(&place).unwrap()[0].slices, 3);
    assert_eq!(read_image(&place).unwrap().grid.size, [24, 20, 3]);
}

/// A pipe is refused at once: opening it would wait for a writer for ever.
#[test]
#[cfg(unix)]
fn a_pipe_is_no_image() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.nii");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no mkfifo");
        return;
    }
    let header = nrrd("4 3 2", "uchar", "raw").replace("\n\n", "\ndata file: pipe.nii\n\n");
    let named = put(folder.path(), "a.nhdr", &[header.as_bytes()]);
    for path in [&pipe, &named] {
        let text = read_image(path).unwrap_err().to_string();
        assert!(text.contains("is not a file"), "{text}");
    }
    // A folder of slices that holds one is read without it.
    slices::write(folder.path(), &slices::image([24, 20, 3]), 3);
    assert_eq!(list_series(folder.path()).unwrap()[0].slices, 3);
}

/// A file that may not be read is named with the system's reason, alone and in a folder of slices.
#[test]
#[cfg(unix)]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let files = slices::write(
        &folder.path().join("series"),
        &slices::image([24, 20, 3]),
        3,
    );
    let closed = &files[1];
    std::fs::set_permissions(closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(closed).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    for path in [folder.path().join("series"), closed.clone()] {
        let error = read_image(&path).unwrap_err();
        let name = closed.file_name().unwrap().to_string_lossy();
        assert!(
            matches!(error, Error::Io { .. }) && error.to_string().contains(&*name),
            "{error}"
        );
    }
}
