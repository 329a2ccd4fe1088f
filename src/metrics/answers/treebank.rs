//! Words as `nltk.word_tokenize(text, preserve_line=True)` cuts them (NLTK 3.9, `NLTKWordTokenizer`), of text in lower case.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::pattern;

/// NLTK's substitutions, one after the other: what is looked for, and what takes its place.
const SUBSTITUTIONS: &[(&str, &str)] = &[
    // Quotes that begin.
    ("[«“‘„]|`+", " $0 "),
    ("^\"", "``"),
    ("``", " `` "),
    (r#"([ (\[{<])("|'{2})"#, "$1 `` "),
    (r"'(?!re|ve|ll|m|t|s|d|n)(W)(?!W)", "' $1"),
    // Punctuation.
    (r#"([^.])\.([\])}>"'»”’ ]*)\s*$"#, "$1 . $2 "),
    (r"([:,])(\D)", " $1 $2"),
    ("[:,]$", " $0 "),
    (r"\.{2,}", " $0 "),
    ("[;@#$%&]", " $0 "),
    (r#"([^.])\.([\])}>"']*)\s*$"#, "$1 .$2 "),
    ("[?!]", " $0 "),
    ("([^'])' ", "$1 ' "),
    (r"\*", " * "),
    (r"[\]\[(){}<>]", " $0 "),
    ("--", " -- "),
    ("^|$", " "),
    // Quotes and clitics that end.
    ("[»”’]", " $0 "),
    ("''|\"", " '' "),
    (r"\s+", " "),
    ("([^' ])('s|'m|'d|') ", "$1 $2 "),
    ("([^' ])('ll|'re|'ve|n't) ", "$1 $2 "),
    // Words that are two.
    ("(?<!W)(can)(not)(?!W)", " $1 $2 "),
    ("(?<!W)(d)('ye)(?!W)", " $1 $2 "),
    ("(?<!W)(gim)(me)(?!W)", " $1 $2 "),
    ("(?<!W)(gon)(na)(?!W)", " $1 $2 "),
    ("(?<!W)(got)(ta)(?!W)", " $1 $2 "),
    ("(?<!W)(lem)(me)(?!W)", " $1 $2 "),
    ("(?<!W)(more)('n)(?!W)", " $1 $2 "),
    (r"(?<!W)(wan)(na)(?=\s)", " $1 $2 "),
    (" ('t)(is)(?!W)", " $1 $2 "),
    (" ('t)(was)(?!W)", " $1 $2 "),
];

/// The words of `text`.
pub fn words(text: &str) -> Vec<String> {
    static PATTERNS: LazyLock<Vec<Regex>> =
        LazyLock::new(|| SUBSTITUTIONS.iter().map(|(found, _)| pattern(found)).collect());
    let replace =
        |text: String, (pattern, (_, by)): (&Regex, &(&str, &str))| pattern.replace_all(&text, *by).into_owned();
    let spaced = PATTERNS.iter().zip(SUBSTITUTIONS).fold(text.to_string(), replace);
    spaced.split_whitespace().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: nltk 3.9.1.
    #[test]
    fn words_are_nltk_s() {
        assert_eq!(
            words("good muffins cost $3.88 (roughly 3,36), etc."),
            ["good", "muffins", "cost", "$", "3.88", "(", "roughly", "3,36", ")", ",", "etc", "."]
        );
        assert_eq!(
            words("they'll say \"it's\" 'a' can't... i cannot"),
            ["they", "'ll", "say", "``", "it", "'s", "''", "'", "a", "'", "ca", "n't", "...", "i", "can", "not"]
        );
        assert_eq!(words(""), [""; 0]);
    }
}
