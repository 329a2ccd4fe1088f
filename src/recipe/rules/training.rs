//! Rules about gradients, updates and the learning rate.

use super::Rule;
use crate::recipe::export;
use crate::recipe::schema::{Optimizer, Recipe, Training};
use crate::recipe::words::{ClipBy, OptimizerName, Precision, ScheduleName};

pub(super) const RULES: &[Rule] = &[
    (&["schedule.min_learning_rate", "optimizer.learning_rate"], |recipe| {
        let (least, most) = (recipe.schedule.min_learning_rate, recipe.optimizer.learning_rate);
        (least > most).then(|| {
            let what = format!("`schedule.min_learning_rate` {least:?} is above `optimizer.learning_rate` {most:?}");
            (what, "min_learning_rate is where the learning rate ends: give a value below learning_rate")
        })
    }),
    (&["training.global_batch_size", "training.batch_size"], |recipe| {
        let (rows, batch) = (recipe.training.global_batch_size?, recipe.training.batch_size);
        (rows % batch != 0).then(|| {
            let what = format!("`training.global_batch_size` {rows} is no multiple of `training.batch_size` {batch}");
            (what, "an update is made of whole batches: give a multiple of batch_size")
        })
    }),
    (&["training.global_batch_size", "training.gradient_accumulation_steps"], |recipe| {
        let Training { global_batch_size, gradient_accumulation_steps, .. } = recipe.training;
        (global_batch_size.is_some() && gradient_accumulation_steps != 1).then(|| {
            let what = "`training.global_batch_size` and `training.gradient_accumulation_steps` are both given";
            (what.to_string(), "give one of the two: global_batch_size = batch_size times gradient_accumulation_steps")
        })
    }),
    (&["schedule.min_learning_rate", "schedule.name"], |recipe| {
        without_floor(recipe, "min_learning_rate", recipe.schedule.min_learning_rate > 0.0)
    }),
    (&["schedule.decay_steps", "schedule.name"], |recipe| {
        without_floor(recipe, "decay_steps", recipe.schedule.decay_steps.is_some())
    }),
    (&["schedule.warmup_steps", "schedule.decay_steps", "training.max_steps"], |recipe| {
        let warmup = recipe.schedule.warmup_steps?;
        let limits =
            [("schedule.decay_steps", recipe.schedule.decay_steps), ("training.max_steps", recipe.training.max_steps)];
        let (key, limit) =
            limits.into_iter().find_map(|(key, limit)| Some((key, limit.filter(|limit| warmup > *limit)?)))?;
        let what = format!("`schedule.warmup_steps` is {warmup}, more than `{key}` {limit}");
        Some((what, "the warm-up must end before the learning rate has come down"))
    }),
    (&["optimizer.clip_by", "optimizer.max_grad_norm"], |recipe| {
        (recipe.optimizer.clip_by != ClipBy::default() && recipe.optimizer.max_grad_norm == 0.0).then(|| {
            let what = "`optimizer.clip_by` has no effect without `optimizer.max_grad_norm`";
            (what.to_string(), "give the largest norm as max_grad_norm in [optimizer]; Paddle's example has 1.0")
        })
    }),
    (&["optimizer.weight_decay", "optimizer.name"], |recipe| {
        let Optimizer { name, weight_decay, .. } = recipe.optimizer;
        (weight_decay > 0.0 && name != OptimizerName::AdamW).then(|| {
            let what = format!("`optimizer.weight_decay` has no effect with the optimizer \"{}\"", name.word());
            (what, "give `l2`, which is added to the gradients, or choose \"adamw\"")
        })
    }),
    (&["optimizer.l2", "optimizer.name"], |recipe| {
        let Optimizer { name, l2, .. } = recipe.optimizer;
        (l2 > 0.0 && name == OptimizerName::AdamW).then(|| {
            let what = "`optimizer.l2` has no effect with the optimizer \"adamw\"";
            (what.to_string(), "give `weight_decay`, or choose \"adam\"")
        })
    }),
    (&["training.compact_vocabulary", "optimizer.l2"], |recipe| {
        (recipe.training.compact_vocabulary == Some(true) && recipe.optimizer.l2 > 0.0).then(|| {
            let what =
                "`training.compact_vocabulary` would change the result: `optimizer.l2` moves words that no row has";
            (what.to_string(), "leave it out, or give `weight_decay` with the optimizer \"adamw\" in place of `l2`")
        })
    }),
    (&["features.elmo_l2_coef", "optimizer.name"], |recipe| {
        let features = recipe.features.as_ref()?;
        (features.elmo_l2_coef > 0.0 && recipe.optimizer.name == OptimizerName::AdamW).then(|| {
            let what = "`features.elmo_l2_coef` has no effect with the optimizer \"adamw\"";
            (what.to_string(), "choose \"adam\", or give 0")
        })
    }),
    (&["optimizer.crf_learning_rate", "task.crf"], |recipe| {
        (recipe.optimizer.crf_learning_rate != 1.0 && recipe.task.crf != Some(true)).then(|| {
            let what = "`optimizer.crf_learning_rate` has no effect without `task.crf`";
            (what.to_string(), "leave it out, or give `crf = true` in [task]")
        })
    }),
    (&["export.max_shard_size"], |recipe| {
        let size = &recipe.export.max_shard_size;
        export::bytes(size).is_none().then(|| {
            let what = format!("`export.max_shard_size` cannot be {size:?}");
            (what, export::SIZES)
        })
    }),
    (&["device.precision"], |recipe| {
        (recipe.device.precision == Precision::Int8).then(|| {
            let what = "`device.precision` \"int8\" has no gradients to train with";
            (what.to_string(), "leave it out, and give `--precision int8` to `kiln eval`, `predict` or `encode`")
        })
    }),
    (&["device.scale_loss", "device.precision"], |recipe| {
        (recipe.device.scale_loss.is_some() && recipe.device.precision != Precision::F16).then(|| {
            let what =
                format!("`device.scale_loss` has no effect with the precision \"{}\"", recipe.device.precision.word());
            (what, "leave it out, or give `precision = \"f16\"` in [device]")
        })
    }),
    (&["optimizer.epsilon", "optimizer.name", "optimizer.initial_accumulator_value"], |recipe| {
        let Optimizer { name, epsilon, initial_accumulator_value, .. } = recipe.optimizer;
        let divides = match name {
            OptimizerName::Adagrad => initial_accumulator_value == 0.0,
            OptimizerName::AdamW | OptimizerName::Adam | OptimizerName::RmsProp => true,
            OptimizerName::Sgd => false,
        };
        (epsilon == 0.0 && divides).then(|| {
            let what = "`optimizer.epsilon` is 0: an update would divide by 0 where a gradient is 0";
            let help = "give a number above 0, such as 1e-8; \"adagrad\" needs none with `initial_accumulator_value`";
            (what.to_string(), help)
        })
    }),
];

/// A key, if it is given, of a schedule that goes down to a floor.
fn without_floor(recipe: &Recipe, key: &str, given: bool) -> Option<(String, &'static str)> {
    let has_floor = matches!(recipe.schedule.name, ScheduleName::LinearMin | ScheduleName::Cosine);
    (given && !has_floor).then(|| {
        let what = format!("`schedule.{key}` has no effect with the schedule \"{}\"", recipe.schedule.name.word());
        (what, "choose `name = \"linear-min\"` or `\"cosine\"` in [schedule], or leave it out")
    })
}
