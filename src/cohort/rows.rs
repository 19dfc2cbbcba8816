//! The rows of a case: what its runs gave, and how its masks agree.

use std::path::Path;

use imaging::{LabelMap, Mask};

use super::place::Place;
use super::row::{CohortCase, Variant};
use super::table::ResultRow;
use crate::evaluate::mask_agreement;
use crate::plan::{Plan, Side};
use crate::report::RunResult;
use crate::run::CaseEnding;

impl Place {
    /// The rows of a case whose variants stand in `folder`.
    pub(super) fn rows(
        &self,
        case: &CohortCase,
        runs: &[(Variant, CaseEnding, Option<Plan>)],
        folder: &Path,
    ) -> anyhow::Result<Vec<ResultRow>> {
        let load = |ending: &CaseEnding| match ending {
            CaseEnding::Ran(result) => result.failure_load_n,
            _ => None,
        };
        // The first is the one that the others are compared with.
        let base = runs.first();
        let base_load = base.and_then(|(_, ending, _)| load(ending));
        let manual = base
            .filter(|(variant, ending, _)| {
                variant.name == "manual" && matches!(ending, CaseEnding::Ran(_))
            })
            .map(|(variant, ..)| {
                let folder = folder.join(self.variant_folder(variant));
                read_mask(&folder, case.cap_labels())
            })
            .transpose()?;
        let mut rows = Vec::new();
        for (variant, ending, plan) in runs {
            let [bone, side, level, weight] = case.said_as_words();
            let mut row = ResultRow::of(&[
                ("case", case.case.clone()),
                ("variant", variant.name.clone()),
                ("group", case.group.clone()),
                ("operator", case.operator.clone()),
                ("bone", bone),
                ("side", side),
                ("level", level),
                ("sex", case.sex.clone()),
                ("body_weight_kg", weight),
                ("morph", variant.morph.to_string()),
                ("morph_unit", case.unit.to_string()),
            ]);
            let ended = match plan {
                Some(plan) => ending.ending(plan),
                None => match ending {
                    CaseEnding::Failed(ending) => Some(ending.clone()),
                    _ => None,
                },
            };
            let status = ended.as_ref().map_or(0, |ending| ending.status);
            row.set("exit_status", status.to_string());
            row.set("status", CaseEnding::status_word(status).to_owned());
            let reason = ended.map_or_else(String::new, |ended| match ended.help {
                Some(help) => format!("{} ({help})", ended.error),
                None => ended.error,
            });
            row.set("reason", reason);
            if let CaseEnding::Ran(result) = ending {
                let name = self.variant_folder(variant);
                fill(&mut row, result, base_load);
                let place = self.folder(case).join(&name);
                row.set("folder", place.to_string_lossy().replace('\\', "/"));
                let mask = read_mask(&folder.join(&name), case.cap_labels())?;
                let volume = mask.count() as f64 * mask.grid.voxel_volume_mm3();
                row.set("volume_mm3", volume.to_string());
                if let Some(manual) = &manual {
                    let found = mask_agreement(manual, &mask)?;
                    let number =
                        |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
                    row.set("dice", number(found.dice));
                    let surface = found.surface.as_ref();
                    row.set("hausdorff_mm", number(surface.map(|s| s.hausdorff_mm)));
                    row.set("hausdorff95_mm", number(surface.map(|s| s.hausdorff95_mm)));
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// What a result says, into its row.
fn fill(row: &mut ResultRow, result: &RunResult, base_load: Option<f64>) {
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    row.set("bone", result.bone.to_string());
    row.set(
        "side",
        result
            .side
            .map_or_else(String::new, |side: Side| side.to_string()),
    );
    if let Some(level) = &result.level {
        row.set("level", level.to_string());
    }
    row.set("failure_load_n", number(result.failure_load_n));
    row.set("outcome", result.outcome.word().to_owned());
    row.set("stiffness_n_per_mm", number(result.stiffness_n_per_mm));
    let change = result.failure_load_n.zip(base_load);
    row.set(
        "change_percent",
        number(change.map(|(load, base)| 100.0 * (load / base - 1.0))),
    );
    row.set(
        "failure_load_body_weights",
        number(result.risk.failure_load_body_weights),
    );
    row.set("load_to_strength", number(result.risk.load_to_strength));
    row.set("pistoia_load_n", number(result.pistoia_load_n));
    row.set("linear_strength_n", number(result.linear_strength_n));
    row.set("elements", result.mesh.elements.to_string());
    row.set("checks", result.reviewed());
}

/// The bone that a run has meshed, without labels that are discs or caps.
pub(super) fn read_mask(folder: &Path, caps: &[u16]) -> anyhow::Result<Mask> {
    let labels: LabelMap = imaging::read_labels(&folder.join("mask.nii.gz"))?;
    Ok(labels.map(|label| *label != 0 && !caps.contains(label)))
}
