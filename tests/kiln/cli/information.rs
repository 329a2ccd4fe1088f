//! Commands that only tell: devices, recipes, help.

use serde_json::Value;

use super::{Place, kiln, trained};

#[test]
fn devices_says_what_auto_takes() {
    let text = kiln(["devices"]).with(0, &[]).stdout;
    for backend in ["cuda", "rocm", "metal", "vulkan", "wgpu", "flex", "ndarray"] {
        assert_eq!(text.lines().filter(|line| line.split(' ').next() == Some(backend)).count(), 1, "{text}");
    }
    assert!(text.contains("device.backend = \"auto\" takes "), "{text}");
}

#[test]
fn recipes_are_listed_and_the_listed_ones_are_fine() {
    let text = kiln(["recipe", "list"]).with(0, &[]).stdout;
    let names: Vec<&str> =
        text.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"quickstart") && names.contains(&"ernie-m/xnli-cross-lingual-transfer"), "{text}");
    for name in names {
        let said = kiln(["recipe", "check", name]).with(0, &[]).stdout;
        assert!(said.contains(": fine ("), "{said}");
    }
}

#[test]
fn show_tells_where_each_value_comes_from_and_runs_again() {
    let text = kiln(["recipe", "show", "quickstart", "training.seed=7"]).with(0, &[]).stdout;
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("seed = 7").ends_with("# argument 1"));
    assert!(line("learning_rate = 0.002").contains("quickstart.toml:"));
    assert!(line("weight_decay = 0.0").ends_with("# default"));
    assert!(line("# patience =").ends_with("# not set"));
    let place = Place::new();
    let shown = place.write("shown.toml", &text).display().to_string();
    kiln(["recipe", "check", &shown]).with(0, &[]);
    let documented = kiln(["recipe", "show", "--docs", "quickstart"]).with(0, &[]).stdout;
    assert!(documented.contains("# Highest learning rate of the schedule."), "{documented}");
}

#[test]
fn the_schema_is_json_with_every_section() {
    let schema: Value = serde_json::from_str(&kiln(["recipe", "schema"]).with(0, &[]).stdout).unwrap();
    for section in
        ["model", "task", "data", "training", "optimizer", "schedule", "evaluation", "checkpoint", "export", "device"]
    {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    assert!(kiln(["--help"]).with(0, &[]).stdout.contains("Usage:"));
    assert!(kiln(["--version"]).with(0, &[]).stdout.starts_with("kiln "));
}

/// A full disk behind standard output is an error; only a reader that has gone is not.
#[test]
#[cfg(target_os = "linux")]
fn standard_output_that_cannot_be_written() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = trained().display().to_string();
    let place = Place::new();
    let input = place.write("in.tsv", "A dog\tA cat\n").display().to_string();
    for arguments in [vec!["recipe", "list"], vec!["devices"], vec!["predict", &run, "--input", &input]] {
        let output = super::command(&arguments).stdout(full()).stderr(std::process::Stdio::piped()).output().unwrap();
        super::Ended::from(output).with_problems(1, 1, &["standard output", "cannot be written", "No space left"]);
    }
}
