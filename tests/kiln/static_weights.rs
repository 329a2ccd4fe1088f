//! Paddle's static checkpoints have every tensor of ERNIE 1.0.

use kiln::models::ernie::FAMILY;
use kiln::weights::{ModulePath, Weights};

use crate::fixture;

/// What a pre-training model of two layers asks for: Kiln's own names of its parameters.
fn parameters() -> Vec<String> {
    let mut modules = vec![
        ("backbone.embeddings.word_embeddings".to_string(), "weight"),
        ("backbone.embeddings.position_embeddings".to_string(), "weight"),
        ("backbone.embeddings.token_type_embeddings".to_string(), "weight"),
        ("backbone.embeddings.embedding_norm".to_string(), "gamma beta"),
        ("backbone.pooler.dense".to_string(), "weight bias"),
        ("head.masked_lm.dense".to_string(), "weight bias"),
        ("head.masked_lm.norm".to_string(), "gamma beta"),
        ("head.masked_lm".to_string(), "bias"),
        ("head.sentence_order".to_string(), "weight bias"),
    ];
    for layer in ["backbone.encoder.layers.0", "backbone.encoder.layers.1"] {
        for part in
            ["attention.query", "attention.key", "attention.value", "attention.output", "intermediate", "output"]
        {
            modules.push((format!("{layer}.{part}"), "weight bias"));
        }
        modules.push((format!("{layer}.attention_norm"), "gamma beta"));
        modules.push((format!("{layer}.output_norm"), "gamma beta"));
    }
    let leaves = |(module, leaves): &(String, &str)| {
        leaves.split(' ').map(|leaf| format!("{module}.{leaf}")).collect::<Vec<_>>()
    };
    modules.iter().flat_map(leaves).collect()
}

#[test]
fn the_model_finds_every_tensor() {
    let found = Weights::open(&fixture("weights/static/static_vars")).unwrap();
    for parameter in parameters() {
        let mut path = ModulePath::default();
        parameter.split('.').for_each(|word| path.enter(word, ""));
        let names = path.checkpoint_names(&FAMILY.tensors);
        assert!(names.iter().any(|name| found.get(name).is_some()), "{names:?}");
    }
    assert_eq!(
        parameters().len() + 1,
        found.names().count(),
        "but for the decoder's weight, every tensor is asked for"
    );
}
