//! What the text headers of NRRD and MetaImage have in common: lines, lists of numbers, and the
//! names of data files.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::payload::{io_error, open};

/// Longest text header read, bytes.
const LONGEST: u64 = 1 << 20;

/// The first bytes of a file, as far as a header may reach.
pub(crate) fn read_start(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error(path, e))?;
    Ok(bytes)
}

/// Takes one line off the front of `bytes`, without its line end; `None` at the end.
pub(crate) fn take_line<'a>(bytes: &mut &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes
        .iter()
        .position(|&b| b == b'\n')
        .unwrap_or(bytes.len());
    let line = &bytes[..end];
    *bytes = bytes.get(end + 1..).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some(String::from_utf8_lossy(line))
}

/// Exactly `N` numbers separated by blanks.
pub(crate) fn numbers<T: std::str::FromStr, const N: usize>(
    field: &str,
    text: &str,
) -> Result<[T; N], String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let parsed: Option<Vec<T>> = words.iter().map(|word| word.parse().ok()).collect();
    parsed
        .and_then(|values| <[T; N]>::try_from(values).ok())
        .ok_or_else(|| format!("{field} is {:?}; {N} numbers are needed", shortened(text)))
}

/// One number.
pub(crate) fn number<T: std::str::FromStr + Copy>(field: &str, text: &str) -> Result<T, String> {
    numbers::<T, 1>(field, text).map(|[value]| value)
}

/// Text from a file, short enough for a message.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= 80 {
        text.to_string()
    } else {
        text.chars().take(77).chain("...".chars()).collect()
    }
}

/// The path of a data file named in a header: relative to the header's folder.
pub(crate) fn data_file(header: &Path, name: &str) -> PathBuf {
    header.parent().unwrap_or(Path::new("")).join(name)
}

/// The data files listed in the remaining lines of a header.
pub(crate) fn listed_files(header: &Path, mut rest: &[u8]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    while let Some(line) = take_line(&mut rest) {
        let name = line.trim();
        if !name.is_empty() {
            files.push(data_file(header, name));
        }
    }
    files
}
