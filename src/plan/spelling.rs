//! Messages for words that are not known.

/// The candidate that `text` was most likely meant to be, if one is near enough.
pub fn closest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let text = text.to_lowercase();
    candidates
        .iter()
        .map(|candidate| (distance(&text, candidate), *candidate))
        .filter(|(distance, candidate)| 2 * distance <= candidate.chars().count().max(4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "`x` is not one of a, b, c; did you mean `b`?"
pub fn not_one_of(text: &str, candidates: &[&str]) -> String {
    let mut message = format!("`{text}` is not one of {}", candidates.join(", "));
    if let Some(candidate) = closest(text, candidates) {
        message += &format!("; did you mean `{candidate}`?");
    }
    message
}

/// Edits that turn one word into the other, a swap of neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut least = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("voxel", "voxle"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let words = ["bbar", "full", "incompatible"];
        assert_eq!(closest("incompatble", &words), Some("incompatible"));
        assert_eq!(closest("Full", &words), Some("full"));
        assert_eq!(closest("quadratic", &words), None);
    }
}
