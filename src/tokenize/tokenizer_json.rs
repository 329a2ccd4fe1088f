//! `tokenizer.json`: a tokenizer said in the parts of Hugging Face's `tokenizers`, from which transformers' fast tokenizers and
//! text-embeddings-inference read it.
//!
//! The ids are Kiln's, but for what the crate does otherwise: it adds scores of pieces as f64 where SentencePiece rounds to f32,
//! normalises grapheme by grapheme, takes one token more from the first of two equally long texts, and has older tables of Unicode.
//! A special token that is typed in a text is that token, unless `split_special_tokens` of `tokenizer_config.json` is true; then a model without
//! pieces for its characters makes one unknown token more of it.

use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Precompiled, Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Result, SplitDelimiterBehavior, Tokenizer};

use super::normalizer::{Normalizer, SPACE};
use super::sentencepiece::{PieceKind, SentencePiece};
use super::{Common, PairEncoding};

/// The name of the file.
pub const FILE: &str = "tokenizer.json";
/// The class of transformers that reads the file as it is, in 4.x and 5.x. Others of 5.x build their own tokenizer of its vocabulary.
pub const CLASS: &str = "PreTrainedTokenizerFast";

/// The switch of transformers for special tokens in a text: whether they are text like any other.
pub const IGNORES_TYPED: &str = "split_special_tokens";

/// A piece as it stands in `tokenizer.json`, at the place of its id.
pub struct Entry {
    text: String,
    score: f64,
    /// Whether texts are cut into it.
    of_text: bool,
}

impl Entry {
    /// A piece of a SentencePiece model, under its own name. `special` tokens keep theirs, for they are looked up by it; the name of
    /// any other piece that no text is cut into gets a space, which no text has when it is cut.
    pub fn of_piece(sentencepiece: &SentencePiece, id: u32, special: bool) -> Self {
        let piece = &sentencepiece.pieces()[id as usize];
        match piece.kind() {
            PieceKind::Normal | PieceKind::UserDefined => {
                Self { text: piece.text.clone(), score: sentencepiece.weight(id), of_text: true }
            }
            _ => Self::not_of_text(&piece.text, special),
        }
    }

    /// An id that no text gets. Its score is the highest there is, for the lowest one decides what an unknown character costs.
    pub fn not_of_text(text: &str, special: bool) -> Self {
        let text = if special { text.to_string() } else { format!("{text} ") };
        Self { text, score: 0.0, of_text: false }
    }
}

/// A tokenizer over SentencePiece's pieces. `entries` are all ids in order, `unknown` is that of unknown characters; `mask_strips` says
/// that a typed mask token takes the spaces before it.
///
/// # Errors
/// A special token has a name that the crate's templates cannot hold.
pub fn unigram(
    sentencepiece: &SentencePiece,
    entries: Vec<Entry>,
    unknown: u32,
    lower_case: bool,
    mask_strips: bool,
    common: &Common,
) -> Result<String> {
    let pattern = before_the_rest(common, &entries);
    let pieces = entries.into_iter().map(|entry| (entry.text, entry.score)).collect();
    let mut tokenizer = Tokenizer::new(Unigram::from(pieces, Some(unknown as usize), false)?);
    tokenizer.with_normalizer(Some(Sequence::new(normalizers(sentencepiece.normalizer(), lower_case)?)))?;
    let metaspace = |scheme| Metaspace::new(SPACE, scheme, true);
    let mut steps: Vec<PreTokenizerWrapper> = vec![metaspace(PrependScheme::Never).into()];
    if let Some(pattern) = pattern {
        steps.push(Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::MergedWithPrevious, false)?.into());
    }
    tokenizer.with_pre_tokenizer(Some(PreSequence::new(steps)));
    tokenizer.with_decoder(Some(metaspace(PrependScheme::Always)));
    finish(tokenizer, common, mask_strips)
}

/// SentencePiece's normalisation.
fn normalizers(normalizer: &Normalizer, lower_case: bool) -> Result<Vec<NormalizerWrapper>> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    let replace = |pattern: &str, with: &str| Replace::new(ReplacePattern::Regex(pattern.into()), with);
    if lower_case {
        steps.push(Lowercase.into());
    }
    if let Some(rules) = &normalizer.rules {
        steps.push(Precompiled::from(&rules.to_bytes())?.into());
    }
    if normalizer.remove_extra_whitespaces {
        // At the end SentencePiece takes "▁" that stands in the text, too.
        steps.push(replace("^ +|[ ▁]+$", "")?.into());
        steps.push(replace(" {2,}", " ")?.into());
    }
    if normalizer.add_dummy_prefix {
        steps.push(Prepend::new(SPACE.to_string()).into());
    }
    Ok(steps)
}

/// Matches the first character of what is written like a special token that no text is cut into: cut behind it, a text that is no such
/// token (because it was normalised to that, or because typed ones are text) does not become one.
fn before_the_rest(common: &Common, entries: &[Entry]) -> Option<String> {
    let escape = |text: &str| -> String {
        text.chars().flat_map(|c| r"\.+*?()|[]{}^$".contains(c).then_some('\\').into_iter().chain([c])).collect()
    };
    let is_of_text = |id: u32| entries.get(id as usize).is_some_and(|entry| entry.of_text);
    let specials = common.specials.texts.iter().filter(|(_, id)| !is_of_text(*id));
    let patterns = specials.filter_map(|(text, _)| {
        let (first, rest) = text.split_at_checked(text.chars().next()?.len_utf8())?;
        (!rest.is_empty()).then(|| format!("{}(?={})", escape(first), escape(rest)))
    });
    let patterns: Vec<String> = patterns.collect();
    (!patterns.is_empty()).then(|| patterns.join("|"))
}

/// Adds the special tokens and how a row is made of one text or two.
pub fn finish(mut tokenizer: Tokenizer, common: &Common, mask_strips: bool) -> Result<String> {
    let specials = &common.specials;
    let tokens = specials.texts.iter().map(|(text, id)| {
        AddedToken::from(text.as_str(), true).normalized(false).lstrip(mask_strips && *id == specials.mask)
    });
    tokenizer.add_special_tokens(tokens)?;
    let named = |wanted: u32| -> &str {
        specials.texts.iter().find(|(_, id)| *id == wanted).map_or("", |(text, _)| text.as_str())
    };
    let (cls, sep) = (named(specials.cls), named(specials.sep));
    let second = u8::from(common.kind.has_types());
    let between = common.kind.separators().unwrap_or_default().iter();
    let mut pair = vec![format!("{cls}:0"), "$A:0".to_string()];
    if common.pairs == PairEncoding::Apart {
        pair.extend([format!("{sep}:0"), format!("{cls}:{second}")]);
    } else {
        pair.extend(between.map(|type_id| format!("{sep}:{}", type_id * second)));
    }
    pair.extend([format!("$B:{second}"), format!("{sep}:{second}")]);
    let rows = TemplateProcessing::builder()
        .try_single(vec![format!("{cls}:0"), "$A:0".to_string(), format!("{sep}:0")])?
        .try_pair(pair)?
        .special_tokens(vec![(cls, specials.cls), (sep, specials.sep)])
        .build()?;
    tokenizer.with_post_processor(Some(rows));
    tokenizer.to_string(false)
}
