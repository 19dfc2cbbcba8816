//! Where a result comes from: inputs by their SHA-256, program, machine, date, command line.
//!
//! Of a scan's header only what [`crate::ct::acquisition_json`] lists is here: no patient's name, number or birth date, no free text
//! of a study. Directories are cut from the command line, because they too are often named after patients.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use solver::Device;

use crate::exit::{EndWith as _, Kind};

/// An input by what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputFile {
    /// What it was used as, such as `ct` or `mask`.
    pub role: String,
    /// SHA-256 of its bytes. For a directory, of a list of the hashes and names of its files.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
    /// Files, more than one for a directory or an image whose data lie beside its header.
    pub files: usize,
}

/// Where a result comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// The command, such as `osteoload run`. The demo replaces only what carries its own.
    pub made_by: String,
    /// Version of the program.
    pub version: String,
    /// The command line, paths without their directories.
    pub command_line: Vec<String>,
    /// Every input.
    pub inputs: Vec<InputFile>,
    /// How the scans were acquired, by role, where their format says it, and what was done to them beyond reading (`notes`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub acquisition: BTreeMap<String, Map<String, Value>>,
    /// SHA-256 of the network weights by name; empty when no network was used.
    pub weights: BTreeMap<String, String>,
    /// Vector instructions of this machine that the program can use.
    pub instruction_set: String,
    /// Threads.
    pub threads: usize,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Date and time (UTC, ISO 8601).
    pub date_utc: String,
}

impl Provenance {
    /// The facts of this process, without inputs.
    pub fn of_this_process(command: &str, device: Device) -> Self {
        Self {
            made_by: format!("osteoload {command}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: std::env::args_os()
                .map(|argument| without_directories(&argument.to_string_lossy()))
                .collect(),
            inputs: Vec::new(),
            acquisition: BTreeMap::new(),
            weights: BTreeMap::new(),
            instruction_set: instruction_set(),
            threads: rayon::current_num_threads(),
            device: device.to_string(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            date_utc: iso_date(SystemTime::now()),
        }
    }

    /// Adds an input: a file, an image header with its data file, or a directory.
    ///
    /// # Errors
    /// A [`crate::exit::Failure`] of kind input when it cannot be read.
    pub fn add_input(&mut self, role: &str, path: &Path) -> anyhow::Result<()> {
        self.inputs.push(fingerprint(role, path)?);
        Ok(())
    }

    /// Adds how a scan was acquired; nothing where its format does not say it.
    pub fn add_acquisition(
        &mut self,
        role: &str,
        acquisition: Option<&imaging::dicom::Acquisition>,
        notes: &[String],
    ) {
        if let Some(acquisition) = acquisition {
            let mut facts = crate::ct::acquisition_json(acquisition);
            facts.insert("notes".to_owned(), notes.into());
            self.acquisition.insert(role.to_owned(), facts);
        }
    }

    /// The file.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// SHA-256 and size of an input.
///
/// # Errors
/// A [`crate::exit::Failure`] of kind input when it cannot be read.
pub fn fingerprint(role: &str, path: &Path) -> anyhow::Result<InputFile> {
    // Of `DIR#SERIES` all files of the directory count: which are of the series is for the reader to say.
    let (path, _) = imaging::dicom::split_series(path);
    let mut files = Vec::new();
    collect(path, &mut files)
        .with_context(|| format!("{} cannot be read", path.display()))
        .kind(Kind::Input)?;
    files.sort();
    let mut bytes = 0;
    let mut list = Sha256::new();
    let mut single = String::new();
    for file in &files {
        let (hash, length) = sha256(file)
            .with_context(|| format!("{} cannot be read", file.display()))
            .kind(Kind::Input)?;
        bytes += length;
        let name = file
            .strip_prefix(path)
            .ok()
            .filter(|n| n.file_name().is_some());
        let name = name.unwrap_or_else(|| Path::new(file.file_name().unwrap_or_default()));
        list.update(format!("{hash}  {}\n", name.display()));
        single = hash;
    }
    let sha256 = if files.len() == 1 && path.is_file() {
        single
    } else {
        hex(&list.finalize())
    };
    Ok(InputFile {
        role: role.to_owned(),
        sha256,
        bytes,
        files: files.len(),
    })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let (inside, link) = (entry.path(), entry.file_type()?.is_symlink());
            // As the reader of series: links to folders are not followed, links to nowhere and pipes passed over.
            if inside.is_file() || inside.is_dir() && !link {
                collect(&inside, files)?;
            }
        }
        return Ok(());
    }
    files.push(path.to_path_buf());
    if let Some(data) = detached_data(path)? {
        files.push(data);
    }
    Ok(())
}

/// The data file that a detached header (`.mhd`, `.nhdr`) names, where it is a single file that exists.
fn detached_data(header: &Path) -> std::io::Result<Option<PathBuf>> {
    let extension = header.extension().unwrap_or_default().to_ascii_lowercase();
    let (key, separator) = match extension.to_str() {
        Some("mhd") => ("elementdatafile", '='),
        Some("nhdr") => ("data file", ':'),
        _ => return Ok(None),
    };
    let text = String::from_utf8_lossy(&std::fs::read(header)?).into_owned();
    let named = text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        let name = name.trim().to_lowercase();
        (name == key || name == "datafile").then(|| value.trim().to_owned())
    });
    Ok(named
        .map(|name| header.with_file_name(name))
        .filter(|data| data.is_file() && data != header))
}

/// SHA-256 of a file, in hexadecimal, and its length in bytes.
///
/// # Errors
/// As reading the file.
pub fn sha256(path: &Path) -> std::io::Result<(String, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex(&hasher.finalize()), length));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

/// SHA-256 of bytes, hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An argument with every path in it cut to its file name.
fn without_directories(argument: &str) -> String {
    let (option, value) = match argument.split_once('=') {
        Some((option, value)) if option.starts_with("--") => (format!("{option}="), value),
        _ => (String::new(), argument),
    };
    let (form, path) = match value.split_once(':') {
        Some((form @ ("file" | "phantom"), path)) => (format!("{form}:"), path),
        _ => (String::new(), value),
    };
    // A directory of slices is often named after the patient; a UID names the patient's series.
    let (directory, series) = imaging::dicom::split_series(Path::new(path));
    if directory.is_dir() {
        let number = series.filter(|series| series.parse::<i64>().is_ok());
        let number = number.map_or(String::new(), |number| format!("#{number}"));
        return format!("{option}{form}DIR{number}");
    }
    let name = path
        .trim_end_matches(['/', '\\'])
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default();
    format!("{option}{form}{name}")
}

/// Vector instructions of this machine that the program can use.
pub fn instruction_set() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let mut found = vec!["sse2"];
        macro_rules! detect {
            ($($name:tt),*) => {
                $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })*
            };
        }
        detect!("sse4.2", "avx", "avx2", "fma", "avx512f");
        found.join(" ")
    }
    #[cfg(target_arch = "aarch64")]
    {
        "neon".to_owned()
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "none".to_owned()
    }
}

/// Largest resident memory of this process so far, MiB; `None` where the system does not say.
pub fn peak_memory_mib() -> Option<f64> {
    proc_value_kib("/proc/self/status", "VmHWM:").map(|kib| kib / 1024.0)
}

/// Physical memory of this machine, MiB; `None` where the system does not say.
pub fn total_memory_mib() -> Option<f64> {
    proc_value_kib("/proc/meminfo", "MemTotal:").map(|kib| kib / 1024.0)
}

/// Memory that is free or can be freed at once, MiB; `None` where the system does not say.
pub fn available_memory_mib() -> Option<f64> {
    proc_value_kib("/proc/meminfo", "MemAvailable:").map(|kib| kib / 1024.0)
}

fn proc_value_kib(file: &str, key: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A time as ISO 8601 in UTC.
fn iso_date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Hinnant, "chrono-compatible low-level date algorithms").
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day_of_month:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_hash_is_sha256() {
        // FIPS 180-2 example: SHA-256 of "abc".
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ct.nii");
        std::fs::write(&file, "abc").unwrap();
        let input = fingerprint("ct", &file).unwrap();
        assert_eq!(
            input.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!((input.bytes, input.files), (3, 1));
    }

    #[test]
    fn a_directory_and_detached_data_are_hashed_whole() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.dcm", "b.dcm"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let before = fingerprint("ct", dir.path()).unwrap();
        assert_eq!((before.files, before.bytes), (2, 10));
        std::fs::write(dir.path().join("b.dcm"), "B.dcm").unwrap();
        assert_ne!(fingerprint("ct", dir.path()).unwrap().sha256, before.sha256);

        let header = dir.path().join("ct.mhd");
        std::fs::write(&header, "ObjectType = Image\nElementDataFile = ct.raw\n").unwrap();
        std::fs::write(dir.path().join("ct.raw"), "one").unwrap();
        let before = fingerprint("ct", &header).unwrap();
        assert_eq!(before.files, 2);
        std::fs::write(dir.path().join("ct.raw"), "two").unwrap();
        assert_ne!(fingerprint("ct", &header).unwrap().sha256, before.sha256);
    }

    #[test]
    fn a_missing_input_is_refused() {
        let error = fingerprint("ct", Path::new("no/such/file.nii")).unwrap_err();
        let ending = crate::exit::Ending::of(&error);
        assert_eq!(ending.status, 3);
        assert!(ending.error.contains("no/such/file.nii"));
    }

    #[test]
    fn directories_are_cut_from_the_command_line() {
        for (argument, expected) in [
            ("/data/MUELLER_ANNA/ct.nii.gz", "ct.nii.gz"),
            ("--ct=/data/MUELLER_ANNA/dicom/", "--ct=dicom"),
            ("file:../MUELLER/calibration.json", "file:calibration.json"),
            ("--set", "--set"),
            ("mesh.voxel_mm=1.5", "mesh.voxel_mm=1.5"),
            ("line:0.8,-3.5", "line:0.8,-3.5"),
        ] {
            assert_eq!(without_directories(argument), expected);
        }
    }

    #[test]
    fn dates_are_right() {
        // `date -u -d @N --iso-8601=seconds` for leap day, new year and the epoch.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(iso_date(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }

    #[test]
    fn memory_is_plausible_where_known() {
        if let (Some(peak), Some(total)) = (peak_memory_mib(), total_memory_mib()) {
            assert!(peak > 1.0 && peak < total, "{peak} of {total} MiB");
        }
    }
}
