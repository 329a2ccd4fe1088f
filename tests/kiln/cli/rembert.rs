//! RemBERT through the whole command, as PaddleNLP's example trains it: pairs encoded apart, gradients clipped tensor by tensor, the
//! best model chosen on the test rows; and with layers computed again in the backward pass.

use super::{Place, json, kiln, largest_difference, tensors};

/// The quickstart's data, and a RemBERT of seconds.
const RECIPE: &str = r#"
[model]
architecture = "rembert"
tokenizer = "tests/fixtures/tokenizer/rembert"
config = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, input_embedding_size = 16, intermediate_size = 64, max_position_embeddings = 96, classifier_dropout_prob = 0.0 }
[task]
name = "sequence-classification"
[data]
dataset = "quickstart-nli"
root = "datasets/samples"
max_seq_length = 96
[training]
max_steps = 8
batch_size = 8
gradient_accumulation_steps = 2
[optimizer]
learning_rate = 1e-3
betas = [0.9, 0.99]
max_grad_norm = 1.0
clip_by = "tensor-norm"
epsilon = 1e-3
[evaluation]
every_steps = 4
[output]
dir = "runs/none"
"#;

fn train(place: &Place, run: &str, more: &[&str]) -> super::Ended {
    let recipe = place.write("rembert.toml", RECIPE).display().to_string();
    // The recipe's paths are of the repository, where the command runs.
    let root = env!("CARGO_MANIFEST_DIR");
    let here = [
        format!("output.dir={}", place.text(run)),
        format!("data.cache={}", place.text("cache")),
        format!("model.tokenizer={root}/tests/fixtures/tokenizer/rembert"),
        format!("data.root={root}/datasets/samples"),
        "data.max_train_rows=64".into(),
        "data.max_eval_rows=10".into(),
    ];
    let arguments = ["train".to_string(), recipe].into_iter().chain(here);
    kiln(arguments.chain(more.iter().map(|word| word.to_string())))
}

#[test]
fn the_originals_way_trains_and_is_remembered() {
    let place = Place::new();
    let more = ["model.pair_encoding=apart", "evaluation.select_on=test.accuracy"];
    let warning = "The best model is chosen by test.accuracy, on the test rows themselves";
    train(&place, "run", &more).with(0, &["done: the best model is", warning]);
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
    let predicted = kiln(["predict".as_ref(), place.path("run").as_os_str(), "--input".as_ref(), rows.as_os_str()]);
    assert!(predicted.with(0, &[]).stdout.contains("\"label\""));
}

/// Computing layers again saves memory and changes nothing but rounding.
#[test]
fn recomputed_layers_train_the_same_model() {
    let place = Place::new();
    train(&place, "plain", &[]).with(0, &[]);
    train(&place, "again", &["device.recompute=true"]).with(0, &[]);
    let [plain, again] = ["plain", "again"].map(|run| tensors(&place.path(run).join("last/model.safetensors")));
    assert_eq!(plain.len(), 43);
    for (name, (_, values)) in &plain {
        let apart = largest_difference(values, &again[name].1);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
}
