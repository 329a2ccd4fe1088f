//! Files of questions: SQuAD's JSON, CMRC2018's two layouts, DuReader's preprocessed lines; what is wrong in them is named.

use std::fs;
use std::path::Path;

use kiln::data::card::{Card, Split};
use kiln::data::questions::{AnswerSpan, Placing, Purpose, QuestionOptions, QuestionRow};
use kiln::data::read::read_question_split;
use kiln::data::read::{ReadOptions, Rows};
use kiln::error::{Error, Problem};
use kiln::recipe::BadRows;
use miette::Diagnostic;

use crate::real_data;

const SKIP: ReadOptions =
    ReadOptions { bad_rows: BadRows::Skip, empty_text: kiln::recipe::EmptyText::Keep, max_rows: None };

fn card(format: &str) -> Card {
    let scoring = if format == "dureader" { "dureader" } else { "cmrc2018" };
    let text = format!(
        "title = 'Small'\nlanguages = ['zh']\nscoring = '{scoring}'\n[[train]]\nfiles = 'f.json'\nformat = '{format}'\n"
    );
    Card::parse(Path::new("small.toml"), &text).unwrap()
}

fn read_as(
    format: &str,
    content: &[u8],
    options: ReadOptions,
    purpose: Purpose,
    version_2_with_negative: bool,
) -> Result<Rows<QuestionRow>, Error> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f.json"), content).unwrap();
    let questions = QuestionOptions { purpose, version_2_with_negative };
    read_question_split(&card(format), root.path(), Split::Train, "zh", options, questions)
}

fn train(content: &str) -> Result<Rows<QuestionRow>, Error> {
    read_as("squad", content.as_bytes(), ReadOptions::default(), Purpose::Train, false)
}

/// The messages, without the folder.
fn faults(result: Result<Rows<QuestionRow>, Error>) -> Vec<String> {
    let error = result.map(|rows| rows.rows).expect_err("the file must be refused");
    let text =
        |problem: &Problem| problem.to_string().rsplit_once("f.json").map_or(problem.to_string(), |(_, t)| t.into());
    error.problems().iter().map(text).collect()
}

fn help(error: &Error) -> String {
    Diagnostic::help(&error.problems()[0]).expect("every message says what would be right").to_string()
}

fn given(start: u32, end: u32) -> Placing {
    Placing::Given(AnswerSpan { passage: 0, start, end })
}

const V1: &str = r#"{"version": "1.1", "data": [
 {"title": "t", "paragraphs": [
  {"qas": [
    {"answers": [{"answer_start": 2, "text": "光荣"}, {"text": "𠮷", "answer_start": 4}], "id": "a", "question": "谁？"},
    {"question": "x?", "id": 7, "answers": [{"text": "b", "answer_start": 5}]}],
   "context": "𠮷是光荣𠮷b"}]},
 {"paragraphs": [{"context": "c", "qas": []}]}]}"#;

/// `qas` may come before `context`, as in SQuAD 2.0; places count characters, not bytes.
#[test]
fn squad_s_layout() {
    let rows = train(V1).unwrap();
    let [first, second] = rows.rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((first.id.as_str(), first.question.as_str(), first.line), ("a", "谁？", 4));
    assert_eq!((first.answers.as_slice(), first.placing), (["光荣".to_string(), "𠮷".into()].as_slice(), given(2, 4)));
    assert_eq!((second.id.as_str(), second.placing, second.line), ("7", given(5, 6), 5));
    assert!(std::sync::Arc::ptr_eq(&first.passages[0], &second.passages[0]), "a context is held once");
}

#[test]
fn cmrc2018_s_older_layout_and_the_hub_s() {
    let old = r#"[{"context_id": "T", "context_text": "他在北京，北京", "title": "t", "qas": [
        {"query_id": "T_Q", "query_text": "哪里？", "answers": ["北京", "在"]}, {"query_text": "谁", "answers": ["他"]}]}]"#;
    let rows = train(old).unwrap().rows;
    assert_eq!((rows[0].id.as_str(), rows[0].placing, rows[1].id.as_str()), ("T_Q", given(2, 4), "2"));
    let hub = r#"[{"context": "abc", "qas": [{"id": "1", "question": "q", "answers": {"text": ["c"], "answer_start": [2]}}]}]"#;
    assert_eq!(train(hub).unwrap().rows[0].placing, given(2, 3));
}

#[test]
fn answers_are_found_where_they_stand() {
    let of = |text: &str, start: i64| {
        let answer = serde_json::json!({"text": text, "answer_start": start});
        let file = serde_json::json!([{"context": "ab ab, 北 ab", "qas": [{"id": "1", "question": "q", "answers": [answer]}]}]);
        let rows = read_as("squad", file.to_string().as_bytes(), SKIP, Purpose::Evaluate, false).unwrap();
        rows.rows[0].placing
    };
    let moved = |start, end| Placing::Moved(AnswerSpan { passage: 0, start, end });
    assert_eq!(of("ab", 3), given(3, 5));
    assert_eq!(of("ab", 8), moved(9, 11), "the nearest");
    assert_eq!(of("ab", -1), moved(0, 2));
    assert_eq!(of("ab", 1_000_000), moved(9, 11));
    assert_eq!(of(" 北 ", 6), given(6, 9), "as it stands there");
    assert_eq!(of("  北\n", 2), moved(7, 8), "blanks round it are not looked for");
    assert_eq!(of("cd", 0), Placing::Nowhere);
    assert_eq!(of("", 0), Placing::Nowhere);
}

/// The first answer that stands in the context is learnt; without any the question is bad, with its place.
#[test]
fn an_answer_to_learn_stands_in_the_context() {
    let file = |answers: &str| {
        format!(
            "[{{\"context\": \"北ab\", \"qas\": [\n  {{\"id\": \"1\", \"question\": \"q\", \"answers\": {answers}}}, {{\"id\": \"2\", \"question\": \"r\", \"answers\": [\"b\"]}}]}}]"
        )
    };
    assert_eq!(train(&file("[\"x\", \"b\"]")).unwrap().rows[0].placing, given(2, 3));
    let bad = file("[{\"text\": \"xyz\", \"answer_start\": 0}]");
    let found = faults(train(&bad));
    assert_eq!(found, [":2:3: the answer \"xyz\" does not stand in the context", ": 1 of 2 rows cannot be read"]);
    let rows = read_as("squad", bad.as_bytes(), SKIP, Purpose::Train, false).unwrap();
    assert_eq!((rows.rows.len(), rows.skipped_count), (1, 1));
    // To compare with, it need not.
    let rows = read_as("squad", bad.as_bytes(), ReadOptions::default(), Purpose::Evaluate, false).unwrap();
    assert_eq!((rows.rows.len(), rows.rows[0].placing), (2, Placing::Nowhere));
}

#[test]
fn unanswerable_questions_are_version_2() {
    let file = r#"{"data": [{"paragraphs": [{"context": "ab", "qas": [
        {"id": "1", "question": "who?", "is_impossible": true, "answers": [], "plausible_answers": [{"text": "a", "answer_start": 0}]},
        {"id": "2", "question": "what?", "is_impossible": false, "answers": [{"text": "b", "answer_start": 1}]}]}]}]}"#;
    let read = |purpose, version_2| read_as("squad", file.as_bytes(), ReadOptions::default(), purpose, version_2);
    for purpose in [Purpose::Train, Purpose::Evaluate] {
        let rows = read(purpose, true).unwrap().rows;
        assert_eq!((rows[0].placing, rows[0].answers.len(), rows[1].placing), (Placing::None, 0, given(1, 2)));
        let error = read(purpose, false).unwrap_err();
        assert!(help(&error).contains("task.version_2_with_negative=true"), "{}", help(&error));
        assert_eq!(faults(Err(error))[0], ":2:9: the question \"who?\" has no answer");
    }
    assert_eq!(read(Purpose::Predict, false).unwrap().rows.len(), 2);
}

/// Columns count characters; the position is where reading stopped.
#[test]
fn broken_files_are_named_with_line_and_column() {
    assert_eq!(
        faults(train("[{\"context\": \"北\", \"qas\": [}]"))[0],
        ":1:27: not a file of questions: expected value"
    );
    assert_eq!(faults(train("{\"data\": [\n{\"paragraphs\": 3}]}"))[0].split(": not").next(), Some(":2:17"));
    assert_eq!(faults(train("{\"version\": 1}"))[0], ":1:14: not a file of questions: missing field `data`");
    assert_eq!(faults(train("\u{feff}3"))[0].split(": not").next(), Some(":1:1"));
    let cut = &V1[..V1.len() - 3];
    assert!(faults(train(cut))[0].contains("not a file of questions: EOF while parsing"), "{:?}", faults(train(cut)));
    let error = train("[{\"context\": \"a\", \"qas\": [{\"id\": \"1\", \"answers\": []}]}]").unwrap_err();
    assert!(error.to_string().ends_with("not a file of questions: missing field `question`"), "{error}");
    assert!(help(&error).contains("\"answer_start\"") && help(&error).contains("query_text"));
    let orphan = "[{\"qas\": [{\"id\": \"1\", \"question\": \"q\", \"answers\": [\"a\"]}]}]";
    assert_eq!(faults(train(orphan))[0], ":1:11: a question without a context");
    assert_eq!(faults(train("[]")), [": no rows"]);
}

/// What comes after the rows that were asked for is only hashed.
#[test]
fn reading_stops_when_there_is_enough() {
    let options = ReadOptions { max_rows: Some(1), ..ReadOptions::default() };
    let first = read_as("squad", V1.as_bytes(), options, Purpose::Train, false).unwrap();
    let all = train(V1).unwrap();
    assert_eq!((first.rows.len(), &first.sha256), (1, &all.sha256));
    let spoilt = V1.replace("{\"paragraphs\": [{\"context\": \"c\"", "{\"paragraphs\": [{]");
    assert!(train(&spoilt).is_err());
    assert_eq!(read_as("squad", spoilt.as_bytes(), options, Purpose::Train, false).unwrap().rows, first.rows);
}

const DUREADER: &str = r#"{"question_id": 186358, "question_type": "DESCRIPTION", "question": "窑 烧 什么", "segmented_question": ["窑", "烧", "什么"], "documents": [{"is_selected": true, "most_related_para": 1, "bs_rank_pos": 0, "segmented_title": ["t"], "segmented_paragraphs": [["什么", "都", "窑", "烧", "烧"], ["窑", "把", "泥土", "烧", "成", "石头"]]}, {"most_related_para": 0, "segmented_paragraphs": [["烧", "窑"], ["窑"], ["烧", "窑", "x"]]}], "answers": ["泥土", "烧泥土"], "segmented_answers": [["泥土"]], "answer_docs": [0], "answer_spans": [[2, 3]], "fake_answers": ["泥土烧"], "match_scores": [0.9]}
{"question_id": "2", "segmented_question": ["谁"], "documents": [], "answers": [], "answer_docs": [], "answer_spans": []}
"#;

/// The paragraphs are those of the original reader: most_related_para to learn from, the best recall otherwise.
#[test]
fn dureader_s_lines() {
    let read = |purpose| read_as("dureader", DUREADER.as_bytes(), ReadOptions::default(), purpose, false).unwrap();
    let rows = read(Purpose::Train);
    assert_eq!((rows.rows.len(), rows.dropped), (1, 1), "without a span there is nothing to learn");
    let row = &rows.rows[0];
    assert_eq!((row.id.as_str(), row.question.as_str(), &*row.passages[0]), ("186358", "窑烧什么", "窑把泥土烧成石头"));
    assert_eq!((row.placing, row.passages.len()), (given(2, 5), 1));
    let rows = read(Purpose::Evaluate);
    assert_eq!((rows.rows.len(), rows.dropped), (1, 1), "without answers there is nothing to compare with");
    let passages: Vec<&str> = rows.rows[0].passages.iter().map(|passage| &**passage).collect();
    assert_eq!(passages, ["什么都窑烧烧", "烧窑"]);
    assert_eq!(rows.rows[0].answers, ["泥土", "烧泥土"]);
    assert_eq!(read(Purpose::Predict).rows.len(), 2);
}

#[test]
fn dureader_s_mistakes_are_named() {
    let of = |from: &str, to: &str| {
        let content = DUREADER.replacen(from, to, 1);
        faults(read_as("dureader", content.as_bytes(), ReadOptions::default(), Purpose::Train, false))[0].clone()
    };
    assert_eq!(
        of("\"answer_spans\": [[2, 3]]", "\"answer_spans\": [[2, 6]]"),
        ":1: the answer is the words 2 to 6 of a paragraph of 6"
    );
    assert_eq!(of("\"answer_docs\": [0]", "\"answer_docs\": []"), ":1: `answer_spans` without `answer_docs`");
    assert_eq!(of("most_related_para\": 1", "most_related_para\": 2"), ":1: `most_related_para` is 2, of 2 paragraphs");
    let missing = of("segmented_question", "segmented");
    assert!(
        missing.starts_with(":1:") && missing.ends_with("not a JSON object: missing field `segmented_question`"),
        "{missing}"
    );
}

#[test]
fn cards_of_questions_say_how_answers_are_compared() {
    let of = |text: &str| {
        let error = Card::parse(Path::new("c.toml"), text).unwrap_err();
        error.problems().iter().map(Problem::to_string).collect::<Vec<_>>()
    };
    let base = "title = 'S'\nlanguages = ['zh']\n";
    let source = "[[train]]\nfiles = 'f.json'\nformat = 'squad'\n";
    assert_eq!(of(&format!("{base}{source}")), ["c.toml:1:1: a card of questions without `scoring`"]);
    let found =
        of(&format!("{base}scoring = 'squad'\nlabels = ['a']\n{source}columns = {{ text = 1 }}\nheader = true\n"));
    assert_eq!(
        found,
        [
            "c.toml:4:11: questions have no labels",
            "c.toml:8:11: files of questions have no columns",
            "c.toml:9:10: files of questions have no header, quoting or width",
        ]
    );
    let texts = "[[dev]]\nfiles = 'd.tsv'\nformat = 'tsv'\ncolumns = { text = 1 }\n";
    let found = of(&format!("{base}scoring = 'squad'\n{source}{texts}"));
    assert_eq!(found, ["c.toml:10:11: some sources have questions and some have not"]);
    assert_eq!(
        of(&format!("{base}scoring = 'squad'\n{texts}")),
        ["c.toml:3:11: only answers to questions have a `scoring`"]
    );
    assert!(of(&format!("{base}scoring = 'rouge'\n{source}"))[0].contains("unknown variant `rouge`"));
}

#[test]
fn the_other_kind_of_card_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("ocnli")).unwrap();
    fs::write(root.path().join("ocnli/dev.json"), "{}").unwrap();
    let questions = QuestionOptions { purpose: Purpose::Train, version_2_with_negative: false };
    let card = Card::load("ocnli").unwrap();
    let error =
        read_question_split(&card, root.path(), Split::Dev, "zh", ReadOptions::default(), questions).unwrap_err();
    assert_eq!(error.to_string(), "the dataset `ocnli` has texts with labels, not questions");
}

/// Counts of the published files, taken with Python.
#[test]
fn cmrc2018_s_files_are_whole() {
    let Some(root) = real_data() else { return };
    let card = Card::load("cmrc2018").unwrap();
    let read = |split, purpose, options| {
        let questions = QuestionOptions { purpose, version_2_with_negative: false };
        read_question_split(&card, &root.join("data"), split, "zh", options, questions)
    };
    for (split, expected) in [(Split::Dev, (3219, 848)), (Split::Test, (1002, 256))] {
        let rows = read(split, Purpose::Evaluate, ReadOptions::default()).unwrap();
        let contexts: std::collections::HashSet<&str> = rows.rows.iter().map(|row| &*row.passages[0]).collect();
        assert_eq!((rows.rows.len(), contexts.len()), expected);
        let placed = |is: fn(&Placing) -> bool| rows.rows.iter().filter(|row| is(&row.placing)).count();
        println!(
            "{split}: {} given, {} moved, {} nowhere",
            placed(|p| matches!(p, Placing::Given(_))),
            placed(|p| matches!(p, Placing::Moved(_))),
            placed(|p| *p == Placing::Nowhere)
        );
    }
}
