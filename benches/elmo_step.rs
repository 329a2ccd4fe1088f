//! One training step of ELMo's language model on the CPU: cells of 1024, projections of 512, two layers in each direction, 16 streams of
//! 20 words, a vocabulary of 8,000 words, Adagrad.
//!
//! `cargo bench --bench elmo_step`; `scripts/elmo_step_pytorch.py` is the other side.

use burn::tensor::{Device, Int, Tensor};
use burn::train::TrainStep;
use criterion::{Criterion, criterion_group, criterion_main};
use kiln::models::elmo::{Chunk, Elmo, ElmoConfig, Tokens};
use kiln::recipe::{OptimizerName, StreamState};
use kiln::tasks::bidirectional_lm::StreamInput;
use kiln::tasks::{Batch, BatchOf, LossTerm};
use kiln::train::{Optimizer, global_norm};
use kiln::weights::TensorNames;

const STREAMS: usize = 16;
const STEPS: usize = 20;
const WORDS: i64 = 8000;

fn batch(device: &Device) -> BatchOf<Elmo> {
    let ids = |offset: i64| {
        let numbers = Tensor::<1, Int>::arange(0..(STREAMS * STEPS) as i64, device); // [streams * steps]
        numbers.mul_scalar(7919).add_scalar(offset).remainder_scalar(WORDS).reshape([STREAMS, STEPS])
    };
    let labels = 2 * STREAMS * STEPS;
    Batch {
        input: StreamInput {
            chunk: Chunk {
                forward: Tokens::Words(ids(1)),
                forward_targets: ids(7920),
                backward: Tokens::Words(ids(2)),
                backward_targets: ids(7921),
                negatives: None,
            },
            state: StreamState::Carried,
        },
        labels: (),
        rows: (0..STREAMS).collect(),
        block: 0,
        tokens: labels,
        padded_tokens: labels,
        terms: vec![LossTerm { scale: STEPS as f64 / labels as f64, ..LossTerm::mean("loss", labels) }],
    }
}

fn elmo_step(criterion: &mut Criterion) {
    kiln::memory::keep();
    let device = Device::flex().autodiff();
    let config = ElmoConfig { vocab_size: WORDS as usize, hidden_size: 1024, ..ElmoConfig::default() };
    let elmo = Elmo::new(&config, true, &device).initialised(1, |_| true);
    let recipe = kiln::recipe::Optimizer {
        name: OptimizerName::Adagrad,
        learning_rate: 0.2,
        epsilon: 0.0,
        initial_accumulator_value: 1.0,
        max_grad_norm: 10.0,
        ..Default::default()
    };
    let mut optimizer = Optimizer::new(&recipe, &TensorNames::OWN);
    let mut trained = Some(elmo);
    let mut group = criterion.benchmark_group("elmo_step");
    group.sample_size(10);
    group.bench_function("whole", |bencher| {
        bencher.iter(|| {
            let elmo = trained.take().expect("put back below");
            let output = TrainStep::step(&elmo, vec![batch(&device)]);
            let norm = global_norm(&elmo, &output.grads);
            trained = Some(optimizer.step(elmo, output.grads, 0.2, norm));
        });
    });
    group.finish();
}

criterion_group!(benches, elmo_step);
criterion_main!(benches);
