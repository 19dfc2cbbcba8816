//! The whole program against results of other programs.

use std::path::PathBuf;

mod calculix_decks;
mod vertebra_walle2025;

#[test]
fn every_row_of_the_verify_command_passes() {
    let rows = osteoload::run::verify(&mut osteoload::progress::Progress::silent())
        .expect("the problems are solved");
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        assert!(row.passes(), "{row:?}");
    }
}

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
