//! Accumulation, grouping and a table of the words at hand alone change speed, not results.

use super::{Place, largest_difference, newest_checkpoint, tensors};

/// Eight steps without dropout, whose random numbers depend on how rows are cut into batches. The large epsilon keeps AdamW from
/// blowing up gradients that are zero but for rounding (the key projection's bias) to steps of full size.
const EXACT: &[&str] = &[
    "training.max_steps=8",
    "evaluation.every_steps=8",
    "model.config.hidden_dropout_prob=0.0",
    "model.config.attention_probs_dropout_prob=0.0",
    "optimizer.epsilon=1e-3",
];

/// The largest difference between the weights of two runs.
fn difference(left: &[&str], right: &[&str]) -> f32 {
    let [left, right] = [left, right].map(|more| {
        let place = Place::new();
        place.train(&[EXACT, more].concat()).with(0, &[]);
        tensors(&place.path("run/last/model.safetensors"))
    });
    assert!(left.len() == 40 && left.keys().eq(right.keys()));
    left.iter().map(|(name, (_, values))| largest_difference(values, &right[name].1)).fold(0.0, f32::max)
}

/// f32 sums in another order differ by about 1e-7 of the sum; eight updates at 2e-3 carry that into the weights. It is 1.2e-7 where
/// this was written; a step that weighted its micro-batches wrongly would differ by 1e-3.
const ROUNDING: f32 = 1e-5;

const WHOLE: &[&str] = &["training.batch_size=16"];

#[test]
fn four_batches_of_four_rows_are_one_of_sixteen() {
    let parts = ["training.batch_size=4", "training.gradient_accumulation_steps=4"];
    let found = difference(WHOLE, &parts);
    assert!(found < ROUNDING, "{found}");
    let found = difference(WHOLE, &[&parts[..], &["data.group_by_length=false"]].concat());
    assert!(found < ROUNDING, "{found}");
}

#[test]
fn grouping_by_length_changes_nothing() {
    let found = difference(WHOLE, &["training.batch_size=16", "data.group_by_length=false"]);
    assert!(found < ROUNDING, "{found}");
}

/// The tolerance is far below what the number of rows in a step changes.
#[test]
fn other_steps_give_other_weights() {
    let found = difference(WHOLE, &["training.batch_size=4", "training.gradient_accumulation_steps=3"]);
    assert!(found > 100.0 * ROUNDING, "{found}");
}

/// The word table of a run's last checkpoint has this many rows.
fn trained_words(place: &Place) -> usize {
    let tensors = tensors(&newest_checkpoint(&place.path("run")).join("model.safetensors"));
    tensors["ernie_m.embeddings.word_embeddings.weight"].0[0]
}

/// Decay reaches all rows of a whole table; the norm of all gradients and the clipping by it are the same without rows of zeros.
#[test]
fn words_that_no_row_has_change_nothing() {
    let decay = ["optimizer.weight_decay=0.5", "optimizer.max_grad_norm=0.1", "optimizer.layerwise_decay=0.8"];
    let twice = [&decay[..], &["optimizer.layerwise_decay_mode=\"adamwdl\""]].concat();
    for more in [&[][..], &decay, &twice, &["optimizer.name=\"adam\""]] {
        // Which rows go through the model at once depends on its size.
        let run = |word: &'static str| [WHOLE, &["data.group_by_length=false", word], more].concat();
        let found = difference(&run("training.compact_vocabulary=true"), &run("training.compact_vocabulary=false"));
        assert!(found < ROUNDING, "{more:?}: {found}");
    }
}

/// Only with L2, which pulls at all rows, is the whole table trained; a run goes on as it was begun.
#[test]
fn the_words_are_those_of_the_rows() {
    let place = Place::new();
    let stopped = ["training.max_steps=2", "evaluation.every_steps=8"];
    place.train(&stopped).with(0, &["rows of the table of words are trained"]);
    let words = trained_words(&place);
    let [all, few] = [&["training.compact_vocabulary=false"][..], &[]].map(|more| {
        let place = Place::new();
        place.train(&[&stopped, more].concat()).with(0, &[]);
        trained_words(&place)
    });
    assert!(few == words && words < all, "{words} {few} {all}");
    let place = Place::new();
    place.train(&[&stopped[..], &["optimizer.name=\"adam\"", "optimizer.l2=0.1"]].concat()).with(0, &[]);
    assert_eq!(trained_words(&place), all);
}

/// Whoever computes an element adds up its terms in the same order. The model is large enough for its work to be shared out.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let large = ["model.config.hidden_size=256", "model.config.intermediate_size=1024", "training.batch_size=32"];
    let short = ["training.max_steps=3", "evaluation.every_steps=3"];
    let files = ["1", "2", "3"].map(|threads| {
        let (place, threads) = (Place::new(), format!("device.threads={threads}"));
        place.train(&[&large[..], &short, &[&threads]].concat()).with(0, &[]);
        let run = place.path("run");
        let names = ["model.safetensors", "optimizer.safetensors"].map(|name| newest_checkpoint(&run).join(name));
        names.map(|name| std::fs::read(name).unwrap())
    });
    assert!(files[0] == files[1] && files[0] == files[2], "the bytes differ");
}
