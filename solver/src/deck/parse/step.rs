//! Supports, loads and steps.

use super::{OpenStep, Parser, is_number};
use crate::deck::source::{At, Card};
use crate::deck::{Amplitude, Boundary, Force, NodePrint, Static, Step, Target};
use crate::error::Result;

impl Parser<'_> {
    pub(super) fn amplitude(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["NAME", "TIME", "DEFINITION"])?;
        self.one_of(card, "TIME", &["STEPTIME", "STEP TIME"])?;
        self.one_of(card, "DEFINITION", &["TABULAR"])?;
        let name = self.required(card, "NAME")?;
        let mut points: Vec<[f64; 2]> = Vec::new();
        for (at, row) in self.table(card, 2, 8)? {
            for pair in row.chunks(2) {
                let &[time, factor] = pair else {
                    return Err(self.error(at, "an amplitude is made of pairs of time and factor"));
                };
                if points.last().is_some_and(|before| time <= before[0]) {
                    return Err(self.error(at, format!("time {time} does not ascend")));
                }
                points.push([time, factor]);
            }
        }
        let amplitude = Amplitude {
            points,
            at: card.at,
        };
        match self.deck.amplitudes.insert(name.clone(), amplitude) {
            None => Ok(()),
            Some(_) => Err(self.error(card.at, format!("amplitude {name} is defined twice"))),
        }
    }

    pub(super) fn target(&self, at: At, text: &str) -> Result<Target> {
        if is_number(text) {
            let label = self.count(at, text, "node number")?;
            return Ok(Target::Node(self.node(at, label)?));
        }
        let name = text.to_uppercase();
        match self.deck.node_sets.contains_key(&name) {
            true => Ok(Target::Set(name)),
            false => Err(self.no_set(at, "node", text)),
        }
    }

    pub(super) fn known_amplitude(&self, card: &Card) -> Result<Option<String>> {
        if !card.has("AMPLITUDE") {
            return Ok(None);
        }
        let name = self.required(card, "AMPLITUDE")?;
        match self.deck.amplitudes.contains_key(&name) {
            true => Ok(Some(name)),
            false => Err(self.error(
                card.at,
                format!("amplitude {name} is not defined above this line"),
            )),
        }
    }

    pub(super) fn boundary(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["OP", "AMPLITUDE", "TYPE"])?;
        self.one_of(card, "OP", &["MOD", "NEW"])?;
        self.one_of(card, "TYPE", &["DISPLACEMENT"])?;
        let amplitude = self.known_amplitude(card)?;
        let mut lifts_earlier = card.get("OP").as_deref() == Some("NEW");
        let mut lines = Vec::new();
        while let Some(line) = self.reader.data() {
            let values: Vec<&str> = line.values().collect();
            let (components, displacement_mm) = self.held(line.at, &values)?;
            if self.step.is_none() && displacement_mm != 0.0 {
                return Err(self.error(
                    line.at,
                    "a displacement other than 0 must be prescribed inside a step",
                ));
            }
            let target = self.target(line.at, values[0])?;
            if components.is_empty() {
                self.note(
                    line.at,
                    "*BOUNDARY: solid elements have no rotations, nothing is held here".into(),
                );
            }
            lines.push(Boundary {
                target,
                components,
                displacement_mm,
                amplitude: amplitude.clone(),
                lifts_earlier: std::mem::take(&mut lifts_earlier),
                at: line.at,
            });
        }
        if lifts_earlier {
            return Err(self.error(
                card.at,
                "*BOUNDARY, OP=NEW without data would leave the body without support",
            ));
        }
        match &mut self.step {
            Some(step) => step.boundary.extend(lines),
            None => self.deck.boundary.extend(lines),
        }
        Ok(())
    }

    /// Components and displacement of a line of `*BOUNDARY`. Rotations (4 to 6) are left out when they are held at 0.
    pub(super) fn held(&self, at: At, values: &[&str]) -> Result<(Vec<u8>, f64)> {
        let named = |components: &[u8]| Ok((components.to_vec(), 0.0));
        match values.get(1).map(|v| v.to_uppercase()).as_deref() {
            Some("ENCASTRE" | "PINNED") if values.len() == 2 => return named(&[0, 1, 2]),
            Some("XSYMM") if values.len() == 2 => return named(&[0]),
            Some("YSYMM") if values.len() == 2 => return named(&[1]),
            Some("ZSYMM") if values.len() == 2 => return named(&[2]),
            Some(_) if values.len() <= 4 => {}
            _ => {
                return Err(self.error(
                    at,
                    "expected: node or node set, first component, last component, displacement",
                ));
            }
        }
        let first = self.count(at, values[1], "component")?;
        let last = match values.get(2) {
            None | Some(&"") => first,
            Some(text) => self.count(at, text, "component")?,
        };
        let displacement_mm = match values.get(3) {
            None | Some(&"") => 0.0,
            Some(text) => self.number(at, text, "displacement")?,
        };
        let most = if displacement_mm == 0.0 { 6 } else { 3 };
        if first > last || last > most {
            return Err(self.error(
                at,
                format!("components {first} to {last}; displacements are components 1 to 3"),
            ));
        }
        let components = (first..=last.min(3)).map(|c| (c - 1) as u8).collect();
        Ok((components, displacement_mm))
    }

    pub(super) fn forces(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["OP", "AMPLITUDE"])?;
        self.one_of(card, "OP", &["MOD", "NEW"])?;
        let amplitude = self.known_amplitude(card)?;
        self.open_step(card)?;
        let mut lifts_earlier = card.get("OP").as_deref() == Some("NEW");
        let mut lines = Vec::new();
        while let Some(line) = self.reader.data() {
            let values: Vec<&str> = line.values().collect();
            let &[target, component, force] = &values[..] else {
                return Err(self.error(line.at, "expected: node or node set, component, force"));
            };
            let component = self.count(line.at, component, "component")?;
            if component > 3 {
                return Err(self.error(
                    line.at,
                    format!("component {component}; forces are components 1 to 3"),
                ));
            }
            lines.push(Force {
                target: self.target(line.at, target)?,
                component: (component - 1) as u8,
                force_n: self.number(line.at, force, "force")?,
                amplitude: amplitude.clone(),
                lifts_earlier: std::mem::take(&mut lifts_earlier),
                at: line.at,
            });
        }
        if lifts_earlier {
            return Err(self.error(card.at, "*CLOAD, OP=NEW without data is not supported"));
        }
        self.open_step(card)?.forces.extend(lines);
        Ok(())
    }

    pub(super) fn begin_step(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["INC", "NLGEOM", "NAME"])?;
        if card.has("NLGEOM") && card.get("NLGEOM").as_deref() != Some("NO") {
            return Err(self.error(
                card.at,
                "*STEP, NLGEOM: large displacements are not supported; remove NLGEOM for small strains",
            ));
        }
        if let Some(open) = &self.step {
            return Err(self.error(
                card.at,
                format!(
                    "*END STEP is missing for the step that begins at line {}",
                    open.at.line
                ),
            ));
        }
        let most_increments = match card.has("INC") {
            true => {
                let text = self.required(card, "INC")?;
                self.count(card.at, &text, "INC")? as usize
            }
            false => 100,
        };
        // Free text may follow.
        while self.reader.data().is_some() {}
        self.step = Some(OpenStep {
            at: card.at,
            most_increments,
            procedure: None,
            boundary: Vec::new(),
            forces: Vec::new(),
            node_prints: Vec::new(),
        });
        Ok(())
    }

    pub(super) fn statics(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["DIRECT", "SOLVER"])?;
        self.open_step(card)?;
        let mut given = [None; 4];
        let mut at = card.at;
        if let Some(line) = self.reader.data() {
            at = line.at;
            for (place, text) in line.values().enumerate() {
                let slot = given.get_mut(place).ok_or_else(|| {
                    self.reader.error(
                        line.at,
                        "expected: first increment, length of the step, smallest, largest increment",
                    )
                })?;
                if !text.is_empty() {
                    *slot = Some(self.number(line.at, text, "*STATIC")?);
                }
            }
        }
        // An omitted value and 0 both mean the default.
        let given = given.map(|value| value.filter(|v| *v != 0.0));
        if let Some(value) = given.into_iter().flatten().find(|v| *v < 0.0) {
            return Err(self.error(at, format!("time {value} is negative")));
        }
        let period = given[1].unwrap_or(1.0);
        let initial = given[0].unwrap_or(period);
        let procedure = Static {
            direct: card.has("DIRECT"),
            initial,
            period,
            smallest: given[2].unwrap_or(initial.min(1e-5 * period)),
            largest: given[3].unwrap_or(period),
        };
        if initial > period * (1.0 + 1e-9) {
            return Err(self.error(
                at,
                format!("the first increment {initial} is longer than the step of {period}"),
            ));
        }
        if card.has("SOLVER") {
            self.note(
                card.at,
                "*STATIC: SOLVER has no effect: this program chooses its linear solver".into(),
            );
        }
        let step = self.open_step(card)?;
        if step.procedure.replace(procedure).is_some() {
            return Err(self.error(card.at, "the step has two procedures"));
        }
        Ok(())
    }

    pub(super) fn node_print(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["NSET", "TOTALS", "FREQUENCY", "GLOBAL"])?;
        self.one_of(card, "TOTALS", &["YES", "NO", "ONLY"])?;
        self.one_of(card, "GLOBAL", &["YES"])?;
        self.open_step(card)?;
        let node_set = self.required(card, "NSET")?;
        if !self.deck.node_sets.contains_key(&node_set) {
            return Err(self.no_set(card.at, "node", &node_set));
        }
        let frequency = match card.get("FREQUENCY") {
            None => 1,
            Some(text) => text.parse::<usize>().map_err(|_| {
                self.error(card.at, format!("FREQUENCY `{text}` is not a whole number"))
            })?,
        };
        let mut print = NodePrint {
            node_set,
            displacements: false,
            reactions: false,
            frequency,
            at: card.at,
        };
        while let Some(line) = self.reader.data() {
            for text in line.values() {
                match text.to_uppercase().as_str() {
                    "U" => print.displacements = true,
                    "RF" => print.reactions = true,
                    _ => self.note(
                        line.at,
                        format!("*NODE PRINT: {text} is not written; U and RF are"),
                    ),
                }
            }
        }
        self.open_step(card)?.node_prints.push(print);
        Ok(())
    }

    pub(super) fn end_step(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &[])?;
        let Some(open) = self.step.take() else {
            return Err(self.error(card.at, "*END STEP without a *STEP"));
        };
        let procedure = open
            .procedure
            .ok_or_else(|| self.error(open.at, "the step has no *STATIC"))?;
        self.deck.steps.push(Step {
            at: open.at,
            most_increments: open.most_increments,
            procedure,
            boundary: open.boundary,
            forces: open.forces,
            node_prints: open.node_prints,
        });
        Ok(())
    }
}
