//! Counts on the real files, and on the bundled set: a reader that joins, splits or drops rows is found here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use kiln::data::card::{Card, Split};
use kiln::data::find::train_languages;
use kiln::data::read::{ReadOptions, Rows, read_split};

fn real() -> Option<PathBuf> {
    crate::real_data().map(|folder| folder.join("data"))
}

fn read(card: &Card, root: &Path, split: Split, language: &str) -> Rows {
    read_split(card, root, split, language, ReadOptions::default()).unwrap()
}

fn balance(rows: &Rows, labels: usize) -> Vec<usize> {
    let count = |label| rows.rows.iter().filter(|row| row.label == Some(label)).count();
    (0..labels as u32).map(count).collect()
}

#[test]
fn xnli_dev_has_2490_balanced_rows_in_each_of_15_languages() {
    let (Some(root), card) = (real(), Card::load("xnli").unwrap()) else { return };
    for language in &card.languages {
        let rows = read(&card, &root, Split::Dev, language);
        assert_eq!((rows.rows.len(), rows.empty, rows.dropped), (2490, 0, 0), "{language}");
        assert_eq!(balance(&rows, 3), [830, 830, 830], "{language}");
    }
}

#[test]
fn machine_translated_training_rows() {
    let (Some(root), card) = (real(), Card::load("xnli").unwrap()) else { return };
    let error = train_languages(&card, &root, "translate-train-all", None).unwrap_err();
    assert!(error.to_string().ends_with(": bg, el, hi, ru, th"), "{error}");
    let present = ["ar", "de", "en", "es", "fr", "sw", "tr", "ur", "vi", "zh"].map(String::from);
    train_languages(&card, &root, "translate-train-all", Some(&present)).unwrap();
    for language in present {
        let rows = read(&card, &root, Split::Train, &language);
        // Several of these files hold thousands of quotation marks.
        assert_eq!(balance(&rows, 3), [5100, 4397, 5504], "{language}");
        assert_eq!(rows.rows.last().unwrap().line, 15_002, "{language}");
    }
}

#[test]
fn ocnli_is_read_by_its_card_alone() {
    let (Some(root), card) = (real(), Card::load("ocnli").unwrap()) else { return };
    let (train, dev) = (read(&card, &root, Split::Train, "zh"), read(&card, &root, Split::Dev, "zh"));
    assert_eq!((balance(&train, 3), train.dropped), (vec![974, 1054, 966], 6));
    assert_eq!((balance(&dev, 3), dev.dropped), (vec![947, 1103, 900], 50));
}

#[test]
fn paws_x_in_seven_languages() {
    let (Some(root), card) = (real(), Card::load("paws-x").unwrap()) else { return };
    for (language, paraphrases) in card.languages.iter().zip([831, 863, 847, 860, 854, 840, 853]) {
        let rows = read(&card, &root, Split::Dev, language);
        assert_eq!(balance(&rows, 2), [2000 - paraphrases, paraphrases], "{language}");
    }
}

#[test]
fn the_quickstart_set_is_whole_and_its_splits_share_no_premise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/samples");
    let card = Card::load("quickstart-nli").unwrap();
    for language in &card.languages {
        let [train, dev, test] =
            [Split::Train, Split::Dev, Split::Test].map(|split| read(&card, &root, split, language));
        assert_eq!((dev.rows.len(), test.rows.len()), (90, 90), "{language}");
        assert_eq!(balance(&dev, 3), [30, 30, 30], "{language}");
        assert_eq!(balance(&test, 3), [30, 30, 30], "{language}");
        for rows in [&train, &dev, &test] {
            assert!(rows.unexpected.is_none(), "{} was changed by hand", rows.file.display());
        }
        let seen: HashSet<&str> = train.rows.iter().map(|row| row.text.as_str()).collect();
        assert!(dev.rows.iter().chain(&test.rows).all(|row| !seen.contains(row.text.as_str())), "{language}");
    }
}

#[test]
fn the_quickstart_vocabulary_has_ernie_m_s_layout() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/samples/quickstart-tokenizer/vocab.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let words: Vec<&str> = text.lines().collect();
    assert_eq!((&words[..4], words.last()), (["[CLS]", "[PAD]", "[SEP]", "[UNK]"].as_slice(), Some(&"[MASK]")));
    assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "a word stands in it twice");
}
