//! Whole-word marks: which tokens go on with a word, told by the ids of their "##" forms.
//!
//! `create_pretraining_data.py` of PaddleNLP (model_zoo/ernie-1.0/preprocess, function `get_whole_word_mask_tokens`)
//! walks the tokens and joins those whose texts, put together, are any word of the sentence; where in the sentence that
//! word stood is not asked. [`whole_words`] does the same.

use std::collections::HashSet;

use crate::tokenize::TextTokenizer;
use crate::tokenize::ernie::ErnieTokenizer;

/// The characters that the original takes for Chinese.
const CHINESE: std::ops::RangeInclusive<char> = '\u{4E00}'..='\u{9FA5}';
const CHINESE_COUNT: usize = 0x9FA5 - 0x4E00 + 1;

/// Whether the original takes `c` for Chinese.
pub(super) fn is_chinese(c: char) -> bool {
    CHINESE.contains(&c)
}

/// For each token, whether it goes on with the word of the token before it: from every token with a Chinese character
/// on, the longest run of at most `longest` tokens whose `texts` spell one of `words` is one word.
pub(super) fn whole_words(texts: &[&str], words: &HashSet<&str>, longest: usize) -> Vec<bool> {
    let mut goes_on = vec![false; texts.len()];
    let longest_word = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let all = texts.concat();
    let mut ends = Vec::with_capacity(texts.len() + 1);
    ends.push(0);
    for text in texts {
        ends.push(ends[ends.len() - 1] + text.len());
    }
    let mut at = 0;
    while at < texts.len() {
        let most = if texts[at].contains(is_chinese) { longest.min(texts.len() - at) } else { 1 };
        // A run of one token is itself, word or not.
        let spells = |count: &usize| {
            let run = &all[ends[at]..ends[at + count]];
            run.len() <= longest_word && words.contains(run)
        };
        let count = (2..=most).rev().find(spells).unwrap_or(1);
        goes_on[at + 1..at + count].fill(true);
        at += count;
    }
    goes_on
}

/// The ids of "##" forms.
///
/// ERNIE 1.0's vocabulary has one for each of its Chinese characters. For vocabularies that have not, PaddleNLP's
/// `extend_chinese_char` appends those that are missing, in the order of the characters' ids: such ids are only in
/// corpora, and become those of the characters before a model sees them.
#[derive(Debug)]
pub struct Continuations {
    /// By Chinese character from U+4E00 on; `None` if the vocabulary does not have the character.
    chinese: Vec<Option<u32>>,
    /// The ids of the characters whose forms were appended, in the order of these.
    appended: Vec<u32>,
    vocab_size: usize,
}

impl Continuations {
    /// Those of a vocabulary.
    pub fn new(tokenizer: &ErnieTokenizer) -> Self {
        let mut chinese = vec![None; CHINESE_COUNT];
        let mut missing = Vec::new();
        for (index, c) in CHINESE.enumerate() {
            let Some(plain) = tokenizer.id(c.encode_utf8(&mut [0; 4])) else { continue };
            chinese[index] = tokenizer.id(&format!("##{c}"));
            if chinese[index].is_none() {
                missing.push((plain, index));
            }
        }
        missing.sort_unstable();
        let vocab_size = tokenizer.vocab_size();
        for (id, (_, index)) in (vocab_size as u32..).zip(&missing) {
            chinese[*index] = Some(id);
        }
        Self { chinese, appended: missing.into_iter().map(|(plain, _)| plain).collect(), vocab_size }
    }

    /// The id of "##" and `text`. Of a token that has no such form there is none.
    pub fn id(&self, text: &str, tokenizer: &ErnieTokenizer) -> Option<u32> {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if is_chinese(c) => self.chinese[c as usize - 0x4E00],
            _ => tokenizer.id(&format!("##{text}")),
        }
    }

    /// The id of the plain character if `id` was appended to the vocabulary.
    pub fn plain(&self, id: u32) -> Option<u32> {
        self.appended.get((id as usize).checked_sub(self.vocab_size)?).copied()
    }

    /// How many ids a corpus may have: those of the vocabulary and the appended ones.
    pub fn id_count(&self) -> usize {
        self.vocab_size + self.appended.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(tokens: &[&str], words: &[&str], longest: usize) -> String {
        let goes_on = whole_words(tokens, &words.iter().copied().collect(), longest);
        let marked = tokens
            .iter()
            .zip(goes_on)
            .map(|(text, goes_on)| if goes_on { format!("##{text}") } else { text.to_string() });
        marked.collect::<Vec<_>>().join(" ")
    }

    /// The example in the original's documentation.
    #[test]
    fn words_are_joined_as_in_paddlenlp() {
        let tokens = ["通", "过", "利", "用", "me", "##rc", "##er", "核", "，", "将", "样", "本"];
        let words = ["通过", "利用", "mercer", "核", "，", "将", "样本"];
        assert_eq!(marked(&tokens, &words, 6), "通 ##过 利 ##用 me ##rc ##er 核 ， 将 样 ##本");
    }

    #[test]
    fn the_longest_word_wins_wherever_it_stood() {
        assert_eq!(marked(&["中", "国", "人", "民"], &["中国人", "中国", "人民"], 6), "中 ##国 ##人 民");
        assert_eq!(marked(&["甲", "乙", "甲", "乙"], &["甲乙"], 6), "甲 ##乙 甲 ##乙");
    }

    #[test]
    fn words_over_the_limit_fall_apart() {
        let tokens = ["一", "二", "三", "四", "五", "六", "七"];
        assert_eq!(marked(&tokens, &["一二三四五六七"], 6), "一 二 三 四 五 六 七");
        assert_eq!(marked(&tokens, &["一二三四五六七"], 7), "一 ##二 ##三 ##四 ##五 ##六 ##七");
        assert_eq!(marked(&tokens, &["一二三四五六"], 6), "一 ##二 ##三 ##四 ##五 ##六 七");
    }

    #[test]
    fn only_chinese_characters_begin_joined_words() {
        assert_eq!(marked(&["3", "月"], &["3月"], 6), "3 月");
        assert_eq!(marked(&["卡", "拉", "ok"], &["卡拉ok"], 6), "卡 ##拉 ##ok");
        assert_eq!(marked(&["卡", "拉", "ok"], &["卡拉OK"], 6), "卡 拉 ok", "as there: words keep their capitals");
        assert_eq!(marked(&["\u{9fa6}", "月"], &["\u{9fa6}月"], 6), "\u{9fa6} 月");
        assert_eq!(marked(&[], &[], 6), "");
    }
}
