//! Standard output.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stdout};

use anyhow::Context as _;

use crate::exit::{EndWith as _, Kind};

/// Writes the text that a command was asked for. A reader that has gone, as `head` does, has had what it wanted.
///
/// # Errors
/// A [`crate::exit::Failure`] of kind input when the text cannot be written, as on a full disk.
pub(super) fn print(text: impl Display) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output").kind(Kind::Input),
    }
}

/// Writes a line about results that stand in files. Nobody need read it, so that nothing ends where it cannot be written.
pub(super) fn remark(line: impl Display) {
    let _ = writeln!(stdout().lock(), "{line}");
}
