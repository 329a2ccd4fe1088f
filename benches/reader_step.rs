//! What the network of DuReader's baseline costs: its sizes (words of 300, LSTMs of 150), 4 questions of 20 words with 5 passages of 300
//! words each; a training step without the update, and a prediction.

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use kiln::nn::{BiDaf, BiDafConfig};
use kiln::weights::{Initialisation, Missing, Spread, TensorNames, fill};

const QUESTIONS: usize = 4;
const PASSAGES: usize = 5;
const ROWS: usize = QUESTIONS * PASSAGES;

fn reader_step(criterion: &mut Criterion) {
    kiln::memory::keep();
    let device = Device::flex().autodiff();
    let config = BiDafConfig { input_size: 300, hidden_size: 150, dropout: 0.0 };
    let initialisation = Initialisation { seed: 1, spread: Spread::Xavier };
    // Nothing is read that could be wrong.
    let (reader, _) =
        fill(BiDaf::new(&config, &device), None, &TensorNames::OWN, initialisation, Missing::HeadsAreNew).unwrap();
    let words = |count| Tensor::<3>::random([ROWS, count, 300], Distribution::Default, &device);
    let (question, passage) = (words(20), words(300));
    let mut group = criterion.benchmark_group("reader_step");
    group.sample_size(10);
    group.bench_function("training", |bencher| {
        bencher.iter(|| {
            let (question, passage) = (question.clone(), passage.clone());
            let (start, end) = reader.forward(question, &[20; ROWS], passage, &[300; ROWS], &[PASSAGES; QUESTIONS]);
            let loss = start.narrow(1, 7, 1).mean() + end.narrow(1, 9, 1).mean();
            black_box(loss.neg().backward());
        });
    });
    group.bench_function("prediction", |bencher| {
        let (reader, question, passage) = (reader.valid(), question.clone().inner(), passage.clone().inner());
        bencher.iter(|| {
            let (question, passage) = (question.clone(), passage.clone());
            black_box(reader.forward(question, &[20; ROWS], passage, &[300; ROWS], &[PASSAGES; QUESTIONS]));
        });
    });
    group.finish();
}

criterion_group!(benches, reader_step);
criterion_main!(benches);
