//! Whether a volume fits into the memory that is free.
//!
//! A system that promises more memory than it has ends the program when the promise is called in,
//! without a word. So a volume is refused before its voxels are read, with the number it would need.

use std::path::Path;

use crate::error::{Error, Result};
use crate::scalar::ScalarType;

/// Bytes of memory that a program can still take; `None` where the system does not say.
///
/// Linux says so in `/proc/meminfo`. A limit that is set on the program alone (a container, a batch
/// queue) is not seen.
pub(crate) fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes that a volume takes: its voxels as they are stored and, unless they are the same, the real
/// values in `f32` that every step after reading makes of them.
fn needed(voxels: usize, scalar: ScalarType) -> u64 {
    let real = if scalar == ScalarType::F32 { 0 } else { 4 };
    (voxels as u64).saturating_mul(scalar.bytes() as u64 + real)
}

/// Refuses a volume that needs more than is available.
///
/// # Errors
/// [`Error::Memory`] with both numbers.
pub(crate) fn check(
    path: &Path,
    voxels: usize,
    scalar: ScalarType,
    available: Option<u64>,
) -> Result<()> {
    let needed_bytes = needed(voxels, scalar);
    match available {
        Some(available_bytes) if needed_bytes > available_bytes => Err(Error::Memory {
            path: path.to_path_buf(),
            voxels,
            scalar_type: scalar,
            needed_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_volume_beyond_the_limit_is_refused_with_both_numbers() {
        // 2048 x 2048 x 2048 voxels of int16: 16 GiB stored and 32 GiB as real values.
        let (path, voxels) = (Path::new("ct.nii"), 1 << 33);
        let check = |scalar, limit| check(path, voxels, scalar, limit);
        assert!(check(ScalarType::I16, Some(48 * GIB)).is_ok());
        assert!(check(ScalarType::I16, None).is_ok());
        let refusal = check(ScalarType::I16, Some(24 * GIB)).unwrap_err();
        let text = refusal.to_string();
        for part in [
            "ct.nii",
            "8589934592 voxels of int16",
            "48.0 GiB",
            "24.0 GiB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // Real values are not made a second time.
        assert!(check(ScalarType::F32, Some(32 * GIB)).is_ok());
        assert!(check(ScalarType::F32, Some(32 * GIB - 1)).is_err());
    }

    #[test]
    fn the_count_of_the_system_is_in_kib() {
        let text = "MemTotal:       24689760 kB\nMemFree:  1 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(parse(text), Some(20 * GIB));
        assert_eq!(parse("MemTotal: 1 kB\n"), None);
        assert_eq!(parse("MemAvailable: many kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_how_much_is_available() {
        assert!(available().unwrap() > 0);
    }
}
