//! ERNIE-M's own pre-training: a mixture of tasks, batch by batch.

use super::options::SampleOptions;
use super::pairs::{PairSample, PairSet};
use super::sampler::WeightedSampler;
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::random::{Keyed, Use};
use crate::recipe::{PseudoTokens, TaskName, TaskShare};
use crate::tokenize::Tokenizer;

/// The samples of all tasks. Each batch is of one task, drawn by the mixture's weights, and takes the next samples of that task.
#[derive(Debug)]
pub struct Multilingual {
    tasks: Vec<(TaskName, PairSet)>,
    sampler: WeightedSampler,
    batch_size: u64,
    seed: u64,
    generate: PseudoTokens,
    /// The token that placeholders are.
    pub mask: u32,
    pub sep: u32,
}

/// A batch's task and samples.
pub struct MixtureBatch {
    pub task: TaskName,
    pub samples: Vec<PairSample>,
    /// For each sample of a back-translation whose pseudo tokens are drawn, a number from 0 to below 1 for each of them.
    pub draws: Option<Vec<Vec<f32>>>,
}

impl MixtureBatch {
    /// Some of its samples.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let samples = rows.iter().map(|row| self.samples[*row].clone()).collect();
        let draws = self.draws.as_ref().map(|draws| rows.iter().map(|row| draws[*row].clone()).collect());
        Self { task: self.task, samples, draws }
    }
}

/// A table of languages has a row for each that the corpora have.
fn check_languages(rows: usize, names: &[String]) -> Result<()> {
    if rows > 0 && rows < names.len() {
        let what = format!(
            "model.config.num_languages is {rows}, but the corpora have the {} languages {}",
            names.len(),
            names.join(", ")
        );
        return Err(Problem::new(what).help(format!("model.config.num_languages={}", names.len())).into());
    }
    Ok(())
}

impl Multilingual {
    /// The tasks of the mixture to train on, or the own task to evaluate; `None` where a part has nothing for one of them.
    ///
    /// # Errors
    /// Corpora that cannot be read or are of another tokenizer; a task without corpora of its kind.
    pub fn open(options: &SampleOptions, tokenizer: &Tokenizer, split: Split) -> Result<Option<Self>> {
        let own = TaskShare { name: options.task.name, weight: 1.0 };
        let shares = match (&options.task.mixture, split) {
            (Some(mixture), Split::Train) => mixture.clone(),
            _ => vec![own],
        };
        let mut tasks = Vec::new();
        for share in &shares {
            let Some(set) = PairSet::open(share.name, options, tokenizer, split)? else { return Ok(None) };
            check_languages(options.num_languages, set.languages())?;
            tasks.push((share.name, set));
        }
        let batch_size = options.batch_size as u64;
        let weights: Vec<f64> = shares.iter().map(|share| share.weight).collect();
        let batches = options.counts.get(split).div_ceil(batch_size);
        let sampler = WeightedSampler::new(Use::Task, options.seed, &weights, batches)?;
        let specials = tokenizer.specials();
        Ok(Some(Self {
            tasks,
            sampler,
            batch_size,
            seed: options.seed,
            generate: options.pretraining.generate.unwrap_or_default(),
            mask: specials.mask,
            sep: specials.sep,
        }))
    }

    /// The batch whose first sample has this number among those of all tasks; it has `count` samples.
    ///
    /// # Errors
    /// As [`PairSet::sample`].
    pub fn batch(&self, first: u64, count: usize) -> Result<MixtureBatch> {
        let (set, before) = self.locate(first)?;
        let (task, set) = (self.tasks[set].0, &self.tasks[set].1);
        let numbers = before * self.batch_size..before * self.batch_size + count as u64;
        let samples: Vec<PairSample> = numbers.clone().map(|number| set.sample(number)).collect::<Result<_>>()?;
        let draws = (self.generate == PseudoTokens::Sampling).then(|| {
            let of_sample = |(number, sample): (u64, &PairSample)| {
                let mut rng = Keyed::new(Use::Pseudo, [self.seed, number, 0]);
                (0..sample.pseudo_tokens).map(|_| rng.uniform() as f32).collect()
            };
            numbers.zip(&samples).map(of_sample).collect()
        });
        Ok(MixtureBatch { task, samples, draws })
    }

    /// The task of a sample's batch, and how many batches of the task come before.
    fn locate(&self, number: u64) -> Result<(usize, u64)> {
        let drawn = self.sampler.get(number / self.batch_size);
        drawn.ok_or_else(|| Error::input(format!("there is no sample {number}")))
    }

    /// Where a sample's sentences are, for messages.
    pub fn place(&self, number: u64) -> String {
        match self.locate(number) {
            Ok((set, before)) => self.tasks[set].1.place(before * self.batch_size + number % self.batch_size),
            Err(_) => format!("sample {number}"),
        }
    }

    /// What the samples are: the same for the same corpora and options.
    ///
    /// # Errors
    /// As [`PairSet::sample`].
    pub fn fingerprint(&self) -> Result<String> {
        let sets = self.tasks.iter().map(|(task, set)| Ok(format!("{} {}", task.word(), set.fingerprint()?)));
        Ok(sets.collect::<Result<Vec<_>>>()?.join(", "))
    }
}
