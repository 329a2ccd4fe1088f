//! `weights.hdf5` of AllenAI's ELMo: opened, and the datasets of a tiny model read.

#![no_main]

use kiln::weights::Hdf5;
use kiln_fuzz::{folder, let_panics_be_caught, write};
use libfuzzer_sys::fuzz_target;

/// Of an ELMo with one filter and one layer.
const DATASETS: &[(&str, &[usize])] = &[
    ("char_embed", &[5, 2]),
    ("CNN/W_cnn_0", &[1, 1, 2, 3]),
    ("CNN/b_cnn_0", &[3]),
    ("CNN_proj/W_proj", &[3, 2]),
    ("RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0", &[4, 8]),
    ("RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/B", &[8]),
];

fuzz_target!(|bytes: &[u8]| {
    let_panics_be_caught();
    let Ok(file) = Hdf5::open(&write(&folder("elmo"), "weights.hdf5", bytes)) else { return };
    for (name, shape) in DATASETS {
        let _ = file.read(name, shape);
    }
});
