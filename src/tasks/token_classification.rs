//! Token classification: a tag for each word (named entities, parts of speech, segmentation).
//!
//! Hugging Face's `...ForTokenClassification`, and LAC's layers on top of the encoder or of ELMo's words: bidirectional GRUs and a
//! conditional random field. Loss: cross-entropy of tokens, or the CRF's negative log-likelihood of rows. Metrics: precision, recall
//! and F1 of chunks. Predictions: `{"tokens": [...], "tags": [...], "chunks": [...]}`; a word that the model has not seen, because
//! it is beyond the longest row or the tokenizer makes nothing of it, has the tag null. Chunks are read from the tags as conlleval
//! does; each has its text, its type, its first word and the one after its last.

use std::path::Path;
use std::sync::{Arc, Once};

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::batch::BatchOf;
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::rows::{InputRows, Part, Predictor, RowData, RowTask, Tokenised};
use super::scorer::{EvalSet, NewScorer, Scorer};
use crate::data::InputRow;
use crate::data::align::{AlignOptions, AlignedRow, IGNORED, NO_TAG, word_tags};
use crate::data::card::{Card, RowKind, Split};
use crate::data::read::read_tagged_split;
use crate::data::rows::TaggedRow;
use crate::data::{TokenRow, TokenRows, WordCounts, input};
use crate::error::{Problem, Result};
use crate::metrics::chunks::{ChunkCounter, ChunkCounts, ChunkScheme};
use crate::metrics::{ChunkResult, LossSums, SetResult};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{
    BiGru, Crf, HasRoles, Roles, apply, cross_entropy_sum, drop_out, dropout, gather_words, linear, per_token, viterbi,
};
use crate::recipe::{ChunkCounting, TaggerOptions, Task, TaskName};
use crate::tokenize::Tokenizer;

/// Words of `config.json` that are Kiln's own; Hugging Face's library keeps them.
const TAGGER: &str = "token_classification";
const CHARACTERS_AS_WORDS: &str = "characters_as_words";
/// More layers of GRUs than any tagger has.
const MOST_LAYERS: usize = 64;

/// What a recipe and a model folder say of the task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    pub tagger: TaggerOptions,
    /// Whether all pieces of a word have its tag to learn.
    pub label_all_pieces: bool,
    pub chunk_counting: ChunkCounting,
    /// Whether the words of the training data were single characters, as LAC's are.
    pub characters_as_words: bool,
}

/// The head.
#[derive(Module, Debug)]
pub struct TokenClassification {
    dropout: Dropout,
    grus: Vec<BiGru>,
    classifier: Linear,
    /// Scores the tags of a row together.
    crf: Option<Crf>,
}

/// What the scores are compared with.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a batch has one, and it only holds handles")]
pub enum Labels {
    /// One class a token, `[batch, seq]`.
    Tokens(Tensor<2, Int>),
    /// For a CRF: the position of each word's first token in its row, and the word's class, both `[batch, words]`; and how many words
    /// each row has.
    Rows { positions: Tensor<2, Int>, classes: Tensor<2, Int>, lengths: Vec<usize> },
}

impl HasRoles for TokenClassification {
    fn add_roles(&self, roles: &mut Roles) {
        self.crf.iter().for_each(|crf| crf.add_roles(roles));
    }
}

impl TaskHead for TokenClassification {
    type Options = Options;
    type Labels = Labels;
    /// `[batch, seq, classes]`
    type Logits = Tensor<3>;
    type Outcome = TagCounts;

    fn options(task: &Task, _: usize) -> Options {
        Options {
            tagger: task.options(),
            label_all_pieces: task.label_all_pieces.unwrap_or_default(),
            chunk_counting: task.chunk_counting.unwrap_or_default(),
            characters_as_words: false,
        }
    }

    fn read_options(_: Option<TaskName>, config: &Map<String, Value>, _: bool) -> Result<Options> {
        let characters_as_words = config.get(CHARACTERS_AS_WORDS).and_then(Value::as_bool).unwrap_or(false);
        let tagger: TaggerOptions = super::read_own(config, TAGGER)?;
        if tagger.bigru_num > MOST_LAYERS {
            let problem = Problem::new(format!("`{TAGGER}.bigru_num` is {}", tagger.bigru_num));
            return Err(problem.help(format!("it is at most {MOST_LAYERS}")).into());
        }
        Ok(Options { tagger, characters_as_words, ..Options::default() })
    }

    fn write_options(options: &Options, config: &mut Map<String, Value>) {
        if options.tagger != TaggerOptions::default() {
            config.insert(TAGGER.into(), json!(options.tagger));
        }
        if options.characters_as_words {
            config.insert(CHARACTERS_AS_WORDS.into(), json!(true));
        }
    }

    fn new(config: &ModelConfig, options: &Options, classes: usize, device: &Device) -> Self {
        let TaggerOptions { crf, bigru_num, grnn_hidden_dim } = options.tagger;
        let width = |layer: usize| if layer == 0 { config.hidden_size() } else { 2 * grnn_hidden_dim };
        Self {
            dropout: dropout(config.classifier_dropout()),
            grus: (0..bigru_num).map(|layer| BiGru::new(width(layer), grnn_hidden_dim, device)).collect(),
            classifier: linear(width(bigru_num), classes, device),
            crf: crf.then(|| Crf::new(classes, device)),
        }
    }

    fn forward(&self, input: &EncoderInput, output: &EncoderOutput, _: &Backbone) -> Tensor<3> {
        let mut states = drop_out(&self.dropout, output.last_hidden_state()); // [batch, seq, hidden]
        if !self.grus.is_empty() {
            let lengths = input.lengths();
            states = self.grus.iter().fold(states, |states, gru| gru.forward(states, &lengths));
        }
        per_token(states, |states| apply(&self.classifier, states))
    }

    fn losses(&self, batch: &TaskBatch<Self>, logits: &Tensor<3>) -> Vec<Tensor<1>> {
        let sum = match (&batch.labels, &self.crf) {
            (Labels::Rows { positions, classes, lengths }, Some(crf)) => {
                let emissions = gather_words(logits.clone(), positions.clone()); // [batch, words, classes]
                crf.negative_log_likelihood(emissions, classes.clone(), lengths).sum()
            }
            (Labels::Rows { positions, classes, .. }, None) => {
                let words = gather_words(logits.clone(), positions.clone()); // [batch, words, classes]
                cross_entropy_sum(words.flatten(0, 1), classes.clone().flatten(0, 1))
            }
            (Labels::Tokens(tokens), _) => {
                cross_entropy_sum(logits.clone().flatten(0, 1), tokens.clone().flatten(0, 1))
            }
        };
        vec![sum]
    }

    fn named_logits(_: &EncoderInput, logits: Tensor<3>) -> Vec<(&'static str, TensorData)> {
        vec![("logits", logits.into_data())]
    }
}

type Model = TaskModel<TokenClassification>;

impl Model {
    /// One tag for each word of rows, from the scores `[batch, seq, tags]` and, for each row, where its words' first tokens stand: the
    /// best for each word, or with a CRF the best row of them; [`NO_TAG`] for words that are not seen.
    pub fn word_tags(&self, scores: &Tensor<3>, starts: &[&[Option<u32>]]) -> Vec<Vec<u32>> {
        let [_, width, tags] = scores.dims();
        let Some(crf) = &self.head.crf else {
            let best: Vec<u32> = scores.clone().argmax(2).into_data().iter::<u32>().collect(); // [batch, seq, 1]
            return starts.iter().zip(best.chunks(width)).map(|(starts, best)| word_tags(starts, best)).collect();
        };
        let transitions = crf.transitions();
        let scores: Vec<f32> = scores.to_data().iter::<f32>().collect();
        let of_row = |(starts, scores): (&&[Option<u32>], &[f32])| {
            let seen = starts.iter().flatten();
            let seen = seen.flat_map(|start| &scores[*start as usize * tags..(*start as usize + 1) * tags]).copied();
            let (_, path) = viterbi(&transitions, &seen.collect::<Vec<f32>>(), tags);
            let mut path = path.into_iter();
            starts.iter().map(|start| start.and_then(|_| path.next()).unwrap_or(NO_TAG)).collect()
        };
        starts.iter().zip(scores.chunks(width * tags)).map(of_row).collect()
    }
}

/// What is to be learnt of a row of tagged words, and what its predictions are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tags {
    /// For each id the tag to learn; negative for none.
    labels: Vec<i32>,
    /// For each word where its first id stands; `None` for a word without any.
    starts: Vec<Option<u32>>,
    /// For each word its tag.
    gold: Vec<u32>,
}

/// Stands in a target for a word without ids; no row is that long.
const NO_START: u32 = u32::MAX;

impl Tags {
    fn to_target(&self) -> Vec<u32> {
        let labels = self.labels.iter().map(|label| label.cast_unsigned());
        let starts = self.starts.iter().map(|start| start.unwrap_or(NO_START));
        labels.chain(starts).chain(self.gold.iter().copied()).collect()
    }

    fn of(row: &TokenRow) -> Self {
        let (labels, words) = row.target.split_at(row.ids.len().min(row.target.len()));
        let (starts, gold) = words.split_at(words.len() / 2);
        Self {
            labels: labels.iter().map(|label| label.cast_signed()).collect(),
            starts: starts.iter().map(|start| (*start != NO_START).then_some(*start)).collect(),
            gold: gold.to_vec(),
        }
    }
}

impl RowTask for TokenClassification {
    const ROWS: RowKind = RowKind::Tagged;
    type Gold = ();
    type Row = Vec<String>;

    fn read(data: &RowData, own: &Options, split: Split, language: &str) -> Result<Tokenised<()>> {
        let options = data.read_options(split);
        let read = || read_tagged_split(data.card, &data.data.root, split, language, options);
        let align = AlignOptions { max_length: data.data.max_seq_length, label_all_pieces: own.label_all_pieces };
        let given = format!("{language} {options:?} tags, all pieces: {}", align.label_all_pieces);
        let part = Part { split, language, given, truncates: true };
        data.tokenised(&part, read, |rows| tokenise(data.tokenizer, rows, align))
    }

    fn options_for(options: Options, data: &TokenRows) -> Options {
        Options { characters_as_words: data.has_characters_as_words(), ..options }
    }

    fn labels(options: &Options, rows: &[TokenRow], input: &EncoderInput) -> (Labels, usize) {
        let tags: Vec<Tags> = rows.iter().map(Tags::of).collect();
        match options.tagger.crf {
            true => labels_of_rows(&tags, &input.input_ids.device()),
            false => labels_of_tokens(&tags, input),
        }
    }

    fn scorer(options: &Options, card: &Card, rows: &Arc<TokenRows>, (): ()) -> Result<NewScorer<Model>> {
        let chunks = ChunkCounter::new(ChunkScheme::new(card.labels.names(), options.chunk_counting)?);
        let counter = Chunks { rows: rows.clone(), labelled: 0, correct: 0, chunks };
        Ok(Box::new(move || Box::new(counter.clone())))
    }

    fn open_rows(file: &Path, options: &Options) -> Result<InputRows<Vec<String>>> {
        Ok(Box::new(input::open_words(file, options.characters_as_words)?))
    }

    fn check_predictor(predictor: &Predictor<Self>) -> Result<()> {
        if let Err(error) = ChunkScheme::new(&predictor.labels, ChunkCounting::Conll) {
            tracing::warn!("the tags are not joined to chunks: {error}");
        }
        Ok(())
    }

    fn predict(predictor: &Predictor<Self>, rows: &[Vec<String>]) -> Vec<Value> {
        let scheme = ChunkScheme::new(&predictor.labels, ChunkCounting::Conll).ok();
        // Words have no positions that could run out.
        let is_of_words = predictor.tokenizer.as_words().is_some();
        let max_length = if is_of_words { usize::MAX } else { predictor.max_length };
        let options = AlignOptions { max_length, label_all_pieces: false };
        let align = |words: &Vec<String>| {
            // What the tags are does not matter for the ids.
            let row = TaggedRow { tokens: words.clone(), tags: vec![0; words.len()], line: 0 };
            AlignedRow::tokenised(&row, &predictor.tokenizer, options)
        };
        let aligned: Vec<AlignedRow> = rows.iter().map(align).collect();
        if aligned.iter().any(|row| row.cut > 0) {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                tracing::warn!("words beyond the {max_length} tokens of the longest row have the tag null");
            });
        }
        let inputs: Vec<InputRow> =
            aligned.iter().map(|row| InputRow { ids: &row.ids, first: row.ids.len() }).collect();
        predictor.each(&inputs, |scores, numbers| {
            let starts: Vec<&[Option<u32>]> = numbers.iter().map(|&row| aligned[row].starts.as_slice()).collect();
            let tags = predictor.model.word_tags(&scores, &starts);
            numbers.iter().zip(tags).map(|(&row, tags)| line(predictor, scheme.as_ref(), &rows[row], &tags)).collect()
        })
    }
}

fn tokenise(tokenizer: &Tokenizer, rows: &[TaggedRow], options: AlignOptions) -> (Vec<TokenRow>, WordCounts) {
    let aligned: Vec<AlignedRow> = rows.par_iter().map(|row| AlignedRow::tokenised(row, tokenizer, options)).collect();
    let words = rows.iter().flat_map(|row| &row.tokens);
    let counts = WordCounts {
        all: words.clone().count(),
        long: words.filter(|word| word.chars().nth(1).is_some()).count(),
        cut: aligned.iter().map(|row| row.cut).sum(),
        vanished: aligned.iter().map(|row| row.vanished).sum(),
    };
    let token_row = |(aligned, row): (AlignedRow, &TaggedRow)| TokenRow {
        first: aligned.ids.len() as u32,
        target: Tags { labels: aligned.labels, starts: aligned.starts, gold: row.tags.clone() }.to_target(),
        ids: aligned.ids,
        line: row.line,
    };
    (aligned.into_iter().zip(rows).map(token_row).collect(), counts)
}

fn labels_of_tokens(rows: &[Tags], input: &EncoderInput) -> (Labels, usize) {
    let shape = input.input_ids.dims();
    let mut tokens: Vec<i64> = Vec::with_capacity(shape[0] * shape[1]);
    for (number, tags) in rows.iter().enumerate() {
        tokens.extend(tags.labels.iter().map(|label| i64::from(*label)));
        tokens.resize((number + 1) * shape[1], i64::from(IGNORED));
    }
    let weight = tokens.iter().filter(|label| **label >= 0).count();
    (Labels::Tokens(Tensor::from_data(TensorData::new(tokens, shape), &input.input_ids.device())), weight)
}

/// The tags of each row's words as one label, and how many rows have words that are seen.
fn labels_of_rows(rows: &[Tags], device: &Device) -> (Labels, usize) {
    let seen = rows.iter().map(|tags| {
        let words = tags.starts.iter().zip(&tags.gold);
        words.filter_map(|(start, tag)| Some((i64::from((*start)?), i64::from(*tag)))).collect()
    });
    let seen: Vec<Vec<(i64, i64)>> = seen.collect();
    let lengths: Vec<usize> = seen.iter().map(Vec::len).collect();
    let width = lengths.iter().copied().max().unwrap_or(0).max(1);
    let padded = seen.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat((0, 0))).take(width));
    let (positions, classes): (Vec<i64>, Vec<i64>) = padded.unzip();
    let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [rows.len(), width]), device);
    let weight = lengths.iter().filter(|length| **length > 0).count();
    (Labels::Rows { positions: tensor(positions), classes: tensor(classes), lengths }, weight)
}

/// What is counted of the tags of some rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct TagCounts {
    /// Words that are seen, and those with the right tag.
    labelled: usize,
    correct: usize,
    /// By number of the type.
    chunks: Vec<ChunkCounts>,
}

/// Counts words and chunks.
#[derive(Clone)]
struct Chunks {
    rows: Arc<TokenRows>,
    labelled: usize,
    correct: usize,
    chunks: ChunkCounter,
}

impl Scorer<Model> for Chunks {
    fn outcome(&self, model: &Model, batch: &BatchOf<Model>, scores: &Tensor<3>) -> Result<TagCounts> {
        let gold: Vec<Tags> = self.rows.rows(&batch.rows)?.iter().map(Tags::of).collect();
        let starts: Vec<&[Option<u32>]> = gold.iter().map(|tags| tags.starts.as_slice()).collect();
        let scheme = self.chunks.scheme();
        let chunks = vec![ChunkCounts::default(); scheme.types().len()];
        let mut counts = TagCounts { labelled: 0, correct: 0, chunks };
        for (tags, best) in gold.iter().zip(model.word_tags(scores, &starts)) {
            counts.labelled += best.iter().filter(|tag| **tag != NO_TAG).count();
            counts.correct += best.iter().zip(&tags.gold).filter(|(best, gold)| best == gold).count();
            scheme.count(&tags.gold, &best, &mut counts.chunks);
        }
        Ok(counts)
    }

    fn count(&mut self, TagCounts { labelled, correct, chunks }: TagCounts) {
        self.labelled += labelled;
        self.correct += correct;
        self.chunks.join(&chunks);
    }

    fn finish(self: Box<Self>, set: &EvalSet, _: &LossSums, result: &mut SetResult) {
        (result.labelled, result.correct) = (self.labelled, self.correct);
        result.chunks = Some(ChunkResult::new(&self.chunks, set.unseen_words));
    }
}

fn line(
    predictor: &Predictor<TokenClassification>,
    scheme: Option<&ChunkScheme>,
    words: &[String],
    tags: &[u32],
) -> Value {
    let names: Vec<Option<&String>> = tags.iter().map(|tag| predictor.labels.get(*tag as usize)).collect();
    let mut line = json!({ "tokens": words, "tags": names });
    if let Some(scheme) = scheme {
        let between = if predictor.options.characters_as_words { "" } else { " " };
        let chunks = scheme.chunks(tags).into_iter().map(|chunk| {
            let text = words[chunk.start..chunk.end].join(between);
            let kind = &scheme.types()[chunk.kind as usize];
            json!({ "text": text, "type": kind, "start": chunk.start, "end": chunk.end })
        });
        line["chunks"] = chunks.collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word of two ids, one that was cut off, one that vanished; a row of no ids at all.
    #[test]
    fn targets_come_back() {
        let tags = |labels: Vec<i32>, starts: Vec<Option<u32>>, gold: Vec<u32>| Tags { labels, starts, gold };
        for (tags, ids) in [
            (tags(vec![-100, 3, -100, -100], vec![None, Some(1), None], vec![4, 3, 0]), 4),
            (tags(vec![-100, -100], vec![], vec![]), 2),
            (tags(vec![], vec![None], vec![1]), 0),
        ] {
            let row = TokenRow { ids: vec![1; ids], first: ids as u32, line: 1, target: tags.to_target() };
            assert_eq!(Tags::of(&row), tags);
        }
    }
}
