//! Chunks of tagged tokens (words, named entities), and how many of them a model finds: counts first, figures from the
//! counts.
//!
//! Two ways of counting:
//! - conlleval's, the default: the tags are read as they are written. It is what seqeval (1.2.2, without
//!   `mode="strict"`) and PaddleNLP's (2.8) `ChunkEvaluator` count, which is seqeval.
//! - Paddle's `chunk_eval` operator with the scheme "IOB", which Baidu's LAC and its ELMo demo were measured with: see
//!   [`ChunkCounting::Paddle`].
//!
//! Malformed sequences are read leniently, by the same rule in all of these: a token goes on with the chunk before it
//! if that has neither ended nor stood for itself, the token's own tag is one of the inside or the end, and the types
//! are the same. Everywhere else a tag that is not outside begins a chunk, an inside without a beginning (IOB1) too.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problem, Result};
use crate::recipe::ChunkCounting;

/// Where in its chunk a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Begin,
    Inside,
    End,
    Single,
}

impl Position {
    fn of(letter: &str) -> Option<Self> {
        match letter {
            "B" => Some(Self::Begin),
            "I" => Some(Self::Inside),
            "E" => Some(Self::End),
            "S" => Some(Self::Single),
            _ => None,
        }
    }
}

/// A run of tokens with one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Number of the type: its place in [`ChunkScheme::types`].
    pub kind: u32,
    /// Its first token.
    pub start: usize,
    /// The token after its last one.
    pub end: usize,
}

/// What each label of a data set says of chunks.
#[derive(Debug, Clone)]
pub struct ChunkScheme {
    /// For each label its position and type; `None` outside all chunks.
    labels: Vec<Option<(Position, u32)>>,
    types: Vec<String>,
}

impl ChunkScheme {
    /// Reads the labels, given in the order of their numbers.
    ///
    /// By conlleval's rules they are `B-PER I-PER E-PER S-PER` or, LAC's form, `PER-B PER-I PER-E PER-S`; `O` is
    /// outside. A label without a position is a chunk of a single token (the bare `n` of LAC's ELMo demo, parts of
    /// speech), unless all of them are `B`, `I`, `E`, `S` and `O`, which are chunks of the one type `_`.
    ///
    /// # Errors
    /// Some labels have the position in front and some behind, or some have one that is not known.
    pub fn new(labels: &[String], counting: ChunkCounting) -> Result<Self> {
        match counting {
            ChunkCounting::Conll => Self::of_names(labels),
            ChunkCounting::Paddle => Ok(Self::of_numbers(labels)),
        }
    }

    fn of_names(labels: &[String]) -> Result<Self> {
        let form = Form::of(labels)?;
        let mut scheme = Self { labels: Vec::with_capacity(labels.len()), types: Vec::new() };
        for label in labels {
            let parts = form.parts(label)?;
            let label = parts.map(|(position, kind)| (position, scheme.number_of(kind)));
            scheme.labels.push(label);
        }
        Ok(scheme)
    }

    /// Label 2k begins a chunk of type k and label 2k + 1 goes on with it. There are as many types as two labels each
    /// fill, rounded up, of all labels but one; what is above that is outside.
    fn of_numbers(labels: &[String]) -> Self {
        let count = labels.len().saturating_sub(1).div_ceil(2);
        let pairs = labels.chunks(2).take(count);
        let types = pairs.map(|pair| pair.join("/")).collect();
        let label = |number: usize| {
            let position = if number.is_multiple_of(2) { Position::Begin } else { Position::Inside };
            (number / 2 < count).then_some((position, (number / 2) as u32))
        };
        Self { labels: (0..labels.len()).map(label).collect(), types }
    }

    fn number_of(&mut self, kind: &str) -> u32 {
        let known = self.types.iter().position(|known| known == kind);
        known.unwrap_or_else(|| {
            self.types.push(kind.to_string());
            self.types.len() - 1
        }) as u32
    }

    /// The names of the types, by number. In Paddle's counting, which has none, the two labels with a slash between.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// The chunks of a row, in their order. A number that is no label's is outside.
    pub fn chunks(&self, tags: &[u32]) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut before = None;
        for (index, tag) in tags.iter().enumerate() {
            let label = self.labels.get(*tag as usize).copied().flatten();
            match (label, chunks.last_mut()) {
                (Some(label), Some(chunk)) if goes_on(before, label) => chunk.end = index + 1,
                (Some((_, kind)), _) => chunks.push(Chunk { kind, start: index, end: index + 1 }),
                (None, _) => {}
            }
            before = label;
        }
        chunks
    }

    /// Counts a row, one gold tag and one predicted tag a word, in `counts` by number of the type.
    pub fn count(&self, gold: &[u32], predicted: &[u32], counts: &mut [ChunkCounts]) {
        let (gold, predicted) = (self.chunks(gold), self.chunks(predicted));
        gold.iter().for_each(|chunk| counts[chunk.kind as usize].gold += 1);
        let mut gold = gold.iter().peekable();
        for chunk in predicted {
            let counts = &mut counts[chunk.kind as usize];
            counts.predicted += 1;
            while gold.next_if(|other| other.start < chunk.start).is_some() {}
            counts.correct += usize::from(gold.peek() == Some(&&chunk));
        }
    }
}

/// Whether a token is of the same chunk as the token before it.
fn goes_on(before: Option<(Position, u32)>, (position, kind): (Position, u32)) -> bool {
    let is_open = matches!(before, Some((Position::Begin | Position::Inside, open)) if open == kind);
    is_open && matches!(position, Position::Inside | Position::End)
}

/// Where in the labels the position stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `B-PER`
    Front,
    /// `PER-B`
    Back,
    /// `B`
    Alone,
    /// Nowhere.
    None,
}

impl Form {
    fn of(labels: &[String]) -> Result<Self> {
        let forms = labels.iter().map(|label| [in_front(label).is_some(), behind(label).is_some()]);
        let forms: Vec<[bool; 2]> = forms.collect();
        let [front, back] = [0, 1].map(|form| {
            // A type may itself look like a position, as in `B-S`: the form is the one that all such labels have.
            forms.iter().any(|has| has[form]) && forms.iter().all(|has| has[form] || !has[1 - form])
        });
        match (front, back) {
            (true, _) => Ok(Self::Front),
            (false, true) => Ok(Self::Back),
            (false, false) if forms.iter().any(|has| has[0]) => Err(mixed(labels)),
            (false, false) => {
                let is_position = |label: &String| label == "O" || Position::of(label).is_some();
                Ok(if labels.iter().all(is_position) { Self::Alone } else { Self::None })
            }
        }
    }

    /// The position and type of a label.
    fn parts(self, label: &str) -> Result<Option<(Position, &str)>> {
        let parts = match self {
            _ if label == "O" => return Ok(None),
            Self::Front => in_front(label),
            Self::Back => behind(label),
            Self::Alone => Position::of(label).map(|position| (position, "_")),
            Self::None => None,
        };
        match parts {
            None if label.contains('-') && self != Self::None => Err(unknown(label)),
            None => Ok(Some((Position::Single, label))),
            parts => Ok(parts),
        }
    }
}

fn in_front(label: &str) -> Option<(Position, &str)> {
    let (letter, kind) = label.split_once('-')?;
    Some((Position::of(letter)?, kind)).filter(|(_, kind)| !kind.is_empty())
}

fn behind(label: &str) -> Option<(Position, &str)> {
    let (kind, letter) = label.rsplit_once('-')?;
    Some((Position::of(letter)?, kind)).filter(|(_, kind)| !kind.is_empty())
}

const FORMS: &str = "tags of chunks are B-X I-X E-X S-X, or X-B X-I X-E X-S, with O outside";

fn mixed(labels: &[String]) -> Error {
    let find = |parts: fn(&str) -> Option<(Position, &str)>| labels.iter().find(|label| parts(label).is_some());
    let (front, back) = (find(in_front).map_or("", String::as_str), find(behind).map_or("", String::as_str));
    Problem::new(format!("the label `{front}` begins with its position and `{back}` ends with it")).help(FORMS).into()
}

fn unknown(label: &str) -> Error {
    Problem::new(format!("the label `{label}` has no position that is known")).help(FORMS).into()
}

/// How many chunks there are, and how many of them a model finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkCounts {
    /// In the data.
    pub gold: usize,
    /// In the model's tags.
    pub predicted: usize,
    /// In both, with the same tokens and type.
    pub correct: usize,
}

impl ChunkCounts {
    /// The share of the predicted chunks that are right; 0 if there are none.
    pub fn precision(&self) -> f64 {
        self.correct as f64 / self.predicted.max(1) as f64
    }

    /// The share of the gold chunks that are found; 0 if there are none.
    pub fn recall(&self) -> f64 {
        self.correct as f64 / self.gold.max(1) as f64
    }

    /// The harmonic mean of precision and recall; 0 if nothing is right.
    pub fn f1(&self) -> f64 {
        2.0 * self.correct as f64 / (self.gold + self.predicted).max(1) as f64
    }

    /// Both together: counts of parts are added, never their figures averaged.
    pub fn plus(self, other: Self) -> Self {
        Self {
            gold: self.gold + other.gold,
            predicted: self.predicted + other.predicted,
            correct: self.correct + other.correct,
        }
    }
}

/// Counts the chunks of a split, row by row.
#[derive(Debug, Clone)]
pub struct ChunkCounter {
    scheme: ChunkScheme,
    /// By number of the type.
    counts: Vec<ChunkCounts>,
}

impl ChunkCounter {
    /// Nothing counted yet.
    pub fn new(scheme: ChunkScheme) -> Self {
        let counts = vec![ChunkCounts::default(); scheme.types.len()];
        Self { scheme, counts }
    }

    pub fn scheme(&self) -> &ChunkScheme {
        &self.scheme
    }

    /// Counts a row: one gold tag and one predicted tag a word.
    pub fn add(&mut self, gold: &[u32], predicted: &[u32]) {
        self.scheme.count(gold, predicted, &mut self.counts);
    }

    /// Adds what was counted of further rows, by number of the type.
    pub fn join(&mut self, counts: &[ChunkCounts]) {
        self.counts.iter_mut().zip(counts).for_each(|(held, more)| *held = held.plus(*more));
    }

    /// Over all types: what precision, recall and F1 are usually given for.
    pub fn total(&self) -> ChunkCounts {
        self.counts.iter().fold(ChunkCounts::default(), |sum, counts| sum.plus(*counts))
    }

    /// By type, in the order of the labels; types that occur nowhere are left out.
    pub fn by_type(&self) -> impl Iterator<Item = (&str, ChunkCounts)> {
        let named = self.scheme.types.iter().map(String::as_str).zip(self.counts.iter().copied());
        named.filter(|(_, counts)| counts.gold + counts.predicted > 0)
    }
}
