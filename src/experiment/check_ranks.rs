//! Whether ranks can carry a run out together, before anything is read.

use crate::error::{Problem, Result};
use crate::hash;
use crate::logging;
use crate::ranks::Ranks;
use crate::recipe::{Loaded, Recipe, TaskName};

/// Sees that all ranks run the same recipe with the same build, and that there is work for each.
///
/// # Errors
/// They do not; there are more ranks than blocks of a step; a sharding degree that does not divide them.
pub fn check_ranks(loaded: &Loaded, ranks: &Ranks) -> Result<()> {
    if ranks.is_alone() {
        return Ok(());
    }
    ranks.same("recipe", loaded.resolved_toml())?;
    let build = std::env::current_exe().ok().and_then(|binary| hash::of_file(&binary).ok());
    ranks.same("build of Kiln", build.unwrap_or_default())?;
    if let Some(other) = ranks.others_than_first(instructions())?.first()
        && ranks.is_first()
    {
        logging::meanwhile(|| {
            tracing::warn!(
                "rank {other} has other instructions than rank 0 ({}): the result is not that of one processor to the last bit",
                instructions()
            );
        });
    }
    match fault(&loaded.recipe, ranks.size()) {
        Some(problem) => Err(ranks.error(problem)),
        None => Ok(()),
    }
}

fn fault(recipe: &Recipe, size: usize) -> Option<Problem> {
    let training = &recipe.training;
    let streams = recipe.streams.as_ref().filter(|_| recipe.task.name == TaskName::BidirectionalLm);
    let blocks = streams.map_or(training.blocks(), |streams| streams.devices);
    if size > blocks {
        let rows = training.batch_size;
        let batches = if blocks == 1 { "batch" } else { "batches" };
        let what =
            format!("{size} ranks, and a step has {blocks} {batches} of {rows} rows: a rank computes one at least");
        let help = match streams {
            Some(_) => format!("streams.devices={size} makes steps of {size} batches"),
            None => format!(
                "training.global_batch_size={} makes larger steps; a smaller training.batch_size makes more batches of the same step",
                size * rows
            ),
        };
        return Some(Problem::new(what).help(help));
    }
    let degree = recipe.device.sharding_degree?;
    (!size.is_multiple_of(degree)).then(|| {
        let what = format!("device.sharding_degree is {degree}, which does not divide {size} ranks");
        let divisors: Vec<String> = (1..=size).filter(|d| size.is_multiple_of(*d)).map(|d| d.to_string()).collect();
        Problem::new(what).help(format!("give one of {}, or leave it out for all ranks", divisors.join(", ")))
    })
}

/// The instructions of this processor that the kernels have variants for.
fn instructions() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ];
        let words = found.iter().filter(|(_, found)| *found).map(|(word, _)| *word);
        std::iter::once("x86_64").chain(words).collect::<Vec<_>>().join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_string()
}
