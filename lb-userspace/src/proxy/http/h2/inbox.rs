//! What has come of a body and was not taken yet. Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// A payload of this length may stay part of the buffer that it was read into, if that is full enough. What is smaller would
/// keep too much of it.
pub(super) const LARGE: usize = 8192;
/// Small payloads are put together to pieces of this length at most.
const TOGETHER: usize = 16 * 1024;

/// What has come of a body and was not taken yet: as much as the window allows, in memory of that order however small the
/// frames are.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pieces: VecDeque<Bytes>,
    /// What came last, in small payloads.
    small: BytesMut,
    /// Of all of it.
    length: usize,
    /// What follows all data.
    pub(super) trailers: Option<HeaderMap>,
}

impl Inbox {
    /// A payload that is copied.
    pub(super) fn push(&mut self, payload: &[u8]) {
        self.small.extend_from_slice(payload);
        self.length += payload.len();
        if self.small.len() >= TOGETHER {
            self.close();
        }
    }

    /// One that stays where it is.
    pub(super) fn push_large(&mut self, payload: Bytes) {
        self.close();
        self.length += payload.len();
        self.pieces.push_back(payload);
    }

    fn close(&mut self) {
        if !self.small.is_empty() {
            self.pieces
                .push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    /// The next data.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close();
        }
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        Some(piece)
    }

    /// Whether there is neither data nor trailers.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0 && self.trailers.is_none()
    }

    /// Throws all of it away; the length of the data.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_is_put_together_and_all_stays_in_order() {
        let mut inbox = Inbox::default();
        for byte in 0..100 {
            inbox.push(&[byte]);
        }
        inbox.push_large(Bytes::from(vec![100; LARGE]));
        inbox.push(&[101]);
        assert_eq!(
            inbox.pop().expect("the small ones")[..],
            *(0..100).collect::<Vec<_>>()
        );
        assert_eq!(inbox.pop().expect("the large one").len(), LARGE);
        assert!(!inbox.is_empty());
        assert_eq!(inbox.pop().expect("the last"), &[101][..]);
        assert!(inbox.pop().is_none() && inbox.is_empty());
        for _ in 0..TOGETHER {
            inbox.push(b"xy");
        }
        assert_eq!(inbox.pop().expect("a piece").len(), TOGETHER);
        assert_eq!(inbox.clear(), TOGETHER);
        assert!(inbox.pop().is_none());
    }
}
