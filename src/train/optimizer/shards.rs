//! Updates that several ranks share, as in ZeRO (arXiv 1910.02054, stage 1): each rank adds up the gradients of its own spans of the
//! parameters, keeps the optimizer's state of them alone, updates them, and gives the new values to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use burn::module::{ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Shape, Tensor, TensorData};

use super::{Norm, Optimizer, PutInPlace, Span, Update, rules, state};
use crate::error::{Error, Result};
use crate::kernels::{SUMMED, square_sums};
use crate::nn::{HasRoles, Roles};
use crate::ranks::pieces::{BLOCK, Pieces};
use crate::ranks::reduce::{Gradients, collect, gather, reduce};
use crate::ranks::{Ranks, Transport};
use crate::recipe::ClipBy;
use crate::weights::{ModulePath, TensorNames, Writer};

/// Norms are sums over the blocks that parameters are cut into, so that they do not depend on the cut.
const _: () = assert!(SUMMED == BLOCK);

/// The parameters of a model that are trained, in its order, and what of them this rank updates.
pub struct Shards {
    ranks: Ranks,
    pieces: Pieces,
    parameters: Vec<Parameter>,
    own: Vec<Own>,
}

struct Parameter {
    id: ParamId,
    name: String,
    shape: Shape,
}

/// Consecutive elements of a parameter in a bucket that this rank updates.
struct Own {
    bucket: usize,
    parameter: usize,
    elements: Range<usize>,
}

/// Gradients that were added up over all blocks of a step.
pub struct Reduced {
    /// Of this rank's own spans, in their order.
    gradients: Vec<Vec<f32>>,
    /// Which parameters have a gradient in any block.
    present: Vec<bool>,
    /// The sums of squares of all parameters' blocks.
    squares: Vec<Vec<f64>>,
    /// Of the size of all parameters, for their new values.
    room: Gradients,
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

    /// Which parameters, by their place in the model, have a gradient in none of several.
    pub fn absent<'a, M: HasRoles>(
        &self,
        model: &M,
        gradients: impl Iterator<Item = &'a GradientsParams>,
    ) -> BTreeSet<usize> {
        let mut ids = BTreeSet::new();
        for gradients in gradients {
            model.visit(&mut Found { gradients, ids: &mut ids });
        }
        (0..self.parameters.len()).filter(|place| !ids.contains(&self.parameters[*place].id.val())).collect()
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

    /// Adds up the gradients of all `total` blocks, from the subtrees that this rank has folded; `absent` is over all blocks.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn reduce<M: HasRoles>(
        &self,
        model: &M,
        folded: Vec<(Range<usize>, GradientsParams)>,
        total: usize,
        absent: &BTreeSet<usize>,
    ) -> Result<Reduced> {
        let flat = |(blocks, gradients)| (blocks, self.flat(model, gradients));
        let mut folded: Vec<(Range<usize>, Gradients)> = folded.into_iter().map(flat).collect();
        let sums = self.over(|transport| Ok(reduce(transport, &self.pieces, &folded, total)?))?;
        let mut gradients: Vec<Vec<f32>> = Vec::with_capacity(self.own.len());
        for (bucket, sums) in sums.into_iter().enumerate() {
            let mut rest = sums.as_slice();
            for own in self.own.iter().filter(|own| own.bucket == bucket) {
                let (gradient, more) = rest.split_at(own.elements.len());
                gradients.push(gradient.to_vec());
                rest = more;
            }
        }
        let squares = self.squares(&gradients)?;
        let room = match folded.pop() {
            Some((_, gradients)) => gradients,
            None => self.parameters.iter().map(|parameter| vec![0.0; parameter.shape.num_elements()]).collect(),
        };
        let present = (0..self.parameters.len()).map(|place| !absent.contains(&place)).collect();
        Ok(Reduced { gradients, present, squares, room })
    }

    fn over<T>(&self, work: impl FnOnce(&mut dyn Transport) -> Result<T>) -> Result<T> {
        let mut transport = self.ranks.transport().ok_or_else(|| Error::input("there are no other ranks"))?;
        work(transport.as_mut())
    }

    /// All elements of all parameters. What has no gradient is -0.0, which adds to any number without changing a bit.
    fn flat<M: HasRoles>(&self, model: &M, gradients: GradientsParams) -> Gradients {
        let mut flattened = Flattened { gradients, found: BTreeMap::new() };
        model.visit(&mut flattened);
        let values = |parameter: &Parameter| {
            let found = flattened.found.remove(&parameter.id.val());
            found.unwrap_or_else(|| vec![-0.0; parameter.shape.num_elements()])
        };
        self.parameters.iter().map(values).collect()
    }

    /// The sums of squares of each parameter's blocks, from those of all ranks.
    fn squares(&self, own: &[Vec<f32>]) -> Result<Vec<Vec<f64>>> {
        let sums: Vec<f64> = own.iter().flat_map(|gradient| square_sums(gradient)).collect();
        let bytes = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let all = self.over(|transport| Ok(transport.messages(bytes).wait()?))?;
        let blocks = |parameter: &Parameter| vec![0.0; parameter.shape.num_elements().div_ceil(BLOCK)];
        let mut squares: Vec<Vec<f64>> = self.parameters.iter().map(blocks).collect();
        for (rank, bytes) in all.iter().enumerate() {
            let parts = (0..self.pieces.buckets()).flat_map(|bucket| self.pieces.shard(bucket, rank));
            for (part, sum) in parts.zip(bytes.as_chunks().0) {
                squares[part.parameter][part.elements.start / BLOCK] = f64::from_le_bytes(*sum);
            }
        }
        Ok(squares)
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

impl Reduced {
    /// The norm of all gradients together, as one process has it.
    pub fn norm(&self) -> Norm {
        let sums = self.squares.iter().zip(&self.present).filter(|(_, present)| **present);
        Norm::Read(f64::from(sums.flat_map(|(sums, _)| sums).sum::<f64>().sqrt() as f32))
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
fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
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

/// Finds the parameters with a gradient.
struct Found<'a> {
    gradients: &'a GradientsParams,
    ids: &'a mut BTreeSet<u64>,
}

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.gradients.get::<D>(param.id).is_some() {
            self.ids.insert(param.id.val());
        }
    }
}

/// Takes the numbers of gradients.
struct Flattened {
    gradients: GradientsParams,
    found: BTreeMap<u64, Vec<f32>>,
}

impl ModuleVisitor for Flattened {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.found.insert(param.id.val(), numbers(gradient));
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
