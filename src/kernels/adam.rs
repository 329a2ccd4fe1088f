//! The numbers of an update of Adam's, for the kernels that make it.

/// The numbers of one update of Adam's (arXiv 1412.6980).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    pub learning_rate: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    /// How many updates there have been, with this one.
    pub time: usize,
}

impl Adam {
    /// What both running means are multiplied with, because they begin at 0.
    pub(super) fn corrections(self) -> [f64; 2] {
        let time = i32::try_from(self.time).unwrap_or(i32::MAX);
        self.betas.map(|beta| 1.0 / (1.0 - beta.powi(time)))
    }
}

/// What an update does with a parameter beside following its gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decay {
    /// What the parameter is multiplied with before the update.
    pub kept: f64,
    /// How much of the parameter is added to its gradient.
    pub l2: f64,
}
