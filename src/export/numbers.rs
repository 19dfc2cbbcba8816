//! Numbers as text that reads back as the same number.

/// Characters of a real number that CalculiX reads; it drops what stands behind them (`textpart(i)(1:20)`, `f20.0`).
const CALCULIX_CHARACTERS: usize = 20;

/// The shortest text that reads back as the same number, with an exponent where it is very small or very large.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        // No sign: some readers print it back.
        "0".into()
    } else if (1e-4..1e15).contains(&size) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

/// The same in at most 20 characters where there is such a text, with or without an exponent. Where there is none the
/// number stands without an exponent, so that a reader of 20 characters loses its last digits and not its size.
/// `None` where that would not hold either.
pub(super) fn short_number(value: f64) -> Option<String> {
    if value == 0.0 {
        return Some("0".into());
    }
    let plain = format!("{value}");
    if plain.len() <= CALCULIX_CHARACTERS {
        return Some(plain);
    }
    let exponent = format!("{value:e}");
    if exponent.len() <= CALCULIX_CHARACTERS {
        return Some(exponent);
    }
    (value.abs() < 1e15).then_some(plain)
}

/// Fortran's `e25.16e3`: 17 significant digits, which is what a double needs.
pub(super) fn e25(value: f64) -> String {
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{:>25}", format!("{mantissa}E{sign}{digits:0>3}"))
}

/// Whole numbers with commas between them, so many on a line; a comma at the end of a line says that the list goes on.
pub(super) fn list(numbers: impl Iterator<Item = u32>, on_a_line: usize) -> String {
    let mut text = String::new();
    for (place, number) in numbers.enumerate() {
        text += match place {
            0 => "",
            _ if place % on_a_line == 0 => ",\n",
            _ => ", ",
        };
        text += &number.to_string();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 10] = [
        0.1,
        -1.0 / 3.0,
        1e-7 / 3.0,
        -1.234_567_890_123_456_7e-5,
        17_000.123_456_789_012,
        1e14 / 3.0,
        5.0,
        -0.0,
        f64::MIN_POSITIVE,
        -2.225_073_858_507_201e-300,
    ];

    #[test]
    fn every_text_reads_back_as_the_same_number() {
        for value in VALUES {
            assert_eq!(number(value).parse::<f64>().unwrap(), value);
            assert_eq!(short_number(value).unwrap().parse::<f64>().unwrap(), value);
            let text = e25(value);
            assert_eq!(text.len(), 25);
            assert_eq!(text.trim().parse::<f64>().unwrap(), value);
        }
        assert_eq!(e25(-1.0 / 1024.0).trim(), "-9.7656250000000000E-004");
        assert_eq!(e25(2.0).trim(), "2.0000000000000000E+000");
    }

    #[test]
    fn twenty_characters_keep_the_size() {
        for value in VALUES {
            let text = short_number(value).unwrap();
            let read: f64 = text[..text.len().min(20)].parse().unwrap();
            assert!(
                (read - value).abs() <= 1e-12 * value.abs() + 1e-17,
                "{text}"
            );
        }
        assert_eq!(short_number(1e300).unwrap(), "1e300");
        assert_eq!(short_number(1e300 / 3.0), None);
    }

    #[test]
    fn lists_are_broken_into_lines() {
        assert_eq!(list(1..=5, 2), "1, 2,\n3, 4,\n5\n");
        assert_eq!(list(1..=2, 2), "1, 2\n");
    }
}
