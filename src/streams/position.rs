//! The order of sentences, and which of them each row of a batch reads next.

use std::ops::Range;

use super::Sentences;
use crate::random::{Keyed, Use};

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
            Self::Once | Self::Files => (0..sentences.len() as u32).collect(),
            Self::Shuffled { seed } => {
                let mut rng = Keyed::new(Use::Epoch, [seed, pass, 0]);
                let mut files: Vec<Range<usize>> = sentences.files().iter().map(|(_, file)| file.clone()).collect();
                rng.shuffle(&mut files);
                let mut all = Vec::with_capacity(sentences.len());
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
