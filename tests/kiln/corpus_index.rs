//! The random numbers, the order and the blending of pre-training samples, against numpy and PaddleNLP's compiled index
//! builder.

use std::ops::Range;
use std::path::{Path, PathBuf};

use kiln::corpus::Corpus;
use kiln::corpus::blend::Blend;
use kiln::corpus::index::{Documents, IndexSettings, SampleIndex, Span};
use kiln::data::card::Split;
use kiln::random::numpy::{RandomState, cumulative, normalised};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// As PaddleNLP saved it.
const CACHE: &str = "toy_train_indexmap_60mns_29msl_0.10ssp_1234s.npy";

/// What `tests/fixtures/samples/make.py` wrote.
pub fn expected<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(crate::fixture("samples").join(name)).unwrap()).unwrap()
}

/// random_sample, shuffle, randint, choice, geometric.
type Drawn = (f64, Vec<u32>, u32, usize, u64);

#[derive(Deserialize)]
struct Random {
    draws: Vec<Draws>,
    cumulative: Vec<(usize, bool, Vec<f64>)>,
}

#[derive(Deserialize)]
struct Draws {
    seed: u32,
    first: Vec<Drawn>,
    last: Vec<Drawn>,
}

fn draw(rng: &mut RandomState, turn: u32) -> Drawn {
    let mut items: Vec<u32> = (0..=turn % 11).collect();
    rng.shuffle(&mut items);
    let high = [1, 2, 3, 64, 17_964, (1 << 31) - 1, u32::MAX][turn as usize % 7];
    let thirds = cumulative(&[6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]);
    let sample = rng.random_sample();
    (sample, items, rng.randint(0, high), rng.choice(&thirds), rng.geometric(0.2))
}

#[test]
fn draws_are_numpys() {
    for draws in expected::<Random>("random.json").draws {
        let mut rng = RandomState::new(draws.seed);
        let said: Vec<Drawn> = (0..700).map(|turn| draw(&mut rng, turn)).collect();
        assert_eq!(said[..draws.first.len()], draws.first);
        assert_eq!(said[700 - draws.last.len()..], draws.last);
    }
}

/// A draw between two roundings of a sum would choose another length: the bits count.
#[test]
fn cumulative_sums_are_numpys_to_the_last_bit() {
    for (count, longer, sums) in expected::<Random>("random.json").cumulative {
        let mut p = normalised(&(1..=count).map(|n| 1.0 / n as f64).collect::<Vec<_>>());
        if longer {
            p.reverse();
        }
        assert_eq!(cumulative(&normalised(&p)), sums, "{count} {longer}");
    }
}

/// Writes a corpus as PaddleNLP's `.bin` and `.idx`, with 16-bit ids, and opens it.
pub fn corpus(folder: &Path, toy: &Toy) -> Corpus {
    let prefix = folder.join("toy");
    let ids: Vec<u8> = toy.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    std::fs::write(folder.join("toy.bin"), ids).unwrap();
    let mut index = b"MMIDIDX\0\0".to_vec();
    index.extend(1u64.to_le_bytes());
    index.push(8);
    index.extend((toy.lens.len() as u64).to_le_bytes());
    index.extend((toy.docs.len() as u64).to_le_bytes());
    index.extend(toy.lens.iter().flat_map(|length| length.to_le_bytes()));
    let starts = toy.lens.iter().scan(0i64, |end, length| Some(std::mem::replace(end, *end + 2 * i64::from(*length))));
    index.extend(starts.flat_map(i64::to_le_bytes));
    index.extend(toy.docs.iter().flat_map(|sentences| sentences.to_le_bytes()));
    std::fs::write(folder.join("toy.idx"), index).unwrap();
    Corpus::open(&prefix).unwrap()
}

#[derive(Debug, Clone, Deserialize)]
pub struct Toy {
    pub lens: Vec<i32>,
    pub docs: Vec<i64>,
    pub ids: Vec<u16>,
}

#[derive(Deserialize)]
pub struct Indices {
    #[serde(flatten)]
    pub toy: Toy,
    pub cases: Vec<IndexCase>,
}

#[derive(Deserialize)]
pub struct IndexCase {
    samples: u64,
    max_seq_length: usize,
    short_seq_prob: f64,
    pub seed: u64,
    pub sentence_order: bool,
    pub rows: Vec<[usize; 3]>,
}

impl IndexCase {
    fn settings(&self) -> IndexSettings {
        let &Self { samples, max_seq_length, short_seq_prob, seed, .. } = self;
        IndexSettings { samples, max_seq_length, short_seq_prob, seed }
    }

    /// The index of the documents of a corpus, and its file.
    pub fn open(&self, corpus: &Corpus, documents: Range<usize>) -> (SampleIndex, PathBuf) {
        let settings = self.settings();
        let file = settings.file(&corpus.prefix, Split::Train);
        let documents = Documents::survey(corpus, documents, self.sentence_order);
        (SampleIndex::open(corpus, &documents, &settings, &file).unwrap(), file)
    }
}

fn rows(index: &SampleIndex) -> Vec<[usize; 3]> {
    let row = |Span { sentences, target }| [sentences.start, sentences.end, target];
    (0..index.samples()).map(|sample| row(index.span(sample).unwrap())).collect()
}

#[test]
fn the_index_is_paddlenlps() {
    let Indices { toy, cases } = expected("index.json");
    for case in cases {
        let folder = tempfile::tempdir().unwrap();
        let corpus = corpus(folder.path(), &toy);
        let (index, _) = case.open(&corpus, 0..corpus.documents());
        assert_eq!(rows(&index), case.rows, "{:?}", case.settings());
        assert!(index.span(index.samples()).is_err());
    }
}

#[test]
fn either_program_can_use_the_others_index() {
    let Indices { toy, cases } = expected("index.json");
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), &toy);
    let paddles = std::fs::read(crate::fixture("samples").join(CACHE)).unwrap();
    let (index, file) = cases[0].open(&corpus, 0..corpus.documents());
    assert_eq!(file.file_name().unwrap(), CACHE);
    assert!(std::fs::read(&file).unwrap() == paddles, "the file differs from what numpy.save writes");
    let in_order = rows(&index);

    // PaddleNLP's file is used as it is: in another order, which is as good, it gives that order.
    let mut reordered = paddles.clone();
    let data = paddles.len() - in_order.len() * 12;
    reordered[data..].rotate_left(12);
    std::fs::write(&file, &reordered).unwrap();
    let (index, _) = cases[0].open(&corpus, 0..corpus.documents());
    assert_eq!(rows(&index)[..in_order.len() - 1], in_order[1..]);
    assert!(std::fs::read(&file).unwrap() == reordered);
}

/// PaddleNLP's name for the file does not tell the split: after a change it goes on with samples of documents it tests
/// on.
#[test]
fn an_index_of_other_documents_is_made_anew() {
    let Indices { toy, cases } = expected("index.json");
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), &toy);
    let half = 0..corpus.documents() / 2;
    let last = corpus.document(half.end - 1).end;
    let (all, file) = cases[0].open(&corpus, 0..corpus.documents());
    assert!(rows(&all).iter().any(|[_, end, _]| *end > last));
    let (index, _) = cases[0].open(&corpus, half.clone());
    assert!(index.samples() >= 60 && rows(&index).iter().all(|[_, end, _]| *end <= last));
    // As is one that was cut short, or has a number changed.
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() - 1], &changed] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(rows(&cases[0].open(&corpus, half.clone()).0), rows(&index));
        assert!(std::fs::read(&file).unwrap() == whole);
    }
}

#[test]
fn documents_that_give_no_sample_are_counted() {
    let toy = Toy { lens: vec![5, 3, 513, 2, 600], docs: vec![0, 1, 1, 2, 4, 5], ids: vec![4; 1123] };
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), &toy);
    let pairs = Documents::survey(&corpus, 0..5, true);
    assert!(pairs.is_empty());
    let counted =
        "of 5 documents 0 can be used, 4 have fewer than 2 sentences, 1 have a sentence of more than 512 tokens";
    assert_eq!(pairs.to_string(), counted);
    let settings = IndexSettings { samples: 9, max_seq_length: 64, short_seq_prob: 0.1, seed: 1 };
    let open = |documents: &Documents, settings: &IndexSettings| {
        SampleIndex::open(&corpus, documents, settings, &folder.path().join("x.npy"))
    };
    assert_eq!(open(&pairs, &settings).unwrap_err().to_string(), format!("no sample can be made: {counted}"));
    let texts = Documents::survey(&corpus, 0..5, false);
    assert_eq!(open(&texts, &settings).unwrap().samples(), 9);
    for wrong in [
        IndexSettings { max_seq_length: 4, ..settings },
        IndexSettings { short_seq_prob: 1.5, ..settings },
        IndexSettings { short_seq_prob: f64::NAN, ..settings },
        IndexSettings { samples: u64::MAX / 2, seed: 2, ..settings },
    ] {
        let missing = folder.path().join("y.npy");
        assert!(SampleIndex::open(&corpus, &texts, &wrong, &missing).is_err(), "{wrong:?}");
    }
}

#[derive(Deserialize)]
struct Blends {
    cases: Vec<BlendCase>,
}

#[derive(Deserialize)]
struct BlendCase {
    weights: Vec<f64>,
    corpora: Vec<usize>,
    last: u64,
}

#[test]
fn the_blend_is_paddlenlps() {
    for case in expected::<Blends>("blend.json").cases {
        let blend = Blend::new(&case.weights, case.corpora.len() as u64).unwrap();
        let taken: Vec<(usize, u64)> = (0..blend.samples).map(|sample| blend.get(sample).unwrap()).collect();
        assert!(taken.iter().map(|(corpus, _)| corpus).eq(&case.corpora), "{:?}", case.weights);
        assert_eq!(taken.last().unwrap().1, case.last);
    }
}
