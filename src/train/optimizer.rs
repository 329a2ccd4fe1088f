//! The optimizer of a run: clipping, learning rates and decay of single parameters, and [`rules`] for the update itself.

mod clip;
mod exchange;
mod rules;
mod shards;
mod state;
mod together;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::{ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Shape, Tensor};

use crate::error::Result;
use crate::kernels::{self, Decay};
use crate::nn::{HasRoles, Rate, Role, Roles};
use crate::recipe::{ClipBy, LayerwiseDecayMode, Optimizer as Options, OptimizerName};
use crate::weights::{ModulePath, TensorNames, Weights};
use clip::Clip;
pub use clip::{Norm, global_norm};
pub use exchange::{Exchange, Reduced};
pub use shards::Shards;
use state::{Span, State};

/// An optimizer with the state of every parameter.
pub struct Optimizer {
    options: Options,
    /// The L2 of the weights of a mixture of layers.
    mixture_l2: f64,
    /// What the loss was multiplied with that the gradients are of, and they are divided by.
    pub loss_scale: f64,
    /// What decay has left of a row of the table of words that never has a gradient, as a share.
    pub left_of_words: f64,
    tensors: &'static TensorNames,
    states: BTreeMap<Span, State>,
}

impl Optimizer {
    /// An optimizer of a model whose parameters `tensors` names.
    pub fn new(options: &Options, tensors: &'static TensorNames) -> Self {
        Self {
            options: options.clone(),
            mixture_l2: 0.0,
            loss_scale: 1.0,
            left_of_words: 1.0,
            tensors,
            states: BTreeMap::new(),
        }
    }

    /// The same with an L2 of their own on the weights of a mixture of layers.
    pub fn with_mixture_l2(self, mixture_l2: f64) -> Self {
        Self { mixture_l2, ..self }
    }

    /// Updates the parameters of `model` that have a gradient, after clipping. `norm` is [`global_norm`] without the loss's scale, or
    /// anything where [`Self::clips`] says no.
    pub fn step<M: HasRoles>(&mut self, model: M, gradients: GradientsParams, learning_rate: f64, norm: Norm) -> M {
        let clip = self.clip(norm);
        let roles = Roles::of(&model);
        let (path, taken) = (ModulePath::default(), Vec::new());
        let mut taker = Taker { optimizer: self, path, roles, gradients, learning_rate, taken };
        let model = model.map(&mut taker);
        let (places, updates): (Vec<_>, Vec<_>) = taker.taken.into_iter().unzip();
        let updated = self.update_all(updates, &clip);
        let updated = places.into_iter().zip(updated).map(|((id, shape), value)| (id, (value, shape)));
        model.map(&mut PutInPlace(updated.collect()))
    }

    /// What is done to gradients of this norm.
    fn clip(&self, norm: Norm) -> Clip {
        match self.options.clip_by {
            _ if !self.clips() => Clip::All(1.0),
            ClipBy::GlobalNorm => norm.clip(self.options.max_grad_norm),
            ClipBy::TensorNorm => Clip::Each(self.options.max_grad_norm * self.loss_scale),
        }
    }

    /// The values after the updates, in their order.
    fn update_all(&mut self, updates: Vec<Update>, clip: &Clip) -> Vec<Tensor<1>> {
        let mut values: Vec<Option<Tensor<1>>> = vec![None; updates.len()];
        let mut together = Vec::new();
        for (at, update) in updates.into_iter().enumerate() {
            let update = Update { gradient: clip.each(update.gradient, update.norm), norm: None, ..update };
            match self.waits(&update.value) {
                true => together.push((at, update)),
                false => values[at] = Some(self.update(update, clip)),
            }
        }
        if let Some((_, first)) = together.first() {
            let factor = clip.factor(self.loss_scale, &first.gradient.device()); // [1]
            let updated = together::update(&self.options, &factor, together, &mut self.states);
            updated.into_iter().for_each(|(at, value)| values[at] = Some(value));
        }
        values.into_iter().flatten().collect()
    }

    /// Whether gradients are clipped at all.
    pub fn clips(&self) -> bool {
        self.options.max_grad_norm > 0.0
    }

    /// Writes the state: for each parameter `NAME.step` and the rule's running values in PyTorch's words, as `NAME.exp_avg`, in
    /// Burn's layout, flat. Before the first update there is nothing to write.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.states.is_empty() {
            return Ok(());
        }
        state::save(path, rules::words(self.options.name), &self.states)
    }

    /// Takes the state back from a file of [`Self::save`], onto `device`: of what a rank updates, or of all parameters whole. Those
    /// that are not in it start anew.
    pub fn load(&mut self, file: &Weights, shards: Option<&Shards>, device: &Device) -> Result<()> {
        let spans = shards.map(Shards::spans);
        self.states = state::load(file, rules::words(self.options.name), spans.as_deref(), device)?;
        Ok(())
    }

    /// What the learning rate of a parameter is multiplied with. Layer-wise decay is PaddleNLP's `layerwise_lr_decay`: the layer `i`
    /// of `n` learns at `d^(n-i)`, the embeddings at `d^(n+1)`, the pooler and the head at 1.
    fn ratio(&self, role: &Role) -> f64 {
        let own = match role.rate {
            Rate::Usual => 1.0,
            Rate::WordEmbeddings => self.options.emb_learning_rate,
            Rate::Crf => self.options.crf_learning_rate,
        };
        own * self.options.layerwise_decay.powi(role.depth as i32)
    }

    /// The learning rate of a parameter of so many dimensions, and what becomes of it beside its update.
    fn rate(&self, role: &Role, dimensions: usize, learning_rate: f64) -> (f64, Decay) {
        let rate = learning_rate * self.ratio(role);
        // Vectors are biases and layer norms, which the libraries leave out of the decay.
        let (decay, l2) = match role.decays && dimensions > 1 {
            true => (self.options.weight_decay, self.options.l2),
            false if role.mixes => (0.0, self.mixture_l2),
            false => (0.0, 0.0),
        };
        let twice = match self.options.layerwise_decay_mode {
            LayerwiseDecayMode::Ratio => 1.0,
            LayerwiseDecayMode::AdamWdl => 1.0 - learning_rate * decay,
        };
        (rate, Decay { kept: twice * (1.0 - rate * decay), l2 })
    }

    /// Takes note of what becomes of rows of words that are not there.
    fn note(&mut self, role: &Role, decay: Decay) {
        if role.rate == Rate::WordEmbeddings {
            self.left_of_words *= decay.kept;
        }
    }

    /// One update by itself, `[elements]`.
    fn update(&mut self, update: Update, clip: &Clip) -> Tensor<1> {
        let Update { span, mut value, gradient, learning_rate, decay, .. } = update;
        let mut gradient = clip.all(gradient, self.loss_scale); // [elements]
        if decay.l2 > 0.0 {
            gradient = gradient + value.clone().mul_scalar(decay.l2); // [elements]
        }
        if decay.kept != 1.0 {
            value = value.mul_scalar(decay.kept); // [elements]
        }
        rules::step(&self.options, learning_rate, value, gradient, self.states.entry(span).or_default())
    }

    /// Whether the parameter is updated with all others.
    fn waits(&self, value: &Tensor<1>) -> bool {
        let is_adam = matches!(self.options.name, OptimizerName::Adam | OptimizerName::AdamW);
        is_adam && kernels::updates_together(value)
    }
}

/// The update of a parameter, or of a span of one.
struct Update {
    span: Span,
    /// `[elements]`
    value: Tensor<1>,
    /// `[elements]`
    gradient: Tensor<1>,
    learning_rate: f64,
    decay: Decay,
    /// Of the whole parameter's gradient, `[1]`, where that is known.
    norm: Option<Tensor<1>>,
}

/// Takes the parameters with a gradient out of a model: held by nobody else, they are updated in place.
struct Taker<'a> {
    optimizer: &'a mut Optimizer,
    path: ModulePath,
    roles: Roles,
    gradients: GradientsParams,
    learning_rate: f64,
    taken: Vec<((ParamId, Shape), Update)>,
}

impl ModuleMapper for Taker<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.shape();
        let value = tensor.inner().flatten::<1>(0, D - 1); // [elements]
        let gradient = gradient.flatten::<1>(0, D - 1); // [elements]
        let role = self.roles.get(id);
        let (learning_rate, decay) = self.optimizer.rate(&role, D, self.learning_rate);
        self.optimizer.note(&role, decay);
        let name = self.path.checkpoint_names(self.optimizer.tensors).swap_remove(0);
        let nothing = Tensor::empty([0; D], &value.device());
        let span = Span::whole(name);
        self.taken.push(((id, shape), Update { span, value, gradient, learning_rate, decay, norm: None }));
        Param::from_mapped_value(id, nothing, mapper)
    }
}

/// Gives a model the parameters that were taken out of it, or new ones.
#[derive(Default)]
pub struct PutInPlace(HashMap<ParamId, (Tensor<1>, Shape)>);

impl ModuleMapper for PutInPlace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((value, shape)) = self.0.remove(&param.id) else { return param };
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, Tensor::<D>::from_inner(value.reshape(shape)).require_grad(), mapper)
    }
}
