//! From the names of checkpoints to the parameters of Kiln's modules, and back to those of either library.

use super::TensorNames;

/// Whose names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    HuggingFace,
    Paddle,
}

/// A parameter that a table of names knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameter {
    /// The submodule in Kiln's words, with `{n}` for the number of a layer: `backbone.encoder.layers.{n}.output`.
    pub module: &'static str,
    pub layer: Option<usize>,
    pub leaf: Leaf,
}

/// What of a submodule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    Weight,
    Bias,
}

impl Leaf {
    /// The first published BERTs call the leaves of a layer norm gamma and beta.
    fn of(word: &str) -> Option<Self> {
        match word {
            "weight" | "gamma" => Some(Self::Weight),
            "bias" | "beta" => Some(Self::Bias),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

impl Parameter {
    pub fn new(module: &'static str, leaf: Leaf) -> Self {
        Self { module, layer: None, leaf }
    }

    /// The same leaf of another submodule.
    pub fn of_module(&self, module: &'static str) -> Self {
        Self { module, ..self.clone() }
    }

    /// Whether it is the weight of a linear layer, which PyTorch holds `[out, in]` and Paddle `[in, out]`.
    pub fn is_linear_weight(&self) -> bool {
        self.leaf == Leaf::Weight && !self.module.ends_with("_embeddings") && !self.module.ends_with("norm")
    }

    /// Whether it is a part of the encoder that every checkpoint has; poolers and heads may be made anew.
    pub fn is_of_encoder(&self) -> bool {
        self.module.starts_with("backbone.") && self.module != "backbone.pooler.dense"
    }
}

impl TensorNames {
    /// The parameter that a checkpoint of either library calls by this name, with the family's prefix or without.
    pub fn parameter(&self, name: &str) -> Option<Parameter> {
        let bare = name.strip_prefix(self.prefix).unwrap_or(name);
        self.names.iter().copied().flatten().find_map(|known| {
            let name = if known.ours.starts_with("backbone.") { bare } else { name };
            let (layer, leaf) = [known.hugging_face, known.paddle].iter().find_map(|pattern| find(pattern, name))?;
            Some(Parameter { module: known.ours, layer, leaf })
        })
    }

    /// The name of a parameter in a library's checkpoints; of a bare encoder there is no prefix before it. `None` where the family has
    /// no such parameter.
    pub fn name_of(&self, parameter: &Parameter, style: Style, bare: bool) -> Option<String> {
        let known = self.find(parameter.module)?;
        let pattern = match style {
            Style::HuggingFace => known.hugging_face,
            Style::Paddle => known.paddle,
        };
        let prefix = if parameter.module.starts_with("backbone.") && !bare { self.prefix } else { "" };
        let name = match parameter.layer {
            Some(layer) => pattern.replace("{n}", &layer.to_string()),
            None => pattern.to_string(),
        };
        let glue = if pattern.ends_with('_') { "" } else { "." };
        Some(format!("{prefix}{name}{glue}{}", parameter.leaf.word()))
    }
}

/// The layer and the leaf of a name that a pattern fits.
fn find(pattern: &str, name: &str) -> Option<(Option<usize>, Leaf)> {
    let (layer, rest) = match pattern.split_once("{n}") {
        None => (None, name.strip_prefix(pattern)?),
        Some((before, after)) => {
            let (number, rest) = name.strip_prefix(before)?.split_once('.')?;
            (Some(number.parse().ok()?), rest.strip_prefix(after.strip_prefix('.')?)?)
        }
    };
    let leaf = if pattern.ends_with('_') { rest } else { rest.strip_prefix('.')? };
    Some((layer, Leaf::of(leaf)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::FAMILIES;

    /// A name that is written must be read as what it was written for.
    #[test]
    fn every_name_of_every_family_is_its_own_inverse() {
        let mut checked = 0;
        for family in FAMILIES {
            for known in family.tensors.names.iter().copied().flatten() {
                let layer = known.ours.contains("{n}").then_some(11);
                for style in [Style::HuggingFace, Style::Paddle] {
                    // PaddleNLP calls the heads of questions, and one of RemBERT's, as others: the task tells them apart.
                    if style == Style::Paddle && known.ours == "head.qa_outputs" {
                        continue;
                    }
                    for leaf in [Leaf::Weight, Leaf::Bias] {
                        let parameter = Parameter { module: known.ours, layer, leaf };
                        for bare in [false, true] {
                            let name = family.tensors.name_of(&parameter, style, bare).unwrap();
                            assert_eq!(family.tensors.parameter(&name).as_ref(), Some(&parameter), "{name}");
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 400, "{checked}");
    }

    #[test]
    fn old_leaves_are_known_and_others_are_not() {
        let names = &crate::models::bert::FAMILY.tensors;
        let norm = names.parameter("bert.encoder.layer.3.output.LayerNorm.gamma").unwrap();
        assert_eq!((norm.layer, norm.leaf), (Some(3), Leaf::Weight));
        assert!(!norm.is_linear_weight());
        for strange in ["bert.encoder.layer.x.output.dense.weight", "bert.pooler.dense.scale", "classifier", "weight"] {
            assert_eq!(names.parameter(strange), None, "{strange}");
        }
    }
}
