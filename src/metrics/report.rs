//! The table of an evaluation, for the screen and for a model card.

use std::fmt::Write as _;

use super::{AnswerFigures, Average, ChunkFigures, Evaluation, SetResult};

/// A Markdown table: a row a language, then for each split the average over the languages, each counting alike, and the accuracy
/// over all rows. Chunks and answers have their figures in front. Aligned, so that it reads on a screen too.
pub fn table(evaluation: &Evaluation) -> String {
    let with_order = evaluation.sets.iter().any(|set| set.sentence_order.is_some());
    let with_chunks = evaluation.sets.iter().any(|set| set.chunks.is_some());
    let answers = evaluation.sets.iter().find_map(|set| set.answers.as_ref());
    let names: Vec<String> = evaluation.sets.first().map_or(Vec::new(), |set| set.figures.keys().cloned().collect());
    // Scores are right or wrong by degrees.
    let with_accuracy = !names.iter().any(|name| name == "pearson");
    let with_perplexity = evaluation.sets.iter().any(|set| set.perplexity.is_some());
    let of = match (with_order || with_chunks || with_perplexity, answers) {
        (true, _) => "tokens",
        (false, Some(_)) => "windows",
        (false, None) => "rows",
    };
    let mut header = vec!["split", "language"];
    if with_chunks {
        header.extend(["precision", "recall", "F1"]);
    }
    if let Some(answers) = answers {
        header.extend(["exact match", "F1"]);
        header.extend(answers.rouge_l.iter().map(|_| "Rouge-L"));
        header.extend(answers.bleu_4.iter().map(|_| "Bleu-4"));
    }
    header.extend(names.iter().map(String::as_str));
    if with_accuracy {
        header.extend(["accuracy", "correct"]);
    }
    header.extend([of, "loss", "skipped", "empty"]);
    if with_order {
        header.extend(["order accuracy", "order loss"]);
    }
    if with_perplexity {
        header.push("perplexity");
    }
    let mut rows: Vec<Vec<String>> = vec![header.into_iter().map(str::to_string).collect()];
    let figures = |figures: &[f64]| figures.iter().map(|figure| format!("{figure:.4}")).collect::<Vec<_>>();
    for average in &evaluation.averages {
        let sets: Vec<_> = evaluation.sets.iter().filter(|set| set.split == average.split).collect();
        rows.extend(sets.iter().map(|set| {
            let chunks = set.chunks.iter().flat_map(|chunks| figures(&in_front(&chunks.figures)));
            let answers = set.answers.iter().flat_map(|answers| figures(&of_answers(answers)));
            let order = set.sentence_order.iter().flat_map(|order| figures(&[order.accuracy, order.loss]));
            let own = figures(&set.figures.values().copied().collect::<Vec<_>>());
            let accuracy = [format!("{:.4}", set.accuracy), set.correct.to_string()];
            let cells =
                [set.labelled.to_string(), format!("{:.4}", set.loss), set.skipped.to_string(), set.empty.to_string()];
            let cells = accuracy.into_iter().filter(|_| with_accuracy).chain(cells);
            let names = [set.split.clone(), set.language.clone()];
            let perplexity = set.perplexity.map(|perplexity| format!("{perplexity:.2}"));
            names
                .into_iter()
                .chain(chunks)
                .chain(answers)
                .chain(own)
                .chain(cells)
                .chain(order)
                .chain(perplexity)
                .collect()
        }));
        if with_order || with_perplexity {
            continue; // there is one set a split
        }
        let sum = |of: fn(&SetResult) -> usize| sets.iter().map(|set| of(set)).sum::<usize>().to_string();
        let summary = |name: &str, front: Vec<f64>, accuracy: f64| {
            let accuracy = [format!("{accuracy:.4}"), sum(|set| set.correct)];
            let cells = [
                average.labelled.to_string(),
                format!("{:.4}", average.loss),
                sum(|set| set.skipped),
                sum(|set| set.empty),
            ];
            let names = [average.split.clone(), name.to_string()];
            let cells = accuracy.into_iter().filter(|_| with_accuracy).chain(cells);
            names.into_iter().chain(figures(&front)).chain(cells).collect()
        };
        let (mean, pooled) = summaries(average);
        rows.push(summary("average", mean, average.accuracy));
        if sets.len() > 1 && names.is_empty() {
            rows.push(summary("pooled", pooled, average.pooled_accuracy));
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

/// The figures in front of a split's two summaries: means over the languages, and of all counts together.
fn summaries(average: &Average) -> (Vec<f64>, Vec<f64>) {
    if let Some(chunks) = &average.chunks {
        return (vec![chunks.precision, chunks.recall, chunks.f1], in_front(&chunks.pooled).to_vec());
    }
    let Some(answers) = &average.answers else { return (average.figures.values().copied().collect(), Vec::new()) };
    let overlap = answers.rouge_l.into_iter().chain(answers.bleu_4);
    ([answers.exact_match, answers.f1].into_iter().chain(overlap).collect(), of_answers(&answers.pooled))
}

fn of_answers(figures: &AnswerFigures) -> Vec<f64> {
    let overlap = figures.rouge_l.into_iter().chain(figures.bleu_4);
    [figures.exact_match, figures.f1].into_iter().chain(overlap).collect()
}

fn in_front(figures: &ChunkFigures) -> [f64; 3] {
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
