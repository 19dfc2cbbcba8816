//! Taking elements out of a finished model.

use super::{BoneMesh, BoneModel};

impl BoneModel {
    /// Keeps only the elements of a voxel mesh marked in `keep` (one flag per element), and the nodes they use; sets,
    /// supports and loads on nodes that go are dropped with them.
    pub fn retain_elements(&mut self, keep: &[bool]) {
        fn filter<T>(values: &mut Vec<T>, keep: &[bool]) {
            let mut flags = keep.iter();
            values.retain(|_| flags.next().copied().unwrap_or(true));
        }
        // Only voxels vanish: the published bin slip that makes them is one of voxel meshes.
        let BoneMesh::Voxels(mesh) = &mut self.mesh else {
            return;
        };
        filter(&mut mesh.mesh.elements, keep);
        filter(&mut mesh.lattice.element_cells, keep);
        filter(&mut mesh.element_voxels, keep);
        filter(&mut self.kinds, keep);
        filter(&mut self.labels, keep);
        filter(&mut self.density_mg_cm3, keep);
        let mut used = vec![false; mesh.mesh.nodes_mm.len()];
        for &node in mesh.mesh.elements.iter().flatten() {
            used[node as usize] = true;
        }
        let mut next = 0;
        let number: Vec<Option<u32>> = used
            .iter()
            .map(|&used| {
                used.then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        filter(&mut mesh.mesh.nodes_mm, &used);
        filter(&mut mesh.lattice.node_points, &used);
        for node in mesh.mesh.elements.iter_mut().flatten() {
            *node = number[*node as usize].unwrap_or_default();
        }
        let sets = [&mut self.loaded, &mut self.fixed]
            .into_iter()
            .chain(&mut self.held);
        for set in sets {
            set.nodes = set
                .nodes
                .iter()
                .filter_map(|&node| number[node as usize])
                .collect();
        }
        self.prescribed
            .retain_mut(|p| match number[p.node as usize] {
                Some(node) => {
                    p.node = node;
                    true
                }
                None => false,
            });
    }
}
