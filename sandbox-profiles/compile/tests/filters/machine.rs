//! The part of the kernel's packet filter machine that system call filters use (`kernel/seccomp.c`, `net/core/filter.c`).

use seccompiler::sock_filter;

/// `SECCOMP_RET_ALLOW` and `SECCOMP_RET_KILL_PROCESS` of `linux/seccomp.h`.
pub const ALLOW: u32 = 0x7FFF_0000;
pub const KILL_PROCESS: u32 = 0x8000_0000;

/// One call, as a filter sees it: `struct seccomp_data`.
pub struct Call {
    pub number: u32,
    pub arch: u32,
    pub arguments: [u64; 6],
}

impl Call {
    /// The 32 bits at an offset; little-endian, as both architectures are.
    fn word(&self, offset: u32) -> u32 {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let mut words = vec![self.number, self.arch, 0, 0];
        words.extend(self.arguments.into_iter().flat_map(halves));
        words[offset as usize / 4]
    }
}

/// What the program says about a call.
pub fn run(program: &[sock_filter], call: &Call) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let step = &program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            0x20 => accumulator = call.word(step.k),
            0x54 => accumulator &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(accumulator == step.k),
            0x25 => at += jump(accumulator > step.k),
            0x35 => at += jump(accumulator >= step.k),
            0x06 => return step.k,
            other => panic!("instruction {other:#x} is not known here"),
        }
    }
}

/// Refuses what the kernel would: a jump or an end out of the program, a load from beside the call.
pub fn check(program: &[sock_filter]) {
    assert!(!program.is_empty() && program.len() <= 4096);
    assert_eq!(program.last().unwrap().code, 0x06);
    for (at, step) in program.iter().enumerate() {
        let farthest = match step.code {
            0x05 => step.k as usize,
            0x15 | 0x25 | 0x35 => usize::from(step.jt.max(step.jf)),
            0x20 => {
                assert!(step.k.is_multiple_of(4) && step.k < 64, "load from {}", step.k);
                0
            }
            _ => 0,
        };
        assert!(at + 1 + farthest < program.len() || step.code == 0x06, "instruction {at}");
    }
}
