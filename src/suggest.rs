//! "Did you mean": the nearest of a few known words.

/// The candidate nearest in spelling to `word`, if any is near: at most one edit in three characters, or the beginning
/// of it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No key or word is that long, and the distance takes the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let distances = candidates.iter().map(|&one| (strsim::damerau_levenshtein(&word, &plain(one)), one));
    let (distance, one) = distances.min_by_key(|(distance, _)| *distance)?;
    if distance <= (word.chars().count() / 3).max(1) {
        return Some(one);
    }
    // A word cut short: `hypo` for `hypothesis`.
    candidates.into_iter().find(|one| word.chars().count() >= 3 && plain(one).starts_with(&word))
}

/// `help` text for an unknown word: the nearest known one, if any, and all of them.
pub fn known<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let all = format!("{what}: {}", candidates.join(", "));
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("linaer", ["linear", "cosine"]), Some("linear"));
        assert_eq!(nearest("Linear_Min", ["linear", "linear-min"]), Some("linear-min"));
        assert_eq!(nearest("polynomial", ["linear", "cosine"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["linear"]), None);
    }

    #[test]
    fn a_slip_finds_its_word_and_a_strange_word_finds_none() {
        let labels = ["entailment", "neutral", "contradiction"];
        assert_eq!(nearest("entailmnet", labels), Some("entailment"));
        assert_eq!(nearest("Neutral", labels), Some("neutral"));
        assert_eq!(nearest("42", labels), None);
        assert_eq!(known("42", "labels", labels), "labels: entailment, neutral, contradiction");
    }
}
