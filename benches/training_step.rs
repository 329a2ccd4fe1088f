//! One optimizer step of an ERNIE-M of e5-small's shape (12 layers, hidden size 384) on the CPU: 16 rows of 64 tokens, and of 47, for
//! which neither vectors nor blocks of a product come out even.
//!
//! `cargo bench --bench training_step`; divide 16 rows of tokens by the time for tokens a second.

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use burn::train::TrainStep;
use criterion::{Criterion, criterion_group, criterion_main};
use kiln::data::{InputRow, pad};
use kiln::models::{ModelConfig, PretrainedConfig, ernie_m};
use kiln::tasks::sequence_classification::SequenceClassification;
use kiln::tasks::{Batch, LossTerm, TaskBatch, TaskModel};
use kiln::tokenize::Padding;
use kiln::train::{Optimizer, global_norm};
use kiln::weights::{Initialisation, Missing, Spread, fill};

const ROWS: usize = 16;
const TOKENS: [usize; 2] = [64, 47];

fn model(config: &ModelConfig, device: &Device) -> TaskModel<SequenceClassification> {
    let initialisation = Initialisation { seed: 1, spread: Spread::Normal(0.02) };
    let empty = TaskModel::new(config, &3, 3, device);
    fill(empty, None, &config.family().tensors, initialisation, Missing::HeadsAreNew).expect("no file is read").0
}

fn batch(tokens: usize, device: &Device) -> TaskBatch<SequenceClassification> {
    let ids: Vec<Vec<u32>> = (0..ROWS)
        .map(|row| (0..tokens).map(|at| 5 + ((row * 7919 + at * 104_729) % 25_000) as u32).collect())
        .collect();
    let rows: Vec<InputRow> = ids.iter().map(|ids| InputRow { ids, first: tokens }).collect();
    let labels: Vec<i64> = (0..ROWS as i64).map(|row| row % 3).collect();
    Batch {
        input: pad(&rows, Padding { id: 1, apart: false, types: true, max_length: 512 }, tokens, device),
        labels: Tensor::from_data(labels.as_slice(), device),
        rows: (0..ROWS).collect(),
        block: 0,
        tokens: ROWS * tokens,
        padded_tokens: ROWS * tokens,
        terms: vec![LossTerm::mean("loss", ROWS)],
    }
}

fn training_step(criterion: &mut Criterion) {
    kiln::memory::keep();
    let device = Device::flex().autodiff();
    let sizes = PretrainedConfig { vocab_size: 26_000, hidden_size: 384, intermediate_size: 1536, ..ernie_m::DEFAULTS };
    let config = ModelConfig::encoder(&ernie_m::FAMILY, sizes).expect("ERNIE-M is an encoder");
    let recipe = kiln::recipe::Optimizer { max_grad_norm: 1.0, ..Default::default() };
    let mut optimizer = Optimizer::new(&recipe, &config.family().tensors);
    let mut trained = Some(model(&config, &device));
    let mut group = criterion.benchmark_group("training_step");
    group.sample_size(10);
    for tokens in TOKENS {
        group.bench_function(format!("forward_backward/{tokens}"), |bencher| {
            let model = trained.as_ref().expect("put back below");
            bencher.iter(|| black_box(TrainStep::step(model, vec![batch(tokens, &device)])));
        });
        group.bench_function(format!("whole/{tokens}"), |bencher| {
            bencher.iter(|| {
                let model = trained.take().expect("put back below");
                let output = TrainStep::step(&model, vec![batch(tokens, &device)]);
                let norm = global_norm(&model, &output.grads);
                trained = Some(optimizer.step(model, output.grads, 1e-5, norm));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
