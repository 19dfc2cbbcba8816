//! Rows of the tables that a solved deck leaves: `reactions.csv` and `displacements.csv`.

use std::collections::HashSet;
use std::fmt::Write;

use super::steps::{Quantity, StepPlan};
use crate::response::Increment;

/// First line of `reactions.csv`.
pub const REACTIONS_HEADER: &str = "step,increment,time,set,rfx_n,rfy_n,rfz_n\n";
/// First line of `displacements.csv`.
pub const DISPLACEMENTS_HEADER: &str = "step,increment,time,node,ux_mm,uy_mm,uz_mm\n";

/// The rows of `reactions.csv` for one converged increment: one per monitor of the step, in their order.
///
/// The signs are those of the deck: the reaction is the force that the support exerts on the body.
pub fn reaction_rows(plan: &StepPlan, increment: &Increment) -> String {
    let mut rows = String::new();
    let sets = plan.load_case.monitors.iter();
    for (set, reaction) in sets.zip(&increment.reactions_n) {
        row(&mut rows, plan, increment, &set.name, *reaction);
    }
    rows
}

/// The rows of `displacements.csv` for one converged increment: the nodes asked for by `*NODE PRINT`, each once,
/// with their labels in the deck.
///
/// `displacements_mm` holds three values per node of the model; `last` marks the last increment of the step, which
/// is printed whatever `FREQUENCY` says.
pub fn displacement_rows(
    plan: &StepPlan,
    node_labels: &[u32],
    increment: &Increment,
    displacements_mm: &[f64],
    last: bool,
) -> String {
    let mut rows = String::new();
    let mut written = HashSet::new();
    let due = plan.prints.iter().filter(|print| {
        print.quantity == Quantity::Displacement
            && (last || increment.number.is_multiple_of(print.frequency.max(1)))
    });
    for &node in due.flat_map(|print| &print.nodes) {
        let at = node as usize;
        let values = displacements_mm.get(3 * at..3 * at + 3);
        if let (Some(&[x, y, z]), Some(label), true) =
            (values, node_labels.get(at), written.insert(node))
        {
            row(&mut rows, plan, increment, label, [x, y, z]);
        }
    }
    rows
}

fn row(
    rows: &mut String,
    plan: &StepPlan,
    increment: &Increment,
    name: impl std::fmt::Display,
    values: [f64; 3],
) {
    let time = plan.start_time + increment.factor * plan.period;
    let [x, y, z] = values.map(number);
    // Writing to a string cannot fail.
    let _ = writeln!(
        rows,
        "{},{},{},{name},{x},{y},{z}",
        plan.number,
        increment.number,
        number(time)
    );
}

/// The shortest text that reads back as the same number, with an exponent where it is very small or very large.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if (1e-4..1e9).contains(&size) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deck::PrintPlan;
    use crate::load_case::{LoadCase, Stepping};
    use meshing::NodeSet;

    fn plan() -> StepPlan {
        let print = |set: &str, nodes: Vec<u32>, frequency| PrintPlan {
            set: set.into(),
            nodes,
            quantity: Quantity::Displacement,
            frequency,
        };
        StepPlan {
            number: 2,
            start_time: 1.0,
            period: 0.5,
            load_case: LoadCase {
                monitors: vec![NodeSet::new("BOT", vec![0]), NodeSet::new("TOP", vec![1])],
                ..LoadCase::default()
            },
            stepping: Stepping::equal(4),
            prints: vec![print("A", vec![1, 0], 1), print("B", vec![2, 1], 2)],
        }
    }

    fn increment(number: usize) -> Increment {
        Increment {
            number,
            factor: 0.25 * number as f64,
            reactions_n: vec![[-0.0, 1e-13, 9849.24], [0.1 + 0.2, -2e10, -9849.24]],
            ..Increment::default()
        }
    }

    #[test]
    fn reactions_stand_set_by_set() {
        assert_eq!(
            reaction_rows(&plan(), &increment(1)),
            "2,1,1.125,BOT,0,1e-13,9849.24\n2,1,1.125,TOP,0.30000000000000004,-2e10,-9849.24\n"
        );
    }

    #[test]
    fn displacements_stand_once_per_node_under_their_labels() {
        let u: Vec<f64> = (0..9).map(f64::from).collect();
        let labels = [40, 30, 20];
        let every = displacement_rows(&plan(), &labels, &increment(1), &u, false);
        assert_eq!(every, "2,1,1.125,30,3,4,5\n2,1,1.125,40,0,1,2\n");
        let second = displacement_rows(&plan(), &labels, &increment(2), &u, false);
        assert_eq!(
            second,
            "2,2,1.25,30,3,4,5\n2,2,1.25,40,0,1,2\n2,2,1.25,20,6,7,8\n"
        );
        let last = displacement_rows(&plan(), &labels, &increment(3), &u, true);
        assert_eq!(last.lines().count(), 3);
    }
}
