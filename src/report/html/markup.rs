//! Pieces of HTML, and text made safe to stand in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Text with the characters that mean something to HTML written as references.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A section with a heading; `body` is HTML.
pub(super) fn section(id: &str, title: &str, body: &str) -> String {
    format!(
        "<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n",
        escape(title)
    )
}

/// A paragraph of plain text.
pub(super) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// A note of plain text, smaller than a paragraph.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}

/// A table; the cells are HTML.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    for name in head {
        html += &format!("<th>{}</th>", escape(name));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in rows {
        html += "<tr>";
        for cell in row {
            html += &format!("<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

/// A table of names and values, one pair a row; the values are plain text, and what has none is left out.
pub(super) fn pairs(rows: &[(&str, Option<String>)]) -> String {
    let mut html = String::from("<table class=\"pairs\">\n<tbody>\n");
    for (name, value) in rows {
        if let Some(value) = value {
            html += &format!(
                "<tr><th>{}</th><td>{}</td></tr>\n",
                escape(name),
                escape(value)
            );
        }
    }
    html + "</tbody></table>\n"
}

/// A picture inside the page. An SVG shown this way runs no script and loads nothing.
pub(super) fn picture(media_type: &str, bytes: &[u8], text: &str) -> String {
    format!(
        "<img src=\"{}\" alt=\"{}\">\n",
        data_uri(media_type, bytes),
        escape(text)
    )
}

/// Bytes as an address that holds them.
pub(super) fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

/// Bytes in base64.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A number with so many significant digits and no needless zeros; very large and very small ones with an exponent.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if !magnitude.is_finite() || !(-4.0..9.0).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let places = (digits as f64 - 1.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The last part of a path: directories are often named after patients.
pub(super) fn without_directories(text: &str) -> &str {
    text.rsplit(['/', '\\']).next().unwrap_or(text)
}

/// A word of a file's vocabulary as one reads it: `peak_passed` is `peak passed`.
pub(super) fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text() {
        for (value, text) in [
            (0.0, "0"),
            (6083.188, "6083"),
            (0.000_012_3, "1.230e-5"),
            (0.809_529, "0.8095"),
            (-12.0, "-12"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(significant(value, 4), text);
        }
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
        assert_eq!(without_directories("/data/NAME/rods.nii.gz"), "rods.nii.gz");
    }
}
