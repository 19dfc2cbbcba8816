//! The whole program against results of other programs.

use std::path::PathBuf;

mod calculix_decks;
mod micro_fe;
mod suite;
mod vertebra_walle2025;

/// Third-party data; `None` (with the reason printed) where it is not there.
pub fn shared(what: &str) -> Option<PathBuf> {
    match std::env::var_os("OSTEOLOAD_SHARED") {
        Some(root) => Some(PathBuf::from(root).join(what)),
        None => {
            println!("skipped: OSTEOLOAD_SHARED is not set");
            None
        }
    }
}
