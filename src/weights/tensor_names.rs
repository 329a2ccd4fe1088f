//! How a parameter of a Burn module is called in a checkpoint file.

/// The names of one submodule: in Kiln's modules, in Hugging Face's checkpoints, in PaddleNLP's. `{n}` stands for a layer's
/// number. The last word (`weight`, `bias`) is not part of it; it is put on with a dot, or at once where the name ends in `_`.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    ours: &'static str,
    hugging_face: &'static str,
    paddle: &'static str,
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
    pub fn checkpoint_names(&self, table: &[Name]) -> Vec<String> {
        let mut words: Vec<&str> = self.counted().collect();
        let leaf = match words.pop() {
            Some("gamma") => "weight",
            Some("beta") => "bias",
            Some(other) => other,
            None => return Vec::new(),
        };
        let number = words.iter().find(|word| word.parse::<usize>().is_ok()).copied();
        let pattern =
            words.iter().map(|word| if Some(*word) == number { "{n}" } else { word }).collect::<Vec<_>>().join(".");
        let Some(name) = table.iter().find(|name| name.ours == pattern) else {
            // A head or an optimizer state of Kiln's own has no other name.
            return vec![format!("{}.{leaf}", words.join("."))];
        };
        let fill = |pattern: &str| {
            let glue = if pattern.ends_with('_') { "" } else { "." };
            format!("{}{glue}{leaf}", pattern.replace("{n}", number.unwrap_or_default()))
        };
        let mut names = vec![fill(name.hugging_face)];
        for other in [fill(name.paddle), without_prefix(&names[0]), without_prefix(&fill(name.paddle))] {
            if !names.contains(&other) {
                names.push(other);
            }
        }
        names
    }
}

/// Files of a bare encoder leave the family's name out: `ernie_m.embeddings...` is `embeddings...` there.
fn without_prefix(name: &str) -> String {
    const FAMILIES: [&str; 3] = ["ernie_m.", "ernie.", "rembert."];
    FAMILIES.iter().find_map(|family| name.strip_prefix(family)).unwrap_or(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ernie_m::NAMES;

    fn path(words: &[(&str, &str)]) -> ModulePath {
        let mut path = ModulePath::default();
        words.iter().for_each(|(name, container)| path.enter(name, container));
        path
    }

    #[test]
    fn both_ecosystems_and_bare_encoders_are_found() {
        let path = path(&[
            ("backbone", "Struct:TaskModel"),
            ("ErnieM", "Enum:Backbone"),
            ("encoder", "Struct:ErnieM"),
            ("layers", "Struct:Encoder"),
            ("7", "Vec"),
            ("attention", "Struct:EncoderLayer"),
            ("query", "Struct:SelfAttention"),
            ("weight", "Struct:Linear"),
        ]);
        assert!(path.is_linear_weight());
        assert_eq!(
            path.checkpoint_names(NAMES),
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
            ("ErnieM", "Enum:Backbone"),
            ("embedding_norm", "Struct:ErnieM"),
            ("gamma", "Struct:LayerNorm"),
        ]);
        assert!(!path.is_linear_weight());
        assert_eq!(path.checkpoint_names(NAMES)[0], "ernie_m.embeddings.layer_norm.weight");
    }
}
