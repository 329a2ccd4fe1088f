//! The learning rates of the schedules.

use kiln::recipe::{Schedule, ScheduleName};
use serde_json::Value;

use crate::fixture;

/// The 125 learning rates of each of PaddleNLP's schedules, beyond their ends.
#[test]
fn schedules_are_paddlenlps() {
    let text = std::fs::read_to_string(fixture("parity/schedules.json")).unwrap();
    let theirs: Value = serde_json::from_str(&text).unwrap();
    let linear = Schedule { name: ScheduleName::Linear, warmup_steps: Some(12), ..Schedule::default() };
    let annealing = |name| Schedule {
        name,
        warmup_steps: Some(10),
        min_learning_rate: 1e-5,
        decay_steps: Some(99),
        ..Schedule::default()
    };
    for (name, recipe, peak) in [
        ("LinearDecayWithWarmup", linear, 5e-5),
        ("LinearAnnealingWithWarmupDecay", annealing(ScheduleName::LinearMin), 1e-4),
        ("CosineAnnealingWithWarmupDecay", annealing(ScheduleName::Cosine), 1e-4),
    ] {
        let schedule = kiln::train::Schedule::new(&recipe, peak, 120);
        for (step, expected) in theirs[name]["lr"].as_array().unwrap().iter().enumerate() {
            let (ours, theirs) = (schedule.at(step as u64), expected.as_f64().unwrap());
            assert!((ours - theirs).abs() < 1e-9, "{name} at {step}: {ours:e}, not {theirs:e}");
        }
    }
}
