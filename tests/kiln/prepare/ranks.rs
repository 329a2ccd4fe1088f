//! Several ranks make the same bytes as one process, whatever happens to them. They are threads here, over one folder.

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write;

use kiln::prepare::segment;
use kiln::ranks::Threads;
use kiln::recipe::{BadRows, CorpusLayout};

use super::*;

/// What each of so many ranks ends with. The last of them has the flag `stop`.
fn on_ranks<T: Send>(
    size: usize,
    stop: &AtomicBool,
    work: impl Fn(&Ranks, &AtomicBool) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads = Threads::group(size).into_iter().enumerate().map(|(rank, transport)| {
            scope.spawn(move || {
                let own = AtomicBool::new(false);
                work(&Ranks::over(Box::new(transport)), if rank + 1 == size { stop } else { &own })
            })
        });
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What the first rank ends with: the others end alike, and tell nothing.
fn alike<T: PartialEq + Debug>(mut ended: Vec<Result<T>>) -> Result<T> {
    let first = ended.remove(0);
    for other in ended {
        match (&first, other) {
            (Ok(first), Ok(other)) => assert_eq!(*first, other),
            (Err(first), Err(Error::Elsewhere(code))) => assert_eq!(code, first.exit_code()),
            (first, other) => panic!("{first:?} and {other:?}"),
        }
    }
    first
}

/// Makes a corpus on so many ranks, unless it is stopped; what it is summed up as.
type Make<'a> = Box<dyn Fn(usize, &AtomicBool) -> Result<String> + 'a>;

/// A corpus of one kind, made on any number of ranks.
struct Kind<'a> {
    name: &'static str,
    make: Make<'a>,
    /// The folder of the unfinished work.
    unfinished: PathBuf,
}

fn documents<'a>(name: &'static str, shop: &'a Workshop, options: CorpusOptions) -> Kind<'a> {
    let unfinished = shop.path("out/.corpus.preparing");
    let make = move |size: usize, stop: &AtomicBool| {
        let ended = on_ranks(size, stop, |ranks, stop| run(&options, &shop.tokenizer, ranks, stop));
        alike(ended).map(|summary| summary.to_string())
    };
    Kind { name, make: Box::new(make), unfinished }
}

fn sentences<'a>(name: &'static str, shop: &'a Workshop, options: CorpusOptions) -> Kind<'a> {
    let unfinished = shop.path("out/.lm.preparing");
    let make = move |size: usize, stop: &AtomicBool| {
        alike(on_ranks(size, stop, |ranks, stop| segment(&options, None, ranks, stop))).map(|made| made.to_string())
    };
    Kind { name, make: Box::new(make), unfinished }
}

/// Text with lines that cannot be read and documents that are too short, at the ends of files too.
fn faulty() -> Workshop {
    let shop = super::stopped::workshop();
    let path = shop.path("in/a.txt");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("\n\n", "\n\n甲\n\n") + "乙\n").unwrap();
    let json = fs::read_to_string(shop.path("in/c.jsonl")).unwrap();
    let lines = json.lines().enumerate().map(|(at, line)| if at % 50 == 0 { "{\n" } else { "" }.to_string() + line);
    let broken = lines.collect::<Vec<_>>().join("\n") + "\n{\"text\"\n[]\n";
    shop.write("in/c.jsonl", &broken);
    shop.write("in/d.jsonl", broken);
    shop
}

/// Each kind of corpus that there is, with what is done with it.
fn each_kind(check: impl Fn(&Workshop, &Kind)) {
    let ernie = faulty();
    for options in super::stopped::variants(&ernie) {
        let options = CorpusOptions { bad_rows: BadRows::Skip, min_document_length: 5, ..options };
        check(&ernie, &documents("documents of ERNIE", &ernie, options));
    }
    let pairs = super::pairs::shop();
    for shuffle in [false, true] {
        let options = CorpusOptions { shuffle, ..super::pairs::many(&pairs) };
        check(&pairs, &documents("pairs of ERNIE-M", &pairs, options));
    }
    let one = super::pairs::shop();
    super::pairs::many(&one);
    fs::remove_file(one.path("in/c.jsonl")).unwrap();
    let languages = Some(vec!["en".to_string()]);
    let options = CorpusOptions { languages, buffer_bytes: 1 << 16, layout: CorpusLayout::Mmap, ..one.options("in") };
    check(&one, &documents("text of ERNIE-M", &one, options));
    let lm = Workshop::new();
    for shuffle in [false, true] {
        check(
            &lm,
            &sentences("sentences of ELMo", &lm, CorpusOptions { shuffle, ..super::language_model::large(&lm) }),
        );
    }
}

/// Every file below a folder, hidden ones too.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => found.extend(tree(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// What one process makes, and what it says.
fn of_one(shop: &Workshop, kind: &Kind) -> (String, BTreeMap<PathBuf, Vec<u8>>) {
    let summary = (kind.make)(1, &AtomicBool::new(false)).unwrap();
    let made = tree(&shop.path("out"));
    assert!(made.len() >= 3, "{:?}", made.keys());
    fs::remove_dir_all(shop.path("out")).unwrap();
    (summary, made)
}

/// Fewer ranks than files, and more.
#[test]
fn any_number_of_ranks_makes_the_same_bytes() {
    each_kind(|shop, kind| {
        let (summary, expected) = of_one(shop, kind);
        for size in [2, 3, 7] {
            assert_eq!((kind.make)(size, &AtomicBool::new(false)).unwrap(), summary, "{} on {size}", kind.name);
            assert!(tree(&shop.path("out")) == expected, "{} on {size}", kind.name);
            // Nothing is done again.
            assert_eq!((kind.make)(size, &AtomicBool::new(false)).unwrap(), summary);
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    });
}

/// The parts that are kept in unfinished work.
fn parts(unfinished: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(unfinished) else { return Vec::new() };
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("part-") && path.extension().is_none() && path.with_extension("json").exists()
    };
    entries.flatten().map(|entry| entry.path()).filter(is_part).collect()
}

/// Stopped again and again, on 3, 1 and 2 ranks in turn.
#[test]
fn another_number_of_ranks_goes_on_to_the_same_bytes() {
    each_kind(|shop, kind| {
        let (summary, expected) = of_one(shop, kind);
        for sizes in [[3, 1, 2], [2, 3, 1]] {
            let work = |stop: &AtomicBool, stops: usize| (kind.make)(sizes[stops % 3], stop);
            let enough = |seen: &[usize]| seen.len() >= 3 && seen.iter().any(|parts| *parts > 0);
            let (found, seen) = in_pieces(&kind.unfinished, work, || parts(&kind.unfinished).len(), enough);
            assert_eq!(found, summary, "{} after {seen:?}", kind.name);
            assert!(tree(&shop.path("out")) == expected, "{} after {seen:?}", kind.name);
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    });
}

/// Stops the work on 3 ranks once there are parts, and gives these.
fn stop_with_parts(shop: &Workshop, kind: &Kind) -> Vec<PathBuf> {
    let unfinished = &kind.unfinished;
    for _ in 0..20 {
        match stopped_when(|| !parts(unfinished).is_empty(), |stop| (kind.make)(3, stop)) {
            Err(error) => assert!(matches!(error, Error::Interrupted), "{error}"),
            Ok(_) => fs::remove_dir_all(shop.path("out")).unwrap(),
        }
        let kept = parts(unfinished);
        if !kept.is_empty() {
            return kept;
        }
    }
    panic!("it is always over before it can be stopped")
}

/// A kill leaves more in the parts than is certain; a crash of the machine may leave less.
#[test]
fn what_a_kill_leaves_of_parts_is_cut_off() {
    each_kind(|shop, kind| {
        let (_, expected) = of_one(shop, kind);
        for (lost, size) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
            for part in stop_with_parts(shop, kind) {
                let mut file = OpenOptions::new().append(true).open(part).unwrap();
                if lost { file.set_len(3).unwrap() } else { file.write_all(b"half a document").unwrap() }
            }
            (kind.make)(size, &AtomicBool::new(false)).unwrap();
            assert!(tree(&shop.path("out")) == expected, "{}, lost: {lost}, on {size}", kind.name);
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    });
}

/// Parts with another byte than they were made with, which would not be seen if they were made again.
#[test]
fn what_is_kept_of_parts_is_not_made_again() {
    each_kind(|shop, kind| {
        let (_, expected) = of_one(shop, kind);
        for size in [1, 2] {
            let of_length = |part: &PathBuf| {
                let kept: serde_json::Value =
                    serde_json::from_slice(&fs::read(part.with_extension("json")).unwrap()).unwrap();
                kept["length"].as_u64().unwrap() as usize
            };
            let kept = loop {
                let kept = stop_with_parts(shop, kind);
                if let Some(part) = kept.into_iter().find(|part| of_length(part) > 0) {
                    break part;
                }
            };
            let mut bytes = fs::read(&kept).unwrap();
            bytes[of_length(&kept) - 1] ^= 1;
            fs::write(&kept, bytes).unwrap();
            let made = (kind.make)(size, &AtomicBool::new(false));
            assert!(made.is_err() || tree(&shop.path("out")) != expected, "{} on {size}", kind.name);
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    });
}

/// What the ranks tell of errors: who tells, and what.
fn told<T>(shop: &Workshop, ended: Vec<Result<T>>) -> Vec<(usize, String)> {
    let folder = format!("{}/", shop.folder.path().display());
    let told = ended.into_iter().enumerate().filter_map(|(rank, ended)| {
        let error = ended.err().unwrap_or_else(|| panic!("rank {rank} has no error"));
        assert_eq!(error.exit_code(), 2, "{error}");
        error.problems().first().map(|problem| (rank, problem.to_string().replace(&folder, "")))
    });
    told.collect()
}

#[test]
fn an_error_in_the_file_of_one_rank_is_told_once() {
    let shop = super::stopped::workshop();
    let lines = fs::read_to_string(shop.path("in/c.jsonl")).unwrap();
    shop.write("in/c.jsonl", format!("{lines}[\n"));
    for options in super::stopped::variants(&shop) {
        for size in [2, 3, 5] {
            let stop = AtomicBool::new(false);
            let ended = on_ranks(size, &stop, |ranks, stop| run(&options, &shop.tokenizer, ranks, stop));
            let told = told(&shop, ended);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].1.starts_with("in/c.jsonl:2001:"), "{told:?}");
        }
    }
    let stop = AtomicBool::new(false);
    let none = CorpusOptions { input: vec![shop.path("none").display().to_string()], ..shop.options("in") };
    let told = told(&shop, on_ranks(3, &stop, |ranks, stop| run(&none, &shop.tokenizer, ranks, stop)));
    assert_eq!(told, [(0, "none: there is no text here".to_string())]);
}

/// Another recipe, or a folder of its own, on one of the ranks.
#[test]
fn ranks_that_do_not_see_the_same_are_told_apart() {
    let shop = super::stopped::workshop();
    let options = shop.options("in");
    let of = |other: CorpusOptions| {
        let work = |ranks: &Ranks, stop: &AtomicBool| {
            run(if ranks.rank() == 1 { &other } else { &options }, &shop.tokenizer, ranks, stop)
        };
        told(&shop, on_ranks(3, &AtomicBool::new(false), work))
    };
    let wrong = "rank 1: the recipe or the tokenizer is another one than the first rank's";
    assert_eq!(of(CorpusOptions { seed: 7, ..options.clone() }), [(1, wrong.to_string())]);
    let wrong = "own/.corpus.preparing: rank 1: what the first rank has written is not here";
    let elsewhere = CorpusOptions { output: shop.path("own/corpus"), ..options.clone() };
    assert_eq!(of(elsewhere), [(1, wrong.to_string())]);
    assert!(!shop.path("own").exists());
}
