//! Marks, colours and keys that the figures of a comparison share.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::cohort::Bone;
use crate::report::figure::DrawingFailure;

/// Colours that the colour-blind tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
];
/// The mark of cases without a group, where others have one: a grey cross.
const NO_GROUP: usize = usize::MAX;
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// The colour of a mark.
pub(super) fn colour(mark: usize) -> RGBColor {
    match mark {
        NO_GROUP => GREY,
        _ => COLOURS[mark % COLOURS.len()],
    }
}

/// The shape of a mark, one of four. It changes from mark to mark, and where the colours begin again: 20 marks differ.
fn shape(mark: usize) -> usize {
    (mark % COLOURS.len() + mark / COLOURS.len()) % 4
}

/// The groups of a figure, which give the cases their marks.
pub(super) struct Groups<'a> {
    names: Vec<&'a str>,
    some_without: bool,
}

impl<'a> Groups<'a> {
    pub(super) fn of(bones: &'a [Bone]) -> Self {
        let mut groups: Vec<&str> = bones.iter().flat_map(Bone::groups).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut cases = bones.iter().flat_map(|bone| &bone.cases);
        Self {
            some_without: !groups.is_empty() && cases.any(|case| case.group.is_empty()),
            names: groups,
        }
    }

    /// The mark of a case's group.
    pub(super) fn mark(&self, group: &str) -> usize {
        let place = self.names.iter().position(|known| *known == group);
        match (place, self.names.is_empty()) {
            (Some(place), _) => place,
            (None, true) => 0,
            (None, false) => NO_GROUP,
        }
    }

    /// The key, empty without groups.
    pub(super) fn key(&self) -> Vec<Key> {
        let entry = |group: &&str| Key::Mark(self.mark(group), (*group).to_owned());
        let without = self
            .some_without
            .then(|| Key::Mark(self.mark(""), "no group".to_owned()));
        self.names.iter().map(entry).chain(without).collect()
    }
}

/// An entry of the key above the panels.
pub(super) enum Key {
    /// A mark with what it stands for.
    Mark(usize, String),
    /// A line.
    Line(RGBColor, String),
    /// A dashed line.
    Dashed(RGBColor, String),
    /// Words alone.
    Note(String),
}

impl Key {
    /// What it says.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Mark(_, words)
            | Self::Line(_, words)
            | Self::Dashed(_, words)
            | Self::Note(words) => words,
        }
    }

    /// Width of what stands before its words, pixels.
    pub(super) fn sign_width(&self) -> u32 {
        match self {
            Self::Mark(..) => 28,
            Self::Line(..) | Self::Dashed(..) => 54,
            Self::Note(_) => 0,
        }
    }
}

/// A dashed line between two pixels.
pub(super) fn dashed<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    from: (i32, i32),
    to: (i32, i32),
    colour: RGBColor,
) -> Result<(), DrawingFailure>
where
    B::ErrorType: 'static,
{
    let style = colour.stroke_width(3);
    area.draw(&DashedPathElement::new([from, to], 10, 7, style))?;
    Ok(())
}

/// A mark of one of the colours and shapes at a pixel.
pub(super) fn draw_mark<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    (x, y): (i32, i32),
    mark: usize,
    size: i32,
) -> Result<(), DrawingFailure>
where
    B::ErrorType: 'static,
{
    let style = colour(mark).filled();
    if mark == NO_GROUP {
        area.draw(&Cross::new((x, y), size, colour(mark).stroke_width(3)))?;
        return Ok(());
    }
    match shape(mark) {
        0 => area.draw(&Circle::new((x, y), size, style))?,
        1 => area.draw(&TriangleMarker::new((x, y), size + 3, style))?,
        2 => area.draw(&Rectangle::new(
            [(x - size, y - size), (x + size, y + size)],
            style,
        ))?,
        _ => {
            let reach = size + 2;
            let corners = [
                (x - reach, y),
                (x, y - reach),
                (x + reach, y),
                (x, y + reach),
            ];
            area.draw(&Polygon::new(corners, style))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twenty_groups_have_marks_of_their_own() {
        let seen = |mark| (colour(mark), shape(mark));
        let different: BTreeSet<String> = (0..20).map(|mark| format!("{:?}", seen(mark))).collect();
        assert_eq!(different.len(), 20);
        assert!((0..20).all(|mark| colour(mark) != colour(NO_GROUP)));
    }
}
