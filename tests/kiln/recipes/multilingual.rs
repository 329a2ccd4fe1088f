//! What recipes of ERNIE-M's own pre-training say, and what is wrong with them.

use super::*;

const MIXED: &str = r#"[model]
architecture = "ernie-m"
weights = "models/base"

[task]
name = "masked-lm"

[pretraining]
corpora = ["data/corpus"]
parallel = ["data/corpus/en-de"]

[corpus]
input = ["data/text"]
output = "data/corpus/en-de"
languages = ["en", "de"]

[training]
max_steps = 3

[output]
dir = "runs/test"
"#;

/// What is wrong where `from` is `to`, if anything is.
fn faults(from: &str, to: &str) -> Vec<String> {
    assert!(MIXED.contains(from));
    let text = MIXED.replace(from, to);
    match Folder::new(&[("r.toml", &text)]).load("r.toml", &[]) {
        Ok(_) => Vec::new(),
        Err(_) => problems(&text, &[]),
    }
}

#[test]
fn a_mixture_has_each_task_once_and_the_recipes_own() {
    assert_eq!(faults("[task]", "[task]"), [""; 0]);
    let mixture = |list: &str| faults("name = \"masked-lm\"", &format!("name = \"masked-lm\"\nmixture = [{list}]"));
    assert_eq!(mixture("{ name = \"masked-lm\", weight = 2 }"), [""; 0]);
    assert_eq!(
        mixture("{ name = \"masked-lm\" }, { name = \"masked-lm\" }"),
        ["r.toml:7:11: `task.mixture` has \"masked-lm\" twice (give each task once, with its weight)"]
    );
    let other = mixture("{ name = \"masked-lm\" }, { name = \"pre-training\" }");
    assert!(other[0].contains("`task.mixture` has \"pre-training\", which cannot be mixed"), "{other:?}");
    let weight = mixture("{ name = \"masked-lm\", weight = 0 }");
    assert!(weight[0].contains("weight") && weight[0].contains("must be above 0"), "{weight:?}");
    let tables = faults("[pretraining]", "[[task.mixture]]\nname = \"masked-lm\"\nweight = 0.5\n\n[pretraining]");
    assert_eq!(tables, [""; 0]);
}

#[test]
fn corpora_of_pairs_have_two_languages_and_their_own_keys() {
    let languages = |list: &str| faults("languages = [\"en\", \"de\"]", list);
    assert!(languages("")[0].contains("`corpus.languages` is missing"));
    assert!(languages("languages = [\"en\", \"en\"]")[0].contains("`corpus.languages` has \"en\" twice"));
    assert!(languages("languages = [\"a\", \"b\", \"c\"]")[0].contains("has 3 items, but must have at most 2"));
    let text = |key: &str| languages(&format!("languages = [\"en\"]\n{key}"));
    let pairs = |key: &str| languages(&format!("languages = [\"en\", \"de\"]\n{key}"));
    for key in ["columns = [\"a\", \"b\"]", "format = \"moses\""] {
        assert_eq!((text(key).len(), pairs(key).len()), (1, 0), "{key}: {:?}", text(key));
    }
    for key in ["sentences = \"chinese\"", "min_document_length = 3", "json_key = \"t\"", "format = \"text\""] {
        assert_eq!((text(key).len(), pairs(key).len()), (0, 1), "{key}: {:?}", pairs(key));
    }
    for key in ["words = \"whitespace\"", "max_word_tokens = 3", "dictionary = \"d.txt\""] {
        assert_eq!((text(key).len(), pairs(key).len()), (1, 1), "{key}");
    }
}

#[test]
fn keys_of_multilingual_samples_are_ernie_ms() {
    let settings = |key: &str| faults("[pretraining]", &format!("[pretraining]\n{key}"));
    for key in ["temperature = 1.5", "pseudo_token_ratio = 0.5", "generate = \"sampling\""] {
        assert_eq!(settings(key), [""; 0]);
        let ernie = MIXED.replace("ernie-m", "ernie").replace("[pretraining]", &format!("[pretraining]\n{key}"));
        let word = key.split(' ').next().unwrap();
        let all = problems(&ernie, &[]);
        assert!(all.iter().any(|problem| problem.contains(&format!("`pretraining.{word}` has no effect"))), "{all:?}");
    }
    assert!(settings("temperature = 0.5")[0].contains("must be at least 1"));
    for key in ["weights = [1.0]", "max_ngrams = 2", "short_seq_prob = 0.2"] {
        assert_eq!(settings(key).len(), 1, "{key}: {:?}", settings(key));
    }
    let nothing = "corpora = [\"data/corpus\"]\nparallel = [\"data/corpus/en-de\"]\n";
    assert!(faults(nothing, "")[0].contains("the task \"masked-lm\" has no `pretraining.corpora`"));
    let mixture = "{ name = \"masked-lm\" }, { name = \"cross-attention-masked-lm\" }";
    let text = MIXED.replace("parallel = [\"data/corpus/en-de\"]\n", "");
    let text = text.replace("name = \"masked-lm\"", &format!("name = \"masked-lm\"\nmixture = [{mixture}]"));
    assert!(problems(&text, &[])[0].contains("the task \"cross-attention-masked-lm\" has no `pretraining.parallel`"));
}
