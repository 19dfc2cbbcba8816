//! Elements by material, and materials by bins of their moduli.

use std::collections::{BTreeMap, HashMap};

use solver::{HardeningCurve, MaterialModel, Materials};

use super::StoredModel;
use crate::bone_model::ElementKind;
use crate::exit::Failure;

/// A material and the elements that are made of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Material {
    pub(crate) youngs_modulus_mpa: f64,
    pub(crate) poissons_ratio: f64,
    /// `None` stays elastic.
    pub(crate) curve: Option<HardeningCurve>,
    /// Element numbers, counted from 0, ascending.
    pub(crate) elements: Vec<u32>,
}

/// All materials, in the order of their first elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouped {
    pub(crate) materials: Vec<Material>,
    /// Largest |E of the material / E of the element - 1|.
    pub(crate) largest_change: f64,
}

impl Grouped {
    /// Number of the material of each element, counted from 1.
    pub(crate) fn numbers(&self, elements: usize) -> Vec<i32> {
        let mut numbers = vec![0; elements];
        for (material, number) in self.materials.iter().zip(1..) {
            for &element in &material.elements {
                numbers[element as usize] = number;
            }
        }
        numbers
    }
}

/// The curve of an element that can yield.
fn curve(model: &StoredModel, element: usize) -> Option<&HardeningCurve> {
    let number = model.materials.curve[element];
    (model.material_model != MaterialModel::Linear && number != Materials::ELASTIC)
        .then(|| &model.materials.curves[number as usize])
}

/// One material per distinct modulus, Poisson's ratio and curve, compared bit by bit.
pub(crate) fn distinct(model: &StoredModel) -> Grouped {
    let materials = &model.materials;
    let mut curve_numbers: HashMap<Vec<u64>, usize> = HashMap::new();
    let mut known: HashMap<(u64, u64, Option<usize>), usize> = HashMap::new();
    let mut list: Vec<Material> = Vec::new();
    for element in 0..model.mesh.element_count() {
        let curve = curve(model, element);
        let curve_number = curve.map(|curve| {
            let bits = curve
                .points()
                .iter()
                .flatten()
                .map(|v| v.to_bits())
                .collect();
            let next = curve_numbers.len();
            *curve_numbers.entry(bits).or_insert(next)
        });
        let (modulus, ratio) = (
            materials.youngs_modulus_mpa[element],
            materials.poissons_ratio[element],
        );
        let key = (modulus.to_bits(), ratio.to_bits(), curve_number);
        let place = *known.entry(key).or_insert_with(|| {
            list.push(Material {
                youngs_modulus_mpa: modulus,
                poissons_ratio: ratio,
                curve: curve.cloned(),
                elements: Vec::new(),
            });
            list.len() - 1
        });
        list[place].elements.push(element as u32);
    }
    Grouped {
        materials: list,
        largest_change: 0.0,
    }
}

/// At most `bins` materials for each kind, a kind being the elements of bone, of caps or of the influence region that have one
/// Poisson's ratio and curves with the same number of points (none for those that stay elastic).
///
/// The range of the moduli of a kind is cut into `bins` equal parts. The modulus of a bin is the mean of its elements,
/// weighted by their volumes. Its curve has as many points as theirs, each the mean, weighted alike, of the strains
/// and of the stresses of their points of that number: the yield stress of the bin is the mean yield stress, and a
/// plateau ends at the mean of the strains at which theirs end.
pub(crate) fn binned(model: &StoredModel, bins: usize) -> anyhow::Result<Grouped> {
    if bins == 0 {
        return Err(Failure::usage("--bins 0: at least one bin is needed").into());
    }
    let moduli = &model.materials.youngs_modulus_mpa;
    let mut kinds: BTreeMap<(ElementKind, u64, usize), Vec<u32>> = BTreeMap::new();
    for element in 0..model.mesh.element_count() {
        let points = curve(model, element).map_or(0, |curve| curve.points().len());
        let ratio = model.materials.poissons_ratio[element].to_bits();
        kinds
            .entry((model.kinds[element], ratio, points))
            .or_default()
            .push(element as u32);
    }
    let mut materials = Vec::new();
    let mut largest_change: f64 = 0.0;
    for ((_, ratio, _), elements) in kinds {
        let values = || elements.iter().map(|&element| moduli[element as usize]);
        let low = values().fold(f64::INFINITY, f64::min);
        let width = (values().fold(f64::NEG_INFINITY, f64::max) - low) / bins as f64;
        let mut parts: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for &element in &elements {
            let place = if width > 0.0 {
                // The largest modulus belongs to the last bin.
                (((moduli[element as usize] - low) / width) as usize).min(bins - 1)
            } else {
                0
            };
            parts.entry(place).or_default().push(element);
        }
        for elements in parts.into_values() {
            let material = mean(model, f64::from_bits(ratio), elements)?;
            for &element in &material.elements {
                let change = material.youngs_modulus_mpa / moduli[element as usize] - 1.0;
                largest_change = largest_change.max(change.abs());
            }
            materials.push(material);
        }
    }
    materials.sort_by_key(|material| material.elements.first().copied());
    Ok(Grouped {
        materials,
        largest_change,
    })
}

/// The mean material of elements of one kind.
fn mean(model: &StoredModel, poissons_ratio: f64, elements: Vec<u32>) -> anyhow::Result<Material> {
    let mut total = 0.0;
    let mut modulus = 0.0;
    let mut points: Vec<[f64; 2]> = Vec::new();
    for &element in &elements {
        let element = element as usize;
        let volume = model.mesh.volume_mm3(element)?;
        total += volume;
        modulus += volume * model.materials.youngs_modulus_mpa[element];
        let own = curve(model, element).map_or(&[][..], HardeningCurve::points);
        points.resize(own.len(), [0.0; 2]);
        for (sum, [strain, stress]) in points.iter_mut().zip(own) {
            sum[0] += volume * strain;
            sum[1] += volume * stress;
        }
    }
    for point in points.iter_mut().flatten() {
        *point /= total;
    }
    let curve = match points.is_empty() {
        true => None,
        false => Some(HardeningCurve::new(points).map_err(Failure::input)?),
    };
    Ok(Material {
        youngs_modulus_mpa: modulus / total,
        poissons_ratio,
        curve,
        elements,
    })
}
