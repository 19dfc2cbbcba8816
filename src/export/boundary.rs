//! Held and moved nodes by sets, and names that every format takes.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::StoredModel;

/// Length of a name that every program takes (Ansys: 32 characters, Abaqus: 80).
const NAME: usize = 32;

/// One component of some nodes, held or moved by one amount at load factor 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Motion {
    /// 0 = x, 1 = y, 2 = z.
    pub(super) component: u8,
    pub(super) displacement_mm: f64,
    pub(super) target: Target,
}

/// The nodes of a [`Motion`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// All nodes of a set, by its number.
    Set(usize),
    /// Nodes that make no set of the model, ascending.
    Nodes(Vec<u32>),
}

/// All prescribed components: by whole sets where a set moves as one, the others as lists of nodes with one value.
/// A component of a node may stand under two sets, with one value.
pub(super) fn motions(model: &StoredModel) -> Vec<Motion> {
    let prescribed: HashMap<(u32, u8), f64> = model
        .prescribed
        .iter()
        .map(|held| ((held.node, held.component), held.displacement_mm))
        .collect();
    let mut covered = HashSet::new();
    let mut motions = Vec::new();
    for (number, set) in model.sets.iter().enumerate() {
        for component in 0..3 {
            let value = |node: &u32| prescribed.get(&(*node, component)).copied();
            let Some(first) = set.nodes.first().and_then(value) else {
                continue;
            };
            if set.nodes.iter().any(|node| value(node) != Some(first)) {
                continue;
            }
            covered.extend(set.nodes.iter().map(|node| (*node, component)));
            motions.push(Motion {
                component,
                displacement_mm: first,
                target: Target::Set(number),
            });
        }
    }
    // In the order of the model, which is sorted.
    let mut loose: Vec<(u8, f64, Vec<u32>)> = Vec::new();
    let mut places: HashMap<(u8, u64), usize> = HashMap::new();
    for held in &model.prescribed {
        if covered.contains(&(held.node, held.component)) {
            continue;
        }
        // 0 and -0 are one place to be held at.
        let value = held.displacement_mm + 0.0;
        let key = (held.component, value.to_bits());
        let place = *places.entry(key).or_insert_with(|| {
            loose.push((held.component, value, Vec::new()));
            loose.len() - 1
        });
        loose[place].2.push(held.node);
    }
    motions.extend(loose.into_iter().map(|(component, value, nodes)| Motion {
        component,
        displacement_mm: value,
        target: Target::Nodes(nodes),
    }));
    motions
}

/// Names of the node sets: upper case, of letters, digits and underscores, at most 32 characters, no two alike.
pub(super) fn set_names(model: &StoredModel) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut names = Vec::new();
    for set in &model.sets {
        let mut name: String = set
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name.insert_str(0, "SET_");
        }
        name.truncate(NAME);
        let mut number = 2;
        while !taken.insert(name.clone()) {
            let ending = format!("_{number}");
            name.truncate(NAME - ending.len());
            name += &ending;
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Name of a component in a keyword format.
pub(super) fn axis(component: u8) -> char {
    match component {
        0 => 'x',
        1 => 'y',
        _ => 'z',
    }
}
