//! The tokenizers of BERT and XLM-R against transformers, and which tokenizer a folder holds.

use std::path::{Path, PathBuf};

use kiln::models::{Family, bert, ernie, ernie_m, xlm_roberta};
use kiln::recipe::{TypedSpecials, WordSplitting};
use kiln::tokenize::ernie::ErnieTokenizer;
use kiln::tokenize::xlm_roberta::XlmRobertaTokenizer;
use kiln::tokenize::{TextTokenizer, Tokenizer, TokenizerOptions};
use serde::Deserialize;
use unicode_normalization::char::is_combining_mark;

fn fixture(name: &str) -> PathBuf {
    crate::fixture("tokenizer").join(name)
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn open(family: &Family, folder: &Path) -> Tokenizer {
    Tokenizer::from_dir(family.tokenizers, folder, TokenizerOptions::default()).unwrap()
}

fn tokens(tokenizer: &dyn TextTokenizer, text: &str) -> Vec<String> {
    tokenizer.tokenize(text).into_iter().map(|token| token.text).collect()
}

/// One row of `expected_bert.json`; `tests/fixtures/tokenizer/make_bert.py` says what made it.
#[derive(Deserialize)]
struct BertRow {
    text: String,
    pair: String,
    tokens: BertTokens,
    ids: Vec<u32>,
    cut_ids: Vec<u32>,
    cut_type_ids: Vec<u8>,
}

#[derive(Deserialize)]
struct BertTokens {
    lower: Vec<String>,
    cased: Vec<String>,
}

/// Without a word of Kiln's in the folder, BERT's rules are those of transformers.
#[test]
fn rows_of_bert_are_those_of_transformers() {
    let (lower, cased) = (open(&bert::FAMILY, &fixture("bert")), open(&bert::FAMILY, &fixture("bert-cased")));
    let rows: Vec<BertRow> = read("expected_bert.json");
    for BertRow { text, pair, tokens: expected, ids, cut_ids, cut_type_ids } in rows {
        assert_eq!(tokens(&*lower, &text), expected.lower, "{text:?}");
        assert_eq!(tokens(&*cased, &text), expected.cased, "{text:?}");
        assert_eq!(lower.encode(&text, None, None).ids, ids, "{text:?}");
        let cut = lower.encode(&text, Some(&pair), Some(12));
        assert_eq!((cut.ids, cut.type_ids), (cut_ids, cut_type_ids), "{text:?}");
    }
}

/// One row of `expected_xlm_roberta.json`; `tests/fixtures/tokenizer/make_xlm_roberta.py` says what made it.
#[derive(Deserialize)]
struct XlmRobertaRow {
    text: String,
    pair: String,
    tokens: Vec<String>,
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    cut_ids: Vec<u32>,
    fast_ids: Option<Vec<u32>>,
}

#[test]
fn rows_of_xlm_r_are_those_of_transformers() {
    let tokenizer = XlmRobertaTokenizer::from_dir(&fixture("xlm-roberta")).unwrap();
    for row in read::<Vec<XlmRobertaRow>>("expected_xlm_roberta.json") {
        let text = &row.text;
        assert_eq!(tokens(&tokenizer, text), row.tokens, "{text:?}");
        let found = tokenizer.encode(text, None, None);
        assert_eq!(found.ids, row.ids, "{text:?}");
        assert_eq!(tokenizer.encode(text, Some(&row.pair), Some(12)).ids, row.cut_ids, "{text:?}");
        if row.fast_ids.is_none() {
            // transformers counts the space before a word to it, gives a mark of a space that the text does not have the next
            // character's place, and leaves out the accents that a character is composed with.
            let characters: Vec<char> = text.chars().collect();
            let span = |start: usize, end: usize| characters[start..end].iter().collect::<String>().trim().to_string();
            for ((&id, at), of) in found.ids.iter().zip(&found.offsets).zip(&row.offsets) {
                if tokenizer.token(id) != "▁" {
                    let (ours, theirs) = (span(at.0 as usize, at.1 as usize), span(of.0, of.1));
                    let accents =
                        ours.strip_prefix(&theirs).unwrap_or_else(|| panic!("{text:?}: {ours:?}, not {theirs:?}"));
                    assert!(accents.chars().all(is_combining_mark), "{text:?}: {ours:?}, not {theirs:?}");
                }
            }
        }
    }
}

#[test]
fn xlm_r_has_fairseqs_ids_and_no_token_types() {
    let tokenizer = open(&xlm_roberta::FAMILY, &fixture("xlm-roberta"));
    let count = tokenizer.vocab_size();
    let texts: Vec<&str> = [0, 1, 2, 3, 4, count - 1, count].map(|id| tokenizer.token(id as u32)).into();
    assert_eq!(texts[..4], ["<s>", "<pad>", "</s>", "<unk>"]);
    assert_eq!(texts[5..], ["<mask>", "<unk>"]);
    assert_eq!(tokenizer.specials().mask as usize, count - 1);
    let padding = tokenizer.padding(16);
    assert_eq!((padding.id, padding.types, tokenizer.max_length()), (1, false, Some(512)));
}

/// What is written is read back, whatever the family.
#[test]
fn saved_folders_are_the_same_tokenizer() {
    for (family, name) in
        [(&bert::FAMILY, "bert"), (&bert::FAMILY, "bert-cased"), (&xlm_roberta::FAMILY, "xlm-roberta")]
    {
        let (tokenizer, out) = (open(family, &fixture(name)), tempfile::tempdir().unwrap());
        tokenizer.save(out.path(), 77).unwrap();
        let again = open(family, out.path());
        assert_eq!((again.fingerprint(), again.max_length()), (tokenizer.fingerprint(), Some(77)), "{name}");
    }
}

/// multilingual-e5-small is a BERT that comes with XLM-R's tokenizer, as its tokenizer_config.json or, without it, its files tell.
#[test]
fn the_folder_says_which_tokenizer_it_holds() {
    let text = "the kiln burns";
    let expected = XlmRobertaTokenizer::from_dir(&fixture("xlm-roberta")).unwrap().encode(text, None, None);
    assert_eq!(open(&bert::FAMILY, &fixture("xlm-roberta")).encode(text, None, None), expected);
    let without = tempfile::tempdir().unwrap();
    let model = "sentencepiece.bpe.model";
    std::fs::copy(fixture("xlm-roberta").join(model), without.path().join(model)).unwrap();
    assert_eq!(open(&bert::FAMILY, without.path()).encode(text, None, None), expected);

    // ERNIE at Hugging Face says BertTokenizer, and is cut as PaddleNLP does unless told otherwise.
    let of = |family: &Family| open(family, &fixture("bert")).fingerprint();
    let own =
        |words, typed| ErnieTokenizer::from_dir(&fixture("bert"), Some(words), Some(typed)).unwrap().fingerprint();
    assert_eq!(of(&bert::FAMILY), own(WordSplitting::HuggingFace, TypedSpecials::HuggingFace));
    assert_eq!(of(&ernie::FAMILY), own(WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp));

    // Without vocab.txt the folder is no ERNIE-M's, and not taken for another's.
    let error =
        Tokenizer::from_dir(ernie_m::FAMILY.tokenizers, without.path(), TokenizerOptions::default()).unwrap_err();
    assert!(error.to_string().contains("vocab.txt"), "{error}");
}

#[test]
fn options_of_another_tokenizer_are_refused() {
    let options = TokenizerOptions { word_splitting: Some(WordSplitting::PaddleNlp), ..Default::default() };
    let error = Tokenizer::from_dir(bert::FAMILY.tokenizers, &fixture("xlm-roberta"), options).unwrap_err();
    assert!(error.to_string().ends_with("`model.word_splitting` has no effect on the tokenizer here"), "{error}");
}
