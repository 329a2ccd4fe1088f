//! The network of DuReader's baseline.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use kiln::nn::{BiDaf, BiDafConfig, cross_entropy_mean};
use kiln::recipe::{self, OptimizerName};
use kiln::train::{Norm, Optimizer};
use kiln::weights::{Initialisation, Missing, Spread, TensorNames, fill};

use crate::device;

fn reader(config: BiDafConfig, device: &Device) -> BiDaf {
    let initialisation = Initialisation { seed: 5, spread: Spread::Xavier };
    fill(BiDaf::new(&config, device), None, &TensorNames::OWN, initialisation, Missing::HeadsAreNew).unwrap().0
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn largest_difference<const D: usize>(one: Tensor<D>, other: Tensor<D>) -> f32 {
    values((one - other).abs().max())[0]
}

/// Nothing of a row depends on what stands behind the ends of its question and its passage, or on how long others are.
#[test]
fn padding_changes_nothing() {
    let device = device();
    device.seed(3);
    let reader = reader(BiDafConfig { input_size: 6, hidden_size: 8, dropout: 0.2 }, &device);
    let of_questions = [4, 1, 2];
    let of_passages = [3, 8, 5];
    let random = |words| Tensor::<3>::random([3, words, 6], Distribution::Normal(0.0, 1.0), &device);
    let (question, passage) = (random(6), random(9));
    let (start, end) = reader.forward(question.clone(), &of_questions, passage.clone(), &of_passages, &[1, 1, 1]);
    assert_eq!((start.dims(), end.dims()), ([3, 9], [3, 9]));
    for row in 0..3 {
        let cut = |x: &Tensor<3>, words| x.clone().narrow(0, row, 1).narrow(1, 0, words);
        let (q, p) = (of_questions[row], of_passages[row]);
        let (first, last) = reader.forward(cut(&question, q), &[q], cut(&passage, p), &[p], &[1]);
        for (alone, of_batch) in [(first, &start), (last, &end)] {
            let sum: f32 = values(alone.clone().exp()).iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "the shares of row {row} sum to {sum}");
            let of_batch = of_batch.clone().narrow(0, row, 1);
            assert!(largest_difference(alone, of_batch.clone().narrow(1, 0, p)) < 1e-5, "row {row}");
            assert!(values(of_batch).iter().skip(p).all(|score| *score == -1e4), "row {row}");
        }
    }
}

/// The passages of one question share one softmax; they do not see more of each other than that.
#[test]
fn passages_of_a_question_share_their_probabilities() {
    let device = device();
    device.seed(3);
    let reader = reader(BiDafConfig { input_size: 6, hidden_size: 8, dropout: 0.0 }, &device);
    let random = |rows, words| Tensor::<3>::random([rows, words, 6], Distribution::Normal(0.0, 1.0), &device);
    let question = random(1, 4).repeat_dim(0, 3);
    let passage = random(3, 7);
    let (start, _) = reader.forward(question, &[4, 4, 4], passage, &[7, 2, 5], &[2, 1]);
    let shares = values(start.exp());
    let sums: Vec<f32> = shares.chunks(7).map(|row| row.iter().sum()).collect();
    assert!((sums[0] + sums[1] - 1.0).abs() < 1e-5 && (sums[2] - 1.0).abs() < 1e-5, "{sums:?}");
    assert!(sums[0] > 0.1 && sums[1] > 0.1, "{sums:?}");
}

const WORDS: usize = 12;
const QUESTION: usize = 3;
const PASSAGE: usize = 8;

/// Questions of three words in which the middle one counts, passages that hold it once, and where; and the end one word later.
fn toy(rows: usize, seed: usize, device: &Device) -> ([Tensor<2, Int>; 2], [Tensor<1, Int>; 2]) {
    let mut state = seed as u64 + 1;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut questions, mut passages, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rows {
        let (asked, place) = (draw(WORDS), draw(PASSAGE - 1));
        questions.extend([WORDS, asked, WORDS]);
        passages.extend((0..PASSAGE).map(|word| match word == place {
            true => asked,
            false => (asked + 1 + draw(WORDS - 1)) % WORDS,
        }));
        first.push(place as i64);
        last.push(place as i64 + 1);
    }
    let ids = |ids: Vec<usize>, words| {
        let ids: Vec<i64> = ids.into_iter().map(|id| id as i64).collect();
        Tensor::from_data(TensorData::new(ids, [rows, words]), device)
    };
    let places = |places: Vec<i64>| Tensor::from_data(TensorData::new(places, [rows]), device);
    ([ids(questions, QUESTION), ids(passages, PASSAGE)], [places(first), places(last)])
}

/// The answer begins with the word that is asked for, which only attention between question and passage can find; training's dropout
/// is on.
#[test]
fn the_word_that_is_asked_for_is_learnt() {
    let device = device().autodiff();
    kiln::nn::seed_dropout(&device, 3);
    let config = BiDafConfig { input_size: 16, hidden_size: 16, dropout: 0.1 };
    let mut reader = reader(config, &device);
    let table = Tensor::<2>::random([WORDS + 1, 16], Distribution::Normal(0.0, 1.0), &device);
    let scores = |reader: &BiDaf, [question, passage]: [Tensor<2, Int>; 2], table: &Tensor<2>| {
        let rows = question.dims()[0];
        let [question, passage] = [question, passage].map(|ids| {
            let words = ids.dims()[1];
            table.clone().select(0, ids.flatten::<1>(0, 1)).reshape([rows, words, 16])
        });
        reader.forward(question, &vec![QUESTION; rows], passage, &vec![PASSAGE; rows], &vec![1; rows])
    };
    let recipe = recipe::Optimizer { name: OptimizerName::Adam, ..Default::default() };
    let mut optimizer = Optimizer::new(&recipe, &TensorNames::OWN);
    let mut losses = Vec::new();
    for step in 0..250 {
        let (words, [first, last]) = toy(32, step, &device);
        let (start, end) = scores(&reader, words, &table);
        let loss = cross_entropy_mean(start, first) + cross_entropy_mean(end, last);
        losses.push(values(loss.clone().detach())[0]);
        let gradients = GradientsParams::from_grads(loss.backward(), &reader);
        reader = optimizer.step(reader, gradients, 1e-2, Norm::default());
    }
    let (words, [first, last]) = toy(200, 10_000, &crate::device());
    let (start, end) = scores(&reader.valid(), words, &table.inner());
    let right = |scores: Tensor<2>, places: Tensor<1, Int>| {
        let found = scores.argmax(1).squeeze_dim::<1>(1);
        found.equal(places).int().sum().into_data().iter::<i64>().sum::<i64>()
    };
    let (begins, ends) = (right(start, first), right(end, last));
    println!("loss {} -> {}, of 200 unseen {begins} begin and {ends} end right", losses[0], losses[losses.len() - 1]);
    // Twice the logarithm of 8 words is 4.16.
    assert!((3.5..5.0).contains(&losses[0]), "{}", losses[0]);
    assert!(begins >= 190 && ends >= 190, "{begins} and {ends} of 200");
}
