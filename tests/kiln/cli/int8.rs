//! `--precision int8`: what is lost by it, and where it is refused.

use std::path::Path;

use kiln::device::precisions;
use kiln::recipe::Precision;

use super::{Place, kiln, tensors, trained};
use crate::{backend, real_data};

fn is_here() -> bool {
    let is_here = precisions(&crate::device()).contains(&Precision::Int8);
    if !is_here {
        eprintln!("skipped: this device has no int8 products");
    }
    is_here
}

/// Vectors of texts, of unit length, one after the other.
fn vectors(place: &Place, model: &Path, texts: &Path, precision: &str) -> Vec<Vec<f32>> {
    let output = place.path("vectors.safetensors");
    let words = ["--pooling", "mean", "--normalize", "--precision", precision, "--device", &backend()];
    let files =
        [("--input", texts), ("--output", &output)].map(|(word, file)| [word.into(), file.display().to_string()]);
    let all = ["encode".to_string(), model.display().to_string()].into_iter().chain(files.into_iter().flatten());
    kiln(all.chain(words.map(String::from))).with(0, &[]);
    let found = &tensors(&output)["embeddings"];
    found.1.chunks(found.0[1]).map(<[f32]>::to_vec).collect()
}

/// The least and the mean cosine of pairs of vectors of unit length.
fn cosines(left: &[Vec<f32>], right: &[Vec<f32>]) -> (f32, f32) {
    let cosine = |(left, right): (&Vec<f32>, &Vec<f32>)| left.iter().zip(right).map(|(x, y)| x * y).sum::<f32>();
    let cosines: Vec<f32> = left.iter().zip(right).map(cosine).collect();
    (cosines.iter().copied().fold(1.0, f32::min), cosines.iter().sum::<f32>() / cosines.len() as f32)
}

/// Of a trained toy, the labels that int8 gives are those of f32, all but a few; the vectors hardly turn.
#[test]
fn a_trained_model_predicts_the_same_in_int8() {
    if !is_here() {
        return;
    }
    let place = Place::new();
    let rows = "datasets/samples/quickstart-nli/dev.en.tsv";
    let labels = |precision: &str| -> Vec<serde_json::Value> {
        let model = trained().display().to_string();
        let words = ["predict", &model, "--input", rows, "--precision", precision, "--device", &backend()];
        let lines = kiln(words).with(0, &[]).stdout;
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["label"].clone()).collect()
    };
    let (whole, int8) = (labels("f32"), labels("int8"));
    let same = whole.iter().zip(&int8).filter(|(left, right)| left == right).count();
    assert!(same * 100 >= whole.len() * 98, "{same} of {}", whole.len());
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\nPaul buys 2 blue roses at the station.\n");
    let (least, _) = cosines(&vectors(&place, trained(), &texts, "f32"), &vectors(&place, trained(), &texts, "int8"));
    assert!(least > 0.999 && least < 1.0 - 1e-7, "{least}");
}

/// Sentences in fifteen languages through the twelve layers of multilingual-e5-small.
#[test]
fn vectors_of_a_real_encoder_stay_close_in_int8() {
    let Some(root) = real_data() else { return };
    if !is_here() {
        return;
    }
    let (place, mut texts) = (Place::new(), String::new());
    for language in ["ar", "de", "en", "hi", "sw", "th", "zh"] {
        let text = std::fs::read_to_string(root.join(format!("data/xnli/dev-{language}.tsv"))).unwrap();
        text.lines().take(12).for_each(|line| texts += &format!("{}\n", line.split('\t').next().unwrap()));
    }
    let (texts, model) = (place.write("texts.txt", texts), root.join("data/weights/e5-small-as-ernie-m"));
    let (least, mean) = cosines(&vectors(&place, &model, &texts, "f32"), &vectors(&place, &model, &texts, "int8"));
    println!("cosine: least {least}, mean {mean}");
    assert!(least > 0.99 && mean > 0.995, "{least} {mean}");
}

#[test]
fn nothing_is_trained_in_int8() {
    let words = ["has no gradients to train with", "`--precision int8`"];
    Place::new().train(&["device.precision=int8"]).with_problems(2, 1, &words);
}
