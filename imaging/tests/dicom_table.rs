//! Every third-party DICOM file and series is read as pydicom and SimpleITK read it, or refused by
//! name.

mod table;

use std::path::Path;

#[test]
fn third_party_dicom_is_read_or_refused_by_name() {
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let expected = include_str!("data/dicom.csv");
    let (read, refused) = table::check(expected, &Path::new(&shared).join("data"));
    assert_eq!((read, refused), (20, 17));
}
