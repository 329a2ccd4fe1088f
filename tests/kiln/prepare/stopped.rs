//! The corpus is the same whatever happens while it is made.

use std::fs::{File, OpenOptions};
use std::io::Write;

use kiln::recipe::CorpusLayout;

use super::*;

/// Enough text for many portions, in three files of different kinds.
pub(super) fn workshop() -> Workshop {
    let shop = Workshop::new();
    shop.write("in/a.txt", text(0..2000));
    shop.write("in/b.zst", zstd::encode_all(text(2000..4000).as_bytes(), 0).unwrap());
    let text = text(4000..6000);
    let documents = text.split("\n\n").filter(|document| !document.is_empty());
    let json: String = documents.map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
    shop.write("in/c.jsonl", json);
    shop
}

/// Words by a dictionary: jieba's own takes longer to load than all of this text to prepare.
fn shuffled(shop: &Workshop) -> CorpusOptions {
    let dictionary = Some(shop.write("entries.txt", "北京\n天安门\n大学生\n"));
    CorpusOptions { shuffle: true, dictionary, buffer_bytes: 1 << 16, ..shop.options("in") }
}

/// Both orders and both layouts.
pub(super) fn variants(shop: &Workshop) -> [CorpusOptions; 2] {
    let shuffled = shuffled(shop);
    [CorpusOptions { shuffle: false, layout: CorpusLayout::Mmap, ..shuffled.clone() }, shuffled]
}

/// The files of the corpus that `options` make in a new folder.
fn undisturbed(shop: &Workshop, options: &CorpusOptions) -> BTreeMap<String, Vec<u8>> {
    let options = CorpusOptions { output: shop.path("undisturbed/corpus"), ..options.clone() };
    shop.run(&options).unwrap();
    let found = corpus_files(shop, "undisturbed");
    fs::remove_dir_all(shop.path("undisturbed")).unwrap();
    assert_eq!(found.len(), 2);
    found
}

/// The two files of the corpus in a folder, and nothing else but the account of what it was made of.
fn corpus_files(shop: &Workshop, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(&shop.path(folder));
    found.remove("corpus.prepare.json").unwrap();
    found
}

#[test]
fn threads_and_memory_change_nothing() {
    let shop = workshop();
    for options in variants(&shop) {
        let expected = undisturbed(&shop, &options);
        for (threads, buffer_bytes) in [(1, 1 << 16), (4, 1 << 16), (3, 1 << 26)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = CorpusOptions { output: shop.path("again/corpus"), buffer_bytes, ..options.clone() };
            pool.install(|| shop.run(&options)).unwrap();
            assert!(corpus_files(&shop, "again") == expected, "{threads} threads, {buffer_bytes} bytes");
            fs::remove_dir_all(shop.path("again")).unwrap();
        }
    }
}

/// Stopped again and again, in both stages of the work.
#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let shop = workshop();
    for options in variants(&shop) {
        let expected = undisturbed(&shop, &options);
        let look = || {
            assert!(!shop.path("out/corpus.prepare.json").exists());
            ["/spilled", "/written/documents"].map(|count| saved(&shop, count))
        };
        let spilling = |[spilled, written]: &[u64; 2]| *spilled > 0 && *written == 0;
        let enough = |seen: &[[u64; 2]]| {
            let writing = seen.iter().filter(|[_, written]| *written > 0).count();
            writing >= 2 && (seen.iter().any(spilling) || !options.shuffle)
        };
        let work = |stop: &AtomicBool, _| run(&options, &shop.tokenizer, &Ranks::alone(), stop);
        let (summary, counts) = in_pieces(&shop.path("out/.corpus.preparing"), work, look, enough);
        assert!(counts.is_sorted(), "work was done again: {counts:?}");
        assert!(corpus_files(&shop, "out") == expected, "after {} stops", counts.len());
        assert_eq!((summary.documents, summary.reused), (6000, false));
        fs::remove_dir_all(shop.path("out")).unwrap();
    }
}

/// A number in the state of unfinished work; 0 before there is any.
fn saved(shop: &Workshop, pointer: &str) -> u64 {
    let Ok(state) = fs::read(shop.path("out/.corpus.preparing/state.json")) else { return 0 };
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state.pointer(pointer).unwrap().as_u64().unwrap()
}

/// Starts, and stops once there is something in one of the files of the work.
fn stop_when(shop: &Workshop, options: &CorpusOptions, file: &str, pointer: &str) {
    let file = shop.path("out/.corpus.preparing").join(file);
    let result = stopped_when(
        || fs::metadata(&file).is_ok_and(|file| file.len() > 0),
        |stop| run(options, &shop.tokenizer, &Ranks::alone(), stop),
    );
    assert!(matches!(result, Err(Error::Interrupted)), "it was over before it could be stopped");
    assert!(saved(shop, pointer) > 0);
}

/// A kill leaves more in the files than the state says is certain; a crash of the machine may leave less.
#[test]
fn what_a_kill_leaves_behind_is_cut_off() {
    let shop = workshop();
    let [ordered, shuffled] = variants(&shop);
    for (options, pointer, names) in [
        (&ordered, "/written/documents", &["ids", "lens", "docs"][..]),
        (&shuffled, "/written/documents", &["ids", "lens", "docs"]),
        (&shuffled, "/spilled", &["bucket-000"]),
    ] {
        let expected = undisturbed(&shop, options);
        for lost in [false, true] {
            stop_when(&shop, options, names[0], pointer);
            for name in names {
                let path = shop.path("out/.corpus.preparing").join(name);
                let mut file = OpenOptions::new().append(true).open(path).unwrap();
                if lost {
                    file.set_len(3).unwrap();
                } else {
                    file.write_all(b"half a document").unwrap();
                }
            }
            assert_eq!(shop.run(options).unwrap().documents, 6000);
            assert!(corpus_files(&shop, "out") == expected, "{names:?}, lost: {lost}");
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    }
}

#[test]
fn what_is_there_already_is_not_made_again() {
    let shop = workshop();
    let options = shuffled(&shop);
    let first = shop.run(&options).unwrap();
    let before = files(&shop.path("out"));
    let again = shop.run(&CorpusOptions { buffer_bytes: 1 << 20, ..options.clone() }).unwrap();
    assert_eq!(again, Summary { reused: true, ..first });
    assert!(files(&shop.path("out")) == before);
    // Copied elsewhere, the text is still the same.
    fs::rename(shop.path("in"), shop.path("moved")).unwrap();
    let moved = CorpusOptions { input: vec![shop.path("moved").display().to_string()], ..options.clone() };
    assert!(shop.run(&moved).unwrap().reused);

    assert!(!shop.run(&CorpusOptions { seed: 1, ..moved.clone() }).unwrap().reused);
    assert!(corpus_files(&shop, "out") != BTreeMap::from_iter(before), "another seed");
    shop.write("moved/a.txt", "甲乙");
    let changed = shop.run(&CorpusOptions { seed: 1, ..moved.clone() }).unwrap();
    assert!(!changed.reused && changed.documents < 6000);
    // A damaged corpus is made again.
    fs::write(shop.path("out/corpus_idx.npz"), "PK").unwrap();
    assert!(!shop.run(&CorpusOptions { seed: 1, ..moved.clone() }).unwrap().reused);
    let mapped = CorpusOptions { layout: CorpusLayout::Mmap, ..moved };
    assert!(!shop.run(&mapped).unwrap().reused);
    let names: Vec<String> = files(&shop.path("out")).into_keys().collect();
    assert_eq!(names, ["corpus.bin", "corpus.idx", "corpus.prepare.json"], "one layout at a time");
}

#[test]
fn other_peoples_corpora_and_work_are_left_alone() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲");
    let theirs = shop.write("out/corpus_ids.npy", "theirs");
    let text = shop.fault(&shop.options("t.txt"));
    assert_eq!(text, "out/corpus_ids.npy: this file is there already, and not from `kiln prepare`");
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    fs::remove_file(theirs).unwrap();

    fs::create_dir_all(shop.path("out/.corpus.preparing")).unwrap();
    let lock = File::create(shop.path("out/.corpus.preparing/lock")).unwrap();
    lock.lock().unwrap();
    let error = shop.run(&shop.options("t.txt")).unwrap_err();
    assert!(matches!(error, Error::Run(_)), "{error}");
    assert!(error.to_string().ends_with("another `kiln prepare` is making this corpus"), "{error}");
    drop(lock);
    shop.run(&shop.options("t.txt")).unwrap();
}

/// The order of a seed never changes, and holds every document once.
#[test]
fn a_shuffle_is_decided_by_its_seed() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲\n\n乙\n\n丙\n\n丁\n\n戊\n\n己\n\n庚\n\n我\n");
    let of = |shuffle, seed| shop.made(&CorpusOptions { shuffle, seed, ..shop.options("t.txt") }).concat().concat();
    assert_eq!(of(false, 42), "甲乙丙丁戊己庚我");
    assert_eq!(of(true, 42), "己我乙甲丁庚丙戊");
    assert_eq!(of(true, 43), "丁乙戊我己庚甲丙");
}
