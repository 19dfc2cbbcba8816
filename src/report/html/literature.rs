//! What others found for such a bone: a range to hold a number against, never a verdict.

/// A published range.
pub(super) struct Range {
    /// What was loaded and how many.
    pub what: &'static str,
    /// The failure loads, with their unit.
    pub loads: &'static str,
    /// Where it comes from and how far it can be compared.
    pub source: &'static str,
}

const STANCE: &[Range] = &[
    Range {
        what: "12 femora in stance, nonlinear models of the same protocol",
        loads: "mean 4.6 to 6.4 kN",
        source: "Saillard 2024, Table 3; not printed there: means implied by the differences in N and in %, a rough estimate",
    },
    Range {
        what: "femora under axial load, tests and models",
        loads: "2 to 15 kN, mostly 4 to 9 kN",
        source: "rule of thumb for plausibility, from no single table",
    },
];

const VERTEBRA: &[Range] = &[
    Range {
        what: "15 thoracic and lumbar vertebrae, nonlinear models of the same protocol",
        loads: "mean 5.2 to 6.7 kN",
        source: "Saillard 2024, Table 3; not printed there: means implied by the differences in N and in %, a rough estimate",
    },
    Range {
        what: "160 vertebrae of VerSe 2019, nonlinear models with another law",
        loads: "3.6 ± 1.8 kN (mean ± SD)",
        source: "Walle, Matheson, Boyd 2025, Appendix A, recomputed",
    },
];

/// Mean loads of the 160 models of Walle, Matheson and Boyd 2025 by level, kN.
const BY_LEVEL: &[(&str, &str)] = &[
    ("T1", "1.70 kN (0.50 to 3.41 kN, 9 vertebrae)"),
    ("T2", "2.86 kN (13 vertebrae)"),
    ("T11", "4.82 kN (8 vertebrae)"),
    ("T12", "2.95 kN (12 vertebrae)"),
    ("L1", "3.86 kN (1.64 to 10.41 kN, 77 vertebrae)"),
    ("L2", "3.87 kN (0.88 to 8.20 kN, 22 vertebrae)"),
    ("L3", "3.70 kN (6 vertebrae)"),
    ("L5", "5.25 kN (4 vertebrae)"),
];

/// Ranges for a bone (`femur`, `vertebra`) under a load case (`stance`, `endplate_compression` …); none where none
/// is known.
pub(super) fn ranges(bone: &str, load_case: &str) -> &'static [Range] {
    match (bone, load_case) {
        ("femur", "stance") => STANCE,
        ("vertebra", _) => VERTEBRA,
        _ => &[],
    }
}

/// Mean failure load at a vertebral level in Walle, Matheson and Boyd 2025, in words.
pub(super) fn at_level(level: &str) -> Option<&'static str> {
    BY_LEVEL
        .iter()
        .find(|(known, _)| *known == level)
        .map(|(_, loads)| *loads)
}
