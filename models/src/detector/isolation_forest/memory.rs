//! Two hints to the machine that the language has no safe words for: fetch a line ahead, and lend huge pages.
//!
//! Neither changes a value. A forest reads one value here and one there of gigabytes: with pages of 4 KiB the translation of
//! addresses costs more than the reads.
#![allow(
    unsafe_code,
    reason = "hints take raw addresses; each is in bounds of a slice, and none reads or writes"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

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

/// A vector of `length` zeros on huge pages where the system lends them; nothing of it is resident before it is written.
pub(super) fn zeros_on_huge_pages<T: Copy + Default>(length: usize) -> Vec<T> {
    // The allocator gets blocks of this size straight from the system, zeroed.
    let values = vec![T::default(); length];
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        const PAGE: usize = 4096;
        let start = values.as_ptr() as usize;
        let (first, end) = (start.next_multiple_of(PAGE), (start + size_of_val(&*values)) / PAGE * PAGE);
        if first < end {
            // SAFETY: whole pages inside the vector; the advice changes no content, and that it is not taken does no harm.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    values
}
