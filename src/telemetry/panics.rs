//! Panics of any thread go into the log; onto the screen only when nobody holds the terminal.
//!
//! ratatui's own hook leaves the alternate screen for a panic in *any* thread, which tears a live dashboard
//! apart for a worker's mistake. Here the hook only speaks; the terminal is given back by whoever holds it.

use std::{
    any::Any,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::plain_text::sanitize;

/// Messages kept while the terminal is held; later ones are only logged.
const MAX_DEFERRED: usize = 8;

/// Who may print. Outside a test there is one of these for the process.
#[derive(Debug)]
struct PanicOutput {
    guards: u32,
    deferred: Vec<String>,
}

static PANIC_OUTPUT: Mutex<PanicOutput> = Mutex::new(PanicOutput { guards: 0, deferred: Vec::new() });

fn lock_output() -> MutexGuard<'static, PanicOutput> {
    // Nothing that is called under this lock panics; a poisoned one is still consistent.
    PANIC_OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives panics are not printed. Drop it only after the terminal is itself again: what was
/// withheld is then printed to stderr.
#[derive(Debug)]
#[must_use = "panics are printed again as soon as this is dropped"]
pub struct PanicOutputGuard(());

pub fn defer_panic_output() -> PanicOutputGuard {
    lock_output().guards += 1;
    PanicOutputGuard(())
}

impl Drop for PanicOutputGuard {
    fn drop(&mut self) {
        let withheld = {
            let mut printing = lock_output();
            printing.guards -= 1;
            if printing.guards > 0 { Vec::new() } else { std::mem::take(&mut printing.deferred) }
        };
        for message in withheld {
            // Not `eprintln!`, which panics where stderr was a terminal that is gone.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }
}

/// Logs every panic, and prints it too unless the terminal is held.
pub fn install_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = describe(info);
        tracing::error!("{message}");
        if !defer_message(message) {
            before(info);
        }
    }));
}

/// Keeps the message for later where the terminal is held.
fn defer_message(message: String) -> bool {
    let mut printing = lock_output();
    if printing.guards == 0 {
        return false;
    }
    if printing.deferred.len() < MAX_DEFERRED {
        printing.deferred.push(message);
    }
    true
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").to_owned();
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    format!("thread '{name}' panicked{place}: {}", panic_message(info.payload()))
}

/// What a panic said, safe to show.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    sanitize(message).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the hold is the process's.
    #[test]
    fn panics_are_withheld_exactly_while_the_terminal_is_held() {
        assert!(!defer_message("free".to_owned()));
        let outer = defer_panic_output();
        let inner = defer_panic_output();
        assert!(defer_message("held".to_owned()));
        drop(inner);
        assert!(defer_message("still held".to_owned()));
        assert_eq!(lock_output().deferred, ["held", "still held"]);
        drop(outer);
        assert!(!defer_message("free again".to_owned()));
        assert!(lock_output().deferred.is_empty());
    }

    #[test]
    fn a_panic_says_its_words_without_escapes() {
        let payload: Box<dyn Any + Send> = Box::new("bad \x1b[0m".to_owned());
        assert_eq!(panic_message(payload.as_ref()), "bad ␛[0m");
        let payload: Box<dyn Any + Send> = Box::new(7_u8);
        assert_eq!(panic_message(payload.as_ref()), "no message");
    }
}
