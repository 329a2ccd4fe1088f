//! ERNIE 1.0, and the shapes of 2.0 and 3.0.

use kiln::device::is_gpu;
use kiln::models::ernie::FAMILY;

use super::*;

const CLASSES: Kind = Kind { family: &FAMILY, task: TaskName::SequenceClassification };
const PRE_TRAINING: Kind = Kind { task: TaskName::PreTraining, ..CLASSES };
const HEADS: [(&str, Kind); 7] = [
    ("hf_ernie_pretrain", PRE_TRAINING),
    ("hf_ernie_mlm_taskid", Kind { task: TaskName::MaskedLm, ..CLASSES }),
    ("hf_ernie_seqcls", CLASSES),
    ("hf_ernie_tokcls", Kind { task: TaskName::TokenClassification, ..CLASSES }),
    ("hf_ernie_qa", Kind { task: TaskName::QuestionAnswering, ..CLASSES }),
    ("hf_ernie_seqcls_v2", CLASSES),
    ("hf_ernie_seqcls_v3", CLASSES),
];

tests_of_heads!(HEADS);

fn paddle_name(name: &str) -> String {
    let layer = name
        .replace("encoder.layer.", "encoder.layers.")
        .replace("attention.self.query", "self_attn.q_proj")
        .replace("attention.self.key", "self_attn.k_proj")
        .replace("attention.self.value", "self_attn.v_proj")
        .replace("attention.output.dense", "self_attn.out_proj")
        .replace("attention.output.LayerNorm", "norm1")
        .replace("intermediate.dense", "linear1")
        .replace("output.dense", "linear2")
        .replace("output.LayerNorm", "norm2");
    let head = layer
        .replace("transform.dense", "transform")
        .replace("transform.LayerNorm", "layer_norm")
        .replace("predictions.bias", "predictions.decoder_bias");
    head.replace("embeddings.LayerNorm", "embeddings.layer_norm")
}

/// Of one token of the small model, padding, the head's layer norm divides by 0.001 (behind the ReLU, nearly all of its 8 numbers are 0), and
/// makes a thousand of each rounding error. There PyTorch's own float32 is off by 2.7e-5 from its float64.
const PADDLES_LOGITS: f64 = 1e-4;

/// PaddleNLP's checkpoint is the same model; its outputs, padding included (which it looks up as zeros), and its losses are ours.
fn check_paddlenlp<H: Labelled>(kind: Kind, hugging_face: &str, paddle: &str) {
    let device = device();
    for (folder, paddle) in references(hugging_face).into_iter().zip(references(paddle)) {
        let parameters = |folder: &Path| kind.parameters(&kind.model::<H>(folder, &device));
        assert_eq!(parameters(&paddle.join("ckpt")), parameters(&folder.join("ckpt_safetensors")));

        let inputs = Weights::open(&folder.join("io.safetensors")).unwrap();
        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let model = kind.model::<H>(&paddle.join("ckpt"), &device);
        let batch = kind.batch::<H>(&inputs, "in.", &device);
        let (output, logits) = model.forward(&batch.input);
        // What GPUs may differ by beside a float32 reference is as much already.
        let tolerance = if is_gpu(&device) { STATES } else { PADDLES_LOGITS };
        assert_logits_within::<H>(tolerance, &batch.input, logits, &io, "out.");
        if kind.task == TaskName::PreTraining {
            assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
            assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
            let (sums, _) = model.losses(&batch);
            let [lm, sop] = sums.try_into().unwrap();
            assert_near(&(lm / batch.terms[0].labels as f64), &io, "out.lm_loss", LOSSES);
            assert_near(&(sop / batch.terms[1].labels as f64), &io, "out.nsp_loss", LOSSES);
        }
    }
}

#[test]
fn checkpoints_and_outputs_are_paddlenlps() {
    check_paddlenlp::<MaskedLm>(PRE_TRAINING, "hf_ernie_pretrain", "pd_ernie_pretrain");
    check_paddlenlp::<SequenceClassification>(CLASSES, "hf_ernie_seqcls", "pd_ernie_seqcls");
}

fn check_paddlenlps_updates<H: Labelled>(kind: Kind, hugging_face: &str, paddle: &str) {
    for (folder, paddle) in references(hugging_face).into_iter().zip(references(paddle)) {
        let model = three_updates::<H>(&paddle.join("ckpt"), &folder, kind, &reference_optimizer());
        let file = paddle.join("params_after3_adamw.safetensors");
        assert_parameters(&model, kind, &file, Layout::Paddle, paddle_name);
    }
}

#[test]
fn parameters_after_three_updates_are_paddlenlps() {
    check_paddlenlps_updates::<MaskedLm>(PRE_TRAINING, "hf_ernie_pretrain", "pd_ernie_pretrain");
    check_paddlenlps_updates::<SequenceClassification>(CLASSES, "hf_ernie_seqcls", "pd_ernie_seqcls");
}
