//! ELMo: Kiln's folders, AllenAI's files, Baidu's variables.

use std::path::Path;

use burn::tensor::Device;

use super::report::{Report, Unexpected};
use super::{Conversion, Target};
use crate::error::{Problem, Result};
use crate::model_folder::elmo::{self, SoftmaxUse};
use crate::models::elmo::{LayerOutputs, baidu, bilm_tf};
use crate::models::elmo_family::FAMILY;
use crate::weights::{Dtype, Format};

/// Writes the ELMo in `source` into a new folder.
///
/// # Errors
/// See [`super::convert`].
pub fn convert(source: &Path, folder: &Path, conversion: &Conversion) -> Result<Report> {
    // A training goes on from the output layer, which features need not.
    let device = Device::default();
    let softmax = if elmo::has_softmax(source) { SoftmaxUse::Require } else { SoftmaxUse::LeaveOut };
    let opened = elmo::open(source, softmax, &device)?;
    let mut report = Report {
        source: source.display().to_string(),
        target: conversion.target.display().to_string(),
        to: conversion.to.word(),
        family: FAMILY.name.to_string(),
        class: "Elmo".to_string(),
        loaded: opened.report.loaded,
        made: opened.report.initialised,
        unexpected: Unexpected::list(&opened.report.unexpected, &[]),
        ..Report::default()
    };
    match conversion.to {
        Target::Kiln => {
            let dtype = conversion.dtype.unwrap_or(Dtype::F32);
            let format = Format { dtype, max_shard_size: conversion.max_shard_size };
            elmo::write(folder, &opened.elmo, opened.vocabulary.as_ref(), format)?;
        }
        Target::Allennlp => {
            bilm_tf::write(folder, &opened.elmo).map_err(|error| error.in_file(source))?;
            leave_out(&mut report, &["softmax.", "mix."]);
            if opened.elmo.config().layer_outputs == LayerOutputs::Raw {
                let note = "AllenNLP's layers have their inputs added, from the second on, where this model's features have not";
                report.notes.push(note.into());
            }
        }
        Target::Paddle => {
            baidu::write(folder, &opened.elmo).map_err(|error| error.in_file(source))?;
            if let Some(vocabulary) = &opened.vocabulary {
                elmo::write_vocabulary(folder, vocabulary)?;
            }
        }
        Target::Hf | Target::Bert | Target::XlmRoberta => {
            let problem = Problem::new("is an ELMo, which no library of Hugging Face's has").in_file(source);
            return Err(problem.help("--to kiln, --to allennlp (of characters) or --to paddle (of words)").into());
        }
    }
    Ok(report)
}

/// Moves what the target has no place for.
fn leave_out(report: &mut Report, prefixes: &[&str]) {
    let is_left_out = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let (out, kept): (Vec<_>, _) = std::mem::take(&mut report.loaded).into_iter().partition(is_left_out);
    report.loaded = kept;
    report.made.retain(|name| !is_left_out(name));
    report.unexpected.extend(Unexpected::list(&out, &[]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said() {
        let mut report = Report { loaded: vec!["mix.scale".into(), "forward.0.input".into()], ..Report::default() };
        leave_out(&mut report, &["mix."]);
        assert_eq!(report.loaded, ["forward.0.input"]);
        assert_eq!(report.unexpected[0].name, "mix.scale");
    }
}
