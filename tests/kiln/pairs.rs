//! Samples of ERNIE-M's own pre-training: what must hold of every one, and how they fall over many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::data::dataloader::DataLoader;
use kiln::corpus::Corpus;
use kiln::corpus::pairs::{PairSample, PairSet};
use kiln::corpus::samples::{SampleSteps, Samples};
use kiln::data::card::Split;
use kiln::experiment::sample_options;
use kiln::models::PretrainedConfig;
use kiln::prepare;
use kiln::ranks::Place;
use kiln::recipe::{CorpusOptions, LossNormalization, Recipe, TaskName};
use kiln::tasks::TaskBatch;
use kiln::tasks::masked_lm::MaskedLm;
use kiln::tasks::sample_batches::SampleCollate;
use kiln::tokenize::Tokenizer;
use kiln::tokenize::ernie_m::ErnieMTokenizer;
use serde_json::{Value, json};

use crate::back_translation::learn;
use crate::cross_attention::{config, model};
use crate::device;
use crate::{fixture, real_data};

fn tokenizer(folder: &Path) -> Tokenizer {
    Tokenizer::from(ErnieMTokenizer::from_dir(folder, None).unwrap())
}

/// A folder of prepared corpora.
struct Shop {
    folder: tempfile::TempDir,
    tokenizer: Tokenizer,
}

impl Shop {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), tokenizer: tokenizer(&fixture("tokenizer/ernie-m")) }
    }

    /// Prepares `text` as the corpus `name`, in its order: pairs where there are two `languages`.
    fn prepare(&self, name: &str, languages: &[&str], text: &str) {
        let file = self.folder.path().join(format!("{name}.txt"));
        fs::write(&file, text).unwrap();
        let output = self.folder.path().join("corpora").join(name);
        let plain = serde_json::from_value(serde_json::json!({ "input": [file], "output": output })).unwrap();
        let options = CorpusOptions {
            languages: Some(languages.iter().map(|language| language.to_string()).collect()),
            shuffle: false,
            min_document_length: 0,
            ..plain
        };
        prepare::run(&options, &self.tokenizer, &kiln::ranks::Ranks::alone(), &AtomicBool::new(false)).unwrap();
    }

    fn corpus(&self, name: &str) -> Corpus {
        Corpus::open(&self.folder.path().join("corpora").join(name)).unwrap()
    }

    /// A recipe of 10,000 training samples over all corpora, with these `[pretraining]` keys changed.
    fn recipe(&self, max_seq_length: usize, changes: Value) -> Recipe {
        let corpora = self.folder.path().join("corpora").display().to_string();
        let mut settings = json!({ "parallel": [corpora], "corpora": [corpora], "split": "1" });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let recipe = json!({
            "model": { "architecture": "ernie-m" },
            "task": { "name": "masked-lm" },
            "data": { "max_seq_length": max_seq_length },
            "pretraining": settings,
            "training": { "max_steps": 1000, "batch_size": 10 },
            "output": { "dir": "out" },
        });
        serde_json::from_value(recipe).unwrap()
    }

    fn pairs(&self, recipe: &Recipe) -> PairSet {
        PairSet::open(TaskName::TranslationMaskedLm, &sample_options(recipe).unwrap(), &self.tokenizer, Split::Train)
            .unwrap()
            .unwrap()
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.ids(text).iter().map(|token| token.id).collect()
    }
}

const WORDS: [[&str; 2]; 8] = [
    ["kiln", "Ofen"],
    ["burns", "brennt"],
    ["clay", "Ton"],
    ["stone", "Stein"],
    ["days", "Tage"],
    ["waits", "wartet"],
    ["potter", "Töpferin"],
    ["and", "und"],
];

/// The text of a number in a language: 2 to 41 words, no two numbers below 512 alike.
fn text(number: usize, side: usize) -> String {
    let number_words = [number % 8, number / 8 % 8, number / 64];
    let rest = (0..number * 7 % 40).map(|at| (at * at + number) % 8);
    let words = number_words.into_iter().chain(rest).map(|word| WORDS[word][side]);
    words.collect::<Vec<_>>().join(" ")
}

fn pairs_of(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{}\t{}\n", text(number, 0), text(number, 1))).collect()
}

/// The row with its labels put back.
fn restored(sample: &PairSample) -> Vec<u32> {
    let mut ids = sample.ids.clone();
    for (position, label) in sample.masked_positions.iter().zip(&sample.labels) {
        ids[*position as usize] = *label;
    }
    ids
}

/// What the row would be of a pair that is cut by the tokenizer.
fn encoded(shop: &Shop, first: &str, second: &str, length: usize) -> (Vec<u32>, usize) {
    let encoding = shop.tokenizer.encode(first, Some(second), Some(length));
    (encoding.ids.clone(), encoding.first_length())
}

/// Labels put back, a row is the tokenizer's own of the pair, in one order or the other; an epoch has every pair once; and a sample
/// depends on nothing but the seed and its number.
#[test]
fn samples_are_the_tokenizers_rows_with_tokens_hidden() {
    let shop = Shop::new();
    shop.prepare("en-de", &["en", "de"], &pairs_of(0..500));
    let recipe = shop.recipe(32, json!({}));
    let set = shop.pairs(&recipe);
    assert_eq!((set.samples(), set.languages()), (10_000, &["de".to_string(), "en".to_string()][..]));
    let mut rows = HashMap::new();
    for number in 0..500 {
        let [en, de] = [0, 1].map(|side| text(number, side));
        rows.insert(encoded(&shop, &en, &de, 32), (number, [1, 0]));
        rows.insert(encoded(&shop, &de, &en, 32), (number, [0, 1]));
    }
    let mut forward = 0;
    for epoch in 0..3 {
        let mut seen = Vec::new();
        for number in epoch * 500..epoch * 500 + 500 {
            let sample = set.sample(number).unwrap();
            // Two long pairs may be cut to the same row; then either number may stand for it.
            let (pair, languages) = rows[&(restored(&sample), sample.first)];
            assert_eq!(sample.languages, languages);
            forward += usize::from(languages == [1, 0]);
            seen.push(pair);
            let is_in =
                |side: std::ops::Range<usize>| sample.masked_positions.iter().any(|at| side.contains(&(*at as usize)));
            assert!(is_in(1..sample.first) && is_in(sample.first + 2..sample.ids.len() - 1), "both sides are masked");
            assert!(sample.masked_positions.is_sorted_by(|a, b| a < b));
            assert_eq!(sample.pseudo_tokens, 0);
        }
        let distinct: HashSet<_> = rows.values().map(|(number, _)| number).collect();
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), distinct.len(), "epoch {epoch}");
        assert!(!seen.is_sorted());
    }
    assert!((forward as f64 / 1500.0 - 0.5).abs() < 0.05, "{forward} of 1500 from English");

    let again = shop.pairs(&recipe);
    assert!([0, 17, 9_999].iter().all(|number| set.sample(*number).unwrap() == again.sample(*number).unwrap()));
    assert_eq!(set.fingerprint().unwrap(), again.fingerprint().unwrap());
    let mut other = recipe;
    other.training.seed = 43;
    assert!(shop.pairs(&other).fingerprint().unwrap() != set.fingerprint().unwrap());
    assert!(set.sample(10_000).unwrap_err().to_string().contains("there is no sample 10000"));
}

#[test]
fn masking_is_fifteen_percent_of_each_side_in_bert_shares() {
    let shop = Shop::new();
    let long = |number: usize| format!("{0} {0} {0} {0}\t{1} {1}\n", text(number, 0), text(number, 1));
    shop.prepare("en-de", &["en", "de"], &(0..500).filter(|number| number * 7 % 40 > 20).map(long).collect::<String>());
    let set = shop.pairs(&shop.recipe(512, json!({})));
    let mask = shop.tokenizer.specials().mask;
    let (mut tokens, mut hidden) = ([0, 0], [0, 0]);
    let (mut masked, mut same, mut random) = (0, 0, BTreeMap::<u32, usize>::new());
    for number in 0..2000 {
        let sample = set.sample(number).unwrap();
        tokens[0] += sample.first - 1;
        tokens[1] += sample.ids.len() - sample.first - 3;
        for (position, label) in sample.masked_positions.iter().zip(&sample.labels) {
            hidden[usize::from(*position as usize >= sample.first)] += 1;
            match sample.ids[*position as usize] {
                id if id == mask => masked += 1,
                id if id == *label => same += 1,
                id => *random.entry(id).or_default() += 1,
            }
        }
    }
    for (hidden, tokens) in hidden.into_iter().zip(tokens) {
        assert!((hidden as f64 / tokens as f64 - 0.15).abs() < 0.01, "{hidden} of {tokens}");
    }
    let all = (hidden[0] + hidden[1]) as f64;
    let replaced: usize = random.values().sum();
    for (count, share) in [(masked, 0.8), (same, 0.1), (replaced, 0.1)] {
        assert!((count as f64 / all - share).abs() < 0.02, "{count} of {all}, where {share} is the share");
    }
    let specials = shop.tokenizer.specials();
    assert!(random.len() > 300 && random.keys().all(|id| specials.texts.iter().all(|(_, special)| special != id)));
    let none = shop.pairs(&shop.recipe(512, json!({ "masked_lm_prob": 0.0 })));
    assert!(none.sample(3).unwrap().masked_positions.is_empty());
}

/// Where the vocabulary lacks half of a text, the other half is what tokens are hidden of, and none where it lacks all.
#[test]
fn tokens_that_the_vocabulary_lacks_are_not_hidden() {
    let shop = Shop::new();
    let half = "clay \u{2603} and \u{2603} stone \u{2603} waits \u{2603} kiln \u{2603}\n\n";
    shop.prepare("en", &["en"], &half.repeat(20));
    shop.prepare("de", &["de"], &"\u{2603} \u{2603} \u{2603}\n\n".repeat(20));
    let unk = shop.tokenizer.specials().unk;
    assert!(shop.ids("clay \u{2603} and").contains(&unk));
    let recipe = shop.recipe(64, json!({ "masked_lm_prob": 0.4 }));
    let set = PairSet::open(TaskName::MaskedLm, &sample_options(&recipe).unwrap(), &shop.tokenizer, Split::Train)
        .unwrap()
        .unwrap();
    let (mut hidden, mut known) = (0, 0);
    for number in 0..2000 {
        let sample = set.sample(number).unwrap();
        assert!(sample.labels.iter().all(|label| *label != unk));
        hidden += sample.labels.len();
        known += restored(&sample)[1..sample.ids.len() - 1].iter().filter(|id| **id != unk).count();
    }
    assert!((hidden as f64 / known as f64 - 0.4).abs() < 0.02, "{hidden} of {known}");
}

/// 400, 100 and 25 pairs: with T = 2 as 20, 10 and 5; with T = 1 by size. Two corpora of the same languages are one pool.
#[test]
fn languages_are_drawn_by_temperature() {
    let shop = Shop::new();
    shop.prepare("a", &["en", "de"], &pairs_of(0..300));
    shop.prepare("b", &["de", "en"], &pairs_of(300..400));
    shop.prepare("c", &["en", "fr"], &pairs_of(0..100));
    shop.prepare("d", &["de", "fr"], &pairs_of(0..25));
    for (changes, shares) in [
        (json!({}), [20.0 / 35.0, 10.0 / 35.0, 5.0 / 35.0]),
        (json!({ "temperature": 1.0 }), [400.0 / 525.0, 100.0 / 525.0, 25.0 / 525.0]),
    ] {
        let set = shop.pairs(&shop.recipe(64, changes));
        let mut counts = BTreeMap::<[usize; 2], usize>::new();
        for number in 0..10_000 {
            let mut languages = set.sample(number).unwrap().languages;
            languages.sort_unstable();
            *counts.entry(languages).or_default() += 1;
        }
        assert_eq!(set.languages(), ["de", "en", "fr"]);
        for (languages, share) in [[0, 1], [1, 2], [0, 2]].iter().zip(shares) {
            assert!((counts[languages] as f64 / 10_000.0 - share).abs() < 0.015, "{languages:?}: {counts:?}");
        }
    }
}

#[test]
fn parts_are_disjoint() {
    let shop = Shop::new();
    shop.prepare("en-de", &["en", "de"], &pairs_of(0..500));
    let recipe = shop.recipe(256, json!({ "split": "8,1,1", "eval_iters": 50 }));
    let all: Vec<HashSet<Vec<u32>>> = [Split::Train, Split::Dev, Split::Test]
        .into_iter()
        .map(|split| {
            let set =
                PairSet::open(TaskName::TranslationMaskedLm, &sample_options(&recipe).unwrap(), &shop.tokenizer, split)
                    .unwrap()
                    .unwrap();
            let sides = |sample: PairSample| {
                let (row, first) = (restored(&sample), sample.first);
                let mut sides = [row[1..first].to_vec(), row[first + 2..row.len() - 1].to_vec()];
                sides.sort();
                sides.concat()
            };
            (0..set.samples().min(1000)).map(|number| sides(set.sample(number).unwrap())).collect()
        })
        .collect();
    assert_eq!([all[0].len(), all[1].len(), all[2].len()], [400, 50, 50]);
    assert!(all[0].is_disjoint(&all[1]) && all[0].is_disjoint(&all[2]) && all[1].is_disjoint(&all[2]));
    let none = PairSet::open(
        TaskName::TranslationMaskedLm,
        &sample_options(&shop.recipe(256, json!({ "split": "1,0,0" }))).unwrap(),
        &shop.tokenizer,
        Split::Dev,
    )
    .unwrap();
    assert!(none.is_none());
}

/// Text of one language: as many sentences of a document as fit; each sentence once an epoch; with room for its translation where
/// there is to be one.
#[test]
fn text_of_one_language_fills_rows() {
    let shop = Shop::new();
    shop.prepare("en", &["en"], "kiln burns clay\nstone waits\nand days\n\npotter and potter and potter and\n\nclay\n");
    shop.prepare("de", &["de"], "Ofen brennt\n");
    shop.prepare("en-fr", &["en", "fr"], &pairs_of(0..10));
    let rows = |set: &PairSet| {
        let rows = (0..200).map(|number| {
            let sample = set.sample(number).unwrap();
            let row = restored(&sample);
            assert_eq!((sample.first, row[0], row[row.len() - 1]), (row.len(), 0, 2));
            assert!(!sample.masked_positions.is_empty());
            (row[1..row.len() - 1].to_vec(), sample.languages, sample.pseudo_tokens)
        });
        rows.collect::<HashSet<_>>()
    };
    let recipe = shop.recipe(8, json!({}));
    let set = PairSet::open(TaskName::MaskedLm, &sample_options(&recipe).unwrap(), &shop.tokenizer, Split::Train)
        .unwrap()
        .unwrap();
    assert_eq!(set.languages(), ["de", "en", "fr"]);
    let row = |text: &str, languages: [usize; 2], pseudo: usize| (shop.ids(text), languages, pseudo);
    let en = ["kiln burns clay stone waits", "and days", "potter and potter and potter and", "clay"];
    let mut expected: HashSet<_> = en.into_iter().map(|text| row(text, [1, 1], 0)).collect();
    expected.insert(row("Ofen brennt", [0, 0], 0));
    // A row has room for six tokens.
    assert_eq!(shop.ids(en[2]).len(), 6);
    assert_eq!(rows(&set), expected);

    // [CLS] x [SEP] [SEP] y [SEP] has room for four: half of them are the text's. English goes into French, of which there are pairs;
    // German, of which there are none, into either.
    let set = PairSet::open(
        TaskName::BackTranslationMaskedLm,
        &sample_options(&recipe).unwrap(),
        &shop.tokenizer,
        Split::Train,
    )
    .unwrap()
    .unwrap();
    let en = ["kiln burns", "stone waits", "and days", "potter and"].map(|text| row(text, [1, 2], 2));
    let de = [row("Ofen brennt", [0, 1], 2), row("Ofen brennt", [0, 2], 2)];
    let expected = en.into_iter().chain([row("clay", [1, 2], 1)]).chain(de).collect::<HashSet<_>>();
    assert_eq!(rows(&set), expected);
    let ratio = shop.recipe(16, json!({ "pseudo_token_ratio": 1.5 }));
    let set = PairSet::open(
        TaskName::BackTranslationMaskedLm,
        &sample_options(&ratio).unwrap(),
        &shop.tokenizer,
        Split::Train,
    )
    .unwrap()
    .unwrap();
    assert!(rows(&set).contains(&row("clay", [1, 2], 2)), "1.5 rounds up");
    assert!(rows(&set).iter().all(|(text, _, pseudo)| text.len() + pseudo + 4 <= 16));
}

#[test]
fn corpora_that_do_not_fit_are_refused() {
    let shop = Shop::new();
    shop.prepare("en-de", &["en", "de"], &pairs_of(0..10));
    let at = |name: &str| shop.folder.path().join("corpora").join(name).display().to_string();
    let text = |changes: Value| {
        PairSet::open(
            TaskName::MaskedLm,
            &sample_options(&shop.recipe(32, changes)).unwrap(),
            &shop.tokenizer,
            Split::Train,
        )
        .unwrap_err()
        .to_string()
    };
    assert!(text(json!({})).ends_with("there is no text in this folder"));
    let one = text(json!({ "corpora": [at("en-de")] }));
    assert!(one.ends_with("en-de: is a corpus of pairs where text of one language is wanted"), "{one}");
    let pairs = |tokenizer: &Tokenizer| {
        PairSet::open(
            TaskName::TranslationMaskedLm,
            &sample_options(&shop.recipe(32, json!({}))).unwrap(),
            tokenizer,
            Split::Train,
        )
    };
    let options =
        ErnieMTokenizer::from_dir(&fixture("tokenizer/ernie-m"), Some(kiln::recipe::PieceSplitting::HuggingFace));
    let other = pairs(&Tokenizer::from(options.unwrap())).unwrap_err().to_string();
    assert!(other.ends_with("was prepared with another tokenizer than the model's"), "{other}");
    fs::remove_file(at("en-de.prepare.json")).unwrap();
    assert!(pairs(&shop.tokenizer).unwrap_err().to_string().contains("en-de.prepare.json"));

    shop.prepare("en", &["en"], "clay\n");
    fs::remove_file(at("en-de_ids.npy")).unwrap();
    fs::remove_file(at("en-de_idx.npz")).unwrap();
    let recipe = shop.recipe(32, json!({ "parallel": null }));
    let alone = PairSet::open(
        TaskName::BackTranslationMaskedLm,
        &sample_options(&recipe).unwrap(),
        &shop.tokenizer,
        Split::Train,
    )
    .unwrap_err()
    .to_string();
    assert_eq!(alone, "there is no other language than \"en\" to translate into");
}

/// Rows that stand with others of their length have together the loss and the gradient of the whole batch, up to rounding.
#[test]
fn rows_of_like_length_learn_what_their_batch_does() {
    let shop = Shop::new();
    shop.prepare("en-de", &["en", "de"], &pairs_of(0..500));
    shop.prepare("en", &["en"], &(0..500).map(|number| text(number, 0) + "\n\n").collect::<String>());
    let device = device().autodiff();
    let model = model(PretrainedConfig { vocab_size: shop.tokenizer.vocab_size(), ..config() }, &device);
    for task in [TaskName::CrossAttentionMaskedLm, TaskName::BackTranslationMaskedLm] {
        let mut recipe = shop.recipe(64, json!({ "generate": "sampling" }));
        recipe.task.name = task;
        let options = sample_options(&recipe).unwrap();
        let set = Arc::new(Samples::open(&options, &shop.tokenizer, Split::Train).unwrap().unwrap());
        let collate = |overhead| SampleCollate {
            batch_size: recipe.training.batch_size,
            normalization: LossNormalization::Tokens,
            with_sop: false,
            padding: shop.tokenizer.padding(recipe.data.max_seq_length),
            overhead,
            place: Place::ALONE,
        };
        let [whole, cut] = [None, Some(0)].map(|overhead| -> Vec<TaskBatch<MaskedLm>> {
            let steps = SampleSteps { set: set.clone(), step_size: recipe.training.batch_size as u64, total: 1 };
            collate(overhead).loader(steps, &device).iter().next().unwrap().unwrap()
        });
        assert_eq!(whole.len(), 1);
        assert!(cut.len() > 3, "{} batches", cut.len());
        let mut rows: Vec<usize> = cut.iter().flat_map(|batch| batch.rows.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, whole[0].rows);

        let ((loss, gradients), (cut_loss, cut_gradients)) = (learn(&model, whole), learn(&model, cut));
        assert!((loss[0] / cut_loss[0] - 1.0).abs() < 1e-5, "{task:?}: {loss:?} and {cut_loss:?}");
        assert!(gradients.len() > 50 && gradients.keys().eq(cut_gradients.keys()));
        for (gradient, other) in gradients.values().zip(cut_gradients.values()) {
            let largest = gradient.iter().fold(0f64, |most, value| most.max(value.abs()));
            let difference = gradient.iter().zip(other).fold(0f64, |most, (a, b)| most.max((a - b).abs()));
            // Sums in another order; a key's bias has nothing but rounding for a gradient.
            assert!(difference <= 1e-4 * largest + 1e-7, "{task:?}: {difference} where {largest} is the largest");
        }
    }
}

/// The premises of XNLI's dev rows, in English and three languages, with the tokenizer of a real model.
#[test]
fn premises_of_xnli_are_pairs() {
    let Some(root) = real_data() else { return };
    let weights = root.join("data/weights/e5-small-as-ernie-m");
    let shop = Shop { folder: tempfile::tempdir().unwrap(), tokenizer: tokenizer(&weights) };
    let premises = |language: &str| -> Vec<String> {
        let text = fs::read_to_string(root.join(format!("data/xnli/dev-{language}.tsv"))).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_string()).collect()
    };
    let english = premises("en");
    // The same premise stands in three rows, with three hypotheses.
    let first = |at: usize| at == 0 || english[at] != english[at - 1];
    for language in ["de", "zh", "ar"] {
        let others = premises(language);
        assert_eq!(others.len(), english.len());
        let rows = english.iter().zip(&others).enumerate().filter(|(at, _)| first(*at));
        let rows: String = rows.map(|(_, (en, other))| format!("{en}\t{other}\n")).collect();
        shop.prepare(&format!("en-{language}"), &["en", language], &rows);
    }
    let corpus = shop.corpus("en-de");
    assert!(corpus.documents() > 800, "{}", corpus.documents());
    assert_eq!(corpus.sentences(), 2 * corpus.documents());
    let set = shop.pairs(&shop.recipe(128, json!({})));
    let (mut tokens, mut hidden, mut languages) = (0, 0, BTreeMap::<[usize; 2], usize>::new());
    for number in 0..3000 {
        let sample = set.sample(number).unwrap();
        assert!(sample.ids.len() <= 128);
        tokens += sample.ids.len() - 4;
        hidden += sample.labels.len();
        *languages.entry(sample.languages).or_default() += 1;
        if number < 6 {
            let show = |ids: &[u32]| ids.iter().map(|id| shop.tokenizer.token(*id)).collect::<Vec<_>>().join(" ");
            let [one, other] = sample.languages.map(|language| &set.languages()[language]);
            println!("{one}-{other}: {}\n    {}", show(&sample.ids), show(&sample.labels));
        }
    }
    assert_eq!(languages.len(), 6, "three pairs of languages, each in both directions: {languages:?}");
    assert!(languages.values().all(|count| (400..600).contains(count)), "{languages:?}");
    // Short premises have one hidden token at least, so that the share is a little more.
    let share = hidden as f64 / tokens as f64;
    assert!((0.145..0.165).contains(&share), "{share}");
}
