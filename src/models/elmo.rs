//! ELMo (arXiv 1802.05365): a language model in both directions whose layers are features of words.
//!
//! Two models of one shape: Baidu's for Chinese, which reads words from a vocabulary (PaddlePaddle/ERNIE, ELMo/lm_model.py), and
//! AllenAI's, which reads the characters of words (bilm-tf; AllenNLP 2.10.1).

pub(crate) mod baidu;
pub(crate) mod bilm_tf;
mod characters;
mod config;
mod input;
mod negatives;
mod state;

use std::collections::HashSet;

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::{Dropout, Embedding, Initializer};
use burn::tensor::{Device, Int, Tensor};

pub use config::{CharacterActivation, CharacterConfig, ElmoConfig, LayerOutputs, TokenSource};
pub use input::{ElmoInput, Tokens};
pub use negatives::{LogUniform, Negatives};

use self::characters::CharacterEncoder;
use crate::nn::{
    Clips, HasRoles, Lstm, LstmState, Roles, ScalarMix, Spread, cross_entropy_sum, drop_out, dropout, embedding,
    look_up, product_of_rows, reverse_within, to_compute, to_f32, zero_beyond,
};
use crate::weights::{Initialisation, initialise};

/// The model. The names of its tensors in a checkpoint of Kiln's are the names of its fields.
#[derive(Module, Debug)]
pub struct Elmo {
    embedding: TokenEmbedding,
    forward: Vec<Lstm>,
    backward: Vec<Lstm>,
    /// From outputs to words, of both directions. Features need none.
    softmax: Option<Softmax>,
    mix: ScalarMix,
    dropout: Dropout,
    #[module(skip)]
    config: ElmoConfig,
}

/// Words to vectors.
#[allow(clippy::large_enum_variant, reason = "a model has one of them")]
#[derive(Module, Debug)]
enum TokenEmbedding {
    Word(Embedding),
    Character(CharacterEncoder),
}

/// The output layer of the language model.
#[derive(Module, Debug)]
struct Softmax {
    /// `[vocabulary, projection]`
    weight: Param<Tensor<2>>,
    /// `[vocabulary]`
    bias: Param<Tensor<1>>,
}

/// Which way a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// What a text leaves for the next: the state of each layer, the lowest first.
#[derive(Debug, Clone)]
pub struct ElmoState {
    pub forward: Vec<LstmState>,
    pub backward: Vec<LstmState>,
}

/// What comes out of one direction, layer by layer, the lowest first.
#[derive(Debug, Clone)]
pub struct DirectionOutput {
    /// The LSTMs' outputs, each `[batch, steps, projection]`.
    pub raw: Vec<Tensor<3>>,
    /// The same with the layer's input added, where the model has skip connections: the next layer's input.
    pub residual: Vec<Tensor<3>>,
    pub state: Vec<LstmState>,
}

/// One chunk of the streams that the language model learns from; each tensor is `[batch, steps]`, the characters' ids have a third
/// dimension. The backward stream is a stream of reversed sentences of its own.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub forward: Tokens,
    pub forward_targets: Tensor<2, Int>,
    pub backward: Tokens,
    pub backward_targets: Tensor<2, Int>,
    /// The words that the right one is told from; all of them where there are none.
    pub negatives: Option<Negatives>,
}

impl HasRoles for Elmo {
    fn add_roles(&self, roles: &mut Roles) {
        self.mix.add_roles(roles);
        if let Some(softmax) = &self.softmax {
            roles.set(softmax, |role| role.is_new = true);
            // Paddle draws this bias, to whose fans both are its length.
            let [length] = softmax.bias.lazy_shape().dims();
            let limit = (6.0 / (2 * length) as f64).sqrt();
            roles.set(&softmax.bias, |role| role.spread = Some(Spread::Uniform(limit)));
        }
    }
}

impl Elmo {
    /// A model whose values are still to be given, by [`load`] or [`Self::initialised`].
    pub fn new(config: &ElmoConfig, with_softmax: bool, device: &Device) -> Self {
        let size = config.projection_dim;
        let clips = Clips { cell: config.cell_clip, projection: config.proj_clip };
        let layer = |_| Lstm::new(size, config.hidden_size, Some(size), clips, device);
        let layers = || (0..config.num_hidden_layers).map(layer).collect();
        let embedding = match &config.embedding {
            TokenSource::Word => TokenEmbedding::Word(embedding(config.vocab_size, size, device)),
            TokenSource::Character(characters) => {
                TokenEmbedding::Character(CharacterEncoder::new(characters, size, device))
            }
        };
        Self {
            embedding,
            forward: layers(),
            backward: layers(),
            softmax: with_softmax.then(|| Softmax::new(config.vocab_size, size, device)),
            mix: ScalarMix::new(config.feature_layers(), device),
            dropout: dropout(config.dropout),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &ElmoConfig {
        &self.config
    }

    /// Whether it has the output layer that [`Self::bilm_loss`] needs.
    pub fn has_softmax(&self) -> bool {
        self.softmax.is_some()
    }

    /// All parameters but the softmax's.
    pub fn params_below_softmax(&self) -> HashSet<ParamId> {
        let of_softmax = list_param_ids(&self.softmax);
        list_param_ids(self).into_iter().filter(|id| !of_softmax.contains(id)).collect()
    }

    /// The same model, of which only the mixture of its layers has gradients.
    pub fn frozen(self) -> Self {
        let mix = self.mix.clone();
        Self { mix, ..self.no_grad() }
    }

    /// New values for every parameter that `wanted` picks by its name, as Paddle makes them where Baidu's script says nothing:
    /// Xavier's uniform distribution for matrices and for the softmax's bias, and for other biases 0.
    pub fn initialised(self, seed: u64, wanted: impl Fn(&str) -> bool) -> Self {
        initialise(self, Initialisation { seed, spread: Spread::Xavier }, wanted)
    }

    /// The same model with a softmax of new values.
    pub fn with_new_softmax(mut self, seed: u64, device: &Device) -> Self {
        self.softmax = Some(Softmax::new(self.config.vocab_size, self.config.projection_dim, device));
        self.initialised(seed, |name| name.starts_with("softmax."))
    }

    /// What a text begins with that nothing comes before: zeros.
    pub fn start(&self, batch: usize, device: &Device) -> ElmoState {
        let zeros = |layers: &[Lstm]| layers.iter().map(|layer| layer.start(batch, device)).collect();
        ElmoState { forward: zeros(&self.forward), backward: zeros(&self.backward) }
    }

    /// The vectors of the words, `[batch, words, projection]`.
    ///
    /// # Panics
    /// If the tokens are words and the model reads characters, or the other way round.
    pub fn embed(&self, tokens: &Tokens) -> Tensor<3> {
        match (&self.embedding, tokens) {
            (TokenEmbedding::Word(table), Tokens::Words(ids)) => look_up(table, ids.clone(), None),
            (TokenEmbedding::Character(encoder), Tokens::Characters(ids)) => encoder.forward(ids.clone()),
            _ => panic!("whoever makes the input asks the configuration what the model reads"),
        }
    }

    /// The layers of features, each `[batch, words, 2 * projection]`, forward and backward side by side and 0 where a row has
    /// ended: the words' vectors, then each LSTM layer. The state is that after each row's end (backward: its begin).
    ///
    /// A text that stands alone has the state [`Self::start`].
    pub fn layers(&self, input: &ElmoInput, state: ElmoState) -> (Vec<Tensor<3>>, ElmoState) {
        let (layers, state) = self.layers_with_boundaries(input, state);
        (layers.into_iter().map(|layer| input.without_boundaries(layer)).collect(), state)
    }

    /// [`Self::layers`] with a sentence's begin and end, which a model that reads characters adds.
    pub fn layers_with_boundaries(&self, input: &ElmoInput, state: ElmoState) -> (Vec<Tensor<3>>, ElmoState) {
        let x = self.embed(&input.tokens); // [batch, words, projection]
        let lengths = Some(input.lengths.as_slice());
        let forward = self.direction(Direction::Forward, x.clone(), state.forward, lengths, None);
        let reversed = reverse_within(x.clone(), &input.lengths); // [batch, words, projection]
        let backward = self.direction(Direction::Backward, reversed, state.backward, lengths, None);
        let aligned = |x: Tensor<3>| match self.config.compat_lac_demo {
            true => x,
            false => reverse_within(x, &input.lengths),
        };
        let x = zero_beyond(x, &input.lengths);
        let mut layers = vec![Tensor::cat(vec![x.clone(), x], 2)];
        let outputs = |output: DirectionOutput| match self.config.layer_outputs {
            LayerOutputs::Raw => output.raw,
            LayerOutputs::Residual => output.residual,
        };
        let state = ElmoState { forward: forward.state.clone(), backward: backward.state.clone() };
        for (forward, backward) in outputs(forward).into_iter().zip(outputs(backward)) {
            layers.push(Tensor::cat(vec![forward, aligned(backward)], 2)); // [batch, words, 2 * projection]
        }
        (layers, state)
    }

    /// The mixture of the layers, of their shape.
    pub fn mix(&self, layers: &[Tensor<3>]) -> Tensor<3> {
        self.mix.forward(layers)
    }

    /// One direction over `x` `[batch, steps, projection]`, which is already in the direction's order. Training's dropout is in
    /// Baidu's places, which are described at [`Self::bilm_loss`].
    fn direction(
        &self,
        direction: Direction,
        x: Tensor<3>,
        start: Vec<LstmState>,
        lengths: Option<&[usize]>,
        dropout: Option<&Dropout>,
    ) -> DirectionOutput {
        let layers = match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        };
        let mut output = DirectionOutput { raw: Vec::new(), residual: Vec::new(), state: Vec::new() };
        let mut input = x.clone();
        for (layer, start) in layers.iter().zip(start) {
            input = dropped(dropout, input); // [batch, steps, projection]
            let (raw, end) = layer.forward(dropped(dropout, input.clone()), start, lengths);
            let skips = self.config.use_skip_connections && !output.raw.is_empty();
            let sum = if skips { raw.clone() + input } else { raw.clone() };
            let sum = dropped(dropout, sum);
            input = if self.config.compat_lac_demo { x.clone() } else { sum.clone() };
            output.raw.push(raw);
            output.residual.push(sum);
            output.state.push(LstmState { cell: dropped(dropout, end.cell), hidden: end.hidden });
        }
        output
    }

    /// One direction of the language model over a chunk of its stream, with training's dropout on an autodiff device.
    pub fn language_model(&self, direction: Direction, tokens: &Tokens, start: Vec<LstmState>) -> DirectionOutput {
        self.direction(direction, self.embed(tokens), start, None, Some(&self.dropout))
    }

    /// The scores of all words after outputs of the top layer: `[tokens, projection] -> [tokens, vocabulary]`.
    ///
    /// # Panics
    /// If the model has no softmax.
    pub fn logits(&self, top: Tensor<2>) -> Tensor<2> {
        let softmax = self.softmax.as_ref().expect("whoever trains a language model opens it with its softmax");
        to_f32(product_of_rows(to_compute(top), softmax.weight.val(), Some(softmax.bias.val())))
    }

    /// The loss of the language model on one chunk, `[1]`: the mean of the cross-entropies of both directions' tokens, over the
    /// whole vocabulary. The state goes to the next chunk, and gradients do not go back with it.
    ///
    /// Dropout, on an autodiff device, as Baidu has it: of each layer's input twice (what is added to the layer's output is the
    /// once dropped), of that sum, and of the cell that the next chunk begins with; not of the output that it begins with.
    ///
    /// # Panics
    /// If the model has no softmax.
    pub fn bilm_loss(&self, chunk: &Chunk, start: ElmoState) -> (Tensor<1>, ElmoState) {
        let [batch, steps] = chunk.forward_targets.dims();
        let (sum, state) = self.chunk_loss(chunk, start);
        (sum.div_scalar((2 * batch * steps) as f64), state)
    }

    /// [`Self::bilm_loss`] summed over the tokens that count, `[1]`; a negative target does not. Where the chunk has negatives, the
    /// softmax is over them and the right word alone.
    pub fn chunk_loss(&self, chunk: &Chunk, start: ElmoState) -> (Tensor<1>, ElmoState) {
        let (tops, state) = self.tops(chunk, start);
        (self.loss_of_tops(chunk, tops), state)
    }

    /// [`Self::chunk_loss`] from the outputs of both directions' [top layers](Self::tops), `[1]`.
    pub fn loss_of_tops(&self, chunk: &Chunk, [forward, backward]: [Tensor<2>; 2]) -> Tensor<1> {
        let loss = |top: Tensor<2>, targets: &Tensor<2, Int>| {
            let targets = targets.clone().flatten::<1>(0, 1); // [batch * steps]
            match (&chunk.negatives, &self.softmax) {
                (Some(negatives), Some(softmax)) => negatives.loss(top, targets, &softmax.weight, &softmax.bias),
                _ => cross_entropy_sum(self.logits(top), targets),
            }
        };
        loss(forward, &chunk.forward_targets) + loss(backward, &chunk.backward_targets)
    }

    /// The scores of all words at both directions' tokens, `[2 * batch * steps, vocabulary]`, the forward ones first.
    pub fn predict_chunk(&self, chunk: &Chunk, start: ElmoState) -> (Tensor<2>, ElmoState) {
        let (tops, state) = self.tops(chunk, start);
        (self.logits(Tensor::cat(tops.to_vec(), 0)), state)
    }

    /// The outputs of both directions' top layers over a chunk, each `[batch * steps, projection]`, and the state without its graph.
    pub fn tops(&self, chunk: &Chunk, start: ElmoState) -> ([Tensor<2>; 2], ElmoState) {
        let forward = self.language_model(Direction::Forward, &chunk.forward, start.forward);
        let backward = self.language_model(Direction::Backward, &chunk.backward, start.backward);
        let tops = [&forward, &backward].map(|output| {
            let top = output.residual[output.residual.len() - 1].clone(); // [batch, steps, projection]
            top.flatten::<2>(0, 1)
        });
        (tops, ElmoState { forward: forward.state, backward: backward.state }.detach())
    }
}

fn dropped<const D: usize>(dropout: Option<&Dropout>, x: Tensor<D>) -> Tensor<D> {
    match dropout {
        Some(dropout) => drop_out(dropout, x),
        None => x,
    }
}

impl Softmax {
    fn new(vocabulary: usize, size: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([vocabulary, size], device),
            bias: Initializer::Zeros.init([vocabulary], device),
        }
    }
}
