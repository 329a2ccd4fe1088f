//! From a text to its words: `BasicTokenizer` of PaddleNLP 2.8 and of transformers 4.46, with places in the text.

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::characters::{is_accent, is_chinese, is_common_ideograph, is_dropped, is_punctuation, is_symbol};

/// A character of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    pub char: char,
    /// First character of the text that it came from.
    pub start: u32,
    /// The character after the last one that it came from.
    pub end: u32,
}

/// What is done to a word's characters besides lower-casing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    AsWritten,
    /// Accents that can be are put together with their letters: Unicode's form NFC.
    Composed,
    /// Accents are parted from their letters (NFD) and left out.
    WithoutAccents,
}

/// How a text is cut into words.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    pub lower_case: bool,
    pub form: Form,
    /// Whether symbols stand alone, as punctuation does.
    pub symbols: bool,
}

impl Words {
    /// Gives the words of `text` in order. Words end at white space, Chinese characters and punctuation stand alone,
    /// and characters that are dropped leave no gap. What `whole` accepts, before or after normalisation, is a word as
    /// it is.
    pub fn each(&self, text: &str, whole: impl Fn(&[Letter]) -> bool, mut emit: impl FnMut(&[Letter])) {
        let mut written = Vec::new();
        for (char, start) in text.chars().zip(0..) {
            let letter = Letter { char, start, end: start + 1 };
            if is_common_ideograph(char) {
                if !written.is_empty() {
                    self.split(&written, &whole, &mut emit);
                    written.clear();
                }
                emit(&[letter]);
                continue;
            }
            if is_dropped(char) {
                continue;
            }
            let chinese = is_chinese(char);
            if chinese || char.is_whitespace() {
                self.split(&written, &whole, &mut emit);
                written.clear();
            }
            if chinese {
                self.split(&[letter], &whole, &mut emit);
            } else if !char.is_whitespace() {
                written.push(letter);
            }
        }
        self.split(&written, whole, emit);
    }

    /// Normalises what stands between white space, and cuts it at its punctuation.
    fn split(&self, written: &[Letter], whole: impl Fn(&[Letter]) -> bool, mut emit: impl FnMut(&[Letter])) {
        if whole(written) {
            return emit(written);
        }
        let letters = self.normalise(written);
        if whole(&letters) {
            return emit(&letters);
        }
        let alone = |letter: &Letter| is_punctuation(letter.char) || (self.symbols && is_symbol(letter.char));
        letters.chunk_by(|a, b| !alone(a) && !alone(b)).for_each(emit);
    }

    fn normalise(&self, written: &[Letter]) -> Vec<Letter> {
        let mut letters = Vec::with_capacity(written.len());
        for letter in written {
            match self.lower_case {
                true => letters.extend(letter.char.to_lowercase().map(|char| Letter { char, ..*letter })),
                false => letters.push(*letter),
            }
        }
        if self.form == Form::AsWritten || letters.iter().all(|letter| letter.char.is_ascii()) {
            return letters;
        }
        let mut normalised = Vec::with_capacity(letters.len());
        for cluster in letters.chunk_by(|_, next| belongs_to_the_one_before(next.char)) {
            self.normalise_cluster(cluster, &mut normalised);
        }
        normalised
    }

    /// A cluster is a character with the accents and such on it. Where normalisation changes anything in it, all that
    /// it gives has the place of the whole cluster: an accent that was left out still counts to its letter.
    fn normalise_cluster(&self, cluster: &[Letter], normalised: &mut Vec<Letter>) {
        let chars = cluster.iter().map(|letter| letter.char);
        let changed: Vec<char> = match self.form {
            Form::AsWritten => chars.clone().collect(),
            Form::Composed => chars.clone().nfc().collect(),
            Form::WithoutAccents => chars.clone().nfd().filter(|c| !is_accent(*c)).collect(),
        };
        if changed.iter().copied().eq(chars) {
            normalised.extend(cluster);
        } else if let [Letter { start, .. }, ..] = *cluster {
            let end = cluster.iter().map(|letter| letter.end).max().unwrap_or(start);
            normalised.extend(changed.into_iter().map(|char| Letter { char, start, end }));
        }
    }
}

/// Whether normalisation may join or swap a character with the one before it. Where it says no, both sides can be
/// normalised apart.
fn belongs_to_the_one_before(c: char) -> bool {
    is_combining_mark(c) || is_nfc_quick(std::iter::once(c)) == IsNormalized::Maybe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The words, each with its place.
    fn words(words: Words, text: &str) -> Vec<(String, u32, u32)> {
        let mut found = Vec::new();
        words.each(
            text,
            |_| false,
            |word| {
                let text = word.iter().map(|letter| letter.char).collect();
                found.push((text, word[0].start, word[word.len() - 1].end));
            },
        );
        found
    }

    fn plain(lower_case: bool, form: Form) -> Words {
        Words { lower_case, form, symbols: true }
    }

    #[test]
    fn words_know_their_places() {
        let expected =
            [("he", 1, 3), ("'", 3, 4), ("s", 4, 6), ("i", 7, 8), ("漢", 8, 9), ("字", 9, 10), ("か", 10, 11)];
        let found = words(plain(true, Form::WithoutAccents), "\tHe's\u{301} İ漢字が");
        assert_eq!(found, expected.map(|(text, start, end)| (text.to_string(), start, end)));
    }

    /// "substring not found" of PaddleNLP's `get_offset_mapping`: the characters that go missing still count.
    #[test]
    fn dropped_characters_and_accents_count() {
        let found = words(plain(true, Form::WithoutAccents), "\u{200B}caf\u{200D}e\u{301}\0 \u{301}\u{FFFD}x\u{20D0}");
        assert_eq!(found, [("cafe".to_string(), 1, 7), ("x".to_string(), 11, 13)]);
    }

    #[test]
    fn a_composed_letter_has_the_place_of_all_its_parts() {
        let found = words(plain(false, Form::Composed), "Ae\u{301}\u{323}-\u{1100}\u{1161}");
        let expected = [("A\u{1EB9}\u{301}", 0, 4), ("-", 4, 5), ("가", 5, 7)];
        assert_eq!(found, expected.map(|(text, start, end)| (text.to_string(), start, end)));
    }

    proptest! {
        /// Cluster by cluster gives the same as the whole at once.
        #[test]
        fn clusters_can_be_normalised_apart(
            text in "([aeouK가]|[\u{300}-\u{345}]|[\u{F71}-\u{F81}\u{5B0}-\u{5C7}\u{302A}-\u{302F}]|[\u{1100}-\u{11C7}]\
                |[\u{9BE}\u{9C7}\u{B3E}\u{B47}]|[\u{1D15E}-\u{1D172}]|[\u{AC00}-\u{ACFF}]|\\PC){0,12}",
        ) {
            let letters: Vec<Letter> =
                text.chars().zip(0..).map(|(char, start)| Letter { char, start, end: start + 1 }).collect();
            let whole = |form| -> Vec<char> {
                plain(false, form).normalise(&letters).iter().map(|letter| letter.char).collect()
            };
            prop_assert_eq!(whole(Form::Composed), text.nfc().collect::<Vec<_>>());
            let expected: Vec<char> = text.nfd().filter(|c| !is_accent(*c)).collect();
            prop_assert_eq!(whole(Form::WithoutAccents), expected);
        }
    }
}
