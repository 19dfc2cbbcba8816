//! A cohort from its table to its files.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::exit::Ending;

const HEADER: &str =
    "case,variant,group,operator,bone,side,level,status,reason,failure_load_n,dice,hausdorff_mm";

/// Four femora by three masks; case D has no load with the dilated one.
const FEMORA: &str = "\
A,manual,healthy,,femur,left,,done,,4000,1,0
A,automatic,healthy,,femur,left,,done,,4100,0.98,1
A,automatic+1,healthy,,femur,left,,done,,4200,0.95,2
B,manual,healthy,,femur,left,,done,,5000,1,0
B,automatic,healthy,,femur,left,,done,,4950,0.96,3
B,automatic+1,healthy,,femur,left,,done,,5100,0.95,2
C,manual,lesion,,femur,left,,done,,2000,1,0
C,automatic,lesion,,femur,left,,done,,2000,,
C,automatic+1,lesion,,femur,left,,done,,1900,0.95,2
D,manual,lesion,,femur,left,,done,,2500,1,0
D,automatic,lesion,,femur,left,,done,,2250,0.94,2
D,automatic+1,lesion,,femur,left,,no_answer,no maximum,,0.92,2
";

const VERTEBRAE: &str = "\
V,manual,,,vertebra,,L1,done,,3000,1,0
V,automatic,,,vertebra,,L1,done,,3300,0.9,4
";

fn compare_text(rows: &str, folder: &Path) -> anyhow::Result<Compared> {
    let results = folder.join("results.csv");
    std::fs::write(&results, format!("{HEADER}\n{rows}")).unwrap();
    compare(&CompareRequest {
        results,
        out: folder.join("out"),
        existing: Existing::Overwrite,
        device: Device::Cpu,
    })
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join("out").join(name)).unwrap()
}

fn statistics(folder: &Path) -> Value {
    serde_json::from_str(&read(folder, "statistics.json")).unwrap()
}

/// A number of the row of `table3.csv` that begins so.
fn cell(table: &str, row: &str, column: &str) -> Option<f64> {
    let header = table.lines().next().unwrap();
    let place = header.split(',').position(|name| name == column).unwrap();
    let line = table.lines().find(|line| line.starts_with(row)).unwrap();
    line.split(',').nth(place).unwrap().parse().ok()
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!(
        (found - expected).abs() < 1e-9,
        "{found} instead of {expected}"
    );
}

#[test]
fn table_3_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    compare_text(&format!("{FEMORA}{VERTEBRAE}"), dir.path()).unwrap();
    let table = read(dir.path(), "table3.csv");
    let automatic = |column: &str| cell(&table, "femur,all,,automatic,", column);
    // d is 100, -50, 0, -250 N. |d|: mean 100; deviations 0, -50, -100, 150; squares 35000; sd √(35000/3), se half of it.
    let sd = (35000.0_f64 / 3.0).sqrt();
    close(automatic("absolute_difference_mean_n"), 100.0);
    close(automatic("absolute_difference_sd_n"), sd);
    close(automatic("absolute_difference_se_n"), sd / 2.0);
    // |d| sorted 0, 50, 100, 250; d sorted -250, -50, 0, 100.
    close(automatic("absolute_difference_median_n"), 75.0);
    close(automatic("signed_difference_median_n"), -25.0);
    close(automatic("signed_difference_mean_n"), -50.0);
    close(automatic("signed_difference_mean_magnitude_n"), 50.0);
    // d is 2.5, -1, 0, -10 % of the manual load: mean -2.125, of |d| 3.375.
    close(automatic("absolute_difference_mean_percent"), 3.375);
    close(automatic("signed_difference_mean_percent"), -2.125);
    // Dice is known of A, B and D: 0.98, 0.96, 0.94, so mean 0.96 and sd 0.02.
    close(automatic("dice_mean"), 0.96);
    close(automatic("dice_sd"), 0.02);
    close(automatic("dice_cases"), 3.0);
    // The dilated masks: 200, 100, -100 N, and D is missing.
    let dilated = |column: &str| cell(&table, "femur,all,,automatic+1,", column);
    close(dilated("cases"), 3.0);
    close(dilated("cases_missing"), 1.0);
    close(dilated("absolute_difference_mean_n"), 400.0 / 3.0);
    // By group: 100 and -50 N of the healthy, one lesion with a dilated mask, which has no spread.
    let healthy = "femur,group,healthy,automatic,";
    close(cell(&table, healthy, "absolute_difference_mean_n"), 75.0);
    let lesion = "femur,group,lesion,automatic+1,";
    close(cell(&table, lesion, "absolute_difference_mean_n"), 100.0);
    assert_eq!(cell(&table, lesion, "absolute_difference_sd_n"), None);
    // The vertebra apart, also by its level; the manual mask has no difference.
    close(
        cell(
            &table,
            "vertebra,level,L1,automatic,",
            "absolute_difference_mean_percent",
        ),
        10.0,
    );
    assert_eq!(
        cell(&table, "femur,all,,manual,", "signed_difference_mean_n"),
        None
    );
    let markdown = read(dir.path(), "table3.md");
    assert!(
        markdown.contains("| mean of \\|d\\| (N) | 100 ± 108 | 133 ± 58 |"),
        "{markdown}"
    );
    assert!(markdown.contains("not standard errors"));
    assert!(
        read(dir.path(), "cases.csv")
            .contains("femur,D,lesion,,automatic,,0.94,2.0,2250.0,-250.0,-10.0")
    );
}

#[test]
fn friedman_leaves_out_whom_it_must_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    compare_text(FEMORA, dir.path()).unwrap();
    let found = statistics(dir.path());
    let friedman = &found["friedman"];
    assert_eq!(friedman["cases"], 3);
    assert_eq!(friedman["cases_left_out"], 1);
    assert_eq!(friedman["left_out"][0]["case"], "D");
    assert_eq!(
        friedman["left_out"][0]["missing"][0],
        "automatic+1 (no_answer)"
    );
    // x = np.array([[4000, 4100, 4200], [5000, 4950, 5100], [2000, 2000, 1900]]), columns manual, automatic, automatic+1
    // scipy 1.17.1: scipy.stats.friedmanchisquare(*x.T)
    // scikit-posthocs 0.17.1: scikit_posthocs.posthoc_siegel_friedman(x).to_numpy()[0]
    close(friedman["statistic"].as_f64(), 0.5454545454545455);
    close(friedman["p"].as_f64(), 0.7613003866968736);
    let dunn = found["dunn"].as_array().unwrap();
    let words: Vec<&str> = dunn
        .iter()
        .map(|d| d["variant"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["automatic", "automatic+1"]);
    close(dunn[1]["p"].as_f64(), 0.5402913746074196);
    // Three pairs in all, two with the manual masks; a probability ends at 1.
    close(dunn[1]["p_adjusted"].as_f64(), 1.0);
    close(dunn[1]["p_adjusted_manual"].as_f64(), 1.0);
    assert_eq!(found["bones"]["femur"]["friedman"], *friedman);
    let pairs = found["bones"]["femur"]["dunn_pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 3);
    assert_eq!(pairs[2]["p_adjusted_manual"], Value::Null);
}

#[test]
fn bonferroni_counts_all_pairs_or_those_with_the_manual_masks() {
    // Twelve cases in the same order of four masks: mean ranks 1, 2, 3, 4, standard error √(20/72).
    let rows: String = (0..12)
        .flat_map(|case| {
            let masks = ["manual", "automatic-1", "automatic", "automatic+1"];
            let line = move |(at, mask)| {
                format!(
                    "C{case},{mask},,,femur,,,done,,{},,\n",
                    3000 + 100 * at + case
                )
            };
            masks.into_iter().enumerate().map(line)
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    compare_text(&rows, dir.path()).unwrap();
    let found = statistics(dir.path());
    let value = |key: &str| found["dunn"][1][key].as_f64().unwrap();
    // automatic: z = 2/√(20/72); scipy.stats.norm.sf(z) * 2, times 6 pairs or 3 comparisons.
    assert!((value("z") - 3.794733192202055).abs() < 1e-9);
    for (key, times) in [("p", 1.0), ("p_adjusted", 6.0), ("p_adjusted_manual", 3.0)] {
        assert!(
            (value(key) / (times * 0.0001478023103344541) - 1.0).abs() < 1e-9,
            "{key}"
        );
    }
}

#[test]
fn every_group_has_its_own_test() {
    const HEALTHY: [[u32; 4]; 4] = [
        [6120, 5900, 6120, 6200],
        [4210, 4010, 4180, 4250],
        [7050, 6800, 7050, 7050],
        [5330, 5200, 5400, 5330],
    ];
    const LESION: [[u32; 4]; 2] = [[3980, 3700, 3900, 4100], [6500, 6500, 6450, 6610]];
    let loads = |group: &'static str, loads: &'static [[u32; 4]]| {
        loads.iter().flat_map(move |of_case| {
            let masks = ["manual", "automatic-1", "automatic", "automatic+1"];
            masks.into_iter().zip(of_case).map(move |(mask, load)| {
                format!(
                    "{group}{},{mask},{group},,femur,,,done,,{load},,\n",
                    of_case[0]
                )
            })
        })
    };
    let alone = "G,manual,,,femur,,,done,,4875,,\nG,automatic-1,,,femur,,,done,,4600,,\n";
    let table: String = loads("healthy", &HEALTHY)
        .chain(loads("lesion", &LESION))
        .chain([alone.to_owned()])
        .collect();
    let dir = tempfile::tempdir().unwrap();
    compare_text(&table, dir.path()).unwrap();
    let femur = &statistics(dir.path())["bones"]["femur"];
    assert_eq!(femur["friedman"]["cases"], 6);
    assert_eq!(femur["friedman"]["cases_left_out"], 1);
    // With x the loads of a group: scipy 1.17.1: scipy.stats.friedmanchisquare(*x.T); scikit-posthocs 0.17.1:
    // scikit_posthocs.posthoc_siegel_friedman(x).to_numpy()[0][1]
    let groups = femur["groups"].as_object().unwrap();
    assert_eq!(groups.len(), 2);
    for (group, cases, statistic, p, eroded) in [
        (
            "healthy",
            4,
            9.088235294117641,
            0.0281404641803781,
            0.05523425371806383,
        ),
        (
            "lesion",
            2,
            4.894736842105262,
            0.1796693058401405,
            0.4385780260809998,
        ),
    ] {
        let found = &groups[group];
        assert_eq!(found["cases"], cases);
        assert_eq!(found["friedman"]["cases_left_out"], 0);
        close(found["friedman"]["statistic"].as_f64(), statistic);
        close(found["friedman"]["p"].as_f64(), p);
        close(found["dunn"][0]["p"].as_f64(), eroded);
    }
}

#[test]
fn two_masks_have_no_friedman_test_but_everything_else() {
    let two: String = FEMORA
        .split_inclusive('\n')
        .filter(|line| !line.contains("+1"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let compared = compare_text(&two, dir.path()).unwrap();
    assert!(
        compared.summary[0].contains("three variants"),
        "{:?}",
        compared.summary
    );
    let found = statistics(dir.path());
    assert_eq!(found["friedman"]["statistic"], Value::Null);
    assert!(
        found["friedman"]["reason"]
            .as_str()
            .unwrap()
            .contains("three variants")
    );
    assert_eq!(found["dunn"], serde_json::json!([]));
    close(
        found["bones"]["femur"]["agreement"][0]["difference_n"]["mean"].as_f64(),
        -50.0,
    );
}

#[test]
fn bones_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    compare_text(&format!("{FEMORA}{VERTEBRAE}"), dir.path()).unwrap();
    let found = statistics(dir.path());
    assert_eq!(found["friedman"], Value::Null);
    assert_eq!(found["bones"]["femur"]["friedman"]["cases"], 3);
    assert_eq!(found["bones"]["vertebra"]["cases"], 1);
}

#[test]
fn several_operators_have_a_figure_and_their_agreement() {
    // The ratings of Shrout and Fleiss 1979, table 2, in hundreds of N: ICC(2,1) 0.29.
    let ratings = [
        [9, 2, 5, 8],
        [6, 1, 3, 2],
        [8, 4, 6, 8],
        [7, 1, 2, 6],
        [10, 5, 6, 9],
        [6, 2, 4, 7],
    ];
    let mut rows = String::new();
    for (case, row) in ratings.iter().enumerate() {
        for (operator, hundreds) in row.iter().enumerate() {
            rows += &format!(
                "C{case},manual,,O{operator},femur,,,done,,{}00,,\n",
                hundreds
            );
        }
        rows += &format!("C{case},automatic,,,femur,,,done,,500,,\n");
    }
    let dir = tempfile::tempdir().unwrap();
    compare_text(&rows, dir.path()).unwrap();
    let found = &statistics(dir.path())["bones"]["femur"]["operators"];
    let icc = found["intraclass_correlation"]["icc_2_1"].as_f64().unwrap();
    assert!((icc - 0.29).abs() < 0.005, "{icc}");
    assert_eq!(found["intraclass_correlation_cases"], 6);
    assert_eq!(found["pairwise_dice"], Value::Null);
    // C0: mean 600; the automatic 500 lies between 200 and 900.
    let other = &found["cases"][0]["others"][0];
    assert_eq!(other["within_operators"], true);
    close(other["difference_percent"].as_f64(), -100.0 / 6.0);
    assert!(read(dir.path(), "operators.svg").contains("range of the operators"));

    // Beside the table stand the masks pair by pair, also of a case that is no longer in it.
    let header = crate::cohort::OPERATORS_HEADER.join(",");
    let pairs = |figures: &str| {
        let text = format!("{header}\nC0,femur,,,O0,O1,0.9,4,\nC9,femur,,,O0,O1,{figures},\n");
        std::fs::write(dir.path().join("operators.csv"), text).unwrap();
        compare_text(&rows, dir.path())
    };
    pairs("0.1,90").unwrap();
    let found = &statistics(dir.path())["bones"]["femur"]["operators"];
    assert_eq!(
        (&found["pairs"], &found["pairwise_dice"]),
        (&1.into(), &0.9.into())
    );
    for (figures, named) in [
        ("NaN,1", "`NaN` under dice"),
        ("1.5,1", "`1.5` under dice"),
        ("0.5,inf", "`inf` under hausdorff_mm"),
        ("0.5,-1", "`-1` under hausdorff_mm"),
    ] {
        let ending = Ending::of(&pairs(figures).unwrap_err());
        assert_eq!(ending.status, 3, "{figures}");
        let error = &ending.error;
        assert!(
            error.contains("operators.csv") && error.contains(named),
            "{error}"
        );
        assert!(ending.help.is_some());
    }
}

#[test]
fn the_directory_of_the_table_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    std::fs::create_dir(&study).unwrap();
    let results = study.join("results.csv");
    std::fs::write(&results, format!("{HEADER}\n{FEMORA}")).unwrap();
    std::fs::write(study.join(PROVENANCE_FILE), "{}").unwrap();
    let error = compare(&CompareRequest {
        results: results.clone(),
        out: study,
        existing: Existing::Overwrite,
        device: Device::Cpu,
    })
    .unwrap_err();
    let ending = Ending::of(&error);
    assert_eq!(ending.status, 2);
    assert_eq!(ending.help.as_deref(), Some("choose another --out"));
    assert!(results.is_file());
}

#[test]
fn rows_without_a_load_or_a_bone_cost_the_others_nothing() {
    // As a cohort writes them: a linear run without a criterion, and rows that failed for their own words.
    let bad = "\
E,manual,,,femur,left,,done,,3000,1,0
E,automatic,,,femur,left,,done,,,0.9,2
E,automatic+1,,,femur,left,,done,,3100,0.9,2
F,manual,,,tibia,,,failed,`tibia` is no bone,,,
G,manual,,,,,,failed,no bone,,,
H,automatic,,,vertebra,,,done,,2000,,
";
    let dir = tempfile::tempdir().unwrap();
    let compared = compare_text(&format!("{FEMORA}{bad}"), dir.path()).unwrap();
    let found = statistics(dir.path());
    let left = &found["friedman"]["left_out"][1];
    assert_eq!(left["case"], "E");
    assert_eq!(
        left["missing"][0],
        "automatic (done without a failure load)"
    );
    let rows = found["rows_left_out"].as_array().unwrap();
    let cases: Vec<&str> = rows
        .iter()
        .map(|row| row["case"].as_str().unwrap())
        .collect();
    assert_eq!(cases, ["F", "G", "H"]);
    assert_eq!(rows[2]["variant"], "automatic");
    assert!(rows[2]["reason"].as_str().unwrap().contains("vertebra"));
    let note = compared.summary.last().unwrap();
    assert!(note.contains("rows left out: 3"), "{note}");
    assert_eq!(found["bones"].as_object().unwrap().len(), 1);
}

#[test]
fn many_groups_have_a_key_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |groups: usize| -> String {
        let row = |case: usize, mask: &str| {
            let group = case % groups;
            format!(
                "C{case},{mask},a group with a long name {group},,femur,,,done,,{}00,,\n",
                20 + case
            )
        };
        (0..12)
            .flat_map(|case| ["manual", "nnunet-2d"].map(|mask| row(case, mask)))
            .collect()
    };
    let height = |name: &str| -> u32 {
        let svg = read(dir.path(), name);
        let after = svg.split_once("height=\"").unwrap().1;
        after.split_once('"').unwrap().0.parse().unwrap()
    };
    let figures = [
        "figure2.svg",
        "bland_altman.svg",
        "scatter.svg",
        "sensitivity.svg",
    ];
    compare_text(&rows(1), dir.path()).unwrap();
    let low = figures.map(height);
    compare_text(&rows(12), dir.path()).unwrap();
    for (name, low) in figures.into_iter().zip(low) {
        assert!(height(name) > low + 100, "{name}");
    }
    // A name keeps its hyphen.
    assert!(read(dir.path(), "bland_altman.svg").contains("nnunet-2d, n = 12"));
}

#[test]
fn every_file_is_there_and_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "bland_altman.png",
        "bland_altman.svg",
        "cases.csv",
        "figure2.png",
        "figure2.svg",
        "plan.toml",
        "provenance.json",
        "scatter.png",
        "scatter.svg",
        "sensitivity.png",
        "sensitivity.svg",
        "statistics.json",
        "table3.csv",
        "table3.md",
    ];
    let all = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(folder.join("out"))
            .unwrap()
            .map(|entry| entry.unwrap());
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    compare_text(FEMORA, dir.path()).unwrap();
    let first = all(dir.path());
    assert_eq!(
        first
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        names
    );
    // The order of the rows says nothing.
    let reversed: Vec<&str> = FEMORA.lines().rev().collect();
    compare_text(&reversed.join("\n"), dir.path()).unwrap();
    for ((name, before), (_, after)) in first.iter().zip(all(dir.path())) {
        assert!(name == "provenance.json" || *before == after, "{name}");
    }
    let svg = read(dir.path(), "bland_altman.svg");
    assert!(svg.contains("difference from manual (N)") && svg.contains("mean ± 1.96 SD"));
    assert!(read(dir.path(), "scatter.svg").contains("R² ="));
    assert!(read(dir.path(), "figure2.svg").contains("failure load (kN)"));
    assert!(read(dir.path(), "sensitivity.svg").contains("dilation (+) (voxels)"));
}

#[test]
fn a_cohort_without_loads_still_has_its_files() {
    let rows = "A,manual,,,femur,,,failed,,,,\nA,automatic,,,femur,,,failed,,,,\n";
    let dir = tempfile::tempdir().unwrap();
    compare_text(rows, dir.path()).unwrap();
    let found = statistics(dir.path());
    assert_eq!(
        found["friedman"]["variants_left_out"],
        serde_json::json!(["manual", "automatic"])
    );
    assert!(read(dir.path(), "scatter.svg").contains("no case has a failure load"));
}

#[test]
fn a_table_without_manual_masks_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let error = compare_text("A,automatic,,,femur,,,done,,4000,,\n", dir.path()).unwrap_err();
    let ending = Ending::of(&error);
    assert_eq!(ending.status, 3);
    assert!(
        ending.error.contains("results.csv") && ending.error.contains("`manual`"),
        "{}",
        ending.error
    );
    assert!(!dir.path().join("out").exists());
}
