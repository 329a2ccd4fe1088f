//! Evaluations over ranks: who computes which batch, what is counted when, and how all end together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use burn::data::dataloader::Progress;
use burn::tensor::Tensor;
use kiln::data::{EvaluationSteps, TokenCache, TokenInfo, TokenRow, TokenRows, WordCounts};
use kiln::error::{Error, Result};
use kiln::evaluate::Evaluator;
use kiln::metrics::{Evaluation, LossSums, SetResult};
use kiln::models::{ModelConfig, ernie_m};
use kiln::ranks::{Ranks, Threads};
use kiln::tasks::sequence_classification::SequenceClassification;
use kiln::tasks::{BatchOf, EvalSet, Scorer, TaskModel, loader};
use kiln::tokenize::Padding;
use kiln::weights::{Initialisation, Missing, Spread, fill};

use crate::cross_attention::config;
use crate::device;

type Model = TaskModel<SequenceClassification>;

const CLASSES: usize = 3;

/// A model whose values are about `spread`.
fn model(spread: f64) -> Model {
    let config = ModelConfig::encoder(&ernie_m::FAMILY, config()).unwrap();
    let empty = Model::new(&config, &CLASSES, CLASSES, &device());
    let initialisation = Initialisation { seed: 4, spread: Spread::Normal(spread) };
    fill(empty, None, &config.family().tensors, initialisation, Missing::HeadsAreNew).unwrap().0
}

const SPREAD: f64 = 0.3;

/// So many rows of one to five tokens.
const ROWS: usize = 90;

fn rows() -> Arc<TokenRows> {
    let row = |number: usize| {
        let ids: Vec<u32> = (0..=number % 5).map(|at| (2 + (number * 7 + at) % 50) as u32).collect();
        TokenRow { first: ids.len() as u32, ids, line: number as u32 + 1, target: vec![(number % CLASSES) as u32] }
    };
    let info = TokenInfo {
        source: "rows".into(),
        sha256: String::new(),
        shards: Vec::new(),
        rows: ROWS,
        skipped: 0,
        left_out: Vec::new(),
        empty: 0,
        truncated: 0,
        words: WordCounts::default(),
    };
    let rows: Vec<TokenRow> = (0..ROWS).map(row).collect();
    Arc::new(TokenRows::new(vec![Arc::new(TokenCache::create(None, "", info, &rows).unwrap())]))
}

/// Is asked about the rows of each batch that is read.
type Watch = Arc<dyn Fn(&[usize]) -> Result<()> + Send + Sync>;

/// Makes a number of the order in which batches are counted, by their first rows.
struct Watched {
    watch: Watch,
    order: usize,
}

impl Scorer<Model> for Watched {
    fn outcome(&self, _: &Model, batch: &BatchOf<Model>, _: &Tensor<2>) -> Result<usize> {
        (self.watch)(&batch.rows)?;
        Ok(batch.rows[0])
    }

    fn count(&mut self, first: usize) {
        self.order = self.order.wrapping_mul(31).wrapping_add(first);
    }

    fn finish(self: Box<Self>, _: &EvalSet, _: &LossSums, result: &mut SetResult) {
        result.correct = self.order;
    }
}

fn evaluator(batch_size: usize, is_shared: bool, watch: Watch) -> Evaluator<Model> {
    let data = rows();
    let steps = EvaluationSteps::new(&data, batch_size);
    let padding = Padding { id: 1, apart: false, types: false, max_length: 64 };
    let loader = loader::<SequenceClassification, _>(steps, data, CLASSES, padding, false, device());
    Evaluator {
        sets: vec![EvalSet { split: "dev".into(), ..EvalSet::default() }],
        loader: Box::new(move |place| Arc::new(loader.of_rank(place))),
        is_shared,
        set_of: Box::new(|_| 0),
        scorers: vec![Box::new(move || Box::new(Watched { watch: watch.clone(), order: 0 }))],
    }
}

fn on_ranks<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let start = |transport| scope.spawn(move || work(Ranks::over(Box::new(transport))));
        let threads: Vec<_> = Threads::group(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// As `eval.json` has them, floats to the bit; the time is another each time.
fn figures(evaluation: Evaluation) -> String {
    serde_json::to_string(&Evaluation { seconds: 0.0, ..evaluation }).unwrap()
}

/// The figures, the batches that this rank computed, and all that it saw: the losses' bits and the progress.
type Ran = (String, Vec<Vec<usize>>, Vec<(u64, usize, usize)>);

fn run(ranks: &Ranks, batch_size: usize, is_shared: bool, spread: f64) -> Ran {
    let computed: Arc<Mutex<Vec<Vec<usize>>>> = Arc::default();
    let watch = {
        let computed = computed.clone();
        move |rows: &[usize]| {
            computed.lock().unwrap().push(rows.to_vec());
            Ok(())
        }
    };
    let evaluator = evaluator(batch_size, is_shared, Arc::new(watch));
    let mut seen = Vec::new();
    let found = evaluator.run(
        &model(spread),
        ranks,
        || false,
        |figures, Progress { items_processed, items_total, .. }| {
            seen.push((figures.0[0].1.to_bits(), items_processed, items_total));
        },
    );
    let computed = computed.lock().unwrap().clone();
    (figures(found.unwrap()), computed, seen)
}

/// Batches of 2 are 45: several rounds. Batches of 40 are 3: fewer than ranks.
#[test]
fn each_batch_is_computed_once_and_counted_in_its_turn() {
    for batch_size in [2, 40] {
        let (expected, batches, seen) = run(&Ranks::alone(), batch_size, true, SPREAD);
        assert!(seen.iter().map(|(_, done, _)| *done).eq(1..=batches.len()), "{seen:?}");
        assert!(expected.contains("\"loss\":1."), "{expected}");
        for size in [1, 2, 3, 5] {
            let found = on_ranks(size, |ranks| run(&ranks, batch_size, true, SPREAD));
            for (rank, (figures, own, all)) in found.iter().enumerate() {
                assert_eq!((figures, all), (&expected, &seen), "rank {rank} of {size}");
                assert!(own.iter().eq(batches.iter().skip(rank).step_by(size)), "rank {rank} of {size}: {own:?}");
            }
            // Each for itself.
            let found = on_ranks(size, |ranks| run(&ranks, batch_size, false, SPREAD));
            let alone = (expected.clone(), batches.clone(), seen.clone());
            assert!(found.iter().all(|found| *found == alone), "{found:?}");
        }
    }
}

/// JSON has no word for the loss of a model that has gone wrong.
#[test]
fn losses_need_not_be_numbers() {
    let (expected, ..) = run(&Ranks::alone(), 20, true, 1e39);
    assert!(expected.contains("\"loss\":null"), "{expected}");
    for (figures, ..) in on_ranks(3, |ranks| run(&ranks, 20, true, 1e39)) {
        assert_eq!(figures, expected);
    }
}

/// Batches that a rank computed until the one that was asked to stop, as its third batch is due, had ended all.
fn stopped(ranks: &Ranks, asked: usize, is_shared: bool) -> usize {
    let computed = Arc::new(AtomicUsize::new(0));
    let counted = computed.clone();
    let watch = move |_: &[usize]| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let due = AtomicUsize::new(0);
    let stop = || ranks.rank() == asked && due.fetch_add(1, Ordering::Relaxed) == 2;
    let ended = evaluator(2, is_shared, Arc::new(watch)).run(&model(SPREAD), ranks, stop, |_, _| {});
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    computed.load(Ordering::Relaxed)
}

#[test]
fn a_stop_of_one_rank_ends_all() {
    assert!(stopped(&Ranks::alone(), 0, true) <= 2);
    for size in [2, 3, 5] {
        for (asked, is_shared) in [(0, true), (size - 1, true), (0, false), (size - 1, false)] {
            let found = on_ranks(size, |ranks| stopped(&ranks, asked, is_shared));
            // The others end with their round, long before their 45 batches, or 9, 15 or 23 of them.
            for (rank, computed) in found.into_iter().enumerate() {
                assert!(computed <= if rank == asked { 2 } else { 16 }, "{computed} batches of rank {rank} of {size}");
            }
        }
    }
}

#[test]
fn an_error_of_one_rank_ends_all() {
    let watch = |rows: &[usize]| if rows.contains(&7) { Err(Error::input("row 7 is gone")) } else { Ok(()) };
    for size in [1, 2, 3, 5] {
        let mut told = on_ranks(size, |ranks| {
            let ended = evaluator(2, true, Arc::new(watch)).run(&model(SPREAD), &ranks, || false, |_, _| {});
            let error = ended.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.problems().iter().map(ToString::to_string).collect::<String>()
        });
        told.retain(|problem| !problem.is_empty());
        // Another rank than the first names itself.
        assert!(told.len() == 1 && told[0].ends_with("row 7 is gone"), "{size}: {told:?}");
    }
}
