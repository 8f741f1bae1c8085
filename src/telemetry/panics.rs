//! Logs the panics of all threads, and prints them when no dashboard uses the terminal.
//!
//! ratatui's own hook leaves the alternate screen at a panic in any thread, so a panic in a worker would break a
//! running dashboard. This hook does not touch the terminal: the code that uses it restores it.

use std::{
    any::Any,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::plain_text::sanitize;

/// Maximum number of messages kept while output is deferred. Later ones are only logged.
const MAX_DEFERRED_MESSAGES: usize = 8;

/// The number of guards that defer panic output, and the messages deferred so far. There is one per process,
/// [`PANIC_OUTPUT`].
#[derive(Debug)]
struct PanicOutput {
    guard_count: u32,
    deferred: Vec<String>,
}

static PANIC_OUTPUT: Mutex<PanicOutput> = Mutex::new(PanicOutput { guard_count: 0, deferred: Vec::new() });

fn lock_output() -> MutexGuard<'static, PanicOutput> {
    // No code that runs under this lock panics, so poisoning can be ignored.
    PANIC_OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Defers the printing of panics while it exists. When the last guard is dropped, the deferred messages are printed to
/// stderr. Drop it only after the terminal is restored.
#[derive(Debug)]
#[must_use = "panics are printed again as soon as this is dropped"]
pub struct PanicOutputGuard(());

pub fn defer_panic_output() -> PanicOutputGuard {
    lock_output().guard_count += 1;
    PanicOutputGuard(())
}

impl Drop for PanicOutputGuard {
    fn drop(&mut self) {
        let deferred_messages = {
            let mut output = lock_output();
            output.guard_count -= 1;
            if output.guard_count > 0 { Vec::new() } else { std::mem::take(&mut output.deferred) }
        };
        for message in deferred_messages {
            // Not `eprintln!`, which panics if stderr can't be written to, such as a closed terminal.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }
}

/// Installs a panic hook that logs every panic, and prints it unless output is deferred.
pub fn install_hook() {
    let previous_hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = describe(info);
        tracing::error!("{message}");
        if !defer_message(message) {
            previous_hook(info);
        }
    }));
}

/// Keeps the message for later if output is deferred. Returns whether it is deferred.
fn defer_message(message: String) -> bool {
    let mut output = lock_output();
    if output.guard_count == 0 {
        return false;
    }
    if output.deferred.len() < MAX_DEFERRED_MESSAGES {
        output.deferred.push(message);
    }
    true
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").to_owned();
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    format!("thread '{name}' panicked{place}: {}", panic_message(info.payload()))
}

/// A panic's message, sanitized for display.
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

    // One test, because the state is shared by the whole process.
    #[test]
    fn panics_are_deferred_while_any_guard_exists() {
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
    fn a_panic_message_is_sanitized() {
        let payload: Box<dyn Any + Send> = Box::new("bad \x1b[0m".to_owned());
        assert_eq!(panic_message(payload.as_ref()), "bad ␛[0m");
        let payload: Box<dyn Any + Send> = Box::new(7_u8);
        assert_eq!(panic_message(payload.as_ref()), "no message");
    }
}
