//! A queue of item numbers that holds consecutive numbers as one range, so that a million waiting items need no memory.

use std::{collections::VecDeque, ops::Range};

use crate::domain::Seq;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SeqQueue {
    /// None is empty.
    ranges: VecDeque<Range<u64>>,
    len: usize,
}

impl SeqQueue {
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push_back(&mut self, seq: Seq) {
        self.push_back_range(seq, 1);
    }

    /// Adds `count` consecutive numbers from `first` on.
    pub fn push_back_range(&mut self, first: Seq, count: u64) {
        if count == 0 {
            return;
        }
        self.len += count as usize;
        match self.ranges.back_mut() {
            Some(last) if last.end == first.0 => last.end += count,
            _ => self.ranges.push_back(first.0..first.0 + count),
        }
    }

    /// Puts numbers back to the front, in this order.
    pub fn push_front_all(&mut self, seqs: &[Seq]) {
        for Seq(seq) in seqs.iter().rev().copied() {
            self.len += 1;
            match self.ranges.front_mut() {
                Some(first) if first.start == seq + 1 => first.start = seq,
                _ => self.ranges.push_front(seq..seq + 1),
            }
        }
    }

    /// Takes up to `count` numbers from the front.
    pub fn take_front(&mut self, count: usize) -> Vec<Seq> {
        let mut taken = Vec::with_capacity(count.min(self.len));
        while taken.len() < count
            && let Some(first) = self.ranges.front_mut()
        {
            taken.push(Seq(first.start));
            first.start += 1;
            if first.is_empty() {
                self.ranges.pop_front();
            }
        }
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(numbers: impl IntoIterator<Item = u64>) -> Vec<Seq> {
        numbers.into_iter().map(Seq).collect()
    }

    #[test]
    fn numbers_leave_in_the_order_in_which_they_came() {
        let mut queue = SeqQueue::default();
        [5, 6, 7, 9, 2, 3].map(Seq).into_iter().for_each(|seq| queue.push_back(seq));
        queue.push_back_range(Seq(4), 1_000_000);
        queue.push_back_range(Seq(1), 0);
        assert_eq!((queue.len(), queue.ranges.len()), (1_000_006, 3));
        let first = queue.take_front(5);
        assert_eq!(first, seqs([5, 6, 7, 9, 2]));
        queue.push_front_all(&first);
        assert_eq!(queue.take_front(8), seqs([5, 6, 7, 9, 2, 3, 4, 5]));
        assert_eq!((queue.len(), queue.is_empty()), (999_998, false));
        assert_eq!(queue.take_front(usize::MAX).len(), 999_998);
        assert!(queue.is_empty() && queue.take_front(1).is_empty());
    }
}
