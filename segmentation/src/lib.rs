//! Automatic bone segmentation. Empty until the networks land; see `docs/decisions.md`.
