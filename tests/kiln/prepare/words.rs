//! Which tokens are masked together.

use kiln::prepare::Continuations;

use super::*;

#[test]
fn jieba_says_what_a_word_is() {
    let shop = Workshop::new();
    shop.write("t.txt", "我爱北京天安门，你们是大学生。");
    let options = CorpusOptions { words: WordSource::Jieba, ..shop.options("t.txt") };
    let summary = shop.run(&options).unwrap();
    assert_eq!(shop.documents()[0], ["我 爱 北 ##京 天 ##安 ##门 ， 你 ##们 是 大 ##学 ##生 。"]);
    assert_eq!((summary.joined_words, summary.dictionary_words, summary.unknown_tokens), (4, 0, 0));
}

#[test]
fn segmented_text_has_its_words_between_delimiters() {
    let shop = Workshop::new();
    shop.write("t.txt", "我 爱 北京 天安门 ， cat   sat ok\n我爱 北京天安");
    let options = CorpusOptions { words: WordSource::Segmented, ..shop.options("t.txt") };
    assert_eq!(shop.made(&options)[0], ["我 爱 北 ##京 天 ##安 ##门 ， cat sat ##ok", "我 ##爱 北 ##京 ##天 ##安"]);
    shop.write("t.txt", "我|爱北|京");
    let bars = CorpusOptions { word_delimiter: "|".to_string(), ..options };
    assert_eq!(shop.made(&bars)[0], ["我 爱 ##北 京"]);
}

#[test]
fn english_words_are_the_tokenizers() {
    let shop = Workshop::new();
    shop.write("t.txt", "The cats sat, HECAT!\n");
    let options = CorpusOptions { words: WordSource::Whitespace, ..shop.options("t.txt") };
    let summary = shop.run(&options).unwrap();
    // "cats" has no piece for its end, "!" is not in the vocabulary.
    assert_eq!(shop.documents()[0], ["t ##he [UNK] sat , he ##cat [UNK]"]);
    assert_eq!((summary.joined_words, summary.unknown_tokens), (0, 2));
}

/// Entities win over every segmentation, wherever they stand, and only there.
#[test]
fn entries_of_the_dictionary_are_words() {
    let shop = Workshop::new();
    shop.write("t.txt", "中国人民银行很好，卡拉OK在2卡拉ok");
    let entries = "\u{feff}人民银行 3 nt\n\n中国人 5\r\n卡拉OK\n人民\n";
    let dictionary = Some(shop.write("entries.txt", entries));
    let with = |words| CorpusOptions { words, dictionary: dictionary.clone(), ..shop.options("t.txt") };
    // The longest entry at the leftmost place; what is no Chinese character cannot go on with a word.
    let characters = "中 ##国 ##人 民 银 行 很 好 ， 卡 ##拉 ok 在 2 卡 ##拉 ok";
    assert_eq!(shop.made(&with(WordSource::None))[0], [characters]);
    let jieba = "中 ##国 ##人 民 银 ##行 很 好 ， 卡 ##拉 ok 在 2 卡 ##拉 ok";
    let summary = shop.run(&with(WordSource::Jieba)).unwrap();
    assert_eq!(shop.documents()[0], [jieba]);
    assert_eq!((summary.joined_words, summary.dictionary_words), (4, 3));
    shop.write("entries.txt", "人民银行\n");
    assert!(shop.made(&with(WordSource::None))[0][0].starts_with("中 国 人 ##民 ##银 ##行 很 好"));

    // The word 中国人 stands elsewhere in the sentence, and a set of words would take it first.
    shop.write("t.txt", "中国人民银行 的 中国人 。");
    assert_eq!(shop.made(&with(WordSource::Segmented))[0], ["中 国 人 ##民 ##银 ##行 的 中 ##国 ##人 。"]);
}

#[test]
fn entries_do_not_cut_latin_words() {
    let shop = Workshop::new();
    shop.write("t.txt", "cat大sat大 acat大");
    let dictionary = Some(shop.write("entries.txt", "CAT大\n"));
    assert_eq!(shop.made(&CorpusOptions { dictionary, ..shop.options("t.txt") })[0], ["cat ##大 sat 大 a ##cat 大"]);
}

#[test]
fn longer_words_are_joined_if_the_limit_is_raised() {
    let shop = Workshop::new();
    shop.write("t.txt", "甲乙丙丁戊己庚。");
    let options =
        CorpusOptions { dictionary: Some(shop.write("entries.txt", "甲乙丙丁戊己庚")), ..shop.options("t.txt") };
    assert_eq!(shop.made(&options)[0], ["甲 乙 丙 丁 戊 己 庚 。"]);
    let raised = CorpusOptions { max_word_tokens: 7, ..options };
    assert_eq!(shop.made(&raised)[0], ["甲 ##乙 ##丙 ##丁 ##戊 ##己 ##庚 。"]);
}

/// `extend_chinese_char` of PaddleNLP: forms that the vocabulary does not have come after it, in the order of the
/// characters.
#[test]
fn missing_forms_are_appended_to_the_vocabulary() {
    let shop = Workshop::of(vocabulary(false));
    let size = shop.vocabulary.len() as u32;
    let tokenizer = ernie(&shop.path("tokenizer"));
    let forms = Continuations::new(&tokenizer);
    assert_eq!(forms.id_count(), size as usize + CHARACTERS.chars().count());
    for (at, c) in (0..).zip(CHARACTERS.chars()) {
        let plain = tokenizer.id(&c.to_string()).unwrap();
        assert_eq!(forms.id(&c.to_string(), &tokenizer), Some(size + at), "{c}");
        assert_eq!(forms.plain(size + at), Some(plain), "{c}");
    }
    assert_eq!((forms.plain(size - 1), forms.plain(size + 1000)), (None, None));
    shop.write("t.txt", "北京");
    let options = CorpusOptions { words: WordSource::Jieba, ..shop.options("t.txt") };
    let form = size + CHARACTERS.chars().position(|c| c == '京').unwrap() as u32;
    assert_eq!(shop.made(&options)[0], [format!("北 <{form}>")]);

    let whole = Workshop::new();
    let tokenizer = ernie(&whole.path("tokenizer"));
    let forms = Continuations::new(&tokenizer);
    assert_eq!(forms.id_count(), whole.vocabulary.len());
    assert_eq!(forms.id("北", &tokenizer), tokenizer.id("##北"));
    assert_eq!(forms.id("ok", &tokenizer), tokenizer.id("##ok"));
    assert_eq!(forms.id("，", &tokenizer), None);
}

/// PaddleNLP writes [UNK] where a word goes on with a token that has no "##" form; the text is kept here.
#[test]
fn a_token_without_a_form_stays_what_it_is() {
    let shop = Workshop::new();
    shop.write("t.txt", "卡，拉 卡ok拉");
    let options = CorpusOptions { words: WordSource::Segmented, ..shop.options("t.txt") };
    assert_eq!(shop.made(&options)[0], ["卡 ， ##拉 卡 ##ok ##拉"]);
}
