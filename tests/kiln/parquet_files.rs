//! Parquet files as the hub has them: the same rows as JSON lines in every encoding, shards, what is wrong with a file, and that no file
//! ends the program or fills the memory. The files are made by `tests/fixtures/parquet/make.py`.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::data::card::{Card, RowKind, Split};
use kiln::data::find;
use kiln::data::questions::{AnswerSpan, Placing, Purpose, QuestionOptions, QuestionRow};
use kiln::data::read::{ReadOptions, Rows, read_question_split, read_split, read_tagged_split};
use kiln::data::rows::{Row, TaggedRow};
use kiln::error::{Error, Problem};
use kiln::recipe::{BadRows, EmptyText};
use miette::Diagnostic;

const SKIP: ReadOptions = ReadOptions { bad_rows: BadRows::Skip, empty_text: EmptyText::Keep, max_rows: None };

const PAIRS: &str = "columns = { text = 'premise', text_pair = 'hypothesis', label = 'label' }";
const TAGGED: &str = "columns = { tokens = 'tokens', tags = 'ner_tags', language = 'language' }";
const QUESTIONS: &str = "columns = { id = 'id', question = 'question', context = 'context', answers = 'answers.text', \
    answer_start = 'answers.answer_start' }";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet")
}

/// A card with `files`, which hold three labels that are written as numbers.
fn card(files: &str, columns: &str) -> Result<Card, Error> {
    let format = if files.ends_with("jsonl") { "jsonl" } else { "parquet" };
    let labels = match columns.contains("question") {
        true => "scoring = 'squad'",
        false => "labels = ['zero', 'one', 'two']\nlabel_aliases = { 0 = 'zero', 1 = 'one', 2 = 'two' }",
    };
    let source = format!("[[dev]]\nfiles = '{files}'\nformat = '{format}'\n{columns}\n");
    Card::parse(Path::new("t.toml"), &format!("title = 'T'\nlanguages = ['en']\n{labels}\n{source}"))
}

fn texts(root: &Path, files: &str, columns: &str, options: ReadOptions) -> Result<Rows, Error> {
    read_split(&card(files, columns).unwrap(), root, Split::Dev, "en", options)
}

fn pairs(files: &str) -> Vec<Row> {
    texts(&fixtures(), files, PAIRS, ReadOptions::default()).unwrap().rows
}

fn tagged(files: &str, options: ReadOptions) -> Result<Rows<TaggedRow>, Error> {
    read_tagged_split(&card(files, TAGGED).unwrap(), &fixtures(), Split::Dev, "en", options)
}

fn questions(files: &str, columns: &str, purpose: Purpose) -> Result<Vec<QuestionRow>, Error> {
    let questions = QuestionOptions { purpose, version_2_with_negative: true };
    let card = card(files, columns).unwrap();
    Ok(read_question_split(&card, &fixtures(), Split::Dev, "en", ReadOptions::default(), questions)?.rows)
}

/// The messages, without the folder.
fn faults<T>(result: Result<T, Error>) -> Vec<String> {
    let error = result.err().expect("the file must be refused");
    assert_eq!(error.exit_code(), 2);
    error.problems().iter().map(|problem| problem.to_string().rsplit('/').next().unwrap().to_string()).collect()
}

fn fault<T>(result: Result<T, Error>) -> String {
    faults(result).remove(0)
}

fn help<T>(result: Result<T, Error>) -> String {
    let error = result.err().expect("the file must be refused");
    Diagnostic::help(&error.problems()[0]).expect("every message says what would be right").to_string()
}

#[test]
fn every_encoding_gives_the_same_rows() {
    let expected = pairs("pairs.jsonl");
    assert_eq!(expected.len(), 12);
    for packing in ["snappy", "zstd-v2", "gzip-delta", "snappy-v2-delta", "plain", "required-v2"] {
        assert_eq!(pairs(&format!("pairs-{packing}.parquet")), expected, "{packing}");
    }
    let three = ReadOptions { max_rows: Some(7), ..ReadOptions::default() };
    let rows = texts(&fixtures(), "pairs-snappy.parquet", PAIRS, three).unwrap();
    assert_eq!(rows.rows, expected[..7]);
    let sha256 = texts(&fixtures(), "pairs-snappy.parquet", PAIRS, ReadOptions::default()).unwrap().sha256;
    assert_eq!(rows.sha256, sha256, "the hash is of the whole file");
}

#[test]
fn shards_are_read_in_their_order() {
    let rows = texts(&fixtures(), "train-*.parquet", PAIRS, ReadOptions::default()).unwrap();
    assert_eq!(rows.rows, pairs("pairs.jsonl"), "lines are counted on from shard to shard");
    assert!(rows.file.ends_with("train-*.parquet"));
    let files: Vec<_> = rows.files.iter().map(|file| (file.path.file_name().unwrap(), file.lines_before)).collect();
    assert_eq!(files, [("train-00000-of-00002.parquet".as_ref(), 0), ("train-00001-of-00002.parquet".as_ref(), 7)]);
    let nine = ReadOptions { max_rows: Some(9), ..ReadOptions::default() };
    let fewer = texts(&fixtures(), "train-*.parquet", PAIRS, nine).unwrap();
    assert_eq!((fewer.rows.as_slice(), &fewer.sha256), (&rows.rows[..9], &rows.sha256));

    let root = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::copy(fixtures().join(name), root.path().join(name)).unwrap();
    let card = card("train-*.parquet", PAIRS).unwrap();
    let find = || find::find(&card, root.path(), Split::Dev, "en");
    assert_eq!(find::patterns(&card, Split::Dev, "en"), ["train-*.parquet"]);
    assert!(help(find()).contains("  train-*.parquet\n"), "{}", help(find()));
    copy("train-00001-of-00002.parquet");
    assert_eq!(fault(find()), "train-00001-of-00002.parquet: 1 of 2 files are there, number 00000 is not");
    let languages = find::eval_languages(&card, &data(root.path()), Split::Dev);
    assert_eq!(fault(languages), "train-00001-of-00002.parquet: 1 of 2 files are there, number 00000 is not");
    copy("train-00000-of-00002.parquet");
    assert_eq!(find().unwrap().files.len(), 2);
}

fn data(root: &Path) -> kiln::recipe::Data {
    toml::from_str(&format!("dataset = \"xnli\"\nroot = {:?}", root.display().to_string())).unwrap()
}

#[test]
fn what_is_null_or_empty_is_named_with_its_row() {
    let read = |options| texts(&fixtures(), "pairs-nulls.parquet", PAIRS, options);
    let expected = ["pairs-nulls.parquet:2: `premise` is null", "pairs-nulls.parquet:3: `label` is null"];
    assert_eq!(faults(read(ReadOptions::default()))[..2], expected);
    let rows = read(SKIP).unwrap();
    assert_eq!((rows.skipped_count, rows.empty), (2, 1));
    assert_eq!(rows.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4, 5]);
}

#[test]
fn tokens_and_tags_are_lists() {
    assert_eq!(card("tagged.parquet", TAGGED).unwrap().rows(), RowKind::Tagged);
    for file in ["tagged.parquet", "tagged-v2.parquet"] {
        let faults = faults(tagged(file, ReadOptions::default()));
        let expected = [
            ":3: a row without tokens",
            ":4: `tokens` has null at place 2",
            ":5: 3 tokens but 1 tags, in the row \"Only one tag\"",
            ":6: `tokens` is null",
        ];
        assert_eq!(faults[..4], expected.map(|what| format!("{file}{what}")));
        let rows = tagged(file, SKIP).unwrap();
        // The other good row is of another language.
        let tokens = ["Ana", "lives", "in", "São", "Paulo"].map(String::from).to_vec();
        assert_eq!(rows.rows, [TaggedRow { tokens, tags: vec![1, 0, 0, 1, 2], line: 1 }]);
    }
    let expected = tagged("tagged-pages.jsonl", ReadOptions::default()).unwrap().rows;
    assert_eq!(expected.len(), 200);
    assert_eq!(tagged("tagged-pages.parquet", ReadOptions::default()).unwrap().rows, expected);
}

#[test]
fn questions_have_columns() {
    assert_eq!(card("questions.parquet", QUESTIONS).unwrap().rows(), RowKind::Questions);
    let rows = questions("questions.parquet", QUESTIONS, Purpose::Train).unwrap();
    let placed = |start, end| Placing::Given(AnswerSpan { passage: 0, start, end });
    let found: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.placing, row.answers.len(), row.line)).collect();
    let expected = [
        ("q1", placed(25, 29), 1, 1),
        ("q2", placed(42, 58), 2, 2),
        ("q3", Placing::None, 0, 3),
        ("q4", placed(3, 6), 2, 4),
    ];
    assert_eq!(found, expected);
    assert_eq!((&*rows[3].question, &*rows[3].passages[0]), ("小王卖什么?", "小王卖红杯子。"));
    assert!(std::sync::Arc::ptr_eq(&rows[0].passages[0], &rows[2].passages[0]), "one context is held once");
    assert_eq!(questions("questions-list.parquet", QUESTIONS, Purpose::Train).unwrap(), rows);
    // Without the answers' places the first that fits is taken, without ids the rows' numbers.
    let fewer = "columns = { question = 'question', context = 'context', answers = 'answers.text' }";
    let found = questions("questions.parquet", fewer, Purpose::Train).unwrap();
    assert_eq!((found[3].id.as_str(), found[3].placing), ("4", placed(3, 6)));
}

#[test]
fn labels_may_be_of_any_plain_type() {
    let of = |columns: &str| {
        let columns = format!("columns = {{ text = 'text', {columns} }}");
        texts(&fixtures(), "types.parquet", &columns, ReadOptions::default())
    };
    let label = |column: &str| fault(of(&format!("label = '{column}'")));
    assert_eq!(label("truth"), "types.parquet:1: unknown label `true`");
    assert_eq!(label("small"), "types.parquet:1: unknown label `255`");
    assert_eq!(label("large"), "types.parquet:1: unknown label `18446744073709551615`");
    assert_eq!(label("real"), "types.parquet:1: unknown label `3.8`");
    assert_eq!(label("double"), "types.parquet:1: unknown label `0.1`");
    assert_eq!(of("label = 'labels'").err().unwrap().problems().len(), 3, "a list is several labels, here for one");
    assert_eq!(of("language = 'deep.inner.word'").err().unwrap().problems().len(), 2);
    assert_eq!(
        label("day"),
        "types.parquet: the column `day` holds values of the type Date, not text or numbers, or lists of them"
    );
}

#[test]
fn columns_are_checked_before_rows() {
    let of = |column: &str| texts(&fixtures(), "types.parquet", &format!("columns = {{ text = '{column}' }}"), SKIP);
    assert_eq!(fault(of("txet")), "types.parquet: there is no column `txet`");
    assert!(
        help(of("txet")).starts_with("did you mean `text`? the columns: text, bytes, truth,"),
        "{}",
        help(of("txet"))
    );
    assert_eq!(fault(of("deep")), "types.parquet: the column `deep` has columns of its own");
    assert_eq!(help(of("deep")), "name one of them: deep.inner.word");
    assert_eq!(fault(of("small")), "types.parquet: the column `small` holds whole numbers, not text");
    assert_eq!(help(of("small")), "columns with text: text, bytes, deep.inner.word");
    assert_eq!(fault(of("labels")), "types.parquet: the column `labels` holds lists of whole numbers, not text");
    assert_eq!(fault(of("nested")), "types.parquet: the column `nested` holds lists in lists of text, not text");
    assert!(fault(of("bytes")).starts_with("types.parquet: no rows left: 2 cannot be read"));
    let tokens = "columns = { tokens = 'text', tags = 'labels' }";
    let read = read_tagged_split(&card("types.parquet", tokens).unwrap(), &fixtures(), Split::Dev, "en", SKIP);
    assert_eq!(fault(read), "types.parquet: the column `text` holds text, not lists of text or of numbers");
}

#[test]
fn a_card_says_nothing_that_parquet_does_not_have() {
    let problems = |columns: &str| -> Vec<String> {
        let error = card("x.parquet", columns).expect_err("the card must be refused");
        error.problems().iter().map(Problem::to_string).collect()
    };
    let all = "header = true\nseparator = 'tab'\ncolumns = { text = 1 }";
    assert_eq!(
        problems(all),
        [
            "t.toml:8:10: parquet files have no header, quoting or width",
            "t.toml:10:11: columns of parquet files have names, not numbers",
            "t.toml:9:13: parquet files have no separators: tokens and tags are lists",
        ]
    );
    let found = problems("columns = { question = 'q', text = 't' }");
    let expected = [
        "a source has questions, or texts, or tokens",
        "questions without a column `context`",
        "questions without a column `answers`",
    ];
    assert_eq!(found, expected.map(|what| format!("t.toml:7:11: {what}")));
    let found = card("x.jsonl", "columns = { question = 'q', context = 'c', answers = 'a' }").unwrap_err().to_string();
    assert!(found.contains("only parquet files have columns of questions"), "{found}");
    let found = card("*/x.parquet", PAIRS).unwrap_err().to_string();
    assert_eq!(found, "t.toml:6:9: a pattern in the name of a folder");
}

#[test]
fn files_that_are_not_parquet_or_not_whole_are_refused() {
    let whole = fs::read(fixtures().join("pairs-snappy.parquet")).unwrap();
    let root = tempfile::tempdir().unwrap();
    let read = |content: &[u8]| {
        fs::write(root.path().join("f.parquet"), content).unwrap();
        texts(root.path(), "f.parquet", PAIRS, SKIP)
    };
    let not = "f.parquet: not a parquet file: it does not begin with \"PAR1\"";
    assert_eq!(fault(read(b"")), not);
    assert_eq!(fault(read(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")), not);
    let cut = "f.parquet: the parquet file ends too early: the footer is not there";
    assert_eq!(fault(read(&whole[..whole.len() / 2])), cut);
    let tail = whole.len() - 8;
    let footer = |length: u32| [&whole[..tail], &length.to_le_bytes(), b"PAR1"].concat();
    assert!(
        fault(read(&footer(1 << 30))).starts_with("f.parquet: the parquet file is damaged: a footer of 1073741824")
    );
    assert!(fault(read(&footer(20))).starts_with("f.parquet: the parquet file is damaged"));
    // The first page is overwritten, and the footer knows nothing of it.
    let mut damaged = whole.clone();
    damaged[4..40].fill(0xFF);
    assert!(fault(read(&damaged)).starts_with("f.parquet:1: the parquet file is damaged"), "{}", fault(read(&damaged)));
    assert!(fault(texts(&fixtures(), "pairs-lz4.parquet", PAIRS, SKIP)).contains("is packed with LZ4"));
}

#[test]
fn bombs_are_refused() {
    let of = |file: &str| texts(&fixtures(), file, "columns = { text = 'text' }", SKIP);
    assert_eq!(fault(of("bomb-page.parquet")), "bomb-page.parquet:1: the parquet file has a page of more than 256 MiB");
    let found = fault(of("bomb-rows.parquet"));
    assert!(
        found.ends_with("the parquet file unpacks to more than 1 GiB and more than 1000 times its size"),
        "{found}"
    );
}

/// Whatever is changed in a file, and wherever it is cut, it is read or refused.
#[test]
fn damaged_files_do_not_end_the_program() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f.parquet");
    let mut refused = 0;
    for (file, columns) in [
        ("pairs-snappy.parquet", PAIRS),
        ("pairs-gzip-delta.parquet", PAIRS),
        ("pairs-snappy-v2-delta.parquet", PAIRS),
        ("pairs-zstd-v2.parquet", PAIRS),
        ("pairs-plain.parquet", PAIRS),
        ("tagged.parquet", TAGGED),
        ("tagged-v2.parquet", TAGGED),
        ("questions-list.parquet", QUESTIONS),
    ] {
        let whole = fs::read(fixtures().join(file)).unwrap();
        let card = card("f.parquet", columns).unwrap();
        let questions = QuestionOptions { purpose: Purpose::Evaluate, version_2_with_negative: true };
        let read = || match card.rows() {
            RowKind::Tagged => read_tagged_split(&card, root.path(), Split::Dev, "en", SKIP).map(drop),
            RowKind::Questions => read_question_split(&card, root.path(), Split::Dev, "en", SKIP, questions).map(drop),
            _ => read_split(&card, root.path(), Split::Dev, "en", SKIP).map(drop),
        };
        // A file that is written over waits for the disk, a new one does not.
        let put = |content: &[u8]| {
            let _ = fs::remove_file(&path);
            fs::write(&path, content).unwrap();
        };
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= [0xFF, 0x80, 0x01, 0x10, 0x04][at % 5];
            put(&changed);
            refused += usize::from(read().is_err());
        }
        for length in (0..whole.len()).step_by(13) {
            put(&whole[..length]);
            assert!(read().is_err(), "{file} cut to {length} bytes");
        }
    }
    assert!(refused > 100, "{refused}");
}
