//! `kiln convert`.

use std::path::PathBuf;

use clap::Args;

use super::output::print;
use crate::convert::{Conversion, Target, convert};
use crate::error::{Problem, Result};
use crate::recipe::{ExportDtype, export};

/// What to convert, and into what.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A run folder (its best model is taken), a model folder of Kiln's, Hugging Face's or PaddleNLP's, AllenAI's or Baidu's ELMo, or
    /// hf://OWNER/NAME
    source: PathBuf,
    /// The folder to write; it must not be there yet
    target: PathBuf,
    /// The layout to write
    #[arg(long, value_enum)]
    to: Target,
    /// The type of the numbers: f32, bf16 or f16 (default: as they are)
    #[arg(long, value_parser = dtype)]
    dtype: Option<ExportDtype>,
    /// Larger weights are cut into several files with an index
    #[arg(long, value_name = "SIZE", default_value = "5GB")]
    max_shard_size: String,
    /// Print the load report as JSON, with all names
    #[arg(long)]
    json: bool,
}

fn dtype(text: &str) -> Result<ExportDtype, String> {
    let words: Vec<&str> = ExportDtype::ALL.iter().map(|one| one.word()).collect();
    let found = ExportDtype::ALL.iter().find(|one| one.word() == text).copied();
    found.ok_or_else(|| format!("it is {}", words.join(", ")))
}

impl ConvertArgs {
    pub fn run(&self) -> Result<()> {
        let size = export::bytes(&self.max_shard_size).ok_or_else(|| {
            Problem::new(format!("--max-shard-size cannot be `{}`", self.max_shard_size)).help(export::SIZES)
        })?;
        let report = convert(&Conversion {
            source: &self.source,
            target: &self.target,
            to: self.to,
            dtype: self.dtype.map(ExportDtype::dtype),
            max_shard_size: size,
        })?;
        match self.json {
            // A report of names and numbers is always written.
            true => print(&(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n")),
            false => print(&report.to_string()),
        }
    }
}
