//! The words a recipe chooses from: one enum a key, in the spelling that stands in the recipe.

use crate::words::words;

words! {
    /// What is learnt.
    TaskName {
        /// One label for a text or a pair of texts (XNLI, PAWS-X).
        SequenceClassification = "sequence-classification",
        /// Any number of labels for a text or a pair of texts.
        MultiLabelClassification = "multi-label-classification",
        /// A score for a text or a pair of texts (STS).
        Regression = "regression",
        /// One label for each word (CoNLL named entities).
        TokenClassification = "token-classification",
        /// A span of the passage that answers the question (MLQA, CMRC 2018).
        QuestionAnswering = "question-answering",
        /// The tokens that were hidden (BERT's pre-training).
        MaskedLm = "masked-lm",
        /// The tokens that were hidden in a text and its translation, from all that is left of both (XLM's TLM).
        TranslationMaskedLm = "translation-masked-lm",
        /// The tokens that were hidden in a text and its translation, each from the other side alone (ERNIE-M's CAMLM).
        CrossAttentionMaskedLm = "cross-attention-masked-lm",
        /// The tokens that were hidden in a text, from what is left of it and a translation that the model itself makes (ERNIE-M's BTMLM).
        BackTranslationMaskedLm = "back-translation-masked-lm",
        /// The tokens that were hidden, and whether two pieces of a text are in their order (ERNIE 1.0's pre-training).
        PreTraining = "pre-training",
        /// The next word, in both directions (ELMo's pre-training).
        BidirectionalLm = "bidirectional-lm",
    }

    /// How pseudo tokens of a back-translation are chosen.
    PseudoTokens: Default {
        /// The most likely token of each place.
        Argmax = "argmax",
        /// Drawn, each token with its probability.
        Sampling = "sampling",
    }

    /// What the next `num_steps` words of a stream begin with, in training and in every evaluation alike.
    StreamState: Default {
        /// The state that the words before them left, past the ends of sentences, as in Baidu's and AllenAI's scripts.
        Carried = "carried",
        /// Zeros, in the middle of a sentence too: the model never learns from more than `num_steps` words back, and no step depends
        /// on the one before it.
        Reset = "reset",
    }

    /// How ELMo reads a word.
    ElmoEmbedding {
        /// By its row in a table (Baidu's).
        Word = "word",
        /// By its characters, through convolutions (AllenAI's).
        Character = "character",
    }

    /// Which tokens are hidden from a network that learns to predict them.
    MaskingPolicy: Default {
        /// Spans of 1 to `max_ngrams` whole words, short ones more often: what PaddleNLP trains ERNIE 1.0 with.
        NGram = "n-gram",
        /// One whole word at a time (a Chinese word of the segmentation, or a Latin word).
        WholeWord = "whole-word",
        /// One token at a time, whatever word it belongs to: in Chinese, a character.
        Character = "character",
        /// Like "n-gram", long spans more often.
        FavorLonger = "favor-longer",
        /// Like "n-gram"; as many tokens again change places among themselves and are to be restored.
        Permutation = "permutation",
        /// The masking of the original ERNIE 1.0 (arXiv 1904.09223): each word is hidden or not for itself.
        Knowledge = "knowledge",
    }

    /// What the summed loss of the hidden tokens is divided by.
    LossNormalization: Default {
        /// How many there are in the whole step.
        Tokens = "tokens",
        /// As in Baidu's scripts: how many there are in a batch, rounded up to a multiple of 8; the batches of a step count alike.
        PaddedBatch = "padded-batch",
    }

    /// Which languages are trained on.
    Protocol: Default {
        /// Train on the card's source language (English for XNLI), evaluate on all.
        CrossLingualTransfer = "cross-lingual-transfer",
        /// Train on every language the card has training rows for, one language after the other in the row numbering.
        TranslateTrainAll = "translate-train-all",
    }

    /// What happens to a row that cannot be read (too few columns, an unknown label, broken UTF-8).
    BadRows: Default {
        /// Stop, and name the file and line.
        Error = "error",
        /// Leave it out, and say how many were left out.
        Skip = "skip",
    }

    /// What happens to a row with an empty text.
    EmptyText: Default {
        /// Train on it like on any other.
        Keep = "keep",
        /// Leave it out, as PaddleNLP's XNLI loader does.
        Skip = "skip",
    }

    /// The optimizer.
    OptimizerName: Default {
        /// Adam with decoupled weight decay (arXiv 1711.05101).
        AdamW = "adamw",
        /// Adam (arXiv 1412.6980). Decay, if any, is `l2`.
        Adam = "adam",
        /// Adagrad (Duchi et al. 2011): steps shrink with the root of the sum of all squared gradients. What ELMo is trained with.
        Adagrad = "adagrad",
        /// RMSProp (Hinton 2012): steps shrink with the root of the running mean of squared gradients. No momentum, not centred.
        RmsProp = "rmsprop",
        /// Gradient descent: gradient times learning rate.
        Sgd = "sgd",
    }

    /// Which norm `max_grad_norm` limits.
    ClipBy: Default {
        /// That of all gradients together (PyTorch's clip_grad_norm_, Paddle's ClipGradByGlobalNorm).
        GlobalNorm = "global-norm",
        /// That of each tensor's gradient for itself (Paddle's ClipGradByNorm).
        TensorNorm = "tensor-norm",
    }

    /// How `layerwise_decay` acts on an update.
    LayerwiseDecayMode: Default {
        /// The ratio multiplies the learning rate, of the step and of its weight decay alike.
        Ratio = "ratio",
        /// PaddleNLP's AdamWDL, which applies weight decay twice. The same as "ratio" where weight_decay is 0.
        AdamWdl = "adamwdl",
    }

    /// The course of the learning rate after the warm-up.
    ScheduleName: Default {
        /// Straight down to 0 at the last step.
        Linear = "linear",
        /// Straight down to `min_learning_rate` at `decay_steps`, then level.
        LinearMin = "linear-min",
        /// Half a cosine down to `min_learning_rate` at `decay_steps`, then level.
        Cosine = "cosine",
        /// Level.
        Constant = "constant",
    }

    /// What the best model is chosen by: the mean over the languages that are evaluated.
    SelectOn: Default {
        /// The highest accuracy on the dev split.
        DevAccuracy = "dev.accuracy",
        /// The lowest loss on the dev split.
        DevLoss = "dev.loss",
        /// The highest F1 on the dev split: of the chunks of token-classification, the answers of question-answering or the labels of
        /// multi-label-classification, and their default.
        DevF1 = "dev.f1",
        /// The highest share of answers that are right to the letter on the dev split: of question-answering.
        DevExactMatch = "dev.exact_match",
        /// The highest Rouge-L of answers on the dev split: of question-answering on DuReader.
        DevRougeL = "dev.rouge_l",
        /// The highest Pearson correlation on the dev split: of regression, and its default.
        DevPearson = "dev.pearson",
        /// The highest Spearman correlation on the dev split: of regression.
        DevSpearman = "dev.spearman",
        /// The highest accuracy on the test split, as PaddleNLP's RemBERT example chooses: the figures are then too good.
        TestAccuracy = "test.accuracy",
        /// The lowest loss on the test split.
        TestLoss = "test.loss",
        /// The highest F1 on the test split.
        TestF1 = "test.f1",
        /// The highest share of answers that are right to the letter on the test split.
        TestExactMatch = "test.exact_match",
        /// The highest Rouge-L of answers on the test split.
        TestRougeL = "test.rouge_l",
        /// The highest Pearson correlation on the test split.
        TestPearson = "test.pearson",
        /// The highest Spearman correlation on the test split.
        TestSpearman = "test.spearman",
    }

    /// Where the tensors live. `kiln devices` says which of them this build has.
    Backend: Default {
        /// The best that is in this build and on this machine.
        Auto = "auto",
        /// The CPU, through burn-flex.
        Flex = "flex",
        /// The CPU, through burn-ndarray.
        NdArray = "ndarray",
        /// Any graphics card, through WebGPU.
        Wgpu = "wgpu",
        /// Any graphics card with Vulkan.
        Vulkan = "vulkan",
        /// Apple's graphics cards.
        Metal = "metal",
        /// NVIDIA's graphics cards.
        Cuda = "cuda",
        /// AMD's graphics cards.
        Rocm = "rocm",
    }

    /// The floating-point type that matrix products are computed in; weights and everything else are f32.
    Precision: Default {
        /// 32 bits.
        F32 = "f32",
        /// 16 bits with the exponent range of f32.
        Bf16 = "bf16",
        /// 16 bits, largest value 65,504.
        F16 = "f16",
        /// The linear layers of encoders in 8 bits, on a CPU; for prediction, vectors and evaluation, not for training.
        Int8 = "int8",
    }

    /// The floating-point type that the weights of a model folder are written in.
    ExportDtype: Default {
        /// 32 bits: the weights as they were trained.
        F32 = "f32",
        /// 16 bits with the exponent range of f32: half the size, three significant digits.
        Bf16 = "bf16",
        /// 16 bits, largest value 65,504.
        F16 = "f16",
    }

    /// How chunks of tagged tokens are counted.
    ChunkCounting: Default {
        /// By the tags as they are written (B-PER, or n-B), as conlleval and seqeval do.
        Conll = "conll",
        /// By the numbers of the labels, as Paddle's chunk_eval does, which LAC and its ELMo demo were measured with:
        /// label 2k begins a chunk of type k, and label 2k + 1 goes on with it. Where a type has not two labels in this
        /// order, as in the demo, the figure is none of true chunks.
        Paddle = "paddle",
    }
}

impl SelectOn {
    /// The figure, by the name that [`crate::metrics::Evaluation::figure`] has for it behind the split.
    pub fn figure(self) -> &'static str {
        self.word().split_once('.').map_or("", |(_, figure)| figure)
    }

    /// Whether the best evaluation is the one with the highest figure.
    pub fn higher_is_better(self) -> bool {
        self.figure() != "loss"
    }
}
