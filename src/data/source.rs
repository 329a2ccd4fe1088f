//! Where a recipe's rows come from.

use super::card::Card;
use crate::error::Result;
use crate::recipe::{Recipe, TaskName};

/// What a recipe learns from, and is evaluated on.
pub enum Source {
    /// A data set, by its card.
    Rows(Box<Card>),
    /// Samples of prepared corpora, or rows with segmentation labels, which the recipe's `[pretraining]` names.
    Samples,
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
        let card = Card::of(&recipe.data)?;
        if card.is_tagged() != (recipe.task.name == TaskName::TokenClassification) {
            return Err(card.has_other_rows().into());
        }
        Ok(Self::Rows(Box::new(card)))
    }

    /// The labels in the order of their numbers; none of samples.
    pub fn labels(&self) -> Vec<String> {
        match self {
            Self::Rows(card) => card.labels.names().to_vec(),
            Self::Samples => Vec::new(),
        }
    }
}
