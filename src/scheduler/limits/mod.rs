//! The rate limits of a quota pool: what they are, what is used of them, and until when a pool cools down.

pub mod adaptive_limit;
pub mod daily_quota;
pub mod lease;
pub mod leasing;
pub mod min_rtt;
pub mod pool;
mod pool_forecast;
pub mod pool_limits;
pub mod ramp;
pub mod slow_start;
pub mod throttling;
pub mod window;
