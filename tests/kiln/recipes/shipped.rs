//! What comes with Kiln: the recipes, their headers, the JSON Schema.

use std::path::Path;

use clap::Parser;
use kiln::cli::recipe::RecipeCommand;
use kiln::recipe::shipped::{SHIPPED, find};
use kiln::recipe::{Recipe, file_schema, load};

use super::{Folder, in_repository};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: RecipeCommand,
}

fn run(arguments: &[&str]) -> String {
    Cli::try_parse_from([&["recipe"], arguments].concat()).unwrap().command.run().unwrap()
}

#[test]
fn every_recipe_of_the_folder_is_in_the_binary() {
    fn collect(folder: &Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(&path, files),
                false => files.push(path.display().to_string().replace('\\', "/")),
            }
        }
    }
    let mut files = Vec::new();
    collect(&in_repository("recipes"), &mut files);
    let root = in_repository("").display().to_string().replace('\\', "/");
    let mut files: Vec<_> = files.iter().map(|file| file.trim_start_matches(&root).to_string()).collect();
    let mut shipped: Vec<_> = SHIPPED.iter().map(|shipped| shipped.path()).collect();
    files.sort();
    shipped.sort();
    assert_eq!(shipped, files);
}

#[test]
fn every_recipe_loads_and_its_resolved_form_is_the_same_recipe() {
    for shipped in SHIPPED {
        let loaded = load(Path::new(shipped.name), &[]).unwrap_or_else(|error| panic!("{:#?}", error.problems()));
        let folder = Folder::new(&[("recipe.toml", &loaded.resolved_toml())]);
        assert_eq!(folder.load("recipe.toml", &[]).unwrap().recipe, loaded.recipe, "{}", shipped.name);
    }
}

#[test]
fn every_header_says_source_score_command_and_needs() {
    for shipped in SHIPPED {
        let header: Vec<_> = shipped.text.lines().take_while(|line| line.starts_with('#')).collect();
        for word in ["Source", "Expected", "Run", "Needs"] {
            assert!(header.iter().any(|line| line.starts_with(&format!("# {word} "))), "{}: {word}", shipped.name);
        }
        let command = format!("kiln train {}", shipped.path());
        assert!(header.iter().any(|line| line.contains(&command)), "{}: {command}", shipped.name);
    }
}

#[test]
fn the_values_of_run_classifier() {
    let Recipe { model, data, training, optimizer, schedule, .. } =
        load(Path::new("ernie-m/xnli-cross-lingual-transfer"), &[]).unwrap().recipe;
    assert_eq!((training.epochs, training.batch_size, training.seed, training.logging_steps), (Some(5), 16, 42, 100));
    assert_eq!((data.max_seq_length, model.config.classifier_dropout), (256, Some(0.1)));
    assert_eq!((optimizer.learning_rate, optimizer.weight_decay, optimizer.epsilon), (5e-5, 0.0, 1e-8));
    assert_eq!((optimizer.layerwise_decay, optimizer.max_grad_norm, schedule.warmup_ratio), (0.8, 0.0, 0.1));
}

#[test]
fn names_of_shipped_recipes() {
    for name in
        ["quickstart", "quickstart.toml", "recipes/quickstart", "./recipes/quickstart.toml", "recipes\\quickstart"]
    {
        assert_eq!(find(Path::new(name)).map(|shipped| shipped.name), Some("quickstart"), "{name}");
    }
    assert_eq!(find(Path::new("xnli-cross-lingual-transfer")), None);
}

#[test]
fn the_schema_has_words_ranges_and_documentation() {
    let schema = file_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let key = |path: &str| schema.pointer(&format!("/properties/{}", path.replace('.', "/properties/"))).unwrap();
    let words: Vec<_> = key("schedule.name")["oneOf"].as_array().unwrap().iter().map(|word| &word["const"]).collect();
    assert_eq!(words, ["linear", "linear-min", "cosine", "constant"]);
    assert_eq!(
        (&key("data.max_seq_length")["minimum"], &key("data.max_seq_length")["default"]),
        (&8.into(), &256.into())
    );
    assert_eq!(key("optimizer.layerwise_decay")["exclusiveMinimum"], 0.0);
    assert_eq!(key("model.weights")["type"], "string", "optional, but not null");
    assert_eq!(key("extends")["type"], "string");
    assert_eq!(schema["else"]["required"], serde_json::json!(["model", "task", "output"]));
    assert_eq!(schema["else"]["properties"]["model"]["required"], serde_json::json!(["architecture"]));
    fn undocumented(path: &str, schema: &serde_json::Value) -> Vec<String> {
        let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
        let of = |(key, schema): (&String, &serde_json::Value)| {
            let path = format!("{path}.{key}");
            let mut found = undocumented(&path, schema);
            found.extend(schema["description"].as_str().is_none_or(str::is_empty).then_some(path));
            found
        };
        properties.iter().flat_map(of).collect()
    }
    assert_eq!(undocumented("", &schema), [""; 0], "every key is documented");
}

#[test]
fn the_commands() {
    assert_eq!(run(&["check", "quickstart", "training.epochs=1"]).lines().count(), 1);
    assert!(run(&["check", "quickstart"]).starts_with("recipes/quickstart.toml: fine ("));
    assert!(run(&["show", "quickstart", "training.max_steps=2"]).contains("max_steps = 2 "));
    assert!(run(&["show", "quickstart", "--docs"]).contains("\n# Passes over the training rows."));
    let list = run(&["list"]);
    assert!(SHIPPED.iter().all(|shipped| list.contains(shipped.name) && list.contains(shipped.title())), "{list}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run(&["schema"])).unwrap(), file_schema());
}
