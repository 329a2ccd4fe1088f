//! The tagger of LAC's ELMo demo.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln::evaluate::chunks::{ChunkCounter, ChunkScheme};
use kiln::models::lac::{Lac, LacConfig, group};
use kiln::nn::gather_words;
use kiln::recipe::{self, ChunkCounting, OptimizerName};
use kiln::train::Optimizer;
use kiln::weights::ModulePath;

use crate::real_data;

fn small(vocab_size: usize, features_dim: usize) -> LacConfig {
    LacConfig { vocab_size, features_dim, word_emb_dim: 16, grnn_hidden_dim: 16, ..LacConfig::default() }
}

fn words(rows: &[&[i64]], width: usize, padding: i64, device: &Device) -> Tensor<2, Int> {
    let padded = rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat(padding)).take(width));
    let padded: Vec<i64> = padded.collect();
    Tensor::from_data(TensorData::new(padded, [rows.len(), width]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Nothing of a row depends on what stands behind its end, or on how long the other rows of its batch are.
#[test]
fn padding_changes_nothing() {
    let device = Device::flex();
    let config = small(9, 0);
    let lac = Lac::new(&config, 4, &device).initialised(&config, 5);
    let rows: [&[i64]; 3] = [&[1, 2, 3, 4, 5], &[6, 7], &[8]];
    let lengths = [5, 2, 1];
    let together = lac.emissions(words(&rows, 6, 8, &device), None, &lengths); // [3, 6, 4]
    let losses =
        values(lac.losses(together.clone(), words(&[&[0, 1, 2, 3, 0], &[1, 2], &[3]], 6, -100, &device), &lengths));
    for (number, row) in rows.into_iter().enumerate() {
        let alone = lac.emissions(words(&[row], row.len(), 0, &device), None, &[row.len()]); // [1, length, 4]
        let of_batch = together.clone().narrow(0, number, 1).narrow(1, 0, row.len()); // [1, length, 4]
        let worst = values((alone.clone() - of_batch).abs().max())[0];
        assert!(worst < 1e-6, "row {number} is off by {worst}");
        let labels = words(&[[[0, 1, 2, 3, 0].as_slice(), &[1, 2], &[3]][number]], row.len(), 0, &device);
        let loss = values(lac.losses(alone, labels, &[row.len()]))[0];
        assert!((loss - losses[number]).abs() < 1e-5, "row {number}: {loss} for {}", losses[number]);
    }
}

#[test]
fn features_stand_before_the_words() {
    let device = Device::flex();
    let config = small(9, 3);
    let lac = Lac::new(&config, 4, &device).initialised(&config, 5);
    let ids = words(&[&[1, 2]], 2, 0, &device);
    let features = |x: f32| Some(Tensor::<3>::full([1, 2, 3], x, &device));
    let (a, b) = (lac.emissions(ids.clone(), features(0.0), &[2]), lac.emissions(ids, features(1.0), &[2]));
    assert_eq!(a.dims(), [1, 2, 4]);
    assert!(values((a - b).abs().max())[0] > 1e-4);
}

struct Paths {
    path: ModulePath,
    /// Path, and the largest absolute value.
    found: BTreeMap<String, f32>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.joined(), values(param.val().abs().max())[0]);
    }
}

/// Each parameter begins in the demo's bounds, and learns and decays as there.
#[test]
fn every_parameter_is_in_its_group() {
    let config = small(300, 3);
    let lac = Lac::new(&config, 60, &Device::flex()).initialised(&config, 5);
    let mut visitor = Paths { path: ModulePath::default(), found: BTreeMap::new() };
    lac.visit(&mut visitor);
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for (path, largest) in visitor.found {
        let of = group(&path);
        let bound = if path == "crf.transitions" { (6.0f32 / 122.0).sqrt() } else { 0.1 };
        let is_bias = path.ends_with("bias");
        assert!(if is_bias { largest == 0.0 } else { (0.9 * bound..=bound).contains(&largest) }, "{path}: {largest}");
        *counts.entry((of.learning_rate.to_string(), of.decay.to_string())).or_default() += 1;
    }
    let key = |rate: &str, decay: &str| (rate.to_string(), decay.to_string());
    // Four directions with a linear layer and a recurrence each, and the emissions.
    let expected = [(key("5", "0"), 1), (key("0.2", "0"), 1), (key("1", "0"), 9), (key("1", "1"), 9)];
    assert_eq!(counts, HashMap::from(expected));
}

#[test]
fn words_are_gathered_by_their_first_pieces() {
    let device = Device::flex();
    let pieces: Vec<f32> = (0..16).map(|x| x as f32).collect();
    let pieces = Tensor::<3>::from_data(TensorData::new(pieces, [2, 4, 2]), &device);
    let starts = words(&[&[0, 3], &[2]], 2, 1, &device);
    assert_eq!(values(gather_words(pieces, starts)), [0.0, 1.0, 6.0, 7.0, 12.0, 13.0, 10.0, 11.0]);
}

/// Sentences as ids of words and of tags.
type Rows = Vec<(Vec<i64>, Vec<u32>)>;

fn read(path: &Path, vocabulary: &mut HashMap<String, i64>, tags: &[String]) -> Rows {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let (words, labels) = line.rsplit_once('\t').unwrap();
        let mut number = |word: &str| {
            let next = vocabulary.len() as i64;
            *vocabulary.entry(word.to_string()).or_insert(next)
        };
        let words: Vec<i64> = words.split(' ').map(&mut number).collect();
        let labels = labels.split(' ').map(|label| tags.iter().position(|tag| tag == label).unwrap() as u32);
        (words, labels.collect())
    };
    text.lines().map(row).collect()
}

fn f1(lac: &Lac, rows: &Rows, tags: &[String]) -> f64 {
    let device = Device::flex();
    let mut counter = ChunkCounter::new(ChunkScheme::new(tags, ChunkCounting::Conll).unwrap());
    for rows in rows.chunks(50) {
        let lengths: Vec<usize> = rows.iter().map(|(words, _)| words.len()).collect();
        let ids: Vec<&[i64]> = rows.iter().map(|(words, _)| &words[..]).collect();
        let ids = words(&ids, lengths.iter().copied().max().unwrap(), 0, &device);
        let found = lac.decode(lac.emissions(ids, None, &lengths), &lengths);
        rows.iter().zip(found).for_each(|((_, gold), found)| counter.add(gold, &found));
    }
    let total = counter.total();
    2.0 * total.correct as f64 / (total.gold + total.predicted) as f64
}

/// The demo's 200 sentences are learnt by heart, with its optimizer, from the loss of not knowing anything.
#[test]
fn the_demos_sentences_are_learnt() {
    let Some(folder) = real_data().map(|folder| folder.join("data/elmo/LAC_demo/data")) else { return };
    let tags: Vec<String> =
        std::fs::read_to_string(folder.join("tag.dic")).unwrap().lines().map(String::from).collect();
    let mut vocabulary = HashMap::new();
    let train = read(&folder.join("train/train.tsv"), &mut vocabulary, &tags);
    let dev = read(&folder.join("dev/dev.tsv"), &mut vocabulary, &tags);
    assert_eq!((tags.len(), train.len(), dev.len()), (60, 200, 200));

    let device = Device::flex().autodiff();
    let config = LacConfig { word_emb_dim: 32, grnn_hidden_dim: 32, ..small(vocabulary.len(), 0) };
    let mut lac = Lac::new(&config, tags.len(), &device).initialised(&config, 5);
    let recipe = recipe::Optimizer { name: OptimizerName::Adam, l2: 1e-4, ..Default::default() };
    let mut optimizer = Optimizer::new(&recipe, 0, &[]).with_groups(group);
    let mut losses = Vec::new();
    for step in 0..200 {
        let rows: Vec<_> = (0..20).map(|row| &train[(step * 20 + row) % train.len()]).collect();
        let lengths: Vec<usize> = rows.iter().map(|(words, _)| words.len()).collect();
        let longest = lengths.iter().copied().max().unwrap();
        let ids: Vec<&[i64]> = rows.iter().map(|(words, _)| &words[..]).collect();
        let gold: Vec<Vec<i64>> =
            rows.iter().map(|(_, tags)| tags.iter().map(|&tag| i64::from(tag)).collect()).collect();
        let gold: Vec<&[i64]> = gold.iter().map(|row| &row[..]).collect();
        let emissions = lac.emissions(words(&ids, longest, 0, &device), None, &lengths);
        let loss = lac.losses(emissions, words(&gold, longest, -100, &device), &lengths).mean();
        losses.push(values(loss.clone().detach())[0]);
        let gradients = GradientsParams::from_grads(loss.backward(), &lac);
        lac = optimizer.step(lac, gradients, 5e-3, 0.0);
    }
    let lac = lac.valid();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    let (train, dev) = (f1(&lac, &train, &tags), f1(&lac, &dev, &tags));
    println!("loss {first} -> {last}, F1 {train:.4} on the training sentences, {dev:.4} on others");
    // 15.5 words of 60 labels.
    assert!((40.0..100.0).contains(&first), "{first}");
    assert!(last < 0.1 * first && train > 0.95 && dev > 0.3);
}
