//! From a word to its pieces: `WordpieceTokenizer` of BERT, PaddleNLP 2.8 and transformers 4.46.

use super::words::Letter;
use crate::tokenize::Token;
use crate::tokenize::double_array::DoubleArray;
use crate::tokenize::vocab::Vocab;

/// What stands before a piece that goes on with a word.
const CONTINUES: &str = "##";
/// A word of more characters is unknown.
pub const LONGEST_WORD: usize = 100;

/// The tokens of a vocabulary as words are cut into them.
#[derive(Debug)]
pub struct WordPiece {
    /// All of them, by what a word begins with.
    begins: DoubleArray,
    /// Those that go on with a word, by what stands behind their "##"; none if there are none.
    continues: Option<DoubleArray>,
    unknown: u32,
}

/// Memory for the cutting of one word after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
    pieces: Vec<Token>,
}

impl WordPiece {
    /// Of a vocabulary with the id of its unknown token.
    ///
    /// # Errors
    /// It has more tokens than can be looked up.
    pub fn new(vocab: &Vocab, unknown: u32) -> Result<Self, &'static str> {
        let tokens = || (0..).map_while(|id| Some((vocab.token(id)?, id)));
        // No text holds a zero byte by now.
        let of = |tokens: &mut dyn Iterator<Item = (&'_ str, u32)>| {
            let keys = tokens.filter(|(token, _)| !token.is_empty() && !token.contains('\0'));
            DoubleArray::build(keys.map(|(token, id)| (token.as_bytes(), id)).collect())
        };
        let parts = || tokens().filter_map(|(token, id)| Some((token.strip_prefix(CONTINUES)?, id)));
        let has_parts = parts().any(|(part, _)| !part.is_empty());
        Ok(Self { begins: of(&mut tokens())?, continues: has_parts.then(|| of(&mut parts())).transpose()?, unknown })
    }

    /// Gives the pieces of `word`: at each place the longest that the vocabulary has. A word that cannot be cut so, or has
    /// more than 100 characters, is one unknown token.
    pub fn each_piece(&self, word: &[Letter], scratch: &mut Scratch, mut emit: impl FnMut(Token)) {
        match self.cut(word, scratch) {
            Some(pieces) => pieces.iter().for_each(|token| emit(*token)),
            None => emit(located(self.unknown, word)),
        }
    }

    fn cut<'s>(&self, word: &[Letter], scratch: &'s mut Scratch) -> Option<&'s [Token]> {
        let Scratch { text, pieces } = scratch;
        if word.len() > LONGEST_WORD {
            return None;
        }
        text.clear();
        text.extend(word.iter().map(|letter| letter.char));
        pieces.clear();
        let (mut rest, mut letters) = (text.as_str(), word);
        let mut tokens = Some(&self.begins);
        while !rest.is_empty() {
            let (length, id) = tokens?.prefixes(rest.as_bytes()).last()?;
            let (piece, behind) = letters.split_at(rest[..length].chars().count());
            pieces.push(located(id, piece));
            (rest, letters) = (&rest[length..], behind);
            tokens = self.continues.as_ref();
        }
        Some(pieces)
    }
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

    fn cut_by(vocab: &str, word: &str) -> Vec<(u32, u32, u32)> {
        let vocab = Vocab::from_bytes(vocab.as_bytes(), Path::new("vocab.txt")).unwrap();
        let letters: Vec<Letter> =
            word.chars().zip(10..).map(|(char, start)| Letter { char, start, end: start + 1 }).collect();
        let mut pieces = Vec::new();
        let wordpiece = WordPiece::new(&vocab, 0).unwrap();
        wordpiece
            .each_piece(&letters, &mut Scratch::default(), |token| pieces.push((token.id, token.start, token.end)));
        pieces
    }

    fn cut(word: &str) -> Vec<(u32, u32, u32)> {
        cut_by("[UNK]\nun\n##aff\n##able\n##a\nu\n", word)
    }

    #[test]
    fn the_longest_piece_comes_first() {
        assert_eq!(cut("unaffable"), [(1, 10, 12), (2, 12, 15), (3, 15, 19)]);
    }

    #[test]
    fn a_word_is_unknown_as_a_whole() {
        let unknown = |end| [(0, 10, end)];
        assert_eq!(cut("unb"), unknown(13));
        assert_eq!(cut(&format!("u{}", "a".repeat(100))), unknown(111));
        assert_eq!(cut(&format!("u{}", "a".repeat(99))).len(), 100);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn a_vocabulary_may_have_nothing_that_goes_on() {
        assert_eq!(cut_by("[UNK]\n##\né\n", "é"), [(2, 10, 11)]);
        assert_eq!(cut_by("[UNK]\n##\né\n", "éé"), [(0, 10, 12)]);
    }
}
