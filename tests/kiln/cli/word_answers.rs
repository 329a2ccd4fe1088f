//! Questions answered from ELMo's words through the whole command.

use super::answering::is_right;
use super::bench::Bench;
use super::bench::data::{ASKED, questions};
use super::resume::{RUN, assert_resumes};
use super::{json, kiln};

fn reader() -> Bench {
    Bench::new("elmo", "question-answering")
}

/// The answers are stretches of the context, found by their characters, and the figures are counted from them; on characters too.
#[test]
fn a_reader_answers_in_words_or_characters() {
    for segmentation in ["whitespace", "characters"] {
        let place = reader();
        let cut = format!("model.segmentation={segmentation}");
        let sizes: &[&str] = match segmentation {
            "characters" => &[
                "data.max_seq_length=60",
                "task.max_answer_length=20",
                "task.doc_stride=20",
                "task.max_query_length=10",
            ],
            _ => &["training.max_steps=60"],
        };
        place.train(&[&[cut.as_str()], sizes].concat()).with(0, &["done: the best model is", "| exact match |"]);
        let config = json(&place.path("run/best/config.json"));
        assert_eq!(config["architectures"][0], "ElmoForQuestionAnswering");
        assert_eq!(config["reader"]["hidden_size"], 12);
        let asked = questions(ASKED);
        let lines = place.predict("PLACE/dev.json");
        assert_eq!(lines.len(), asked.len());
        for (line, question) in lines.iter().zip(&asked) {
            let [start, end] = ["start", "end"].map(|word| line[word].as_u64().unwrap() as usize);
            assert_eq!(line["answer"], question.context[start..end], "{line}");
        }
        let answers = &json(&place.path("run/eval.json"))["sets"][0]["answers"];
        let exact = lines.iter().zip(&asked);
        let exact = exact.filter(|(line, question)| is_right(line["answer"].as_str().unwrap(), question.answer));
        assert_eq!(answers["counts"]["exact"].as_u64(), Some(exact.count() as u64));
        if segmentation == "whitespace" {
            assert!(answers["f1"].as_f64() > Some(0.5), "it has learnt to tell who from where: {answers}");
        }
    }
}

#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    assert_resumes(&reader().with("task.drop_rate=0.2"), RUN);
}

#[test]
fn what_is_wrong_is_said() {
    let place = reader();
    place.train(&["task.version_2_with_negative=true"]).with_problems(
        2,
        1,
        &[
            "`task.version_2_with_negative` cannot be followed with the architecture \"elmo\"",
            "finds an answer in every passage",
        ],
    );
    place.train(&["task.doc_stride=14"]).with_problems(
        2,
        1,
        &["6 of a question, 0 special ones and 14 that windows share"],
    );
    place.train(&["model.segmentation=jeiba"]).with_problems(2, 1, &["jieba"]);
    kiln(["recipe", "check", "ernie/cmrc2018", "task.drop_rate=0.1"]).with_problems(
        2,
        1,
        &["`task.drop_rate` has no effect with the architecture \"ernie\""],
    );
}
