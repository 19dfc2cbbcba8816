//! Which label value names which vertebra.

use super::Bone;
use super::choice::LabelNames;
use super::subject::LevelChoice;
use super::value::Level;
use super::{Plan, Subject};
use crate::exit::Failure;

/// TotalSegmentator counts from L5 (27) up to C1 (50), VerSe from C1 (1) down to L5 (24): the two values of a level add up to
/// this. From the class map of the task `total` in version 2 of TotalSegmentator.
const TOTALSEGMENTATOR_PLUS_VERSE: u16 = 51;
/// The last value of VerSe's numbering, T13.
const LAST_VERSE: u16 = 28;
/// The built-in networks number vertebrae whose level is not known from here on, head to foot.
pub const FIRST_WITHOUT_LEVEL: u16 = 101;

impl LabelNames {
    /// The level that a label value names.
    pub fn level(self, label: u16) -> Option<Level> {
        match (self, label) {
            (Self::Verse, _) => Level::from_verse_label(label),
            (Self::TotalSegmentator, 27..=50) => {
                Level::from_verse_label(TOTALSEGMENTATOR_PLUS_VERSE - label)
            }
            (Self::TotalSegmentator, _) => None,
        }
    }

    /// The label value of a level; `None` where the numbering has none (TotalSegmentator knows no L6 and no T13).
    pub fn label(self, level: &Level) -> Option<u16> {
        let verse = level.verse_label();
        match (self, verse) {
            (Self::Verse, _) => Some(verse),
            (Self::TotalSegmentator, 1..=24) => Some(TOTALSEGMENTATOR_PLUS_VERSE - verse),
            (Self::TotalSegmentator, _) => None,
        }
    }

    /// Whether a label value stands for a vertebra, of a known level or not.
    pub fn is_vertebra(self, label: u16) -> bool {
        self.level(label).is_some() || (self == Self::Verse && label >= FIRST_WITHOUT_LEVEL)
    }

    /// A value that a map in this numbering does not hold: in VerSe's none stands between T13 (28) and the values for unknown levels
    /// (101), where TotalSegmentator has its vertebrae.
    pub fn foreign_label(self, present: &[u16]) -> Option<u16> {
        let foreign = |label: &u16| {
            self == Self::Verse && (LAST_VERSE + 1..FIRST_WITHOUT_LEVEL).contains(label)
        };
        present.iter().copied().find(foreign)
    }

    /// The numbering in words.
    pub fn statement(self) -> &'static str {
        match self {
            Self::Verse => "VerSe numbering (1-24 = C1-L5, 25 = L6, 28 = T13)",
            Self::TotalSegmentator => {
                "TotalSegmentator 2 numbering (27-31 = L5-L1, 32-43 = T12-T1, 44-50 = C7-C1)"
            }
        }
    }
}

impl Subject {
    /// The numbering of the label map's vertebrae; VerSe where none is given.
    pub fn names(&self) -> LabelNames {
        self.label_names.unwrap_or(LabelNames::Verse)
    }

    /// Whether the label is the one that the level names, and so not a choice of its own.
    pub fn label_follows_level(&self) -> bool {
        match &self.level {
            Some(LevelChoice::One(level)) => {
                self.label.len() == 1 && self.names().label(level) == self.label.first().copied()
            }
            _ => false,
        }
    }
}

impl Plan {
    /// Writes down the numbering of a vertebra, and takes the label of a level that is given without one.
    pub(super) fn name_vertebra(&mut self) -> anyhow::Result<()> {
        let subject = &mut self.subject;
        if subject.bone != Bone::Vertebra {
            return Ok(());
        }
        let names = *subject.label_names.get_or_insert(LabelNames::Verse);
        if let (true, Some(LevelChoice::One(level))) = (subject.label.is_empty(), &subject.level) {
            let label = names.label(level).ok_or_else(|| {
                Failure::usage(format!("{level} has no label in {}", names.statement()))
                    .with_help("name its value in the mask with --label K")
            })?;
            subject.label = vec![label];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numberings_name_the_same_vertebrae() {
        // Straight from the class map of TotalSegmentator 2, task `total`.
        for (name, verse, total) in [
            ("C1", 1, Some(50)),
            ("C7", 7, Some(44)),
            ("T1", 8, Some(43)),
            ("T12", 19, Some(32)),
            ("L1", 20, Some(31)),
            ("L2", 21, Some(30)),
            ("L5", 24, Some(27)),
            ("L6", 25, None),
            ("T13", 28, None),
        ] {
            let level: Level = name.parse().unwrap();
            assert_eq!(LabelNames::Verse.label(&level), Some(verse), "{name}");
            assert_eq!(LabelNames::TotalSegmentator.label(&level), total, "{name}");
            assert_eq!(LabelNames::Verse.level(verse).as_ref(), Some(&level));
            if let Some(total) = total {
                assert_eq!(LabelNames::TotalSegmentator.level(total), Some(level));
            }
        }
        // Sacrum and S1 are no vertebrae to be loaded; 101 is one of unknown level, or a rib.
        for (names, label, is) in [
            (LabelNames::Verse, 26, false),
            (LabelNames::Verse, 101, true),
            (LabelNames::TotalSegmentator, 26, false),
            (LabelNames::TotalSegmentator, 51, false),
            (LabelNames::TotalSegmentator, 101, false),
        ] {
            assert_eq!(names.is_vertebra(label), is, "{names} {label}");
        }
    }
}
