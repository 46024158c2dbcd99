//! An instruction builder without loader: programs of some dozen instructions, with labels instead of counted offsets.
//!
//! Opcodes are put together as in include/uapi/linux/bpf_common.h and bpf.h.

/// One instruction: opcode, registers, offset, immediate (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `rN = immediate`, sign-extended (BPF_ALU64 | BPF_MOV | BPF_K).
pub const fn mov(register: u8, immediate: i32) -> Insn {
    insn(0xb7, register, 0, 0, immediate)
}

/// Calls a helper by its number (BPF_JMP | BPF_CALL).
pub const fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}

/// Returns r0 (BPF_JMP | BPF_EXIT).
pub const fn exit() -> Insn {
    insn(0x95, 0, 0, 0, 0)
}

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 32 bits (BPF_W).
    U32 = 0x00,
    /// 16 bits (BPF_H).
    U16 = 0x08,
    /// 8 bits (BPF_B).
    U8 = 0x10,
}

/// What arithmetic does, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// BPF_ADD
    Add = 0x00,
    /// BPF_AND
    And = 0x50,
    /// BPF_RSH
    ShiftRight = 0x70,
    /// BPF_XOR
    Xor = 0xa0,
    /// BPF_MOV
    Mov = 0xb0,
}

/// When a jump is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum When {
    /// BPF_JA
    Always = 0x00,
    /// BPF_JEQ
    Equal = 0x10,
    /// BPF_JGT, unsigned
    Greater = 0x20,
    /// BPF_JNE
    NotEqual = 0x50,
}

/// A place in a program, jumped to before or after it is [`Code::place`]d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A program in the making.
#[derive(Clone, Debug, Default)]
pub struct Code {
    insns: Vec<Insn>,
    places: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Code {
    /// Nothing yet.
    pub fn new() -> Code {
        Code::default()
    }

    /// A label without a place.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The next instruction is what the label names.
    pub fn place(&mut self, label: Label) -> &mut Code {
        self.places[label.0] = Some(self.insns.len());
        self
    }

    /// Appends an instruction.
    pub fn push(&mut self, insn: Insn) -> &mut Code {
        self.insns.push(insn);
        self
    }

    /// `rA op= immediate`
    pub fn alu(&mut self, op: Alu, register: u8, immediate: i32) -> &mut Code {
        self.push(insn(0x07 | op as u8, register, 0, 0, immediate))
    }

    /// `rA op= rB`
    pub fn alu_register(&mut self, op: Alu, register: u8, other: u8) -> &mut Code {
        self.push(insn(0x0f | op as u8, register, other, 0, 0))
    }

    /// `rA = *(rB + offset)`
    pub fn load(&mut self, size: Size, register: u8, from: u8, offset: i16) -> &mut Code {
        self.push(insn(0x61 | size as u8, register, from, offset, 0))
    }

    /// `*(rA + offset) = rB`
    pub fn store(&mut self, size: Size, to: u8, offset: i16, register: u8) -> &mut Code {
        self.push(insn(0x63 | size as u8, to, register, offset, 0))
    }

    /// `*(rA + offset) = immediate`
    pub fn store_immediate(
        &mut self,
        size: Size,
        to: u8,
        offset: i16,
        immediate: i32,
    ) -> &mut Code {
        self.push(insn(0x62 | size as u8, to, 0, offset, immediate))
    }

    /// Goes to `label` if `rA when immediate`.
    pub fn jump(&mut self, when: When, register: u8, immediate: i32, label: Label) -> &mut Code {
        self.jumps.push((self.insns.len(), label));
        self.push(insn(0x05 | when as u8, register, 0, 0, immediate))
    }

    /// Goes to `label` if `rA when rB`.
    pub fn jump_register(
        &mut self,
        when: When,
        register: u8,
        other: u8,
        label: Label,
    ) -> &mut Code {
        self.jumps.push((self.insns.len(), label));
        self.push(insn(0x0d | when as u8, register, other, 0, 0))
    }

    /// The program, jumps resolved.
    ///
    /// # Panics
    /// When a label that is jumped to was never placed, or lies too far away.
    pub fn finish(mut self) -> Vec<Insn> {
        for (at, label) in self.jumps {
            let Some(place) = self.places[label.0] else {
                panic!("instruction {at} jumps to a label without a place");
            };
            let distance = place as i64 - (at as i64 + 1);
            match i16::try_from(distance) {
                Ok(offset) => self.insns[at].offset = offset,
                Err(_) => panic!("instruction {at} jumps too far"),
            }
        }
        self.insns
    }
}

const fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}
