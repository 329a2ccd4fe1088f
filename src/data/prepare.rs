//! From a dataset card to tokenised rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::align::{AlignOptions, AlignedRow};
use super::card::{Card, Split};
use super::questions::{Placing, Purpose, QuestionOptions, QuestionRow, read_question_split};
use super::rows::{ReadOptions, Row, Rows, read_split};
use super::tagged::{TaggedRow, read_tagged_split};
use super::tokens::{Span, Tags, Target, TargetKind, TokenCache, TokenInfo, TokenRow, WordCounts, cache_key};
use super::windows::{Window, WindowOptions, windows};
use crate::error::Result;
use crate::recipe::{Recipe, TaskName};
use crate::tasks::Answering;
use crate::tokenize::{Encoding, Tokenizer};

/// What all splits of a run are read and tokenised with.
pub struct Preparation<'a> {
    pub card: &'a Card,
    pub recipe: &'a Recipe,
    pub tokenizer: &'a Tokenizer,
}

impl Preparation<'_> {
    /// One language of one split: read, and tokenised unless that was done before with the same content.
    pub fn rows(&self, split: Split, language: &str) -> Result<Arc<TokenCache>> {
        let (data, options) = (&self.recipe.data, self.read_options(split));
        match self.recipe.task.name {
            TaskName::TokenClassification => {
                let read = read_tagged_split(self.card, &data.root, split, language, options)?;
                let given =
                    format!("{language} {options:?} tags, all pieces: {}", self.align_options().label_all_pieces);
                self.cached(&read, TargetKind::Tags, &given, |rows| self.align(rows))
            }
            TaskName::QuestionAnswering => Ok(self.questions(split, language)?.0),
            TaskName::SequenceClassification
            | TaskName::MaskedLm
            | TaskName::TranslationMaskedLm
            | TaskName::CrossAttentionMaskedLm
            | TaskName::BackTranslationMaskedLm
            | TaskName::PreTraining
            | TaskName::BidirectionalLm => {
                let read = read_split(self.card, &data.root, split, language, options)?;
                let given = format!("{language} {options:?}");
                self.cached(&read, TargetKind::Class, &given, |rows| (self.tokenise(rows), WordCounts::default()))
            }
        }
    }

    /// [`Self::rows`] of questions, which are windows on passages, with the questions themselves.
    pub fn questions(&self, split: Split, language: &str) -> Result<(Arc<TokenCache>, Vec<QuestionRow>)> {
        let answering = Answering::from(&self.recipe.task);
        let purpose = if split == Split::Train { Purpose::Train } else { Purpose::Evaluate };
        let questions = QuestionOptions { purpose, version_2_with_negative: answering.version_2_with_negative };
        let options = self.read_options(split);
        let read = read_question_split(self.card, &self.recipe.data.root, split, language, options, questions)?;
        let count = |is: fn(Placing) -> bool| read.rows.iter().filter(|row| is(row.placing)).count();
        let moved = count(|placing| matches!(placing, Placing::Moved(_)));
        let (nowhere, none) = (count(|placing| placing == Placing::Nowhere), count(|placing| placing == Placing::None));
        tracing::info!(
            "{split} {language}: {} questions; the answers of {moved} were found beside the place they are said to be at, \
             those of {nowhere} are not looked for or not in the text; {none} have none",
            read.rows.len()
        );
        let windows = answering.windows(self.recipe.data.max_seq_length);
        let given = format!("{language} {options:?} {questions:?} {windows:?}");
        let rows = |rows: &[QuestionRow]| (self.windows(rows, windows), WordCounts::default());
        let cache = self.cached(&read, TargetKind::Span, &given, rows)?;
        Ok((cache, read.rows))
    }

    fn read_options(&self, split: Split) -> ReadOptions {
        let data = &self.recipe.data;
        let max_rows = if split == Split::Train { data.max_train_rows } else { data.max_eval_rows };
        ReadOptions { bad_rows: data.bad_rows, empty_text: data.empty_text, max_rows }
    }

    /// What `tokenise` makes of rows, or made of the same rows before. `given` is what decides it beside them, the tokenizer and
    /// the longest length.
    fn cached<R>(
        &self,
        read: &Rows<R>,
        target: TargetKind,
        given: &str,
        tokenise: impl Fn(&[R]) -> (Vec<TokenRow>, WordCounts),
    ) -> Result<Arc<TokenCache>> {
        if let Some(unexpected) = &read.unexpected {
            tracing::warn!("{unexpected}");
        }
        read.skipped.iter().for_each(|problem| tracing::warn!("left out: {problem}"));

        let max_length = self.recipe.data.max_seq_length;
        let key = cache_key(&[
            &read.sha256,
            &self.tokenizer.fingerprint(),
            &max_length.to_string(),
            given,
            &read.file.display().to_string(),
            self.card.labels.names().join("\t").as_str(),
        ]);
        let folder = self.cache();
        if let Some(cache) = folder.as_deref().and_then(|folder| TokenCache::open(folder, &key)) {
            return Ok(Arc::new(cache));
        }
        let (rows, words) = tokenise(&read.rows);
        let info = TokenInfo {
            source: read.file.clone(),
            sha256: read.sha256.clone(),
            rows: rows.len(),
            skipped: read.skipped_count,
            empty: read.empty,
            // Of a passage nothing is cut off, it has more windows.
            truncated: match target {
                TargetKind::Span => 0,
                TargetKind::Class | TargetKind::Tags => rows.iter().filter(|row| row.ids.len() >= max_length).count(),
            },
            target,
            words,
        };
        Ok(Arc::new(TokenCache::create(folder.as_deref(), &key, info, &rows)?))
    }

    fn tokenise(&self, rows: &[Row]) -> Vec<TokenRow> {
        let texts: Vec<(&str, Option<&str>)> =
            rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect();
        let encodings = self.tokenizer.encode_batch(&texts, self.recipe.data.max_seq_length);
        let token_row = |(encoding, row): (Encoding, &Row)| TokenRow {
            first: encoding.first_length() as u32,
            ids: encoding.ids,
            line: row.line,
            target: Target::Class(row.label.map_or(-100, |label| label as i32)),
        };
        encodings.into_iter().zip(rows).map(token_row).collect()
    }

    fn windows(&self, rows: &[QuestionRow], options: WindowOptions) -> Vec<TokenRow> {
        let numbered: Vec<(u32, &QuestionRow)> = (0..).zip(rows).collect();
        let token_rows = |(question, row): &(u32, &QuestionRow)| -> Vec<TokenRow> {
            let token_row = |window: Window| TokenRow {
                ids: window.ids,
                first: window.first as u32,
                line: row.line,
                target: Target::Span(Span { answer: window.answer, question: *question, place: window.place }),
            };
            windows(row, self.tokenizer, options).into_iter().map(token_row).collect()
        };
        numbered.par_iter().flat_map_iter(token_rows).collect()
    }

    fn align(&self, rows: &[TaggedRow]) -> (Vec<TokenRow>, WordCounts) {
        let options = self.align_options();
        let aligned: Vec<AlignedRow> =
            rows.par_iter().map(|row| AlignedRow::tokenised(row, self.tokenizer, options)).collect();
        let words = rows.iter().flat_map(|row| &row.tokens);
        let counts = WordCounts {
            all: words.clone().count(),
            long: words.filter(|word| word.chars().nth(1).is_some()).count(),
            cut: aligned.iter().map(|row| row.cut).sum(),
            vanished: aligned.iter().map(|row| row.vanished).sum(),
        };
        let token_row = |(aligned, row): (AlignedRow, &TaggedRow)| TokenRow {
            first: aligned.ids.len() as u32,
            ids: aligned.ids,
            line: row.line,
            target: Target::Tags(Tags { labels: aligned.labels, starts: aligned.starts, gold: row.tags.clone() }),
        };
        (aligned.into_iter().zip(rows).map(token_row).collect(), counts)
    }

    fn align_options(&self) -> AlignOptions {
        AlignOptions {
            max_length: self.recipe.data.max_seq_length,
            label_all_pieces: self.recipe.task.label_all_pieces.unwrap_or_default(),
        }
    }

    fn cache(&self) -> Option<PathBuf> {
        let given = self.recipe.data.cache.as_deref().map(Path::to_path_buf);
        given.or_else(|| Some(dirs::cache_dir()?.join("kiln").join("tokens")))
    }
}
