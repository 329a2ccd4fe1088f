//! A SentencePiece `.model`: read, and texts cut with it.

#![no_main]

use std::path::Path;

use kiln::tokenize::sentencepiece::SentencePiece;
use libfuzzer_sys::fuzz_target;

const TEXTS: [&str; 4] = ["", " a  b\u{3000}", "Ｋiln 训练 ﬁne-tunes\u{301}.", "\0\u{10FFFD}▁<mask>"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = SentencePiece::from_bytes(bytes, Path::new("spiece.model")) else { return };
    for text in TEXTS {
        let cut = model.segment(text);
        // The pieces cover the normalised text, one after the other.
        let mut end = 0;
        for piece in &cut.pieces {
            assert_eq!(piece.bytes.start, end);
            end = piece.bytes.end;
            let _ = (&cut.text[piece.bytes.clone()], &cut.spans[piece.chars.clone()]);
        }
        assert_eq!(end, cut.text.len());
    }
});
