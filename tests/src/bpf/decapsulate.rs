//! The servers' side of `forward: ipip`, for kernels without tunnel devices: takes the outer header off.

use super::insn::{Alu, Code, Size, When, call, exit, mov};
use super::{Program, XDP_DROP, XDP_PASS, xdp_md};
use crate::Result;

/// `bpf_xdp_adjust_head(ctx, delta)`
const BPF_FUNC_XDP_ADJUST_HEAD: i32 = 44;

const IPV4: i32 = 0x0800_u16.to_be() as i32;
const IPV6: i32 = 0x86dd_u16.to_be() as i32;
const IPPROTO_IPIP: i32 = 4;
const IPPROTO_IPV6: i32 = 41;

impl Program {
    /// Takes an outer IPv4 header (without options) or IPv6 header (without extensions) off whose payload is an IP
    /// packet, and lets the inner packet up the stack; everything else passes as it is.
    ///
    /// # Errors
    /// As [`Program::xdp`].
    pub fn xdp_decapsulate() -> Result<Program> {
        let mut code = Code::new();
        let [pass, drop, v4, v6, inner, inner4, inner6, strip] = [(); 8].map(|()| code.label());
        let (context, outer, kind) = (6, 7, 8);
        code.alu_register(Alu::Mov, context, 1)
            .load(Size::U32, 2, context, xdp_md::DATA)
            .load(Size::U32, 3, context, xdp_md::DATA_END)
            .alu_register(Alu::Mov, 4, 2)
            .alu(Alu::Add, 4, 14 + 20)
            .jump_register(When::Greater, 4, 3, pass)
            .load(Size::U16, 5, 2, 12)
            .jump(When::Equal, 5, IPV4, v4)
            .jump(When::Equal, 5, IPV6, v6);
        code.place(pass).push(mov(0, XDP_PASS)).push(exit());
        code.place(v4)
            .load(Size::U8, 5, 2, 14)
            .jump(When::NotEqual, 5, 0x45, pass)
            .load(Size::U8, 5, 2, 14 + 9)
            .push(mov(outer, 20))
            .jump(When::Always, 0, 0, inner);
        code.place(v6)
            .load(Size::U8, 5, 2, 14 + 6)
            .push(mov(outer, 40));
        code.place(inner)
            .jump(When::Equal, 5, IPPROTO_IPIP, inner4)
            .jump(When::Equal, 5, IPPROTO_IPV6, inner6)
            .jump(When::Always, 0, 0, pass);
        code.place(inner4)
            .push(mov(kind, IPV4))
            .jump(When::Always, 0, 0, strip);
        code.place(inner6).push(mov(kind, IPV6));
        // Both MAC addresses move over what is taken off.
        code.place(strip);
        for at in [0, 4, 8] {
            code.load(Size::U32, 5, 2, at)
                .store(Size::U32, 10, at - 12, 5);
        }
        code.alu_register(Alu::Mov, 1, context)
            .alu_register(Alu::Mov, 2, outer)
            .push(call(BPF_FUNC_XDP_ADJUST_HEAD))
            .jump(When::NotEqual, 0, 0, drop)
            .load(Size::U32, 2, context, xdp_md::DATA)
            .load(Size::U32, 3, context, xdp_md::DATA_END)
            .alu_register(Alu::Mov, 4, 2)
            .alu(Alu::Add, 4, 14)
            .jump_register(When::Greater, 4, 3, drop);
        for at in [0, 4, 8] {
            code.load(Size::U32, 5, 10, at - 12)
                .store(Size::U32, 2, at, 5);
        }
        code.store(Size::U16, 2, 12, kind)
            .jump(When::Always, 0, 0, pass);
        code.place(drop).push(mov(0, XDP_DROP)).push(exit());
        Program::xdp(&code.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![
            0x45,
            0,
            0,
            20 + payload.len() as u8,
            0,
            0,
            0,
            0,
            64,
            protocol,
            0,
            0,
        ];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.extend([0xfd; 32]);
        packet.extend(payload);
        packet
    }

    fn frame(kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = MACS.to_vec();
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }

    #[test]
    fn the_outer_header_is_taken_off() {
        if skip::without_bpf() {
            return;
        }
        let program = Program::xdp_decapsulate().unwrap();
        let (four, six) = (ipv4(6, b"segment of IPv4"), ipv6(6, b"segment of IPv6"));
        let table = [
            (
                "4 in 4",
                frame(0x0800, &ipv4(4, &four)),
                frame(0x0800, &four),
            ),
            (
                "6 in 4",
                frame(0x0800, &ipv4(41, &six)),
                frame(0x86dd, &six),
            ),
            (
                "6 in 6",
                frame(0x86dd, &ipv6(41, &six)),
                frame(0x86dd, &six),
            ),
            (
                "4 in 6",
                frame(0x86dd, &ipv6(4, &four)),
                frame(0x0800, &four),
            ),
            ("plain IPv4", frame(0x0800, &four), frame(0x0800, &four)),
            ("plain IPv6", frame(0x86dd, &six), frame(0x86dd, &six)),
            ("no IP", frame(0x88b5, &four), frame(0x88b5, &four)),
            (
                "short",
                frame(0x0800, &four[..8]),
                frame(0x0800, &four[..8]),
            ),
        ];
        for (what, sent, expected) in table {
            assert_eq!(
                program.run(&sent).unwrap(),
                (XDP_PASS as u32, expected),
                "{what}"
            );
        }
    }

    #[test]
    fn an_outer_header_without_room_for_it_is_dropped() {
        if skip::without_bpf() {
            return;
        }
        // 20 bytes after the Ethernet header, of which an IPv6 header would need 40.
        let sent = frame(0x86dd, &ipv6(41, b"")[..20]);
        assert_eq!(
            Program::xdp_decapsulate().unwrap().run(&sent).unwrap().0,
            XDP_DROP as u32
        );
    }
}
