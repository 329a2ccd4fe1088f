//! ERNIE-M's pre-training on translations: who sees whom, to the last bit, and the loss.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln::models::{AttentionPattern, Backbone, EncoderInput, ModelConfig, PretrainedConfig, Visibility, ernie_m};
use kiln::nn::{HiddenAct, HiddenStates};
use kiln::tasks::masked_lm::{LM_LOSS, Labels, MaskedLm};
use kiln::tasks::{Batch, LossTerm, TaskBatch, TaskModel};
use kiln::weights::{Initialisation, Missing, Spread, TensorNames, fill};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::device;

const HIDDEN: usize = 16;
pub const VOCABULARY: usize = 60;
const CLS: i64 = 0;
const PAD: i64 = 1;
const SEP: i64 = 2;
pub const MASK: i64 = 59;

/// Three layers, so that what leaks through another token has the time to.
pub fn config() -> PretrainedConfig {
    PretrainedConfig {
        vocab_size: VOCABULARY,
        hidden_size: HIDDEN,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        intermediate_size: 32,
        // The masked-LM head takes neither from here.
        hidden_act: HiddenAct::Relu,
        layer_norm_eps: 1e-3,
        // Burn drops out wherever it differentiates.
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 66,
        initializer_range: 0.3,
        ..ernie_m::DEFAULTS
    }
}

const INITIALISATION: Initialisation = Initialisation { seed: 4, spread: Spread::Normal(0.3) };

pub fn model(config: PretrainedConfig, device: &Device) -> TaskModel<MaskedLm> {
    let config = ModelConfig::encoder(&ernie_m::FAMILY, config).unwrap();
    let names = &config.family().tensors;
    let (model, report) =
        fill(TaskModel::new(&config, &false, 0, device), None, names, INITIALISATION, Missing::HeadsAreNew).unwrap();
    assert!(report.initialised.contains(&"cls.predictions.transform.dense.weight".to_string()), "{report:?}");
    model
}

/// A token of a row: where it belongs, what stands there, and what is to be found out if it is hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    pub pack: i64,
    pub side: i64,
    pub hidden: bool,
    pub id: i64,
    pub true_id: i64,
}

/// Rows of pairs, all equally long.
#[derive(Clone)]
pub struct Rows {
    pub tokens: Vec<Token>,
    pub width: usize,
}

impl Rows {
    /// Rows of one, two and three pairs, with padding behind each: `[CLS] x [SEP] [SEP] y [SEP]`, of each text some hidden.
    pub fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<Vec<Token>> =
            [2, 1, 3].into_iter().map(|pairs| (1..=pairs).flat_map(|pack| pair(pack, &mut rng)).collect()).collect();
        let width = rows.iter().map(Vec::len).max().unwrap() + 2;
        let padding = Token { pack: 0, side: 0, hidden: false, id: PAD, true_id: PAD };
        let padded = |row: Vec<Token>| row.into_iter().chain(std::iter::repeat(padding)).take(width);
        Self { tokens: rows.into_iter().flat_map(padded).collect(), width }
    }

    fn tensor(&self, of: impl Fn(&Token) -> i64, device: &Device) -> Tensor<2, Int> {
        let values: Vec<i64> = self.tokens.iter().map(of).collect();
        Tensor::from_data(TensorData::new(values, [self.tokens.len() / self.width, self.width]), device)
    }

    pub fn input(&self, pattern: AttentionPattern, device: &Device) -> EncoderInput {
        EncoderInput {
            // Without effect beside the visibility, and wrong.
            attention_mask: Some(self.tensor(|_| 0, device)),
            visibility: Some(Visibility {
                document_ids: self.tensor(|token| token.pack, device),
                segment_ids: self.tensor(|token| token.side, device),
                masked: self.tensor(|token| token.hidden.into(), device),
                pattern,
            }),
            ..EncoderInput::new(self.tensor(|token| token.id, device))
        }
    }

    /// The places of the hidden tokens in the rows laid end to end.
    pub fn hidden(&self) -> Vec<usize> {
        (0..self.tokens.len()).filter(|place| self.tokens[*place].hidden).collect()
    }

    pub fn batch(&self, pattern: AttentionPattern, device: &Device) -> TaskBatch<MaskedLm> {
        let hidden = self.hidden();
        let labels = Labels {
            positions: vector(hidden.iter().map(|place| *place as i64), device),
            tokens: vector(hidden.iter().map(|place| self.tokens[*place].true_id), device),
            sop: None,
            pseudo_tokens: None,
        };
        Batch {
            input: self.input(pattern, device),
            labels,
            rows: vec![0, 1, 2],
            block: 0,
            tokens: self.tokens.len(),
            padded_tokens: self.tokens.len(),
            terms: vec![LossTerm::mean(LM_LOSS, hidden.len())],
        }
    }

    /// Whether anything of the token at `to` may depend on the one at `from`, places of the rows laid end to end.
    fn depends(&self, pattern: AttentionPattern, to: usize, from: usize) -> bool {
        let (query, key) = (self.tokens[to], self.tokens[from]);
        if to == from {
            return true;
        }
        if to / self.width != from / self.width || query.pack != key.pack || query.side == 0 || key.side == 0 {
            return false;
        }
        match pattern {
            AttentionPattern::Full => true,
            AttentionPattern::CrossLingual => !key.hidden && (query.hidden != (query.side == key.side)),
        }
    }
}

fn pair(pack: i64, rng: &mut ChaCha8Rng) -> Vec<Token> {
    let mut text = |side: i64, first: i64| {
        let word = |id: i64| Token { pack, side, hidden: false, id, true_id: id };
        let mut tokens = vec![word(first)];
        tokens.extend((0..rng.random_range(3..7)).map(|_| word(rng.random_range(5..MASK))));
        let count = tokens.len();
        for place in [1, 3, 5].into_iter().take_while(|place| *place < count) {
            // Not always by [MASK]: what is hidden is hidden whatever stands there.
            let id = if place == 3 { rng.random_range(5..MASK) } else { MASK };
            tokens[place] = Token { hidden: true, id, ..tokens[place] };
        }
        tokens.push(word(SEP));
        tokens
    };
    [text(1, CLS), text(2, SEP)].concat()
}

/// The logits of every token, one token after the other.
pub fn all_logits(model: &TaskModel<MaskedLm>, input: &EncoderInput) -> Vec<f32> {
    let logits = model.logits(input);
    assert!(logits.sop.is_none());
    values(logits.tokens)
}

pub fn vector(values: impl Iterator<Item = i64>, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(values.collect::<Vec<_>>().as_slice()), device)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The gradient of a token's last state to the embeddings is exactly zero at every token that it must not know of: its own context, if
/// it is hidden, other hidden tokens, other pairs of the row, other rows, padding. At all others it is not.
#[test]
fn a_state_depends_on_what_it_may_see_and_on_nothing_else() {
    let device = device().autodiff();
    let backbone = Backbone::new(&ModelConfig::encoder(&ernie_m::FAMILY, config()).unwrap(), false, &device);
    let (backbone, _) = fill(backbone, None, &TensorNames::OWN, INITIALISATION, Missing::HeadsAreNew).unwrap();
    let rows = Rows::random(1);
    for pattern in [AttentionPattern::CrossLingual, AttentionPattern::Full] {
        let input = rows.input(pattern, &device);
        let embedded = backbone.embed(&input).inner(); // [batch, seq, hidden]
        let mut of_hidden = 0;
        for to in 0..rows.tokens.len() {
            let leaf = embedded.clone().autodiff().require_grad();
            let encoder = backbone.encoder().unwrap();
            let states = encoder.forward(leaf.clone(), backbone.attention_bias(&input), HiddenStates::Last);
            let state = states[0].clone().flatten::<2>(0, 1).narrow(0, to, 1); // [1, hidden]
            // Not the sum, which a layer norm holds constant.
            let direction: Vec<f32> = (0..HIDDEN).map(|i| (i as f32).sin()).collect();
            let direction = Tensor::<1>::from_data(TensorData::from(direction.as_slice()), &device).unsqueeze::<2>();
            let gradients = (state * direction).sum().backward();
            let gradient = values(leaf.grad(&gradients).unwrap());
            for (from, gradient) in gradient.chunks(HIDDEN).enumerate() {
                let what = format!("{pattern:?} {:?} of {:?}", rows.tokens[to], rows.tokens[from]);
                assert!(gradient.iter().all(|x| x.is_finite()), "{what}");
                assert_eq!(gradient.iter().any(|x| *x != 0.0), rows.depends(pattern, to, from), "{what}");
                of_hidden += usize::from(rows.tokens[to].hidden && to != from && gradient.iter().any(|x| *x != 0.0));
            }
        }
        assert!(of_hidden > 50, "hidden tokens see next to nothing");
    }
}

/// The logits of a hidden token stay what they are, bit for bit, while every token that it must not know of is another.
#[test]
fn the_guess_is_the_same_whatever_the_own_side_says() {
    let device = device();
    let model = model(config(), &device);
    let rows = Rows::random(2);
    let at = |rows: &Rows, pattern: AttentionPattern, place: usize| {
        all_logits(&model, &rows.input(pattern, &device))[place * VOCABULARY..(place + 1) * VOCABULARY].to_vec()
    };
    for place in rows.hidden() {
        let mut others = rows.clone();
        let mut changed = 0;
        for from in 0..rows.tokens.len() {
            if !rows.depends(AttentionPattern::CrossLingual, place, from) {
                others.tokens[from].id = (rows.tokens[from].id + 7) % MASK;
                changed += 1;
            }
        }
        assert!(changed > rows.tokens.len() / 2);
        assert_eq!(
            at(&rows, AttentionPattern::CrossLingual, place),
            at(&others, AttentionPattern::CrossLingual, place)
        );
        assert_ne!(at(&rows, AttentionPattern::Full, place), at(&others, AttentionPattern::Full, place));

        let seen = (0..rows.tokens.len())
            .find(|from| *from != place && rows.depends(AttentionPattern::CrossLingual, place, *from));
        let mut other = rows.clone();
        other.tokens[seen.unwrap()].id = 30;
        assert_ne!(at(&rows, AttentionPattern::CrossLingual, place), at(&other, AttentionPattern::CrossLingual, place));
    }
}

/// The library's sum of f32 against a plain sum of f64, from logits that were multiplied in another order; relative.
const LOSS: f64 = 1e-5;

#[test]
fn the_loss_is_that_of_the_hidden_tokens_of_both_sides() {
    let device = device();
    let model = model(config(), &device);
    let rows = Rows::random(3);
    for pattern in [AttentionPattern::CrossLingual, AttentionPattern::Full] {
        let logits = all_logits(&model, &rows.input(pattern, &device));
        let (mut loss, mut sides) = (0.0, [0; 3]);
        for (token, logits) in rows.tokens.iter().zip(logits.chunks(VOCABULARY)) {
            if token.hidden {
                let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
                loss += sum.ln() - f64::from(logits[token.true_id as usize]);
                sides[token.side as usize] += 1;
            }
        }
        assert!(sides[1] >= 6 && sides[2] >= 6, "{sides:?}");
        let (mut sums, _) = model.losses(&rows.batch(pattern, &device));
        assert_eq!(sums.len(), 1);
        let ours = f64::from(values(sums.remove(0))[0]);
        assert!((ours - loss).abs() <= LOSS * loss, "{pattern:?}: {ours} for {loss}");
    }
}
