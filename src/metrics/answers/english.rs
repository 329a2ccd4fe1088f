//! SQuAD's exact match and F1.

use std::collections::HashMap;
use std::sync::LazyLock;

use fancy_regex::Regex;

use super::{Score, best, f1_of, pattern};

/// The words that count: `normalize_answer` of the script. Lower case, without ASCII's punctuation and the articles.
pub fn words(text: &str) -> Vec<String> {
    static ARTICLES: LazyLock<Regex> = LazyLock::new(|| pattern("(?<!W)(a|an|the)(?!W)"));
    let kept: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    ARTICLES.replace_all(&kept, " ").split_whitespace().map(String::from).collect()
}

pub fn score(answer: &str, references: &[String]) -> Score {
    let found = words(answer);
    best(references, |reference| {
        let expected = words(reference);
        (found == expected, f1(&found, &expected))
    })
}

/// F1 of the words two texts share, each as often as it stands in both; of two empty ones 1.
fn f1(found: &[String], expected: &[String]) -> f64 {
    if found.is_empty() || expected.is_empty() {
        return f64::from(u8::from(found.is_empty() && expected.is_empty()));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    expected.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut common = 0;
    for word in found {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    f1_of(common, found.len(), expected.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str, references: &[&str]) -> (bool, f64) {
        let score = score(answer, &references.iter().map(ToString::to_string).collect::<Vec<_>>());
        (score.exact, score.f1)
    }

    #[test]
    fn articles_case_and_punctuation_do_not_count() {
        assert_eq!(words("The  \"Denver\" Broncos, an-a a"), ["denver", "broncos", "ana"]);
        assert_eq!(words("a“the”b a"), ["“", "”b"]);
        assert_eq!(of("the Denver Broncos!", &["x", "Denver broncos"]), (true, 1.0));
    }

    #[test]
    fn f1_is_of_shared_words_as_often_as_both_have_them() {
        // 2 of 3 words are right, of 4: 2 * 2/3 * 2/4 / (2/3 + 2/4) = 4/7
        let (exact, f1) = of("one two two", &["two one three four"]);
        assert!(!exact && (f1 - 4.0 / 7.0).abs() < 1e-12, "{f1}");
        assert_eq!(of("one", &["two"]), (false, 0.0));
        assert_eq!(of("", &["two"]), (false, 0.0));
        assert_eq!(of("the", &["a"]), (true, 1.0));
    }
}
