//! The rows as a document.

use super::{Criterion, VerificationRow};

/// A Markdown document of the rows, the problems in their order.
pub fn markdown(rows: &[VerificationRow]) -> String {
    let failed = rows.iter().filter(|row| !row.passes()).count();
    let mut text = format!(
        "# Verification\n\n\
         Written by `osteoload verify --markdown docs/verification.md`: {} quantities, {failed} failed. Verified means \
         that the program solves the equations it says it solves; whether they describe a bone is another question. \
         Lengths are mm, forces N and stresses MPa unless a row says otherwise. The error is relative; where \
         the allowed error carries ±, both are absolute; ≥ means that the result may not lie below the reference.\n\n\
         | Problem | Element | Quantity | Reference | Source | Result | Error | Allowed | Pass |\n\
         |---|---|---|---:|---|---:|---:|---:|---|\n",
        rows.len()
    );
    for row in rows {
        let (error, allowed) = match row.criterion {
            Criterion::Relative(allowed) => (format!("{:.1e}", row.error()), format!("{allowed}")),
            Criterion::Absolute(allowed) => (format!("{:.1e}", row.error()), format!("±{allowed}")),
            Criterion::AtLeast => (format!("{:.1e}", row.error()), "≥".into()),
        };
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {error} | {allowed} | {} |\n",
            row.problem,
            row.element,
            row.quantity,
            number(row.reference),
            row.source,
            number(row.result),
            if row.passes() { "yes" } else { "**no**" }
        );
    }
    text
}

/// Seven significant digits, so that the last ones do not depend on the machine.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor() as i32;
    if (-4..7).contains(&magnitude) {
        format!("{value:.*}", (6 - magnitude).max(0) as usize)
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_seven_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.019209, "0.01920900"),
            (1234.5678, "1234.568"),
            (-5.38, "-5.380000"),
            (3e-5, "3.00e-5"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_failed_row_is_counted_and_marked() {
        let row = VerificationRow {
            problem: "P".into(),
            element: "E".into(),
            quantity: "Q".into(),
            source: "S".into(),
            reference: 2.0,
            result: 3.0,
            criterion: Criterion::Relative(0.1),
        };
        let text = markdown(&[row]);
        assert!(text.contains("1 quantities, 1 failed"));
        assert!(text.contains("| P | E | Q | 2.000000 | S | 3.000000 | 5.0e-1 | 0.1 | **no** |"));
    }
}
