//! `kiln encode` for encoders.

use std::cmp::Reverse;

use burn::tensor::{Device, Tensor};

use super::output::{Batch, Output, Per};
use super::selection::{Pooling, Selection};
use super::{Features, ids};
use crate::cli::tokenizer;
use crate::data::{InputRow, pad};
use crate::device::is_gpu;
use crate::error::{Problem, Result};
use crate::model_folder::{self, Described, Opened};
use crate::models::{EncoderInput, EncoderOutput};
use crate::nn::HiddenStates;
use crate::tasks::TaskHead;
use crate::tokenize::Tokenizer;
use crate::weights::Weights;

/// Rows that go through the model at once.
const BATCH: usize = 32;
/// Tokens of texts that do on a CPU, padding included, unless one text has more: products of fewer rows cost more a row, and what more
/// tokens leave behind does not stay in a cache.
const TOKENS: usize = 1024;

/// An encoder of any family, with its head if it has one.
pub(super) struct Encoder<'a, H: TaskHead> {
    opened: Opened<H>,
    /// With the length of the longest row, once there are texts: ids need none.
    tokenizer: Option<(Tokenizer, usize)>,
    selection: &'a Selection,
    device: Device,
}

impl<'a, H: TaskHead> Encoder<'a, H> {
    pub fn open(described: Described, selection: &'a Selection, device: Device) -> Result<Self> {
        if selection.pooling == Some(Pooling::Cls) && described.model.family().reads_words() {
            let problem = Problem::new("reads words and has no [CLS] to take").in_file(&described.folder);
            return Err(problem.help("--pooling mean is the mean of the words").into());
        }
        let options = described.options::<H>()?;
        let opened = model_folder::open::<H>(described, &options, &device)?;
        tracing::info!("{}: {}", opened.described.folder.display(), opened.report);
        Ok(Self { opened, tokenizer: None, selection, device })
    }

    /// How many texts of so many tokens go through the model at once.
    fn most(&self, tokens: usize) -> usize {
        // On a GPU, each number of rows is a shape to compile and choose kernels for.
        if is_gpu(&self.device) { BATCH } else { (TOKENS / tokens.max(1)).max(1) }
    }

    /// Runs rows through the model, and puts what is asked for into the output.
    fn put(&self, input: &EncoderInput, batch: &mut Batch) -> Result<()> {
        let model = &self.opened.model;
        let (output, logits) = match self.selection.only_embeddings() {
            true => (model.backbone.forward(input, HiddenStates::Last), None),
            false => {
                let (output, logits) = model.forward(input);
                (output, Some(logits))
            }
        };
        if let Some(pooling) = self.selection.pooling {
            let pooled = self.pool(pooling, input, &output)?.into_data();
            let shape = pooled.shape().as_slice().to_vec();
            let vectors = self.selection.embeddings(pooled.iter::<f32>().collect(), shape[1]);
            batch.put("embeddings", Per::Row, &shape, &vectors)?;
        }
        let Some(logits) = logits else { return Ok(()) };
        if self.selection.last() {
            put(batch, "last_hidden_state", Per::Token, output.last_hidden_state())?;
        }
        for number in self.selection.layers(output.hidden_states.len())? {
            put(batch, &format!("hidden.{number}"), Per::Token, output.hidden_states[number].clone())?;
        }
        if let Some(pooled) = output.pooled {
            put(batch, "pooled", Per::Row, pooled)?;
        }
        for (name, logits) in H::named_logits(input, logits) {
            let shape = logits.shape().as_slice().to_vec();
            // Tokens have those of three dimensions, and those of where an answer starts and ends.
            let of_tokens = shape.len() == 3 || matches!(name, "start_logits" | "end_logits");
            batch.put(
                name,
                if of_tokens { Per::Token } else { Per::Row },
                &shape,
                &logits.iter::<f32>().collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }

    /// `[batch, hidden]`
    fn pool(&self, pooling: Pooling, input: &EncoderInput, output: &EncoderOutput) -> Result<Tensor<2>> {
        let last = output.last_hidden_state(); // [batch, seq, hidden]
        Ok(match pooling {
            Pooling::Mean => {
                let seen = input.attention_mask.clone().unwrap_or_else(|| input.input_ids.ones_like()).float(); // [batch, seq]
                let count = seen.clone().sum_dim(1).clamp_min(1.0); // [batch, 1]
                (last * seen.unsqueeze_dim(2)).sum_dim(1).squeeze_dim::<2>(1) / count
            }
            Pooling::Cls => last.narrow(1, 0, 1).squeeze_dim(1),
            Pooling::Pooler => output.pooled.clone().ok_or_else(|| {
                Problem::new("has no pooler")
                    .in_file(&self.opened.described.folder)
                    .help("--pooling mean or cls needs none")
            })?,
        })
    }
}

impl<H: TaskHead> Features for Encoder<'_, H> {
    fn of_texts(&mut self, texts: &[String], first: usize, output: &mut Output) -> Result<()> {
        let opened = match self.tokenizer.take() {
            Some(opened) => opened,
            None => tokenizer(&self.opened.described)?,
        };
        self.tokenizer = Some(opened);
        let Some((tokenizer, max_length)) = &self.tokenizer else { return Ok(()) }; // it was put there
        let texts: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (text.as_str(), None)).collect();
        let encodings = tokenizer.encode_batch(&texts, *max_length);
        let rows: Vec<InputRow> = encodings.iter().map(InputRow::from).collect();
        let padding = tokenizer.padding(*max_length);
        // Texts of like length go together, so that little is padded; the longest first, whose memory is then enough for the others.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| Reverse(rows[row].ids.len()));
        let mut rest = order.as_slice();
        while let [longest, ..] = rest {
            let most = self.most(rows[*longest].ids.len()).min(rest.len());
            let (numbers, others) = rest.split_at(most);
            rest = others;
            let batch_rows: Vec<InputRow> = numbers.iter().map(|&number| rows[number]).collect();
            let input = pad(&batch_rows, padding, 0, &self.device);
            let mut batch = output.batch(numbers.iter().map(|&number| (first + number, rows[number].ids.len())));
            self.put(&input, &mut batch)?;
            if let (Some(mask), false) = (input.attention_mask, self.selection.only_embeddings()) {
                put(&mut batch, "attention_mask", Per::Token, mask.float())?;
            }
        }
        Ok(())
    }

    fn of_ids(&mut self, file: &Weights, output: &mut Output) -> Result<()> {
        let config = &self.opened.described.model;
        let (positions, [token_types, task_types]) = (config.max_length(), config.types());
        let input_ids = ids::required(file, "input_ids", config.vocab_size())?;
        let [count, seq] = input_ids.shape;
        if seq > positions {
            let what = format!("has rows of {seq} tokens, the model holds {positions}");
            return Err(ids::problem(file, what).into());
        }
        let read = |name: &str, known: usize| ids::optional(file, name, known, ("input_ids", &input_ids));
        let token_type_ids = read("token_type_ids", token_types)?;
        let task_type_ids = read("task_type_ids", task_types)?;
        let attention_mask = read("attention_mask", 2)?;
        let position_ids = read("position_ids", positions)?;
        for start in (0..count).step_by(BATCH) {
            let rows = start..count.min(start + BATCH);
            let of = |matrix: &ids::Matrix| matrix.rows(rows.clone(), &self.device);
            let input = EncoderInput {
                token_type_ids: token_type_ids.as_ref().map(of),
                task_type_ids: task_type_ids.as_ref().map(of),
                attention_mask: attention_mask.as_ref().map(of),
                position_ids: position_ids.as_ref().map(of),
                ..EncoderInput::new(of(&input_ids))
            };
            self.put(&input, &mut output.batch(rows.clone().map(|row| (row, seq))))?;
        }
        Ok(())
    }
}

fn put<const D: usize>(batch: &mut Batch, name: &str, per: Per, tensor: Tensor<D>) -> Result<()> {
    let data = tensor.into_data();
    batch.put(name, per, data.shape().as_slice(), &data.iter::<f32>().collect::<Vec<f32>>())
}
