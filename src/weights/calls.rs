//! What a call of each of the Python names that a checkpoint's pickle may use gives here; nothing here calls anything.

use super::Fault;
use super::entry::{Dtype, Piece};
use super::machine::Machine;
use super::pickle::{Array, Name, Object, Storage, Tensor, Value, length};
use crate::error::Problem;

/// The numpy type code of `dtype(...)`, as `f4`.
fn element_type(code: &str) -> Option<Dtype> {
    Some(match code {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u8" => Dtype::U64,
        "u4" => Dtype::U32,
        "u2" => Dtype::U16,
        "u1" => Dtype::U8,
        "b1" => Dtype::BOOL,
        "c8" => Dtype::C64,
        _ => return None,
    })
}

impl Machine<'_> {
    /// What REDUCE gives: the object that a call of `callable` would have made.
    pub fn call(&mut self, callable: Value, arguments: Value) -> Result<Value, Fault> {
        let Value::Name(name) = callable else { return Err(self.damaged("a call of what is not a name")) };
        let Some(arguments) = self.items(arguments).map(<[Value]>::to_vec) else {
            return Err(self.damaged("a call without arguments"));
        };
        let object = match (name, &arguments[..]) {
            (Name::Reconstruct, [Value::Name(Name::NdArray), ..]) => Some(Object::Array(None)),
            (Name::FromBuffer, [data, dtype, shape, order]) => {
                let fortran = self.text(*order) == Some("F");
                self.array(*shape, *dtype, fortran, *data).map(|array| Object::Array(Some(array)))
            }
            (Name::Scalar, [dtype, data]) => {
                let shape = self.keep(Object::Tuple(Vec::new()));
                self.array(shape, *dtype, false, *data).map(|array| Object::Array(Some(array)))
            }
            (Name::ElementType, [code, ..]) => {
                let code = self.text(*code).unwrap_or_default();
                let Some(dtype) = element_type(code) else {
                    return Err(Problem::new(format!("holds an array of numpy type `{}`", code.escape_default()))
                        .help("Kiln reads arrays of numbers: f2, f4, f8, and integers")
                        .into());
                };
                Some(Object::ElementType { dtype, big_endian: false })
            }
            (Name::Encode, [Value::Text(span), encoding]) if self.text(*encoding) == Some("latin1") => {
                return Ok(Value::Latin1(*span));
            }
            // Python writes an empty `bytes` of protocol 2 so: text of no characters is the same to us.
            (Name::Bytes, []) => return Ok(Value::Latin1(self.nothing())),
            (Name::Tuple, [items]) => self.items(*items).map(|items| Object::Tuple(items.to_vec())),
            (Name::OrderedDict, []) => Some(Object::Dict(Vec::new())),
            (Name::Size, [shape]) => return Ok(*shape),
            (Name::RebuildParameter, [tensor, ..]) => return Ok(*tensor),
            (Name::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                self.tensor(*storage, *offset, *shape, *strides).map(Object::Tensor)
            }
            _ => None,
        };
        match object {
            Some(object) => Ok(self.keep(object)),
            None => Err(self.damaged(format!("a call of {name:?} with arguments it cannot have"))),
        }
    }

    /// What BUILD does: fills an array, sets an element type's byte order, or gives an ordered dictionary attributes,
    /// which hold no tensors (PyTorch keeps module versions there).
    pub fn build(&mut self, target: Value, state: Value) -> Result<(), Fault> {
        let Value::Object(index) = target else { return Err(self.damaged("BUILD of what cannot be built")) };
        let filled = match (self.objects.get(index), self.items(state)) {
            (Some(Object::Dict(_)), None) => return Ok(()),
            (Some(Object::Array(None)), Some(&[_, shape, dtype, fortran, data])) => {
                self.array(shape, dtype, fortran == Value::Bool(true), data).map(|array| Object::Array(Some(array)))
            }
            (Some(Object::ElementType { dtype, .. }), Some(&[_, order, ..])) => match self.text(order) {
                Some("<" | "|" | "=") => Some(Object::ElementType { dtype: *dtype, big_endian: false }),
                Some(">") => Some(Object::ElementType { dtype: *dtype, big_endian: true }),
                _ => None,
            },
            _ => None,
        };
        match filled {
            Some(object) => self.objects[index] = object,
            None => return Err(self.damaged("BUILD with a state that does not fit")),
        }
        Ok(())
    }

    fn array(&self, shape: Value, dtype: Value, fortran: bool, data: Value) -> Option<Array> {
        let Value::Object(dtype) = dtype else { return None };
        let Some(Object::ElementType { dtype, big_endian }) = self.objects.get(dtype) else { return None };
        let data = match data {
            Value::Bytes(span) => Piece::Bytes(span.range()),
            Value::Latin1(span) => Piece::Latin1(span.range()),
            _ => return None,
        };
        Some(Array { shape: self.lengths(shape)?, dtype: *dtype, big_endian: *big_endian, fortran, data })
    }

    fn tensor(&self, storage: Value, offset: Value, shape: Value, strides: Value) -> Option<Tensor> {
        let Value::Object(storage) = storage else { return None };
        let Some(Object::Storage(storage)) = self.objects.get(storage) else { return None };
        let (shape, strides) = (self.lengths(shape)?, self.lengths(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(Tensor { storage: *storage, offset: length(offset)?, shape, strides })
    }

    /// What a persistent id names: `("storage", type, key, device, count)`, with a sixth item, a view into another
    /// storage, that only PyTorch before 0.4 could write.
    pub fn storage(&self, id: Value) -> Result<Storage, Fault> {
        match self.items(id) {
            Some(&[kind, Value::Name(Name::Storage(dtype)), Value::Text(key) | Value::Bytes(key), _, count])
            | Some(
                &[kind, Value::Name(Name::Storage(dtype)), Value::Text(key) | Value::Bytes(key), _, count, Value::None],
            ) if self.text(kind) == Some("storage") => {
                let count = length(count).ok_or_else(|| self.damaged("a storage with a negative length"))?;
                Ok(Storage { key, dtype, count })
            }
            _ => Err(self.damaged("a persistent id that names no storage")),
        }
    }
}
