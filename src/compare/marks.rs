//! Marks, colours and keys that the figures of a comparison share.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::cohort::Bone;
use crate::report::figure::DrawingFailure;

/// Colours that the colour-blind tell apart (Okabe and Ito 2008), each with a shape of its own; the last is for cases without a group.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x80, 0x80, 0x80),
];

/// The colour of a mark.
pub(super) fn colour(mark: usize) -> RGBColor {
    COLOURS[mark % COLOURS.len()]
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
            (Some(place), _) => place % (COLOURS.len() - 1),
            (None, true) => 0,
            (None, false) => COLOURS.len() - 1,
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
    match mark % COLOURS.len() {
        0 | 4 => area.draw(&Circle::new((x, y), size, style))?,
        1 => area.draw(&TriangleMarker::new((x, y), size + 3, style))?,
        2 => area.draw(&Rectangle::new(
            [(x - size, y - size), (x + size, y + size)],
            style,
        ))?,
        3 => {
            let reach = size + 2;
            let corners = [
                (x - reach, y),
                (x, y - reach),
                (x + reach, y),
                (x, y + reach),
            ];
            area.draw(&Polygon::new(corners, style))?;
        }
        _ => area.draw(&Cross::new((x, y), size, colour(mark).stroke_width(3)))?,
    }
    Ok(())
}
