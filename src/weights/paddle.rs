//! Paddle's `.pdparams`: a pickle of a dictionary from names to numpy arrays, or to pairs of a parameter's inner name and
//! its array (python/paddle/framework/io.py and io_utils.py, Paddle 2.0 to 2.6).

use std::collections::HashSet;

use indexmap::IndexMap;

use super::entry::{Dtype, Entry, Piece, Place};
use super::pickle::{Array, Object, Pickle, Value};
use super::{Fault, Named};
use crate::error::Problem;

/// Says under which names the parts of arrays too large for protocols 2 and 3 lie (the spelling is Paddle's).
const PARTS: &str = "UnpackBigParamInfor@@";

/// Whether a pickle has the shape of a `.pdparams` file.
pub(super) fn is_state(pickle: &Pickle<'_>) -> bool {
    pickle.dict(pickle.root).is_some()
}

/// The tensors of a `.pdparams` file; `bytes` is the whole file. Entries that hold no array are left out, as is Paddle's
/// own table `StructuredToParameterName@@`.
pub(super) fn entries(pickle: &Pickle<'_>, bytes: &[u8], file: usize) -> Result<Vec<Named>, Fault> {
    // By name: one that comes twice is there once, and the later one counts.
    let items: IndexMap<&str, Value> = pickle
        .dict(pickle.root)
        .unwrap_or_default()
        .iter()
        .filter_map(|(key, value)| Some((pickle.text(*key)?, *value)))
        .collect();
    let mut joined = Vec::new();
    let mut parts = HashSet::new();
    let split = items.get(PARTS).and_then(|table| pickle.dict(*table)).unwrap_or_default();
    for (name, plan) in split {
        let plan = Plan::new(pickle, *name, *plan)
            .ok_or_else(|| Problem::new(format!("is damaged: `{PARTS}` does not say how to join its arrays")))?;
        let arrays: Option<Vec<&Array>> =
            plan.parts.iter().map(|part| array(pickle, *items.get(part)?)).collect::<Option<_>>();
        let arrays = arrays.ok_or_else(|| {
            Problem::new(format!("is damaged: a part of the split array `{}` is missing", plan.name.escape_default()))
        })?;
        joined.push(join(&plan, &arrays, bytes, file)?);
        if !plan.parts.iter().all(|part| parts.insert(*part)) {
            let name = plan.name.escape_default();
            return Err(Problem::new(format!("is damaged: a part of the split array `{name}` is named twice")).into());
        }
    }
    let mut found = Vec::new();
    for (name, value) in items {
        if let (Some(array), false) = (array(pickle, value), parts.contains(name)) {
            found.push(named(name, array.shape.clone(), array, vec![array.data.clone()], bytes, file)?);
        }
    }
    found.extend(joined);
    Ok(found)
}

/// How one split array is to be joined.
struct Plan<'a> {
    name: &'a str,
    shape: Vec<usize>,
    parts: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    fn new(pickle: &'a Pickle<'_>, name: Value, plan: Value) -> Option<Self> {
        let fields = pickle.dict(plan)?;
        let field =
            |wanted| fields.iter().rev().find(|(key, _)| pickle.text(*key) == Some(wanted)).map(|field| field.1);
        let parts = pickle.items(field("slices")?)?.iter().map(|part| pickle.text(*part)).collect::<Option<_>>()?;
        Some(Self { name: pickle.text(name)?, shape: pickle.lengths(field("OriginShape")?)?, parts })
    }
}

/// The array that a value is, or the one in a pair of a name and an array.
fn array<'a>(pickle: &'a Pickle<'_>, value: Value) -> Option<&'a Array> {
    let object = match pickle.object(value)? {
        Object::Tuple(pair) if pair.len() == 2 && pickle.text(pair[0]).is_some() => pickle.object(pair[1])?,
        other => other,
    };
    match object {
        Object::Array(array) => array.as_ref(),
        _ => None,
    }
}

fn join(plan: &Plan<'_>, arrays: &[&Array], bytes: &[u8], file: usize) -> Result<Named, Fault> {
    let alike = |one: &&Array| arrays.iter().all(|a| a.dtype == one.dtype && a.big_endian == one.big_endian);
    match arrays.first().filter(|first| alike(first)) {
        Some(first) => {
            let pieces = arrays.iter().map(|array| array.data.clone()).collect();
            // The parts are slices of the flattened array, so each has one dimension and the order of the whole.
            let whole = Array { fortran: false, ..(*first).clone() };
            named(plan.name, plan.shape.clone(), &whole, pieces, bytes, file)
        }
        None => {
            Err(Problem::new(format!("is damaged: the parts of `{}` have different types", plan.name.escape_default()))
                .into())
        }
    }
}

fn named(
    name: &str,
    shape: Vec<usize>,
    array: &Array,
    pieces: Vec<Piece>,
    bytes: &[u8],
    file: usize,
) -> Result<Named, Fault> {
    // Paddle has no uint16: numpy has no bfloat16, so Paddle hands its bfloat16 to numpy as uint16.
    let dtype = if array.dtype == Dtype::U16 { Dtype::BF16 } else { array.dtype };
    let strides = array.fortran.then(|| column_major(&shape));
    let place = Place { file, pieces, offset: 0, strides, big_endian: array.big_endian };
    let entry = Entry::new(shape, dtype, place, bytes)
        .map_err(|why| Problem::new(format!("is damaged: the array `{}`: {why}", name.escape_default())))?;
    Ok((name.to_string(), entry))
}

/// The strides of an array whose first dimension is the fastest.
fn column_major(shape: &[usize]) -> Vec<usize> {
    let next = |step: &mut usize, length: &usize| Some(std::mem::replace(step, step.saturating_mul(*length)));
    shape.iter().scan(1, next).collect()
}
