//! Nested dissection (George 1973) by the positions of the nodes: halves first, the nodes between them last. On solid
//! meshes this fills the factor less than a minimum-degree ordering does.

use super::block_rows::BlockPattern;

/// Nodes that are not dissected any further.
const LEAF_NODES: usize = 32;

/// Nodes in the order of elimination.
pub(super) fn elimination_order(nodes_mm: &[[f64; 3]], pattern: &BlockPattern) -> Vec<u32> {
    let mut order = Vec::with_capacity(nodes_mm.len());
    let mut side = vec![0u32; nodes_mm.len()];
    let mut stamp = 0;
    // Parts yet to be ordered, the last first; separators go to the end of their part, so the order is made backwards.
    let mut parts = vec![(0..nodes_mm.len() as u32).collect::<Vec<u32>>()];
    while let Some(mut part) = parts.pop() {
        if part.len() <= LEAF_NODES {
            order.extend(part.iter().rev());
            continue;
        }
        let extent = |axis: usize| {
            let along = part.iter().map(|&node| nodes_mm[node as usize][axis]);
            along.clone().fold(f64::MIN, f64::max) - along.fold(f64::MAX, f64::min)
        };
        let axis = (0..3)
            .max_by(|&a, &b| extent(a).total_cmp(&extent(b)))
            .unwrap_or(0);
        let key = |node: u32| nodes_mm[node as usize][axis];
        let middle = part.len() / 2;
        part.select_nth_unstable_by(middle, |&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
        let high = part.split_off(middle);
        stamp += 1;
        for &node in &high {
            side[node as usize] = stamp;
        }
        let (separator, low): (Vec<u32>, Vec<u32>) = part.into_iter().partition(|&node| {
            let row = pattern.start[node as usize]..pattern.start[node as usize + 1];
            pattern.columns[row]
                .iter()
                .any(|&other| side[other as usize] == stamp)
        });
        order.extend(separator.iter().rev());
        // A half that is all separator leaves nothing to dissect.
        parts.push(low);
        parts.push(high);
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_before_what_separates_them() {
        // A bar of 200 nodes in a row.
        let nodes_mm: Vec<[f64; 3]> = (0..200).map(|i| [f64::from(i), 0.0, 0.0]).collect();
        let connectivity: Vec<u32> = (0..199).flat_map(|i| [i, i + 1]).collect();
        let pattern = BlockPattern::of_elements(200, 2, &connectivity);
        let order = elimination_order(&nodes_mm, &pattern);
        assert_eq!(order[199], 99);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..200));
        // The two halves are not mixed.
        let low = order[..199].iter().position(|&node| node < 99);
        let high = order[..199].iter().position(|&node| node > 99);
        let (first, second) = (low.min(high), low.max(high));
        assert_eq!(first, Some(0));
        assert!((99..=100).contains(&second.unwrap()));
    }
}
