//! Prepared corpora by language, and weighted sampling of their items: pairs, or stretches of text.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::content::{Account, Kind};
use super::layout::Corpus;
use super::sampler::WeightedSampler;
use crate::error::{Error, Problem, Result};
use crate::random::{Permutation, Use};
use crate::recipe::Pretraining;

/// A corpus with its languages.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) corpus: Corpus,
    /// One, or two of pairs.
    pub(super) languages: Vec<String>,
}

/// The corpora of a kind that `paths` name, as they were prepared with the tokenizer of this fingerprint; of a folder those of
/// the kind.
///
/// # Errors
/// A corpus cannot be read, is of another kind or tokenizer, or its languages are not known.
pub(super) fn find(paths: Option<&[PathBuf]>, kind: Kind, fingerprint: &str) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    for path in paths.unwrap_or_default() {
        let before = found.len();
        for prefix in Corpus::find(path)? {
            let account = Account::read(&prefix)?;
            if account.content.kind != kind && path.is_dir() {
                continue;
            }
            let languages = account.content.languages;
            check(&prefix, kind, account.content.kind, &languages)?;
            if account.tokenizer != fingerprint {
                let problem = Problem::new("was prepared with another tokenizer than the model's").in_file(&prefix);
                return Err(problem.help("prepare it again, with the tokenizer of the model that is trained").into());
            }
            found.push(Named { corpus: Corpus::open(&prefix)?, languages });
        }
        if found.len() == before {
            let what = if kind == Kind::Pairs {
                "there are no pairs in this folder"
            } else {
                "there is no text in this folder"
            };
            return Err(Problem::new(what).in_file(path).help(HELP).into());
        }
    }
    Ok(found)
}

const HELP: &str = "`parallel` in [pretraining] names corpora of pairs, `corpora` those of one language: `corpus.languages` in their \
                    recipes has two of them, or one";

fn check(prefix: &Path, wanted: Kind, found: Kind, languages: &[String]) -> Result<()> {
    let count = if wanted == Kind::Pairs { 2 } else { 1 };
    let what = match found {
        _ if found == wanted && languages.len() == count => return Ok(()),
        Kind::Pairs if wanted == Kind::Text => "is a corpus of pairs where text of one language is wanted",
        Kind::Text if wanted == Kind::Pairs => "is a corpus of one language where pairs are wanted",
        _ => "was prepared without `corpus.languages`",
    };
    Err(Problem::new(what).in_file(prefix).help(HELP).into())
}

/// All languages of a recipe's corpora, sorted, and for each of them those that it has pairs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Languages {
    pub(super) names: Vec<String>,
    partners: Vec<Vec<usize>>,
}

impl Languages {
    /// Those of `[pretraining]`.
    ///
    /// # Errors
    /// An account of a corpus cannot be read.
    pub(super) fn new(settings: &Pretraining) -> Result<Self> {
        let mut contents = Vec::new();
        for path in settings.corpora.iter().chain(&settings.parallel).flatten() {
            for prefix in Corpus::find(path)? {
                contents.push(Account::read(&prefix)?.content);
            }
        }
        let names: BTreeSet<String> = contents.iter().flat_map(|content| content.languages.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let mut partners = vec![BTreeSet::new(); names.len()];
        let number = |name: &String| names.binary_search(name).ok();
        for content in contents.iter().filter(|content| content.kind == Kind::Pairs) {
            if let [Some(one), Some(other)] = [0, 1].map(|side| content.languages.get(side).and_then(number)) {
                partners[one].insert(other);
                partners[other].insert(one);
            }
        }
        Ok(Self { names, partners: partners.into_iter().map(|partners| partners.into_iter().collect()).collect() })
    }

    /// The number of a language, which is one of them.
    pub(super) fn number(&self, name: &str) -> usize {
        self.names.binary_search_by(|other| other.as_str().cmp(name)).unwrap_or(0)
    }

    /// What text of a language may be translated into: the languages it has pairs with; where it has none, all others.
    pub(super) fn targets(&self, source: usize) -> Vec<usize> {
        match self.partners[source].as_slice() {
            [] => (0..self.names.len()).filter(|other| *other != source).collect(),
            partners => partners.to_vec(),
        }
    }
}

/// What an item of a corpus is.
#[derive(Debug)]
pub(super) enum Items {
    /// Each of these documents.
    Documents(Range<usize>),
    /// The sentences from each of these numbers to the next.
    Stretches(Vec<u64>),
}

impl Items {
    fn len(&self) -> u64 {
        match self {
            Self::Documents(documents) => documents.len() as u64,
            Self::Stretches(starts) => starts.len().saturating_sub(1) as u64,
        }
    }

    fn sentences(&self, corpus: &Corpus, item: u64) -> Range<usize> {
        match self {
            Self::Documents(documents) => corpus.document(documents.start + item as usize),
            Self::Stretches(starts) => starts[item as usize] as usize..starts[item as usize + 1] as usize,
        }
    }
}

/// Items of one language, or of one pair of languages in either order.
#[derive(Debug)]
struct Pool {
    parts: Vec<(Named, Items)>,
    /// What it is weighed by.
    size: u64,
}

impl Pool {
    fn len(&self) -> u64 {
        self.parts.iter().map(|(_, items)| items.len()).sum()
    }
}

/// Items of corpora, drawn by language.
#[derive(Debug)]
pub(super) struct LanguagePools {
    pools: Vec<Pool>,
    pub(super) sampler: WeightedSampler,
    seed: u64,
}

/// An item.
pub(super) struct Item<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) languages: &'a [String],
    pub(super) sentences: Range<usize>,
}

impl LanguagePools {
    /// `parts` are corpora with their items and sizes; languages are taken in proportion to size^(1/`temperature`). `None` where there
    /// is no item.
    ///
    /// # Errors
    /// Sizes that leave a language no share at all.
    pub(super) fn new(
        parts: Vec<(Named, Items, u64)>,
        temperature: f64,
        seed: u64,
        count: u64,
    ) -> Result<Option<Self>> {
        let mut pools: Vec<Pool> = Vec::new();
        let sorted =
            |named: &Named| named.languages.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>();
        for (named, items, size) in parts.into_iter().filter(|(_, items, _)| items.len() > 0) {
            let languages = sorted(&named);
            match pools.iter_mut().find(|pool| sorted(&pool.parts[0].0) == languages) {
                Some(pool) => {
                    pool.size += size;
                    pool.parts.push((named, items));
                }
                None => pools.push(Pool { parts: vec![(named, items)], size }),
            }
        }
        if pools.is_empty() {
            return Ok(None);
        }
        let weights: Vec<f64> = pools.iter().map(|pool| (pool.size as f64).powf(1.0 / temperature)).collect();
        let total: f64 = weights.iter().sum();
        for (pool, weight) in pools.iter().zip(&weights) {
            let (languages, share) = (sorted(&pool.parts[0].0).join("-"), 100.0 * weight / total);
            tracing::info!("{languages}: {} items of {} sentences, {share:.1} % of the samples", pool.len(), pool.size);
        }
        Ok(Some(Self { sampler: WeightedSampler::new(Use::Part, seed, &weights, count)?, pools, seed }))
    }

    /// The item of a sample. Each epoch of a pool has all its items once, in an order of its own.
    ///
    /// # Errors
    /// There is no such sample.
    pub(super) fn item(&self, number: u64) -> Result<Item<'_>> {
        let drawn = self.sampler.get(number);
        let (pool, own) = drawn.ok_or_else(|| Error::input(format!("there is no sample {number}")))?;
        let (parts, len) = (&self.pools[pool].parts, self.pools[pool].len());
        let order = Permutation::new(Use::Items, [self.seed, pool as u64, own / len], len);
        let mut position = order.at(own % len);
        let mut parts = parts.iter();
        loop {
            // The position is below the length of all parts together.
            let (named, items) = parts.next().ok_or_else(|| Error::input(format!("there is no sample {number}")))?;
            if position < items.len() {
                let sentences = items.sentences(&named.corpus, position);
                return Ok(Item { corpus: &named.corpus, languages: &named.languages, sentences });
            }
            position -= items.len();
        }
    }

    /// Where an item stands, for messages.
    pub(super) fn place(&self, number: u64) -> String {
        match self.item(number) {
            Ok(Item { corpus, sentences, .. }) => {
                let last = sentences.end.saturating_sub(1);
                format!("{}: sentences {} to {last}", corpus.prefix.display(), sentences.start)
            }
            Err(_) => format!("sample {number}"),
        }
    }

    /// Sentences and tokens of all corpora, for a fingerprint.
    pub(super) fn counts(&self) -> Vec<u64> {
        let parts = self.pools.iter().flat_map(|pool| &pool.parts);
        parts.flat_map(|(named, _)| [named.corpus.sentences() as u64, named.corpus.tokens]).collect()
    }
}
