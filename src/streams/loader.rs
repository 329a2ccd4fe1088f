//! Streams on their way to a device, as Burn data loaders.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::position::Piece;
use super::{Order, Position, Sentences, streams_of};
use crate::data::items::{self, BatchItems, StepItems};
use crate::error::Result;
use crate::models::elmo::{Chunk, LogUniform, Tokens};
use crate::recipe::{Recipe, StreamState};
use crate::tasks::{Batch, Input, Labels, StreamStart};
use crate::tokenize::elmo::{WordVocabulary, character_ids, sentence_begin, sentence_end};

/// The target of a place that has none.
const IGNORED: i64 = -100;

/// How streams become batches.
#[derive(Debug, Clone, Copy)]
pub struct StreamForm {
    /// Streams of a batch; batches side by side, each with streams of its own; and how often these go on in an optimizer step.
    pub batch_size: usize,
    pub devices: usize,
    pub accumulation: usize,
    pub state: StreamState,
    /// Words that a batch takes of each stream: how far gradients go back.
    pub num_steps: usize,
    /// Numbers of `<S>` and `</S>`.
    pub begin: u32,
    pub end: u32,
    /// The longest word in characters (bytes, with a word's begin and end), of models that read them.
    pub characters: Option<usize>,
    /// Words that a right one is told from, where not all are.
    pub sampler: Option<LogUniform>,
}

impl StreamForm {
    /// What a recipe says. `characters` is the longest word of a model that reads characters.
    pub fn of(recipe: &Recipe, vocabulary: &WordVocabulary, characters: Option<usize>) -> Result<Self> {
        let streams = streams_of(recipe)?;
        let sampler = |samples| LogUniform { vocabulary: vocabulary.len(), samples, seed: recipe.training.seed };
        Ok(Self {
            batch_size: recipe.training.batch_size,
            devices: streams.devices,
            accumulation: recipe.training.gradient_accumulation_steps,
            state: streams.state,
            num_steps: streams.num_steps,
            begin: vocabulary.begin(),
            end: vocabulary.end(),
            characters,
            sampler: streams.negative_samples.map(sampler),
        })
    }

    /// All streams.
    pub fn streams(&self) -> usize {
        self.batch_size * self.devices
    }
}

/// An item is one optimizer step, as its batches, or for evaluation one batch.
#[derive(Clone)]
pub struct StreamLoader {
    sentences: Arc<Sentences>,
    form: StreamForm,
    /// Of the forward and of the backward streams.
    orders: [Order; 2],
    device: Device,
    /// The steps that it yields, counted from the beginning of the streams.
    steps: Range<u64>,
}

impl StreamLoader {
    /// A loader of the steps `0..total`.
    pub fn new(sentences: Arc<Sentences>, form: StreamForm, orders: [Order; 2], device: Device, total: u64) -> Self {
        Self { sentences, form, orders, device, steps: 0..total }
    }

    /// Every sentence once, in the order of the files: as many batches as that takes.
    pub fn once(sentences: Arc<Sentences>, form: StreamForm, device: Device) -> Self {
        let mut position = Position::new(&sentences, Order::Once, form.streams());
        let mut pieces = || (0..form.streams()).map(|row| position.advance(row, form.num_steps).len()).sum::<usize>();
        let mut batches = 0;
        while pieces() > 0 {
            batches += 1;
        }
        Self { sentences, form, orders: [Order::Once; 2], device, steps: 0..batches }
    }

    fn steps(&self) -> Steps<'_> {
        let position = |direction: usize| Position::new(&self.sentences, self.orders[direction], self.form.streams());
        let mut positions = [position(0), position(1)];
        for position in &mut positions {
            // There is no shorter way than to count: a row's next sentence depends on all rows.
            for _ in 0..self.steps.start * self.form.accumulation as u64 {
                (0..self.form.streams()).for_each(|row| drop(position.advance(row, self.form.num_steps)));
            }
        }
        Steps { loader: self, positions, next: self.steps.start }
    }

    fn sliced(&self, start: usize, end: usize) -> Self {
        Self { steps: items::sliced(&self.steps, start, end), ..self.clone() }
    }
}

/// One direction of a batch, as numbers: `[batch, steps]` and, of characters, `[batch, steps, characters]`.
#[derive(Default)]
struct Side {
    words: Vec<i64>,
    characters: Vec<i64>,
    targets: Vec<i64>,
}

struct Steps<'a> {
    loader: &'a StreamLoader,
    positions: [Position<'a>; 2],
    next: u64,
}

impl items::Steps for Steps<'_> {
    fn advance(&mut self) -> Option<Result<Vec<Batch>, DatasetError>> {
        let step = self.next;
        let form = &self.loader.form;
        (step < self.loader.steps.end).then(|| {
            self.next += 1;
            let count = (form.accumulation * form.devices) as u64;
            let mut batches: Vec<Batch> = (step * count..(step + 1) * count).map(|number| self.batch(number)).collect();
            let labels: usize = batches.iter().map(|batch| batch.weight).sum();
            for batch in &mut batches {
                // The originals learn from the mean loss times the number of steps.
                batch.scale = form.num_steps as f64 / labels.max(1) as f64;
            }
            Ok(batches)
        })
    }

    fn steps(&self) -> (Range<u64>, u64) {
        (self.loader.steps.clone(), self.next)
    }

    fn evaluated(&self) -> Progress {
        let steps = &self.loader.steps;
        let [done, total] = [self.next, steps.end].map(|step| (step - steps.start) as usize);
        Progress::new(done, total, Some("chunks".into()))
    }
}

impl Steps<'_> {
    /// The batch of this number: those of all devices, then what follows them.
    fn batch(&mut self, number: u64) -> Batch {
        let StreamLoader { form, device, .. } = self.loader;
        let first = (number % form.devices as u64) as usize * form.batch_size;
        let rows = first..first + form.batch_size;
        let [forward, backward] = [0, 1].map(|direction| self.side(direction, rows.clone()));
        let shape = [form.batch_size, form.num_steps];
        let matrix = |values: &[i64]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), shape), device);
        let tokens = |side: &Side| match form.characters {
            None => Tokens::Words(matrix(&side.words)),
            Some(characters) => {
                let shape = [form.batch_size, form.num_steps, characters];
                Tokens::Characters(Tensor::from_data(TensorData::new(side.characters.clone(), shape), device))
            }
        };
        let targets = [forward.targets.as_slice(), backward.targets.as_slice()].concat();
        let weight = targets.iter().filter(|target| **target >= 0).count();
        Batch {
            input: Input::Stream {
                start: match form.state {
                    StreamState::Carried => StreamStart::Carried(None),
                    StreamState::Reset => StreamStart::Zeros,
                },
                chunk: Chunk {
                    forward: tokens(&forward),
                    forward_targets: matrix(&forward.targets),
                    backward: tokens(&backward),
                    backward_targets: matrix(&backward.targets),
                    negatives: form.sampler.map(|sampler| sampler.negatives(number, device)),
                },
            },
            labels: Labels::Next(Tensor::from_data(TensorData::from(targets.as_slice()), device)),
            generate: None,
            rows: rows.collect(),
            weight,
            scale: 1.0 / weight.max(1) as f64,
            order_weight: 0,
            order_scale: 0.0,
            tokens: weight,
        }
    }

    fn side(&mut self, direction: usize, rows: Range<usize>) -> Side {
        let form = &self.loader.form;
        let mut side = Side::default();
        for (row, filled) in rows.zip(1..) {
            let pieces = self.positions[direction].advance(row, form.num_steps);
            for piece in &pieces {
                self.read(piece, direction == 1, &mut side);
            }
            let filled: usize = filled * form.num_steps;
            side.words.resize(filled, 0);
            side.targets.resize(filled, IGNORED);
            side.characters.resize(filled * form.characters.unwrap_or(0), 0);
        }
        side
    }

    fn read(&self, piece: &Piece, reversed: bool, side: &mut Side) {
        let StreamLoader { form, sentences, .. } = self.loader;
        let words = sentences.sentence(piece.sentence);
        // The symbols of `<S> words </S>`, or of `</S> words, the last first, <S>`.
        let symbol = |place: usize| match (place, reversed) {
            (0, _) => Symbol::edge(reversed),
            (place, _) if place == words.len() + 1 => Symbol::edge(!reversed),
            (place, false) => Symbol::Word(words[place - 1]),
            (place, true) => Symbol::Word(words[words.len() - place]),
        };
        let number = |symbol: Symbol| match symbol {
            Symbol::Begin => i64::from(form.begin),
            Symbol::End => i64::from(form.end),
            Symbol::Word(word) => i64::from(sentences.words()[word as usize].1),
        };
        for place in piece.start..piece.end {
            side.words.push(number(symbol(place)));
            side.targets.push(number(symbol(place + 1)));
            if let Some(characters) = form.characters {
                match symbol(place) {
                    Symbol::Begin => side.characters.extend(sentence_begin(characters)),
                    Symbol::End => side.characters.extend(sentence_end(characters)),
                    Symbol::Word(word) => {
                        side.characters.extend(character_ids(&sentences.words()[word as usize].0, characters));
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Symbol {
    Begin,
    End,
    Word(u32),
}

impl Symbol {
    fn edge(is_end: bool) -> Self {
        if is_end { Self::End } else { Self::Begin }
    }
}

impl DataLoader<Vec<Batch>> for StreamLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Vec<Batch>> + 'a> {
        Box::new(StepItems(self.steps()))
    }

    fn num_items(&self) -> usize {
        (self.steps.end - self.steps.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(self.sliced(start, end))
    }
}

/// For evaluation; made with an accumulation of 1, so that a step is a batch.
impl DataLoader<Batch> for StreamLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(BatchItems(self.steps()))
    }

    fn num_items(&self) -> usize {
        (self.steps.end - self.steps.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.sliced(start, end))
    }
}
