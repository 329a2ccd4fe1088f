//! RemBERT through the whole command, as PaddleNLP's example trains it: pairs encoded apart, gradients clipped tensor by tensor, the
//! best model chosen on the test rows; and with layers computed again in the backward pass.

use super::bench::Bench;
use super::{json, kiln, largest_difference, predict, tensors};

fn bench() -> Bench {
    Bench::new("rembert", "sequence-classification")
        .with("model.config.max_position_embeddings=96 data.max_seq_length=96 model.config.classifier_dropout_prob=0.0")
        .with("training.max_steps=8 training.gradient_accumulation_steps=2 evaluation.every_steps=4")
        .with("optimizer.learning_rate=1e-3 optimizer.betas=[0.9,0.99] optimizer.max_grad_norm=1.0")
        .with("optimizer.clip_by=tensor-norm optimizer.epsilon=1e-3")
}

#[test]
fn the_originals_way_trains_and_is_remembered() {
    let place = bench();
    let more = ["model.pair_encoding=apart", "evaluation.select_on=test.accuracy"];
    let warning = "The best model is chosen by test.accuracy, on the test rows themselves";
    place.train(&more).with(0, &["done: the best model is", warning]);
    let evaluation = json(&place.path("run/eval.json"));
    assert_eq!(evaluation["selected_on"], "test.accuracy");
    let splits = evaluation["averages"].as_array().unwrap().iter().map(|average| average["split"].as_str().unwrap());
    assert_eq!(splits.collect::<Vec<_>>(), ["test"]);
    let card = std::fs::read_to_string(place.path("run/best/README.md")).unwrap();
    assert!(card.contains(warning), "{card}");

    assert_eq!(json(&place.path("run/best/tokenizer_config.json"))["pair_encoding"], "apart");
    // Evaluated again, the model reads pairs as it was trained to, without being told.
    let again = |more: &[&str]| {
        let run = place.text("run");
        kiln(["eval", &run].iter().chain(more).map(ToString::to_string)).with(0, &[]);
        json(&place.path("run/eval.json"))["sets"].clone()
    };
    let sets = again(&["evaluation.test=true"]);
    let of_test: Vec<_> = sets.as_array().unwrap().iter().filter(|set| set["split"] == "test").cloned().collect();
    assert_eq!(of_test.as_slice(), evaluation["sets"].as_array().unwrap().as_slice());

    let rows = place.write("rows.tsv", "premise\thypothesis\nMaria sells cups.\tMaria sells no cups.\n");
    assert!(predict(&place.path("run"), &rows)[0]["label"].is_string());
}

/// Computing layers again saves memory and changes nothing but rounding.
#[test]
fn recomputed_layers_train_the_same_model() {
    let place = bench();
    place.train(&["output.dir=PLACE/plain"]).with(0, &[]);
    place.train(&["output.dir=PLACE/again", "device.recompute=true"]).with(0, &[]);
    let [plain, again] = ["plain", "again"].map(|run| tensors(&place.path(run).join("last/model.safetensors")));
    assert_eq!(plain.len(), 43);
    for (name, (_, values)) in &plain {
        let apart = largest_difference(values, &again[name].1);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
}
