//! From files to documents and sentences.

use std::fs;
use std::io::Write;

use kiln::error::Error;
use kiln::recipe::BadRows;
use kiln::recipe::{SentenceEnds, TextFormat, WordSource};
use miette::Diagnostic;

use super::*;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

const TEXT: &str = "\u{feff}甲乙\r\n 丙 \r\n \t\r\n\n丁\n\n\n戊";

#[test]
fn empty_lines_end_documents_and_line_ends_sentences() {
    let shop = Workshop::new();
    shop.write("t.txt", TEXT);
    let options = shop.options("t.txt");
    assert_eq!(shop.made(&options), [vec!["甲 乙", "丙"], vec!["丁"], vec!["戊"]]);
    let delimiter = CorpusOptions { document_delimiter: "丁".to_string(), ..options };
    assert_eq!(shop.made(&delimiter), [vec!["甲 乙", "丙"], vec!["戊"]]);
}

#[test]
fn compressed_files_and_json_lines_hold_the_same_documents() {
    let shop = Workshop::new();
    shop.write("t.txt", TEXT);
    let expected = shop.made(&shop.options("t.txt"));
    let json = "{\"text\": \"甲乙\\n 丙 \"}\n\n{\"id\": 1, \"text\": \"丁\"}\r\n{\"text\": \"戊\"}";
    let members = [gzip(&TEXT.as_bytes()[..9]), gzip(&TEXT.as_bytes()[9..])].concat();
    let all: [(&str, Vec<u8>); 6] = [
        ("named-otherwise.txt", gzip(TEXT.as_bytes())),
        ("members.gz", members),
        ("t.zst", zstd::encode_all(TEXT.as_bytes(), 0).unwrap()),
        ("t.jsonl", json.into()),
        ("T.JSON.gz", gzip(json.as_bytes())),
        ("t.ndjson.zst", zstd::encode_all(json.as_bytes(), 0).unwrap()),
    ];
    for (name, content) in all {
        shop.write(name, content);
        assert_eq!(shop.made(&shop.options(name)), expected, "{name}");
    }
    shop.write("lines", json);
    let jsonl = CorpusOptions { format: TextFormat::Jsonl, ..shop.options("lines") };
    assert_eq!(shop.made(&jsonl), expected);
    let other = CorpusOptions { json_key: "body".to_string(), ..shop.options("t.jsonl") };
    assert_eq!(shop.fault(&other), "t.jsonl:1: the object has no `body`");
}

#[test]
fn folders_and_patterns_are_read_in_order_and_hidden_files_are_not() {
    let shop = Workshop::new();
    for (name, text) in
        [("in/b.txt", "乙"), ("in/a/z.txt", "甲"), ("in/c.txt", "丙"), ("in/.x.txt", "丁"), ("d.txt", "戊")]
    {
        shop.write(name, text);
    }
    let of = |inputs: &[&str]| {
        let input = inputs.iter().map(|input| shop.path(input).display().to_string()).collect();
        shop.made(&CorpusOptions { input, ..shop.options("in") }).concat().join(" ")
    };
    assert_eq!(of(&["in"]), "甲 乙 丙");
    assert_eq!(of(&["d.txt", "in"]), "戊 甲 乙 丙");
    assert_eq!(of(&["in/[bc].txt", "d.txt"]), "乙 丙 戊");
    assert_eq!(of(&["in/c.txt", "in"]), "丙 甲 乙", "a file is read once");
    // The corpus may lie among its texts.
    let inside = CorpusOptions { output: shop.path("in/corpus"), ..shop.options("in") };
    shop.run(&inside).unwrap();
    assert!(shop.run(&inside).unwrap().reused);
    assert_eq!(shop.fault(&shop.options("in/*.csv")), "in/*.csv: there is no text here");
    assert_eq!(shop.fault(&shop.options("nothing")), "nothing: there is no text here");
}

/// `trans_to_json.py` keeps documents of more characters than the limit, line ends counted.
#[test]
fn short_documents_are_left_out_and_counted() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲乙丙\n\n甲乙\n丙\n\n  \n甲\n乙\n丙");
    let options = CorpusOptions { min_document_length: 4, ..shop.options("t.txt") };
    let summary = shop.run(&options).unwrap();
    assert_eq!(shop.documents(), [vec!["甲 乙", "丙"], vec!["甲", "乙", "丙"]]);
    assert_eq!((summary.documents, summary.sentences, summary.tokens, summary.short_documents), (2, 5, 6, 1));
}

#[test]
fn sentences_end_where_the_options_say() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲。“乙！”丙\nthe cat sat. He sat\nok. A.");
    let of = |sentences| {
        let words = if sentences == SentenceEnds::English { WordSource::Whitespace } else { WordSource::None };
        shop.made(&CorpusOptions { sentences, words, ..shop.options("t.txt") }).remove(0)
    };
    assert_eq!(of(SentenceEnds::Newline), ["甲 。 “ 乙 ！ ” 丙", "t ##he cat sat . he sat", "ok . a ."]);
    assert_eq!(of(SentenceEnds::Chinese)[..4], ["甲 。", "“ 乙 ！ ”", "丙", "t ##he cat sat . he sat"]);
    assert_eq!(of(SentenceEnds::None).len(), 1);
    assert_eq!(of(SentenceEnds::English)[2..], ["丙 t ##he cat sat .", "he sat ok .", "a ."]);
}

#[test]
fn unreadable_lines_are_named_or_left_out_and_counted() {
    let shop = Workshop::new();
    for (name, content, place) in [
        ("t.txt", &b"\xe7\x94\xb2\n\n\xe7\x94\xb2\xff\n\xe4\xb9\x99"[..], "t.txt:3:2: not UTF-8 text"),
        (
            "t.jsonl",
            b"{\"text\": \"\xe7\x94\xb2\"}\n{\"text\": \n{\"text\": \"\xe4\xb9\x99\"}",
            "t.jsonl:2:9: not a JSON object",
        ),
        (
            "u.jsonl",
            b"{\"text\": \"\xe7\x94\xb2\"}\n{\"txt\": 1}\n{\"text\": \"\xe4\xb9\x99\"}",
            "u.jsonl:2: the object has no `text`",
        ),
    ] {
        shop.write(name, content);
        let options = shop.options(name);
        assert!(shop.fault(&options).starts_with(place), "{}", shop.fault(&options));
        let skipping = CorpusOptions { bad_rows: BadRows::Skip, ..options };
        assert_eq!(shop.run(&skipping).unwrap().skipped_rows, 1, "{name}");
        assert_eq!(shop.documents(), [["甲"], ["乙"]], "{name}");
    }
    shop.write("cut.gz", &gzip(&b"\xe7\x94\xb2\n".repeat(5000))[..40]);
    let skipping = CorpusOptions { bad_rows: BadRows::Skip, ..shop.options("cut.gz") };
    assert!(shop.fault(&skipping).ends_with("the compressed file ends too early"), "no line can be left out there");
}

#[test]
fn text_that_leaves_nothing_is_an_error() {
    let shop = Workshop::new();
    shop.write("empty.txt", "");
    shop.write("blank.txt", "\n \n\u{3000}\n");
    shop.write("short.txt", "甲\n\n乙");
    shop.write("controls.txt", "\u{1}\u{2}");
    for (name, shorter, expected) in [
        ("empty.txt", 10, "0 too short, 0 without a token"),
        ("blank.txt", 0, "0 too short, 0 without a token"),
        ("short.txt", 10, "2 too short, 0 without a token"),
        ("controls.txt", 0, "0 too short, 1 without a token"),
    ] {
        let options = CorpusOptions { min_document_length: shorter, ..shop.options(name) };
        let text = shop.fault(&options);
        assert!(text.starts_with("the inputs hold no document: ") && text.contains(expected), "{name}: {text}");
        assert_eq!(files(&shop.path("out")).len(), 0, "nothing is left of it");
    }
}

#[test]
fn what_cannot_be_followed_is_an_error_of_the_input() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲");
    fs::create_dir_all(shop.path("out/folder")).unwrap();
    let output = CorpusOptions { output: shop.path("out/folder"), ..shop.options("t.txt") };
    assert_eq!(shop.fault(&output), "out/folder: the output is a folder where a name is needed");
    let dictionary = CorpusOptions { dictionary: Some(shop.path("none.txt")), ..shop.options("t.txt") };
    assert!(shop.fault(&dictionary).starts_with("none.txt: cannot be read"), "{}", shop.fault(&dictionary));

    shop.write("endless.txt", "甲\n\n".to_string() + &"乙丙丁\n".repeat((16 << 20) / 10 + 1));
    let error = shop.run(&shop.options("endless.txt")).unwrap_err();
    assert!(matches!(error, Error::Input(_)));
    assert!(error.to_string().ends_with("endless.txt:3: a document of more than 16 MiB begins here"), "{error}");
    assert!(Diagnostic::help(&error.problems()[0]).unwrap().to_string().starts_with("an empty line, or the line"));
}

/// PaddleNLP's model of a corpus has no document of one sentence and no sentence of more than 512 tokens to learn from.
#[test]
fn documents_that_training_passes_over_are_counted() {
    let shop = Workshop::new();
    let long = "甲".repeat(513);
    shop.write("t.txt", format!("{long}\n\n乙\n{long}\n\n乙\n丙\n"));
    let summary = shop.run(&shop.options("t.txt")).unwrap();
    assert_eq!((summary.documents, summary.single_sentence_documents, summary.overlong_documents), (3, 1, 1));
}

/// The corpus in which words are joined is the one whose words are given: the same characters, the same sentences.
#[test]
fn real_text_is_the_same_however_it_is_segmented() {
    let Some(root) = crate::real_data() else { return };
    let mut shop = Workshop::new();
    shop.tokenizer = {
        let text = fs::read_to_string(root.join("data/vocab/ernie1.0_vocab_tokens_only.txt")).unwrap();
        Workshop::of(text.lines().map(String::from).collect()).tokenizer
    };
    let packed = fs::File::open(root.join("data/elmo_large/dev/sentence_file_4.txt.gz")).unwrap();
    let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(packed)).unwrap();
    shop.write("segmented.txt", &text);
    shop.write("joined.txt", text.replace(' ', ""));
    let segmented = CorpusOptions { words: WordSource::Segmented, ..shop.options("segmented.txt") };
    let jieba = CorpusOptions { words: WordSource::Jieba, ..shop.options("joined.txt") };
    let (first, second) = (shop.run(&segmented).unwrap(), shop.run(&jieba).unwrap());
    assert_eq!((first.documents, first.sentences, first.tokens), (second.documents, second.sentences, second.tokens));
    assert_eq!((first.documents, first.sentences), (25, 4943));
    assert!(first.joined_words > 70_000 && second.joined_words > 70_000, "{first} / {second}");
}
