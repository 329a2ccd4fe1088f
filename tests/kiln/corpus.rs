//! Corpora in PaddleNLP's layouts: read and written as PaddleNLP and NumPy do, and nothing damaged is taken for whole.
//! `tests/fixtures/corpus/make.py` says what made the fixtures.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln::corpus::{Corpus, CorpusWriter, Written, is_finished, publish, withdraw};
use kiln::error::{Error, Result};
use kiln::recipe::CorpusLayout;
use miette::Diagnostic;
use proptest::collection::vec;
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

type Documents = Vec<Vec<Vec<u32>>>;

const LAYOUTS: [CorpusLayout; 2] = [CorpusLayout::Npy, CorpusLayout::Mmap];
const ENDINGS: [&str; 4] = ["_ids.npy", "_idx.npz", ".bin", ".idx"];

fn fixture(name: &str) -> PathBuf {
    crate::fixture("corpus").join(name)
}

/// What all fixtures hold.
fn documents() -> Documents {
    vec![vec![vec![1, 2, 3], vec![4]], vec![vec![5, 6]], vec![vec![7, 8, 9, 100], vec![11], vec![12, 13]]]
}

fn read(corpus: &Corpus) -> Documents {
    let document = |number| corpus.document(number).map(|sentence| corpus.sentence(sentence)).collect();
    (0..corpus.documents()).map(document).collect()
}

/// Writes a corpus of ids below `id_count` at `folder`/`name`.
fn write(folder: &Path, name: &str, layout: CorpusLayout, id_count: usize, documents: &Documents) -> PathBuf {
    let work = tempfile::tempdir_in(folder).unwrap();
    let mut writer = CorpusWriter::open(work.path(), layout, id_count, Written::default()).unwrap();
    for document in documents {
        let lens: Vec<u32> = document.iter().map(|sentence| sentence.len() as u32).collect();
        writer.push(&document.concat(), &lens).unwrap();
    }
    writer.finish().unwrap();
    let prefix = folder.join(name);
    withdraw(layout, &prefix).unwrap();
    publish(work.path(), layout, &prefix).unwrap();
    prefix
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", prefix.display()))
}

fn copy(from: &Path, to: &Path) {
    for ending in ENDINGS {
        if with_ending(from, ending).exists() {
            fs::copy(with_ending(from, ending), with_ending(to, ending)).unwrap();
        }
    }
}

fn message(result: Result<Corpus>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Input(_)), "{error}");
    error.to_string()
}

#[test]
fn what_paddlenlp_and_numpy_write_is_read() {
    let whole = ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"];
    for name in whole.into_iter().chain(["classic", "classic_int32", "compressed"]) {
        let corpus = Corpus::open(&fixture(name)).unwrap();
        assert_eq!(read(&corpus), documents(), "{name}");
        assert_eq!((corpus.documents(), corpus.sentences(), corpus.tokens), (3, 6, 13), "{name}");
        assert_eq!(corpus.sentence_len(3), 4, "{name}");
    }
}

#[test]
fn what_does_not_exist_is_empty() {
    for name in ["uint16", "classic"] {
        let corpus = Corpus::open(&fixture(name)).unwrap();
        for beyond in [6, 64, 1 << 40, usize::MAX] {
            assert!(corpus.sentence(beyond).is_empty() && corpus.sentence_len(beyond) == 0);
            assert!(corpus.document(beyond).is_empty());
        }
    }
}

#[test]
fn written_files_are_byte_for_byte_those_of_paddlenlp_and_numpy() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layout, id_count, endings) in [
        ("uint16", CorpusLayout::Mmap, 18_000, &[".bin", ".idx"][..]),
        ("int32", CorpusLayout::Mmap, 65_535, &[".bin", ".idx"]),
        // A zip file holds the time it was made.
        ("classic", CorpusLayout::Npy, 65_534, &["_ids.npy"]),
        ("classic_int32", CorpusLayout::Npy, 65_535, &["_ids.npy"]),
    ] {
        let ours = write(folder.path(), name, layout, id_count, &documents());
        for ending in endings {
            let (ours, theirs) = (with_ending(&ours, ending), with_ending(&fixture(name), ending));
            assert_eq!(fs::read(ours).unwrap(), fs::read(theirs).unwrap(), "{name}{ending}");
        }
        assert_eq!(read(&Corpus::open(&ours).unwrap()), documents(), "{name}");
    }
}

/// A corpus is opened by its prefix or either file; where two have one name, only a file tells which is meant.
#[test]
fn names_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "b.v2", CorpusLayout::Npy, 100, &documents());
    write(root, "a", CorpusLayout::Mmap, 200, &documents());
    fs::write(root.join("notes.txt"), "").unwrap();
    assert_eq!(Corpus::find(root).unwrap(), [root.join("a"), root.join("b.v2")]);
    assert_eq!(Corpus::find(&root.join("b.v2_idx.npz")).unwrap(), [root.join("b.v2")]);
    for name in ["a", "a.bin", "a.idx", "b.v2", "b.v2_ids.npy", "b.v2_idx.npz"] {
        assert_eq!(read(&Corpus::open(&root.join(name)).unwrap()), documents(), "{name}");
    }
    copy(&fixture("classic"), &root.join("a"));
    assert!(message(Corpus::open(&root.join("a"))).ends_with("a: two corpora have this name"));
    Corpus::open(&root.join("a_ids.npy")).unwrap();
    Corpus::open(&root.join("a.idx")).unwrap();
    assert_eq!(Corpus::find(root).unwrap().len(), 2);

    let empty = root.join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(Corpus::find(&empty).unwrap_err().to_string().ends_with("there is no corpus in this folder"));
    assert!(message(Corpus::open(&root.join("c"))).ends_with("c: there is no corpus of this name"));
    fs::remove_file(root.join("b.v2_ids.npy")).unwrap();
    assert!(message(Corpus::open(&root.join("b.v2"))).ends_with("b.v2_ids.npy: this half of the corpus is missing"));
}

#[test]
fn a_file_cut_short_is_refused_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["classic", "compressed", "uint16", "int64"] {
        let prefix = folder.path().join(name);
        copy(&fixture(name), &prefix);
        for file in ENDINGS.map(|ending| with_ending(&prefix, ending)).iter().filter(|file| file.exists()) {
            let whole = fs::read(file).unwrap();
            for length in 0..whole.len() {
                fs::write(file, &whole[..length]).unwrap();
                let text = message(Corpus::open(&prefix));
                assert!(text.contains(name), "{text}");
            }
            fs::write(file, whole).unwrap();
        }
        Corpus::open(&prefix).unwrap();
    }
}

/// The parts of an index that do not fit together are named.
#[test]
fn indices_that_contradict_themselves_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("c");
    copy(&fixture("uint16"), &prefix);
    let index = with_ending(&prefix, ".idx");
    let whole = fs::read(&index).unwrap();
    // Six sentences: lengths from byte 34, pointers from 58, document marks from 106.
    let of = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&index, changed).unwrap();
        message(Corpus::open(&prefix)).rsplit_once(".idx: ").unwrap().1.to_string()
    };
    assert_eq!(of(0, b"TNTIDX\0\0"), "not an MMIDIDX index");
    assert_eq!(of(9, &[2]), "version 2 of the index format where 1 is known");
    assert_eq!(of(17, &[6]), "ids stored as type 6");
    assert_eq!(of(34, &(-1i32).to_le_bytes()), "sentence 0 has -1 tokens");
    assert_eq!(of(34 + 5 * 4, &[3]), "sentence 5 is 3 tokens at byte 22, outside of .bin");
    assert_eq!(of(58 + 8, &(-2i64).to_le_bytes()), "sentence 1 is 1 tokens at byte -2, outside of .bin");
    assert_eq!(
        of(58 + 8, &i64::MAX.to_le_bytes()),
        "sentence 1 is 1 tokens at byte 9223372036854775807, outside of .bin"
    );
    assert_eq!(of(106, &[1]), "the first document begins at sentence 1 where it must at 0");
    assert_eq!(of(106 + 2 * 8, &[1]), "document 2 begins at sentence 1, before the one in front of it");
    assert_eq!(of(106 + 3 * 8, &[7]), "the documents have 7 sentences together, but there are 6");
    assert_eq!(of(18, &[0xff; 8]).split(':').next(), Some("the index is cut short"));

    let classic = folder.path().join("d");
    copy(&fixture("classic"), &classic);
    fs::copy(fixture("classic_int32_ids.npy"), with_ending(&classic, "_ids.npy")).unwrap();
    Corpus::open(&classic).unwrap();
    let other = write(folder.path(), "e", CorpusLayout::Npy, 100, &vec![vec![vec![1, 2]]]);
    fs::copy(with_ending(&other, "_ids.npy"), with_ending(&classic, "_ids.npy")).unwrap();
    let error = Corpus::open(&classic).unwrap_err();
    assert!(error.to_string().ends_with("the sentences have 13 tokens together, but _ids.npy holds 2"), "{error}");
    let help = Diagnostic::help(&error.problems()[0]).unwrap().to_string();
    assert_eq!(help, "the two files are not of the same corpus");
}

#[test]
fn arrays_of_other_kinds_are_refused() {
    assert!(message(Corpus::open(&fixture("float32"))).ends_with("float32.idx: ids stored as type 7"));
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("c");
    copy(&fixture("classic"), &prefix);
    let npz = |name: &str, data: &[u8]| {
        let mut zip = zip::ZipWriter::new(fs::File::create(with_ending(&prefix, "_idx.npz")).unwrap());
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        zip.start_file(name, options).unwrap();
        zip.write_all(data).unwrap();
        zip.finish().unwrap();
    };
    npz("sizes.npy", b"");
    let error = Corpus::open(&prefix).unwrap_err();
    assert!(error.to_string().ends_with("c_idx.npz: there is no array `lens`"), "{error}");
    assert!(Diagnostic::help(&error.problems()[0]).unwrap().to_string().ends_with("this file holds: sizes.npy"));
    npz("lens.npy", b"text");
    assert!(message(Corpus::open(&prefix)).ends_with("the array `lens`: not a NumPy .npy array"));

    // Forty million sentences for thirteen tokens, in some 40 KB.
    let mut bomb = fs::read(fixture("classic_ids.npy")).unwrap()[..128].to_vec();
    let shape = b"'<i4', 'fortran_order': False, 'shape': (10000000,), }";
    bomb[20..20 + shape.len()].copy_from_slice(shape);
    bomb.resize(128 + 40_000_000, 0);
    npz("lens.npy", &bomb);
    let text = message(Corpus::open(&prefix));
    assert!(text.contains("the array `lens`: 40000128 bytes unpacked are more than"), "{text}");
}

/// Killed between any two steps, it goes on; and no index stands beside ids that are not its own.
#[test]
fn publishing_can_be_killed_anywhere() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let prefix = write(folder.path(), "c", CorpusLayout::Mmap, 200, &vec![vec![vec![1]]]);
        let work = folder.path().join("work");
        fs::create_dir(&work).unwrap();
        let mut writer = CorpusWriter::open(&work, layout, 200, Written::default()).unwrap();
        writer.push(&[2, 3], &[2]).unwrap();
        assert!(!is_finished(&work));
        writer.finish().unwrap();
        assert!(is_finished(&work));

        withdraw(layout, &prefix).unwrap();
        assert!(Corpus::open(&prefix).is_err(), "withdrawn");
        // What a kill between the two renames leaves.
        let ids = if layout == CorpusLayout::Npy { "_ids.npy" } else { ".bin" };
        fs::rename(work.join("ids"), with_ending(&prefix, ids)).unwrap();
        assert!(Corpus::open(&prefix).is_err(), "half published");
        assert!(is_finished(&work));
        withdraw(layout, &prefix).unwrap();
        publish(&work, layout, &prefix).unwrap();
        assert_eq!(read(&Corpus::open(&prefix).unwrap()), vec![vec![vec![2, 3]]]);
    }
}

/// What stood behind the last certain place is not read again, and what is missing is noticed.
#[test]
fn a_writer_goes_on_where_it_was_certain() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = CorpusWriter::open(folder.path(), layout, 200, Written::default()).unwrap();
        writer.push(&[1, 2, 3], &[2, 1]).unwrap();
        let written = writer.sync().unwrap();
        assert_eq!(written, Written { tokens: 3, sentences: 2, documents: 1 });
        writer.push(&[9, 9], &[1, 1]).unwrap();
        drop(writer);
        let mut writer = CorpusWriter::open(folder.path(), layout, 200, written).unwrap();
        writer.push(&[4], &[1]).unwrap();
        writer.finish().unwrap();
        let prefix = folder.path().join("c");
        publish(folder.path(), layout, &prefix).unwrap();
        assert_eq!(read(&Corpus::open(&prefix).unwrap()), vec![vec![vec![1, 2], vec![3]], vec![vec![4]]]);

        let beyond = Written { documents: 9, ..written };
        assert!(matches!(CorpusWriter::open(folder.path(), layout, 200, beyond), Err(Error::Input(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Long enough that places of sentences are counted from several samples.
    #[test]
    fn what_is_written_is_read(
        documents in vec(vec(vec(0u32..70_000, 1..5), 1..40), 0..12),
        classic: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let layout = LAYOUTS[usize::from(classic)];
        let prefix = write(folder.path(), "c", layout, 70_000, &documents);
        prop_assert_eq!(read(&Corpus::open(&prefix).unwrap()), documents);
    }

    /// A damaged corpus is refused or read as something else, and is no panic and no endless allocation.
    #[test]
    fn damage_is_no_panic(name in prop::sample::select(vec!["classic", "compressed", "uint16"]), at: usize, byte: u8) {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join(name);
        copy(&fixture(name), &prefix);
        for file in ENDINGS.map(|ending| with_ending(&prefix, ending)).iter().filter(|file| file.exists()) {
            let whole = fs::read(file).unwrap();
            let mut damaged = whole.clone();
            damaged[at % whole.len()] = byte;
            fs::write(file, damaged).unwrap();
            if let Ok(corpus) = Corpus::open(&prefix) {
                read(&corpus);
            }
            fs::write(file, whole).unwrap();
        }
    }
}
