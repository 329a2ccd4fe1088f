//! What the libraries' tokenizers gave for 212 sentence pairs, from the folder with real data.

use std::io::Read;
use std::path::Path;

use kiln::tokenize::{Encoding, TextToken};
use serde::Deserialize;

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
        let tokens: Vec<String> = tokenize(&row.a).into_iter().map(|token| token.text).collect();
        assert_eq!(tokens, row.tokens_a, "{name}: {:?}", row.a);
        for (ids, pair, length) in
            [(row.single, None, None), (row.pair, Some(&row.b), None), (row.pair_trunc24, Some(&row.b), Some(24))]
        {
            let pair = pair.map(String::as_str);
            let of = format!("{name}: {:?} {pair:?}", row.a);
            ids.check(encode(&row.a, pair, length), length, pad_id, &of);
        }
    }
}
