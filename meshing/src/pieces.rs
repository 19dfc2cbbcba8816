//! Connected pieces of anything that is numbered.

/// Disjoint sets of numbers, joined pair by pair (union-find with path halving).
pub(crate) struct Pieces {
    parent: Vec<u32>,
}

impl Pieces {
    /// Every number a piece of its own.
    pub fn of(count: usize) -> Self {
        Self {
            parent: (0..count as u32).collect(),
        }
    }

    /// Joins the pieces of two numbers.
    pub fn join(&mut self, a: u32, b: u32) {
        let [a, b] = [self.root(a), self.root(b)];
        self.parent[a.max(b) as usize] = a.min(b);
    }

    fn root(&mut self, mut n: u32) -> u32 {
        while self.parent[n as usize] != n {
            let above = self.parent[self.parent[n as usize] as usize];
            self.parent[n as usize] = above;
            n = above;
        }
        n
    }

    /// The piece of every number; pieces are numbered in the order of their first members.
    pub fn numbers(mut self) -> Vec<u32> {
        let mut next = 0;
        let mut number = vec![u32::MAX; self.parent.len()];
        (0..self.parent.len() as u32)
            .map(|n| {
                let number = &mut number[self.root(n) as usize];
                if *number == u32::MAX {
                    *number = next;
                    next += 1;
                }
                *number
            })
            .collect()
    }
}
