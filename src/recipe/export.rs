//! `[export]`: how the weights of model folders are written.

use super::schema::Export;
use super::words::ExportDtype;
use crate::weights::{Dtype, Format};

/// What a size may be.
pub const SIZES: &str = "a size is a number with KB, MB, GB, KiB, MiB or GiB: \"5GB\"";

const UNITS: [(&str, f64); 6] =
    [("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9)];

/// The bytes of a size such as `500MB`; nothing if it is none, or less than a byte.
pub fn bytes(size: &str) -> Option<u64> {
    let size = size.trim();
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((size.strip_suffix(name)?, *unit)))?;
    let bytes = number.trim().parse::<f64>().ok()? * unit;
    (1.0..=1e18).contains(&bytes).then_some(bytes as u64)
}

impl ExportDtype {
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
}

impl Export {
    /// The format that it asks for; a recipe's size has been checked.
    pub fn format(&self) -> Format {
        Format { dtype: self.dtype.dtype(), max_shard_size: bytes(&self.max_shard_size).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_unit() {
        assert_eq!(bytes("5GB"), Some(5_000_000_000));
        assert_eq!(bytes("1.5 KiB"), Some(1536));
        for wrong in ["5", "GB", "-1GB", "0MB", "5gb", "nanGB", "infGB", "5 GB B"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
