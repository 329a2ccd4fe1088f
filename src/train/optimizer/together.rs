//! Adam's updates of all parameters, which are made together: in one loop of all threads on a CPU, in few launches on a GPU.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::Update;
use super::rules::{MEAN, SQUARE};
use super::state::{Span, State};
use crate::kernels::{Adam, Decay, adam};
use crate::recipe::Optimizer as Options;

/// Updates by the same numbers, each with its place.
struct Group {
    adam: Adam,
    decay: Decay,
    updates: Vec<(usize, Update)>,
}

/// Makes numbered updates, the gradients multiplied with `factor` `[1]`; the values come with the same numbers.
pub fn update(
    options: &Options,
    factor: &Tensor<1>,
    updates: Vec<(usize, Update)>,
    states: &mut BTreeMap<Span, State>,
) -> Vec<(usize, Tensor<1>)> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, one) in updates {
        let state = states.entry(one.span.clone()).or_default();
        state.time += 1;
        let &Options { betas, epsilon, .. } = options;
        let adam = Adam { learning_rate: one.learning_rate, betas, epsilon, time: state.time };
        match groups.iter_mut().find(|group| group.adam == adam && group.decay == one.decay) {
            Some(group) => group.updates.push((number, one)),
            None => groups.push(Group { adam, decay: one.decay, updates: vec![(number, one)] }),
        }
    }
    let mut updated = Vec::new();
    for Group { adam: numbers, decay, updates } in groups {
        let mut spans = Vec::with_capacity(updates.len());
        let mut tensors = Vec::with_capacity(updates.len());
        for (number, Update { span, value, gradient, .. }) in updates {
            let state = states.entry(span.clone()).or_default();
            let [mean, square] = [MEAN, SQUARE].map(|word| state.take(word, &gradient, 0.0)); // [elements]
            tensors.push([value, mean, square, gradient]);
            spans.push((number, span));
        }
        for ((number, span), [value, mean, square]) in
            spans.into_iter().zip(adam(numbers, decay, factor.clone(), tensors))
        {
            let state = states.entry(span).or_default();
            state.put(MEAN, mean);
            state.put(SQUARE, square);
            updated.push((number, value));
        }
    }
    updated
}
