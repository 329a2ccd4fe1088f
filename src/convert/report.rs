//! What came of a conversion.

use std::fmt;

use serde::Serialize;

/// The lists hold names: `loaded`, `transposed` and `unexpected` the source's, all others the target's.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub source: String,
    pub target: String,
    pub to: String,
    /// The family and the class in the target.
    pub family: String,
    pub class: String,
    /// Found, and written.
    pub loaded: Vec<String>,
    /// Of those, matrices that the two ecosystems hold the other way round.
    pub transposed: Vec<String>,
    /// Of those, the ones that have another name in the target: from, to.
    pub renamed: Vec<(String, String)>,
    /// Written without being in the source, which says so in other words: zeros, sums, second copies of tied tensors.
    pub made: Vec<String>,
    /// Parameters of the target's class that the source lacks; the library that opens it makes them anew.
    pub missing: Vec<String>,
    /// In the source, and of no use to the target.
    pub unexpected: Vec<Unexpected>,
    /// What the user should know beside.
    pub notes: Vec<String>,
}

/// A tensor that the target has no place for, and the parameter that is missing whose name is nearest.
#[derive(Debug, Clone, Serialize)]
pub struct Unexpected {
    pub name: String,
    pub nearest: Option<String>,
}

impl Unexpected {
    /// Each with the nearest name by edits, if fewer than a third of the characters differ: of the first names, and where they are no longer
    /// than names are, for a file may have any number of any length.
    pub fn list(names: &[String], missing: &[String]) -> Vec<Self> {
        const LOOKED_AT: usize = 50;
        const LONGEST: usize = 200;
        let nearest = |name: &String| {
            let distances = missing.iter().map(|one| (strsim::damerau_levenshtein(name, one), one));
            let (distance, nearest) = distances.min()?;
            (distance <= name.len() / 3).then(|| nearest.clone())
        };
        let of = |(at, name): (usize, &String)| {
            let is_looked_at = at < LOOKED_AT && name.len() <= LONGEST;
            Self { name: name.clone(), nearest: is_looked_at.then(|| nearest(name)).flatten() }
        };
        names.iter().enumerate().map(of).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} -> {} ({}, {})", self.source, self.target, self.to, self.class)?;
        let renamed: Vec<String> = self.renamed.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
        let unexpected: Vec<String> = self.unexpected.iter().map(describe).collect();
        writeln!(f, "  loaded      {}", self.loaded.len())?;
        let lists = [
            ("transposed", &self.transposed),
            ("renamed", &renamed),
            ("made", &self.made),
            ("missing", &self.missing),
            ("unexpected", &unexpected),
        ];
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "  {what:<11} {}: {}", names.len(), shorten(names))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

fn describe(unexpected: &Unexpected) -> String {
    match &unexpected.nearest {
        Some(nearest) => format!("{} (nearest: {nearest})", unexpected.name),
        None => unexpected.name.clone(),
    }
}

/// The first names; all of them are in the JSON.
fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_is_told_which_is_meant() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let missing = names(&["classifier.weight", "bert.pooler.dense.weight"]);
        let found = Unexpected::list(&names(&["clasifier.weight", "x.y", &"w".repeat(9999)]), &missing);
        let nearest: Vec<_> = found.iter().map(|one| one.nearest.as_deref()).collect();
        assert_eq!(nearest, [Some("classifier.weight"), None, None]);
    }
}
