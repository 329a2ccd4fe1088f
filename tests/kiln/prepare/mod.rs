//! `kiln prepare`: text becomes the corpus it should, and a stop, a kill or another number of threads or ranks changes nothing.

mod english;
mod language_model;
mod pairs;
mod ranks;
mod stopped;
mod text;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln::corpus::Corpus;
use kiln::error::{Error, Result};
use kiln::prepare::{Summary, run};
use kiln::ranks::Ranks;
use kiln::recipe::{CorpusOptions, WordSource};
use kiln::tokenize::Tokenizer;
use kiln::tokenize::ernie::ErnieTokenizer;

/// Chinese characters that the vocabularies of these tests have.
const CHARACTERS: &str = "我爱北京天安门上太阳升人民银行中国云计算很好卡拉在大学生活你们的是不这了来甲乙丙丁戊己庚";
/// What they have besides: each with a "##" form.
const PIECES: [&str; 12] = ["a", "b", "c", "d", "e", "h", "he", "cat", "sat", "ok", "2", "0"];
const MARKS: [&str; 10] = ["，", "。", "！", "?", ".", ",", "t", "“", "”", "；"];

/// A vocabulary, one token a line; with the "##" forms of Chinese characters or without.
fn vocabulary(with_forms: bool) -> Vec<String> {
    let characters = CHARACTERS.chars().map(String::from);
    let forms = CHARACTERS.chars().filter(|_| with_forms).map(|c| format!("##{c}"));
    let pieces = PIECES.iter().flat_map(|piece| [piece.to_string(), format!("##{piece}")]);
    let special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"].into_iter().chain(MARKS).map(String::from);
    special.chain(characters).chain(forms).chain(pieces).chain(["[UNK]".to_string()]).collect()
}

fn ernie(folder: &Path) -> ErnieTokenizer {
    ErnieTokenizer::from_dir(folder, None, None).unwrap()
}

/// A folder to prepare corpora in.
struct Workshop {
    folder: tempfile::TempDir,
    tokenizer: Tokenizer,
    vocabulary: Vec<String>,
}

impl Workshop {
    fn new() -> Self {
        Self::of(vocabulary(true))
    }

    fn of(vocabulary: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tokenizer")).unwrap();
        fs::write(folder.path().join("tokenizer/vocab.txt"), vocabulary.join("\n") + "\n").unwrap();
        let tokenizer = Tokenizer::from(ernie(&folder.path().join("tokenizer")));
        Self { folder, tokenizer, vocabulary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders it is in.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// From one file or folder to the corpus `out/corpus`, in order and character by character.
    fn options(&self, input: &str) -> CorpusOptions {
        let plain = serde_json::json!({ "input": [self.path(input)], "output": self.path("out/corpus") });
        let plain = serde_json::from_value(plain).unwrap();
        CorpusOptions { shuffle: false, min_document_length: 0, words: WordSource::None, ..plain }
    }

    fn run(&self, options: &CorpusOptions) -> Result<Summary> {
        run(options, &self.tokenizer, &Ranks::alone(), &AtomicBool::new(false))
    }

    /// What an error says, with the folder's name left out.
    fn fault(&self, options: &CorpusOptions) -> String {
        self.run(options).unwrap_err().to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// The documents of the corpus, each a list of sentences with spaces between their tokens.
    fn documents(&self) -> Vec<Vec<String>> {
        let corpus = Corpus::open(&self.path("out/corpus")).unwrap();
        let token = |id: u32| self.vocabulary.get(id as usize).cloned().unwrap_or_else(|| format!("<{id}>"));
        let tokens = |sentence| corpus.sentence(sentence).into_iter().map(token).collect::<Vec<_>>().join(" ");
        (0..corpus.documents()).map(|number| corpus.document(number).map(tokens).collect()).collect()
    }

    /// [`Self::documents`] of what `options` make.
    fn made(&self, options: &CorpusOptions) -> Vec<Vec<String>> {
        self.run(options).unwrap();
        self.documents()
    }
}

/// Every file of a folder, hidden ones too, with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())).collect()
}

/// Bytes in all files below a folder; 0 where there is none.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes =
        |path: PathBuf| if path.is_dir() { bytes_below(&path) } else { fs::metadata(path).map_or(0, |m| m.len()) };
    entries.flatten().map(|entry| bytes(entry.path())).sum()
}

/// Does `work`, and asks it to stop as soon as `seen` holds.
fn stopped_when<T>(seen: impl Fn() -> bool + Sync, work: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The deadline is for work that panics.
            let waits = || !ended.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60);
            while waits() && !seen() {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let result = work(&stop);
        ended.store(true, Ordering::Relaxed);
        result
    })
}

/// Does `work` in pieces, each stopped as soon as it is seen to have written to the folder `unfinished`; what it ends with, and what
/// `look` has seen after each stop. Stops that come too late are too few: until there are `enough`, all of it is done again.
fn in_pieces<T, S>(
    unfinished: &Path,
    work: impl Fn(&AtomicBool, usize) -> Result<T>,
    look: impl Fn() -> S,
    enough: impl Fn(&[S]) -> bool,
) -> (T, Vec<S>) {
    for _ in 0..20 {
        let mut seen = Vec::new();
        let made = loop {
            let before = bytes_below(unfinished);
            match stopped_when(|| bytes_below(unfinished) > before, |stop| work(stop, seen.len())) {
                Err(Error::Interrupted) => seen.push(look()),
                Err(error) => panic!("{error}"),
                Ok(made) => break made,
            }
        };
        if enough(&seen) {
            return (made, seen);
        }
        fs::remove_dir_all(unfinished.parent().unwrap()).unwrap();
    }
    panic!("it is always over too soon to be stopped");
}

/// Some text: documents of 1 to 8 sentences, one a line.
fn text(documents: Range<usize>) -> String {
    let characters: Vec<char> = CHARACTERS.chars().collect();
    let mut text = String::new();
    for document in documents {
        for sentence in 0..=document % 8 {
            let start = (document * 7 + sentence * 13) % characters.len();
            let length = 3 + (document * 5 + sentence) % 20;
            text.extend(characters.iter().cycle().skip(start).take(length));
            text.push_str(&format!("{document}。\n"));
        }
        text.push('\n');
    }
    text
}
