//! `tokenizer.json` as Hugging Face's `tokenizers` reads it, beside Kiln's own ids.

use std::path::{Path, PathBuf};

use kiln::models::{Family, bert, ernie, ernie_m, rembert, xlm_roberta};
use kiln::recipe::{PairEncoding, PieceSplitting, TypedSpecials, WordSplitting};
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use serde::Deserialize;
use serde_json::Value;

use crate::golden_tokens::{expected, fixture};

/// A saved folder: its tokenizer, and what the crate makes of it as transformers sets it up.
struct Saved {
    kiln: Tokenizer,
    hugging_face: tokenizers::Tokenizer,
}

fn saved(family: &Family, folder: &Path, options: TokenizerOptions) -> Saved {
    let kiln = Tokenizer::from_dir(family.tokenizers, folder, options).unwrap();
    let out = tempfile::tempdir().unwrap();
    kiln.save(out.path(), 128).unwrap();
    let config = std::fs::read(out.path().join("tokenizer_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    let mut hugging_face = tokenizers::Tokenizer::from_file(out.path().join("tokenizer.json")).unwrap();
    hugging_face.set_encode_special_tokens(config["split_special_tokens"] == true);
    // The folder is the same tokenizer to Kiln, though its class names the reader of tokenizer.json.
    let again = Tokenizer::from_dir(family.tokenizers, out.path(), TokenizerOptions::default()).unwrap();
    assert_eq!(again.fingerprint(), kiln.fingerprint());
    Saved { kiln, hugging_face }
}

impl Saved {
    /// Whether the text has something that is written like a special token, is none, and is unknown to the model, as a small model's
    /// brackets are: it is cut behind its first character there, and the unknown characters on both sides are two tokens.
    fn cuts_unknown(&self, text: &str) -> bool {
        let specials = self.kiln.specials();
        let is_unknown = |special: &str| self.kiln.ids(special).iter().any(|token| specials.contains(token.id));
        let mut texts = specials.texts.iter().map(|(special, _)| special.as_str());
        self.hugging_face.get_encode_special_tokens()
            && texts.any(|special| text.contains(special) && is_unknown(special))
    }

    /// Compares the row of one text or two.
    fn check(&self, text: &str, pair: Option<&str>) {
        let of = format!("{text:?} {pair:?}");
        let ours = self.kiln.encode(text, pair, None);
        let theirs = match pair {
            Some(pair) => self.hugging_face.encode((text, pair), true),
            None => self.hugging_face.encode(text, true),
        };
        let theirs = theirs.unwrap();
        assert_eq!(theirs.get_ids(), ours.ids, "{of}");
        let types = self.kiln.padding(128).types;
        let ours: Vec<u32> = ours.type_ids.iter().map(|of| if types { u32::from(*of) } else { 0 }).collect();
        assert_eq!(theirs.get_type_ids(), ours, "{of}");
    }
}

fn options() -> TokenizerOptions {
    TokenizerOptions::default()
}

fn words(splitting: WordSplitting, typed: TypedSpecials) -> TokenizerOptions {
    TokenizerOptions { word_splitting: Some(splitting), typed_specials: Some(typed), ..options() }
}

fn typed(typed: TypedSpecials) -> TokenizerOptions {
    TokenizerOptions { typed_specials: Some(typed), ..options() }
}

fn plain() -> TokenizerOptions {
    TokenizerOptions { piece_splitting: Some(PieceSplitting::Plain), ..options() }
}

/// The texts that the goldens are made of, and what is odd about special tokens and spaces.
fn texts(expected_file: &str) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Pair {
        a: String,
        b: String,
    }
    let own = expected(expected_file).into_iter().map(|row| (row.text, row.pair));
    let odd = ["［ＭＡＳＫ］ ＜ｍａｓｋ＞", "a [MASK] b  <mask> c", "[CLS]x[SEP]", "<s></s>", "  ", "°±²〇☃😀"];
    let odd = odd.map(|text| (text.to_string(), "the kiln".to_string()));
    let golden = crate::real_data().map(|root| std::fs::read(root.join("golden/tokenizers/pairs.json")).unwrap());
    let golden: Vec<Pair> = golden.map(|data| serde_json::from_slice(&data).unwrap()).unwrap_or_default();
    own.chain(odd).chain(golden.into_iter().map(|pair| (pair.a, pair.b))).collect()
}

fn check(saved: &Saved, expected_file: &str) {
    for (text, pair) in texts(expected_file) {
        if !saved.cuts_unknown(&text) {
            saved.check(&text, None);
        }
        if ![&text, &pair].into_iter().any(|text| saved.cuts_unknown(text)) {
            saved.check(&text, Some(&pair));
        }
    }
}

/// The golden model or vocabulary of a family, under the names in a folder; the small committed one without the real data.
fn golden(committed: &str, files: &[(&str, &str)]) -> (Option<tempfile::TempDir>, PathBuf) {
    let Some(root) = crate::real_data() else { return (None, fixture(committed)) };
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in files {
        std::fs::copy(root.join(file), folder.path().join(name)).unwrap();
    }
    let path = folder.path().to_path_buf();
    (Some(folder), path)
}

#[test]
fn ernie_and_bert() {
    for folder in ["ernie", "bert", "bert-cased"] {
        for splitting in [WordSplitting::PaddleNlp, WordSplitting::HuggingFace] {
            let saved = saved(&ernie::FAMILY, &fixture(folder), words(splitting, TypedSpecials::PaddleNlp));
            check(&saved, "expected.json");
        }
        check(&saved(&bert::FAMILY, &fixture(folder), options()), "expected.json");
    }
}

#[test]
fn ernie_with_its_own_vocabulary() {
    let (_kept, folder) = golden("ernie", &[("vocab.txt", "golden/tokenizers/ernie1.0_vocab.txt")]);
    for case in ["{\"do_lower_case\": true}", "{\"do_lower_case\": false}"] {
        let source = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("vocab.txt"), source.path().join("vocab.txt")).unwrap();
        std::fs::write(source.path().join("tokenizer_config.json"), case).unwrap();
        for splitting in [WordSplitting::PaddleNlp, WordSplitting::HuggingFace] {
            let saved = saved(&ernie::FAMILY, source.path(), words(splitting, TypedSpecials::HuggingFace));
            check(&saved, "expected.json");
        }
    }
}

#[test]
fn xlm_r() {
    check(&saved(&xlm_roberta::FAMILY, &fixture("xlm-roberta"), options()), "expected.json");
    // A BERT with XLM-R's tokenizer keeps it.
    check(&saved(&bert::FAMILY, &fixture("xlm-roberta"), options()), "expected.json");
}

#[test]
fn rembert() {
    let model = ("sentencepiece.model", "golden/tokenizers/rembert.sentencepiece.model");
    let (_kept, folder) = golden("rembert", &[model]);
    for typed_specials in [TypedSpecials::PaddleNlp, TypedSpecials::HuggingFace] {
        check(&saved(&rembert::FAMILY, &folder, typed(typed_specials)), "expected_rembert.json");
    }
    let apart = TokenizerOptions { pair_encoding: Some(PairEncoding::Apart), ..options() };
    check(&saved(&rembert::FAMILY, &folder, apart), "expected_rembert.json");
}

#[test]
fn ernie_m_where_pieces_stay_whole() {
    let files = [
        ("sentencepiece.bpe.model", "golden/tokenizers/sentencepiece.bpe.model"),
        ("vocab.txt", "golden/tokenizers/ernie_m.vocab.txt"),
    ];
    let (_kept, folder) = golden("ernie-m", &files);
    check(&saved(&ernie_m::FAMILY, &folder, plain()), "expected.json");
}

/// Where pieces are split there is no such file, and the class is the one that splits them.
#[test]
fn ernie_m_has_none_where_pieces_are_split() {
    for splitting in [PieceSplitting::PaddleNlp, PieceSplitting::HuggingFace] {
        let options = TokenizerOptions { piece_splitting: Some(splitting), ..options() };
        let tokenizer = Tokenizer::from_dir(ernie_m::FAMILY.tokenizers, &fixture("ernie-m"), options).unwrap();
        let out = tempfile::tempdir().unwrap();
        tokenizer.save(out.path(), 128).unwrap();
        assert!(!out.path().join("tokenizer.json").exists());
        let config = std::fs::read(out.path().join("tokenizer_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["tokenizer_class"], "ErnieMTokenizer");
        assert!(tokenizer.without_tokenizer_json().is_some());
    }
}

/// ERNIE-M and XLM-R take no type ids, which transformers' fast tokenizers give if they are not told.
#[test]
fn no_type_ids_are_asked_of_transformers() {
    let folders = [(&ernie_m::FAMILY, "ernie-m", plain()), (&xlm_roberta::FAMILY, "xlm-roberta", options())];
    for (family, folder, options) in folders {
        let out = tempfile::tempdir().unwrap();
        Tokenizer::from_dir(family.tokenizers, &fixture(folder), options).unwrap().save(out.path(), 128).unwrap();
        let config = std::fs::read(out.path().join("tokenizer_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["model_input_names"], serde_json::json!(["input_ids", "attention_mask"]), "{folder}");
    }
}

/// A folder that was saved with whole pieces can be trained on with split ones: nothing of the first stays.
#[test]
fn a_saved_class_is_not_kept() {
    let out = tempfile::tempdir().unwrap();
    Tokenizer::from_dir(ernie_m::FAMILY.tokenizers, &fixture("ernie-m"), plain())
        .unwrap()
        .save(out.path(), 128)
        .unwrap();
    let split = TokenizerOptions { piece_splitting: Some(PieceSplitting::PaddleNlp), ..options() };
    let again = tempfile::tempdir().unwrap();
    Tokenizer::from_dir(ernie_m::FAMILY.tokenizers, out.path(), split).unwrap().save(again.path(), 128).unwrap();
    let config = std::fs::read(again.path().join("tokenizer_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["tokenizer_class"], config.get("init_class")), (&"ErnieMTokenizer".into(), None));
}

/// A folder without the vocabulary or model that Kiln's own tokenizers read is read from `tokenizer.json`, to the same rows.
#[test]
fn a_tokenizer_json_alone_is_read() {
    let folders = [
        (&bert::FAMILY, "bert", options()),
        (&ernie::FAMILY, "ernie", words(WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp)),
        (&xlm_roberta::FAMILY, "xlm-roberta", options()),
        (&rembert::FAMILY, "rembert", typed(TypedSpecials::HuggingFace)),
        (&ernie_m::FAMILY, "ernie-m", plain()),
    ];
    for (family, name, options) in folders {
        let own = Tokenizer::from_dir(family.tokenizers, &fixture(name), options).unwrap();
        let out = tempfile::tempdir().unwrap();
        own.save(out.path(), 128).unwrap();
        for file in ["vocab.txt", "sentencepiece.model", "sentencepiece.bpe.model"] {
            drop(std::fs::remove_file(out.path().join(file)));
        }
        let read = Tokenizer::from_dir(family.tokenizers, out.path(), TokenizerOptions::default()).unwrap();
        assert_eq!(read.vocab_size(), own.vocab_size(), "{name}");
        let (text, pair) = ("The kiln  burns: 2 窑.", "the [MASK] kiln");
        let [read_row, own_row] = [&read, &own].map(|of| of.encode(text, Some(pair), Some(9)));
        assert_eq!((&read_row.ids, &read_row.type_ids), (&own_row.ids, &own_row.type_ids), "{name}");
        for ((id, found), expected) in read_row.ids.iter().zip(&read_row.offsets).zip(&own_row.offsets) {
            // A mark of a space has another place in the crate.
            assert!(found == expected || own.token(*id) == "▁", "{name}: {found:?}, not {expected:?}");
        }
        assert_eq!((read.max_length(), read.padding(9).types), (Some(128), own.padding(9).types), "{name}");
        // What is saved of it is read again.
        let again = tempfile::tempdir().unwrap();
        read.save(again.path(), 64).unwrap();
        let again = Tokenizer::from_dir(family.tokenizers, again.path(), TokenizerOptions::default()).unwrap();
        assert_eq!((again.fingerprint(), again.max_length()), (read.fingerprint(), Some(64)), "{name}");
    }
}

/// `tokenizer.json` of a small BPE with XLM-R's rows.
fn bpe() -> Value {
    let special = |id: u32, text: &str| {
        serde_json::json!({"id": id, "content": text, "special": true, "normalized": false, "single_word": false,
            "lstrip": false, "rstrip": false})
    };
    let names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
    let added: Vec<Value> = (0..).zip(names).map(|(id, text)| special(id, text)).collect();
    let token = |text: &str| serde_json::json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |name: &str| serde_json::json!({"Sequence": {"id": name, "type_id": 0}});
    let named = |id: u32, text: &str| serde_json::json!({"id": text, "ids": [id], "tokens": [text]});
    serde_json::json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [token("<s>"), sequence("A"), token("</s>")],
            "pair": [token("<s>"), sequence("A"), token("</s>"), token("</s>"), sequence("B"), token("</s>")],
            "special_tokens": {"<s>": named(0, "<s>"), "</s>": named(2, "</s>")}},
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "▁": 5, "a": 6, "b": 7, "▁a": 8, "ab": 9},
            "merges": ["▁ a", "a b"]},
    })
}

fn open_bpe(json: &Value) -> kiln::error::Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    Tokenizer::from_dir(xlm_roberta::FAMILY.tokenizers, folder.path(), TokenizerOptions::default())
}

#[test]
fn a_bpe_is_read() {
    let row = open_bpe(&bpe()).unwrap().encode("ab é", Some("b"), None);
    assert_eq!(row.ids, [0, 8, 7, 5, 3, 2, 2, 5, 7, 2]);
    assert_eq!(row.offsets[1..5], [(0, 1), (1, 2), (2, 3), (3, 4)]);
}

#[test]
fn a_tokenizer_json_that_does_not_fit_is_refused() {
    let message = |change: fn(&mut Value)| {
        let mut json = bpe();
        change(&mut json);
        open_bpe(&json).unwrap_err().to_string()
    };
    let rows = message(|json| json["post_processor"] = Value::Null);
    assert!(
        rows.ends_with("tokenizer.json: its rows are not the first special token, a text, and the last one"),
        "{rows}"
    );
    let unknown = message(|json| json["model"]["unk_token"] = "<none>".into());
    assert!(unknown.contains("a character that is not in the vocabulary cannot be read"), "{unknown}");
    let damaged = message(|json| *json = "{".into());
    assert!(damaged.contains("not a tokenizer.json"), "{damaged}");
    let special = message(|json| {
        json["added_tokens"].as_array_mut().unwrap().pop();
        json["model"]["vocab"].as_object_mut().unwrap().remove("<mask>");
    });
    assert!(special.contains("tokenizer.json has no <mask>"), "{special}");
}
