//! The heap: the runtime's own, which a confined process uses with two system calls only, and whose end is its end.
//!
//! Where no memory is left, the runtime would write a line and call libc's `abort`, which needs six more system calls and
//! cannot end the first process of a pid namespace anyway. So a confined process ends here, as it ends by a panic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::worker;

#[global_allocator]
static HEAP: Heap = Heap;

/// Whether a request for memory that cannot be met ends the process. Otherwise the runtime decides.
static IS_CONFINED: AtomicBool = AtomicBool::new(false);

struct Heap;

/// From now on the heap grows by `brk`, and by `mmap` where that fails; nothing is given back but by `brk`. So `munmap`
/// and `mremap` are not needed.
pub(crate) fn confine() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only stores the number, and no other thread exists yet that could allocate meanwhile. Should it
        // fail, the process needs a call that its profile does not grant, and ends when it makes it.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) };
    }
    IS_CONFINED.store(true, Ordering::Relaxed);
}

fn check(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && IS_CONFINED.load(Ordering::Relaxed) {
        worker::end_without_memory(bytes);
    }
    memory
}

// SAFETY: every request is passed on to the system's allocator as it came, and its answer given back as it is, or not at
// all because the process ends.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller vouches.
        check(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller vouches.
        check(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as the caller vouches.
        check(unsafe { System.realloc(memory, layout, bytes) }, bytes)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(memory, layout) }
    }
}
