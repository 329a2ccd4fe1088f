//! `--device`, `--threads` and `--precision` of `kiln predict`, `encode` and `eval`.

use std::path::Path;

use super::{Ended, Place, command, kiln, model_copy, tensors, trained};

/// One of the three commands on the trained model, with more arguments.
fn run(command: &str, place: &Place, more: &[&str]) -> Ended {
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\n").display().to_string();
    let path = |path: &Path| path.display().to_string();
    let (run, recipe, output) = (path(trained()), path(&trained().join("recipe.toml")), place.text("out"));
    // Evaluated is a copy: others read the figures that stand in the run folder.
    if !place.path("model").exists() {
        model_copy(place);
    }
    let own: &[&str] = match command {
        "eval" => &[&place.text("model"), &recipe, "data.max_eval_rows=4"],
        _ => &[&run, "--input", &texts, "--output", &output],
    };
    kiln([command].iter().chain(own).chain(more))
}

#[test]
fn what_is_no_device_is_refused_by_each_command() {
    let place = Place::new();
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--device", "cdua"], &["no backend is called `cdua`; did you mean `cuda`?", "This build has auto, "]),
        (&["--device", "tpu"], &["no backend is called `tpu`; this build has auto, ", "flex (the CPU)"]),
        // Backends are features of the build: Metal is never in one together with what these tests run on.
        (&["--device", "metal"], &["\"metal\" is not part of this build, which has", "help: build with"]),
        (
            &["--device", "flex:1"],
            &["there is no device 1: flex has 1, counted from 0", "help: this build finds ", "flex:0"],
        ),
        (&["--device", "flex:one"], &["`one` is not the number of a device, such as 0 in flex:0"]),
        (&["--threads", "0"], &["'--threads <N>'", "0 is not in 1..=65536"]),
        (&["--precision", "half"], &["'half'", "there are f32, bf16, f16, int8"]),
    ];
    for command in ["predict", "encode", "eval"] {
        for (more, words) in cases {
            run(command, &place, more).with(2, words);
        }
    }
    assert!(!place.path("out").exists());
}

#[test]
fn the_device_that_is_asked_for_computes_the_same() {
    let place = Place::new();
    let said = ["--device", "flex:0", "--precision", "f32"];
    for command in ["predict", "encode"] {
        let output = |more: &[&str]| {
            run(command, &place, more).with(0, &[]);
            std::fs::read(place.path("out")).unwrap()
        };
        assert!(output(&said) == output(&[]), "{command}");
    }
    assert!(!tensors(&place.path("out")).is_empty());
}

/// A recipe's device is that of the machine it was trained on.
#[test]
fn options_go_before_the_recipe_of_a_run() {
    let place = Place::new();
    run("eval", &place, &["device.backend=metal"]).with(2, &["\"metal\" is not part of this build"]);
    let ended = run("eval", &place, &["device.backend=metal", "--device", "flex"]).with(0, &[]);
    assert!(ended.stdout.contains("accuracy"), "{}", ended.stdout);
}

/// Counted while the command waits for its input.
#[test]
#[cfg(target_os = "linux")]
fn threads_are_as_many_as_asked_for() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let run = trained().display().to_string();
    let count = |threads: &str| {
        let arguments = ["encode", &run, "--input", "-", "--output", "/dev/null", "--threads", threads];
        let mut child = command(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!({ line }.any(|line| line.contains("tensors loaded")));
        let tasks = std::fs::read_dir(Path::new("/proc").join(child.id().to_string()).join("task")).unwrap().count();
        drop(child.stdin.take());
        child.wait().unwrap();
        tasks
    };
    assert_eq!(count("7"), count("2") + 5);
}

/// On a GPU losses are read from the device when a line of the log or a checkpoint is due: when that is changes nothing that is learnt.
#[test]
fn how_often_is_logged_changes_no_bit() {
    let trained = |logging: &str| {
        let place = Place::new();
        place.train(&[logging, "evaluation.every_steps=12"]).with(0, &["step 12/12"]);
        let lines = std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
        let sum = |key: &str| -> f64 {
            let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.filter(|line| line["kind"] == "train").filter_map(|line| line[key].as_f64()).sum()
        };
        (std::fs::read(place.path("run/last/model.safetensors")).unwrap(), sum("loss"))
    };
    let ((often, losses), (seldom, mean)) = (trained("training.logging_steps=1"), trained("training.logging_steps=12"));
    assert!(often == seldom, "other weights");
    // Rows have one label each, and all steps have as many rows.
    assert!((losses / 12.0 - mean).abs() < 1e-6, "{} {mean}", losses / 12.0);
}

/// A graphics driver in software is far slower than the CPU backend: it computes for those who ask, with a warning, in the precisions that
/// it has.
#[test]
#[cfg(feature = "wgpu")]
fn a_driver_in_software_is_for_those_who_ask() {
    let devices = kiln(["devices"]).with(0, &[]).stdout;
    let found: Vec<&str> = devices.lines().filter(|line| line.starts_with("wgpu     0")).collect();
    let [device] = found[..] else { return println!("skipped: no wgpu device") };
    if !device.contains(", software, ") {
        return println!("skipped: {device}");
    }
    assert!(devices.ends_with("\"auto\" takes flex\n"), "{devices}");
    let place = Place::new();
    run("predict", &place, &["--device", "wgpu"]).with(0, &["software", "slower than the CPU backend"]);
    run("predict", &place, &["--device", "wgpu:1"]).with(2, &["wgpu has 1", "this build finds wgpu:0, "]);
    if !device.contains("bf16") {
        let words = ["cannot compute in bf16", "it computes in f32"];
        run("predict", &place, &["--device", "wgpu", "--precision", "bf16"]).with(2, &words);
    }
}
