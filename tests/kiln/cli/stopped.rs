//! Runs that are killed, interrupted, or run out of space: nothing is lost, and the end is the same to the bit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::resume::{Outcome, RUN, checkpoints, finish};
use super::{Ended, Place, command, damage, kiln, snapshot, wait_until};

/// Starts the run of [`RUN`] with more overrides.
fn start(place: &Place, more: &[&str]) -> Child {
    let arguments = place.training(&[RUN, more].concat());
    command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends a signal by its name. The shell's own `kill` is there where the program is not.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

fn end(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn any_name(folder: &Path, matches: impl Fn(&str) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(&matches))
}

/// Something about a run's folder that can be waited for.
type Moment = fn(&Path) -> bool;

/// SIGKILL at moments where something is half done.
#[test]
fn killed_at_awkward_moments() {
    let moments: [Moment; 9] = [
        |run| run.join("recipe.toml").exists(),
        |run| run.join("metrics.jsonl").exists(),
        |run| any_name(&run.join("checkpoints"), |name| name.ends_with(".partial")),
        |run| checkpoints(run).contains(&3),
        |run| any_name(run, |name| name == ".best.partial"),
        |run| lines(&run.join("metrics.jsonl")) >= 3,
        |run| checkpoints(run).contains(&15),
        |run| run.join("last").exists(),
        |run| checkpoints(run).contains(&24),
    ];
    let place = Place::new();
    let run = place.path("run");
    let mut killed = 0;
    for moment in moments {
        let mut child = start(&place, &[]);
        killed += usize::from(wait_until(&mut child, || moment(&run)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed >= 7, "only {killed} were killed before their end");
    finish(&place);
}

/// Each step is a line of the log: a moment that can be seen from outside.
const EVERY_STEP: &[&str] = &["training.logging_steps=1"];

/// The lines in which the process itself says that it has done a step.
fn step_lines(child: &mut Child) -> impl Iterator<Item = String> {
    let log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    log.filter(|line| line.contains("step ") && line.contains("/24, epoch"))
}

/// How long this machine takes to the first step, and to each of the next ones: moments chosen by them are the same on any machine.
fn pace(place: &Place) -> (Duration, Duration) {
    let begun = Instant::now();
    let mut child = start(place, EVERY_STEP);
    let mut steps = step_lines(&mut child);
    steps.next().expect("a first step");
    let start_up = begun.elapsed();
    steps.nth(22).expect("24 steps");
    let step = (begun.elapsed() - start_up) / 23;
    steps.for_each(drop);
    end(child).with(0, &[]);
    (start_up, step)
}

/// Random numbers of the seed `KILN_TEST_SEED`, or another each time; printed, so that a failure can be repeated.
fn random() -> impl FnMut(u64) -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().to_string();
    let mut state: u64 = std::env::var("KILN_TEST_SEED").unwrap_or_else(|_| now()).parse().expect("a whole number");
    println!("KILN_TEST_SEED={state}");
    move |below| {
        // Knuth's MMIX generator; its upper bits.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// SIGKILL at random moments, each in a run begun anew from what the one before has left: after steps that were seen to be made,
/// and in the start-up.
#[test]
fn killed_at_random_moments() {
    let (place, undisturbed, mut random) = (Place::new(), Place::new(), random());
    let (start_up, step) = pace(&undisturbed);
    let mut in_training = 0;
    for kill in 0..10 {
        let mut child = start(&place, EVERY_STEP);
        let steps = if kill % 5 == 4 { 0 } else { 1 + random(5) as usize };
        let made = step_lines(&mut child).take(steps).count();
        // With a checkpoint every three steps, less than six steps bring the run forward by three at most: eight kills find it going on.
        let longest = if steps == 0 { start_up } else { step };
        let wait = random(longest.as_micros() as u64);
        std::thread::sleep(Duration::from_micros(wait));
        child.kill().unwrap();
        in_training += usize::from(child.wait().unwrap().code().is_none() && made > 0);
        println!("kill {kill} after {made} steps and {wait} us; checkpoints {:?}", checkpoints(&place.path("run")));
    }
    assert!(in_training >= 5, "only {in_training} were killed in training");
    place.train(&[RUN, EVERY_STEP].concat()).with(0, &[]);
    Outcome::of(&place.path("run")).assert_is(&Outcome::of(&undisturbed.path("run")));
}

/// Ctrl-C and SIGTERM, again and again: each time a checkpoint of the very step, exit code 130, and a word of what to do.
#[test]
fn interrupted_again_and_again() {
    for name in ["INT", "TERM"] {
        let place = Place::new();
        let (run, metrics) = (place.path("run"), place.path("run/metrics.jsonl"));
        let mut newest = None;
        for wanted in [1, 3, 4] {
            let mut child = start(&place, &[]);
            assert!(wait_until(&mut child, || lines(&metrics) >= wanted), "it ended too early");
            signal(&child, name);
            let ended = end(child).with(130, &["interrupted; everything is saved"]);
            if let Some(step) = newest {
                let from = run.join(format!("checkpoints/step-{step:08}"));
                assert!(ended.stderr.contains(&format!("going on from {}", from.display())), "{}", ended.stderr);
            }
            assert!(!ended.stderr.contains("  × "), "an interruption is no error:\n{}", ended.stderr);
            let step = checkpoints(&run).pop();
            assert!(step > newest, "no new checkpoint: {newest:?}, then {step:?}");
            newest = step;
        }
        finish(&place);
    }
}

/// Before the first step there is nothing to lose, and yet it has to end in order.
#[test]
fn interrupted_at_once() {
    let place = Place::new();
    let mut child = start(&place, &[]);
    assert!(wait_until(&mut child, || place.path("run/train.log").exists()));
    signal(&child, "INT");
    end(child).with(130, &["interrupted; everything is saved"]);
    finish(&place);
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let mut child = start(&place, &[]);
    assert!(wait_until(&mut child, || place.path("run/metrics.jsonl").exists()));
    let second = kiln(place.training(RUN));
    // A slow machine may have let the first one finish.
    if second.code != Some(0) {
        second.with_problems(2, 1, &["another process is working on this run", "help: wait for it"]);
    }
    end(child).with(0, &["done: the best model is"]);
    finish(&place);
}

/// What `keep_last` keeps are checkpoints that one can go on from: damaged ones of later steps must not push out new ones.
#[test]
fn damaged_checkpoints_do_not_push_out_good_ones() {
    let place = Place::new();
    place.train(RUN).with(0, &[]);
    let run = place.path("run");
    for step in checkpoints(&run) {
        damage(&run.join(format!("checkpoints/step-{step:08}/model.safetensors")));
    }
    std::fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let mut child = start(&place, &[]);
    assert!(wait_until(&mut child, || lines(&run.join("metrics.jsonl")) >= 1));
    signal(&child, "INT");
    end(child).with(130, &["everything is saved"]);
    let ended = place.train(RUN).with(0, &[]);
    assert!(ended.stderr.contains("going on from"), "what was saved is gone:\n{}", ended.stderr);
}

/// Starts the run where no file may be larger than 200 kB, so that weights cannot be written (EFBIG instead of a signal).
fn with_little_space(place: &Place) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kiln")]);
    shell.args(place.training(RUN)).current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1");
    shell.output().unwrap().into()
}

#[test]
fn no_space_left_costs_nothing_but_the_time() {
    let place = Place::new();
    let run = place.path("run");
    let mut child = start(&place, &[]);
    assert!(wait_until(&mut child, || checkpoints(&run).contains(&9)));
    signal(&child, "INT");
    end(child).with(130, &[]);
    let (best, kept) = (snapshot(&run.join("best")), snapshot(&run.join("checkpoints")));
    let newest = checkpoints(&run).pop();
    with_little_space(&place).with_problems(1, 1, &["cannot be written", &run.display().to_string()]);
    assert!(snapshot(&run.join("best")) == best, "the best model was touched");
    assert!(snapshot(&run.join("checkpoints")) == kept, "the checkpoints were touched");
    let from = run.join(format!("checkpoints/step-{:08}", newest.unwrap()));
    finish(&place).with(0, &[&format!("going on from {}", from.display())]);
}

#[test]
fn no_space_from_the_start() {
    let place = Place::new();
    with_little_space(&place).with_problems(1, 1, &["cannot be written", "optimizer.safetensors"]);
    assert!(checkpoints(&place.path("run")).is_empty());
    finish(&place);
}

/// `kiln train ... 2>&1 | head -1`: the log's reader goes, the run goes on.
#[test]
fn a_reader_of_the_log_that_goes_away_does_not_end_the_run() {
    let place = Place::new();
    let mut child = start(&place, &[]);
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    finish(&place);
}

/// The exit code is right even where nobody reads the message.
#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command(["recipe", "check", "no-such-recipe"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
