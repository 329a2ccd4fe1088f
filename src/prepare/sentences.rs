//! Sentence splitting.

use unicode_segmentation::UnicodeSegmentation;

use crate::recipe::SentenceEnds;

/// Calls `each` with every sentence of `text`, without white space round it; empty ones are passed over.
pub(super) fn each(text: &str, ends: SentenceEnds, mut each: impl FnMut(&str)) {
    let mut emit = |sentence: &str| {
        let sentence = sentence.trim();
        if !sentence.is_empty() {
            each(sentence);
        }
    };
    match ends {
        SentenceEnds::None => emit(text),
        SentenceEnds::Newline => text.split('\n').for_each(emit),
        SentenceEnds::Chinese => text.split('\n').for_each(|line| chinese(line, &mut emit)),
        SentenceEnds::BaiduElmo => {
            text.split('\n').flat_map(|line| line.split_inclusive(['。', '？', '！'])).for_each(emit)
        }
        SentenceEnds::English => paragraphs(text, |paragraph| english(paragraph, &mut emit)),
    }
}

/// Cuts behind a run of closing punctuation and the quotation marks and brackets that close with it. The marks are
/// those of PaddleNLP's `words_segmentation.py`, and the ellipsis; runs are kept as they stand, where that script keeps
/// one mark of each.
fn chinese(line: &str, emit: &mut impl FnMut(&str)) {
    let is_end = |c: char| matches!(c, '。' | '？' | '！' | '；' | '…' | '?' | '!' | ';');
    let closes = |c: char| matches!(c, '”' | '’' | '」' | '』' | '）' | '】' | '》' | '〉' | '"' | '\'' | ')' | ']');
    let (mut start, mut ended) = (0, false);
    for (at, c) in line.char_indices() {
        if ended && !is_end(c) && !closes(c) {
            emit(&line[start..at]);
            (start, ended) = (at, false);
        }
        ended = ended || is_end(c);
    }
    emit(&line[start..]);
}

/// Calls `each` with what stands between empty lines, its line ends made spaces: text may be wrapped anywhere.
fn paragraphs(text: &str, mut each: impl FnMut(&str)) {
    let mut paragraph = String::new();
    for line in text.split('\n').chain([""]) {
        if !line.trim().is_empty() {
            paragraph.push_str(line);
            paragraph.push(' ');
        } else if !paragraph.is_empty() {
            each(&paragraph);
            paragraph.clear();
        }
    }
}

/// Cuts where UAX #29 sees the end of a sentence, unless an abbreviation stands before it or a quotation goes on behind
/// it.
fn english(paragraph: &str, emit: &mut impl FnMut(&str)) {
    let mut start = 0;
    for (at, _) in paragraph.split_sentence_bound_indices() {
        let next = &paragraph[at..];
        if at > start && !ends_with_abbreviation(&paragraph[start..at], next) && !goes_on(&paragraph[start..at], next) {
            emit(&paragraph[start..at]);
            start = at;
        }
    }
    emit(&paragraph[start..]);
}

/// `"Really?" he asked`: the sentence does not end with the quotation.
fn goes_on(before: &str, next: &str) -> bool {
    before.trim_end().ends_with(['"', '”', '\'', '’', ')']) && next.starts_with(char::is_lowercase)
}

/// Words that a name or a number follows. A sentence that does end with one is not cut from the next: that does less
/// harm than half a sentence.
const ABBREVIATIONS: [&str; 58] = [
    "mr", "mrs", "ms", "messrs", "dr", "drs", "prof", "rev", "fr", "st", "sr", "jr", "mt", "ft", "gen", "col", "maj",
    "capt", "cmdr", "lt", "sgt", "gov", "sen", "rep", "hon", "pres", "supt", "vs", "cf", "al", "approx", "dept", "est",
    "inc", "co", "corp", "ltd", "bros", "ed", "eds", "univ", "assn", "ave", "blvd", "viz", "jan", "feb", "mar", "apr",
    "aug", "sept", "sep", "oct", "nov", "dec", "jun", "jul", "ca",
];
/// Words that are abbreviations only in front of a number.
const BEFORE_NUMBERS: [&str; 15] =
    ["no", "nos", "p", "pp", "fig", "figs", "eq", "eqs", "sec", "ch", "vol", "vols", "art", "op", "tab"];

fn ends_with_abbreviation(before: &str, next: &str) -> bool {
    let Some(rest) = before.trim_end().strip_suffix('.') else { return false };
    // A space may stand before the full stop, in text that is cut into tokens.
    let word = rest.split_whitespace().next_back().unwrap_or(rest);
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let lower = word.to_lowercase();
    let one_letter = |part: &str| part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
    // Initials and acronyms: "J. K. Rowling", "the U.S. Senate", "e.g. Paris". "I" ends sentences.
    let initials = lower.split('.').all(one_letter) && word != "I";
    let numbered = BEFORE_NUMBERS.contains(&lower.as_str()) && next.starts_with(|c: char| c.is_ascii_digit());
    initials || numbered || ABBREVIATIONS.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, ends: SentenceEnds) -> Vec<String> {
        let mut sentences = Vec::new();
        each(text, ends, |sentence| sentences.push(sentence.to_string()));
        sentences
    }

    #[test]
    fn lines_and_whole_documents() {
        assert_eq!(cut(" 甲。乙\n\n \u{3000}\r\n丙\n", SentenceEnds::Newline), ["甲。乙", "丙"]);
        assert_eq!(cut("甲。\n乙\n", SentenceEnds::None), ["甲。\n乙"]);
        for ends in [
            SentenceEnds::Newline,
            SentenceEnds::Chinese,
            SentenceEnds::BaiduElmo,
            SentenceEnds::English,
            SentenceEnds::None,
        ] {
            assert!(cut(" \n\n", ends).is_empty(), "{ends:?}");
        }
    }

    #[test]
    fn chinese_marks_end_sentences_with_what_closes_with_them() {
        let text = "他说：“走吧！”我问？！谁……嗯；好\n第二行。";
        let expected = ["他说：“走吧！”", "我问？！", "谁……", "嗯；", "好", "第二行。"];
        assert_eq!(cut(text, SentenceEnds::Chinese), expected);
        assert_eq!(cut("。。甲", SentenceEnds::Chinese), ["。。", "甲"], "nothing is lost");
    }

    /// Lines of Baidu's data begin with closing quotation marks, and with the second of two marks.
    #[test]
    fn sentences_of_baidus_elmo_end_behind_each_mark() {
        let text = "他说：“走吧！”我问？！谁……嗯；好?\n第二行。";
        let expected = ["他说：“走吧！", "”我问？", "！", "谁……嗯；好?", "第二行。"];
        assert_eq!(cut(text, SentenceEnds::BaiduElmo), expected);
    }

    #[test]
    fn english_sentences_end_at_marks_and_not_at_abbreviations() {
        let text = "Mr. Smith paid $3.50 to J. K. Rowling, e.g. in the U.S. He left. \"Really?\" he asked. Why?! \
                    See No. 5.\nIt was wrapped\nhere (at 5 p.m. or so). No. That is all!\n\nA title\n\nIs it I. Yes";
        let expected = [
            "Mr. Smith paid $3.50 to J. K. Rowling, e.g. in the U.S. He left.",
            "\"Really?\" he asked.",
            "Why?!",
            "See No. 5.",
            "It was wrapped here (at 5 p.m. or so).",
            "No.",
            "That is all!",
            "A title",
            "Is it I.",
            "Yes",
        ];
        assert_eq!(cut(text, SentenceEnds::English), expected);
        let tokenised = "How do you know ? All this is their information again . Mr . Brown";
        let expected = ["How do you know ?", "All this is their information again .", "Mr . Brown"];
        assert_eq!(cut(tokenised, SentenceEnds::English), expected);
    }
}
