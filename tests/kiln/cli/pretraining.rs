//! ERNIE's road through the whole command: raw text, `kiln prepare`, `kiln train` of masked tokens and sentence order, and on to a
//! classifier.

use super::{Ended, Place, json, kiln, metrics, snapshot};

/// A vocabulary of two hundred characters, and stories of them in which each sentence repeats one character: easy to guess.
const CHARACTERS: std::ops::Range<u32> = 0x4e00..0x4e00 + 200;

const RECIPE: &str = r#"
[model]
architecture = "ernie"
tokenizer = "PLACE"
config = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, intermediate_size = 64, max_position_embeddings = 64 }
[task]
name = "pre-training"
[corpus]
input = ["PLACE/text"]
output = "PLACE/corpus"
words = "none"
[data]
max_seq_length = 48
[pretraining]
corpora = ["PLACE/corpus"]
split = "8,2"
eval_iters = 2
[training]
max_steps = 12
batch_size = 4
gradient_accumulation_steps = 2
logging_steps = 3
[optimizer]
learning_rate = 3e-3
[evaluation]
every_steps = 4
select_on = "dev.loss"
[checkpoint]
every_steps = 4
keep_last = 3
[output]
dir = "PLACE/run"
"#;

fn place() -> Place {
    let place = Place::new();
    let characters: Vec<char> = CHARACTERS.filter_map(char::from_u32).collect();
    let specials = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "。"].map(str::to_string);
    let tokens = specials.into_iter().chain(characters.iter().map(char::to_string)).chain(["[UNK]".to_string()]);
    place.write("vocab.txt", tokens.collect::<Vec<_>>().join("\n") + "\n");
    let sentence = |number: usize| format!("{}。\n", characters[number % 200].to_string().repeat(5 + number % 7));
    let story = |first: usize| (0..6).map(|next| sentence(first * 3 + next * 17)).collect::<String>();
    place.write("text/stories.txt", (0..60).map(story).collect::<Vec<_>>().join("\n"));
    let recipe = RECIPE.replace("PLACE", &place.text(""));
    place.write("recipe.toml", recipe);
    place
}

fn run(place: &Place, command: &str, more: &[&str]) -> Ended {
    let recipe = place.text("recipe.toml");
    kiln([command, &recipe].iter().chain(more).map(ToString::to_string))
}

#[test]
fn raw_text_becomes_a_model_and_the_model_a_classifier() {
    let place = place();
    let prepared = run(&place, "prepare", &[]).with(0, &[]);
    assert!(prepared.stdout.contains("60 documents, 360 sentences"), "{}", prepared.stdout);
    let again = run(&place, "prepare", &[]).with(0, &["prepared already"]);
    assert_eq!(again.stdout, prepared.stdout);

    run(&place, "train", &[]).with(0, &["done: the best model is", "order accuracy"]);
    let lines = metrics(&place.path("run"), "train");
    assert_eq!(lines.len(), 4);
    for line in &lines {
        let number = |name: &str| line[name].as_f64().unwrap();
        assert!((number("loss") - number("lm_loss") - number("sop_loss")).abs() < 1e-9, "{line}");
        assert!(number("tokens_per_second") > 0.0 && number("rows_per_second") > 0.0);
    }
    // Before anything is learnt: the entropy of 206 tokens, and of two orders.
    assert!((lines[0]["loss"].as_f64().unwrap() - (206f64.ln() + 2f64.ln())).abs() < 0.3, "{}", lines[0]);
    let evaluations = metrics(&place.path("run"), "evaluation");
    assert_eq!(evaluations.len(), 3);
    assert_eq!(evaluations[0]["sets"][0]["sentence_order"]["rows"], 16);

    let config = json(&place.path("run/best/config.json"));
    assert_eq!(config["architectures"][0], "ErnieForPreTraining");
    let model = format!("model.weights={}", place.text("run/best"));
    let root = env!("CARGO_MANIFEST_DIR");
    let recipe = place.write("classify.toml", include_str!("../../../recipes/ernie/ocnli.toml"));
    let here = [
        "train".to_string(),
        recipe.display().to_string(),
        model,
        format!("data.root={root}/datasets/samples"),
        format!("data.cache={}", place.text("cache")),
        format!("output.dir={}", place.text("classified")),
        "data.dataset=quickstart-nli".into(),
        "data.max_seq_length=48".into(),
        "training.max_steps=2".into(),
        "data.max_eval_rows=4".into(),
    ];
    kiln(here).with(0, &["2 newly initialised (classifier.weight, classifier.bias)", "cls.predictions"]);
}

/// A run that goes on from any of its checkpoints ends the same.
#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    let place = place();
    run(&place, "prepare", &[]).with(0, &[]);
    run(&place, "train", &[]).with(0, &[]);
    let models = |place: &Place| {
        let files = snapshot(&place.path("run/last"));
        files.into_iter().filter(|(path, _)| path.ends_with("model.safetensors")).collect::<Vec<_>>()
    };
    let expected = models(&place);
    for gone in ["run/last", "run/best", "run/checkpoints/step-00000012", "run/checkpoints/step-00000008"] {
        std::fs::remove_dir_all(place.path(gone)).unwrap();
    }
    run(&place, "train", &[]).with(0, &["going on from"]);
    assert!(models(&place) == expected, "other weights");
}

/// Users of PaddleNLP with a small corpus had a crash from the empty parts of 949,50,1.
#[test]
fn parts_without_documents_are_left_out_with_a_warning() {
    let place = place();
    run(&place, "prepare", &[]).with(0, &[]);
    let tiny = ["pretraining.split=\"1\"", "training.max_steps=2"];
    run(&place, "train", &tiny).with(0, &["no document in the dev part", "done: the last model is"]);
    assert!(!place.path("run/best").exists() && place.path("run/last/model.safetensors").exists());
    kiln(["eval", &place.text("run")]).with(2, &["no document in the dev part", "there is nothing to evaluate"]);
    assert!(!place.path("run/eval.json").exists());
}

#[test]
fn what_is_wrong_is_said() {
    let place = place();
    let missing = run(&place, "train", &[]);
    missing.with(2, &["corpus", "help:"]);
    run(&place, "train", &["training.epochs=2"]).with(2, &["`training.epochs` has no effect on samples"]);
    run(&place, "train", &["data.protocol=translate-train-all", "evaluation.batch_size=8"]).with_problems(
        2,
        2,
        &["`data.protocol` has no effect on samples", "`evaluation.batch_size` has no effect on samples"],
    );
    run(&place, "train", &["data.dataset=xnli"]).with(2, &["`data.dataset` has no effect with the task"]);
    run(&place, "train", &["pretraining.weights=[1.0, 2.0]"]).with(2, &["2 numbers, `pretraining.corpora` 1 corpora"]);
    kiln(["prepare", "recipes/quickstart.toml"]).with(2, &["has no [corpus]"]);
}

/// The small recipe with rows of the 2019 format in the corpus's place: 21 to train on, of which one is too long, and 6 to
/// evaluate. Each text repeats a character; the second does so with the first's where it follows.
fn rows_place() -> Place {
    let place = place();
    let row = |number: usize, length: usize| {
        let (first, follows) = (5 + number * 7 % 200, number % 2);
        let second = if follows == 1 { first } else { 5 + number * 11 % 200 };
        let text = |id: usize| vec![id.to_string(); length].join(" ");
        let units = ["0 1"; 64][..length / 2].join(" ");
        let types = [vec!["0"; length + 2], vec!["1"; length + 1]].concat().join(" ");
        let positions = (0..2 * length + 3).map(|at| at.to_string()).collect::<Vec<_>>().join(" ");
        format!("1 {} 2 {} 2;{types};{positions};-1 {units} -1 {units} -1;{follows}\n", text(first), text(second))
    };
    let lengths = |number: usize| if number == 7 { 40 } else { 4 + number % 3 * 2 };
    place.write("train.txt", (0..21).map(|number| row(number, lengths(number))).collect::<String>());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let dev = (30..36).map(|number| row(number, 6)).collect::<String>();
    std::io::Write::write_all(&mut packed, dev.as_bytes()).unwrap();
    place.write("dev.gz", packed.finish().unwrap());
    place.write("filelist", format!("{}\t0.5\n", place.text("train.txt")));
    let rows = "rows = [\"PLACE/filelist\"]\ndev_rows = [\"PLACE/dev.gz\"]\n";
    let recipe = RECIPE.replace("corpora = [\"PLACE/corpus\"]\nsplit = \"8,2\"\neval_iters = 2\n", rows);
    let recipe = recipe.replace("PLACE", &place.text(""));
    place.write("recipe.toml", recipe);
    place
}

/// Rows of the original ERNIE are trained on as they are, and a run that is stopped goes on to the same weights.
#[test]
fn rows_of_the_original_are_trained_on_and_resumed() {
    let place = rows_place();
    let ended = run(&place, "train", &[]).with(
        0,
        &[
            "train.txt: 20 rows (0 left out as unreadable, 1 as longer than 48 tokens), by words with the probability 0.5",
            "dev.gz: 6 rows",
            "(4 epochs of 3 steps)",
            "6 rows to evaluate",
            "order accuracy",
        ],
    );
    let lines = metrics(&place.path("run"), "train");
    assert!((lines[0]["loss"].as_f64().unwrap() - (206f64.ln() + 2f64.ln())).abs() < 0.3, "{}", ended.stderr);
    // The last of an epoch's three steps has the four rows that are left: 20 of 24.
    assert!(lines.iter().all(|line| line["epoch"].as_f64().unwrap().fract() == 0.0), "{lines:?}");
    let model = |place: &Place| std::fs::read(place.path("run/last/model.safetensors")).unwrap();
    let expected = model(&place);
    for gone in ["run/last", "run/best", "run/checkpoints/step-00000012", "run/checkpoints/step-00000008"] {
        std::fs::remove_dir_all(place.path(gone)).unwrap();
    }
    run(&place, "train", &[]).with(0, &["going on from"]);
    assert!(model(&place) == expected, "other weights");
    kiln(["eval", &place.text("run")]).with(0, &["dev.gz: 6 rows"]);

    std::fs::remove_dir_all(place.path("run/last")).unwrap();
    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000012")).unwrap();
    place.write("filelist", format!("{}\t1.1\n", place.text("train.txt")));
    run(&place, "train", &[]).with(2, &["was begun with other training rows"]);
}

#[test]
fn rows_count_in_epochs_and_need_no_sentence_label() {
    let place = rows_place();
    let recipe = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
    let without_dev = recipe.lines().filter(|line| !line.starts_with("dev_rows")).collect::<Vec<_>>().join("\n");
    place.write("recipe.toml", without_dev);
    let more = ["task.name=masked-lm", "training.epochs=2", "evaluation.every_steps=100"];
    let ended = run(&place, "train", &more)
        .with(0, &["6 steps of 8 rows (2 epochs of 3 steps)", "no pretraining.dev_rows", "done: the last model is"]);
    assert!(!ended.stderr.contains("order accuracy"), "{}", ended.stderr);
    assert!(place.path("run/last/model.safetensors").exists() && !place.path("run/best").exists());
}

#[test]
fn bad_rows_end_a_run_before_it_begins() {
    let place = rows_place();
    let text = std::fs::read_to_string(place.path("train.txt")).unwrap();
    place.write("train.txt", text.replacen(";0\n", ";\n", 2));
    let bad = format!("{}:1: the label \"\" is not 0 or 1", place.text("train.txt"));
    run(&place, "train", &[]).with_problems(2, 3, &["2 of 21 rows cannot be read", &bad]);
    run(&place, "train", &["data.bad_rows=skip", "training.max_steps=2"])
        .with(0, &["18 rows (2 left out as unreadable"]);
}
