//! Pre-training samples against the rules of PaddleNLP's dataset, and what must hold of any sample.

use kiln::corpus::index::{Documents, IndexSettings, SampleIndex, Span};
use kiln::corpus::masking::{Mixture, Policy};
use kiln::corpus::masking::{SpanLength, SpanMasking, SpanOptions};
use kiln::corpus::sample::{Sample, SampleMaker};
use kiln::corpus::vocabulary::{SpecialIds, Vocabulary};
use kiln::data::card::Split;
use kiln::recipe::MaskingPolicy;
use proptest::prelude::*;
use serde::Deserialize;

use crate::corpus_index::{IndexCase, Indices, Toy, corpus, expected};

const SPECIALS: SpecialIds = SpecialIds { cls: 1, sep: 2, mask: 3 };

#[derive(Deserialize)]
struct Samples {
    vocabulary: Vec<String>,
    cases: Vec<SampleCase>,
}

#[derive(Deserialize)]
struct SampleCase {
    /// A place in the cases of `index.json`.
    case: usize,
    options: Options,
    prob: f64,
    samples: Vec<MadeSample>,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Options {
    grams: usize,
    whole: bool,
    longer: bool,
    permute: bool,
    geometric: bool,
    inplace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { grams: 3, whole: true, longer: false, permute: false, geometric: false, inplace: false }
    }
}

#[derive(Deserialize)]
struct MadeSample {
    index: u64,
    ids: Vec<u32>,
    first_types: usize,
    positions: Vec<u32>,
    labels: Vec<u32>,
    sentence_label: u8,
}

fn toy_vocabulary() -> Vocabulary {
    let tokens = expected::<Samples>("samples.json").vocabulary;
    Vocabulary::new(tokens.iter().map(String::as_str), tokens.len(), SPECIALS).unwrap()
}

fn maker(masking: Mixture, case: &IndexCase) -> SampleMaker {
    SampleMaker { vocabulary: toy_vocabulary(), masking, seed: case.seed, sentence_order: case.sentence_order }
}

fn single(options: SpanOptions) -> Mixture {
    Mixture::single(Policy::Spans(SpanMasking::new(options).unwrap()))
}

#[test]
fn samples_are_paddlenlps() {
    let Indices { toy, cases } = expected("index.json");
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), &toy);
    let mut compared = 0;
    for wanted in expected::<Samples>("samples.json").cases {
        let case = &cases[wanted.case];
        let options = &wanted.options;
        let span_length = match (options.longer, options.geometric) {
            (_, true) => SpanLength::Geometric,
            (true, false) => SpanLength::Longer,
            (false, false) => SpanLength::Shorter,
        };
        let maker = maker(
            single(SpanOptions {
                masked_lm_prob: wanted.prob,
                max_ngrams: options.grams,
                span_length,
                whole_words: options.whole,
                permutation: options.permute,
                inplace_random_mask: options.inplace,
            }),
            case,
        );
        for sample in wanted.samples {
            let [start, end, target] = case.rows[sample.index as usize];
            let made = maker.make(&corpus, &Span { sentences: start..end, target }, sample.index).unwrap();
            let count = sample.ids.len();
            let type_ids = (0..count).map(|place| u8::from(place >= sample.first_types)).collect();
            let MadeSample { ids, positions: masked_positions, labels, sentence_label, .. } = sample;
            assert_eq!(made, Sample { ids, type_ids, masked_positions, labels, sentence_label }, "{options:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * 8 * 2 * 3);
}

/// What a recipe's words mean in the options of the original.
#[test]
fn policies_are_what_their_words_say() {
    let Indices { toy, cases } = expected("index.json");
    let folder = tempfile::tempdir().unwrap();
    let (corpus, case) = (corpus(folder.path(), &toy), &cases[0]);
    let all = SpanOptions { masked_lm_prob: 0.4, max_ngrams: 4, ..SpanOptions::default() };
    let meanings = [
        (MaskingPolicy::NGram, all),
        (MaskingPolicy::WholeWord, SpanOptions { max_ngrams: 1, ..all }),
        (MaskingPolicy::Character, SpanOptions { max_ngrams: 1, whole_words: false, ..all }),
        (MaskingPolicy::FavorLonger, SpanOptions { span_length: SpanLength::Longer, ..all }),
        (MaskingPolicy::Permutation, SpanOptions { permutation: true, ..all }),
    ];
    let (index, _) = case.open(&corpus, 0..corpus.documents());
    let samples = |masking: Mixture| -> Vec<Sample> {
        let maker = maker(masking, case);
        (0..index.samples()).map(|sample| maker.make(&corpus, &index.span(sample).unwrap(), sample).unwrap()).collect()
    };
    let made: Vec<Vec<Sample>> = meanings.iter().map(|(_, options)| samples(single(*options))).collect();
    for (place, (policy, _)) in meanings.iter().enumerate() {
        assert_eq!(samples(Mixture::new(&[(*policy, 2.0)], 0.4, 4).unwrap()), made[place], "{policy:?}");
        assert!(made[..place].iter().all(|other| *other != made[place]), "{policy:?} does as another one");
    }
}

#[test]
fn a_mixture_takes_each_policy_as_it_is_and_as_often_as_its_weight() {
    let parts = [(MaskingPolicy::WholeWord, 1.0), (MaskingPolicy::Knowledge, 3.0)];
    let mixture = Mixture::new(&parts, 0.15, 3).unwrap();
    let is_knowledge = |index| match mixture.pick(7, index) {
        Policy::Knowledge(share) => *share == 0.15,
        Policy::Spans(_) => false,
    };
    let knowledge = (0..4000).filter(|index| is_knowledge(*index)).count();
    assert!((2900..3100).contains(&knowledge), "{knowledge} of 4000");
    // Runs made by older versions go on only if the choice never changes.
    let first: Vec<u64> = (0..12).filter(|index| !is_knowledge(*index)).collect();
    assert_eq!(first, [1, 2, 6]);

    let Indices { toy, cases } = expected("index.json");
    let folder = tempfile::tempdir().unwrap();
    let (corpus, case) = (corpus(folder.path(), &toy), &cases[0]);
    let (index, _) = case.open(&corpus, 0..corpus.documents());
    let mixed = [(MaskingPolicy::Character, 1.0), (MaskingPolicy::Knowledge, 1.0)];
    let [mixed, character, knowledge] =
        [&mixed[..], &mixed[..1], &mixed[1..]].map(|parts| maker(Mixture::new(parts, 0.3, 3).unwrap(), case));
    let mut taken = [0, 0];
    for sample in 0..index.samples() {
        let [mixed, character, knowledge] = [&mixed, &character, &knowledge]
            .map(|maker| maker.make(&corpus, &index.span(sample).unwrap(), sample).unwrap());
        assert!(mixed == character || mixed == knowledge);
        taken[usize::from(mixed == knowledge)] += 1;
    }
    assert!(taken.iter().all(|taken| *taken > 15), "{taken:?}");
}

#[test]
fn mixtures_that_cannot_be_are_refused() {
    let mixture = |weights: &[f64], prob, grams| {
        let parts: Vec<_> = weights.iter().map(|weight| (MaskingPolicy::NGram, *weight)).collect();
        Mixture::new(&parts, prob, grams).is_ok()
    };
    assert!(mixture(&[1.0, 0.01], 0.15, 3));
    let wrong = [&[] as &[f64], &[0.0], &[1.0, 0.0], &[-1.0, 2.0], &[f64::NAN], &[f64::INFINITY]];
    assert!(wrong.iter().all(|weights| !mixture(weights, 0.15, 3)));
    assert!(!mixture(&[1.0], 1.01, 3) && !mixture(&[1.0], f64::NAN, 3));
    assert!(!mixture(&[1.0], 0.15, 0) && !mixture(&[1.0], 0.15, 129));
    assert!(Mixture::new(&[(MaskingPolicy::Knowledge, 1.0)], -0.1, 3).is_err());
}

#[test]
fn a_corpus_of_another_vocabulary_is_named() {
    let toy = Toy { lens: vec![2, 2], docs: vec![0, 2], ids: vec![4, 5, 60, 9] };
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), &toy);
    let case = &expected::<Indices>("index.json").cases[0];
    let maker = maker(single(SpanOptions::default()), case);
    let made = maker.make(&corpus, &Span { sentences: 0..2, target: 29 }, 0);
    let ids = maker.vocabulary.size;
    let foreign = Toy { ids: vec![4, 5, ids as u16, 9], ..toy };
    assert!(made.is_ok());
    let folder = tempfile::tempdir().unwrap();
    let error = maker.make(&self::corpus(folder.path(), &foreign), &Span { sentences: 0..2, target: 29 }, 0);
    let what = format!("the corpus holds the token {ids}, which the vocabulary does not have");
    assert_eq!(error.unwrap_err().to_string(), what);
}

/// A corpus of up to four documents, in which special tokens stand as well.
fn any_corpus() -> impl Strategy<Value = Toy> {
    let sentence = prop::collection::vec(1u16..64, 1..30);
    let document = prop::collection::vec(sentence, 0..6);
    prop::collection::vec(document, 1..5).prop_map(|documents| {
        let ends = documents.iter().scan(0, |end, document| {
            *end += document.len() as i64;
            Some(*end)
        });
        let docs = std::iter::once(0).chain(ends).collect();
        let sentences = documents.concat();
        let lens = sentences.iter().map(|sentence| sentence.len() as i32).collect();
        Toy { lens, docs, ids: sentences.concat() }
    })
}

fn any_options() -> impl Strategy<Value = SpanOptions> {
    let lengths = prop_oneof![Just(SpanLength::Shorter), Just(SpanLength::Longer), Just(SpanLength::Geometric)];
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (0.0..=1.0, 1usize..9, lengths, switches).prop_map(|(masked_lm_prob, max_ngrams, span_length, switches)| {
        let (whole_words, permutation, inplace_random_mask) = switches;
        SpanOptions { masked_lm_prob, max_ngrams, span_length, whole_words, permutation, inplace_random_mask }
    })
}

/// What must hold of a sample, given the same one with nothing hidden.
fn check(made: &Sample, bare: &Sample, target: usize, options: &SpanOptions) -> Result<(), TestCaseError> {
    prop_assert!(bare.masked_positions.is_empty());
    prop_assert_eq!((&made.type_ids, made.sentence_label), (&bare.type_ids, bare.sentence_label));
    prop_assert_eq!((made.ids.len(), made.type_ids.len()), (bare.ids.len(), bare.ids.len()));
    prop_assert!(made.ids.len() <= target + 3 && made.type_ids.is_sorted());
    prop_assert!(made.masked_positions.is_sorted_by(|one, next| one < next));
    prop_assert_eq!(made.masked_positions.len(), made.labels.len());
    prop_assert!(made.labels.iter().all(|label| ![SPECIALS.cls, SPECIALS.sep].contains(label)));
    let mut restored = made.ids.clone();
    made.masked_positions.iter().zip(&made.labels).for_each(|(place, label)| restored[*place as usize] = *label);
    prop_assert_eq!(&restored, &bare.ids);
    let prob = options.masked_lm_prob;
    let most = (prob * target as f64).min((bare.ids.len() as f64 * prob).round_ties_even().max(1.0));
    let most = if prob == 0.0 { 0.0 } else { most * if options.permutation { 2.0 } else { 1.0 } };
    prop_assert!(made.labels.len() as f64 <= most, "{} of at most {most}", made.labels.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_hidden_can_be_restored(
        toy in any_corpus(),
        options in any_options(),
        max_seq_length in 5usize..70,
        short_seq_prob in 0.0..=1.0,
        seed: u64,
        sentence_order: bool,
    ) {
        prop_assume!(!toy.ids.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let corpus = corpus(folder.path(), &toy);
        let documents = Documents::survey(&corpus, 0..corpus.documents(), sentence_order);
        prop_assume!(!documents.is_empty());
        let settings = IndexSettings { samples: 8, max_seq_length, short_seq_prob, seed };
        let file = settings.file(&corpus.prefix, Split::Dev);
        let index = SampleIndex::open(&corpus, &documents, &settings, &file).unwrap();
        prop_assert!(index.samples() >= 8);
        let maker = |masking| SampleMaker { vocabulary: toy_vocabulary(), masking, seed, sentence_order };
        let nothing = maker(single(SpanOptions { masked_lm_prob: 0.0, ..options }));
        let maker = maker(single(options));
        for sample in 0..8 {
            let span = index.span(sample).unwrap();
            prop_assert!(span.target <= max_seq_length - 3);
            let made = maker.make(&corpus, &span, sample).unwrap();
            prop_assert_eq!(&maker.make(&corpus, &span, sample).unwrap(), &made);
            check(&made, &nothing.make(&corpus, &span, sample).unwrap(), span.target, &options)?;
        }
    }
}
