//! Questions through the whole command: training on windows, the answers' figures, predictions, and what is said where something
//! is wrong.

use std::sync::OnceLock;

use serde_json::{Value, json as value};

use super::bench::Bench;
use super::bench::data::{ASKED, QUESTIONS, Question, questions, squad};
use super::resume::{RUN, assert_resumes};
use super::{Place, json, kiln, predict};

const TASK: &str = "question-answering";

/// As SQuAD's script compares: without capitals, full stops and articles.
pub(super) fn is_right(answer: &str, expected: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('.', "");
    let words =
        |text: &str| plain(text).split_whitespace().filter(|word| *word != "the").map(String::from).collect::<Vec<_>>();
    words(answer) == words(expected)
}

/// A model that has learnt some: not all of its answers are right, and not all wrong.
fn trained() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let bench = Bench::kept("ernie", TASK);
        let said = ["done: the best model is", "| exact match |", "windows"];
        bench.train(&["training.max_steps=50"]).with(0, &said);
        bench
    })
}

fn evaluate(more: &[&str]) -> Value {
    trained().evaluate(&trained().path("run/best"), more)
}

/// What the evaluation counts is what the predictions say.
#[test]
fn the_figures_are_those_of_the_predictions() {
    let place = trained();
    let asked = questions(ASKED);
    let lines = predict(&place.path("run"), &place.path("dev.json"));
    assert_eq!(lines.len(), asked.len());
    let mut right = 0;
    for (line, question) in lines.iter().zip(&asked) {
        assert_eq!(line["id"], question.id);
        // The texts are ASCII: characters are bytes.
        let [start, end] = ["start", "end"].map(|word| line[word].as_u64().unwrap() as usize);
        assert_eq!(line["answer"], question.context[start..end]);
        assert!((0.0..=1.0).contains(&line["probability"].as_f64().unwrap()) && line["score"].is_f64());
        right += usize::from(is_right(line["answer"].as_str().unwrap(), question.answer));
    }
    assert!(0 < right && right < asked.len(), "{right}: the test's model is too good or too bad");
    let report = json(&place.path("run/eval.json"));
    let (set, average) = (&report["sets"][0], &report["averages"][0]);
    let counts = &set["answers"]["counts"];
    assert_eq!((counts["questions"].as_u64(), counts["exact"].as_u64()), (Some(30), Some(right as u64)));
    assert!(set["labelled"].as_u64() > Some(30), "some texts have several windows");
    assert_eq!(set["answers"]["exact_match"].as_f64(), Some(right as f64 / 30.0));
    assert!(set["answers"]["f1"].as_f64() >= set["answers"]["exact_match"].as_f64());
    assert_eq!((&average["answers"]["f1"], &report["selected_on"]), (&set["answers"]["f1"], &value!("dev.f1")));
    assert_eq!(set["answers"].get("rouge_l"), None);
}

/// Neither padding nor the other windows of a batch change what is counted.
#[test]
fn the_batch_makes_no_difference() {
    let (one, all) = (evaluate(&["evaluation.batch_size=1"]), evaluate(&["evaluation.batch_size=40"]));
    let (one, all) = (&one["sets"][0], &all["sets"][0]);
    for word in ["answers", "correct", "labelled"] {
        assert_eq!(one[word], all[word], "{word}");
    }
    let apart = one["loss"].as_f64().unwrap() - all["loss"].as_f64().unwrap();
    assert!(apart.abs() < 1e-5, "sums in another order: {apart}");
}

/// An answer longer than allowed is not given, and a card's scoring is what compares.
#[test]
fn options_of_the_task_are_heeded() {
    let place = trained();
    let short = evaluate(&["task.max_answer_length=1"]);
    let long = json(&place.path("run/eval.json"));
    assert_ne!(short["sets"][0]["answers"]["counts"], long["sets"][0]["answers"]["counts"]);
    assert_eq!(short["sets"][0]["loss"], long["sets"][0]["loss"], "only the decoding is another");
    place.write("rouge.toml", QUESTIONS.replace("\"squad\"\n[[train", "\"dureader\"\n[[train"));
    let dataset = format!("data.dataset={}", place.text("rouge.toml"));
    let rouge = evaluate(&[&dataset, "evaluation.select_on=dev.rouge_l"]);
    let answers = &rouge["sets"][0]["answers"];
    assert!(answers["rouge_l"].as_f64() > Some(0.1) && answers["bleu_4"].is_f64(), "{answers}");
    let config = json(&place.path("run/best/config.json"));
    assert_eq!(config["question_answering"]["max_answer_length"], 6);
    assert_eq!((&config["architectures"][0], config.get("id2label")), (&value!("ErnieForQuestionAnswering"), None));
}

#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    assert_resumes(&Bench::new("ernie", TASK), RUN);
}

/// Windows go through the model sorted by length: answers come out in the order of the input, whatever form it has.
#[test]
fn predictions_keep_the_order_of_the_input() {
    let (model, place) = (trained(), Place::new());
    let run = model.path("run");
    let asked = questions(0..300);
    let line = |q: &Question| value!({ "id": q.id, "question": q.question, "context": q.context }).to_string() + "\n";
    let found = predict(&run, &place.write("lines.jsonl", asked.iter().map(line).collect::<String>()));
    assert_eq!(found.len(), 300);
    assert!(found.iter().zip(&asked).all(|(found, asked)| found["id"] == asked.id));
    assert_eq!(predict(&run, &place.write("squad.json", squad(&asked))), found);
    let back = predict(&run, &place.write("back.jsonl", asked.iter().rev().map(line).collect::<String>()));
    for (found, back) in found.iter().zip(back.iter().rev()) {
        let same = ["id", "answer", "start", "end"].iter().all(|word| found[word] == back[word]);
        // Other rows in a batch: sums in another order.
        let near = (found["score"].as_f64().unwrap() - back["score"].as_f64().unwrap()).abs() < 1e-4;
        assert!(same && near, "{found} {back}");
    }
    let table: String = asked.iter().map(|q| format!("{}\t{}\n", q.question, q.context)).collect();
    let answers = |lines: &[Value]| lines.iter().map(|line| line["answer"].clone()).collect::<Vec<_>>();
    assert_eq!(answers(&predict(&run, &place.write("table.tsv", table))), answers(&found));
    // A context without a token keeps its place.
    let empty = "{\"question\": \"who?\", \"context\": \"\"}\n{\"question\": \"who?\", \"context\": \"Anna\"}\n";
    let lines = predict(&run, &place.write("empty.jsonl", empty));
    assert_eq!(
        (&lines[0]["answer"], &lines[0]["start"], &lines[1]["answer"]),
        (&value!(""), &Value::Null, &value!("Anna"))
    );
}

/// SQuAD 2.0: some questions have no answer, and "" may be predicted.
#[test]
fn some_questions_cannot_be_answered() {
    let place = Bench::new("ernie", TASK);
    let mixed = |numbers: std::ops::Range<usize>| {
        let mut file: Value = serde_json::from_str(&squad(&questions(numbers))).unwrap();
        for (number, paragraph) in file["data"][0]["paragraphs"].as_array_mut().unwrap().iter_mut().enumerate() {
            if number.is_multiple_of(2) {
                paragraph["qas"][0]["answers"] = value!([]);
                paragraph["qas"][0]["is_impossible"] = value!(true);
            }
        }
        file.to_string()
    };
    place.write("train.json", mixed(0..40));
    place.write("dev.json", mixed(40..70));
    place.train(&[]).with(2, &["the question \"where?\" has no answer", "task.version_2_with_negative=true"]);
    // By a threshold that no score reaches nothing is answered, or everything.
    for (threshold, empty) in [(-1000, 30), (1000, 0)] {
        let options = [
            "task.version_2_with_negative=true".to_string(),
            format!("task.null_score_diff_threshold={threshold}.0"),
            format!("output.dir={}", place.text(&format!("run{threshold}"))),
        ];
        place.train(&options.each_ref().map(String::as_str)).with(0, &["done: the best model is"]);
        let run = place.path(&format!("run{threshold}"));
        let lines = predict(&run, &place.path("dev.json"));
        assert_eq!(lines.iter().filter(|line| line["answer"] == "").count(), empty);
        let answers = &json(&run.join("eval.json"))["sets"][0]["answers"];
        if empty == 30 {
            assert_eq!((&answers["exact_match"], &answers["f1"]), (&value!(0.5), &value!(0.5)), "15 have no answer");
        }
        let config = json(&run.join("best/config.json"));
        assert_eq!(config["question_answering"]["null_score_diff_threshold"], f64::from(threshold));
    }
}

/// Nothing here is ERNIE's alone.
#[test]
fn the_other_families_answer_too() {
    for (family, class) in [("ernie-m", "ErnieMForQuestionAnswering"), ("rembert", "RemBertForQuestionAnswering")] {
        let bench = Bench::new(family, TASK);
        bench.train(&["training.max_steps=3"]).with(0, &["done: the best model is"]);
        assert_eq!(json(&bench.path("run/best/config.json"))["architectures"][0], class);
        let lines = bench.predict("PLACE/dev.json");
        for (line, question) in lines.iter().zip(questions(ASKED)) {
            let [start, end] = ["start", "end"].map(|word| line[word].as_u64().unwrap() as usize);
            assert_eq!(line["answer"], question.context[start..end], "{family}");
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let place = Bench::new("ernie", TASK);
    place.train(&["data.root=ROOT/datasets/samples", "data.dataset=quickstart-nli"]).with_problems(
        2,
        1,
        &["the dataset `quickstart-nli` has texts with labels, not questions", "this one needs a card with format"],
    );
    place.train(&["task.name=sequence-classification"]).with(2, &["`task.doc_stride` has no effect"]);
    place.train(&["task.doc_stride=12"]).with_problems(
        2,
        1,
        &["20 tokens (`data.max_seq_length`) have no room for 6 of a question, 3 special ones and 12 that windows share"],
    );
    place.train(&["evaluation.select_on=dev.rouge_l"]).with_problems(2, 1, &["`card` is not scored so"]);
    place.write("train.json", squad(&questions(0..1)).replace("\"text\":\"Paris\"", "\"text\":\"Rome\""));
    let nowhere = format!("{}:1:", place.text("train.json"));
    place
        .train(&[])
        .with(2, &[&nowhere, "the answer \"Rome\" does not stand in the context", "data.bad_rows=\"skip\""]);
    let nothing = place.write("words.jsonl", "{\"text\": \"a\"}\n");
    let run = trained().path("run");
    let ended = kiln(["predict".as_ref(), run.as_os_str(), "--input".as_ref(), nothing.as_os_str()]);
    ended.with_problems(2, 1, &["words.jsonl: no question among the keys text"]);
}
