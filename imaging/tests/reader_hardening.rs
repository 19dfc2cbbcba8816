//! Every third-party image is read as nibabel reads it, or refused by name.

mod table;

use std::path::Path;

#[test]
fn third_party_images_are_read_or_refused_by_name() {
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let expected = include_str!("data/reader_hardening.csv");
    let (read, refused) = table::check(expected, &Path::new(&shared).join("data"));
    assert_eq!((read, refused), (41, 8));
}
