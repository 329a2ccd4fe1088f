//! What a `tokenizer.json` may say before the crate `tokenizers` reads it: that crate takes each step on trust, and a few hundred bytes can
//! ask it for more memory than there is.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::normalizer::Rules;

/// All steps together may make a text so many times longer (bytes). The published tokenizers stay far below a hundred.
const LARGEST_GROWTH: usize = 10_000;
/// All regular expressions together (bytes). Each part of one may become ten megabytes of automaton; the published ones have 500 at most.
const LONGEST_PATTERNS: usize = 2048;

/// The parts of the file that change texts.
#[derive(Deserialize)]
struct Steps {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
}

/// What the steps of one part may do.
struct Effect {
    growth: usize,
    patterns: usize,
}

/// # Errors
/// The file is no JSON, or its steps together let texts grow without bound, or have endless patterns, or a table of characters is damaged.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let Steps { normalizer, pre_tokenizer, decoder } =
        serde_json::from_slice(file).map_err(|cause| cause.to_string())?;
    let mut patterns = 0;
    for (name, part) in [("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("decoder", decoder)] {
        let mut effect = Effect { growth: 1, patterns: 0 };
        part.filter(|part| !part.is_null()).map_or(Ok(()), |part| effect.add(&part))?;
        if effect.growth > LARGEST_GROWTH {
            return Err(format!("its {name} may make a text more than {LARGEST_GROWTH} times as long"));
        }
        patterns += effect.patterns;
    }
    match patterns > LONGEST_PATTERNS {
        true => Err(format!("its patterns have more than {LONGEST_PATTERNS} bytes")),
        false => Ok(()),
    }
}

impl Effect {
    /// Adds a step, or a sequence of steps.
    fn add(&mut self, step: &Value) -> Result<(), String> {
        // The crate would take a list as the fields of a step as well: nobody writes that.
        let Value::Object(fields) = step else { return Err("a step is no object".to_string()) };
        self.grow(growth(fields)?);
        for field in fields.values() {
            match field {
                Value::Array(steps) if !steps.iter().all(Value::is_string) => {
                    steps.iter().try_for_each(|step| self.add(step))?;
                }
                Value::Object(pattern) => {
                    self.patterns += pattern.get("Regex").and_then(Value::as_str).map_or(0, str::len)
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn grow(&mut self, times: usize) {
        self.growth = self.growth.saturating_mul(times.max(1));
    }
}

/// How many times longer a step may make a text.
fn growth(step: &Map<String, Value>) -> Result<usize, String> {
    if let Some(Value::String(table)) = step.get("precompiled_charsmap") {
        let table = base64(table).ok_or("its precompiled_charsmap is no base64")?;
        let rules = Rules::read(&table).map_err(|what| format!("its precompiled_charsmap is damaged: {what}"))?;
        return Ok(rules.longest_replacement());
    }
    if let (Some(pattern), Some(Value::String(content))) = (step.get("pattern"), step.get("content")) {
        let replaced = pattern.get("String").and_then(Value::as_str).map_or(0, str::len);
        // A pattern without a text may match between any two characters.
        return Ok(if replaced == 0 { content.len() + 1 } else { content.len().div_ceil(replaced) });
    }
    // It writes each byte as a character of two bytes at most.
    let is_byte_level = step.get("type").is_none_or(|kind| kind == "ByteLevel");
    Ok(if is_byte_level { 2 } else { 1 })
}

/// The bytes that a text in base64 stands for.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut word = 0u32;
        for (place, byte) in four.iter().enumerate() {
            word |= u32::from(digit(*byte)?) << (18 - 6 * place);
        }
        bytes.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: &str, steps: &str) -> Result<(), String> {
        check(format!(r#"{{"version": "1.0", "{part}": {steps}}}"#).as_bytes())
    }

    #[test]
    fn base64_is_read() {
        for (text, bytes) in
            [("", &b""[..]), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("+/+/YQ", b"\xfb\xff\xbfa")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn what_is_published_passes() {
        let xlm_roberta = r#"{"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "AAAAAGEA"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}"#;
        assert_eq!(of("normalizer", xlm_roberta), Ok(()));
        assert_eq!(of("normalizer", "null"), Ok(()));
        let byte_level = r#"{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated",
            "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}"#;
        assert_eq!(of("pre_tokenizer", byte_level), Ok(()));
    }

    #[test]
    fn steps_that_blow_texts_up_are_refused() {
        let repeated = |step: &str| format!(r#"{{"type": "Sequence", "normalizers": [{}]}}"#, [step; 20].join(", "));
        let message = "its normalizer may make a text more than 10000 times as long";
        for step in [
            r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#,
            r#"{"pattern": {"Regex": ""}, "content": "a"}"#,
            r#"{"type": "ByteLevel"}"#,
            r#"{"type": "Precompiled", "precompiled_charsmap": "AAAAAGFhAA=="}"#,
        ] {
            assert_eq!(of("normalizer", &repeated(step)), Err(message.to_string()), "{step}");
        }
        let nested = (0..20).fold("{\"type\": \"ByteLevel\"}".to_string(), |inner, _| {
            format!(r#"{{"type": "Sequence", "decoders": [{inner}, {{"type": "ByteLevel"}}]}}"#)
        });
        assert_eq!(of("decoder", &nested), Err(message.replace("normalizer", "decoder")));
        assert_eq!(of("normalizer", r#"[{"String": "a"}, "aa"]"#), Err("a step is no object".to_string()));
        let pattern =
            format!(r#"{{"type": "Split", "pattern": {{"Regex": "{}"}}, "behavior": "Isolated"}}"#, "a".repeat(3000));
        assert_eq!(of("pre_tokenizer", &pattern), Err("its patterns have more than 2048 bytes".to_string()));
        // Four bytes that announce a table of 4 GiB.
        let table = r#"{"type": "Precompiled", "precompiled_charsmap": "/////w=="}"#;
        let message = "its precompiled_charsmap is damaged: the normalisation rules are cut short";
        assert_eq!(of("normalizer", table), Err(message.to_string()));
    }
}
