//! The picture of the open item: what was asked for, and what came of it. One is kept, and one is under way.

use crate::tui::picture::{Ask, Canvas, Drawing};

#[derive(Debug, Default)]
pub struct Pictures {
    /// What they are drawn on; `None`: they are not drawn.
    pub canvas: Option<Canvas>,
    /// The operator wants to see text only.
    pub hidden: bool,
    /// How many were asked for: tells those apart that the terminal keeps.
    asked: u32,
    under_way: Option<Ask>,
    shown: Option<(Ask, Result<Drawing, String>)>,
}

/// What is there to see.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    NotYet,
    Drawn(&'a Drawing),
    Trouble(&'a str),
}

impl Pictures {
    /// What pictures are drawn on, as long as the operator wants to see any.
    pub fn wanted_on(&self) -> Option<Canvas> {
        self.canvas.filter(|_| !self.hidden)
    }

    /// Of this picture, in whichever size there is.
    pub fn sight(&self, seq: u64, index: usize) -> Sight<'_> {
        match &self.shown {
            Some((ask, seen)) if (ask.seq, ask.index) == (seq, index) => match seen {
                Ok(drawing) => Sight::Drawn(drawing),
                Err(words) => Sight::Trouble(words),
            },
            _ => Sight::NotYet,
        }
    }

    /// Begins what is wanted unless it is there already, or something else is under way: one at a time, so that a
    /// window that is being resized, or items that are leafed through, cost no more than a thread. Gives the number of
    /// what is to be drawn.
    pub fn begin(&mut self, wanted: Option<Ask>) -> Option<(Ask, u32)> {
        let Some(wanted) = wanted else {
            // The next look at the same file may find another picture in it.
            self.shown = None;
            return None;
        };
        let is_there = self.shown.as_ref().is_some_and(|(ask, seen)| match seen {
            Ok(_) => *ask == wanted,
            // What can't be read can't be read in another size either.
            Err(_) => (ask.seq, ask.index) == (wanted.seq, wanted.index),
        });
        if is_there || self.under_way.is_some() {
            return None;
        }
        self.asked = self.asked.wrapping_add(1);
        self.under_way = Some(wanted);
        Some((wanted, self.asked))
    }

    /// Takes a drawing in, if it is still what is wanted.
    pub fn came(&mut self, ask: Ask, seen: Result<Drawing, String>, wanted: Option<Ask>) {
        if self.under_way == Some(ask) {
            self.under_way = None;
        }
        if wanted == Some(ask) {
            self.shown = Some((ask, seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Size;

    use super::*;
    use crate::tui::theme::Depth;

    const CANVAS: Canvas =
        Canvas { depth: Depth::True, ascii: false, light: false, graphics: None, inside_tmux: false, cell: None };

    fn ask(seq: u64, width: u16) -> Ask {
        Ask { seq, index: 0, room: Size { width, height: 10 }, canvas: CANVAS }
    }

    fn broken() -> Result<Drawing, String> {
        Err("broken".to_owned())
    }

    #[test]
    fn one_is_under_way_and_the_newest_wish_comes_next() {
        let mut pictures = Pictures::default();
        assert_eq!(pictures.begin(Some(ask(1, 40))), Some((ask(1, 40), 1)));
        for width in 41..60 {
            assert_eq!(pictures.begin(Some(ask(1, width))), None, "one at a time");
        }
        pictures.came(ask(1, 40), broken(), Some(ask(1, 59)));
        assert!(matches!(pictures.sight(1, 0), Sight::NotYet), "an answer to an old question is ignored");
        assert_eq!(pictures.begin(Some(ask(1, 59))), Some((ask(1, 59), 2)));
    }

    #[test]
    fn a_picture_of_another_item_is_not_shown() {
        let mut pictures = Pictures::default();
        pictures.begin(Some(ask(1, 40)));
        pictures.came(ask(1, 40), broken(), Some(ask(2, 40)));
        assert!(matches!(pictures.sight(1, 0), Sight::NotYet));
        assert!(matches!(pictures.sight(2, 0), Sight::NotYet));
    }

    #[test]
    fn what_cannot_be_read_is_not_read_again_for_another_size_but_when_it_is_opened_again() {
        let mut pictures = Pictures::default();
        pictures.begin(Some(ask(1, 40)));
        pictures.came(ask(1, 40), broken(), Some(ask(1, 40)));
        assert!(matches!(pictures.sight(1, 0), Sight::Trouble("broken")));
        assert_eq!(pictures.begin(Some(ask(1, 50))), None);
        assert_eq!(pictures.begin(None), None);
        assert!(pictures.begin(Some(ask(1, 50))).is_some());
    }
}
