//! Nodes, elements and their sets.

use super::{Parser, is_number};
use crate::deck::source::{At, Card, Line, Sources};
use crate::deck::{Deck, ElementType, Elements};
use crate::error::{Error, Result};

impl Parser<'_> {
    pub(super) fn nodes(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["NSET"])?;
        self.outside_step(card)?;
        let mut members = Vec::new();
        while let Some(line) = self.reader.data() {
            let mut values = line.values();
            let label = self.count(line.at, values.next().unwrap_or_default(), "node number")?;
            let mut position = [0.0; 3];
            for (axis, text) in values.enumerate() {
                let value = match text {
                    "" => 0.0,
                    _ => self.number(line.at, text, "coordinate")?,
                };
                *position.get_mut(axis).ok_or_else(|| {
                    self.error(line.at, "a node has a number and three coordinates")
                })? = value;
            }
            let number = self.deck.node_labels.len() as u32;
            if self.deck.node_numbers.insert(label, number).is_some() {
                return Err(self.error(line.at, format!("node {label} is defined twice")));
            }
            self.deck.node_labels.push(label);
            self.deck.nodes_mm.push(position);
            members.push(number);
        }
        if card.has("NSET") {
            let name = self.required(card, "NSET")?;
            extend_set(self.deck.node_sets.entry(name).or_default(), members);
        }
        Ok(())
    }

    pub(super) fn elements(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["TYPE", "ELSET"])?;
        self.outside_step(card)?;
        let name = self.required(card, "TYPE")?;
        let set = match card.has("ELSET") {
            true => Some(self.required(card, "ELSET")?),
            false => None,
        };
        let kind = match name.as_str() {
            "C3D4" => ElementType::C3D4,
            "C3D8" => ElementType::C3D8,
            "C3D8I" => ElementType::C3D8I,
            "C3D10" => ElementType::C3D10,
            _ => {
                return Err(self.error(
                    card.at,
                    format!(
                        "element type {name} is not supported; C3D8, C3D8I, C3D4 and C3D10 are read"
                    ),
                ));
            }
        };
        self.deck.element_types.entry(kind).or_insert(card.at);
        let members = match kind {
            ElementType::C3D4 => {
                let mut list = std::mem::take(&mut self.deck.tetrahedra);
                let members = self.element_lines(&mut list);
                self.deck.tetrahedra = list;
                members
            }
            ElementType::C3D8 | ElementType::C3D8I => {
                let mut list = std::mem::take(&mut self.deck.hexahedra);
                let members = self.element_lines(&mut list);
                self.deck.hexahedra = list;
                members
            }
            ElementType::C3D10 => {
                let mut list = std::mem::take(&mut self.deck.quadratic_tetrahedra);
                let members = self.element_lines(&mut list);
                self.deck.quadratic_tetrahedra = list;
                members
            }
        }?;
        if let Some(set) = set {
            extend_set(self.deck.element_sets.entry(set).or_default(), members);
        }
        Ok(())
    }

    /// Reads element number and nodes, over several lines where one is too short; the nodes stay labels for now.
    pub(super) fn element_lines<const N: usize>(
        &mut self,
        list: &mut Elements<N>,
    ) -> Result<Vec<u32>> {
        let mut members = Vec::new();
        while let Some(first) = self.reader.data() {
            let mut label = None;
            let mut nodes = [0; N];
            let mut found = 0;
            let mut line = first;
            loop {
                for text in line.values() {
                    let value = self.count(line.at, text, "element or node number")?;
                    if label.is_none() {
                        label = Some(value);
                    } else if found < N {
                        nodes[found] = value;
                        found += 1;
                    } else {
                        return Err(self.error(
                            line.at,
                            format!("the element has more than the {N} nodes of its type"),
                        ));
                    }
                }
                if found == N {
                    break;
                }
                line = self.reader.data().ok_or_else(|| {
                    self.error(
                        first.at,
                        format!("the element has {found} nodes; its type needs {N}"),
                    )
                })?;
            }
            let label = label.unwrap_or_default();
            if let Some(earlier) = self.deck.element_places.insert(label, first.at) {
                return Err(self.error(
                    first.at,
                    format!(
                        "element {label} is defined twice, the first time at line {}",
                        earlier.line
                    ),
                ));
            }
            list.labels.push(label);
            list.nodes.push(nodes);
            list.at.push(first.at);
            members.push(label);
        }
        Ok(members)
    }

    pub(super) fn node_set(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["NSET", "GENERATE", "UNSORTED", "INTERNAL"])?;
        self.outside_step(card)?;
        let name = self.required(card, "NSET")?;
        let defined = self.deck.node_labels.len();
        let mut members = Vec::new();
        while let Some(line) = self.reader.data() {
            if card.has("GENERATE") {
                for label in self.range(line, defined, "node")? {
                    members.push(self.node(line.at, label)?);
                }
                continue;
            }
            for text in line.values() {
                if is_number(text) {
                    let label = self.count(line.at, text, "node number")?;
                    members.push(self.node(line.at, label)?);
                } else {
                    let set = self.deck.node_sets.get(&text.to_uppercase());
                    members.extend(set.ok_or_else(|| self.no_set(line.at, "node", text))?);
                }
            }
        }
        extend_set(self.deck.node_sets.entry(name).or_default(), members);
        Ok(())
    }

    pub(super) fn element_set(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["ELSET", "GENERATE", "UNSORTED", "INTERNAL"])?;
        self.outside_step(card)?;
        let name = self.required(card, "ELSET")?;
        let defined = self.deck.element_places.len();
        let mut members = Vec::new();
        while let Some(line) = self.reader.data() {
            if card.has("GENERATE") {
                for label in self.range(line, defined, "element")? {
                    members.push(self.element(line.at, label)?);
                }
                continue;
            }
            for text in line.values() {
                if is_number(text) {
                    let label = self.count(line.at, text, "element number")?;
                    members.push(self.element(line.at, label)?);
                } else {
                    let set = self.deck.element_sets.get(&text.to_uppercase());
                    members.extend(set.ok_or_else(|| self.no_set(line.at, "element", text))?);
                }
            }
        }
        extend_set(self.deck.element_sets.entry(name).or_default(), members);
        Ok(())
    }

    /// A line `first, last[, step]` of a generated set.
    pub(super) fn range(
        &self,
        line: Line<'_>,
        defined: usize,
        what: &str,
    ) -> Result<std::iter::StepBy<std::ops::RangeInclusive<u32>>> {
        let mut numbers = Vec::new();
        for text in line.values() {
            numbers.push(self.count(line.at, text, "range")?);
        }
        let (first, last, step) = match numbers[..] {
            [first, last] => (first, last, 1),
            [first, last, step] => (first, last, step),
            _ => {
                return Err(self.error(line.at, "a range is first, last and, if not 1, the step"));
            }
        };
        if first > last {
            return Err(self.error(line.at, format!("the range {first} to {last} is empty")));
        }
        let members = ((last - first) / step) as usize + 1;
        if members > defined {
            return Err(self.error(
                line.at,
                format!("the range names {members} {what}s; {defined} are defined above it"),
            ));
        }
        Ok((first..=last).step_by(step as usize))
    }

    pub(super) fn node(&self, at: At, label: u32) -> Result<u32> {
        self.deck
            .node_numbers
            .get(&label)
            .copied()
            .ok_or_else(|| self.error(at, format!("node {label} is not defined above this line")))
    }

    pub(super) fn element(&self, at: At, label: u32) -> Result<u32> {
        match self.deck.element_places.contains_key(&label) {
            true => Ok(label),
            false => Err(self.error(
                at,
                format!("element {label} is not defined above this line"),
            )),
        }
    }

    pub(super) fn no_set(&self, at: At, what: &str, name: &str) -> Error {
        self.error(
            at,
            format!("the {what} set `{name}` is not defined above this line"),
        )
    }
}

fn extend_set(set: &mut Vec<u32>, members: Vec<u32>) {
    set.extend(members);
    set.sort_unstable();
    set.dedup();
}

/// Replaces the labels in the elements by node numbers: the nodes may be defined below their elements.
pub(super) fn number_element_nodes(sources: &Sources, deck: &mut Deck) -> Result<()> {
    let numbers = &deck.node_numbers;
    number_nodes(sources, numbers, &mut deck.hexahedra)?;
    number_nodes(sources, numbers, &mut deck.tetrahedra)?;
    number_nodes(sources, numbers, &mut deck.quadratic_tetrahedra)
}

fn number_nodes<const N: usize>(
    sources: &Sources,
    numbers: &std::collections::HashMap<u32, u32>,
    list: &mut Elements<N>,
) -> Result<()> {
    for (nodes, at) in list.nodes.iter_mut().zip(&list.at) {
        for node in nodes {
            *node = *numbers.get(node).ok_or_else(|| {
                sources.error(
                    *at,
                    format!("the element names node {node}, which is not defined"),
                )
            })?;
        }
    }
    Ok(())
}
