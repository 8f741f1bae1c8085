//! Random operator commands at any time, applied to the scheduler and to the reference.

use std::time::Duration;

use super::world::World;
use crate::domain::{CascadeOrder, Money, SpillTo, Strategy, WhenLimited};

impl World {
    pub fn random_command(&mut self) {
        let (keys, models) = (self.plan.keys.len(), self.plan.models.len());
        let (key, model) = (self.rng.usize(0..keys), self.rng.usize(0..models));
        let on = self.rng.bool();
        match self.rng.u8(0..15) {
            0 => self.switch_key(key, on),
            1 => self.switch_model(model, on),
            2 => self.switch_route(key, model, on),
            3 => {
                self.scheduler.clear_cooldowns(&format!("k{key}")).expect("known");
                self.reference.on_cooldowns_cleared(key);
            }
            4 => {
                let in_flight = self.rng.u32(1..50);
                self.set_in_flight(in_flight);
            }
            5 => self.scheduler.set_order(CascadeOrder::ALL[self.rng.usize(0..2)]),
            // Some settings don't go together; then nothing may change.
            6 => drop(self.scheduler.set_strategy(Strategy::ALL[self.rng.usize(0..Strategy::ALL.len())])),
            7 => drop(self.scheduler.set_when_limited(WhenLimited::ALL[self.rng.usize(0..2)])),
            8 => self.scheduler.set_spill_to(SpillTo::ALL[self.rng.usize(0..2)]),
            9 => {
                let budget = Money::from_usd(self.rng.f64() * 0.5).filter(|_| on);
                self.set_budget(budget);
            }
            10 => self.set_paused(on),
            // The machine sleeps: the wall clock advances, the monotonic clock doesn't.
            11 => self.now.wall = self.now.wall + Duration::from_secs(self.rng.u64(1..20_000)),
            12 => self.change_limits(),
            13 => {
                let kept = self.rng.u64(2..6);
                self.scheduler.give_up(|seq| seq.0 % kept == 0);
            }
            _ => self.enqueue(1 + self.plan.items / 10),
        }
    }

    /// Switches everything on and ends all faults: every waiting item must end now.
    pub fn restore_everything(&mut self) {
        for key in 0..self.plan.keys.len() {
            self.switch_key(key, true);
            for model in 0..self.plan.models.len() {
                self.switch_route(key, model, true);
            }
        }
        for model in 0..self.plan.models.len() {
            self.switch_model(model, true);
        }
        self.set_paused(false);
        self.set_budget(None);
        self.faults_are_over = true;
    }

    fn switch_key(&mut self, key: usize, on: bool) {
        self.scheduler.switch_key(self.now.wall, &format!("k{key}"), on).expect("known");
        toggle(&mut self.reference.keys_off, key, on);
        if on {
            self.reference.on_key_enabled(key);
        }
    }

    fn switch_model(&mut self, model: usize, on: bool) {
        self.scheduler.switch_model(self.now.wall, &format!("m{model}"), on).expect("known");
        toggle(&mut self.reference.models_off, model, on);
    }

    fn switch_route(&mut self, key: usize, model: usize, on: bool) {
        // Not every key has every model.
        if self.scheduler.switch_route(self.now.wall, &format!("k{key}"), &format!("m{model}"), on).is_ok() {
            toggle(&mut self.reference.routes_off, (key, model), on);
        }
    }

    fn set_in_flight(&mut self, in_flight: u32) {
        self.scheduler.set_max_in_flight(in_flight);
        self.reference.max_in_flight = in_flight as usize;
    }

    fn set_budget(&mut self, budget: Option<Money>) {
        self.scheduler.set_max_usd(budget);
        self.reference.budget = budget;
    }

    fn set_paused(&mut self, paused: bool) {
        self.scheduler.set_paused(paused);
        self.reference.is_paused = paused;
    }
}

fn toggle<T: std::hash::Hash + Eq>(off: &mut std::collections::HashSet<T>, what: T, on: bool) {
    if on {
        off.remove(&what);
    } else {
        off.insert(what);
    }
}
