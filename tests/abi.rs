//! The public headers against the library and against Microkit's numbers: what a program compiled elsewhere relies on.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader, Rela, SectionHeader};
use object::{Endianness, Object, ObjectSymbol};

const HEADERS: [&str; 7] = [
    "microkit.h",
    "sel4/config.h",
    "sel4/errors.h",
    "sel4/faults.h",
    "sel4/sel4.h",
    "sel4/syscalls.h",
    "sel4/types.h",
];

/// Everything that libmicrokit.so exports: the API of the headers, and the entry for the PD host.
const EXPORTS: &[&str] = &[
    "__sel4_ipc_buffer",
    "microkit_arm_smc_call",
    "microkit_dbg_put32",
    "microkit_dbg_put8",
    "microkit_dbg_putc",
    "microkit_dbg_puts",
    "microkit_deferred_irq_ack",
    "microkit_deferred_notify",
    "microkit_have_signal",
    "microkit_internal_crash",
    "microkit_ioports",
    "microkit_irq_ack",
    "microkit_irqs",
    "microkit_name",
    "microkit_notifications",
    "microkit_notify",
    "microkit_passive",
    "microkit_pd_restart",
    "microkit_pd_resume",
    "microkit_pd_stop",
    "microkit_ppcall",
    "microkit_pps",
    "microkit_signal_cap",
    "microkit_signal_msg",
    "microkit_vcpu_arm_ack_vppi",
    "microkit_vcpu_arm_inject_irq",
    "microkit_vcpu_arm_read_reg",
    "microkit_vcpu_arm_write_reg",
    "microkit_vcpu_restart",
    "microkit_vcpu_stop",
    "microkit_vcpu_x86_disable_ioport",
    "microkit_vcpu_x86_enable_ioport",
    "microkit_vcpu_x86_read_msr",
    "microkit_vcpu_x86_read_vmcs",
    "microkit_vcpu_x86_write_msr",
    "microkit_vcpu_x86_write_regs",
    "microkit_vcpu_x86_write_vmcs",
    "microkit_x86_ioport_read_16",
    "microkit_x86_ioport_read_32",
    "microkit_x86_ioport_read_8",
    "microkit_x86_ioport_write_16",
    "microkit_x86_ioport_write_32",
    "microkit_x86_ioport_write_8",
    "mk_restart",
    "mk_start",
    "seL4_Call",
    "seL4_DebugPutChar",
    "seL4_DebugPutString",
    "seL4_IRQHandler_Ack",
    "seL4_SchedContext_Bind",
    "seL4_SchedContext_Consumed",
    "seL4_SchedContext_Unbind",
    "seL4_SchedContext_UnbindObject",
    "seL4_SchedContext_YieldTo",
    "seL4_Signal",
    "seL4_TCB_ReadRegisters",
    "seL4_TCB_Resume",
    "seL4_TCB_Suspend",
    "seL4_TCB_WriteRegisters",
];

/// The PD host's, which no header shows to programs.
const PRIVATE_EXPORTS: [&str; 2] = ["mk_restart", "mk_start"];

fn library() -> Vec<u8> {
    let path = Path::new(env!("OUT_DIR")).join("libmicrokit.so");
    std::fs::read(path).expect("build.rs has built the library")
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the scratch directory is writable");
    path
}

/// Compiles `text` with every warning an error; returns the program where it is to be linked.
fn compile(compiler: (&str, &str), standard: &str, name: &str, text: &str, link: bool) -> PathBuf {
    let (variable, default) = compiler;
    let source = scratch(name, text);
    let program = source.with_extension("out");
    let mut command = Command::new(std::env::var_os(variable).unwrap_or_else(|| default.into()));
    command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]);
    command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include")).arg(&source);
    if link {
        let directory = env!("OUT_DIR");
        command.arg("-o").arg(&program).arg("-L").arg(directory).arg("-lmicrokit");
        command.arg(format!("-Wl,-rpath,{directory}"));
    } else {
        command.arg("-fsyntax-only");
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{default} does not run ({error}); install it or set {variable}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    program
}

const C: (&str, &str) = ("CC", "cc");
const CXX: (&str, &str) = ("CXX", "c++");

#[test]
fn each_header_compiles_alone() {
    for header in HEADERS {
        let name = header.replace(['/', '.'], "_");
        let text = format!("#include <{header}>\n#include <{header}>\nextern int more;\n");
        for standard in ["-std=c11", "-std=c17", "-std=gnu11"] {
            compile(C, standard, &format!("alone_{name}.c"), &text, false);
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler, which neither the build nor a user needs"]
fn each_header_compiles_alone_as_cxx() {
    for header in HEADERS {
        let name = header.replace(['/', '.'], "_");
        let text = format!("#include <{header}>\n#include <{header}>\nextern int more;\n");
        for standard in ["-std=c++11", "-std=c++20"] {
            compile(CXX, standard, &format!("alone_{name}.cc"), &text, false);
        }
    }
}

#[test]
fn every_header_is_tested() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut found = BTreeSet::new();
    for directory in ["", "sel4"] {
        for entry in include.join(directory).read_dir().expect("include/ is there") {
            let path = entry.expect("include/ is readable").path();
            if path.is_file() {
                let relative = path.strip_prefix(&include).expect("inside include/");
                found.insert(relative.display().to_string());
            }
        }
    }
    assert_eq!(found, HEADERS.iter().map(|header| (*header).to_owned()).collect());
}

#[test]
#[ignore = "needs a C++ compiler, which neither the build nor a user needs"]
fn a_cxx_program_may_define_every_entry_point() {
    let text = "#include <microkit.h>
        void init(void) {}
        void notified(microkit_channel ch) { microkit_notify(ch); }
        microkit_msginfo microkit_protected(microkit_channel, microkit_msginfo msginfo) { return msginfo; }
        seL4_Bool fault(microkit_child, microkit_msginfo, microkit_msginfo *) { return seL4_False; }
        int main() { return 0; }
        ";
    let program = std::fs::read(compile(CXX, "-std=c++11", "entries.cc", text, true));
    let program = program.expect("the compiler has written the program");
    let file = ElfFile64::<Endianness>::parse(&*program).expect("an ELF file");
    let names: BTreeSet<_> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    for entry in ["init", "notified", "protected", "fault"] {
        assert!(names.contains(entry), "{entry} has its C name");
    }
}

#[test]
fn entry_points_are_visible_whatever_the_flags() {
    let text = "#include <microkit.h>
        void init(void) {}
        void notified(microkit_channel ch) { (void)ch; }
        microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo) { (void)ch; return msginfo; }
        ";
    let source = scratch("hidden.c", text);
    let image = source.with_extension("so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let status = Command::new(compiler)
        .args(["-shared", "-fPIC", "-fvisibility=hidden", "-nostdlib", "-I"])
        .args([&include, &source])
        .arg("-o")
        .arg(&image)
        .status()
        .expect("a C compiler runs; install one or set CC");
    assert!(status.success());
    let image = std::fs::read(image).expect("the compiler has written the image");
    let file = ElfFile64::<Endianness>::parse(&*image).expect("an ELF file");
    let names: BTreeSet<_> = file.dynamic_symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert_eq!(names, BTreeSet::from(["init", "notified", "protected"]));
}

/// Numbers and types of the Microkit manual and of libsel4, as programs see them.
const NUMBERS: &str = r#"
#include <microkit.h>

#define SAME_TYPE(a, b) __builtin_types_compatible_p(__typeof__(a), __typeof__(b))
#define HOLDS(condition) _Static_assert(condition, #condition)

HOLDS(MICROKIT_MAX_CHANNELS == 62);
HOLDS(MICROKIT_MAX_CHANNEL_ID == 61);
HOLDS(MICROKIT_PD_NAME_LENGTH == 64);
HOLDS(BASE_OUTPUT_NOTIFICATION_CAP == 10);
HOLDS(BASE_ENDPOINT_CAP == 74);
HOLDS(BASE_IRQ_CAP == 138);
HOLDS(BASE_TCB_CAP == 202);
HOLDS(BASE_VM_TCB_CAP == 266);
HOLDS(BASE_VCPU_CAP == 330);
HOLDS(BASE_IOPORT_CAP == 394);
HOLDS(BASE_USER_CAPS == 458);

HOLDS(sizeof(seL4_Word) == 8 && sizeof(seL4_CPtr) == 8 && sizeof(seL4_Bool) == 1);
HOLDS(sizeof(seL4_Uint8) == 1 && sizeof(seL4_Uint16) == 2 && sizeof(seL4_Uint32) == 4 && sizeof(seL4_Uint64) == 8);
HOLDS(sizeof(seL4_MessageInfo_t) == 8);
HOLDS(seL4_MsgMaxLength == 120);
HOLDS(sizeof(((seL4_IPCBuffer *)0)->msg) == 120 * 8);
HOLDS(__builtin_offsetof(seL4_IPCBuffer, msg) == 8);
HOLDS(sizeof(seL4_UserContext) == 20 * 8);
HOLDS(__builtin_offsetof(seL4_UserContext, rip) == 0 && __builtin_offsetof(seL4_UserContext, rsp) == 8);

HOLDS(seL4_NoError == 0 && seL4_InvalidArgument == 1 && seL4_InvalidCapability == 2 && seL4_IllegalOperation == 3);
HOLDS(seL4_RangeError == 4 && seL4_AlignmentError == 5 && seL4_FailedLookup == 6 && seL4_TruncatedMessage == 7);
HOLDS(seL4_DeleteFirst == 8 && seL4_RevokeFirst == 9 && seL4_NotEnoughMemory == 10);

HOLDS(seL4_Fault_NullFault == 0 && seL4_Fault_CapFault == 1 && seL4_Fault_UnknownSyscall == 2);
HOLDS(seL4_Fault_UserException == 3 && seL4_Fault_DebugException == 4 && seL4_Fault_Timeout == 5);
HOLDS(seL4_Fault_VMFault == 6);
HOLDS(seL4_UnknownSyscall_RAX == 0 && seL4_UnknownSyscall_R8 == 7 && seL4_UnknownSyscall_R15 == 14);
HOLDS(seL4_UnknownSyscall_FaultIP == 15 && seL4_UnknownSyscall_FLAGS == 17 && seL4_UnknownSyscall_Syscall == 18);
HOLDS(seL4_UserException_Number == 3 && seL4_UserException_Code == 4);
HOLDS(seL4_VMFault_IP == 0 && seL4_VMFault_Addr == 1 && seL4_VMFault_PrefetchFault == 2 && seL4_VMFault_FSR == 3);

HOLDS(CONFIG_ARCH_X86_64 == 1 && CONFIG_WORD_SIZE == 64 && CONFIG_L1_CACHE_LINE_SIZE_BITS == 6);
#if !defined(CONFIG_ENABLE_SMP_SUPPORT) || !defined(CONFIG_DEBUG_BUILD) || !defined(CONFIG_PRINTING)
#error "the configuration is not that of an SMP debug build"
#endif
HOLDS(CONFIG_MAX_NUM_NODES > 1);

HOLDS(SAME_TYPE(microkit_channel, unsigned int));
HOLDS(SAME_TYPE(microkit_child, unsigned int));
HOLDS(SAME_TYPE(microkit_ioport, unsigned int));
HOLDS(SAME_TYPE(microkit_msginfo, seL4_MessageInfo_t));
HOLDS(SAME_TYPE(init, void (void)));
HOLDS(SAME_TYPE(notified, void (unsigned int)));
HOLDS(SAME_TYPE(protected, seL4_MessageInfo_t (unsigned int, seL4_MessageInfo_t)));
HOLDS(SAME_TYPE(fault, seL4_Bool (unsigned int, seL4_MessageInfo_t, seL4_MessageInfo_t *)));
HOLDS(SAME_TYPE(microkit_notify, void (unsigned int)));
HOLDS(SAME_TYPE(microkit_ppcall, seL4_MessageInfo_t (unsigned int, seL4_MessageInfo_t)));
HOLDS(SAME_TYPE(microkit_msginfo_new, seL4_MessageInfo_t (seL4_Word, seL4_Uint16)));
HOLDS(SAME_TYPE(microkit_msginfo_get_label, seL4_Word (seL4_MessageInfo_t)));
HOLDS(SAME_TYPE(microkit_msginfo_get_count, seL4_Word (seL4_MessageInfo_t)));
HOLDS(SAME_TYPE(microkit_mr_set, void (seL4_Uint8, seL4_Word)));
HOLDS(SAME_TYPE(microkit_mr_get, seL4_Word (seL4_Uint8)));
HOLDS(SAME_TYPE(microkit_pd_restart, void (unsigned int, seL4_Word)));
HOLDS(SAME_TYPE(microkit_dbg_put8, void (seL4_Uint8)));
HOLDS(SAME_TYPE(microkit_name, char[64]));
HOLDS(SAME_TYPE(microkit_notifications, seL4_Word));
HOLDS(SAME_TYPE(microkit_have_signal, seL4_Bool));
HOLDS(SAME_TYPE(microkit_signal_cap, seL4_CPtr));
HOLDS(SAME_TYPE(microkit_signal_msg, seL4_MessageInfo_t));
HOLDS(SAME_TYPE(__sel4_ipc_buffer, seL4_IPCBuffer *));
"#;

#[test]
fn numbers_and_types_are_microkits() {
    compile(C, "-std=gnu11", "numbers.c", NUMBERS, false);
}

/// Length 7 bits, extraCaps 2, capsUnwrapped 3, label 52; each number of a failed line is its exit status.
const MESSAGE_INFO: &str = r#"
#include <microkit.h>
#define HOLDS(condition) do { if (!(condition)) return __LINE__; } while (0)
#line 1
int main(void)
{
    HOLDS(seL4_MessageInfo_new(0, 0, 0, 127).words[0] == 0x7f);
    HOLDS(seL4_MessageInfo_new(0, 0, 3, 0).words[0] == 0x180);
    HOLDS(seL4_MessageInfo_new(0, 7, 0, 0).words[0] == 0xe00);
    HOLDS(seL4_MessageInfo_new(1, 0, 0, 0).words[0] == 0x1000);
    seL4_MessageInfo_t info = seL4_MessageInfo_new(0xabcdef0123456, 5, 2, 99);
    HOLDS(seL4_MessageInfo_get_label(info) == 0xabcdef0123456);
    HOLDS(seL4_MessageInfo_get_capsUnwrapped(info) == 5);
    HOLDS(seL4_MessageInfo_get_extraCaps(info) == 2);
    HOLDS(seL4_MessageInfo_get_length(info) == 99);
    info = seL4_MessageInfo_set_label(info, 3);
    info = seL4_MessageInfo_set_length(info, 4);
    HOLDS(info.words[0] == ((3 << 12) | (5 << 9) | (2 << 7) | 4));
    HOLDS(microkit_msginfo_get_label(microkit_msginfo_new(77, 120)) == 77);
    HOLDS(microkit_msginfo_get_count(microkit_msginfo_new(77, 120)) == 120);
    HOLDS(microkit_msginfo_get_count(microkit_msginfo_new(77, 128)) == 127);
    HOLDS(microkit_cspace_root_slot_to_cptr(1) == 459);
    for (int i = 0; i < 120; i++) {
        microkit_mr_set((seL4_Uint8)i, (seL4_Word)i * 3);
    }
    for (int i = 0; i < 120; i++) {
        HOLDS(seL4_GetMR(i) == (seL4_Word)i * 3 && __sel4_ipc_buffer->msg[i] == seL4_GetMR(i));
    }
    return 0;
}
"#;

#[test]
fn message_info_has_the_kernels_layout() {
    let program = compile(C, "-std=c11", "message_info.c", MESSAGE_INFO, true);
    let status = Command::new(program).status().expect("the program runs");
    assert_eq!(status.code(), Some(0), "the line of main that does not hold");
}

#[test]
fn the_library_exports_the_api_and_nothing_else() {
    let data = library();
    let file = ElfFile64::<Endianness>::parse(&*data).expect("an ELF file");
    let symbols: Vec<_> = file.dynamic_symbols().collect();
    let undefined: Vec<_> =
        symbols.iter().filter(|symbol| symbol.is_undefined()).filter_map(|s| s.name().ok()).collect();
    assert!(undefined.is_empty(), "nothing is asked of others: {undefined:?}");
    let exported: BTreeSet<_> = symbols.iter().filter_map(|symbol| symbol.name().ok()).collect();
    assert_eq!(exported, EXPORTS.iter().copied().collect());
}

/// A program that names every export: the headers declare them all.
#[test]
fn the_headers_declare_every_export() {
    let mut text = String::from("#include <microkit.h>\nconst void *const all[] = {\n");
    for name in EXPORTS.iter().filter(|name| !PRIVATE_EXPORTS.contains(name)) {
        text += &format!("    (const void *)(unsigned long)&{name},\n");
    }
    text += "};\nint main(void) { return all[0] == 0; }\n";
    let program = compile(C, "-std=gnu11", "declares.c", &text, true);
    assert!(Command::new(program).status().expect("the program runs").success());
}

#[test]
fn the_library_needs_nothing_and_keeps_its_text_read_only() {
    let data = library();
    let file = ElfFile64::<Endianness>::parse(&*data).expect("an ELF file");
    let endian = file.endian();
    let sections = file.elf_section_table();
    let (dynamic, _) = sections.dynamic(endian, &*data).expect("readable").expect("there is one");
    for entry in dynamic {
        let tag = entry.tag(endian);
        let banned = [
            elf::DT_NEEDED,
            elf::DT_TEXTREL,
            elf::DT_RPATH,
            elf::DT_RUNPATH,
            elf::DT_INIT,
            elf::DT_INIT_ARRAY,
            elf::DT_FINI,
            elf::DT_FINI_ARRAY,
        ];
        assert!(!banned.contains(&tag), "dynamic tag {tag:?}");
        if tag == elf::DT_FLAGS {
            assert_eq!(entry.d_val(endian) & elf::DF_TEXTREL.0, 0);
        }
    }
    let segments = file.elf_program_headers();
    for segment in segments {
        let (flags, kind) = (segment.p_flags(endian), segment.p_type(endian));
        assert!(kind != elf::PT_TLS && kind != elf::PT_INTERP, "segment of type {kind:?}");
        assert!(!flags.contains(elf::PF_W | elf::PF_X), "writable code");
    }
    let writable = |address: u64| {
        segments.iter().any(|segment| {
            let start = segment.p_vaddr(endian);
            segment.p_type(endian) == elf::PT_LOAD
                && segment.p_flags(endian).contains(elf::PF_W)
                && (start..start + segment.p_memsz(endian)).contains(&address)
        })
    };
    let mut relocations = 0;
    for section in sections.iter() {
        let Some((entries, _)) = section.rela(endian, &*data).expect("readable relocations") else {
            continue;
        };
        for entry in entries {
            relocations += 1;
            assert!(writable(entry.r_offset(endian)), "a relocation in read-only memory");
            let kind = entry.r_type(endian, false);
            let harmless = [elf::R_X86_64_RELATIVE, elf::R_X86_64_GLOB_DAT, elf::R_X86_64_JUMP_SLOT];
            assert!(harmless.contains(&kind), "relocation of type {kind:?}");
        }
    }
    assert!(relocations > 0, "the table was found");
    assert_eq!(file.elf_header().e_machine(endian), elf::EM_X86_64, "the library is for this architecture");
}
