//! What an instruction does with memory: the kernel tells a tracer which address faulted, not whether it was read or written.

#![forbid(unsafe_code)]

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess};

/// Bytes of the longest x86-64 instruction (Intel manual, vol. 2, 2.3.11).
pub const LONGEST: usize = 15;

/// True when the instruction writes memory, whatever else it does with it.
pub fn writes_memory(code: &[u8], address: u64) -> bool {
    let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    if instruction.is_invalid() {
        return false;
    }
    let writes = |access| {
        matches!(
            access,
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
    };
    InstructionInfoFactory::new()
        .info(&instruction)
        .used_memory()
        .iter()
        .any(|memory| writes(memory.access()))
}

#[cfg(test)]
mod tests {
    use super::writes_memory;

    #[test]
    fn stores_loads_and_pushes_are_told_apart() {
        assert!(writes_memory(&[0xc6, 0x00, 0x78], 0), "mov byte [rax], 0x78");
        assert!(!writes_memory(&[0x0f, 0xb6, 0x00], 0), "movzx eax, byte [rax]");
        assert!(writes_memory(&[0xff, 0x00], 0), "inc dword [rax]");
        assert!(writes_memory(&[0x55], 0), "push rbp");
        assert!(!writes_memory(&[0xc3], 0), "ret");
        assert!(!writes_memory(&[], 0) && !writes_memory(&[0x06], 0), "no instruction");
    }
}
