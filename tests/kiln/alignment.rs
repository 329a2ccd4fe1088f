//! Tagged words as rows of ids, against transformers and PaddleNLP, and tags back to words.

use kiln::data::align::{AlignOptions, AlignedRow, IGNORED, NO_TAG, word_tags};
use kiln::data::rows::TaggedRow;
use kiln::recipe::{PieceSplitting, TypedSpecials};
use kiln::tokenize::ernie_m::ErnieMTokenizer;
use kiln::tokenize::rembert::RemBertTokenizer;
use kiln::tokenize::{Specials, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;

use crate::fixture;

/// One case of `align_*.json`; `tests/fixtures/tagging/make_align.py` says what made it.
#[derive(Deserialize)]
struct Case {
    tokenizer: String,
    words: Vec<String>,
    tags: Vec<u32>,
    max_length: usize,
    ids: Vec<u32>,
    labels: Vec<i32>,
    labels_all: Vec<i32>,
    cut: usize,
    vanished: usize,
}

fn align(tokenizer: &Tokenizer, row: &TaggedRow, max_length: usize, label_all_pieces: bool) -> AlignedRow {
    AlignedRow::tokenised(row, tokenizer, AlignOptions { max_length, label_all_pieces })
}

fn check(library: &str, rembert: TypedSpecials, ernie_m: PieceSplitting) {
    let folder = fixture("tokenizer");
    let rembert = RemBertTokenizer::from_dir(&folder.join("rembert"), Some(rembert), None).unwrap();
    let ernie_m = ErnieMTokenizer::from_dir(&folder.join("ernie-m"), Some(ernie_m)).unwrap();
    let (rembert, ernie_m) = (Tokenizer::from(rembert), Tokenizer::from(ernie_m));
    let text = std::fs::read(fixture(&format!("tagging/align_{library}.json"))).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    for case in &cases {
        let tokenizer = if case.tokenizer == "rembert" { &rembert } else { &ernie_m };
        let row = TaggedRow { tokens: case.words.clone(), tags: case.tags.clone(), line: 1 };
        let first = align(tokenizer, &row, case.max_length, false);
        assert_eq!((&first.ids, &first.labels), (&case.ids, &case.labels), "{library} {:?}", case.words);
        assert_eq!((first.cut, first.vanished), (case.cut, case.vanished), "{library} {:?}", case.words);
        let all = align(tokenizer, &row, case.max_length, true);
        assert_eq!((&all.ids, &all.labels), (&case.ids, &case.labels_all), "{library} {:?}", case.words);

        // A model without a mistake gives every word that it saw its own tag.
        let best: Vec<u32> = all.labels.iter().map(|label| u32::try_from(*label).unwrap_or(77)).collect();
        let found = word_tags(&first.starts, &best);
        assert_eq!(found.len(), row.tags.len());
        assert!(found.iter().zip(&row.tags).all(|(found, tag)| found == tag || *found == NO_TAG));
        assert_eq!(found.iter().filter(|tag| **tag == NO_TAG).count(), case.cut + case.vanished);
    }
    assert!(cases.len() >= 30 && cases.iter().any(|case| case.cut > 0) && cases.iter().any(|case| case.vanished > 0));
}

#[test]
fn rows_are_those_of_the_libraries() {
    check("transformers", TypedSpecials::HuggingFace, PieceSplitting::HuggingFace);
    check("paddlenlp", TypedSpecials::PaddleNlp, PieceSplitting::PaddleNlp);
}

fn specials() -> Specials {
    Specials { cls: 1, pad: 0, sep: 2, unk: 3, mask: 4, texts: Vec::new() }
}

/// As many pieces as the word has characters, dots not counted.
fn pieces(word: &str) -> Vec<u32> {
    word.chars().filter(|c| *c != '.').map(|c| 100 + u32::from(c)).collect()
}

fn row(words: &str) -> TaggedRow {
    let tokens: Vec<String> = words.split(' ').map(String::from).collect();
    let tags = (0..tokens.len() as u32).collect();
    TaggedRow { tokens, tags, line: 1 }
}

fn aligned(words: &str, max_length: usize) -> AlignedRow {
    AlignedRow::new(&row(words), pieces, Some(&specials()), AlignOptions { max_length, label_all_pieces: false })
}

#[test]
fn a_word_that_vanishes_does_not_shift_the_tags_after_it() {
    let row = aligned(". ab .. c", 9);
    assert_eq!(row.labels, [IGNORED, 1, IGNORED, 3, IGNORED]);
    assert_eq!(row.starts, [None, Some(1), None, Some(3)]);
    assert_eq!((row.vanished, row.cut), (2, 0));
    assert_eq!(word_tags(&row.starts, &[9, 5, 6, 7, 9, 0, 0]), [NO_TAG, 5, NO_TAG, 7], "padding is of no word");
}

/// A word of which a piece is left keeps its tag; only a word that is cut off whole has lost it.
#[test]
fn cut_words_are_counted_and_not_predicted() {
    let row = aligned("a bcd ef . g", 5);
    assert_eq!((row.ids.len(), &row.labels), (5, &vec![IGNORED, 0, 1, IGNORED, IGNORED]));
    assert_eq!((row.cut, row.vanished), (2, 1), "the word that vanishes is not cut");
    assert_eq!(word_tags(&row.starts, &[9, 5, 6, 7, 9]), [5, 6, NO_TAG, NO_TAG, NO_TAG]);
    assert_eq!(word_tags(&row.starts, &[9, 5]), [5, NO_TAG, NO_TAG, NO_TAG, NO_TAG]);
}

#[test]
fn a_model_of_words_has_no_special_ids() {
    let options = AlignOptions { max_length: 2, label_all_pieces: false };
    let row = AlignedRow::new(&row("a b c"), pieces, None, options);
    assert_eq!((row.ids.len(), &row.labels, row.cut), (2, &vec![0, 1], 1));
    assert_eq!(word_tags(&row.starts, &[5, 6]), [5, 6, NO_TAG]);
}

proptest! {
    #[test]
    fn every_row_fits_and_every_start_is_a_words_first_id(
        words in "[ab.]{0,5}( [ab.]{1,5}){0,9}", max_length in 0usize..30,
    ) {
        let (given, found) = (row(&words), aligned(&words, max_length));
        prop_assert!(found.ids.len() <= max_length && found.ids.len() == found.labels.len());
        prop_assert_eq!(found.starts.len(), given.tokens.len());
        for (tag, start) in given.tags.iter().zip(&found.starts) {
            if let Some(start) = start {
                prop_assert_eq!(found.labels[*start as usize], *tag as i32);
            }
        }
        let unseen = found.starts.iter().filter(|start| start.is_none()).count();
        prop_assert_eq!(unseen, found.cut + found.vanished);
        prop_assert_eq!(found.labels.iter().filter(|label| **label != IGNORED).count(), given.tags.len() - unseen);
    }
}
