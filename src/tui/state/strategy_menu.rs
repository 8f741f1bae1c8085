//! The choices of the strategy menu.

use crate::{
    domain::{Command, Named, Snapshot, Strategy},
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
    let Snapshot { strategy, cascade_order, when_limited, on_exhausted, .. } = *snapshot;
    [
        section("Strategy", strategy, Strategy::description, |strategy| Command::SetStrategy { strategy }),
        section("Order of the cascade", cascade_order, labels::order_meaning, |order| Command::SetCascadeOrder {
            order,
        }),
        section("When a route is limited", when_limited, labels::when_limited_meaning, |when_limited| {
            Command::SetWhenLimited { when_limited }
        }),
        section("When everything is exhausted", on_exhausted, labels::on_exhausted_meaning, |on_exhausted| {
            Command::SetOnExhausted { on_exhausted }
        }),
    ]
    .concat()
}

/// The values of one setting.
fn section<T: Named + PartialEq>(
    section: &'static str,
    current: T,
    meaning: fn(T) -> &'static str,
    command: fn(T) -> Command,
) -> Vec<MenuChoice> {
    let choice = |(name, value): &(&str, T)| MenuChoice {
        section,
        label: format!("{}: {}", labels::spaced(name), meaning(*value)),
        is_current: current == *value,
        command: command(*value),
    };
    T::NAMED.iter().map(choice).collect()
}
