//! The small files of model folders: `config.json`, `model.safetensors.index.json`, `options.json`, `vocab.txt`, `tokenizer_config.json`.

#![no_main]

use kiln::model_folder;
use kiln::models::FAMILIES;
use kiln::tokenize::{Tokenizer, TokenizerOptions};
use kiln_fuzz::{choice, folder, read_weights, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([kind], bytes)) = choice(bytes) else { return };
    match kind % 4 {
        0 => {
            let folder = folder("config");
            write(&folder, "config.json", bytes);
            let _ = model_folder::describe(&folder);
            let _ = model_folder::elmo::read_config(&folder);
        }
        1 => {
            let folder = folder("index");
            write(&folder, "model.safetensors.index.json", bytes);
            read_weights(&folder);
        }
        2 => {
            let folder = folder("options");
            write(&folder, "weights.hdf5", b"");
            write(&folder, "options.json", bytes);
            let _ = model_folder::elmo::read_config(&folder);
        }
        _ => {
            let folder = folder("vocabulary");
            let mut parts = bytes.splitn(2, |byte| *byte == 0);
            write(&folder, "vocab.txt", parts.next().unwrap_or_default());
            write(&folder, "tokenizer_config.json", parts.next().unwrap_or(b"{}"));
            for family in FAMILIES {
                if let Ok(tokenizer) = Tokenizer::from_dir(family.tokenizers, &folder, TokenizerOptions::default()) {
                    let row = tokenizer.encode("Kiln 训练 fine-tunes\u{301}.", Some("[MASK] b"), Some(16));
                    let _ = tokenizer.decode(&row.ids);
                }
            }
        }
    }
});
