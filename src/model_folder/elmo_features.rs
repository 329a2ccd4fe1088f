//! The features that an ELMo gives the words of sentences.

use burn::tensor::Tensor;

use super::elmo::ElmoModel;
use crate::error::{Problem, Result};
use crate::models::elmo::{ElmoInput, ElmoState};
use crate::tokenize::elmo::{WordVocabulary, character_ids, sentence_boundaries};

/// What each sentence begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateUse {
    /// Nothing: a sentence's features depend on it alone.
    Reset,
    /// The state that the sentence before it left, in both directions, as bilm-tf and AllenNLP do from batch to batch.
    Carry,
}

/// The features of one sentence, each `[words, 2 * projection]`, word after word.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    pub words: usize,
    /// The words' vectors, then each LSTM layer.
    pub layers: Vec<Vec<f32>>,
    /// The mixture of the layers.
    pub elmo: Vec<f32>,
}

/// Most words that go through the model at once, padding included: what the gates of Baidu's model take 268 MB for, and the
/// convolutions of AllenAI's 185 MB.
const WORDS_AT_ONCE: usize = 4096;
const CHARACTER_WORDS_AT_ONCE: usize = 1024;

impl ElmoModel {
    /// The features of sentences, which are lists of words, in their order. They are the same whatever sentences they are computed
    /// together with, but for rounding.
    ///
    /// # Errors
    /// The model reads words, and its folder says none.
    pub fn features<S: AsRef<str>>(&self, sentences: &[Vec<S>], state: StateUse) -> Result<Vec<Features>> {
        self.features_after(&mut None, sentences, state)
    }

    /// [`Self::features`] of sentences that follow others: with [`StateUse::Carry`], the first begins with the state `carried`, which
    /// becomes the state that the last one leaves.
    ///
    /// # Errors
    /// As [`Self::features`].
    pub fn features_after<S: AsRef<str>>(
        &self,
        carried: &mut Option<ElmoState>,
        sentences: &[Vec<S>],
        state: StateUse,
    ) -> Result<Vec<Features>> {
        let reader = self.reader()?;
        let mut found = vec![Features::default(); sentences.len()];
        let filled: Vec<usize> = (0..sentences.len()).filter(|&at| !sentences[at].is_empty()).collect();
        for batch in self.batches(filled, sentences, state) {
            let rows: Vec<&[S]> = batch.iter().map(|&at| sentences[at].as_slice()).collect();
            let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
            let (features, end) = self.features_of(&reader.input(&rows, self), &lengths, carried.take());
            batch.into_iter().zip(features).for_each(|(at, features)| found[at] = features);
            *carried = (state == StateUse::Carry).then_some(end);
        }
        // A sentence without words has as many layers as any.
        let layers = self.elmo.config().feature_layers();
        found.iter_mut().for_each(|features| features.layers.resize(layers, Vec::new()));
        Ok(found)
    }

    /// The features of the first words of each row, as many as `words` says, and the state that the rows leave.
    pub fn features_of(
        &self,
        input: &ElmoInput,
        words: &[usize],
        start: Option<ElmoState>,
    ) -> (Vec<Features>, ElmoState) {
        let start = start.unwrap_or_else(|| self.elmo.start(words.len(), &self.device));
        let (layers, end) = self.elmo.layers(input, start);
        let mixed = self.elmo.mix(&layers);
        let features = words.iter().enumerate().map(|(row, &words)| {
            let of = |layer: &Tensor<3>| row_of(layer, row, words);
            Features { words, layers: layers.iter().map(of).collect(), elmo: of(&mixed) }
        });
        (features.collect(), end)
    }

    /// Which sentences go through the model together: those of like length, so that little is padded; with a carried state, one at
    /// a time.
    fn batches<S>(&self, mut order: Vec<usize>, sentences: &[Vec<S>], state: StateUse) -> Vec<Vec<usize>> {
        if state == StateUse::Carry {
            return order.into_iter().map(|at| vec![at]).collect();
        }
        order.sort_by_key(|&at| sentences[at].len());
        let most = if self.elmo.config().characters().is_some() { CHARACTER_WORDS_AT_ONCE } else { WORDS_AT_ONCE };
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for at in order {
            let longest = sentences[at].len(); // so far: they come by length
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * longest <= most => batch.push(at),
                _ => batches.push(vec![at]),
            }
        }
        batches
    }

    fn reader(&self) -> Result<Reader<'_>> {
        match (self.elmo.config().characters(), &self.vocabulary) {
            (Some(config), _) => Ok(Reader::Characters(config.max_characters_per_token)),
            (None, Some(vocabulary)) => Ok(Reader::Words(vocabulary)),
            (None, None) => {
                let help = format!(
                    "put the file of the words it was trained with beside the weights, as {}, or name it",
                    WordVocabulary::NAMES[0]
                );
                Err(Problem::new("holds no vocabulary").in_file(&self.folder).help(help).into())
            }
        }
    }
}

/// How words become numbers.
enum Reader<'a> {
    Words(&'a WordVocabulary),
    Characters(usize),
}

impl Reader<'_> {
    fn input<S: AsRef<str>>(&self, rows: &[&[S]], model: &ElmoModel) -> ElmoInput {
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let words = row.iter().map(AsRef::as_ref);
            match self {
                Self::Words(vocabulary) => {
                    ids.extend(words.map(|word| i64::from(vocabulary.id(word))));
                    ids.resize((number + 1) * width, 0);
                }
                Self::Characters(count) => {
                    ids.extend(words.flat_map(|word| character_ids(word, *count)));
                    ids.resize((number + 1) * width * count, 0);
                }
            }
        }
        match self {
            Self::Words(_) => ElmoInput::words(ids, width, lengths, &model.device),
            Self::Characters(count) => {
                ElmoInput::characters(&ids, width, &lengths, sentence_boundaries(*count), &model.device)
            }
        }
    }
}

/// The first `words` of a row of a layer.
fn row_of(layer: &Tensor<3>, row: usize, words: usize) -> Vec<f32> {
    let part = layer.clone().narrow(0, row, 1).narrow(1, 0, words); // [1, words, 2 * projection]
    part.into_data().iter::<f32>().collect()
}
