//! How ERNIE-M splits SentencePiece's pieces further.

use std::ops::Range;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::tokenize::normalizer::SPACE;

/// Gives the parts of a piece, as ranges of bytes, in order: Chinese characters and some punctuation stand alone, and digits
/// are parted from what is not a digit. A `▁` in front of such a character is left out.
pub fn split_piece(piece: &str, mut emit: impl FnMut(Range<usize>)) {
    let is_space = |range: Range<usize>| piece[range].chars().eq([SPACE]);
    let mut start = 0;
    let mut before: Option<char> = None;
    for (at, c) in piece.char_indices() {
        let alone = is_chinese(c) || is_punctuation(c);
        let turns = before.is_some_and(|before| is_digit(before) != is_digit(c));
        if c != SPACE && (alone || turns) {
            if start < at && !is_space(start..at) {
                emit(start..at);
            }
            start = at;
            if alone {
                start = at + c.len_utf8();
                emit(at..start);
            }
        }
        before = Some(c);
    }
    if start < piece.len() {
        emit(start..piece.len());
    }
}

fn is_chinese(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c)
}

fn is_punctuation(c: char) -> bool {
    ",;:.?!~，；：。？！《》【】".contains(c)
}

/// What `str.isdigit` of Python 3.11 takes for a digit: decimal digits of any script and digits such as `²` and `①`, but not `½` or
/// `Ⅷ`.
fn is_digit(c: char) -> bool {
    let is_other_digit = matches!(c,
        '\u{B2}' | '\u{B3}' | '\u{B9}' | '\u{1369}'..='\u{1371}' | '\u{19DA}' | '\u{2070}' | '\u{2074}'..='\u{2079}'
        | '\u{2080}'..='\u{2089}' | '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247C}' | '\u{2488}'..='\u{2490}'
        | '\u{24EA}' | '\u{24F5}'..='\u{24FD}' | '\u{24FF}' | '\u{2776}'..='\u{277E}' | '\u{2780}'..='\u{2788}'
        | '\u{278A}'..='\u{2792}' | '\u{10A40}'..='\u{10A43}' | '\u{10E60}'..='\u{10E68}' | '\u{11052}'..='\u{1105A}'
        | '\u{1F100}'..='\u{1F10A}');
    // Decimal digits that Unicode got after version 14, which is Python 3.11's.
    let is_newer = || {
        matches!(c,
        '\u{10D40}'..='\u{10D49}' | '\u{116D0}'..='\u{116E3}' | '\u{11BF0}'..='\u{11BF9}' | '\u{11DE0}'..='\u{11DE9}'
        | '\u{11F50}'..='\u{11F59}' | '\u{16130}'..='\u{16139}' | '\u{16D70}'..='\u{16D79}' | '\u{1CCF0}'..='\u{1CCF9}'
        | '\u{1E4F0}'..='\u{1E4F9}' | '\u{1E5F1}'..='\u{1E5FA}')
    };
    c.is_ascii_digit()
        || is_other_digit
        || (!c.is_ascii() && c.general_category() == GeneralCategory::DecimalNumber && !is_newer())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(piece: &str) -> Vec<&str> {
        let mut parts = Vec::new();
        split_piece(piece, |range| parts.push(&piece[range]));
        parts
    }

    /// Expected values: `ErnieMTokenizer._tokenize` of transformers 4.46.3 with these pieces.
    #[test]
    fn follows_the_libraries() {
        assert_eq!(split("▁the"), ["▁the"]);
        assert_eq!(split("▁9"), ["9"]);
        assert_eq!(split("▁ab12cd,"), ["▁ab", "12", "cd", ","]);
        assert_eq!(split("▁北京2a"), ["北", "京", "2", "a"]);
        assert_eq!(split("1,000.5"), ["1", ",", "000", ".", "5"]);
        assert_eq!(split("a▁b"), ["a▁b"]);
        assert_eq!(split("1▁b"), ["1▁b"]);
        assert_eq!(split("▁▁9"), ["▁▁", "9"]);
        assert_eq!(split("…。"), ["…", "。"]);
        assert_eq!(split("▁"), ["▁"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn digits_are_those_of_python() {
        assert!("059²①९٣９𝟘".chars().all(is_digit));
        assert!(!"a½Ⅷ十/: ▁".chars().any(is_digit));
        // `sum(chr(c).isdigit() for c in range(0x110000))` in Python 3.11.
        assert_eq!((0..0x110000).filter_map(char::from_u32).filter(|c| is_digit(*c)).count(), 788);
    }
}
