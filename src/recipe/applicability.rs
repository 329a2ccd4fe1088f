//! Keys that mean something to some families, tasks, optimizers or kinds of data only.

use std::collections::BTreeSet;

use super::check::Checked;
use super::corpus::CorpusOptions;
use super::document::{self, Table};
use super::schema::{Optimizer, Recipe};
use super::words::{OptimizerName, TaskName};
use crate::models::{Corpora, FAMILIES};

/// Keys of [optimizer] that mean something to some optimizers only.
const OF_SOME_OPTIMIZERS: &[(&str, &[OptimizerName])] = &[
    ("betas", &[OptimizerName::AdamW, OptimizerName::Adam]),
    ("epsilon", &[OptimizerName::AdamW, OptimizerName::Adam, OptimizerName::Adagrad, OptimizerName::RmsProp]),
    ("layerwise_decay_mode", &[OptimizerName::AdamW]),
    ("initial_accumulator_value", &[OptimizerName::Adagrad]),
    ("rho", &[OptimizerName::RmsProp]),
    ("epsilon_in_root", &[OptimizerName::RmsProp]),
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
    "training.compact_vocabulary",
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
    "training.compact_vocabulary",
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

/// Keys of rows that make a step together.
const NOT_OF_ENDLESS: &[&str] = &["training.global_batch_size"];

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

/// Keys that have no effect, and with what.
pub struct Unused {
    pub keys: &'static [&'static str],
    pub with: &'static str,
    pub help: &'static str,
}

/// The keys that have no effect with the recipe's task and data, given or not.
pub fn idle(recipe: &Recipe) -> Vec<Unused> {
    let of = |keys, with, help| Unused { keys, with, help };
    let sets = "leave it out: it is for data sets";
    if recipe.task.name == TaskName::BidirectionalLm {
        return vec![
            of(NOT_OF_SAMPLES, "streams of sentences", sets),
            of(NOT_OF_STREAMS, "streams of sentences", sets),
            of(
                NOT_OF_ENDLESS,
                "streams of sentences",
                "leave it out: `streams.devices` says how many batches a step has",
            ),
            of(NOT_OF_SENTENCES, "files of sentences", "leave it out: it is for corpora of token ids"),
        ];
    }
    if recipe.model.architecture.reads_words() {
        let help = "leave it out: the sizes of an ELMo are its folder's, and beside its features there are only words";
        return vec![of(NOT_OF_WORDS, "the words of a tagger or reader", help)];
    }
    if !recipe.task.name.is_masked_lm() {
        return Vec::new();
    }
    let mut unused = vec![of(NOT_OF_SAMPLES, "samples for pre-training", sets)];
    let of_corpora = of(
        NOT_OF_CORPORA,
        "samples of `pretraining.corpora`, which are made as long as they are wanted",
        "leave it out: `training.max_steps`, `pretraining.split` and `pretraining.eval_iters` say how many there are",
    );
    if recipe.model.architecture.corpora == Corpora::Multilingual {
        let pairs = recipe.corpus.as_ref().and_then(CorpusOptions::pair).is_some();
        let (others, what) = if pairs { (NOT_OF_PAIRS, "pairs") } else { (NOT_OF_TEXT, "text of one language") };
        unused.push(of(NOT_OF_ERNIE_M, "the samples of \"ernie-m\"", "leave it out: it is for \"ernie\""));
        unused.push(of(others, what, "leave it out, or see what `corpus.languages` says"));
        unused.push(of_corpora);
        return unused;
    }
    match recipe.pretraining.as_ref().map(|settings| (settings.corpora.is_some(), settings.rows.is_some())) {
        Some((true, false)) => unused.push(of_corpora),
        Some((false, true)) => {
            let help = "leave it out: it is for `pretraining.corpora`";
            unused.push(of(NOT_OF_ROWS, "`pretraining.rows`, which are made already", help));
        }
        // Which is meant is not known.
        _ => {}
    }
    unused
}

/// Adds to `checked` the given keys that have no effect.
pub fn check(recipe: &Recipe, document: &Table, checked: &mut Checked) {
    let (family, task, optimizer) = (recipe.model.architecture, recipe.task.name, recipe.optimizer.name);
    let known = ["model.architecture", "task.name", "optimizer.name"].map(|key| !checked.flagged.contains(key));
    let [knows_family, knows_task, knows_optimizer] = known;
    let mut report = |key: &str, with: &str, help: &str| {
        let Some(node) = document::get(document, key) else { return };
        checked.push(Some(&node.place), &format!("`{key}` has no effect {with}"), help);
    };
    let meant_for = |names: &[&str], and: &str| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("leave it out: it is for {}", names.join(and))
    };
    if knows_family {
        let all: BTreeSet<&str> = FAMILIES.iter().flat_map(|family| family.keys).copied().flatten().copied().collect();
        for key in all.into_iter().filter(|key| !family.has_key(key)) {
            let others = FAMILIES.iter().filter(|other| other.has_key(key)).map(|other| other.name).collect::<Vec<_>>();
            report(key, &format!("with the architecture \"{}\"", family.name), &meant_for(&others, " and "));
        }
    }
    if knows_task {
        for (key, tasks) in OF_SOME_TASKS.iter().filter(|(_, of)| !of.contains(&task)) {
            let others: Vec<&str> = tasks.iter().map(|task| task.word()).collect();
            report(key, &format!("with the task \"{}\"", task.word()), &meant_for(&others, " and "));
        }
        for Unused { keys, with, help } in idle(recipe) {
            keys.iter().for_each(|key| report(key, &format!("on {with}"), help));
        }
    }
    if knows_optimizer {
        let [given, usual] = [&recipe.optimizer, &Optimizer::default()]
            .map(|optimizer| serde_json::to_value(optimizer).unwrap_or_default());
        for (key, optimizers) in OF_SOME_OPTIMIZERS.iter().filter(|(_, of)| !of.contains(&optimizer)) {
            // Only another value is the user's: a run's own recipe has every default written out.
            if given[key] != usual[key] {
                let others: Vec<&str> = optimizers.iter().map(|name| name.word()).collect();
                let with = format!("with the optimizer \"{}\"", optimizer.word());
                report(&format!("optimizer.{key}"), &with, &meant_for(&others, ", "));
            }
        }
    }
}
