//! Output that appears complete or not at all.
//!
//! A directory is filled under a temporary name beside its target and renamed at the end. Whatever the
//! target held before stays untouched until then, and stays for good when the run fails or is
//! interrupted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use crate::exit::{EndWith as _, Failure, Kind};

/// Name of the file that every output directory of this program holds.
pub const PROVENANCE_FILE: &str = "provenance.json";

/// What to do with a target that is there and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Replace it at the end.
    Overwrite,
    /// Keep it and add to it at the end, replacing the files of the same names.
    AddTo,
    /// Replace it at the end when its `provenance.json` says that this command made it, else refuse it.
    ReplaceMadeBy(&'static str),
}

impl Existing {
    /// From the option `--overwrite`.
    pub fn from_option(overwrite: bool) -> Self {
        if overwrite {
            Self::Overwrite
        } else {
            Self::Refuse
        }
    }
}

/// Temporary directories in use, for the handler of Ctrl-C.
static IN_USE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn in_use() -> MutexGuard<'static, Vec<PathBuf>> {
    // A panic while the list was held leaves a list that is still good.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every temporary directory, waiting for a directory that is just being put in place.
///
/// The guard is returned so that none can be put in place, or begun, before the process ends.
#[must_use]
pub fn abandon_all() -> impl Sized {
    let mut directories = in_use();
    for directory in directories.drain(..) {
        // The process is about to end with an error; there is nobody left to tell.
        let _ = fs::remove_dir_all(directory);
    }
    directories
}

/// How the finished directory gets to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The target's name is given to the new directory.
    Rename,
    /// Each entry is moved into the target, which keeps what else it holds.
    MoveEntries,
}

/// A directory being filled.
#[derive(Debug)]
pub struct OutputDir {
    target: PathBuf,
    work: PathBuf,
    arrival: Arrival,
    finished: bool,
}

impl OutputDir {
    /// Begins a directory that will stand at `target`.
    ///
    /// With [`Existing::Overwrite`] a directory that this program made is replaced as a whole; any other,
    /// and every one with [`Existing::AddTo`], keeps the files whose names are not needed.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage: the target is a file, is not empty, or cannot be written.
    pub fn begin(target: &Path, existing: Existing) -> anyhow::Result<Self> {
        let target = absolute(target)?;
        let shown = target.display();
        if target.exists() && !target.is_dir() {
            return Err(Failure::usage(format!("the output {shown} is a file"))
                .with_help("--out names a directory")
                .into());
        }
        let occupied = target.is_dir() && !is_empty(&target)?;
        let ours = target.join(PROVENANCE_FILE).is_file();
        let allowed = match existing {
            Existing::Refuse => false,
            Existing::Overwrite | Existing::AddTo => true,
            Existing::ReplaceMadeBy(command) => made_by(&target).as_deref() == Some(command),
        };
        if occupied && !allowed {
            return Err(Failure::usage(format!(
                "the output directory {shown} exists and is not empty"
            ))
            .with_help("choose another --out, or add --overwrite")
            .into());
        }
        let beside = target.parent().map(Path::to_path_buf).unwrap_or_default();
        let whole = !occupied || (ours && existing != Existing::AddTo);
        let rename = whole && can_be_renamed(&target, &beside);
        let (home, arrival) = if rename {
            (&beside, Arrival::Rename)
        } else {
            (&target, Arrival::MoveEntries)
        };
        let made = fs::create_dir_all(home)
            .and_then(|()| create_unique(home, &target))
            .or_else(|error| {
                // The place beside may be closed to us although the target is open.
                if rename && target.is_dir() {
                    create_unique(&target, &target)
                } else {
                    Err(error)
                }
            });
        let work = made
            .with_context(|| format!("the output directory {shown} cannot be made"))
            .kind(Kind::Usage)?;
        let arrival = if work.parent() == Some(&target) {
            Arrival::MoveEntries
        } else {
            arrival
        };
        Ok(Self {
            target,
            work,
            arrival,
            finished: false,
        })
    }

    /// Where to write, until [`OutputDir::finish`].
    pub fn path(&self) -> &Path {
        &self.work
    }

    /// Where it will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Puts the directory in its place and returns that place.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage; what stood there before still does.
    pub fn finish(mut self) -> anyhow::Result<PathBuf> {
        // Held to the end: an interruption must not come between the two renames.
        let mut list = in_use();
        let arrived = match self.arrival {
            Arrival::Rename => self.rename(),
            Arrival::MoveEntries => self.move_entries(),
        };
        arrived
            .with_context(|| format!("{} cannot be put in place", self.target.display()))
            .kind(Kind::Usage)?;
        self.finished = true;
        list.retain(|directory| *directory != self.work);
        Ok(self.target.clone())
    }

    fn rename(&self) -> io::Result<()> {
        if !self.target.exists() {
            return fs::rename(&self.work, &self.target);
        }
        let old = self.work.with_extension("old");
        fs::rename(&self.target, &old)?;
        if let Err(error) = fs::rename(&self.work, &self.target) {
            fs::rename(&old, &self.target)?;
            return Err(error);
        }
        fs::remove_dir_all(&old)
    }

    fn move_entries(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.work)? {
            let entry = entry?;
            let place = self.target.join(entry.file_name());
            if place.is_dir() {
                fs::remove_dir_all(&place)?;
            }
            fs::rename(entry.path(), place)?;
        }
        fs::remove_dir(&self.work)
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the error that brought us here is the one to report.
            let _ = fs::remove_dir_all(&self.work);
            in_use().retain(|directory| *directory != self.work);
        }
    }
}

/// Refuses a target that holds `table`, from which the output is made: with `--overwrite` it would go with the rest of
/// the directory.
///
/// # Errors
/// A [`Failure`] of kind usage.
pub(crate) fn check_not_inside(target: &Path, table: &Path) -> anyhow::Result<()> {
    // A target or a table that is not there is none that can be lost.
    let Ok(target) = target.canonicalize() else {
        return Ok(());
    };
    // A link is lost with its directory, its file with the one it leads to.
    let folder = std::path::absolute(table).ok();
    let folder = folder.and_then(|table| table.parent()?.canonicalize().ok());
    let file = table.canonicalize().ok();
    if folder
        .into_iter()
        .chain(file)
        .any(|place| place.starts_with(&target))
    {
        let shown = table.display();
        return Err(Failure::usage(format!(
            "--out is the directory that holds the table {shown}"
        ))
        .with_help("choose another --out")
        .into());
    }
    Ok(())
}

/// Refuses an output file that is there already.
///
/// # Errors
/// A [`Failure`] of kind usage.
pub fn check_file(path: &Path, overwrite: bool) -> anyhow::Result<()> {
    if path.is_dir() {
        return Err(Failure::usage(format!("the output {} is a directory", path.display())).into());
    }
    if path.exists() && !overwrite {
        return Err(
            Failure::usage(format!("the output file {} exists", path.display()))
                .with_help("choose another name, or add --overwrite")
                .into(),
        );
    }
    Ok(())
}

/// Writes a file under a temporary name with the same ending and renames it.
///
/// # Errors
/// A [`Failure`] of kind usage naming the file.
pub fn write_file(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    write_file_with(path, |partial| Ok(fs::write(partial, contents)?))
}

/// Lets `write` write a file under a temporary name with the same ending, and renames it.
///
/// # Errors
/// A [`Failure`] of kind usage naming the file.
pub fn write_file_with(
    path: &Path,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".partial-{}-{name}", std::process::id()));
    let written = write(&partial).and_then(|()| Ok(fs::rename(&partial, path)?));
    if written.is_err() {
        // Best effort: the error that brought us here is the one to report.
        let _ = fs::remove_file(&partial);
    }
    written
        .with_context(|| format!("{} cannot be written", path.display()))
        .kind(Kind::Usage)
}

/// The command that made a directory, by its `provenance.json`.
fn made_by(directory: &Path) -> Option<String> {
    let text = fs::read_to_string(directory.join(PROVENANCE_FILE)).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json.get("made_by")?.as_str().map(str::to_owned)
}

/// The target with links and dots resolved, so that its parent is known.
fn absolute(target: &Path) -> anyhow::Result<PathBuf> {
    let resolved = if target.exists() {
        target.canonicalize()
    } else {
        std::path::absolute(target)
    };
    let resolved = resolved
        .with_context(|| format!("the output directory {}", target.display()))
        .kind(Kind::Usage)?;
    if resolved.file_name().is_none() {
        return Err(Failure::usage(format!(
            "{} cannot be an output directory",
            resolved.display()
        ))
        .into());
    }
    Ok(resolved)
}

fn is_empty(directory: &Path) -> anyhow::Result<bool> {
    let mut entries = fs::read_dir(directory)
        .with_context(|| format!("the output directory {}", directory.display()))
        .kind(Kind::Usage)?;
    Ok(entries.next().is_none())
}

/// Whether a directory can be replaced by renaming: a mount point cannot.
#[cfg(unix)]
fn can_be_renamed(target: &Path, beside: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(target), fs::metadata(beside)) {
        (Ok(target), Ok(beside)) => target.dev() == beside.dev(),
        _ => true,
    }
}

#[cfg(not(unix))]
fn can_be_renamed(_target: &Path, _beside: &Path) -> bool {
    true
}

/// Makes a new hidden directory for `target` in `home` and notes it for the handler of Ctrl-C.
fn create_unique(home: &Path, target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    let mut list = in_use();
    for attempt in 0.. {
        let work = home.join(format!(".{name}.partial-{process}-{attempt}"));
        match fs::create_dir(&work) {
            Ok(()) => {
                list.push(work.clone());
                return Ok(work);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Ending;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn fill(target: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(target).unwrap();
        for (name, text) in files {
            fs::write(target.join(name), text).unwrap();
        }
    }

    #[test]
    fn nothing_stands_at_the_target_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/out");
        let out = OutputDir::begin(&target, Existing::Refuse).unwrap();
        fs::write(out.join("result.json"), "{}").unwrap();
        assert!(!target.exists());
        out.finish().unwrap();
        assert_eq!(names(&target), ["result.json"]);
        assert_eq!(names(target.parent().unwrap()), ["out"]);
    }

    #[test]
    fn a_failed_run_leaves_nothing_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fill(&target, &[(PROVENANCE_FILE, "{}"), ("old.txt", "precious")]);
        let run = || -> anyhow::Result<()> {
            let out = OutputDir::begin(&target, Existing::Overwrite)?;
            fs::write(out.join("result.json"), "{}")?;
            anyhow::bail!("the solver gave up");
        };
        assert!(run().is_err());
        assert_eq!(names(&target), ["old.txt", PROVENANCE_FILE]);
        assert_eq!(
            fs::read_to_string(target.join("old.txt")).unwrap(),
            "precious"
        );
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_full_target_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), &[("x", "")]);
        let ending = Ending::of(&OutputDir::begin(dir.path(), Existing::Refuse).unwrap_err());
        assert_eq!(ending.status, 2);
        assert!(ending.help.unwrap().contains("--overwrite"));
        let file = dir.path().join("x");
        let ending = Ending::of(&OutputDir::begin(&file, Existing::Overwrite).unwrap_err());
        assert_eq!(ending.status, 2);
    }

    #[test]
    fn an_empty_target_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        let out = OutputDir::begin(&target, Existing::Refuse).unwrap();
        fs::write(out.join("a"), "").unwrap();
        out.finish().unwrap();
        assert_eq!(names(&target), ["a"]);
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn our_own_directory_is_replaced_whole_and_a_foreign_one_keeps_its_files() {
        let dir = tempfile::tempdir().unwrap();
        for (name, marker, left) in [
            ("ours", PROVENANCE_FILE, vec!["new", PROVENANCE_FILE]),
            (
                "theirs",
                "thesis.doc",
                vec!["new", PROVENANCE_FILE, "stale", "thesis.doc"],
            ),
        ] {
            let target = dir.path().join(name);
            fill(&target, &[(marker, "old"), ("stale", "old")]);
            let out = OutputDir::begin(&target, Existing::Overwrite).unwrap();
            fill(out.path(), &[(PROVENANCE_FILE, "new"), ("new", "new")]);
            out.finish().unwrap();
            assert_eq!(names(&target), left);
            let text = fs::read_to_string(target.join(PROVENANCE_FILE)).unwrap();
            assert_eq!(text, "new");
        }
        assert_eq!(names(dir.path()), ["ours", "theirs"]);
    }

    #[test]
    fn what_is_added_to_keeps_its_files_whoever_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("study");
        fill(
            &target,
            &[(PROVENANCE_FILE, "{}"), ("a.png", "old"), ("precious", "")],
        );
        let out = OutputDir::begin(&target, Existing::AddTo).unwrap();
        fill(out.path(), &[("a.png", "new"), ("b.png", "new")]);
        assert_eq!(fs::read_to_string(target.join("a.png")).unwrap(), "old");
        out.finish().unwrap();
        assert_eq!(
            names(&target),
            ["a.png", "b.png", "precious", PROVENANCE_FILE]
        );
        assert_eq!(fs::read_to_string(target.join("a.png")).unwrap(), "new");
    }

    #[test]
    fn the_directory_of_the_table_is_no_target() {
        let dir = tempfile::tempdir().unwrap();
        let study = dir.path().join("study");
        fill(&study.join("all"), &[("results.csv", "")]);
        let table = study.join("all/results.csv");
        for target in ["study", "study/all", "study/../study"] {
            let refused = check_not_inside(&dir.path().join(target), &table);
            let ending = Ending::of(&refused.unwrap_err());
            assert_eq!(ending.status, 2, "{target}");
            assert_eq!(ending.help.as_deref(), Some("choose another --out"));
        }
        for target in ["study/all/comparison", "stud", "other"] {
            check_not_inside(&dir.path().join(target), &table).unwrap();
        }
        fill(&study.join("all/comparison"), &[]);
        check_not_inside(&study.join("all/comparison"), &table).unwrap();
        check_not_inside(&study, &dir.path().join("none/results.csv")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_table_is_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let [study, links] = ["study", "links"].map(|name| dir.path().join(name));
        fill(&study, &[("results.csv", "")]);
        fill(&links, &[]);
        let link = links.join("table.csv");
        std::os::unix::fs::symlink(study.join("results.csv"), &link).unwrap();
        assert!(check_not_inside(&study, &link).is_err());
        assert!(check_not_inside(&links, &link).is_err());
    }

    #[test]
    fn the_demo_replaces_only_what_it_made() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("osteoload-demo");
        let demo = Existing::ReplaceMadeBy("osteoload demo");
        fill(
            &target,
            &[(PROVENANCE_FILE, r#"{"made_by": "osteoload run"}"#)],
        );
        assert!(OutputDir::begin(&target, demo).is_err());
        fill(
            &target,
            &[(PROVENANCE_FILE, r#"{"made_by": "osteoload demo"}"#)],
        );
        OutputDir::begin(&target, demo).unwrap().finish().unwrap();
        assert!(names(&target).is_empty());
    }

    #[test]
    fn files_are_written_whole_and_refused_when_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("calibration.json");
        check_file(&file, false).unwrap();
        write_file(&file, b"{}").unwrap();
        assert_eq!(names(dir.path()), ["calibration.json"]);
        assert!(check_file(&file, false).is_err());
        check_file(&file, true).unwrap();
        let nowhere = dir.path().join("no/such/file");
        assert!(write_file(&nowhere, b"").is_err());
    }
}
