//! Keys that mean something to some kinds of data only.

use super::schema::Recipe;
use super::words::TaskName;

/// Keys of data sets.
const NOT_OF_SAMPLES: &[&str] = &[
    "data.root",
    "data.protocol",
    "data.train_languages",
    "data.eval_languages",
    "data.group_by_length",
    "data.empty_text",
    "data.cache",
    "evaluation.batch_size",
];

/// Keys of data sets and of rows that are made already.
const NOT_OF_CORPORA: &[&str] =
    &["data.max_train_rows", "data.max_eval_rows", "data.bad_rows", "pretraining.dev_rows", "training.epochs"];

/// Keys of data sets and samples, and of the encoders that read them.
const NOT_OF_STREAMS: &[&str] = &[
    "data.max_seq_length",
    "data.max_train_rows",
    "data.max_eval_rows",
    "data.bad_rows",
    "optimizer.layerwise_decay",
    "optimizer.layerwise_decay_mode",
    "device.recompute",
];

/// Keys of corpora, by which samples are made.
pub const NOT_OF_ROWS: &[&str] = &[
    "pretraining.weights",
    "pretraining.split",
    "pretraining.masking",
    "pretraining.max_ngrams",
    "pretraining.short_seq_prob",
    "pretraining.eval_iters",
];

/// A key that has no effect, and with what.
pub struct Idle {
    pub key: &'static str,
    pub with: &'static str,
    pub help: &'static str,
}

/// The keys that have no effect with the recipe's task and data, given or not.
pub fn idle(recipe: &Recipe) -> Vec<Idle> {
    let of_streams = recipe.task.name == TaskName::BidirectionalLm;
    if !recipe.task.name.hides_tokens() && !of_streams {
        return Vec::new();
    }
    let of = |keys: &'static [&'static str], with, help| keys.iter().map(move |key| Idle { key, with, help });
    let samples = of(NOT_OF_SAMPLES, "samples for pre-training", "leave it out: it is for data sets");
    if of_streams {
        let sentences = "leave it out: it is for data sets";
        return of(NOT_OF_SAMPLES, "streams of sentences", sentences)
            .chain(of(NOT_OF_STREAMS, "streams of sentences", sentences))
            .collect();
    }
    let settings = recipe.pretraining.as_ref();
    let given = settings.map(|settings| (settings.corpora.is_some(), settings.rows.is_some()));
    let more = match given {
        Some((true, false)) => of(
            NOT_OF_CORPORA,
            "samples of `pretraining.corpora`, which are made as long as they are wanted",
            "leave it out: `training.max_steps`, `pretraining.split` and `pretraining.eval_iters` say how many there are",
        ),
        Some((false, true)) => of(
            NOT_OF_ROWS,
            "`pretraining.rows`, which are made already",
            "leave it out: it is for `pretraining.corpora`",
        ),
        // Which is meant is not known.
        _ => of(&[], "", ""),
    };
    samples.chain(more).collect()
}
