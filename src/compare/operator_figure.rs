//! Other masks against the spread of several operators.

use std::collections::BTreeSet;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Statistics;
use super::agreement::OperatorCase;
use super::canvas::{Axes, Canvas, begin, head, padded};
use super::marks::Key;
use crate::report::Figure;
use crate::report::figure::DrawingFailure;
use crate::report::plot::SOFT_INK;

/// Width of the figure, pixels.
const WIDTH: u32 = 1280;
/// Height of a case's row, pixels.
const ROW: u32 = 36;
/// Height of the panel beside its rows, pixels.
const AROUND: u32 = 196;

/// A row per case: the range of the operators' loads around their mean, and what the other masks gave.
#[derive(Clone, Debug)]
pub struct OperatorFigure<'a> {
    cases: Vec<(&'a str, &'a OperatorCase)>,
    variants: Vec<&'a str>,
}

impl<'a> OperatorFigure<'a> {
    /// The figure of all bones; `None` unless some case has several operators.
    pub fn of(statistics: &'a Statistics) -> Option<Self> {
        let mut cases = Vec::new();
        for (bone, found) in &statistics.bones {
            let of_bone = found
                .operators
                .iter()
                .flat_map(|operators| &operators.cases);
            cases.extend(of_bone.map(|case| (bone.as_str(), case)));
        }
        let others = cases.iter().flat_map(|(_, case)| &case.others);
        let variants: BTreeSet<&str> = others.map(|other| other.variant.as_str()).collect();
        (!cases.is_empty()).then(|| Self {
            cases,
            variants: variants.into_iter().collect(),
        })
    }

    /// A mark for each mask; the first is left to nothing else in the figure.
    fn mark(&self, variant: &str) -> usize {
        let place = self.variants.iter().position(|known| *known == variant);
        place.map_or(0, |place| place + 1)
    }

    fn key(&self) -> Vec<Key> {
        let mut key = vec![Key::Line(SOFT_INK, "range of the operators".to_owned())];
        for variant in &self.variants {
            key.push(Key::Mark(self.mark(variant), (*variant).to_owned()));
        }
        key
    }
}

impl Figure for OperatorFigure<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = ROW * self.cases.len() as u32;
        (WIDTH, head(WIDTH, &self.key()) + AROUND + rows)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let body = begin(
            area,
            "Failure loads against the spread of the operators",
            &self.key(),
        )?;
        let others = self.cases.iter().flat_map(|(_, case)| &case.others);
        let spreads = self.cases.iter().flat_map(|(_, case)| case.spread_percent);
        let values = others.map(|other| other.difference_percent).chain(spreads);
        let longest = self
            .cases
            .iter()
            .map(|(_, case)| case.case.len())
            .max()
            .unwrap_or(0);
        let rows = self.cases.len() as f64;
        let several_bones = self.cases.iter().any(|(bone, _)| *bone != self.cases[0].0);
        let title = if several_bones { "" } else { self.cases[0].0 };
        let axes = Axes {
            title: title.to_owned(),
            x: padded(values.chain([0.0])),
            y: [-0.7, rows - 0.3],
            x_name: "difference from the operators' mean (%)",
            y_numbers: false,
            beside: Some((40 + 15 * longest as u32).clamp(116, 480)),
            ..Axes::default()
        };
        let canvas = Canvas::new(&body, &axes)?;
        canvas.line(
            &[[0.0, axes.y[0]], [0.0, axes.y[1]]],
            SOFT_INK.mix(0.5).stroke_width(1),
        )?;
        for (row, (_, case)) in self.cases.iter().rev().enumerate() {
            let y = row as f64;
            let [from, to] = case.spread_percent;
            canvas.line(&[[from, y], [to, y]], SOFT_INK.mix(0.6).stroke_width(12))?;
            for other in &case.others {
                canvas.mark([other.difference_percent, y], self.mark(&other.variant), 8)?;
            }
            canvas.beside(y, &case.case)?;
        }
        area.present()?;
        Ok(())
    }
}
