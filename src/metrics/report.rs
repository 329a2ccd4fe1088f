//! The table of an evaluation, for the screen and for a model card.

use std::fmt::Write as _;

use super::{AnswerFigures, Average, ChunkFigures, Evaluation, SetResult};

/// A Markdown table: a row a language, then for each split the average over the languages, each counting alike, and the accuracy
/// over all rows. Chunks and answers have their figures in front. Aligned, so that it reads on a screen too.
pub fn table(evaluation: &Evaluation) -> String {
    let first = evaluation.sets.first().cloned().unwrap_or_default();
    let names: Vec<&str> = front(&first).into_iter().map(|(name, _)| name).collect();
    let headings = cells(&first, front(&first)).into_iter().map(|(heading, _)| heading.to_string()).collect();
    let mut rows: Vec<Vec<String>> = vec![headings];
    let mut push = |set: &SetResult, front| rows.push(cells(set, front).into_iter().map(|(_, cell)| cell).collect());
    for average in &evaluation.averages {
        let sets: Vec<_> = evaluation.sets.iter().filter(|set| set.split == average.split).collect();
        sets.iter().for_each(|set| push(set, front(set)));
        if first.sentence_order.is_some() || first.perplexity.is_some() {
            continue; // there is one set a split
        }
        let sum = |of: fn(&SetResult) -> usize| sets.iter().map(|set| of(set)).sum::<usize>();
        let summary = |language: &str, accuracy: f64| SetResult {
            split: average.split.clone(),
            language: language.to_string(),
            accuracy,
            correct: sum(|set| set.correct),
            labelled: average.labelled,
            loss: average.loss,
            skipped: sum(|set| set.skipped),
            empty: sum(|set| set.empty),
            ..SetResult::default()
        };
        let (mean, pooled) = summaries(average);
        let named = |figures: Vec<f64>| names.iter().copied().zip(figures).collect();
        push(&summary("average", average.accuracy), named(mean));
        if sets.len() > 1 && average.figures.is_empty() {
            push(&summary("pooled", average.pooled_accuracy), named(pooled));
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

/// A row's cells under their headings, with these figures in front.
fn cells<'a>(set: &SetResult, front: Vec<(&'a str, f64)>) -> Vec<(&'a str, String)> {
    let of = match set {
        SetResult { chunks: None, sentence_order: None, perplexity: None, answers: Some(_), .. } => "windows",
        SetResult { chunks: None, sentence_order: None, perplexity: None, .. } => "rows",
        _ => "tokens",
    };
    let figure = |(name, figure): (&'a str, f64)| (name, format!("{figure:.4}"));
    // Scores are right or wrong by degrees.
    let with_accuracy = front.iter().all(|(name, _)| *name != "pearson");
    let mut cells = vec![("split", set.split.clone()), ("language", set.language.clone())];
    cells.extend(front.into_iter().map(figure));
    if with_accuracy {
        cells.extend([figure(("accuracy", set.accuracy)), ("correct", set.correct.to_string())]);
    }
    cells.extend([(of, set.labelled.to_string()), figure(("loss", set.loss))]);
    cells.extend([("skipped", set.skipped.to_string()), ("empty", set.empty.to_string())]);
    if let Some(order) = set.sentence_order {
        cells.extend([("order accuracy", order.accuracy), ("order loss", order.loss)].map(figure));
    }
    cells.extend(set.perplexity.map(|perplexity| ("perplexity", format!("{perplexity:.2}"))));
    cells
}

/// The figures of chunks, of answers, or of the task's own, by their headings.
fn front(set: &SetResult) -> Vec<(&str, f64)> {
    let (names, figures): (&[&str], _) = match (&set.chunks, &set.answers) {
        (Some(chunks), _) => (&["precision", "recall", "F1"], of_chunks(&chunks.figures).to_vec()),
        (None, Some(answers)) => (&["exact match", "F1", "Rouge-L", "Bleu-4"], of_answers(answers)),
        (None, None) => return set.figures.iter().map(|(name, figure)| (name.as_str(), *figure)).collect(),
    };
    names.iter().copied().zip(figures).collect()
}

/// All figures of a set that say how good a model is, by their names in the table: those in front, and the accuracy or the perplexity.
pub fn figures(set: &SetResult) -> Vec<(&str, f64)> {
    let mut figures = front(set);
    match set.perplexity {
        Some(perplexity) => figures.push(("perplexity", perplexity)),
        // Scores have none, and that of windows is none of answers.
        None if set.answers.is_none() && figures.iter().all(|(name, _)| *name != "pearson") => {
            figures.push(("accuracy", set.accuracy));
        }
        None => {}
    }
    figures
}

/// The figures in front of a split's two summaries: means over the languages, and of all counts together.
fn summaries(average: &Average) -> (Vec<f64>, Vec<f64>) {
    if let Some(chunks) = &average.chunks {
        return (vec![chunks.precision, chunks.recall, chunks.f1], of_chunks(&chunks.pooled).to_vec());
    }
    let Some(answers) = &average.answers else { return (average.figures.values().copied().collect(), Vec::new()) };
    let overlap = answers.rouge_l.into_iter().chain(answers.bleu_4);
    ([answers.exact_match, answers.f1].into_iter().chain(overlap).collect(), of_answers(&answers.pooled))
}

fn of_answers(figures: &AnswerFigures) -> Vec<f64> {
    let overlap = figures.rouge_l.into_iter().chain(figures.bleu_4);
    [figures.exact_match, figures.f1].into_iter().chain(overlap).collect()
}

fn of_chunks(figures: &ChunkFigures) -> [f64; 3] {
    [figures.precision, figures.recall, figures.f1]
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
