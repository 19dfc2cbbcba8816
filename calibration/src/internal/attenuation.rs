//! Tables of mass attenuation, as shipped in `tissues/mass-attenuation.toml`.

use serde::Deserialize;

use super::Tissue;
use crate::error::{Error, Result};

/// Mass attenuation of one material over energy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    energy_kev: Vec<f64>,
    cm2_per_g: Vec<f64>,
}

/// The tables of all materials.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tables {
    adipose: Table,
    air: Table,
    blood: Table,
    cortical_bone: Table,
    muscle: Table,
    pub water: Table,
    pub k2hpo4: Table,
    pub triglyceride: Table,
}

impl Tables {
    pub fn shipped() -> Result<Self> {
        let text = include_str!("../../tissues/mass-attenuation.toml");
        toml::from_str(text)
            .map_err(|error| Error::Fit(format!("the tables of mass attenuation: {error}")))
    }

    pub fn of(&self, tissue: Tissue) -> &Table {
        match tissue {
            Tissue::Adipose => &self.adipose,
            Tissue::Air => &self.air,
            Tissue::Blood => &self.blood,
            Tissue::CorticalBone => &self.cortical_bone,
            Tissue::Muscle => &self.muscle,
        }
    }
}

impl Table {
    /// Mass attenuation at an energy, cm²/g, linear between the energies of the table.
    pub fn at(&self, energy_kev: f64) -> f64 {
        let after = self.energy_kev.partition_point(|&e| e <= energy_kev);
        let last = self.energy_kev.len() - 1;
        let (low, high) = (after.saturating_sub(1), after.min(last));
        let (e0, e1) = (self.energy_kev[low], self.energy_kev[high]);
        let (u0, u1) = (self.cm2_per_g[low], self.cm2_per_g[high]);
        if e1 > e0 {
            u0 + (u1 - u0) * (energy_kev - e0) / (e1 - e0)
        } else {
            u0
        }
    }
}
