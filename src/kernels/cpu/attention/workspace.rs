//! Memory that a thread takes again and again.

use std::cell::Cell;

/// Numbers of the widest vector.
pub const LANES: usize = 16;

thread_local! {
    static SPACE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs something with the thread's workspace.
pub fn with_workspace(run: impl FnOnce(&mut Vec<f32>)) {
    let mut space = SPACE.take();
    run(&mut space);
    SPACE.set(space);
}

/// Parts of a workspace, each at the beginning of a cache line. What stands in them is anything.
pub fn parts<const N: usize>(space: &mut Vec<f32>, lengths: [usize; N]) -> [&mut [f32]; N] {
    let total: usize = lengths.iter().map(|length| length.next_multiple_of(LANES)).sum();
    if space.len() < total + LANES {
        space.resize(total + LANES, 0.0);
    }
    let start = space.as_ptr().align_offset(LANES * size_of::<f32>()).min(LANES);
    let mut rest = &mut space[start..];
    lengths.map(|length| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(length.next_multiple_of(LANES));
        rest = others;
        &mut part[..length]
    })
}
