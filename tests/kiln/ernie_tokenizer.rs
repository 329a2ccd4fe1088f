//! ERNIE 1.0's tokenizer against transformers and PaddleNLP.

use std::collections::HashMap;
use std::path::Path;

use kiln::error::Error;
use kiln::recipe::{TypedSpecials, WordSplitting};
use kiln::tokenize::TextTokenizer;
use kiln::tokenize::ernie::ErnieTokenizer;
use proptest::prelude::*;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::golden_tokens::{self, fixture};
use crate::real_data;

const CASED: &str = r#"{"do_lower_case": false}"#;

/// A folder with a vocabulary and a config file.
fn folder(vocab: &[u8], config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vocab.txt"), vocab).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    dir
}

fn vocab() -> String {
    std::fs::read_to_string(fixture("ernie/vocab.txt")).unwrap()
}

/// Baidu's layout, the last id first.
fn vocab_with_ids() -> String {
    let lines: Vec<String> = vocab().lines().zip(0..).map(|(token, id)| format!("{token}\t{id}\n")).collect();
    lines.into_iter().rev().collect()
}

fn small(config: &str, splitting: WordSplitting, typed: TypedSpecials) -> ErnieTokenizer {
    let dir = folder(vocab().as_bytes(), config);
    ErnieTokenizer::from_dir(dir.path(), Some(splitting), Some(typed)).unwrap()
}

fn tokens(tokenizer: &ErnieTokenizer, text: &str) -> Vec<String> {
    golden_tokens::texts(tokenizer.tokenize(text))
}

/// One row of an expected file; `tests/fixtures/tokenizer/make_ernie.py` says what made it.
#[derive(Deserialize)]
struct Expected {
    text: String,
    pair: String,
    /// By the tokenizer's options.
    tokens: HashMap<String, Vec<String>>,
    ids: Vec<u32>,
    cut_ids: Vec<u32>,
    cut_type_ids: Vec<u8>,
    words: String,
}

fn expected(library: WordSplitting) -> Vec<Expected> {
    let file = fixture(&format!("expected_ernie_{}.json", library.word()));
    let rows: Vec<Expected> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(rows.len() > 25);
    rows
}

/// Compares the tokens of every text with one tokenizer of the library's.
fn check_tokens(library: WordSplitting, name: &str, tokenizer: &ErnieTokenizer) {
    for row in expected(library) {
        assert_eq!(tokens(tokenizer, &row.text), row.tokens[name], "{name}: {:?}", row.text);
    }
}

/// Compares ids, type ids, cut pairs and what ids are turned back into.
fn check_rows(library: WordSplitting, tokenizer: &ErnieTokenizer) {
    for row in expected(library) {
        assert_eq!(tokenizer.encode(&row.text, None, None).ids, row.ids, "{:?}", row.text);
        assert_eq!(tokenizer.decode(&row.ids), row.words, "{:?}", row.text);
        let cut = tokenizer.encode(&row.text, Some(&row.pair), Some(12));
        assert_eq!((cut.ids, cut.type_ids), (row.cut_ids, row.cut_type_ids), "{:?}", row.text);
    }
}

#[test]
fn by_default_rows_are_paddlenlps() {
    let tokenizer = ErnieTokenizer::from_dir(&fixture("ernie"), None, None).unwrap();
    check_tokens(WordSplitting::PaddleNlp, "lower", &tokenizer);
    check_rows(WordSplitting::PaddleNlp, &tokenizer);
    let cased = small(CASED, WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp);
    check_tokens(WordSplitting::PaddleNlp, "cased", &cased);
}

/// PaddleNLP finds special tokens in a text if the tokenizer was made of a folder.
#[test]
fn typed_special_tokens_can_be_found_as_in_paddlenlps_from_pretrained() {
    for (name, config) in [("folder", "{}"), ("folder_cased", CASED)] {
        let tokenizer = small(config, WordSplitting::PaddleNlp, TypedSpecials::HuggingFace);
        check_tokens(WordSplitting::PaddleNlp, name, &tokenizer);
    }
}

#[test]
fn rows_can_be_those_of_transformers() {
    let library = |config| small(config, WordSplitting::HuggingFace, TypedSpecials::HuggingFace);
    check_rows(WordSplitting::HuggingFace, &library("{}"));
    let accents = r#"{"strip_accents": false}"#;
    let no_accents = r#"{"do_lower_case": false, "strip_accents": true}"#;
    let renamed = r#"{"mask_token": "clay"}"#;
    let plain = [("lower", "{}"), ("cased", CASED), ("renamed", renamed)];
    for (name, config) in plain.into_iter().chain([("lower_accents", accents), ("cased_no_accents", no_accents)]) {
        check_tokens(WordSplitting::HuggingFace, name, &library(config));
    }
}

#[test]
fn both_layouts_of_the_vocabulary_are_one_tokenizer() {
    let with_ids = folder(vocab_with_ids().as_bytes(), "{}");
    let with_ids = ErnieTokenizer::from_dir(with_ids.path(), None, None).unwrap();
    check_rows(WordSplitting::PaddleNlp, &with_ids);
    let alone = ErnieTokenizer::from_dir(&fixture("ernie"), None, None).unwrap();
    assert_eq!(with_ids.fingerprint(), alone.fingerprint());
    let out = tempfile::tempdir().unwrap();
    with_ids.save(out.path(), 128).unwrap();
    assert_eq!(std::fs::read_to_string(out.path().join("vocab.txt")).unwrap(), vocab());
}

#[test]
fn a_tokenizer_survives_saving() {
    let config = r#"{"do_lower_case": false, "strip_accents": true, "other": 7}"#;
    let tokenizer = small(config, WordSplitting::HuggingFace, TypedSpecials::HuggingFace);
    assert_eq!(tokenizer.max_length(), None);
    let out = tempfile::tempdir().unwrap();
    tokenizer.save(out.path(), 128).unwrap();
    let again = ErnieTokenizer::from_dir(out.path(), None, None).unwrap();
    assert_eq!((again.fingerprint(), again.max_length()), (tokenizer.fingerprint(), Some(128)));
    check_tokens(WordSplitting::HuggingFace, "cased_no_accents", &again);
    let saved = std::fs::read_to_string(out.path().join("tokenizer_config.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    let keys = ["init_class", "word_splitting", "typed_specials", "other"].map(|key| saved[key].clone());
    let expected = ["BertTokenizer".into(), "huggingface".into(), "huggingface".into(), serde_json::Value::from(7)];
    assert_eq!(keys, expected);
}

#[test]
fn every_option_is_part_of_the_fingerprint() {
    let mut fingerprints = Vec::new();
    for config in ["{}", CASED, r#"{"strip_accents": false}"#] {
        for splitting in [WordSplitting::PaddleNlp, WordSplitting::HuggingFace] {
            for typed in [TypedSpecials::PaddleNlp, TypedSpecials::HuggingFace] {
                fingerprints.push(small(config, splitting, typed).fingerprint());
            }
        }
    }
    fingerprints.sort();
    fingerprints.dedup();
    // PaddleNLP has no strip_accents: of the twelve, two and two are the same.
    assert_eq!(fingerprints.len(), 10);
}

#[test]
fn ids_and_tokens_are_the_vocabularys() {
    let tokenizer = small("{}", WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp);
    let size = vocab().lines().count() as u32;
    let specials = tokenizer.specials();
    let ids = [specials.pad, specials.cls, specials.sep, specials.mask, specials.unk];
    assert_eq!((ids, tokenizer.vocab_size()), ([0, 1, 2, 3, size - 1], size as usize));
    assert_eq!((0..size).filter(|id| specials.contains(*id)).collect::<Vec<_>>(), ids);
    assert!((0..size).all(|id| tokenizer.id(tokenizer.token(id)) == Some(id)));
    assert_eq!((tokenizer.id("[mask]"), tokenizer.token(size)), (None, "[UNK]"));
    let renamed = small(r#"{"mask_token": "kiln"}"#, WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp);
    assert_eq!(renamed.token(renamed.specials().mask), "kiln");
}

/// The texts on which PaddleNLP's `get_offset_mapping` fails or points elsewhere: "substring not found".
#[test]
fn offsets_name_the_characters_a_token_came_from() {
    let tokenizer = small("{}", WordSplitting::PaddleNlp, TypedSpecials::HuggingFace);
    let text = "\u{FEFF}Ki\0ln\u{AD}s CAFE\u{301}s，\u{3000}龘石İ [MASK]\u{200D}ﬁ";
    let chars: Vec<char> = text.chars().collect();
    let places = tokenizer.tokenize(text).into_iter().map(|token| {
        let place: String = chars[token.token.start as usize..token.token.end as usize].iter().collect();
        (token.text, place)
    });
    let expected = [
        ("kiln", "Ki\0ln"),
        ("##s", "s"),
        ("cafe", "CAFE\u{301}"),
        ("##s", "s"),
        ("，", "，"),
        ("[UNK]", "龘"),
        ("石", "石"),
        ("i", "İ"),
        ("[MASK]", "[MASK]"),
        ("[UNK]", "ﬁ"),
    ];
    assert_eq!(places.collect::<Vec<_>>(), expected.map(|(text, place)| (text.to_string(), place.to_string())));
}

#[test]
fn files_that_cannot_work_are_named() {
    let message = |dir: &Path, splitting| {
        let error = ErnieTokenizer::from_dir(dir, splitting, None).unwrap_err();
        assert!(matches!(error, Error::Input(_)));
        let message = error.to_string();
        let message = message.strip_prefix(&dir.display().to_string()).unwrap_or_else(|| panic!("no place: {message}"));
        message.trim_start_matches(std::path::MAIN_SEPARATOR).to_string()
    };
    assert_eq!(message(tempfile::tempdir().unwrap().path(), None), ": there is no vocab.txt here");
    let of_vocab = |text: &str| message(folder(text.as_bytes(), "{}").path(), None);
    assert_eq!(of_vocab("the\nkiln\n[UNK]\n"), "vocab.txt: the vocabulary has no [CLS], no [PAD], no [SEP], no [MASK]");
    assert_eq!(of_vocab("[PAD]\t0\n[CLS]\t2\n"), "vocab.txt:2: id 2 is out of range: the file has 2 tokens");
    assert_eq!(
        of_vocab("[PAD]\t0\n[CLS]\t1\n[SEP]\t1\n"),
        "vocab.txt:3: id 1 of \"[SEP]\" is already the id of \"[CLS]\" (line 2)"
    );
    assert_eq!(of_vocab("[PAD]\t0\n[CLS]\n"), "vocab.txt:2: \"[CLS]\" has no id");
    let of_config = |config, splitting| message(folder(vocab().as_bytes(), config).path(), splitting);
    assert_eq!(
        of_config(r#"{"word_splitting": "both"}"#, None),
        "tokenizer_config.json: word_splitting cannot be \"both\""
    );
    let japanese = r#"{"tokenize_chinese_chars": false}"#;
    assert_eq!(
        of_config(japanese, Some(WordSplitting::HuggingFace)),
        "tokenizer_config.json: tokenize_chinese_chars cannot be false"
    );
    small(japanese, WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp);
}

fn is_dropped(c: char) -> bool {
    c == '\u{FFFD}' || (!c.is_whitespace() && c.general_category_group() == GeneralCategoryGroup::Other)
}

fn is_accent(c: char) -> bool {
    c.general_category() == GeneralCategory::NonspacingMark
}

/// What a stretch of a text becomes, apart from spaces, in each of the tokenizers of `any_text_gives_a_row_that_fits`.
fn normalised(text: &str, lower: bool, hf: bool) -> String {
    let kept = text.chars().filter(|c| !is_dropped(*c));
    match (lower, hf) {
        (true, _) => kept.flat_map(char::to_lowercase).nfd().filter(|c| !is_accent(*c)).collect(),
        (false, true) => kept.nfc().collect(),
        (false, false) => kept.collect(),
    }
}

proptest! {
    #[test]
    fn any_text_gives_a_row_that_fits(
        text in "(the|Kiln|[a-zé0-9]|[窑土龘豈]|[ \t\u{3000}\u{2028}]|\\[MASK\\]|\\[(PAD|unk)|[İΣ\u{212A}ﬁ°😀가각]\
            |[\u{1100}\u{1161}\u{9C7}\u{9BE}]|[\0\u{200B}\u{AD}\u{FFFD}]|[\u{301}\u{323}\u{3099}\u{302E}\u{93C}]|.){0,24}",
        lower in any::<bool>(), hf in any::<bool>(), typed in any::<bool>(), length in 0usize..40,
    ) {
        let splitting = if hf { WordSplitting::HuggingFace } else { WordSplitting::PaddleNlp };
        let typed = if typed { TypedSpecials::HuggingFace } else { TypedSpecials::PaddleNlp };
        let tokenizer = small(&format!("{{\"do_lower_case\": {lower}}}"), splitting, typed);
        let chars: Vec<char> = text.chars().collect();
        let mut covered = vec![false; chars.len()];
        let (mut start, mut end) = (0, 0);
        for token in tokenizer.tokenize(&text) {
            let range = token.token.start as usize..token.token.end as usize;
            prop_assert!(start <= range.start && end <= range.end, "{range:?} comes after {start}..{end}");
            prop_assert!(range.start < range.end && range.end <= chars.len());
            (start, end) = (range.start, range.end);
            covered[range.clone()].fill(true);
            let written: String = chars[range].iter().collect();
            prop_assert_eq!(tokenizer.id(&token.text), Some(token.token.id));
            if !tokenizer.specials().contains(token.token.id) {
                let piece = token.text.strip_prefix("##").unwrap_or(&token.text);
                prop_assert!(normalised(&written, lower, hf).contains(piece), "{written:?} for {:?}", token.text);
            }
        }
        for (c, covered) in chars.into_iter().zip(covered) {
            prop_assert!(covered || c.is_whitespace() || is_dropped(c) || is_accent(c), "{c:?} is in no token");
        }
        let row = tokenizer.encode(&text, Some("the kiln burns"), Some(length));
        prop_assert!(row.len() <= length);
        prop_assert_eq!([row.type_ids.len(), row.offsets.len()], [row.len(); 2]);
        prop_assert_eq!([row.special.len(), row.sequences.len()], [row.len(); 2]);
    }

    #[test]
    fn no_vocabulary_panics(text in "([a-c#\t\r\n0-9]|\\[(PAD|CLS|SEP|UNK|MASK)\\]\n|\\PC){0,40}") {
        let dir = folder(text.as_bytes(), "{}");
        if let Ok(tokenizer) = ErnieTokenizer::from_dir(dir.path(), None, None) {
            prop_assert!(tokenizer.encode("abc [MASK] ##", None, Some(8)).len() <= 8);
        }
    }
}

/// Every row of the library outputs: tokens, ids, type ids, truncation and padding, with both files of the real
/// vocabulary.
#[test]
fn goldens_match() {
    let Some(root) = real_data() else { return };
    for vocab in ["ernie1.0_vocab.txt", "ernie1.0_vocab_tokens_only.txt"] {
        let vocab = std::fs::read(root.join("data/vocab").join(vocab)).unwrap();
        let check = |name, config, splitting, typed| {
            let tokenizer = ErnieTokenizer::from_dir(folder(&vocab, config).path(), splitting, typed).unwrap();
            assert_eq!((tokenizer.vocab_size(), tokenizer.specials().unk), (17_964, 17_963));
            let encode = |text: &str, pair: Option<&str>, length| tokenizer.encode(text, pair, length);
            golden_tokens::check(&root, name, tokenizer.specials().pad, |text| tokenizer.tokenize(text), encode);
        };
        check("pd_ernie1.json.gz", "{}", None, None);
        let (hf, typed) = (Some(WordSplitting::HuggingFace), Some(TypedSpecials::HuggingFace));
        check("hf_ernie1_bert.json.gz", "{}", hf, typed);
        check("hf_ernie1_bert_cased.json.gz", CASED, hf, typed);
    }
}
