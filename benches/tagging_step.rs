//! What a CRF costs: LAC's sizes, 32 rows of 64 words, 60 labels. Its loss with the gradient, its best paths, and a training step of the
//! whole network with the features of an ELMo with cells of 512, without the update.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn::train::TrainStep;
use criterion::{Criterion, criterion_group, criterion_main};
use kiln::models::elmo::ElmoConfig;
use kiln::models::words::WordsConfig;
use kiln::models::{EncoderInput, ModelConfig};
use kiln::nn::Crf;
use kiln::recipe::TaggerOptions;
use kiln::tasks::token_classification::{Labels, Options, TokenClassification};
use kiln::tasks::{Batch, LossTerm, TaskBatch, TaskModel};
use kiln::weights::{Missing, TensorNames, fill};

const ROWS: usize = 32;
const STEPS: usize = 64;
const LABELS: usize = 60;
const LENGTHS: [usize; ROWS] = [STEPS; ROWS];

fn numbers(below: usize, device: &Device) -> Tensor<2, Int> {
    let numbers: Vec<i64> = (0..ROWS * STEPS).map(|place| (place * 31 % below) as i64).collect();
    Tensor::from_data(TensorData::new(numbers, [ROWS, STEPS]), device)
}

fn batch(words: usize, device: &Device) -> TaskBatch<TokenClassification> {
    let positions = Tensor::arange(0..STEPS as i64, device).unsqueeze::<2>().expand([ROWS, STEPS]);
    let classes = numbers(LABELS, device);
    Batch {
        input: EncoderInput::new(numbers(words, device)),
        labels: Labels::Rows { positions, classes, lengths: LENGTHS.to_vec() },
        rows: (0..ROWS).collect(),
        block: 0,
        tokens: ROWS * STEPS,
        padded_tokens: ROWS * STEPS,
        terms: vec![LossTerm::mean("loss", ROWS)],
    }
}

fn tagging_step(criterion: &mut Criterion) {
    kiln::memory::keep();
    let device = Device::flex().autodiff();
    let emissions = || Tensor::<3>::random([ROWS, STEPS, LABELS], Distribution::Default, &device).require_grad();
    let labels = numbers(LABELS, &device);
    let mut group = criterion.benchmark_group("tagging_step");
    group.sample_size(10);
    group.bench_function("crf", |bencher| {
        let (crf, emissions) = (Crf::new(LABELS, &device), emissions());
        bencher.iter(|| {
            let losses = crf.negative_log_likelihood(emissions.clone(), labels.clone(), &LENGTHS);
            black_box(losses.mean().backward());
        });
    });
    group.bench_function("best_paths", |bencher| {
        let (crf, emissions) = (Crf::new(LABELS, &device), emissions());
        bencher.iter(|| black_box(crf.decode(emissions.clone(), &LENGTHS)));
    });
    group.bench_function("lac", |bencher| {
        let elmo = ElmoConfig { hidden_size: 512, ..ElmoConfig::default() };
        let config = ModelConfig::from(WordsConfig { elmo: Some(elmo), ..WordsConfig::default() });
        let tagger = TaggerOptions { crf: true, bigru_num: 2, grnn_hidden_dim: 256 };
        let options = Options { tagger, ..Options::default() };
        let empty = TaskModel::<TokenClassification>::new(&config, &options, LABELS, &device);
        let (model, _) = fill(empty, None, &TensorNames::OWN, config.initialisation(1), Missing::HeadsAreNew).unwrap();
        let model = model.frozen();
        let batch = batch(config.vocab_size(), &device);
        bencher.iter(|| black_box(TrainStep::step(&model, vec![batch.clone()])));
    });
    group.finish();
}

criterion_group!(benches, tagging_step);
criterion_main!(benches);
