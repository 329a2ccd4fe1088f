//! What holds for every model family of the registry.

use std::collections::BTreeSet;

use kiln::models::{FAMILIES, Family, ModelConfig};
use kiln::recipe::file_schema;
use serde_json::Map;

#[test]
fn names_are_their_own() {
    let of = |name: fn(&Family) -> &str| FAMILIES.iter().map(|family| name(family)).collect::<BTreeSet<_>>().len();
    let count = FAMILIES.len();
    assert_eq!(
        [of(|family| family.name), of(|family| family.model_type), of(|family| family.class_prefix)],
        [count; 3]
    );
    for family in FAMILIES {
        assert_eq!(Family::of_model_type(family.model_type), Some(*family));
    }
    assert_eq!(Family::of_model_type("xlm_roberta").map(|family| family.name), Some("xlm-roberta"));
    assert_eq!(Family::of_model_type("gpt2"), None);
}

/// A misspelt key would be taken for one that all families have.
#[test]
fn keys_are_keys_of_recipes() {
    let schema = file_schema();
    for family in FAMILIES {
        for key in family.keys.iter().copied().flatten() {
            let pointer = format!("/properties/{}", key.replace('.', "/properties/"));
            assert!(schema.pointer(&pointer).is_some(), "{}: {key}", family.name);
        }
    }
}

/// What is written into config.json is read back, and PaddleNLP's rules leave it readable.
#[test]
fn configurations_are_read_back() {
    for family in FAMILIES {
        let config = ModelConfig::from_words(family, &Map::new()).unwrap();
        let mut words = config.to_words();
        let again = ModelConfig::from_words(family, &words).unwrap();
        assert_eq!(again.to_words(), words, "{}", family.name);
        assert_eq!((again.vocab_size(), again.max_length()), (config.vocab_size(), config.max_length()));
        words.insert("paddlenlp_version".into(), "2.8.1".into());
        assert_eq!(ModelConfig::from_words(family, &words).unwrap().hidden_size(), config.hidden_size());
    }
}
