//! AdamW over a model's parameters, with layer-wise learning rates and without decay for vectors.
//!
//! The update is Burn's own (`burn::optim::AdamW`); this keeps its state by checkpoint name, because Burn's module optimizer
//! keeps it by ids that differ from run to run, and loads it to a default device that a machine may not have.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::recipe::{ClipBy, LayerwiseDecayMode, Optimizer as Recipe};
use crate::weights::{ModulePath, Name, Weights, Writer};

/// AdamW (arXiv 1711.05101) with the state of every parameter.
pub struct Optimizer {
    plain: AdamW,
    decaying: AdamW,
    weight_decay: f64,
    layerwise_decay: f64,
    mode: LayerwiseDecayMode,
    /// Largest norm of the gradients; 0 for any.
    max_grad_norm: f64,
    clip_by: ClipBy,
    layers: usize,
    names: &'static [Name],
    state: BTreeMap<String, AdamWState<1>>,
}

impl Optimizer {
    /// `layers` is the number of the encoder's layers, `names` the family's tensor names.
    pub fn new(recipe: &Recipe, layers: usize, names: &'static [Name]) -> Self {
        let config = |weight_decay: f64| {
            AdamWConfig::new()
                .with_beta_1(recipe.betas[0] as f32)
                .with_beta_2(recipe.betas[1] as f32)
                .with_epsilon(recipe.epsilon as f32)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        Self {
            plain: config(0.0),
            decaying: config(recipe.weight_decay),
            weight_decay: recipe.weight_decay,
            layerwise_decay: recipe.layerwise_decay,
            mode: recipe.layerwise_decay_mode,
            max_grad_norm: recipe.max_grad_norm,
            clip_by: recipe.clip_by,
            layers,
            names,
            state: BTreeMap::new(),
        }
    }

    /// Updates the parameters of `model` that have a gradient, after clipping. `norm` is [`global_norm`], or anything where
    /// [`Self::clips`] says no.
    pub fn step<M: Module>(&mut self, model: M, gradients: GradientsParams, learning_rate: f64, norm: f64) -> M {
        let clip = match self.clip_by {
            _ if !self.clips() => Clip::Nothing,
            ClipBy::GlobalNorm => Clip::All(clip_coefficient(norm, self.max_grad_norm)),
            ClipBy::TensorNorm => Clip::Each(self.max_grad_norm),
        };
        model.map(&mut Updater { optimizer: self, path: ModulePath::default(), gradients, learning_rate, clip })
    }

    /// Whether gradients are clipped at all.
    pub fn clips(&self) -> bool {
        self.max_grad_norm > 0.0
    }

    /// Writes the state: `NAME.exp_avg`, `NAME.exp_avg_sq` (PyTorch's words, in Burn's layout, flat) and `NAME.step`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let shapes = self.state.iter().flat_map(|(name, AdamWState { momentum })| {
            let elements = momentum.moment_1.dims().to_vec();
            [("exp_avg", elements.clone()), ("exp_avg_sq", elements), ("step", vec![1])]
                .map(|(word, shape)| (format!("{name}.{word}"), shape))
        });
        let mut writer = Writer::create(path, &shapes.collect())?;
        for (name, AdamWState { momentum }) in &self.state {
            for (word, moment) in [("exp_avg", &momentum.moment_1), ("exp_avg_sq", &momentum.moment_2)] {
                writer.put(&format!("{name}.{word}"), &moment.to_data().iter::<f32>().collect::<Vec<_>>())?;
            }
            writer.put(&format!("{name}.step"), &[momentum.time as f32])?;
        }
        writer.finish()
    }

    /// Takes the state back from a file of [`Self::save`], onto `device`. Parameters that are not in it start anew.
    pub fn load(&mut self, file: &Weights, device: &Device) -> Result<()> {
        for name in file.names().filter_map(|name| name.strip_suffix(".step")) {
            let read = |word: &str| -> Result<Tensor<1>> {
                let values = file.read_f32(&format!("{name}.{word}"))?;
                let shape = [values.len()];
                Ok(Tensor::from_data(TensorData::new(values, shape), device)) // [elements]
            };
            let time = file.read_f32(&format!("{name}.step"))?.first().copied().unwrap_or_default() as usize;
            let momentum = AdaptiveMomentumState::new(time, read("exp_avg")?, read("exp_avg_sq")?);
            self.state.insert(name.to_string(), AdamWState { momentum });
        }
        Ok(())
    }

    /// What the learning rate of a parameter is multiplied with (PaddleNLP's `layerwise_lr_decay`): the layer `i` of `n` learns
    /// at `d^(n-i)`, the embeddings at `d^(n+1)`, the pooler and the head at 1.
    fn ratio(&self, path: &str) -> f64 {
        let exponent = match path.strip_prefix("backbone.encoder.layers.") {
            Some(rest) => {
                let layer = rest.split('.').next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
                self.layers - layer
            }
            None if path.contains("embedding") => self.layers + 1,
            None => 0,
        };
        self.layerwise_decay.powi(exponent as i32)
    }
}

struct Updater<'a> {
    optimizer: &'a mut Optimizer,
    path: ModulePath,
    gradients: GradientsParams,
    learning_rate: f64,
    clip: Clip,
}

/// What is done to gradients before an update.
enum Clip {
    Nothing,
    /// All are multiplied with this.
    All(f64),
    /// Each is scaled down to this norm if its own is larger.
    Each(f64),
}

impl Clip {
    fn apply(&self, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Nothing | Self::All(1.0) => gradient,
            Self::All(scale) => gradient.mul_scalar(*scale),
            Self::Each(maximum) => {
                let norm = gradient.clone().square().sum().sqrt(); // [1]
                gradient * norm.recip().mul_scalar(*maximum).clamp_max(1.0)
            }
        }
    }
}

impl ModuleMapper for Updater<'_> {
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
        let gradient = self.clip.apply(gradient.flatten::<1>(0, D - 1)); // [elements]

        // Vectors are biases and layer norms: the libraries leave them out of the decay by name.
        let decays = D > 1;
        let optimizer = &mut *self.optimizer;
        let name = self.path.checkpoint_names(optimizer.names).swap_remove(0);
        let ratio = optimizer.ratio(&self.path.joined());
        let value = match optimizer.mode {
            LayerwiseDecayMode::AdamWdl if decays => {
                value.mul_scalar(1.0 - self.learning_rate * optimizer.weight_decay)
            }
            _ => value,
        };
        let rule = if decays { &optimizer.decaying } else { &optimizer.plain };
        let (value, state) = rule.step(self.learning_rate * ratio, value, gradient, optimizer.state.remove(&name));
        if let Some(state) = state {
            optimizer.state.insert(name, state);
        }
        let tensor = Tensor::<D>::from_inner(value.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    let mut visitor = SquareSums { gradients, sums: Vec::new() };
    model.visit(&mut visitor);
    if visitor.sums.is_empty() {
        return 0.0;
    }
    // One read from the device, however many tensors there are.
    Tensor::cat(visitor.sums, 0).into_data().iter::<f64>().sum::<f64>().sqrt()
}

struct SquareSums<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl SquareSums<'_> {
    fn add<const D: usize>(&mut self, id: ParamId) {
        if let Some(gradient) = self.gradients.get::<D>(id) {
            self.sums.push(gradient.square().sum());
        }
    }
}

impl ModuleVisitor for SquareSums<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add::<D>(param.id);
    }
}

/// What gradients of this norm are multiplied with so that it is at most `maximum` (PyTorch's `clip_grad_norm_`).
fn clip_coefficient(norm: f64, maximum: f64) -> f64 {
    (maximum / (norm + 1e-6)).min(1.0)
}
