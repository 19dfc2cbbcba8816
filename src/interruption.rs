//! Ctrl-C and termination while increments are being computed: what is done is kept.
//!
//! Elsewhere an interruption ends the program at once. Inside a [`Section`] the first one only leaves a mark, which the
//! analysis finds at the end of its increment; a second one ends the program at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static OPEN: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicBool = AtomicBool::new(false);

/// A stretch of work that keeps what it has done when it is interrupted.
#[derive(Debug)]
pub struct Section(());

impl Section {
    /// Begins the stretch; it ends when the value is dropped.
    pub fn begin() -> Self {
        OPEN.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// Whether an interruption was asked for.
    pub fn interrupted(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Leaves the mark. False where nobody looks for it, or where it was left before: then the program must end at once.
pub(crate) fn ask() -> bool {
    OPEN.load(Ordering::SeqCst) > 0 && !ASKED.swap(true, Ordering::SeqCst)
}
