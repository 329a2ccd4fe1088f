//! Enums whose variants are words of a recipe.

/// Declares enums whose variants are words of a recipe. Every variant has a doc comment: editors show it beside the word.
/// Behind `: Default` the first variant is what a key is where it is left out.
macro_rules! words {
    ($($(#[$outer:meta])* $name:ident $(: $default:ident)? { $($(#[$inner:meta])* $variant:ident = $word:literal),+ $(,)? })+) => { $(
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$inner])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All words, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in a recipe.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        $(impl $default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        })?
    )+ };
}

pub(crate) use words;
