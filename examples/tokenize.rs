//! The ids of texts, for scripts/check_tokenizers.py.
//!
//! `tokenize MODEL_TYPE FOLDER OPTIONS SAVED`: reads the tokenizer in FOLDER, with OPTIONS as a recipe's `[model]` has them, in JSON;
//! writes its files to SAVED, as a model folder has them; reads rows (`[text, pair or null, longest or null]`) as lines of JSON
//! from the standard input, and writes `[ids, type ids]` for each.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;

use kiln::models::Family;
use kiln::recipe::{PairEncoding, PieceSplitting, TypedSpecials, WordSplitting};
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use serde::Deserialize;

#[derive(Deserialize)]
struct Options {
    piece_splitting: Option<PieceSplitting>,
    word_splitting: Option<WordSplitting>,
    typed_specials: Option<TypedSpecials>,
    pair_encoding: Option<PairEncoding>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model_type, folder, options, saved] = arguments.as_slice() else {
        return Err("expected MODEL_TYPE FOLDER OPTIONS SAVED".into());
    };
    let family = Family::of_model_type(model_type).ok_or("no such model type")?;
    let Options { piece_splitting, word_splitting, typed_specials, pair_encoding } = serde_json::from_str(options)?;
    let options =
        TokenizerOptions { piece_splitting, word_splitting, typed_specials, pair_encoding, ..Default::default() };
    let tokenizer = Tokenizer::from_dir(family.tokenizers, Path::new(folder), options)?;
    tokenizer.save(Path::new(saved), 512)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let (text, pair, longest): (String, Option<String>, Option<usize>) = serde_json::from_str(&line?)?;
        let row = tokenizer.encode(&text, pair.as_deref(), longest);
        writeln!(out, "{}", serde_json::json!([row.ids, row.type_ids]))?;
    }
    Ok(())
}
