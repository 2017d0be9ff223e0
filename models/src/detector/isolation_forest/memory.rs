//! Three things to ask of the machine that the language has no safe words for: fetch a line ahead, lend huge pages, and write past the caches.
//!
//! None changes what is read. A forest reads one value here and one there of gigabytes: with pages of 4 KiB the translation of
//! addresses costs more than the reads. What is written here and there, whole lines, need not be read first.
#![allow(
    unsafe_code,
    reason = "hints and stores take raw addresses; each is in bounds of a slice that is borrowed as its use needs"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

/// Bytes of a line of the cache.
pub(super) const LINE_BYTES: usize = 64;

/// Fetches the cache line of `values[index]`, if there is one, without waiting for it.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = values.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, of an address inside the slice; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, index);
}

/// As [`prefetch`], but into the second cache: for many lines at once, which wait for places in the first one otherwise.
#[inline(always)]
pub(super) fn prefetch_many<T>(values: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = values.get(index) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, index);
}

/// A number without padding, whose bytes can be copied as such.
pub(super) trait Plain: Copy + Default + Send + Sync {}
impl Plain for f32 {}
impl Plain for u16 {}

/// Writes `line` to `out`, of equal length, past the caches where it is a whole line; [`end_streams`] makes it visible to other threads.
#[inline(always)]
pub(super) fn stream<T: Plain>(out: &mut [T], line: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        let is_line = size_of_val(line) == LINE_BYTES && size_of_val(out) == LINE_BYTES;
        if is_line && out.as_ptr().addr().is_multiple_of(size_of::<__m128i>()) {
            let (from, to) = (line.as_ptr().cast::<__m128i>(), out.as_mut_ptr().cast::<__m128i>());
            for i in 0..LINE_BYTES / size_of::<__m128i>() {
                // SAFETY: both have 64 bytes without padding, `to` is aligned to 16, and every x86-64 has these stores.
                unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
            }
            return;
        }
    }
    out.copy_from_slice(line);
}

/// To be called by the thread that has called [`stream`] before it lets go of what was written.
pub(super) fn end_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it orders stores and does nothing else; every x86-64 has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Zeros on huge pages where the system lends them; nothing of them is resident before it is written.
#[derive(Debug)]
pub(super) struct Zeros<T> {
    values: Vec<T>,
    /// The first on a boundary of pages.
    start: usize,
    length: usize,
}

impl<T: Plain> Zeros<T> {
    pub(super) fn new(length: usize) -> Self {
        const PAGE: usize = 2 << 20;
        // The allocator gets blocks of this size straight from the system, zeroed. What is small is only put on a line of its own.
        let align = if length * size_of::<T>() >= PAGE { PAGE } else { LINE_BYTES };
        let n_bytes = (length * size_of::<T>()).next_multiple_of(align) + align;
        let values = vec![T::default(); n_bytes / size_of::<T>()];
        let start = values.as_ptr().addr().wrapping_neg() % align / size_of::<T>();
        #[cfg(all(target_os = "linux", not(miri)))]
        if align == PAGE {
            let address = values[start..].as_ptr().cast_mut().cast();
            // SAFETY: whole pages inside the vector; the advice changes no content, and that it is not taken does no harm.
            unsafe { libc::madvise(address, n_bytes - PAGE, libc::MADV_HUGEPAGE) };
        }
        Self { values, start, length }
    }
}

impl<T> std::ops::Deref for Zeros<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.length]
    }
}

impl<T> std::ops::DerefMut for Zeros<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.length]
    }
}

impl<T: Plain> Clone for Zeros<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_begin_on_a_line_and_can_be_written_past_the_caches() {
        for length in [1usize, 16, 1000, 600_000] {
            let mut zeros = Zeros::<f32>::new(length);
            assert!(zeros.iter().all(|&value| value == 0.0) && zeros.len() == length);
            assert_eq!(zeros.as_ptr().addr() % LINE_BYTES, 0);
            let line: Vec<f32> = (0..length.min(16)).map(|i| i as f32).collect();
            stream(&mut zeros[..line.len()], &line);
            end_streams();
            assert_eq!(zeros[..line.len()], line);
            assert_eq!(zeros.clone()[..], zeros[..]);
        }
    }
}
