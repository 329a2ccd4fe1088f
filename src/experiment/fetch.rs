//! What a recipe names on a hub, brought into the cache before anything is opened.

use super::Purpose;
use crate::data::card::{Card, Split};
use crate::data::remote;
use crate::error::Result;
use crate::hub::{self, Address, Fetched, Kind, Settings, Wanted};
use crate::logging;
use crate::recipe::{self, Loaded, Recipe, places};

/// Puts the folders that repositories were fetched to where the recipe names repositories. The recipe as it is written down names the
/// commits, so that the same files are had again. Nothing goes out where it names none.
///
/// A run that is gone on with goes on with the commit that it was begun with, where its recipe names no revision.
///
/// # Errors
/// As [`hub::local`]; the card of the data asks for files that the repository has not.
pub fn fetch(loaded: &mut Loaded, purpose: Purpose) -> Result<()> {
    let mut wanted = Vec::new();
    for ((key, kind), path) in places(&mut loaded.recipe) {
        if let Some(address) = Address::of(path, kind)? {
            wanted.push((key, address));
        }
    }
    wanted.retain(|(key, _)| is_read(&loaded.recipe, key, purpose));
    if wanted.is_empty() {
        return Ok(());
    }
    let settings = Settings::from_environment()?;
    logging::meanwhile(|| {
        let mut held = (purpose == Purpose::Train).then(|| held_recipe(&loaded.recipe)).flatten();
        wanted.into_iter().try_for_each(|(key, named)| {
            let address = held.as_mut().and_then(|held| begun_with(held, key, &named)).unwrap_or(named);
            let fetched = match address.kind {
                Kind::Model => hub::fetch_model(&address, files_of(key, purpose), &settings)?,
                Kind::Dataset => fetch_data(&address, &loaded.recipe, purpose, &settings)?,
            };
            put(loaded, key, &address, fetched);
            Ok(())
        })
    })
}

/// Whether a command opens what a key names.
fn is_read(recipe: &Recipe, key: &str, purpose: Purpose) -> bool {
    match (key, purpose) {
        ("data.root", Purpose::Train | Purpose::Evaluate) => recipe.data.dataset.is_some(),
        ("data.root", Purpose::Prepare) | (_, Purpose::Evaluate) => false,
        ("model.weights", Purpose::Prepare) => recipe.model.tokenizer.is_none(),
        ("features.elmo", Purpose::Prepare) => false,
        _ => true,
    }
}

fn files_of(key: &str, purpose: Purpose) -> Wanted {
    match (key, purpose) {
        ("model.tokenizer", _) | (_, Purpose::Prepare) => Wanted::Tokenizer,
        _ => Wanted::Model,
    }
}

/// The recipe of the run that is in the output folder. What is wrong with it is said where the folder is opened.
fn held_recipe(recipe: &Recipe) -> Option<Recipe> {
    let file = recipe.output.dir.join("recipe.toml");
    file.exists().then(|| recipe::load(&file, &[]).ok()).flatten().map(|held| held.recipe)
}

/// The commit of the same repository that a run was begun with, where none is asked for.
fn begun_with(held: &mut Recipe, key: &str, named: &Address) -> Option<Address> {
    let (_, path) = places(held).find(|((other, _), _)| *other == key)?;
    let begun = Address::of(path, named.kind).ok().flatten()?;
    let goes_on = named.revision.is_none() && begun.is_same_repository(named) && begun.commit().is_some();
    goes_on.then(|| {
        tracing::info!("{key} is {begun}, which this run was begun with");
        begun
    })
}

fn fetch_data(address: &Address, recipe: &Recipe, purpose: Purpose, settings: &Settings) -> Result<Fetched> {
    let card = Card::load(recipe.data.dataset.as_deref().unwrap_or_default())?;
    let mut splits = vec![recipe.evaluation.select_on.split()];
    if recipe.evaluation.test && !splits.contains(&Split::Test) {
        splits.push(Split::Test);
    }
    if purpose == Purpose::Train {
        splits.push(Split::Train);
    }
    hub::fetch_files(address, settings, |files| {
        remote::needed(&card, &recipe.data, &splits, files)
            .map_err(|error| error.with_help(&format!("data.root={address}")))
    })
}

fn put(loaded: &mut Loaded, key: &str, address: &Address, fetched: Fetched) {
    let written = fetched.commit.map_or_else(|| address.to_string(), |commit| address.at(&commit).to_string());
    tracing::info!("{key} is {written}, in {}", fetched.folder.display());
    for (recipe, value) in [(&mut loaded.recipe, fetched.folder), (&mut loaded.written, written.into())] {
        for (_, path) in places(recipe).filter(|((other, _), _)| *other == key) {
            path.clone_from(&value);
        }
    }
}
