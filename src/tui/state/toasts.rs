//! Short messages about what was just done. Errors stay until they are dismissed or newer errors displace them.

use std::{collections::VecDeque, time::Duration};

/// Maximum number of error toasts, and separately of all other toasts.
const MAX_PER_KIND: usize = 3;
/// Toasts other than errors are removed after this time.
const LIFETIME: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToastLevel {
    Success,
    Rejected,
    /// Does not expire.
    Error,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Toast {
    pub message: String,
    pub level: ToastLevel,
    /// On the clock of [`State::ui_elapsed`](super::State::ui_elapsed).
    pub shown_at: Duration,
}

/// The newest toasts, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Toasts(VecDeque<Toast>);

impl Toasts {
    /// Adds a toast. An older one with the same message is removed.
    pub fn push(&mut self, message: impl Into<String>, level: ToastLevel, shown_at: Duration) {
        let text = message.into();
        self.0.retain(|toast| toast.message != text);
        self.0.push_back(Toast { message: text, level, shown_at });
        // Errors and other toasts are counted separately, so that other toasts don't displace errors.
        let is_same_kind = |toast: &Toast| (toast.level == ToastLevel::Error) == (level == ToastLevel::Error);
        if self.0.iter().filter(|toast| is_same_kind(toast)).count() > MAX_PER_KIND
            && let Some(oldest) = self.0.iter().position(is_same_kind)
        {
            self.0.remove(oldest);
        }
    }

    /// Removes expired toasts; returns whether there were any.
    pub fn expire(&mut self, now: Duration) -> bool {
        let before = self.0.len();
        self.0.retain(|toast| toast.level == ToastLevel::Error || now.saturating_sub(toast.shown_at) < LIFETIME);
        self.0.len() < before
    }

    /// Removes all toasts; returns whether there were any.
    pub fn dismiss(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Toast> + ExactSizeIterator {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toasts_expire_but_errors_stay() {
        let at = Duration::from_secs;
        let mut toasts = Toasts::default();
        toasts.push("alice is off", ToastLevel::Success, at(0));
        toasts.push("the run has ended", ToastLevel::Error, at(0));
        assert!(!toasts.expire(at(5)));
        assert!(toasts.expire(at(6)));
        assert_eq!(toasts.iter().map(|toast| toast.message.as_str()).collect::<Vec<_>>(), ["the run has ended"]);
        assert!(toasts.dismiss());
        assert!(!toasts.dismiss());
    }

    #[test]
    fn errors_are_not_displaced_by_other_toasts() {
        let mut toasts = Toasts::default();
        toasts.push("the disk is full", ToastLevel::Error, Duration::ZERO);
        for words in ["a", "b", "c", "d"] {
            toasts.push(words, ToastLevel::Success, Duration::ZERO);
        }
        let shown = |toasts: &Toasts| toasts.iter().map(|toast| toast.message.clone()).collect::<Vec<_>>();
        assert_eq!(shown(&toasts), ["the disk is full", "b", "c", "d"]);
        toasts.expire(LIFETIME);
        assert_eq!(shown(&toasts), ["the disk is full"]);
    }

    #[test]
    fn at_most_three_toasts_are_kept_without_duplicates() {
        let mut toasts = Toasts::default();
        for words in ["a", "b", "b", "c", "d"] {
            toasts.push(words, ToastLevel::Rejected, Duration::ZERO);
        }
        assert_eq!(toasts.iter().map(|toast| toast.message.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
    }
}
