//! Memory for activations and packed weights: aligned to cache lines, zeroed once, on huge pages where the system lends them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Large blocks start on a huge page: thousands of small pages would cost the address translation more than the arithmetic.
const HUGE_PAGE: usize = 2 << 20;
const CACHE_LINE: usize = 64;

/// A zeroed block of `f32`.
#[derive(Debug)]
pub(super) struct Buffer {
    start: NonNull<f32>,
    layout: Layout,
}

// SAFETY: the block is owned and plain data; who may write where is the business of the unsafe code that asks for its address.
unsafe impl Send for Buffer {}
// SAFETY: as above; through a shared reference only the address can be had.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A block of `length` zeros; at least one.
    pub(super) fn zeros(length: usize) -> Buffer {
        let bytes = length
            .max(1)
            .checked_mul(size_of::<f32>())
            .expect("a plan's buffers were measured before they are made");
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
        let layout = Layout::from_size_align(bytes.next_multiple_of(CACHE_LINE), align)
            .expect("a buffer is smaller than memory");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { handle_alloc_error(layout) };
        #[cfg(all(target_os = "linux", not(miri)))]
        if align == HUGE_PAGE {
            // SAFETY: the range is this block and the rest of its last page; the advice changes no content, and that it is not taken does no harm.
            unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // Only now: pages that have been touched stay small.
        // SAFETY: the block has that many bytes.
        unsafe { start.as_ptr().cast::<u8>().write_bytes(0, layout.size()) };
        Buffer { start, layout }
    }

    /// A block that holds `values`.
    pub(super) fn from_slice(values: &[f32]) -> Buffer {
        let buffer = Buffer::zeros(values.len());
        // SAFETY: the new block has room for the values and overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), buffer.start.as_ptr(), values.len()) };
        buffer
    }

    /// The address of value `at`.
    pub(super) fn at(&self, at: usize) -> *mut f32 {
        assert!(
            at * size_of::<f32>() <= self.layout.size(),
            "an address outside of its buffer was asked for; this is a bug"
        );
        // SAFETY: within the block, or one past its end.
        unsafe { self.start.as_ptr().add(at) }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and owned.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) }
    }
}
