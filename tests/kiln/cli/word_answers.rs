//! Questions answered from ELMo's words through the whole command.

use super::answering::{CARD, is_right, predict, questions, squad, train};
use super::resume::{Outcome, RUN};
use super::{Place, json, kiln};

const RECIPE: &str = r#"
[model]
architecture = "elmo"
tokenizer = "PLACE"
config = { word_emb_dim = 16 }
[task]
name = "question-answering"
reader_hidden_size = 12
doc_stride = 4
max_query_length = 6
max_answer_length = 6
[data]
dataset = "PLACE/card.toml"
root = "PLACE"
cache = "PLACE/cache"
max_seq_length = 20
[training]
max_steps = 24
batch_size = 8
[optimizer]
name = "adam"
learning_rate = 1e-2
[schedule]
name = "constant"
[output]
dir = "PLACE/run"
"#;

/// Words as they stand between spaces.
const WORDS: &str = "<S> </S> <UNK> Anna Bob Johnson John London Paris New York saw went to and the The The. where? who? London. \
                     Paris. York. the.";

fn place() -> Place {
    let place = Place::new();
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    place.write("vocab.txt", words.join("\n") + "\n");
    place.write("card.toml", CARD);
    place.write("train.json", squad(&questions(0..40)));
    place.write("dev.json", squad(&questions(40..70)));
    place.write("recipe.toml", RECIPE.replace("PLACE", place.text("").trim_end_matches('/')));
    place
}

/// The answers are stretches of the context, found by their characters, and the figures are counted from them; on characters too.
#[test]
fn a_reader_answers_in_words_or_characters() {
    for segmentation in ["whitespace", "characters"] {
        let place = place();
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
        train(&place, &[&[cut.as_str()], sizes].concat()).with(0, &["done: the best model is", "| exact match |"]);
        let config = json(&place.path("run/best/config.json"));
        assert_eq!(config["architectures"][0], "ElmoForQuestionAnswering");
        assert_eq!(config["reader"]["hidden_size"], 12);
        let asked = questions(40..70);
        let lines = predict(&place.path("run"), &place.path("dev.json"));
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
    let place = place();
    let run: Vec<&str> = RUN.iter().copied().chain(["task.drop_rate=0.2"]).collect();
    train(&place, &run).with(0, &["done: the best model is"]);
    let expected = Outcome::of(&place.path("run"));
    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000024")).unwrap();
    std::fs::remove_dir_all(place.path("run/last")).unwrap();
    std::fs::remove_file(place.path("run/eval.json")).unwrap();
    train(&place, &run).with(0, &["going on from"]);
    Outcome::of(&place.path("run")).assert_is(&expected);
}

#[test]
fn what_is_wrong_is_said() {
    let place = place();
    train(&place, &["task.version_2_with_negative=true"]).with_problems(
        2,
        1,
        &[
            "`task.version_2_with_negative` cannot be followed with the architecture \"elmo\"",
            "finds an answer in every passage",
        ],
    );
    train(&place, &["task.doc_stride=14"]).with_problems(
        2,
        1,
        &["6 of a question, 0 special ones and 14 that windows share"],
    );
    train(&place, &["model.segmentation=jeiba"]).with_problems(2, 1, &["jieba"]);
    kiln(["recipe", "check", "ernie/cmrc2018", "task.drop_rate=0.1"]).with_problems(
        2,
        1,
        &["`task.drop_rate` has no effect with the architecture \"ernie\""],
    );
}
