//! Tests of the plan as a whole.

use super::*;
use crate::exit::Ending;
use crate::protocol::BUILT_IN;

fn femur() -> Subject {
    Subject::new(
        Bone::Femur,
        Some(CalibrationSpec::Density {
            basis: Basis::K2hpo4,
        }),
    )
}

fn vertebra() -> Subject {
    Subject {
        bone: Bone::Vertebra,
        ..femur()
    }
}

fn plan(protocol: &str, set: &[&str]) -> anyhow::Result<Plan> {
    let protocol = Protocol::built_in(protocol)?;
    let subject = match protocol.bones[0] {
        Bone::Femur => femur(),
        Bone::Vertebra => vertebra(),
    };
    let set: Vec<Assignment> = set.iter().map(|text| text.parse().unwrap()).collect();
    Plan::resolve(&protocol, subject, &set)
}

fn error(protocol: &str, set: &[&str]) -> Ending {
    Ending::of(&plan(protocol, set).unwrap_err())
}

#[test]
fn every_built_in_protocol_resolves_and_comes_back_from_its_plan() {
    for (name, _) in BUILT_IN {
        let plan = plan(name, &[]).unwrap();
        assert_eq!(plan.protocol, *name);
        assert!(
            KEYS.iter()
                .all(|key| *plan.origin(key.name) == Origin::Default)
        );
        let text = plan.to_toml();
        let back = Plan::from_toml(&text).unwrap();
        assert_eq!(back, plan);
        assert_eq!(back.to_toml(), text);
    }
}

#[test]
fn the_default_protocols_are_those_of_the_bones() {
    for bone in [Bone::Femur, Bone::Vertebra] {
        let protocol = Protocol::built_in(Protocol::default_name(bone)).unwrap();
        assert_eq!(protocol.bones, [bone]);
    }
}

#[test]
fn every_value_of_a_protocol_names_its_source() {
    for (name, text) in BUILT_IN {
        for line in text.lines().skip_while(|line| !line.starts_with('[')) {
            if line.contains('=') {
                let comment = line.split_once('#').map_or("", |(_, comment)| comment);
                assert!(comment.trim().len() >= 3, "{name}: {line}");
            }
        }
    }
}

#[test]
fn a_reason_of_several_lines_stays_in_its_comment() {
    let mut plan = plan("saillard2024-femur", &[]).unwrap();
    let reason = "one\nmesh.voxel_mm = 9\r\u{7}two";
    assert!(plan.set_by_rule("mesh.voxel_mm", 2.0, reason).unwrap());
    plan.protocol = "my\rown.toml".into();
    let back = Plan::from_toml(&plan.to_toml()).unwrap();
    assert_eq!(back, plan);
}

#[test]
fn a_full_plan_comes_back_with_every_origin() {
    let mut plan = plan(
        "linear-compression",
        &[
            "load.cap_labels=5,6",
            "mesh.voxel_mm=0",
            "load.orientation=none",
            "load.displacement_mm=0.2",
            "load.lateral=free_both",
            "material.coefficients=[2980, 1.05, 0.0]",
        ],
    )
    .unwrap();
    plan.subject.label = vec![1, 2, 3, 4];
    plan.subject.level = Some("l2".parse().unwrap());
    plan.subject.body_weight_kg = Some(70.5);
    plan.subject.morph = -1.0;
    plan.subject.rods = Some("rods.toml".parse().unwrap());
    plan.subject.accept = vec!["mask \"border\"".into()];
    assert!(
        plan.set_by_rule("mesh.interpolation", "linear", "a \"quoted\" reason")
            .unwrap()
    );
    assert!(!plan.set_by_rule("mesh.voxel_mm", 2.0, "x").unwrap());

    assert_eq!(plan.settings.load.displacement_mm, 0.2);
    assert_eq!(plan.settings.load.displacement_percent, 0.0);
    assert_eq!(
        *plan.origin("load.displacement_percent"),
        Origin::Rule("load.displacement_mm was given".into())
    );
    assert_eq!(plan.settings.load.cap_labels, [5, 6]);
    assert_eq!(plan.settings.material.coefficients, [2980.0, 1.05, 0.0]);
    let text = plan.to_toml();
    assert!(text.contains("cap_labels = [5, 6] # given\n"), "{text}");
    assert!(text.contains("law = \"kopperdahl2002_power\" # default of linear-compression\n"));
    let back = Plan::from_toml(&text).unwrap();
    assert_eq!(back, plan);
    assert_eq!(back.to_toml(), text);
}

#[test]
fn what_is_edited_in_a_plan_counts_as_given() {
    let text = plan("saillard2024-femur", &[]).unwrap().to_toml();
    let edited = text.replace("poissons_ratio = 0.3 ", "poissons_ratio = 0.4 ");
    assert_ne!(text, edited);
    let plan = Plan::from_toml(&edited).unwrap();
    // Both Poisson's ratios (bone and cap) were edited.
    assert_eq!(plan.settings.material.poissons_ratio, 0.4);
    assert!(plan.is_given("material.poissons_ratio"));
    assert!(!plan.is_given("material.model"));
}

#[test]
fn a_wrong_plan_is_refused_by_name() {
    let good = plan("saillard2024-femur", &[]).unwrap().to_toml();
    for (from, to, part) in [
        ("\nformat = 1\n", "\nformat = 9\n", "format is 9"),
        ("\nvoxel_mm = 1.0", "\nvoxle_mm = 1.0", "mesh.voxel_mm"),
        ("\nvoxel_mm = 1.0", "\nvoxel_mm = \"big\"", "mesh.voxel_mm"),
        ("\nvoxel_mm = 1.0", "\n# gone", "`mesh.voxel_mm` is missing"),
        ("\nvoxel_mm = 1.0", "\nvoxel_mm = ", "line "),
        ("bone = \"femur\"", "bone = \"tibia\"", "tibia"),
    ] {
        assert!(good.contains(from), "{from}");
        let ending = Ending::of(&Plan::from_toml(&good.replace(from, to)).unwrap_err());
        assert_eq!(ending.status, 2, "{to}");
        assert!(ending.error.contains(part), "{to}: {}", ending.error);
    }
}

#[test]
fn wrong_assignments_say_what_would_be_right() {
    for (text, parts) in [
        ("mesh.voxel_mm", &["key=value"][..]),
        (
            "mesh.voxle_mm=1",
            &["did you mean `mesh.voxel_mm`", "failure.criterion"],
        ),
        ("voxel_mm=1", &["did you mean `mesh.voxel_mm`"]),
        ("mesh.kind=hx", &["hex, tet10", "did you mean `hex`"]),
        (
            "mesh.voxel_mm=big",
            &["`big` is not a number", "from 0 to 10"],
        ),
        ("mesh.voxel_mm=-1", &["out of range"]),
        ("material.bins=1.5", &["whole number"]),
        ("load.cap_labels=5,0", &["`0` is not a label"]),
        ("load.orientation=matrix:1,2,3", &["nine numbers"]),
        (
            "load.orientation=matrix:1,0,0,0,1,0,0,0,-1",
            &["determinant"],
        ),
        (
            "load.orientation=matrix:2,0,0,0,1,0,0,0,1",
            &["orthonormal"],
        ),
        ("load.direction=vector:0,0,0", &["no length"]),
        ("load.direction=shafts", &["did you mean `shaft`"]),
    ] {
        let error = text.parse::<Assignment>().unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

#[test]
fn orientation_and_direction_are_read() {
    let plan = plan(
        "linear-sideways-fall",
        &["load.orientation=matrix:0,1,0,-1,0,0,0,0,1"],
    )
    .unwrap();
    assert_eq!(
        plan.settings.load.orientation,
        Orientation::Matrix([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    );
    let direction: Direction = "vector:0,3,-4".parse().unwrap();
    assert_eq!(direction, Direction::Vector([0.0, 0.6, -0.8]));
    assert_eq!(
        direction.to_string().parse::<Direction>().unwrap(),
        direction
    );
}

#[test]
fn levels_have_verse_numbers() {
    for (name, label) in [
        ("C1", 1),
        ("C7", 7),
        ("T1", 8),
        ("t12", 19),
        ("T13", 28),
        ("L1", 20),
        ("L5", 24),
        ("L6", 25),
    ] {
        assert_eq!(
            name.parse::<Level>().unwrap().verse_label(),
            label,
            "{name}"
        );
    }
    for name in ["", "L", "L0", "L7", "T14", "C8", "S1", "L+1", "L01", "é1"] {
        assert!(name.parse::<Level>().is_err(), "{name}");
    }
}

#[test]
fn a_linear_model_loses_what_it_cannot_have() {
    let plan = plan("saillard2024-femur", &["material.model=linear"]).unwrap();
    assert_eq!(plan.settings.failure.criterion, Criterion::None);
    assert_eq!(plan.settings.material.softening, Softening::Off);
    assert!(matches!(plan.origin("failure.criterion"), Origin::Rule(_)));
    assert!(
        plan.to_toml()
            .contains("criterion = \"none\" # rule: a linear model has no maximum force")
    );
}

#[test]
fn contradictions_are_refused() {
    for (protocol, set, part) in [
        (
            "saillard2024-femur",
            &["load.displacement_mm=3", "load.displacement_percent=2"][..],
            "both set",
        ),
        (
            "saillard2024-femur",
            &["load.displacement_mm=0"],
            "no displacement",
        ),
        (
            "saillard2024-femur",
            &["load.case=platen_compression"],
            "not for a femur",
        ),
        (
            "saillard2024-femur",
            &["load.direction=endplates"],
            "does not go with",
        ),
        (
            "saillard2024-femur",
            &["failure.criterion=pistoia"],
            "Pistoia",
        ),
        (
            "saillard2024-femur",
            &["failure.criterion=height_reduction"],
            "height of a femur",
        ),
        (
            "saillard2024-femur",
            &["material.model=linear", "failure.criterion=maximum_force"],
            "no maximum force",
        ),
        (
            "saillard2024-femur",
            &["material.strength_law=none"],
            "needs a strength law",
        ),
        (
            "saillard2024-femur",
            &["material.bin_offset=1"],
            "material.bins is 0",
        ),
        (
            "saillard2024-femur",
            &["material.softening=element_size", "mesh.voxel_mm=6"],
            "6 mm",
        ),
        (
            "saillard2024-femur",
            &["load.orientation=anatomical", "mesh.voxel_mm=0"],
            "mesh.voxel_mm is 0",
        ),
        (
            "saillard2024-femur",
            &["mesh.kind=tet10", "material.model=secant"],
            "hexahedra",
        ),
        (
            "saillard2024-femur",
            &[
                "material.softening=element_size",
                "mesh.kind=tet10",
                "mesh.tet_volume_mm3=1000",
            ],
            "10 mm",
        ),
        (
            "linear-compression",
            &["load.endplates=image_edge"],
            "endplate_compression",
        ),
        (
            "linear-compression",
            &["material.model=j2"],
            "needs a strength law",
        ),
        ("linear-compression", &["load.angle_deg=5"], "angle_deg"),
        (
            "linear-compression",
            &["material.law=keyak205"],
            "did you mean `keyak2005`",
        ),
        (
            "linear-compression",
            &["material.law=user"],
            "needs coefficients",
        ),
        (
            "linear-compression",
            &["material.strength_law=kopper"],
            "kopperdahl2002_power",
        ),
        (
            "linear-compression",
            &["material.coefficients=1,2,3,4"],
            "material.coefficients",
        ),
        (
            "saillard2024-femur",
            &["density.conversion=keyak94"],
            "did you mean `keyak1994`",
        ),
        (
            "saillard2024-vertebra",
            &["material.softening=fixed_3mm"],
            "no softening branch",
        ),
        (
            "saillard2024-vertebra",
            &["load.displacement_percent=1.5"],
            "1.5 %",
        ),
        (
            "saillard2024-vertebra",
            &["load.cap_labels=5,6"],
            "platen_compression",
        ),
    ] {
        let ending = error(protocol, set);
        assert_eq!(ending.status, 2, "{set:?}");
        assert!(ending.error.contains(part), "{set:?}: {}", ending.error);
    }
}

#[test]
fn the_benchmark_command_resolves() {
    let set = [
        "mesh.kind=hex",
        "load.cap_labels=5,6",
        "mesh.voxel_mm=0",
        "load.orientation=none",
        "mask.smooth_sigma_mm=0",
        "load.lateral=free_both",
        "load.displacement_mm=0.2",
    ];
    let plan_a = plan("linear-compression", &set).unwrap();
    assert_eq!(plan_a.settings.material.bins, 128);
    for more in ["material.bins=0", "material.bin_offset=1"] {
        let set: Vec<&str> = set.iter().copied().chain([more]).collect();
        plan("linear-compression", &set).unwrap();
    }
}

#[test]
fn contradictions_of_the_case_are_refused() {
    let protocol = Protocol::built_in("saillard2024-femur").unwrap();
    let cases: [(Subject, &str); 4] = [
        (
            Subject {
                level: Some(LevelChoice::All),
                ..femur()
            },
            "--level",
        ),
        (
            Subject {
                morph: 0.5,
                ..femur()
            },
            "whole number of voxels",
        ),
        (
            Subject {
                body_weight_kg: Some(0.0),
                ..femur()
            },
            "--body-weight-kg",
        ),
        (vertebra(), "for the femur"),
    ];
    for (subject, part) in cases {
        let ending = Ending::of(&Plan::resolve(&protocol, subject, &[]).unwrap_err());
        assert_eq!(ending.status, 2);
        assert!(ending.error.contains(part), "{}", ending.error);
    }
}

#[test]
fn a_protocol_file_needs_only_what_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ours.toml");
    std::fs::write(
        &file,
        "extends = \"sas2020-femur\"\n[material]\nmodel = \"j2\"\nbins = 64\n",
    )
    .unwrap();
    let protocol = Protocol::load(file.to_str().unwrap(), Bone::Femur).unwrap();
    assert_eq!(protocol.name, "ours");
    let plan = Plan::resolve(&protocol, femur(), &[]).unwrap();
    assert_eq!(plan.settings.material.model, ConstitutiveModel::J2);
    assert_eq!(plan.settings.load.cap_modulus_mpa, 2000.0);
    assert!(plan.is_given("material.bins") && !plan.is_given("mesh.voxel_mm"));
    assert_eq!(Plan::from_toml(&plan.to_toml()).unwrap(), plan);

    std::fs::write(&file, "[materiel]\nmodel = \"j2\"\n").unwrap();
    let ending = Ending::of(&Protocol::load(file.to_str().unwrap(), Bone::Femur).unwrap_err());
    assert_eq!(ending.status, 2);
    assert!(
        ending.error.contains("did you mean `material.model`"),
        "{}",
        ending.error
    );

    let ending = Ending::of(&Protocol::load("nowhere/x.toml", Bone::Femur).unwrap_err());
    assert_eq!(ending.status, 3);
    let ending = Ending::of(&Protocol::load("sas2020-femr", Bone::Femur).unwrap_err());
    assert_eq!(ending.status, 2);
    assert!(ending.error.contains("did you mean `sas2020-femur`"));
}
