//! DuReader's Rouge-L and Bleu-4, of characters that are no blanks (its `normalize`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// How much more recall counts than precision.
const BETA: f64 = 1.2;
const ORDERS: usize = 4;
/// Keep the quotients of empty counts finite, as in `bleu_scorer.py`.
const SMALL: f64 = 1e-9;
const TINY: f64 = 1e-15;

fn characters(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// F of the best precision and the best recall that the longest common subsequence has with any reference (`rouge.py`).
pub fn rouge_l(answer: &str, references: &[String]) -> f64 {
    let found = characters(answer);
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in references {
        let expected = characters(reference);
        let common = longest_common_subsequence(&expected, &found) as f64;
        precision = precision.max(common / found.len().max(1) as f64);
        recall = recall.max(common / expected.len().max(1) as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

fn longest_common_subsequence(one: &[char], other: &[char]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for a in one {
        let mut diagonal = 0;
        for (j, b) in other.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if a == b { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[other.len()]
}

/// What Bleu is computed of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BleuCounts {
    /// Characters of the answers, and of the references nearest in length.
    pub answer_length: usize,
    pub reference_length: usize,
    /// For runs of one to four characters: those that a reference has too, and all.
    pub correct: [usize; ORDERS],
    pub guessed: [usize; ORDERS],
}

impl BleuCounts {
    /// Counts one answer.
    pub fn add(&mut self, answer: &str, references: &[String]) {
        let found = characters(answer);
        let references: Vec<Vec<char>> = references.iter().map(|reference| characters(reference)).collect();
        self.answer_length += found.len();
        let nearest = references.iter().map(|r| (r.len().abs_diff(found.len()), r.len())).min();
        self.reference_length += nearest.map_or(0, |(_, length)| length);
        for order in 1..=ORDERS {
            self.guessed[order - 1] += (found.len() + 1).saturating_sub(order);
            let expected: Vec<_> = references.iter().map(|reference| runs(reference, order)).collect();
            for (run, count) in runs(&found, order) {
                let most = expected.iter().filter_map(|counts| counts.get(run)).max().copied().unwrap_or(0);
                self.correct[order - 1] += count.min(most);
            }
        }
    }

    pub fn join(&mut self, other: &Self) {
        self.answer_length += other.answer_length;
        self.reference_length += other.reference_length;
        for order in 0..ORDERS {
            self.correct[order] += other.correct[order];
            self.guessed[order] += other.guessed[order];
        }
    }

    /// Bleu of all answers together, with the penalty for short ones. 0 if nothing was counted.
    pub fn bleu_4(&self) -> f64 {
        if self.answer_length == 0 {
            return 0.0;
        }
        let shares = self.correct.iter().zip(&self.guessed);
        let product: f64 = shares.map(|(correct, all)| (*correct as f64 + TINY) / (*all as f64 + SMALL)).product();
        let bleu = product.powf(1.0 / ORDERS as f64);
        let ratio = (self.answer_length as f64 + TINY) / (self.reference_length as f64 + SMALL);
        if ratio < 1.0 { bleu * (1.0 - 1.0 / ratio).exp() } else { bleu }
    }
}

fn runs(text: &[char], order: usize) -> HashMap<&[char], usize> {
    let mut counts = HashMap::new();
    text.windows(order).for_each(|run| *counts.entry(run).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rouge_l_takes_precision_and_recall_from_different_references() {
        // With "abxy" precision 2/3 and recall 2/4; with "a" 1/3 and 1. F = 2.44 * 2/3 * 1 / (1 + 1.44 * 2/3)
        let expected = 2.44 * (2.0 / 3.0) / (1.0 + 1.44 * (2.0 / 3.0));
        assert!((rouge_l("a c b", &texts(&["abxy", "a"])) - expected).abs() < 1e-12);
        assert_eq!(rouge_l("a", &texts(&["b"])), 0.0);
        assert_eq!(rouge_l("", &texts(&["b"])), 0.0);
    }

    #[test]
    fn bleu_is_of_all_answers_together() {
        let mut counts = BleuCounts::default();
        counts.add("abcde", &texts(&["abcdx", "zzzzz"]));
        // 4/5, 3/4, 2/3, 1/2, and no penalty.
        let expected = (4.0 / 5.0 * 3.0 / 4.0 * 2.0 / 3.0 * 1.0 / 2.0f64).powf(0.25);
        assert!((counts.bleu_4() - expected).abs() < 1e-9);
        counts.add("a", &texts(&["bbbbb"]));
        // 4/6, 3/4, 2/3, 1/2; 6 characters where 10 are expected.
        let expected = (4.0 / 6.0 * 3.0 / 4.0 * 2.0 / 3.0 * 1.0 / 2.0f64).powf(0.25) * (1.0 - 10.0 / 6.0f64).exp();
        assert!((counts.bleu_4() - expected).abs() < 1e-9);
        assert_eq!(BleuCounts::default().bleu_4(), 0.0);
    }
}
