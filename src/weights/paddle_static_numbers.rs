//! From the numbered names that Paddle gives the variables of PaddleNLP's ERNIE to the names of the dynamic models.
//!
//! Every kind of layer is counted on its own, in the order in which the layers are made
//! (paddlenlp/transformers/ernie/modeling.py; L is the number of the encoder's layers):
//!
//! | layer | embedding | linear | layer_norm |
//! |---|---|---|---|
//! | words, positions, token types, perhaps task types | 0, 1, 2, 3 | | |
//! | norm of the embeddings | | | 0 |
//! | layer n: query, key, value, output, linear1, linear2 | | 6n to 6n+5 | |
//! | layer n: norm1, norm2 | | | 2n+1, 2n+2 |
//! | pooler | | 6L | |
//! | masked-LM head: transform and norm | | 6L+1 | 2L+1 |
//! | masked-LM head in 2.8: decoder | | 6L+2 | |
//! | sentence order in 2.8, in 2.5 | | 6L+3, 6L+2 | |
//!
//! In 2.5 the head makes the decoder's bias itself: `ernie_lm_prediction_head_0.b_0`. In 2.8 a static graph holds a
//! weight of the decoder as well, `[words, hidden]`, which nothing uses since the decoder is tied to the words: it gets
//! no name here. What was made or run before the model, in any program of the same process, has taken the lower numbers
//! of each kind.

use std::collections::HashMap;

/// A name and a shape.
pub(super) type Described<'a> = (&'a str, &'a [usize]);

/// Kinds of layers, as Paddle calls them; the last is the masked-LM head of 2.5.
const EMBEDDING: &str = "embedding";
const LINEAR: &str = "linear";
const NORM: &str = "layer_norm";
const HEAD: &str = "ernie_lm_prediction_head";

/// The kind and the number of the layer that a variable is of, if it is called by number.
fn layer_of(name: &str) -> Option<(&str, usize)> {
    let (layer, leaf) = name.split_once('.')?;
    let (kind, number) = numbered(layer)?;
    let is_known = [EMBEDDING, LINEAR, NORM, HEAD].contains(&kind) && ["w_0", "b_0"].contains(&leaf);
    is_known.then_some((kind, number))
}

/// Whether a variable of an ERNIE may be called so.
pub(super) fn is_known(name: &str) -> bool {
    layer_of(name).is_some()
}

/// The dynamic names of the variables that are called by number; none if there are none.
///
/// # Errors
/// Says why they cannot be those of an ERNIE.
pub(super) fn dynamic_names(variables: &[Described<'_>]) -> Result<HashMap<String, String>, String> {
    let Some(ernie) = Ernie::recognise(variables)? else { return Ok(HashMap::new()) };
    let tensors = ernie.tensors(variables);
    let mut found = HashMap::new();
    for (name, shape) in variables {
        let Some((dynamic, expected)) = tensors.get(*name) else { continue };
        if shape != expected {
            let layers = ernie.layers;
            return Err(format!("`{name}` has the shape {shape:?}, and in an ERNIE of {layers} layers {expected:?}"));
        }
        found.insert(name.to_string(), dynamic.clone());
    }
    Ok(found)
}

/// The model that the numbers count through.
#[derive(Debug)]
struct Ernie {
    layers: usize,
    words: usize,
    hidden: usize,
    intermediate: usize,
    masked_lm: bool,
    /// Whether the decoder is a layer of its own (PaddleNLP 2.8).
    decoder: bool,
    /// The first numbers of the kinds of layers.
    embedding: usize,
    linear: usize,
    norm: usize,
    head: usize,
}

impl Ernie {
    /// Finds the model; none if a kind of layer is missing altogether.
    fn recognise(variables: &[Described<'_>]) -> Result<Option<Self>, String> {
        let of = |wanted: &'static str| {
            let all = variables.iter().filter_map(|(name, shape)| Some((layer_of(name)?, *shape)));
            all.filter(move |((kind, _), _)| *kind == wanted).map(|((_, number), shape)| (number, shape))
        };
        let range = |kind| {
            let numbers = || of(kind).map(|(number, _)| number);
            Some(numbers().min()?..numbers().max()? + 1)
        };
        let (Some(embeddings), Some(linears), Some(norms)) = (range(EMBEDDING), range(LINEAR), range(NORM)) else {
            return Ok(None);
        };
        // One norm after the embeddings, two in a layer, one in the masked-LM head. After the layers' linear layers
        // come up to four of a pre-training model, or the pooler (which a pruned program lacks) and the head of some
        // task. A layer without a variable is none.
        let layers = norms.len().saturating_sub(1) / 2;
        let counted = (1..=variables.len()).contains(&layers);
        if !(counted && (3..=4).contains(&embeddings.len()) && linears.len() / 6 == layers) {
            return Err(format!(
                "{} embeddings, {} linear layers and {} layer norms are not those of an ERNIE",
                embeddings.len(),
                linears.len(),
                norms.len()
            ));
        }
        let (linear, decoder) = (linears.start, linears.start + 6 * layers + 2);
        let first = |kind, wanted: &dyn Fn(usize) -> bool| of(kind).find(|(number, _)| wanted(*number));
        let length = |length: Option<&usize>| length.copied().unwrap_or_default();
        let words = length(first(EMBEDDING, &|number| number == embeddings.start).and_then(|(_, shape)| shape.first()));
        let hidden = length(first(NORM, &|number| number == norms.start).and_then(|(_, shape)| shape.last()));
        let wide = first(LINEAR, &|number| (number - linear) % 6 == 4 && number < linear + 6 * layers);
        let is_decoder =
            |(number, shape): (usize, &[usize])| number == decoder && (shape == [words] || shape == [words, hidden]);
        Ok(Some(Self {
            layers,
            words,
            hidden,
            intermediate: length(wide.and_then(|(_, shape)| shape.last())),
            masked_lm: norms.len() == 2 * layers + 2,
            decoder: of(LINEAR).any(is_decoder),
            embedding: embeddings.start,
            linear,
            norm: norms.start,
            head: range(HEAD).map_or(0, |numbers| numbers.start),
        }))
    }

    /// The variables that have a dynamic name: that name, and the shape that they must have. A table may have any number of rows.
    fn tensors(&self, variables: &[Described<'_>]) -> HashMap<String, (String, Vec<usize>)> {
        let (layers, hidden) = (self.layers, self.hidden);
        let mut all = HashMap::new();
        for (at, table) in ["word", "position", "token_type", "task_type"].into_iter().enumerate() {
            let name = format!("{EMBEDDING}_{}.w_0", self.embedding + at);
            let rows = variables.iter().find(|(found, _)| *found == name).and_then(|(_, shape)| shape.first());
            let shape = vec![rows.copied().unwrap_or_default(), hidden];
            all.insert(name, (format!("ernie.embeddings.{table}_embeddings.weight"), shape));
        }
        let decoder_bias = ("cls.predictions.decoder_bias".to_string(), vec![self.words]);
        all.insert(format!("{HEAD}_{}.b_0", self.head), decoder_bias.clone());
        if self.decoder {
            all.insert(format!("{LINEAR}_{}.b_0", self.linear + 6 * layers + 2), decoder_bias);
        }
        let mut add = |layer: String, dynamic: &str, weight: &[usize]| {
            let bias = weight[weight.len() - 1..].to_vec();
            all.insert(format!("{layer}.w_0"), (format!("{dynamic}.weight"), weight.to_vec()));
            all.insert(format!("{layer}.b_0"), (format!("{dynamic}.bias"), bias));
        };
        let linear = |at: usize| format!("{LINEAR}_{}", self.linear + at);
        let norm = |at: usize| format!("{NORM}_{}", self.norm + at);
        add(norm(0), "ernie.embeddings.layer_norm", &[hidden]);
        for layer in 0..layers {
            let parts = [
                ("self_attn.q_proj", hidden, hidden),
                ("self_attn.k_proj", hidden, hidden),
                ("self_attn.v_proj", hidden, hidden),
                ("self_attn.out_proj", hidden, hidden),
                ("linear1", hidden, self.intermediate),
                ("linear2", self.intermediate, hidden),
            ];
            for (at, (part, ins, outs)) in parts.into_iter().enumerate() {
                add(linear(6 * layer + at), &format!("ernie.encoder.layers.{layer}.{part}"), &[ins, outs]);
            }
            for at in [1, 2] {
                add(norm(2 * layer + at), &format!("ernie.encoder.layers.{layer}.norm{at}"), &[hidden]);
            }
        }
        add(linear(6 * layers), "ernie.pooler.dense", &[hidden, hidden]);
        if self.masked_lm {
            add(linear(6 * layers + 1), "cls.predictions.transform", &[hidden, hidden]);
            add(norm(2 * layers + 1), "cls.predictions.layer_norm", &[hidden]);
            add(linear(6 * layers + 2 + usize::from(self.decoder)), "cls.seq_relationship", &[hidden, 2]);
        }
        all
    }
}

/// A name that ends in a number, without it, and the number.
pub(super) fn numbered(name: &str) -> Option<(&str, usize)> {
    let (base, digits) = name.rsplit_once('_')?;
    Some((base, number(digits)?))
}

/// A number as Paddle writes it: nothing before its first digit. No program has four thousand million layers.
pub(super) fn number(digits: &str) -> Option<usize> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(usize::try_from(number).ok()?)
}
