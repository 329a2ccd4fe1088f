//! The kernels of the CRF's paths. `transitions` are `[2 + labels, labels]`: of the start, of the stop, and from label to label; `emissions`
//! `[rows, steps, labels]`; `sums`, of the same shape, the logarithms of the sums of the paths up to each label, without what that emits.

use cubecl::prelude::*;

/// Units of a cube, which has a row.
pub(super) const UNITS: usize = 64;
/// Labels that there is room for in the 32 KiB which a cube shares everywhere, by far.
pub(super) const WIDEST: usize = 512;

/// Forward. A unit has some labels of each step.
#[cube(launch_unchecked)]
pub(super) fn sum_paths<I: Int>(
    transitions: &[f32],
    emissions: &[f32],
    ends: &[I],
    sums: &mut [f32],
    output: &mut [f32],
    steps: usize,
    labels: usize,
    #[define(I)] _type: ElemType,
) {
    // Of the paths up to each label, with what it emits: of the step before, and of this one.
    let mut shared = Shared::<[f32]>::new_slice(2 * WIDEST);
    let row = row(ends.len());
    let end = usize::cast_from(ends[row]);
    let mut now = 0;
    // All units go through all barriers, those of a row that has ended, too.
    for step in 0..steps {
        let place = (row * steps + step) * labels;
        let before = now;
        if step > 0 && step < end {
            now = WIDEST - now;
        }
        let mut label = UNIT_POS as usize;
        while label < labels {
            let mut sum = f32::new(0.0);
            if step == 0 {
                sum = transitions[label];
            } else if step < end {
                let mut most = shared[before] + transitions[2 * labels + label];
                for from in 1..labels {
                    let score = shared[before + from] + transitions[(2 + from) * labels + label];
                    if score > most {
                        most = score;
                    }
                }
                let mut total = f32::new(0.0);
                for from in 0..labels {
                    total += (shared[before + from] + transitions[(2 + from) * labels + label] - most).exp();
                }
                sum = most + total.ln();
            }
            sums[place + label] = sum;
            if step < end {
                shared[now + label] = sum + emissions[place + label];
            }
            label += UNITS;
        }
        sync_cube();
    }
    if UNIT_POS == 0 {
        let mut most = shared[now] + transitions[labels];
        for label in 1..labels {
            let score = shared[now + label] + transitions[labels + label];
            if score > most {
                most = score;
            }
        }
        let mut total = f32::new(0.0);
        for label in 0..labels {
            total += (shared[now + label] + transitions[labels + label] - most).exp();
        }
        output[row] = most + total.ln();
    }
}

/// A cube behind the last row does that again.
#[cube]
fn row(rows: usize) -> usize {
    let mut row = CUBE_POS;
    if row >= rows {
        row = rows - 1;
    }
    row
}

/// Backward: the gradient of the emissions, which is the probability of each label, times the row's gradient.
#[cube(launch_unchecked)]
pub(super) fn through_paths<I: Int>(
    transitions: &[f32],
    emissions: &[f32],
    sums: &[f32],
    output: &[f32],
    gradient: &[f32],
    ends: &[I],
    of_emissions: &mut [f32],
    steps: usize,
    labels: usize,
    #[define(I)] _type: ElemType,
) {
    // Of this step, and of the one behind it.
    let mut shared = Shared::<[f32]>::new_slice(2 * WIDEST);
    let row = row(ends.len());
    let end = usize::cast_from(ends[row]);
    let mut now = 0;
    for number in 0..steps {
        let step = steps - 1 - number;
        let place = (row * steps + step) * labels;
        let behind = now;
        now = WIDEST - now;
        let mut label = UNIT_POS as usize;
        while label < labels {
            let mut found = f32::new(0.0);
            let score = sums[place + label] + emissions[place + label];
            if step + 1 == end {
                found = gradient[row] * (score + transitions[labels + label] - output[row]).exp();
            } else if step + 1 < end {
                for to in 0..labels {
                    let passed = score + transitions[(2 + label) * labels + to] - sums[place + labels + to];
                    found += shared[behind + to] * passed.exp();
                }
            }
            of_emissions[place + label] = found;
            shared[now + label] = found;
            label += UNITS;
        }
        sync_cube();
    }
}

/// The gradient of the transitions from each row, `[rows, 2 + labels, labels]`. A unit a number.
#[cube(launch_unchecked)]
pub(super) fn sum_steps<I: Int>(
    transitions: &[f32],
    emissions: &[f32],
    sums: &[f32],
    of_emissions: &[f32],
    ends: &[I],
    out: &mut [f32],
    steps: usize,
    labels: usize,
    #[define(I)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    let size = (2 + labels) * labels;
    if at < ends.len() * size {
        let row = at / size;
        let from = at % size / labels;
        let to = at % labels;
        let first = row * steps * labels;
        let end = usize::cast_from(ends[row]);
        let mut found = f32::new(0.0);
        if from == 0 {
            found = of_emissions[first + to];
        } else if from == 1 {
            found = of_emissions[first + (end - 1) * labels + to];
        } else {
            let score = transitions[at % size];
            for step in 1..end {
                let before = first + (step - 1) * labels + from - 2;
                let after = first + step * labels + to;
                let passed = sums[before] + emissions[before] + score - sums[after];
                found += of_emissions[after] * passed.exp();
            }
        }
        out[at] = found;
    }
}

/// `[rows, size] -> [size]`
#[cube(launch_unchecked)]
pub(super) fn sum_rows(x: &[f32], out: &mut [f32], rows: usize) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let mut found = f32::new(0.0);
        for row in 0..rows {
            found += x[row * out.len() + at];
        }
        out[at] = found;
    }
}
