//! Health of keys and routes: scores, circuit breakers, probes, and whose fault a failure was.

pub mod breaker;
pub mod fault_attribution;
pub mod latency_average;
pub mod probe;
pub mod score;
