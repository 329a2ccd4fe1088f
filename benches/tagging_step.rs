//! What a CRF costs: LAC's sizes, 32 rows of 64 words, 60 labels. Its loss with the gradient by hand, the same left to Burn, its best
//! paths, and a training step of the whole network on features of an ELMo, without the update.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use kiln::models::lac::{Lac, LacConfig};
use kiln::nn::Crf;

const ROWS: usize = 32;
const STEPS: usize = 64;
const LABELS: usize = 60;
const LENGTHS: [usize; ROWS] = [STEPS; ROWS];

fn numbers(below: usize, device: &Device) -> Tensor<2, Int> {
    let numbers: Vec<i64> = (0..ROWS * STEPS).map(|place| (place * 31 % below) as i64).collect();
    Tensor::from_data(TensorData::new(numbers, [ROWS, STEPS]), device)
}

/// The sum over all paths as it is written down, every step of it known to Burn.
fn log_sum(between: &Tensor<2>, emissions: &Tensor<3>) -> Tensor<1> {
    let at = |step: usize| emissions.clone().narrow(1, step, 1).squeeze_dim::<2>(1); // [rows, labels]
    let log_sum_exp = |x: Tensor<3>| {
        let most = x.clone().max_dim(1).detach(); // [rows, 1, labels]
        (most.clone() + (x - most).exp().sum_dim(1).log()).squeeze_dim::<2>(1) // [rows, labels]
    };
    let step = |sums: Tensor<2>, step| {
        log_sum_exp(sums.unsqueeze_dim::<3>(2) + between.clone().unsqueeze::<3>()) + at(step) // [rows, labels]
    };
    let sums = (1..STEPS).fold(at(0), step);
    log_sum_exp(sums.unsqueeze_dim::<3>(2)).squeeze_dim::<1>(1) // [rows]
}

fn tagging_step(criterion: &mut Criterion) {
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
    group.bench_function("crf_left_to_burn", |bencher| {
        let between = Tensor::<2>::random([LABELS, LABELS], Distribution::Default, &device).require_grad();
        let emissions = emissions();
        bencher.iter(|| black_box(log_sum(&between, &emissions).mean().backward()));
    });
    group.bench_function("best_paths", |bencher| {
        let (crf, emissions) = (Crf::new(LABELS, &device), emissions());
        bencher.iter(|| black_box(crf.decode(emissions.clone(), &LENGTHS)));
    });
    group.bench_function("lac", |bencher| {
        let config = LacConfig::default();
        let lac = Lac::new(&config, LABELS, &device).initialised(&config, 1);
        let words = numbers(config.vocab_size, &device);
        let features = Tensor::<3>::random([ROWS, STEPS, config.features_dim], Distribution::Default, &device);
        bencher.iter(|| {
            let emissions = lac.emissions(words.clone(), Some(features.clone()), &LENGTHS);
            black_box(lac.losses(emissions, labels.clone(), &LENGTHS).mean().backward());
        });
    });
    group.finish();
}

criterion_group!(benches, tagging_step);
criterion_main!(benches);
