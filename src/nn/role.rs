//! What is special about single parameters, said by the blocks that make them.

use std::collections::HashMap;

use burn::module::{Module, ParamId, list_param_ids};

/// How new weights are distributed. Vectors keep the constant of their block, 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Normally, with this standard deviation.
    Normal(f64),
    /// Evenly from minus this to this.
    Uniform(f64),
    /// As Paddle does where nothing is said: evenly, by the sizes of a matrix (Xavier's; Glorot and Bengio 2010, equation 16).
    Xavier,
}

/// Which learning rate a parameter has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rate {
    #[default]
    Usual,
    /// `optimizer.emb_learning_rate` times the usual one.
    WordEmbeddings,
    /// `optimizer.crf_learning_rate` times the usual one.
    Crf,
}

/// What a parameter is for, where it is not a matrix or a vector like any other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Role {
    /// Whether weight decay and L2 act on it, if it is no vector.
    pub decays: bool,
    /// Whether it mixes an ELMo's layers, which has an L2 of its own.
    pub mixes: bool,
    pub rate: Rate,
    /// By how many layers layer-wise decay slows it down: 0 for heads and poolers.
    pub depth: usize,
    /// How it is made, if not as the model's configuration says. A vector is then drawn too.
    pub spread: Option<Spread>,
    /// How many layers of the original stand side by side in it, of which each counts for itself where it is made.
    pub parts: usize,
    /// Whether published weights may lack it, so that a training makes it anew: heads and poolers.
    pub is_new: bool,
    /// Whether model folders hold it.
    pub is_exported: bool,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            decays: true,
            mixes: false,
            rate: Rate::Usual,
            depth: 0,
            spread: None,
            parts: 1,
            is_new: false,
            is_exported: true,
        }
    }
}

/// The roles of a module's parameters.
#[derive(Debug, Clone, Default)]
pub struct Roles(HashMap<ParamId, Role>);

impl Roles {
    /// Those of all parameters of a module.
    pub fn of(module: &impl HasRoles) -> Self {
        let mut roles = Self::default();
        module.add_roles(&mut roles);
        roles
    }

    /// Changes the roles of all parameters of a module, which may be a single parameter.
    pub fn set(&mut self, module: &impl Module, change: impl Fn(&mut Role)) {
        for id in list_param_ids(module) {
            change(self.0.entry(id).or_default());
        }
    }

    /// The role of a parameter.
    pub fn get(&self, id: ParamId) -> Role {
        self.0.get(&id).copied().unwrap_or_default()
    }
}

/// A module that knows the roles of its parameters.
pub trait HasRoles: Module {
    /// Says what is special about the parameters; nothing, if nothing is.
    fn add_roles(&self, _roles: &mut Roles) {}
}
