//! Which element touches which node, and which elements may be worked on at the same time.

use std::ops::Range;

/// A run of elements that follow each other along x and share a material class.
#[derive(Clone, Debug)]
pub struct Run {
    /// First element.
    pub first: usize,
    /// Number of elements.
    pub length: usize,
    /// Material class.
    pub class: u16,
    /// Node at the low-x end of the four edges along x: (y,z) = (0,0) (1,0) (0,1) (1,1). The nodes of an edge are
    /// numbered without a gap.
    pub edges: [usize; 4],
}

/// Elements that one thread works on at a time.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its elements.
    pub elements: Range<usize>,
    /// The same as runs along x.
    pub runs: Vec<Run>,
}

/// Elements, their nodes and their order of work.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Number of nodes.
    pub nodes: usize,
    /// Nodes of each element by corner bits (not VTK order).
    pub elements: Vec<[u32; 8]>,
    /// Material class of each element.
    pub class: Vec<u16>,
    /// Blocks of elements.
    pub blocks: Vec<Block>,
    /// Block of each element.
    pub block_of: Vec<u32>,
    /// Blocks by colour; blocks of one colour share no node.
    pub colours: Vec<Vec<usize>>,
}

/// Elements that a block should hold at least.
const BLOCK_ELEMENTS: usize = 256;

impl Topology {
    /// Numbers a lattice mesh whose elements (corner bits) are sorted by layer, row, then x.
    /// `layer` is the z index of each element.
    pub fn lattice(
        nodes: usize,
        elements: Vec<[u32; 8]>,
        class: Vec<u16>,
        layer: impl Fn(usize) -> u32,
    ) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut start = 0;
        let mut layers = 0;
        for element in 0..elements.len() {
            let ends = element + 1 == elements.len() || layer(element + 1) != layer(element);
            if ends {
                layers += 1;
                let enough = element + 1 - start >= BLOCK_ELEMENTS && layers >= 2;
                if enough || element + 1 == elements.len() {
                    blocks.push(Block {
                        elements: start..element + 1,
                        runs: Vec::new(),
                    });
                    start = element + 1;
                    layers = 0;
                }
            }
        }
        for block in &mut blocks {
            block.runs = runs(&elements, &class, block.elements.clone());
        }
        // Blocks are stacked along z and hold whole layers: only neighbours share nodes.
        let colours = (0..2)
            .map(|colour| (colour..blocks.len()).step_by(2).collect())
            .collect();
        let mut block_of = vec![0; elements.len()];
        for (number, block) in blocks.iter().enumerate() {
            block_of[block.elements.clone()].fill(number as u32);
        }
        Self {
            nodes,
            elements,
            class,
            blocks,
            block_of,
            colours,
        }
    }
}

fn runs(elements: &[[u32; 8]], class: &[u16], range: Range<usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for element in range {
        let corners = elements[element];
        let edges = [corners[0], corners[2], corners[4], corners[6]].map(|node| node as usize);
        if let Some(run) = runs.last_mut() {
            let continues = run.class == class[element]
                && (0..4).all(|edge| edges[edge] == run.edges[edge] + run.length)
                && run.first + run.length == element;
            if continues {
                run.length += 1;
                continue;
            }
        }
        runs.push(Run {
            first: element,
            length: 1,
            class: class[element],
            edges,
        });
    }
    runs
}
