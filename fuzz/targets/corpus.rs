//! A corpus of token ids in either layout (`P_ids.npy` and `P_idx.npz`, or `P.bin` and `P.idx`) and its index of samples: opened, and
//! every sentence and sample read.

#![no_main]

use kiln::corpus::Corpus;
use kiln::corpus::index::{Documents, IndexSettings, SampleIndex};
use kiln_fuzz::{choice, folder, let_panics_be_caught, write};
use libfuzzer_sys::fuzz_target;

// The first bytes say which layout, and how long the two files are; what is left is the index of samples.
fuzz_target!(|bytes: &[u8]| {
    let_panics_be_caught();
    let Some(([kind, a, b, c, d], rest)) = choice(bytes) else { return };
    let folder = folder("corpus");
    for entry in std::fs::read_dir(&folder).expect("the folder").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    let cut = |rest: &'_ [u8], length: [u8; 2]| rest.len().min(u16::from_le_bytes(length).into());
    let (ids, rest) = rest.split_at(cut(rest, [*a, *b]));
    let (table, index) = rest.split_at(cut(rest, [*c, *d]));
    let endings = if kind & 1 == 0 { ["c_ids.npy", "c_idx.npz"] } else { ["c.bin", "c.idx"] };
    write(&folder, endings[0], ids);
    write(&folder, endings[1], table);
    let Ok(corpus) = Corpus::open(&folder.join("c")) else { return };
    for document in 0..corpus.documents().min(64) {
        for sentence in corpus.document(document).take(64) {
            assert_eq!(corpus.sentence(sentence).len(), corpus.sentence_len(sentence));
        }
    }
    if kind & 2 == 0 || corpus.documents() > 64 {
        return;
    }
    let file = write(&folder, "c_train_indexmap.npy", index);
    let documents = Documents::survey(&corpus, 0..corpus.documents(), false);
    let settings = IndexSettings { samples: 8, max_seq_length: 32, short_seq_prob: 0.1, seed: 1 };
    let Ok(samples) = SampleIndex::open(&corpus, &documents, &settings, &file) else { return };
    for sample in 0..samples.samples().min(64) {
        let _ = samples.span(sample);
    }
});
