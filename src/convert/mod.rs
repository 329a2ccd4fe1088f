//! Checkpoints from one ecosystem to another: `kiln convert`.
//!
//! A tensor is read, laid out anew and written before the next one is read, so that no more than one is held. What is in a model is
//! known from the model itself: its module is made without values, and its parameters are compared with what the source holds.

mod config;
mod elmo;
mod files;
mod plan;
mod report;

use std::path::{Path, PathBuf};

use clap::ValueEnum;

pub use self::report::Report;
use crate::error::{Error, Problem, Result};
use crate::files::NewFolder;
use crate::models::{Family, bert, ernie, ernie_m, xlm_roberta};
use crate::weights::{Dtype, Style};
use crate::{hub, model_folder};

/// What a checkpoint becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A model folder of Kiln's: Hugging Face's layout, with options of Kiln's own
    Kiln,
    /// Hugging Face's layout: config.json, safetensors, tokenizer.json
    Hf,
    /// PaddleNLP's layout: config.json, model_state.pdparams; of an ELMo, Baidu's variables, a file each
    Paddle,
    /// BERT at Hugging Face, of an ERNIE: for sentence-transformers, ONNX exporters and inference servers
    Bert,
    /// XLM-R at Hugging Face, of an ERNIE-M
    XlmRoberta,
    /// AllenNLP's ELMo of characters: options.json and weights.hdf5
    Allennlp,
}

impl Target {
    /// The word of the command line.
    pub fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }

    fn style(self) -> Style {
        if self == Self::Paddle { Style::Paddle } else { Style::HuggingFace }
    }

    /// The family that a model of another becomes.
    ///
    /// # Errors
    /// None of this one can hold it.
    fn family(self, from: &'static Family) -> Result<&'static Family> {
        if from.reads_words() && self != Self::Kiln {
            let problem = Problem::new("is a tagger or reader on words, which only Kiln has");
            return Err(problem.help("convert it --to kiln").into());
        }
        let (to, of) = match self {
            Self::Kiln | Self::Hf => return Ok(from),
            Self::Paddle if *from != xlm_roberta::FAMILY => return Ok(from),
            Self::Paddle => {
                let problem = Problem::new("is an XLM-R, which PaddleNLP does not have");
                return Err(problem.help("convert it --to hf").into());
            }
            Self::Bert => (&bert::FAMILY, &ernie::FAMILY),
            Self::XlmRoberta => (&xlm_roberta::FAMILY, &ernie_m::FAMILY),
            Self::Allennlp => {
                let problem = Problem::new(format!("is of the family {}, and AllenNLP's layout is ELMo's", from.name));
                return Err(problem.help("convert it --to hf").into());
            }
        };
        if from == to || from == of {
            return Ok(to);
        }
        let problem = Problem::new(format!("is of the family {}, which no {} computes", from.name, to.name));
        Err(problem
            .help(format!("only {} and {} itself become {}; convert it --to hf", of.name, to.name, to.name))
            .into())
    }
}

/// What is converted, and into what.
#[derive(Debug)]
pub struct Conversion<'a> {
    /// A run folder, a model folder, a folder of AllenAI's or Baidu's, or the address of one on a hub.
    pub source: &'a Path,
    /// The folder to write, which must not be there.
    pub target: &'a Path,
    pub to: Target,
    /// The type of the numbers; `None` keeps each tensor's own.
    pub dtype: Option<Dtype>,
    pub max_shard_size: u64,
}

/// Carries a conversion out; the folder appears whole or not at all.
///
/// # Errors
/// The source cannot be read, is of a family that the target has no place for, or lacks tensors of its encoder; or the target is there
/// or cannot be written.
pub fn convert(conversion: &Conversion) -> Result<Report> {
    let Conversion { target, to, .. } = conversion;
    if target.exists() {
        let problem = Problem::new("is there already").in_file(target);
        return Err(problem.help("choose another folder; nothing is overwritten").into());
    }
    if *to == Target::Paddle && conversion.dtype.is_some_and(|dtype| dtype != Dtype::F32) {
        let problem = Problem::new("PaddleNLP's layout is written in f32");
        return Err(problem.help("leave --dtype out, and save the model again from PaddleNLP").into());
    }
    let source = hub::local(conversion.source)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|cause| Error::writing(parent, &cause))?;
    let folder = NewFolder::begin(target)?;
    let report = match model_folder::elmo::resolve(&source) {
        Some(source) => elmo::convert(&source, folder.path(), conversion)?,
        None => files::convert(&source_of(&source)?, folder.path(), conversion)?,
    };
    files::write_card(folder.path(), conversion, &report)?;
    folder.publish()?;
    Ok(report)
}

/// The folder or file that a user's SRC means. A folder without a `config.json` may hold old weights.
fn source_of(source: &Path) -> Result<PathBuf> {
    if !source.exists() {
        return Err(Problem::new("is not there").in_file(source).help("give a folder with weights").into());
    }
    Ok(model_folder::resolve(source).unwrap_or_else(|_| source.to_path_buf()))
}
