//! Writing tensors as safetensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::{Dtype, View};

use super::{NamedTensor, Weights};
use crate::error::{Error, Problem, Result};

impl View for &NamedTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes f32 tensors, in the order of their names: the same tensors give the same bytes.
pub fn save(path: &Path, tensors: &BTreeMap<String, NamedTensor>) -> Result<()> {
    // transformers refuses files that do not say which library's layout they hold.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|cause| match cause {
        safetensors::SafeTensorError::IoError(cause) => Error::writing(path, &cause),
        other => Error::run(Problem::new(format!("cannot be written: {other}")).in_file(path)),
    })
}

/// Reads all tensors of a file that [`save`] wrote.
pub fn load(path: &Path) -> Result<BTreeMap<String, NamedTensor>> {
    let weights = Weights::open(path)?;
    let names: Vec<String> = weights.names().map(str::to_string).collect();
    names
        .into_iter()
        .map(|name| {
            let shape = weights.get(&name).map(|entry| entry.shape.clone()).unwrap_or_default();
            Ok((name.clone(), NamedTensor { shape, values: weights.read_f32(&name)? }))
        })
        .collect()
}
