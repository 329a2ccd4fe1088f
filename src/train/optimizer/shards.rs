//! Updates that several ranks share, as in ZeRO (arXiv 1910.02054, stage 1): each rank adds up the gradients of its own spans of the
//! parameters, keeps the optimizer's state of them alone, updates them, and gives the new values to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use burn::module::{ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};

use super::{Norm, Optimizer, PutInPlace, Reduced, Span, Update, rules, state};
use crate::error::{Error, Result};
use crate::kernels::SUMMED;
use crate::nn::{HasRoles, Roles};
use crate::ranks::pieces::{BLOCK, Pieces};
use crate::ranks::reduce::{Gradients, collect, gather};
use crate::ranks::{Ranks, Transport};
use crate::recipe::ClipBy;
use crate::weights::{ModulePath, TensorNames, Writer};

/// Norms are sums over the blocks that parameters are cut into, so that they do not depend on the cut.
const _: () = assert!(SUMMED == BLOCK);

/// The parameters of a model that are trained, in its order, and what of them this rank updates.
pub struct Shards {
    pub(super) ranks: Ranks,
    pub(super) pieces: Pieces,
    pub(super) parameters: Vec<Parameter>,
    pub(super) own: Vec<Own>,
}

pub(super) struct Parameter {
    pub id: ParamId,
    name: String,
    pub shape: Shape,
}

/// Consecutive elements of a parameter in a bucket that this rank updates.
pub(super) struct Own {
    pub bucket: usize,
    pub parameter: usize,
    pub elements: Range<usize>,
}

impl Shards {
    /// `degree` ranks have all parameters once.
    pub fn new<M: HasRoles>(model: &M, tensors: &'static TensorNames, ranks: &Ranks, degree: usize) -> Self {
        let mut listed = Listed { path: ModulePath::default(), tensors, parameters: Vec::new() };
        model.visit(&mut listed);
        let parameters = listed.parameters;
        let sizes: Vec<usize> = parameters.iter().map(|parameter| parameter.shape.num_elements()).collect();
        let pieces = Pieces::new(&sizes, ranks.size(), degree);
        let mut own: Vec<Own> = Vec::new();
        for bucket in 0..pieces.buckets() {
            let first = own.len();
            for part in pieces.shard(bucket, ranks.rank()) {
                match own[first..].last_mut() {
                    Some(last) if last.parameter == part.parameter && last.elements.end == part.elements.start => {
                        last.elements.end = part.elements.end;
                    }
                    _ => own.push(Own { bucket, parameter: part.parameter, elements: part.elements.clone() }),
                }
            }
        }
        Self { ranks: ranks.clone(), pieces, parameters, own }
    }

    /// The ranks, for the log.
    pub fn describe(&self) -> String {
        let (size, degree) = (self.ranks.size(), self.pieces.group(0).len());
        format!("{size} ranks (sharding_degree {degree}, dp_degree {})", size / degree)
    }

    /// What this rank updates, each with its elements.
    pub(super) fn spans(&self) -> Vec<(Span, usize)> {
        self.own.iter().map(|own| (self.span(own), own.elements.len())).collect()
    }

    fn span(&self, own: &Own) -> Span {
        Span { name: self.parameters[own.parameter].name.clone(), start: own.elements.start }
    }

    pub(super) fn over<T>(&self, work: impl FnOnce(&mut dyn Transport) -> Result<T>) -> Result<T> {
        let mut transport = self.ranks.transport().ok_or_else(|| Error::input("there are no other ranks"))?;
        work(transport.as_mut())
    }

    /// The new values of this rank's spans to all ranks, and all parameters as tensors of `device`.
    fn share(
        &self,
        own: Vec<Vec<f32>>,
        mut room: Gradients,
        device: &Device,
    ) -> Result<impl Iterator<Item = (ParamId, (Tensor<1>, Shape))> + '_> {
        let mut buckets: Vec<Vec<f32>> = vec![Vec::new(); self.pieces.buckets()];
        for (place, values) in self.own.iter().zip(own) {
            let bucket = &mut buckets[place.bucket];
            if bucket.is_empty() {
                *bucket = values;
            } else {
                bucket.extend_from_slice(&values);
            }
        }
        self.over(|transport| Ok(gather(transport, &self.pieces, buckets, &mut room)?))?;
        let device = device.clone();
        Ok(self.parameters.iter().zip(room).map(move |(parameter, values)| {
            let data = TensorData::new(values, [parameter.shape.num_elements()]);
            (parameter.id, (Tensor::from_data(data, &device), parameter.shape.clone()))
        }))
    }
}

impl Optimizer {
    /// Updates what this rank has of the parameters, and gets the new values of all for `model`. `norm` is [`Reduced::norm`] without the
    /// loss's scale.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn step_shards<M: HasRoles>(
        &mut self,
        model: &M,
        shards: &Shards,
        reduced: Reduced,
        learning_rate: f64,
        norm: Norm,
    ) -> Result<PutInPlace> {
        let clip = self.clip(norm);
        let roles = Roles::of(model);
        let mut values = Values { found: BTreeMap::new() };
        model.visit(&mut values);
        let rates: Vec<_> = shards
            .parameters
            .iter()
            .map(|parameter| {
                let role = roles.get(parameter.id);
                (role, self.rate(&role, parameter.shape.num_dims(), learning_rate))
            })
            .collect();
        for ((role, (_, decay)), _) in rates.iter().zip(&reduced.present).filter(|(_, present)| **present) {
            self.note(role, *decay);
        }
        let (mut new, mut updates, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut device = None;
        for (own, gradient) in shards.own.iter().zip(reduced.gradients) {
            let parameter = &shards.parameters[own.parameter];
            let value = values.found[&parameter.id.val()].clone().slice([own.elements.clone()]); // [elements]
            device.get_or_insert_with(|| value.device());
            if !reduced.present[own.parameter] {
                new.push(numbers(value));
                continue;
            }
            let elements = [gradient.len()];
            let gradient = Tensor::from_data(TensorData::new(gradient, elements), &value.device()); // [elements]
            let norm = (self.options.clip_by == ClipBy::TensorNorm).then(|| {
                let norm = reduced.squares[own.parameter].iter().sum::<f64>().sqrt() as f32;
                Tensor::from_floats([norm], &value.device()) // [1]
            });
            let (_, (learning_rate, decay)) = rates[own.parameter];
            places.push(new.len());
            new.push(Vec::new());
            updates.push(Update { span: shards.span(own), value, gradient, learning_rate, decay, norm });
        }
        for (place, value) in places.into_iter().zip(self.update_all(updates, &clip)) {
            new[place] = numbers(value);
        }
        let device = device.or_else(|| values.found.values().next().map(Tensor::device));
        let Some(device) = device else { return Ok(PutInPlace::default()) };
        drop(values);
        let updated = shards.share(new, reduced.room, &device)?;
        Ok(PutInPlace(updated.collect()))
    }

    /// Writes the state as [`Self::save`] does, the same bytes, from what all ranks have of it: the first of them into a file.
    ///
    /// # Errors
    /// It cannot be written; a rank does not answer.
    pub fn save_shards(&self, shards: &Shards, path: Option<&Path>) -> Result<()> {
        let own: Vec<String> = self.states.keys().map(|span| span.name.clone()).collect();
        let begun: BTreeSet<String> = shards.ranks.gather(own)?.into_iter().flatten().collect();
        if begun.is_empty() {
            return Ok(());
        }
        let words = rules::words(self.options.name);
        let numbers = shards.parameters.iter().enumerate().map(|(number, parameter)| (parameter.name.as_str(), number));
        let numbers: BTreeMap<&str, usize> = numbers.filter(|(name, _)| begun.contains(*name)).collect();
        let sizes = numbers.iter().map(|(name, number)| (*name, shards.parameters[*number].shape.num_elements()));
        // An error waits until everything has been exchanged, which all ranks do in step.
        let mut writer = path.map(|path| state::begin(path, words, sizes)).transpose();
        for (name, number) in numbers {
            let own = || shards.own.iter().filter(|own| own.parameter == number);
            for word in words {
                let held = own().filter_map(|own| self.states.get(&shards.span(own)));
                let values = held.flat_map(|state| state.values(word)).collect();
                let whole = shards.over(|transport| Ok(collect(transport, &shards.pieces, number, values)?))?;
                put(&mut writer, &format!("{name}.{word}"), &whole);
            }
            let time = own().find_map(|own| Some(self.states.get(&shards.span(own))?.time));
            let time = shards.ranks.gather(time)?.into_iter().flatten().next().unwrap_or_default();
            put(&mut writer, &format!("{name}.step"), &[time as f32]);
        }
        writer?.map_or(Ok(()), Writer::finish)
    }
}

/// Writes a tensor, unless something has gone wrong before.
fn put(writer: &mut Result<Option<Writer>>, name: &str, values: &[f32]) {
    if let Ok(Some(file)) = writer
        && let Err(error) = file.put(name, values)
    {
        *writer = Err(error);
    }
}

/// The elements of a tensor.
pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("they are f32 now")
}

/// Lists the parameters that are trained.
struct Listed {
    path: ModulePath,
    tensors: &'static TensorNames,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for Listed {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            let name = self.path.checkpoint_names(self.tensors).swap_remove(0);
            self.parameters.push(Parameter { id: param.id, name, shape: value.shape() });
        }
    }
}

/// The values of parameters, `[elements]` each.
struct Values {
    found: BTreeMap<u64, Tensor<1>>,
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(param.id.val(), param.val().inner().flatten(0, D - 1)); // [elements]
    }
}
