//! What models of seconds learn from, by their task: the files, and the overrides that lead a recipe to them.

use std::ops::Range;

use serde_json::{Value, json as value};

use super::super::Place;

/// "london" and "johnson" are cut into two pieces each.
const PIECES: &str =
    "[PAD] [CLS] [SEP] [MASK] anna bob ##son john lon ##don paris new york saw went to and the . ? who where [UNK]";

/// Words as they stand between spaces.
pub const WORDS: &str = "<S> </S> <UNK> anna bob johnson john london paris new york saw went to and the . Anna Bob Johnson \
                         John London Paris New York The The. where? who? London. Paris. York. the.";

/// A vocabulary of two hundred characters, and stories of them in which each sentence repeats one character: easy to guess.
const CHARACTERS: Range<u32> = 0x4e00..0x4e00 + 200;

pub const TAGS: &str = r#"
title = "Names and places"
languages = ["en"]
labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
[[train]]
files = "train.tsv"
format = "tsv"
columns = { tokens = 1, tags = 2 }
[[dev]]
files = "dev.tsv"
format = "tsv"
columns = { tokens = 1, tags = 2 }
"#;

/// Which kinds of names a sentence mentions: any number of labels.
pub const MENTIONS: &str = r#"
title = "What is mentioned"
languages = ["en"]
labels = ["person", "place", "both names of a person"]
label_separator = "|"
[[train]]
files = "train.tsv"
format = "tsv"
columns = { text = 1, label = 2 }
[[dev]]
files = "dev.tsv"
format = "tsv"
columns = { text = 1, label = 2 }
"#;

/// How much of a sentence is names: a score.
pub const SHARES: &str = r#"
title = "How much of a sentence is names"
languages = ["en"]
[[train]]
files = "train.tsv"
format = "tsv"
columns = { text = 1, text_pair = 2, score = 3 }
[[dev]]
files = "dev.tsv"
format = "tsv"
columns = { text = 1, text_pair = 2, score = 3 }
"#;

fn mentions(tags: &str) -> String {
    let has = |tag: &str| tags.split(' ').any(|other| other == tag);
    let labels = [("B-PER", "person"), ("B-LOC", "place"), ("I-PER", "both names of a person")];
    labels.iter().filter(|(tag, _)| has(tag)).map(|(_, label)| *label).collect::<Vec<_>>().join("|")
}

fn share(tags: &str) -> f64 {
    let tags: Vec<&str> = tags.split(' ').collect();
    tags.iter().filter(|tag| **tag != "O").count() as f64 / tags.len() as f64
}

pub const QUESTIONS: &str = r#"
title = "Persons and places"
languages = ["en"]
scoring = "squad"
[[train]]
files = "train.json"
format = "squad"
[[dev]]
files = "dev.json"
format = "squad"
"#;

const PERSONS: [(&str, &str); 3] = [("anna", "B-PER"), ("bob johnson", "B-PER I-PER"), ("john", "B-PER")];
const PLACES: [(&str, &str); 3] = [("paris", "B-LOC"), ("new york", "B-LOC I-LOC"), ("london", "B-LOC")];

/// Sentences of 4 to 14 words, as words and tags with spaces between.
pub fn sentences(count: usize) -> Vec<(String, String)> {
    let sentence = |number: usize| {
        let (who, place, other) = (PERSONS[number % 3], PLACES[number / 3 % 3], PERSONS[number / 2 % 3]);
        let more = (0..number % 3).map(|_| ("and saw the", "O O O"));
        let parts = [who, ("went to", "O O"), place].into_iter().chain(more).chain([("and", "O"), other, (".", "O")]);
        let (words, tags): (Vec<&str>, Vec<&str>) = parts.unzip();
        (words.join(" "), tags.join(" "))
    };
    (0..count).map(sentence).collect()
}

/// The last words of this row are beyond 20 ids: with [CLS], [SEP] and the second piece of "london" 17 words have room.
pub const LONG: (&str, &str) = (
    "anna went to london and the and the and the and the and the and the and bob johnson .",
    "B-PER O O B-LOC O O O O O O O O O O O O O B-PER I-PER O",
);

pub fn table(rows: &[(String, String)]) -> String {
    rows.iter().map(|(words, tags)| format!("{words}\t{tags}\n")).collect()
}

/// The sentences to evaluate on.
pub fn dev() -> Vec<(String, String)> {
    let long = (LONG.0.to_string(), LONG.1.to_string());
    sentences(40).into_iter().skip(7).chain([long]).collect()
}

/// A text of up to three windows, what is asked, and the answer.
pub struct Question {
    pub context: String,
    pub question: &'static str,
    pub answer: &'static str,
    pub id: String,
}

pub fn questions(numbers: Range<usize>) -> Vec<Question> {
    let question = |number: usize| {
        let who = ["Anna", "Bob Johnson", "John"][number % 3];
        let place = ["Paris", "New York", "London"][number / 3 % 3];
        let (before, after) = (" and the".repeat(number * 5 % 9), " and saw the".repeat(number % 4));
        let context = format!("The{before}. {who} went to {place}{after}.");
        let (question, answer) = if number.is_multiple_of(2) { ("where?", place) } else { ("who?", who) };
        Question { context, question, answer, id: format!("q{number}") }
    };
    numbers.map(question).collect()
}

/// The questions to evaluate on.
pub const ASKED: Range<usize> = 40..70;

/// SQuAD's JSON.
pub fn squad(questions: &[Question]) -> String {
    let paragraph = |q: &Question| {
        let answer = value!({ "text": q.answer, "answer_start": q.context.find(q.answer) });
        value!({ "context": q.context, "qas": [{ "id": q.id, "question": q.question, "answers": [answer] }] })
    };
    let paragraphs: Vec<Value> = questions.iter().map(paragraph).collect();
    value!({ "version": "1.1", "data": [{ "title": "t", "paragraphs": paragraphs }] }).to_string()
}

/// Stories of six sentences each, and a vocabulary of their characters.
fn stories(place: &Place) {
    let characters: Vec<char> = CHARACTERS.filter_map(char::from_u32).collect();
    let specials = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "。"].map(str::to_string);
    let tokens = specials.into_iter().chain(characters.iter().map(char::to_string)).chain(["[UNK]".to_string()]);
    place.write("vocab.txt", tokens.collect::<Vec<_>>().join("\n") + "\n");
    let sentence = |number: usize| format!("{}。\n", characters[number % 200].to_string().repeat(5 + number % 7));
    let story = |first: usize| (0..6).map(|next| sentence(first * 3 + next * 17)).collect::<String>();
    place.write("text/stories.txt", (0..60).map(story).collect::<Vec<_>>().join("\n"));
}

/// Rows of the 2019 format: 21 to train on, of which one is too long for 48 tokens, and 6 to evaluate. Each text repeats a token;
/// the second does so with the first's where it follows.
fn rows(place: &Place) {
    let row = |number: usize, length: usize| {
        let (first, follows) = (5 + number * 7 % 200, number % 2);
        let second = if follows == 1 { first } else { 5 + number * 11 % 200 };
        let text = |id: usize| vec![id.to_string(); length].join(" ");
        let units = ["0 1"; 64][..length / 2].join(" ");
        let types = [vec!["0"; length + 2], vec!["1"; length + 1]].concat().join(" ");
        let positions = (0..2 * length + 3).map(|at| at.to_string()).collect::<Vec<_>>().join(" ");
        format!("1 {} 2 {} 2;{types};{positions};-1 {units} -1 {units} -1;{follows}\n", text(first), text(second))
    };
    let lengths = |number: usize| if number == 7 { 40 } else { 4 + number % 3 * 2 };
    place.write("train.txt", (0..21).map(|number| row(number, lengths(number))).collect::<String>());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let dev = (30..36).map(|number| row(number, 6)).collect::<String>();
    std::io::Write::write_all(&mut packed, dev.as_bytes()).unwrap();
    place.write("dev.gz", packed.finish().unwrap());
    place.write("filelist", format!("{}\t0.5\n", place.text("train.txt")));
}

/// Sixty pairs of two languages, and the texts of both sides.
fn translations(place: &Place) {
    const WORDS: [[&str; 2]; 5] =
        [["kiln", "Ofen"], ["burns", "brennt"], ["clay", "Ton"], ["days", "Tage"], ["and", "und"]];
    let text = |number: usize, side: usize| {
        let words = (0..3 + number % 5).map(|at| WORDS[(number * 3 + at * at) % 5][side]);
        words.collect::<Vec<_>>().join(" ")
    };
    let lines = |line: &dyn Fn(usize) -> String| (0..60).map(line).collect::<String>();
    place.write("en-de.tsv", lines(&|number| format!("{}\t{}\n", text(number, 0), text(number, 1))));
    place.write("en.txt", lines(&|number| text(number, 0) + "\n\n"));
    place.write("de.txt", lines(&|number| text(number, 1) + "\n\n"));
}

/// Sentences in which each word is followed by the next letter, so that there is something to learn.
fn letters(place: &Place) {
    let letters: Vec<String> = ('a'..='p').map(String::from).collect();
    place.write("vocab.txt", format!("<S>\n</S>\n<UNK>\n{}\n", letters.join("\n")));
    let line = |number: usize| {
        let (start, length) = (number * 7 % 12, 3 + number % 3);
        letters[start..(start + length).min(16)].join(" ") + "\n"
    };
    let lines = |from: usize, to: usize| (from..to).map(line).collect::<String>();
    place.write("train-1.txt", lines(0, 40));
    place.write("train-2.txt", lines(40, 80));
    place.write("dev.txt", lines(80, 92));
}

/// Pairs of texts: the quickstart's.
const PAIRS: &str = "data.dataset=quickstart-nli data.root=ROOT/datasets/samples data.cache=PLACE/cache \
                     data.max_seq_length=48 data.max_train_rows=64 data.max_eval_rows=10";
const CARD: &str = "data.dataset=PLACE/card.toml data.root=PLACE data.cache=PLACE/cache data.max_seq_length=20";
const WINDOWS: &str = "task.doc_stride=4 task.max_query_length=6 task.max_answer_length=6";
const STORIES: &str = "corpus.input=[\"PLACE/text\"] corpus.output=PLACE/corpus corpus.words=none data.max_seq_length=48 \
                       pretraining.corpora=[\"PLACE/corpus\"] pretraining.split=8,2 pretraining.eval_iters=2";
const ROWS: &str =
    "data.max_seq_length=48 pretraining.rows=[\"PLACE/filelist\"] pretraining.dev_rows=[\"PLACE/dev.gz\"]";
const TRANSLATIONS: &str = "corpus.input=[\"PLACE/en-de.tsv\"] corpus.output=PLACE/corpora/en-de \
                            corpus.languages=[\"en\",\"de\"] data.max_seq_length=32 pretraining.parallel=[\"PLACE/corpora\"] \
                            pretraining.corpora=[\"PLACE/corpora\"] pretraining.split=8,2 pretraining.eval_iters=2";
const LETTERS: &str = "streams.train=[\"PLACE/train-*.txt\"] streams.dev=[\"PLACE/dev.txt\"] streams.num_steps=5";

/// Data for a task.
pub struct Data {
    /// Lead a recipe to the data, and make its options as small.
    pub overrides: String,
    /// What `kiln prepare` has to be told to make all corpora, a list of overrides a call.
    pub prepare: &'static [&'static str],
    /// A file for `kiln predict` and its number of rows, where the task predicts.
    pub predict: Option<(&'static str, usize)>,
}

/// Writes the data of a task into a place, with a vocabulary for the families whose tokenizer is a list of words. With `rows`,
/// ERNIE's pre-training reads the original's rows.
pub fn write(place: &Place, family: &str, task: &str, from_rows: bool) -> Option<Data> {
    let vocabulary = if family == "elmo" { WORDS } else { PIECES };
    place.write("vocab.txt", vocabulary.split_whitespace().map(|word| format!("{word}\n")).collect::<String>());
    let plain = |overrides: &[&str]| Data { overrides: overrides.join(" "), prepare: &[], predict: None };
    Some(match task {
        "sequence-classification" => {
            Data { predict: Some(("ROOT/datasets/samples/quickstart-nli/dev.en.tsv", 90)), ..plain(&[PAIRS]) }
        }
        "multi-label-classification" => {
            place.write("card.toml", MENTIONS);
            let text = |(words, tags): &(String, String)| format!("{words}\t{}\n", mentions(tags));
            place.write("train.tsv", sentences(60).iter().map(text).collect::<String>());
            place.write("dev.tsv", dev().iter().map(text).collect::<String>());
            place.write("new.txt", "text\nanna went to paris .\nthe and the\n");
            Data { predict: Some(("PLACE/new.txt", 2)), ..plain(&[CARD]) }
        }
        "regression" => {
            place.write("card.toml", SHARES);
            let text = |(words, tags): &(String, String)| format!("{words}\tanna saw london\t{}\n", share(tags));
            place.write("train.tsv", sentences(60).iter().map(text).collect::<String>());
            place.write("dev.tsv", dev().iter().map(text).collect::<String>());
            place.write("new.txt", "text\ttext_pair\nanna went to paris .\tthe and the\n");
            Data { predict: Some(("PLACE/new.txt", 1)), ..plain(&[CARD]) }
        }
        "token-classification" => {
            place.write("card.toml", TAGS);
            place.write("train.tsv", table(&sentences(60)));
            place.write("dev.tsv", table(&dev()));
            Data { predict: Some(("PLACE/dev.tsv", 34)), ..plain(&[CARD]) }
        }
        "question-answering" => {
            place.write("card.toml", QUESTIONS);
            place.write("train.json", squad(&questions(0..40)));
            place.write("dev.json", squad(&questions(ASKED)));
            Data { predict: Some(("PLACE/dev.json", ASKED.len())), ..plain(&[CARD, WINDOWS]) }
        }
        "pre-training" | "masked-lm" if from_rows => {
            stories(place);
            rows(place);
            plain(&[ROWS])
        }
        "pre-training" | "masked-lm" => {
            stories(place);
            Data { prepare: &[""], ..plain(&[STORIES]) }
        }
        "cross-attention-masked-lm" | "translation-masked-lm" | "back-translation-masked-lm" => {
            translations(place);
            const OF_ONE: [&str; 2] = [
                "corpus.input=[\"PLACE/en.txt\"] corpus.output=PLACE/corpora/en corpus.languages=[\"en\"] corpus.min_document_length=0",
                "corpus.input=[\"PLACE/de.txt\"] corpus.output=PLACE/corpora/de corpus.languages=[\"de\"] corpus.min_document_length=0",
            ];
            Data { prepare: &["", OF_ONE[0], OF_ONE[1]], ..plain(&[TRANSLATIONS]) }
        }
        "bidirectional-lm" => {
            letters(place);
            plain(&[LETTERS])
        }
        _ => return None,
    })
}
