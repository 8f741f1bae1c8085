//! The state that outlives the process: cooldowns, health, switches and the cursor, by name and wall clock time.
//! Counters are not saved: they are restored from the recorded sums of the attempts.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::domain::{LimitDimension, Now, RouteId, UsageSlot, WallTime, snapshot::Cause};

use super::{Scheduler, admission::Cooldown};

/// Refers to keys, models and pools by name rather than by index, so that entries are found after the configuration
/// changed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedState {
    pools: Vec<SavedPool>,
    projects: Vec<(String, SavedCooldown)>,
    keys: Vec<SavedKey>,
    #[serde(alias = "models_off")]
    models_switched_off: Vec<(String, WallTime)>,
    routes: Vec<SavedRoute>,
    cursor: Option<(String, String)>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedPool {
    name: String,
    cooldown: Option<SavedCooldown>,
    #[serde(alias = "spent")]
    day_exhausted: Option<SavedCooldown>,
    #[serde(alias = "ladder_step")]
    backoff_step: usize,
    stated: Vec<(LimitDimension, u64)>,
    /// Requests and tokens per minute.
    learned: (Option<u64>, Option<u64>),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct SavedCooldown {
    since: WallTime,
    until: WallTime,
    #[serde(alias = "calendar")]
    ends_by_calendar: bool,
    cause: Cause,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct SavedKey {
    name: String,
    health: u8,
    #[serde(alias = "off")]
    switched_off_at: Option<WallTime>,
    #[serde(alias = "dead")]
    disabled: Option<Cause>,
    /// Detects a changed secret, which re-enables a disabled key. A key whose fingerprint can't be compared is
    /// re-enabled too.
    #[serde(default, deserialize_with = "deserialize_fingerprint")]
    fingerprint: Option<String>,
}

/// Earlier versions stored an unsalted number; it is ignored.
fn deserialize_fingerprint<'de, D: Deserializer<'de>>(written: D) -> Result<Option<String>, D::Error> {
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
struct SavedRoute {
    key: String,
    model: String,
    #[serde(alias = "off")]
    switched_off_at: Option<WallTime>,
    #[serde(alias = "gone")]
    unavailable: Option<Cause>,
}

impl SavedCooldown {
    fn new(cooldown: &Cooldown, now: Now) -> Self {
        Self {
            since: cooldown.since.wall,
            until: cooldown.deadline().to_wall(now),
            ends_by_calendar: cooldown.ends_by_calendar,
            cause: cooldown.cause.clone(),
        }
    }

    fn restore(self, now: Now) -> Option<Cooldown> {
        let left = self.until.since(now.wall);
        (!left.is_zero()).then(|| Cooldown {
            since: Now { mono: now.mono, wall: self.since },
            until: Now { mono: now.mono + left, wall: self.until },
            ends_by_calendar: self.ends_by_calendar,
            cause: self.cause,
        })
    }
}

impl Scheduler {
    /// The state to save. `fingerprints` are those of the keys' secrets, by key; `None` if fingerprints can't be made.
    pub fn saved_state(&self, now: Now, fingerprints: &[Option<String>]) -> SavedState {
        let save =
            |slot: Option<&Cooldown>| Cooldown::running(slot, now).map(|cooldown| SavedCooldown::new(cooldown, now));
        let pools = self.fleet.pools().iter().map(|pool| SavedPool {
            name: pool.name.clone(),
            cooldown: save(pool.cooldown.as_ref()),
            day_exhausted: save(pool.day_cooldown.as_ref()),
            backoff_step: pool.backoff_step,
            stated: pool.limits.stated_limits(),
            learned: pool.limits.learned_limits(),
        });
        let projects = self.fleet.projects().iter();
        let keys = self.fleet.keys().iter().zip(fingerprints).map(|(state, fingerprint)| SavedKey {
            name: state.key.name.clone(),
            health: state.health.score(),
            switched_off_at: state.switched_off_at,
            disabled: state.disabled.clone(),
            fingerprint: fingerprint.clone(),
        });
        let models = self.fleet.models().iter();
        // `needs_operator` is not saved: the next process counts identical rejections anew.
        let routes = self.fleet.route_ids().map(|id| {
            let (route, (key, model)) = (self.fleet.route(id), self.key_and_model_names(id));
            SavedRoute { key, model, switched_off_at: route.switched_off_at, unavailable: route.unavailable.clone() }
        });
        SavedState {
            pools: pools
                .filter(|pool| *pool != SavedPool { name: pool.name.clone(), ..SavedPool::default() })
                .collect(),
            projects: projects
                .filter_map(|project| Some((project.name.clone(), save(project.out_of_credit.as_ref())?)))
                .collect(),
            keys: keys.collect(),
            models_switched_off: models
                .filter_map(|state| Some((state.model.name.clone(), state.switched_off_at?)))
                .collect(),
            routes: routes.filter(|route| route.switched_off_at.is_some() || route.unavailable.is_some()).collect(),
            cursor: self.routing.cursor_route().map(|route| self.key_and_model_names(route)),
        }
    }

    /// Restores the state of an earlier process. Entries for names that the configuration no longer has are ignored.
    pub fn restore(&mut self, now: Now, saved_state: SavedState, fingerprints: &[Option<String>]) {
        for saved in saved_state.pools {
            if let Some(pool) = self.fleet.pools_mut().iter_mut().find(|pool| pool.name == saved.name) {
                pool.cooldown = saved.cooldown.and_then(|cooldown| cooldown.restore(now));
                pool.day_cooldown = saved.day_exhausted.and_then(|cooldown| cooldown.restore(now));
                pool.backoff_step = saved.backoff_step;
                pool.limits.restore(&saved.stated, saved.learned);
                pool.apply_limits();
            }
        }
        for (name, saved) in saved_state.projects {
            self.fleet.restore_project(&name, saved.restore(now));
        }
        for saved in saved_state.keys {
            let Some(id) = self.fleet.find_key(&saved.name) else { continue };
            let Some(fingerprint) = fingerprints.get(id.index()) else { continue };
            let is_same_secret = saved.fingerprint.is_some() && saved.fingerprint == *fingerprint;
            let same_secret = is_same_secret.then_some((saved.disabled, saved.health));
            self.fleet.restore_key(id, saved.switched_off_at, same_secret);
        }
        for (name, since) in saved_state.models_switched_off {
            self.fleet.switch_models(&name, Some(since));
        }
        for saved in saved_state.routes {
            if let Some(id) = self.fleet.find_route(&saved.key, &saved.model) {
                self.fleet.restore_route(id, saved.switched_off_at, saved.unavailable);
            }
        }
        if let Some((key, model)) = saved_state.cursor {
            let found = self.fleet.find_route(&key, &model);
            self.routing.set_cursor(|route| Some(route) == found);
        }
        for key in self.fleet.key_ids() {
            self.routing.update_key_stats(&self.fleet, key);
        }
        self.unpark_all();
    }

    /// Adds what attempts of earlier processes used to the counters per minute. Calls must come in time order.
    pub fn restore_recent_usage(&mut self, now: Now, route: RouteId, used: &UsageSlot) {
        self.fleet.pool_of_mut(route).restore_recent_usage(now, used);
    }

    /// Adds what attempts of earlier processes used to the counters per day. Calls must come in time order.
    pub fn restore_day_usage(&mut self, now: Now, route: RouteId, used: &UsageSlot) {
        self.fleet.pool_of_mut(route).restore_day_usage(now, used);
    }
}
