//! A second start does not read the data files again, and nobody can tell: the same log, the same run, the same errors. It reads them if
//! they may be others.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use super::data_files::{GOOD, place, train};
use super::resume::Outcome;
use super::{Ended, Place};

const BAD: &str = "x\ty\tyess\n";

/// A place whose data files have a bad row and were changed long enough ago to be trusted.
fn settled() -> Place {
    let place = place(format!("{GOOD}{BAD}It rains.\tIt snows.\tno\n"));
    settle();
    place
}

fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn start(place: &Place) -> Ended {
    let _ = fs::remove_dir_all(place.path("run"));
    train(place, &["data.bad_rows=skip"]).with(0, &["left out: ", "train en: 3 rows", "(1 left out"])
}

/// What is said before the first step.
fn beginning(ended: &Ended) -> Vec<String> {
    ended.stderr.lines().take_while(|line| !line.starts_with("step ")).map(str::to_string).collect()
}

/// What the cache holds with this ending.
fn held(place: &Place, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|other| other == ending)).collect();
    files.sort();
    files
}

/// The entry of the training file.
fn entry(place: &Place) -> PathBuf {
    let name = place.text("train.tsv");
    held(place, "source").into_iter().find(|file| fs::read_to_string(file).unwrap().contains(&name)).unwrap()
}

#[test]
fn nothing_tells_a_second_start_from_the_first() {
    let place = settled();
    let first = start(&place);
    let (log, run) = (beginning(&first), Outcome::of(&place.path("run")));
    assert_eq!((held(&place, "source").len(), held(&place, "tokens").len()), (2, 2));
    let again = |change: &dyn Fn(&PathBuf)| {
        held(&place, "source").iter().for_each(change);
        assert_eq!(beginning(&start(&place)), log);
        Outcome::of(&place.path("run")).assert_is(&run);
    };
    again(&|_| ());
    again(&|entry| fs::remove_file(entry).unwrap());
    again(&|entry| fs::write(entry, "{}").unwrap());
    again(&|entry| {
        fs::write(entry, fs::read_to_string(entry).unwrap().replace("\"sha256\":\"", "\"sha256\":\"0")).unwrap()
    });
    // Without the rows, the file is read.
    held(&place, "tokens").iter().for_each(|file| fs::remove_file(file).unwrap());
    again(&|_| ());
    // Another cache knows nothing.
    fs::remove_dir_all(place.path("cache")).unwrap();
    fs::create_dir(place.path("cache")).unwrap();
    again(&|_| ());
}

/// An entry that says that a file has the content of another is believed: so it is not read.
#[test]
fn the_index_is_used() {
    let place = settled();
    start(&place);
    let digest = |entry: &str| entry.split("\"sha256\":\"").nth(1).unwrap()[..64].to_string();
    let old = digest(&fs::read_to_string(entry(&place)).unwrap());
    place.write("train.tsv", GOOD);
    settle();
    let other = format!("output.dir={}", place.text("other"));
    train(&place, &["data.bad_rows=skip", &other]).with(0, &["train en: 2 rows"]);
    let new = fs::read_to_string(entry(&place)).unwrap();
    fs::write(entry(&place), new.replace(&digest(&new), &old)).unwrap();
    start(&place);
}

/// Same size, and the time of its content set back: the file system tells.
#[test]
fn a_changed_file_is_read_again() {
    let place = settled();
    start(&place);
    let before = place.path("train.tsv").metadata().unwrap();
    let text = fs::read_to_string(place.path("train.tsv")).unwrap();
    place.write("train.tsv", text.replace(BAD, "xx\ty\tyes\n"));
    let file = File::options().append(true).open(place.path("train.tsv")).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = file.metadata().unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    settle();
    fs::remove_dir_all(place.path("run")).unwrap();
    train(&place, &["data.bad_rows=skip"]).with(0, &["train en: 4 rows", "(0 left out"]);
}

/// What a recipe refuses, it refuses whatever was kept under another one.
#[test]
fn bad_rows_that_were_left_out_are_errors_where_the_recipe_says_so() {
    let place = settled();
    start(&place);
    start(&place);
    fs::remove_dir_all(place.path("run")).unwrap();
    let errors = [(), ()].map(|()| train(&place, &[]).with(2, &["unknown label `yess`"]).stderr);
    assert_eq!(errors[0], errors[1]);
}
