//! The page around the sections, and its head with the answer.

use serde_json::Value;

use super::literature::{at_level, ranges};
use super::markup::{escape, pairs, significant, spaced, table};

const STYLE: &str = include_str!("../../../assets/report/report.css");
/// Nothing is loaded from anywhere, whatever stands in the files the page was made from.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// Paper cannot be unfolded: what is folded is opened for it.
const UNFOLD: &str = "addEventListener('beforeprint', () => { for (const part of document.querySelectorAll('details')) part.open = true; });";

/// What every page says.
pub(super) const NOT_A_DEVICE: &str = "Not a medical device. Research software. No failure load of this program has been compared with an experiment.";

/// A whole page; `head` and `sections` are HTML.
pub(super) fn page(title: &str, head: &str, sections: &[String]) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n{head}<p class=\"warning\">{NOT_A_DEVICE}</p>\n</header>\n"
    );
    for section in sections {
        html += section;
    }
    html += &format!(
        "<footer><p>{NOT_A_DEVICE} Made by OsteoLoad from the files beside it.</p></footer>\n\
         <script>{UNFOLD}</script>\n</body>\n</html>\n"
    );
    html
}

/// A number of a file by its place, such as `/mesh/elements`.
pub(super) fn number(json: &Value, place: &str) -> Option<f64> {
    json.pointer(place)?.as_f64()
}

/// A text of a file by its place.
pub(super) fn word<'a>(json: &'a Value, place: &str) -> Option<&'a str> {
    json.pointer(place)?.as_str()
}

/// The bone in words, such as `left femur` or `vertebra L2`.
pub(super) fn bone(result: &Value) -> String {
    let bone = word(result, "/bone").unwrap_or("bone");
    match (word(result, "/side"), word(result, "/level")) {
        (Some(side), _) => format!("{side} {bone}"),
        (_, Some(level)) => format!("{bone} {level}"),
        _ => bone.to_owned(),
    }
}

/// What the ways to end mean.
fn outcome_in_words(outcome: &str) -> &str {
    match outcome {
        "peak_passed" => "the force passed a maximum and fell clearly below it",
        "target_reached" => "the planned displacement was reached",
        "step_too_small" => "an increment did not converge however small",
        "still_rising" => {
            "the planned displacement was reached and the force was still rising: there is no maximum to report"
        }
        "linear" => "a linear analysis, which has no failure of its own",
        "interrupted" => {
            "the user ended it early; a maximum so far is no failure load, because the force might have risen above it"
        }
        other => other,
    }
}

/// The head of a run: the answer in large type, what it is of, and what somebody should look at.
pub(super) fn answer(result: &Value, plan: &toml::Table) -> String {
    let criterion = spaced(word(result, "/criterion").unwrap_or("unknown criterion"));
    let outcome = word(result, "/outcome").unwrap_or("unknown");
    let mut html = String::new();
    match number(result, "/failure_load_n") {
        Some(load_n) => {
            html += &format!(
                "<p class=\"answer\">{load_n:.0} N <small>failure load, {:.2} kN</small></p>\n",
                load_n / 1000.0
            );
            let at = number(result, "/failure_displacement_mm")
                .map(|mm| format!("at {mm:.3} mm, "))
                .unwrap_or_default();
            html += &format!(
                "<p>{}</p>\n",
                escape(&format!(
                    "{at}by {criterion}; {} ({}).",
                    outcome_in_words(outcome),
                    spaced(outcome)
                ))
            );
        }
        None => {
            html += &format!(
                "<p class=\"answer none\">No failure load</p>\n<p>{}</p>\n",
                escape(&format!(
                    "{} ({}); criterion: {criterion}.",
                    outcome_in_words(outcome),
                    spaced(outcome)
                ))
            );
        }
    }
    let newtons = |place: &str| number(result, place).map(|n| format!("{n:.0} N"));
    let load_case = plan
        .get("load")
        .and_then(|load| load.get("case"))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let protocol = plan.get("protocol").and_then(toml::Value::as_str);
    html += &pairs(&[
        ("Bone", Some(bone(result))),
        ("Protocol", protocol.map(str::to_owned)),
        (
            "Load case",
            (!load_case.is_empty()).then(|| spaced(load_case)),
        ),
        (
            "Stiffness at the start",
            number(result, "/stiffness_n_per_mm").map(|k| format!("{k:.0} N/mm")),
        ),
        (
            "Force at the planned displacement",
            newtons("/force_at_target_n"),
        ),
        (
            "Strength estimate of a linear compression",
            newtons("/linear_strength_n"),
        ),
        (
            "Estimate by Pistoia's criterion",
            newtons("/pistoia_load_n"),
        ),
    ]);
    html += &literature(result, load_case);
    for (status, class, what) in [
        (
            "refuse",
            "warning",
            "Refused by a gate and accepted by the user",
        ),
        ("review", "look", "Look at these before you use the number"),
    ] {
        let names: Vec<String> = checks(result)
            .filter(|check| word(check, "/status") == Some(status))
            .filter_map(|check| word(check, "/name"))
            .map(|name| format!("<a href=\"#checks\">{}</a>", escape(&spaced(name))))
            .collect();
        if !names.is_empty() {
            html += &format!("<p class=\"{class}\">{what}: {}.</p>\n", names.join(", "));
        }
    }
    html
}

/// Loads of the literature beside the number.
fn literature(result: &Value, load_case: &str) -> String {
    let found = ranges(word(result, "/bone").unwrap_or_default(), load_case);
    let mut rows: Vec<Vec<String>> = found
        .iter()
        .map(|range| [range.what, range.loads, range.source].map(escape).to_vec())
        .collect();
    if let Some((level, loads)) =
        word(result, "/level").and_then(|level| Some((level, at_level(level)?)))
    {
        rows.push(
            [
                format!("of these, {level}").as_str(),
                loads,
                "as above, means and extremes by level",
            ]
            .map(escape)
            .to_vec(),
        );
    }
    if load_case.is_empty() && rows.is_empty() {
        return "<p class=\"note\">Which loads of the literature belong here is not known without plan.toml.</p>\n".to_owned();
    }
    if rows.is_empty() {
        return "<p class=\"note\">No range of the literature is kept for this bone and load case.</p>\n".to_owned();
    }
    format!(
        "<h3>Loads of the literature, to hold the number against</h3>\n{}",
        table(&["What", "Failure load", "Source"], &rows)
    )
}

fn checks(result: &Value) -> impl Iterator<Item = &Value> {
    let list = result.pointer("/checks").and_then(Value::as_array);
    list.into_iter().flatten()
}

/// The quality gates, those to look at first.
pub(super) fn check_table(result: &Value) -> String {
    let rank = |check: &&Value| match word(check, "/status") {
        Some("refuse") => 0,
        Some("review") => 1,
        _ => 2,
    };
    let mut list: Vec<&Value> = checks(result).collect();
    list.sort_by_key(rank);
    let rows: Vec<Vec<String>> = list
        .into_iter()
        .map(|check| {
            let (status, sign) = match word(check, "/status") {
                Some("pass") => ("pass", "✓"),
                Some("refuse") => ("refuse", "✕"),
                _ => ("review", "!"),
            };
            vec![
                escape(&spaced(word(check, "/name").unwrap_or_default())),
                format!("<span class=\"status {status}\">{sign} {status}</span>"),
                number(check, "/value").map_or_else(String::new, |value| significant(value, 4)),
                escape(word(check, "/reason").unwrap_or_default()),
            ]
        })
        .collect();
    table(&["Check", "Status", "Value", "Reason"], &rows)
}

/// The failure load in proportion to weight, applied load and published cut-offs.
pub(super) fn risk(result: &Value) -> String {
    let mut html = pairs(&[
        (
            "Body weight, as given",
            number(result, "/risk/body_weight_kg").map(|kg| format!("{} kg", significant(kg, 4))),
        ),
        (
            "Failure load in body weights",
            number(result, "/risk/failure_load_body_weights").map(|n| significant(n, 3)),
        ),
        (
            "Applied load, as given",
            number(result, "/risk/applied_load_n").map(|n| format!("{n:.0} N")),
        ),
        (
            "Applied load over failure load",
            number(result, "/risk/load_to_strength").map(|n| significant(n, 3)),
        ),
    ]);
    let thresholds = result.pointer("/risk/thresholds").and_then(Value::as_array);
    let rows: Vec<Vec<String>> = thresholds
        .into_iter()
        .flatten()
        .map(|threshold| {
            let flag = |name: &str| threshold.get(name).and_then(Value::as_bool);
            vec![
                escape(word(threshold, "/name").unwrap_or_default()),
                number(threshold, "/value").map_or_else(String::new, |v| significant(v, 4)),
                match flag("below") {
                    Some(true) => "below",
                    Some(false) => "not below",
                    None => "not compared",
                }
                .to_owned(),
                if flag("applies") == Some(true) {
                    "yes"
                } else {
                    "no: fitted with another model"
                }
                .to_owned(),
                escape(word(threshold, "/source").unwrap_or_default()),
            ]
        })
        .collect();
    html += &table(
        &["Cut-off", "Value", "This bone", "Applies", "Source"],
        &rows,
    );
    html + "<p class=\"note\">Published cut-offs belong to the model that they were fitted with. None of this is a verdict.</p>\n"
}
