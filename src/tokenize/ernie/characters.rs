//! The kinds of characters that ERNIE's tokenizer tells apart, as `_is_control`, `_is_punctuation`, `_is_symbol` of
//! PaddleNLP 2.8 and `_is_chinese_char` of both libraries do.
//!
//! The libraries ask Python's `unicodedata`, which knows Unicode 14 in Python 3.11; unicode-properties 0.1.5 knows
//! Unicode 18. Of the characters that both know, one is of another kind: U+1171E, an Ahom sign, is no accent any more.
//! Characters that are newer than a Python are dropped by it, because it calls them unassigned; here they are what they
//! are.

use std::sync::LazyLock;

use unicode_properties::GeneralCategory::{
    self, ClosePunctuation, ConnectorPunctuation, Control, CurrencySymbol, DashPunctuation, FinalPunctuation, Format,
    InitialPunctuation, MathSymbol, ModifierSymbol, NonspacingMark, OpenPunctuation, OtherPunctuation, OtherSymbol,
    PrivateUse, Surrogate, Unassigned,
};
use unicode_properties::UnicodeGeneralCategory;

/// The category of each character of the basic plane: found once, because each takes a search, and each character is asked about up to
/// four times.
static CATEGORIES: LazyLock<Vec<GeneralCategory>> = LazyLock::new(|| {
    (0..0x10000).map(|code| char::from_u32(code).map_or(Surrogate, UnicodeGeneralCategory::general_category)).collect()
});

fn category(c: char) -> GeneralCategory {
    CATEGORIES.get(c as usize).copied().unwrap_or_else(|| c.general_category())
}

/// Characters that are no symbols in Unicode and still stand alone in PaddleNLP: ², º, 〇, µ, Ø, ŋ, Ʊ. (Its list has the
/// soft hyphen as well, which is dropped before.)
pub const MORE_SYMBOLS: [char; 7] = ['\u{B2}', '\u{BA}', '\u{3007}', '\u{B5}', '\u{D8}', '\u{14B}', '\u{1B1}'];

/// Whether a character is left out of the text: control, format, private and unassigned characters, and U+FFFD.
pub fn is_dropped(c: char) -> bool {
    let dropped = || c == '\u{FFFD}' || matches!(category(c), Control | Format | PrivateUse | Surrogate | Unassigned);
    !matches!(c, ' '..='~' | '\t' | '\n' | '\r') && dropped()
}

/// Whether a character is one of the ideographs that nearly all Chinese text is written in. Neither lower-casing nor a form of Unicode
/// changes them, and none is dropped.
pub fn is_common_ideograph(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c)
}

/// Whether a character is a word for itself: the CJK ideographs, not kana and hangul.
pub fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B820}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

/// Whether both libraries part a character from its neighbours: punctuation, and all of ASCII that is no letter or
/// digit.
pub fn is_punctuation(c: char) -> bool {
    let is_other = || {
        matches!(
            category(c),
            ConnectorPunctuation
                | DashPunctuation
                | OpenPunctuation
                | ClosePunctuation
                | InitialPunctuation
                | FinalPunctuation
                | OtherPunctuation
        )
    };
    c.is_ascii_punctuation() || (!c.is_ascii() && is_other())
}

/// Whether PaddleNLP parts a character from its neighbours besides punctuation.
pub fn is_symbol(c: char) -> bool {
    let is_one = || matches!(category(c), MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol);
    !c.is_ascii() && (is_one() || MORE_SYMBOLS.contains(&c))
}

/// Whether a character is an accent that is stripped.
pub fn is_accent(c: char) -> bool {
    !c.is_ascii() && category(c) == NonspacingMark
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: the functions of the same name in paddlenlp 2.8.1, Python 3.11.
    #[test]
    fn characters_are_of_the_libraries_kinds() {
        let of = |is: fn(char) -> bool, text: &str| text.chars().filter(|c| is(*c)).collect::<String>();
        let text = "a\0\t\n \u{7F}\u{85}\u{AD}\u{200D}\u{2028}\u{3000}\u{E000}\u{FFFD}é";
        assert_eq!(of(is_dropped, text), "\0\u{7F}\u{85}\u{AD}\u{200D}\u{E000}\u{FFFD}");
        assert_eq!(of(is_chinese, "一鿿㐀𠀀豈〇かカ한々"), "一鿿㐀𠀀豈");
        assert_eq!(of(is_punctuation, "a1$+^`~-、。“「°€²"), "$+^`~-、。“「");
        assert_eq!(of(is_symbol, "a1+°€²〇µØŋƱ😀、"), "°€²〇µØŋƱ😀");
        assert_eq!(of(is_accent, "a\u{301}\u{94D}\u{93E}´"), "\u{301}\u{94D}");
    }
}
