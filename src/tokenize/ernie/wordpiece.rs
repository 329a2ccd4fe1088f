//! From a word to its pieces: `WordpieceTokenizer` of BERT, PaddleNLP 2.8 and transformers 4.46.

use super::words::Letter;
use crate::tokenize::Token;
use crate::tokenize::vocab::Vocab;

/// What stands before a piece that goes on with a word.
const CONTINUES: &str = "##";
/// A word of more characters is unknown.
const LONGEST_WORD: usize = 100;

/// Gives the pieces of `word`: at each place the longest that the vocabulary has. A word that cannot be cut so, or has
/// more than 100 characters, is one `unknown` token.
pub fn each_piece(word: &[Letter], vocab: &Vocab, unknown: u32, mut emit: impl FnMut(&str, Token)) {
    match pieces(word, vocab) {
        Some(pieces) => pieces.into_iter().for_each(|(text, token)| emit(text, token)),
        None => emit(vocab.token(unknown).unwrap_or_default(), located(unknown, word)),
    }
}

fn pieces<'v>(word: &[Letter], vocab: &'v Vocab) -> Option<Vec<(&'v str, Token)>> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        let prefix = if pieces.is_empty() { "" } else { CONTINUES };
        let (count, id) = longest_piece(prefix, rest, vocab)?;
        let (piece, after) = rest.split_at(count);
        pieces.push((vocab.token(id)?, located(id, piece)));
        rest = after;
    }
    Some(pieces)
}

/// How many characters the longest piece has that `letters` begin with, and its id.
fn longest_piece(prefix: &str, letters: &[Letter], vocab: &Vocab) -> Option<(usize, u32)> {
    let mut text = prefix.to_string();
    text.extend(letters.iter().map(|letter| letter.char));
    (1..=letters.len()).rev().find_map(|count| {
        let id = vocab.id(&text);
        text.pop();
        id.map(|id| (count, id))
    })
}

fn located(id: u32, letters: &[Letter]) -> Token {
    let (start, end) =
        (letters.first().map_or(0, |letter| letter.start), letters.last().map_or(0, |letter| letter.end));
    Token { id, start, end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn cut(word: &str) -> Vec<(String, Token)> {
        let vocab = Vocab::from_bytes("[UNK]\nun\n##aff\n##able\n##a\nu\n".as_bytes(), Path::new("vocab.txt")).unwrap();
        let letters: Vec<Letter> =
            word.chars().zip(10..).map(|(char, start)| Letter { char, start, end: start + 1 }).collect();
        let mut pieces = Vec::new();
        each_piece(&letters, &vocab, 0, |text, token| pieces.push((text.to_string(), token)));
        pieces
    }

    #[test]
    fn the_longest_piece_comes_first() {
        let expected = [("un", 1, 10, 12), ("##aff", 2, 12, 15), ("##able", 3, 15, 19)];
        assert_eq!(
            cut("unaffable"),
            expected.map(|(text, id, start, end)| (text.to_string(), Token { id, start, end }))
        );
    }

    #[test]
    fn a_word_is_unknown_as_a_whole() {
        let unknown = |end| vec![("[UNK]".to_string(), Token { id: 0, start: 10, end })];
        assert_eq!(cut("unb"), unknown(13));
        assert_eq!(cut(&format!("u{}", "a".repeat(100))), unknown(111));
        assert_eq!(cut(&format!("u{}", "a".repeat(99))).len(), 100);
        assert_eq!(cut(""), []);
    }
}
