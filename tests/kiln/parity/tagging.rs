//! The CRF and the GRU against the operators of Paddle's fluid, which LAC is made of.

use kiln::nn::{BiGru, Crf, paddlenlp_transitions, viterbi};
use proptest::prelude::*;

use super::*;
use crate::parameters::{given, gradients as by_path};

fn io() -> Weights {
    Weights::open(&fixture("parity/tagging.safetensors")).unwrap()
}

pub(super) fn lengths(io: &Weights, name: &str) -> Vec<usize> {
    io.read_i64(name).unwrap().into_iter().map(|length| length as usize).collect()
}

pub(super) fn assert_gradient(ours: &[f64], theirs: &[f64], what: &str) {
    let largest = theirs.iter().map(|x| x.abs()).fold(0.0, f64::max);
    let worst = largest_difference(ours, theirs);
    assert!(worst <= coarseness() * GRADIENTS * largest, "{what}: off by {worst:e} of {largest:e}");
}

/// A float array of three dimensions.
pub(super) fn cube(io: &Weights, name: &str, device: &Device) -> Tensor<3> {
    let shape: [usize; 3] = io.get(name).unwrap_or_else(|| panic!("{name}")).shape.as_slice().try_into().unwrap();
    Tensor::from_data(TensorData::new(io.read_f32(name).unwrap(), shape), device)
}

/// In the large case a sum of exponentials that is not done in logarithms overflows.
#[test]
fn losses_gradients_and_best_paths_of_a_crf_are_paddles() {
    let (io, device) = (io(), device().autodiff());
    let lengths = lengths(&io, "lengths");
    for case in ["crf", "crf_large"] {
        let name = |name: &str| format!("{case}.{name}");
        let emissions = cube(&io, &name("emissions"), &device).require_grad();
        let [_, steps, tags] = emissions.dims();
        let crf = given(Crf::new(tags, &device), |_| Some(io.read_f32(&name("transitions")).unwrap()));
        let losses = crf.negative_log_likelihood(emissions.clone(), integers(&io, &name("labels"), &device), &lengths);
        let expected = io.read_f64(&name("nll")).unwrap();
        for (ours, theirs) in values(&losses).into_iter().zip(expected) {
            assert!((ours - theirs).abs() <= coarseness() * LOSSES * theirs.max(1.0), "{case}: {ours} for {theirs}");
        }

        let mut gradients = losses.mean().backward();
        let by_emission = values(&emissions.grad(&gradients).unwrap());
        assert_gradient(&by_emission, &io.read_f64(&name("grad.emissions")).unwrap(), case);
        for (row, &length) in by_emission.chunks(steps * tags).zip(&lengths) {
            assert!(row[length * tags..].iter().all(|&x| x == 0.0), "{case}: a gradient behind the end");
        }
        let gradients = GradientsParams::from_module(&mut gradients, &crf);
        let by_transition = &by_path(&crf, &gradients)["transitions"];
        assert_gradient(by_transition, &io.read_f64(&name("grad.transitions")).unwrap(), case);

        let paths = io.read_i64(&name("decoded")).unwrap();
        let paths = paths.chunks(steps).zip(&lengths).map(|(row, &length)| &row[..length]);
        for (ours, theirs) in crf.decode(emissions, &lengths).into_iter().zip(paths) {
            assert_eq!(ours.into_iter().map(i64::from).collect::<Vec<_>>(), theirs, "{case}");
        }
    }
}

/// PaddleNLP's own numbers, with its loss, whose transitions are read both ways.
#[test]
fn the_loss_and_the_decoder_of_paddlenlp() {
    let Some(folder) = real_data() else { return };
    let (io, device) = (Weights::open(&folder.join("golden/pd_crf/io.safetensors")).unwrap(), device().autodiff());
    for (case, start_stop_tags) in [("nobos", false), ("bos", true)] {
        let name = |name: &str| format!("{case}.{name}");
        let lengths = lengths(&io, &name("lengths"));
        let emissions = cube(&io, &name("emissions"), &device).require_grad();
        let [_, steps, tags] = emissions.dims();
        let theirs = io.read_f32(&name("transitions")).unwrap();
        let table = paddlenlp_transitions(&theirs, tags, start_stop_tags);
        let crf = given(Crf::new(tags, &device), |_| Some(table.clone()));
        let labels = integers(&io, &name("labels"), &device);
        let losses = crf.paddlenlp_loss(emissions.clone(), labels, &lengths, start_stop_tags);
        assert_near(&losses, &io, &name("loss_per_sequence"), LOSSES);

        let mut gradients = losses.mean().backward();
        let by_emission = values(&emissions.grad(&gradients).unwrap());
        assert_gradient(&by_emission, &io.read_f64(&name("grad_emissions")).unwrap(), case);
        let gradients = GradientsParams::from_module(&mut gradients, &crf);
        // The rows of beginning and ending are copies of two of its rows.
        let ours = &by_path(&crf, &gradients)["transitions"];
        let mut folded = ours[2 * tags..].to_vec();
        if start_stop_tags {
            (0..tags).for_each(|tag| folded[(tags - 1) * tags + tag] += ours[tag]);
            (0..tags).for_each(|tag| folded[(tags - 2) * tags + tag] += ours[tags + tag]);
        }
        assert_gradient(&folded, &io.read_f64(&name("grad_transitions")).unwrap(), case);

        let (scores, paths) =
            (io.read_f64(&name("viterbi_scores")).unwrap(), io.read_i64(&name("viterbi_paths")).unwrap());
        let emissions = io.read_f32(&name("emissions")).unwrap();
        for (row, &length) in lengths.iter().enumerate() {
            let emitted = &emissions[row * steps * tags..][..length * tags];
            let (score, path) = viterbi(&table, emitted, tags);
            assert!((score - scores[row]).abs() < LOSSES, "{case}: {score} for {}", scores[row]);
            let path: Vec<i64> = path.into_iter().map(i64::from).collect();
            assert_eq!(path, paths[row * steps..][..length], "{case}");
        }
    }
}

/// Every row of `steps` of `labels` labels: the first of those with the same end is the one with the lowest labels from the end on.
fn all_paths(labels: usize, steps: usize) -> Vec<Vec<usize>> {
    let paths = (0..labels.pow(steps as u32)).map(|mut number| {
        let mut path = vec![0; steps];
        for label in path.iter_mut() {
            *label = number % labels;
            number /= labels;
        }
        path
    });
    paths.collect()
}

/// What [`Crf`]'s documentation says a path scores.
fn score(transitions: &[f32], emissions: &[f32], labels: usize, path: &[usize]) -> f64 {
    let (Some(&first), Some(&last)) = (path.first(), path.last()) else { return 0.0 };
    let emitted: f64 = path.iter().enumerate().map(|(step, label)| f64::from(emissions[step * labels + label])).sum();
    let passed: f64 = path.windows(2).map(|pair| f64::from(transitions[(2 + pair[0]) * labels + pair[1]])).sum();
    f64::from(transitions[first]) + f64::from(transitions[labels + last]) + emitted + passed
}

/// Labels, the length of each of three rows, transitions and emissions.
fn fields(
    number: impl Strategy<Value = f32> + Clone,
) -> impl Strategy<Value = (usize, [usize; 3], Vec<f32>, Vec<f32>)> {
    (1..4usize, [0..5usize, 0..5, 0..5]).prop_flat_map(move |(labels, lengths)| {
        let transitions = prop::collection::vec(number.clone(), (labels + 2) * labels);
        let emissions = prop::collection::vec(number.clone(), 3 * 5 * labels);
        (Just(labels), Just(lengths), transitions, emissions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Small whole numbers, so that many paths score the same.
    #[test]
    fn the_best_path_is_the_first_of_the_best(
        (labels, lengths, transitions, emissions) in fields((-2..3i32).prop_map(|x| x as f32))
    ) {
        let device = device();
        let crf = given(Crf::new(labels, &device), |_| Some(transitions.clone()));
        let batch = Tensor::<3>::from_data(TensorData::new(emissions.clone(), [3, 5, labels]), &device);
        let decoded = crf.decode(batch, &lengths);
        for (row, &length) in lengths.iter().enumerate() {
            let row_emissions = &emissions[row * 5 * labels..];
            let paths = all_paths(labels, length);
            // The numbering counts the first label fastest: the lowest number among equals has the lowest last label.
            let best = paths.iter().rev().max_by(|a, b| {
                let score = |path: &[usize]| score(&transitions, row_emissions, labels, path);
                score(a).total_cmp(&score(b))
            }).unwrap();
            let best: Vec<u32> = best.iter().map(|&label| label as u32).collect();
            prop_assert_eq!(&decoded[row], &best);
        }
    }

    /// The likelihoods of all rows of labels sum up to 1, and each is that of its score. PaddleNLP's loss is what its documentation here
    /// says.
    #[test]
    fn losses_are_the_sums_that_are_written_down(
        (labels, lengths, transitions, emissions) in fields(-4.0..4.0f32), seed in 0..1000usize
    ) {
        let device = device();
        let crf = given(Crf::new(labels, &device), |_| Some(transitions.clone()));
        let batch = Tensor::<3>::from_data(TensorData::new(emissions.clone(), [3, 5, labels]), &device);
        let tags: Vec<i64> = (0..15).map(|place| ((seed + 7 * place * place) % labels) as i64).collect();
        let gold = Tensor::<2, Int>::from_data(TensorData::new(tags.clone(), [3, 5]), &device);
        let losses = values(&crf.negative_log_likelihood(batch.clone(), gold.clone(), &lengths));
        let theirs = values(&crf.paddlenlp_loss(batch, gold, &lengths, false));
        let mut between = transitions.clone();
        between[..2 * labels].fill(0.0);
        let mut reversed = between.clone();
        for (i, j) in (0..labels).flat_map(|i| (0..labels).map(move |j| (i, j))) {
            reversed[(2 + i) * labels + j] = between[(2 + j) * labels + i];
        }
        for (row, &length) in lengths.iter().enumerate() {
            let row_emissions = &emissions[row * 5 * labels..];
            let path: Vec<usize> = tags[row * 5..][..length].iter().map(|&tag| tag as usize).collect();
            let log_sum = |transitions: &[f32]| {
                let scores = all_paths(labels, length).into_iter().map(|path| score(transitions, row_emissions, labels, &path));
                scores.map(f64::exp).sum::<f64>().ln()
            };
            let expected = log_sum(&transitions) - score(&transitions, row_emissions, labels, &path);
            prop_assert!((losses[row] - expected).abs() < 1e-4, "{} for {expected}", losses[row]);
            let expected = log_sum(&reversed) - score(&between, row_emissions, labels, &path);
            prop_assert!(length == 0 || (theirs[row] - expected.max(0.0)).abs() < 1e-4, "{} for {expected}", theirs[row]);
        }
    }
}

#[test]
fn outputs_and_gradients_of_a_gru_in_both_directions_are_paddles() {
    let (io, device) = (io(), device().autodiff());
    let lengths = lengths(&io, "lengths");
    let x = cube(&io, "gru.x", &device).require_grad();
    let [batch, steps, input] = x.dims();
    let hidden = io.get("gru.weight").unwrap().shape[0];
    let parameter = |path: &str| match path.split_once('.').unwrap().1 {
        "input.weight" => "projection",
        "input.bias" => "projection_bias",
        "recurrent" => "weight",
        "bias" => "bias",
        other => panic!("{other}"),
    };
    let gru = given(BiGru::new(input, hidden, &device), |path| {
        Some(io.read_f32(&format!("gru.{}", parameter(path))).unwrap())
    });
    let out = gru.forward(x.clone(), &lengths);
    let directions = ["forward", "backward"];
    for (direction, part) in directions.into_iter().zip(out.clone().chunk(2, 2)) {
        // Behind each row's end the file has 0.
        assert_near(&part, &io, &format!("gru.out.{direction}"), LOSSES);
    }

    let cotangent = cube(&io, "gru.cotangent", &device);
    let mut gradients = (out * Tensor::cat(vec![cotangent.clone(), cotangent], 2)).sum().backward();
    let read = |name: &str| io.read_f64(&format!("gru.grad.{name}")).unwrap();
    let by_x = read("forward.x").iter().zip(read("backward.x")).map(|(a, b)| a + b).collect::<Vec<_>>();
    assert_gradient(&values(&x.grad(&gradients).unwrap()), &by_x, "x");
    let gradients = GradientsParams::from_module(&mut gradients, &gru);
    let found = by_path(&gru, &gradients);
    assert_eq!((found.len(), batch, steps), (8, 4, 6));
    for (path, ours) in found {
        let direction = path.split_once('.').unwrap().0;
        assert_gradient(&ours, &read(&format!("{direction}.{}", parameter(&path))), &path);
    }
}
