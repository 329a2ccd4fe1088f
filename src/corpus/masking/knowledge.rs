//! Knowledge masking, as the original ERNIE 1.0 of 2019 masks its rows (`batching.py` in PaddlePaddle/ERNIE).

use super::Masked;

/// What is masked as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnowledgeMode {
    /// Single tokens.
    Character,
    /// Units of the segmentation.
    Word,
}

/// Masks units, each of one token or several.
#[derive(Debug, Clone, Copy)]
pub struct KnowledgeMasking {
    /// Share of the units that is masked.
    pub share: f64,
    /// The token `[MASK]`.
    pub mask: u32,
}

impl KnowledgeMasking {
    /// Masks each unit whose first token draws at most the share. Of its tokens, the first by the same draw and the
    /// others by their own on a scale of 1, 8 in 10 become `[MASK]`, one in 10 a random token, and one stays. `draw` gives a
    /// token's number in [0, 1) and its random token; it is called for each token of the row in turn, so that no draw
    /// depends on another.
    pub fn mask<'a>(
        &self,
        row: &mut [u32],
        units: impl Iterator<Item = &'a [usize]>,
        mut draw: impl FnMut() -> (f64, u32),
    ) -> Masked {
        let draws: Vec<(f64, u32)> = row.iter().map(|_| draw()).collect();
        let mut masked = Masked::default();
        for unit in units.filter(|unit| unit.first().is_some_and(|first| draws[*first].0 <= self.share)) {
            for (at, &position) in unit.iter().enumerate() {
                let scale = if at == 0 { self.share } else { 1.0 };
                let replacement = self.replacement(row[position], draws[position], scale);
                masked.replace(row, position, replacement);
            }
        }
        masked
    }

    fn replacement(&self, token: u32, (drawn, random): (f64, u32), scale: f64) -> u32 {
        if drawn > scale * 0.2 {
            self.mask
        } else if drawn > scale * 0.1 {
            random
        } else {
            token
        }
    }
}
