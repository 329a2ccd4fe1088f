//! Which documents of a corpus are for train, dev and test: the rules of PaddleNLP's `dataset_utils.py`.

use std::ops::Range;

use crate::data::card::Split;
use crate::error::{Problem, Result};

/// The boundaries of the three parts of a corpus, in its own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    bounds: [usize; 4],
}

impl Splits {
    /// `shares` are up to three numbers in proportion to train, dev and test, separated by commas or by slashes:
    /// "949,50,1". What is left out is 0.
    ///
    /// Each share of the documents is rounded, half to even, and what the three then have too much or too little is
    /// made up for at all boundaries, so that the first part takes it.
    ///
    /// # Errors
    /// Not one to three numbers from 0, one of them above 0.
    pub fn new(shares: &str, documents: usize) -> Result<Self> {
        let shares = parse(shares).ok_or_else(|| {
            let problem = Problem::new(format!("{shares:?} does not split a corpus"));
            problem
                .help("give the shares of train, dev and test, such as \"949,50,1\": numbers from 0, not all of them 0")
        })?;
        let total: f64 = shares.iter().sum();
        let mut ends = [0i64; 3];
        let mut end = 0;
        for (bound, share) in ends.iter_mut().zip(shares) {
            end += (share / total * documents as f64).round_ties_even() as i64;
            *bound = end;
        }
        let excess = end - documents as i64;
        // Where a first part of nothing would have to give one, the original counts on from the last document; here it
        // gives none.
        let [train, dev, test] = ends.map(|end| usize::try_from(end - excess).unwrap_or(0));
        Ok(Self { bounds: [0, train, dev, test] })
    }

    /// The documents of a part; `None` where it has none, which small corpora come to: 949,50,1 gives a test part from
    /// about 500 documents on.
    pub fn documents(&self, split: Split) -> Option<Range<usize>> {
        let part = split as usize;
        Some(self.bounds[part]..self.bounds[part + 1]).filter(|documents| !documents.is_empty())
    }
}

fn parse(shares: &str) -> Option<[f64; 3]> {
    let separator = if shares.contains(',') { ',' } else { '/' };
    let mut parsed = [0.0; 3];
    for (part, share) in shares.split(separator).enumerate() {
        let share: f64 = share.trim().parse().ok()?;
        *parsed.get_mut(part)? = Some(share).filter(|share| share.is_finite() && *share >= 0.0)?;
    }
    let total: f64 = parsed.iter().sum();
    (total > 0.0 && total.is_finite()).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(shares: &str, documents: usize) -> [usize; 4] {
        Splits::new(shares, documents).unwrap().bounds
    }

    /// Expected: `get_train_valid_test_split_` of paddlenlp 2.8.1 (paddlenlp/data/causal_dataset.py).
    #[test]
    fn boundaries_are_paddlenlps() {
        assert_eq!(bounds("949,50,1", 500), [0, 475, 500, 500]);
        assert_eq!(bounds("949,50,1", 501), [0, 475, 500, 501]);
        assert_eq!(bounds("949/50/1", 10_000), [0, 9490, 9990, 10_000]);
        assert_eq!(bounds("949,50,1", 7), [0, 7, 7, 7]);
        assert_eq!(bounds("1,1,1", 2), [0, 0, 1, 2]);
        assert_eq!(bounds("1,1,1", 1), [0, 1, 1, 1]);
        assert_eq!(bounds("1", 3), [0, 3, 3, 3]);
        assert_eq!(bounds("8, 2", 15), [0, 12, 15, 15]);
        assert_eq!(bounds("0.5,0.25,0.25", 10), [0, 6, 8, 10]);
    }

    #[test]
    fn a_part_without_documents_is_none() {
        let splits = Splits::new("949,50,1", 7).unwrap();
        let parts = [Split::Train, Split::Dev, Split::Test].map(|split| splits.documents(split));
        assert_eq!(parts, [Some(0..7), None, None]);
        assert_eq!(Splits::new("1,1,1", 3).unwrap().documents(Split::Dev), Some(1..2));
        assert_eq!(Splits::new("1", 0).unwrap().documents(Split::Train), None);
        // The original: [0, -1, 1, 3].
        assert_eq!(bounds("0,1,1", 3), [0, 0, 1, 3]);
    }

    #[test]
    fn shares_that_say_nothing_are_refused() {
        for shares in ["", "0,0,0", "1,-1", "a", "1,2,3,4", "inf", "nan", "1e308,1e308", "1;2"] {
            assert!(Splits::new(shares, 10).is_err(), "{shares}");
        }
    }

    proptest! {
        #[test]
        fn every_document_is_in_one_part(shares in prop::array::uniform3(0u32..1000), documents in 0usize..100_000) {
            prop_assume!(shares.iter().any(|share| *share > 0));
            let [train, dev, test] = shares;
            let bounds = bounds(&format!("{train},{dev},{test}"), documents);
            prop_assert!(bounds.is_sorted());
            prop_assert_eq!((bounds[0], bounds[3]), (0, documents));
        }
    }
}
