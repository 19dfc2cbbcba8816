//! Decks solved with CalculiX 2.20 (its reactions and displacements stand beside each deck).
//!
//! Tolerances are those of the folder's README: printed digits for linear decks, 1e-5 for perfectly plastic
//! ones, 5e-5 for the one that ran with CalculiX's loose default controls, 1 % of the peak for softening.

use std::collections::HashMap;
use std::path::Path;

use osteoload::output_dir::Existing;
use osteoload::progress::Progress;
use osteoload::run::{DeckFormulation, SolveRequest, solve};

use super::shared;

/// A CSV file as rows of named values.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a CSV file");
    let header = reader.headers().expect("a header").clone();
    reader
        .records()
        .map(|record| {
            let record = record.expect("a record");
            header
                .iter()
                .map(str::to_owned)
                .zip(record.iter().map(str::to_owned))
                .collect()
        })
        .collect()
}

fn number(row: &HashMap<String, String>, key: &str) -> f64 {
    row[key].parse().expect("a number")
}

/// Our reaction of TOP along z at each time, and the displacements of the watched nodes at the last time.
struct Ours {
    reactions: Vec<(f64, f64)>,
    displacements: Vec<(String, [f64; 3])>,
    converged: bool,
}

fn ours(folder: &Path, name: &str) -> Ours {
    solved(&folder.join(format!("{name}.inp")))
}

fn solved(deck: &Path) -> Ours {
    let out = tempfile::tempdir().expect("a directory");
    let request = SolveRequest {
        deck: deck.to_path_buf(),
        out: out.path().join("result"),
        existing: Existing::Refuse,
        formulation: DeckFormulation::AsDeck,
        tolerance: 1e-8,
        fields: false,
        device: solver::Device::Cpu,
    };
    let finished = solve(&request, &mut Progress::silent()).expect("the deck is solved");
    let reactions = rows(&finished.place.join("reactions.csv"))
        .iter()
        .filter(|row| row["set"] == "TOP")
        .map(|row| (number(row, "time"), number(row, "rfz_n")))
        .collect::<Vec<_>>();
    let all = rows(&finished.place.join("displacements.csv"));
    let last = all.last().map_or(0.0, |row| number(row, "time"));
    let displacements = all
        .iter()
        .filter(|row| number(row, "time") == last)
        .map(|row| {
            (
                row["node"].clone(),
                ["ux_mm", "uy_mm", "uz_mm"].map(|key| number(row, key)),
            )
        })
        .collect();
    Ours {
        reactions,
        displacements,
        converged: finished.converged,
    }
}

/// Compares every increment of a deck; `displacements` also the watched nodes of the last one.
fn compare(name: &str, tolerance: f64, displacements: bool) {
    let Some(folder) = shared("fe-cases") else {
        return;
    };
    let theirs = rows(&folder.join(format!("{name}.csv")));
    let ours = ours(&folder, name);
    assert!(ours.converged, "{name}");
    let mut compared = 0;
    for row in theirs.iter().filter(|row| number(row, "time") > 0.0) {
        let (time, force) = (number(row, "time"), number(row, "RFz_N"));
        let found = ours.reactions.iter().find(|(t, _)| (t - time).abs() < 1e-6);
        let (_, found) = found.unwrap_or_else(|| panic!("{name}: no increment at time {time}"));
        assert!(
            (found - force).abs() <= tolerance * force.abs(),
            "{name} at {time}: {found} {force}"
        );
        compared += 1;
    }
    assert!(compared > 0, "{name}: nothing compared");
    if displacements {
        let last = theirs.last().expect("rows");
        let largest = number(last, "u_applied_mm").abs();
        assert!(!ours.displacements.is_empty());
        for (node, found) in &ours.displacements {
            for (axis, key) in ["ux", "uy", "uz"].into_iter().enumerate() {
                let expected = number(last, &format!("n{node}_{key}"));
                assert!(
                    (found[axis] - expected).abs() <= 1e-5 * largest,
                    "{name} node {node} {key}"
                );
            }
        }
    }
}

#[test]
fn linear_decks_to_the_printed_digits() {
    for name in [
        "a_graded_block_C3D8",
        "a_graded_block_C3D8I",
        "e_minifemur_lin_C3D8",
        "e_minifemur_lin_C3D8I",
        "c_cyl_tet10_lin",
    ] {
        compare(name, 1e-6, true);
    }
}

#[test]
fn perfectly_plastic_blocks() {
    compare("b_notched_pp_C3D8", 1e-5, true);
    compare("b_notched_pp_C3D8I", 1e-5, true);
}

#[test]
fn perfectly_plastic_quadratic_tetrahedra() {
    compare("d_cyl_tet10_pp", 1e-5, true);
}

#[test]
fn perfectly_plastic_minifemur() {
    compare("e_minifemur_pp_C3D8", 1e-5, false);
}

#[test]
fn perfectly_plastic_minifemur_with_incompatible_modes() {
    compare("e_minifemur_pp_C3D8I", 5e-5, false);
}

#[test]
fn the_softening_minifemur_passes_its_peak_and_goes_on_to_the_end() {
    let Some(folder) = shared("fe-cases") else {
        return;
    };
    let name = "e_minifemur_soft_C3D8";
    let ours = ours(&folder, name);
    assert!(
        ours.converged,
        "CalculiX stops at increment 15; every increment must converge here"
    );
    let (time, force) = *ours
        .reactions
        .iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("rows");
    let theirs = rows(&folder.join(format!("{name}.csv")));
    let peak = theirs
        .iter()
        .map(|row| number(row, "RFz_N"))
        .fold(0.0, f64::min);
    assert!(
        (force - peak).abs() < 0.01 * peak.abs(),
        "peak {force}, CalculiX {peak}"
    );
    assert!((time - 0.65).abs() < 0.05 * 0.65, "peak at {time}");
    assert!((ours.reactions.last().expect("rows").0 - 1.0).abs() < 1e-9);
}

/// Displacements that CalculiX printed, by node label.
fn printed_displacements(path: &Path) -> HashMap<String, [f64; 3]> {
    let text = std::fs::read_to_string(path).expect("a .dat file");
    text.lines()
        .skip_while(|line| !line.trim_start().starts_with("displacements"))
        .skip(2)
        .map_while(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[node, x, y, z] = &words[..] else {
                return None;
            };
            let number = |word: &str| word.parse().expect("a number");
            Some((node.to_owned(), [number(x), number(y), number(z)]))
        })
        .collect()
}

/// CalculiX's own test decks. Two lie within the keywords that are read; docs/calculix-decks.md says what stops the others.
#[test]
fn calculix_test_decks_are_solved_or_refused_by_keyword() {
    let Some(folder) = shared("data/fe-reference/calculix-test") else {
        return;
    };
    let listed = std::fs::read_to_string("docs/calculix-decks.md").expect("the list of decks");
    let mut solved = Vec::new();
    let mut decks = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "inp") {
            continue;
        }
        decks += 1;
        let name = path.file_stem().expect("a name").to_string_lossy();
        let model = solver::deck::Deck::read(&path)
            .and_then(|deck| deck.into_model(&solver::deck::Options::default()));
        match model {
            Ok(_) => solved.push(name.into_owned()),
            Err(solver::Error::Deck { reason, .. }) => {
                let line = listed
                    .lines()
                    .find(|line| line.split(['|', ' ', ',']).any(|word| word == name))
                    .unwrap_or_else(|| panic!("{name} is not listed: {reason}"));
                let word = line.split('`').nth(1).expect("a keyword");
                assert!(reason.contains(word), "{name}: {reason}, listed: {word}");
            }
            Err(other) => panic!("{name}: {other}"),
        }
    }
    assert_eq!(decks, 93);
    solved.sort();
    assert_eq!(solved, ["beam10p", "beam8p"]);
    for name in solved {
        let theirs = printed_displacements(&folder.join(format!("{name}.dat.ref")));
        let ours = ours(&folder, &name);
        let largest = theirs
            .values()
            .flatten()
            .fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(largest > 0.0 && ours.displacements.len() == theirs.len());
        for (node, found) in &ours.displacements {
            for axis in 0..3 {
                let error = (found[axis] - theirs[node][axis]).abs();
                // Seven digits are printed.
                assert!(error <= 1e-6 * largest, "{name} node {node}: {error}");
            }
        }
    }
}

/// Largest reaction of CalculiX, N, as a positive number.
fn their_peak(folder: &Path, name: &str) -> f64 {
    rows(&folder.join(format!("{name}.csv")))
        .iter()
        .map(|row| -number(row, "RFz_N"))
        .fold(0.0, f64::max)
}

fn our_peak(ours: &Ours) -> f64 {
    ours.reactions.iter().map(|r| -r.1).fold(0.0, f64::max)
}

#[test]
fn the_softening_notched_blocks_with_automatic_increments() {
    let Some(folder) = shared("fe-cases") else {
        return;
    };
    for name in ["b_notched_softauto_C3D8", "b_notched_softauto_C3D8I"] {
        let ours = ours(&folder, name);
        assert!(ours.converged, "{name}");
        let (peak, theirs) = (our_peak(&ours), their_peak(&folder, name));
        assert!(
            (peak - theirs).abs() < 0.01 * theirs,
            "{name}: {peak} {theirs}"
        );
        let last = ours.reactions.last().expect("rows");
        assert!(
            (last.0 - 1.0).abs() < 1e-9 && -last.1 < 0.7 * peak,
            "{name}"
        );
        // The first two increments are those of the card, and they grow afterwards.
        let times: Vec<f64> = ours.reactions.iter().map(|r| r.0).collect();
        assert!((times[0] - 0.033333333).abs() < 1e-9 && (times[1] - 0.066666666).abs() < 1e-9);
        assert!(
            (times[2] - times[1] - 0.05).abs() < 1e-6,
            "{name}: {times:?}"
        );
    }
}

#[test]
fn the_softening_notched_block_in_30_equal_increments() {
    let Some(folder) = shared("fe-cases") else {
        return;
    };
    let name = "b_notched_softauto_C3D8";
    let text = std::fs::read_to_string(folder.join(format!("{name}.inp"))).expect("the deck");
    let card = "*STATIC,SOLVER=SPOOLES\n0.033333333,1.0\n";
    assert!(text.contains(card));
    let dir = tempfile::tempdir().expect("a directory");
    let deck = dir.path().join("direct.inp");
    let direct = text.replace(card, "*STATIC, DIRECT\n0.033333333, 1.\n");
    std::fs::write(&deck, direct).expect("the deck");
    let ours = solved(&deck);
    assert!(ours.converged);
    assert_eq!(ours.reactions.len(), 30);
    for (number, (time, _)) in ours.reactions.iter().enumerate() {
        assert!((time - (number + 1) as f64 / 30.0).abs() < 1e-6);
    }
    let (peak, theirs) = (our_peak(&ours), their_peak(&folder, name));
    assert!((peak - theirs).abs() < 0.01 * theirs, "{peak} {theirs}");
}
