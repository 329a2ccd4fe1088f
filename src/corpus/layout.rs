//! Reading a corpus of token ids, in either of PaddleNLP's layouts.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mmidx::Index;
use super::npy::Header;
use super::npz;
use crate::data::ints::{Ints, map};
use crate::error::{Error, Problem, Result};

pub(super) const IDS: &str = "_ids.npy";
pub(super) const IDX: &str = "_idx.npz";
pub(super) const BIN: &str = ".bin";
pub(super) const INDEX: &str = ".idx";

/// One sentence in so many has its place kept; those between are counted from there.
const STRIDE: usize = 64;

/// Documents of sentences of token ids, without special tokens: a continuation of a Chinese word has the id of its "##"
/// form.
///
/// The files are mapped, not read into memory, and were checked as a whole when they were opened; only the ids
/// themselves are not compared with a vocabulary, because a corpus does not name its own.
#[derive(Debug)]
pub struct Corpus {
    /// What the names of its files begin with.
    pub prefix: PathBuf,
    ids: Ints,
    lens: Ints,
    docs: Ints,
    starts: Starts,
    /// How many tokens all sentences have together.
    pub tokens: u64,
}

/// Where sentences begin.
#[derive(Debug)]
enum Starts {
    /// The first id of every [`STRIDE`]th sentence; they follow each other without gaps.
    Sampled(Vec<u64>),
    /// The first byte of every sentence.
    Pointers(Ints),
}

impl Corpus {
    /// Opens the corpus whose files are `P_ids.npy` and `P_idx.npz`, or `P.bin` and `P.idx`, given `P` or one of the
    /// files.
    ///
    /// # Errors
    /// Files are missing, damaged, or do not belong together; the error says which and where.
    pub fn open(prefix_or_file: &Path) -> Result<Self> {
        let prefix = prefix(prefix_or_file);
        let has = |ending: &str| with_ending(&prefix, ending).is_file();
        let classic = has(IDX) || has(IDS);
        let mapped = has(INDEX) || has(BIN);
        match (classic, mapped) {
            (true, false) => Self::open_classic(prefix),
            (false, true) => Self::open_mapped(prefix),
            (true, true) if prefix == prefix_or_file => {
                let problem = Problem::new("two corpora have this name").in_file(&prefix);
                Err(problem.help(format!("name a file: {IDX} or {INDEX} at its end says which one is meant")).into())
            }
            (true, true) if is_classic(prefix_or_file) => Self::open_classic(prefix),
            (true, true) => Self::open_mapped(prefix),
            (false, false) => Err(missing(prefix_or_file)),
        }
    }

    /// The corpora a path stands for: all those in a folder, sorted by name, or the one it names itself.
    ///
    /// # Errors
    /// The folder cannot be read or holds none.
    pub fn find(path: &Path) -> Result<Vec<PathBuf>> {
        if !path.is_dir() {
            return Ok(vec![prefix(path)]);
        }
        let reading = |cause| Error::reading(path, &cause);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(reading)? {
            let file = entry.map_err(reading)?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with('.') && [IDX, INDEX].iter().any(|ending| name.ends_with(ending)) {
                found.push(prefix(&file));
            }
        }
        found.sort();
        found.dedup();
        if found.is_empty() { Err(missing(path)) } else { Ok(found) }
    }

    fn open_classic(prefix: PathBuf) -> Result<Self> {
        let [ids_file, idx_file] = both(&prefix, [IDS, IDX])?;
        let map = map(&ids_file)?;
        let wrong = |what: String| Error::from(Problem::new(what).in_file(&ids_file));
        let header = Header::parse(&map[..map.len().min(super::npy::HEAD)]).map_err(wrong)?;
        let ids = Ints::new(&map, header.data as u64, header.count, header.dtype).ok_or_else(|| {
            let what = format!("the file is cut short: {} ids are announced in {} bytes", header.count, map.len());
            Error::from(Problem::new(what).in_file(&ids_file).help("copy or prepare the corpus again"))
        })?;
        // Neither table has more entries than there are ids, but for the zero that `docs` begins with.
        let limit = header.count.saturating_mul(8).saturating_add(1 << 16);
        let [lens, docs] = npz::arrays(&idx_file, limit, ["lens", "docs"])?;
        let mut starts = Vec::with_capacity(lens.len() / STRIDE + 1);
        let mut tokens = 0u64;
        for (index, length) in lens.iter_from(0).enumerate() {
            if index % STRIDE == 0 {
                starts.push(tokens);
            }
            tokens = tokens.saturating_add(checked_length(length, index, &idx_file)?);
        }
        if tokens != header.count {
            let what = format!("the sentences have {tokens} tokens together, but {IDS} holds {}", header.count);
            let problem = Problem::new(what).in_file(&idx_file).help("the two files are not of the same corpus");
            return Err(problem.into());
        }
        check_docs(&docs, lens.len(), &idx_file)?;
        Ok(Self { prefix, ids, lens, docs, starts: Starts::Sampled(starts), tokens })
    }

    fn open_mapped(prefix: PathBuf) -> Result<Self> {
        let [bin_file, idx_file] = both(&prefix, [BIN, INDEX])?;
        let Index { dtype, lens, pointers, docs } = Index::open(&idx_file)?;
        let map = map(&bin_file)?;
        let (size, mut tokens) = (dtype.size() as u64, 0u64);
        for (index, (length, start)) in lens.iter_from(0).zip(pointers.iter_from(0)).enumerate() {
            let length = checked_length(length, index, &idx_file)?;
            let end = u64::try_from(start).ok().and_then(|start| start.checked_add(length.checked_mul(size)?));
            if end.is_none_or(|end| end > map.len() as u64) {
                let what = format!("sentence {index} is {length} tokens at byte {start}, outside of {BIN}");
                let help = format!("{BIN} has {} bytes; the two files may not be of the same corpus", map.len());
                return Err(Problem::new(what).in_file(&idx_file).help(help).into());
            }
            tokens = tokens.saturating_add(length);
        }
        check_docs(&docs, lens.len(), &idx_file)?;
        let count = map.len() as u64 / size;
        let ids = Ints::new(&map, 0, count, dtype).ok_or_else(|| missing(&bin_file))?;
        Ok(Self { prefix, ids, lens, docs, starts: Starts::Pointers(pointers), tokens })
    }

    /// How many sentences there are.
    pub fn sentences(&self) -> usize {
        self.lens.len()
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.docs.len().saturating_sub(1)
    }

    /// Tokens of a sentence; 0 for one that does not exist.
    pub fn sentence_len(&self, sentence: usize) -> usize {
        self.lens.count(sentence).unwrap_or(0)
    }

    /// The ids of a sentence; none for one that does not exist. Ids that are no u32 in the file become `u32::MAX`.
    pub fn sentence(&self, sentence: usize) -> Vec<u32> {
        let start = match &self.starts {
            Starts::Pointers(pointers) => pointers.count(sentence),
            Starts::Sampled(starts) => {
                let first = sentence / STRIDE * STRIDE;
                let before = self.lens.iter_from(first).take(sentence - first).map(|length| length as u64);
                let start = starts.get(sentence / STRIDE).map(|start| start + before.sum::<u64>());
                start.and_then(|start| usize::try_from(start).ok()?.checked_mul(self.ids.dtype.size()))
            }
        };
        start.and_then(|start| self.ids.ids(start, self.sentence_len(sentence))).unwrap_or_default()
    }

    /// The sentences of a document; none for one that does not exist.
    pub fn document(&self, document: usize) -> Range<usize> {
        match (self.docs.count(document), self.docs.count(document.saturating_add(1))) {
            (Some(start), Some(end)) => start..end,
            _ => 0..0,
        }
    }
}

fn checked_length(length: i64, sentence: usize, file: &Path) -> Result<u64> {
    u64::try_from(length).map_err(|_| {
        let problem = Problem::new(format!("sentence {sentence} has {length} tokens")).in_file(file);
        problem.help("the index is damaged: copy or prepare the corpus again").into()
    })
}

/// Documents begin at sentence 0, go on where the one before ended, and end with the last sentence.
fn check_docs(docs: &Ints, sentences: usize, file: &Path) -> Result<()> {
    let wrong = |what: String| {
        let problem = Problem::new(what).in_file(file);
        Err(problem.help("the index is damaged: copy or prepare the corpus again").into())
    };
    let mut before = 0;
    for (document, mark) in docs.iter_from(0).enumerate() {
        match document {
            0 if mark != 0 => return wrong(format!("the first document begins at sentence {mark} where it must at 0")),
            _ if mark < before => {
                return wrong(format!("document {document} begins at sentence {mark}, before the one in front of it"));
            }
            _ => before = mark,
        }
    }
    if docs.len() == 0 || before != sentences as i64 {
        return wrong(format!("the documents have {before} sentences together, but there are {sentences}"));
    }
    Ok(())
}

/// The files that a corpus has in either layout.
pub(crate) fn files(prefix: &Path) -> [PathBuf; 4] {
    [IDS, IDX, BIN, INDEX].map(|ending| with_ending(prefix, ending))
}

/// `path` without the ending of a corpus file.
fn prefix(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stripped = [IDS, IDX, BIN, INDEX].iter().find_map(|ending| name.strip_suffix(ending));
    stripped.map_or_else(|| path.to_path_buf(), |stripped| path.with_file_name(stripped))
}

fn is_classic(file: &Path) -> bool {
    let name = file.to_string_lossy();
    name.ends_with(IDX) || name.ends_with(IDS)
}

/// `P` and an ending; the dot in `P.bin` is no extension, because `P` may have dots itself.
pub(crate) fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_os_string();
    name.push(ending);
    name.into()
}

/// The two files of a layout, which both must be there.
fn both(prefix: &Path, endings: [&str; 2]) -> Result<[PathBuf; 2]> {
    let [one, other] = endings.map(|ending| with_ending(prefix, ending));
    for (file, half) in [(&one, &other), (&other, &one)] {
        if !file.is_file() {
            let problem = Problem::new("this half of the corpus is missing").in_file(file);
            return Err(problem.help(format!("the other half is there: {}", half.display())).into());
        }
    }
    Ok([one, other])
}

fn missing(path: &Path) -> Error {
    let what = if path.is_dir() { "there is no corpus in this folder" } else { "there is no corpus of this name" };
    let help = format!("a corpus P is two files, P{IDS} and P{IDX} or P{BIN} and P{INDEX}; `kiln prepare` makes them");
    Problem::new(what).in_file(path).help(help).into()
}
