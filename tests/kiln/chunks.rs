//! Counting chunks as the Python libraries do.

use std::collections::BTreeMap;

use kiln::data::align::NO_TAG;
use kiln::error::Error;
use kiln::metrics::chunks::{Chunk, ChunkCounter, ChunkCounts, ChunkScheme};
use kiln::recipe::ChunkCounting;
use miette::Diagnostic;
use proptest::prelude::*;
use serde::Deserialize;

use crate::{fixture, real_data};

fn labels(words: &str) -> Vec<String> {
    words.split(' ').map(String::from).collect()
}

fn scheme(words: &str) -> ChunkScheme {
    ChunkScheme::new(&labels(words), ChunkCounting::Conll).unwrap()
}

/// The chunks of a row of tags, as `type:start-end`.
fn chunks(words: &str, row: &str) -> String {
    let (scheme, labels) = (scheme(words), labels(words));
    let tags: Vec<u32> =
        row.split(' ').map(|tag| labels.iter().position(|label| label == tag).expect(tag) as u32).collect();
    let show = |chunk: &Chunk| format!("{}:{}-{}", scheme.types()[chunk.kind as usize], chunk.start, chunk.end);
    scheme.chunks(&tags).iter().map(show).collect::<Vec<_>>().join(" ")
}

fn count(scheme: ChunkScheme, gold: &[Vec<u32>], predicted: &[Vec<u32>]) -> ChunkCounter {
    assert_eq!(gold.len(), predicted.len());
    let mut counter = ChunkCounter::new(scheme);
    gold.iter().zip(predicted).for_each(|(gold, predicted)| counter.add(gold, predicted));
    counter
}

/// One case of `chunks.json`; `tests/fixtures/tagging/make_chunks.py` says what made it. Counts are gold, predicted,
/// correct.
#[derive(Deserialize)]
struct Case {
    labels: Vec<String>,
    gold: Vec<Vec<u32>>,
    predicted: Vec<Vec<u32>>,
    conll: BTreeMap<String, [usize; 3]>,
    paddle: [usize; 3],
}

fn counts([gold, predicted, correct]: [usize; 3]) -> ChunkCounts {
    ChunkCounts { gold, predicted, correct }
}

#[test]
fn random_rows_count_as_in_seqeval_and_as_in_paddle() {
    let text = std::fs::read(fixture("tagging/chunks.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    let mut differ = 0;
    for (number, case) in cases.iter().enumerate() {
        let of = |counting| count(ChunkScheme::new(&case.labels, counting).unwrap(), &case.gold, &case.predicted);
        let (conll, paddle) = (of(ChunkCounting::Conll), of(ChunkCounting::Paddle));
        let by_type: BTreeMap<String, ChunkCounts> =
            conll.by_type().map(|(name, counts)| (name.to_string(), counts)).collect();
        let expected = case.conll.iter().map(|(name, found)| (name.clone(), counts(*found))).collect();
        assert_eq!(by_type, expected, "case {number}: {:?}", case.labels);
        assert_eq!(conll.total(), case.conll.values().fold(ChunkCounts::default(), |sum, c| sum.plus(counts(*c))));
        assert_eq!(paddle.total(), counts(case.paddle), "case {number}: {:?}", case.labels);
        differ += usize::from(paddle.total() != conll.total());
    }
    assert!(cases.len() >= 40 && differ >= 10 && differ < cases.len(), "the two ways of counting are told apart");
}

#[test]
fn every_form_of_tags_is_read() {
    assert_eq!(chunks("B-PER I-PER B-LOC I-LOC O", "B-PER I-PER O B-LOC B-LOC"), "PER:0-2 LOC:3-4 LOC:4-5");
    assert_eq!(chunks("n-B n-I v-B v-I O", "n-B n-I v-B n-B"), "n:0-2 v:2-3 n:3-4");
    assert_eq!(chunks("B-X I-X E-X S-X O", "B-X I-X E-X S-X S-X O"), "X:0-3 X:3-4 X:4-5");
    assert_eq!(chunks("n n-B n-I u", "n-B n-I n u n u"), "n:0-2 n:2-3 u:3-4 n:4-5 u:5-6");
    assert_eq!(chunks("NOUN VERB O", "NOUN NOUN O VERB"), "NOUN:0-1 NOUN:1-2 VERB:3-4");
    assert_eq!(chunks("B I O", "B I O I B"), "_:0-2 _:3-4 _:4-5");
    assert_eq!(chunks("B-geo-loc I-geo-loc O", "B-geo-loc I-geo-loc"), "geo-loc:0-2");
}

/// The rules of conlleval where tags do not fit together: such a tag begins a chunk.
#[test]
fn malformed_rows_are_read_leniently() {
    let iob = "B-A I-A B-C I-C O";
    assert_eq!(chunks(iob, "I-A I-A O I-C"), "A:0-2 C:3-4", "IOB1");
    assert_eq!(chunks(iob, "B-A I-C I-C I-A"), "A:0-1 C:1-3 A:3-4");
    let bioes = "B-A I-A E-A S-A O";
    assert_eq!(chunks(bioes, "E-A E-A S-A I-A E-A I-A B-A O"), "A:0-1 A:1-2 A:2-3 A:3-5 A:5-6 A:6-7");
    assert_eq!(chunks("n n-B n-I", "n n-I n-I n n-B"), "n:0-1 n:1-3 n:3-4 n:4-5");
}

#[test]
fn labels_that_cannot_be_read_are_named() {
    let error = |words: &str| ChunkScheme::new(&labels(words), ChunkCounting::Conll).unwrap_err();
    let message = |words: &str| error(words).to_string();
    assert_eq!(message("B-PER I-PER n-B O"), "the label `B-PER` begins with its position and `n-B` ends with it");
    assert_eq!(message("B-PER I-PER L-PER U-PER O"), "the label `L-PER` has no position that is known");
    assert_eq!(message("n-B n-I n-E n-M"), "the label `n-M` has no position that is known");
    assert!(matches!(error("B-A n-B"), Error::Input(_)));
    assert!(Diagnostic::help(&error("B-A n-B").problems()[0]).unwrap().to_string().contains("B-X I-X"));
    // Parts of speech with dashes, and types that look like positions.
    assert_eq!(chunks("-LRB- NN", "NN -LRB-"), "NN:0-1 -LRB-:1-2");
    assert_eq!(chunks("B-S I-S B-C O", "B-S I-S B-C"), "S:0-2 C:2-3");
    assert_eq!(chunks("S-B S-I n-B O", "S-B S-I n-B"), "S:0-2 n:2-3");
}

/// A word without a predicted tag ends every chunk there, and the tags after it keep their places.
#[test]
fn a_missing_prediction_is_outside() {
    let scheme = scheme("B-A I-A O");
    let gold = [0, 1, 1, 0, 2, 0];
    let found = |predicted: &[u32]| count(scheme.clone(), &[gold.to_vec()], &[predicted.to_vec()]).total();
    assert_eq!(found(&gold), counts([3, 3, 3]));
    assert_eq!(found(&[0, NO_TAG, 1, 0, 2, 0]), counts([3, 4, 2]));
    assert_eq!(found(&[0, 1, 1, 0, 2]), counts([3, 2, 2]), "a shorter row predicts nothing for the rest");
    assert_eq!(found(&[NO_TAG; 6]), counts([3, 0, 0]));
}

#[test]
fn figures_come_from_the_counts_and_are_0_where_there_are_none() {
    let counts = ChunkCounts { gold: 4, predicted: 5, correct: 2 };
    assert_eq!((counts.precision(), counts.recall(), counts.f1()), (0.4, 0.5, 4.0 / 9.0));
    let none = ChunkCounts::default();
    assert_eq!((none.precision(), none.recall(), none.f1()), (0.0, 0.0, 0.0));
    let counter = count(scheme("B-A O"), &[vec![0]], &[vec![1]]);
    assert_eq!(counter.by_type().collect::<Vec<_>>(), [("A", ChunkCounts { gold: 1, predicted: 0, correct: 0 })]);
}

/// LAC's ELMo demo counts by label numbers, although its dictionary does not hold two labels a type.
#[test]
fn paddles_counting_takes_two_labels_a_type() {
    let labels = labels("a a-B a-I ad c");
    let scheme = ChunkScheme::new(&labels, ChunkCounting::Paddle).unwrap();
    assert_eq!(scheme.types(), ["a/a-B", "a-I/ad"]);
    let chunk = |kind, start, end| Chunk { kind, start, end };
    assert_eq!(
        scheme.chunks(&[0, 1, 1, 2, 3, 4, 3, 0]),
        [chunk(0, 0, 3), chunk(1, 3, 5), chunk(1, 6, 7), chunk(0, 7, 8)]
    );
    assert!(ChunkScheme::new(&[], ChunkCounting::Paddle).unwrap().chunks(&[0, 7]).is_empty());
}

proptest! {
    #[test]
    fn no_row_makes_it_fail(
        gold in proptest::collection::vec(0u32..9, 0..20),
        predicted in proptest::collection::vec(prop_oneof![0u32..9, any::<u32>()], 0..20),
    ) {
        for counting in [ChunkCounting::Conll, ChunkCounting::Paddle] {
            let scheme = ChunkScheme::new(&labels("O B-A I-A E-A S-A B-C I-C"), counting).unwrap();
            let counted = count(scheme.clone(), std::slice::from_ref(&gold), std::slice::from_ref(&predicted)).total();
            prop_assert!(counted.correct <= counted.gold.min(counted.predicted));
            let own = count(scheme, std::slice::from_ref(&gold), std::slice::from_ref(&gold)).total();
            prop_assert!(own.gold == own.correct && own.gold == own.predicted);
        }
    }
}

/// PaddleNLP's ChunkEvaluator on padded rows.
#[test]
fn golden_counts_match() {
    #[derive(Deserialize)]
    struct Golden {
        labels: Vec<String>,
        pred: Vec<Vec<u32>>,
        gold: Vec<Vec<u32>>,
        lengths: Vec<usize>,
        num_infer: usize,
        num_label: usize,
        num_correct: usize,
        precision_recall_f1: [f64; 3],
    }
    let Some(root) = real_data() else { return };
    let manifest = std::fs::read(root.join("golden/pd_crf/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let golden = Golden::deserialize(&manifest["chunk"]).unwrap();
    let cut = |rows: &[Vec<u32>]| -> Vec<Vec<u32>> {
        rows.iter().zip(&golden.lengths).map(|(row, length)| row[..*length].to_vec()).collect()
    };
    for counting in [ChunkCounting::Conll, ChunkCounting::Paddle] {
        let scheme = ChunkScheme::new(&golden.labels, counting).unwrap();
        let found = count(scheme, &cut(&golden.gold), &cut(&golden.pred)).total();
        assert_eq!(found, counts([golden.num_label, golden.num_infer, golden.num_correct]));
        let figures = [found.precision(), found.recall(), found.f1()];
        assert!(figures.iter().zip(&golden.precision_recall_f1).all(|(a, b)| (a - b).abs() < 1e-12), "{figures:?}");
    }
}
