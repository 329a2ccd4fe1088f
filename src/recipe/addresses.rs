//! The keys that name folders, which may be addresses of repositories instead: `model.weights = "hf://google/rembert"`.

use std::path::{Path, PathBuf};

use super::rules::Rule;
use super::schema::Recipe;
use crate::hub::{Address, Kind};

/// A key and the kind of repository that it takes.
pub type Key = (&'static str, Kind);

const WEIGHTS: Key = ("model.weights", Kind::Model);
const TOKENIZER: Key = ("model.tokenizer", Kind::Model);
const FEATURES: Key = ("features.elmo", Kind::Model);
const ROOT: Key = ("data.root", Kind::Dataset);

/// The folders that a recipe names by these keys.
pub fn places(recipe: &mut Recipe) -> impl Iterator<Item = (Key, &mut PathBuf)> {
    let model = &mut recipe.model;
    let given = [(WEIGHTS, model.weights.as_mut()), (TOKENIZER, model.tokenizer.as_mut())];
    let features = recipe.features.as_mut().and_then(|features| features.elmo.as_mut());
    let given = given.into_iter().chain([(FEATURES, features), (ROOT, Some(&mut recipe.data.root))]);
    given.filter_map(|(key, path)| Some((key, path?)))
}

/// What is wrong with addresses is known without asking anybody.
pub(super) const RULES: &[Rule] = &[
    (&["model.weights"], |recipe| wrong(WEIGHTS, recipe.model.weights.as_deref())),
    (&["model.tokenizer"], |recipe| wrong(TOKENIZER, recipe.model.tokenizer.as_deref())),
    (&["features.elmo"], |recipe| wrong(FEATURES, recipe.features.as_ref()?.elmo.as_deref())),
    (&["data.root"], |recipe| wrong(ROOT, Some(&recipe.data.root))),
    (&["data.dataset"], |recipe| {
        let named = recipe.data.dataset.as_deref()?;
        let is_address = !matches!(Address::parse(named, Kind::Dataset), Ok(None));
        is_address.then(|| {
            let what = format!("`data.dataset` is `{named}`, but it names a dataset card");
            (what, "a card says what is in the files, such as dataset = \"xnli\"; where they are, is data.root")
        })
    }),
];

fn wrong((key, kind): Key, path: Option<&Path>) -> Option<(String, &'static str)> {
    let wrong = Address::of(path?, kind).err()?;
    Some((format!("`{key}`: {}", wrong.what), wrong.help))
}
