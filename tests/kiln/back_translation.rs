//! ERNIE-M's back-translation (a model that writes what it learns from), its masked-LM head and its language embeddings.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use kiln::models::{AttentionPattern, EncoderInput, ModelConfig, PretrainedConfig, ernie_m};
use kiln::tasks::masked_lm::MaskedLm;
use kiln::tasks::pseudo_tokens::{Decoding, PseudoTokens};
use kiln::tasks::{Learned, StepTotals, TaskBatch, TaskHead, TaskModel, Trainable, learn_block, scale_to_step};
use kiln::weights::{
    self, Initialisation, LoadReport, Missing, NamedTensor, Saved, Spread, Weights, each_parameter, fill, save_module,
};

use crate::cross_attention::{MASK, Rows, VOCABULARY, all_logits, config, model, values, vector};
use crate::device;
use crate::parameters::gradients;

type Model = TaskModel<MaskedLm>;
type Batch = TaskBatch<MaskedLm>;

/// Pairs whose targets are placeholders, and what is to be learnt from them once these are filled.
struct Sample {
    /// Of the source something hidden, of the target nothing.
    learn: Rows,
    /// The other way round, and `[MASK]` for all words of the target.
    write: Rows,
}

impl Sample {
    fn random(seed: u64) -> Self {
        let rows = Rows::random(seed);
        let (mut learn, mut write) = (rows.clone(), rows);
        for (place, (learn, write)) in learn.tokens.iter_mut().zip(&mut write.tokens).enumerate() {
            let is_word = learn.true_id >= 5;
            if learn.side == 2 && is_word {
                (learn.hidden, write.hidden) = (false, true);
                // What stands there before makes no difference.
                (learn.id, write.id) = ((place % 50) as i64, MASK);
            } else {
                (write.hidden, write.id) = (false, write.true_id);
            }
        }
        Self { learn, write }
    }

    fn batch(&self, decoding: Decoding, device: &Device) -> Batch {
        let pseudo_tokens = PseudoTokens {
            input_ids: self.write.input(AttentionPattern::CrossLingual, device).input_ids,
            positions: vector(self.write.hidden().into_iter().map(|place| place as i64), device),
            decoding,
        };
        let mut batch = self.learn.batch(AttentionPattern::Full, device);
        batch.labels.pseudo_tokens = Some(pseudo_tokens);
        batch
    }

    /// The batch with the likeliest tokens put in by hand, and these.
    fn by_hand(&self, model: &Model, device: &Device) -> (Batch, Vec<i64>) {
        let logits =
            all_logits(&model.valid(), &self.write.input(AttentionPattern::CrossLingual, &device.clone().inner()));
        let mut learn = self.learn.clone();
        let mut written = Vec::new();
        for place in self.write.hidden() {
            let logits = &logits[place * VOCABULARY..(place + 1) * VOCABULARY];
            let best = (0..VOCABULARY).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as i64;
            learn.tokens[place].id = best;
            written.push(best);
        }
        (learn.batch(AttentionPattern::Full, device), written)
    }
}

fn ids(batch: &Batch) -> Vec<i64> {
    batch.input.input_ids.to_data().iter::<i64>().collect()
}

/// The loss of a step and each parameter's gradient.
pub fn learn(model: &Model, mut batches: Vec<Batch>) -> (Vec<f32>, BTreeMap<String, Vec<f64>>) {
    let totals = StepTotals::of(&batches);
    scale_to_step(&mut batches, &totals);
    let Learned { mut losses, gradients: found, .. } = learn_block(model, batches, &(), None);
    assert_eq!(losses.len(), 1);
    (values(losses.remove(0).sum), gradients(model, &found))
}

/// What the model writes is to it like text that somebody else wrote: loss and gradients are, to the last bit, those of a batch that
/// holds the same tokens from the start.
#[test]
fn nothing_is_learnt_through_what_was_written() {
    let device = device().autodiff();
    let sample = Sample::random(5);
    for recompute in [false, true] {
        let model = model(config(), &device).with_recompute(recompute);
        let batch = sample.batch(Decoding::Greedy, &device);
        let (by_hand, written) = sample.by_hand(&model, &device);
        assert!(written.iter().any(|token| *token != written[0]), "{written:?}");
        let completed = MaskedLm::completed(&model, batch.clone());
        assert_eq!(ids(&completed), ids(&by_hand));
        assert!(completed.labels.pseudo_tokens.is_none() && completed.input.input_ids.is_autodiff());

        let (loss, gradients) = learn(&model, vec![batch.clone()]);
        assert!(gradients.len() > 50 && loss[0] > 1.0, "{} {loss:?}", gradients.len());
        assert_eq!((&loss, &gradients), (&learn(&model, vec![by_hand.clone()]).0, &learn(&model, vec![by_hand]).1));
        // Other tokens, other gradients.
        let mut other = sample.learn.clone();
        sample.write.hidden().into_iter().for_each(|place| other.tokens[place].id = MASK);
        assert!(learn(&model, vec![other.batch(AttentionPattern::Full, &device)]).1 != gradients);

        let plain = device.clone().inner();
        let loss = |batch: Batch| values(model.valid().predict(&batch, &mut ()).0.remove(0).sum);
        assert_eq!(loss(sample.batch(Decoding::Greedy, &plain)), loss(sample.by_hand(&model, &plain).0));
    }
}

/// Writing knows no dropout, and what is drawn follows from the batch alone.
#[test]
fn what_is_written_is_the_same_every_time() {
    let device = device().autodiff();
    let dropout = PretrainedConfig { hidden_dropout_prob: 0.5, attention_probs_dropout_prob: 0.5, ..config() };
    let model = model(dropout, &device);
    let sample = Sample::random(6);
    let count = sample.write.hidden().len();
    let drawn = |first: usize| {
        let numbers: Vec<f32> = (first..first + count).map(|i| (i as f32 * 0.618_034).fract()).collect();
        Decoding::Sampled(Tensor::from_data(TensorData::from(numbers.as_slice()), &device))
    };
    let write = |decoding: Decoding| ids(&MaskedLm::completed(&model, sample.batch(decoding, &device)));
    assert_eq!(write(Decoding::Greedy), ids(&sample.by_hand(&model, &device).0));
    assert_eq!(write(drawn(0)), write(drawn(0)));
    assert_ne!(write(drawn(0)), write(drawn(1)));
    assert_ne!(write(drawn(0)), write(Decoding::Greedy));
    // Nothing but the placeholders is written to.
    let (before, after) = (ids(&sample.learn.batch(AttentionPattern::Full, &device)), write(drawn(0)));
    let hidden = sample.write.hidden();
    assert!((0..before.len()).all(|place| hidden.contains(&place) || before[place] == after[place]));

    let mut nothing = sample.batch(drawn(0), &device);
    nothing.labels.pseudo_tokens.as_mut().unwrap().positions = vector([].into_iter(), &device);
    assert_eq!(ids(&MaskedLm::completed(&model, nothing)), before);
}

/// A batch that still holds placeholders has no loss.
#[test]
#[should_panic(expected = "placeholders")]
fn a_batch_with_placeholders_is_not_learnt_from() {
    let device = device();
    model(config(), &device).losses(&Sample::random(7).batch(Decoding::Greedy, &device));
}

fn parameters(model: &Model) -> BTreeMap<String, NamedTensor> {
    let mut found = BTreeMap::new();
    each_parameter(model, &ernie_m::FAMILY.tensors, |name, shape, values| {
        found.insert(name, NamedTensor { shape, values: values() });
    });
    found
}

/// A model with the parameters of a file.
fn opened(config: PretrainedConfig, file: &std::path::Path, missing: Missing) -> (Model, LoadReport) {
    let device = device();
    let empty = Model::new(&ModelConfig::encoder(&ernie_m::FAMILY, config).unwrap(), &false, 0, &device);
    let initialisation = Initialisation { seed: 9, spread: Spread::Normal(0.3) };
    fill(empty, Some(&Weights::open(file).unwrap()), &ernie_m::FAMILY.tensors, initialisation, missing).unwrap()
}

/// The error function, by its series: good to 1e-12 in -4 to 4.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// f32 against f64 over 16 products and a layer norm.
const LOGITS: f64 = 1e-4;

/// Dense, exact GELU, layer norm with an epsilon of 1e-5, the table of the words, a bias: whatever the encoder's activation and
/// epsilon are.
#[test]
fn the_masked_lm_head_is_xlm_rs() {
    let device = device();
    let mut held = parameters(&model(config(), &device));
    // New models have zeros for biases, and ones for norms, which would hide where they go.
    for (name, tensor) in held.iter_mut().filter(|(_, tensor)| tensor.shape.len() == 1) {
        let shift = name.len() as f32;
        tensor.values.iter_mut().enumerate().for_each(|(i, value)| *value += 0.3 * (i as f32 + shift).sin());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    weights::save(&file, &held).unwrap();
    let (model, report) = opened(config(), &file, Missing::Refuse);
    assert!(report.unexpected.is_empty() && report.initialised.is_empty(), "{report}");

    let of = |name: &str| -> Vec<f64> { held[name].values.iter().map(|value| f64::from(*value)).collect() };
    let (dense, dense_bias) =
        (of("cls.predictions.transform.dense.weight"), of("cls.predictions.transform.dense.bias"));
    let (gain, shift) =
        (of("cls.predictions.transform.LayerNorm.weight"), of("cls.predictions.transform.LayerNorm.bias"));
    let (table, bias) = (of("ernie_m.embeddings.word_embeddings.weight"), of("cls.predictions.bias"));

    let input = Rows::random(8).input(AttentionPattern::CrossLingual, &device);
    let states = values(model.forward(&input).0.last_hidden_state());
    let logits = all_logits(&model, &input);
    let size = gain.len();
    let product = |matrix: &[f64], row: usize, x: &[f64]| -> f64 {
        matrix[row * size..(row + 1) * size].iter().zip(x).map(|(a, b)| a * b).sum()
    };
    for (state, logits) in states.chunks(size).zip(logits.chunks(VOCABULARY)) {
        let state: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
        let x = (0..size).map(|row| product(&dense, row, &state) + dense_bias[row]);
        let x: Vec<f64> = x.map(|x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))).collect();
        let mean = x.iter().sum::<f64>() / size as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / size as f64;
        let x: Vec<f64> = (0..size).map(|i| (x[i] - mean) / (variance + 1e-5).sqrt() * gain[i] + shift[i]).collect();
        for (token, logit) in logits.iter().enumerate() {
            let expected = product(&table, token, &x) + bias[token];
            assert!((f64::from(*logit) - expected).abs() < LOGITS, "token {token}: {logit} for {expected}");
        }
    }
}

/// Checkpoints hold the languages' vectors and model folders do not, whose models read as if no language were given.
#[test]
fn languages_are_told_apart_in_pretraining_alone() {
    let device = device();
    let languages = PretrainedConfig { num_languages: Some(3), ..config() };
    let model = model(languages.clone(), &device);
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, exported) = (folder.path().join("checkpoint"), folder.path().join("exported"));
    save_module(&checkpoint, &model, &ernie_m::FAMILY.tensors, Saved::All).unwrap();
    save_module(&exported, &model, &ernie_m::FAMILY.tensors, Saved::Exported(None)).unwrap();

    let table = "ernie_m.embeddings.language_embeddings.weight";
    let names = |file| Weights::open(file).unwrap().names().map(str::to_string).collect::<Vec<String>>();
    assert_eq!(Weights::open(&checkpoint).unwrap().get(table).unwrap().shape, [3, 16]);
    let rest: Vec<String> = names(&checkpoint).into_iter().filter(|name| name != table).collect();
    assert_eq!(names(&exported), rest);
    let words = ModelConfig::encoder(&ernie_m::FAMILY, languages.clone()).unwrap().to_words();
    assert_eq!(words, ModelConfig::encoder(&ernie_m::FAMILY, config()).unwrap().to_words());

    let plain = Rows::random(9).input(AttentionPattern::CrossLingual, &device);
    let of = |language: i64| EncoderInput {
        language_ids: Some(plain.visibility.clone().unwrap().segment_ids.zeros_like().add_scalar(language)),
        ..plain.clone()
    };
    let without = all_logits(&model, &plain);
    assert_ne!(all_logits(&model, &of(0)), without);
    assert_ne!(all_logits(&model, &of(0)), all_logits(&model, &of(2)));
    assert_eq!(all_logits(&opened(config(), &exported, Missing::Refuse).0, &plain), without);
    let (resumed, _) = opened(languages.clone(), &checkpoint, Missing::Refuse);
    assert_eq!(all_logits(&resumed, &of(2)), all_logits(&model, &of(2)));
    // Published weights have no such table.
    let (begun, report) = opened(languages, &exported, Missing::HeadsAreNew);
    assert_eq!(report.initialised, [table]);
    assert_ne!(all_logits(&begun, &of(0)), without);
}
