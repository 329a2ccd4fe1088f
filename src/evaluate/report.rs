//! The table of an evaluation, for the screen and for a model card.

use std::fmt::Write as _;

use super::{Evaluation, SetResult};

/// A Markdown table: a row a language, then for each split the average over the languages, each counting alike, and the accuracy
/// over all rows. Aligned, so that it reads on a screen too.
pub fn table(evaluation: &Evaluation) -> String {
    let with_order = evaluation.sets.iter().any(|set| set.sentence_order.is_some());
    let of = if with_order { "tokens" } else { "rows" };
    let mut header = vec!["split", "language", "accuracy", "correct", of, "loss", "skipped", "empty"];
    if with_order {
        header.extend(["order accuracy", "order loss"]);
    }
    let mut rows: Vec<Vec<String>> = vec![header.into_iter().map(str::to_string).collect()];
    for average in &evaluation.averages {
        let sets: Vec<_> = evaluation.sets.iter().filter(|set| set.split == average.split).collect();
        rows.extend(sets.iter().map(|set| {
            let order = set.sentence_order.iter();
            let order = order.flat_map(|order| [order.accuracy, order.loss]).map(|figure| format!("{figure:.4}"));
            let cells = [
                set.split.clone(),
                set.language.clone(),
                format!("{:.4}", set.accuracy),
                set.correct.to_string(),
                set.labelled.to_string(),
                format!("{:.4}", set.loss),
                set.skipped.to_string(),
                set.empty.to_string(),
            ];
            cells.into_iter().chain(order).collect()
        }));
        if with_order {
            continue; // there is one set a split
        }
        let sum = |of: fn(&SetResult) -> usize| sets.iter().map(|set| of(set)).sum::<usize>().to_string();
        let summary = |name: &str, accuracy: f64| {
            vec![
                average.split.clone(),
                name.to_string(),
                format!("{accuracy:.4}"),
                sum(|set| set.correct),
                average.labelled.to_string(),
                format!("{:.4}", average.loss),
                sum(|set| set.skipped),
                sum(|set| set.empty),
            ]
        };
        rows.push(summary("average", average.accuracy));
        if sets.len() > 1 {
            rows.push(summary("pooled", average.pooled_accuracy));
        }
    }
    let mut text = render(&rows);
    if let Some(figure) = evaluation.selected_on.as_ref().filter(|figure| figure.starts_with("test.")) {
        let _ = writeln!(
            text,
            "\nThe best model is chosen by {figure}, on the test rows themselves: they cannot tell how good it is on new ones."
        );
    }
    text
}

fn render(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            // Words to the left, numbers to the right.
            let _ = match column {
                0 | 1 => write!(text, "| {cell:<0$} ", width(column)),
                _ => write!(text, "| {cell:>0$} ", width(column)),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for column in 0..row.len() {
                let dashes = "-".repeat(width(column));
                text.push_str(&if column < 2 { format!("|-{dashes}-") } else { format!("|-{dashes}:") });
            }
            text.push_str("|\n");
        }
    }
    text
}
