//! Recipes: TOML files that say everything about a run.
//!
//! [`load`] follows `extends`, lays `key=value` arguments over the files, checks the whole against the schema and gives
//! either a typed [`Recipe`] or every problem at once, each with its place and what would be right.
//!
//! The way of a recipe: `extends` (files) and `overrides` (arguments) become layers of a `document` in which every value
//! knows its `source`; merged, it is checked by `check` (single keys, against `json_schema`) and `rules` (several keys
//! together), and becomes the structs of `schema`. `resolved` writes them out again.

mod applicability;
mod check;
mod corpus;
mod document;
mod extends;
mod features;
mod json_schema;
mod model;
mod overrides;
mod pretraining;
mod resolved;
mod rules;
mod schema;
pub mod shipped;
mod source;
mod streams;
mod suggest;
mod task;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};
use crate::models::Corpora;

pub use corpus::{CorpusLayout, CorpusOptions, SentenceEnds, TextFormat, WordSource};
use document::{Table, Value};
pub use features::Features;
pub use json_schema::file_schema;
pub use model::{Model, ModelConfig};
pub use pretraining::{MaskingShare, Pretraining};
pub use resolved::{Difference, differences, fingerprint};
pub use schema::*;
pub use streams::Streams;
pub use task::{BidafOptions, QaOptions, TaggerOptions};
pub use words::*;

pub use crate::tokenize::{PairEncoding, PieceSplitting, Segmentation, TypedSpecials, WordSplitting};

/// A recipe and where its values came from.
#[derive(Debug)]
pub struct Loaded {
    pub recipe: Recipe,
    /// The file it was read from; `recipes/NAME.toml` for a shipped one.
    pub file: PathBuf,
    /// For each given value, by its path: `recipes/x.toml:12` or `argument 2`. What is not in it is a default.
    pub origins: BTreeMap<String, String>,
}

impl Loaded {
    /// The recipe with every default written out, to be saved with the run: it runs again by itself.
    pub fn resolved_toml(&self) -> String {
        resolved::to_toml(&self.recipe)
    }

    /// [`Self::resolved_toml`] with a comment behind each value that says where it came from, and with the
    /// documentation of each key above it where `docs` is set.
    pub fn show(&self, docs: bool) -> String {
        resolved::show(&self.recipe, &self.origins, docs)
    }

    /// How many values it has, defaults included.
    pub fn count(&self) -> usize {
        resolved::count(&self.recipe)
    }
}

impl Recipe {
    /// `[pretraining]`, which every recipe of masked language modelling has.
    ///
    /// # Errors
    /// There is none.
    pub fn pretraining(&self) -> Result<&Pretraining> {
        self.pretraining.as_ref().ok_or_else(|| Error::input("the recipe has no [pretraining]"))
    }
}

/// Loads a recipe: a TOML file, or the name of a shipped one, with `key=value` arguments laid over it.
///
/// # Errors
/// [`Error::Input`] with every problem of the files and the arguments. Where a file is not valid TOML only that is
/// reported, because the rest of it may be misread.
pub fn load(recipe: &Path, arguments: &[String]) -> Result<Loaded> {
    let mut problems = Vec::new();
    let (file, layers) = extends::read_chain(recipe, &mut problems)?;
    let mut overrides = overrides::parse(arguments, &mut problems);
    if !problems.is_empty() {
        return Err(Error::Input(problems));
    }
    extends::anchor_dataset(&mut overrides, Path::new(""));
    let mut document = Table::new();
    for layer in layers.into_iter().rev().chain([overrides]) {
        rules::displace(&mut document, &layer);
        document::merge(&mut document, layer);
    }
    let recipe = check_all(&document, &file)?;
    let mut origins = BTreeMap::new();
    collect_origins("", &document, &mut origins);
    Ok(Loaded { recipe, file, origins })
}

fn check_all(document: &Table, file: &Path) -> Result<Recipe> {
    let mut checked = check::check(document, &json_schema::recipe_schema(), file);
    // What the schema lets through has the form of the structs; a number too large for this machine's word is left.
    let mut recipe = serde_json::from_value::<Recipe>(checked.json.take())
        .map_err(|cause| Problem::new(format!("cannot be used: {cause}")).in_file(file))?;
    defaults_of_task(&mut recipe, document);
    rules::check(&recipe, document, &mut checked, file);
    match checked.problems.sorted() {
        problems if problems.is_empty() => Ok(recipe),
        problems => Err(Error::Input(problems)),
    }
}

/// The defaults that a schema of single keys cannot say, because they are the task's.
fn defaults_of_task(recipe: &mut Recipe, document: &Table) {
    match recipe.task.name {
        TaskName::TokenClassification => {
            recipe.task.label_all_pieces.get_or_insert_default();
            recipe.task.chunk_counting.get_or_insert_default();
            TaggerOptions::from(&recipe.task).fill(&mut recipe.task);
        }
        TaskName::QuestionAnswering => {
            QaOptions::from(&recipe.task).fill(&mut recipe.task);
            if recipe.model.architecture.reads_words() {
                BidafOptions::from(&recipe.task).fill(&mut recipe.task);
            }
        }
        _ => {}
    }
    let multilingual = recipe.model.architecture.corpora == Corpora::Multilingual;
    if let Some(settings) = recipe.pretraining.as_mut().filter(|_| multilingual) {
        settings.temperature = Some(settings.temperature());
        settings.pseudo_token_ratio = Some(settings.pseudo_token_ratio());
        settings.generate.get_or_insert_default();
    }
    if recipe.task.name == TaskName::BidirectionalLm && document::get(document, "evaluation.select_on").is_none() {
        recipe.evaluation.select_on = SelectOn::DevLoss;
    }
    if recipe.task.name == TaskName::Regression && document::get(document, "evaluation.select_on").is_none() {
        recipe.evaluation.select_on = SelectOn::DevPearson;
    }
    if recipe.task.name.has_f1() && document::get(document, "evaluation.select_on").is_none() {
        recipe.evaluation.select_on = SelectOn::DevF1;
    }
}

fn collect_origins(before: &str, table: &Table, origins: &mut BTreeMap<String, String>) {
    for (key, node) in table {
        let path = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
        match &node.value {
            Value::Table(inner) => collect_origins(&path, inner, origins),
            _ => {
                origins.insert(path, node.place.short());
            }
        }
    }
}
