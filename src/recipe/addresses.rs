//! The keys that name folders, which may be addresses of repositories instead: `model.weights = "hf://google/rembert"`.

use std::path::PathBuf;

use super::schema::Recipe;
use crate::hub::Kind;

/// A key and the kind of repository that it takes.
pub type Key = (&'static str, Kind);

pub(super) const WEIGHTS: Key = ("model.weights", Kind::Model);
pub(super) const TOKENIZER: Key = ("model.tokenizer", Kind::Model);
pub(super) const FEATURES: Key = ("features.elmo", Kind::Model);
pub(super) const ROOT: Key = ("data.root", Kind::Dataset);

/// The folders that a recipe names by these keys.
pub fn places(recipe: &mut Recipe) -> impl Iterator<Item = (Key, &mut PathBuf)> {
    let model = &mut recipe.model;
    let given = [(WEIGHTS, model.weights.as_mut()), (TOKENIZER, model.tokenizer.as_mut())];
    let features = recipe.features.as_mut().and_then(|features| features.elmo.as_mut());
    let given = given.into_iter().chain([(FEATURES, features), (ROOT, Some(&mut recipe.data.root))]);
    given.filter_map(|(key, path)| Some((key, path?)))
}
