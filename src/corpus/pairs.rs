//! Samples of ERNIE-M's own pre-training: pairs in two languages (translation and cross-attention masked-LM) and text of one
//! language (masked-LM and back-translation masked-LM). Sample n is a function of n and the seed.
//!
//! Languages are drawn by size^(1/T), and which side of a pair comes first evenly; each epoch of a pair of languages passes over
//! its pairs once, in an order of its own, and so does one of a language's text.

use sha2::{Digest, Sha256};

use super::content::Kind;
use super::language_pools::{self, Item, Items, LanguagePools, Languages, Named};
use super::masking::{Masked, TokenMasking};
use super::options::SampleOptions;
use super::split::Splits;
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::hash::hex;
use crate::random::{Keyed, Use};
use crate::recipe::TaskName;
use crate::tokenize::{Tokenizer, truncate_longest_first};

/// A row to learn from, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSample {
    /// `[CLS] x [SEP] [SEP] y [SEP]`, or `[CLS] x [SEP]`, with tokens masked.
    pub ids: Vec<u32>,
    /// How many tokens stand before the second text's part, which begins with the first `[SEP]` as in the tokenizer's type ids: `[CLS]`
    /// and x. Of one text, all.
    pub first: usize,
    /// Where tokens are masked, ascending: in x, then in y.
    pub masked_positions: Vec<u32>,
    /// What stood there.
    pub labels: Vec<u32>,
    /// The languages of x and y, by their numbers in `languages()`. For a back-translation the second is the language to translate into; of one
    /// text both are the same.
    pub languages: [usize; 2],
    /// For a back-translation: how many pseudo tokens to generate. `[SEP]`, so many tokens and `[SEP]` fit behind the row.
    pub pseudo_tokens: usize,
}

/// The samples of one part of the corpora.
#[derive(Debug)]
pub struct PairSet {
    pools: LanguagePools,
    languages: Languages,
    masking: TokenMasking,
    /// Longest row (tokens).
    max_length: usize,
    seed: u64,
    form: Form,
}

/// What the samples are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Pairs,
    Text,
    /// With so many pseudo tokens for each of the text.
    BackTranslation(f64),
}

/// `[CLS]`, and `[SEP]` behind one text.
const ADDED_TO_TEXT: usize = 2;
/// `[CLS]`, two `[SEP]` between two texts, and one behind them.
const ADDED_TO_PAIR: usize = 4;

impl PairSet {
    /// The samples of a task: pairs of `pretraining.parallel`, or text of `pretraining.corpora`, a sentence or several of a document
    /// as far as they fit. For back-translation the text leaves room for its translation: into a language that there are pairs of
    /// with the text's, drawn evenly, or where there are none, into any other. `None` where nothing is in this part, which small
    /// corpora come to.
    ///
    /// # Errors
    /// A corpus that cannot be read, or was prepared otherwise; options out of range; no other language to translate into.
    pub fn open(task: TaskName, options: &SampleOptions, tokenizer: &Tokenizer, split: Split) -> Result<Option<Self>> {
        let SampleOptions { pretraining, seed, .. } = *options;
        let form = match task {
            TaskName::TranslationMaskedLm | TaskName::CrossAttentionMaskedLm => Form::Pairs,
            TaskName::BackTranslationMaskedLm => Form::BackTranslation(pretraining.pseudo_token_ratio()),
            _ => Form::Text,
        };
        let max_length = options.data.max_seq_length;
        let (paths, kind) = match form {
            Form::Pairs => (pretraining.parallel.as_deref(), Kind::Pairs),
            Form::Text | Form::BackTranslation(_) => (pretraining.corpora.as_deref(), Kind::Text),
        };
        let corpora = language_pools::find(paths, kind, &tokenizer.fingerprint())?;
        let parts =
            corpora.into_iter().map(|named| items(named, &pretraining.split, split, form.room(max_length), kind));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let count = options.counts.get(split);
        let Some(pools) = LanguagePools::new(parts, pretraining.temperature(), seed, count)? else { return Ok(None) };
        let languages = Languages::new(pretraining)?;
        let masking = TokenMasking::new(tokenizer, pretraining.masked_lm_prob)?;
        if matches!(form, Form::BackTranslation(_)) && languages.names.len() < 2 {
            let what = format!("there is no other language than \"{}\" to translate into", languages.names.concat());
            let help = "name the pairs in `parallel` in [pretraining], or text of other languages in `corpora`";
            return Err(Problem::new(what).help(help).into());
        }
        Ok(Some(Self { pools, languages, masking, max_length, seed, form }))
    }

    /// How many samples the run asks for.
    pub fn samples(&self) -> u64 {
        self.pools.sampler.count
    }

    /// The languages of all corpora, sorted.
    pub fn languages(&self) -> &[String] {
        &self.languages.names
    }

    /// A sample.
    ///
    /// # Errors
    /// There is no such sample, or its corpus holds an id that the vocabulary does not have.
    pub fn sample(&self, number: u64) -> Result<PairSample> {
        let item = self.pools.item(number)?;
        let mut rng = Keyed::new(Use::Multilingual, [self.seed, number, 0]);
        match self.form {
            Form::Pairs => self.pair(&item, &mut rng),
            Form::Text | Form::BackTranslation(_) => self.single(&item, &mut rng),
        }
    }

    fn pair(&self, item: &Item, rng: &mut Keyed) -> Result<PairSample> {
        let mut sides = [0, 1].map(|side| item.corpus.sentence(item.sentences.start + side));
        let mut languages = [0, 1].map(|side| self.languages.number(&item.languages[side]));
        if rng.uniform() < 0.5 {
            sides.reverse();
            languages.reverse();
        }
        let [mut first, mut second] = sides;
        let room = self.max_length.saturating_sub(ADDED_TO_PAIR);
        let (kept_first, kept_second) = truncate_longest_first(first.len(), second.len(), room);
        first.truncate(kept_first);
        second.truncate(kept_second);
        self.masking.check(&first)?;
        self.masking.check(&second)?;
        let specials = self.masking.specials;
        let mut ids = vec![specials.cls];
        ids.extend(first);
        let end = ids.len();
        ids.extend([specials.sep; 2]);
        ids.extend(second);
        let (second_start, second_end) = (end + 2, ids.len());
        ids.push(specials.sep);
        let mut masked = self.masking.mask(&mut ids, 1..end, rng);
        masked.extend(self.masking.mask(&mut ids, second_start..second_end, rng));
        let Masked { positions: masked_positions, labels } = masked;
        Ok(PairSample { ids, first: end, masked_positions, labels, languages, pseudo_tokens: 0 })
    }

    fn single(&self, item: &Item, rng: &mut Keyed) -> Result<PairSample> {
        let mut text: Vec<u32> = item.sentences.clone().flat_map(|sentence| item.corpus.sentence(sentence)).collect();
        text.truncate(self.form.room(self.max_length));
        self.masking.check(&text)?;
        let source = self.languages.number(&item.languages[0]);
        let (mut target, mut pseudo_tokens) = (source, 0);
        if let Form::BackTranslation(ratio) = self.form {
            let targets = self.languages.targets(source);
            target = targets[rng.between(0, targets.len() as u32) as usize];
            let room = self.max_length.saturating_sub(ADDED_TO_PAIR + text.len());
            pseudo_tokens = ((ratio * text.len() as f64).round() as usize).min(room);
        }
        let specials = self.masking.specials;
        let mut ids = vec![specials.cls];
        ids.extend(text);
        let end = ids.len();
        ids.push(specials.sep);
        let Masked { positions: masked_positions, labels } = self.masking.mask(&mut ids, 1..end, rng);
        Ok(PairSample { first: ids.len(), ids, masked_positions, labels, languages: [source, target], pseudo_tokens })
    }

    /// Where a sample's sentences are, for messages.
    pub fn place(&self, number: u64) -> String {
        self.pools.place(number)
    }

    /// What the samples are: the same for the same corpora and options.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        self.pools.counts().iter().for_each(|count| hash.update(count.to_le_bytes()));
        // A corpus may be more than one would read through at every start; some samples say enough.
        for number in (0..self.samples()).step_by((self.samples() as usize / 256).max(1)) {
            let sample = self.sample(number)?;
            sample.ids.iter().chain(&sample.masked_positions).for_each(|number| hash.update(number.to_le_bytes()));
            let numbers = [sample.languages[0], sample.languages[1], sample.pseudo_tokens];
            numbers.iter().for_each(|number| hash.update((*number as u64).to_le_bytes()));
        }
        Ok(hex(&hash.finalize()[..16]))
    }
}

impl Form {
    /// How many tokens of text a row may have.
    fn room(self, max_length: usize) -> usize {
        match self {
            Self::Pairs => max_length.saturating_sub(ADDED_TO_PAIR),
            Self::Text => max_length.saturating_sub(ADDED_TO_TEXT),
            Self::BackTranslation(ratio) => {
                ((max_length.saturating_sub(ADDED_TO_PAIR) as f64 / (1.0 + ratio)) as usize).max(1)
            }
        }
    }
}

/// A corpus with its items in a part, and how many sentences or pairs these are.
fn items(named: Named, shares: &str, split: Split, room: usize, kind: Kind) -> Result<(Named, Items, u64)> {
    let corpus = &named.corpus;
    let documents = Splits::new(shares, corpus.documents())?.documents(split).unwrap_or_default();
    if kind == Kind::Pairs {
        if let Some(other) = documents.clone().find(|document| corpus.document(*document).len() != 2) {
            let what =
                format!("document {other} has {} sentences, not the two of a pair", corpus.document(other).len());
            return Err(Error::from(Problem::new(what).in_file(&corpus.prefix).help("prepare the corpus again")));
        }
        let pairs = documents.len() as u64;
        return Ok((named, Items::Documents(documents), pairs));
    }
    let mut starts = Vec::new();
    let (mut sentences, mut end) = (0, 0);
    for document in documents {
        let of_document = corpus.document(document);
        let mut taken = usize::MAX;
        sentences += of_document.len() as u64;
        end = of_document.end as u64;
        for sentence in of_document {
            let length = corpus.sentence_len(sentence);
            if taken.saturating_add(length) > room {
                starts.push(sentence as u64);
                taken = 0;
            }
            taken += length;
        }
    }
    if !starts.is_empty() {
        starts.push(end);
    }
    Ok((named, Items::Stretches(starts), sentences))
}
