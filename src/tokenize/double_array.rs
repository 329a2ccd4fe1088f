//! A trie over byte strings as a double array, in the layout of darts-clone.
//!
//! SentencePiece stores its normalisation rules in this layout, and the pieces of a model are looked up the same way.
//! The reader checks every step, because the array may come from a damaged file.

/// The bits of a leaf that hold its value.
const VALUE: u32 = 0x7FFF_FFFF;
/// The bits that are a unit's label. Leaves carry the top bit, so that they equal no label.
const LABEL: u32 = 0x8000_00FF;

/// Units of 32 bits: label (8), has-leaf (1), offset scale (1), offset (22); a leaf has the top bit set over a 31-bit value.
#[derive(Debug)]
pub struct DoubleArray {
    units: Vec<u32>,
    /// The ASCII bytes that no key begins with, or only before a byte beyond ASCII. A zero byte in a text may be taken for a place that
    /// holds nothing, as in darts-clone, and is left to the search.
    quiet: [bool; 128],
}

impl DoubleArray {
    /// Takes the array as it stands in a file, little endian; bytes that do not fill a unit are left out.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::of(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn of(units: Vec<u32>) -> Self {
        let mut array = Self { units, quiet: [false; 128] };
        let begins = |first: u8| {
            let mut texts = (1..128).map(|second| [first, second]);
            array.prefixes(&[first]).next().is_some() || texts.any(|text| array.holds_more_of(&text))
        };
        array.quiet = std::array::from_fn(|first| !begins(first as u8));
        array
    }

    /// Builds the trie of `keys`, which may come in any order.
    ///
    /// # Errors
    /// There is no key, an empty one, one twice, one with a zero byte, a value of 2^31 and more, or more keys than the
    /// layout holds (2^21 units: about 700,000 pieces).
    pub fn build(mut keys: Vec<(&[u8], u32)>) -> Result<Self, &'static str> {
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("one key stands twice");
        }
        match keys.iter().all(|(key, value)| !key.is_empty() && !key.contains(&0) && *value <= VALUE) {
            true if keys.is_empty() => Err("there are no keys"),
            true => Builder::default().build(&keys).map(Self::of),
            false => Err("a key is empty, holds a zero byte, or has too large a value"),
        }
    }

    /// The array as it stands in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    /// Whether a key may begin with all of `text`.
    fn holds_more_of(&self, text: &[u8]) -> bool {
        let mut node = self.units.first().copied().map_or(0, offset);
        text.iter().all(|byte| {
            node ^= usize::from(*byte);
            let unit = self.units.get(node).copied().unwrap_or(VALUE);
            node ^= offset(unit);
            unit & LABEL == u32::from(*byte)
        })
    }

    /// Whether a look at two bytes is enough to say that `text` starts with no key.
    #[inline]
    pub fn has_none_of(&self, text: &[u8]) -> bool {
        let Some(first) = text.first() else { return true };
        self.quiet.get(usize::from(*first)) == Some(&true) && text.get(1).is_none_or(|next| (1..128).contains(next))
    }

    /// Every key that `text` starts with, shortest first, as (length in bytes, value).
    #[inline]
    pub fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let root = self.units.first().copied().unwrap_or(0);
        let mut node = offset(root);
        let mut bytes = text.iter().enumerate();
        std::iter::from_fn(move || {
            for (index, &byte) in bytes.by_ref() {
                node ^= byte as usize;
                let unit = *self.units.get(node)?;
                if unit & LABEL != u32::from(byte) {
                    bytes = [].iter().enumerate();
                    return None;
                }
                node ^= offset(unit);
                if unit >> 8 & 1 == 1 {
                    let value = *self.units.get(node)? & VALUE;
                    return Some((index + 1, value));
                }
            }
            None
        })
    }
}

#[inline]
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

/// Finds places for the nodes. A node's children stand at `base ^ label`, its value at `base`; no two nodes share a base,
/// so that a label alone says whose child a unit is.
#[derive(Default)]
struct Builder {
    units: Vec<u32>,
    taken: Vec<bool>,
    is_base: Vec<bool>,
    /// Places before this one are not looked at again: nearly all of them are taken.
    first_free: usize,
}

impl Builder {
    fn build(mut self, keys: &[(&[u8], u32)]) -> Result<Vec<u32>, &'static str> {
        self.grow();
        self.taken[0] = true;
        // A node: its place, its keys, and how many bytes of them lead to it.
        let mut nodes = vec![(0, keys, 0)];
        while let Some((node, keys, depth)) = nodes.pop() {
            // Sorted keys: the one that ends here comes first, and keys with the same next byte stand together.
            let ends = keys[0].0.len() == depth;
            let children: Vec<_> = keys[usize::from(ends)..].chunk_by(|a, b| a.0[depth] == b.0[depth]).collect();
            let mut labels: Vec<usize> = children.iter().map(|keys| keys[0].0[depth].into()).collect();
            if ends {
                labels.insert(0, 0);
            }
            let base = self.place(&labels);
            let relative = base ^ node;
            if relative >= 1 << 21 {
                return Err("there are too many keys");
            }
            self.units[node] |= (relative as u32) << 10 | u32::from(ends) << 8;
            if ends {
                self.units[base] = keys[0].1 | !VALUE;
            }
            for keys in children {
                let label = keys[0].0[depth];
                self.units[base ^ usize::from(label)] = label.into();
                nodes.push((base ^ usize::from(label), keys, depth + 1));
            }
        }
        Ok(self.units)
    }

    /// Takes the first base at which all places are free.
    fn place(&mut self, labels: &[usize]) -> usize {
        let mut tried = 0;
        let mut place = self.first_free;
        loop {
            if place == self.taken.len() {
                self.grow();
            }
            let base = place ^ labels[0];
            if !self.taken[place] {
                tried += 1;
                if !self.is_base[base] && labels.iter().all(|label| !self.taken[base ^ label]) {
                    break;
                }
            }
            place += 1;
        }
        // Few places are left where a search passed many that are taken.
        if (place - self.first_free) > 20 * tried {
            self.first_free = place;
        }
        let base = place ^ labels[0];
        self.is_base[base] = true;
        labels.iter().for_each(|label| self.taken[base ^ label] = true);
        base
    }

    /// Adds a block of 256, the reach of a label.
    fn grow(&mut self) {
        let length = self.units.len() + 256;
        self.units.resize(length, 0);
        self.taken.resize(length, false);
        self.is_base.resize(length, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_every_prefix_shortest_first() {
        let array = DoubleArray::build(vec![(b"ab", 7), (b"a", 1), (b"abcd", 3), (b"b", 9)]).unwrap();
        assert_eq!(array.prefixes(b"abce").collect::<Vec<_>>(), [(1, 1), (2, 7)]);
        assert_eq!(array.prefixes(b"abcd").collect::<Vec<_>>(), [(1, 1), (2, 7), (4, 3)]);
        assert_eq!(array.prefixes(b"x\0").count(), 0);
    }

    #[test]
    fn two_bytes_tell_where_no_key_begins() {
        let array = DoubleArray::build(vec![("e\u{301}".as_bytes(), 1), (b"fi", 2), (b"g", 3)]).unwrap();
        let told = ["e", "ea", "e\u{301}", "e\u{302}", "f", "fi", "fa", "g", "ga", "h", "h\u{301}", "é", ""];
        let told = told.map(|text| array.has_none_of(text.as_bytes()));
        assert_eq!(told, [true, true, false, false, false, false, false, false, false, true, false, false, true]);
    }

    #[test]
    fn refuses_keys_it_cannot_hold() {
        assert!(DoubleArray::build(vec![]).is_err());
        assert!(DoubleArray::build(vec![(b"", 1)]).is_err());
        assert!(DoubleArray::build(vec![(b"a", 1), (b"a", 2)]).is_err());
        assert!(DoubleArray::build(vec![(b"a\0b", 1)]).is_err());
        assert!(DoubleArray::build(vec![(b"a", 1 << 31)]).is_err());
    }

    proptest! {
        /// A damaged array gives wrong answers, never a panic.
        #[test]
        fn survives_any_array(bytes in proptest::collection::vec(any::<u8>(), 0..4096), text in any::<Vec<u8>>()) {
            DoubleArray::from_bytes(&bytes).prefixes(&text).for_each(drop);
        }

        /// Against the plain way to find prefixes.
        #[test]
        fn finds_what_a_scan_finds(
            keys in proptest::collection::btree_set("[a-d\u{e9}]{1,6}", 1..60), text in "[a-d\u{e9}]{0,12}",
        ) {
            let pairs: Vec<(&[u8], u32)> = keys.iter().zip(0..).map(|(key, id)| (key.as_bytes(), id)).collect();
            let mut expected: Vec<(usize, u32)> = pairs
                .iter()
                .filter(|(key, _)| text.as_bytes().starts_with(key))
                .map(|(key, id)| (key.len(), *id))
                .collect();
            expected.sort_unstable();
            let array = DoubleArray::build(pairs).unwrap();
            prop_assert!(expected.is_empty() || !array.has_none_of(text.as_bytes()));
            prop_assert_eq!(array.prefixes(text.as_bytes()).collect::<Vec<_>>(), expected);
        }
    }
}
