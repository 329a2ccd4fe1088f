//! Rules about what pre-training learns from.

use std::sync::LazyLock;

use super::Rule;
use crate::models::{Corpora, FAMILIES};
use crate::recipe::corpus::TextFormat;
use crate::recipe::schema::{Recipe, TaskShare};
use crate::recipe::words::{SelectOn, TaskName};

pub(super) const RULES: &[Rule] = &[
    (&["pretraining", "task.name"], |recipe| match (&recipe.pretraining, recipe.task.name.is_masked_lm()) {
        (None, true) => Some((
            format!("the task \"{}\" has no [pretraining]", recipe.task.name.word()),
            "name what is learnt from: [pretraining], corpora = [\"data/corpus/news\"] or rows = [\"data/train_filelist\"]",
        )),
        (Some(_), false) => Some((
            format!("[pretraining] has no effect with the task \"{}\"", recipe.task.name.word()),
            "leave it out, or choose \"masked-lm\" or \"pre-training\"",
        )),
        _ => None,
    }),
    (&["streams", "task.name"], |recipe| match (&recipe.streams, recipe.task.name == TaskName::BidirectionalLm) {
        (None, true) => Some((
            "the task \"bidirectional-lm\" has no [streams]".to_string(),
            "name the sentences: [streams], train = [\"data/train/*\"]",
        )),
        (Some(_), false) => Some((
            format!("[streams] has no effect with the task \"{}\"", recipe.task.name.word()),
            "leave it out, or choose \"bidirectional-lm\"",
        )),
        _ => None,
    }),
    (&["evaluation.test", "streams.test"], |recipe| {
        let streams = recipe.streams.as_ref()?;
        (recipe.evaluation.test && streams.test.is_none()).then(|| {
            (
                "`evaluation.test` has nothing to read".to_string(),
                "give the files as `test` in [streams], or leave it out",
            )
        })
    }),
    (&["evaluation.select_on", "streams.dev", "streams.test"], |recipe| {
        let streams = recipe.streams.as_ref()?;
        let select_on = recipe.evaluation.select_on;
        let is_test = matches!(select_on, SelectOn::TestAccuracy | SelectOn::TestLoss);
        (is_test && streams.test.is_none()).then(|| {
            let what = format!("`evaluation.select_on` is \"{}\", but `streams.test` is not given", select_on.word());
            (what, "give the files as `test` in [streams], or choose by \"dev.loss\"")
        })
    }),
    (&["task.name", "model.architecture"], |recipe| {
        let (task, family) = (recipe.task.name, recipe.model.architecture);
        let fits = match family.corpora {
            // What words cannot learn is another rule's.
            _ if !task.is_masked_lm() || family.reads_words() => true,
            Corpora::Documents => matches!(task, TaskName::MaskedLm | TaskName::PreTraining),
            Corpora::Multilingual => task != TaskName::PreTraining,
            Corpora::None | Corpora::Streams => false,
        };
        (!fits).then(|| {
            let what = format!("\"{}\" cannot be trained with the architecture \"{}\"", task.word(), family.name);
            (what, FAMILIES_HELP.as_str())
        })
    }),
    (&["pretraining.corpora", "pretraining.rows", "pretraining.parallel", "task.mixture", "task.name"], |recipe| {
        let settings = recipe.pretraining.as_ref().filter(|_| recipe.task.name.is_masked_lm())?;
        if recipe.model.architecture.corpora == Corpora::Multilingual {
            let own = TaskShare { name: recipe.task.name, weight: 1.0 };
            let tasks = recipe.task.mixture.clone().unwrap_or_else(|| vec![own]);
            let missing = |task: TaskName| match task {
                TaskName::TranslationMaskedLm | TaskName::CrossAttentionMaskedLm => {
                    settings.parallel.is_none().then_some("pretraining.parallel")
                }
                _ => settings.corpora.is_none().then_some("pretraining.corpora"),
            };
            let (task, key) = tasks.iter().find_map(|share| Some((share.name, missing(share.name)?)))?;
            let what = format!("the task \"{}\" has no `{key}`", task.word());
            return Some((
                what,
                "name what `kiln prepare` made: in `parallel` corpora of pairs, in `corpora` those of one language",
            ));
        }
        (settings.corpora.is_none() && settings.rows.is_none()).then(|| {
            let what = "neither `pretraining.corpora` nor `pretraining.rows` is given";
            (
                what.to_string(),
                "give exactly one of them in [pretraining]: corpora that `kiln prepare` made, or rows of the 2019 format",
            )
        })
    }),
    // Tasks of a mixture hide tokens, each is there once, and the recipe's own is among them.
    (&["task.mixture", "task.name"], |recipe| {
        let mixture = recipe.task.mixture.as_ref()?;
        let names: Vec<TaskName> = mixture.iter().map(|share| share.name).collect();
        if let Some(other) = names.iter().find(|name| !name.is_masked_lm() || **name == TaskName::PreTraining) {
            let what = format!("`task.mixture` has \"{}\", which cannot be mixed", other.word());
            return Some((what, "its tasks are those of \"ernie-m\" that hide tokens, such as \"masked-lm\""));
        }
        let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
        if let Some((_, name)) = twice {
            let what = format!("`task.mixture` has \"{}\" twice", name.word());
            return Some((what, "give each task once, with its weight"));
        }
        (!names.contains(&recipe.task.name)).then(|| {
            let what = format!("`task.name` \"{}\" is not in `task.mixture`", recipe.task.name.word());
            (what, "give one of the mixture's tasks as `name`")
        })
    }),
    (&["corpus.languages", "model.architecture", "task.name"], |recipe| {
        let corpus = recipe.corpus.as_ref().filter(|_| {
            recipe.model.architecture.corpora == Corpora::Multilingual && recipe.task.name.is_masked_lm()
        })?;
        match (&corpus.languages, corpus.pair()) {
            (None, _) => Some((
                "`corpus.languages` is missing".to_string(),
                "give the language of the text, such as [\"en\"], or the two of its pairs, [\"en\", \"de\"]",
            )),
            (_, Some([source, target])) if source == target => Some((
                format!("`corpus.languages` has \"{source}\" twice"),
                "pairs are of two languages; text of one has one",
            )),
            _ => None,
        }
    }),
    (&["corpus.format", "corpus.languages", "model.architecture"], |recipe| {
        let corpus = recipe.corpus.as_ref()?;
        let pairs = recipe.model.architecture.corpora == Corpora::Multilingual && corpus.pair().is_some();
        match (corpus.format, pairs) {
            (TextFormat::Text, true) => Some((
                "`corpus.format` is \"text\", which has no pairs".to_string(),
                "it is \"tsv\", \"moses\" or \"jsonl\", or \"auto\", which goes by the names of the files",
            )),
            (TextFormat::Tsv | TextFormat::Moses, false) => Some((
                "`corpus.format` is one of pairs in two languages".to_string(),
                "give the two languages as `languages` in [corpus], or choose \"text\", \"jsonl\" or \"auto\"",
            )),
            _ => None,
        }
    }),
    (&["evaluation.test", "pretraining.rows"], |recipe| {
        (recipe.evaluation.test && has_rows(recipe)).then(|| {
            let what = "`evaluation.test` has no effect on `pretraining.rows`, which have no test part";
            (what.to_string(), "leave it out: `pretraining.dev_rows` are evaluated")
        })
    }),
    (&["evaluation.select_on", "pretraining.rows"], |recipe| {
        let select_on = recipe.evaluation.select_on;
        (matches!(select_on, SelectOn::TestAccuracy | SelectOn::TestLoss) && has_rows(recipe)).then(|| {
            let what =
                format!("`evaluation.select_on` is \"{}\", but `pretraining.rows` have no test part", select_on.word());
            (what, "choose by \"dev.loss\" or \"dev.accuracy\", the figures of `pretraining.dev_rows`")
        })
    }),
    (&["pretraining.weights", "pretraining.corpora"], |recipe| {
        let pretraining = recipe.pretraining.as_ref()?;
        let (weights, corpora) = (pretraining.weights.as_ref()?.len(), pretraining.corpora.as_ref()?.len());
        (weights != corpora).then(|| {
            let what = format!("`pretraining.weights` has {weights} numbers, `pretraining.corpora` {corpora} corpora");
            (what, "give each corpus its weight, or leave the weights out")
        })
    }),
    // Where the task is another, the keys have no effect anyway.
    (&["corpus.min_count", "corpus.max_vocab_size", "corpus.output", "model.tokenizer", "task.name"], |recipe| {
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
    }),
];

/// Which families learn from corpora.
static FAMILIES_HELP: LazyLock<String> = LazyLock::new(|| {
    let with = |corpora: Corpora| {
        let names =
            FAMILIES.iter().filter(|family| family.corpora == corpora).map(|family| format!("\"{}\"", family.name));
        names.collect::<Vec<_>>().join(" and ")
    };
    let (documents, multilingual) = (with(Corpora::Documents), with(Corpora::Multilingual));
    format!(
        "\"pre-training\" goes with {documents}, \"masked-lm\" with {documents} and {multilingual}, the tasks on translations with \
         {multilingual}"
    )
});

fn has_rows(recipe: &Recipe) -> bool {
    recipe.pretraining.as_ref().is_some_and(|settings| settings.rows.is_some())
}
