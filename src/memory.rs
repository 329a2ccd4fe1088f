//! The allocator. Tensors come and go by the megabyte: memory that is given back to the kernel has to be faulted in again, at 2 us a page.

#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, for which the crate has no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Has freed memory kept for the next tensor; first thing in `main`. `MIMALLOC_PURGE_DELAY` in the environment, in milliseconds, goes before.
pub fn keep() {
    // SAFETY: it writes one number, which the allocator reads when it frees, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}

/// What the allocator holds of the machine's memory (MiB).
pub fn resident() -> f64 {
    let (mut resident, mut other) = (0, [0; 7]);
    let [a, b, c, d, e, f, g] = &mut other;
    // SAFETY: it writes a number to each of the places.
    unsafe { libmimalloc_sys::mi_process_info(a, b, c, &mut resident, d, e, f, g) };
    resident as f64 / f64::from(1 << 20)
}
