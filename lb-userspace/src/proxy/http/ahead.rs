//! A body of which some is read before it is known where it goes: a request's for rules to look at, a response's while they wait.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::inbound::{Fault, Inbound};

/// Most that is read ahead: what HAProxy's buffer holds beside a head.
const MOST: usize = 15 * 1024;

/// A body with what has been read of it.
pub(super) struct Ahead {
    frames: VecDeque<Frame<Bytes>>,
    rest: Inbound,
    /// Why it does not go on.
    fault: Option<Fault>,
    length: usize,
    /// Its length was known beforehand.
    exact: bool,
    /// There is no more of it.
    ended: bool,
}

impl Ahead {
    pub(super) fn next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.fault.take() {
            Some(fault) => Poll::Ready(Some(Err(fault))),
            None => self.rest.poll_frame(cx),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.frames.is_empty() && self.fault.is_none() && self.rest.is_end_stream()
    }

    /// As that of what it was read of: it says how the body is framed.
    pub(super) fn size_hint(&self) -> SizeHint {
        let frames = self.frames.iter().filter_map(Frame::data_ref);
        let length: u64 = frames.map(|data| data.len() as u64).sum();
        match self.rest.size_hint().exact() {
            Some(rest) if self.exact => SizeHint::with_exact(length + rest),
            _ if self.is_over() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// Reads what there is: whether there is to be more, and none of it is there yet.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        while self.fault.is_none() && self.length < MOST && !self.rest.is_end_stream() {
            match self.rest.poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(None) => {
                    self.ended = true;
                    return false;
                }
                Poll::Ready(Some(Err(fault))) => self.fault = Some(fault),
                Poll::Ready(Some(Ok(frame))) => {
                    self.length += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push_back(frame);
                }
            }
        }
        false
    }
}

impl Inbound {
    /// The same, to be read ahead, if there is anything to read.
    fn ahead(&mut self) -> Option<&mut Ahead> {
        if self.is_end_stream() {
            return None;
        }
        if !matches!(self, Self::Ahead(_)) {
            let rest = std::mem::replace(self, Self::None);
            let exact = rest.size_hint().exact().is_some();
            *self = Self::Ahead(Box::new(Ahead {
                frames: VecDeque::new(),
                rest,
                fault: None,
                length: 0,
                exact,
                ended: false,
            }));
        }
        match self {
            Self::Ahead(ahead) => Some(ahead),
            _ => None,
        }
    }

    /// Reads what has come already.
    pub(super) async fn read_what_is_there(&mut self) {
        let Some(ahead) = self.ahead() else { return };
        // hyper reads on when this task is polled again; one round without anything new is the end.
        let mut idle = 0;
        while idle < 2 {
            let before = ahead.length;
            if !poll_fn(|cx| Poll::Ready(ahead.read(cx))).await {
                return;
            }
            idle = if ahead.length > before { 0 } else { idle + 1 };
            tokio::task::yield_now().await;
        }
    }

    /// Reads until all of it has come, or `at_least` so many bytes, or no more may be kept. Whether that was in time.
    pub(super) async fn read_until(&mut self, deadline: Instant, at_least: usize) -> bool {
        let Some(ahead) = self.ahead() else {
            return true;
        };
        let reading = poll_fn(|cx| match ahead.read(cx) {
            true if at_least == 0 || ahead.length < at_least => Poll::Pending,
            _ => Poll::Ready(()),
        });
        tokio::time::timeout_at(deadline.into(), reading)
            .await
            .is_ok()
    }

    /// Reads what there is: whether that is all of it, or `at_least` so many bytes, or no more may be kept.
    pub(super) fn has_come(&mut self, cx: &mut Context<'_>, at_least: usize) -> bool {
        let Some(ahead) = self.ahead() else {
            return true;
        };
        let waits = ahead.read(cx);
        !waits || (at_least > 0 && ahead.length >= at_least)
    }

    /// How many bytes have been read ahead.
    pub(super) fn length_ahead(&self) -> usize {
        match self {
            Self::Ahead(ahead) => ahead.length,
            _ => 0,
        }
    }

    /// Whether it comes by HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Http2(_) => true,
            Self::Ahead(ahead) => ahead.rest.is_http2(),
            _ => false,
        }
    }

    /// Why no more of it comes, where that was met while it was read ahead.
    pub(super) fn fault_ahead(&self) -> Option<&Fault> {
        match self {
            Self::Ahead(ahead) => ahead.fault.as_ref(),
            _ => None,
        }
    }

    /// Whether all of it has been read ahead.
    ///
    /// # Errors
    /// It has broken off.
    pub(super) fn is_all_ahead(&self) -> Result<bool, ()> {
        match self {
            Self::Ahead(ahead) if ahead.fault.is_some() => Err(()),
            Self::Ahead(ahead) => Ok(ahead.ended || ahead.rest.is_end_stream()),
            rest => Ok(rest.is_end_stream()),
        }
    }

    /// What has been read ahead.
    pub(super) fn bytes_ahead(&self) -> Bytes {
        let Self::Ahead(ahead) = self else {
            return Bytes::new();
        };
        let mut parts = ahead.frames.iter().filter_map(Frame::data_ref);
        match (parts.next(), parts.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.slice(..only.len().min(MOST)),
            (Some(first), Some(second)) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(second);
                parts.for_each(|part| all.extend_from_slice(part));
                all.truncate(MOST);
                all.freeze()
            }
        }
    }
}
