//! BERT.

use kiln::models::bert::FAMILY;

use super::*;

const CLASSES: Kind = Kind { family: &FAMILY, task: TaskName::SequenceClassification };
const PRE_TRAINING: Kind = Kind { task: TaskName::PreTraining, ..CLASSES };
const HEADS: [(&str, Kind); 5] = [
    ("hf_bert_pretrain", PRE_TRAINING),
    ("hf_bert_mlm", Kind { task: TaskName::MaskedLm, ..CLASSES }),
    ("hf_bert_seqcls", CLASSES),
    ("hf_bert_tokcls", Kind { task: TaskName::TokenClassification, ..CLASSES }),
    ("hf_bert_qa", Kind { task: TaskName::QuestionAnswering, ..CLASSES }),
];

tests_of_heads!(HEADS);

/// bert-base-chinese calls the leaves of its layer norms gamma and beta.
#[test]
fn the_first_published_names_are_read() {
    let device = device();
    let folder = fixture("parity/hf_bert_pretrain");
    let of = |name: &str| PRE_TRAINING.parameters(&PRE_TRAINING.model::<MaskedLm>(&folder.join(name), &device));
    assert_eq!(of("ckpt_bin"), of("ckpt_safetensors"));
}
