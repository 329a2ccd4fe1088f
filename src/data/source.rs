//! Where a recipe's rows come from.

use super::card::{Card, RowKind, Scoring};
use crate::error::{Problem, Result};
use crate::recipe::{Recipe, SelectOn, TaskName};

/// What a recipe learns from, and is evaluated on.
pub enum Source {
    /// A data set, by its card.
    Rows(Box<Card>),
    /// Samples of prepared corpora, or rows with segmentation labels, which the recipe's `[pretraining]` names.
    Samples,
    /// Streams of sentences, which the recipe's `[streams]` names.
    Streams,
}

impl Source {
    /// What the recipe's task learns from.
    ///
    /// # Errors
    /// As [`Card::of`], and a data set that is not of the task.
    pub fn open(recipe: &Recipe) -> Result<Self> {
        if recipe.task.name.hides_tokens() {
            return Ok(Self::Samples);
        }
        if recipe.task.name == TaskName::BidirectionalLm {
            return Ok(Self::Streams);
        }
        let card = Card::of(&recipe.data)?;
        let wanted = RowKind::of(recipe.task.name);
        if card.rows() != wanted {
            return Err(card.has_other_rows(wanted).into());
        }
        let select_on = recipe.evaluation.select_on;
        let by_rouge = matches!(select_on, SelectOn::DevRougeL | SelectOn::TestRougeL);
        if by_rouge && card.scoring != Scoring::DuReader {
            let what =
                format!("evaluation.select_on is \"{}\", but `{}` is not scored so", select_on.word(), card.name);
            return Err(Problem::new(what)
                .help("choose \"dev.f1\"; scoring = \"dureader\" in a card gives Rouge-L")
                .into());
        }
        Ok(Self::Rows(Box::new(card)))
    }

    /// The labels in the order of their numbers; none of samples and streams.
    pub fn labels(&self) -> Vec<String> {
        match self {
            Self::Rows(card) => card.labels.names().to_vec(),
            Self::Samples | Self::Streams => Vec::new(),
        }
    }
}
