//! Matrices of ids in a safetensors file, checked: an id or position beyond its table would read another row, or crash a GPU.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{Error, Problem, Result};
use crate::weights::Weights;

/// Ids or flags, `[rows, columns]`, row after row.
pub(super) struct Matrix {
    pub values: Vec<i64>,
    pub shape: [usize; 2],
}

impl Matrix {
    /// Some of the rows.
    pub fn rows(&self, rows: Range<usize>, device: &Device) -> Tensor<2, Int> {
        let columns = self.shape[1];
        let values = self.values[rows.start * columns..rows.end * columns].to_vec();
        Tensor::from_data(TensorData::new(values, [rows.len(), columns]), device) // [rows, columns]
    }
}

/// The matrix that the others go with.
pub(super) fn required(file: &Weights, name: &str, known: usize) -> Result<Matrix> {
    let missing = || problem(file, format!("holds no {name}")).help(format!("{name} is [batch, seq] int64"));
    let matrix = matrix(file, name)?.ok_or_else(missing)?;
    check(file, name, &matrix.values, known)?;
    match matrix.values.is_empty() {
        true => Err(problem(file, format!("{name} is {:?}: there are no ids", matrix.shape)).into()),
        false => Ok(matrix),
    }
}

/// A matrix that must have the shape of `main`, if it is there.
pub(super) fn optional(file: &Weights, name: &str, known: usize, main: (&str, &Matrix)) -> Result<Option<Matrix>> {
    let Some(matrix) = matrix(file, name)? else { return Ok(None) };
    let (main, shape) = (main.0, main.1.shape);
    if matrix.shape != shape {
        return Err(problem(file, format!("{name} is {:?}, {main} {shape:?}", matrix.shape)).into());
    }
    check(file, name, &matrix.values, known)?;
    Ok(Some(matrix))
}

/// # Errors
/// An id is not one of the first `known`.
pub(super) fn check(file: &Weights, name: &str, ids: &[i64], known: usize) -> Result<()> {
    match ids.iter().find(|&&id| id < 0 || id >= known as i64) {
        Some(id) => Err(problem(file, format!("{name} holds {id}; the model knows 0 to {}", known - 1)).into()),
        None => Ok(()),
    }
}

/// A tensor under its own name or as reference files call it, with `in.` before it: the name, and the shape.
pub(super) fn find(file: &Weights, name: &str) -> Option<(String, Vec<usize>)> {
    let names = [name.to_string(), format!("in.{name}")];
    names.into_iter().find_map(|name| file.get(&name).map(|entry| entry.shape.clone()).map(|shape| (name, shape)))
}

fn matrix(file: &Weights, name: &str) -> Result<Option<Matrix>> {
    let Some((name, shape)) = find(file, name) else { return Ok(None) };
    let shape = shape.as_slice().try_into().map_err(|_| {
        let problem = problem(file, format!("{name} is {shape:?}"));
        Error::from(problem.help("it is [batch, seq]"))
    })?;
    Ok(Some(Matrix { values: file.read_i64(&name)?, shape }))
}

pub(super) fn problem(file: &Weights, what: String) -> Problem {
    Problem::new(what).in_file(file.path())
}
