//! Streams of sentences: what each row of a batch reads, and that a run can go on at any step.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use kiln::data::Loader;
use kiln::models::elmo::{Elmo, ElmoConfig, LogUniform, Tokens};
use kiln::recipe::{OptimizerName, StreamState};
use kiln::streams::{BpttOptions, Order, Sentences, StreamSteps};
use kiln::tasks::bidirectional_lm::{Left, LeftStreams, StreamCollate};
use kiln::tasks::{BackwardHook, BatchOf, StepTotals, Trainable, number, scale_to_step};
use kiln::tokenize::elmo::WordVocabulary;
use kiln::train::{Blocks, Computed, Optimizer, global_norm};
use kiln::weights::{TensorNames, each_parameter};

use crate::device;

type Batch = BatchOf<Elmo>;

/// `<S>` 0, `</S>` 1, `<UNK>` 2, then a = 3 to f = 8.
fn vocabulary() -> WordVocabulary {
    let words = "<S>\n</S>\n<UNK>\na\nb\nc\nd\ne\nf\n";
    WordVocabulary::from_bytes(words.as_bytes(), Path::new("vocab.txt")).unwrap()
}

fn sentences(files: &[&str]) -> Sentences {
    let folder = tempfile::tempdir().unwrap();
    for (number, text) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.txt")), text).unwrap();
    }
    Sentences::read(&[folder.path().display().to_string()], &vocabulary()).unwrap()
}

fn options(batch_size: usize, num_steps: usize) -> BpttOptions {
    BpttOptions { batch_size, devices: 1, accumulation: 1, num_steps, begin: 0, end: 1, characters: None }
}

fn load(
    steps: StreamSteps,
    options: BpttOptions,
    state: StreamState,
    device: &Device,
) -> Loader<StreamSteps, Vec<Batch>> {
    StreamCollate { options, state, sampler: None }.loader(steps, device)
}

/// The steps `0..total` in these orders, on the processor.
fn endless(
    sentences: Arc<Sentences>,
    options: BpttOptions,
    orders: [Order; 2],
    total: u64,
) -> Loader<StreamSteps, Vec<Batch>> {
    load(StreamSteps::new(sentences, options, orders, total), options, StreamState::Carried, &device())
}

/// Forward inputs and targets, backward inputs and targets.
fn numbers(batch: &Batch) -> [Vec<i64>; 4] {
    let chunk = &batch.input.chunk;
    let ids = |tensor: &Tensor<2, Int>| tensor.to_data().iter::<i64>().collect();
    let words = |tokens: &Tokens| match tokens {
        Tokens::Words(tensor) => ids(tensor),
        Tokens::Characters(_) => unreachable!("the options have words"),
    };
    [words(&chunk.forward), ids(&chunk.forward_targets), words(&chunk.backward), ids(&chunk.backward_targets)]
}

fn steps(loader: &dyn DataLoader<Vec<Batch>>) -> Vec<[Vec<i64>; 4]> {
    loader.iter().map(|step| numbers(&step.unwrap()[0])).collect()
}

/// Worked out by hand from the data reader of the original: a row takes its next sentence when its last is used up, rows one after
/// the other within a step, and a sentence's last symbol is only ever a target.
#[test]
fn rows_are_filled_from_one_sentence_to_the_next() {
    let sentences = Arc::new(sentences(&["a b c\nd\n\ne x\n"]));
    assert_eq!((sentences.count(), sentences.targets(), sentences.unknown(&vocabulary())), (3, 9, 1));
    let loader = endless(sentences, options(2, 3), [Order::Files; 2], 2);
    let found = steps(&loader);
    let [first, second] = found.as_slice() else { panic!("two steps") };
    // Row 0 reads "a b c"; row 1 reads "d", then the begin of "e x".
    assert_eq!(first[0], [0, 3, 4, 0, 6, 0]);
    assert_eq!(first[1], [3, 4, 5, 6, 1, 7]);
    assert_eq!(first[2], [1, 5, 4, 1, 6, 1], "the backward streams have their words reversed");
    assert_eq!(first[3], [5, 4, 3, 6, 0, 2]);
    // Row 0 ends its sentence and begins the second pass; row 1 ends "e x" and takes "d" of the second pass.
    assert_eq!(second[0], [5, 0, 3, 7, 2, 0]);
    assert_eq!(second[1], [1, 3, 4, 2, 1, 6]);
}

/// Every word of every sentence is guessed once in each direction, whatever the number of streams.
#[test]
fn an_evaluation_reads_every_sentence_once() {
    for (batch_size, num_steps) in [(1, 4), (2, 3), (5, 20), (7, 1)] {
        let sentences = Arc::new(sentences(&["a b c\nd\n", "e x\nf f f f f f\n"]));
        let targets = sentences.targets() as usize;
        let options = options(batch_size, num_steps);
        let loader = load(StreamSteps::once(sentences, options), options, StreamState::Carried, &device());
        let batches: Vec<Batch> = loader.iter().flat_map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(Batch::labelled).sum::<usize>(), 2 * targets);
        let counted: usize =
            batches.iter().flat_map(|batch| numbers(batch)[1].clone()).filter(|target| *target >= 0).count();
        assert_eq!(counted, targets);
    }
}

/// A run that goes on at step n reads what an undisturbed run reads there; the directions and the seeds have different orders, and
/// an epoch has every sentence.
#[test]
fn streams_go_on_anywhere() {
    let text: String = (0..60).map(|line| "a b c d e f ".repeat(1 + line % 4) + "\n").collect();
    let sentences = Arc::new(sentences(&[&text, &text]));
    let orders = |seed| [Order::Shuffled { seed }, Order::Shuffled { seed: seed + 1 }];
    let loader = endless(sentences.clone(), options(3, 5), orders(4), 200);
    let all = steps(&loader);
    for start in [0, 1, 57, 199] {
        assert_eq!(steps(&*loader.slice(start, 200)), all[start..]);
    }
    let other = endless(sentences, options(3, 5), orders(6), 200);
    assert_ne!(steps(&other), all);
}

/// A small language model, without dropout.
fn model(device: &Device) -> Elmo {
    model_with_dropout(0.0, device)
}

fn model_with_dropout(dropout: f64, device: &Device) -> Elmo {
    let config = ElmoConfig { vocab_size: 9, hidden_size: 7, projection_dim: 5, dropout, ..ElmoConfig::default() };
    Elmo::new(&config, true, device).initialised(3, |_| true)
}

fn adagrad() -> Optimizer {
    let recipe = kiln::recipe::Optimizer {
        name: OptimizerName::Adagrad,
        initial_accumulator_value: 1.0,
        max_grad_norm: 10.0,
        ..Default::default()
    };
    Optimizer::new(&recipe, &TensorNames::OWN)
}

/// Sentences of 2 to 13 words, which end within chunks and go past them.
fn uneven() -> Arc<Sentences> {
    let text: String = (0..50).map(|line| ["a b c ", "d e f ", "f "][line % 3].repeat(1 + line % 4) + "a\n").collect();
    Arc::new(sentences(&[&text]))
}

/// A step of all its blocks.
fn learn(model: &Elmo, mut batches: Vec<Batch>, carried: &Left) -> Computed<GradientsParams, Left> {
    let totals = StepTotals::of(&batches);
    scale_to_step(&mut batches, &totals);
    Blocks { model, carried, seed: 0, device: &device() }.compute(batches, totals.blocks)
}

/// The softmax's gradients, and in the end all others, as they come.
#[derive(Default)]
struct Taking {
    stages: Vec<usize>,
    taken: BTreeMap<String, Vec<u32>>,
}

struct Visitor<'a> {
    missing: &'a HashSet<ParamId>,
    gradients: &'a mut GradientsParams,
    taken: &'a mut BTreeMap<String, Vec<u32>>,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(param.id).filter(|_| !self.missing.contains(&param.id));
        if let Some(gradient) = gradient {
            let bits = gradient.into_data().iter::<f32>().map(f32::to_bits).collect();
            assert!(self.taken.insert(param.id.to_string(), bits).is_none(), "a gradient came after it was ready");
        }
    }
}

impl BackwardHook<Elmo> for Taking {
    fn begin(&mut self, _earlier: GradientsParams) {}

    fn ready(&mut self, model: &Elmo, missing: &HashSet<ParamId>, gradients: &mut GradientsParams) {
        model.visit(&mut Visitor { missing, gradients, taken: &mut self.taken });
        self.stages.push(self.taken.len());
    }
}

/// On a CPU the gradients have the same bits, whoever waits for the softmax's.
#[test]
fn a_hook_sees_the_gradients_of_the_whole_graph() {
    let device = device().autodiff();
    let model = model_with_dropout(0.3, &device);
    let steps = StreamSteps::new(uneven(), options(4, 5), [Order::Files; 2], 3);
    let batches = load(steps, options(4, 5), StreamState::Carried, &device).iter().next().unwrap().unwrap();
    let learn = |hook: Option<&mut dyn BackwardHook<Elmo>>| {
        kiln::nn::seed_dropout(&device, 5);
        model.learn(batches[0].clone(), &None, hook)
    };
    let mut whole = learn(None);
    let (mut taking, nothing, mut all) = (Taking::default(), HashSet::new(), BTreeMap::new());
    let mut other = learn(Some(&mut taking));
    taking.ready(&model, &nothing, &mut other.gradients);
    model.visit(&mut Visitor { missing: &nothing, gradients: &mut whole.gradients, taken: &mut all });
    assert_eq!(number(&whole.losses[0].sum), number(&other.losses[0].sum));
    assert_eq!(taking.stages, [2, all.len()]);
    assert!(all.len() > 10 && all == taking.taken);
}

/// Three updates, each of two chunks: the parameters by their names, the last loss, and what the streams have left.
fn updates(options: BpttOptions) -> (BTreeMap<String, Vec<f32>>, f64, Left) {
    let device = device().autodiff();
    let (mut model, mut optimizer) = (model(&device), adagrad());
    let options = BpttOptions { accumulation: 2, ..options };
    let steps = StreamSteps::new(uneven(), options, [Order::Files; 2], 3);
    let (mut carried, mut loss) = (None, 0.0);
    for batches in load(steps, options, StreamState::Carried, &device).iter().map(Result::unwrap) {
        let learnt = learn(&model, batches, &carried);
        loss = learnt.losses.iter().map(|loss| number(&loss.sum)).sum();
        carried = learnt.carried;
        let norm = global_norm(&model, &learnt.gradients);
        model = optimizer.step(model, learnt.gradients, 0.2, norm);
    }
    let mut found = BTreeMap::new();
    each_parameter(&model, &TensorNames::OWN, |name, _, values| drop(found.insert(name, values())));
    (found, loss, carried)
}

/// Streams on two devices learn what the same streams learn on one, up to the order in which f32 numbers are summed.
#[test]
fn devices_side_by_side_are_one_large_batch() {
    let large = options(4, 5);
    let apart = BpttOptions { batch_size: 2, devices: 2, ..large };
    let rows = |options| {
        let loader = endless(uneven(), options, [Order::Files; 2], 6);
        let steps = loader.iter().map(Result::unwrap);
        let together = |batches: Vec<Batch>| {
            let all: Vec<_> = batches.iter().map(numbers).collect();
            [0, 1, 2, 3].map(|side| all.iter().flat_map(|batch| batch[side].clone()).collect::<Vec<_>>())
        };
        steps.map(together).collect::<Vec<_>>()
    };
    assert_eq!(rows(large), rows(apart), "the first device has the first streams");

    let (one, loss, left) = updates(large);
    let (two, its_loss, its_left) = updates(apart);
    assert!((loss - its_loss).abs() < 1e-4, "{loss} and {its_loss}: sums of 80 losses of about 2");
    for (name, values) in &one {
        let worst = values.iter().zip(&two[name]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst < 2e-6, "{name}: off by {worst:e}, three updates of up to 0.2");
    }
    let last = |left: Left| left.unwrap().state.backward[1].cell.to_data().iter::<f32>().collect::<Vec<_>>();
    let (left, its_left) = (last(left), last(its_left));
    assert_eq!(left.len(), 4 * 7);
    let worst = left.iter().zip(&its_left).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst < 1e-5 && left.iter().all(|value| *value != 0.0), "off by {worst:e}");
    // Or else any numbers would have passed.
    let first_device_only = updates(BpttOptions { devices: 1, ..apart }).0;
    assert!(one.iter().any(|(name, values)| values.iter().zip(&first_device_only[name]).any(|(a, b)| a != b)));
}

/// With "reset" each chunk is read from zeros, in training and in evaluation, whatever came before; with "carried" it is not.
#[test]
fn a_reset_state_is_zeros_in_every_chunk() {
    let device = device().autodiff();
    let elmo = model(&device);
    let start = || elmo.start(4, &device);
    let fresh = |batch: &Batch| number(&elmo.chunk_loss(&batch.input.chunk, start()).0);
    for (state, is_reset) in [(StreamState::Reset, true), (StreamState::Carried, false)] {
        let options = BpttOptions { accumulation: 3, ..options(4, 5) };
        let steps = StreamSteps::new(uneven(), options, [Order::Files; 2], 1);
        let batches = load(steps, options, state, &device).iter().next().unwrap().unwrap();
        let alone: f64 = batches.iter().map(fresh).sum();
        let learnt = learn(&elmo, batches, &None);
        assert_eq!((number(&learnt.losses[0].sum) - alone).abs() < 1e-3, is_reset, "{state:?}: {alone}");
        assert_eq!(learnt.carried.is_none(), is_reset);

        let options = BpttOptions { accumulation: 1, ..options };
        let loader = load(StreamSteps::once(uneven(), options), options, state, &device);
        let mut batches = loader.iter().flat_map(Result::unwrap);
        let first = batches.next().unwrap();
        let mut left = Some(LeftStreams { first: 0, state: elmo.chunk_loss(&first.input.chunk, start()).1 });
        let second = batches.next().unwrap();
        let alone = fresh(&second);
        let read = number(&elmo.predict(&second, &mut left).0[0].sum);
        assert_eq!((read - alone).abs() < 1e-4, is_reset, "{state:?}: {read} and {alone}");
    }
}

/// What the sampler draws is what it says, and the softmax over the words drawn is the formula written out.
#[test]
fn sampled_softmax_is_the_formula() {
    let sampler = LogUniform { vocabulary: 50, samples: 12, seed: 9 };
    let total: f64 = (0..50).map(|word| sampler.probability(word)).sum();
    assert!((total - 1.0).abs() < 1e-12);
    let (words, draws) = sampler.draw(3);
    assert_eq!(sampler.draw(3), (words.clone(), draws), "a chunk's words follow from its number");
    assert_ne!(sampler.draw(4).0, words);
    let different: std::collections::BTreeSet<_> = words.iter().collect();
    assert_eq!((different.len(), words.len()), (12, 12));
    // Of 400 chunks the most frequent word is in nearly all, the rarest in few.
    let count = |word: i64| (0..400).filter(|number| sampler.draw(*number).0.contains(&word)).count();
    assert!(count(0) > 360 && count(49) < 120, "{} and {}", count(0), count(49));

    let device = device();
    let values = |rows: usize, columns: usize, factor: f64| -> Tensor<2> {
        let tensor = Tensor::<1, Int>::arange(0..(rows * columns) as i64, &device).float();
        (tensor.mul_scalar(factor)).sin().reshape([rows, columns])
    };
    let (top, weight) = (values(3, 4, 0.7), values(50, 4, 1.3));
    let bias = values(1, 50, 0.2).squeeze_dim::<1>(0);
    let targets = Tensor::<1, Int>::from_data([5, -100, words[0]], &device);
    let negatives = sampler.negatives(3, &device);
    let parameters = (Param::from_tensor(weight.clone()), Param::from_tensor(bias.clone()));
    let loss: f64 = negatives.loss(top.clone(), targets, &parameters.0, &parameters.1).into_scalar::<f32>().into();

    let scores: Vec<f64> = top.matmul(weight.transpose()).into_data().iter::<f64>().collect();
    let bias: Vec<f64> = bias.into_data().iter::<f64>().collect();
    let expected = |word: usize| 1.0 - (1.0 - sampler.probability(word)).powi(draws as i32);
    let score = |row: usize, word: usize| scores[row * 50 + word] + bias[word] - expected(word).ln();
    let of_row = |row: usize, right: usize| {
        let others = words.iter().map(|word| *word as usize).filter(|word| *word != right);
        let sum: f64 = others.chain([right]).map(|word| score(row, word).exp()).sum();
        sum.ln() - score(row, right)
    };
    let right = of_row(0, 5) + of_row(2, words[0] as usize);
    assert!((loss - right).abs() < 1e-5, "{loss} and {right}: float32 rounding of two losses");
}

#[test]
fn what_leads_nowhere_is_said() {
    let error = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Sentences::read(&patterns, &vocabulary()).err().expect("there is nothing").to_string()
    };
    assert_eq!(error(&["/nowhere/train_*"]), "/nowhere/train_*: leads to no file");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.txt");
    std::fs::write(&file, "\n  \n").unwrap();
    let file = file.display().to_string();
    assert_eq!(error(&[&file]), format!("no sentence in {file}"));
}
