//! What clients have sent last of heads, for when one turns out to be none: hyper has taken it apart by then.
//!
//! A worker keeps a few such texts, not one for each connection: hardly any head comes in more than one piece, and what a
//! connection has sent is asked for at once. Copying a head costs some nanoseconds.

use std::cell::RefCell;

use super::client::Client;

/// How many are kept.
const KEPT: usize = 8;
/// No more bytes of one are.
const MOST: usize = 16 * 1024;

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { texts: Vec::new(), turn: 0 }) };
}

#[derive(Default)]
struct Recent {
    /// Whose, and what.
    texts: Vec<(usize, Vec<u8>)>,
    turn: usize,
}

impl Recent {
    fn note(&mut self, whose: usize, bytes: &[u8], goes_on: bool) {
        let at = match self.texts.iter().position(|(owner, _)| *owner == whose) {
            Some(at) => at,
            None if self.texts.len() < KEPT => {
                self.texts.push((whose, Vec::new()));
                self.texts.len() - 1
            }
            None => {
                self.turn = (self.turn + 1) % KEPT;
                self.texts[self.turn] = (whose, std::mem::take(&mut self.texts[self.turn].1));
                self.texts[self.turn].1.clear();
                self.turn
            }
        };
        let text = &mut self.texts[at].1;
        if !goes_on {
            text.clear();
        }
        let room = MOST - text.len().min(MOST);
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&mut self, whose: usize) -> Vec<u8> {
        match self.texts.iter().position(|(owner, _)| *owner == whose) {
            Some(at) => self.texts.swap_remove(at).1,
            None => Vec::new(),
        }
    }
}

fn whose(client: &Client) -> usize {
    std::ptr::from_ref(client).addr()
}

/// A client has sent this of a head; `goes_on`: it had begun already.
pub(super) fn note(client: &Client, bytes: &[u8], goes_on: bool) {
    RECENT.with_borrow_mut(|recent| recent.note(whose(client), bytes, goes_on));
}

/// Looks at what a client has sent since its last head began, if that is still there.
pub(super) fn look(client: &Client, look: impl FnOnce(&[u8])) {
    RECENT.with_borrow(|recent| {
        let mut texts = recent.texts.iter();
        if let Some((_, text)) = texts.find(|(owner, _)| *owner == whose(client)) {
            look(text);
        }
    });
}

/// What a client has sent since its last head began, as far as it is still there.
pub(super) fn take(client: &Client) -> Vec<u8> {
    RECENT.with_borrow_mut(|recent| recent.take(whose(client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_few_are_kept() {
        let mut recent = Recent::default();
        recent.note(1, b"GET /", false);
        recent.note(2, b"other", false);
        recent.note(1, b" HTTP/1.1", true);
        assert_eq!(recent.take(1), b"GET / HTTP/1.1");
        assert_eq!(recent.take(1), b"");
        recent.note(2, b"anew", false);
        assert_eq!(recent.take(2), b"anew");
        for whose in 10..10 + KEPT + 1 {
            recent.note(whose, b"x", false);
        }
        assert_eq!(recent.texts.len(), KEPT);
        recent.note(18, &[b'x'; 2 * MOST], true);
        assert_eq!(recent.take(18).len(), MOST);
    }
}
