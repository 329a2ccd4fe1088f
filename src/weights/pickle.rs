//! What a pickle in a checkpoint holds, once [`super::machine`] has run it.
//!
//! Values live in one list and name each other by index, so sharing and cycles cost nothing and nothing here recurses.
//! Text and bytes are ranges of the file: nothing is copied.

use std::ops::Range;

use super::Fault;
use super::entry::{Dtype, Piece};
use crate::error::Problem;

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

/// A pickle that has been run.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub bytes: &'a [u8],
    pub objects: Vec<Object>,
    /// What the program left behind.
    pub root: Value,
    /// One past its last byte.
    pub end: usize,
}

impl Pickle<'_> {
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
        items(&self.objects, value)
    }

    /// The text of a string.
    pub fn text(&self, value: Value) -> Option<&str> {
        match value {
            // Python 2 wrote names as bytes.
            Value::Text(span) | Value::Bytes(span) => self.span_text(span),
            _ => None,
        }
    }

    /// The text of a range.
    pub fn span_text(&self, span: Span) -> Option<&str> {
        str::from_utf8(self.bytes.get(span.range())?).ok()
    }

    /// The bytes of a long integer.
    pub fn long(&self, value: Value) -> Option<&[u8]> {
        let Value::Long(span) = value else { return None };
        self.bytes.get(span.range())
    }

    /// A tuple or list of lengths.
    pub fn lengths(&self, value: Value) -> Option<Vec<usize>> {
        lengths(&self.objects, value)
    }

    /// Every storage that the pickle names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }
}

/// The items of a tuple or a list.
pub(super) fn items(objects: &[Object], value: Value) -> Option<&[Value]> {
    let Value::Object(index) = value else { return None };
    match objects.get(index)? {
        Object::Tuple(items) | Object::List(items) => Some(items),
        _ => None,
    }
}

/// A tuple or list of lengths.
pub(super) fn lengths(objects: &[Object], value: Value) -> Option<Vec<usize>> {
    items(objects, value)?.iter().map(|item| length(*item)).collect()
}

/// An integer that can be a length or an index.
pub(super) fn length(value: Value) -> Option<usize> {
    let Value::Int(value) = value else { return None };
    usize::try_from(value).ok()
}

/// A name that a pickle may use. This list is the whole of it: any other is refused by [`Name::find`] before anything can be done with
/// it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Name {
    /// `numpy.core.multiarray._reconstruct`: an empty array, filled by BUILD.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array as protocol 5 writes it.
    FromBuffer,
    /// `numpy.core.multiarray.scalar`: one number.
    Scalar,
    NdArray,
    ElementType,
    /// `_codecs.encode`: bytes, written as text by protocol 2.
    Encode,
    Bytes,
    Tuple,
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.Size`
    Size,
    /// `torch.FloatStorage` and its sisters.
    Storage(Dtype),
}

impl Name {
    /// The name `module.name`, or the problem that the file asks for something that is not on the list.
    pub fn find(module: &str, name: &str) -> Result<Self, Fault> {
        Ok(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::NdArray,
            ("numpy", "dtype") => Self::ElementType,
            ("_codecs", "encode") => Self::Encode,
            ("builtins" | "__builtin__", "bytes") => Self::Bytes,
            ("builtins" | "__builtin__", "tuple") => Self::Tuple,
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::BOOL),
            ("torch", "ComplexFloatStorage") => Self::Storage(Dtype::C64),
            _ => return Err(refused(module, name)),
        })
    }
}

fn refused(module: &str, name: &str) -> Fault {
    // The name comes from the file: its control characters must not reach the terminal, nor a megabyte of it.
    let full: String = format!("{module}.{name}").chars().take(80).flat_map(char::escape_default).collect();
    Box::new(
        Problem::new(format!("wants to run `{full}`: Kiln does not run code from checkpoints"))
            .help("if you trust the file, load it in Python and save its tensors alone, as a safetensors file"),
    )
}
