//! Buffers whose elements are written once: a buffer of zeros would be written twice.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

/// A place for a number, which holds none before it is written.
pub type Place = MaybeUninit<f32>;

/// What is written: a function of an element's number and of the inputs' elements there.
///
/// Small functions are closures. A large closure may be left out of line, where it is no vector code: such a function is a type whose `at` is
/// `#[inline(always)]`.
pub trait Each<const N: usize> {
    fn at(&self, number: usize, inputs: [f32; N]) -> f32;
}

impl<const N: usize, F: Fn(usize, [f32; N]) -> f32> Each<N> for F {
    #[inline(always)]
    fn at(&self, number: usize, inputs: [f32; N]) -> f32 {
        self(number, inputs)
    }
}

/// Writes every place, and gives them back as the numbers they are then.
///
/// # Panics
/// If an input is shorter.
#[inline(always)]
pub fn fill<'a, const N: usize>(places: &'a mut [Place], inputs: [&[f32]; N], each: impl Each<N>) -> &'a mut [f32] {
    let inputs = inputs.map(|input| &input[..places.len()]);
    for (number, place) in places.iter_mut().enumerate() {
        place.write(each.at(number, inputs.map(|input| input[number])));
    }
    // SAFETY: the loop has written every one of them.
    unsafe { places.assume_init_mut() }
}

/// Writes 0 in every place.
#[inline(always)]
pub fn zeros(places: &mut [Place]) -> &mut [f32] {
    fill(places, [], |_, []: [f32; 0]| 0.0)
}

/// Places that are written row after row.
pub struct RowPlaces<'a> {
    places: &'a mut [Place],
    written: usize,
}

impl<'a> RowPlaces<'a> {
    #[inline(always)]
    pub fn new(places: &'a mut [Place]) -> Self {
        Self { places, written: 0 }
    }

    /// [`fill`] of the next `length` places.
    ///
    /// # Panics
    /// If so many are not left.
    #[inline(always)]
    pub fn fill<const N: usize>(&mut self, length: usize, inputs: [&[f32]; N], each: impl Each<N>) -> &mut [f32] {
        let row = fill(&mut self.places[self.written..][..length], inputs, each);
        self.written += length;
        row
    }

    /// Writes the next place.
    ///
    /// # Panics
    /// If none is left.
    #[inline(always)]
    pub fn push(&mut self, number: f32) {
        self.places[self.written].write(number);
        self.written += 1;
    }

    /// All of them as numbers.
    ///
    /// # Panics
    /// If some are not written.
    #[inline(always)]
    pub fn finish(self) -> &'a mut [f32] {
        assert_eq!(self.written, self.places.len(), "rows are left out");
        // SAFETY: `fill` has written the first `written` places.
        unsafe { self.places.assume_init_mut() }
    }
}

/// How many numbers a buffer has, and how many of them a portion.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub length: usize,
    pub portion: usize,
}

/// Buffers that threads write in portions: `write` gets the number of a portion and that portion of each buffer, and gives the portions back as
/// numbers. A buffer that ends before the others has empty portions from there on.
///
/// # Panics
/// If `write` gives back anything else.
pub fn write<const N: usize>(
    sizes: [Size; N],
    write: impl for<'a> Fn(usize, [&'a mut [Place]; N]) -> [&'a mut [f32]; N] + Sync,
) -> [Vec<f32>; N] {
    let mut buffers = sizes.map(|size| Vec::with_capacity(size.length));
    let count = sizes.iter().map(|size| size.length.div_ceil(size.portion.max(1))).max().unwrap_or(0);
    let mut places = buffers
        .iter_mut()
        .zip(sizes)
        .map(|(buffer, Size { length, portion })| buffer.spare_capacity_mut()[..length].chunks_mut(portion.max(1)));
    let mut portions: [_; N] = std::array::from_fn(|_| places.next().expect("there are as many buffers as sizes"));
    let parts = (0..count).map(|_| portions.each_mut().map(|portion| portion.next().unwrap_or_default()));
    parts.collect::<Vec<_>>().into_par_iter().enumerate().for_each(|(number, places)| {
        let expected = places.each_ref().map(|places| ends(places));
        let found = write(number, places).map(|numbers| ends(numbers));
        assert_eq!(found, expected, "these are no portions of the buffers");
    });
    for (buffer, size) in buffers.iter_mut().zip(sizes) {
        // SAFETY: as many have been reserved, and for each portion of them `write` has given back numbers that lie where the portion lies.
        unsafe { buffer.set_len(size.length) };
    }
    buffers
}

/// Numbers that `fill` writes: they are not zeros first.
///
/// # Safety
/// `fill` writes all of them.
pub unsafe fn filled(length: usize, fill: impl FnOnce(&mut [Place])) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: there is room for them, and all are written.
    unsafe { values.set_len(length) };
    values
}

/// Where a slice begins and ends.
fn ends<T>(slice: &[T]) -> Range<usize> {
    let Range { start, end } = slice.as_ptr_range();
    start.addr()..end.addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_written_in_its_place() {
        let input: Vec<f32> = (0..10).map(|x| x as f32).collect();
        let sizes = [Size { length: 10, portion: 4 }, Size { length: 3, portion: 1 }, Size { length: 0, portion: 4 }];
        let [tenths, counts, nothing] = write(sizes, |number, [tenths, count, nothing]| {
            let length = tenths.len();
            let input = &input[4 * number..][..length];
            let mut rows = RowPlaces::new(tenths);
            rows.push(input[0]);
            rows.fill(length - 1, [&input[1..]], |_, [x]: [f32; 1]| x / 5.0)[0] /= 2.0;
            [rows.finish(), fill(count, [&[7.0]], |at, [x]: [f32; 1]| x + (at + number) as f32), zeros(nothing)]
        });
        assert_eq!(tenths, [0.0, 0.1, 0.4, 0.6, 4.0, 0.5, 1.2, 1.4, 8.0, 0.9]);
        assert_eq!((counts, nothing), (vec![7.0, 8.0, 9.0], Vec::new()));
    }

    #[test]
    #[should_panic(expected = "rows are left out")]
    fn rows_that_are_left_out_are_noticed() {
        let mut places = [Place::uninit(); 4];
        let mut rows = RowPlaces::new(&mut places);
        rows.fill(3, [&[0.0; 3]], |_, [x]: [f32; 1]| x);
        rows.finish();
    }

    #[test]
    #[should_panic(expected = "no portions of the buffers")]
    fn numbers_from_elsewhere_are_refused() {
        write([Size { length: 4, portion: 2 }], |_, [places]| [zeros(&mut places[1..])]);
    }
}
