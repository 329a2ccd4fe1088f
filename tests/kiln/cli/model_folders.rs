//! Folders that are named on the command line and are no models, or not the right ones.

use super::{Place, json, kiln, model_copy, trained};

#[test]
fn a_folder_that_is_not_there_or_no_model() {
    let place = Place::new();
    let input = place.write("in.tsv", "A dog\tA cat\n").display().to_string();
    let output = place.text("out.safetensors");
    let commands = |dir: &str| {
        [
            vec!["eval".to_string(), dir.into()],
            vec!["predict".into(), dir.into(), "--input".into(), input.clone()],
            vec!["encode".into(), dir.into(), "--input".into(), input.clone(), "--output".into(), output.clone()],
        ]
    };
    let nowhere = place.text("nowhere");
    for command in commands(&nowhere) {
        kiln(command).with_problems(2, 1, &[&format!("{nowhere}: is not there"), "help: give a run folder"]);
    }
    let empty = place.text("");
    for command in commands(&empty) {
        kiln(command).with_problems(
            2,
            1,
            &["is neither a model folder nor a run folder", "help: a model folder holds"],
        );
    }
    assert!(!place.path("out.safetensors").exists());
}

#[test]
fn an_encoder_without_a_head_labels_nothing() {
    let place = Place::new();
    let folder = model_copy(&place);
    let config = folder.join("config.json");
    let mut words = json(&config);
    words["architectures"] = serde_json::json!(["ErnieMModel"]);
    std::fs::write(&config, words.to_string()).unwrap();
    let folder = folder.display().to_string();
    let says = [&folder, "no head", "help: `kiln encode`"];
    kiln(["predict", &folder, "--input", "-"]).with_problems(2, 1, &says);
    kiln(["eval", &folder, "recipes/quickstart.toml"]).with_problems(
        2,
        1,
        &[&folder, "has no sequence-classification head", "help:"],
    );
}

#[test]
fn a_model_folder_without_its_tokenizer() {
    let place = Place::new();
    let folder = model_copy(&place);
    let file = folder.join("sentencepiece.bpe.model");
    std::fs::remove_file(&file).unwrap();
    let words = [&file.display().to_string()];
    kiln(["predict", &folder.display().to_string(), "--input", "-"]).with_problems(2, 1, &[words[0]]);
}

#[test]
fn evaluation_needs_to_know_its_data() {
    let place = Place::new();
    let folder = model_copy(&place).display().to_string();
    let words = [&format!("{folder}: holds no recipe.toml"), "help: name a recipe: kiln eval DIR RECIPE"];
    kiln(["eval", &folder]).with_problems(2, 1, &words);
    // Another data set's labels: a figure would mean nothing.
    place.write("card.toml", "title = \"t\"\nlanguages = [\"en\"]\nlabels = [\"yes\", \"no\"]\n[[dev]]\nfiles = \"dev.tsv\"\nformat = \"tsv\"\nheader = true\ncolumns = { text = \"a\", label = \"b\" }\n");
    place.write("dev.tsv", "a\tb\nx\tyes\n");
    let card = format!("data.dataset={}", place.text("card.toml"));
    let words = ["has the labels entailment, neutral, contradiction", "yes, no", "help:"];
    kiln(["eval", &folder, "recipes/quickstart.toml", &card]).with_problems(2, 1, &words);
}

/// The printed table, the file and the evaluation made during the run are one.
#[test]
fn eval_repeats_the_figures_of_the_run() {
    let place = Place::new();
    place.train(&[]).with(0, &[]);
    let (run, best) = (place.path("run/eval.json"), place.path("run/best/eval.json"));
    let kept = json(&best);
    std::fs::remove_file(&run).unwrap();
    let table = kiln(["eval", &place.text("run")]).with(0, &[]).stdout;
    let made = json(&run);
    assert_eq!((&made["sets"], &made["averages"]), (&kept["sets"], &kept["averages"]));
    let accuracy = format!("{:.4}", made["averages"][0]["accuracy"].as_f64().unwrap());
    let average = table.lines().find(|line| line.contains("average")).unwrap();
    assert!(average.contains(&accuracy), "{table}");
    for language in ["de", "en", "es", "fr", "zh"] {
        assert!(table.contains(&format!("| dev   | {language}       |")), "{table}");
    }
    // The model folder of a run finds the run's recipe too, and evaluates alike.
    let again = kiln(["eval", &place.text("run/best")]).with(0, &[]).stdout;
    assert_eq!(again, table);
}

/// Evaluating with other rows, from a folder that is not the place, changes nothing in the model.
#[test]
fn eval_takes_overrides_and_leaves_the_model_alone() {
    let place = Place::new();
    let folder = model_copy(&place);
    let before = std::fs::read(folder.join("model.safetensors")).unwrap();
    let cache = format!("data.cache={}", place.text("cache"));
    let arguments = [
        "eval",
        &folder.display().to_string(),
        "quickstart",
        &cache,
        "data.max_eval_rows=7",
        "data.eval_languages=[\"en\"]",
    ];
    kiln(arguments).with(0, &[]);
    let written = json(&folder.join("eval.json"));
    assert_eq!(written["sets"].as_array().unwrap().len(), 2, "dev and test of one language: {written}");
    assert_eq!(written["sets"][0]["labelled"], 7);
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), before);
    assert!(trained().join("best/model.safetensors").exists());
}
