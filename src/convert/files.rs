//! An encoder's folder: weights, configuration, tokenizer, card.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{self, Source};
use super::plan::{Numbers, Plan, Planned, Written, plan};
use super::report::Report;
use super::{Conversion, Target};
use crate::error::{Error, Result};
use crate::model_folder;
use crate::models::{Family, ModelConfig, elmo_family, ernie_m};
use crate::tokenize::{Tokenizer, TokenizerOptions};
use crate::weights::{PdparamsWriter, Style, Weights, Writer, transpose};

/// Rows of a table that are read at once.
const PART: usize = 1 << 14;

/// Writes the encoder at `path` into a new folder.
///
/// # Errors
/// See [`super::convert`].
pub fn convert(path: &Path, folder: &Path, conversion: &Conversion) -> Result<Report> {
    let source = Source::open(path)?;
    let family = conversion.to.family(source.config.family()).map_err(|error| error.in_file(path))?;
    let config = of_family(&source, family)?;
    let words = config::words(&source, &config, conversion.to, conversion.dtype);
    let class = words["architectures"][0].as_str().unwrap_or_default().to_string();
    let mut report = Report {
        source: path.display().to_string(),
        target: conversion.target.display().to_string(),
        to: conversion.to.word(),
        family: family.name.to_string(),
        class,
        notes: source.notes.clone(),
        ..Report::default()
    };
    if conversion.to == Target::Paddle {
        let told = config::told_paddle(&config, &words).map_err(|error| error.in_file(&source.file))?;
        report.notes.extend(told);
    }
    let written = Written { config, style: conversion.to.style(), bare: source.task.is_none() };
    let plan = plan(&source, &written, &mut report)?;
    write_weights(&source.weights, &plan, &written, folder, conversion)?;
    model_folder::write_config(folder, words)?;
    write_tokenizer(&source, &written.config, folder, conversion, &mut report)?;
    Ok(report)
}

/// The configuration in the words of the target's family.
fn of_family(source: &Source, family: &'static Family) -> Result<ModelConfig> {
    if *family == *source.config.family() {
        return Ok(source.config.clone());
    }
    let mut words = source.config.to_words();
    if *source.config.family() == ernie_m::FAMILY {
        words.insert("type_vocab_size".into(), 1.into());
    }
    ModelConfig::from_words(family, &words).map_err(|error| error.in_file(&source.file))
}

/// A file, or several, whose tensors come one after the other.
enum Output {
    Safetensors(Writer),
    Paddle(PdparamsWriter),
}

impl Output {
    fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        match self {
            Self::Safetensors(writer) => writer.put(name, values),
            Self::Paddle(writer) => writer.put(name, values),
        }
    }
}

fn write_weights(
    weights: &Weights,
    plan: &Plan,
    written: &Written,
    folder: &Path,
    conversion: &Conversion,
) -> Result<()> {
    let mut output = match written.style {
        Style::HuggingFace => {
            let dtype = |planned: &Planned| conversion.dtype.unwrap_or(planned.dtype);
            let tensors = plan.iter().map(|(name, planned)| (name.clone(), (dtype(planned), planned.shape.clone())));
            Output::Safetensors(Writer::create_in(folder, &tensors.collect(), conversion.max_shard_size)?)
        }
        Style::Paddle => {
            let shapes: BTreeMap<_, _> = plan.iter().map(|(name, p)| (name.clone(), p.shape.clone())).collect();
            Output::Paddle(PdparamsWriter::create(&folder.join("model_state.pdparams"), shapes)?)
        }
    };
    for (name, planned) in plan {
        write_tensor(weights, name, planned, &mut output)?;
    }
    match output {
        Output::Safetensors(writer) => writer.finish(),
        Output::Paddle(writer) => writer.finish(),
    }
}

fn write_tensor(weights: &Weights, name: &str, planned: &Planned, output: &mut Output) -> Result<()> {
    match (&planned.numbers, planned.shape.as_slice()) {
        (Numbers::Stored { name: from, transposed: false }, &[rows, _]) => {
            for first in (0..rows).step_by(PART) {
                output.put(name, &weights.read_rows(from, first..(first + PART).min(rows))?)?;
            }
            Ok(())
        }
        (Numbers::Stored { name: from, transposed }, &[rows, columns]) if *transposed => {
            output.put(name, &transpose(&weights.read_f32(from)?, columns, rows))
        }
        (Numbers::Stored { name: from, .. }, _) => output.put(name, &weights.read_f32(from)?),
        (Numbers::Sum { table, row }, shape) => {
            let mut values = weights.read_f32(table)?;
            let row = weights.read_rows(row, 0..1)?;
            let width = shape.last().copied().unwrap_or(1).max(1);
            values.chunks_mut(width).for_each(|values| values.iter_mut().zip(&row).for_each(|(v, add)| *v += add));
            output.put(name, &values)
        }
        (Numbers::Zeros, shape) => output.put(name, &vec![0.0; shape.iter().product()]),
    }
}

/// Writes the tokenizer's files as far as the target's libraries can be told of them.
fn write_tokenizer(
    source: &Source,
    config: &ModelConfig,
    folder: &Path,
    conversion: &Conversion,
    report: &mut Report,
) -> Result<()> {
    let usual = source.config.family().tokenizers;
    if !Tokenizer::is_in(usual, &source.folder) {
        report.notes.push("there is no tokenizer beside the weights, and none is written".into());
        return Ok(());
    }
    let tokenizer = Tokenizer::from_dir(usual, &source.folder, TokenizerOptions::default())?;
    let max_length = tokenizer.max_length().unwrap_or(usize::MAX).min(config.max_length());
    let without = tokenizer.without_tokenizer_json();
    if let (Some(why), true) = (without, conversion.to != Target::Paddle) {
        report.notes.push(format!("there is no tokenizer.json: {why}"));
    }
    if conversion.to == Target::XlmRoberta && config.family() != source.config.family() {
        // The files of an ERNIE-M's tokenizer would be taken for an XLM-R's, whose ids are others.
        if without.is_some() {
            report.notes.push("no tokenizer is written: keep the ERNIE-M's for its texts".into());
            return Ok(());
        }
        return tokenizer.save_json(folder, max_length);
    }
    tokenizer.save(folder, max_length)
}

/// Writes the model card: the source's own where it stays the same model for the same libraries.
///
/// # Errors
/// The folder cannot be written.
pub fn write_card(folder: &Path, conversion: &Conversion, report: &Report) -> Result<()> {
    let target = folder.join("README.md");
    let writing = |cause| Error::writing(&target, &cause);
    let own = Path::new(&report.source).join("README.md");
    if matches!(conversion.to, Target::Kiln | Target::Hf) && own.is_file() {
        return std::fs::copy(&own, &target).map(drop).map_err(writing);
    }
    let class = &report.class;
    let (library, load) = match conversion.to {
        Target::Allennlp => {
            ("allennlp", "allennlp.modules.elmo.Elmo(\"options.json\", \"weights.hdf5\", 1)".to_string())
        }
        // An ELMo, which no library of today's but AllenNLP has.
        _ if report.family == elmo_family::FAMILY.name => {
            ("kiln", "kiln encode FOLDER --input FILE --output FILE".to_string())
        }
        Target::Paddle => ("paddlenlp", format!("paddlenlp.transformers.{class}.from_pretrained(FOLDER)")),
        _ => ("transformers", format!("transformers.{class}.from_pretrained(FOLDER)")),
    };
    let notes: String = report.notes.iter().map(|note| format!("- {note}\n")).collect();
    let text = format!(
        "---\nlibrary_name: {library}\ntags:\n- kiln\n---\n\n# {}, converted by Kiln\n\n```\n{load}\n```\n\n\
         Written by `kiln convert --to {}`.\n\n{notes}",
        class, report.to
    );
    std::fs::write(&target, text).map_err(writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that is read in parts is the one that is read whole.
    #[test]
    fn a_long_table_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let rows = PART + 3;
        let values: Vec<f32> = (0..2 * rows).map(|value| value as f32).collect();
        let tensors = [("t".to_string(), crate::weights::NamedTensor { shape: vec![rows, 2], values: values.clone() })];
        let weights = Weights::in_memory(Path::new("x"), crate::weights::Layout::Torch, &tensors.into()).unwrap();
        let numbers = Numbers::Stored { name: "t".into(), transposed: false };
        let planned = Planned { numbers, shape: vec![rows, 2], dtype: crate::weights::Dtype::F32 };
        let shapes = [("u".to_string(), (planned.dtype, planned.shape.clone()))].into();
        let mut output = Output::Safetensors(Writer::create_in(folder.path(), &shapes, u64::MAX).unwrap());
        write_tensor(&weights, "u", &planned, &mut output).unwrap();
        let Output::Safetensors(writer) = output else { unreachable!() };
        writer.finish().unwrap();
        assert_eq!(Weights::open(folder.path()).unwrap().read_f32("u").unwrap(), values);
    }
}
