//! Pairs in two languages, and text of one, with ERNIE-M's tokenizer: every form that parallel text comes in.

use kiln::corpus::content::{Content, Kind};
use kiln::recipe::{BadRows, CorpusLayout, TextFormat};
use kiln::tokenize::ernie_m::ErnieMTokenizer;

use super::*;

pub(super) fn shop() -> Workshop {
    let folder = crate::fixture("tokenizer/ernie-m");
    let vocabulary = fs::read_to_string(folder.join("vocab.txt")).unwrap().lines().map(String::from).collect();
    let tokenizer = Tokenizer::from(ErnieMTokenizer::from_dir(&folder, None).unwrap());
    Workshop { folder: tempfile::tempdir().unwrap(), tokenizer, vocabulary }
}

pub(super) fn languages(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| name.to_string()).collect())
}

fn pairs(shop: &Workshop, input: &str) -> CorpusOptions {
    CorpusOptions { languages: languages(&["en", "de"]), ..shop.options(input) }
}

const PAIRS: [[&str; 2]; 3] = [
    ["the kiln burns clay", "Ofen brennt Ton"],
    ["it waits , \"it\" opens", "und wartet !"],
    ["stone and days", "Stein und Tage"],
];

/// The documents of [`PAIRS`].
fn expected(shop: &Workshop) -> Vec<Vec<String>> {
    let tokens = |text: &str| {
        let tokens = shop.tokenizer.ids(text).into_iter().map(|token| shop.vocabulary[token.id as usize].clone());
        tokens.collect::<Vec<_>>().join(" ")
    };
    let documents: Vec<Vec<String>> = PAIRS.iter().map(|pair| pair.iter().map(|text| tokens(text)).collect()).collect();
    assert_eq!(documents[0], ["▁the ▁kiln ▁burns ▁clay", "▁Ofen ▁brennt ▁Ton"]);
    documents
}

fn content(shop: &Workshop) -> Content {
    let account: serde_json::Value =
        serde_json::from_slice(&fs::read(shop.path("out/corpus.prepare.json")).unwrap()).unwrap();
    serde_json::from_value(account["content"].clone()).unwrap()
}

#[test]
fn pairs_are_the_same_from_every_form() {
    let shop = shop();
    let expected = expected(&shop);
    let lines = |of: &dyn Fn(&[&str; 2]) -> String| PAIRS.iter().map(|pair| of(pair) + "\n").collect::<String>();
    let json = |pair: &[&str; 2]| serde_json::json!({ "a": pair[0], "b": pair[1], "n": 3 }).to_string();
    let translation =
        |pair: &[&str; 2]| serde_json::json!({ "id": 1, "translation": { "de": pair[1], "en": pair[0] } }).to_string();
    let zst = |text: String| zstd::encode_all(text.as_bytes(), 0).unwrap();
    shop.write("plain.tsv", lines(&|pair| pair.join("\t")));
    shop.write("numbers.tsv", lines(&|pair| format!("x\t{}\ty\t{}", pair[1], pair[0])));
    shop.write(
        "header.tsv.zst",
        zst(format!("\u{feff}de\tid\ten\n{}", lines(&|pair| format!("{}\t7\t{}", pair[1], pair[0])))),
    );
    shop.write("keys.jsonl", lines(&json));
    shop.write("translation.jsonl.zst", zst(lines(&translation)));
    // The halves in the order of their names, one packed, with Windows' line ends in the other.
    shop.write("moses/x.de.zst", zst(lines(&|pair| pair[1].to_string())));
    shop.write("moses/x.en", lines(&|pair| format!("{}\r", pair[0])));
    let columns = |names: [&str; 2]| Some(names.map(String::from).to_vec());
    let forms = [
        ("plain.tsv", None),
        ("numbers.tsv", columns(["4", "2"])),
        ("header.tsv.zst", columns(["en", "de"])),
        ("keys.jsonl", columns(["a", "b"])),
        ("translation.jsonl.zst", None),
        ("moses", None),
    ];
    for (input, columns) in forms {
        for layout in [CorpusLayout::Npy, CorpusLayout::Mmap] {
            let options = CorpusOptions { columns: columns.clone(), layout, ..pairs(&shop, input) };
            assert_eq!(shop.made(&options), expected, "{input}");
            assert!(shop.run(&options).unwrap().reused, "{input}");
            fs::remove_dir_all(shop.path("out")).ok();
        }
    }
    shop.run(&pairs(&shop, "moses")).unwrap();
    assert_eq!(content(&shop), Content { kind: Kind::Pairs, languages: languages(&["en", "de"]).unwrap() });
    // The other way round it is another corpus.
    let other = CorpusOptions { languages: languages(&["de", "en"]), ..pairs(&shop, "moses") };
    assert_eq!(
        shop.made(&other),
        expected.into_iter().map(|pair| pair.into_iter().rev().collect()).collect::<Vec<Vec<_>>>()
    );
}

#[test]
fn pairs_with_an_empty_side_and_bad_rows_are_counted() {
    let shop = shop();
    shop.write("t.tsv", "the clay\tTon\nthe clay\t\n \tTon\n\nstone\tStein\nonly one\nit\tund\n");
    assert_eq!(shop.fault(&pairs(&shop, "t.tsv")), "t.tsv:6: 1 columns where at least 2 are expected");
    let skip = |input: &str| CorpusOptions { bad_rows: BadRows::Skip, ..pairs(&shop, input) };
    let summary = shop.run(&skip("t.tsv")).unwrap();
    assert_eq!((summary.documents, summary.sentences, summary.empty_documents, summary.skipped_rows), (3, 6, 2, 1));
    assert_eq!(shop.documents().concat(), ["▁the ▁clay", "▁Ton", "▁stone", "▁Stein", "▁it", "▁und"]);

    // A line that is no text takes its translation with it, and the others stay together.
    shop.write("m/x.en", b"the clay\nst\xffone\nit\n".as_slice());
    shop.write("m/x.de", "Ton\nStein\nund\n");
    assert_eq!(shop.fault(&pairs(&shop, "m")), "m/x.en:2:3: not UTF-8 text");
    assert_eq!(shop.run(&skip("m")).unwrap().skipped_rows, 1);
    assert_eq!(shop.documents().concat(), ["▁the ▁clay", "▁Ton", "▁it", "▁und"]);
}

#[test]
fn what_is_wrong_is_said() {
    let shop = shop();
    let fault = |options: &CorpusOptions| {
        let error = shop.run(options).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let help = error.problems()[0].clone();
        let help = miette::Diagnostic::help(&help).map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{error}{help}").replace(&format!("{}/", shop.folder.path().display()), "")
    };
    shop.write("m/x.en", "the clay\nstone\nit\n");
    shop.write("m/x.de.zst", zstd::encode_all(&b"Ton\nStein"[..], 0).unwrap());
    let moses = fault(&pairs(&shop, "m"));
    assert!(
        moses.starts_with("m/x.en: 3 lines, but ") && moses.contains("m/x.de.zst has 2 (lines of the same"),
        "{moses}"
    );
    assert!(!shop.path("out/corpus_idx.npz").exists());
    let half = fault(&pairs(&shop, "m/x.en"));
    assert_eq!(
        half,
        "m/x.en: the other half of these pairs is not among the inputs (it would be m/x.de, plain, .gz or .zst)"
    );
    shop.write("m/x.de", "Ton");
    assert!(fault(&pairs(&shop, "m")).contains("this half of the pairs is there twice"));
    shop.write("m/notes", "");
    let forced = CorpusOptions { format: TextFormat::Moses, ..pairs(&shop, "m/notes") };
    assert_eq!(fault(&forced), "m/notes: the name tells no language (two files are a pair: `x.en` and `x.de`)");

    shop.write("h.tsv", "premise\thypo\nthe\tTon\n");
    let columns = |names: [&str; 2]| Some(names.map(String::from).to_vec());
    let wrong = CorpusOptions { columns: columns(["premise", "hypos"]), ..pairs(&shop, "h.tsv") };
    let expected = "h.tsv:1: there is no column `hypos` (did you mean `hypo`? the header's columns: premise, hypo)";
    assert_eq!(fault(&wrong), expected);
    shop.write("t.jsonl", "{\"translation\": {\"en\": \"the\", \"fr\": \"le\"}}\n");
    assert!(
        fault(&pairs(&shop, "t.jsonl")).starts_with("t.jsonl:1: the object has no `de`"),
        "{}",
        fault(&pairs(&shop, "t.jsonl"))
    );
    shop.write("none.tsv", "the\t\n");
    assert!(fault(&pairs(&shop, "none.tsv")).starts_with("the inputs hold no pair: 1 with an empty side, 0 lines"));
}

#[test]
fn text_of_one_language_is_documents_of_sentences() {
    let shop = shop();
    shop.write("t.txt", "the kiln burns clay\nit waits\n\nstone and days\n");
    let options = CorpusOptions { languages: languages(&["en"]), ..shop.options("t.txt") };
    assert_eq!(shop.made(&options), [&["▁the ▁kiln ▁burns ▁clay", "▁it ▁waits"][..], &["▁stone ▁and ▁days"]]);
    assert_eq!(content(&shop), Content { kind: Kind::Text, languages: languages(&["en"]).unwrap() });
    let summary = shop.run(&CorpusOptions { seed: 5, ..options }).unwrap();
    assert_eq!((summary.single_sentence_documents, summary.unknown_tokens), (0, 0), "nothing of sentence order");
}

/// Lines of each of the files of [`many`]: what is written is buffered, and to be seen it has to be several buffers.
pub(super) const LINES: usize = 8000;

/// Many pairs, from Moses files (one packed), a table with a header and JSON lines.
pub(super) fn many(shop: &Workshop) -> CorpusOptions {
    let words =
        [["the", "die"], ["kiln", "Ofen"], ["burns", "brennt"], ["clay", "Ton"], ["stone", "Stein"], ["7", "12"]];
    let text = |number: usize, side: usize| {
        let words = (0..3 + number % 17).map(|at| words[(number * 5 + at * at + number / 7) % words.len()][side]);
        words.collect::<Vec<_>>().join(" ")
    };
    let lines =
        |from: usize, of: &dyn Fn(usize) -> String| (from..from + LINES).map(|n| of(n) + "\n").collect::<String>();
    shop.write("in/a.en", lines(0, &|n| text(n, 0)));
    shop.write("in/a.de.zst", zstd::encode_all(lines(0, &|n| text(n, 1)).as_bytes(), 0).unwrap());
    shop.write("in/b.tsv", format!("x\ten\tde\n{}", lines(LINES, &|n| format!("x\t{}\t{}", text(n, 0), text(n, 1)))));
    let json = |n: usize| serde_json::json!({ "en": text(n, 0), "de": text(n, 1) }).to_string();
    shop.write("in/c.jsonl", lines(2 * LINES, &json));
    CorpusOptions { buffer_bytes: 1 << 16, columns: languages(&["en", "de"]), ..pairs(shop, "in") }
}

/// Stopped again and again, with every number of threads, the bytes are the same.
#[test]
fn interrupted_work_on_pairs_goes_on_to_the_same_bytes() {
    let shop = shop();
    let options = many(&shop);
    for shuffle in [false, true] {
        let options = CorpusOptions { shuffle, ..options.clone() };
        let whole = CorpusOptions { output: shop.path("whole/corpus"), buffer_bytes: 1 << 26, ..options.clone() };
        shop.run(&whole).unwrap();
        let work = |stop: &AtomicBool, stops: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + stops % 3).build().unwrap();
            pool.install(|| run(&options, &shop.tokenizer, &Ranks::alone(), stop))
        };
        let written = || {
            let Ok(state) = fs::read(shop.path("out/.corpus.preparing/state.json")) else { return 0 };
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
            state.pointer("/written/documents").unwrap().as_u64().unwrap()
        };
        let enough = |seen: &[u64]| seen.iter().filter(|written| **written > 0).count() >= 2;
        let (summary, saved) = in_pieces(&shop.path("out/.corpus.preparing"), work, written, enough);
        assert_eq!((summary.documents, summary.sentences), (3 * LINES as u64, 6 * LINES as u64));
        assert!(saved.is_sorted(), "work was done again: {saved:?}");
        let (mut made, mut expected) = (files(&shop.path("out")), files(&shop.path("whole")));
        for corpus in [&mut made, &mut expected] {
            corpus.remove("corpus.prepare.json").unwrap();
        }
        assert!(made == expected && made.len() == 2, "after {} stops, shuffle {shuffle}", saved.len());
        fs::remove_dir_all(shop.path("out")).unwrap();
        fs::remove_dir_all(shop.path("whole")).unwrap();
    }
}
