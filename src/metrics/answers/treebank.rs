//! Words as `nltk.word_tokenize(text, preserve_line=True)` cuts them (NLTK 3.9, `NLTKWordTokenizer`), of text in lower case.
//!
//! NLTK's rules are substitutions, one after the other; each stands here as a match at a place of the text.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Words that are two: each with where it is parted.
const CONTRACTIONS: [(&str, usize); 7] =
    [("cannot", 3), ("d'ye", 1), ("gimme", 3), ("gonna", 3), ("gotta", 3), ("lemme", 3), ("more'n", 4)];
/// An apostrophe before one of these is the beginning of a clitic, and stays with it.
const CLITICS: [&str; 8] = ["re", "ve", "ll", "m", "t", "s", "d", "n"];

/// The words of `text`.
pub fn words(text: &str) -> Vec<String> {
    let mut chars: Vec<char> = text.chars().collect();
    starting_quotes(&mut chars);
    punctuation(&mut chars);
    chars.insert(0, ' ');
    chars.push(' ');
    ending_quotes(&mut chars);
    contractions(&mut chars);
    chars.iter().collect::<String>().split_whitespace().map(String::from).collect()
}

/// Replaces every match, from left to right: `found` gives for a place how many characters match there, and what takes
/// their place.
fn replace(text: &mut Vec<char>, found: impl Fn(&[char], usize) -> Option<(usize, String)>) {
    let mut out = Vec::with_capacity(text.len() + 8);
    let mut at = 0;
    while at < text.len() {
        match found(text, at) {
            Some((count, replacement)) => {
                out.extend(replacement.chars());
                at += count;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    *text = out;
}

/// Puts spaces round every one of `set`.
fn pad(text: &mut Vec<char>, set: &str) {
    replace(text, |text, at| set.contains(text[at]).then(|| (1, format!(" {} ", text[at]))));
}

/// Puts spaces round every run of at least `least` times `c`.
fn pad_runs(text: &mut Vec<char>, c: char, least: usize) {
    replace(text, |text, at| {
        let count = text[at..].iter().take_while(|other| **other == c).count();
        (count >= least).then(|| (count, format!(" {} ", c.to_string().repeat(count))))
    });
}

fn starts(text: &[char], with: &str) -> bool {
    let mut rest = text.iter();
    with.chars().all(|c| rest.next() == Some(&c))
}

/// Python's `\w`.
fn is_word(c: Option<&char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

fn is_digit(c: char) -> bool {
    c.general_category() == GeneralCategory::DecimalNumber
}

fn starting_quotes(text: &mut Vec<char>) {
    pad(text, "«“‘„");
    pad_runs(text, '`', 1);
    if text.first() == Some(&'"') {
        text.splice(0..1, "``".chars());
    }
    replace(text, |text, at| starts(&text[at..], "``").then(|| (2, " `` ".into())));
    replace(text, |text, at| {
        let quote = ["\"", "''"].into_iter().find(|quote| starts(&text[at + 1..], quote))?;
        " ([{<".contains(text[at]).then(|| (1 + quote.len(), format!("{} `` ", text[at])))
    });
    replace(text, |text, at| {
        let letter = *text.get(at + 1).filter(|c| text[at] == '\'' && is_word(Some(*c)))?;
        let is_clitic = CLITICS.iter().any(|clitic| starts(&text[at + 1..], clitic));
        (!is_clitic && !is_word(text.get(at + 2))).then(|| (2, format!("' {letter}")))
    });
}

fn punctuation(text: &mut Vec<char>) {
    final_stop(text, "])}>\"'»”’ ", " ");
    replace(text, |text, at| {
        let next = *text.get(at + 1).filter(|c| !is_digit(**c))?;
        matches!(text[at], ':' | ',').then(|| (2, format!(" {} {next}", text[at])))
    });
    replace(text, |text, at| {
        (matches!(text[at], ':' | ',') && at + 1 == text.len()).then(|| (1, format!(" {} ", text[at])))
    });
    pad_runs(text, '.', 2);
    pad(text, ";@#$%&");
    final_stop(text, "])}>\"'", "");
    pad(text, "?!");
    replace(text, |text, at| {
        (text[at] != '\'' && starts(&text[at + 1..], "' ")).then(|| (3, format!("{} ' ", text[at])))
    });
    pad(text, "*");
    pad(text, "][(){}<>");
    replace(text, |text, at| starts(&text[at..], "--").then(|| (2, " -- ".into())));
}

/// Parts the full stop at the end, which some of `closing` may follow, from what it ends, and `gap` from what follows.
fn final_stop(text: &mut Vec<char>, closing: &str, gap: &str) {
    replace(text, |text, at| {
        if text[at] == '.' || text.get(at + 1) != Some(&'.') {
            return None;
        }
        let after: String = text[at + 2..].iter().take_while(|c| closing.contains(**c)).collect();
        let rest = &text[at + 2 + after.chars().count()..];
        let is_last = rest.iter().all(|c| c.is_whitespace());
        is_last.then(|| (text.len() - at, format!("{} .{gap}{after} ", text[at])))
    });
}

fn ending_quotes(text: &mut Vec<char>) {
    pad(text, "»”’");
    replace(text, |text, at| starts(&text[at..], "''").then(|| (2, " '' ".into())));
    replace(text, |text, at| (text[at] == '"').then(|| (1, " '' ".into())));
    replace(text, |text, at| {
        let count = text[at..].iter().take_while(|c| c.is_whitespace()).count();
        (count > 0).then(|| (count, " ".into()))
    });
    for clitics in [&["'s ", "'m ", "'d ", "' "], &["'ll ", "'re ", "'ve ", "n't "]] {
        replace(text, |text, at| {
            let clitic = clitics.iter().find(|clitic| starts(&text[at + 1..], clitic))?;
            (!"' ".contains(text[at])).then(|| (1 + clitic.len(), format!("{} {clitic}", text[at])))
        });
    }
}

fn contractions(text: &mut Vec<char>) {
    let begins = |text: &[char], at: usize| at == 0 || !is_word(text.get(at - 1));
    for (word, parted) in CONTRACTIONS {
        replace(text, |text, at| {
            let whole = starts(&text[at..], word) && begins(text, at) && !is_word(text.get(at + word.len()));
            whole.then(|| (word.len(), format!(" {} {} ", &word[..parted], &word[parted..])))
        });
    }
    replace(text, |text, at| {
        let whole = starts(&text[at..], "wanna") && begins(text, at);
        let ends = text.get(at + 5).is_some_and(|c| c.is_whitespace());
        (whole && ends).then(|| (5, " wan na ".into()))
    });
    for (word, second) in [(" 'tis", "is"), (" 'twas", "was")] {
        replace(text, |text, at| {
            let whole = starts(&text[at..], word) && !is_word(text.get(at + word.len()));
            whole.then(|| (word.len(), format!(" 't {second} ")))
        });
    }
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
