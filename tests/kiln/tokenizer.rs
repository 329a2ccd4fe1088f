//! ERNIE-M's tokenizer against transformers, PaddleNLP and SentencePiece.

use std::path::Path;

use kiln::error::Error;
use kiln::recipe::PieceSplitting;
use kiln::tokenize::TextTokenizer;
use kiln::tokenize::ernie_m::ErnieMTokenizer;
use kiln::tokenize::sentencepiece::SentencePiece;
use proptest::prelude::*;

use crate::golden_tokens::{self, expected, fixture};
use crate::real_data;

const EXPECTED: &str = "expected.json";

fn small(splitting: PieceSplitting) -> ErnieMTokenizer {
    ErnieMTokenizer::from_dir(&fixture("ernie-m"), Some(splitting)).unwrap()
}

/// A copy of the small tokenizer's folder, to change.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sentencepiece.bpe.model", "vocab.txt"] {
        std::fs::copy(fixture("ernie-m").join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn tokens(tokenizer: &ErnieMTokenizer, text: &str) -> Vec<String> {
    golden_tokens::texts(tokenizer.tokenize(text))
}

#[test]
fn pieces_are_sentencepieces() {
    let file = fixture("ernie-m/sentencepiece.bpe.model");
    let model = SentencePiece::from_bytes(&std::fs::read(&file).unwrap(), &file).unwrap();
    for row in expected(EXPECTED) {
        let segments = model.segment(&row.text);
        let pieces: Vec<&str> = segments.pieces.iter().map(|piece| &segments.text[piece.bytes.clone()]).collect();
        assert_eq!(pieces, row.pieces, "{:?}", row.text);
        let ids: Vec<u32> = segments.pieces.iter().map(|piece| piece.id).collect();
        assert_eq!(ids, row.piece_ids, "{:?}", row.text);
    }
}

#[test]
fn rows_are_those_of_transformers() {
    let tokenizer = small(PieceSplitting::HuggingFace);
    let encode = |text: &str, pair: Option<&str>, length| tokenizer.encode(text, pair, length);
    golden_tokens::check_rows(EXPECTED, |text| tokenizer.tokenize(text), encode);
}

#[test]
fn do_lower_case_of_the_config_file_holds() {
    let dir = copy();
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"do_lower_case": true}"#).unwrap();
    let tokenizer = ErnieMTokenizer::from_dir(dir.path(), Some(PieceSplitting::HuggingFace)).unwrap();
    for row in expected(EXPECTED) {
        assert_eq!(tokens(&tokenizer, &row.text), row.lower_tokens, "{:?}", row.text);
    }
}

#[test]
fn the_two_libraries_differ_where_they_should() {
    let (paddle, hf) = (small(PieceSplitting::PaddleNlp), small(PieceSplitting::HuggingFace));
    assert!(tokens(&hf, "[MASK] the").contains(&"[MASK]".to_string()));
    assert!(!tokens(&paddle, "[MASK] the").contains(&"[MASK]".to_string()));
    assert_eq!(tokens(&hf, "the \u{1F600}").iter().filter(|token| *token == "▁").count(), 1);
    assert_eq!(tokens(&paddle, "the \u{1F600}").iter().filter(|token| *token == "▁").count(), 0);
}

#[test]
fn offsets_name_the_characters_a_token_came_from() {
    let tokenizer = small(PieceSplitting::PaddleNlp);
    let text = "  the\tkiln2窑 ﬁ To\u{308}n";
    let chars: Vec<char> = text.chars().collect();
    let encoding = tokenizer.encode("stone", Some(text), None);
    let mut covered = String::new();
    for (offset, sequence) in encoding.offsets.iter().zip(&encoding.sequences) {
        match sequence {
            Some(1) => covered.extend(&chars[offset.0 as usize..offset.1 as usize]),
            Some(_) => assert!(offset.1 <= 5),
            None => assert_eq!(*offset, (0, 0)),
        }
    }
    // No spaces; the ligature once for each letter that is a token of its own.
    assert_eq!(covered.replace("ﬁﬁ", "ﬁ"), "thekiln2窑ﬁTo\u{308}n");
    assert_eq!(encoding.special.iter().filter(|special| **special).count(), 4);
}

#[test]
fn a_tokenizer_survives_saving() {
    let tokenizer = small(PieceSplitting::HuggingFace);
    let dir = tempfile::tempdir().unwrap();
    tokenizer.save(dir.path(), 256).unwrap();
    let again = ErnieMTokenizer::from_dir(dir.path(), None).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_ne!(again.fingerprint(), small(PieceSplitting::PaddleNlp).fingerprint());
    for name in ["sentencepiece.bpe.model", "vocab.txt"] {
        assert_eq!(
            std::fs::read(dir.path().join(name)).unwrap(),
            std::fs::read(fixture("ernie-m").join(name)).unwrap()
        );
    }
}

#[test]
fn decoding_gives_the_words_back() {
    let tokenizer = small(PieceSplitting::PaddleNlp);
    let row = tokenizer.encode("the kiln burns clay", None, None);
    assert_eq!(tokenizer.decode(&row.ids), "the kiln burns clay");
    assert_eq!(tokenizer.token(tokenizer.vocab_size() as u32 + 7), "[UNK]");
}

/// The message of loading the small tokenizer with one file changed.
fn message(change: impl FnOnce(&Path)) -> String {
    let dir = copy();
    change(dir.path());
    let error = ErnieMTokenizer::from_dir(dir.path(), None).unwrap_err();
    assert!(matches!(error, Error::Input(_)));
    let message = error.to_string();
    let name = format!("{}{}", dir.path().display(), std::path::MAIN_SEPARATOR);
    assert!(message.starts_with(&name), "{message}");
    message[name.len()..].to_string()
}

#[test]
fn files_that_cannot_work_are_named() {
    let vocab = std::fs::read_to_string(fixture("ernie-m/vocab.txt")).unwrap();
    let with_vocab = |text: String| message(|dir| std::fs::write(dir.join("vocab.txt"), text).unwrap());
    assert!(with_vocab(vocab.replace("[MASK]\n", "")).contains("the vocabulary has no [MASK]"));
    assert!(with_vocab(vocab.clone() + "▁the\n").contains("\"▁the\" stands twice"));
    assert!(with_vocab(vocab.replace('▁', "_")).contains("are not in the vocabulary"));
    let long = (0..1000).map(|i| format!("other{i}\n")).collect::<String>();
    assert!(with_vocab(vocab + &long).contains("of the 1342 tokens of the vocabulary"));
    let bpe = message(|dir| {
        std::fs::copy(fixture("bpe.model"), dir.join("sentencepiece.bpe.model")).unwrap();
    });
    assert!(bpe.contains("SentencePiece BPE model"), "{bpe}");
    let config = message(|dir| std::fs::write(dir.join("tokenizer_config.json"), "{\"do_lower_case\": 1}").unwrap());
    assert_eq!(config, "tokenizer_config.json: do_lower_case cannot be 1");
    assert!(
        message(|dir| std::fs::remove_file(dir.join("vocab.txt")).unwrap()).starts_with("vocab.txt: cannot be read")
    );
}

#[test]
fn a_cut_model_is_refused_or_still_works() {
    let data = std::fs::read(fixture("ernie-m/sentencepiece.bpe.model")).unwrap();
    for length in (0..data.len()).step_by(97) {
        match SentencePiece::from_bytes(&data[..length], Path::new("cut.model")) {
            Ok(model) => drop(model.segment("the kiln ﬁ 窑 😀")),
            Err(error) => assert!(error.to_string().starts_with("cut.model: "), "{error}"),
        }
    }
}

proptest! {
    /// A damaged model is refused or gives some pieces; it never panics.
    #[test]
    fn no_model_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), text in "\\PC{0,20}") {
        let mut data = std::fs::read(fixture("ernie-m/sentencepiece.bpe.model")).unwrap();
        let at = at.index(data.len());
        data[at] = byte;
        if let Ok(model) = SentencePiece::from_bytes(&data, Path::new("damaged.model")) {
            model.segment(&text);
            model.segment("the kiln ﬁ e\u{301} 窑");
        }
    }

    #[test]
    fn any_text_gives_a_row_that_fits(
        text in any::<String>(), pair in proptest::option::of("(the|kiln|[0-9]|窑| |\\[MASK\\]|İ|\\PC){0,30}"),
        hf in any::<bool>(), length in 0usize..40,
    ) {
        let tokenizer = small(if hf { PieceSplitting::HuggingFace } else { PieceSplitting::PaddleNlp });
        let row = tokenizer.encode(&text, pair.as_deref(), Some(length));
        golden_tokens::assert_fits(&row, [Some(&text), pair.as_deref()], length, tokenizer.vocab_size());
    }

    /// Lower-casing changes lengths, and offsets still count characters of the text as given.
    #[test]
    fn lower_cased_offsets_stay_in_range(text in "(İ|ẞ|Σ|A|\\[MASK\\]| |\\PC){0,30}") {
        let dir = copy();
        std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"do_lower_case": true}"#).unwrap();
        let tokenizer = ErnieMTokenizer::from_dir(dir.path(), Some(PieceSplitting::HuggingFace)).unwrap();
        let count = text.chars().count() as u32;
        prop_assert!(tokenizer.tokenize(&text).iter().all(|t| t.token.start <= t.token.end && t.token.end <= count));
    }
}

/// Every row of the library outputs: tokens, ids, type ids, truncation and padding.
#[test]
fn goldens_match() {
    let Some(root) = real_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let golden = root.join("golden/tokenizers");
    std::fs::copy(golden.join("sentencepiece.bpe.model"), dir.path().join("sentencepiece.bpe.model")).unwrap();
    std::fs::copy(golden.join("ernie_m.vocab.txt"), dir.path().join("vocab.txt")).unwrap();
    let check = |name, files: &Path, splitting| {
        let tokenizer = ErnieMTokenizer::from_dir(files, Some(splitting)).unwrap();
        let encode = |text: &str, pair: Option<&str>, length| tokenizer.encode(text, pair, length);
        golden_tokens::check(&root, name, tokenizer.specials().pad, |text| tokenizer.tokenize(text), encode);
    };
    check("hf_erniem_small.json.gz", dir.path(), PieceSplitting::HuggingFace);
    check("pd_erniem_small.json.gz", dir.path(), PieceSplitting::PaddleNlp);
    check("hf_erniem_xlmr250k.json.gz", &root.join("data/vocab/xlm-r"), PieceSplitting::HuggingFace);
    ErnieMTokenizer::from_dir(&root.join("data/weights/e5-small-as-ernie-m"), None).unwrap();
}
