//! What a pickle in a checkpoint holds, and what a call of each global it may use gives.
//!
//! Values live in one list and name each other by index, so sharing and cycles cost nothing and nothing here recurses.
//! Text and bytes are ranges of the file: nothing is copied.

use std::ops::Range;

use super::Fault;
use super::entry::{Dtype, Piece};
use super::pickle_globals::{Name, element_type};
use crate::error::Problem;

/// No tensor has more dimensions: NumPy's own bound.
const MOST_DIMENSIONS: usize = 64;
/// No name is longer (bytes).
const LONGEST_NAME: usize = 1024;
/// No call here needs as many arguments.
const MOST_ARGUMENTS: usize = 8;

/// A range of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// One value on the machine's stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 8 bytes: least significant byte first.
    Long(Span),
    /// No checkpoint needs the value of a lone float.
    Float,
    /// UTF-8, checked.
    Text(Span),
    Bytes(Span),
    /// Text that stands for bytes: see [`Piece::Latin1`].
    Latin1(Span),
    Name(Name),
    /// An index into the objects.
    Object(usize),
}

/// What a value can point to.
#[derive(Debug, Clone)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A numpy element type.
    ElementType {
        dtype: Dtype,
        big_endian: bool,
    },
    /// A numpy array; empty between its creation and its BUILD.
    Array(Option<Array>),
    /// What a persistent id of PyTorch names.
    Storage(Storage),
    Tensor(Tensor),
}

/// A numpy array.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub big_endian: bool,
    /// Whether the first dimension is the fastest.
    pub fortran: bool,
    pub data: Piece,
}

/// A PyTorch storage: a run of elements that lies elsewhere in the file, known by its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    pub key: Span,
    pub dtype: Dtype,
    pub count: usize,
}

/// A PyTorch tensor: a view of a storage, in elements.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A pickle that has been run, or is being run.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub bytes: &'a [u8],
    pub objects: Vec<Object>,
    /// What the program left behind.
    pub root: Value,
    /// One past the byte that was read last.
    pub end: usize,
}

impl<'a> Pickle<'a> {
    /// The object behind a value.
    pub fn object(&self, value: Value) -> Option<&Object> {
        let Value::Object(index) = value else { return None };
        self.objects.get(index)
    }

    /// The keys and values of a dictionary; a key that comes twice is there twice, and the later one counts.
    pub fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value)? {
            Object::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// The items of a tuple or a list.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::Tuple(items) | Object::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        match value {
            // Python 2 wrote names as bytes.
            Value::Text(span) | Value::Bytes(span) => self.span_text(span),
            _ => None,
        }
    }

    /// The text of a range that is a name. A pickle may name one text any number of times, so that a long one would be read without end.
    pub fn span_text(&self, span: Span) -> Option<&'a str> {
        let name = self.bytes.get(span.range()).filter(|name| name.len() <= LONGEST_NAME)?;
        str::from_utf8(name).ok()
    }

    /// The bytes of a long integer.
    pub fn long(&self, value: Value) -> Option<&[u8]> {
        let Value::Long(span) = value else { return None };
        self.bytes.get(span.range())
    }

    /// A tuple or list of lengths, at most [`MOST_DIMENSIONS`].
    pub fn lengths(&self, value: Value) -> Option<Vec<usize>> {
        let items = self.items(value)?;
        (items.len() <= MOST_DIMENSIONS).then(|| items.iter().map(|item| length(*item)).collect())?
    }

    /// Every storage that the pickle names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }
}

/// What the virtual machine has made.
impl Pickle<'_> {
    /// A problem where the machine is.
    pub fn damaged(&self, what: impl std::fmt::Display) -> Fault {
        Problem::new(format!("is damaged at byte {}: {what}", self.end)).into()
    }

    pub fn keep(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    /// What REDUCE gives: the object that a call of `callable` would have made.
    pub fn call(&mut self, callable: Value, arguments: Value) -> Result<Value, Fault> {
        let Value::Name(name) = callable else { return Err(self.damaged("a call of what is not a name")) };
        // Not all of them: a long tuple, in a call again and again, would be copied as often.
        let first = |items: &[Value]| items.iter().take(MOST_ARGUMENTS).copied().collect::<Vec<_>>();
        let Some(arguments) = self.items(arguments).map(first) else {
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
            (Name::Bytes, []) => return Ok(Value::Latin1(Span { start: self.end, end: self.end })),
            // The list itself: nothing here tells it from a tuple.
            (Name::Tuple, [items]) if self.items(*items).is_some() => return Ok(*items),
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

/// An integer that can be a length or an index.
fn length(value: Value) -> Option<usize> {
    let Value::Int(value) = value else { return None };
    usize::try_from(value).ok()
}
