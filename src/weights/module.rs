//! Between checkpoint files and Burn modules: filling a module, and writing its parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::draws::{Initialisation, draw};
use super::partial_table::PartialTable;
use super::{Format, Layout, ModulePath, TensorNames, Weights, Writer};
use crate::error::{Error, Problem, Result};
use crate::nn::{HasRoles, Role, Roles};

/// What came of reading a checkpoint into a model. All lists hold checkpoint names.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Found and read.
    pub loaded: Vec<String>,
    /// Not in the checkpoint, and made anew.
    pub initialised: Vec<String>,
    /// In the checkpoint, and of no use to this model.
    pub unexpected: Vec<String>,
    /// Of another shape than a head needs, and made anew: name, shape in the file, shape in the model.
    pub reshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        let reshaped: Vec<String> =
            self.reshaped.iter().map(|(name, file, model)| format!("{name} {file:?} -> {model:?}")).collect();
        let lists = [
            ("newly initialised", &self.initialised),
            ("of another shape in the file and newly initialised", &reshaped),
            ("unexpected and left out", &self.unexpected),
        ];
        let mut lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        lists.try_for_each(|(what, names)| write!(f, ", {} {what} ({})", names.len(), shorten(names)))
    }
}

fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Which parameters a checkpoint may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// What the encoder's published weights do not have (heads, poolers, the languages' vectors) is made anew: the start of a training.
    HeadsAreNew,
    /// Nothing may be missing: a trained model is opened again.
    Refuse,
}

/// Gives every parameter of `model` its value: from `weights` where it holds the parameter, else newly made.
///
/// # Errors
/// All missing encoder tensors, and all of a wrong shape, in one error.
pub fn fill<M: HasRoles>(
    model: M,
    weights: Option<&Weights>,
    names: &TensorNames,
    initialisation: Initialisation,
    missing: Missing,
) -> Result<(M, LoadReport)> {
    fill_with_rows(model, weights, names, initialisation, missing, None)
}

/// [`fill`], where `model` holds some rows of its table of words alone.
///
/// # Errors
/// As [`fill`].
pub fn fill_with_rows<M: HasRoles>(
    model: M,
    weights: Option<&Weights>,
    names: &TensorNames,
    initialisation: Initialisation,
    missing: Missing,
    table: Option<&PartialTable>,
) -> Result<(M, LoadReport)> {
    let mut filler = Filler {
        weights,
        names,
        initialisation,
        missing,
        table,
        report: LoadReport::default(),
        used: BTreeSet::new(),
        missed: Vec::new(),
        misshapen: Vec::new(),
        unreadable: Vec::new(),
    };
    let model = give_values(model, |path, role, shape| filler.values(path, role, shape));
    let problems = filler.problems();
    if !problems.is_empty() {
        return Err(Error::Input(problems));
    }
    let mut report = filler.report;
    if let Some(weights) = weights {
        let unexpected = weights.names().filter(|name| !filler.used.contains(*name) && !names.is_unread(name));
        report.unexpected = unexpected.map(str::to_string).collect();
    }
    Ok((model, report))
}

struct Filler<'a> {
    weights: Option<&'a Weights>,
    names: &'a TensorNames,
    initialisation: Initialisation,
    missing: Missing,
    table: Option<&'a PartialTable>,
    report: LoadReport,
    used: BTreeSet<String>,
    /// Encoder tensors that the checkpoint lacks.
    missed: Vec<String>,
    /// Tensors of another shape: what to say of each.
    misshapen: Vec<String>,
    unreadable: Vec<Problem>,
}

impl Filler<'_> {
    /// The values of a parameter of `shape`, in Burn's layout; nothing if there is something wrong with it.
    fn values(&mut self, path: &ModulePath, role: Role, shape: &[usize]) -> Given {
        let table = self.table.filter(|_| PartialTable::is(role));
        let whole = table.map(PartialTable::shape);
        let shape = whole.as_ref().map_or(shape, |shape| shape.as_slice());
        let names = path.checkpoint_names(self.names);
        let Some(weights) = self.weights else { return self.made(&names[0], role, shape) };
        let Some(name) = names.iter().find(|name| weights.get(name).is_some()) else {
            if self.missing == Missing::Refuse || !role.is_new {
                self.missed.push(names.join(" or "));
                return Given::Nothing;
            }
            return self.made(&names[0], role, shape);
        };
        self.used.insert(name.clone());
        let transposed = path.is_linear_weight() && weights.layout() == Layout::Torch;
        let wanted: Vec<usize> = if transposed { shape.iter().rev().copied().collect() } else { shape.to_vec() };
        let found = weights.get(name).map(|entry| entry.shape.clone()).unwrap_or_default();
        if found != wanted {
            if self.missing == Missing::HeadsAreNew && role.is_new {
                self.report.reshaped.push((name.clone(), found, wanted));
                return self.made(&names[0], role, shape);
            }
            self.misshapen.push(format!("{name} has the shape {found:?}, the model needs {wanted:?}"));
            return Given::Nothing;
        }
        match table.map_or_else(|| weights.read_f32(name), PartialTable::selected) {
            Ok(values) => {
                self.report.loaded.push(name.clone());
                Given::Values(if transposed { transpose(&values, wanted[0], wanted[1]) } else { values })
            }
            Err(error) => {
                self.unreadable.extend(error.problems().iter().cloned());
                Given::Nothing
            }
        }
    }

    fn made(&mut self, name: &str, role: Role, shape: &[usize]) -> Given {
        self.report.initialised.push(name.to_string());
        if !(self.missed.is_empty() && self.misshapen.is_empty() && self.unreadable.is_empty()) {
            // It will not be used, and may be of a size that no memory holds.
            return Given::Nothing;
        }
        match self.table.filter(|_| PartialTable::is(role)) {
            // It has read no file, which alone could fail.
            Some(table) => Given::Values(table.selected().unwrap_or_default()),
            None => draw(self.initialisation, role, name, shape).map_or(Given::OwnConstant, Given::Values),
        }
    }

    /// One problem a kind, however many tensors have it: a wrong file is wrong in all of them.
    fn problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.unreadable);
        let Some(weights) = self.weights else { return problems };
        if let [first, rest @ ..] = self.missed.as_slice() {
            let more =
                if rest.is_empty() { String::new() } else { format!(", nor {} more of the encoder's", rest.len()) };
            let sample = weights.names().take(3).collect::<Vec<_>>().join(", ");
            let help = format!("is this a checkpoint of another architecture? Its first tensors are {sample}");
            problems.push(Problem::new(format!("holds no tensor {first}{more}")).in_file(weights.path()).help(help));
        }
        if let [first, rest @ ..] = self.misshapen.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" ({} more do not fit)", rest.len()) };
            let help = "the weights are of another size or architecture than the model's configuration says";
            problems.push(Problem::new(format!("{first}{more}")).in_file(weights.path()).help(help));
        }
        problems
    }
}

/// What becomes of a parameter.
enum Given {
    Values(Vec<f32>),
    /// The module's own constant stays, and is made.
    OwnConstant,
    /// It stays as it is.
    Nothing,
}

/// Gives every parameter of `model` what `give` says for its path, role and shape.
fn give_values<M: HasRoles>(model: M, give: impl FnMut(&ModulePath, Role, &[usize]) -> Given) -> M {
    let roles = Roles::of(&model);
    model.map(&mut Giver { path: ModulePath::default(), roles, give })
}

/// Gives new values to those parameters of `model` whose names, which are their paths, `wanted` picks.
pub fn initialise<M: HasRoles>(model: M, initialisation: Initialisation, wanted: impl Fn(&str) -> bool) -> M {
    give_values(model, |path, role, shape| {
        let name = path.joined();
        match wanted(&name) {
            true => draw(initialisation, role, &name, shape).map_or(Given::OwnConstant, Given::Values),
            false => Given::Nothing,
        }
    })
}

struct Giver<F> {
    path: ModulePath,
    roles: Roles,
    give: F,
}

impl<F: FnMut(&ModulePath, Role, &[usize]) -> Given> ModuleMapper for Giver<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        match (self.give)(&self.path, self.roles.get(param.id), shape.as_slice()) {
            Given::Values(values) => {
                Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &param.lazy_device()))
            }
            // Made now: a clone of a lazy parameter that is frozen first would leave the original without gradients.
            Given::OwnConstant => Param::from_tensor(param.val()),
            Given::Nothing => param,
        }
    }
}

/// `[rows, columns]` to `[columns, rows]`: tiles of so many columns, each read row after row, so that a line of the cache is read once.
pub fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 16;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut((TILE * rows).max(1)).enumerate().for_each(|(tile, out)| {
        let (first, count) = (tile * TILE, out.len() / rows);
        for row in 0..rows {
            let from = &values[row * columns + first..][..count];
            from.iter().enumerate().for_each(|(column, value)| out[column * rows + row] = *value);
        }
    });
    out
}

/// Gives every parameter of `module`: its name at Hugging Face, its shape in PyTorch's layout, and what reads its numbers.
pub fn each_parameter<M: Module>(
    module: &M,
    names: &TensorNames,
    mut emit: impl FnMut(String, Vec<usize>, &dyn Fn() -> Vec<f32>),
) {
    let emit = |_, name, shape, values: &dyn Fn() -> Vec<f32>| emit(name, shape, values);
    module.visit(&mut Parameters { path: ModulePath::default(), names, emit });
}

/// Which parameters are written.
#[derive(Debug, Clone, Copy)]
pub enum Saved<'a> {
    /// Everything that the model has: a training's checkpoint.
    All,
    /// What a model folder holds; with the whole table of words where the model has a part of it, and the share that decay has left of
    /// the other rows.
    Exported(Option<(&'a PartialTable, f64)>),
}

impl<'a> Saved<'a> {
    fn holds(self, role: Role) -> bool {
        matches!(self, Self::All) || role.is_exported
    }

    /// What the whole of a parameter is, where the model has a part of it.
    fn whole(self, role: Role) -> Option<(&'a PartialTable, f64)> {
        let Self::Exported(table) = self else { return None };
        table.filter(|_| PartialTable::is(role))
    }
}

/// Writes parameters of `module` by their names at Hugging Face as safetensors, one after the other: never is more than one of them
/// held twice.
pub fn save_module<M: HasRoles>(path: &Path, module: &M, names: &TensorNames, saved: Saved) -> Result<()> {
    write_module(module, names, saved, |shapes| Writer::create(path, &shapes))
}

/// [`save_module`] into a model folder, in a format of one's own.
pub fn export_module<M: HasRoles>(
    folder: &Path,
    module: &M,
    names: &TensorNames,
    saved: Saved,
    format: Format,
) -> Result<()> {
    write_module(module, names, saved, |shapes| {
        let tensors = shapes.into_iter().map(|(name, shape)| (name, (format.dtype, shape))).collect();
        Writer::create_in(folder, &tensors, format.max_shard_size)
    })
}

fn write_module<M: HasRoles>(
    module: &M,
    names: &TensorNames,
    saved: Saved,
    begin: impl FnOnce(BTreeMap<String, Vec<usize>>) -> Result<Writer>,
) -> Result<()> {
    let roles = Roles::of(module);
    let mut shapes = BTreeMap::new();
    let emit = |id, name, shape, _: &dyn Fn() -> Vec<f32>| {
        let role = roles.get(id);
        if saved.holds(role) {
            shapes.insert(name, saved.whole(role).map_or(shape, |(table, _)| table.shape().to_vec()));
        }
    };
    module.visit(&mut Parameters { path: ModulePath::default(), names, emit });
    let mut writer = begin(shapes)?;
    let mut written = Ok(());
    let emit = |id, name: String, _, values: &dyn Fn() -> Vec<f32>| {
        let role = roles.get(id);
        if written.is_ok() && saved.holds(role) {
            written = match saved.whole(role) {
                Some((table, left)) => table.write(&mut writer, &name, &values(), left),
                None => writer.put(&name, &values()),
            };
        }
    };
    module.visit(&mut Parameters { path: ModulePath::default(), names, emit });
    written?;
    writer.finish()
}

struct Parameters<'a, F> {
    path: ModulePath,
    names: &'a TensorNames,
    emit: F,
}

impl<F: FnMut(ParamId, String, Vec<usize>, &dyn Fn() -> Vec<f32>)> ModuleVisitor for Parameters<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.checkpoint_names(self.names).swap_remove(0);
        let ours: Vec<usize> = param.lazy_shape().as_slice().to_vec();
        let transposed = self.path.is_linear_weight();
        let shape = if transposed { ours.iter().rev().copied().collect() } else { ours.clone() };
        (self.emit)(param.id, name, shape, &|| {
            let values: Vec<f32> = param.val().into_data().iter::<f32>().collect();
            if transposed { transpose(&values, ours[0], ours[1]) } else { values }
        });
    }
}
