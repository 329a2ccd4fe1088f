//! Rules that hold between keys, which no schema of single keys can say.

use std::path::Path;

use super::check::Checked;
use super::document::{self, Table};
use super::effect;
use super::schema::{Optimizer, Recipe};
use super::words::{Architecture, Backend, ClipBy, OptimizerName, PairEncoding, ScheduleName, SelectOn, TaskName};
use crate::error::Problem;
use crate::tasks::Answering;

/// A rule: the keys it is about, and what is wrong (with what would be right) where it is broken.
struct Rule {
    keys: &'static [&'static str],
    broken: fn(&Recipe) -> Option<(String, &'static str)>,
}

const RULES: &[Rule] = &[
    Rule { keys: &["training.max_steps", "training.epochs"], broken: no_duration },
    Rule { keys: &["model.tokenizer", "model.weights"], broken: tokenizer },
    Rule { keys: &["data.dataset", "task.name"], broken: dataset },
    Rule { keys: &["pretraining", "task.name"], broken: corpora },
    Rule { keys: &["task.name", "model.architecture"], broken: task_of_another_family },
    Rule { keys: &["streams", "task.name"], broken: streams },
    Rule { keys: &["evaluation.test", "streams.test"], broken: test_of_streams },
    Rule { keys: &["evaluation.select_on", "streams.dev", "streams.test"], broken: selected_on_nothing },
    Rule { keys: &["task.name", "model.architecture"], broken: family_that_hides_tokens },
    Rule { keys: &["pretraining.corpora", "pretraining.rows", "task.name"], broken: nothing_to_learn_from },
    Rule { keys: &["evaluation.test", "pretraining.rows"], broken: test_of_rows },
    Rule { keys: &["evaluation.select_on", "pretraining.rows"], broken: selected_on_test_of_rows },
    Rule { keys: &["pretraining.weights", "pretraining.corpora"], broken: corpus_weights },
    Rule {
        keys: &["corpus.min_count", "corpus.max_vocab_size", "corpus.output", "model.tokenizer", "task.name"],
        broken: vocabulary_is_given,
    },
    Rule { keys: &["model.config.num_attention_heads", "model.config.hidden_size"], broken: heads },
    Rule { keys: &["data.max_seq_length", "model.config.max_position_embeddings"], broken: positions },
    Rule { keys: &["evaluation.select_on", "task.name"], broken: figures_of_other_tasks },
    Rule {
        keys: &["task.doc_stride", "task.max_query_length", "data.max_seq_length", "task.name"],
        broken: windows_stand_still,
    },
    Rule { keys: &["model.pair_encoding", "task.name"], broken: windows_apart },
    Rule { keys: &["task.version_2_with_negative", "model.architecture"], broken: unanswered_words },
    Rule { keys: &["schedule.min_learning_rate", "optimizer.learning_rate"], broken: learning_rates },
    Rule { keys: &["schedule.min_learning_rate", "schedule.name"], broken: min_learning_rate_unused },
    Rule { keys: &["schedule.decay_steps", "schedule.name"], broken: decay_steps_unused },
    Rule { keys: &["schedule.warmup_steps", "schedule.decay_steps", "training.max_steps"], broken: warmup },
    Rule { keys: &["optimizer.clip_by", "optimizer.max_grad_norm"], broken: clip_by_unused },
    Rule { keys: &["optimizer.weight_decay", "optimizer.name"], broken: weight_decay_unused },
    Rule { keys: &["optimizer.l2", "optimizer.name"], broken: l2_unused },
    Rule { keys: &["features.elmo_l2_coef", "optimizer.name"], broken: elmo_l2_unused },
    Rule { keys: &["task.label_all_pieces", "task.crf"], broken: pieces_of_a_crf },
    Rule { keys: &["optimizer.crf_learning_rate", "task.crf"], broken: crf_rate_unused },
    Rule { keys: &["task.grnn_hidden_dim", "task.bigru_num"], broken: width_of_no_layer },
    Rule { keys: &["optimizer.epsilon", "optimizer.name", "optimizer.initial_accumulator_value"], broken: epsilon },
    Rule { keys: &["device.devices", "device.backend"], broken: devices },
];

/// Two keys of a section, of which a recipe has one. A file or an argument that gives one of them takes the place of the other where
/// that came from a recipe below, so that `training.max_steps=100` works on a recipe that counts in epochs.
const EITHER: [(&str, &str, &str); 2] = [("training", "epochs", "max_steps"), ("pretraining", "corpora", "rows")];

/// Takes out of `base` what `layer` replaces by giving the other of two keys, and what has no effect with that one.
pub fn displace(base: &mut Table, layer: &Table) {
    let companions = [("pretraining.rows", effect::NOT_OF_ROWS), ("pretraining.corpora", &["pretraining.dev_rows"])];
    for (_, keys) in companions.iter().filter(|(given, _)| document::get(layer, given).is_some()) {
        if let Some(document::Value::Table(table)) = base.get_mut("pretraining").map(|node| &mut node.value) {
            table.retain(|key, _| !keys.contains(&format!("pretraining.{key}").as_str()));
        }
    }
    for (section, one, other) in EITHER {
        for (given, displaced) in [(one, other), (other, one)] {
            if document::get(layer, &format!("{section}.{given}")).is_none() {
                continue;
            }
            if let Some(document::Value::Table(table)) = base.get_mut(section).map(|node| &mut node.value) {
                table.remove(displaced);
            }
        }
    }
}

/// Checks all rules and adds what is wrong to `checked`. A rule about a key that already has a problem is passed over.
pub fn check(recipe: &Recipe, document: &Table, checked: &mut Checked, file: &Path) {
    // Whether both are there does not depend on their values being right, so this does not ask what is flagged.
    for (section, one, other) in EITHER {
        let node = |key: &str| document::get(document, &format!("{section}.{key}"));
        if let (Some(first), Some(second)) = (node(one), node(other)) {
            let place = if first.key.order() > second.key.order() { &first.key } else { &second.key };
            let what = format!("both `{section}.{one}` and `{section}.{other}` are given");
            let help = format!("give exactly one of `{one}` and `{other}` in [{section}]");
            checked.problems.push(Some(place), place.problem(what).help(help));
        }
    }
    effect::check(recipe, document, checked, file);
    for rule in RULES {
        if rule.keys.iter().any(|key| checked.flagged.contains(*key)) {
            continue;
        }
        let Some((what, help)) = (rule.broken)(recipe) else { continue };
        let place = rule.keys.iter().find_map(|key| document::get(document, key)).map(|node| &node.place);
        let problem = match place {
            Some(place) => place.problem(what),
            None => Problem::new(what).in_file(file),
        };
        checked.problems.push(place, problem.help(help));
    }
}

fn no_duration(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.training.epochs.is_none() && recipe.training.max_steps.is_none()).then(|| {
        let what = "neither `training.epochs` nor `training.max_steps` is given";
        (what.to_string(), "give exactly one of `epochs` and `max_steps` in [training]")
    })
}

fn tokenizer(recipe: &Recipe) -> Option<(String, &'static str)> {
    let features = recipe.features.as_ref().and_then(|features| features.elmo.as_ref());
    (recipe.model.tokenizer.is_none() && recipe.model.weights.is_none() && features.is_none()).then(|| {
        let what = "there is no tokenizer: neither `model.tokenizer` nor `model.weights` is given";
        (what.to_string(), "give the folder that holds the tokenizer's files as `tokenizer` in [model]")
    })
}

fn figures_of_other_tasks(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (select_on, task) = (recipe.evaluation.select_on, recipe.task.name);
    let (figure, help) = match select_on {
        SelectOn::DevF1 | SelectOn::TestF1 if !task.has_f1() => (
            "F1",
            "F1 is of the chunks of token-classification and the answers of question-answering; choose the accuracy or the loss",
        ),
        SelectOn::DevExactMatch | SelectOn::TestExactMatch if task != TaskName::QuestionAnswering => {
            ("exact match", "it is of the answers of question-answering; choose the accuracy or the loss")
        }
        SelectOn::DevRougeL | SelectOn::TestRougeL if task != TaskName::QuestionAnswering => {
            ("Rouge-L", "it is of the answers of question-answering; choose the accuracy or the loss")
        }
        _ => return None,
    };
    Some((format!("`evaluation.select_on` is \"{}\", but \"{}\" has no {figure}", select_on.word(), task.word()), help))
}

/// A window has to hold a token besides those it shares with the one before.
fn windows_stand_still(recipe: &Recipe) -> Option<(String, &'static str)> {
    let answering = Answering::from(&recipe.task);
    let special = match recipe.model.architecture {
        Architecture::ErnieM => 4,
        Architecture::Ernie | Architecture::RemBert => 3,
        Architecture::Elmo => 0,
    };
    let taken = answering.doc_stride.saturating_add(answering.max_query_length).saturating_add(special);
    let length = recipe.data.max_seq_length;
    (recipe.task.name == TaskName::QuestionAnswering && taken >= length).then(|| {
        let what = format!(
            "{length} tokens (`data.max_seq_length`) have no room for {} of a question, {special} special ones and {} that windows share",
            answering.max_query_length, answering.doc_stride
        );
        (what, "raise max_seq_length in [data], or lower doc_stride or max_query_length in [task]")
    })
}

fn windows_apart(recipe: &Recipe) -> Option<(String, &'static str)> {
    let apart = recipe.model.pair_encoding == Some(PairEncoding::Apart);
    (recipe.task.name == TaskName::QuestionAnswering && apart).then(|| {
        let what = "`model.pair_encoding` is \"apart\", but a question and its passage are one row";
        (what.to_string(), "leave it out")
    })
}

fn unanswered_words(recipe: &Recipe) -> Option<(String, &'static str)> {
    let negative = recipe.task.version_2_with_negative == Some(true);
    (negative && recipe.model.architecture == Architecture::Elmo).then(|| {
        let what = "`task.version_2_with_negative` cannot be followed with the architecture \"elmo\"";
        (what.to_string(), "its reader finds an answer in every passage; leave it out, or choose an encoder")
    })
}

fn dataset(recipe: &Recipe) -> Option<(String, &'static str)> {
    let needs_none = recipe.task.name.hides_tokens() || recipe.task.name == TaskName::BidirectionalLm;
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
}

fn corpora(recipe: &Recipe) -> Option<(String, &'static str)> {
    match (&recipe.pretraining, recipe.task.name.hides_tokens()) {
        (None, true) => Some((
            format!("the task \"{}\" has no [pretraining]", recipe.task.name.word()),
            "name what is learnt from: [pretraining], corpora = [\"data/corpus/news\"] or rows = [\"data/train_filelist\"]",
        )),
        (Some(_), false) => Some((
            format!("[pretraining] has no effect with the task \"{}\"", recipe.task.name.word()),
            "leave it out, or choose \"masked-lm\" or \"pre-training\"",
        )),
        _ => None,
    }
}

fn task_of_another_family(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (task, family) = (recipe.task.name, recipe.model.architecture);
    let fits = match task {
        TaskName::BidirectionalLm => family == Architecture::Elmo,
        TaskName::TokenClassification | TaskName::QuestionAnswering => true,
        TaskName::SequenceClassification
        | TaskName::MaskedLm
        | TaskName::TranslationMaskedLm
        | TaskName::CrossAttentionMaskedLm
        | TaskName::BackTranslationMaskedLm
        | TaskName::PreTraining => family != Architecture::Elmo,
    };
    (!fits).then(|| {
        let what = format!("\"{}\" cannot be trained with the architecture \"{}\"", task.word(), family.word());
        (
            what,
            "\"bidirectional-lm\" goes with \"elmo\", which \"token-classification\" and \"question-answering\" go with too, but no \
             other task",
        )
    })
}

fn streams(recipe: &Recipe) -> Option<(String, &'static str)> {
    match (&recipe.streams, recipe.task.name == TaskName::BidirectionalLm) {
        (None, true) => Some((
            "the task \"bidirectional-lm\" has no [streams]".to_string(),
            "name the sentences: [streams], train = [\"data/train/*\"]",
        )),
        (Some(_), false) => Some((
            format!("[streams] has no effect with the task \"{}\"", recipe.task.name.word()),
            "leave it out, or choose \"bidirectional-lm\"",
        )),
        _ => None,
    }
}

fn test_of_streams(recipe: &Recipe) -> Option<(String, &'static str)> {
    let streams = recipe.streams.as_ref()?;
    (recipe.evaluation.test && streams.test.is_none()).then(|| {
        ("`evaluation.test` has nothing to read".to_string(), "give the files as `test` in [streams], or leave it out")
    })
}

fn selected_on_nothing(recipe: &Recipe) -> Option<(String, &'static str)> {
    let streams = recipe.streams.as_ref()?;
    let select_on = recipe.evaluation.select_on;
    let is_test = matches!(select_on, SelectOn::TestAccuracy | SelectOn::TestLoss);
    (is_test && streams.test.is_none()).then(|| {
        let what = format!("`evaluation.select_on` is \"{}\", but `streams.test` is not given", select_on.word());
        (what, "give the files as `test` in [streams], or choose by \"dev.loss\"")
    })
}

fn family_that_hides_tokens(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (task, family) = (recipe.task.name, recipe.model.architecture);
    if task.reads_translations() && family != Architecture::Elmo {
        let what = format!("\"{}\" cannot be trained yet", task.word());
        return Some((
            what,
            "the model can (\"ernie-m\"), but there are no samples of texts with translations to train it on",
        ));
    }
    (task.hides_tokens() && !matches!(family, Architecture::Ernie | Architecture::Elmo)).then(|| {
        let what = format!("\"{}\" cannot be trained with the architecture \"{}\" yet", task.word(), family.word());
        (what, "it is there for \"ernie\"")
    })
}

fn nothing_to_learn_from(recipe: &Recipe) -> Option<(String, &'static str)> {
    let settings = recipe.pretraining.as_ref().filter(|_| recipe.task.name.hides_tokens())?;
    (settings.corpora.is_none() && settings.rows.is_none()).then(|| {
        let what = "neither `pretraining.corpora` nor `pretraining.rows` is given";
        (
            what.to_string(),
            "give exactly one of them in [pretraining]: corpora that `kiln prepare` made, or rows of the 2019 format",
        )
    })
}

fn has_rows(recipe: &Recipe) -> bool {
    recipe.pretraining.as_ref().is_some_and(|settings| settings.rows.is_some())
}

fn test_of_rows(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.evaluation.test && has_rows(recipe)).then(|| {
        let what = "`evaluation.test` has no effect on `pretraining.rows`, which have no test part";
        (what.to_string(), "leave it out: `pretraining.dev_rows` are evaluated")
    })
}

fn selected_on_test_of_rows(recipe: &Recipe) -> Option<(String, &'static str)> {
    let select_on = recipe.evaluation.select_on;
    (matches!(select_on, SelectOn::TestAccuracy | SelectOn::TestLoss) && has_rows(recipe)).then(|| {
        let what =
            format!("`evaluation.select_on` is \"{}\", but `pretraining.rows` have no test part", select_on.word());
        (what, "choose by \"dev.loss\" or \"dev.accuracy\", the figures of `pretraining.dev_rows`")
    })
}

fn corpus_weights(recipe: &Recipe) -> Option<(String, &'static str)> {
    let pretraining = recipe.pretraining.as_ref()?;
    let (weights, corpora) = (pretraining.weights.as_ref()?.len(), pretraining.corpora.as_ref()?.len());
    (weights != corpora).then(|| {
        let what = format!("`pretraining.weights` has {weights} numbers, `pretraining.corpora` {corpora} corpora");
        (what, "give each corpus its weight, or leave the weights out")
    })
}

/// Where the task is another, the keys have no effect anyway.
fn vocabulary_is_given(recipe: &Recipe) -> Option<(String, &'static str)> {
    let corpus = recipe.corpus.as_ref().filter(|_| recipe.task.name == TaskName::BidirectionalLm)?;
    let key = match (corpus.min_count, corpus.max_vocab_size) {
        (Some(_), _) => "min_count",
        (None, Some(_)) => "max_vocab_size",
        (None, None) => return None,
    };
    (!corpus.makes_vocabulary(recipe.model.tokenizer.as_deref())).then(|| {
        let what = format!("`corpus.{key}` has no effect on a vocabulary that is there already");
        (what, "a vocabulary is made where `model.tokenizer` is the folder that `corpus.output` is")
    })
}

fn heads(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (hidden, heads) = (recipe.model.config.hidden_size?, recipe.model.config.num_attention_heads?);
    (hidden % heads != 0).then(|| {
        let what = format!("`hidden_size` {hidden} cannot be divided among `num_attention_heads` {heads}");
        (what, "make hidden_size a multiple of num_attention_heads")
    })
}

fn positions(recipe: &Recipe) -> Option<(String, &'static str)> {
    let rows = recipe.model.config.max_position_embeddings?;
    let usable = match recipe.model.architecture {
        Architecture::ErnieM => rows - 2,
        Architecture::Ernie | Architecture::RemBert | Architecture::Elmo => rows,
    };
    let length = recipe.data.max_seq_length;
    (length > usable).then(|| {
        let what =
            format!("`data.max_seq_length` is {length}, but {rows} position embeddings hold only {usable} tokens");
        (what, "lower data.max_seq_length, or raise max_position_embeddings in [model.config]")
    })
}

fn learning_rates(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (least, most) = (recipe.schedule.min_learning_rate, recipe.optimizer.learning_rate);
    (least > most).then(|| {
        let what = format!("`schedule.min_learning_rate` {least:?} is above `optimizer.learning_rate` {most:?}");
        (what, "min_learning_rate is where the learning rate ends: give a value below learning_rate")
    })
}

fn has_floor(recipe: &Recipe) -> bool {
    matches!(recipe.schedule.name, ScheduleName::LinearMin | ScheduleName::Cosine)
}

const FLOOR_HELP: &str = "choose `name = \"linear-min\"` or `\"cosine\"` in [schedule], or leave it out";

fn min_learning_rate_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.schedule.min_learning_rate > 0.0 && !has_floor(recipe)).then(|| {
        let name = recipe.schedule.name.word();
        (format!("`schedule.min_learning_rate` has no effect with the schedule \"{name}\""), FLOOR_HELP)
    })
}

fn decay_steps_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.schedule.decay_steps.is_some() && !has_floor(recipe)).then(|| {
        let name = recipe.schedule.name.word();
        (format!("`schedule.decay_steps` has no effect with the schedule \"{name}\""), FLOOR_HELP)
    })
}

fn clip_by_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.optimizer.clip_by != ClipBy::default() && recipe.optimizer.max_grad_norm == 0.0).then(|| {
        let what = "`optimizer.clip_by` has no effect without `optimizer.max_grad_norm`";
        (what.to_string(), "give the largest norm as max_grad_norm in [optimizer]; Paddle's example has 1.0")
    })
}

fn weight_decay_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, weight_decay, .. } = recipe.optimizer;
    (weight_decay > 0.0 && name != OptimizerName::AdamW).then(|| {
        let what = format!("`optimizer.weight_decay` has no effect with the optimizer \"{}\"", name.word());
        (what, "give `l2`, which is added to the gradients, or choose \"adamw\"")
    })
}

fn l2_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, l2, .. } = recipe.optimizer;
    (l2 > 0.0 && name == OptimizerName::AdamW).then(|| {
        let what = "`optimizer.l2` has no effect with the optimizer \"adamw\"";
        (what.to_string(), "give `weight_decay`, or choose \"adam\"")
    })
}

fn elmo_l2_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let features = recipe.features.as_ref()?;
    (features.elmo_l2_coef > 0.0 && recipe.optimizer.name == OptimizerName::AdamW).then(|| {
        let what = "`features.elmo_l2_coef` has no effect with the optimizer \"adamw\"";
        (what.to_string(), "choose \"adam\", or give 0")
    })
}

fn pieces_of_a_crf(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.task.crf == Some(true) && recipe.task.label_all_pieces == Some(true)).then(|| {
        let what = "`task.label_all_pieces` has no effect with `task.crf`, which has one tag a word";
        (what.to_string(), "leave one of them out")
    })
}

fn crf_rate_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.optimizer.crf_learning_rate != 1.0 && recipe.task.crf != Some(true)).then(|| {
        let what = "`optimizer.crf_learning_rate` has no effect without `task.crf`";
        (what.to_string(), "leave it out, or give `crf = true` in [task]")
    })
}

fn width_of_no_layer(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.task.grnn_hidden_dim.is_some() && recipe.task.bigru_num == Some(0)).then(|| {
        let what = "`task.grnn_hidden_dim` has no effect where `task.bigru_num` is 0";
        (what.to_string(), "leave it out, or give the number of layers as bigru_num in [task]; LAC's demo has 2")
    })
}

fn epsilon(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, epsilon, initial_accumulator_value, .. } = recipe.optimizer;
    let divides = match name {
        OptimizerName::Adagrad => initial_accumulator_value == 0.0,
        OptimizerName::AdamW | OptimizerName::Adam | OptimizerName::RmsProp => true,
        OptimizerName::Sgd => false,
    };
    (epsilon == 0.0 && divides).then(|| {
        let what = "`optimizer.epsilon` is 0: an update would divide by 0 where a gradient is 0";
        (
            what.to_string(),
            "give a number above 0, such as 1e-8; \"adagrad\" needs none with `initial_accumulator_value`",
        )
    })
}

fn warmup(recipe: &Recipe) -> Option<(String, &'static str)> {
    let warmup = recipe.schedule.warmup_steps?;
    let limits =
        [("schedule.decay_steps", recipe.schedule.decay_steps), ("training.max_steps", recipe.training.max_steps)];
    let (key, limit) =
        limits.into_iter().find_map(|(key, limit)| Some((key, limit.filter(|limit| warmup > *limit)?)))?;
    let what = format!("`schedule.warmup_steps` is {warmup}, more than `{key}` {limit}");
    Some((what, "the warm-up must end before the learning rate has come down"))
}

fn devices(recipe: &Recipe) -> Option<(String, &'static str)> {
    let devices = &recipe.device.devices;
    let backend = recipe.device.backend;
    if matches!(backend, Backend::Flex | Backend::NdArray) && devices != &[0] {
        let what = format!("`device.devices` is {devices:?}, but \"{}\" has only the device 0", backend.word());
        return Some((what, "leave `devices` out; `threads` in [device] says how many cores are used"));
    }
    let twice = devices.iter().enumerate().find(|(index, device)| devices[..*index].contains(device))?.1;
    Some((format!("`device.devices` names the device {twice} twice"), "name each device once"))
}
