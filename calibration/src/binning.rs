//! Moduli in density bins, as the public voxel programs assign them.
//!
//! Edges are equally spaced between the smallest and the largest non-zero density of the **whole model
//! grid**; a voxel gets the modulus at the centre of its bin (lower edge inclusive, the maximum into the
//! last bin). The effect on stiffness is below 0.1 %: bins are offered to compare element by element.
//!
//! [`BinOffset::Published`] repeats a slip of the table published with the benchmark of Walle, Matheson
//! and Boyd 2025: its material identifiers start at 0 while voxel identifiers start at 1. There,
//! densities are first truncated towards zero to whole mg/cm³; a voxel of bin b gets the modulus of bin
//! b + 1; the last bin wraps round to the first bin's; trabecular voxels of exactly 0 vanish from the
//! mesh, and cortical ones get the first bin's modulus. It makes a vertebra some 15-18 % stiffer. For
//! comparison with that table only.

use crate::density::ElementDensity;
use crate::error::{Error, Result};
use crate::law::{ElasticityLaw, Evaluated};
use crate::post_yield::TissueKind;

/// Which bin's modulus a voxel gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinOffset {
    /// Its own (`material.bin_offset = 0`).
    #[default]
    Intended,
    /// The next one's, with the rest of the published slip (`material.bin_offset = 1`).
    Published,
}

impl BinOffset {
    /// From the number in a plan.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is 0 or 1.
    pub fn from_number(number: i64) -> Result<Self> {
        match number {
            0 => Ok(Self::Intended),
            1 => Ok(Self::Published),
            _ => Err(Error::Parameter(format!(
                "material.bin_offset = {number}; it is 0, or 1 for the published slip"
            ))),
        }
    }
}

/// Density bins over a model grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Binning {
    /// Number of bins.
    bins: usize,
    /// Which bin's modulus a voxel gets.
    offset: BinOffset,
    /// Lower edge of the first bin, mg/cm³.
    low: f64,
    /// Upper edge of the last bin, mg/cm³.
    high: f64,
}

/// Moduli of binned voxels.
#[derive(Clone, Debug, PartialEq)]
pub struct BinnedModulus {
    /// Young's modulus of each voxel, MPa; `None` for a voxel that vanishes from the mesh.
    pub mpa: Vec<Option<f64>>,
    /// Voxels whose density or whose bin's modulus a floor of the law touched.
    pub clamped: usize,
    /// Voxels that vanish.
    pub vanished: usize,
}

impl Binning {
    /// Bins over the densities (mg/cm³, of the law's kind) of the whole model grid, after the law's density
    /// floor and, for the published slip, truncation. Zeros are left out.
    ///
    /// # Errors
    /// [`Error::Parameter`] without bins or without a non-zero density, [`Error::NonFinite`] for NaN.
    pub fn over(
        grid_mg_cm3: impl IntoIterator<Item = f64>,
        bins: usize,
        offset: BinOffset,
        law: &ElasticityLaw,
    ) -> Result<Self> {
        if bins == 0 {
            return Err(Error::Parameter(
                "material.bins = 0 means no binning: use the law itself".into(),
            ));
        }
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut broken, mut total) = (0, 0);
        for density in grid_mg_cm3 {
            total += 1;
            broken += usize::from(!density.is_finite());
            let prepared = prepare(density, offset, law);
            if prepared != 0.0 {
                low = low.min(prepared);
                high = high.max(prepared);
            }
        }
        if broken > 0 {
            return Err(Error::NonFinite {
                what: "densities of the model grid",
                count: broken,
                total,
            });
        }
        if low > high {
            return Err(Error::Parameter(
                "the model grid holds no density other than 0: there is nothing to bin".into(),
            ));
        }
        Ok(Self {
            bins,
            offset,
            low,
            high,
        })
    }

    /// Smallest and largest binned density, mg/cm³.
    pub fn range_mg_cm3(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// Lower edge of bin `bin`, counted from 0; `bins` gives the upper edge of the last.
    fn edge(&self, bin: usize) -> f64 {
        self.low + (self.high - self.low) * (bin as f64 / self.bins as f64)
    }

    /// Bin of a prepared density, counted from 0.
    fn bin(&self, density: f64) -> usize {
        let width = (self.high - self.low) / self.bins as f64;
        if width <= 0.0 {
            return 0;
        }
        let last = self.bins - 1;
        let mut bin = (((density - self.low) / width).floor().max(0.0) as usize).min(last);
        // The quotient may round across an edge; the edges themselves decide.
        while bin > 0 && density < self.edge(bin) {
            bin -= 1;
        }
        while bin < last && density >= self.edge(bin + 1) {
            bin += 1;
        }
        bin
    }

    /// Density at the centre of a bin counted from 0, mg/cm³.
    fn centre(&self, bin: usize) -> f64 {
        0.5 * (self.edge(bin) + self.edge(bin + 1))
    }

    /// Young's modulus of every bone voxel.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a density of another kind, [`Error::NonFinite`] for NaN,
    /// [`Error::Parameter`] for lists of different length or a modulus that is not positive.
    pub fn modulus(
        &self,
        law: &ElasticityLaw,
        density: &ElementDensity,
        tissue: &[TissueKind],
    ) -> Result<BinnedModulus> {
        density.check_kind(law.kind, &format!("the elasticity law '{}'", law.name))?;
        let total = density.mg_cm3.len();
        if tissue.len() != total {
            return Err(Error::Parameter(format!(
                "{total} densities and {} tissue classes; there must be one of each per voxel",
                tissue.len()
            )));
        }
        let count = density.mg_cm3.iter().filter(|d| !d.is_finite()).count();
        if count > 0 {
            return Err(Error::NonFinite {
                what: "element densities",
                count,
                total,
            });
        }
        let centres = (0..self.bins).map(|bin| self.centre(bin)).collect();
        let table = law.modulus(&ElementDensity::new(law.kind, centres))?;
        Ok(self.assign(law, density, tissue, &table))
    }

    fn assign(
        &self,
        law: &ElasticityLaw,
        density: &ElementDensity,
        tissue: &[TissueKind],
        table: &Evaluated,
    ) -> BinnedModulus {
        let floored: Vec<bool> = (0..self.bins)
            .map(|bin| law.floor.mpa > 0.0 && table.mpa[bin] <= law.floor.mpa)
            .collect();
        let mut result = BinnedModulus {
            mpa: Vec::with_capacity(tissue.len()),
            clamped: 0,
            vanished: 0,
        };
        for (&given, &tissue) in density.mg_cm3.iter().zip(tissue) {
            let raised = law.floor.density_mg_cm3.is_some_and(|low| given < low);
            let prepared = prepare(given, self.offset, law);
            let bin = match (self.offset, tissue) {
                (BinOffset::Intended, _) => Some(self.bin(prepared)),
                (BinOffset::Published, TissueKind::Trabecular) if prepared == 0.0 => None,
                (BinOffset::Published, TissueKind::Cortical) if prepared == 0.0 => Some(0),
                (BinOffset::Published, _) => Some((self.bin(prepared) + 1) % self.bins),
            };
            result.vanished += usize::from(bin.is_none());
            result.clamped += usize::from(bin.is_some_and(|bin| raised || floored[bin]));
            result.mpa.push(bin.map(|bin| table.mpa[bin]));
        }
        result
    }
}

/// Density floor of the law and, for the published slip, truncation towards zero to whole mg/cm³.
fn prepare(density: f64, offset: BinOffset, law: &ElasticityLaw) -> f64 {
    let raised = law
        .floor
        .density_mg_cm3
        .map_or(density, |low| density.max(low));
    match offset {
        BinOffset::Intended => raised,
        BinOffset::Published => raised.trunc(),
    }
}

#[cfg(test)]
mod tests;
