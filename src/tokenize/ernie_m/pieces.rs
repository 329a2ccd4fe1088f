//! How ERNIE-M splits SentencePiece's pieces further.

use std::ops::Range;

use crate::tokenize::digits::is_digit;
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
}
