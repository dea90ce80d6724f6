//! The C library's heap, told to be frugal: the agent runs on every node and works one thread at a
//! time, so an arena for each thread only keeps what the other has freed.

use nix::libc;

/// Bytes from which an allocation is mapped on its own and given back as soon as it is freed.
const MAP_FROM: i32 = 64 * 1024;

/// Free bytes at the heap's end from which they are given back.
const TRIM_FROM: i32 = 64 * 1024;

/// Sets the bounds, see mallopt(3). Called first in `main`, before there is a second thread.
///
/// A refusal changes nothing but the agent's weight, so it is not looked at.
#[cfg(target_env = "gnu")]
pub fn tame() {
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, MAP_FROM),
        (libc::M_TRIM_THRESHOLD, TRIM_FROM),
    ] {
        #[expect(unsafe_code, reason = "mallopt takes two numbers and touches no memory of ours")]
        // SAFETY: no pointers are passed, and no other thread runs yet.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// Other C libraries keep no arenas for each thread.
#[cfg(not(target_env = "gnu"))]
pub const fn tame() {}
