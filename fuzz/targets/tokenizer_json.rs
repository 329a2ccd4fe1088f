//! A `tokenizer.json`: opened as the tokenizer of a model folder, and rows made with it.

#![no_main]

use kiln::models::FAMILIES;
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use kiln_fuzz::{folder, let_panics_be_caught, write};
use libfuzzer_sys::fuzz_target;

const TEXTS: [&str; 4] = ["", " a  b\u{3000}", "Ｋiln 训练 ﬁne-tunes\u{301}. İ", "\0\u{10FFFD}▁<mask>[MASK]"];

fuzz_target!(|bytes: &[u8]| {
    let_panics_be_caught();
    let folder = folder("tokenizer");
    write(&folder, "tokenizer.json", bytes);
    for family in FAMILIES.iter().filter(|family| ["bert", "xlm-roberta"].contains(&family.model_type)) {
        let Ok(tokenizer) = Tokenizer::from_dir(family.tokenizers, &folder, TokenizerOptions::default()) else {
            continue;
        };
        for text in TEXTS {
            let row = tokenizer.encode(text, Some("b"), Some(16));
            let _ = tokenizer.decode(&row.ids);
            row.ids.iter().for_each(|id| _ = tokenizer.token(*id));
        }
        break;
    }
});
