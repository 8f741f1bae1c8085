//! A set of small integers with a fast search for the lowest member: which candidate ranks may be ready.

#[derive(Clone, Debug, Default)]
pub struct BitSet {
    words: Vec<u64>,
    len: usize,
}

impl BitSet {
    /// An empty set of integers below `max`.
    pub fn empty(max: usize) -> Self {
        Self { words: vec![0; max.div_ceil(64)], len: 0 }
    }

    /// The set of all integers below `max`.
    pub fn full(max: usize) -> Self {
        let mut set = Self::empty(max);
        for bit in 0..max {
            set.insert(bit);
        }
        set
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn insert(&mut self, bit: usize) {
        self.len += usize::from(!self.contains(bit));
        self.words[bit / 64] |= 1 << (bit % 64);
    }

    pub fn remove(&mut self, bit: usize) {
        self.len -= usize::from(self.contains(bit));
        self.words[bit / 64] &= !(1 << (bit % 64));
    }

    pub fn contains(&self, bit: usize) -> bool {
        self.words.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        // An empty set of 10,000 is not searched: every decision asks for one.
        let first = if self.is_empty() { None } else { self.first_from(0) };
        std::iter::successors(first, |bit| self.first_from(bit + 1))
    }

    /// The lowest member that is at least `from`.
    pub fn first_from(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = *self.words.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.words.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_order() {
        let mut set = BitSet::full(130);
        for bit in (0..130).filter(|bit| ![3, 64, 129].contains(bit)) {
            set.remove(bit);
        }
        assert_eq!(set.first_from(0), Some(3));
        assert_eq!(set.first_from(4), Some(64));
        assert_eq!(set.first_from(65), Some(129));
        assert_eq!(set.first_from(130), None);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 129]);
        for bit in [64, 3, 3, 129] {
            assert!(!set.is_empty());
            set.remove(bit);
        }
        assert!(set.is_empty() && set.iter().next().is_none());
    }
}
