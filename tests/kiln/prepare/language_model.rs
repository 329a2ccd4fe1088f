//! Sentences and a vocabulary for a language model.

use kiln::prepare::{SentenceSummary, segment};
use kiln::recipe::SentenceEnds;

use super::*;

fn make(options: &CorpusOptions) -> Result<SentenceSummary> {
    segment(options, None, &Ranks::alone(), &AtomicBool::new(false))
}

/// As [`Workshop::options`], into a folder of its own.
fn plain(shop: &Workshop, input: &str) -> CorpusOptions {
    CorpusOptions { output: shop.path("out/lm"), min_count: Some(1), ..shop.options(input) }
}

/// Every file below a folder, hidden ones too, but the account of what they were made of.
fn made(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().display().to_string();
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
    }
    found.remove("prepare.json").unwrap();
    found
}

#[test]
fn text_becomes_lines_of_words_and_a_vocabulary() {
    let shop = Workshop::new();
    shop.write("in/a.txt", "我爱北京。我爱 2008年！“好？”ok\n\n很好\n\n \n\n人民。\n");
    shop.write("in/b.jsonl", "{\"text\": \"我爱北京\"}\n");
    let options = CorpusOptions {
        sentences: SentenceEnds::BaiduElmo,
        dev_every: Some(3),
        shard_sentences: Some(2),
        min_count: Some(2),
        ..plain(&shop, "in")
    };
    let summary = make(&options).unwrap();
    let expected = BTreeMap::from([
        ("train/sentence_file_00000.txt", "我 爱 北 京 。\n我 爱 2008 年 ！\n"),
        ("train/sentence_file_00001.txt", "“ 好 ？\n” ok\n"),
        ("train/sentence_file_00002.txt", "很 好\n我 爱 北 京\n"),
        ("dev/sentence_file_00000.txt", "人 民 。\n"),
        // By frequency, and by their bytes; the dev files do not count.
        ("vocab.txt", "<S>\n</S>\n<UNK>\n我\n爱\n京\n北\n好\n"),
    ]);
    assert_eq!(made(&options.output), expected.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    assert_eq!((summary.documents, summary.train, summary.dev), (4, (6, 21), (1, 3)));
    // 12 of 21 are one of the five.
    assert_eq!((summary.vocabulary, summary.unknown, summary.left_out), (8, 9, [0, 0, 0]));
    let said = "4 documents, 6 sentences of 21 words to train on, 1 of 3 to evaluate on; 8 words in the vocabulary, which \
                lacks 42.86 % of those to train on";
    assert_eq!(summary.to_string(), said);
}

/// Jieba's words, and text that is segmented already, whose words stay what they are.
#[test]
fn words_are_jiebas_or_the_texts_own() {
    let shop = Workshop::new();
    shop.write("t.txt", "我 爱 北京 天安门 。\n");
    shop.write("raw.txt", "我爱北京天安门。\n");
    let lines = |input: &str, words: WordSource| {
        let options = CorpusOptions { words, ..plain(&shop, input) };
        make(&options).unwrap();
        made(&options.output)["train/sentence_file_00000.txt"].clone()
    };
    assert_eq!(lines("raw.txt", WordSource::Jieba), "我 爱 北京 天安门 。\n");
    for words in [WordSource::Segmented, WordSource::Whitespace] {
        assert_eq!(lines("t.txt", words), "我 爱 北京 天安门 。\n");
    }
}

/// Enough for many portions: 6,000 documents of 27,000 sentences.
pub(super) fn large(shop: &Workshop) -> CorpusOptions {
    shop.write("in/a.txt", text(0..2000));
    shop.write("in/b.zst", zstd::encode_all(text(2000..4000).as_bytes(), 0).unwrap());
    shop.write("in/c.txt", text(4000..6000));
    CorpusOptions {
        shuffle: true,
        dev_every: Some(50),
        shard_sentences: Some(1000),
        min_count: Some(3),
        buffer_bytes: 1 << 16,
        ..plain(shop, "in")
    }
}

#[test]
fn stops_threads_and_memory_change_nothing() {
    let shop = Workshop::new();
    for shuffle in [true, false] {
        let options = CorpusOptions { shuffle, ..large(&shop) };
        let undisturbed = CorpusOptions { output: shop.path("undisturbed"), buffer_bytes: 1 << 26, ..options.clone() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let summary = pool.install(|| make(&undisturbed)).unwrap();
        let expected = made(&undisturbed.output);
        assert_eq!((summary.documents, summary.train.0 + summary.dev.0, expected.len()), (6000, 27_000, 27 + 1 + 1));
        assert!(summary.dev.0 > 400 && summary.unknown > 0);

        let work = |stop: &AtomicBool, _| segment(&options, None, &Ranks::alone(), stop);
        let (again, seen) = in_pieces(&shop.path("out/.lm.preparing"), work, || (), |seen| seen.len() >= 3);
        assert_eq!(again, summary);
        assert!(made(&options.output) == expected, "after {} stops", seen.len());
        assert!(!shop.path("out/.lm.preparing").exists());
        fs::remove_dir_all(shop.path("out")).unwrap();
        fs::remove_dir_all(&undisturbed.output).unwrap();
    }
}

/// What a kill leaves in the files behind what is certain is cut off, and files that a crash cut short are made again.
#[test]
fn what_a_kill_leaves_behind_is_cut_off() {
    let shop = Workshop::new();
    let options = large(&shop);
    make(&options).unwrap();
    let expected = made(&options.output);
    for lost in [false, true] {
        fs::remove_dir_all(shop.path("out")).unwrap();
        let folder = shop.path("out/.lm.preparing/train");
        let result = stopped_when(|| bytes_below(&folder) > 0, |stop| segment(&options, None, &Ranks::alone(), stop));
        assert!(matches!(result, Err(Error::Interrupted)), "it was over before it could be stopped");
        let state = fs::read(shop.path("out/.lm.preparing/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        assert!(state.pointer("/written/train/sentences").unwrap().as_u64() > Some(0));
        let newest = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
        let text = fs::read_to_string(&newest).unwrap();
        fs::write(&newest, if lost { "甲".to_string() } else { text + "半 句" }).unwrap();
        make(&options).unwrap();
        assert!(made(&options.output) == expected, "lost: {lost}");
    }
}

#[test]
fn what_is_there_already_is_not_made_again() {
    let shop = Workshop::new();
    let options = large(&shop);
    let first = make(&options).unwrap();
    let before = made(&options.output);
    let again = make(&CorpusOptions { buffer_bytes: 1 << 20, ..options.clone() }).unwrap();
    assert_eq!(again, SentenceSummary { reused: true, ..first.clone() });

    // Another vocabulary needs no other sentences: those of another making would lack this mark.
    let shard = options.output.join("train/sentence_file_00000.txt");
    let marked = fs::read_to_string(&shard).unwrap().replacen('。', "囧", 1);
    assert_eq!(marked.len(), before["train/sentence_file_00000.txt"].len());
    fs::write(&shard, marked).unwrap();
    let most = CorpusOptions { max_vocab_size: Some(10), ..options.clone() };
    let small = make(&most).unwrap();
    assert_eq!((small.vocabulary, small.reused), (10, false));
    assert!(small.unknown > first.unknown && small.train == first.train);
    assert_eq!(made(&options.output)["vocab.txt"].lines().count(), 10);
    let all = make(&CorpusOptions { min_count: Some(1), ..options.clone() }).unwrap();
    assert!(made(&options.output)["vocab.txt"].contains('囧') && all.unknown == 0);
    // A vocabulary that is given.
    let given = shop.write("words/vocab.txt", "<S>\n</S>\n<UNK>\n。\n");
    let summary = segment(&options, Some(&given), &Ranks::alone(), &AtomicBool::new(false)).unwrap();
    assert_eq!(summary.vocabulary, 4);
    assert!(summary.unknown > all.train.1 / 2);

    // A file that is not as long as it was made.
    fs::write(&shard, "").unwrap();
    fs::remove_file(options.output.join("vocab.txt")).unwrap();
    assert!(!make(&options).unwrap().reused);
    assert!(made(&options.output) == before);
    // Fewer files leave none of the others behind.
    let other = CorpusOptions { shard_sentences: None, dev_every: None, ..options.clone() };
    assert_eq!(make(&other).unwrap().train.0, 27_000);
    let names: Vec<String> = made(&options.output).into_keys().collect();
    assert_eq!(names, ["train/sentence_file_00000.txt", "vocab.txt"]);
    assert!(!options.output.join("dev").exists());
}

#[test]
fn what_is_wrong_is_said() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲乙\n");
    let fault = |options: &CorpusOptions| {
        make(options).unwrap_err().to_string().replace(&format!("{}/", shop.folder.path().display()), "")
    };
    let options = plain(&shop, "t.txt");
    let theirs = shop.write("out/lm/train/sentence_file_00007.txt", "theirs");
    assert_eq!(fault(&options), "out/lm/train: this is there already, and not from `kiln prepare`");
    fs::remove_dir_all(theirs.parent().unwrap()).unwrap();
    let theirs = shop.write("out/lm/vocab.txt", "theirs");
    assert_eq!(fault(&options), "out/lm/vocab.txt: this is there already, and not from `kiln prepare`");
    fs::remove_file(theirs).unwrap();
    shop.write("out/file", "");
    assert_eq!(
        fault(&CorpusOptions { output: shop.path("out/file"), ..options.clone() }),
        "out/file: the output is a file"
    );
    let rare = CorpusOptions { min_count: Some(2), ..options.clone() };
    assert_eq!(fault(&rare), "no word stands min_count = 2 times in the sentences");
    make(&options).unwrap();
    let short = CorpusOptions { min_document_length: 50, ..options };
    assert!(fault(&short).starts_with("the inputs hold no document: 1 too short"), "{}", fault(&short));
    assert!(!shop.path("out/.lm.preparing").exists());
}

/// The words of 14,868 sentences of Baidu's kind, put together to text, are cut into the same sentences. Jieba's words are longer
/// than those of the segmenter that Baidu used: five for six.
#[test]
fn real_text_is_cut_as_it_was() {
    let Some(data) = crate::real_data() else { return };
    let shop = Workshop::new();
    let mut text = String::new();
    for number in 1..=3 {
        let file = data.join(format!("data/elmo_large/train/sentence_file_{number}.txt.gz"));
        let mut bytes = kiln::lines::open(&file).unwrap();
        std::io::Read::read_to_string(&mut bytes, &mut text).unwrap();
    }
    let mark = |line: &str| line.ends_with(['。', '？', '！']);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut raw = String::new();
    for line in &lines {
        raw.extend(line.split_whitespace());
        raw.push_str(if mark(line) { "" } else { "\n" });
    }
    shop.write("raw.txt", raw);
    let cut = |words| {
        let options = CorpusOptions { sentences: SentenceEnds::BaiduElmo, words, ..plain(&shop, "raw.txt") };
        let summary = make(&options).unwrap();
        (summary, made(&options.output)["train/sentence_file_00000.txt"].clone())
    };
    let (summary, found) = cut(WordSource::Jieba);
    assert_eq!((lines.len(), summary.train.0), (14_868, 14_868));
    let joined = |line: &str| line.split_whitespace().collect::<String>();
    let same = lines.iter().zip(found.lines()).filter(|(a, b)| joined(a) == joined(b)).count();
    assert_eq!(same, lines.len());
    let words = lines.iter().map(|line| line.split_whitespace().count()).sum::<usize>();
    let ratio = summary.train.1 as f64 / words as f64;
    assert!((0.8..0.9).contains(&ratio), "{ratio}: {} words of {words}", summary.train.1);
}
