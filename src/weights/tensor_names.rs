//! How a parameter of a Burn module is called in a checkpoint file.

/// How the tensors of a family are called in the checkpoints of both ecosystems.
#[derive(Debug)]
pub struct TensorNames {
    /// What the names of the encoder's tensors begin with; files of a bare encoder leave it out.
    pub prefix: &'static str,
    pub names: &'static [&'static [Name]],
    /// Names of tensors that no module reads: the second copies of tied ones.
    pub tied: &'static [&'static str],
}

/// The names of one submodule: in Kiln's modules, in Hugging Face's checkpoints, in PaddleNLP's. `{n}` stands for a layer's
/// number; those of a `backbone` are without the family's prefix. The last word (`weight`, `bias`) is not part of a name; it is put
/// on with a dot, or at once where the name ends in `_`.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    pub(super) ours: &'static str,
    pub(super) hugging_face: &'static str,
    pub(super) paddle: &'static str,
}

impl TensorNames {
    /// Of a model whose tensors are called like the fields of its modules.
    pub const OWN: Self = Self { prefix: "", names: &[], tied: &[] };

    /// Whether a checkpoint may hold a tensor of this name that no module reads: also the buffers of old checkpoints.
    pub fn is_unread(&self, name: &str) -> bool {
        name.ends_with("position_ids") || name.ends_with("token_type_ids") || self.tied.contains(&name)
    }

    pub(super) fn find(&self, ours: &str) -> Option<&Name> {
        self.names.iter().copied().flatten().find(|name| name.ours == ours)
    }
}

impl Name {
    pub const fn new(ours: &'static str, hugging_face: &'static str, paddle: &'static str) -> Self {
        Self { ours, hugging_face, paddle }
    }

    /// A submodule that both libraries call the same.
    pub const fn same(ours: &'static str, theirs: &'static str) -> Self {
        Self::new(ours, theirs, theirs)
    }
}

/// Where a module visitor or mapper is: keep one, and tell it of every `enter_module` and `exit_module`.
#[derive(Debug, Default)]
pub struct ModulePath {
    words: Vec<(String, bool)>,
    in_linear: bool,
}

impl ModulePath {
    pub fn enter(&mut self, name: &str, container: &str) {
        // An enum's variant is entered like a field; it is no part of the path.
        self.words.push((name.to_string(), !container.starts_with("Enum:")));
        self.in_linear = container == "Struct:Linear";
    }

    pub fn exit(&mut self) {
        self.words.pop();
    }

    /// The path in Kiln's own words, joined by dots.
    pub fn joined(&self) -> String {
        self.counted().collect::<Vec<_>>().join(".")
    }

    fn counted(&self) -> impl Iterator<Item = &str> {
        self.words.iter().filter(|(_, counts)| *counts).map(|(word, _)| word.as_str())
    }

    /// Whether this is the weight of a linear layer: Burn and Paddle hold it `[in, out]`, PyTorch `[out, in]`.
    pub fn is_linear_weight(&self) -> bool {
        self.in_linear && self.words.last().is_some_and(|(name, _)| name == "weight")
    }

    /// The names under which a checkpoint may hold this parameter; the first is the one Kiln writes (Hugging Face's).
    pub fn checkpoint_names(&self, names: &TensorNames) -> Vec<String> {
        let mut words: Vec<&str> = self.counted().collect();
        let Some(own) = words.pop() else { return Vec::new() };
        let leaf = match own {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
        let number = words.iter().find(|word| word.parse::<usize>().is_ok()).copied();
        let pattern =
            words.iter().map(|word| if Some(*word) == number { "{n}" } else { word }).collect::<Vec<_>>().join(".");
        let Some(name) = names.find(&pattern) else {
            // A head or an optimizer state of Kiln's own has no other name.
            return vec![format!("{}.{leaf}", words.join("."))];
        };
        // The first published BERTs call the leaves of a layer norm as Burn does.
        let bare = [(name.hugging_face, leaf), (name.paddle, leaf), (name.hugging_face, own)].map(|(pattern, leaf)| {
            let glue = if pattern.ends_with('_') { "" } else { "." };
            format!("{}{glue}{leaf}", pattern.replace("{n}", number.unwrap_or_default()))
        });
        let whole = match pattern.starts_with("backbone.") {
            true => bare.clone().map(|name| format!("{}{name}", names.prefix)),
            false => bare.clone(),
        };
        let mut found: Vec<String> = Vec::new();
        for name in whole.into_iter().chain(bare) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: TensorNames = TensorNames {
        prefix: "ernie_m.",
        names: &[
            &[Name::same("backbone.embeddings.embedding_norm", "embeddings.layer_norm")],
            &[Name::new(
                "backbone.encoder.layers.{n}.attention.query",
                "encoder.layers.{n}.self_attn.self_attn.q_proj",
                "encoder.layers.{n}.self_attn.q_proj",
            )],
        ],
        tied: &[],
    };

    fn path(words: &[(&str, &str)]) -> ModulePath {
        let mut path = ModulePath::default();
        words.iter().for_each(|(name, container)| path.enter(name, container));
        path
    }

    #[test]
    fn both_ecosystems_and_bare_encoders_are_found() {
        let path = path(&[
            ("backbone", "Struct:TaskModel"),
            ("Transformer", "Enum:Backbone"),
            ("encoder", "Struct:Transformer"),
            ("layers", "Struct:Encoder"),
            ("7", "Vec"),
            ("attention", "Struct:EncoderLayer"),
            ("query", "Struct:SelfAttention"),
            ("weight", "Struct:Linear"),
        ]);
        assert!(path.is_linear_weight());
        assert_eq!(
            path.checkpoint_names(&NAMES),
            [
                "ernie_m.encoder.layers.7.self_attn.self_attn.q_proj.weight",
                "ernie_m.encoder.layers.7.self_attn.q_proj.weight",
                "encoder.layers.7.self_attn.self_attn.q_proj.weight",
                "encoder.layers.7.self_attn.q_proj.weight",
            ]
        );
    }

    #[test]
    fn a_layer_norm_is_called_by_weight_and_bias() {
        let path = path(&[
            ("backbone", "Struct:TaskModel"),
            ("Transformer", "Enum:Backbone"),
            ("embeddings", "Struct:Transformer"),
            ("embedding_norm", "Struct:Embeddings"),
            ("gamma", "Struct:LayerNorm"),
        ]);
        assert!(!path.is_linear_weight());
        assert_eq!(path.checkpoint_names(&NAMES)[0], "ernie_m.embeddings.layer_norm.weight");
    }
}
