//! Rules about gradients, updates and the learning rate.

use super::Rule;
use crate::recipe::schema::{Optimizer, Recipe};
use crate::recipe::words::{ClipBy, OptimizerName, ScheduleName};

pub(super) const RULES: &[Rule] = &[
    Rule { keys: &["schedule.min_learning_rate", "optimizer.learning_rate"], broken: learning_rates },
    Rule { keys: &["schedule.min_learning_rate", "schedule.name"], broken: min_learning_rate_unused },
    Rule { keys: &["schedule.decay_steps", "schedule.name"], broken: decay_steps_unused },
    Rule { keys: &["schedule.warmup_steps", "schedule.decay_steps", "training.max_steps"], broken: warmup },
    Rule { keys: &["optimizer.clip_by", "optimizer.max_grad_norm"], broken: clip_by_unused },
    Rule { keys: &["optimizer.weight_decay", "optimizer.name"], broken: weight_decay_unused },
    Rule { keys: &["optimizer.l2", "optimizer.name"], broken: l2_unused },
    Rule { keys: &["features.elmo_l2_coef", "optimizer.name"], broken: elmo_l2_unused },
    Rule { keys: &["optimizer.crf_learning_rate", "task.crf"], broken: crf_rate_unused },
    Rule { keys: &["optimizer.epsilon", "optimizer.name", "optimizer.initial_accumulator_value"], broken: epsilon },
];

fn learning_rates(recipe: &Recipe) -> Option<(String, &'static str)> {
    let (least, most) = (recipe.schedule.min_learning_rate, recipe.optimizer.learning_rate);
    (least > most).then(|| {
        let what = format!("`schedule.min_learning_rate` {least:?} is above `optimizer.learning_rate` {most:?}");
        (what, "min_learning_rate is where the learning rate ends: give a value below learning_rate")
    })
}

fn has_floor(recipe: &Recipe) -> bool {
    matches!(recipe.schedule.name, ScheduleName::LinearMin | ScheduleName::Cosine)
}

const FLOOR_HELP: &str = "choose `name = \"linear-min\"` or `\"cosine\"` in [schedule], or leave it out";

fn min_learning_rate_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.schedule.min_learning_rate > 0.0 && !has_floor(recipe)).then(|| {
        let name = recipe.schedule.name.word();
        (format!("`schedule.min_learning_rate` has no effect with the schedule \"{name}\""), FLOOR_HELP)
    })
}

fn decay_steps_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.schedule.decay_steps.is_some() && !has_floor(recipe)).then(|| {
        let name = recipe.schedule.name.word();
        (format!("`schedule.decay_steps` has no effect with the schedule \"{name}\""), FLOOR_HELP)
    })
}

fn warmup(recipe: &Recipe) -> Option<(String, &'static str)> {
    let warmup = recipe.schedule.warmup_steps?;
    let limits =
        [("schedule.decay_steps", recipe.schedule.decay_steps), ("training.max_steps", recipe.training.max_steps)];
    let (key, limit) =
        limits.into_iter().find_map(|(key, limit)| Some((key, limit.filter(|limit| warmup > *limit)?)))?;
    let what = format!("`schedule.warmup_steps` is {warmup}, more than `{key}` {limit}");
    Some((what, "the warm-up must end before the learning rate has come down"))
}

fn clip_by_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.optimizer.clip_by != ClipBy::default() && recipe.optimizer.max_grad_norm == 0.0).then(|| {
        let what = "`optimizer.clip_by` has no effect without `optimizer.max_grad_norm`";
        (what.to_string(), "give the largest norm as max_grad_norm in [optimizer]; Paddle's example has 1.0")
    })
}

fn weight_decay_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, weight_decay, .. } = recipe.optimizer;
    (weight_decay > 0.0 && name != OptimizerName::AdamW).then(|| {
        let what = format!("`optimizer.weight_decay` has no effect with the optimizer \"{}\"", name.word());
        (what, "give `l2`, which is added to the gradients, or choose \"adamw\"")
    })
}

fn l2_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, l2, .. } = recipe.optimizer;
    (l2 > 0.0 && name == OptimizerName::AdamW).then(|| {
        let what = "`optimizer.l2` has no effect with the optimizer \"adamw\"";
        (what.to_string(), "give `weight_decay`, or choose \"adam\"")
    })
}

fn elmo_l2_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    let features = recipe.features.as_ref()?;
    (features.elmo_l2_coef > 0.0 && recipe.optimizer.name == OptimizerName::AdamW).then(|| {
        let what = "`features.elmo_l2_coef` has no effect with the optimizer \"adamw\"";
        (what.to_string(), "choose \"adam\", or give 0")
    })
}

fn crf_rate_unused(recipe: &Recipe) -> Option<(String, &'static str)> {
    (recipe.optimizer.crf_learning_rate != 1.0 && recipe.task.crf != Some(true)).then(|| {
        let what = "`optimizer.crf_learning_rate` has no effect without `task.crf`";
        (what.to_string(), "leave it out, or give `crf = true` in [task]")
    })
}

fn epsilon(recipe: &Recipe) -> Option<(String, &'static str)> {
    let Optimizer { name, epsilon, initial_accumulator_value, .. } = recipe.optimizer;
    let divides = match name {
        OptimizerName::Adagrad => initial_accumulator_value == 0.0,
        OptimizerName::AdamW | OptimizerName::Adam | OptimizerName::RmsProp => true,
        OptimizerName::Sgd => false,
    };
    (epsilon == 0.0 && divides).then(|| {
        let what = "`optimizer.epsilon` is 0: an update would divide by 0 where a gradient is 0";
        (
            what.to_string(),
            "give a number above 0, such as 1e-8; \"adagrad\" needs none with `initial_accumulator_value`",
        )
    })
}
