//! Keys that mean something to some families, tasks, optimizers or kinds of data only.

use std::collections::BTreeSet;
use std::path::Path;

use super::check::Checked;
use super::corpus::CorpusOptions;
use super::document::{self, Table};
use super::schema::{Optimizer, Recipe};
use super::words::{LayerwiseDecayMode, OptimizerName, TaskName};
use crate::error::Problem;
use crate::models::{Corpora, FAMILIES};

/// A key of [optimizer], the optimizers that it means something to, and whether it is another than the default. (Only then is it the
/// user's: a run's own recipe has every default written out.)
type OptimizerKey = (&'static str, &'static [OptimizerName], fn(&Optimizer, &Optimizer) -> bool);

const OF_SOME_OPTIMIZERS: &[OptimizerKey] = &[
    ("betas", &[OptimizerName::AdamW, OptimizerName::Adam], |given, default| given.betas != default.betas),
    (
        "epsilon",
        &[OptimizerName::AdamW, OptimizerName::Adam, OptimizerName::Adagrad, OptimizerName::RmsProp],
        |given, default| given.epsilon != default.epsilon,
    ),
    ("layerwise_decay_mode", &[OptimizerName::AdamW], |given, _| {
        given.layerwise_decay_mode == LayerwiseDecayMode::AdamWdl
    }),
    ("initial_accumulator_value", &[OptimizerName::Adagrad], |given, _| given.initial_accumulator_value != 0.0),
    ("rho", &[OptimizerName::RmsProp], |given, default| given.rho != default.rho),
    ("epsilon_in_root", &[OptimizerName::RmsProp], |given, _| given.epsilon_in_root),
];

/// Keys that mean something to some tasks only.
const OF_SOME_TASKS: &[(&str, &[TaskName])] = &[
    ("model.config.num_languages", MASKED_LM),
    ("task.label_all_pieces", &[TaskName::TokenClassification]),
    ("task.chunk_counting", &[TaskName::TokenClassification]),
    ("model.segmentation", &[TaskName::QuestionAnswering]),
    ("task.crf", &[TaskName::TokenClassification]),
    ("task.bigru_num", &[TaskName::TokenClassification]),
    ("task.grnn_hidden_dim", &[TaskName::TokenClassification]),
    ("features", WITH_FEATURES),
    ("task.reader_hidden_size", &[TaskName::QuestionAnswering]),
    ("task.drop_rate", &[TaskName::QuestionAnswering]),
    ("task.doc_stride", &[TaskName::QuestionAnswering]),
    ("task.max_query_length", &[TaskName::QuestionAnswering]),
    ("task.max_answer_length", &[TaskName::QuestionAnswering]),
    ("task.n_best_size", &[TaskName::QuestionAnswering]),
    ("task.version_2_with_negative", &[TaskName::QuestionAnswering]),
    ("task.null_score_diff_threshold", &[TaskName::QuestionAnswering]),
    ("corpus.dev_every", &[TaskName::BidirectionalLm]),
    ("corpus.shard_sentences", &[TaskName::BidirectionalLm]),
    ("corpus.min_count", &[TaskName::BidirectionalLm]),
    ("corpus.max_vocab_size", &[TaskName::BidirectionalLm]),
];

/// Tasks whose tokens may come with their languages.
const MASKED_LM: &[TaskName] = &[
    TaskName::MaskedLm,
    TaskName::TranslationMaskedLm,
    TaskName::CrossAttentionMaskedLm,
    TaskName::BackTranslationMaskedLm,
];

/// Tasks whose words may come with features.
const WITH_FEATURES: &[TaskName] = &[TaskName::TokenClassification, TaskName::QuestionAnswering];

/// Keys of an ELMo itself, and of encoders.
const NOT_OF_WORDS: &[&str] = &[
    "model.config.hidden_size",
    "model.config.num_hidden_layers",
    "model.config.projection_dim",
    "model.config.cell_clip",
    "model.config.proj_clip",
    "model.config.use_skip_connections",
    "model.config.dropout",
    "model.config.embedding",
    "optimizer.layerwise_decay",
    "optimizer.layerwise_decay_mode",
    "device.recompute",
];

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
    "model.replacements",
    "model.config.word_emb_dim",
    "model.config.initializer_range",
    "optimizer.emb_learning_rate",
    "optimizer.layerwise_decay",
    "optimizer.layerwise_decay_mode",
    "device.recompute",
];

const CORPORA: &str = "samples of `pretraining.corpora`, which are made as long as they are wanted";
const CORPORA_HELP: &str =
    "leave it out: `training.max_steps`, `pretraining.split` and `pretraining.eval_iters` say how many there are";

/// Keys of corpora of token ids.
const NOT_OF_SENTENCES: &[&str] = &["corpus.dictionary", "corpus.max_word_tokens", "corpus.layout"];

/// Keys of corpora, by which samples are made.
pub const NOT_OF_ROWS: &[&str] = &[
    "pretraining.weights",
    "pretraining.split",
    "pretraining.masking",
    "pretraining.max_ngrams",
    "pretraining.short_seq_prob",
    "pretraining.eval_iters",
];

/// Keys of ERNIE 1.0's corpora and samples, which have whole words, and of rows.
const NOT_OF_ERNIE_M: &[&str] = &[
    "corpus.words",
    "corpus.word_delimiter",
    "corpus.dictionary",
    "corpus.max_word_tokens",
    "pretraining.rows",
    "pretraining.weights",
    "pretraining.masking",
    "pretraining.max_ngrams",
    "pretraining.short_seq_prob",
];

/// Keys of documents.
const NOT_OF_PAIRS: &[&str] =
    &["corpus.json_key", "corpus.document_delimiter", "corpus.min_document_length", "corpus.sentences"];

/// Keys of pairs.
const NOT_OF_TEXT: &[&str] = &["corpus.columns"];

/// A key that has no effect, and with what.
pub struct UnusedKey {
    pub key: &'static str,
    pub with: &'static str,
    pub help: &'static str,
}

/// The keys that have no effect with the recipe's task and data, given or not.
pub fn idle(recipe: &Recipe) -> Vec<UnusedKey> {
    let of_streams = recipe.task.name == TaskName::BidirectionalLm;
    let of_words = recipe.model.architecture.reads_words();
    if !recipe.task.name.is_masked_lm() && !of_streams && !of_words {
        return Vec::new();
    }
    let of = |keys: &'static [&'static str], with, help| keys.iter().map(move |key| UnusedKey { key, with, help });
    let samples = of(NOT_OF_SAMPLES, "samples for pre-training", "leave it out: it is for data sets");
    if of_streams {
        let sentences = "leave it out: it is for data sets";
        return of(NOT_OF_SAMPLES, "streams of sentences", sentences)
            .chain(of(NOT_OF_STREAMS, "streams of sentences", sentences))
            .chain(of(NOT_OF_SENTENCES, "files of sentences", "leave it out: it is for corpora of token ids"))
            .collect();
    }
    if of_words {
        let help = "leave it out: the sizes of an ELMo are its folder's, and beside its features there are only words";
        return of(NOT_OF_WORDS, "the words of a tagger or reader", help).collect();
    }
    if recipe.model.architecture.corpora == Corpora::Multilingual {
        let pairs = recipe.corpus.as_ref().and_then(CorpusOptions::pair).is_some();
        let (others, what) = if pairs { (NOT_OF_PAIRS, "pairs") } else { (NOT_OF_TEXT, "text of one language") };
        return samples
            .chain(of(NOT_OF_ERNIE_M, "the samples of \"ernie-m\"", "leave it out: it is for \"ernie\""))
            .chain(of(others, what, "leave it out, or see what `corpus.languages` says"))
            .chain(of(NOT_OF_CORPORA, CORPORA, CORPORA_HELP))
            .collect();
    }
    let settings = recipe.pretraining.as_ref();
    let given = settings.map(|settings| (settings.corpora.is_some(), settings.rows.is_some()));
    let more = match given {
        Some((true, false)) => of(NOT_OF_CORPORA, CORPORA, CORPORA_HELP),
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

/// Adds to `checked` the given keys that have no effect.
pub fn check(recipe: &Recipe, document: &Table, checked: &mut Checked, file: &Path) {
    let (family, task) = (recipe.model.architecture, recipe.task.name);
    if !checked.flagged.contains("model.architecture") {
        let all: BTreeSet<&str> = FAMILIES.iter().flat_map(|family| family.keys).copied().flatten().copied().collect();
        for key in all.into_iter().filter(|key| !family.has_key(key)) {
            let others = FAMILIES.iter().filter(|other| other.has_key(key)).map(|other| other.name).collect::<Vec<_>>();
            without_effect(document, checked, key, &format!("the architecture \"{}\"", family.name), &others);
        }
    }
    if !checked.flagged.contains("task.name") {
        for (key, tasks) in OF_SOME_TASKS.iter().filter(|(_, of)| !of.contains(&task)) {
            let names: Vec<&str> = tasks.iter().map(|task| task.word()).collect();
            without_effect(document, checked, key, &format!("the task \"{}\"", task.word()), &names);
        }
    }
    if !checked.flagged.contains("task.name") {
        for UnusedKey { key, with, help } in idle(recipe) {
            let Some(node) = document::get(document, key) else { continue };
            let problem = node.place.problem(format!("`{key}` has no effect on {with}"));
            checked.problems.push(Some(&node.place), problem.help(help));
        }
    }
    if !checked.flagged.contains("optimizer.name") {
        check_optimizer(&recipe.optimizer, document, checked, file);
    }
}

/// Reports `key`, if it is given: it has no effect with `what`, it is for `others`.
fn without_effect(document: &Table, checked: &mut Checked, key: &str, what: &str, others: &[&str]) {
    let Some(node) = document::get(document, key) else { return };
    let names: Vec<String> = others.iter().map(|name| format!("\"{name}\"")).collect();
    let problem = node.place.problem(format!("`{key}` has no effect with {what}"));
    let help = format!("leave it out: it is for {}", names.join(" and "));
    checked.problems.push(Some(&node.place), problem.help(help));
}

/// Keys of [optimizer] that the chosen one does not use.
fn check_optimizer(optimizer: &Optimizer, document: &Table, checked: &mut Checked, file: &Path) {
    let default = Optimizer::default();
    for (key, optimizers, is_given) in OF_SOME_OPTIMIZERS {
        let path = format!("optimizer.{key}");
        if optimizers.contains(&optimizer.name) || checked.flagged.contains(&path) || !is_given(optimizer, &default) {
            continue;
        }
        let place = document::get(document, &path).map(|node| &node.place);
        let what = format!("`{path}` has no effect with the optimizer \"{}\"", optimizer.name.word());
        let names: Vec<String> = optimizers.iter().map(|name| format!("\"{}\"", name.word())).collect();
        let problem = place.map_or_else(|| Problem::new(&what).in_file(file), |place| place.problem(&what));
        checked.problems.push(place, problem.help(format!("leave it out: it is for {}", names.join(", "))));
    }
}
