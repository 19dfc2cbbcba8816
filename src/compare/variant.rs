//! Mask variants by their words: `manual`, `automatic`, `automatic-1`, `manual+0.5mm` …

use std::cmp::Ordering;
use std::fmt;

/// A mask variant: a segmentation, eroded (negative offset), dilated (positive) or as it is.
#[derive(Clone, Debug)]
pub struct Variant {
    word: String,
    base: String,
    offset: f64,
    unit: String,
}

/// Units in which a mask may be eroded or dilated, by the endings of the words; none means voxels.
const UNITS: [(&str, &str); 7] = [
    ("", "voxels"),
    ("px", "voxels"),
    ("vox", "voxels"),
    ("voxel", "voxels"),
    ("voxels", "voxels"),
    ("mm", "mm"),
    ("sd", "standard deviations"),
];

impl Variant {
    /// Reads a word. One without a signed number at its end is a segmentation as it is.
    pub fn of(word: &str) -> Self {
        let signs = word.rmatch_indices(['+', '-']).map(|(at, _)| at);
        let parts = signs.filter(|&at| at > 0).find_map(|at| {
            let (offset, unit) = signed_length(&word[at..])?;
            Some((&word[..at], offset, unit))
        });
        let (base, offset, unit) = parts.unwrap_or((word, 0.0, ""));
        Self {
            word: word.to_owned(),
            base: base.to_owned(),
            offset,
            unit: unit.to_owned(),
        }
    }

    /// The word.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// The segmentation it was made from, such as `automatic`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Erosion (negative) or dilation (positive), in [`Variant::unit`].
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// `voxels`, `mm` or `standard deviations` of the surface; empty for a segmentation as it is.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Whether it is the manual mask as drawn, the reference of every comparison.
    pub fn is_reference(&self) -> bool {
        self.word == "manual"
    }

    /// Whether it is a segmentation neither eroded nor dilated.
    pub fn is_plain(&self) -> bool {
        self.unit.is_empty()
    }

    /// Manual masks first, then automatic ones, then others by name; each from erosion to dilation.
    fn key(&self) -> (u8, &str, &str) {
        let place = match self.base.as_str() {
            "manual" => 0,
            "automatic" => 1,
            _ => 2,
        };
        (place, &self.base, &self.word)
    }
}

/// An offset such as `-1` or `+0.5mm` with its unit.
fn signed_length(text: &str) -> Option<(f64, &'static str)> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let end = text[1..]
        .find(|c| !digits(c))
        .map_or(text.len(), |at| at + 1);
    let offset: f64 = text[..end].parse().ok()?;
    let unit = UNITS.iter().find(|(ending, _)| *ending == &text[end..])?;
    Some((offset, unit.1))
}

impl Ord for Variant {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((place, base, word), (its_place, its_base, its_word)) = (self.key(), other.key());
        (place, base)
            .cmp(&(its_place, its_base))
            .then(self.offset.total_cmp(&other.offset))
            .then(word.cmp(its_word))
    }
}

impl PartialOrd for Variant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

impl Eq for Variant {}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_apart() {
        for (word, base, offset, unit) in [
            ("manual", "manual", 0.0, ""),
            ("automatic-2", "automatic", -2.0, "voxels"),
            ("manual+1", "manual", 1.0, "voxels"),
            ("automatic+2sd", "automatic", 2.0, "standard deviations"),
            ("manual-0.5mm", "manual", -0.5, "mm"),
            ("nnunet-2d", "nnunet-2d", 0.0, ""),
            ("nnunet-2d+1px", "nnunet-2d", 1.0, "voxels"),
            ("total-segmentator", "total-segmentator", 0.0, ""),
            ("-1", "-1", 0.0, ""),
        ] {
            let found = Variant::of(word);
            let parts = (found.base(), found.offset(), found.unit());
            assert_eq!(parts, (base, offset, unit), "{word}");
        }
    }

    #[test]
    fn manual_comes_first_and_erosion_before_dilation() {
        let words = [
            "other",
            "automatic+1",
            "manual",
            "automatic",
            "manual+2",
            "automatic-10",
            "automatic-2",
            "manual-1",
        ];
        let mut variants = words.map(Variant::of);
        variants.sort();
        let sorted = variants.each_ref().map(Variant::word);
        assert_eq!(
            sorted,
            [
                "manual-1",
                "manual",
                "manual+2",
                "automatic-10",
                "automatic-2",
                "automatic",
                "automatic+1",
                "other"
            ]
        );
    }
}
