//! Evaluations that ranks share: each rank gets the figures of one process, to the bit.

use std::path::Path;

use kiln::data::card::Split;
use kiln::metrics::Evaluation;
use kiln::ranks::{Ranks, Threads};
use kiln::{experiment, recipe};
use serde_json::Value;

use super::bench::Bench;
use crate::{backend, device};

/// All four of ERNIE-M's tasks, one of which draws tokens.
const MIXTURE: &[&str] = &[
    "task.mixture=[{ name = \"masked-lm\" }, { name = \"translation-masked-lm\" }, \
     { name = \"cross-attention-masked-lm\" }, { name = \"back-translation-masked-lm\" }]",
    "pretraining.generate=sampling",
];

/// Another time is none of the figures.
fn timeless(mut evaluation: Value) -> Value {
    evaluation["seconds"] = Value::Null;
    evaluation
}

fn evaluate(bench: &Bench, more: &[&str], ranks: &Ranks) -> Value {
    let arguments = bench.arguments(&[], more);
    let loaded = recipe::load(Path::new(&arguments[0]), &arguments[1..]).unwrap();
    let (model, recipe) = (bench.path("run/best"), &loaded.recipe);
    let found: Evaluation = experiment::evaluate(&model, recipe, &[Split::Dev], &device(), ranks).unwrap();
    timeless(serde_json::to_value(found).unwrap())
}

fn on_ranks(bench: &Bench, more: &[&str], size: usize) -> Vec<Value> {
    std::thread::scope(|scope| {
        let start = |transport| scope.spawn(move || evaluate(bench, more, &Ranks::over(Box::new(transport))));
        let threads: Vec<_> = Threads::group(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// How many ranks there are: a GPU, and all the more a software one, takes its time for each.
fn sizes() -> Vec<usize> {
    if backend() == "flex" { vec![2, 3, 5] } else { vec![3] }
}

/// Trains a bench for two steps; each of `batches` is what says how many there are to evaluate.
#[track_caller]
fn assert_is_the_same(bench: &Bench, training: &[&str], batches: &[&str]) {
    bench.train(&[training, &["training.max_steps=2"]].concat()).with(0, &["done: the best model is"]);
    for batches in batches {
        let more = [training, &[*batches][..]].concat();
        let expected = evaluate(bench, &more, &Ranks::alone());
        assert!(expected["sets"][0]["labelled"].as_u64() > Some(0), "{expected}");
        assert_eq!(timeless(bench.evaluate(&bench.path("run/best"), &more)), expected, "{batches}");
        for size in sizes() {
            for (rank, found) in on_ranks(bench, &more, size).into_iter().enumerate() {
                assert_eq!(found, expected, "{batches}: rank {rank} of {size}");
            }
        }
    }
}

/// A row a batch, several rounds of them; and fewer batches than ranks.
const ROWS: &[&str] = &["evaluation.batch_size=1", "evaluation.batch_size=40"];

#[test]
fn texts() {
    let tasks = ["sequence-classification", "multi-label-classification", "regression"];
    tasks.iter().for_each(|task| assert_is_the_same(&Bench::new("ernie", task), &[], ROWS));
}

/// With a conditional random field and without.
#[test]
fn tags() {
    let bench = |family| Bench::new(family, "token-classification");
    assert_is_the_same(&bench("ernie"), &[], ROWS);
    assert_is_the_same(&bench("elmo"), &["task.bigru_num=1", "task.crf=true"], ROWS);
}

/// The windows of a question lie on different ranks.
#[test]
fn answers() {
    let families = ["ernie", "elmo"];
    families.iter().for_each(|family| assert_is_the_same(&Bench::new(family, "question-answering"), &[], ROWS));
}

#[test]
fn masked_tokens() {
    let batches = ["pretraining.eval_iters=1", "pretraining.eval_iters=20"];
    assert_is_the_same(&Bench::new("ernie", "pre-training").prepared(), &[], &batches);
    // Two batches.
    assert_is_the_same(&Bench::on_rows(), &[], &["training.batch_size=4"]);
    assert_is_the_same(&Bench::new("ernie-m", "cross-attention-masked-lm").prepared(), MIXTURE, &batches);
}

/// Every rank reads all streams.
#[test]
fn streams() {
    let states = ["streams.state=carried", "streams.state=reset"];
    assert_is_the_same(&Bench::new("elmo", "bidirectional-lm"), &[], &states);
}
