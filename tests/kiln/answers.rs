//! What answers reach, against a restatement of the official scripts (tests/fixtures/answers/make_scores.py).

use kiln::metrics::answers::{AnswerCounts, Scoring, score};
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
struct Scores {
    bleu_4: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    answer: String,
    references: Vec<String>,
    squad: Figures,
    cmrc2018: Figures,
    rouge_l: f64,
}

#[derive(Deserialize)]
struct Figures {
    exact: bool,
    f1: f64,
}

fn scores() -> Scores {
    serde_json::from_slice(&std::fs::read(fixture("answers/scores.json")).unwrap()).unwrap()
}

/// The same quotients of the same counts: only the order of the last operations may differ.
const TOLERANCE: f64 = 1e-12;

#[test]
fn single_answers_reach_what_the_scripts_say() {
    let scores = scores();
    for case in &scores.cases {
        let of = |scoring| score(scoring, &case.answer, &case.references);
        for (scoring, expected) in [(Scoring::Squad, &case.squad), (Scoring::Cmrc2018, &case.cmrc2018)] {
            let found = of(scoring);
            let same = found.exact == expected.exact && (found.f1 - expected.f1).abs() < TOLERANCE;
            assert!(same, "{scoring:?} {:?} {:?}: {found:?}, not {}", case.answer, case.references, expected.f1);
        }
        let found = of(Scoring::DuReader).rouge_l;
        assert!((found - case.rouge_l).abs() < TOLERANCE, "{:?}: {found}, not {}", case.answer, case.rouge_l);
    }
    let some = |has: fn(&Case) -> bool| scores.cases.iter().filter(|case| has(case)).count();
    assert!(some(|case| case.squad.exact) > 20 && some(|case| case.cmrc2018.exact) > 20, "the fixture tells little");
}

/// Figures of parts, joined, are those of the whole.
#[test]
fn counts_join_and_bleu_is_of_the_corpus() {
    let scores = scores();
    let (mut whole, mut parts) = (AnswerCounts::default(), [AnswerCounts::default(), AnswerCounts::default()]);
    for (number, case) in scores.cases.iter().enumerate() {
        whole.add(Scoring::DuReader, &case.answer, &case.references);
        parts[number % 2].add(Scoring::DuReader, &case.answer, &case.references);
    }
    // 1e-9 is what the scripts themselves add to a count.
    assert!((whole.bleu_4() - scores.bleu_4).abs() < 1e-9, "{} is not {}", whole.bleu_4(), scores.bleu_4);
    let rouge_l = scores.cases.iter().map(|case| case.rouge_l).sum::<f64>() / scores.cases.len() as f64;
    assert!((whole.rouge_l() - rouge_l).abs() < TOLERANCE);
    let [mut first, second] = parts;
    first.join(&second);
    assert_eq!((first.questions, first.exact, first.bleu), (whole.questions, whole.exact, whole.bleu));
    assert!((first.f1() - whole.f1()).abs() < TOLERANCE && (first.rouge_l() - whole.rouge_l()).abs() < TOLERANCE);
}

/// SQuAD 2.0: an empty answer is right where there is none, and wrong where there is one.
#[test]
fn no_answer_is_an_answer() {
    let of = |answer: &str, references: &[&str]| {
        let references: Vec<String> = references.iter().map(ToString::to_string).collect();
        let score = score(Scoring::Squad, answer, &references);
        (score.exact, score.f1)
    };
    assert_eq!(of("", &[]), (true, 1.0));
    assert_eq!(of("kiln", &[]), (false, 0.0));
    assert_eq!(of("", &["kiln"]), (false, 0.0));
}
