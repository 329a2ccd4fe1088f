//! The network of DuReader's baseline against its restatement in PyTorch, `make_reader.py`.

use kiln::nn::{BiDaf, BiDafConfig, cross_entropy_mean};

use super::tagging::{assert_gradient, cube, lengths};
use super::*;
use crate::parameters::{given, gradients as by_path};

/// The biases in front of a softmax over words: they shift all of its inputs alike.
fn is_noise(path: &str) -> bool {
    path.ends_with("score.bias")
}

#[test]
fn probabilities_losses_and_gradients_are_the_restatements() {
    let (io, device) = (Weights::open(&fixture("parity/reader.safetensors")).unwrap(), device().autodiff());
    let config = BiDafConfig { input_size: 4, hidden_size: 5, dropout: 0.0 };
    let reader = given(BiDaf::new(&config, &device), |path| Some(io.read_f32(&format!("weight.{path}")).unwrap()));
    let (of_questions, of_passages) = (lengths(&io, "lengths.question"), lengths(&io, "lengths.passage"));
    for (case, groups) in [("alone", &[1, 1, 1][..]), ("joined", &[2, 1])] {
        let name = |name: &str| format!("{case}.{name}");
        let [question, passage] = ["question", "passage"].map(|name| cube(&io, name, &device).require_grad());
        let (start, end) = reader.forward(question.clone(), &of_questions, passage.clone(), &of_passages, groups);
        for (ours, side) in [(&start, "start"), (&end, "end")] {
            let theirs = io.read_f64(&name(side)).unwrap();
            for (place, (ours, theirs)) in values(ours).into_iter().zip(theirs).enumerate() {
                match theirs {
                    0.0 => assert!(ours < -1000.0, "{case}, {side}: padding has {ours}"),
                    _ => {
                        assert!(
                            (ours - theirs.ln()).abs() < coarseness() * STATES,
                            "{case}, {side} {place}: {ours}, not ln {theirs}"
                        )
                    }
                }
            }
        }
        let [first, last] = ["first", "last"].map(|side| integers(&io, &name(side), &device).squeeze_dim::<1>(1));
        let loss = match case {
            "alone" => cross_entropy_mean(start, first) + cross_entropy_mean(end, last),
            _ => (start.flatten::<1>(0, 1).select(0, first) + end.flatten::<1>(0, 1).select(0, last)).mean().neg(),
        };
        assert_near(&loss, &io, &name("loss"), LOSSES);

        let mut gradients = loss.backward();
        for (input, what) in [(question, "question"), (passage, "passage")] {
            let ours = values(&input.grad(&gradients).unwrap());
            assert_gradient(&ours, &io.read_f64(&name(&format!("grad.{what}"))).unwrap(), &name(what));
        }
        let gradients = GradientsParams::from_module(&mut gradients, &reader);
        let ours = by_path(&reader, &gradients);
        assert_eq!(ours.len(), io.names().filter(|name| name.starts_with("weight.")).count());
        for (path, ours) in ours {
            if is_noise(&path) {
                assert!(ours.iter().all(|x| x.abs() < 1e-6), "{case}, {path}: {ours:?}");
            } else {
                assert_gradient(&ours, &io.read_f64(&name(&format!("grad.{path}"))).unwrap(), &name(&path));
            }
        }
    }
}
