//! The post-norm transformer encoder of BERT (arXiv 1810.04805, section 3), which ERNIE-M, RemBERT and ERNIE 1.0 share.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::{relu, tanh};
use burn::tensor::{Device, Int, Tensor, TensorData, assert_shape};

use super::functions::{dropped, mask};
use super::precision::{apply, compute, compute_all, compute_both, has_cpu_kernels, to_compute, to_f32};
use super::{HiddenAct, LayerNorm, PretrainedConfig, drop_out, dropout, gelu, linear, softmax};
use crate::kernels;

/// How a row's tokens attend to each other. Every layer makes its scores by it: another form, such as relative positions, is another
/// variant.
#[derive(Debug, Clone)]
pub enum AttentionBias {
    /// What is added to the scores, `[batch, 1, query or 1, key]`: 0 where a query attends to a key, else -1e4.
    Mask(Tensor<4>),
}

impl AttentionBias {
    /// No query attends to a key whose `mask` `[batch, key]` is 0. The value is PaddleNLP's -1e4, which f16 can hold; in f32 its
    /// softmax is exactly 0, as with Hugging Face's smallest float.
    pub fn of_mask(mask: Tensor<2, Int>) -> Self {
        let hidden = mask.float().sub_scalar(1.0).mul_scalar(1e4); // [batch, key]
        Self::Mask(hidden.unsqueeze_dims::<4>(&[1, 1])) // [batch, 1, 1, key]
    }

    /// Rows, and tokens of a row with its padding.
    fn dims(&self) -> [usize; 2] {
        let Self::Mask(bias) = self;
        let [batch, _, _, seq] = bias.dims();
        [batch, seq]
    }

    /// Attention of `[batch * seq, hidden]` without a tensor of scores, where that is to be preferred: on a CPU, and on a GPU where it
    /// would be large.
    fn tiled(&self, inputs: [&Tensor<2>; 3], heads: usize, dropout: &Dropout) -> Option<Tensor<2>> {
        let [batch, seq] = self.dims();
        if !kernels::tiles_pay([batch, heads, seq], inputs[0]) {
            return None;
        }
        let Self::Mask(bias) = self;
        kernels::attention(inputs, heads, bias, mask(dropout, inputs[0]))
    }

    /// What values are weighed by, `[batch, heads, query, key]`: dropout of the softmax of the scores of queries and keys, both
    /// `[batch, heads, seq, size]`, which may be halves.
    fn probs(self, query: Tensor<4>, key: Tensor<4>, dropout: &Dropout) -> Tensor<4> {
        let Self::Mask(bias) = self;
        let scores = query.matmul(key.transpose()); // [batch, heads, query, key]
        let mask = mask(dropout, &scores);
        kernels::probs(&scores, &bias, mask).unwrap_or_else(|| dropped(dropout, mask, softmax(to_f32(scores) + bias)))
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    probs_dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    fn new(config: &PretrainedConfig, device: &Device) -> Self {
        let size = config.hidden_size;
        Self {
            query: linear(size, size, device),
            key: linear(size, size, device),
            value: linear(size, size, device),
            output: linear(size, size, device),
            probs_dropout: dropout(config.attention_probs_dropout_prob),
            heads: config.num_attention_heads,
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: Tensor<2>, bias: AttentionBias) -> Tensor<2> {
        let ([tokens, hidden], [batch, seq]) = (x.dims(), bias.dims());
        let size = hidden / self.heads;
        let split = |x: Tensor<2>| x.reshape([batch, seq, self.heads, size]).swap_dims(1, 2); // [batch, heads, seq, size]

        let [query, key, value] = compute_all([&self.query, &self.key, &self.value], to_compute(x));

        let context = bias.tiled([&query, &key, &value], self.heads, &self.probs_dropout).unwrap_or_else(|| {
            assert_shape!(query, [batch * seq, hidden]);
            // Scaling the query costs less than scaling the scores, and gives the same sums.
            let query = query.div_scalar((size as f64).sqrt());
            let probs = bias.probs(split(query), split(key), &self.probs_dropout); // [batch, heads, query, key]
            to_compute(probs).matmul(split(value)).swap_dims(1, 2).reshape([tokens, hidden])
        }); // [tokens, hidden]
        to_f32(compute(&self.output, context))
    }
}

/// One layer: attention and feed-forward, each followed by dropout, the residual sum and a layer norm.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    hidden_dropout: Dropout,
    act_dropout: Dropout,
    #[module(skip)]
    activation: HiddenAct,
}

impl EncoderLayer {
    fn new(config: &PretrainedConfig, device: &Device) -> Self {
        Self {
            attention: SelfAttention::new(config, device),
            attention_norm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
            intermediate: linear(config.hidden_size, config.intermediate_size, device),
            output: linear(config.intermediate_size, config.hidden_size, device),
            output_norm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
            hidden_dropout: dropout(config.hidden_dropout_prob),
            act_dropout: dropout(config.act_dropout.unwrap_or(0.0)),
            activation: config.hidden_act,
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    pub fn forward(&self, x: Tensor<2>, bias: AttentionBias) -> Tensor<2> {
        let attended = self.attention.forward(x.clone(), bias); // [tokens, hidden]
        let x = self.attention_norm.of_sum(x, attended, &self.hidden_dropout); // [tokens, hidden]

        let fed = to_f32(self.feed_forward(to_compute(x.clone()))); // [tokens, hidden]
        self.output_norm.of_sum(x, fed, &self.hidden_dropout)
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn feed_forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mask = mask(&self.act_dropout, &x);
        let layers = [&self.intermediate, &self.output];
        let together = mask.is_none().then(|| compute_both(layers, self.activation.into(), &x)).flatten();
        together.unwrap_or_else(|| {
            let inner = activate(compute(&self.intermediate, x), self.activation); // [tokens, intermediate]
            compute(&self.output, to_compute(dropped(&self.act_dropout, mask, inner)))
        })
    }
}

/// An activation by its name.
pub(super) fn activate<const D: usize>(x: Tensor<D>, activation: HiddenAct) -> Tensor<D> {
    match activation {
        HiddenAct::Gelu => gelu(x),
        HiddenAct::Relu => relu(x),
    }
}

/// How an encoder's layers have the tokens of a batch, as `[tokens, hidden]`: row after row, and without the padding behind a row where the device's
/// attention takes them so. (For why they are not `[batch, seq, hidden]`, see `per_token`.)
#[derive(Debug, Clone)]
pub struct Packing {
    /// Batch, tokens of a row with its padding, and hidden size.
    shape: [usize; 3],
    /// Without padding: which of `batch * seq` each token is, and for each of `batch * seq` which token it is, or one beyond the last.
    tokens: Option<[Tensor<2, Int>; 2]>,
}

impl Packing {
    /// That of a batch with these embeddings, `[batch, seq, hidden]`, of which these hidden states are wanted.
    pub fn new(keep: HiddenStates, bias: &AttentionBias, embedded: &Tensor<3>) -> Self {
        let (AttentionBias::Mask(bias), shape) = (bias, embedded.dims());
        let ([batch, _, queries, seq], device) = (bias.dims(), embedded.device());
        let is_taken = keep == HiddenStates::LastOfTokens && queries == 1 && has_cpu_kernels(&device);
        let lengths = is_taken.then(|| kernels::visible_lengths(bias)).flatten();
        let tokens = lengths.filter(|lengths| lengths.iter().sum::<usize>() < batch * seq).map(|lengths| {
            let is_packed = |place: &usize| place % seq < lengths[place / seq];
            let places: Vec<i64> = (0..batch * seq).filter(is_packed).map(|place| place as i64).collect();
            let mut numbers = 0..places.len() as i64;
            let beyond = numbers.end;
            let number = |place: usize| if is_packed(&place) { numbers.next() } else { None }.unwrap_or(beyond);
            let numbers: Vec<i64> = (0..batch * seq).map(number).collect();
            [places, numbers].map(|ids| {
                let length = ids.len();
                Tensor::from_data(TensorData::new(ids, [1, length]), &device)
            })
        });
        Self { shape, tokens }
    }

    /// `[batch, seq, hidden] -> [tokens, hidden]`
    pub fn pack(&self, x: Tensor<3>) -> Tensor<2> {
        let x = x.flatten::<2>(0, 1); // [batch * seq, hidden]
        match &self.tokens {
            Some([places, _]) => rows_of(x, places),
            None => x,
        }
    }

    /// `[tokens, hidden] -> [batch, seq, hidden]`, 0 where there is padding.
    pub fn unpack(&self, x: Tensor<2>) -> Tensor<3> {
        let [batch, seq, hidden] = self.shape;
        let all = match &self.tokens {
            Some([_, numbers]) => {
                let zeros = Tensor::zeros([1, hidden], &x.device());
                rows_of(Tensor::cat(vec![x, zeros], 0), numbers) // [batch * seq, hidden]
            }
            None => x,
        };
        all.reshape([batch, seq, hidden])
    }
}

/// `[rows, width] -> [ids, width]`
fn rows_of(x: Tensor<2>, ids: &Tensor<2, Int>) -> Tensor<2> {
    let found = kernels::look_up(&x, ids, None).map(|rows| rows.flatten::<2>(0, 1));
    found.unwrap_or_else(|| x.select(0, ids.clone().flatten::<1>(0, 1)))
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    pub fn new(config: &PretrainedConfig, device: &Device) -> Self {
        let layers = (0..config.num_hidden_layers).map(|_| EncoderLayer::new(config, device)).collect();
        Self { layers }
    }

    pub fn layers(&self) -> &[EncoderLayer] {
        &self.layers
    }

    /// From the embeddings `[batch, seq, hidden]` to the hidden states that are asked for, of that shape.
    pub fn forward(&self, embedded: Tensor<3>, bias: AttentionBias, keep: HiddenStates) -> Vec<Tensor<3>> {
        let packing = Packing::new(keep, &bias, &embedded);
        let mut states = vec![packing.pack(embedded)]; // [tokens, hidden]
        for layer in &self.layers {
            let next = layer.forward(states[states.len() - 1].clone(), bias.clone()); // [tokens, hidden]
            if keep != HiddenStates::All {
                states.clear();
            }
            states.push(next);
        }
        states.into_iter().map(|state| packing.unpack(state)).collect()
    }
}

/// Which hidden states an encoder gives. Without a graph, those that nobody asked for are freed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenStates {
    /// The embeddings and each layer's output: one more than there are layers.
    All,
    /// The last layer's output.
    Last,
    /// The same, but what there is of the padding behind a row may be anything: a CPU leaves it out.
    LastOfTokens,
}

/// `tanh(W h + b)` of the first token.
#[derive(Module, Debug)]
pub struct Pooler {
    dense: Linear,
}

impl Pooler {
    pub fn new(hidden_size: usize, device: &Device) -> Self {
        Self { dense: linear(hidden_size, hidden_size, device) }
    }

    /// `[batch, seq, hidden] -> [batch, hidden]`.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        let first = hidden.narrow(1, 0, 1).squeeze_dim::<2>(1); // [batch, hidden]
        tanh(apply(&self.dense, first))
    }
}

/// RoBERTa's classifier of whole rows: a layer, tanh and an output layer on the first token, each behind a dropout (`RobertaClassificationHead` of transformers).
#[derive(Module, Debug)]
pub struct MlpClassifier {
    dense: Linear,
    out_proj: Linear,
    dropout: Dropout,
}

impl MlpClassifier {
    /// A classifier whose values are still to be given by `weights::fill`.
    pub fn new(hidden_size: usize, classes: usize, probability: f64, device: &Device) -> Self {
        Self {
            dense: linear(hidden_size, hidden_size, device),
            out_proj: linear(hidden_size, classes, device),
            dropout: dropout(probability),
        }
    }

    /// `[batch, seq, hidden] -> [batch, classes]`.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        let first = hidden.narrow(1, 0, 1).squeeze_dim::<2>(1); // [batch, hidden]
        let inner = tanh(apply(&self.dense, drop_out(&self.dropout, first))); // [batch, hidden]
        apply(&self.out_proj, drop_out(&self.dropout, inner))
    }
}
