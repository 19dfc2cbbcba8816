//! From cards to a [`Deck`].

mod material;
mod mesh;
mod step;

use super::source::{At, Card, Reader, Sources};
use super::{Boundary, Deck, Force, NodePrint, Note, Static};
use crate::error::{Error, Result};

pub(super) fn parse(sources: Sources) -> Result<Deck> {
    let mut parser = Parser {
        reader: Reader::new(&sources),
        deck: Deck::default(),
        step: None,
    };
    while let Some(card) = parser.reader.card()? {
        parser.card(&card)?;
    }
    if let Some(open) = &parser.step {
        return Err(parser.error(
            parser.reader.last(),
            format!(
                "the deck ends inside the step that begins at line {}: *END STEP is missing",
                open.at.line
            ),
        ));
    }
    let mut deck = parser.deck;
    mesh::number_element_nodes(&sources, &mut deck)?;
    deck.files = sources.into_names();
    Ok(deck)
}

/// A step whose `*STATIC` has perhaps not come yet.
struct OpenStep {
    at: At,
    most_increments: usize,
    procedure: Option<Static>,
    boundary: Vec<Boundary>,
    forces: Vec<Force>,
    node_prints: Vec<NodePrint>,
}

struct Parser<'a> {
    reader: Reader<'a>,
    deck: Deck,
    step: Option<OpenStep>,
}

impl Parser<'_> {
    fn error(&self, at: At, reason: impl Into<String>) -> Error {
        self.reader.error(at, reason)
    }

    fn card(&mut self, card: &Card) -> Result<()> {
        match card.key.as_str() {
            "HEADING" => self.heading(card),
            "NODE" => self.nodes(card),
            "ELEMENT" => self.elements(card),
            "NSET" => self.node_set(card),
            "ELSET" => self.element_set(card),
            "MATERIAL" => self.material(card),
            "ELASTIC" => self.elastic(card),
            "PLASTIC" => self.plastic(card),
            "DENSITY" => self.pass_over(card, "it has no effect: there is no body force"),
            "SOLIDSECTION" => self.section(card),
            "AMPLITUDE" => self.amplitude(card),
            "BOUNDARY" => self.boundary(card),
            "CLOAD" => self.forces(card),
            "STEP" => self.begin_step(card),
            "STATIC" => self.statics(card),
            "CONTROLS" => self.pass_over(
                card,
                "it has no effect: the convergence criterion of this program stands",
            ),
            "NODEPRINT" => self.node_print(card),
            "ELPRINT" | "NODEFILE" | "ELFILE" | "OUTPUT" | "NODEOUTPUT" | "ELEMENTOUTPUT" => {
                self.pass_over(card, "it has no effect: the fields that exist are written always")
            }
            "ENDSTEP" => self.end_step(card),
            _ => Err(self.error(
                card.at,
                format!(
                    "unknown keyword {}; the solver's documentation lists the keywords that are read",
                    card.title
                ),
            )),
        }
    }

    /// Refuses parameters that are not known.
    fn allow(&self, card: &Card, known: &[&str]) -> Result<()> {
        match card.unknown_parameter(known) {
            None => Ok(()),
            Some(name) => Err(self.error(
                card.at,
                format!(
                    "{}: the parameter {name} is not supported; supported: {}",
                    card.title,
                    if known.is_empty() {
                        "none".to_string()
                    } else {
                        known.join(", ")
                    }
                ),
            )),
        }
    }

    /// Value of a parameter that must be there and not empty.
    fn required(&self, card: &Card, name: &str) -> Result<String> {
        match card.get(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self.error(card.at, format!("{} needs {name}=...", card.title))),
        }
    }

    /// Refuses a parameter value that is not one of those known.
    fn one_of(&self, card: &Card, name: &str, known: &[&str]) -> Result<()> {
        match card.get(name) {
            Some(value) if !known.contains(&value.as_str()) => Err(self.error(
                card.at,
                format!(
                    "{}: {name}={value} is not supported; supported: {}",
                    card.title,
                    known.join(", ")
                ),
            )),
            _ => Ok(()),
        }
    }

    fn outside_step(&self, card: &Card) -> Result<()> {
        match &self.step {
            None => Ok(()),
            Some(_) => Err(self.error(
                card.at,
                format!("{} must stand before the first *STEP", card.title),
            )),
        }
    }

    fn open_step(&mut self, card: &Card) -> Result<&mut OpenStep> {
        if self.step.is_none() {
            return Err(self.error(card.at, format!("{} must stand inside a step", card.title)));
        }
        // The branch above has returned when there is none.
        self.step
            .as_mut()
            .ok_or_else(|| Error::Model("no step is open".into()))
    }

    fn number(&self, at: At, text: &str, what: &str) -> Result<f64> {
        let value = text.parse::<f64>().ok().or_else(|| {
            // Fortran writes 1.D-3.
            text.replace(['d', 'D'], "e").parse().ok()
        });
        match value {
            Some(value) if value.is_finite() => Ok(value),
            _ => Err(self.error(at, format!("{what}: `{text}` is not a number"))),
        }
    }

    fn count(&self, at: At, text: &str, what: &str) -> Result<u32> {
        match text.parse::<u32>() {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(self.error(
                at,
                format!("{what}: `{text}` is not a positive whole number"),
            )),
        }
    }

    fn pass_over(&mut self, card: &Card, why: &str) -> Result<()> {
        while self.reader.data().is_some() {}
        self.note(card.at, format!("{}: {why}", card.title));
        Ok(())
    }

    fn note(&mut self, at: At, text: String) {
        self.deck.notes.push(Note { at, text });
    }

    fn heading(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &[])?;
        while let Some(line) = self.reader.data() {
            if !self.deck.heading.is_empty() {
                self.deck.heading.push('\n');
            }
            self.deck.heading.push_str(line.text.trim());
        }
        Ok(())
    }
}

/// Numbers, unlike names of sets, begin with a digit or a sign.
fn is_number(text: &str) -> bool {
    text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
}
