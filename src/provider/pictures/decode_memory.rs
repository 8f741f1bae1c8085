//! Limits the memory of the pictures that are decoded at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// Memory in bytes that the threads may use together. A picture that needs more is decoded alone.
const MAX_BYTES: u64 = 160 << 20;

static USED_BYTES: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A part of the memory, until it is dropped.
pub(super) struct DecodeMemory {
    bytes: u64,
}

impl DecodeMemory {
    /// Waits until this much memory is free. A thread must not take a second part, since it could wait for itself.
    pub fn take(bytes: u64) -> Self {
        // What is kept is a number, which a panic can't leave half-changed.
        let mut used = USED_BYTES.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && *used + bytes > MAX_BYTES {
            used = FREED.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Self { bytes }
    }
}

impl Drop for DecodeMemory {
    fn drop(&mut self) {
        *USED_BYTES.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        FREED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn large_pictures_are_decoded_alone_and_small_ones_together() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for number in 0..40_u64 {
                let (now, most) = (&now, &most);
                scope.spawn(move || {
                    let bytes = if number % 10 == 0 { MAX_BYTES * 3 } else { MAX_BYTES / 4 };
                    let _memory = DecodeMemory::take(bytes);
                    let together = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    // Tests of other files decode small pictures meanwhile.
                    assert!(together <= MAX_BYTES || together == bytes, "{together}");
                    most.fetch_max(together, Ordering::SeqCst);
                    thread::sleep(std::time::Duration::from_millis(1));
                    now.fetch_sub(bytes, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), MAX_BYTES * 3);
    }
}
