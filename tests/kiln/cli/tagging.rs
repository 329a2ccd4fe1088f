//! Words with tags through the whole command: training, the chunks' figures, predictions, and what is said where something is wrong.

use std::sync::OnceLock;

use kiln::data::align::{AlignOptions, AlignedRow};
use kiln::data::rows::TaggedRow;
use kiln::models::Family;
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use serde_json::{Value, json as value};

use super::bench::Bench;
use super::bench::data::{TAGS, dev, sentences, table};
use super::resume::{RUN, assert_resumes};
use super::{Place, json, kiln, predict};

const TASK: &str = "token-classification";

/// A model that has learnt some: not all of its chunks are right, and not all wrong.
fn trained() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let bench = Bench::kept("ernie", TASK);
        let ended = bench.train(&["training.max_steps=12"]).with(0, &["done: the best model is", "| precision |"]);
        let said = "train en: 661 words (0 cut off, 0 of which the tokenizer makes nothing)";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        bench
    })
}

fn evaluate(more: &[&str]) -> Value {
    trained().evaluate(&trained().path("run/best"), more)
}

/// Chunks as (row, first word, word after the last, type), counted here by plain reading of well-formed tags.
fn gold_chunks(rows: &[(String, String)]) -> Vec<(usize, u64, u64, String)> {
    let mut chunks: Vec<(usize, u64, u64, String)> = Vec::new();
    for (row, (_, tags)) in rows.iter().enumerate() {
        for (word, tag) in (0..).zip(tags.split(' ')) {
            match tag.split_once('-') {
                Some(("B", kind)) => chunks.push((row, word, word + 1, kind.to_string())),
                Some(_) => chunks.last_mut().unwrap().2 = word + 1,
                None => {}
            }
        }
    }
    chunks
}

/// What the evaluation counts is what the predictions say, word for word, the cut ones included.
#[test]
fn the_figures_are_those_of_the_predictions() {
    let place = trained();
    let rows = dev();
    let lines = place.predict("PLACE/dev.tsv");
    assert_eq!(lines.len(), rows.len());
    let gold = gold_chunks(&rows);
    let mut predicted = Vec::new();
    for (row, line) in lines.iter().enumerate() {
        let words: Vec<&str> = rows[row].0.split(' ').collect();
        assert_eq!(line["tokens"], value!(words));
        assert_eq!(line["tags"].as_array().unwrap().len(), words.len());
        for chunk in line["chunks"].as_array().unwrap() {
            let (start, end) = (chunk["start"].as_u64().unwrap(), chunk["end"].as_u64().unwrap());
            assert_eq!(chunk["text"], words[start as usize..end as usize].join(" "));
            predicted.push((row, start, end, chunk["type"].as_str().unwrap().to_string()));
        }
    }
    let correct = predicted.iter().filter(|chunk| gold.contains(chunk)).count();
    assert!(
        0 < correct && correct < gold.len() && correct < predicted.len(),
        "{correct}: the test's model is too good or too bad"
    );

    let report = json(&place.path("run/eval.json"));
    let chunks = &report["sets"][0]["chunks"];
    let counts = ["gold", "predicted", "correct"].map(|word| chunks[word].as_u64().unwrap() as usize);
    assert_eq!(counts, [gold.len(), predicted.len(), correct]);
    let (precision, recall) = (correct as f64 / predicted.len() as f64, correct as f64 / gold.len() as f64);
    let near = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-12;
    assert!(near(&chunks["precision"], precision) && near(&chunks["recall"], recall));
    assert!(near(&chunks["f1"], 2.0 * precision * recall / (precision + recall)));
    assert_eq!(report["selected_on"], "dev.f1", "the task's default");
    for word in ["precision", "recall", "f1"] {
        assert_eq!(report["averages"][0]["chunks"][word], chunks[word]);
        assert_eq!(report["averages"][0]["chunks"]["pooled"][word], chunks[word]);
    }
    let by_type = chunks["by_type"].as_array().unwrap();
    for word in ["gold", "predicted", "correct"] {
        let sum: u64 = by_type.iter().map(|kind| kind[word].as_u64().unwrap()).sum();
        assert_eq!(chunks[word], sum, "{word}");
    }

    // The long row's last three words are not seen: their tags are null, and their chunk is among the missed.
    assert_eq!(chunks["unseen_words"], 3);
    let tags = lines.last().unwrap()["tags"].as_array().unwrap();
    assert!(tags[17..].iter().all(Value::is_null) && tags[..17].iter().all(Value::is_string), "{tags:?}");
}

/// Neither padding nor the other rows of a batch change what is counted.
#[test]
fn the_batch_makes_no_difference() {
    let (one, all) = (evaluate(&["evaluation.batch_size=1"]), evaluate(&["evaluation.batch_size=40"]));
    let (one, all) = (&one["sets"][0], &all["sets"][0]);
    for word in ["chunks", "correct", "labelled"] {
        assert_eq!(one[word], all[word], "{word}");
    }
    let apart = one["loss"].as_f64().unwrap() - all["loss"].as_f64().unwrap();
    assert!(apart.abs() < 1e-5, "sums in another order: {apart}");
}

#[test]
fn labels_of_all_pieces_change_the_loss_and_not_the_chunks() {
    let (first, all) = (evaluate(&[]), evaluate(&["task.label_all_pieces=true"]));
    let (first, all) = (&first["sets"][0], &all["sets"][0]);
    assert_eq!(first["chunks"], all["chunks"]);
    let second_pieces = table(&dev()).matches("london").count() + table(&sentences(40)[7..]).matches("johnson").count();
    assert_eq!(all["labelled"], first["labelled"], "both are words");
    assert!(second_pieces > 0);
    assert!((all["loss"].as_f64().unwrap() - first["loss"].as_f64().unwrap()).abs() > 1e-4);
}

/// By numbers: O begins a chunk of the type O/B-PER, which the task's tags do not mean.
#[test]
fn paddles_counting_is_another() {
    let (conll, paddle) = (evaluate(&[]), evaluate(&["task.chunk_counting=paddle"]));
    let (conll, paddle) = (&conll["sets"][0], &paddle["sets"][0]);
    assert_eq!((&conll["loss"], &conll["correct"]), (&paddle["loss"], &paddle["correct"]));
    assert_eq!(conll["chunks"]["by_type"][0]["name"], "PER");
    assert_eq!(paddle["chunks"]["by_type"][0]["name"], "O/B-PER");
    assert!(paddle["chunks"]["gold"].as_u64() > conll["chunks"]["gold"].as_u64());
}

#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    assert_resumes(&Bench::new("ernie", TASK), RUN);
}

/// Rows go through the model sorted by length: they come out in the order of the input, whatever form they come in.
#[test]
fn predictions_keep_the_order_of_the_input() {
    let (model, place) = (trained(), Place::new());
    let rows: Vec<String> = sentences(300).into_iter().map(|(words, _)| words).collect();
    let text: String = rows.iter().map(|words| words.clone() + "\n").collect();
    let lists: String =
        rows.iter().map(|row| value!({ "tokens": row.split(' ').collect::<Vec<_>>() }).to_string() + "\n").collect();
    let reversed: String = rows.iter().rev().map(|words| words.clone() + "\n").collect();
    let found = predict(&model.path("run"), &place.write("words.txt", text));
    assert!(found.iter().zip(&rows).all(|(line, row)| line["tokens"] == value!(row.split(' ').collect::<Vec<_>>())));
    assert_eq!(predict(&model.path("run"), &place.write("words.jsonl", lists)), found);
    let mut back = predict(&model.path("run"), &place.write("reversed.txt", reversed));
    back.reverse();
    assert_eq!(back, found);
    // Rows without words keep their place.
    let lines =
        predict(&model.path("run"), &place.write("empty.jsonl", "{\"tokens\": []}\n{\"tokens\": [\"anna\"]}\n"));
    assert_eq!(lines[0], value!({ "tokens": [], "tags": [], "chunks": [] }));
    assert_eq!(lines[1]["tokens"], value!(["anna"]));
}

/// Where all words of the training data are characters, as LAC's, a text is taken apart as they were.
#[test]
fn a_model_of_characters_takes_texts() {
    let place = Bench::new("ernie", TASK);
    let characters = "[PAD] [CLS] [SEP] [MASK] 我 爱 北 京 天 安 门 [UNK]";
    place.write("vocab.txt", characters.replace(' ', "\n") + "\n");
    place.write("train.tsv", "我 爱 北 京\tO O B-LOC I-LOC\n天 安 门\tB-LOC I-LOC I-LOC\n".repeat(8));
    place.write("dev.tsv", "我 爱 天 安 门\tO O B-LOC I-LOC I-LOC\n");
    place.train(&["training.max_steps=40"]).with(0, &["done: the best model is"]);
    let config = json(&place.path("run/best/config.json"));
    assert_eq!(
        (&config["characters_as_words"], &config["architectures"][0]),
        (&value!(true), &value!("ErnieForTokenClassification"))
    );
    assert_eq!(config["id2label"]["3"], "B-LOC");
    assert_eq!(json(&trained().path("run/best/config.json")).get("characters_as_words"), None);

    let text = place.write("text.txt", "我爱北京 天安门\n");
    let spread = place.write("spread.txt", "我 爱 北 京 天 安 门\n");
    let line = &predict(&place.path("run"), &text)[0];
    assert_eq!(line["tokens"], value!(["我", "爱", "北", "京", "天", "安", "门"]));
    assert_eq!(line["chunks"][0], value!({ "text": "北京", "type": "LOC", "start": 2, "end": 4 }));
    assert_eq!(predict(&place.path("run"), &spread)[0], *line);
}

/// Nothing here is ERNIE's alone.
#[test]
fn the_other_families_tag_words_too() {
    for (family, class) in [("ernie-m", "ErnieMForTokenClassification"), ("rembert", "RemBertForTokenClassification")] {
        let bench = Bench::new(family, TASK);
        bench.train(&["training.max_steps=3"]).with(0, &["done: the best model is"]);
        assert_eq!(json(&bench.path("run/best/config.json"))["architectures"][0], class);
        let lines = bench.predict("PLACE/dev.tsv");
        // Words are cut into the pieces of the family's own tokenizer: as many are seen as those have room for.
        let architecture: &Family = serde_json::from_value(value!(family)).unwrap();
        let tokenizer =
            Tokenizer::from_dir(architecture.tokenizers, &bench.path("run/best"), TokenizerOptions::default()).unwrap();
        for (line, (words, _)) in lines.iter().zip(dev()) {
            let tokens: Vec<String> = words.split(' ').map(String::from).collect();
            let row = TaggedRow { tags: vec![0; tokens.len()], tokens, line: 1 };
            let aligned =
                AlignedRow::tokenised(&row, &tokenizer, AlignOptions { max_length: 20, label_all_pieces: false });
            let seen = line["tags"].as_array().unwrap().iter().map(Value::is_string);
            assert!(seen.eq(aligned.starts.iter().map(Option::is_some)), "{family}: {line}");
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let place = Bench::new("ernie", TASK);
    place.train(&["data.root=ROOT/datasets/samples", "data.dataset=quickstart-nli"]).with_problems(
        2,
        1,
        &[
            "the dataset `quickstart-nli` has texts with labels, not tokens with tags",
            "this one needs a card with the columns",
        ],
    );
    place.train(&["task.name=sequence-classification"]).with_problems(
        2,
        1,
        &["the dataset `card` has tokens with tags, not texts with labels", "help: its task is token-classification"],
    );
    place.write("train.tsv", "anna saw\tB-PER O\nbob\tB-PRE\n");
    let unknown = format!("{}:2: unknown tag `B-PRE` of token 1, `bob`", place.text("train.tsv"));
    place.train(&[]).with_problems(2, 2, &[&unknown, "did you mean `B-PER`?", "1 of 2 rows cannot be read"]);
    place.write("card.toml", TAGS.replace("\"I-LOC\"", "\"LOC-I\""));
    place.write("train.tsv", "anna saw\tB-PER O\n");
    place.write("dev.tsv", "anna saw\tB-PER O\n");
    place.train(&[]).with(2, &["the label `B-PER` begins with its position and `LOC-I` ends with it"]);
    let nothing = place.write("words.jsonl", "{\"words\": [\"a\"]}\n");
    let run = trained().path("run");
    let ended = kiln(["predict".as_ref(), run.as_os_str(), "--input".as_ref(), nothing.as_os_str()]);
    ended.with_problems(2, 1, &["words.jsonl:1: no text among the keys words"]);
}
