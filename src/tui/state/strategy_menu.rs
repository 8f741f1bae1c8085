//! The choices of the strategy menu.

use crate::{
    domain::{CascadeOrder, Command, OnExhausted, Snapshot, Strategy, WhenLimited},
    tui::labels,
};

/// One line of the menu.
#[derive(Clone, PartialEq, Debug)]
pub struct MenuChoice {
    pub section: &'static str,
    pub label: String,
    pub is_current: bool,
    pub command: Command,
}

/// The choices of the strategy menu: all values of the settings that can be chosen by name while the run goes on.
pub fn menu_choices(snapshot: &Snapshot) -> Vec<MenuChoice> {
    let strategies = Strategy::ALL.into_iter().map(|strategy| MenuChoice {
        section: "Strategy",
        label: format!("{}: {}", labels::strategy(strategy), strategy.description()),
        is_current: snapshot.strategy == strategy,
        command: Command::SetStrategy { strategy },
    });
    let orders = [CascadeOrder::KeyFirst, CascadeOrder::ModelFirst].into_iter().map(|order| MenuChoice {
        section: "Order of the cascade",
        label: format!("{}: {}", labels::order(order), labels::order_meaning(order)),
        is_current: snapshot.cascade_order == order,
        command: Command::SetCascadeOrder { order },
    });
    let limited = [WhenLimited::Spill, WhenLimited::Wait].into_iter().map(|when_limited| MenuChoice {
        section: "When a route is limited",
        label: format!("{}: {}", labels::when_limited(when_limited), labels::when_limited_meaning(when_limited)),
        is_current: snapshot.when_limited == when_limited,
        command: Command::SetWhenLimited { when_limited },
    });
    let exhausted = [OnExhausted::Stop, OnExhausted::Wait].into_iter().map(|on_exhausted| MenuChoice {
        section: "When everything is exhausted",
        label: format!("{}: {}", labels::on_exhausted(on_exhausted), labels::on_exhausted_meaning(on_exhausted)),
        is_current: snapshot.on_exhausted == on_exhausted,
        command: Command::SetOnExhausted { on_exhausted },
    });
    strategies.chain(orders).chain(limited).chain(exhausted).collect()
}
