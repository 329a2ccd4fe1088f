//! RemBERT.

use kiln::models::rembert::FAMILY;

use burn::module::ModuleMapper;
use kiln::recipe::ClipBy;

use super::*;

const CLASSES: Kind = Kind { family: &FAMILY, task: TaskName::SequenceClassification };
const HEADS: [(&str, Kind); 4] = [
    ("hf_rembert_seqcls", CLASSES),
    ("hf_rembert_tokcls", Kind { task: TaskName::TokenClassification, ..CLASSES }),
    ("hf_rembert_qa", Kind { task: TaskName::QuestionAnswering, ..CLASSES }),
    ("hf_rembert_mlm", Kind { task: TaskName::MaskedLm, ..CLASSES }),
];

tests_of_heads!(HEADS);

fn paddle_name(name: &str) -> String {
    name.replace("LayerNorm", "layer_norm").replace("classifier", "dense")
}

/// PaddleNLP's checkpoint is the same model, and its outputs, made without a mask because it would add a mask of 1 and 0 to the
/// scores, are ours with and without one.
#[test]
fn checkpoints_and_outputs_are_paddlenlps() {
    let device = device();
    for (folder, paddle) in references("hf_rembert_seqcls").into_iter().zip(references("pd_rembert_seqcls")) {
        let parameters = |folder: &Path| CLASSES.parameters(&CLASSES.model::<SequenceClassification>(folder, &device));
        let expected = parameters(&folder.join("ckpt_safetensors"));
        assert_eq!(parameters(&folder.join("ckpt_bin")), expected);
        assert_eq!(parameters(&paddle.join("ckpt")), expected);

        let inputs = Weights::open(&folder.join("io.safetensors")).unwrap();
        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let model = CLASSES.model::<SequenceClassification>(&paddle.join("ckpt"), &device);
        let masked = CLASSES.batch::<SequenceClassification>(&inputs, "in.", &device).input;
        let unmasked = EncoderInput { attention_mask: None, ..masked.clone() };
        for input in [masked, unmasked] {
            let (output, logits) = model.forward(&input);
            assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
            assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
            assert_logits::<SequenceClassification>(&input, logits, &io, "out.");
        }
    }
}

#[test]
fn parameters_after_three_updates_are_paddlenlps() {
    for (folder, paddle) in references("hf_rembert_seqcls").into_iter().zip(references("pd_rembert_seqcls")) {
        let model =
            three_updates::<SequenceClassification>(&paddle.join("ckpt"), &folder, CLASSES, &reference_optimizer());
        let file = paddle.join("params_after3_adamw.safetensors");
        assert_parameters(&model, CLASSES, &file, Layout::Paddle, paddle_name);
    }
}

/// A layer that is computed again must drop out the same as the first time: else the gradient would be of another function. Here it
/// is compared with the slope of the loss along the gradient itself.
#[test]
fn recomputed_layers_drop_out_the_same_again() {
    let device = device().autodiff();
    let folder = fixture("parity/hf_rembert_seqcls");
    let (mut config, classes) = CLASSES.config(&folder.join("ckpt_safetensors"));
    for (word, dropout) in
        [("hidden_dropout_prob", 0.3), ("attention_probs_dropout_prob", 0.2), ("classifier_dropout_prob", 0.4)]
    {
        config = with(&config, word, dropout);
    }
    let weights = Weights::open(&folder.join("ckpt_safetensors")).unwrap();
    let model = CLASSES.open::<SequenceClassification>(&weights, &config, classes, &device).with_recompute(true);
    let io = Weights::open(&folder.join("io.safetensors")).unwrap();
    let step = |model: &TaskModel<SequenceClassification>| {
        kiln::nn::seed_dropout(&device, 7);
        model.learn(CLASSES.batch::<SequenceClassification>(&io, "in.", &device), &(), None)
    };
    let by_parameter = step(&model).gradients;
    let found = gradients(&model, CLASSES.family, &by_parameter);
    let square: f64 = found.values().flatten().map(|x| x * x).sum();

    let loss_at = |distance: f64| {
        let moved = model.clone().map(&mut Moved { gradients: &by_parameter, distance: distance / square.sqrt() });
        mean_loss(&step(&moved).losses)
    };
    let slope = (loss_at(1e-3) - loss_at(-1e-3)) / 2e-3;
    assert!((slope / square.sqrt() - 1.0).abs() < 0.01, "slope {slope}, gradient {}", square.sqrt());
}

struct Moved<'a> {
    gradients: &'a GradientsParams,
    distance: f64,
}

impl ModuleMapper for Moved<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let moved = match self.gradients.get::<D>(id) {
            Some(gradient) => Tensor::from_inner(tensor.inner() + gradient.mul_scalar(self.distance)).require_grad(),
            None => tensor,
        };
        Param::from_mapped_value(id, moved, mapper)
    }
}

/// PaddleNLP's RemBERT example clips each tensor's gradient for itself (`ClipGradByNorm`).
#[test]
fn parameters_after_three_updates_clipped_tensor_by_tensor_are_paddlenlps() {
    let paddle = fixture("parity/pd_rembert_seqcls");
    let recipe = kiln::recipe::Optimizer { clip_by: ClipBy::TensorNorm, max_grad_norm: 0.1, ..reference_optimizer() };
    let model = three_updates::<SequenceClassification>(
        &paddle.join("ckpt"),
        &fixture("parity/hf_rembert_seqcls"),
        CLASSES,
        &recipe,
    );
    let file = paddle.join("params_after3_clip_by_norm.safetensors");
    assert_parameters(&model, CLASSES, &file, Layout::Paddle, paddle_name);
}
