//! A flood of SYNs, each from another address and port, made in the kernel: live frames of BPF_PROG_TEST_RUN go out of a
//! veth of their own at millions a second.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::bpf::{Alu, Code, Program, Size, When, XDP_DROP, XDP_TX, call, exit, mov, xdp_md};
use crate::link::Mac;
use crate::netns::NetnsHandle;
use crate::{Context, Error, Netns, Result, link};

/// `bpf_get_prandom_u32()`
const BPF_FUNC_GET_PRANDOM_U32: i32 = 7;

/// How often each part of a paced flood sends, all that is due in one system call: one takes some 50 ms, nearly all of
/// which it waits for other processors.
const SLOT: Duration = Duration::from_millis(100);

/// Parts of a flood, sent in turn. What one sends at once must not be more than the host's queue for what virtual links
/// carry (`net.core.netdev_max_backlog`, 1000 frames), or that drops frames of whoever is sending at the same time.
const PARTS: u32 = 20;

/// Where a flood goes, and from where it comes.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// The balancer's hardware address on the flooder's link.
    pub to_mac: Mac,
    /// The flooder's.
    pub from_mac: Mac,
    /// Whom the SYNs are for.
    pub service: (Ipv4Addr, u16),
    /// Sources are drawn from the /16 that this is in.
    pub sources: Ipv4Addr,
}

/// SYNs ready to be sent out of an interface, which has a program of its own ([`link::far_end`]).
#[derive(Debug)]
pub struct Flood {
    program: Arc<Program>,
    frame: Vec<u8>,
    ifindex: u32,
    namespace: NetnsHandle,
    cpu: usize,
}

/// A flood under way; ended on drop.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Prepares one out of an interface of the namespace, made and received on one CPU.
    ///
    /// # Errors
    /// When the kernel refuses the program, or there is no such interface.
    pub fn new(netns: &Netns, interface: &str, cpu: usize, aim: &Aim) -> Result<Flood> {
        let frame = syn(aim);
        Ok(Flood {
            program: Arc::new(Program::xdp(&vary(&frame))?),
            frame,
            ifindex: netns.run(|| link::ifindex(interface))?,
            namespace: netns.handle(),
            cpu,
        })
    }

    /// Sends that many as fast as one CPU makes and receives them: how many it would be a second.
    ///
    /// # Errors
    /// Where live frames are not to be had (before Linux 5.18).
    pub fn measure(&self, frames: u32) -> Result<f64> {
        let each = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let _inside = self
                    .namespace
                    .enter()
                    .context(|| "enter the flooder's namespace")?;
                stay_on(self.cpu)?;
                self.program.run_live(&self.frame, self.ifindex, frames)
            });
            let panicked = || Error::new("the flood's thread has panicked");
            sending.join().unwrap_or_else(|_| Err(panicked()))
        })?;
        Ok(1e9 / f64::from(each.max(1)))
    }

    /// Sends that many a second for so long, evenly. What a slow CPU does not send in its time is not made up for.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(&self, rate: f64, time: Duration) -> Result<Running> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let work = Work {
            program: self.program.clone(),
            frame: self.frame.clone(),
            ifindex: self.ifindex,
            cpu: self.cpu,
            rate,
            time,
            stop: stop.clone(),
            sent: sent.clone(),
        };
        let namespace = self.namespace.clone();
        let thread = thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || work.run(&namespace))
            .context(|| "start a flood")?;
        Ok(Running {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// What the program makes of its frame, for a look at it without sending.
    ///
    /// # Errors
    /// When the kernel cannot run it.
    pub fn sample(&self) -> Result<Vec<u8>> {
        self.program.run(&self.frame).map(|(_, frame)| frame)
    }
}

impl Running {
    /// Frames handed to the kernel so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Ends it now: how many frames were sent.
    ///
    /// # Errors
    /// When sending failed.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.finish()
    }

    /// Waits for its time to be over: how many frames were sent.
    ///
    /// # Errors
    /// When sending failed.
    pub fn finish(mut self) -> Result<u64> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map(|()| self.sent()),
            _ => Err(Error::new("the flood's thread has panicked")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    program: Arc<Program>,
    frame: Vec<u8>,
    ifindex: u32,
    cpu: usize,
    rate: f64,
    time: Duration,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Work {
    fn run(&self, namespace: &NetnsHandle) -> Result<()> {
        thread::scope(|scope| {
            let parts = (0..PARTS).map(|part| scope.spawn(move || self.part(part, namespace)));
            let parts: Vec<_> = parts.collect();
            parts.into_iter().try_for_each(|part| {
                let panicked = || Error::new("a part of the flood has panicked");
                part.join().unwrap_or_else(|_| Err(panicked()))
            })
        })
    }

    fn part(&self, part: u32, namespace: &NetnsHandle) -> Result<()> {
        let _inside = namespace
            .enter()
            .context(|| "enter the flooder's namespace")?;
        stay_on(self.cpu)?;
        let begin = Instant::now();
        let frames = (self.rate * SLOT.as_secs_f64() / f64::from(PARTS)) as u32;
        let mut next = begin + SLOT * part / PARTS;
        while !self.stop.load(Ordering::SeqCst) && begin.elapsed() < self.time {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            self.program.run_live(&self.frame, self.ifindex, frames)?;
            self.sent.fetch_add(u64::from(frames), Ordering::SeqCst);
            next = (next + SLOT).max(Instant::now());
        }
        Ok(())
    }
}

/// Keeps the calling thread on one CPU.
fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).context(|| format!("stay on CPU {cpu}"))
}

/// Byte offsets in an Ethernet frame with IPv4 and TCP.
mod at {
    pub(super) const IP_CHECKSUM: i16 = 24;
    /// The lower half of the source address.
    pub(super) const SOURCE: i16 = 28;
    pub(super) const PORT: i16 = 34;
    pub(super) const SEQUENCE: i16 = 38;
    pub(super) const TCP_CHECKSUM: i16 = 50;
    pub(super) const END: i32 = 54;
}

/// A SYN whose checksums, source, port and sequence number are still to be filled in, all zero.
fn syn(aim: &Aim) -> Vec<u8> {
    let mut frame = aim.to_mac.to_vec();
    frame.extend(aim.from_mac);
    frame.extend([0x08, 0x00]);
    // Version and length, TOS, total length, id, don't fragment, TTL, TCP, checksum.
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    let [a, b, _, _] = aim.sources.octets();
    frame.extend([a, b, 0, 0]);
    frame.extend(aim.service.0.octets());
    frame.extend([0, 0]);
    frame.extend(aim.service.1.to_be_bytes());
    // Sequence, acknowledgement, header length, SYN, window, checksum, urgent.
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// The program that writes it: two random words a frame, checksums by adding to those of the frame as it stands.
fn vary(frame: &[u8]) -> Vec<crate::bpf::Insn> {
    let mut code = Code::new();
    let drop = code.label();
    let (context, one, two, sum) = (6, 7, 8, 9);
    code.alu_register(Alu::Mov, context, 1)
        .push(call(BPF_FUNC_GET_PRANDOM_U32))
        .alu_register(Alu::Mov, one, 0)
        .push(call(BPF_FUNC_GET_PRANDOM_U32))
        .alu_register(Alu::Mov, two, 0)
        .load(Size::U32, 2, context, xdp_md::DATA)
        .load(Size::U32, 3, context, xdp_md::DATA_END)
        .alu_register(Alu::Mov, 4, 2)
        .alu(Alu::Add, 4, at::END)
        .jump_register(When::Greater, 4, 3, drop);
    // All of it anew: the frame is used again as the balancer has left it.
    for (i, bytes) in frame.chunks(4).enumerate() {
        let at = 4 * i as i16;
        match *bytes {
            [a, b, c, d] => {
                code.store_immediate(Size::U32, 2, at, i32::from_ne_bytes([a, b, c, d]))
            }
            [a, b] => code.store_immediate(Size::U16, 2, at, u16::from_ne_bytes([a, b]).into()),
            // An Ethernet header and 40 bytes.
            _ => unreachable!("54 bytes are no multiple of 4 and 2"),
        };
    }
    // Source: the lower half of the first word; port: its upper half; sequence number: the second word.
    code.store(Size::U16, 2, at::SOURCE, one)
        .store(Size::U32, 2, at::SEQUENCE, two);
    let ip = sum_of(&frame[14..34]);
    code.alu_register(Alu::Mov, sum, one)
        .alu(Alu::And, sum, 0xffff)
        .alu_register(Alu::Mov, 5, sum)
        .alu(Alu::Add, sum, ip);
    checksum(&mut code, sum, at::IP_CHECKSUM);
    code.alu(Alu::ShiftRight, one, 16)
        .store(Size::U16, 2, at::PORT, one);
    // Pseudo-header: addresses, protocol, length (RFC 9293 §3.1).
    let pseudo = sum_of(&frame[26..34]) + i32::from(6_u16.to_be()) + i32::from(20_u16.to_be());
    code.alu_register(Alu::Mov, sum, 5)
        .alu_register(Alu::Add, sum, one)
        .alu(Alu::Add, sum, pseudo + sum_of(&frame[34..54]))
        .alu_register(Alu::Mov, 5, two)
        .alu(Alu::And, 5, 0xffff)
        .alu_register(Alu::Add, sum, 5)
        .alu(Alu::ShiftRight, two, 16)
        .alu(Alu::And, two, 0xffff)
        .alu_register(Alu::Add, sum, two);
    checksum(&mut code, sum, at::TCP_CHECKSUM);
    code.push(mov(0, XDP_TX)).push(exit());
    code.place(drop).push(mov(0, XDP_DROP)).push(exit());
    code.finish()
}

/// Folds a sum, complements it and writes it (r2 is the frame; r4 is used).
fn checksum(code: &mut Code, sum: u8, to: i16) {
    for _ in 0..2 {
        code.alu_register(Alu::Mov, 4, sum)
            .alu(Alu::ShiftRight, 4, 16)
            .alu(Alu::And, sum, 0xffff)
            .alu_register(Alu::Add, sum, 4);
    }
    code.alu(Alu::Xor, sum, 0xffff).store(Size::U16, 2, to, sum);
}

/// The sum of 16-bit words in this machine's byte order, which the ones' complement sum does not depend on (RFC 1071
/// §2). At most some dozen words: it does not overflow.
fn sum_of(bytes: &[u8]) -> i32 {
    let words = bytes.chunks_exact(2);
    words
        .map(|word| i32::from(u16::from_ne_bytes([word[0], word[1]])))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tag, skip, tag::TEST_PREFIX};

    fn folded(bytes: &[u8], more: i32) -> u32 {
        let mut sum = (sum_of(bytes) + more) as u32;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    #[test]
    fn every_frame_is_another_one_and_its_checksums_are_right() {
        if skip::without_bpf() {
            return;
        }
        let netns = Netns::new(&Tag::new(TEST_PREFIX).name("flood")).unwrap();
        let aim = Aim {
            to_mac: [2, 0, 0, 0, 0, 1],
            from_mac: [2, 0, 0, 0, 0, 2],
            service: (Ipv4Addr::new(10, 77, 1, 1), 80),
            sources: Ipv4Addr::new(100, 64, 0, 0),
        };
        let flood = Flood::new(&netns, "lo", 0, &aim).unwrap();
        let mut seen = Vec::new();
        for _ in 0..1000 {
            let frame = flood.sample().unwrap();
            assert_eq!(frame.len(), 54);
            assert_eq!(folded(&frame[14..34], 0), 0xffff, "{frame:?}");
            let pseudo =
                sum_of(&frame[26..34]) + i32::from(6_u16.to_be()) + i32::from(20_u16.to_be());
            assert_eq!(folded(&frame[34..54], pseudo), 0xffff, "{frame:?}");
            assert_eq!((frame[26..28].to_vec(), frame[47]), (vec![100, 64], 2));
            assert_eq!(frame[30..34], [10, 77, 1, 1]);
            seen.push(frame[28..42].to_vec());
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 990, "{}", seen.len());
    }
}
