//! The fleet: providers, projects, keys, models, and the routes and quota pools that they make up.

pub mod availability;
pub mod build;
