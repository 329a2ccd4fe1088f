//! BERT's and ERNIE's tokenizer as a `tokenizer.json`.

use tokenizers::models::bpe::Vocab as TokenIds;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFC, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Result, SplitDelimiterBehavior, Tokenizer, decoders};

use super::characters::MORE_SYMBOLS;
use super::wordpiece::LONGEST_WORD;
use super::words::{Form, Words};
use crate::tokenize::vocab::Vocab;
use crate::tokenize::{Common, tokenizer_json};

/// BERT's and ERNIE's tokenizer.
///
/// # Errors
/// A special token has a name that the crate's templates cannot hold.
pub(super) fn word_piece(vocab: &Vocab, words: &Words, common: &Common) -> Result<String> {
    let ids: TokenIds = (0..vocab.len() as u32)
        .filter_map(|id| Some((vocab.token(id)?.to_string(), id)).filter(|(token, _)| !token.is_empty()))
        .collect();
    let unknown = vocab.token(common.specials.unk).unwrap_or_default();
    let model = WordPiece::builder()
        .vocab(ids)
        .unk_token(unknown.to_string())
        .max_input_chars_per_word(LONGEST_WORD)
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
    let strip = words.form == Form::WithoutAccents;
    let bert = BertNormalizer::new(true, true, Some(strip), words.lower_case);
    match words.form {
        Form::Composed => tokenizer.with_normalizer(Some(Sequence::new(vec![bert.into(), NFC.into()])))?,
        Form::AsWritten | Form::WithoutAccents => tokenizer.with_normalizer(Some(bert))?,
    };
    if words.symbols {
        let symbols = SplitPattern::Regex(format!("[\\p{{S}}{}]", String::from_iter(MORE_SYMBOLS)));
        let symbols = Split::new(symbols, SplitDelimiterBehavior::Isolated, false)?;
        tokenizer.with_pre_tokenizer(Some(PreSequence::new(vec![BertPreTokenizer.into(), symbols.into()])));
    } else {
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    }
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    tokenizer_json::finish(tokenizer, common, false)
}
