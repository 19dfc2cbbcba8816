//! An array that several tasks write disjoint parts of.

use std::marker::PhantomData;

pub struct Shared<'a> {
    start: *mut f32,
    length: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `slice`, whose contract forbids overlapping use.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            owner: PhantomData,
        }
    }

    /// A part of the array.
    ///
    /// # Safety
    /// No two parts in use at a time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, from: usize, length: usize) -> &mut [f32] {
        assert!(from + length <= self.length);
        // SAFETY: inside the array, and by the contract nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), length) }
    }
}
