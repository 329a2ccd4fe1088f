//! Rows of the 2019 format as a source of samples: which rows come when, and what is said of those that do not come.

use std::path::PathBuf;

use kiln::corpus::rows::RowSet;
use kiln::corpus::sample::Sample;
use kiln::corpus::vocabulary::{SpecialIds, Vocabulary};
use kiln::data::card::Split;
use kiln::error::Error;
use kiln::experiment::sample_options;
use kiln::recipe::{Recipe, load};
use tempfile::TempDir;

/// Tokens of the toy vocabulary; a row's second token says which row it is.
const SIZE: usize = 100;

struct Shop(TempDir);

impl Shop {
    /// Files of 7 and 4 rows, and a list of both.
    fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        shop.write("one.txt", &rows(0..7));
        shop.write("two.txt", &rows(7..11));
        shop.write("list", &format!("{}\t1.1\n{}\t0\n", shop.text("one.txt"), shop.text("two.txt")));
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn recipe(&self, more: &[&str]) -> Recipe {
        self.write(
            "recipe.toml",
            "[model]\narchitecture = \"ernie\"\ntokenizer = \"t\"\n[task]\nname = \"pre-training\"\n[pretraining]\nrows = [\"x\"]\n\
             [training]\nmax_steps = 9\n[output]\ndir = \"r\"\n",
        );
        let arguments: Vec<String> = more.iter().map(|word| word.replace("HERE/", &self.text(""))).collect();
        load(&self.path("recipe.toml"), &arguments).unwrap().recipe
    }

    fn open(&self, split: Split, more: &[&str]) -> Result<Option<RowSet>, Error> {
        let vocabulary = Vocabulary::new(vec!["x"; SIZE], SIZE, SpecialIds { cls: 1, sep: 2, mask: 3 }).unwrap();
        RowSet::open(&sample_options(&self.recipe(more)).unwrap(), vocabulary, split)
    }

    fn train(&self, more: &[&str]) -> RowSet {
        self.open(Split::Train, more).unwrap().unwrap()
    }

    /// What is wrong, the folder's name left out.
    fn faults(&self, more: &[&str]) -> Vec<String> {
        let Err(error) = self.open(Split::Train, more) else { panic!("nothing is wrong") };
        error.problems().iter().map(|problem| problem.to_string().replace(&self.text(""), "")).collect()
    }
}

/// Rows `[CLS] 10+n 30 [SEP] 31 [SEP]`, of which n is even where the second text follows.
fn rows(numbers: std::ops::Range<u32>) -> String {
    let row = |n| format!("1 {} 30 2 31 2;0 0 0 0 1 1;0 1 2 3 4 5;-1 0 1 -1 0 -1;{}\n", 10 + n, 1 - n % 2);
    numbers.map(row).collect()
}

/// The row a sample is of, its hidden tokens put back.
fn number(sample: &Sample) -> u32 {
    let hidden = sample.masked_positions.iter().position(|place| *place == 1);
    hidden.map_or(sample.ids[1], |at| sample.labels[at]) - 10
}

const BOTH: &str = "pretraining.rows=[\"HERE/one.txt\", \"HERE/two.txt\"]";

#[test]
fn an_epoch_has_each_row_once_in_an_order_of_its_own() {
    let shop = Shop::new();
    let set = shop.train(&[BOTH]);
    let epoch = |of: u64| (of * 11..(of + 1) * 11).map(|at| number(&set.sample(at))).collect::<Vec<_>>();
    let (first, second) = (epoch(0), epoch(1));
    assert!(first != second && first != (0..11).collect::<Vec<_>>(), "{first:?} {second:?}");
    for mut order in [first, second, epoch(1000)] {
        order.sort_unstable();
        assert_eq!(order, (0..11).collect::<Vec<_>>());
    }
    // Another seed, another order.
    let other = shop.train(&[BOTH, "training.seed=7"]);
    assert!((0..11).any(|at| number(&other.sample(at)) != number(&set.sample(at))));
    for at in 0..11 {
        let sample = set.sample(at);
        assert_eq!(u32::from(sample.sentence_label), 1 - number(&sample) % 2);
        assert_eq!((sample.ids.len(), sample.type_ids), (6, vec![0, 0, 0, 0, 1, 1]));
    }
}

/// A resumed run asks for samples from the middle, of a set that was just opened.
#[test]
fn a_sample_depends_on_nothing_but_its_number() {
    let shop = Shop::new();
    let set = shop.train(&[BOTH]);
    let all: Vec<Sample> = (0..60).map(|at| set.sample(at)).collect();
    let again = shop.train(&[BOTH]);
    for at in [59, 3, 40, 22, 21, 0] {
        assert_eq!(again.sample(at), all[at as usize], "sample {at}");
    }
    let masks = |number_wanted: u32| {
        all.iter().filter(|sample| number(sample) == number_wanted).map(|sample| &sample.masked_positions).collect()
    };
    let differs = |masks: Vec<&Vec<u32>>| masks.iter().any(|mask| *mask != masks[0]);
    assert!((0..11).any(|row| differs(masks(row))), "the same tokens are hidden in each epoch");
}

#[test]
fn the_last_step_of_an_epoch_has_what_is_left() {
    let set = Shop::new().train(&[BOTH]);
    let steps: Vec<_> = (0..7).map(|step| set.step(step, 4)).collect();
    assert_eq!(steps, [0..4, 4..8, 8..11, 11..15, 15..19, 19..22, 22..26]);
    assert_eq!(set.step(1, 100), 11..22);
}

#[test]
fn rows_to_evaluate_keep_their_order_and_masks() {
    let shop = Shop::new();
    let all = ["pretraining.dev_rows=[\"HERE/list\"]", "pretraining.rows=[\"HERE/one.txt\"]"];
    let set = shop.open(Split::Dev, &all).unwrap().unwrap();
    assert_eq!((0..11).map(|at| number(&set.sample(at))).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
    assert_eq!(set.place(8), format!("{}:2", shop.text("two.txt")));
    let some = [all[0], all[1], "data.max_eval_rows=8"];
    assert_eq!(shop.open(Split::Dev, &some).unwrap().unwrap().rows(), 8);
    assert!(shop.open(Split::Dev, &all[1..]).unwrap().is_none());
}

#[test]
fn a_file_list_says_which_files_are_masked_by_words() {
    let shop = Shop::new();
    let set = shop.train(&["pretraining.rows=[\"HERE/list\"]", "pretraining.masked_lm_prob=0.5"]);
    let mut apart = [0; 2];
    for sample in (0..2200).map(|at| set.sample(at)) {
        let hidden = [1, 2].map(|place| sample.masked_positions.contains(&place));
        apart[usize::from(number(&sample) >= 7)] += usize::from(hidden[0] != hidden[1]);
    }
    // Tokens 1 and 2 are a word: in the first file they go together, in the second each goes alone half the time.
    assert!(apart[0] == 0 && (300..500).contains(&apart[1]), "{apart:?}");
}

#[test]
fn a_pattern_or_a_folder_stands_for_files_and_long_rows_are_left_out() {
    let shop = Shop::new();
    assert_eq!(shop.train(&["pretraining.rows=[\"HERE/*.txt\"]"]).rows(), 11);
    assert_eq!(shop.train(&[BOTH, "data.max_train_rows=9"]).rows(), 9);
    std::fs::create_dir(shop.path("folder")).unwrap();
    std::fs::rename(shop.path("two.txt"), shop.path("folder/two.txt")).unwrap();
    let long = "1 10 30 30 30 30 2 31 2;0 0 0 0 0 0 0 1 1;0 1 2 3 4 5 6 7 8;-1 0 1 1 1 1 -1 0 -1;1\n";
    shop.write("folder/long.txt", long);
    let folder = "pretraining.rows=[\"HERE/folder\"]";
    assert_eq!(shop.train(&[folder]).rows(), 5);
    assert_eq!(shop.train(&[folder, "data.max_seq_length=8"]).rows(), 4);
    let only = ["pretraining.rows=[\"HERE/folder/long.txt\"]", "data.max_seq_length=8"];
    assert_eq!(shop.faults(&only), ["folder/long.txt: no rows left: 0 cannot be read, 1 are longer than 8 tokens"]);
}

#[test]
fn what_is_wrong_names_file_and_line() {
    let shop = Shop::new();
    shop.write("bad.txt", &(rows(0..2).replacen(";1\n", "\n", 1) + &rows(2..3).replace("1 12", "1 100")));
    assert_eq!(
        shop.faults(&["pretraining.rows=[\"HERE/one.txt\", \"HERE/bad.txt\"]"]),
        [
            "bad.txt:1: 4 fields instead of 5",
            "bad.txt:3: the token id \"100\" is not a number below 100",
            "bad.txt: 2 of 3 rows cannot be read",
        ]
    );
    let skipping = ["pretraining.rows=[\"HERE/bad.txt\"]", "data.bad_rows=skip"];
    let set = shop.train(&skipping);
    assert_eq!((set.rows(), set.skipped), (1, 2));
    shop.write("mixed.txt", &rows(0..1).replace("0 0 0 0 1 1", "0 1 0 0 1 1"));
    assert_eq!(
        shop.faults(&["pretraining.rows=[\"HERE/mixed.txt\"]"])[0],
        "mixed.txt:1: token 2 of the row has the sentence type 0 after a token of 1"
    );
    shop.write("empty.txt", "");
    assert_eq!(shop.faults(&["pretraining.rows=[\"HERE/empty.txt\"]"]), ["empty.txt: there are no rows in it"]);
    assert_eq!(shop.faults(&["pretraining.rows=[\"HERE/*.gz\"]"]), ["*.gz: there are no rows here"]);
    shop.write("list", "nowhere.gz\t1.1\n");
    assert!(shop.faults(&["pretraining.rows=[\"HERE/list\"]"])[0].starts_with("nowhere.gz: cannot be read"));
}

/// A run does not go on with other rows, but does with the same ones in another place.
#[test]
fn the_fingerprint_is_of_the_content() {
    let shop = Shop::new();
    let of = |more: &[&str]| shop.train(more).fingerprint();
    let first = of(&[BOTH]);
    std::fs::copy(shop.path("one.txt"), shop.path("moved.txt")).unwrap();
    assert_eq!(of(&["pretraining.rows=[\"HERE/moved.txt\", \"HERE/two.txt\"]"]), first);
    assert_ne!(of(&["pretraining.rows=[\"HERE/two.txt\", \"HERE/one.txt\"]"]), first);
    assert_ne!(of(&["pretraining.rows=[\"HERE/list\"]"]), first, "another probability");
    shop.write(
        "two.txt",
        &rows(7..11)
            .replace("1 20 30 2 31 2;0 0 0 0 1 1;0 1 2 3 4 5;-1 0 1", "1 20 30 2 31 2;0 0 0 0 1 1;0 1 2 3 4 5;-1 0 0"),
    );
    assert_ne!(of(&[BOTH]), first, "another segmentation");
}
