//! English corpora, as users of PaddleNLP failed to make them: sentences by their ends, and whole words of pieces.

use kiln::corpus::index::Span;
use kiln::corpus::masking::Mixture;
use kiln::corpus::sample::SampleMaker;
use kiln::corpus::vocabulary::{SpecialIds, Vocabulary};
use kiln::recipe::{MaskingPolicy, SentenceEnds};

use super::*;

const WORDS: [&str; 12] =
    ["un", "##believ", "##able", "the", "cat", "##s", "dr", "smith", "sat", "The", "##ably", "new"];

fn english(lower: bool) -> Workshop {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "!", "\""].map(String::from);
    let mut shop = Workshop::of(special.into_iter().chain(WORDS.map(String::from)).collect());
    shop.write("tokenizer/tokenizer_config.json", format!("{{\"do_lower_case\": {lower}}}"));
    shop.tokenizer = Tokenizer::from(ernie(&shop.path("tokenizer")));
    shop
}

fn options(shop: &Workshop, input: &str) -> CorpusOptions {
    CorpusOptions { sentences: SentenceEnds::English, words: WordSource::Whitespace, ..shop.options(input) }
}

const TEXT: &str = "The cats sat. Dr. Smith\nsat unbelievably new! \"The cat.\"\n\nUnbelievable. The cat sat.";

#[test]
fn json_lines_and_packed_text_become_the_same_corpus() {
    let shop = english(true);
    let lines = serde_json::json!({ "text": TEXT }).to_string() + "\n";
    shop.write("lines.jsonl", &lines);
    shop.write("lines.jsonl.zst", zstd::encode_all(lines.as_bytes(), 0).unwrap());
    let expected = [
        "the cat ##s sat .",
        "dr . smith sat un ##believ ##ably new !",
        "\" the cat . \"",
        "un ##believ ##able .",
        "the cat sat .",
    ];
    for name in ["lines.jsonl", "lines.jsonl.zst"] {
        assert_eq!(shop.made(&options(&shop, name)), [expected.to_vec()], "{name}");
    }
    shop.write("text.txt", TEXT);
    let split = shop.made(&options(&shop, "text.txt"));
    assert_eq!(split, [expected[..3].to_vec(), expected[3..].to_vec()], "an empty line ends a document of a text file");
}

#[test]
fn letters_are_lowered_as_the_tokenizer_says() {
    let shop = english(false);
    shop.write("t.txt", "The cat. Cat.");
    assert_eq!(shop.made(&options(&shop, "t.txt")), [["The cat .", "[UNK] ."]]);
}

/// The pieces of a word are hidden together: a piece that goes on is hidden just where the one before it is.
#[test]
fn pieces_of_a_word_are_hidden_together() {
    let shop = english(true);
    shop.write("t.txt", "Unbelievable cats sat unbelievably. The cats sat.\n".repeat(6));
    shop.run(&options(&shop, "t.txt")).unwrap();
    let corpus = Corpus::open(&shop.path("out/corpus")).unwrap();
    let specials = SpecialIds { cls: 2, sep: 3, mask: 4 };
    let words = || shop.vocabulary.iter().map(String::as_str);
    let vocabulary = || Vocabulary::new(words(), shop.vocabulary.len(), specials).unwrap();
    for (policy, apart) in
        [(MaskingPolicy::NGram, false), (MaskingPolicy::WholeWord, false), (MaskingPolicy::Character, true)]
    {
        let masking = Mixture::new(&[(policy, 1.0)], 0.3, 3).unwrap();
        let maker = SampleMaker { vocabulary: vocabulary(), masking, seed: 1, sentence_order: true };
        let span = Span { sentences: 0..corpus.sentences(), target: 1000 };
        let (mut torn, mut hidden_pieces) = (0, 0);
        for index in 0..50 {
            let sample = maker.make(&corpus, &span, index).unwrap();
            let hidden = |place: usize| sample.masked_positions.binary_search(&(place as u32)).ok();
            let original = |place: usize| hidden(place).map_or(sample.ids[place], |at| sample.labels[at]);
            for place in (1..sample.ids.len()).filter(|place| maker.vocabulary.continues(original(*place))) {
                hidden_pieces += usize::from(hidden(place).is_some());
                torn += usize::from(hidden(place).is_some() != hidden(place - 1).is_some());
            }
        }
        assert!(hidden_pieces > 100 && (torn > 0) == apart, "{policy:?}: {torn} of {hidden_pieces}");
    }
}
