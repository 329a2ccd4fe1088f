//! What an evaluation found: `eval.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::answers::AnswerCounts;
use super::chunks::{ChunkCounter, ChunkCounts};
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::files::write_file;
use crate::recipe::SelectOn;

/// What was counted over one set. Everything a figure is made of is here, so that figures of parts can be joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    pub split: String,
    pub language: String,
    /// `correct / labelled`.
    pub accuracy: f64,
    pub correct: usize,
    /// Labelled rows or tokens, or hidden tokens.
    pub labelled: usize,
    /// Mean loss over them.
    pub loss: f64,
    /// Of a language model: e to the power of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The same for sentence order, where it is learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence_order: Option<OrderResult>,
    /// The chunks of tagged words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkResult>,
    /// The answers to questions. `accuracy` is then of windows: those whose likeliest start and end are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerFigures>,
    /// Further figures of the task, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    /// Rows that could not be read and were left out.
    pub skipped: usize,
    /// Rows with an empty text.
    pub empty: usize,
}

impl SelectOn {
    /// The split whose figure it is.
    pub fn split(self) -> Split {
        if self.word().starts_with("test.") { Split::Test } else { Split::Dev }
    }
}

/// What was counted of sentence order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OrderResult {
    pub accuracy: f64,
    pub correct: usize,
    pub rows: usize,
    /// Mean loss over the rows.
    pub loss: f64,
}

/// What was counted of the chunks of one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// Over all types.
    #[serde(flatten)]
    pub figures: ChunkFigures,
    /// In the order of the labels.
    pub by_type: Vec<TypeResult>,
    /// Words that the model has not seen, because they were cut off or the tokenizer makes nothing of them: they count as outside
    /// all chunks.
    pub unseen_words: usize,
}

/// Precision, recall and F1, with what they are made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChunkFigures {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    #[serde(flatten)]
    pub counts: ChunkCounts,
}

/// The figures of one type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeResult {
    pub name: String,
    #[serde(flatten)]
    pub figures: ChunkFigures,
}

/// The chunks of one split over its languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkAverage {
    /// The means of the languages' figures, each counting alike.
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// The figures of all languages' chunks counted together.
    pub pooled: ChunkFigures,
}

/// How good answers are, with what the figures are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerFigures {
    pub exact_match: f64,
    pub f1: f64,
    /// Of DuReader, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bleu_4: Option<f64>,
    pub counts: AnswerCounts,
}

/// The answers of one split over its languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerAverage {
    /// The means of the languages' figures, each counting alike.
    pub exact_match: f64,
    pub f1: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bleu_4: Option<f64>,
    /// The figures of all languages' questions counted together.
    pub pooled: AnswerFigures,
}

impl AnswerFigures {
    /// The figures of counts, with those of DuReader or without.
    pub fn new(counts: AnswerCounts, with_overlap: bool) -> Self {
        Self {
            exact_match: counts.exact_match(),
            f1: counts.f1(),
            rouge_l: with_overlap.then(|| counts.rouge_l()),
            bleu_4: with_overlap.then(|| counts.bleu_4()),
            counts,
        }
    }
}

impl From<ChunkCounts> for ChunkFigures {
    fn from(counts: ChunkCounts) -> Self {
        Self { precision: counts.precision(), recall: counts.recall(), f1: counts.f1(), counts }
    }
}

impl ChunkResult {
    pub fn new(counter: &ChunkCounter, unseen_words: usize) -> Self {
        let by_type = counter.by_type().map(|(name, counts)| TypeResult { name: name.into(), figures: counts.into() });
        Self { figures: counter.total().into(), by_type: by_type.collect(), unseen_words }
    }
}

/// The result of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The optimizer step it was made after, if it was during a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What the run chooses its best model by, if it was during a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_on: Option<String>,
    pub sets: Vec<SetResult>,
    pub averages: Vec<Average>,
    pub seconds: f64,
}

/// The figures of one split over its languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Average {
    pub split: String,
    /// The mean of the languages' accuracies, each counting alike (XNLI's average).
    pub accuracy: f64,
    /// The share of all labelled rows that are right, whatever their language.
    pub pooled_accuracy: f64,
    /// Mean loss over all labelled rows, tokens or hidden tokens, with that of sentence order where it is learnt.
    pub loss: f64,
    pub labelled: usize,
    /// The chunks of tagged words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkAverage>,
    /// The answers to questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerAverage>,
    /// Further figures: the means of the languages' figures, each counting alike.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

impl SetResult {
    /// Adds figures of the task's own.
    pub fn add_figures<const N: usize>(&mut self, figures: [(&str, f64); N]) {
        self.figures.extend(figures.map(|(name, value)| (name.to_string(), value)));
    }
}

impl Evaluation {
    /// Reads an `eval.json`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
        serde_json::from_str(&text)
            .map_err(|cause| Problem::new(format!("is no evaluation: {cause}")).in_file(path).into())
    }

    /// Writes an `eval.json`.
    pub fn write(&self, path: &Path) -> Result<()> {
        // Structs of numbers and words are always written.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_file(path, (text + "\n").as_bytes())
    }

    /// Whether there are figures of this split.
    pub fn has(&self, split: Split) -> bool {
        self.averages.iter().any(|average| average.split == split.to_string())
    }

    /// The value of a figure by the name recipes use: `SPLIT.accuracy`, `SPLIT.loss`, `SPLIT.f1`, `SPLIT.exact_match`,
    /// `SPLIT.rouge_l` or `SPLIT.perplexity`.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let (split, word) = name.split_once('.')?;
        let average = self.averages.iter().find(|average| average.split == split)?;
        match word {
            "accuracy" => Some(average.accuracy),
            "loss" => Some(average.loss),
            "f1" => {
                let chunks = average.chunks.as_ref().map(|chunks| chunks.f1);
                let answers = || average.answers.as_ref().map(|answers| answers.f1);
                chunks.or_else(answers).or_else(|| average.figures.get(word).copied())
            }
            "exact_match" => average.answers.as_ref().map(|answers| answers.exact_match),
            "rouge_l" => average.answers.as_ref()?.rouge_l,
            "perplexity" => self.sets.iter().find(|set| set.split == split)?.perplexity,
            _ => average.figures.get(word).copied(),
        }
    }
}

/// The figures of `split` over its languages.
pub fn average(split: &str, sets: &[SetResult]) -> Average {
    let sets: Vec<&SetResult> = sets.iter().filter(|set| set.split == split).collect();
    let labelled: usize = sets.iter().map(|set| set.labelled).sum();
    let correct: usize = sets.iter().map(|set| set.correct).sum();
    let order = sets.iter().filter_map(|set| set.sentence_order);
    let rows: usize = order.clone().map(|order| order.rows).sum();
    let order_loss = order.map(|order| order.loss * order.rows as f64).sum::<f64>() / (rows as f64).max(1.0);
    let loss = sets.iter().map(|set| set.loss * set.labelled as f64).sum::<f64>() / (labelled as f64).max(1.0);
    Average {
        split: split.to_string(),
        accuracy: mean(sets.iter().map(|set| set.accuracy)),
        pooled_accuracy: correct as f64 / labelled.max(1) as f64,
        loss: loss + order_loss,
        labelled,
        chunks: average_chunks(&sets),
        answers: average_answers(&sets),
        figures: average_figures(&sets),
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn average_figures(sets: &[&SetResult]) -> BTreeMap<String, f64> {
    let names: BTreeSet<&String> = sets.iter().flat_map(|set| set.figures.keys()).collect();
    let average = |name: &String| mean(sets.iter().filter_map(|set| set.figures.get(name)).copied());
    names.into_iter().map(|name| (name.clone(), average(name))).collect()
}

fn average_answers(sets: &[&SetResult]) -> Option<AnswerAverage> {
    let found: Vec<&AnswerFigures> = sets.iter().filter_map(|set| set.answers.as_ref()).collect();
    let overlap = |of: fn(&AnswerFigures) -> Option<f64>| {
        let figures: Option<Vec<f64>> = found.iter().map(|figures| of(figures)).collect();
        figures.map(mean)
    };
    let mut counts = AnswerCounts::default();
    found.iter().for_each(|figures| counts.join(&figures.counts));
    Some(AnswerAverage {
        pooled: AnswerFigures::new(counts, found.first()?.rouge_l.is_some()),
        exact_match: mean(found.iter().map(|figures| figures.exact_match)),
        f1: mean(found.iter().map(|figures| figures.f1)),
        rouge_l: overlap(|figures| figures.rouge_l),
        bleu_4: overlap(|figures| figures.bleu_4),
    })
}

fn average_chunks(sets: &[&SetResult]) -> Option<ChunkAverage> {
    let found: Vec<ChunkFigures> = sets.iter().filter_map(|set| Some(set.chunks.as_ref()?.figures)).collect();
    let counts = found.iter().fold(ChunkCounts::default(), |sum, figures| sum.plus(figures.counts));
    (!found.is_empty()).then(|| ChunkAverage {
        precision: mean(found.iter().map(|figures| figures.precision)),
        recall: mean(found.iter().map(|figures| figures.recall)),
        f1: mean(found.iter().map(|figures| figures.f1)),
        pooled: counts.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(language: &str, gold: usize, predicted: usize, correct: usize) -> SetResult {
        let figures = ChunkCounts { gold, predicted, correct }.into();
        SetResult {
            split: "dev".into(),
            language: language.into(),
            accuracy: 0.5,
            correct: 1,
            labelled: 2,
            loss: 1.0,
            perplexity: None,
            sentence_order: None,
            chunks: Some(ChunkResult { figures, by_type: Vec::new(), unseen_words: 0 }),
            answers: None,
            figures: BTreeMap::new(),
            skipped: 0,
            empty: 0,
        }
    }

    /// en: P 3/4, R 3/6, F1 6/10. zh: P 1/2, R 1/1, F1 2/3. Together: P 4/6, R 4/7, F1 8/13.
    #[test]
    fn languages_are_averaged_and_their_chunks_pooled() {
        let found = average(
            "dev",
            &[set("en", 6, 4, 3), set("zh", 1, 2, 1), SetResult { split: "test".into(), ..set("en", 9, 9, 9) }],
        );
        let chunks = found.chunks.clone().unwrap();
        assert_eq!([chunks.precision, chunks.recall, chunks.f1], [0.625, 0.75, (0.6 + 2.0 / 3.0) / 2.0]);
        let pooled = chunks.pooled;
        assert_eq!([pooled.precision, pooled.recall, pooled.f1], [4.0 / 6.0, 4.0 / 7.0, 8.0 / 13.0]);
        let evaluation = Evaluation { averages: vec![found], ..Evaluation::default() };
        assert_eq!((evaluation.figure("dev.f1"), evaluation.figure("test.f1")), (Some(chunks.f1), None));
        let text = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), evaluation);
    }
}
