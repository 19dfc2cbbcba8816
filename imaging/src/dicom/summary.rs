//! What is said of a series where one must be chosen.

/// A series of a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSummary {
    /// SeriesInstanceUID; empty when the files state none.
    pub uid: String,
    /// SeriesNumber.
    pub number: Option<i64>,
    /// SeriesDescription.
    pub description: Option<String>,
    /// Modality.
    pub modality: Option<String>,
    /// Columns and rows of its first slice; 0 where no slice can be read.
    pub size: [usize; 2],
    /// Slices.
    pub slices: usize,
    /// Why it cannot be read: its first file that will not do.
    pub fault: Option<String>,
}

impl std::fmt::Display for SeriesSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            Some(number) => write!(f, "#{number}")?,
            None => write!(f, "#{}", self.uid)?,
        }
        let modality = self.modality.as_deref().unwrap_or("image");
        write!(
            f,
            " {modality} {}x{}, {} slices",
            self.size[0], self.size[1], self.slices
        )?;
        if let Some(description) = &self.description {
            write!(f, ", {description:?}")?;
        }
        if let Some(fault) = &self.fault {
            write!(f, ", cannot be read ({fault})")?;
        }
        Ok(())
    }
}

/// How to name a series that can be read, as an example.
pub(super) fn hint(several: &[&SeriesSummary], all: &[SeriesSummary]) -> String {
    let sound = several.iter().find(|s| s.fault.is_none());
    let one = sound.unwrap_or(&several[0]);
    let number = named_uniquely(one, all).number;
    number.map_or_else(|| one.uid.clone(), |n| n.to_string())
}

/// A summary without its number where another series has the same.
pub(super) fn named_uniquely(summary: &SeriesSummary, all: &[SeriesSummary]) -> SeriesSummary {
    let mut named = summary.clone();
    if all.iter().filter(|s| s.number == summary.number).count() > 1 {
        named.number = None;
    }
    named
}
