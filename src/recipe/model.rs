//! The sections of a recipe about the network, and about the features that its words come with.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::*;
use crate::models::Family;
use crate::nn::HiddenAct;
use crate::tokenize::{PairEncoding, PieceSplitting, Segmentation, TokenizerOptions, TypedSpecials, WordSplitting};

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The model family.
    pub architecture: &'static Family,
    /// Folder or file with the weights to start from, in any format Kiln reads, or a repository of them: hf://OWNER/NAME, with @REVISION
    /// behind it if need be, or modelscope://OWNER/NAME. Left out: random initialisation.
    #[schemars(length(min = 1))]
    pub weights: Option<PathBuf>,
    /// Folder with the tokenizer's files, or a repository with them, as for the weights. Left out: the folder of the weights.
    #[schemars(length(min = 1))]
    pub tokenizer: Option<PathBuf>,
    /// ERNIE-M: whose way of splitting SentencePiece pieces. Left out: what the tokenizer's folder says, else PaddleNLP's, which
    /// the published scores are from.
    pub piece_splitting: Option<PieceSplitting>,
    /// ERNIE and BERT: whose way of cutting a text into words. Left out: what the tokenizer's folder says, else PaddleNLP's for ERNIE and
    /// Hugging Face's for BERT.
    pub word_splitting: Option<WordSplitting>,
    /// ERNIE, BERT and RemBERT: what special tokens typed in a text are. Left out: what the tokenizer's folder says, else PaddleNLP's way,
    /// for BERT Hugging Face's.
    pub typed_specials: Option<TypedSpecials>,
    /// ELMo's taggers and readers: file with words that are read as others, a word, a tab and the other on each line, as LAC's
    /// `q2b.dic` (full-width characters as half-width ones). Left out: the `q2b.dic` of the tokenizer's folder, if it has one.
    #[schemars(length(min = 1))]
    pub replacements: Option<PathBuf>,
    /// ELMo's readers: how a text is cut into words. Left out: what the tokenizer's folder says, else "whitespace".
    pub segmentation: Option<Segmentation>,
    /// RemBERT: how a pair of texts is read. Left out: what the tokenizer's folder says, else "standard".
    pub pair_encoding: Option<PairEncoding>,
    /// What differs from the config that comes with the weights, in the words of Hugging Face's config.json.
    #[serde(default)]
    pub config: ModelConfig,
}

impl From<&Model> for TokenizerOptions {
    fn from(model: &Model) -> Self {
        let Model { piece_splitting, word_splitting, typed_specials, pair_encoding, segmentation, .. } = *model;
        let replacements = model.replacements.clone();
        Self { piece_splitting, word_splitting, typed_specials, pair_encoding, replacements, segmentation }
    }
}

/// `[model.config]`: every key is optional. A key that is left out is what the weights' own config says, or what the
/// family's base model has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Rows of the word embedding table.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub vocab_size: Option<usize>,
    /// Width of the network, a multiple of num_attention_heads; of ELMo the width of the LSTMs' cells.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub hidden_size: Option<usize>,
    /// Number of encoder blocks, or of ELMo's LSTM layers in each direction.
    #[schemars(range(min = 1, max = 4096))]
    pub num_hidden_layers: Option<usize>,
    /// Attention heads in each block.
    #[schemars(range(min = 1, max = 4096))]
    pub num_attention_heads: Option<usize>,
    /// RemBERT: width of the input embeddings, which are projected to hidden_size.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub input_embedding_size: Option<usize>,
    /// RemBERT: width of the output embedding, which only masked-lm has.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub output_embedding_size: Option<usize>,
    /// Width between the two dense layers of a block.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub intermediate_size: Option<usize>,
    /// Activation between the two dense layers of a block.
    pub hidden_act: Option<HiddenAct>,
    /// Dropout after the embeddings, after attention and after each block's dense layers.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub hidden_dropout_prob: Option<f64>,
    /// Dropout on the attention probabilities.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub attention_probs_dropout_prob: Option<f64>,
    /// ERNIE-M: dropout after the activation between the two dense layers of a block.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub act_dropout: Option<f64>,
    /// Rows of the position table. ERNIE-M and XLM-R use all but the first two, so that 514 rows hold 512 tokens.
    #[schemars(range(min = 3, max = 1_048_576))]
    pub max_position_embeddings: Option<usize>,
    /// ERNIE-M: rows of a table of languages, whose vectors are added to those of the tokens in pre-training; 0 for none, which is the
    /// default. Checkpoints hold the table, model folders do not.
    #[schemars(range(min = 0, max = 1024))]
    pub num_languages: Option<usize>,
    /// ERNIE: whether task-type embeddings are added, as in ERNIE 2.0 and later.
    pub use_task_id: Option<bool>,
    /// ERNIE: rows of the table of task types.
    #[schemars(range(min = 1, max = 1024))]
    pub task_type_vocab_size: Option<usize>,
    /// ERNIE, BERT and RemBERT: rows of the table that tells the first text from the second.
    #[schemars(range(min = 2, max = 1024))]
    pub type_vocab_size: Option<usize>,
    /// Standard deviation of randomly initialised weights; of ELMo's taggers and readers, whose weights are drawn evenly, their
    /// largest size.
    #[schemars(range(min = 0.0))]
    pub initializer_range: Option<f64>,
    /// Added to the variance in layer normalisation.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub layer_norm_eps: Option<f64>,
    /// Id that fills batches up.
    #[schemars(range(min = 0, max = 16_777_215))]
    pub pad_token_id: Option<usize>,
    /// All encoders but RemBERT: dropout before the task's output layer. Left out: hidden_dropout_prob.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub classifier_dropout: Option<f64>,
    /// RemBERT: dropout before the task's output layer.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub classifier_dropout_prob: Option<f64>,
    /// ELMo's taggers and readers: width of the words' own vectors, beside which the features stand. Left out: 128.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub word_emb_dim: Option<usize>,
    /// ELMo: width of the words' vectors and of each direction's outputs.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub projection_dim: Option<usize>,
    /// ELMo: largest size of a number in a cell.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub cell_clip: Option<f64>,
    /// ELMo: largest size of a number in an output.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub proj_clip: Option<f64>,
    /// ELMo: whether a layer's input is added to its output, from the second layer on.
    pub use_skip_connections: Option<bool>,
    /// ELMo: dropout in training.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: Option<f64>,
    /// ELMo: whether words are read as rows of a table or as characters.
    pub embedding: Option<ElmoEmbedding>,
    /// ERNIE-M: build the attention mask as PaddleNLP does where none is given: hide id 0 (the token CLS) and attend to padding.
    /// Only for comparing with PaddleNLP's own outputs.
    pub paddle_default_mask: Option<bool>,
    /// ERNIE: look padding up as zeros, as PaddleNLP does. Only for comparing with PaddleNLP's own outputs.
    pub paddle_padding_row: Option<bool>,
}

/// `[features]`: an ELMo whose layers stand beside the words' own vectors. It is not trained; how its layers are mixed is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// Folder of an ELMo that reads words, or a repository, as for the weights. Left out: no features, or those that `model.weights` was trained with.
    #[schemars(length(min = 1))]
    pub elmo: Option<PathBuf>,
    /// L2 on the weights that mix the layers.
    #[schemars(range(min = 0.0))]
    pub elmo_l2_coef: f64,
    /// Dropout on the LSTM layers, before they are mixed.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub elmo_dropout: f64,
    /// Compute the features as Baidu's LAC demo does, with its two errors: each layer reads the words' vectors instead of the layer
    /// below, and the backward direction's outputs stay in reverse.
    pub compat_lac_demo: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self { elmo: None, elmo_l2_coef: 0.001, elmo_dropout: 0.5, compat_lac_demo: false }
    }
}
