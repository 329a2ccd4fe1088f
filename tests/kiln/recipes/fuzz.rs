//! No text and no argument makes the loader panic, nor the printing of what it found.

use miette::GraphicalReportHandler;
use proptest::prelude::*;

use super::{Folder, GOOD};

/// Loads, prints every problem as the command does, and holds a recipe that loads to its resolved form.
fn survives(text: &[u8], arguments: &[String]) {
    let folder = Folder::new(&[]);
    std::fs::write(folder.path("r.toml"), text).unwrap();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match folder.load("r.toml", &arguments) {
        Ok(loaded) => {
            std::fs::write(folder.path("r.toml"), loaded.resolved_toml()).unwrap();
            assert_eq!(folder.load("r.toml", &[]).unwrap().recipe, loaded.recipe);
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                GraphicalReportHandler::new().render_report(&mut String::new(), problem).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&text, &[]);
    }

    #[test]
    fn any_text(text in "(\\PC|[\\[\\]{}=.\"'\n\r#_])*", argument in "\\PC*") {
        survives(text.as_bytes(), &[argument]);
    }

    #[test]
    fn a_damaged_recipe(at in 0..GOOD.len(), len in 0..20_usize, piece in "[\\[\\]{}=.,\"'\n\r0-9a-zäß→ ]{0,12}") {
        let end = (at + len).min(GOOD.len());
        survives(format!("{}{piece}{}", &GOOD[..at], &GOOD[end..]).as_bytes(), &[]);
    }

    #[test]
    fn any_value_for_any_key(
        key in "(model|task|data|training|optimizer|schedule|device|output)(\\.(name|dir|betas|devices|config|epochs|max_steps|seed|root|config\\.hidden_size))?",
        value in "(-?[0-9]{1,25}(\\.[0-9]+)?(e-?[0-9]{1,3})?|nan|inf|\\[[0-9, .]*\\]|\\{[a-z_=0-9]*\\}|\\PC{0,8})",
    ) {
        survives(GOOD.as_bytes(), &[format!("{key}={value}")]);
    }
}
