//! The page of a directory made by hand: eight voxels that are pressed.

use std::path::Path;
use std::process::Command;

use imaging::{Grid, Volume};
use meshing::HexMesh;
use meshing::mesh::HEX_CORNERS;
use meshing::vtu::{Field, Values, Vtu, write_pvd};

use super::*;
use crate::output_dir::{Existing, OutputDir};
use crate::provenance::Provenance;
use crate::report::tests::{curve, plan};
use crate::report::{RunResult, example_result, write_run};

/// Two by two by two cubes of 1 mm.
fn cubes() -> HexMesh {
    let node = |[i, j, k]: [usize; 3]| (i + 3 * j + 9 * k) as u32;
    let places = |count: usize| {
        (0..count.pow(3)).map(move |n| [n % count, n / count % count, n / count / count])
    };
    HexMesh {
        nodes_mm: places(3).map(|place| place.map(|x| x as f64)).collect(),
        elements: places(2)
            .map(|cell| {
                HEX_CORNERS.map(|corner| node(std::array::from_fn(|a| cell[a] + corner[a])))
            })
            .collect(),
    }
}

/// A run's directory, with two states of the cubes.
fn fill(directory: &Path, result: &RunResult) {
    let out = OutputDir::begin(directory, Existing::Overwrite).unwrap();
    let mut provenance = Provenance::of_this_process("run", solver::Device::Cpu);
    provenance.date_utc = "2001-02-03T04:05:06Z".into();
    provenance
        .weights
        .insert("a <net>".into(), "0123abcd".into());
    write_run(&out, result, &curve(), &plan(), &provenance).unwrap();

    let mesh = cubes();
    let nodes = mesh.nodes_mm.len();
    let top = |node: usize| node >= 18;
    let components: Vec<u8> = (0..nodes)
        .map(|n| if n < 9 || top(n) { 4 } else { 0 })
        .collect();
    let motion: Vec<f64> = (0..nodes)
        .flat_map(|n| [0.0, 0.0, if top(n) { -1.0 } else { 0.0 }])
        .collect();
    let density = [300.0; 8];
    let model = Vtu {
        mesh: &mesh,
        frame: None,
        point_data: vec![
            Field::scalar("prescribed_components", Values::U8(&components)),
            Field::vector("prescribed_mm", &motion),
        ],
        cell_data: vec![
            Field::scalar("density_mg_cm3", Values::F64(&density)),
            Field::scalar("kind", Values::I32(&[0; 8])),
        ],
    };
    let rotation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let bytes = model.to_bytes_with(&[
        Field::array("frame_rotation", 9, Values::F64(&rotation)),
        Field::array("frame_origin_mm", 3, Values::F64(&[2.0, 2.0, 2.0])),
    ]);
    std::fs::write(out.join("model.vtu"), bytes.unwrap()).unwrap();
    let mut steps = Vec::new();
    for (number, at_mm) in [(1, 0.5), (2, 1.0)] {
        let moved: Vec<f64> = motion.iter().map(|u| 0.1 * at_mm * u).collect();
        let strain = [0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.02, 0.0].map(|e| e * number as f32);
        let name = format!("fields_{number:03}.vtu");
        Vtu {
            mesh: &mesh,
            frame: None,
            point_data: vec![Field::vector("displacement_mm", &moved)],
            cell_data: vec![Field::scalar(
                "equivalent_plastic_strain",
                Values::F32(&strain),
            )],
        }
        .write(&out.join(&name))
        .unwrap();
        steps.push((at_mm, name));
    }
    write_pvd(&out.join("fields.pvd"), &steps).unwrap();

    let grid = Grid::axis_aligned([6, 6, 6], [1.0, 1.0, 1.0]);
    let inside = |v: usize| (2..4).contains(&v);
    let mask = Volume::from_fn(grid.clone(), |voxel| {
        u16::from(voxel.iter().all(|v| inside(*v)))
    });
    imaging::write_volume(&out.join("mask.nii.gz"), &mask).unwrap();
    let density = mask.map(|label| 300.0 * f32::from(*label));
    imaging::write_volume(&out.join("density.nii.gz"), &density).unwrap();
    out.finish().unwrap();
}

fn example(directory: &Path) -> String {
    fill(directory, &example_result());
    page_of(directory).unwrap()
}

#[test]
fn the_page_holds_every_section_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut result = example_result();
    result.checks[0].reason = "<script>alert('x')</script>".into();
    fill(&run, &result);
    let html = page_of(&run).unwrap();
    for id in [
        "curve",
        "checks",
        "scan",
        "view",
        "risk",
        "calibration",
        "mesh",
        "settings",
        "provenance",
    ] {
        assert!(html.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    let load = format!("{:.0} N", result.failure_load_n.unwrap());
    assert!(html.contains(&format!("<p class=\"answer\">{load}")));
    assert!(html.contains("left femur") && html.contains("! review"));
    assert!(html.contains("Not a medical device"));
    assert!(
        html.contains("material.law") && html.contains("defaults are those of saillard2024-femur")
    );
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)") && html.contains("a &lt;net&gt;"));
    assert!(!html.contains("<script>alert") && !html.contains("Not shown"));
    // Neither dates nor the network.
    assert!(!html.contains("2001-02-03"));
    for attribute in ["src=\"", "href=\""] {
        for (_, value) in html
            .match_indices(attribute)
            .map(|(at, found)| html[at..].split_at(found.len()))
        {
            assert!(
                value.starts_with("data:") || value.starts_with('#'),
                "{}",
                &value[..40]
            );
        }
    }
    for word in ["@import", "url(", "fetch(", "XMLHttpRequest", "<link"] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn the_same_files_give_the_same_page() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let first = example(&run);
    let place = report(&ReportRequest {
        directory: run.clone(),
        out: None,
        overwrite: false,
    })
    .unwrap();
    assert_eq!(std::fs::read_to_string(place).unwrap(), first);
    // In its own place it is made again; elsewhere nothing is written over.
    let again = |out: Option<PathBuf>| {
        report(&ReportRequest {
            directory: run.clone(),
            out,
            overwrite: false,
        })
    };
    let place = again(None).unwrap();
    assert_eq!(std::fs::read_to_string(&place).unwrap(), first);
    let ending = crate::exit::Ending::of(&again(Some(place)).unwrap_err());
    assert_eq!(ending.status, 2);
}

#[test]
fn what_is_missing_is_said_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut result = example_result();
    result.failure_load_n = None;
    result.failure_displacement_mm = None;
    result.outcome = crate::report::RunOutcome::StillRising;
    fill(&run, &result);
    std::fs::write(run.join("model.vtu"), "damaged").unwrap();
    std::fs::remove_file(run.join("mask.nii.gz")).unwrap();
    let html = page_of(&run).unwrap();
    assert!(html.contains("No failure load") && html.contains("still rising"));
    assert_eq!(html.matches("Not shown").count(), 2);

    // Neither the directory's name nor its place is in the page.
    let moved = dir.path().join("moved");
    std::fs::rename(&run, &moved).unwrap();
    assert_eq!(page_of(&moved).unwrap(), html);
    assert!(!html.contains(&dir.path().display().to_string()));
    assert!(html.contains("Not shown: mask.nii.gz"));

    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    let ending = crate::exit::Ending::of(&page_of(&nothing).unwrap_err());
    assert_eq!(ending.status, 3);
}

#[test]
fn only_the_result_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fill(&run, &example_result());
    std::fs::write(run.join("plan.toml"), "not = = a plan").unwrap();
    std::fs::write(run.join("curve.csv"), "increment\n1\n").unwrap();
    std::fs::remove_file(run.join(PROVENANCE_FILE)).unwrap();
    std::fs::write(run.join("sweep.csv"), "morph,unit\n1\n").unwrap();
    let html = page_of(&run).unwrap();
    for reason in [
        "Not shown: plan.toml",
        "Not shown: the forces of the increments: curve.csv",
        "Not shown: provenance.json",
        "Not shown: sweep.csv",
    ] {
        assert!(html.contains(reason), "{reason}");
    }
    // The bone is drawn all the same, without forces.
    assert!(scene(&html)["frames"][0]["force_n"].is_null());
    assert!(html.contains("failure load") && html.contains("2 increments"));
    assert!(html.contains("not known without plan.toml"));

    std::fs::write(run.join("result.json"), "{").unwrap();
    let ending = crate::exit::Ending::of(&page_of(&run).unwrap_err());
    assert_eq!(ending.status, 3);
    assert!(ending.error.contains("result.json"), "{}", ending.error);
    assert_eq!(
        ending.help.as_deref(),
        Some("repeat the run, or restore the file")
    );
}

/// What the page tells its 3D view.
fn scene(html: &str) -> Value {
    let (_, after) = html
        .split_once("<script type=\"application/json\" id=\"scene\">")
        .unwrap();
    serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn every_state_has_the_force_of_its_increment() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let head = scene(&example(&run));
    let text = std::fs::read_to_string(run.join("curve.csv")).unwrap();
    let frames = head["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 2);
    // The states lie at 0.5 and 1 mm, the increments 0.05 mm apart.
    for (frame, increment) in frames.iter().zip([10, 20]) {
        let line: Vec<f64> = text
            .lines()
            .nth(increment)
            .unwrap()
            .split(',')
            .map(|cell| cell.parse().unwrap())
            .collect();
        assert_eq!(frame["increment"], increment);
        let at_mm = frame["displacement_mm"].as_f64().unwrap();
        assert!(
            (at_mm - line[1]).abs() < 1e-9,
            "{at_mm} instead of {}",
            line[1]
        );
        assert_eq!(frame["force_n"].as_f64(), Some(line[2]));
    }
    assert_eq!(
        head["failure_mm"].as_f64(),
        example_result().failure_displacement_mm
    );
    // The top of the cubes moves by a tenth of that.
    let step = head["displacement_mm"].as_f64().unwrap();
    assert!((2047.0 * step - 0.1).abs() < 1e-12, "{step}");
}

#[test]
fn a_cohort_is_a_table_whose_names_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let text = "case,variant,group,operator,bone,side,level,status,failure_load_n,reason\n\
                0012345678,manual,2024000001,123456789.5,femur,left,,done,4321.987654321,\n";
    std::fs::write(dir.path().join("results.csv"), text).unwrap();
    let html = page_of(dir.path()).unwrap();
    for cell in [
        "0012345678",
        "2024000001",
        "123456789.5",
        "femur",
        "left",
        "4322",
    ] {
        assert!(html.contains(&format!("<td>{cell}</td>")), "{cell}");
    }
    assert!(
        html.contains("Analyses: 1 (1 done)."),
        "no count of statuses"
    );
    // The table of `run --level all` has other columns.
    let text = "level,label,status,failure_load_n,outcome,reason\nL1,20,done,4000,linear,\n";
    std::fs::write(dir.path().join("results.csv"), text).unwrap();
    let html = page_of(dir.path()).unwrap();
    assert!(html.contains("<th>label</th>") && html.contains("<td>20</td>"));
    assert!(!html.contains("<th>case</th>") && !html.contains("Masks compared"));
}

#[test]
fn a_cohort_shows_its_masks_compared() {
    let dir = tempfile::tempdir().unwrap();
    let text = "case,variant,bone,status,failure_load_n,dice\n\
                a,manual,femur,done,4000,\na,automatic,femur,done,4200,0.98\n\
                b,manual,femur,done,5000,\nb,automatic,femur,done,4500,0.96\n\
                c,manual,femur,refused,,\n";
    std::fs::write(dir.path().join("results.csv"), text).unwrap();
    let html = page_of(dir.path()).unwrap();
    // +5 and -10 %: mean of |d| 7.5, SD 3.54; mean of d -2.5, SD 10.61.
    for words in [
        "Analyses: 5 (4 done, 1 refused).",
        "<td>0.970 ± 0.014</td>",
        "<td>350 ± 212</td>",
        "<td>7.50 ± 3.54</td>",
        "<td>-2.50 ± 10.61</td>",
        "alt=\"figure2\"",
        "alt=\"bland_altman\"",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn a_sweep_is_a_table_with_its_figure() {
    let dir = tempfile::tempdir().unwrap();
    let text = "morph,unit,change_percent\n-1,voxel,-3.1415926535\n";
    std::fs::write(dir.path().join("sweep.csv"), text).unwrap();
    std::fs::write(dir.path().join("sweep.svg"), "<svg/>").unwrap();
    let html = page_of(dir.path()).unwrap();
    assert!(html.contains("<td>-3.1416</td>") && html.contains("alt=\"sweep.svg\""));
}

/// Opens the page in a browser, where there is one, and asks what its 3D view has drawn.
#[test]
fn a_browser_draws_the_bone() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let html = example(&run);
    let file = dir.path().join("report.html");
    std::fs::write(&file, html).unwrap();
    let profile = dir.path().join("profile");
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let opened = names.iter().find_map(|name| {
        Command::new(name)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
            ])
            .args(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
            .arg("--virtual-time-budget=20000")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}", file.display()))
            .output()
            .ok()
    });
    let Some(output) = opened else {
        eprintln!(
            "the 3D view was not looked at: there is no {} on PATH",
            names.join(", no ")
        );
        return;
    };
    let page = String::from_utf8_lossy(&output.stdout);
    let said = |name: &str| {
        let (_, after) = page.split_once(&format!(" data-{name}=\""))?;
        after.split_once('"').map(|(value, _)| value.to_owned())
    };
    assert_eq!(said("viewer").as_deref(), Some("ready"), "{output:?}");
    // Four squares on each of six sides, two triangles each.
    assert_eq!(said("triangles").as_deref(), Some("48"));
    assert!(said("painted").unwrap().parse::<usize>().unwrap() > 1000);
}
