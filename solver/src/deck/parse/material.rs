//! Materials and where they are.

use super::Parser;
use crate::deck::source::{At, Card};
use crate::deck::{Material, Section};
use crate::error::Result;

impl Parser<'_> {
    pub(super) fn material(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["NAME"])?;
        self.outside_step(card)?;
        let name = self.required(card, "NAME")?;
        if self.deck.materials.iter().any(|m| m.name == name) {
            return Err(self.error(card.at, format!("material {name} is defined twice")));
        }
        self.deck.materials.push(Material {
            name,
            at: card.at,
            ..Material::default()
        });
        Ok(())
    }

    /// Rows of numbers, each between `least` and `most` long.
    pub(super) fn table(
        &mut self,
        card: &Card,
        least: usize,
        most: usize,
    ) -> Result<Vec<(At, Vec<f64>)>> {
        let mut rows = Vec::new();
        while let Some(line) = self.reader.data() {
            let mut row = Vec::new();
            for text in line.values() {
                row.push(self.number(line.at, text, &card.title)?);
            }
            if row.len() < least || row.len() > most {
                return Err(self.error(
                    line.at,
                    format!(
                        "{}: {} values on the line; {least} to {most} are expected",
                        card.title,
                        row.len()
                    ),
                ));
            }
            rows.push((line.at, row));
        }
        match rows.is_empty() {
            true => Err(self.error(card.at, format!("{} has no data", card.title))),
            false => Ok(rows),
        }
    }

    /// The material that is being defined.
    pub(super) fn open_material(&mut self, card: &Card) -> Result<&mut Material> {
        self.outside_step(card)?;
        let missing = self.error(card.at, format!("{} must follow a *MATERIAL", card.title));
        self.deck.materials.last_mut().ok_or(missing)
    }

    pub(super) fn elastic(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["TYPE"])?;
        self.one_of(card, "TYPE", &["ISO", "ISOTROPIC"])?;
        let rows = self.table(card, 2, 3)?;
        if let Some((at, _)) = rows.get(1) {
            return Err(self.error(
                *at,
                "*ELASTIC: temperature-dependent moduli are not supported",
            ));
        }
        let (at, row) = (rows[0].0, &rows[0].1);
        let (modulus, ratio) = (row[0], row[1]);
        if modulus <= 0.0 {
            return Err(self.error(
                at,
                format!("Young's modulus {modulus} MPa; it must be positive"),
            ));
        }
        if !(ratio > -1.0 && ratio < 0.5) {
            return Err(self.error(
                at,
                format!("Poisson's ratio {ratio}; it must lie between -1 and 0.5"),
            ));
        }
        self.open_material(card)?.elastic = Some([modulus, ratio]);
        Ok(())
    }

    pub(super) fn plastic(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["HARDENING"])?;
        self.one_of(card, "HARDENING", &["ISOTROPIC"])?;
        let rows = self.table(card, 2, 3)?;
        if let Some((at, _)) = rows.iter().find(|(_, row)| row.get(2) != rows[0].1.get(2)) {
            return Err(self.error(
                *at,
                "*PLASTIC: temperature-dependent curves are not supported",
            ));
        }
        let mut points: Vec<[f64; 2]> = Vec::new();
        for (at, row) in &rows {
            let (stress, strain) = (row[0], row[1]);
            let reason = match points.last() {
                _ if stress <= 0.0 => format!("yield stress {stress} MPa; it must be positive"),
                None if strain != 0.0 => {
                    format!("the first plastic strain is {strain}; it must be 0")
                }
                Some(before) if strain <= before[0] => format!(
                    "plastic strain {strain} follows {}; plastic strains must ascend",
                    before[0]
                ),
                _ => {
                    points.push([strain, stress]);
                    continue;
                }
            };
            return Err(self.error(*at, reason));
        }
        let material = self.open_material(card)?;
        material.plastic = points;
        material.plastic_at = card.at;
        Ok(())
    }

    pub(super) fn section(&mut self, card: &Card) -> Result<()> {
        self.allow(card, &["ELSET", "MATERIAL"])?;
        self.outside_step(card)?;
        let section = Section {
            element_set: self.required(card, "ELSET")?,
            material: self.required(card, "MATERIAL")?,
            at: card.at,
        };
        if !self.deck.element_sets.contains_key(&section.element_set) {
            return Err(self.no_set(card.at, "element", &section.element_set));
        }
        self.deck.sections.push(section);
        // Solids may carry one line with a thickness, which means nothing to them.
        self.reader.data();
        Ok(())
    }
}
