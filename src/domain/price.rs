//! Prices by kind of token, and what a usage costs at a price.

use serde::{Deserialize, Serialize};

use super::{attempt_result::Usage, money::Money};

/// The most context steps that a price can have.
pub const MAX_PRICE_STEPS: usize = 4;

/// Prices of one token of each kind, in pico-dollars (10⁻¹² USD). Every known provider bills thinking tokens as output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rates {
    /// Input that is neither read from nor written to the provider's cache.
    pub input: u64,
    /// Input that is read from the cache.
    pub cached_input: u64,
    /// Input that is written to the cache for five minutes, or for as long as the provider chooses.
    pub cache_write: u64,
    /// Input that is written to the cache for one hour.
    pub cache_write_1h: u64,
    pub output: u64,
}

/// The price of a model: rates that may change with the length of the prompt, and an amount for each picture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Price {
    base: Rates,
    /// In ascending order. The unused ones are at the end and start above `u64::MAX` tokens, which no prompt has.
    steps: [PriceStep; MAX_PRICE_STEPS],
    /// Pico-dollars for each picture of a request, in addition to its tokens.
    per_image: u64,
}

/// Rates for the whole of a request whose prompt has more than `above` tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PriceStep {
    above: u64,
    rates: Rates,
}

/// The cost of an attempt, or of several, by kind. The kinds add up to the whole cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CostByKind {
    /// Input outside of the provider's cache.
    pub input: Money,
    pub cached_input: Money,
    /// Writes for five minutes and for one hour.
    pub cache_write: Money,
    /// Output and thinking.
    pub output: Money,
    /// Pictures, where the provider bills each.
    pub images: Money,
}

/// The same in dollars, for JSON.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CostByKindUsd {
    pub input: f64,
    pub cached_input: f64,
    pub cache_write: f64,
    pub output: f64,
    pub images: f64,
}

/// The most that a request can use, as far as its cost depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UsageBound {
    /// Tokens of the prompt, whatever the cache holds.
    pub input_tokens: u64,
    /// Output and thinking tokens of all answers together.
    pub output_tokens: u64,
    pub images: u64,
    /// The request asks for a cache entry that is kept for one hour.
    pub writes_1h_cache: bool,
}

impl Rates {
    /// Rates without prices for the cache: its reads and writes cost as much as other input.
    ///
    /// Converts from dollars per million tokens, the unit of price lists. `None` for negative, too large or non-finite
    /// amounts.
    pub fn from_usd_per_mtok(input: f64, output: f64) -> Option<Self> {
        let (input, output) = (pico_per_token(input)?, pico_per_token(output)?);
        Some(Self { input, cached_input: input, cache_write: input, cache_write_1h: input, output })
    }

    /// The highest rate that a token of the prompt may cost. A cache write is possible in every request, since some
    /// providers write without being asked. One that is kept for an hour must be asked for.
    pub fn dearest_input(self, writes_1h_cache: bool) -> u64 {
        let without_1h = self.input.max(self.cached_input).max(self.cache_write);
        if writes_1h_cache { without_1h.max(self.cache_write_1h) } else { without_1h }
    }
}

impl Price {
    /// The price of a model that costs nothing.
    pub const FREE: Self = Self::new(Rates { input: 0, cached_input: 0, cache_write: 0, cache_write_1h: 0, output: 0 });

    /// The same rates for prompts of any length, and no amount for pictures.
    pub const fn new(rates: Rates) -> Self {
        Self { base: rates, steps: [PriceStep { above: u64::MAX, rates }; MAX_PRICE_STEPS], per_image: 0 }
    }

    /// See [`Rates::from_usd_per_mtok`].
    pub fn from_usd_per_mtok(input: f64, output: f64) -> Option<Self> {
        Rates::from_usd_per_mtok(input, output).map(Self::new)
    }

    /// Adds the rates for prompts of more than `above` tokens. `None` if there is no room for another step, or if
    /// `above` is not larger than that of the last one.
    #[must_use]
    pub fn with_step(mut self, above: u64, rates: Rates) -> Option<Self> {
        let used = self.used_steps().len();
        let is_ascending = self.used_steps().last().is_none_or(|last| last.above < above) && above < u64::MAX;
        *self.steps.get_mut(used).filter(|_| is_ascending)? = PriceStep { above, rates };
        Some(self)
    }

    #[must_use]
    pub const fn with_image(mut self, per_image: Money) -> Self {
        self.per_image = per_image.0;
        self
    }

    /// The rates of short prompts.
    pub const fn base(&self) -> Rates {
        self.base
    }

    /// The rates of a request whose prompt has this many tokens, cached ones included.
    pub fn rates(&self, input_tokens: u64) -> Rates {
        self.used_steps().iter().rev().find(|step| input_tokens > step.above).map_or(self.base, |step| step.rates)
    }

    /// Whether an answer costs more if it is longer.
    pub fn bills_output(&self) -> bool {
        self.base.output > 0 || self.used_steps().iter().any(|step| step.rates.output > 0)
    }

    /// The cost of a request's usage, with `images` pictures.
    ///
    /// Tokens are whole numbers, rates whole pico-dollars per token, so the cost is exact. An amount above 18 million
    /// dollars, which `Money` can't hold, becomes the highest one, so that no cap takes it for a small amount.
    pub fn cost(&self, usage: Usage, images: u64) -> CostByKind {
        let rates = self.rates(usage.input_tokens);
        CostByKind {
            input: amount(usage.uncached_input(), rates.input),
            cached_input: amount(usage.cached_input_tokens, rates.cached_input),
            cache_write: amount(usage.cache_write_tokens, rates.cache_write)
                + amount(usage.cache_write_1h_tokens, rates.cache_write_1h),
            output: amount(usage.billed_output(), rates.output),
            images: amount(images, self.per_image),
        }
    }

    /// The cost of a request that doesn't use the cache.
    pub fn uncached_cost(&self, input_tokens: u64, output_tokens: u64) -> Money {
        self.cost(Usage { input_tokens, output_tokens, ..Usage::default() }, 0).total()
    }

    /// The most that a request can cost: all of its prompt at the dearest rate of input, and all output. A prompt may
    /// turn out shorter and fall below a step, so the rates of every step up to its length count.
    pub fn worst_case(&self, bound: UsageBound) -> Money {
        let UsageBound { input_tokens, output_tokens, images, writes_1h_cache } = bound;
        let worst_within = |longest: u64, rates: Rates| {
            amount(input_tokens.min(longest), rates.dearest_input(writes_1h_cache))
                + amount(output_tokens, rates.output)
        };
        let steps = self.used_steps();
        let longest = |next: usize| steps.get(next).map_or(u64::MAX, |step| step.above);
        let reached = steps.iter().enumerate().filter(|(_, step)| input_tokens > step.above);
        let worst_of_steps = reached.map(|(index, step)| worst_within(longest(index + 1), step.rates));
        let worst = worst_of_steps.fold(worst_within(longest(0), self.base), Money::max);
        worst + amount(images, self.per_image)
    }

    fn used_steps(&self) -> &[PriceStep] {
        let used = self.steps.iter().position(|step| step.above == u64::MAX).unwrap_or(MAX_PRICE_STEPS);
        &self.steps[..used]
    }
}

impl CostByKind {
    pub fn total(self) -> Money {
        self.input + self.cached_input + self.cache_write + self.output + self.images
    }

    /// The kinds with their names, in the order in which they are shown.
    pub const fn kinds(self) -> [(&'static str, Money); 5] {
        let Self { input, cached_input, cache_write, output, images } = self;
        [
            ("input", input),
            ("cached input", cached_input),
            ("cache writes", cache_write),
            ("output", output),
            ("pictures", images),
        ]
    }
}

impl CostByKind {
    /// The kinds that cost something, such as `input $0.10, cached input $0.09, output $1.00`. `None` if only input and
    /// output do, so that the whole cost says as much.
    pub fn describe(self) -> Option<String> {
        let has_other_kinds = self.cached_input + self.cache_write + self.images > Money::ZERO;
        let costly = self.kinds().into_iter().filter(|(_, cost)| *cost > Money::ZERO);
        let parts: Vec<String> = costly.map(|(name, cost)| format!("{name} {cost}")).collect();
        has_other_kinds.then(|| parts.join(", "))
    }
}

impl From<CostByKind> for CostByKindUsd {
    fn from(cost: CostByKind) -> Self {
        Self {
            input: cost.input.as_usd(),
            cached_input: cost.cached_input.as_usd(),
            cache_write: cost.cache_write.as_usd(),
            output: cost.output.as_usd(),
            images: cost.images.as_usd(),
        }
    }
}

impl std::ops::AddAssign for CostByKind {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached_input += other.cached_input;
        self.cache_write += other.cache_write;
        self.output += other.output;
        self.images += other.images;
    }
}

/// The price of a token in pico-dollars, from dollars per million tokens.
fn pico_per_token(usd_per_mtok: f64) -> Option<u64> {
    Some(Money::from_usd(usd_per_mtok)?.0 / 1_000_000)
}

const fn amount(count: u64, rate: u64) -> Money {
    Money(count.saturating_mul(rate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(amount: f64) -> Money {
        Money::from_usd(amount).unwrap()
    }

    #[test]
    fn prices_per_million_are_exact_per_token() {
        let price = Price::from_usd_per_mtok(0.075, 0.30).unwrap();
        assert_eq!((price.base().input, price.base().output), (75_000, 300_000));
        assert_eq!(price.uncached_cost(1_000_000, 1_000_000), usd(0.375));
    }

    #[test]
    fn every_kind_has_its_own_price() {
        let rates = Rates { input: 100, cached_input: 10, cache_write: 125, cache_write_1h: 200, output: 500 };
        let usage = Usage {
            input_tokens: 10_000,
            cached_input_tokens: 4_000,
            cache_write_tokens: 2_000,
            cache_write_1h_tokens: 1_000,
            output_tokens: 70,
            thinking_tokens: 30,
        };
        let cost = Price::new(rates).with_image(Money(7)).cost(usage, 3);
        let want = CostByKind {
            input: Money(300_000),
            cached_input: Money(40_000),
            cache_write: Money(450_000),
            output: Money(50_000),
            images: Money(21),
        };
        assert_eq!((cost, cost.total()), (want, Money(840_021)));
    }

    /// Most of a prompt of a million tokens came from the cache.
    #[test]
    fn cached_input_is_not_billed_as_input() {
        let usage =
            Usage { input_tokens: 1_000_000, cached_input_tokens: 900_000, output_tokens: 500_000, ..Usage::default() };
        let uniform = Rates::from_usd_per_mtok(1.0, 2.0).unwrap();
        assert_eq!(Price::new(uniform).cost(usage, 0).total(), usd(2.0));
        assert_eq!(Price::new(Rates { cached_input: 100_000, ..uniform }).cost(usage, 0).total(), usd(1.19));
    }

    #[test]
    fn the_whole_request_has_the_rates_of_its_prompts_length() {
        let short = Rates::from_usd_per_mtok(2.0, 12.0).unwrap();
        let long = Rates::from_usd_per_mtok(4.0, 18.0).unwrap();
        let price = Price::new(short).with_step(200_000, long).unwrap();
        assert_eq!(price.rates(200_000), short);
        assert_eq!(price.rates(200_001), long);
        assert_eq!(price.uncached_cost(300_000, 1_000), usd(1.218));
        assert_eq!(price.with_step(200_000, long), None, "not in ascending order");
    }

    #[test]
    fn an_amount_that_does_not_fit_is_above_every_cap() {
        let price = Price::from_usd_per_mtok(100_000.0, 100_000.0).unwrap();
        let bound = UsageBound { input_tokens: 1 << 40, output_tokens: 1 << 40, ..UsageBound::default() };
        assert_eq!(price.worst_case(bound), Money(u64::MAX));
        assert_eq!(price.uncached_cost(1 << 40, 0), Money(u64::MAX));
    }

    prop_compose! {
        fn any_rates()(rates in prop::array::uniform5(0..1_000_000_u64)) -> Rates {
            let [input, cached_input, cache_write, cache_write_1h, output] = rates;
            Rates { input, cached_input, cache_write, cache_write_1h, output }
        }
    }

    prop_compose! {
        fn any_price()(
            base in any_rates(),
            steps in prop::collection::btree_map(0..10_000_u64, any_rates(), 0..=MAX_PRICE_STEPS),
            per_image in 0..1_000_000_000_u64,
        ) -> Price {
            let price = Price::new(base).with_image(Money(per_image));
            steps.into_iter().fold(price, |price, (above, rates)| price.with_step(above, rates).unwrap())
        }
    }

    proptest! {
        #[test]
        fn the_worst_case_is_never_below_the_cost_of_a_usage_that_the_bound_allows(
            price in any_price(),
            allowed in (0..12_000_u64, 0..5_000_u64, 0..9_u64, any::<bool>()),
            shares in prop::array::uniform6(0..=1_000_u64),
        ) {
            let (input_tokens, output_tokens, images, writes_1h_cache) = allowed;
            let bound = UsageBound { input_tokens, output_tokens, images, writes_1h_cache };
            let mut left = bound.input_tokens * shares[0] / 1_000;
            let used_input = left;
            let mut take = |share: u64| {
                let taken = left * share / 1_000;
                left -= taken;
                taken
            };
            let usage = Usage {
                input_tokens: used_input,
                cached_input_tokens: take(shares[1]),
                cache_write_tokens: take(shares[2]),
                cache_write_1h_tokens: if writes_1h_cache { take(shares[3]) } else { 0 },
                output_tokens: output_tokens * shares[4] / 1_000,
                thinking_tokens: (output_tokens - output_tokens * shares[4] / 1_000) * shares[5] / 1_000,
            };
            let cost = price.cost(usage, images).total();
            let worst = price.worst_case(bound);
            prop_assert!(cost <= worst, "{usage:?} costs {}, more than {}", cost.0, worst.0);
        }
    }
}
