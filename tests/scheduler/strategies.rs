//! What each strategy promises, over a simulated world and by direct questions.

use std::{collections::HashMap, time::Duration};

use cascadeck::{
    domain::{
        Balance, CascadeOrder, Key, Limits, Model, Money, Outcome, Policy, Price, Role, Rule, Strategy, Target, Traits,
        Verdict, WhenLimited,
    },
    scheduler::{Dispatch, Step},
};

use crate::{
    HOUR, MORNING,
    world::{World, key, limits, model, ticket, verdict, wall},
};

fn policy(strategy: Strategy, in_flight: u32) -> Policy {
    Policy { strategy, in_flight, ..Policy::default() }
}

fn free(name: &str) -> Model {
    model(name, Limits::default())
}

fn weighing(key: Key, weight: u32) -> Key {
    Key { weight, ..key }
}

fn backup(key: Key) -> Key {
    Key { role: Role::Backup, ..key }
}

fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect()
}

fn priced(name: &str, input: f64, output: f64) -> Model {
    Model { price: Price::per_mtok(input, output), ..free(name) }
}

/// The keys of one request after another, each answered before the next.
fn keys_in_turn(world: &mut World, items: u64) -> Vec<usize> {
    world.offer(items);
    world.run(HOUR * 10);
    assert_eq!(world.done, world.offered);
    world.arrivals.iter().map(|(_, _, key)| *key).collect()
}

fn send(world: &mut World) -> Dispatch {
    match world.scheduler.poll(world.now) {
        Some(Step::Send(dispatch)) => dispatch,
        other => panic!("{other:?}"),
    }
}

// === round_robin ===

#[test]
fn round_robin_gives_every_route_its_turn() {
    let models = vec![free("a"), free("b")];
    let mut world = World::new(models, keys(3), policy(Strategy::RoundRobin, 1), wall(MORNING), 1);
    world.offer(12);
    world.run(HOUR);
    let route: Vec<(usize, usize)> = world.arrivals.iter().map(|(_, model, key)| (*key, *model)).collect();
    let round = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];
    assert_eq!(route, [round, round].concat());
}

#[test]
fn round_robin_goes_on_where_it_stood_after_a_switch() {
    let mut world = World::new(vec![free("m")], keys(3), policy(Strategy::RoundRobin, 1), wall(MORNING), 1);
    let first = keys_in_turn(&mut world, 2);
    world.scheduler.set_strategy(Strategy::Cascade).unwrap();
    let second = keys_in_turn(&mut world, 1);
    world.scheduler.set_strategy(Strategy::RoundRobin).unwrap();
    let third = keys_in_turn(&mut world, 2);
    assert_eq!((first, &second[2..], &third[3..]), (vec![0, 1], &[0][..], &[1, 2][..]));
}

// === weighted ===

#[test]
fn weighted_shares_are_the_weights_of_key_times_model() {
    let heavy = Model { weight: 3, ..free("heavy") };
    let two = vec![weighing(key("a", "a"), 5), key("b", "b")];
    let mut world = World::new(vec![heavy, free("light")], two, policy(Strategy::Weighted, 2), wall(MORNING), 2);
    world.offer(2_400);
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
            keys(random.usize(2..8)).into_iter().map(|key| weighing(key, random.u32(1..12))).collect();
        let total: u32 = fleet.iter().map(|key| key.weight).sum();
        let mut world = World::new(vec![free("m")], fleet.clone(), policy(Strategy::Weighted, 1), wall(MORNING), seed);
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
    let fleet = vec![weighing(key("heavy", "h"), 5), key("b", "b"), key("c", "c")];
    let mut world = World::new(vec![free("m")], fleet, policy(Strategy::Weighted, 1), wall(MORNING), 3);
    let turns = keys_in_turn(&mut world, 70);
    let longest = turns.chunk_by(|one, two| one == two).map(<[usize]>::len).max();
    assert!(longest <= Some(4), "{turns:?}");
}

#[test]
fn a_key_that_was_away_does_not_catch_up_on_what_it_missed() {
    let mut world = World::new(vec![free("m")], keys(2), policy(Strategy::Weighted, 1), wall(MORNING), 4);
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    keys_in_turn(&mut world, 50);
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    let turns = keys_in_turn(&mut world, 20);
    let back = turns[50..].iter().filter(|key| **key == 1).count();
    assert!((9..=12).contains(&back), "{turns:?}");
}

// === primary_backup ===

#[test]
fn a_full_primary_is_waited_for() {
    let fleet = vec![key("first", "f"), backup(key("spare", "s"))];
    let mut world =
        World::new(vec![model("m", limits(5, None))], fleet, policy(Strategy::PrimaryBackup, 8), wall(MORNING), 5);
    world.offer(20);
    world.run(HOUR);
    assert_eq!((world.done, world.by_key()), (20, vec![20, 0]));
}

#[test]
fn a_backup_serves_while_no_primary_does_and_no_longer() {
    let fleet = vec![key("first", "f"), key("second", "s"), backup(key("spare", "b"))];
    let mut world = World::new(vec![free("m")], fleet, policy(Strategy::PrimaryBackup, 1), wall(MORNING), 6);
    world.scheduler.switch_key(world.now.wall, "first", false).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.by_key(), [0, 5, 0], "one primary is enough");
    world.scheduler.switch_key(world.now.wall, "second", false).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.by_key(), [0, 5, 5]);
    world.scheduler.switch_key(world.now.wall, "first", true).unwrap();
    keys_in_turn(&mut world, 5);
    assert_eq!(world.by_key(), [5, 5, 5]);
}

#[test]
fn a_backup_takes_over_from_a_primary_that_breaks() {
    let fleet = vec![key("first", "f"), backup(key("spare", "b"))];
    let mut world = World::new(vec![free("m")], fleet, policy(Strategy::PrimaryBackup, 4), wall(MORNING), 7);
    world.weather = Box::new(|_, dispatch| {
        (dispatch.key.index() == 0).then(|| Verdict { status: Some(503), ..verdict(Outcome::Overloaded) })
    });
    world.offer(200);
    world.run(HOUR);
    assert_eq!(world.done, 200);
    assert!(world.by_key()[0] < 40, "{:?}", world.by_key());
}

#[test]
fn backups_come_last_under_every_strategy() {
    for strategy in Strategy::ALL {
        let fleet = vec![backup(key("spare", "s")), key("first", "f"), key("second", "g")];
        let mut world = World::new(vec![free("m")], fleet, policy(strategy, 4), wall(MORNING), 8);
        world.offer(60);
        world.run(HOUR);
        assert_eq!((world.done, world.by_key()[0]), (60, 0), "{}", strategy.name());
    }
}

// === health ===

#[test]
fn health_draws_by_score_and_never_gives_a_key_up() {
    let mut world = World::new(vec![free("m")], keys(2), policy(Strategy::Health, 1), wall(MORNING), 9);
    // Six refusals that nobody foresaw, each in an episode of its own: 100 down to 0.
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    for _ in 0..6 {
        world.scheduler.offer(0, ticket(world.offered + 1));
        world.offered += 1;
        let dispatch = send(&mut world);
        world.scheduler.settle(
            world.now,
            dispatch.attempt,
            &Verdict { status: Some(429), ..verdict(Outcome::RateLimitedMinute) },
        );
        world.scheduler.clear_cooldowns("k0").unwrap();
    }
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    let facts = world.scheduler.key_facts(world.now);
    assert_eq!((facts[0].health, facts[1].health), (0, 100));
    // Where nothing succeeds, nothing changes the scores: 5 to 100.
    let mut sent = [0_u32; 2];
    for number in 0..4_000 {
        world.scheduler.offer(0, ticket(1_000 + number));
        let dispatch = send(&mut world);
        sent[dispatch.key.index()] += 1;
        world.scheduler.unsend(world.now, dispatch.attempt);
    }
    let share = f64::from(sent[0]) / 4_000.0;
    assert!((share - 5.0 / 105.0).abs() < 0.012, "{sent:?}");
    // And it earns its way back.
    world.offer(3_000);
    world.run(HOUR * 10);
    assert_eq!(world.scheduler.key_facts(world.now)[0].health, 100);
}

#[test]
fn health_counts_weights_too() {
    let fleet = vec![weighing(key("a", "a"), 3), key("b", "b")];
    let mut world = World::new(vec![free("m")], fleet, policy(Strategy::Health, 4), wall(MORNING), 10);
    world.offer(4_000);
    world.run(HOUR);
    let share = world.by_key()[0] as f64 / 4_000.0;
    assert!((share - 0.75).abs() < 0.03, "{share}");
}

// === least_recently_used ===

#[test]
fn the_route_that_has_rested_longest_comes_next() {
    let mut world = World::new(vec![free("m")], keys(3), policy(Strategy::LeastRecentlyUsed, 1), wall(MORNING), 11);
    assert_eq!(keys_in_turn(&mut world, 4), [0, 1, 2, 0]);
    world.scheduler.switch_key(world.now.wall, "k1", false).unwrap();
    assert_eq!(keys_in_turn(&mut world, 3)[4..], [2, 0, 2]);
    world.scheduler.switch_key(world.now.wall, "k1", true).unwrap();
    assert_eq!(keys_in_turn(&mut world, 3)[7..], [1, 0, 2], "k1 has not been used since the second request");
}

#[test]
fn rest_is_counted_over_all_classes() {
    let mut world = World::new(vec![free("m")], keys(3), policy(Strategy::LeastRecentlyUsed, 1), wall(MORNING), 12);
    let vision = world.scheduler.class(&Traits { vision: true, ..Traits::default() });
    keys_in_turn(&mut world, 1);
    world.offer_to(vision, 1);
    assert_eq!(keys_in_turn(&mut world, 1), [0, 1, 2]);
}

// === fastest ===

fn lagging(millis: [u64; 3]) -> impl Fn(&cascadeck::domain::Now, &Dispatch) -> Duration {
    move |_, dispatch| Duration::from_millis(millis[dispatch.key.index()])
}

#[test]
fn fastest_goes_where_answers_come_soonest_and_keeps_looking_elsewhere() {
    let mut world = World::new(vec![free("m")], keys(3), policy(Strategy::Fastest, 1), wall(MORNING), 13);
    world.lag = Box::new(lagging([5_000, 500, 9_000]));
    world.offer(600);
    world.run(HOUR * 10);
    let counts = world.by_key();
    assert!(counts[1] > 500, "{counts:?}");
    // One in sixteen goes round the three.
    assert!(counts[0] >= 4 && counts[2] >= 4, "{counts:?}");
}

#[test]
fn a_slow_start_does_not_bury_a_route() {
    let mut world = World::new(vec![free("m")], keys(3), policy(Strategy::Fastest, 1), wall(MORNING), 14);
    let warm = world.now.mono + Duration::from_secs(60);
    world.lag = Box::new(move |now, dispatch| {
        let cold = dispatch.key.index() == 2 && now.mono < warm;
        Duration::from_millis(if cold { 30_000 } else { [3_000, 4_000, 100][dispatch.key.index()] })
    });
    world.offer(1_000);
    world.run(HOUR * 10);
    let late = &world.arrivals[700..];
    assert!(late.iter().filter(|(_, _, key)| *key == 2).count() > 250, "{:?}", world.by_key());
}

#[test]
fn untried_routes_are_tried_by_one_item_at_a_time() {
    let models = vec![free("a"), free("b"), free("c")];
    let mut world =
        World::new(models, keys(1), Policy { explore: 1_000_000, ..policy(Strategy::Fastest, 3) }, wall(MORNING), 15);
    world.offer(3);
    let sent: Vec<usize> = (0..3).map(|_| send(&mut world).model.index()).collect();
    assert_eq!(sent, [0, 1, 2]);
}

#[test]
fn quick_failures_do_not_look_fast() {
    let patient = Policy { breaker_after: 1_000_000, ..policy(Strategy::Fastest, 1) };
    let mut world = World::new(vec![free("m")], keys(2), patient, wall(MORNING), 16);
    world.latency = (Duration::from_millis(2), Duration::from_millis(2));
    world.lag = Box::new(lagging([0, 2_000, 0]));
    world.weather = Box::new(|_, dispatch| {
        (dispatch.key.index() == 0).then(|| Verdict { status: Some(500), ..verdict(Outcome::ServerError) })
    });
    world.offer(160);
    world.run(HOUR * 10);
    let counts = world.by_key();
    assert!(world.done >= 158 && counts[0] < 25, "{counts:?}");
}

// === cheapest ===

#[test]
fn nothing_dearer_is_taken_while_something_cheaper_is_ready() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let models: Vec<Model> = (0..random.usize(2..5))
            .map(|index| Model {
                limits: limits(random.u32(2..9), None),
                ..priced(&format!("m{index}"), f64::from(random.u32(0..9)), f64::from(random.u32(0..9)))
            })
            .collect();
        let cost = |model: usize| models[model].price.map(|price| price.cost(100, 256)).unwrap();
        let mut world = World::new(models.clone(), keys(2), policy(Strategy::Cheapest, 32), wall(MORNING), seed);
        world.offer(300);
        // All at one instant: a cheaper model comes only before dearer ones, as it fills up.
        let mut last = Money::ZERO;
        while let Some(Step::Send(dispatch)) = world.scheduler.poll(world.now) {
            assert!(cost(dispatch.model.index()) >= last, "seed {seed}");
            last = cost(dispatch.model.index());
        }
        assert!(last > Money::ZERO || models.iter().any(|model| model.price == Price::per_mtok(0.0, 0.0)));
    }
}

#[test]
fn what_is_cheapest_depends_on_the_item() {
    let models = vec![priced("long-answers", 10.0, 1.0), priced("long-questions", 1.0, 20.0)];
    let mut world = World::new(models, keys(1), policy(Strategy::Cheapest, 8), wall(MORNING), 17);
    let mut sent = |input, max_output| {
        let mut ticket = ticket(input);
        (ticket.input, ticket.max_output) = (input, Some(max_output));
        world.scheduler.offer(0, ticket);
        send(&mut world).model.index()
    };
    assert_eq!((sent(10, 200), sent(5_000, 10)), (0, 1));
}

#[test]
fn a_model_that_never_answered_is_not_dear_for_being_unknown() {
    // Answers have 40 tokens, far fewer than is reckoned with before the first.
    let models = vec![
        Model { limits: limits(5, None), ..priced("usual", 1.0, 1.0) },
        priced("dear", 3.0, 3.0),
        priced("fair", 2.0, 2.0),
    ];
    let mut world = World::new(models, keys(1), policy(Strategy::Cheapest, 1), wall(MORNING), 18);
    world.offer(8);
    world.run(HOUR);
    let models: Vec<usize> = world.arrivals.iter().map(|(_, model, _)| *model).collect();
    assert_eq!(models, [0, 0, 0, 0, 0, 2, 2, 2]);
}

#[test]
fn models_without_a_price_are_the_dearest() {
    let models = vec![Model { price: None, ..free("unknown") }, priced("known", 900.0, 900.0)];
    let mut world = World::new(models, keys(2), policy(Strategy::Cheapest, 8), wall(MORNING), 18);
    world.offer(4);
    assert!((0..4).all(|_| send(&mut world).model.index() == 1));
}

#[test]
fn an_items_money_limit_holds_whatever_the_strategy() {
    for strategy in Strategy::ALL {
        // Worst cases of 100 tokens in and 1,000 out: $0.0021 and $0.021.
        let models = vec![priced("dear", 10.0, 20.0), priced("fair", 1.0, 2.0)];
        let rules = vec![Rule { name: "thrifty".to_owned(), max_usd: Money::from_usd(0.01), ..Rule::default() }];
        let mut world = World::new(models, keys(2), Policy { rules, ..policy(strategy, 4) }, wall(MORNING), 19);
        let thrifty = world.scheduler.class(&Traits { rule: Some("thrifty".to_owned()), ..Traits::default() });
        world.offer_to(thrifty, 50);
        world.run(HOUR);
        assert_eq!(world.done, 50, "{}", strategy.name());
        assert!(world.arrivals.iter().all(|(_, model, _)| *model == 1), "{}", strategy.name());
    }
}

// === balanced ===

#[test]
fn balanced_takes_the_best_unless_price_or_wait_speak_against_it() {
    let split = |price: f64, lag: u64, balance: Balance| {
        let models = vec![priced("best", price, price), priced("other", 1.0, 1.0)];
        let mut world =
            World::new(models, keys(1), Policy { balance, ..policy(Strategy::Balanced, 1) }, wall(MORNING), 20);
        world.lag =
            Box::new(move |_, dispatch| Duration::from_millis(if dispatch.model.index() == 0 { lag } else { 0 }));
        world.offer(40);
        world.run(HOUR * 10);
        world.arrivals.iter().filter(|(_, model, _)| *model == 0).count()
    };
    let even = Balance::default();
    assert_eq!(split(1.0, 0, even), 40);
    assert_eq!(
        split(3.0, 0, even),
        39,
        "three times the price is not enough against quality, once the other was tried"
    );
    assert!(split(20.0, 20_000, even) <= 2, "twenty times the price and a long wait are");
    assert_eq!(split(20.0, 0, Balance { price: 0.0, ..even }), 40, "unless price does not count");
}

#[test]
fn balanced_goes_to_the_next_best_when_the_best_is_full() {
    let models = vec![Model { limits: limits(3, None), ..free("best") }, free("other")];
    let mut world = World::new(models, keys(1), policy(Strategy::Balanced, 8), wall(MORNING), 21);
    world.offer(5);
    let sent: Vec<usize> = (0..5).map(|_| send(&mut world).model.index()).collect();
    assert_eq!(sent, [0, 0, 0, 1, 1]);
}

// === what all have in common ===

#[test]
fn no_strategy_idles_while_a_route_is_ready_or_exceeds_a_limit() {
    for strategy in Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::PrimaryBackup) {
        let models = vec![model("a", limits(10, None)), model("b", limits(15, None))];
        let mut world = World::new(models, keys(3), policy(strategy, 64), wall(MORNING), 22);
        world.offer(300);
        world.run(HOUR);
        assert_eq!((world.done, world.refusals), (300, 0), "{}", strategy.name());
        // 75 a minute: the last of 300 goes when three windows have turned.
        assert!(world.elapsed() < Duration::from_secs(3 * 61 + 2), "{}: {:?}", strategy.name(), world.elapsed());
    }
}

#[test]
fn the_items_own_model_leads_under_every_strategy() {
    for strategy in Strategy::ALL {
        let models = vec![free("a"), Model { limits: limits(4, None), ..free("own") }, priced("cheap", 0.0, 0.0)];
        let mut world = World::new(models, keys(2), policy(strategy, 16), wall(MORNING), 23);
        let own = world.scheduler.class(&Traits { model: Some("own".to_owned()), ..Traits::default() });
        world.offer_to(own, 10);
        let sent: Vec<usize> = (0..10).map(|_| send(&mut world).model.index()).collect();
        assert!(sent[..8].iter().all(|model| *model == 1), "{}: {sent:?}", strategy.name());
        assert!(sent[8..].iter().all(|model| *model != 1), "{}: spills when its own is full", strategy.name());
    }
}

#[test]
fn what_the_operator_sends_somewhere_goes_nowhere_else() {
    for strategy in Strategy::ALL {
        let models = vec![free("a"), Model { limits: limits(4, None), ..free("b") }];
        let mut world = World::new(models, keys(2), policy(strategy, 16), wall(MORNING), 25);
        let target = |model: &str, key: Option<&str>| Target { model: model.to_owned(), key: key.map(str::to_owned) };
        let name = world.scheduler.route_names(cascadeck::domain::RouteId(0)).0;
        let only = |only: Target| Traits { only: Some(only), ..Traits::default() };
        let to_model = world.scheduler.class(&only(target("b", None)));
        let to_route = world.scheduler.class(&only(target("b", Some(&name))));
        let nowhere = world.scheduler.class(&only(target("gone", None)));
        assert_ne!(to_model, to_route);
        assert_eq!(nowhere, world.scheduler.class(&Traits::default()), "a place that is gone is no place");
        world.offer_to(to_route, 20);
        let sent: Vec<Dispatch> = std::iter::from_fn(|| match world.scheduler.poll(world.now) {
            Some(Step::Send(dispatch)) => Some(dispatch),
            _ => None,
        })
        .collect();
        assert_eq!(sent.len(), 4, "{}: its route's minute is full, and nothing spills over", strategy.name());
        for dispatch in sent {
            let (key, model) = world.scheduler.route_names(dispatch.route);
            assert_eq!((key.as_str(), model.as_str()), (name.as_str(), "b"), "{}", strategy.name());
        }
    }
}

#[test]
fn one_seed_makes_one_history() {
    for strategy in Strategy::ALL {
        let history = || {
            let models = vec![model("a", limits(10, Some(90))), model("b", limits(15, None))];
            let mut world = World::new(models, keys(4), policy(strategy, 16), wall(MORNING), 24);
            world.offer(400);
            world.run(HOUR);
            world.arrivals
        };
        assert_eq!(history(), history(), "{}", strategy.name());
    }
}

// === rules ===

fn ruled(rule: Rule) -> (Vec<Rule>, Traits) {
    let traits = Traits { rule: Some("r".to_owned()), ..Traits::default() };
    (vec![Rule { name: "r".to_owned(), ..rule }], traits)
}

#[test]
fn a_rules_models_take_the_place_of_the_cascade() {
    for (order, want) in [
        (CascadeOrder::KeyFirst, [(0, 2), (0, 0), (1, 2), (1, 0)]),
        (CascadeOrder::ModelFirst, [(0, 2), (1, 2), (0, 0), (1, 0)]),
    ] {
        let (rules, traits) = ruled(Rule { models: Some(vec!["c".to_owned(), "a".to_owned()]), ..Rule::default() });
        let models = ["a", "b", "c"].map(|name| model(name, limits(1, None))).to_vec();
        let policy = Policy { rules, order, ..policy(Strategy::Cascade, 8) };
        let mut world = World::new(models, keys(2), policy, wall(MORNING), 25);
        let class = world.scheduler.class(&traits);
        world.offer_to(class, 5);
        let mut sent = Vec::new();
        while let Some(Step::Send(dispatch)) = world.scheduler.poll(world.now) {
            sent.push((dispatch.key.index(), dispatch.model.index()));
        }
        assert_eq!(sent, want);
    }
}

#[test]
fn the_items_own_model_leads_even_where_a_rule_does_not_list_it() {
    let (rules, traits) = ruled(Rule { models: Some(vec!["a".to_owned()]), ..Rule::default() });
    let models = ["a", "b"].map(|name| model(name, limits(1, None))).to_vec();
    let mut world = World::new(models, keys(1), Policy { rules, ..policy(Strategy::Cascade, 8) }, wall(MORNING), 26);
    let class = world.scheduler.class(&Traits { model: Some("b".to_owned()), ..traits });
    world.offer_to(class, 2);
    assert_eq!([send(&mut world).model.index(), send(&mut world).model.index()], [1, 0]);
}

#[test]
fn a_rules_strategy_is_for_its_items_alone_and_outlives_a_switch() {
    let (rules, traits) = ruled(Rule { strategy: Some(Strategy::RoundRobin), ..Rule::default() });
    let mut world =
        World::new(vec![free("m")], keys(3), Policy { rules, ..policy(Strategy::Cascade, 1) }, wall(MORNING), 27);
    let class = world.scheduler.class(&traits);
    world.offer_to(class, 3);
    world.run(HOUR);
    assert_eq!(keys_in_turn(&mut world, 3), [0, 1, 2, 0, 0, 0]);
    world.scheduler.set_strategy(Strategy::LeastRecentlyUsed).unwrap();
    world.offer_to(class, 3);
    world.run(HOUR);
    let turns: Vec<usize> = world.arrivals.iter().map(|(_, _, key)| *key).collect();
    assert_eq!(turns[6..], [1, 2, 0]);
}

#[test]
fn an_item_that_its_rule_leaves_no_model_is_refused_and_told_which_rule() {
    let (rules, traits) = ruled(Rule { models: Some(vec!["blind".to_owned()]), ..Rule::default() });
    let models = vec![free("a"), Model { vision: false, ..free("blind") }];
    let mut world = World::new(models, keys(1), Policy { rules, ..policy(Strategy::Cascade, 1) }, wall(MORNING), 28);
    let class = world.scheduler.class(&Traits { vision: true, ..traits });
    world.scheduler.offer(class, ticket(1));
    match world.scheduler.poll(world.now) {
        Some(Step::Refuse(refusal)) => {
            assert_eq!(refusal.outcome, Outcome::NoRoute);
            assert!(refusal.words.ends_with("(rule r applies)"), "{}", refusal.words);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn traits_that_route_alike_share_a_class() {
    let mut world = World::new(vec![free("m")], keys(1), policy(Strategy::Cascade, 1), wall(MORNING), 29);
    let of = |model: &str, rule: &str| Traits {
        model: Some(model.to_owned()),
        rule: Some(rule.to_owned()),
        ..Traits::default()
    };
    let plain = world.scheduler.class(&Traits::default());
    assert_eq!(world.scheduler.class(&of("no-such-model", "no-such-rule")), plain);
    assert_ne!(world.scheduler.class(&of("m", "no-such-rule")), plain);
}

// === the strict pipeline, and the order of keys ===

#[test]
fn the_strict_pipeline_goes_with_the_cascade_alone() {
    let wait = Policy { when_limited: WhenLimited::Wait, ..policy(Strategy::Cascade, 1) };
    let mut world = World::new(vec![free("m")], keys(2), wait.clone(), wall(MORNING), 30);
    let refused = world.scheduler.set_strategy(Strategy::Fastest).unwrap_err();
    assert!(refused.contains("fastest") && refused.contains("wait"), "{refused}");
    assert_eq!(world.scheduler.policy().strategy, Strategy::Cascade);
    world.scheduler.set_when_limited(WhenLimited::Spill).unwrap();
    world.scheduler.set_strategy(Strategy::Fastest).unwrap();
    assert!(world.scheduler.set_when_limited(WhenLimited::Wait).is_err());
    assert_eq!(world.scheduler.policy().when_limited, WhenLimited::Spill);

    let (rules, _) = ruled(Rule { strategy: Some(Strategy::Health), ..Rule::default() });
    let spill = Policy { rules, when_limited: WhenLimited::Spill, ..wait };
    let mut world = World::new(vec![free("m")], keys(2), spill, wall(MORNING), 30);
    assert!(world.scheduler.set_when_limited(WhenLimited::Wait).unwrap_err().contains("rule r"));
}

#[test]
fn keys_take_turns_at_being_first_day_by_day() {
    let fleet = vec![key("a", "a"), key("b", "b"), key("c", "c"), backup(key("d", "d"))];
    let rotating = Policy { rotate_keys_daily: true, ..policy(Strategy::Cascade, 1) };
    let mut world = World::new(vec![free("m")], fleet, rotating, wall("2026-11-21T23:59:00Z"), 31);
    let mut firsts = Vec::new();
    for _ in 0..4 {
        firsts.push(*keys_in_turn(&mut world, 3).last().unwrap());
        world.now = world.now + HOUR * 24;
    }
    assert_eq!(firsts[3], firsts[0]);
    assert_eq!((firsts[1], firsts[2]), ((firsts[0] + 1) % 3, (firsts[0] + 2) % 3));
    assert!(firsts.iter().all(|key| *key != 3), "a backup never comes first");
}
