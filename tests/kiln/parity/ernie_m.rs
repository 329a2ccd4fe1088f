//! ERNIE-M.

use kiln::models::ernie_m::FAMILY;
use kiln::recipe::LayerwiseDecayMode;

use super::*;

const CLASSES: Kind = Kind { family: &FAMILY, task: TaskName::SequenceClassification };
const HEADS: [(&str, Kind); 3] = [
    ("hf_erniem_seqcls", CLASSES),
    ("hf_erniem_tokcls", Kind { task: TaskName::TokenClassification, ..CLASSES }),
    ("hf_erniem_qa", Kind { task: TaskName::QuestionAnswering, ..CLASSES }),
];

tests_of_heads!(HEADS);

/// Without a mask transformers hides id 1, the padding, and PaddleNLP id 0, which is `[CLS]`.
#[test]
fn the_mask_trap_is_understood_both_ways() {
    let device = device();
    let both = references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls"));
    for (folder, paddle) in both {
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let mut input = CLASSES.batch::<SequenceClassification>(&io, "in.", &device).input;
        input.attention_mask = None;

        let checkpoint = folder.join("ckpt_safetensors");
        let (output, logits) = CLASSES.model::<SequenceClassification>(&checkpoint, &device).forward(&input);
        assert_near(&output.last_hidden_state(), &io, "out.nomask.last_hidden", STATES);
        assert_logits::<SequenceClassification>(&input, logits, &io, "out.nomask.");

        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let (config, classes) = CLASSES.config(&checkpoint);
        let config = with(&config, "paddle_default_mask", true);
        let weights = Weights::open(&paddle.join("ckpt")).unwrap();
        let model = CLASSES.open::<SequenceClassification>(&weights, &config, classes, &device);
        let (output, logits) = model.forward(&input);
        assert_near(&output.last_hidden_state(), &io, "out.nomask.last_hidden", STATES);
        assert_logits::<SequenceClassification>(&input, logits, &io, "out.nomask.");
    }
}

/// The three checkpoint formats of the same weights are the same model, and PaddleNLP's outputs are ours.
#[test]
fn every_checkpoint_format_is_read() {
    let device = device();
    for (folder, paddle) in references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls")) {
        let parameters = |folder: &Path| CLASSES.parameters(&CLASSES.model::<SequenceClassification>(folder, &device));
        let expected = parameters(&folder.join("ckpt_safetensors"));
        assert_eq!(parameters(&folder.join("ckpt_bin")), expected);
        assert_eq!(parameters(&paddle.join("ckpt")), expected);

        let inputs = Weights::open(&folder.join("io.safetensors")).unwrap();
        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let from_paddle = CLASSES.model::<SequenceClassification>(&paddle.join("ckpt"), &device);
        let input = CLASSES.batch::<SequenceClassification>(&inputs, "in.", &device).input;
        let (output, logits) = from_paddle.forward(&input);
        assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
        assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
        assert_logits::<SequenceClassification>(&input, logits, &io, "out.");
    }
}

#[test]
fn layer_wise_decay_is_paddlenlps_both_ways() {
    for (folder, paddle) in references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls")) {
        for (file, decay, mode) in [
            ("params_after3_adamw", 1.0, LayerwiseDecayMode::Ratio),
            ("params_after3_lrratio", 0.8, LayerwiseDecayMode::Ratio),
            ("params_after3_adamwdl", 0.8, LayerwiseDecayMode::AdamWdl),
        ] {
            let recipe =
                kiln::recipe::Optimizer { layerwise_decay: decay, layerwise_decay_mode: mode, ..reference_optimizer() };
            let model = three_updates::<SequenceClassification>(&paddle.join("ckpt"), &folder, CLASSES, &recipe);
            let file = paddle.join(format!("{file}.safetensors"));
            let paddle_name = |name: &str| name.replace("self_attn.self_attn", "self_attn");
            assert_parameters(&model, CLASSES, &file, Layout::Paddle, paddle_name);
        }
    }
}
