//! Damaged phantom definitions, rod centres and calibrations are read or refused; nothing panics.
//!
//! How the attack works is told in the engine; `docs/robustness.md` has the figures.

#[path = "../../tests/fuzz/engine.rs"]
mod engine;

use std::path::Path;

use calibration::{Calibration, Error, Phantom, RodCentres};
use engine::{Target, of_file, targets};

targets!(phantom: 5, rod_centres: 4, calibration_json: 10);

fn target(
    name: &'static str,
    file: &str,
    words: &'static [&'static str],
    read: impl Fn(&Path) -> Result<String, Error> + 'static,
) -> Target {
    Target {
        name,
        corpora: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"),
        seeds: Vec::new(),
        words,
        tries: 10_000,
        memory: (4 << 20, 1024),
        read: of_file(file, read),
    }
}

/// Words of the TOML files.
const TOML: &[&str] = &[
    "[[rod]]\n",
    "[rod]\n",
    "name = \"A\"\n",
    "equivalent_mg_cm3 = nan\n",
    "water_mg_cm3 = 1.0\n",
    "diameter_mm = -0.0\n",
    "position_mm = [0, 0, 0]\n",
    "basis = \"ha\"\n",
    "verified = false\n",
    "frame = \"RAS\"\n",
    "length_mm = 1e-320\n",
    "direction = [0, 0, 0]\n",
    "radius_mm = inf\n",
    "'''",
    "\"\"\"",
    "[[[[[[[[",
    "{a = {a = ",
    "#",
    "\\u0000",
    "1979-05-27",
];

fn phantom() -> Target {
    target("phantom", "x.toml", TOML, |path| {
        let phantom = Phantom::read(path)?;
        // What was read is written and read again as it was.
        let again = toml::from_str(&phantom.to_toml()?).unwrap();
        assert_eq!(phantom, again);
        Ok(format!(
            "{} water {} verified {}",
            phantom.basis,
            phantom.has_water(),
            phantom.verified
        ))
    })
}

fn rod_centres() -> Target {
    target("rod_centres", "x.toml", TOML, |path| {
        let centres = RodCentres::read(path)?;
        let cylinders = centres.rods.iter().any(|rod| rod.length_mm.is_some());
        assert!(centres.rods.iter().all(|rod| rod.radius_mm > 0.0));
        Ok(format!("{:?} cylinders {cylinders}", centres.frame))
    })
}

fn calibration_json() -> Target {
    let words = &[
        "null",
        "1e999",
        "-0.0",
        "[[[[[[[[[[",
        "{\"a\":",
        "\"basis\":\"ha\",",
        "\"quadratic_mg_cm3_per_hu2\":1,",
        "\\ud800",
        "\\u0000",
    ];
    target("calibration_json", "x.json", words, |path| {
        let calibration = Calibration::read(path)?;
        for hu in [-1e3, 0.0, 3e3] {
            // A line may leave the numbers that can be written; it must not become no number at all.
            assert!(!calibration.density_mg_cm3(hu).is_nan());
        }
        assert_eq!(calibration.residuals_hu().len(), calibration.rods.len());
        calibration.to_json()?;
        Ok(format!(
            "{:?} {} {} rods {:?}",
            calibration.method,
            calibration.kind,
            calibration.rods.len().min(4),
            calibration.status()
        ))
    })
}
