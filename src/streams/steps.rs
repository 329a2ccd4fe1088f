//! Streams as the steps of a run: truncated back-propagation through time over chunks of `num_steps` words.

use std::ops::Range;
use std::sync::Arc;

use super::Sentences;
use crate::data::StepSource;
use crate::error::Result;
use crate::random::{Keyed, Use};
use crate::ranks::Place;
use crate::tokenize::elmo::{character_ids, sentence_begin, sentence_end};

/// The order in which sentences are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the files, once.
    Once,
    /// As they stand in the files, over and over.
    Files,
    /// Over and over: the files in a new order each time, and the sentences of each file too. Different seeds give the two
    /// directions different orders.
    Shuffled { seed: u64 },
}

impl Order {
    /// The sentences in the order of a pass (from 0) over all of them; none after the last pass.
    fn pass(self, sentences: &Sentences, pass: u64) -> Vec<u32> {
        match self {
            Self::Once if pass > 0 => Vec::new(),
            Self::Once | Self::Files => (0..sentences.count() as u32).collect(),
            Self::Shuffled { seed } => {
                let mut rng = Keyed::new(Use::Epoch, [seed, pass, 0]);
                let mut files: Vec<Range<usize>> = sentences.files.iter().map(|(_, file)| file.clone()).collect();
                rng.shuffle(&mut files);
                let mut all = Vec::with_capacity(sentences.count());
                for file in files {
                    let first = all.len();
                    all.extend(file.map(|sentence| sentence as u32));
                    rng.shuffle(&mut all[first..]);
                }
                all
            }
        }
    }
}

/// Part of a sentence that a row reads: inputs `start..end` of `<S> words </S>`, and targets one further on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub sentence: usize,
    pub start: usize,
    pub end: usize,
}

/// Where all rows of one direction stand.
pub struct Position<'a> {
    sentences: &'a Sentences,
    order: Order,
    /// The pass at hand, and its order.
    pass: (u64, Vec<u32>),
    /// Sentences taken from it.
    taken: usize,
    /// For each row the sentence at hand and the next input of it.
    rows: Vec<Option<(usize, usize)>>,
}

impl<'a> Position<'a> {
    /// Before the first step.
    pub fn new(sentences: &'a Sentences, order: Order, rows: usize) -> Self {
        Self { sentences, order, pass: (0, order.pass(sentences, 0)), taken: 0, rows: vec![None; rows] }
    }

    /// The pieces that row `row` reads in the next step, `steps` inputs in all, or fewer where the sentences have come to an end.
    /// A step is taken row by row, from the first.
    pub fn advance(&mut self, row: usize, steps: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut room = steps;
        while room > 0 {
            let Some((sentence, start)) = self.rows[row].or_else(|| Some((self.next_sentence()?, 0))) else { break };
            // <S> and each word are inputs; the last symbol never is.
            let inputs = self.sentences.length(sentence) + 1;
            let end = inputs.min(start + room);
            room -= end - start;
            self.rows[row] = (end < inputs).then_some((sentence, end));
            pieces.push(Piece { sentence, start, end });
        }
        pieces
    }

    fn next_sentence(&mut self) -> Option<usize> {
        if self.taken == self.pass.1.len() {
            let pass = self.pass.0 + 1;
            self.pass = (pass, self.order.pass(self.sentences, pass));
            self.taken = 0;
        }
        let sentence = *self.pass.1.get(self.taken)?;
        self.taken += 1;
        Some(sentence as usize)
    }
}

/// The target of a position that has none.
const IGNORED: i64 = -100;

/// How streams are cut.
#[derive(Debug, Clone, Copy)]
pub struct BpttOptions {
    /// Streams of a batch; batches side by side, each with streams of its own; and how often these go on in an optimizer step.
    pub batch_size: usize,
    pub devices: usize,
    pub accumulation: usize,
    /// Words that a batch takes of each stream: how far gradients go back.
    pub num_steps: usize,
    /// Numbers of `<S>` and `</S>`.
    pub begin: u32,
    pub end: u32,
    /// The longest word in characters (bytes, with a word's begin and end), of models that read them.
    pub characters: Option<usize>,
}

impl BpttOptions {
    /// All streams.
    pub fn streams(&self) -> usize {
        self.batch_size * self.devices
    }
}

/// The steps of a run over sentences.
pub struct StreamSteps {
    sentences: Arc<Sentences>,
    options: BpttOptions,
    /// Of the forward and of the backward streams.
    orders: [Order; 2],
    total: u64,
    /// The rank whose blocks are read.
    place: Place,
}

impl StreamSteps {
    /// The steps `0..total` of streams that do not end.
    pub fn new(sentences: Arc<Sentences>, options: BpttOptions, orders: [Order; 2], total: u64) -> Self {
        Self { sentences, options, orders, total, place: Place::ALONE }
    }

    /// The same with the chunks of this rank's blocks alone: a block is what one of [`BpttOptions::devices`] has.
    pub fn of_rank(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Every sentence once, in the order of the files: as many steps as that takes.
    pub fn once(sentences: Arc<Sentences>, options: BpttOptions) -> Self {
        let mut position = Position::new(&sentences, Order::Once, options.streams());
        let mut pieces =
            || (0..options.streams()).map(|row| position.advance(row, options.num_steps).len()).sum::<usize>();
        let mut total = 0;
        while pieces() > 0 {
            total += 1;
        }
        Self { sentences, options, orders: [Order::Once; 2], total, place: Place::ALONE }
    }
}

/// One chunk of some streams, in both directions, as numbers.
#[derive(Debug, Default)]
pub struct StreamChunk {
    /// Counts the chunks from the beginning of the run.
    pub number: u64,
    /// Which of the devices it is of.
    pub block: usize,
    /// Which streams these are.
    pub rows: Range<usize>,
    pub forward: Side,
    pub backward: Side,
}

/// One direction of a chunk: `[batch, steps]` and, of characters, `[batch, steps, characters]`.
#[derive(Debug, Default)]
pub struct Side {
    pub words: Vec<i64>,
    pub characters: Vec<i64>,
    pub targets: Vec<i64>,
}

impl StepSource for StreamSteps {
    type Step = Vec<StreamChunk>;

    fn steps(&self) -> u64 {
        self.total
    }

    fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<Vec<StreamChunk>>> + '_> {
        let position =
            |direction: usize| Position::new(&self.sentences, self.orders[direction], self.options.streams());
        let mut cursor = Cursor { steps: self, positions: [position(0), position(1)] };
        cursor.skip(first);
        let count = (self.options.accumulation * self.options.devices) as u64;
        Box::new((first..).map(move |step| {
            let chunks = step * count..(step + 1) * count;
            let mut chunks: Vec<StreamChunk> = chunks.filter_map(|number| cursor.chunk(number)).collect();
            // Stable: those of a block go on from each other.
            chunks.sort_by_key(|chunk| chunk.block);
            Ok(chunks)
        }))
    }
}

/// Where all streams stand.
struct Cursor<'a> {
    steps: &'a StreamSteps,
    positions: [Position<'a>; 2],
}

impl Cursor<'_> {
    /// There is no shorter way than to count: a row's next sentence depends on all rows.
    fn skip(&mut self, steps: u64) {
        let options = self.steps.options;
        for position in &mut self.positions {
            for _ in 0..steps * options.accumulation as u64 {
                (0..options.streams()).for_each(|row| drop(position.advance(row, options.num_steps)));
            }
        }
    }

    /// The chunk of this number: those of all devices, then what follows them. Another rank's is passed over.
    fn chunk(&mut self, number: u64) -> Option<StreamChunk> {
        let BpttOptions { batch_size, devices, num_steps, .. } = self.steps.options;
        let block = (number % devices as u64) as usize;
        let rows = block * batch_size..(block + 1) * batch_size;
        if !self.steps.place.blocks(devices).contains(&block) {
            for position in &mut self.positions {
                rows.clone().for_each(|row| drop(position.advance(row, num_steps)));
            }
            return None;
        }
        let [forward, backward] = [0, 1].map(|direction| self.side(direction, rows.clone()));
        Some(StreamChunk { number, block, rows, forward, backward })
    }

    fn side(&mut self, direction: usize, rows: Range<usize>) -> Side {
        let options = self.steps.options;
        let mut side = Side::default();
        for (row, filled) in rows.zip(1..) {
            let pieces = self.positions[direction].advance(row, options.num_steps);
            for piece in &pieces {
                self.read(piece, direction == 1, &mut side);
            }
            let filled: usize = filled * options.num_steps;
            side.words.resize(filled, 0);
            side.targets.resize(filled, IGNORED);
            side.characters.resize(filled * options.characters.unwrap_or(0), 0);
        }
        side
    }

    fn read(&self, piece: &Piece, reversed: bool, side: &mut Side) {
        let StreamSteps { options, sentences, .. } = self.steps;
        let words = sentences.sentence(piece.sentence);
        // The symbols of `<S> words </S>`, or of `</S> words, the last first, <S>`.
        let symbol = |place: usize| match (place, reversed) {
            (0, _) => Symbol::edge(reversed),
            (place, _) if place == words.len() + 1 => Symbol::edge(!reversed),
            (place, false) => Symbol::Word(words[place - 1]),
            (place, true) => Symbol::Word(words[words.len() - place]),
        };
        let number = |symbol: Symbol| match symbol {
            Symbol::Begin => i64::from(options.begin),
            Symbol::End => i64::from(options.end),
            Symbol::Word(word) => i64::from(sentences.words[word as usize].1),
        };
        for place in piece.start..piece.end {
            side.words.push(number(symbol(place)));
            side.targets.push(number(symbol(place + 1)));
            if let Some(characters) = options.characters {
                match symbol(place) {
                    Symbol::Begin => side.characters.extend(sentence_begin(characters)),
                    Symbol::End => side.characters.extend(sentence_end(characters)),
                    Symbol::Word(word) => {
                        side.characters.extend(character_ids(&sentences.words[word as usize].0, characters));
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
