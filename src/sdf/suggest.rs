//! "Did you mean": the known word nearest to one that is not known.

#![forbid(unsafe_code)]

/// Characters of a word that are compared: longer ones get no suggestion, so that a hostile file
/// cannot make the comparison expensive.
const MAX_WORD: usize = 64;

/// The candidate that `word` most likely stands for, if any is near enough: at most one edit for
/// every three characters, or a word whose beginning it is. Of equally near ones the first.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(MAX_WORD + 1).collect();
    if word.len() > MAX_WORD {
        return None;
    }
    let misspelt = candidates.clone().into_iter();
    misspelt
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().take(MAX_WORD + 1).collect();
            let allowed = word.len().max(letters.len()).div_ceil(3);
            if letters.len() > MAX_WORD || letters.len().abs_diff(word.len()) > allowed {
                return None;
            }
            let distance = distance(&word, &letters);
            // A single letter that differs is another word, not a misspelling.
            let near = distance <= allowed && distance < word.len().max(letters.len());
            near.then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| candidates.into_iter().find(|candidate| begins(&word, candidate)))
}

/// One is what the other begins with, and says enough.
fn begins(word: &[char], candidate: &str) -> bool {
    let letters: Vec<char> = candidate.chars().take(MAX_WORD + 1).collect();
    letters.len() <= MAX_WORD
        && word.len().min(letters.len()) >= 4
        && (letters.starts_with(word) || word.starts_with(&letters))
}

/// Number of insertions, deletions, substitutions and swaps of neighbours from `a` to `b`,
/// without regard to case.
fn distance(a: &[char], b: &[char]) -> usize {
    let same = |x: char, y: char| x.eq_ignore_ascii_case(&y);
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = previous[j - 1] + usize::from(!same(a[i - 1], b[j - 1]));
            row[j] = substituted.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_recognised() {
        let elements = ["memory_region", "protection_domain", "channel", "domains"];
        for (word, meant) in [
            ("memory_reigon", Some("memory_region")),
            ("memoryregion", Some("memory_region")),
            ("chanel", Some("channel")),
            ("Channel", Some("channel")),
            ("protection_domian", Some("protection_domain")),
            ("domain", Some("domains")),
            ("irq", None),
            ("memory", Some("memory_region")),
            ("channels_of_this", Some("channel")),
            ("mem", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, elements), meant, "{word}");
        }
    }

    #[test]
    fn short_words_differ_in_more_than_one_letter() {
        assert_eq!(nearest("a", ["b"]), None);
        assert_eq!(nearest("id", ["pd", "irq"]), Some("pd"));
    }

    #[test]
    fn long_words_cost_nothing() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str()]), None);
        assert_eq!(nearest("channel", [long.as_str(), "channels"]), Some("channels"));
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("abc", "", 3), ("ab", "ba", 1), ("abcd", "abxd", 1)] {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&letters(a), &letters(b)), expected, "{a} {b}");
        }
    }
}
