//! Adam's updates of all parameters, which are made together: in one loop of all threads on a CPU, in few launches on a GPU.

use std::collections::{BTreeMap, HashMap};

use burn::module::{ModuleMapper, Param, ParamId};
use burn::tensor::{Shape, Tensor};

use super::rules::{MEAN, SQUARE};
use super::state::State;
use crate::kernels::{Adam, Decay, adam};
use crate::recipe::Optimizer as Options;

/// The update of a parameter that waits for the others.
pub struct Pending {
    pub id: ParamId,
    /// Its name in the state.
    pub name: String,
    pub shape: Shape,
    /// `[elements]`
    pub value: Tensor<1>,
    /// `[elements]`, before [`update`]'s `factor`.
    pub gradient: Tensor<1>,
    pub learning_rate: f64,
    pub decay: Decay,
}

/// Updates parameters, the gradients multiplied with `factor` `[1]`, and puts them in place by the mapper that is returned.
pub fn update(
    options: &Options,
    factor: &Tensor<1>,
    pending: Vec<Pending>,
    states: &mut BTreeMap<String, State>,
) -> PutInPlace {
    let mut groups: Vec<(Adam, Decay, Vec<Pending>)> = Vec::new();
    for one in pending {
        let state = states.entry(one.name.clone()).or_default();
        state.time += 1;
        let &Options { betas, epsilon, .. } = options;
        let adam = Adam { learning_rate: one.learning_rate, betas, epsilon, time: state.time };
        match groups.iter_mut().find(|(other, decay, _)| *other == adam && *decay == one.decay) {
            Some((.., group)) => group.push(one),
            None => groups.push((adam, one.decay, vec![one])),
        }
    }
    let mut updated = HashMap::new();
    for (numbers, decay, group) in groups {
        let mut names = Vec::with_capacity(group.len());
        let mut tensors = Vec::with_capacity(group.len());
        for Pending { id, name, shape, value, gradient, .. } in group {
            let state = states.entry(name.clone()).or_default();
            let [mean, square] = [MEAN, SQUARE].map(|word| state.take(word, &gradient, 0.0)); // [elements]
            tensors.push([value, mean, square, gradient]);
            names.push((id, name, shape));
        }
        for ((id, name, shape), [value, mean, square]) in
            names.into_iter().zip(adam(numbers, decay, factor.clone(), tensors))
        {
            let state = states.entry(name).or_default();
            state.put(MEAN, mean);
            state.put(SQUARE, square);
            updated.insert(id, (value, shape));
        }
    }
    PutInPlace(updated)
}

/// Gives a model the parameters that were taken out of it.
pub struct PutInPlace(HashMap<ParamId, (Tensor<1>, Shape)>);

impl ModuleMapper for PutInPlace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((value, shape)) = self.0.remove(&param.id) else { return param };
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, Tensor::<D>::from_inner(value.reshape(shape)).require_grad(), mapper)
    }
}
