//! CMRC2018's exact match and F1.

use super::{Score, best, f1_of, treebank};

/// The characters that the script calls punctuation; ASCII's comma and full stop are none. (Its list has "……" too, two
/// characters, which no single one equals.)
const PUNCTUATION: &str = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』";

fn is_punctuation(c: char) -> bool {
    PUNCTUATION.contains(c)
}

pub fn score(answer: &str, references: &[String]) -> Score {
    let (plain, found) = (without_punctuation(answer), units(answer));
    best(references, |reference| {
        let expected = units(reference);
        let run = longest_common_run(&expected, &found);
        (plain == without_punctuation(reference), f1_of(run, found.len(), expected.len()))
    })
}

fn without_punctuation(text: &str) -> String {
    text.to_lowercase().trim().chars().filter(|c| !is_punctuation(*c)).collect()
}

/// What is compared: Chinese characters, and the words between them, without punctuation (`mixed_segmentation`).
fn units(text: &str) -> Vec<String> {
    let text = without_punctuation(text);
    let mut units = Vec::new();
    let mut rest = String::new();
    for c in text.chars() {
        if ('\u{4e00}'..='\u{9fa5}').contains(&c) {
            units.extend(treebank::words(&std::mem::take(&mut rest)));
            units.push(c.to_string());
        } else {
            rest.push(c);
        }
    }
    units.extend(treebank::words(&rest));
    units
}

/// How long the longest run of units is that both have: what F1 is of.
fn longest_common_run(one: &[String], other: &[String]) -> usize {
    // lengths[j]: the run that ends at the unit before `j` of `other` and at the current one of `one`.
    let mut lengths = vec![0; other.len() + 1];
    let mut longest = 0;
    for unit in one {
        for j in (0..other.len()).rev() {
            lengths[j + 1] = if *unit == other[j] { lengths[j] + 1 } else { 0 };
            longest = longest.max(lengths[j + 1]);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str, references: &[&str]) -> (bool, f64) {
        let score = score(answer, &references.iter().map(ToString::to_string).collect::<Vec<_>>());
        (score.exact, score.f1)
    }

    #[test]
    fn units_are_characters_and_words() {
        assert_eq!(units("《光荣》和 Omega-Force, 2 家。"), ["光", "荣", "和", "omegaforce", ",", "2", "家"]);
        assert_eq!(units("，。"), [""; 0]);
    }

    /// The script's common "subsequence" is a run without gaps.
    #[test]
    fn f1_is_of_the_longest_common_run() {
        // Of 光荣及和 and 光荣和 only 光荣 is common: 2 * 2/4 * 2/3 / (2/4 + 2/3) = 4/7
        let (exact, f1) = of("光荣及和", &["光荣和"]);
        assert!(!exact && (f1 - 4.0 / 7.0).abs() < 1e-12, "{f1}");
        assert_eq!(of("光荣", &["他", "“光荣”"]), (true, 1.0));
        assert_eq!(of("。", &["他"]), (false, 0.0));
        assert_eq!(of("", &["。"]), (true, 0.0));
    }
}
