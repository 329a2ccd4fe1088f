//! The gradients of a step on their way to the ranks that add them up, while the last backward pass goes on.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use burn::module::{ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::Norm;
use super::shards::{Shards, numbers};
use crate::error::Result;
use crate::kernels::square_sums;
use crate::nn::HasRoles;
use crate::ranks::Silent;
use crate::ranks::pieces::BLOCK;
use crate::ranks::reduce::{Gradients, Reduction};
use crate::ranks::tree::BeforeLast;
use crate::tasks::{BackwardHook, added};

/// The gradients of this rank's blocks, and what of them has been sent.
pub struct Exchange<'a> {
    shards: &'a Shards,
    /// Of all blocks but the last; `None` where this rank has no block.
    blocks: Option<BeforeLast<GradientsParams>>,
    /// Of the subtrees of this rank's blocks; of a parameter that is not there yet nothing.
    folded: Vec<(Range<usize>, Gradients)>,
    /// Which parameters are there.
    there: Vec<bool>,
    /// Which parameters have a gradient.
    present: BTreeSet<usize>,
    reduction: Reduction,
    /// What has kept an exchange from its end: none is begun after it.
    failed: Option<Silent>,
}

/// Gradients that were added up over all blocks of a step.
pub struct Reduced {
    /// Of this rank's own spans, in their order.
    pub(super) gradients: Vec<Vec<f32>>,
    /// Which parameters have a gradient in any block.
    pub(super) present: Vec<bool>,
    /// The sums of squares of all parameters' blocks.
    pub(super) squares: Vec<Vec<f64>>,
    /// Of the size of all parameters, for their new values.
    pub(super) room: Gradients,
}

impl<'a> Exchange<'a> {
    /// Of a step of `total` blocks. `blocks` are this rank's but its last, whose gradients come by the [`BackwardHook`].
    pub fn new(shards: &'a Shards, blocks: Option<BeforeLast<GradientsParams>>, total: usize) -> Self {
        let nodes = blocks.iter().flat_map(|blocks| {
            let complete = blocks.complete.iter().map(|(node, _)| node.clone());
            complete.chain([blocks.node.clone()])
        });
        let parameters = shards.parameters.len();
        let folded = nodes.map(|node| (node, vec![Vec::new(); parameters])).collect();
        let reduction = Reduction::new(shards.ranks.place(), total);
        let (there, present) = (vec![blocks.is_none(); parameters], BTreeSet::new());
        let mut exchange = Self { shards, blocks, folded, there, present, reduction, failed: None };
        // Nothing is waited for where this rank has no block.
        exchange.begin_buckets();
        exchange
    }

    /// Which parameters, by their place in the model, have a gradient in none of this rank's blocks, once all of them are there.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn absent(&mut self) -> Result<BTreeSet<usize>> {
        self.failed.take().map_or(Ok(()), Err)?;
        Ok((0..self.there.len()).filter(|place| !self.present.contains(place)).collect())
    }

    /// Begins the exchange of the buckets of which all parameters are there.
    fn begin_buckets(&mut self) {
        let pieces = &self.shards.pieces;
        let is_there = |bucket| pieces.parameters(bucket).all(|parameter| self.there[parameter]);
        while self.failed.is_none() && self.reduction.next() < pieces.buckets() && is_there(self.reduction.next()) {
            let Some(mut transport) = self.shards.ranks.transport() else { return };
            self.failed = self.reduction.begin(transport.as_mut(), pieces, &self.folded).err();
        }
    }

    /// The sums over the blocks of all ranks; `absent` have a gradient in none of them.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn finish(mut self, absent: &BTreeSet<usize>) -> Result<Reduced> {
        let shards = self.shards;
        let sums = shards.over(|transport| Ok(self.reduction.finish(transport, &shards.pieces)?))?;
        let mut gradients: Vec<Vec<f32>> = Vec::with_capacity(shards.own.len());
        for (bucket, sums) in sums.into_iter().enumerate() {
            let mut rest = sums.as_slice();
            for own in shards.own.iter().filter(|own| own.bucket == bucket) {
                let (gradient, more) = rest.split_at(own.elements.len());
                gradients.push(gradient.to_vec());
                rest = more;
            }
        }
        let squares = squares(shards, &gradients)?;
        let room = match self.folded.pop() {
            Some((_, gradients)) => gradients,
            None => shards.parameters.iter().map(|parameter| vec![0.0; parameter.shape.num_elements()]).collect(),
        };
        let present = (0..shards.parameters.len()).map(|place| !absent.contains(&place)).collect();
        Ok(Reduced { gradients, present, squares, room })
    }
}

impl<M: HasRoles> BackwardHook<M> for Exchange<'_> {
    fn begin(&mut self, earlier: GradientsParams) {
        if let Some(blocks) = &mut self.blocks {
            blocks.left.insert(0, earlier);
        }
    }

    fn ready(&mut self, model: &M, missing: &HashSet<ParamId>, of_last: &mut GradientsParams) {
        let parameters = self.shards.parameters.iter().map(|parameter| parameter.id).enumerate();
        let come = parameters.filter(|(place, id)| !self.there[*place] && !missing.contains(id));
        let places: HashMap<_, _> = come.map(|(place, id)| (id, place)).collect();
        places.values().for_each(|place| self.there[*place] = true);
        model.visit(&mut Taker { exchange: self, places, of_last });
        self.begin_buckets();
    }
}

/// Takes the gradients of the parameters that are to come.
struct Taker<'a, 'b> {
    exchange: &'a mut Exchange<'b>,
    places: HashMap<ParamId, usize>,
    of_last: &'a mut GradientsParams,
}

impl ModuleVisitor for Taker<'_, '_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (Some(place), Some(blocks)) = (self.places.get(&param.id), &mut self.exchange.blocks) else { return };
        let complete = blocks.complete.iter_mut().map(|(_, gradients)| gradients.remove::<D>(param.id));
        let mut found: Vec<Option<Tensor<D>>> = complete.collect();
        let of_last = self.of_last.remove::<D>(param.id);
        found.push(blocks.left.iter_mut().fold(of_last, |sum, left| added(left.remove::<D>(param.id), sum)));
        for ((_, folded), gradient) in self.exchange.folded.iter_mut().zip(found) {
            if gradient.is_some() {
                self.exchange.present.insert(*place);
            }
            // What has no gradient is -0.0, which adds to any number without changing a bit.
            let nothing = || vec![-0.0; self.exchange.shards.parameters[*place].shape.num_elements()];
            folded[*place] = gradient.map_or_else(nothing, numbers);
        }
    }
}

/// The sums of squares of each parameter's blocks, from those of all ranks.
fn squares(shards: &Shards, own: &[Vec<f32>]) -> Result<Vec<Vec<f64>>> {
    let sums: Vec<f64> = own.iter().flat_map(|gradient| square_sums(gradient)).collect();
    let bytes = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    let all = shards.over(|transport| Ok(transport.messages(bytes).wait()?))?;
    let mut squares: Vec<Vec<f64>> =
        shards.parameters.iter().map(|parameter| vec![0.0; parameter.shape.num_elements().div_ceil(BLOCK)]).collect();
    for (rank, bytes) in all.iter().enumerate() {
        let parts = (0..shards.pieces.buckets()).flat_map(|bucket| shards.pieces.shard(bucket, rank));
        for (part, sum) in parts.zip(bytes.as_chunks().0) {
            squares[part.parameter][part.elements.start / BLOCK] = f64::from_le_bytes(*sum);
        }
    }
    Ok(squares)
}

impl Reduced {
    /// The norm of all gradients together, as one process has it.
    pub fn norm(&self) -> Norm {
        let sums = self.squares.iter().zip(&self.present).filter(|(_, present)| **present);
        Norm::Read(f64::from(sums.flat_map(|(sums, _)| sums).sum::<f64>().sqrt() as f32))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Device;

    use super::*;
    use crate::ranks::{Ranks, Threads};
    use crate::tasks::test_model::{batch, configs, model};
    use crate::tasks::{MaskedLm, TaskBatch};
    use crate::train::{Blocks, Computed};

    const BLOCKS: usize = 5;

    struct Numbers<'a> {
        gradients: &'a mut GradientsParams,
        found: HashMap<ParamId, Vec<f32>>,
    }

    impl ModuleVisitor for Numbers<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let found = self.gradients.remove::<D>(param.id).map(|gradient| (param.id, numbers(gradient)));
            self.found.extend(found);
        }
    }

    /// Those of some blocks of a step, two each, which are learnt from with losses of their own scale.
    fn batches(blocks: Range<usize>, with_sop: bool, device: &Device) -> Vec<TaskBatch<MaskedLm>> {
        let one = |number: usize| {
            let mut one = TaskBatch::<MaskedLm> { block: number / 2, ..batch(with_sop, device) };
            one.terms.iter_mut().for_each(|term| term.scale *= (number as f64 + 1.0).sqrt());
            one
        };
        (2 * blocks.start..2 * blocks.end).map(one).collect()
    }

    /// With dropout, more batches than one in a block, gradients that other blocks hold, tables that two parts of a model read, and ranks
    /// without a block.
    #[test]
    fn ranks_add_up_the_gradients_of_one_process() {
        let device = Device::flex().autodiff();
        for (config, with_sop) in configs(0.2) {
            let model = model(&config, with_sop, &device);
            let alone = Blocks { model: &model, carried: &(), seed: 9, device: &device };
            let Computed { mut gradients, .. } = alone.compute(batches(0..BLOCKS, with_sop, &device), BLOCKS);
            let mut one = Numbers { gradients: &mut gradients, found: HashMap::new() };
            model.visit(&mut one);
            let one = one.found;
            assert!(one.len() > 30);
            for (size, degree) in [(2, 2), (3, 3), (4, 2), (4, 1), (7, 7)] {
                let threads = Threads::group(size).into_iter().map(|transport| {
                    let (model, one, names) = (model.clone(), one.clone(), &config.family().tensors);
                    std::thread::spawn(move || {
                        let device = Device::flex().autodiff();
                        let ranks = Ranks::over(Box::new(transport));
                        let shards = Shards::new(&model, names, &ranks, degree);
                        let own = ranks.place().blocks(BLOCKS);
                        let batches = batches(own.clone(), with_sop, &device);
                        let blocks = Blocks { model: &model, carried: &(), seed: 9, device: &device };
                        let computed = blocks.compute_and_exchange(batches, (own, BLOCKS), &shards);
                        let Computed { gradients: mut exchange, .. } = computed;
                        let absent = ranks.gather(exchange.absent().unwrap()).unwrap();
                        let absent = absent.into_iter().reduce(|one, other| &one & &other).unwrap();
                        let reduced = exchange.finish(&absent).unwrap();
                        for (own, found) in shards.own.iter().zip(&reduced.gradients) {
                            let id = shards.parameters[own.parameter].id;
                            let one = one.get(&id).map(|gradient| &gradient[own.elements.clone()]);
                            assert_eq!(one.is_some(), reduced.present[own.parameter]);
                            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                            assert!(
                                one.is_none_or(|one| bits(one) == bits(found)),
                                "{size} ranks, {:?}",
                                own.parameter
                            );
                        }
                        shards.own.iter().map(|own| own.elements.len()).sum::<usize>()
                    })
                });
                let owned = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
                assert_eq!(owned, model.num_params() * size / degree);
            }
        }
    }
}
