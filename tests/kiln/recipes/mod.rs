//! Recipes as users meet them: shipped ones, messages, `extends`, overrides, the resolved form, the schema.

mod errors;
mod files;
mod fuzz;
mod multilingual;
mod shipped;

use std::path::{Path, PathBuf};

use kiln::error::Error;
use kiln::recipe::{Loaded, load};
use miette::Diagnostic;
use tempfile::TempDir;

/// A small recipe without a fault, to put faults into.
const GOOD: &str = r#"[model]
architecture = "ernie-m"
weights = "models/base"

[task]
name = "sequence-classification"

[data]
dataset = "xnli"

[training]
epochs = 3

[output]
dir = "runs/test"
"#;

/// A folder with recipe files in it.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, name: &str, arguments: &[&str]) -> Result<Loaded, Error> {
        load(&self.path(name), &arguments.iter().map(|argument| argument.to_string()).collect::<Vec<_>>())
    }

    /// What is wrong with a recipe, one line a problem: `file:line:column: what (help)`.
    fn problems(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let error = self.load(name, arguments).expect_err("the recipe has faults");
        assert_eq!(error.exit_code(), 2);
        let folder = format!("{}{}", self.0.path().display(), std::path::MAIN_SEPARATOR);
        let lines = error.problems().iter().map(|problem| match problem.help() {
            Some(help) => format!("{problem} ({help})"),
            None => problem.to_string(),
        });
        lines.map(|line| line.replace(&folder, "")).collect()
    }
}

/// The problems of one file, `r.toml`.
fn problems(text: &str, arguments: &[&str]) -> Vec<String> {
    Folder::new(&[("r.toml", text)]).problems("r.toml", arguments)
}

/// The one problem of a good recipe with a line put behind one of its headers.
fn one_problem(header: &str, line: &str) -> String {
    let text = match GOOD.contains(header) {
        true => GOOD.replace(header, &format!("{header}\n{line}")),
        false => format!("{GOOD}\n{header}\n{line}\n"),
    };
    let mut all = problems(&text, &[]);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
