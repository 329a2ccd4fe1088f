//! The kernels of recurrent layers and of the CRF against the plain operations that they stand for, forward and backward, on the device under test.

use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{FloatDType, Tensor, TensorData};
use kiln::device::{is_gpu, precisions};
use kiln::kernels::{self, LstmInput};
use kiln::recipe::Precision;

use crate::device;
use crate::kernels::{compare, found, numbers, values};

/// One where a row has the step, else zero, `[batch, width]`.
fn there(lengths: &[usize], step: usize, like: &Tensor<2>) -> Tensor<2> {
    let there: Vec<f32> = lengths.iter().map(|length| if step < *length { 1.0 } else { 0.0 }).collect();
    Tensor::<2>::from_data(TensorData::new(there, [lengths.len(), 1]), &like.device()).expand(like.dims())
}

/// `now` in the rows that have the step, `before` in the others.
fn kept(now: &Tensor<2>, before: Tensor<2>, lengths: &[usize], step: usize) -> Tensor<2> {
    let there = there(lengths, step, now);
    now.clone() * there.clone() + before * (1.0 - there)
}

fn order(steps: usize, reversed: bool) -> Vec<usize> {
    if reversed { (0..steps).rev().collect() } else { (0..steps).collect() }
}

/// The steps' outputs in the order of the steps, 0 where a row has ended.
fn outputs(mut found: Vec<(usize, Tensor<2>)>, lengths: &[usize]) -> Tensor<3> {
    found.sort_by_key(|(step, _)| *step);
    Tensor::stack(found.into_iter().map(|(step, x)| x.clone() * there(lengths, step, &x)).collect(), 1)
}

fn product(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    x.cast(weight.dtype()).matmul(weight.clone()).cast(FloatDType::F32)
}

struct Case<'a> {
    /// Batch, steps, width of the output and of the cell.
    shape: [usize; 4],
    projects: bool,
    clips: [Option<f64>; 2],
    lengths: Option<&'a [usize]>,
    reversed: bool,
    dtype: FloatDType,
}

type Lstm<'a> = &'a dyn Fn(&LstmInput, &Case) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)>;

fn plain_lstm(input: &LstmInput, case: &Case) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    let Case { shape: [batch, steps, _, width], clips: [cell_limit, output_limit], lengths, reversed, .. } = *case;
    let whole = vec![steps; batch];
    let lengths = lengths.unwrap_or(&whole);
    let clip = |x: Tensor<2>, limit: Option<f64>| limit.map_or(x.clone(), |limit| x.clamp(-limit, limit));
    let (mut hidden, mut cell) = (input.hidden.clone(), input.cell.clone());
    let mut all = Vec::new();
    for step in order(steps, reversed) {
        let gates =
            input.gates.clone().narrow(1, step, 1).squeeze_dim::<2>(1) + product(hidden.clone(), input.recurrent);
        let part = |number: usize| gates.clone().narrow(1, number * width, width); // [batch, cell]
        let next = tanh(part(0)) * sigmoid(part(1)) + cell.clone() * sigmoid(part(2));
        let next = clip(next, cell_limit);
        let inner = sigmoid(part(3)) * tanh(next.clone());
        let output = input.projection.map_or(inner.clone(), |projection| product(inner, projection));
        let output = clip(output, output_limit); // [batch, output]
        all.push((step, output.clone()));
        hidden = kept(&output, hidden, lengths, step);
        cell = kept(&next, cell, lengths, step);
    }
    Some((outputs(all, lengths), hidden, cell))
}

fn our_lstm(input: &LstmInput, case: &Case) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    kernels::lstm(input, case.clips, case.lengths, case.reversed)
}

/// Outputs, state, and gradients, one after the other: of the inputs' gates, the weights and the first state.
fn run_lstm(of: Lstm, case: &Case) -> Option<Vec<Vec<f32>>> {
    let [batch, steps, output, cell] = case.shape;
    let gates = (numbers([batch, steps, 4 * cell], 1) * 2.0).detach().require_grad();
    let weight = |rows: usize, columns: usize, seed: u32| {
        let scale = 2.0 / (rows as f64).sqrt();
        (numbers([rows, columns], seed) * scale).detach().require_grad()
    };
    let [recurrent, projection] = [weight(output, 4 * cell, 2), weight(cell, output, 3)];
    let [hidden, first] = [numbers([batch, output], 4).require_grad(), numbers([batch, cell], 5).require_grad()];
    let cast = |weight: &Tensor<2>| weight.clone().cast(case.dtype);
    let second = cast(&projection);
    let input = LstmInput {
        gates: &gates,
        recurrent: &cast(&recurrent),
        projection: case.projects.then_some(&second),
        hidden: &hidden,
        cell: &first,
    };
    let (outputs, last_hidden, last_cell) = of(&input, case)?;
    let weighed = (outputs.clone() * numbers([batch, steps, output], 6)).sum()
        + (last_hidden.clone() * numbers([batch, output], 7)).sum()
        + (last_cell.clone() * numbers([batch, cell], 8)).sum();
    let gradients = weighed.backward();
    let mut all =
        vec![values(outputs), values(last_hidden), values(last_cell), values(gates.grad(&gradients).unwrap())];
    let weights = [Some(recurrent), case.projects.then_some(projection), Some(hidden), Some(first)];
    all.extend(weights.into_iter().flatten().map(|weight| values(weight.grad(&gradients).unwrap())));
    Some(all)
}

const CLIPS: [Option<f64>; 2] = [Some(0.4), Some(0.3)];
const FREE: [Option<f64>; 2] = [None, None];

#[test]
fn an_lstm_is_the_plain_operations() {
    // Each shape of a product is a kernel to be found, which takes its time.
    let small: &[_] =
        &[(CLIPS, true, false), (CLIPS, false, true), (FREE, true, true), ([None, Some(0.2)], false, false)];
    let large: &[_] = &[(FREE, false, false), ([Some(0.5), None], true, true)];
    for ([batch, steps, output, cell], lengths, ways) in [
        ([4, 6, 5, 7], Some(&[6, 1, 0, 4][..]), small),
        ([4, 6, 5, 7], None, &small[..2]),
        ([3, 4, 24, 130], Some(&[3, 4, 2]), large),
    ] {
        for &(clips, projects, reversed) in ways {
            let shape = [batch, steps, if projects { output } else { cell }, cell];
            let case = Case { shape, projects, clips, lengths, reversed, dtype: FloatDType::F32 };
            let Some(ours) = found(run_lstm(&our_lstm, &case)) else { return };
            let again = run_lstm(&our_lstm, &case).unwrap();
            assert_eq!(ours, again, "the order of the sums is fixed");
            let right = run_lstm(&plain_lstm, &case).unwrap();
            assert_eq!(ours.len(), right.len());
            for (number, (ours, right)) in ours.iter().zip(&right).enumerate() {
                let what = format!("{number} of {shape:?}, {clips:?}, {projects}, {lengths:?}, {reversed}");
                assert!(right.iter().any(|x| *x != 0.0), "{what}: nothing but zeros");
                compare(ours, right, &what);
            }
        }
    }
}

/// Without gradients nothing is kept, and the outputs are those of training.
#[test]
fn an_lstm_without_gradients_has_the_same_outputs() {
    let (gates, [recurrent, projection]) = (numbers([4, 6, 28], 1), [numbers([5, 28], 2), numbers([7, 5], 3)]);
    let (hidden, cell) = (numbers([4, 5], 4), numbers([4, 7], 5));
    let run = |gates: &Tensor<3>| {
        let input =
            LstmInput { gates, recurrent: &recurrent, projection: Some(&projection), hidden: &hidden, cell: &cell };
        let (outputs, hidden, cell) = kernels::lstm(&input, CLIPS, Some(&[6, 1, 0, 4]), true)?;
        Some([values(outputs), values(hidden), values(cell)])
    };
    let Some(plain) = found(run(&gates)) else { return };
    assert_eq!(plain, run(&gates.clone().require_grad()).unwrap());
}

fn plain_gru(gates: &Tensor<3>, recurrent: &Tensor<2>, lengths: &[usize], reversed: bool) -> Option<Tensor<3>> {
    let ([batch, steps, _], [hidden, _]) = (gates.dims(), recurrent.dims());
    let all = recurrent.clone().flatten::<1>(0, 1); // [3 * hidden * hidden]
    let of_gates = all.clone().narrow(0, 0, 2 * hidden * hidden).reshape([hidden, 2 * hidden]);
    let of_candidate = all.narrow(0, 2 * hidden * hidden, hidden * hidden).reshape([hidden, hidden]);
    let mut state = Tensor::<2>::zeros([batch, hidden], &gates.device());
    let mut all = Vec::new();
    for step in order(steps, reversed) {
        let x = gates.clone().narrow(1, step, 1).squeeze_dim::<2>(1); // [batch, 3 * hidden]
        let both = sigmoid(x.clone().narrow(1, 0, 2 * hidden) + product(state.clone(), &of_gates)); // [batch, 2 * hidden]
        let (update, reset) = (both.clone().narrow(1, 0, hidden), both.narrow(1, hidden, hidden));
        let candidate = tanh(x.narrow(1, 2 * hidden, hidden) + product(reset * state.clone(), &of_candidate));
        let next: Tensor<2> = state.clone() + update * (candidate - state.clone()); // [batch, hidden]
        all.push((step, next.clone()));
        state = kept(&next, state, lengths, step);
    }
    Some(outputs(all, lengths))
}

/// The output, and the gradients of gates and weights.
fn run_gru(
    of: &dyn Fn(&Tensor<3>, &Tensor<2>) -> Option<Tensor<3>>,
    [batch, steps, hidden]: [usize; 3],
    dtype: FloatDType,
) -> Option<Vec<Vec<f32>>> {
    let gates = (numbers([batch, steps, 3 * hidden], 1) * 2.0).detach().require_grad();
    let scale = 2.0 / (hidden as f64).sqrt();
    let recurrent = (numbers([hidden, 3 * hidden], 2) * scale).detach().require_grad();
    let output = of(&gates, &recurrent.clone().cast(dtype))?;
    let gradients = (output.clone() * numbers([batch, steps, hidden], 3)).sum().backward();
    Some(vec![values(output), values(gates.grad(&gradients).unwrap()), values(recurrent.grad(&gradients).unwrap())])
}

#[test]
fn a_gru_is_the_plain_operations() {
    for (shape, lengths) in
        [([4, 6, 5], &[6, 1, 0, 4][..]), ([3, 9, 130], &[3, 9, 2]), ([2, 5, 64], &[5, 5]), ([1, 1, 3], &[1])]
    {
        for reversed in [false, true] {
            let ours = |gates: &Tensor<3>, recurrent: &Tensor<2>| kernels::gru(gates, recurrent, lengths, reversed);
            let Some(all) = found(run_gru(&ours, shape, FloatDType::F32)) else { return };
            assert_eq!(all, run_gru(&ours, shape, FloatDType::F32).unwrap(), "the order of the sums is fixed");
            let plain = |gates: &Tensor<3>, recurrent: &Tensor<2>| plain_gru(gates, recurrent, lengths, reversed);
            let right = run_gru(&plain, shape, FloatDType::F32).unwrap();
            for (number, (ours, right)) in all.iter().zip(&right).enumerate() {
                compare(ours, right, &format!("{number} of {shape:?}, {lengths:?}, {reversed}"));
            }
            let gates = numbers([shape[0], shape[1], 3 * shape[2]], 1);
            let recurrent = numbers([shape[2], 3 * shape[2]], 2);
            let tracked = ours(&gates.clone().require_grad(), &recurrent).unwrap();
            assert_eq!(values(ours(&gates, &recurrent).unwrap()), values(tracked), "without gradients");
        }
    }
}

/// Over the middle dimension, `[batch, from, to] -> [batch, to]`.
fn log_sum_exp(x: Tensor<3>) -> Tensor<2> {
    let most = x.clone().max_dim(1).detach(); // [batch, 1, to]
    (most.clone() + (x - most).exp().sum_dim(1).log()).squeeze_dim::<2>(1)
}

fn plain_log_sum_of_paths(transitions: &Tensor<2>, emissions: &Tensor<3>, lengths: &[usize]) -> Option<Tensor<1>> {
    let [_, steps, labels] = emissions.dims();
    let between = transitions.clone().narrow(0, 2, labels).unsqueeze::<3>(); // [1, from, to]
    let emitted = |step: usize| emissions.clone().narrow(1, step, 1).squeeze_dim::<2>(1); // [batch, labels]
    let mut sums = transitions.clone().narrow(0, 0, 1) + emitted(0); // [batch, labels]
    for step in 1..steps {
        let next = log_sum_exp(sums.clone().unsqueeze_dim::<3>(2) + between.clone()) + emitted(step);
        sums = kept(&next, sums, lengths, step);
    }
    let sums = sums + transitions.clone().narrow(0, 1, 1); // [batch, labels]
    Some(log_sum_exp(sums.unsqueeze_dim::<3>(2)).squeeze_dim::<1>(1))
}

/// Labels less than a cube has units, and more; scores whose exponentials overflow, too.
#[test]
fn a_crfs_paths_are_those_of_the_plain_operations() {
    for ([batch, steps, labels], lengths, size) in
        [([4, 6, 5], &[6, 1, 0, 4][..], 1.0), ([4, 6, 5], &[6, 5, 2, 4], 60.0), ([3, 4, 150], &[2, 4, 3], 2.0)]
    {
        type Of<'a> = &'a dyn Fn(&Tensor<2>, &Tensor<3>, &[usize]) -> Option<Tensor<1>>;
        let run = |of: Of| {
            let transitions = (numbers([labels + 2, labels], 1) * size).detach().require_grad();
            let emissions = (numbers([batch, steps, labels], 2) * size).detach().require_grad();
            let sums = of(&transitions, &emissions, lengths)?;
            let gradients = (sums.clone() * numbers([batch], 3)).sum().backward();
            let of_transitions = values(transitions.grad(&gradients).unwrap());
            Some([values(sums), of_transitions, values(emissions.grad(&gradients).unwrap())])
        };
        let ours = &|transitions: &Tensor<2>, emissions: &Tensor<3>, lengths: &[usize]| {
            kernels::log_sum_of_paths(transitions, emissions, lengths)
        };
        let Some(ours) = found(run(ours)) else { return };
        let right = run(&plain_log_sum_of_paths).unwrap();
        for (number, (ours, right)) in ours.iter().zip(&right).enumerate() {
            compare(ours, right, &format!("{number} of {batch} x {steps} x {labels}, {lengths:?}"));
        }
    }
}

/// Products in a half are off by its rounding.
#[test]
fn products_in_halves_are_close() {
    if !is_gpu(&device()) {
        return;
    }
    for precision in precisions(&device()) {
        let (dtype, rounding) = match precision {
            Precision::F32 | Precision::Int8 => continue,
            Precision::F16 => (FloatDType::F16, 4e-3),
            Precision::Bf16 => (FloatDType::BF16, 3e-2),
        };
        let close = |halves: Vec<Vec<f32>>, right: Vec<Vec<f32>>, what: &str| {
            for (number, (halves, right)) in halves.iter().zip(&right).enumerate() {
                let size = right.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
                let off = halves.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
                assert!(off < rounding * size, "{number} of {what} in {precision:?}: off by {off}, of {size}");
                assert!(off > 0.0, "{number} of {what}: {precision:?} is float32");
            }
        };
        for projects in [false, true] {
            let case = |dtype| {
                let (shape, lengths) = ([4, 6, 24, 24], Some(&[6, 1, 0, 4][..]));
                Case { shape, projects, clips: FREE, lengths, reversed: true, dtype }
            };
            let run = |dtype| run_lstm(&our_lstm, &case(dtype)).unwrap();
            close(run(dtype), run(FloatDType::F32), "an LSTM");
        }
        let gru = |gates: &Tensor<3>, recurrent: &Tensor<2>| kernels::gru(gates, recurrent, &[6, 1, 0, 4], true);
        let run = |dtype| run_gru(&gru, [4, 6, 24], dtype).unwrap();
        close(run(dtype), run(FloatDType::F32), "a GRU");
    }
}
