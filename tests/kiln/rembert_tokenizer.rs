//! RemBERT's tokenizer against transformers, PaddleNLP and SentencePiece.

use std::path::Path;

use kiln::error::Error;
use kiln::recipe::{PairEncoding, TypedSpecials};
use kiln::tokenize::TextTokenizer;
use kiln::tokenize::rembert::RemBertTokenizer;
use proptest::prelude::*;

use crate::golden_tokens::{self, expected, fixture};
use crate::real_data;

const EXPECTED: &str = "expected_rembert.json";

fn small(typed: TypedSpecials) -> RemBertTokenizer {
    RemBertTokenizer::from_dir(&fixture("rembert"), Some(typed), None).unwrap()
}

/// A folder with the small model, and a config file if there is one.
fn folder(model: &str, config: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("rembert/sentencepiece.model"), dir.path().join(model)).unwrap();
    if let Some(config) = config {
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    }
    dir
}

fn tokens(tokenizer: &RemBertTokenizer, text: &str) -> Vec<String> {
    golden_tokens::texts(tokenizer.tokenize(text))
}

#[test]
fn rows_are_those_of_transformers() {
    let tokenizer = small(TypedSpecials::HuggingFace);
    let encode = |text: &str, pair: Option<&str>, length| tokenizer.encode(text, pair, length);
    golden_tokens::check_rows(EXPECTED, |text| tokenizer.tokenize(text), encode);
}

/// PaddleNLP gives SentencePiece's pieces, whatever they spell, and looks their ids up by text: only a typed "[PAD]" of
/// characters the model does not have makes a difference to SentencePiece's ids.
#[test]
fn by_default_rows_are_sentencepieces_as_in_paddlenlp() {
    let tokenizer = RemBertTokenizer::from_dir(&fixture("rembert"), None, None).unwrap();
    for row in expected(EXPECTED) {
        assert_eq!(tokens(&tokenizer, &row.text), row.pieces, "{:?}", row.text);
        let ids: Vec<u32> = tokenizer.tokenize(&row.text).iter().map(|token| token.token.id).collect();
        let piece_ids = if row.text == "[PAD]" { vec![row.piece_ids[0], 0] } else { row.piece_ids };
        assert_eq!(ids, piece_ids, "{:?}", row.text);
    }
}

#[test]
fn the_options_of_the_config_file_hold() {
    let config =
        r#"{"do_lower_case": true, "keep_accents": false, "remove_space": false, "typed_specials": "huggingface"}"#;
    let dir = folder("sentencepiece.model", Some(config));
    let tokenizer = RemBertTokenizer::from_dir(dir.path(), None, None).unwrap();
    for row in expected(EXPECTED) {
        assert_eq!(tokens(&tokenizer, &row.text), row.lower_tokens, "{:?}", row.text);
    }
    let out = tempfile::tempdir().unwrap();
    tokenizer.save(out.path(), 128).unwrap();
    let saved = std::fs::read_to_string(out.path().join("tokenizer_config.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    assert_eq!((&saved["keep_accents"], &saved["do_lower_case"]), (&false.into(), &true.into()));
}

#[test]
fn the_special_tokens_are_the_models() {
    let tokenizer = small(TypedSpecials::PaddleNlp);
    let specials = tokenizer.specials();
    let ids = [specials.pad, specials.unk, specials.cls, specials.sep, specials.mask];
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert_eq!((0..10).filter(|id| specials.contains(*id)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let renamed = r#"{"mask_token": {"content": "▁the", "lstrip": true}}"#;
    let dir = folder("sentencepiece.model", Some(renamed));
    let renamed = RemBertTokenizer::from_dir(dir.path(), None, None).unwrap();
    assert_eq!(renamed.token(renamed.specials().mask), "▁the");
}

#[test]
fn a_pair_has_one_separator_between() {
    let tokenizer = small(TypedSpecials::PaddleNlp);
    let [first, second] = ["the kiln", "burns clay"].map(|text| tokenizer.encode(text, None, None).ids);
    let row = tokenizer.encode("the kiln", Some("burns clay"), None);
    assert_eq!(row.ids, [&first[..], &second[1..]].concat());
    assert_eq!(row.type_ids, [vec![0; first.len()], vec![1; second.len() - 1]].concat());
}

/// The original fine-tuning script: each text with its own [CLS] and [SEP]. The model's folder remembers it.
#[test]
fn pairs_apart_are_two_rows_one_after_the_other() {
    let apart = |dir: &Path, pairs| RemBertTokenizer::from_dir(dir, None, pairs).unwrap();
    let tokenizer = apart(&fixture("rembert"), Some(PairEncoding::Apart));
    let [first, second] = ["the kiln", "burns clay"].map(|text| tokenizer.encode(text, None, None).ids);
    let row = tokenizer.encode("the kiln", Some("burns clay"), Some(5));
    assert_eq!(row.ids, [&first[..], &second[..]].concat(), "it is cut with its batch, not here");
    assert_eq!(row.type_ids, [vec![0; first.len()], vec![1; second.len()]].concat());
    assert_eq!(row.first_length(), first.len());
    assert_eq!([row.offsets.len(), row.special.len(), row.sequences.len()], [row.len(); 3]);

    let out = tempfile::tempdir().unwrap();
    tokenizer.save(out.path(), 128).unwrap();
    assert_eq!(apart(out.path(), None).encode("the kiln", Some("burns clay"), None), row);
    assert_eq!(apart(out.path(), None).fingerprint(), tokenizer.fingerprint());
    let standard = apart(out.path(), Some(PairEncoding::Standard));
    assert_eq!(standard.encode("the kiln", Some("burns clay"), None).len(), row.len() - 1);
    assert_ne!(standard.fingerprint(), tokenizer.fingerprint());
}

#[test]
fn offsets_name_the_characters_a_token_came_from() {
    let tokenizer = small(TypedSpecials::HuggingFace);
    let text = "  the\tkiln ﬁ  [MASK] To\u{308}n";
    let chars: Vec<char> = text.chars().collect();
    let words = tokenizer.tokenize(text).into_iter().filter(|token| token.text != "▁");
    let words: String =
        words.flat_map(|word| chars[word.token.start as usize..word.token.end as usize].to_vec()).collect();
    assert_eq!(words.replace("ﬁﬁ", "ﬁ"), "thekilnﬁ[MASK]To\u{308}n");
}

#[test]
fn a_tokenizer_survives_saving() {
    let dir = folder("rembert.sentencepiece.model", None);
    let tokenizer = RemBertTokenizer::from_dir(dir.path(), Some(TypedSpecials::HuggingFace), None).unwrap();
    assert_eq!(tokenizer.max_length(), None);
    let out = tempfile::tempdir().unwrap();
    tokenizer.save(out.path(), 128).unwrap();
    let again = RemBertTokenizer::from_dir(out.path(), None, None).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_eq!((again.max_length(), again.vocab_size(), again.specials().pad), (Some(128), 340, 0));
    assert_ne!(again.fingerprint(), small(TypedSpecials::PaddleNlp).fingerprint());
    let model = |dir: &Path| std::fs::read(dir.join("sentencepiece.model")).unwrap();
    assert_eq!(model(out.path()), model(&fixture("rembert")));
}

#[test]
fn decoding_gives_the_words_back() {
    let tokenizer = small(TypedSpecials::PaddleNlp);
    let row = tokenizer.encode("the kiln burns clay", None, None);
    assert_eq!(tokenizer.decode(&row.ids), "the kiln burns clay");
    assert_eq!(tokenizer.token(tokenizer.vocab_size() as u32 + 7), "[UNK]");
}

#[test]
fn files_that_cannot_work_are_named() {
    let message = |dir: &Path| {
        let error = RemBertTokenizer::from_dir(dir, None, None).unwrap_err();
        assert!(matches!(error, Error::Input(_)));
        let message = error.to_string();
        message.strip_prefix(&dir.display().to_string()).unwrap_or_else(|| panic!("no place: {message}")).to_string()
    };
    assert_eq!(message(tempfile::tempdir().unwrap().path()), ": there is no sentencepiece.model here");
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("ernie-m/sentencepiece.bpe.model"), other.path().join("sentencepiece.model")).unwrap();
    let sep = std::path::MAIN_SEPARATOR;
    assert_eq!(
        message(other.path()),
        format!("{sep}sentencepiece.model: the model has no [CLS], no [PAD], no [SEP], no [UNK], no [MASK]")
    );
    let typed = folder("sentencepiece.model", Some(r#"{"typed_specials": "both"}"#));
    assert_eq!(message(typed.path()), format!("{sep}tokenizer_config.json: typed_specials cannot be \"both\""));
}

proptest! {
    #[test]
    fn any_text_gives_a_row_that_fits(
        text in any::<String>(), pair in proptest::option::of("(the|kiln|[0-9]|窑| |\\[MASK\\]|\\[PAD\\]|İ|\\PC){0,30}"),
        hf in any::<bool>(), lower in any::<bool>(), length in 0usize..40,
    ) {
        let dir = folder("sentencepiece.model", Some(&format!("{{\"do_lower_case\": {lower}}}")));
        let typed = if hf { TypedSpecials::HuggingFace } else { TypedSpecials::PaddleNlp };
        let tokenizer = RemBertTokenizer::from_dir(dir.path(), Some(typed), None).unwrap();
        let row = tokenizer.encode(&text, pair.as_deref(), Some(length));
        golden_tokens::assert_fits(&row, [Some(&text), pair.as_deref()], length, tokenizer.vocab_size());
    }
}

/// Every row of the library outputs: tokens, ids, type ids, truncation and padding.
#[test]
fn goldens_match() {
    let Some(root) = real_data() else { return };
    let model = root.join("golden/tokenizers/rembert.sentencepiece.model");
    let check = |name, typed, config: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(&model, dir.path().join("sentencepiece.model")).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let tokenizer = RemBertTokenizer::from_dir(dir.path(), Some(typed), None).unwrap();
        let encode = |text: &str, pair: Option<&str>, length| tokenizer.encode(text, pair, length);
        golden_tokens::check(&root, name, tokenizer.specials().pad, |text| tokenizer.tokenize(text), encode);
    };
    check("hf_rembert_small.json.gz", TypedSpecials::HuggingFace, "{}");
    check("pd_rembert_small.json.gz", TypedSpecials::PaddleNlp, "{}");
    let lower = r#"{"do_lower_case": true, "keep_accents": false}"#;
    check("hf_rembert_small_lower_noaccents.json.gz", TypedSpecials::HuggingFace, lower);
}
