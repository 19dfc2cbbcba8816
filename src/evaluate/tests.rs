use imaging::Grid;

use super::*;
use crate::exit::Ending;

/// Boxes of 6 × 6 × 4 voxels one above the other, the lowest with the first of these labels; `shift` voxels to the left.
fn spine(labels: &[u16], shift: usize) -> LabelMap {
    let grid = Grid::axis_aligned([16, 12, 6 * labels.len() + 2], [1.0, 1.0, 2.0]);
    LabelMap::from_fn(grid, |[i, j, k]| {
        let inside = (2 + shift..8 + shift).contains(&i) && (2..8).contains(&j) && k % 6 >= 2;
        let label = labels.get(k / 6).copied();
        label.filter(|_| inside).unwrap_or(0)
    })
}

fn refused<T: std::fmt::Debug>(found: anyhow::Result<T>) -> String {
    let ending = Ending::of(&found.unwrap_err());
    format!(
        "{} {} {}",
        ending.status,
        ending.error,
        ending.help.unwrap_or_default()
    )
}

/// Folders of references and predictions with these maps.
fn folders(at: &Path, cases: &[(&str, LabelMap, LabelMap)]) -> EvaluateRequest {
    let [reference, prediction] = ["references", "predictions"].map(|name| at.join(name));
    for folder in [&reference, &prediction] {
        std::fs::create_dir(folder).unwrap();
    }
    for (name, truth, found) in cases {
        imaging::write_volume(&reference.join(name), truth).unwrap();
        imaging::write_volume(&prediction.join(name), found).unwrap();
    }
    EvaluateRequest {
        reference,
        prediction,
        ..EvaluateRequest::default()
    }
}

#[test]
fn vertebrae_stand_by_level_from_head_to_foot_and_all_together() {
    for (names, labels) in [
        (LabelNames::Verse, [21, 20, 19]),
        (LabelNames::TotalSegmentator, [30, 31, 32]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let shifted = |shift| (spine(&labels, 0), spine(&labels, shift));
        let ([a, b], [c, d]) = ([shifted(0).0, shifted(0).1], [shifted(3).0, shifted(3).1]);
        let mut request = folders(dir.path(), &[("a.nii.gz", a, b), ("b.nii.gz", c, d)]);
        request.levels = Some(names);
        let found = evaluate(&request).unwrap();
        let label = labels[1].to_string();
        assert_eq!(found["cases"]["a.nii.gz"]["labels"][&label]["level"], "L1");
        // Dice 1 and 0.5 at each of three levels.
        let text = table(&found);
        let starts: Vec<&str> = text
            .lines()
            .map(|line| line.get(..26).unwrap_or(line))
            .collect();
        assert!(starts[2].starts_with("| T12 | 2 | 0.750 ± 0.354"), "{text}");
        assert!(starts[3].starts_with("| L1 | 2 | 0.750 ± 0.354"), "{text}");
        assert!(starts[4].starts_with("| L2 | 2 | 0.750 ± 0.354"), "{text}");
        assert!(
            text.lines()
                .last()
                .unwrap()
                .starts_with("| all levels | 6 | 0.750 ± 0.274"),
            "{text}"
        );
        request.levels = None;
        assert!(!table(&evaluate(&request).unwrap()).contains("level"));
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, labels) in [("foreign", [31]), ("none", [26])] {
        let home = dir.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let mut request = folders(&home, &[("a.nii", spine(&labels, 0), spine(&labels, 0))]);
        request.levels = Some(LabelNames::Verse);
        let error = refused(evaluate(&request));
        assert!(
            error.starts_with("3 ") && error.contains("a.nii") && error.contains("--label-names"),
            "{error}"
        );
    }
}

#[test]
fn a_figure_per_pair_or_per_case() {
    let dir = tempfile::tempdir().unwrap();
    let labels = [1, 2, 3, 4, 5];
    let truth = spine(&labels, 0);
    let none = truth.map(|_| 0);
    let cases = [
        ("a.nii.gz", truth.clone(), spine(&labels, 1)),
        ("b.mha", truth, none.clone()),
    ];
    let mut request = folders(dir.path(), &cases);
    assert!(figure_files(&request).unwrap().is_empty());
    let drawn = dir.path().join("figures");
    request.figure = Some(drawn.clone());
    let files = figure_files(&request).unwrap();
    assert_eq!(files, ["a.png", "b.png"].map(|name| drawn.join(name)));
    evaluate(&request).unwrap();
    let bytes = |file: &Path| std::fs::read(file).unwrap();
    assert!(files.iter().all(|file| bytes(file).starts_with(b"\x89PNG")));

    let mut pair = EvaluateRequest {
        reference: request.reference.join("a.nii.gz"),
        prediction: request.prediction.join("a.nii.gz"),
        figure: Some(dir.path().join("pair.png")),
        ..EvaluateRequest::default()
    };
    evaluate(&pair).unwrap();
    assert!(bytes(&dir.path().join("pair.png")) == bytes(&files[0]));
    // Matched by overlap the same surfaces have other names.
    pair.by_overlap = true;
    evaluate(&pair).unwrap();
    assert!(bytes(&dir.path().join("pair.png")) == bytes(&files[0]));

    // A second case of the same name, a figure in a place or of a kind that cannot be, maps without a label.
    imaging::write_volume(&request.reference.join("a.mha"), &none).unwrap();
    assert!(refused(figure_files(&request)).contains("rename"));
    request.figure = Some(files[0].clone());
    assert!(refused(figure_files(&request)).starts_with("2 "));
    pair.figure = Some(dir.path().join("pair.svg"));
    assert!(refused(figure_files(&pair)).contains(".png"));
    pair.figure = Some(dir.path().join("none/pair.png"));
    assert!(refused(evaluate(&pair)).starts_with("2 "));
    // Two empty maps have a figure that says so.
    pair.figure = Some(dir.path().join("empty.png"));
    pair.reference = request.prediction.join("b.mha");
    pair.prediction.clone_from(&pair.reference);
    for by_overlap in [false, true] {
        pair.by_overlap = by_overlap;
        evaluate(&pair).unwrap();
        assert!(bytes(&dir.path().join("empty.png")).starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_case_that_cannot_be_judged_leaves_the_figures_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let truth = spine(&[1], 0);
    let cases = [
        ("a.nii", truth.clone(), truth.clone()),
        ("b.nii", truth.clone(), spine(&[1, 2], 0)),
    ];
    let mut request = folders(dir.path(), &cases);
    let drawn = dir.path().join("figures");
    request.figure = Some(drawn.clone());
    assert!(refused(evaluate(&request)).contains("grid"));
    assert!(!drawn.exists());
    std::fs::create_dir(&drawn).unwrap();
    for name in ["a.png", "provenance.json"] {
        std::fs::write(drawn.join(name), "old").unwrap();
    }
    assert!(evaluate(&request).is_err());
    let entries = || std::fs::read_dir(&drawn).unwrap().count();
    assert_eq!(std::fs::read(drawn.join("a.png")).unwrap(), b"old");
    assert_eq!(entries(), 2);
    // What else stands in the folder stays, whoever made it.
    imaging::write_volume(&request.prediction.join("b.nii"), &truth).unwrap();
    evaluate(&request).unwrap();
    assert_eq!(entries(), 3);
    assert_eq!(
        std::fs::read(drawn.join("provenance.json")).unwrap(),
        b"old"
    );
}

#[test]
fn a_foreign_label_is_told_of_the_map_that_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = folders(dir.path(), &[("a.nii", spine(&[20], 0), spine(&[31], 0))]);
    request.levels = Some(LabelNames::Verse);
    let error = refused(evaluate(&request));
    let at = |folder: &Path| folder.join("a.nii").display().to_string();
    assert!(error.contains(&at(&request.prediction)), "{error}");
    assert!(!error.contains(&at(&request.reference)), "{error}");
    // Matched by overlap, the prediction may number its bones as it likes.
    request.by_overlap = true;
    evaluate(&request).unwrap();
}
