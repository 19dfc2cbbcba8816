//! Tests of the command line without running anything.

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::exit::Ending;
use crate::output_dir::Existing;
use crate::plan::{Bone, CalibrationSpec, LabelNames, Level, LevelChoice, MorphUnit, Side};
use crate::run::{DeckFormulation, RunRequest, SynthFormat};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn run_request(options: &str) -> anyhow::Result<RunRequest> {
    let cli =
        parse(&format!("osteoload run {options}")).map_err(|e| Failure::usage(e.to_string()))?;
    match &cli.command {
        Command::Run(args) => args.request(&cli.globals),
        other => panic!("{other:?}"),
    }
}

const FEMUR: &str =
    "--ct ct.nii.gz --bone femur --mask m.nii.gz --label 1 --calibration density --out o";

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_subcommand_has_help_with_units_and_defaults() {
    let mut command = Cli::command();
    command.build();
    for sub in command
        .get_subcommands_mut()
        .filter(|s| s.get_name() != "help")
    {
        assert!(sub.get_about().is_some(), "{}", sub.get_name());
        for argument in sub.get_arguments().filter(|a| a.get_id() != "help") {
            assert!(
                argument.get_help().is_some(),
                "{} {}",
                sub.get_name(),
                argument.get_id()
            );
        }
    }
    let help = parse("osteoload run -h").unwrap_err().to_string();
    for part in ["kg", "N", "mm", "[default: cpu]", "k2hpo4"] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn a_whole_run_is_read() {
    let request = run_request(
        "--ct ct.nii.gz --bone vertebra --level L2 --mask m.nii.gz --label 1,2,3,4 \
         --calibration density:k2hpo4 --protocol linear-compression --set mesh.kind=hex \
         --set load.cap_labels=5,6 --set mesh.voxel_mm=0 --set load.orientation=none \
         --set mask.smooth_sigma_mm=0 --set load.lateral=free_both --set load.displacement_mm=0.2 \
         --morph=-1.5 --morph-unit mm --body-weight-kg 70 --applied-load-n 2000 --accept side \
         --accept head --out out --overwrite",
    )
    .unwrap();
    let subject = &request.plan.subject;
    let level: Level = "L2".parse().unwrap();
    assert_eq!(subject.bone, Bone::Vertebra);
    assert_eq!(subject.level, Some(LevelChoice::One(level)));
    assert_eq!(subject.label, [1, 2, 3, 4]);
    assert_eq!(
        (subject.morph, subject.morph_unit),
        (-1.5, MorphUnit::Millimetre)
    );
    assert_eq!(
        (subject.body_weight_kg, subject.applied_load_n),
        (Some(70.0), Some(2000.0))
    );
    assert_eq!(subject.accept, ["side", "head"]);
    assert_eq!(request.plan.settings.load.cap_labels, [5, 6]);
    assert_eq!(request.plan.settings.load.displacement_percent, 0.0);
    assert_eq!(request.existing, Existing::Overwrite);
}

#[test]
fn standard_deviations_need_somebody_who_states_them() {
    const CASE: &str = "--ct c --bone femur --calibration line:1,0 --out o";
    let masked = format!("{CASE} --mask m --label 1");
    let subject = |options: &str| run_request(options).unwrap().plan.subject;
    let own = subject(&format!("{CASE} --morph 1.5 --morph-unit sd"));
    assert_eq!((own.morph, own.uncertainty), (1.5, None));
    let given = subject(&format!("{masked} --morph-unit sd --uncertainty u.nii.gz"));
    assert_eq!(given.morph_unit, MorphUnit::StandardDeviation);
    assert_eq!(given.uncertainty.as_deref(), Some("u.nii.gz"));
    for (options, part) in [
        (format!("{masked} --morph-unit sd"), "--uncertainty"),
        (format!("{masked} --uncertainty u"), "--morph-unit is voxel"),
        (
            format!("{CASE} --model folder --label 1 --morph-unit sd"),
            "does not state",
        ),
        (
            format!("{masked} --morph-unit sd --uncertainty u --morph-element ball"),
            "is sd",
        ),
        (format!("{CASE} --morph-unit sd --uncertainty u"), "--mask"),
    ] {
        let ending = Ending::of(&run_request(&options).unwrap_err());
        assert_eq!(ending.status, 2, "{options}");
        let all = format!("{} {}", ending.error, ending.help.unwrap_or_default());
        assert!(all.contains(part), "{options}: {all}");
    }
}

#[test]
fn a_level_brings_its_label() {
    const CASE: &str = "--ct c --bone vertebra --mask m --calibration density --out o --level";
    let subject = |options: &str| {
        let request = run_request(&format!("{CASE} {options}")).unwrap();
        request.plan.subject
    };
    assert_eq!(subject("L2").label, [21]);
    assert_eq!(subject("L2 --label 3").label, [3]);
    assert_eq!(subject("vertebrae_L2").level, subject("L2").level);
    let total = subject("L2 --label-names totalsegmentator");
    assert_eq!(total.label, [30]);
    assert_eq!(total.label_names, Some(LabelNames::TotalSegmentator));
    assert!(subject("all").label.is_empty());
    for (options, part) in [
        ("L6 --label-names totalsegmentator", "no label"),
        ("L2 --label-names totalseg", "totalsegmentator"),
        ("all --label 21", "leave one of them out"),
        (
            "all --protocol linear-compression --set load.cap_labels=5,6",
            "cap_labels",
        ),
    ] {
        let ending = Ending::of(&run_request(&format!("{CASE} {options}")).unwrap_err());
        assert_eq!(ending.status, 2, "{options}");
        let all = format!("{} {}", ending.error, ending.help.unwrap_or_default());
        assert!(all.contains(part), "{options}: {all}");
    }
    let case = "--ct c --bone vertebra --mask m --out o --level all";
    let ending = Ending::of(&mesh_request(case).unwrap_err());
    assert_eq!(ending.status, 2);
}

#[test]
fn a_plan_changes_the_label_it_took_from_its_level() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.toml");
    const CASE: &str = "--ct c --mask m --calibration density --out o";
    for (given, more, label) in [
        ("--level L2", "--level L3", vec![22]),
        ("--level L2", "--label-names totalsegmentator", vec![30]),
        ("--level L2", "", vec![21]),
        ("--label 1,2", "--level L3", vec![1, 2]),
    ] {
        let first = run_request(&format!("{CASE} --bone vertebra {given}")).unwrap();
        std::fs::write(&file, first.plan.to_toml()).unwrap();
        let again = run_request(&format!("{CASE} --plan {} {more}", file.display())).unwrap();
        assert_eq!(again.plan.subject.label, label, "{given} {more}");
    }
}

#[test]
fn the_bone_brings_its_protocol() {
    let request = run_request(&format!("{FEMUR} --side left")).unwrap();
    assert_eq!(request.plan.protocol, "saillard2024-femur");
    assert_eq!(request.plan.subject.side, Some(Side::Left));
    assert_eq!(request.existing, Existing::Refuse);
}

#[test]
fn wrong_lines_end_with_2_and_say_why() {
    for (options, part) in [
        ("--ct c --bone tibia", "femur"),
        ("--ct c --bone femur --out o", "--calibration"),
        ("--ct c --calibration density --out o", "--bone"),
        ("--bone femur --calibration density --out o", "--ct"),
        (
            "--ct c --bone femur --calibration density --mask m --label 1",
            "--out",
        ),
        (
            "--ct c --bone femur --calibration densty --out o",
            "forms are",
        ),
        (
            "--ct c --bone femur --calibration density --out o",
            "--mask",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --out o",
            "--label",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --label 0 --out o",
            "0",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --label 1 --set mesh.kind=tet10 --out o",
            "mesh.kind=hex",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --label 1 --out o --set a.b=1",
            "unknown key `a.b`",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --label 1 --out o --protocol linear-compression",
            "for the vertebra",
        ),
        (
            "--ct c --bone femur --calibration density --mask m --label 1 --out o --body-weight-kg heavy",
            "--body-weight-kg",
        ),
    ] {
        let ending = Ending::of(&run_request(options).unwrap_err());
        assert_eq!(ending.status, 2, "{options}");
        let all = format!("{} {}", ending.error, ending.help.unwrap_or_default());
        assert!(all.contains(part), "{options}: {all}");
    }
}

#[test]
fn a_plan_repeats_a_run_and_options_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.toml");
    let first = run_request(&format!("{FEMUR} --side right --set material.bins=64")).unwrap();
    std::fs::write(&file, first.plan.to_toml()).unwrap();
    let plan = file.display();
    let again = run_request(&format!("--plan {plan} --ct c --mask m --out o")).unwrap();
    assert_eq!(again.plan, first.plan);
    let changed = run_request(&format!(
        "--plan {plan} --ct c --mask m --label 2 --out o --side left --set material.bins=0"
    ))
    .unwrap();
    assert_eq!(changed.plan.subject.side, Some(Side::Left));
    assert_eq!(changed.plan.subject.label, [2]);
    assert_eq!(changed.plan.settings.material.bins, 0);

    let missing = run_request("--plan no/such.toml --ct c --mask m --label 1 --out o").unwrap_err();
    assert_eq!(Ending::of(&missing).status, 3);
    let bone = format!("--plan {plan} --bone vertebra --ct c --mask m --label 1 --out o");
    assert!(
        run_request(&bone)
            .unwrap_err()
            .to_string()
            .contains("contradicts")
    );
    let both = format!("--plan {plan} --protocol sas2020-femur --ct c --mask m --label 1 --out o");
    assert_eq!(Ending::of(&run_request(&both).unwrap_err()).status, 2);
}

#[test]
fn repair_is_part_of_the_plan() {
    let options = "--ct slices --bone femur --mask m.nii --label 1 --calibration density --out o";
    let plan = |more: &str| run_request(&format!("{options} {more}")).unwrap().plan;
    assert!(!plan("").subject.repair && !plan("").to_toml().contains("repair"));
    let repaired = plan("--repair");
    assert!(repaired.subject.repair);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.toml");
    std::fs::write(&file, repaired.to_toml()).unwrap();
    let again = format!("--plan {}", file.display());
    assert!(plan(&again).subject.repair);
    assert!(!plan(&format!("{again} --repair=false")).subject.repair);
}

#[test]
fn calibrations_reach_the_plan() {
    let with = |spec: &str| {
        let options = FEMUR.replace("density", spec);
        run_request(&options).unwrap().plan.subject.calibration
    };
    assert_eq!(
        with("file:c.json"),
        Some(CalibrationSpec::File("c.json".into()))
    );
    assert_eq!(
        with("phantom:qrm-bdc6"),
        Some(CalibrationSpec::Phantom("qrm-bdc6".into()))
    );
}

fn mesh_request(options: &str) -> anyhow::Result<RunRequest> {
    let cli = parse(&format!("osteoload mesh {options}")).unwrap();
    let Command::Mesh(args) = &cli.command else {
        panic!()
    };
    args.request(&cli.globals)
}

#[test]
fn a_mesh_is_calibrated_as_a_run_is() {
    const CASE: &str = "--ct c --bone femur --mask m --label 1 --out o";
    let request = mesh_request(&format!(
        "{CASE} --calibration phantom:mindways-model3-ct --rods rods.nii.gz --accept side"
    ))
    .unwrap();
    let subject = &request.plan.subject;
    assert!(subject.rods.is_some());
    assert_eq!(subject.accept, ["side"]);
    let ending = Ending::of(&mesh_request(CASE).unwrap_err());
    assert_eq!(ending.status, 2);
    assert!(ending.help.unwrap().contains("--calibration"));
}

#[test]
fn what_a_calibration_does_not_use_is_refused_before_the_scan_is_read() {
    for (options, part) in [
        ("density --rods r.nii.gz", "phantom"),
        ("internal --phantom-ct p.nii.gz", "phantom"),
        ("density --tissues t.nii.gz", "internal"),
        ("phantom:mindways-model3-ct --tissues t.nii.gz", "internal"),
    ] {
        let line =
            format!("--ct c --bone femur --mask m --label 1 --out o --calibration {options}");
        for request in [run_request(&line), mesh_request(&line)] {
            let ending = Ending::of(&request.unwrap_err());
            assert_eq!(ending.status, 2, "{options}");
            assert!(ending.help.unwrap().contains(part), "{options}");
        }
    }
}

#[test]
fn devices_are_checked() {
    for (device, part) in [
        ("cpu", ""),
        #[cfg(not(feature = "cuda"))]
        ("cuda", "CPU only"),
        #[cfg(not(feature = "cuda"))]
        ("cuda:1", "CPU only"),
        ("cuda:65535", "cuda:65535"),
        ("cuda:", "no such device"),
        ("tpu", "no such device"),
    ] {
        let cli = parse(&format!("osteoload doctor --device {device}")).unwrap();
        match cli.globals.device() {
            Ok(found) => assert_eq!(found.to_string(), device),
            Err(error) => {
                assert_eq!(Ending::of(&error).status, 2);
                assert!(error.to_string().contains(part), "{device}: {error}");
            }
        }
    }
    assert!(parse("osteoload doctor --threads 0").is_err());
    assert!(parse("osteoload doctor --quiet --verbose").is_err());
}

#[test]
fn the_demo_has_its_defaults() {
    let cli = parse("osteoload demo").unwrap();
    let Command::Demo(args) = &cli.command else {
        panic!()
    };
    let request = args.request(&cli.globals).unwrap();
    assert_eq!(request.bones, [Bone::Femur]);
    assert_eq!(request.out.to_str(), Some("osteoload-demo"));
    assert_eq!(request.existing, Existing::ReplaceMadeBy("osteoload demo"));
    let cli = parse("osteoload demo --bone both --out d").unwrap();
    let Command::Demo(args) = &cli.command else {
        panic!()
    };
    assert_eq!(args.request(&cli.globals).unwrap().bones.len(), 2);
}

#[test]
fn solve_and_synth_are_read() {
    let cli =
        parse("osteoload solve d.inp --out o --element-formulation bbar --no-fields").unwrap();
    let Command::Solve(args) = &cli.command else {
        panic!()
    };
    let request = args.request(&cli.globals).unwrap();
    assert_eq!(request.formulation, DeckFormulation::BBar);
    assert_eq!((request.tolerance, request.fields), (1e-8, false));
    let cli = parse("osteoload solve d.inp --out o --tolerance 0").unwrap();
    let Command::Solve(args) = &cli.command else {
        panic!()
    };
    assert!(args.request(&cli.globals).is_err());

    let cli =
        parse("osteoload synth hip --seed 7 --phantom none --format mha --lesion lytic --out o")
            .unwrap();
    let Command::Synth(args) = &cli.command else {
        panic!()
    };
    let request = args.request().unwrap();
    assert_eq!((request.seed, request.lytic_lesion), (7, true));
    assert_eq!(
        (request.phantom, request.format),
        (None, SynthFormat::MetaImage)
    );
    let cli =
        parse("osteoload synth femur --seed 7 --phantom none --format dicom --out o").unwrap();
    let Command::Synth(args) = &cli.command else {
        panic!()
    };
    assert_eq!(args.request().unwrap().format, SynthFormat::Dicom);
    let cli = parse("osteoload synth hip --seed 7 --phantom mindway --out o").unwrap();
    let Command::Synth(args) = &cli.command else {
        panic!()
    };
    assert_eq!(Ending::of(&args.request().unwrap_err()).status, 2);
}

#[test]
fn protocols_are_shown_as_they_stand() {
    let text = |line: &str| {
        let cli = parse(line).unwrap();
        let Command::Protocol(args) = &cli.command else {
            panic!()
        };
        args.text()
    };
    assert_eq!(text("osteoload protocol list").unwrap().lines().count(), 5);
    let shown = text("osteoload protocol show sas2020-femur").unwrap();
    assert_eq!(shown, include_str!("../../protocols/sas2020-femur.toml"));
    assert!(
        text("osteoload protocol keys")
            .unwrap()
            .contains("mesh.voxel_mm")
    );
    let error = text("osteoload protocol show saas2020-femur").unwrap_err();
    assert!(error.to_string().contains("did you mean `sas2020-femur`"));
}

/// A small CT with a left-handed grid and a NaN.
fn scan(directory: &std::path::Path) -> std::path::PathBuf {
    let grid = imaging::Grid::axis_aligned([4, 3, 2], [0.5, 0.75, 2.0]);
    let mut volume = imaging::Volume::from_fn(grid, |[i, j, k]| (i + 10 * j + 100 * k) as f32);
    volume.data[5] = f32::NAN;
    let path = directory.join("ct.nii.gz");
    imaging::write_volume(&path, &volume).unwrap();
    path
}

#[test]
fn info_says_what_an_image_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = scan(dir.path());
    let text = |json: &str| {
        let cli = parse(&format!("osteoload info {} {json}", path.display())).unwrap();
        let Command::Info(args) = &cli.command else {
            panic!()
        };
        args.text().unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&text("--json")).unwrap();
    assert_eq!(json["size"], serde_json::json!([4, 3, 2]));
    assert_eq!(json["spacing_mm"], serde_json::json!([0.5, 0.75, 2.0]));
    assert_eq!(json["axes"], "LPS");
    assert_eq!(
        (json["min"].as_f64(), json["max"].as_f64()),
        (Some(0.0), Some(123.0))
    );
    assert_eq!(json["not_finite"], 1);
    assert!(text("").contains("4x3x2 voxels"));
}

/// A small synthetic series of DICOM slices.
fn series(directory: &std::path::Path) -> std::path::PathBuf {
    let grid = imaging::Grid::axis_aligned([6, 5, 4], [0.5, 0.75, 2.0]);
    let values = (0..grid.len() as i16).collect();
    let image = imaging::Image::new(grid, imaging::Voxels::I16(values)).unwrap();
    let place = directory.join("slices");
    let facts = imaging::dicom::SliceFacts::synthetic(7);
    imaging::dicom::write_series(&place, &image, &facts).unwrap();
    place
}

#[test]
fn info_of_a_dicom_series_names_the_patient_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let place = series(dir.path());
    let text = |options: &str| {
        let cli = parse(&format!("osteoload info {} {options}", place.display())).unwrap();
        let Command::Info(args) = &cli.command else {
            panic!()
        };
        args.text().unwrap()
    };
    let plain = text("");
    for line in [
        "format     DICOM",
        "slices     4 in 4 files",
        "syntax     Explicit VR Little Endian",
        "voltage    120 kV",
        "kernel     SYNTHETIC",
        "thickness  2 mm",
    ] {
        assert!(plain.contains(line), "{plain}");
    }
    let json: serde_json::Value = serde_json::from_str(&text("--json")).unwrap();
    assert_eq!(json["size"], serde_json::json!([6, 5, 4]));
    assert_eq!(json["acquisition"]["tube_voltage_kv"], 120.0);
    assert_eq!(
        json["acquisition"]["contrast_agent"],
        serde_json::Value::Null
    );
    for options in ["", "--json"] {
        assert!(!text(options).contains("OsteoLoad^Synthetic"));
    }
    assert!(text("--patient").contains("patient    OsteoLoad^Synthetic"));
    let json: serde_json::Value = serde_json::from_str(&text("--json --patient")).unwrap();
    assert_eq!(json["patient"]["id"], "synthetic-7");
}

#[test]
fn how_a_scan_was_acquired_goes_to_the_provenance_without_the_patient() {
    let dir = tempfile::tempdir().unwrap();
    let place = series(dir.path());
    let ct = crate::ct::read(&place, false).unwrap();
    let mut provenance = crate::provenance::Provenance::of_this_process("run", solver::Device::Cpu);
    provenance.add_acquisition("ct", ct.acquisition.as_ref(), &ct.notes);
    provenance.add_input("ct", &place).unwrap();
    let text = provenance.to_json().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["acquisition"]["ct"]["kernel"], "SYNTHETIC");
    assert_eq!(json["acquisition"]["ct"]["slices"], 4);
    assert_eq!(json["inputs"][0]["files"], 4);
    assert!(!text.contains("OsteoLoad^Synthetic") && !text.contains("synthetic-7"));
    // A series that is named has the hash of its directory.
    let named = dir.path().join("slices#1");
    let of = |path| crate::provenance::fingerprint("ct", path).unwrap().sha256;
    assert_eq!(of(named.as_path()), of(place.as_path()));
    assert_eq!(crate::ct::repaired(&ct.repairs), None);
    let check = crate::ct::repaired(&["gantry tilt of 5.0°".into()]).unwrap();
    assert_eq!(check.reason, "gantry tilt of 5.0° (--repair)");
}

#[test]
fn convert_keeps_values_and_place_and_refuses_to_overwrite() {
    let dir = tempfile::tempdir().unwrap();
    let from = scan(dir.path());
    let to = dir.path().join("ct.nrrd");
    let convert = |more: &str| {
        let line = format!(
            "osteoload convert {} {} {more}",
            from.display(),
            to.display()
        );
        let cli = parse(&line).unwrap();
        let Command::Convert(args) = &cli.command else {
            panic!()
        };
        args.execute(&cli.globals)
    };
    convert("").unwrap();
    let (a, b) = (
        imaging::read_volume(&from).unwrap(),
        imaging::read_volume(&to).unwrap(),
    );
    a.grid.check_same(&b.grid).unwrap();
    let bits = |v: &imaging::Volume<f32>| v.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&a), bits(&b));
    assert_eq!(Ending::of(&convert("").unwrap_err()).status, 2);
    convert("--overwrite").unwrap();
}

#[test]
fn calibrate_writes_line_and_figure() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Two rods of a plain phantom, 100 and 800 mg/cm3, drawn at HU = 1.25 rho + 10.
    let grid = imaging::Grid::axis_aligned([60, 40, 12], [1.0, 1.0, 2.0]);
    let rod = |i: usize, j: usize| {
        let within = |ci: f64| (i as f64 - ci).hypot(j as f64 - 20.0) <= 9.0;
        if within(15.0) {
            1
        } else if within(45.0) {
            2
        } else {
            0u16
        }
    };
    let hu = [0.0, 135.0, 1010.0];
    let ct = imaging::Volume::from_fn(grid.clone(), |[i, j, _]| hu[usize::from(rod(i, j))] as f32);
    let labels = imaging::Volume::from_fn(grid, |[i, j, _]| rod(i, j));
    imaging::write_volume(&path("ct.nii.gz"), &ct).unwrap();
    imaging::write_volume(&path("rods.nii.gz"), &labels).unwrap();
    std::fs::write(
        path("phantom.toml"),
        "name = \"two\"\nbasis = \"ha\"\nsource = \"a test\"\n\
         [[rod]]\nname = \"A\"\nequivalent_mg_cm3 = 100.0\n\
         [[rod]]\nname = \"B\"\nequivalent_mg_cm3 = 800.0\n",
    )
    .unwrap();
    let calibrate = |more: &str| {
        let line = format!(
            "osteoload calibrate --quiet --ct {} --out {} {more}",
            path("ct.nii.gz").display(),
            path("calibration.json").display()
        );
        let cli = parse(&line).unwrap();
        let Command::Calibrate(args) = &cli.command else {
            panic!()
        };
        args.execute(&cli.globals)
    };
    let phantom = format!("--phantom {}", path("phantom.toml").display());
    let rods = format!("--rods {}", path("rods.nii.gz").display());

    // Two rods are not the five of another phantom, and no body: refused, not guessed.
    let ending = Ending::of(&calibrate("--phantom mindways-model3-ct").unwrap_err());
    assert_eq!(ending.status, 3, "{}", ending.error);
    assert!(ending.help.unwrap().contains("--rods"));
    assert_eq!(Ending::of(&calibrate("--internal").unwrap_err()).status, 3);

    // All the tissues drawn, nothing is looked for: the line through two of them is (HU - 135) 0.8 + 100.
    let tissues = labels.map(|label| [0u16, 1, 4][usize::from(*label)]);
    let [air, muscle] = [[30, 2], [30, 38]];
    let tissues = imaging::Volume::from_fn(tissues.grid.clone(), |[i, j, k]| {
        let near = |[x, y]: [usize; 2]| i.abs_diff(x) < 3 && j.abs_diff(y) < 2;
        match tissues.at(i, j, k) {
            0 if near(air) => 2,
            0 if near(muscle) => 5,
            label => label,
        }
    });
    imaging::write_volume(&path("tissues.nii.gz"), &tissues).unwrap();
    let drawn = format!("--tissues {}", path("tissues.nii.gz").display());
    calibrate(&format!(
        "--internal=adipose=100,cortical_bone=800 {drawn} --overwrite"
    ))
    .unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path("calibration.json")).unwrap()).unwrap();
    assert!((json["slope_mg_cm3_per_hu"].as_f64().unwrap() - 0.8).abs() < 1e-6);
    assert!((json["intercept_mg_cm3"].as_f64().unwrap() + 8.0).abs() < 1e-4);
    assert_eq!(json["method"], "two_point");
    for (how, status, said) in [
        ("=adipose=100,blood=800", 3, "blood is not among"),
        ("=without=adipose+air+muscle", 3, "at least 3"),
        ("=without=bone", 2, "tissues are adipose"),
    ] {
        let line = format!("--internal{how} {drawn} --overwrite");
        let ending = Ending::of(&calibrate(&line).unwrap_err());
        assert_eq!(ending.status, status, "{}", ending.error);
        assert!(ending.error.contains(said), "{}", ending.error);
    }

    let slope = || {
        let text = std::fs::read(path("calibration.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json["slope_mg_cm3_per_hu"].as_f64().unwrap()
    };
    calibrate(&format!("{phantom} --overwrite")).unwrap();
    assert!((slope() - 0.8).abs() < 1e-3, "found: {}", slope());
    calibrate(&format!("{phantom} {rods} --overwrite")).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path("calibration.json")).unwrap()).unwrap();
    // rho = (HU - 10) / 1.25 = 0.8 HU - 8
    assert!((json["slope_mg_cm3_per_hu"].as_f64().unwrap() - 0.8).abs() < 1e-6);
    assert!((json["intercept_mg_cm3"].as_f64().unwrap() + 8.0).abs() < 1e-4);
    assert!(json["slope_standard_error"].is_null());
    assert!(path("calibration.png").metadata().unwrap().len() > 5000);
    assert_eq!(
        Ending::of(&calibrate(&format!("{phantom} {rods}")).unwrap_err()).status,
        2
    );
}

#[test]
fn an_asked_for_failure_load_that_is_not_there_ends_with_5() {
    let request = run_request(FEMUR).unwrap();
    let result = |outcome, failure_load_n| crate::report::RunResult {
        outcome,
        failure_load_n,
        ..crate::report::example_result()
    };
    let plan = &request.plan;
    let answered = |outcome, load| crate::run::answered(plan, &[result(outcome, load)]);
    answered(crate::report::RunOutcome::PeakPassed, Some(5000.0)).unwrap();
    for outcome in [
        crate::report::RunOutcome::StillRising,
        crate::report::RunOutcome::StepTooSmall,
    ] {
        let ending = Ending::of(&answered(outcome, None).unwrap_err());
        assert_eq!(ending.status, 5);
    }
    let linear = plan
        .clone()
        .with(&["material.model=linear".parse().unwrap()])
        .unwrap();
    let results = [result(crate::report::RunOutcome::Linear, None)];
    crate::run::answered(&linear, &results).unwrap();
}
