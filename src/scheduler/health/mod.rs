//! Health of keys and routes: scores, circuit breakers, connections, and whose fault a failure was.

pub mod breaker;
pub mod connection;
pub mod failure_streak;
pub mod fault_attribution;
pub mod latency_average;
pub mod rejections;
pub mod score;
