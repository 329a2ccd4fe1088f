//! Which tensor of the source becomes which of the target.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;

use super::config::Source;
use super::report::{Report, Unexpected};
use crate::error::{Error, Problem, Result};
use crate::models::{Classifier, Family, ModelConfig};
use crate::recipe::TaskName;
use crate::tasks::{TaskHead, TaskModel, with_head};
use crate::weights::{Dtype, Entry, Layout, Leaf, Parameter, Style, WRITTEN, each_parameter};

/// The table that the other words of the sums in front of the encoder lie in.
const TOKEN_TYPES: &str = "backbone.embeddings.token_type_embeddings";
const TASK_TYPES: &str = "backbone.embeddings.task_type_embeddings";
const WORDS: &str = "backbone.embeddings.word_embeddings";
const POOLER: &str = "backbone.pooler.dense";
const CLASSIFIER: &str = "head.classifier";
const QUESTIONS: &str = "head.qa_outputs";

/// The model that is written.
pub struct Written {
    pub config: ModelConfig,
    pub style: Style,
    /// Whether it has no head, so that its names have no prefix.
    pub bare: bool,
}

/// Where a tensor's numbers come from.
#[derive(Debug, Clone)]
pub enum Numbers {
    Stored {
        name: String,
        transposed: bool,
    },
    /// The rows of a table, each with the first row of another added.
    Sum {
        table: String,
        row: String,
    },
    Zeros,
}

/// A tensor to write.
#[derive(Debug, Clone)]
pub struct Planned {
    pub numbers: Numbers,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
}

/// The tensors of the target by their names.
pub type Plan = BTreeMap<String, Planned>;

/// A parameter of the target's model: one that its family has names for, or one of Kiln's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Known(Parameter),
    Own(String),
}

/// Compares what the source holds with what the target's model has.
///
/// # Errors
/// Tensors of the encoder are missing, or have other shapes than the configuration says.
pub fn plan(source: &Source, written: &Written, report: &mut Report) -> Result<Plan> {
    let planner = Planner { source, written, from: source.config.family(), to: written.config.family() };
    let wanted: BTreeMap<Key, Vec<usize>> = planner.wanted()?;
    let mut found: BTreeMap<Key, Planned> = BTreeMap::new();
    let mut of_no_use = Vec::new();
    let mut misshapen = Vec::new();
    for name in source.weights.names() {
        let Some(entry) = source.weights.get(name).filter(|_| !planner.from.tensors.is_unread(name)) else { continue };
        let key = planner.key(name);
        let Some(shape) = wanted.get(&key) else {
            of_no_use.push(name.to_string());
            continue;
        };
        let planned = planner.planned(name, entry, &key);
        if planned.shape != *shape {
            misshapen.push(format!("{name} has the shape {:?}, the model needs {shape:?}", planned.shape));
        }
        found.insert(key, planned);
    }
    if *planner.from != *planner.to {
        planner.add_embeddings(&wanted, &mut found, report);
        let is_added = |name: &String| {
            found.values().any(|planned| matches!(&planned.numbers, Numbers::Sum { row, .. } if row == name))
        };
        of_no_use.retain(|name| !is_added(name));
    }
    let missing: Vec<&Key> = wanted.keys().filter(|key| !found.contains_key(key)).collect();
    planner.refuse(&missing, &misshapen, &of_no_use)?;
    report.missing = missing.iter().map(|key| planner.name(key)).collect();
    report.unexpected = Unexpected::list(&of_no_use, &report.missing);
    let mut plan = Plan::new();
    for (key, planned) in found {
        let name = planner.name(&key);
        planner.note(&name, &planned, report);
        plan.insert(name, planner.laid_out(&key, planned, report));
    }
    planner.add_tied(&mut plan, report);
    Ok(plan)
}

struct Planner<'a> {
    source: &'a Source,
    written: &'a Written,
    from: &'static Family,
    to: &'static Family,
}

impl Planner<'_> {
    /// The parameters of the target's model, with their shapes in PyTorch's layout.
    fn wanted(&self) -> Result<BTreeMap<Key, Vec<usize>>> {
        let (source, config) = (self.source, &self.written.config);
        let mut wanted = BTreeMap::new();
        let emit = |name: String, shape| {
            let key = self.to.tensors.parameter(&name).map_or(Key::Own(name), Key::Known);
            wanted.insert(key, shape);
        };
        with_head!(source.task, parameters(source, config, emit))?;
        // They are for pre-training alone.
        wanted.retain(|key, _| !matches!(key, Key::Known(known) if known.module.ends_with("language_embeddings")));
        if self.written.style == Style::Paddle {
            // PaddleNLP's classes all have a pooler, whether their heads read it or not.
            let size = config.hidden_size();
            for (leaf, shape) in [(Leaf::Weight, vec![size, size]), (Leaf::Bias, vec![size])] {
                wanted.insert(Key::Known(Parameter::new(POOLER, leaf)), shape);
            }
        }
        Ok(wanted)
    }

    /// What a tensor of the source is in the target's model.
    fn key(&self, name: &str) -> Key {
        let Some(parameter) = self.from.tensors.parameter(name) else { return Key::Own(name.to_string()) };
        let module = match (parameter.module, self.source.task) {
            // PaddleNLP's name for it.
            (CLASSIFIER, Some(TaskName::QuestionAnswering)) => QUESTIONS,
            (POOLER, Some(_)) if self.becomes_mlp() => "head.mlp.dense",
            (CLASSIFIER, Some(task)) if self.becomes_mlp() && classifies_rows(task) => "head.mlp.out_proj",
            (module, _) => module,
        };
        Key::Known(parameter.of_module(module))
    }

    /// Whether a pooler and a classifier become the two layers of XLM-R's head.
    fn becomes_mlp(&self) -> bool {
        let is_mlp = self.written.config.classifier() == Classifier::Mlp;
        is_mlp && self.from != self.to && self.source.task.is_some_and(classifies_rows)
    }

    /// A tensor as it stands in the source, its shape in PyTorch's layout.
    fn planned(&self, name: &str, entry: &Entry, key: &Key) -> Planned {
        let turned = is_linear(key) && self.source.weights.layout() == Layout::Paddle && entry.shape.len() == 2;
        let shape = if turned { entry.shape.iter().rev().copied().collect() } else { entry.shape.clone() };
        let dtype = if WRITTEN.contains(&entry.dtype) { entry.dtype } else { Dtype::F32 };
        Planned { numbers: Numbers::Stored { name: name.to_string(), transposed: false }, shape, dtype }
    }

    /// Layout and shape as the target has them.
    fn laid_out(&self, key: &Key, planned: Planned, report: &mut Report) -> Planned {
        let to_paddle = self.written.style == Style::Paddle;
        let turned = is_linear(key) && to_paddle != (self.source.weights.layout() == Layout::Paddle);
        let shape = match is_linear(key) && to_paddle {
            true => planned.shape.into_iter().rev().collect(),
            false => planned.shape,
        };
        let numbers = match planned.numbers {
            Numbers::Stored { name, .. } => {
                report.transposed.extend(turned.then(|| name.clone()));
                Numbers::Stored { name, transposed: turned }
            }
            other => other,
        };
        Planned { numbers, shape, ..planned }
    }

    /// What ERNIE's and ERNIE-M's embeddings have otherwise than BERT's and XLM-R's.
    fn add_embeddings(
        &self,
        wanted: &BTreeMap<Key, Vec<usize>>,
        found: &mut BTreeMap<Key, Planned>,
        report: &mut Report,
    ) {
        let types = Key::Known(Parameter::new(TOKEN_TYPES, Leaf::Weight));
        let tasks = self
            .source
            .weights
            .names()
            .find(|name| self.from.tensors.parameter(name).is_some_and(|parameter| parameter.module == TASK_TYPES));
        match (found.get_mut(&types), tasks) {
            // Task type 0 is that of all rows.
            (Some(planned), Some(row)) => {
                if let Numbers::Stored { name, .. } = &planned.numbers {
                    planned.numbers = Numbers::Sum { table: name.clone(), row: row.to_string() };
                    planned.dtype = Dtype::F32;
                    report.notes.push("task type 0 is in the token types: BERT has no task types".into());
                }
            }
            (None, _) => {
                if let Some(shape) = wanted.get(&types) {
                    let zeros = Planned { numbers: Numbers::Zeros, shape: shape.clone(), dtype: Dtype::F32 };
                    found.insert(types, zeros);
                }
            }
            (Some(_), None) => {}
        }
    }

    /// The second copies that PaddleNLP's masked-LM heads have of the words' table and the bias, and that of XLM-R's bias, without which
    /// transformers 4 takes it for missing and sets both to zeros.
    fn add_tied(&self, plan: &mut Plan, report: &mut Report) {
        let known = [
            (Style::Paddle, WORDS, Leaf::Weight, "cls.predictions.decoder.weight"),
            (Style::Paddle, "head.masked_lm", Leaf::Bias, "cls.predictions.decoder.bias"),
            (Style::HuggingFace, "head.masked_lm", Leaf::Bias, "lm_head.decoder.bias"),
        ];
        for (style, module, leaf, copy) in known {
            let is_tied = self.written.style == style
                && self.to.tensors.tied.contains(&copy)
                && self.source.task.is_some_and(TaskName::is_masked_lm);
            let name = self.to.tensors.name_of(&Parameter::new(module, leaf), self.written.style, self.written.bare);
            let found = name.and_then(|name| plan.get(&name).cloned());
            if let (true, Some(planned)) = (is_tied, found) {
                plan.insert(copy.to_string(), planned);
                report.made.push(copy.to_string());
            }
        }
    }

    fn name(&self, key: &Key) -> String {
        let Written { style, bare, .. } = *self.written;
        match key {
            Key::Own(name) => name.clone(),
            // PaddleNLP's RemBERT calls the classifier of rows otherwise than that of tokens.
            Key::Known(known) if style == Style::Paddle && known.module == CLASSIFIER => {
                let tokens = self.source.task == Some(TaskName::TokenClassification);
                let style = if tokens { Style::HuggingFace } else { style };
                self.to.tensors.name_of(known, style, bare).unwrap_or_default()
            }
            Key::Known(known) => self.to.tensors.name_of(known, style, bare).unwrap_or_default(),
        }
    }

    fn note(&self, name: &str, planned: &Planned, report: &mut Report) {
        match &planned.numbers {
            Numbers::Stored { name: from, .. } => {
                report.loaded.push(from.clone());
                report.renamed.extend((from != name).then(|| (from.clone(), name.to_string())));
            }
            Numbers::Sum { table, row } => {
                report.loaded.extend([table.clone(), row.clone()]);
                report.made.push(name.to_string());
            }
            Numbers::Zeros => report.made.push(name.to_string()),
        }
    }

    /// # Errors
    /// What no library could compute with.
    fn refuse(&self, missing: &[&Key], misshapen: &[String], of_no_use: &[String]) -> Result<()> {
        let mut problems = Vec::new();
        let problem = |what: String| Problem::new(what).in_file(self.source.weights.path());
        let lacking: BTreeSet<String> = missing
            .iter()
            .filter(|key| matches!(key, Key::Known(known) if known.is_of_encoder()))
            .map(|key| self.name(key))
            .collect();
        if let Some(first) = lacking.first() {
            let more = lacking.len() - 1;
            let what = format!("holds no tensor {first}{}", and_more(more));
            let of_no_use = match of_no_use {
                [] => "all its tensors are used".to_string(),
                names => format!("of no use are {}", names.iter().take(3).cloned().collect::<Vec<_>>().join(", ")),
            };
            problems.push(problem(what).help(format!("is it of another family than {}? {of_no_use}", self.from.name)));
        }
        if let Some(first) = misshapen.first() {
            let help = "config.json and the weights are of different models";
            problems.push(problem(format!("{first}{}", and_more(misshapen.len() - 1))).help(help));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Input(problems)) }
    }
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} more)") }
}

fn classifies_rows(task: TaskName) -> bool {
    task.facts().class_suffix == TaskName::SequenceClassification.facts().class_suffix
}

fn is_linear(key: &Key) -> bool {
    match key {
        Key::Known(parameter) => parameter.is_linear_weight(),
        // The layers of Kiln's own heads stay as they are.
        Key::Own(_) => false,
    }
}

/// Names and shapes of a model's parameters, without making them.
fn parameters<H: TaskHead>(
    source: &Source,
    config: &ModelConfig,
    mut emit: impl FnMut(String, Vec<usize>),
) -> Result<()> {
    let has_pooler = source.weights.names().any(|name| name.contains("pooler."));
    let options =
        H::read_options(source.task, &source.words, has_pooler).map_err(|error| error.in_file(&source.file))?;
    let model = TaskModel::<H>::new(config, &options, source.labels, &Device::default());
    each_parameter(&model, &config.family().tensors, |name, shape, _| emit(name, shape));
    Ok(())
}
