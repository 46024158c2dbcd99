//! Frames that carry nothing of a message: settings, windows, resets (RFC 9113 sections 6.3 to 6.9).

use std::rc::Rc;

use h2::Reason;

use super::{
    frame::{self, Head, MAX_31, MAX_LENGTH, flag, setting},
    hpack::TABLE,
    incoming::{CALM, Fatal, PROTOCOL, SIZE},
    wire::{LAST_PING, Leaving, State},
};

/// Requests that were taken back before anybody has looked at them, at a time.
const UNSEEN: u32 = 20;

/// A payload of one number.
fn number(payload: &[u8]) -> Result<u32, Fatal> {
    let payload = <[u8; 4]>::try_from(payload).map_err(|_| SIZE)?;
    Ok(u32::from_be_bytes(payload))
}

impl State {
    /// Section 6.3. Nothing is done by it.
    pub(super) fn priority(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id == 0 {
            return Err(PROTOCOL);
        }
        let reason = match <[u8; 5]>::try_from(payload) {
            Err(_) => Reason::FRAME_SIZE_ERROR,
            Ok([a, b, c, d, _]) if u32::from_be_bytes([a, b, c, d]) & MAX_31 == head.id => {
                Reason::PROTOCOL_ERROR
            }
            Ok(_) => return Ok(()),
        };
        // What nobody has begun cannot be reset (section 6.4).
        match self.is_idle(head.id) {
            true => Err(Fatal(reason)),
            false => self.fail(head.id, reason),
        }
    }

    /// Section 6.4.
    pub(super) fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let reason = Reason::from(number(payload)?);
        if head.id == 0 {
            return Err(PROTOCOL);
        }
        if let Some(stream) = self.find(head.id) {
            if !stream.inner.borrow().begun {
                self.input.unseen += 1;
                if self.input.unseen > UNSEEN {
                    return Err(CALM);
                }
            }
            self.was_reset(&stream, reason);
            return Ok(());
        }
        // One that was not to be served any more may have begun all the same.
        match self.is_idle(head.id) && self.leaving != Leaving::Final {
            true => Err(PROTOCOL),
            false => Ok(()),
        }
    }

    /// Section 6.5.
    pub(super) fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        if head.has(flag::ACK) {
            return match payload.is_empty() {
                true => Ok(()),
                false => Err(SIZE),
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(SIZE);
        }
        // The last one counts: each would change every stream's.
        let mut window = None;
        for &[a, b, c, d, e, f] in settings {
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                setting::HEADER_TABLE_SIZE => self.tell_table |= (value as usize) < TABLE,
                setting::ENABLE_PUSH | setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                    return Err(PROTOCOL);
                }
                setting::INITIAL_WINDOW_SIZE if value > MAX_31 => {
                    return Err(Fatal(Reason::FLOW_CONTROL_ERROR));
                }
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                setting::MAX_FRAME_SIZE if !(MAX_LENGTH as u32..1 << 24).contains(&value) => {
                    return Err(PROTOCOL);
                }
                _ => {}
            }
        }
        if let Some(window) = window {
            self.change_windows(window)?;
        }
        frame::settings_ack(self.frames());
        Ok(())
    }

    /// Section 6.9.2: what may be sent of each stream changes by as much as what may be at its beginning.
    fn change_windows(&mut self, value: u32) -> Result<(), Fatal> {
        let change = i64::from(value) - self.initial_window;
        self.initial_window = i64::from(value);
        let mut grown = Vec::new();
        for stream in &self.streams {
            let mut inner = stream.inner.borrow_mut();
            inner.send_window += change;
            if inner.send_window > i64::from(MAX_31) {
                return Err(Fatal(Reason::FLOW_CONTROL_ERROR));
            }
            if change > 0 && inner.is_waiting() {
                grown.push(Rc::clone(stream));
            }
        }
        for stream in grown {
            self.unhold(&stream);
        }
        Ok(())
    }

    /// Section 6.7.
    pub(super) fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        let payload = <[u8; 8]>::try_from(payload).map_err(|_| SIZE)?;
        if !head.has(flag::ACK) {
            frame::ping(self.frames(), flag::ACK, payload);
        } else if self.leaving == Leaving::Told && payload == LAST_PING {
            self.say_last();
        }
        Ok(())
    }

    /// Section 6.8: the client wants no more than what it has asked for.
    pub(super) fn go_away_came(&mut self, head: Head) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        if head.length < 8 {
            return Err(SIZE);
        }
        if self.leaving != Leaving::Final {
            self.say_last();
        }
        Ok(())
    }

    /// Section 6.9.
    pub(super) fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let increment = i64::from(number(payload)? & MAX_31);
        if head.id == 0 {
            self.send_window += increment;
            return match increment {
                0 => Err(PROTOCOL),
                _ if self.send_window > i64::from(MAX_31) => Err(Fatal(Reason::FLOW_CONTROL_ERROR)),
                _ => Ok(()),
            };
        }
        let Some(stream) = self.find(head.id) else {
            // One that has ended may still be told.
            return match self.is_idle(head.id) && self.leaving != Leaving::Final {
                true => Err(PROTOCOL),
                false => Ok(()),
            };
        };
        let mut inner = stream.inner.borrow_mut();
        inner.send_window += increment;
        let window = inner.send_window;
        drop(inner);
        if increment == 0 {
            return self.fail(head.id, Reason::PROTOCOL_ERROR);
        }
        if window > i64::from(MAX_31) {
            return self.fail(head.id, Reason::FLOW_CONTROL_ERROR);
        }
        self.unhold(&stream);
        Ok(())
    }
}
