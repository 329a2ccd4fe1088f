//! The model card: `README.md` with the metadata that Hugging Face's hub reads (hub-docs, modelcard.md).

use std::fmt::Write as _;

use serde_json::Value;

use crate::metrics::{Evaluation, SetResult, figures, table};
use crate::models::{Family, ernie_m};
use crate::recipe::TaskName;

/// What a model was trained on, for its card.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The dataset card's name, or the names of corpora.
    pub dataset: String,
    /// The data's repository on the hub, and the commit.
    pub repository: Option<(String, Option<String>)>,
    pub licence: String,
    pub languages: Vec<String>,
    /// The hub's word for the model's own licence.
    pub license: Option<String>,
    /// The repository of the weights that training began with.
    pub base_model: Option<String>,
}

/// What a card of an encoder with a head is made of.
pub struct ModelCard<'a> {
    pub family: &'a Family,
    pub task: TaskName,
    pub labels: &'a [String],
    pub origin: &'a Origin,
    /// Whether it has layers that only Kiln has.
    pub is_kilns_own: bool,
    pub without_tokenizer_json: Option<&'static str>,
    /// The recipe's text.
    pub recipe: &'a str,
}

/// The card of a language model of words.
pub fn of_language_model(recipe: &str, evaluation: Option<&Evaluation>) -> String {
    let front = "library_name: kiln\ntags:\n- kiln\n- elmo\npipeline_tag: feature-extraction\n";
    let note = "; the state of the streams is carried from sentence to sentence";
    let load = "```sh\nkiln encode THIS_FOLDER --input words.txt --output features.safetensors\n\
                kiln convert THIS_FOLDER COPY --to allennlp   # of characters; --to paddle of words\n```\n";
    body(front, "elmo bidirectional-lm", load, note, evaluation, recipe)
}

/// What stands before the title, and the title with what follows it; how it is loaded; how the figures are to be read; the recipe.
fn body(front: &str, title: &str, load: &str, note: &str, evaluation: Option<&Evaluation>, recipe: &str) -> String {
    let results = match evaluation {
        Some(evaluation) => {
            format!("Evaluated after step {}{note}.\n\n{}", evaluation.step.unwrap_or_default(), table(evaluation))
        }
        None => "These are the weights after the last step; the evaluated ones are in `best/`.\n".to_string(),
    };
    format!(
        "---\n{front}---\n\n# {title}\n\n## How to load it\n\n{load}\n## Results\n\n{results}\n## Recipe\n\n```toml\n{recipe}```\n"
    )
}

impl ModelCard<'_> {
    pub fn text(&self, evaluation: Option<&Evaluation>) -> String {
        let labels =
            if self.labels.is_empty() { String::new() } else { format!("Labels: {}. ", self.labels.join(", ")) };
        let title = format!("{}\n\n{labels}Data licence: {}.", self.title(), self.origin.licence);
        let note = "; the average gives every language the same weight";
        body(&self.front(evaluation), &title, &self.load(), note, evaluation, self.recipe)
    }

    fn title(&self) -> String {
        format!("{} {} on {}", self.family.name, self.task.word(), self.origin.dataset)
    }

    /// The metadata, in YAML.
    fn front(&self, evaluation: Option<&Evaluation>) -> String {
        let Origin { repository, languages, license, base_model, .. } = self.origin;
        let mut text = String::new();
        list(&mut text, "language", languages);
        if let Some(license) = license {
            let _ = writeln!(text, "license: {}", quoted(license));
        }
        let library = if self.is_kilns_own { "kiln" } else { "transformers" };
        let _ = writeln!(text, "library_name: {library}");
        list(&mut text, "tags", &["kiln".to_string(), self.family.name.to_string()]);
        if let Some(base_model) = base_model {
            let _ = writeln!(text, "base_model: {}", quoted(base_model));
        }
        let _ = writeln!(text, "pipeline_tag: {}", self.task.facts().pipeline_tag);
        // The hub knows data by their repositories alone.
        list(&mut text, "datasets", &repository.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
        if let Some(evaluation) = evaluation {
            self.results(evaluation, &mut text);
        }
        text
    }

    /// `metrics` and `model-index`: a result for each language of each split.
    fn results(&self, evaluation: &Evaluation, text: &mut String) {
        let mut types: Vec<String> = Vec::new();
        for (metric, ..) in evaluation.sets.iter().flat_map(metrics) {
            if !types.iter().any(|known| known == metric) {
                types.push(metric.to_string());
            }
        }
        list(text, "metrics", &types);
        let Origin { dataset, repository, .. } = self.origin;
        let (id, revision) = repository.clone().unwrap_or((dataset.clone(), None));
        // Writing to a string cannot fail.
        let _ = write!(text, "model-index:\n- name: {}\n  results:\n", quoted(&self.title()));
        for set in &evaluation.sets {
            let pipeline = self.task.facts().pipeline_tag;
            let _ = write!(text, "  - task:\n      type: {pipeline}\n    dataset:\n");
            let _ = write!(text, "      type: {}\n      name: {}\n", quoted(&id), quoted(dataset));
            let _ = write!(text, "      config: {}\n      split: {}\n", quoted(&set.language), quoted(&set.split));
            if let Some(revision) = &revision {
                let _ = writeln!(text, "      revision: {}", quoted(revision));
            }
            text.push_str("    metrics:\n");
            for (metric, name, value) in metrics(set) {
                let _ = write!(text, "    - type: {metric}\n      name: {}\n      value: {value}\n", quoted(name));
            }
        }
    }

    fn load(&self) -> String {
        let kiln = "```sh\nkiln predict THIS_FOLDER --input FILE\n```\n";
        if self.is_kilns_own {
            return format!("Layers of it are Kiln's alone:\n\n{kiln}");
        }
        let of_4 = *self.family == ernie_m::FAMILY;
        let versions = if of_4 { "4.x: 5 has no ERNIE-M any more" } else { "4.46 and 5.24 tried" };
        let suffix = self.task.facts().class_suffix;
        let tokenizer = match self.without_tokenizer_json {
            None => "tokenizer = AutoTokenizer.from_pretrained(\"THIS_FOLDER\")  # the ids of the training".to_string(),
            Some(why) => format!("# There is no tokenizer.json: {why}."),
        };
        let copy = match self.family.name {
            "ernie-m" => {
                "\nWhat reads XLM-R (transformers 5, sentence-transformers, ONNX exporters) reads the copy that\n\n\
                          ```sh\nkiln convert THIS_FOLDER COPY --to xlm-roberta\n```\n\nwrites, with the same outputs.\n"
            }
            "ernie" => {
                "\nWhat reads BERT (sentence-transformers, ONNX exporters) reads the copy that\n\n\
                        ```sh\nkiln convert THIS_FOLDER COPY --to bert\n```\n\nwrites, with the same outputs.\n"
            }
            _ => "",
        };
        format!(
            "```python\n# transformers ({versions})\nfrom transformers import AutoModel{suffix}, AutoTokenizer\n\n\
             model = AutoModel{suffix}.from_pretrained(\"THIS_FOLDER\")\n{tokenizer}\n```\n\n{kiln}{copy}"
        )
    }
}

/// The figures of a set: the hub's name of each, its name here, its value.
fn metrics(set: &SetResult) -> Vec<(&'static str, &str, f64)> {
    let known = |name: &str| match name {
        "accuracy" => "accuracy",
        "precision" => "precision",
        "recall" => "recall",
        "F1" | "f1" | "macro_f1" => "f1",
        "exact match" => "exact_match",
        "Rouge-L" => "rouge",
        "Bleu-4" => "bleu",
        "pearson" => "pearsonr",
        "spearman" => "spearmanr",
        "perplexity" => "perplexity",
        _ => "loss",
    };
    figures(set).into_iter().map(|(name, value)| (known(name), name, value)).collect()
}

fn list(text: &mut String, key: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(text, "{key}:");
    for item in items {
        let _ = writeln!(text, "- {}", quoted(item));
    }
}

/// As a string of YAML, for which a bare `no` is false. A string of JSON is one.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_/.".contains(c));
    let is_word = text.len() > 3 && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if plain && is_word { text.to_string() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_takes_for_something_else_is_quoted() {
        assert_eq!(quoted("facebook/xnli"), "facebook/xnli");
        for odd in ["no", "on", "1e5", "a: b", "- x", "NaN", "~", ""] {
            assert_eq!(quoted(odd), format!("{odd:?}"));
        }
    }
}
