//! Strategies that distribute the work: in turn, by weight, by role, by health, by last use.

use std::collections::HashMap;

use cascadeck::domain::{AttemptResult, Key, Model, Outcome, RoutingTraits, Strategy};

use super::{backup, keys, keys_in_turn, policy, poll_send, unlimited_model, with_weight};
use crate::{
    HOUR, MORNING,
    world::{World, attempt_result, key, limits, model, queued_item, wall},
};

#[test]
fn round_robin_gives_every_route_its_turn() {
    let models = vec![unlimited_model("a"), unlimited_model("b")];
    let mut world = World::new(models, keys(3), policy(Strategy::RoundRobin, 1), wall(MORNING), 1);
    world.enqueue(12);
    world.run(HOUR);
    let route: Vec<(usize, usize)> = world.arrivals.iter().map(|(_, model, key)| (*key, *model)).collect();
    let round = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];
    assert_eq!(route, [round, round].concat());
}

#[test]
fn round_robin_goes_on_where_it_stood_after_a_switch() {
    let mut world = World::new(vec![unlimited_model("m")], keys(3), policy(Strategy::RoundRobin, 1), wall(MORNING), 1);
    let first = keys_in_turn(&mut world, 2);
    world.scheduler.set_strategy(Strategy::Cascade).unwrap();
    let second = keys_in_turn(&mut world, 1);
    world.scheduler.set_strategy(Strategy::RoundRobin).unwrap();
    let third = keys_in_turn(&mut world, 2);
    assert_eq!((first, &second[2..], &third[3..]), (vec![0, 1], &[0][..], &[1, 2][..]));
}

#[test]
fn weighted_shares_are_the_weights_of_key_times_model() {
    let heavy = Model { weight: 3, ..unlimited_model("heavy") };
    let two = vec![with_weight(key("a", "a"), 5), key("b", "b")];
    let mut world =
        World::new(vec![heavy, unlimited_model("light")], two, policy(Strategy::Weighted, 2), wall(MORNING), 2);
    world.enqueue(2_400);
    world.run(HOUR);
    let mut counts: HashMap<(usize, usize), u32> = HashMap::new();
    for (_, model, key) in &world.arrivals {
        *counts.entry((*key, *model)).or_default() += 1;
    }
    for (route, share) in [((0, 0), 15), ((0, 1), 5), ((1, 0), 3), ((1, 1), 1)] {
        assert!(counts[&route].abs_diff(2_400 * share / 24) <= 2, "{route:?}: {counts:?}");
    }
}

#[test]
fn weighted_is_smooth() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let fleet: Vec<Key> =
            keys(random.usize(2..8)).into_iter().map(|key| with_weight(key, random.u32(1..12))).collect();
        let total: u32 = fleet.iter().map(|key| key.weight).sum();
        let mut world =
            World::new(vec![unlimited_model("m")], fleet.clone(), policy(Strategy::Weighted, 1), wall(MORNING), seed);
        let turns = keys_in_turn(&mut world, u64::from(total) * 6);
        for (index, key) in fleet.iter().enumerate() {
            let mut most = 0.0_f64;
            for (number, _) in turns.iter().enumerate() {
                let had = turns[..=number].iter().filter(|turn| **turn == index).count() as f64;
                let due = (number + 1) as f64 * f64::from(key.weight) / f64::from(total);
                most = most.max((had - due).abs());
            }
            assert!(most < 2.5, "seed {seed}: key {index} of {fleet:?} was {most} requests off its share");
        }
    }
}

#[test]
fn a_heavy_key_does_not_go_in_bursts() {
    let fleet = vec![with_weight(key("heavy", "h"), 5), key("b", "b"), key("c", "c")];
    let mut world = World::new(vec![unlimited_model("m")], fleet, policy(Strategy::Weighted, 1), wall(MORNING), 3);
    let turns = keys_in_turn(&mut world, 70);
    let longest = turns.chunk_by(|one, two| one == two).map(<[usize]>::len).max();
    assert!(longest <= Some(4), "{turns:?}");
}

#[test]
fn a_key_that_was_off_does_not_catch_up() {
    let mut world = World::new(vec![unlimited_model("m")], keys(2), policy(Strategy::Weighted, 1), wall(MORNING), 4);
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    keys_in_turn(&mut world, 50);
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    let turns = keys_in_turn(&mut world, 20);
    let back = turns[50..].iter().filter(|key| **key == 1).count();
    assert!((9..=12).contains(&back), "{turns:?}");
}

#[test]
fn primary_backup_waits_for_a_full_primary() {
    let fleet = vec![key("first", "f"), backup(key("spare", "s"))];
    let mut world =
        World::new(vec![model("m", limits(5, None))], fleet, policy(Strategy::PrimaryBackup, 8), wall(MORNING), 5);
    world.enqueue(20);
    world.run(HOUR);
    assert_eq!((world.done, world.arrivals_by_key()), (20, vec![20, 0]));
}

#[test]
fn a_backup_serves_while_no_primary_does_and_no_longer() {
    let fleet = vec![key("first", "f"), key("second", "s"), backup(key("spare", "b"))];
    let mut world = World::new(vec![unlimited_model("m")], fleet, policy(Strategy::PrimaryBackup, 1), wall(MORNING), 6);
    world.scheduler.switch_key(world.now.wall, "first", false).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.arrivals_by_key(), [0, 5, 0], "one primary is enough");
    world.scheduler.switch_key(world.now.wall, "second", false).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.arrivals_by_key(), [0, 5, 5]);
    world.scheduler.switch_key(world.now.wall, "first", true).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.arrivals_by_key(), [5, 5, 5]);
}

#[test]
fn a_backup_takes_over_from_a_primary_that_breaks() {
    let fleet = vec![key("first", "f"), backup(key("spare", "b"))];
    let mut world = World::new(vec![unlimited_model("m")], fleet, policy(Strategy::PrimaryBackup, 4), wall(MORNING), 7);
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.key.index() == 0).then(|| AttemptResult { status: Some(503), ..attempt_result(Outcome::Overloaded) })
    });
    world.enqueue(200);
    world.run(HOUR);
    assert_eq!(world.done, 200);
    assert!(world.arrivals_by_key()[0] < 40, "{:?}", world.arrivals_by_key());
}

#[test]
fn backups_come_last_under_every_strategy() {
    for strategy in Strategy::ALL {
        let fleet = vec![backup(key("spare", "s")), key("first", "f"), key("second", "g")];
        let mut world = World::new(vec![unlimited_model("m")], fleet, policy(strategy, 4), wall(MORNING), 8);
        world.enqueue(60);
        world.run(HOUR);
        assert_eq!((world.done, world.arrivals_by_key()[0]), (60, 0), "{}", strategy.name());
    }
}

#[test]
fn health_samples_by_score_and_never_drops_a_key() {
    let mut world = World::new(vec![unlimited_model("m")], keys(2), policy(Strategy::Health, 1), wall(MORNING), 9);
    // Six unexpected 429s, each in its own cooldown episode, lower the score from 100 to 0.
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    for _ in 0..6 {
        world.scheduler.enqueue(0, queued_item(world.enqueued + 1));
        world.enqueued += 1;
        let dispatch = poll_send(&mut world);
        world.scheduler.complete(
            world.now,
            dispatch.attempt,
            &AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) },
        );
        world.scheduler.clear_cooldowns("k0").unwrap();
    }
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    let facts = world.scheduler.key_statuses(world.now);
    assert_eq!((facts[0].health, facts[1].health), (0, 100));
    // Without successes the scores stay, with weights of 5 and 100.
    let mut sent = [0_u32; 2];
    for number in 0..4_000 {
        world.scheduler.enqueue(0, queued_item(1_000 + number));
        let dispatch = poll_send(&mut world);
        sent[dispatch.key.index()] += 1;
        world.scheduler.cancel(world.now, dispatch.attempt);
    }
    let share = f64::from(sent[0]) / 4_000.0;
    assert!((share - 5.0 / 105.0).abs() < 0.012, "{sent:?}");
    // Successes raise the score again.
    world.enqueue(3_000);
    world.run(HOUR * 10);
    assert_eq!(world.scheduler.key_statuses(world.now)[0].health, 100);
}

#[test]
fn health_counts_weights_too() {
    let fleet = vec![with_weight(key("a", "a"), 3), key("b", "b")];
    let mut world = World::new(vec![unlimited_model("m")], fleet, policy(Strategy::Health, 4), wall(MORNING), 10);
    world.enqueue(4_000);
    world.run(HOUR);
    let share = world.arrivals_by_key()[0] as f64 / 4_000.0;
    assert!((share - 0.75).abs() < 0.03, "{share}");
}

#[test]
fn the_least_recently_used_route_comes_next() {
    let mut world =
        World::new(vec![unlimited_model("m")], keys(3), policy(Strategy::LeastRecentlyUsed, 1), wall(MORNING), 11);
    assert_eq!(keys_in_turn(&mut world, 4), [0, 1, 2, 0]);
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    assert_eq!(keys_in_turn(&mut world, 3)[4..], [2, 0, 2]);
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    assert_eq!(keys_in_turn(&mut world, 3)[7..], [1, 0, 2], "k1 has not been used since the second request");
}

#[test]
fn least_recently_used_counts_over_all_classes() {
    let mut world =
        World::new(vec![unlimited_model("m")], keys(3), policy(Strategy::LeastRecentlyUsed, 1), wall(MORNING), 12);
    let vision = world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..RoutingTraits::default() });
    keys_in_turn(&mut world, 1);
    world.enqueue_in(vision, 1);
    assert_eq!(keys_in_turn(&mut world, 1), [0, 1, 2]);
}
