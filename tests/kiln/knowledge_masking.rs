//! Rows and masking of the original ERNIE 1.0 (2019).

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::corpus::knowledge::{KnowledgeReader, KnowledgeRow, file_mode, read_file_list};
use kiln::corpus::masking::KnowledgeMode;
use kiln::corpus::vocabulary::{SpecialIds, Vocabulary};
use proptest::prelude::*;
use serde::Deserialize;

use crate::corpus_index::expected;
use crate::real_data;

const SPECIALS: SpecialIds = SpecialIds { cls: 1, sep: 2, mask: 3 };
const GOOD: &str = "1 10 11 2 12 2;0 0 0 0 1 1;0 1 2 3 4 5;-1 0 1 -1 0 -1;1";

/// Without words of its own: rows bring their segmentation.
fn vocabulary(size: usize) -> Vocabulary {
    Vocabulary::new(vec!["x"; size], size, SPECIALS).unwrap()
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Expected>,
}

/// A row, draws for its tokens, and what becomes of it; `tests/fixtures/samples/make.py` says what made it.
#[derive(Deserialize)]
struct Expected {
    ids: Vec<u32>,
    segments: Vec<i8>,
    draws: Vec<(f64, u32)>,
    word: Hidden,
    character: Hidden,
}

#[derive(Deserialize)]
struct Hidden {
    ids: Vec<u32>,
    positions: Vec<u32>,
}

#[test]
fn both_modes_hide_what_the_original_hides() {
    let vocabulary = vocabulary(64);
    let mut hidden = 0;
    for Expected { ids, segments, draws, word, character } in expected::<Rows>("knowledge.json").rows {
        let row = KnowledgeRow { type_ids: vec![0; ids.len()], ids, segments, sentence_label: 1, line: 1 };
        for (mode, wanted) in [(KnowledgeMode::Word, word), (KnowledgeMode::Character, character)] {
            let mut draws = draws.iter();
            let made = row.masked(mode, &vocabulary, 0.15, || *draws.next().unwrap());
            assert_eq!((&made.ids, &made.masked_positions), (&wanted.ids, &wanted.positions), "{mode:?}");
            let labels: Vec<u32> = made.masked_positions.iter().map(|place| row.ids[*place as usize]).collect();
            assert_eq!((made.labels, made.sentence_label), (labels, 1));
            hidden += wanted.positions.len();
        }
    }
    assert!(hidden > 100, "the fixture shows next to nothing");
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("rows.gz");
    let mut packed = GzEncoder::new(std::fs::File::create(&file).unwrap(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap();
    file
}

#[test]
fn rows_are_read_and_long_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let long = "1 10 11 12 2 12 2;0 0 0 0 0 1 1;0 1 2 3 4 5 6;-1 0 1 1 -1 0 -1;0";
    let file = file(folder.path(), &format!("{GOOD}\n{long}\n{GOOD}"));
    let vocabulary = vocabulary(20);
    let mut reader = KnowledgeReader::open(&file, &vocabulary, 6).unwrap();
    let rows: Vec<KnowledgeRow> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!((rows.len(), reader.skipped), (2, 1));
    assert_eq!((rows[0].line, rows[1].line, &rows[0].ids), (1, 3, &rows[1].ids));
    assert_eq!((rows[0].segments.as_slice(), rows[0].sentence_label), ([-1, 0, 1, -1, 0, -1].as_slice(), 1));
}

#[test]
fn wrong_rows_are_named_and_the_next_ones_read() {
    let wrong = [
        (GOOD.replace(";1", ""), "4 fields instead of 5"),
        (GOOD.replace("12", "20"), "the token id \"20\" is not a number below 20"),
        (GOOD.replace("12", "-12"), "the token id \"-12\" is not a number below 20"),
        (GOOD.replace("0 0 0 0 1 1", "0 0 0 0 1 2"), "the sentence type \"2\" is not 0 or 1"),
        (GOOD.replace("0 0 0 0 1 1", "0 0 0 0 1"), "5 sentence types for 6 token ids"),
        (GOOD.replace("3 4 5", "3 4"), "5 positions for 6 token ids"),
        (GOOD.replace("3 4 5", "4 4 5"), "token 3 of the row has the position 4"),
        (GOOD.replace("-1 0 -1;", "-1 2 -1;"), "the segmentation label \"2\" is not -1, 0 or 1"),
        (GOOD.replace("-1 0 -1;", "-1 0;"), "5 segmentation labels for 6 token ids"),
        (GOOD.replace("-1 0 -1;", "1 0 -1;"), "token 3 of the row, [CLS] or [SEP], has the segmentation label 1"),
        (GOOD.replace(";1", ";7"), "the label \"7\" is not 0 or 1"),
        (GOOD.replace(";1", ";"), "the label \"\" is not 0 or 1"),
        (GOOD.replace("10 11", "10  11"), "the token id \"\" is not a number below 20"),
        (String::new(), "1 fields instead of 5"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(20);
    for (row, what) in wrong {
        let file = file(folder.path(), &format!("{GOOD}\n{row}\n{GOOD}\n"));
        let mut reader = KnowledgeReader::open(&file, &vocabulary, 512).unwrap();
        assert!(reader.next().unwrap().is_ok());
        let problem = reader.next().unwrap().unwrap_err().into_problem();
        assert_eq!(problem.to_string(), format!("{}:2: {what}", file.display()));
        assert_eq!(reader.next().unwrap().unwrap().line, 3);
        assert!(reader.next().is_none());
    }
}

#[test]
fn a_cut_file_ends_the_reading() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), &format!("{GOOD}\n").repeat(50));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    let vocabulary = vocabulary(20);
    let rows: Vec<_> = KnowledgeReader::open(&file, &vocabulary, 512).unwrap().take(60).collect();
    let problem = rows.into_iter().next_back().unwrap().unwrap_err().into_problem().to_string();
    assert!(problem.ends_with("the compressed file ends too early"), "{problem}");
}

#[test]
fn a_list_of_files_gives_paths_and_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.gz"), "").unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "rows.gz\t1.1\n\n./nowhere/rows.gz\t0.25\n").unwrap();
    let files = read_file_list(&list).unwrap();
    assert_eq!(files, [(folder.path().join("rows.gz"), 1.1), ("./nowhere/rows.gz".into(), 0.25)]);
    for line in ["rows.gz", "rows.gz\tone", "rows.gz\t-1", "rows.gz\tnan"] {
        std::fs::write(&list, format!("rows.gz\t1\n{line}\n")).unwrap();
        let error = read_file_list(&list).unwrap_err().to_string();
        assert_eq!(error, format!("{}:2: not a path, a tab and a probability", list.display()));
    }
}

#[test]
fn the_mode_of_a_file_follows_its_probability() {
    let words = |probability: f64| {
        let modes = (0..1000).map(|epoch| file_mode(1, epoch, 3, probability));
        modes.filter(|mode| *mode == KnowledgeMode::Word).count()
    };
    assert_eq!((words(1.1), words(1.0), words(0.0)), (1000, 1000, 0));
    assert!((250..350).contains(&words(0.3)), "{}", words(0.3));
}

/// Runs made by older versions go on only if the draws never change.
#[test]
fn draws_are_fixed_for_ever() {
    let count = 40;
    let ids = [vec![1], (10..10 + count).collect(), vec![2]].concat();
    let segments = [vec![-1], (0..count).map(|at| (at % 3 == 1).into()).collect(), vec![-1]].concat();
    let row = KnowledgeRow { type_ids: vec![0; ids.len()], ids, segments, sentence_label: 0, line: 1 };
    let vocabulary = vocabulary(64);
    let made = |epoch, number| row.sample(KnowledgeMode::Word, &vocabulary, 0.15, 42, epoch, number);
    assert_eq!(made(0, 0).masked_positions, FIRST);
    assert_eq!(made(0, 0), made(0, 0));
    assert!(made(0, 0) != made(1, 0) && made(0, 0) != made(0, 1) && made(0, 1) != made(1, 0));
}
const FIRST: [u32; 5] = [4, 5, 24, 31, 32];

proptest! {
    #[test]
    fn what_is_hidden_can_be_restored(
        units in prop::collection::vec((4u32..64, -1i8..2), 0..60),
        seed: u64,
        by_words: bool,
        share in 0.0..=1.0,
    ) {
        let mut ids = vec![1];
        let mut segments = vec![-1];
        for (id, label) in units {
            ids.push(if label == -1 { 2 } else { id });
            segments.push(label);
        }
        let row = KnowledgeRow { type_ids: vec![0; ids.len()], ids, segments, sentence_label: 0, line: 1 };
        let mode = if by_words { KnowledgeMode::Word } else { KnowledgeMode::Character };
        let made = row.sample(mode, &vocabulary(64), share, seed, 2, 5);
        prop_assert!(made.masked_positions.is_sorted_by(|one, next| one < next));
        let mut restored = made.ids;
        for (place, label) in made.masked_positions.iter().zip(&made.labels) {
            let place = *place as usize;
            prop_assert!(row.segments[place] != -1);
            restored[place] = *label;
        }
        prop_assert_eq!(restored, row.ids);
    }
}

#[test]
fn the_original_demo_rows() {
    let Some(root) = real_data() else { return };
    let vocabulary = vocabulary(17_964);
    for (name, rows, follows) in [("demo_train_set.gz", 10_000, 3779), ("demo_valid_set.gz", 6000, 2291)] {
        let file = root.join("data/ernie1_pretrain_demo").join(name);
        let (mut count, mut following, mut words, mut tokens, mut hidden) = (0, 0, 0, 0, [0; 2]);
        for row in KnowledgeReader::open(&file, &vocabulary, 512).unwrap().map(Result::unwrap) {
            for (hidden, mode) in hidden.iter_mut().zip([KnowledgeMode::Word, KnowledgeMode::Character]) {
                *hidden += row.sample(mode, &vocabulary, 0.15, 1, 0, count).labels.len();
            }
            count += 1;
            following += usize::from(row.sentence_label);
            words += row.segments.iter().filter(|label| **label == 0).count();
            tokens += row.segments.iter().filter(|label| **label != -1).count();
        }
        assert_eq!((count, following), (rows, follows), "{name}");
        let shares = hidden.map(|hidden| hidden as f64 / tokens as f64);
        assert!(shares.iter().all(|share| (share - 0.15).abs() < 0.002), "{name}: {shares:?} of {words} words");
    }
}
