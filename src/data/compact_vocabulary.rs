//! The tokens of a run's rows, numbered anew without gaps: a model that reads nothing else needs no row for the others.

use std::sync::Arc;

use crate::hash;

/// A number that no table has a row for.
const NONE: u32 = u32::MAX;

/// Ids of a vocabulary that are met, and their new numbers.
#[derive(Debug)]
pub struct CompactVocabulary {
    /// Those that are met, ascending: an id's number is its place.
    ids: Arc<[u32]>,
    /// The number of each id, [`NONE`] of those that are not met.
    numbers: Vec<u32>,
}

impl CompactVocabulary {
    /// That of some ids, all below `size`; an id may come many times.
    pub fn of(met: impl Iterator<Item = u32>, size: usize) -> Self {
        let mut numbers = vec![NONE; size];
        met.for_each(|id| {
            if let Some(number) = numbers.get_mut(id as usize) {
                *number = 0;
            }
        });
        let ids: Vec<u32> = (0..).zip(&numbers).filter(|(_, number)| **number != NONE).map(|(id, _)| id).collect();
        ids.iter().zip(0..).for_each(|(id, number)| numbers[*id as usize] = number);
        Self { ids: ids.into(), numbers }
    }

    /// The ids that are met, ascending.
    pub fn ids(&self) -> Arc<[u32]> {
        self.ids.clone()
    }

    /// The number of an id.
    pub fn number(&self, id: u32) -> u32 {
        self.numbers.get(id as usize).copied().unwrap_or(NONE)
    }

    /// The same for the same ids.
    pub fn fingerprint(&self) -> String {
        let bytes: Vec<u8> = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        hash::of_parts([bytes.as_slice()])
    }
}
