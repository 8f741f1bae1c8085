//! A set of small integers with a fast search for the lowest member: which candidate ranks may be ready.

#[derive(Clone, Debug, Default)]
pub struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    /// The set of all integers below `len`.
    pub fn full(len: usize) -> Self {
        let mut set = Self { words: vec![0; len.div_ceil(64)] };
        for bit in 0..len {
            set.insert(bit);
        }
        set
    }

    pub fn insert(&mut self, bit: usize) {
        self.words[bit / 64] |= 1 << (bit % 64);
    }

    pub fn remove(&mut self, bit: usize) {
        self.words[bit / 64] &= !(1 << (bit % 64));
    }

    pub fn contains(&self, bit: usize) -> bool {
        self.words.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
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
    }
}
