//! How the C library keeps memory that was freed.

/// Freed blocks of this size and more go back to the system at once, bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_BYTES: libc::c_int = 2 << 20;

/// Lets large blocks go back to the system when they are freed. Networks are slower for it: not for commands that may run one.
///
/// By default glibc keeps what was freed up to the size of the largest block freed so far (32 MiB at most), between blocks still in
/// use: a sixth of the memory of a linear solution of 170 000 elements.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn return_large_blocks() {
    // SAFETY: a setting of the allocator, before any thread is started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_BYTES);
    }
}

/// Other C libraries see to it themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn return_large_blocks() {}
