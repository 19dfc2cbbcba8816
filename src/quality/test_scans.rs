//! Scans of known content for the tests of the gates.
