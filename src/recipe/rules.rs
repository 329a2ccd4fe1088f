//! Rules that hold between keys, which no schema of single keys can say.

mod addresses;
mod pretraining;
mod training;

use super::applicability;
use super::check::Checked;
use super::document::{self, Table, Value};
use super::schema::Recipe;
use super::task::QaOptions;
use super::words::{Backend, TaskName};
use crate::models::Corpora;
use crate::tokenize::PairEncoding;

/// A rule: the keys it is about, and what is wrong (with what would be right) where it is broken.
type Rule = (&'static [&'static str], fn(&Recipe) -> Option<(String, &'static str)>);

const RULES: &[Rule] = &[
    (&["training.max_steps", "training.epochs"], |recipe| {
        (recipe.training.epochs.is_none() && recipe.training.max_steps.is_none()).then(|| {
            let what = "neither `training.epochs` nor `training.max_steps` is given";
            (what.to_string(), "give exactly one of `epochs` and `max_steps` in [training]")
        })
    }),
    (&["model.tokenizer", "model.weights"], |recipe| {
        let features = recipe.features.as_ref().and_then(|features| features.elmo.as_ref());
        (recipe.model.tokenizer.is_none() && recipe.model.weights.is_none() && features.is_none()).then(|| {
            let what = "there is no tokenizer: neither `model.tokenizer` nor `model.weights` is given";
            (what.to_string(), "give the folder that holds the tokenizer's files as `tokenizer` in [model]")
        })
    }),
    (&["data.dataset", "task.name"], |recipe| {
        let needs_none = recipe.task.name.is_masked_lm() || recipe.task.name == TaskName::BidirectionalLm;
        match (&recipe.data.dataset, needs_none) {
            (None, false) => Some((
                "`data.dataset` is missing".to_string(),
                "give it in [data], for example `dataset = \"xnli\"`: a card's name, or a file",
            )),
            (Some(_), true) => Some((
                format!("`data.dataset` has no effect with the task \"{}\"", recipe.task.name.word()),
                "leave it out: what is learnt from is given in [pretraining] or [streams]",
            )),
            _ => None,
        }
    }),
    (&["task.name", "model.architecture"], |recipe| {
        let (task, family) = (recipe.task.name, recipe.model.architecture);
        let fits = match task {
            TaskName::BidirectionalLm => family.corpora == Corpora::Streams,
            TaskName::TokenClassification | TaskName::QuestionAnswering => true,
            _ => !family.reads_words(),
        };
        (!fits).then(|| {
            let what = format!("\"{}\" cannot be trained with the architecture \"{}\"", task.word(), family.name);
            (
                what,
                "\"bidirectional-lm\" goes with \"elmo\", which \"token-classification\" and \"question-answering\" go with too, but no \
                 other task",
            )
        })
    }),
    (&["model.config.num_attention_heads", "model.config.hidden_size"], |recipe| {
        let (hidden, heads) = (recipe.model.config.hidden_size?, recipe.model.config.num_attention_heads?);
        (hidden % heads != 0).then(|| {
            let what = format!("`hidden_size` {hidden} cannot be divided among `num_attention_heads` {heads}");
            (what, "make hidden_size a multiple of num_attention_heads")
        })
    }),
    (&["data.max_seq_length", "model.config.max_position_embeddings"], |recipe| {
        let rows = recipe.model.config.max_position_embeddings?;
        let usable = rows - recipe.model.architecture.position_offset();
        let length = recipe.data.max_seq_length;
        (length > usable).then(|| {
            let what =
                format!("`data.max_seq_length` is {length}, but {rows} position embeddings hold only {usable} tokens");
            (what, "lower data.max_seq_length, or raise max_position_embeddings in [model.config]")
        })
    }),
    (&["evaluation.select_on", "task.name"], |recipe| {
        let (select_on, task) = (recipe.evaluation.select_on, recipe.task.name);
        let of_answers = task == TaskName::QuestionAnswering && matches!(select_on.figure(), "accuracy" | "rouge_l");
        let (figure, help) = match select_on.figure() {
            "loss" => return None,
            figure if of_answers || task.facts().figures.contains(&figure) => return None,
            "f1" => (
                "F1",
                "F1 is of the chunks of token-classification, the answers of question-answering and the labels of \
                 multi-label-classification; choose another figure",
            ),
            "accuracy" => ("accuracy", "choose \"dev.pearson\", \"dev.spearman\" or the loss"),
            "exact_match" => ("exact match", OF_ANSWERS),
            "rouge_l" => ("Rouge-L", OF_ANSWERS),
            _ => ("correlation", "it is of the scores of regression; choose another figure"),
        };
        Some((
            format!("`evaluation.select_on` is \"{}\", but \"{}\" has no {figure}", select_on.word(), task.word()),
            help,
        ))
    }),
    // A window has to hold a token besides those it shares with the one before.
    (&["task.doc_stride", "task.max_query_length", "data.max_seq_length", "task.name"], |recipe| {
        let answering: QaOptions = recipe.task.options();
        let special = recipe.model.architecture.added_to_pair();
        let taken = answering.doc_stride.saturating_add(answering.max_query_length).saturating_add(special);
        let length = recipe.data.max_seq_length;
        (recipe.task.name == TaskName::QuestionAnswering && taken >= length).then(|| {
            let what = format!(
                "{length} tokens (`data.max_seq_length`) have no room for {} of a question, {special} special ones and {} that windows share",
                answering.max_query_length, answering.doc_stride
            );
            (what, "raise max_seq_length in [data], or lower doc_stride or max_query_length in [task]")
        })
    }),
    (&["model.pair_encoding", "task.name"], |recipe| {
        let apart = recipe.model.pair_encoding == Some(PairEncoding::Apart);
        (recipe.task.name == TaskName::QuestionAnswering && apart).then(|| {
            let what = "`model.pair_encoding` is \"apart\", but a question and its passage are one row";
            (what.to_string(), "leave it out")
        })
    }),
    (&["task.version_2_with_negative", "model.architecture"], |recipe| {
        let negative = recipe.task.version_2_with_negative == Some(true);
        let family = recipe.model.architecture;
        (negative && family.reads_words()).then(|| {
            let what =
                format!("`task.version_2_with_negative` cannot be followed with the architecture \"{}\"", family.name);
            (what, "its reader finds an answer in every passage; leave it out, or choose an encoder")
        })
    }),
    (&["task.label_all_pieces", "task.crf"], |recipe| {
        (recipe.task.crf == Some(true) && recipe.task.label_all_pieces == Some(true)).then(|| {
            let what = "`task.label_all_pieces` has no effect with `task.crf`, which has one tag a word";
            (what.to_string(), "leave one of them out")
        })
    }),
    (&["task.grnn_hidden_dim", "task.bigru_num"], |recipe| {
        (recipe.task.grnn_hidden_dim.is_some() && recipe.task.bigru_num == Some(0)).then(|| {
            let what = "`task.grnn_hidden_dim` has no effect where `task.bigru_num` is 0";
            (what.to_string(), "leave it out, or give the number of layers as bigru_num in [task]; LAC's demo has 2")
        })
    }),
    (&["device.devices", "device.backend"], |recipe| {
        let devices = &recipe.device.devices;
        let backend = recipe.device.backend;
        if matches!(backend, Backend::Flex | Backend::NdArray) && devices != &[0] {
            let what = format!("`device.devices` is {devices:?}, but \"{}\" has only the device 0", backend.word());
            return Some((what, "leave `devices` out; `threads` in [device] says how many cores are used"));
        }
        let twice = devices.iter().enumerate().find(|(index, device)| devices[..*index].contains(device))?.1;
        Some((format!("`device.devices` names the device {twice} twice"), "name each device once"))
    }),
];

const OF_ANSWERS: &str = "it is of the answers of question-answering; choose the accuracy or the loss";

/// Two keys of a section, of which a recipe has one.
const EITHER: [(&str, &str, &str); 2] = [("training", "epochs", "max_steps"), ("pretraining", "corpora", "rows")];

/// What a file or an argument that gives a key takes the place of where that came from a recipe below, so that
/// `training.max_steps=100` works on a recipe that counts in epochs: the other of two keys, and what has no effect with this one.
const DISPLACED: [(&str, &[&str]); 5] = [
    ("training.epochs", &["training.max_steps"]),
    ("training.max_steps", &["training.epochs"]),
    ("pretraining.corpora", &["pretraining.rows", "pretraining.dev_rows"]),
    ("pretraining.rows", &["pretraining.corpora"]),
    ("pretraining.rows", applicability::NOT_OF_ROWS),
];

/// Takes out of `base` what `layer` replaces.
pub fn displace(base: &mut Table, layer: &Table) {
    let given = DISPLACED.iter().filter(|(key, _)| document::get(layer, key).is_some());
    for (section, key) in given.flat_map(|(_, keys)| *keys).filter_map(|key| key.split_once('.')) {
        if let Some(Value::Table(table)) = base.get_mut(section).map(|node| &mut node.value) {
            table.remove(key);
        }
    }
}

/// Checks all rules and adds what is wrong to `checked`. A rule about a key that already has a problem is passed over.
pub fn check(recipe: &Recipe, document: &Table, checked: &mut Checked) {
    // Whether both are there does not depend on their values being right, so this does not ask what is flagged.
    for (section, one, other) in EITHER {
        let node = |key: &str| document::get(document, &format!("{section}.{key}"));
        if let (Some(first), Some(second)) = (node(one), node(other)) {
            let place = if first.key.order() > second.key.order() { &first.key } else { &second.key };
            let what = format!("both `{section}.{one}` and `{section}.{other}` are given");
            let help = format!("give exactly one of `{one}` and `{other}` in [{section}]");
            checked.push(Some(place), &what, &help);
        }
    }
    applicability::check(recipe, document, checked);
    for (keys, broken) in RULES.iter().chain(addresses::RULES).chain(pretraining::RULES).chain(training::RULES) {
        if keys.iter().any(|key| checked.flagged.contains(*key)) {
            continue;
        }
        let Some((what, help)) = broken(recipe) else { continue };
        let place = keys.iter().find_map(|key| document::get(document, key)).map(|node| &node.place);
        checked.push(place, &what, help);
    }
}
