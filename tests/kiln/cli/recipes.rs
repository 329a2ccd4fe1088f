//! Recipes and arguments that are wrong: every finding at once, nothing written.

use super::{Place, kiln};

/// What a wrong recipe must not do: begin a folder.
#[track_caller]
fn refused(place: &Place, more: &[&str], problems: usize, words: &[&str]) {
    place.train(more).with_problems(2, problems, words);
    assert!(!place.path("run").exists(), "a folder for a run that never began");
}

#[test]
fn a_recipe_that_is_not_there() {
    let place = Place::new();
    let path = place.text("nothing.toml");
    kiln(["train", &path]).with_problems(2, 1, &["there is no recipe", &path, "help: `kiln recipe list`"]);
    kiln(["train", "quickstrat"]).with_problems(2, 1, &["help: did you mean `quickstart`?"]);
    kiln(["train", &place.text("")]).with_problems(2, 1, &["is a folder, not a recipe file"]);
}

#[test]
fn every_problem_of_a_recipe_is_told_at_once_with_its_place() {
    let place = Place::new();
    let text = "[model]\narchitecture = \"ernie-m\"\ntokenizer = \"t\"\n\n[task]\nname = \"sequence-classification\"\n\n\
                [data]\ndataset = \"quickstart-nli\"\nmax_seq_lenght = 48\n\n[training]\nmax_steps = \"many\"\nbatch_size = 0\n\n\
                [output]\ndir = \"never\"\n";
    let recipe = place.write("recipe.toml", text).display().to_string();
    let ended = kiln(["train", &recipe, "optimiser.learning_rate=1e-3"]);
    let words = [
        &format!("{recipe}:10:1: unknown key `max_seq_lenght` in [data]"),
        "help: did you mean `max_seq_length`?",
        &format!("{recipe}:13:13: `training.max_steps` must be a whole number"),
        &format!("{recipe}:14:14: `training.batch_size` is the whole number 0, but must be at least 1"),
        "argument 1: `optimiser.learning_rate=1e-3`: unknown section [optimiser]",
        "help: did you mean `optimizer`?",
    ];
    let ended = ended.with_problems(2, 4, &words);
    assert!(ended.stderr.contains("10 │ max_seq_lenght = 48"), "the line is shown:\n{}", ended.stderr);
    kiln(["recipe", "check", &recipe]).with_problems(2, 3, &words[..4]);
}

#[test]
fn a_recipe_that_is_no_toml_or_no_text() {
    let place = Place::new();
    let broken = place.write("broken.toml", "[model\n").display().to_string();
    kiln(["train", &broken]).with_problems(2, 1, &[&format!("{broken}:1:7: not valid TOML")]);
    let binary = place.write("binary.toml", b"a = 1\n\xff\xfe").display().to_string();
    kiln(["train", &binary]).with_problems(2, 1, &[&format!("{binary}:2:1: is not UTF-8"), "help:"]);
}

#[test]
fn arguments_that_are_no_overrides() {
    let place = Place::new();
    refused(&place, &["seed"], 1, &["`seed`: is not of the form key=value", "help:"]);
    refused(&place, &["training.seed="], 1, &["there is no value after `=`"]);
    refused(&place, &["training.seed=1.5", "data.root=[1"], 1, &["the value is not valid TOML"]);
    kiln(["train"]).with(2, &["<RECIPE>", "--help"]);
    kiln(["trian", "quickstart"]).with(2, &["unrecognized subcommand", "'train'"]);
}

#[test]
fn a_device_that_this_build_or_machine_has_not() {
    let place = Place::new();
    // Backends are features of the build: Metal is never in one together with what these tests run on.
    refused(&place, &["device.backend=metal"], 1, &["\"metal\" is not part of this build", "help: build with"]);
    refused(&place, &["device.backend=gpu"], 1, &["`device.backend` cannot be \"gpu\"", "help:", "\"cuda\""]);
    refused(&place, &["device.backend=flex", "device.devices=[7]"], 1, &["device.devices", "[7]", "help:"]);
    let words = ["`device.scale_loss` has no effect with the precision \"bf16\"", "help: leave it out"];
    refused(&place, &["device.scale_loss=1024", "device.precision=bf16"], 1, &words);
}

#[test]
fn a_length_that_the_model_has_no_positions_for() {
    let place = Place::new();
    let words = ["`data.max_seq_length` is 65", "only 64 tokens", "help: lower data.max_seq_length"];
    refused(&place, &["data.max_seq_length=65"], 1, &words);
    // The same where the positions are those of weights.
    let weights = format!("model.weights={}", super::trained().join("best").display());
    let recipe = "[model]\narchitecture = \"ernie-m\"\n[task]\nname = \"sequence-classification\"\n[data]\n\
                  dataset = \"quickstart-nli\"\nroot = \"datasets/samples\"\n[training]\nmax_steps = 1\n[output]\ndir = \"never\"\n";
    let recipe = place.write("recipe.toml", recipe).display().to_string();
    let output = format!("output.dir={}", place.text("run"));
    kiln(["train", &recipe, &weights, &output, "data.max_seq_length=65"]).with_problems(
        2,
        1,
        &["data.max_seq_length = 65 is more than the 64 positions", "help: data.max_seq_length=64"],
    );
    assert!(!place.path("run").exists());
}

#[test]
fn a_vocabulary_of_another_model() {
    let place = Place::new();
    let words =
        ["the tokenizer has 329 tokens, the model's table 300 rows", "help: the vocabulary is of another model"];
    refused(&place, &["model.config.vocab_size=300"], 1, &words);
    let folder = place.text("nowhere");
    refused(&place, &[&format!("model.tokenizer={folder}")], 1, &[&folder]);
}

#[test]
fn files_of_the_data_set_that_are_not_there() {
    let place = Place::new();
    let root = place.text("nowhere");
    let words = ["no train file of `quickstart-nli`", &root, "help: set data.root", "quickstart-nli/train.de.tsv"];
    place.train(&[&format!("data.root={root}")]).with_problems(2, 1, &words);
    let place = Place::new();
    refused(&place, &["data.dataset=quickstart-nil"], 1, &["unknown dataset", "help: did you mean `quickstart-nli`?"]);
    let card = place.text("my-card.toml");
    refused(&place, &[&format!("data.dataset={card}")], 1, &[&card]);
}
