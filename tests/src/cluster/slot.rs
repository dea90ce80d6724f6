//! How many control planes run at once on this machine: a control plane needs about 350 MB and
//! seconds of CPU to start, and tests run in parallel threads and processes.
//!
//! A slot is a file that is locked (flock(2)): the kernel frees it when its holder dies, however.

use std::cell::RefCell;
use std::fs::File;
use std::fs::TryLockError;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

/// With controllers, scheduler and KWOK about 700 MB each: 3.5 GB of a machine that has 8.
const SLOTS: usize = 5;

/// Tests hold a slot for a minute or two; longer than this, somebody hangs.
const FREE_WITHIN: Duration = Duration::from_secs(20 * 60);

thread_local! {
    static HELD: RefCell<Weak<Slot>> = const { RefCell::new(Weak::new()) };
}

/// The right to run control planes.
#[derive(Debug)]
pub struct Slot {
    _locked: File,
}

impl Slot {
    /// Waits for one. A thread that has one already shares it, so that a test with two control planes
    /// never waits for another such test, and the other for it.
    ///
    /// # Panics
    /// If none gets free in 20 minutes.
    #[must_use]
    pub fn acquire() -> Arc<Self> {
        if let Some(held) = HELD.with_borrow(Weak::upgrade) {
            return held;
        }
        let directory = std::env::temp_dir().join("palisade-slots");
        std::fs::create_dir_all(&directory).expect("make the directory of slots");
        let deadline = Instant::now() + FREE_WITHIN;
        loop {
            for number in 0..SLOTS {
                let path = directory.join(number.to_string());
                let file = File::create(&path).expect("open a slot");
                match file.try_lock() {
                    Ok(()) => {
                        let slot = Arc::new(Self { _locked: file });
                        HELD.set(Arc::downgrade(&slot));
                        return slot;
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => panic!("lock {}: {error}", path.display()),
                }
            }
            assert!(Instant::now() < deadline, "no slot for a control plane in {FREE_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Slot;

    #[test]
    fn a_thread_shares_its_slot_with_itself() {
        let first = Slot::acquire();
        let second = Slot::acquire();
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        drop(Slot::acquire());
    }
}
