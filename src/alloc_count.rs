//! Counts heap allocations by thread, so that `analyze` can report how many the real-time loop makes (none).
//!
//! The allocator itself is the system's; counting costs one thread-local increment.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted. The binary installs it; a library user need not.
pub struct Counted;

fn count() {
    // A thread that is being torn down has no counter any more; nobody reads it then.
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
}

// SAFETY: every call goes unchanged to the system's allocator, which upholds the contract; counting touches only a
// thread-local `Cell` without a destructor and does not allocate.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised by our caller.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by our caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as promised by our caller.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Allocations of this thread so far (0 where [`Counted`] is not installed).
#[must_use]
pub fn here() -> u64 {
    COUNT.try_with(Cell::get).unwrap_or(0)
}
