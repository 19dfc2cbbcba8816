//! Damaged protocols, plans, tables, curves, models and results are read or refused; nothing panics.
//!
//! How the attack works is told in the engine; `docs/robustness.md` has the figures. What these readers
//! read is written by this program, so most seeds are made here.

mod engine;

use std::path::{Path, PathBuf};

use calibration::CheckStatus;
use engine::{Target, of_file, targets};
use meshing::{Frame, HexMesh, NodeSet};
use nalgebra::{Matrix3, Vector3};
use osteoload::bone_model::ElementKind;
use osteoload::cli::read_cohort;
use osteoload::cohort::read_operators;
use osteoload::compare::rows;
use osteoload::export::{ExportRequest, Format, StoredMesh, StoredModel, export};
use osteoload::plan::{Basis, Bone, CalibrationSpec, Plan, Subject};
use osteoload::protocol::Protocol;
use osteoload::report::curve::{from_csv, to_csv};
use osteoload::report::html::{ReportRequest, report};
use osteoload::report::{CurvePoint, status_word};
use osteoload::train::AnyPlan;
use solver::{Device, Formulation, HardeningCurve, MaterialModel, Materials, Prescribed};

targets!(
    protocol: 4,
    plan: 6,
    train_plan: 5,
    cohort_table: 4,
    results_table: 4,
    operators_table: 4,
    curve: 8,
    model: 10,
    result: 10
);

/// A target whose input is the file `file` of a folder of its own.
fn target(
    name: &'static str,
    file: &str,
    words: &'static [&'static str],
    tries: u64,
    seeds: Vec<Vec<u8>>,
    read: impl Fn(&Path) -> anyhow::Result<String> + 'static,
) -> Target {
    Target {
        name,
        corpora: corpora(),
        seeds,
        words,
        tries,
        memory: (16 << 20, 1100),
        read: of_file(file, read),
    }
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Words of the TOML files.
const TOML: &[&str] = &[
    "[mesh]\n",
    "[[mesh]]\n",
    "[load]\n",
    "[origin]\n",
    "extends = \"sas2020-femur\"\n",
    "kind = \"tet10\"\n",
    "bone = \"vertebra\"\n",
    "format = 1\n",
    "\"mesh.kind\" = \"rule\"\n",
    "nan",
    "inf",
    "-0.0",
    "[]",
    "{}",
    "'''",
    "\"\"\"",
    "[[[[[[[[",
    "{a = {a = ",
    "1979-05-27",
    "\\u0000",
    "#",
];

fn protocol() -> Target {
    let seeds = osteoload::protocol::BUILT_IN
        .iter()
        .map(|(_, text)| text.as_bytes().to_vec());
    target("protocol", "x.toml", TOML, 2000, seeds.collect(), |path| {
        let path = path.display().to_string();
        let vertebra = Protocol::load(&path, Bone::Vertebra).is_ok();
        let found = Protocol::load(&path, Bone::Femur)?;
        Ok(format!(
            "{:?} vertebra {vertebra} {:?}",
            found.bones, found.settings.mesh.kind
        ))
    })
}

fn plan() -> Target {
    let density = CalibrationSpec::Density {
        basis: Basis::K2hpo4,
    };
    let seeds = [
        (Bone::Femur, "sas2020-femur"),
        (Bone::Vertebra, "saillard2024-vertebra"),
    ]
    .map(|(bone, name)| {
        let subject = Subject::new(bone, Some(density.clone()));
        let plan = Plan::resolve(&Protocol::built_in(name).unwrap(), subject, &[]).unwrap();
        plan.to_toml().into_bytes()
    });
    target("plan", "plan.toml", TOML, 2000, seeds.to_vec(), |path| {
        let plan = Plan::from_toml(&String::from_utf8_lossy(&std::fs::read(path)?))?;
        // What was read is written and read again as it was.
        assert_eq!(Plan::from_toml(&plan.to_toml()).unwrap(), plan);
        Ok(format!(
            "{} {:?}",
            plan.subject.bone, plan.settings.mesh.kind
        ))
    })
}

fn train_plan() -> Target {
    let words = &[
        "method = \"saillard-2d\"\n",
        "[data]\n",
        "features = []\n",
        "spacing_mm = nan\n",
        "-1",
        "[[[[[[",
        "inf",
        "[0, 0, 0]",
        "4294967296",
    ];
    let names = [
        "builtin-femur-coarse",
        "nnunet-3d_fullres",
        "saillard-2d",
        "hallyburton-triplanar-small",
    ];
    let seeds = names.map(|name| AnyPlan::load(name).unwrap().to_toml().unwrap().into_bytes());
    target(
        "train_plan",
        "x.toml",
        words,
        2000,
        seeds.to_vec(),
        |path| {
            let plan = AnyPlan::load(&path.display().to_string())?;
            plan.to_toml()?;
            Ok(format!("{:?}", std::mem::discriminant(&plan)))
        },
    )
}

/// Words of the tables.
const CSV: &[&str] = &[
    ",",
    ";",
    "\"",
    "\"\"",
    "\n",
    "\r\n",
    "\u{feff}",
    "nan",
    "inf",
    "-0",
    "1e999",
    "femur",
    "vertebra",
    "left",
    "L2",
    "manual+1",
    "manual-1mm",
    "done",
    "reference_mask",
    "morph",
    "../../x",
    "/",
    "..",
    "--overwrite",
    "=1+1",
    "mesh.kind=hex;",
    "\t",
];

fn cohort_table() -> Target {
    target(
        "cohort_table",
        "cohort.csv",
        CSV,
        3000,
        Vec::new(),
        |path| {
            let cases = read_cohort(path, Device::Cpu)?;
            for case in &cases {
                // The name of a case becomes that of a folder.
                let name = case.name();
                assert!(
                    !name.contains(['/', '\\', '\0']) && !name.starts_with('.') && !name.is_empty(),
                    "{name}"
                );
            }
            let run = cases.iter().filter(|case| case.request.is_ok()).count();
            Ok(format!(
                "{} cases, {} to run",
                cases.len().min(4),
                run.min(4)
            ))
        },
    )
}

fn results_table() -> Target {
    target(
        "results_table",
        "results.csv",
        CSV,
        3000,
        Vec::new(),
        |path| {
            let rows = rows::read(path)?;
            assert!(
                rows.iter()
                    .all(|row| row.failure_load_n.is_none_or(f64::is_finite))
            );
            let loads = rows
                .iter()
                .filter(|row| row.failure_load_n.is_some())
                .count();
            Ok(format!(
                "{} rows, {} loads",
                rows.len().min(4),
                loads.min(4)
            ))
        },
    )
}

fn operators_table() -> Target {
    target(
        "operators_table",
        "operators.csv",
        CSV,
        2000,
        Vec::new(),
        |path| Ok(format!("{} pairs", read_operators(path)?.len().min(4))),
    )
}

fn points() -> Vec<CurvePoint> {
    (1..=6)
        .map(|increment| CurvePoint {
            increment,
            displacement_mm: 0.3 * increment as f64,
            force_n: 1000.0 * (increment as f64).sqrt(),
            newton_iterations: 3,
            plastic_fraction: 0.1 * increment as f64,
        })
        .collect()
}

fn curve() -> Target {
    let seeds = vec![to_csv(&points()).unwrap()];
    target("curve", "curve.csv", CSV, 3000, seeds, |path| {
        let points = from_csv(&std::fs::read(path)?)?;
        let again = from_csv(&to_csv(&points)?)?;
        assert_eq!(points.len(), again.len());
        Ok(format!("{} points", points.len().min(8)))
    })
}

/// Two hexahedra side by side.
fn stored() -> StoredModel {
    let nodes_mm = (0..12)
        .map(|n| [n % 3, n / 3 % 2, n / 6].map(f64::from))
        .collect();
    let first = [0, 1, 4, 3, 6, 7, 10, 9];
    let held = |node, component, displacement_mm| Prescribed {
        node,
        component,
        displacement_mm,
    };
    StoredModel {
        mesh: StoredMesh::Hex8(HexMesh {
            nodes_mm,
            elements: vec![first, first.map(|node| node + 1)],
        }),
        frame: Frame {
            rotation: Matrix3::identity(),
            origin_mm: Vector3::new(1.0, 2.0, 3.0),
        },
        materials: Materials {
            youngs_modulus_mpa: vec![5000.0, 2500.0],
            poissons_ratio: vec![0.3, 0.4],
            curve: vec![0, Materials::ELASTIC],
            curves: vec![HardeningCurve::perfect(70.0).unwrap()],
        },
        kinds: vec![ElementKind::Bone, ElementKind::Cap],
        density_mg_cm3: vec![512.25, 0.0],
        sets: vec![
            NodeSet::new("loaded", vec![3, 1]),
            NodeSet::new("fixed", vec![0, 2]),
        ],
        prescribed: vec![held(0, 0, 0.0), held(0, 1, 0.0), held(1, 2, -0.1)],
        increments: 7,
        material_model: MaterialModel::J2,
        formulation: Formulation::BBar,
    }
}

fn model_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.vtu");
    stored().write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn model() -> Target {
    let words = &[
        "NumberOfPoints=\"0\"",
        "NumberOfCells=\"4294967295\"",
        "NumberOfTuples=\"1\"",
        "offset=\"0\"",
        "type=\"UInt8\"",
        "<Piece/>\n",
        "\0\0\0\0\0\0\0\0",
    ];
    target(
        "model",
        "model.vtu",
        words,
        2000,
        vec![model_bytes()],
        |path| {
            let model = StoredModel::read(path)?;
            for format in [Format::Inp, Format::Feb, Format::Stl] {
                let request = ExportRequest {
                    run: path.parent().unwrap().to_owned(),
                    format,
                    out: None,
                    bins: None,
                    overwrite: true,
                };
                // A model that was read is written, or refused for what it is.
                let _ = export(&request);
            }
            Ok(format!(
                "{:?} {:?} {} sets",
                model.material_model,
                model.formulation,
                model.sets.len().min(4)
            ))
        },
    )
}

/// The `result.json` of a run's directory, shown by its report.
fn result() -> Target {
    let words = &[
        "null",
        "[]",
        "{}",
        "-1",
        "1e999",
        "[[[[[[[[[[",
        "<osteoload-x>",
        "\\u0000",
        "\"checks\":[{}],",
    ];
    target("result", "result.json", words, 600, Vec::new(), |path| {
        let folder = path.parent().unwrap();
        std::fs::write(folder.join("curve.csv"), to_csv(&points())?)?;
        std::fs::write(folder.join("model.vtu"), model_bytes())?;
        let page = report(&ReportRequest {
            directory: folder.to_owned(),
            out: None,
            overwrite: true,
        })?;
        let page = std::fs::read_to_string(page)?;
        // What a file says stays text.
        assert!(!page.contains("<osteoload-x>"));
        let word = status_word(CheckStatus::Refuse);
        Ok(format!(
            "{} checks refused {}",
            page.contains(word),
            page.contains("failure load")
        ))
    })
}
