//! Tests of the files as a whole.

use super::*;
use crate::output_dir::Existing;
use crate::plan::{Basis, Bone, CalibrationSpec, Criterion, MeshKind, Side, Subject};
use crate::progress::Timings;
use crate::protocol::Protocol;
use crate::report::landmarks::FemurPoints;
use crate::risk::Risk;

pub(super) fn plan() -> Plan {
    let calibration = CalibrationSpec::Density {
        basis: Basis::K2hpo4,
    };
    let subject = Subject::new(Bone::Femur, Some(calibration));
    let protocol = Protocol::built_in("saillard2024-femur").unwrap();
    Plan::resolve(&protocol, subject, &[]).unwrap()
}

/// A curve that rises, bends, peaks and falls, like a femur's.
pub(super) fn curve() -> Vec<CurvePoint> {
    (1..=52)
        .map(|increment| {
            let u = 0.05 * increment as f64;
            let force_n = 6400.0 * (1.4 * u).tanh() - 350.0 * (u - 1.6).max(0.0).powi(2) * 2.0;
            CurvePoint {
                increment,
                displacement_mm: u,
                force_n,
                newton_iterations: 4,
                plastic_fraction: u / 10.0,
            }
        })
        .collect()
}

/// A result with every part filled, for tests elsewhere.
pub(crate) fn example_result() -> RunResult {
    result(&curve())
}

fn result(curve: &[CurvePoint]) -> RunResult {
    let peak = curve::maximum(curve).unwrap();
    let plan = plan();
    RunResult {
        bone: Bone::Femur,
        side: Some(Side::Left),
        level: None,
        failure_load_n: Some(peak.force_n),
        failure_displacement_mm: Some(peak.displacement_mm),
        criterion: "maximum_force".into(),
        outcome: RunOutcome::PeakPassed,
        stiffness_n_per_mm: curve::initial_stiffness_n_per_mm(curve),
        force_at_target_n: None,
        linear_strength_n: None,
        pistoia_load_n: None,
        bone_height_mm: None,
        landmarks: Some(Landmarks::Femur(FemurPoints {
            head_centre_lps_mm: [20.0, -10.0, 60.5],
            head_radius_mm: 23.25,
            neck_direction_lps: [0.6, 0.0, 0.8],
            neck_shaft_angle_deg: 128.5,
            shaft_distal_lps_mm: [0.0, 0.0, -80.0],
            shaft_proximal_lps_mm: [0.0, 0.0, 70.0],
            lesser_trochanter_level_lps_mm: None,
        })),
        force_balance: Some(f64::NAN),
        mesh: MeshStatistics {
            kind: MeshKind::Hex,
            elements: 8,
            nodes: 27,
            mean_volume_mm3: 1.0,
            min_quality: Some(1.0),
        },
        density: DensityStatistics {
            basis: Basis::K2hpo4,
            mean_mg_cm3: 300.0,
            min_mg_cm3: f64::NEG_INFINITY,
            max_mg_cm3: 1200.0,
            clamped_elements: 0,
        },
        calibration: calibration::Calibration::identity(calibration::DensityKind::K2Hpo4),
        checks: vec![Check {
            name: "side".into(),
            status: CheckStatus::Review,
            value: None,
            reason: "the label map says right".into(),
        }],
        risk: Risk::of(Some(peak.force_n), &plan),
        newton_iterations: 200,
        linear_iterations: 9000,
        timings_s: Timings::default(),
        peak_memory_mib: None,
    }
}

#[test]
fn the_json_has_the_keys_of_the_contract_and_no_nan() {
    let text = result(&curve()).to_json().unwrap();
    assert!(!text.contains("NaN") && !text.contains("inf"));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for path in "bone side level failure_load_n failure_displacement_mm criterion outcome \
        stiffness_n_per_mm force_at_target_n bone_height_mm force_balance mesh/kind mesh/elements \
        mesh/nodes mesh/mean_volume_mm3 mesh/min_quality density/basis density/mean_mg_cm3 \
        density/min_mg_cm3 density/max_mg_cm3 density/clamped_elements calibration/slope_mg_cm3_per_hu \
        calibration/intercept_mg_cm3 calibration/basis checks/0/name checks/0/status checks/0/value \
        checks/0/reason risk/body_weight_kg risk/failure_load_body_weights risk/applied_load_n \
        risk/load_to_strength risk/thresholds/0/name risk/thresholds/0/value risk/thresholds/0/source \
        risk/thresholds/0/applies risk/thresholds/0/below newton_iterations linear_iterations \
        timings_s peak_memory_mib linear_strength_n pistoia_load_n"
        .split_whitespace()
    {
        assert!(json.pointer(&format!("/{path}")).is_some(), "{path}");
    }
    assert_eq!(json["outcome"], "peak_passed");
    assert_eq!(json["side"], "left");
    assert_eq!(json["checks"][0]["status"], "review");
    for path in [
        "/force_balance",
        "/density/min_mg_cm3",
        "/level",
        "/checks/0/value",
    ] {
        assert!(json.pointer(path).unwrap().is_null(), "{path}");
    }
}

#[test]
fn a_rising_curve_has_no_peak() {
    let end = solver::Outcome::TargetReached;
    let force = Criterion::MaximumForce;
    assert_eq!(
        RunOutcome::of(&end, force, &[1.0, 2.0, 3.0]),
        RunOutcome::StillRising
    );
    assert_eq!(
        RunOutcome::of(&end, force, &[1.0, 3.0, 2.9]),
        RunOutcome::TargetReached
    );
    assert_eq!(
        RunOutcome::of(&end, force, &[1.0, 3.0, 3.0]),
        RunOutcome::TargetReached
    );
    assert_eq!(
        RunOutcome::of(&end, Criterion::HeightReduction, &[1.0, 2.0]),
        RunOutcome::TargetReached
    );
    let peak = solver::Outcome::PeakPassed;
    assert_eq!(
        RunOutcome::of(&peak, force, &[1.0, 2.0]),
        RunOutcome::PeakPassed
    );
}

#[test]
fn a_run_leaves_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = OutputDir::begin(&dir.path().join("out"), Existing::Refuse).unwrap();
    let curve = curve();
    let provenance = Provenance::of_this_process("run", solver::Device::Cpu);
    write_run(&out, &result(&curve), &curve, &plan(), &provenance).unwrap();
    let place = out.finish().unwrap();
    for name in [
        "result.json",
        "curve.csv",
        "curve.svg",
        "curve.png",
        "timings.csv",
        "plan.toml",
        "provenance.json",
    ] {
        assert!(place.join(name).metadata().unwrap().len() > 10, "{name}");
    }
    let plan_text = std::fs::read_to_string(place.join("plan.toml")).unwrap();
    assert_eq!(Plan::from_toml(&plan_text).unwrap(), plan());
    let made: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.join("provenance.json")).unwrap()).unwrap();
    assert_eq!(made["made_by"], "osteoload run");
}

#[test]
fn the_svg_names_axes_units_and_the_failure_load() {
    let dir = tempfile::tempdir().unwrap();
    let curve = curve();
    let result = result(&curve);
    let file = dir.path().join("curve.svg");
    run_figure(&result, &curve, &plan())
        .write_svg(&file)
        .unwrap();
    let svg = std::fs::read_to_string(&file).unwrap();
    let load = format!(
        "failure load {:.0} N at {:.2} mm",
        result.failure_load_n.unwrap(),
        result.failure_displacement_mm.unwrap()
    );
    for part in [
        "displacement (mm)",
        "force (kN)",
        "left femur",
        "saillard2024-femur, stance, peak passed",
        "initial stiffness",
        load.as_str(),
    ] {
        assert!(svg.contains(part), "{part}");
    }
    // One dot per increment, the failure point, and its entry in the key.
    assert_eq!(svg.matches("<circle").count(), curve.len() + 2);
}

/// Width, height and RGB pixels of a PNG as this program writes it: 8-bit RGB, not interlaced.
fn pixels(file: &std::path::Path) -> (usize, usize, Vec<[u8; 3]>) {
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let mut at = 8;
    let (mut size, mut packed) = ((0, 0), Vec::new());
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let data = &bytes[at + 8..at + 8 + length];
        match &bytes[at + 4..at + 8] {
            b"IHDR" => {
                let number = |i: usize| u32::from_be_bytes(data[i..i + 4].try_into().unwrap());
                size = (number(0) as usize, number(4) as usize);
                assert_eq!(&data[8..], [8, 2, 0, 0, 0], "8-bit RGB");
            }
            b"IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        at += 12 + length;
    }
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&packed[..]), &mut raw).unwrap();
    (size.0, size.1, unfilter(&raw, size.0, size.1))
}

/// Undoes the line filters of PNG (ISO/IEC 15948, 9.2).
fn unfilter(raw: &[u8], width: usize, height: usize) -> Vec<[u8; 3]> {
    let line = 3 * width;
    let mut out = vec![0u8; line * height];
    for y in 0..height {
        let kind = raw[y * (line + 1)];
        for x in 0..line {
            let byte = raw[y * (line + 1) + 1 + x];
            let left = if x >= 3 { out[y * line + x - 3] } else { 0 };
            let up = if y > 0 { out[(y - 1) * line + x] } else { 0 };
            let corner = if x >= 3 && y > 0 {
                out[(y - 1) * line + x - 3]
            } else {
                0
            };
            let guess = match kind {
                0 => 0,
                1 => left,
                2 => up,
                3 => ((u16::from(left) + u16::from(up)) / 2) as u8,
                _ => {
                    let (a, b, c) = (i16::from(left), i16::from(up), i16::from(corner));
                    let p = a + b - c;
                    let (da, db, dc) = ((p - a).abs(), (p - b).abs(), (p - c).abs());
                    if da <= db && da <= dc {
                        left
                    } else if db <= dc {
                        up
                    } else {
                        corner
                    }
                }
            };
            out[y * line + x] = byte.wrapping_add(guess);
        }
    }
    out.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
}

#[test]
fn the_png_shows_curve_failure_point_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let curve = curve();
    let result = result(&curve);
    let file = dir.path().join("curve.png");
    run_figure(&result, &curve, &plan())
        .write_png(&file)
        .unwrap();
    let (width, height, pixels) = pixels(&file);
    assert_eq!((width, height), (1200, 800));
    let count = |colour: [u8; 3]| pixels.iter().filter(|p| **p == colour).count();
    assert_eq!(pixels[0], [255, 255, 255]);
    assert!(count([0x1f, 0x5f, 0xa8]) > 1500, "curve");
    // Two discs of radius 8: the point and its entry in the key, 2 * 201 pixels.
    let red = count([0xc0, 0x2f, 0x2a]);
    assert!((300..600).contains(&red), "{red} red pixels");
    assert!(count([0x22, 0x22, 0x22]) > 1500, "text and axes");
}

#[test]
fn a_curve_without_failure_or_points_is_drawn_too() {
    let dir = tempfile::tempdir().unwrap();
    for (name, curve) in [("one", &curve()[..1]), ("none", &[])] {
        let figure = CurveFigure {
            title: "Force and displacement".into(),
            subtitle: String::new(),
            curve,
            failure: None,
            stiffness_n_per_mm: None,
        };
        let file = dir.path().join(name);
        figure.write_svg(&file).unwrap();
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .contains("no failure load")
        );
        figure
            .write_png(&dir.path().join(format!("{name}.png")))
            .unwrap();
    }
}
