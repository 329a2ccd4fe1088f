//! What the tests of tokenizers share: what the libraries gave, for the committed small vocabularies and, from the folder with real
//! data, for 212 sentence pairs; and what holds for any text.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln::tokenize::{Encoding, TextToken};
use serde::Deserialize;

pub fn fixture(name: &str) -> PathBuf {
    crate::fixture("tokenizer").join(name)
}

pub fn texts(tokens: Vec<TextToken>) -> Vec<String> {
    tokens.into_iter().map(|token| token.text).collect()
}

/// One row of what transformers gave with a small SentencePiece model; `tests/fixtures/tokenizer/make.py` made it.
#[derive(Deserialize)]
pub struct Expected {
    pub text: String,
    pub pair: String,
    pub pieces: Vec<String>,
    pub piece_ids: Vec<u32>,
    pub tokens: Vec<String>,
    pub lower_tokens: Vec<String>,
    pub ids: Vec<u32>,
    pub cut_ids: Vec<u32>,
    pub cut_type_ids: Vec<u8>,
}

pub fn expected(name: &str) -> Vec<Expected> {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// Compares tokens, ids and pairs that are cut to 12 tokens.
pub fn check_rows(
    name: &str,
    tokenize: impl Fn(&str) -> Vec<TextToken>,
    encode: impl Fn(&str, Option<&str>, Option<usize>) -> Encoding,
) {
    for row in expected(name) {
        assert_eq!(texts(tokenize(&row.text)), row.tokens, "{:?}", row.text);
        assert_eq!(encode(&row.text, None, None).ids, row.ids, "{:?}", row.text);
        let cut = encode(&row.text, Some(&row.pair), Some(12));
        assert_eq!((cut.ids, cut.type_ids), (row.cut_ids, row.cut_type_ids), "{:?}", row.text);
    }
}

/// A row is no longer than allowed, its ids are the vocabulary's, and its offsets run forward in the texts.
pub fn assert_fits(row: &Encoding, texts: [Option<&str>; 2], length: usize, vocab_size: usize) {
    assert!(row.len() <= length);
    for (sequence, text) in (0u8..).zip(texts) {
        let count = text.map_or(0, |text| text.chars().count() as u32);
        let mut before = 0;
        for (offset, _) in row.offsets.iter().zip(&row.sequences).filter(|(_, of)| **of == Some(sequence)) {
            assert!(before <= offset.0 && offset.0 <= offset.1 && offset.1 <= count, "{offset:?}");
            before = offset.0;
        }
    }
    assert!(row.ids.iter().all(|id| (*id as usize) < vocab_size));
}

#[derive(Deserialize)]
struct Golden {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    a: String,
    b: String,
    tokens_a: Vec<String>,
    single: Ids,
    pair: Ids,
    pair_trunc24: Ids,
}

/// PaddleNLP's ERNIE-M rows have no type ids.
#[derive(Deserialize)]
struct Ids {
    input_ids: Vec<u32>,
    token_type_ids: Option<Vec<u8>>,
    attention_mask: Option<Vec<u8>>,
}

impl Ids {
    /// `length` is what the row is padded to, if it is padded.
    fn check(&self, mut row: Encoding, length: Option<usize>, pad_id: u32, of: &str) {
        let mut mask = vec![1; row.len()];
        if let Some(length) = length {
            mask.resize(length, 0);
            row.ids.resize(length, pad_id);
            row.type_ids.resize(length, 0);
        }
        assert_eq!(row.ids, self.input_ids, "{of}");
        assert_eq!(&row.type_ids, self.token_type_ids.as_ref().unwrap_or(&row.type_ids), "{of}");
        assert_eq!(&mask, self.attention_mask.as_ref().unwrap_or(&mask), "{of}");
    }
}

/// Compares every row of one file: tokens, ids, type ids, truncation and padding, with those of any family's tokenizer.
pub fn check(
    root: &Path,
    name: &str,
    pad_id: u32,
    tokenize: impl Fn(&str) -> Vec<TextToken>,
    encode: impl Fn(&str, Option<&str>, Option<usize>) -> Encoding,
) {
    let file = std::fs::File::open(root.join("golden/tokenizers").join(name)).unwrap();
    let mut json = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut json).unwrap();
    let golden: Golden = serde_json::from_str(&json).unwrap();
    assert_eq!(golden.items.len(), 212);
    for row in golden.items {
        assert_eq!(texts(tokenize(&row.a)), row.tokens_a, "{name}: {:?}", row.a);
        for (ids, pair, length) in
            [(row.single, None, None), (row.pair, Some(&row.b), None), (row.pair_trunc24, Some(&row.b), Some(24))]
        {
            let pair = pair.map(String::as_str);
            let of = format!("{name}: {:?} {pair:?}", row.a);
            ids.check(encode(&row.a, pair, length), length, pad_id, &of);
        }
    }
}
