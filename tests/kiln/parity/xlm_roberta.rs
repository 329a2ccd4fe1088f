//! XLM-R.

use kiln::models::xlm_roberta::FAMILY;

use super::*;

const CLASSES: Kind = Kind { family: &FAMILY, task: TaskName::SequenceClassification };
const HEADS: [(&str, Kind); 4] = [
    ("hf_xlmr_mlm", Kind { task: TaskName::MaskedLm, ..CLASSES }),
    ("hf_xlmr_seqcls", CLASSES),
    ("hf_xlmr_tokcls", Kind { task: TaskName::TokenClassification, ..CLASSES }),
    ("hf_xlmr_qa", Kind { task: TaskName::QuestionAnswering, ..CLASSES }),
];

tests_of_heads!(HEADS);

/// A table of 8,194 rows holds rows of 8,192 tokens, as bge-m3's does.
#[test]
fn two_rows_of_the_position_table_come_before_the_first_token() {
    let words = |rows: usize| Map::from_iter([("max_position_embeddings".to_string(), Value::from(rows))]);
    let longest = |rows| ModelConfig::from_words(CLASSES.family, &words(rows)).map(|config| config.max_length());
    assert_eq!((longest(514).unwrap(), longest(8194).unwrap()), (512, 8192));
    assert!(longest(2).is_err());
}
