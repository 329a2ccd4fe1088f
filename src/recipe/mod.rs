//! Recipes: TOML files that say everything about a run.
//!
//! [`load`] follows `extends`, lays `key=value` arguments over the files, checks the whole against the schema and gives
//! either a typed [`Recipe`] or every problem at once, each with its place and what would be right.
//!
//! The way of a recipe: `extends` (files) and `overrides` (arguments) become layers of a `document` in which every value
//! knows its `source`; merged, it is checked by `check` (single keys, against `json_schema`) and `rules` (several keys
//! together), and becomes the structs of `schema`. `resolved` writes them out again.

mod addresses;
mod applicability;
mod check;
mod corpus;
mod document;
pub mod export;
mod extends;
mod json_schema;
mod model;
mod overrides;
mod pretraining;
mod resolved;
mod rules;
mod schema;
pub mod shipped;
mod source;
mod suggest;
mod task;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};
use crate::models::Corpora;

pub use addresses::{Key, places};
pub use corpus::{CorpusLayout, CorpusOptions, SentenceEnds, TextFormat, WordSource};
use document::{Table, Value};
pub use json_schema::file_schema;
pub use model::{Features, Model, ModelConfig};
pub use pretraining::{MaskingShare, Pretraining, Streams};
pub use resolved::{Difference, differences, fingerprint};
pub use schema::*;
pub use task::{BidafOptions, QaOptions, TaggerOptions};
pub use words::*;

pub use crate::tokenize::{PairEncoding, PieceSplitting, Segmentation, TypedSpecials, WordSplitting};

/// A recipe and where its values came from.
#[derive(Debug)]
pub struct Loaded {
    pub recipe: Recipe,
    /// The same as it is saved with a run: where `recipe` has the folder that a repository was fetched to, this has its address.
    pub written: Recipe,
    /// The file it was read from; `recipes/NAME.toml` for a shipped one.
    pub file: PathBuf,
    /// For each given value, by its path: `recipes/x.toml:12` or `argument 2`. What is not in it is a default.
    pub origins: BTreeMap<String, String>,
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
    Ok(Loaded { written: recipe.clone(), recipe, file, origins })
}

fn check_all(document: &Table, file: &Path) -> Result<Recipe> {
    let (json, mut checked) = check::check(document, &json_schema::recipe_schema(), file);
    // What the schema lets through has the form of the structs; a number too large for this machine's word is left.
    let mut recipe = serde_json::from_value::<Recipe>(json)
        .map_err(|cause| Problem::new(format!("cannot be used: {cause}")).in_file(file))?;
    defaults_of_task(&mut recipe, document);
    rules::check(&recipe, document, &mut checked);
    match checked.sorted() {
        problems if problems.is_empty() => Ok(recipe),
        problems => Err(Error::Input(problems)),
    }
}

/// The defaults that a schema of single keys cannot say, because they are the task's.
fn defaults_of_task(recipe: &mut Recipe, document: &Table) {
    recipe.task.fill(recipe.model.architecture.reads_words());
    let multilingual = recipe.model.architecture.corpora == Corpora::Multilingual;
    if let Some(settings) = recipe.pretraining.as_mut().filter(|_| multilingual) {
        settings.temperature = Some(settings.temperature());
        settings.pseudo_token_ratio = Some(settings.pseudo_token_ratio());
        settings.generate.get_or_insert_default();
    }
    if document::get(document, "evaluation.select_on").is_none() {
        recipe.evaluation.select_on = recipe.task.name.facts().select_on;
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
