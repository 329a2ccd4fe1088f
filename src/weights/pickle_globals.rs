//! The globals of Python that a checkpoint's pickle may use.
//!
//! This list is the whole of it: a name that is not here is refused by [`Name::find`] before anything can be done with
//! it, and nothing here calls anything.

use super::Fault;
use super::entry::Dtype;
use crate::error::Problem;

/// A name that a pickle may use.
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

/// The numpy type code of `dtype(...)`, as `f4`.
pub(super) fn element_type(code: &str) -> Option<Dtype> {
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
