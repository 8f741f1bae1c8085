//! What outlives the process: cooldowns, health, switches and the cursor, in names and on the wall clock.
//! Counters are not here: they are recounted from the record of attempts.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::domain::{
    EventKind, LimitDimension, Now, Outcome, RouteId, Usage, WallTime,
    snapshot::{Cause, CauseSource},
};

use super::{Scheduler, cooldown::Cooldown, health::Health, pool::Need};

/// Names rather than indices, so that a changed configuration finds what it still has.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pools: Vec<PoolMemory>,
    projects: Vec<(String, CooldownMemory)>,
    keys: Vec<KeyMemory>,
    models_off: Vec<(String, WallTime)>,
    routes: Vec<RouteMemory>,
    cursor: Option<(String, String)>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PoolMemory {
    name: String,
    cooldown: Option<CooldownMemory>,
    spent: Option<CooldownMemory>,
    ladder_step: usize,
    stated: Vec<(LimitDimension, u64)>,
    /// Requests and tokens per minute.
    learned: (Option<u64>, Option<u64>),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct CooldownMemory {
    since: WallTime,
    until: WallTime,
    calendar: bool,
    cause: Cause,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct KeyMemory {
    name: String,
    health: u8,
    off: Option<WallTime>,
    dead: Option<Cause>,
    /// Tells a changed secret, which revives a dead key, as does one that can't be compared.
    #[serde(default, deserialize_with = "salted")]
    fingerprint: Option<String>,
}

/// Earlier programs kept a number, made without a salt: it is compared with nothing.
fn salted<'de, D: Deserializer<'de>>(written: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Salted(String),
        Other(IgnoredAny),
    }
    Ok(match Written::deserialize(written)? {
        Written::Salted(text) => Some(text),
        Written::Other(IgnoredAny) => None,
    })
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct RouteMemory {
    key: String,
    model: String,
    off: Option<WallTime>,
    gone: Option<Cause>,
}

/// One attempt of an earlier process, from the record.
#[derive(Clone, PartialEq, Debug)]
pub struct PastAttempt {
    /// When it settled; when it was sent, where it never did.
    pub at: WallTime,
    pub outcome: Outcome,
    pub usage: Usage,
    /// What was reserved for it: it stays taken where no usage was ever heard.
    pub estimated: u64,
}

impl CooldownMemory {
    fn of(cooldown: &Cooldown, now: Now) -> Option<Self> {
        let until =
            if cooldown.calendar { cooldown.until.wall } else { now.wall + cooldown.until.mono.since(now.mono) };
        (!cooldown.over(now)).then(|| Self {
            since: cooldown.since.wall,
            until,
            calendar: cooldown.calendar,
            cause: cooldown.cause.clone(),
        })
    }

    fn restore(self, now: Now) -> Option<Cooldown> {
        let left = self.until.since(now.wall);
        (!left.is_zero()).then(|| Cooldown {
            since: Now { mono: now.mono, wall: self.since },
            until: Now { mono: now.mono + left, wall: self.until },
            calendar: self.calendar,
            cause: self.cause,
        })
    }
}

impl Scheduler {
    /// `fingerprints` of the keys' secrets, by key; `None` where nothing is there to make them with.
    pub fn memory(&self, now: Now, fingerprints: &[Option<String>]) -> Memory {
        let cool = |cooldown: &Option<Cooldown>| cooldown.as_ref().and_then(|it| CooldownMemory::of(it, now));
        let names =
            |route: &super::Route| (self.keys[route.key].key.name.clone(), self.models[route.model].model.name.clone());
        Memory {
            pools: self
                .pools
                .iter()
                .map(|pool| PoolMemory {
                    name: pool.name.clone(),
                    cooldown: cool(&pool.cooldown),
                    spent: cool(&pool.spent),
                    ladder_step: pool.ladder_step,
                    stated: pool.bounds.stated(),
                    learned: pool.bounds.learned(),
                })
                .filter(|pool| {
                    let learned = pool.learned != (None, None) || !pool.stated.is_empty();
                    pool.cooldown.is_some() || pool.spent.is_some() || pool.ladder_step > 0 || learned
                })
                .collect(),
            projects: self
                .projects
                .iter()
                .filter_map(|project| Some((project.name.clone(), cool(&project.billing)?)))
                .collect(),
            keys: self
                .keys
                .iter()
                .zip(fingerprints)
                .map(|(state, fingerprint)| KeyMemory {
                    name: state.key.name.clone(),
                    health: state.health.score(),
                    off: state.off,
                    dead: state.dead.clone(),
                    fingerprint: fingerprint.clone(),
                })
                .collect(),
            models_off: self.models.iter().filter_map(|state| Some((state.model.name.clone(), state.off?))).collect(),
            routes: self
                .routes
                .iter()
                // A hold is a question to the operator of this process: the next one finds out for itself.
                .filter(|route| route.off.is_some() || route.gone.is_some())
                .map(|route| {
                    let (key, model) = names(route);
                    RouteMemory { key, model, off: route.off, gone: route.gone.clone() }
                })
                .collect(),
            cursor: self.ranking.get(self.cursor).map(|route| names(&self.routes[route.index()])),
        }
    }

    /// Puts back what an earlier process knew, as far as the configuration still has it.
    pub fn restore(&mut self, now: Now, memory: Memory, fingerprints: &[Option<String>]) {
        for saved in memory.pools {
            if let Some(pool) = self.pools.iter_mut().find(|pool| pool.name == saved.name) {
                pool.cooldown = saved.cooldown.and_then(|cooldown| cooldown.restore(now));
                pool.spent = saved.spent.and_then(|cooldown| cooldown.restore(now));
                pool.ladder_step = saved.ladder_step;
                pool.bounds.restore(&saved.stated, saved.learned);
                pool.retune();
            }
        }
        for (name, saved) in memory.projects {
            if let Some(project) = self.projects.iter_mut().find(|project| project.name == name) {
                project.billing = saved.restore(now);
            }
        }
        for saved in memory.keys {
            let Some((state, fingerprint)) =
                self.keys.iter_mut().zip(fingerprints).find(|(state, _)| state.key.name == saved.name)
            else {
                continue;
            };
            state.off = saved.off;
            if saved.fingerprint.is_some() && saved.fingerprint == *fingerprint {
                state.dead = saved.dead;
                state.health = Health::from_score(saved.health);
            }
        }
        for (name, since) in memory.models_off {
            self.models.iter_mut().filter(|state| state.model.name == name).for_each(|state| state.off = Some(since));
        }
        for saved in memory.routes {
            let (keys, models) = (&self.keys, &self.models);
            let found = self
                .routes
                .iter_mut()
                .find(|route| keys[route.key].key.name == saved.key && models[route.model].model.name == saved.model);
            if let Some(route) = found {
                (route.off, route.gone) = (saved.off, saved.gone);
            }
        }
        if let Some((key, model)) = memory.cursor {
            let stands = |route: &crate::domain::RouteId| {
                let route = &self.routes[route.index()];
                self.keys[route.key].key.name == key && self.models[route.model].model.name == model
            };
            self.cursor = self.ranking.iter().position(stands).unwrap_or(0);
        }
        (0..self.keys.len()).for_each(|key| self.measure_key(key));
        self.look_again();
    }

    /// The provider has just listed its models, but for `unlisted`: that they were gone for this key no longer counts.
    pub fn bring_back_listed(&mut self, name: &str, unlisted: &[String]) {
        let Some(index) = self.keys.iter().position(|state| state.key.name == name) else { return };
        let models = &self.models;
        for route in self.routes.iter_mut().filter(|route| route.key == index) {
            if !unlisted.contains(&models[route.model].model.name) {
                route.gone = None;
            }
        }
        self.look_again();
    }

    /// The provider has just accepted this key and listed its models, but for `unlisted`: what earlier processes
    /// held against it no longer counts. Why the key was out, where it was.
    pub fn acquit(&mut self, name: &str, unlisted: &[String]) -> Option<Cause> {
        self.bring_back_listed(name, unlisted);
        let index = self.keys.iter().position(|state| state.key.name == name)?;
        let was = self.keys[index].dead.take();
        if was.is_some() {
            self.keys[index].health = Health::from_score(50);
            self.measure_key(index);
        }
        self.look_again();
        was
    }

    /// The provider does not know this key: nothing is sent with it. `None` where that was known, or there is no such key.
    pub fn condemn(&mut self, now: Now, name: &str, message: String) -> Option<EventKind> {
        let index = self.keys.iter().position(|state| state.key.name == name)?;
        let state = &mut self.keys[index];
        if state.dead.is_some() {
            return None;
        }
        state.health.dead();
        let outcome = Outcome::InvalidKey;
        state.dead = Some(Cause { outcome, source: CauseSource::Provider, message: message.clone(), since: now.wall });
        self.measure_key(index);
        self.look_again();
        Some(EventKind::Disabled { subject: format!("key {name}"), outcome, message })
    }

    /// Counts what an earlier process sent, in time order: minutes and days go on where they stood.
    pub fn recall(&mut self, now: Now, route: RouteId, past: &PastAttempt) {
        let pool = self.routes[route.index()].pool;
        if matches!(past.outcome, Outcome::ClientTrouble | Outcome::UnreadableInput | Outcome::NoRoute) {
            return;
        }
        let mut used = Need { input: past.usage.input_tokens, output: past.usage.billed_output() };
        let unheard = matches!(
            past.outcome,
            Outcome::Lost
                | Outcome::Timeout
                | Outcome::ServerError
                | Outcome::Overloaded
                | Outcome::MalformedResponse
                | Outcome::Ok
                | Outcome::Truncated
        );
        if unheard && used == Need::default() {
            used.input = past.estimated;
        }
        self.pools[pool].recall(now, past.at, used, past.outcome.is_limit_error());
    }
}
