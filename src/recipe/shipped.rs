//! The recipes that are part of the binary.
//!
//! A list rather than a folder read at build time: the compiler then knows every file it depends on, and no build
//! script or macro crate is needed. A test holds the list and the folder together.

use std::path::Path;

/// One recipe of the `recipes/` folder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shipped {
    /// Path in `recipes/` without the ending, as on the command line: `ernie-m/xnli-cross-lingual-transfer`.
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../recipes/", $name, ".toml")) }),+]
    };
}

/// All shipped recipes, in the order `kiln recipe list` prints them.
pub const SHIPPED: &[Shipped] = shipped![
    "quickstart",
    "ernie-m/xnli-cross-lingual-transfer",
    "ernie-m/xnli-translate-train-all",
    "ernie-m/cmrc2018",
    "ernie-m/pretrain-camlm",
    "ernie-m/pretrain-btmlm",
    "ernie/pretrain",
    "ernie/pretrain-english",
    "ernie/pretrain-rows",
    "ernie/ocnli",
    "ernie/lexical-analysis",
    "ernie/cmrc2018",
    "ernie/ernie-2.0-cmrc2018",
    "ernie/ernie-3.0-ocnli",
    "ernie/rocketqa-rerank",
    "rembert/xnli",
    "rembert/paws-x",
    "rembert/squad",
    "bert/goemotions",
    "bert/ocnli",
    "bert/sts-b",
    "xlm-roberta/xnli",
    "elmo/pretrain",
    "elmo/lac",
    "elmo/dureader",
];

impl Shipped {
    /// The recipe's path in the repository, as messages name it.
    pub fn path(&self) -> String {
        format!("recipes/{}.toml", self.name)
    }

    /// What the recipe is: the first line of its header.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}

/// The shipped recipe of this name; `recipes/` before it and `.toml` after it may be left out.
pub fn find(name: &Path) -> Option<&'static Shipped> {
    let name = plain(name)?;
    SHIPPED.iter().find(|shipped| shipped.name == name)
}

/// Shipped names like this one: a part of it, or near in spelling.
pub fn similar(name: &Path) -> Vec<&'static str> {
    let Some(name) = plain(name) else { return Vec::new() };
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_string();
    let likeness = |shipped: &Shipped| {
        let whole = strsim::jaro_winkler(&name, shipped.name);
        let contained = name.len() >= 3 && shipped.name.contains(&name);
        if contained { 1.0 } else { whole.max(strsim::jaro_winkler(&last(&name), &last(shipped.name))) }
    };
    let mut names: Vec<_> = SHIPPED.iter().map(|shipped| (likeness(shipped), shipped.name)).collect();
    names.retain(|(likeness, _)| *likeness > 0.8);
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    names.into_iter().map(|(_, name)| name).collect()
}

/// A name as it stands in [`SHIPPED`]: forward slashes, no `./`, no `recipes/`, no `.toml`.
fn plain(name: &Path) -> Option<String> {
    let name = name.to_str()?.replace('\\', "/");
    let name = name.trim_start_matches("./");
    let name = name.strip_prefix("recipes/").unwrap_or(name);
    // Nothing shipped has a name that long, and comparing names takes the product of their lengths.
    (name.len() < 200).then(|| name.strip_suffix(".toml").unwrap_or(name).to_string())
}
