//! Windows over passages and the answers read from them, against transformers' question answering example
//! (tests/fixtures/answers/make_windows.py), and tokens' places in texts of all kinds.

use std::path::Path;

use kiln::data::card::{Card, Split};
use kiln::data::questions::{AnswerSpan, Placing, Purpose, QuestionOptions, QuestionRow};
use kiln::data::read::ReadOptions;
use kiln::data::read::read_question_split;
use kiln::data::windows::{Window, WindowOptions, windows};
use kiln::metrics::spans::{Answers, SpanOptions, WindowAnswers, WindowLogits, answers};
use kiln::models::{Family, ernie, ernie_m, rembert};
use kiln::recipe::{TypedSpecials, WordSplitting};
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use proptest::prelude::*;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::{fixture, real_data};

#[derive(Deserialize)]
struct Expected {
    options: Options,
    decoding: Vec<(usize, usize, bool, f32)>,
    rows: Vec<ExpectedRow>,
}

#[derive(Deserialize)]
struct Options {
    max_seq_length: usize,
    doc_stride: usize,
    max_query_length: usize,
}

#[derive(Deserialize)]
struct ExpectedRow {
    question: String,
    context: String,
    answer: String,
    start: u32,
    windows: Vec<ExpectedWindow>,
    answers: Vec<Option<ExpectedAnswers>>,
}

#[derive(Deserialize)]
struct ExpectedWindow {
    ids: Vec<u32>,
    first: usize,
    answer: [i32; 2],
    start: u32,
    offsets: Vec<(u32, u32)>,
    start_logits: Vec<f32>,
    end_logits: Vec<f32>,
}

#[derive(Deserialize)]
struct ExpectedAnswers {
    chosen: String,
    best: Vec<(String, f32, f32)>,
}

fn expected() -> (Expected, WindowOptions) {
    let expected: Expected = serde_json::from_slice(&std::fs::read(fixture("answers/windows.json")).unwrap()).unwrap();
    let Options { max_seq_length, doc_stride, max_query_length } = expected.options;
    (expected, WindowOptions { max_seq_length, doc_stride, max_query_length })
}

fn ernie(folder: &Path) -> Tokenizer {
    let options = TokenizerOptions {
        word_splitting: Some(WordSplitting::HuggingFace),
        typed_specials: Some(TypedSpecials::HuggingFace),
        ..Default::default()
    };
    Tokenizer::from_dir(ernie::FAMILY.tokenizers, folder, options).unwrap()
}

fn row(question: &str, context: &str, answer: &str, start: u32) -> QuestionRow {
    let end = start + answer.chars().count() as u32;
    QuestionRow {
        id: "1".into(),
        question: question.into(),
        passages: vec![context.into()],
        answers: vec![answer.into()],
        placing: Placing::Given(AnswerSpan { passage: 0, start, end }),
        line: 1,
    }
}

#[test]
fn windows_are_run_qa_s() {
    let (expected, options) = expected();
    let tokenizer = ernie(&fixture("tokenizer/ernie"));
    for expected in &expected.rows {
        let row = row(&expected.question, &expected.context, &expected.answer, expected.start);
        let found = windows(&row, &tokenizer, options);
        assert_eq!(found.len(), expected.windows.len(), "{row:?}");
        for (found, expected) in found.iter().zip(&expected.windows) {
            assert_eq!((&found.ids, found.first), (&expected.ids, expected.first), "{row:?}");
            assert_eq!((found.place.start, &found.place.offsets), (expected.start, &expected.offsets), "{row:?}");
            assert_eq!(found.answer, expected.answer, "{row:?}");
        }
    }
}

fn answers_of(row: &QuestionRow, logits: &[WindowLogits], options: SpanOptions) -> Answers {
    let windows: Vec<WindowAnswers> = logits.iter().map(|window| WindowAnswers::new(window, options)).collect();
    answers(row, &windows, options)
}

#[test]
fn answers_are_run_qa_s() {
    let (expected, options) = expected();
    let tokenizer = ernie(&fixture("tokenizer/ernie"));
    let mut compared = 0;
    for expected_row in &expected.rows {
        let row = row(&expected_row.question, &expected_row.context, &expected_row.answer, expected_row.start);
        let found = windows(&row, &tokenizer, options);
        let logits: Vec<WindowLogits> = found
            .iter()
            .zip(&expected_row.windows)
            .map(|(found, expected)| WindowLogits {
                place: &found.place,
                start: &expected.start_logits,
                end: &expected.end_logits,
            })
            .collect();
        for (&(n_best, max_answer_length, version_2_with_negative, null_score_diff_threshold), expected) in
            expected.decoding.iter().zip(&expected_row.answers)
        {
            let options = SpanOptions {
                n_best,
                max_answer_length,
                version_2_with_negative,
                null_score_diff_threshold,
                ranked: false,
            };
            let found = answers_of(&row, &logits, options);
            let Some(expected) = expected else {
                // Where run_qa.py has no candidate, there is an answer all the same.
                assert_eq!(found.candidates.len(), logits.len().min(n_best));
                continue;
            };
            assert_eq!(found.chosen().unwrap().text, expected.chosen);
            assert_eq!(found.candidates.len(), expected.best.len());
            for (found, (text, score, share)) in found.candidates.iter().zip(&expected.best) {
                // Scores have five places, shares six.
                let close = (found.score - score).abs() < 1e-4 && (found.probability - share).abs() < 2e-6;
                assert!(found.text == *text && close, "{found:?} is not {text} {score} {share}");
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} compared");
}

/// A passage counts by its rank where that is asked for (DuReader).
#[test]
fn the_first_document_wins_between_equals() {
    let tokenizer = ernie(&fixture("tokenizer/ernie"));
    let mut row = row("what?", "the kiln", "kiln", 4);
    row.passages = vec!["the kiln".into(), "burn clay".into()];
    let options = WindowOptions { max_seq_length: 16, doc_stride: 2, max_query_length: 4 };
    let found = windows(&row, &tokenizer, options);
    assert_eq!(found.iter().map(|window| window.place.passage).collect::<Vec<_>>(), [0, 1]);
    assert_ne!(found[0].answer, [0, 0]);
    assert_eq!(found[1].answer, [0, 0], "the answer is in the other passage");
    let peak = |window: &Window, height: f32| {
        let mut logits = vec![0.0; window.ids.len()];
        logits[window.place.start as usize + 1] = height;
        logits
    };
    let (first, second) = (peak(&found[0], 3.0), peak(&found[1], 3.2));
    let logits = [
        WindowLogits { place: &found[0].place, start: &first, end: &first },
        WindowLogits { place: &found[1].place, start: &second, end: &second },
    ];
    let mut options = SpanOptions {
        n_best: 5,
        max_answer_length: 5,
        version_2_with_negative: false,
        null_score_diff_threshold: 0.0,
        ranked: false,
    };
    assert_eq!(answers_of(&row, &logits, options).chosen().unwrap().text, "clay");
    options.ranked = true; // ln 0.44 - ln 0.23 = 0.65 is more than the 0.4 between them
    assert_eq!(answers_of(&row, &logits, options).chosen().unwrap().text, "kiln");
}

/// What an unknown place teaches: nothing.
#[test]
fn an_answer_that_is_nowhere_is_no_label() {
    let tokenizer = ernie(&fixture("tokenizer/ernie"));
    let mut row = row("what?", "the kiln", "x", 0);
    let options = WindowOptions { max_seq_length: 16, doc_stride: 2, max_query_length: 4 };
    row.placing = Placing::Nowhere;
    assert_eq!(windows(&row, &tokenizer, options)[0].answer, [-100, -100]);
    row.placing = Placing::None;
    assert_eq!(windows(&row, &tokenizer, options)[0].answer, [0, 0]);
    row.passages = vec!["".into()];
    assert_eq!(windows(&row, &tokenizer, options).len(), 1, "a window even for an empty passage");
}

/// The letters of a text, however normalisation writes them.
fn letters(text: &str) -> String {
    let plain = text.nfkd().flat_map(char::to_lowercase).nfkd();
    let is_dropped = |c: char| c == '\u{fffd}' || c.general_category_group() == GeneralCategoryGroup::Other;
    plain.filter(|c| !is_combining_mark(*c) && !is_dropped(*c) && !c.is_whitespace() && !"▁#".contains(*c)).collect()
}

/// Every token's place is in the text, after the one before, and has the token's letters: what the libraries' "substring not
/// found" is about. Returns how many tokens were compared by their letters.
fn check_places(tokenizer: &Tokenizer, text: &str) -> Result<usize, String> {
    let chars: Vec<char> = text.chars().collect();
    let unknown = tokenizer.token(tokenizer.specials().unk);
    let (mut before, mut compared) = ((0, 0), 0);
    for found in tokenizer.tokenize(text) {
        let (start, end) = (found.token.start, found.token.end);
        if start > end || end as usize > chars.len() || start < before.0 || end < before.1 {
            return Err(format!("{found:?} after {before:?} in {text:?}"));
        }
        before = (start, end);
        let span: String = chars[start as usize..end as usize].iter().collect();
        if found.token.id != tokenizer.specials().unk || found.text != unknown {
            if !letters(&span).contains(&letters(&found.text)) {
                return Err(format!("{found:?} is at {span:?} in {text:?}"));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

fn small_tokenizers() -> Vec<Tokenizer> {
    let of = |family: &Family, folder| {
        Tokenizer::from_dir(family.tokenizers, &fixture(folder), TokenizerOptions::default()).unwrap()
    };
    vec![
        of(&ernie::FAMILY, "tokenizer/ernie"),
        ernie(&fixture("tokenizer/ernie")),
        of(&ernie_m::FAMILY, "tokenizer/ernie-m"),
        of(&rembert::FAMILY, "tokenizer/rembert"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Rare and full-width characters, accents apart from their letters, what is dropped, what is unknown.
    #[test]
    fn tokens_know_their_places(
        text in "(kiln|burns|[a-z]|[A-Z]|[0-9]| |\u{3000}|，|。|北|京|窑|龘|𠮷|４|Ａ|ﬁ|½|㍿|e\u{301}|É|İ|ß|か|ガ|가|😀|\u{200b}|\u{ad}|\u{7}|\u{fffd}|\\[UNK\\]|\\[MASK\\]|▁|##|\\PC){0,24}",
    ) {
        for tokenizer in small_tokenizers() {
            let checked = check_places(&tokenizer, &text);
            prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
        }
    }

    /// Windows cover a passage: every token is in one, and an answer that fits is whole in at least one.
    #[test]
    fn an_answer_that_fits_is_in_a_window(
        words in prop::collection::vec("[a-k]{1,3}", 1..60),
        first in 0usize..60, length in 1usize..4,
    ) {
        let tokenizer = ernie(&fixture("tokenizer/ernie"));
        let (first, context) = (first % words.len(), words.join(" "));
        let answer = words[first..(first + length).min(words.len())].join(" ");
        let start = words[..first].iter().map(|word| word.len() + 1).sum::<usize>() as u32;
        let row = row("the kiln?", &context, &answer, start);
        // Four letters a word at most, in at most three words: nine tokens, which is less than the overlap.
        let options = WindowOptions { max_seq_length: 32, doc_stride: 12, max_query_length: 8 };
        let found = windows(&row, &tokenizer, options);
        let mut whole = 0;
        for window in &found {
            prop_assert!(window.ids.len() <= 32 && window.ids.len() > window.place.offsets.len());
            if window.answer != [0, 0] {
                whole += 1;
                let [begin, end] = window.answer.map(|token| token as usize - window.place.start as usize);
                let (from, to) = (window.place.offsets[begin].0, window.place.offsets[end].1);
                prop_assert_eq!((from, to), (start, start + answer.len() as u32));
            }
        }
        prop_assert!(whole > 0);
    }
}

/// The real thing: every token of every context of CMRC2018, by the real vocabularies.
#[test]
fn tokens_of_real_contexts_know_their_places() {
    let Some(root) = real_data() else { return };
    let data = root.join("data");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(data.join("vocab/ernie1.0_vocab_tokens_only.txt"), folder.path().join("vocab.txt")).unwrap();
    let of = |family: &Family, folder: &Path| {
        Tokenizer::from_dir(family.tokenizers, folder, TokenizerOptions::default()).unwrap()
    };
    let tokenizers = [
        of(&ernie::FAMILY, folder.path()),
        ernie(folder.path()),
        of(&ernie_m::FAMILY, &data.join("weights/e5-small-as-ernie-m")),
        of(&rembert::FAMILY, &fixture("tokenizer/rembert")),
    ];
    let card = Card::load("cmrc2018").unwrap();
    let options = QuestionOptions { purpose: Purpose::Evaluate, version_2_with_negative: false };
    for split in [Split::Dev, Split::Test] {
        let rows = read_question_split(&card, &data, split, "zh", ReadOptions::default(), options).unwrap();
        let mut contexts: Vec<&str> = rows.rows.iter().map(|row| &*row.passages[0]).collect();
        contexts.dedup();
        for tokenizer in &tokenizers {
            let compared: usize = contexts
                .iter()
                .map(|context| check_places(tokenizer, context).unwrap_or_else(|what| panic!("{what}")))
                .sum();
            println!("{split}: {} contexts, {compared} tokens", contexts.len());
        }
    }
}
