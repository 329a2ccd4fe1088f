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
use std::ops::Range;

use super::Described;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedding,
    Linear,
    Norm,
    /// The masked-LM head of 2.5.
    Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Weight,
    Bias,
}

/// A variable that is called by number.
#[derive(Debug, Clone, Copy)]
struct Variable<'a> {
    name: &'a str,
    shape: &'a [usize],
    kind: Kind,
    number: usize,
    leaf: Leaf,
}

impl<'a> Variable<'a> {
    fn parse(name: &'a str, shape: &'a [usize]) -> Option<Self> {
        let (layer, leaf) = name.split_once('.')?;
        let leaf = match leaf {
            "w_0" => Leaf::Weight,
            "b_0" => Leaf::Bias,
            _ => return None,
        };
        let (kind, number) = numbered(layer)?;
        let kind = match kind {
            "embedding" => Kind::Embedding,
            "linear" => Kind::Linear,
            "layer_norm" => Kind::Norm,
            "ernie_lm_prediction_head" => Kind::Head,
            _ => return None,
        };
        Some(Self { name, shape, kind, number, leaf })
    }
}

/// Whether a variable of an ERNIE may be called so.
pub(super) fn is_known(name: &str) -> bool {
    Variable::parse(name, &[]).is_some()
}

/// The dynamic names of the variables that are called by number; none if there are none.
///
/// # Errors
/// Says why they cannot be those of an ERNIE.
pub(super) fn dynamic_names(variables: &[Described<'_>]) -> Result<HashMap<String, String>, String> {
    let mut all: Vec<_> = variables.iter().filter_map(|(name, shape)| Variable::parse(name, shape)).collect();
    let Some(ernie) = Ernie::recognise(&mut all)? else { return Ok(HashMap::new()) };
    let mut found = HashMap::new();
    for variable in &all {
        let Some((dynamic, expected)) = ernie.place(variable) else { continue };
        if variable.shape != expected {
            let (name, shape, layers) = (variable.name, variable.shape, ernie.layers);
            return Err(format!("`{name}` has the shape {shape:?}, and in an ERNIE of {layers} layers {expected:?}"));
        }
        found.insert(variable.name.to_string(), dynamic);
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
}

impl Ernie {
    /// Finds the model and makes its numbers begin at 0; none if a kind of layer is missing altogether.
    fn recognise(all: &mut [Variable<'_>]) -> Result<Option<Self>, String> {
        let range = |kind| numbers(all, kind);
        let (Some(embeddings), Some(linears), Some(norms)) =
            (range(Kind::Embedding), range(Kind::Linear), range(Kind::Norm))
        else {
            return Ok(None);
        };
        let head = range(Kind::Head).map_or(0, |numbers| numbers.start);
        // One norm after the embeddings, two in a layer, one in the masked-LM head. After the layers' linear layers
        // come up to four of a pre-training model, or the pooler (which a pruned program lacks) and the head of some
        // task.
        let layers = norms.len().saturating_sub(1) / 2;
        let fits = layers > 0 && (3..=4).contains(&embeddings.len()) && linears.len() / 6 == layers;
        if !fits {
            return Err(format!(
                "{} embeddings, {} linear layers and {} layer norms are not those of an ERNIE",
                embeddings.len(),
                linears.len(),
                norms.len()
            ));
        }
        for variable in all.iter_mut() {
            variable.number -= match variable.kind {
                Kind::Embedding => embeddings.start,
                Kind::Linear => linears.start,
                Kind::Norm => norms.start,
                Kind::Head => head,
            };
        }
        let shape_of = |wanted: &dyn Fn(&Variable<'_>) -> bool| all.iter().find(|v| wanted(v)).map(|v| v.shape);
        let words = shape_of(&|v| v.kind == Kind::Embedding && v.number == 0);
        let words = words.and_then(<[usize]>::first).copied().unwrap_or_default();
        let hidden = shape_of(&|v| v.kind == Kind::Norm && v.number == 0);
        let intermediate = shape_of(&|v| v.kind == Kind::Linear && v.number % 6 == 4 && v.number < 6 * layers);
        let last = |shape: Option<&[usize]>| shape.and_then(<[usize]>::last).copied().unwrap_or_default();
        let hidden = last(hidden);
        let decoder = |v: &Variable<'_>| {
            let tied = v.shape == [words] || v.shape == [words, hidden];
            v.kind == Kind::Linear && v.number == 6 * layers + 2 && tied
        };
        Ok(Some(Self {
            layers,
            words,
            hidden,
            intermediate: last(intermediate),
            masked_lm: norms.len() == 2 * layers + 2,
            decoder: all.iter().any(decoder),
        }))
    }

    /// The dynamic name of a variable, if it has one, and the shape that it must have.
    fn place(&self, variable: &Variable<'_>) -> Option<(String, Vec<usize>)> {
        let at = variable.number;
        let leaf = match variable.leaf {
            Leaf::Weight => "weight",
            Leaf::Bias => "bias",
        };
        let decoder_bias = || ("cls.predictions.decoder_bias".to_string(), vec![self.words]);
        match variable.kind {
            Kind::Embedding => {
                (variable.leaf == Leaf::Weight).then_some(())?;
                let table = ["word", "position", "token_type", "task_type"].get(at)?;
                let rows = variable.shape.first().copied().unwrap_or_default();
                Some((format!("ernie.embeddings.{table}_embeddings.weight"), vec![rows, self.hidden]))
            }
            Kind::Norm => Some((format!("{}.{leaf}", self.norm(at)?), vec![self.hidden])),
            Kind::Head => (at == 0 && variable.leaf == Leaf::Bias).then(decoder_bias),
            Kind::Linear if self.decoder && at == 6 * self.layers + 2 => {
                (variable.leaf == Leaf::Bias).then(decoder_bias)
            }
            Kind::Linear => {
                let (layer, ins, outs) = self.linear(at)?;
                let shape = if variable.leaf == Leaf::Weight { vec![ins, outs] } else { vec![outs] };
                Some((format!("{layer}.{leaf}"), shape))
            }
        }
    }

    fn norm(&self, at: usize) -> Option<String> {
        match at.checked_sub(1) {
            None => Some("ernie.embeddings.layer_norm".to_string()),
            Some(at) if at < 2 * self.layers => Some(format!("ernie.encoder.layers.{}.norm{}", at / 2, at % 2 + 1)),
            Some(at) => (self.masked_lm && at == 2 * self.layers).then(|| "cls.predictions.layer_norm".to_string()),
        }
    }

    /// The name of a linear layer and how many numbers it takes and gives.
    fn linear(&self, at: usize) -> Option<(String, usize, usize)> {
        const OF_A_LAYER: [&str; 6] =
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "linear1", "linear2"];
        let hidden = self.hidden;
        let Some(after) = at.checked_sub(6 * self.layers) else {
            let (ins, outs) = match at % 6 {
                4 => (hidden, self.intermediate),
                5 => (self.intermediate, hidden),
                _ => (hidden, hidden),
            };
            return Some((format!("ernie.encoder.layers.{}.{}", at / 6, OF_A_LAYER[at % 6]), ins, outs));
        };
        match after {
            0 => Some(("ernie.pooler.dense".to_string(), hidden, hidden)),
            1 if self.masked_lm => Some(("cls.predictions.transform".to_string(), hidden, hidden)),
            _ if self.masked_lm && after == 2 + usize::from(self.decoder) => {
                Some(("cls.seq_relationship".to_string(), hidden, 2))
            }
            _ => None,
        }
    }
}

/// The numbers of a kind of layer, from the least to the greatest.
fn numbers(all: &[Variable<'_>], kind: Kind) -> Option<Range<usize>> {
    let of_the_kind = || all.iter().filter(|variable| variable.kind == kind).map(|variable| variable.number);
    Some(of_the_kind().min()?..of_the_kind().max()? + 1)
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
