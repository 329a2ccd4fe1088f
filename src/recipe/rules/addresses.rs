//! Addresses of repositories. What is wrong with them is known without asking anybody.

use std::path::Path;

use super::Rule;
use crate::hub::{Address, Kind};
use crate::recipe::addresses::{FEATURES, Key, ROOT, TOKENIZER, WEIGHTS};

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
