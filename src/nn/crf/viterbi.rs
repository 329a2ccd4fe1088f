//! The best path (Viterbi 1967).

/// The highest score that a row of labels has, and these labels: of those that are alike, the one with the lowest last label, then
/// the lowest last but one, and so on. `transitions` `[2 + labels, labels]` as in [`super::Crf`], `emissions` `[steps, labels]`.
pub fn viterbi(transitions: &[f32], emissions: &[f32], labels: usize) -> (f64, Vec<u32>) {
    let mut steps = emissions.chunks_exact(labels);
    let Some(first) = steps.next() else { return (0.0, Vec::new()) };
    let (ends, between) = transitions.split_at(2 * labels);
    let (start, stop) = ends.split_at(labels);
    let mut scores = sums(start, first);
    // For each step but the first and each label, the label before it on the best path that ends there.
    let mut from: Vec<Vec<u32>> = Vec::new();
    for emitted in steps {
        let mut best = vec![(f64::NEG_INFINITY, 0); labels];
        for ((label, score), row) in (0..).zip(&scores).zip(between.chunks_exact(labels)) {
            for (best, transition) in best.iter_mut().zip(row) {
                let score = score + f64::from(*transition);
                if score > best.0 {
                    *best = (score, label);
                }
            }
        }
        scores = best.iter().zip(emitted).map(|((score, _), emitted)| score + f64::from(*emitted)).collect();
        from.push(best.into_iter().map(|(_, label)| label).collect());
    }
    let mut last = (f64::NEG_INFINITY, 0);
    for ((label, score), stop) in (0..).zip(&scores).zip(stop) {
        let score = score + f64::from(*stop);
        if score > last.0 {
            last = (score, label);
        }
    }
    let mut path = vec![last.1];
    for before in from.iter().rev() {
        path.push(before[path[path.len() - 1] as usize]);
    }
    path.reverse();
    (last.0, path)
}

fn sums(a: &[f32], b: &[f32]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect()
}
