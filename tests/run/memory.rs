//! Regions: what the system file writes into variables about them, their content, their rights, what lies beside them.

use crate::common::for_each_user;
use crate::{channel, init_program, one_pd, program, run_until_idle};

/// Variables of every kind of placement: initialised, zeroed, read-only, local to the file.
#[test]
fn variables_are_set_wherever_they_lie() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            uintptr_t in_data = 1;
            uintptr_t in_bss;
            const volatile uintptr_t in_rodata = 3;
            static volatile uintptr_t local_data = 4;
            static volatile uintptr_t local_bss;
            static const volatile uintptr_t local_rodata = 6;
            char *pointer;
            volatile uint64_t size, prefill_size, physical, invented;
            unsigned id_of_4_bytes;
            uint64_t id_of_8_bytes = ~0UL;
            unsigned neighbour = 0x55555555;
            void init(void) {
                printf("%#lx %#lx %#lx %#lx %#lx %#lx\n", in_data, in_bss, in_rodata, local_data, local_bss, local_rodata);
                printf("%p %#lx %lu\n", (void *)pointer, size, prefill_size);
                printf("%#lx %d\n", physical, invented != 0 && invented % 0x1000 == 0);
                printf("%u %lu %#x\n", id_of_4_bytes, id_of_8_bytes, neighbour);
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        world.write("data.bin", "twelve bytes");
        let map = |region: &str, vaddr: u64, more: &str| {
            format!("<map mr=\"{region}\" vaddr=\"{vaddr:#x}\" perms=\"rw\" {more}/>")
        };
        let system = [
            "<memory_region name=\"plain\" size=\"0x3000\"/>",
            "<memory_region name=\"device\" size=\"0x1000\" phys_addr=\"0x9000000\"/>",
            "<memory_region name=\"filled\" prefill_path=\"data.bin\"/>",
            "<protection_domain name=\"pd\"><program_image path=\"pd.elf\"/>",
            &map("plain", 0x4000000, "setvar_vaddr=\"in_data\" setvar_size=\"size\""),
            &map("plain", 0x5000000, "setvar_vaddr=\"in_bss\""),
            &map("plain", 0x6000000, "setvar_vaddr=\"in_rodata\""),
            &map("plain", 0x7000000, "setvar_vaddr=\"local_data\""),
            &map("plain", 0x8000000, "setvar_vaddr=\"local_bss\""),
            &map("device", 0x9000000, "setvar_vaddr=\"local_rodata\""),
            &map("filled", 0xa000000, "setvar_vaddr=\"pointer\" setvar_prefill_size=\"prefill_size\""),
            "<setvar symbol=\"physical\" region_paddr=\"device\"/>",
            "<setvar symbol=\"invented\" region_paddr=\"plain\"/>",
            "</protection_domain>",
            &channel(("pd", 17, "setvar_id=\"id_of_4_bytes\""), ("pd", 18, "setvar_id=\"id_of_8_bytes\"")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world).expect(0).printed(
            "pd",
            &[
                "0x4000000 0x5000000 0x6000000 0x7000000 0x8000000 0x9000000",
                "0xa000000 0x3000 12",
                "0x9000000 1",
                "17 18 0x55555555",
            ],
        );
    });
}

#[test]
fn a_region_begins_with_its_file_and_zeros_behind_it() {
    for_each_user(|world| {
        let before = "char *filled; char *longer; char *empty;";
        let statements = r#"
            int rest = 0;
            for (int i = 12; i < 0x1000; i++) rest |= filled[i];
            for (int i = 0; i < 0x2000; i++) rest |= empty[i];
            printf("%.12s, %d\n", filled, rest);
            printf("%c %c %d\n", longer[0], longer[0x1fff], longer[0x2000]);
            /* Each run has its own: nothing is written to the file. */
            strcpy(filled, "changed");
        "#;
        init_program(world, "pd", before, statements);
        let data = world.write("data.bin", "twelve bytes");
        world.write("longer.bin", vec![b'l'; 0x2000]);
        let inside = "<map mr=\"filled\" vaddr=\"0x4000000\" setvar_vaddr=\"filled\"/>\
            <map mr=\"longer\" vaddr=\"0x5000000\" setvar_vaddr=\"longer\"/>\
            <map mr=\"empty\" vaddr=\"0x6000000\" setvar_vaddr=\"empty\"/>";
        let beside = "<memory_region name=\"filled\" prefill_path=\"data.bin\"/>\
            <memory_region name=\"longer\" prefill_path=\"longer.bin\" size=\"0x3000\"/>\
            <memory_region name=\"empty\" size=\"0x2000\"/>";
        one_pd(world, inside, beside);
        for _ in 0..2 {
            run_until_idle(world).expect(0).printed("pd", &["twelve bytes, 0", "l l 0"]);
        }
        assert_eq!(std::fs::read(data).unwrap(), b"twelve bytes");
    });
}

#[test]
fn a_region_of_two_pds_is_one_memory() {
    for_each_user(|world| {
        let caller = r#"
            strcpy(buffer, "written by the caller");
            (void)microkit_ppcall(0, microkit_msginfo_new(0, 0));
            puts(buffer);
        "#;
        init_program(world, "caller", "char *buffer;", caller);
        program(
            world,
            "server",
            r#"
            char *buffer;
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                puts(buffer);
                strcpy(buffer, "written by the server");
                return info;
            }
            "#,
        );
        let pd = |name: &str, priority: u8, vaddr: u64| {
            format!(
                "<protection_domain name=\"{name}\" priority=\"{priority}\"><program_image path=\"{name}.elf\"/>\
                 <map mr=\"shared\" vaddr=\"{vaddr:#x}\" setvar_vaddr=\"buffer\"/></protection_domain>"
            )
        };
        let system = [
            "<memory_region name=\"shared\" size=\"0x200_000\"/>".to_owned(),
            pd("caller", 0, 0x40_0000),
            pd("server", 1, 0x7fff_0000_0000 - 0x4000_0000),
            channel(("caller", 0, "pp=\"true\""), ("server", 0, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world)
            .expect(0)
            .printed("server", &["written by the caller"])
            .printed("caller", &["written by the server"]);
    });
}

/// What one PD does to one address, and what is said about it.
struct Access {
    statement: &'static str,
    says: &'static [&'static str],
}

#[test]
fn regions_are_held_to_their_rights_and_edges() {
    const ACCESSES: [Access; 9] = [
        Access {
            statement: "*(volatile char *)0x4000010 = 1;",
            says: &["write to 0x4000010: region `ro` is mapped r here (+0x10)"],
        },
        Access {
            statement: "((void (*)(void))0x5000000)();",
            says: &["execution of 0x5000000: region `rw` is mapped rw here (+0x0)"],
        },
        Access {
            statement: "(void)*(volatile char *)0x5003000;",
            says: &["read of 0x5003000: 0x0 bytes behind the end of region `rw`"],
        },
        Access {
            statement: "*(volatile char *)0x5003fff = 1;",
            says: &["write to 0x5003fff: 0xfff bytes behind the end of region `rw`"],
        },
        Access {
            statement: "(void)*(volatile char *)0x4ffffff;",
            says: &["read of 0x4ffffff: 0x1 bytes before region `rw`"],
        },
        Access {
            statement: "*(volatile char *)0x6000000 = 1;",
            says: &["write to 0x6000000: region `code` is mapped rx here (+0x0)"],
        },
        Access {
            statement: "(void)*(volatile char *)0x7000000;",
            says: &["read of 0x7000000: nothing is mapped here; in PD `other` region `rw` is"],
        },
        Access {
            statement: "*(volatile char *)init = 1;",
            says: &["write to 0x", "that memory is read-only"],
        },
        Access {
            statement: "*(volatile char *)0x4000 = 1;",
            says: &["write to 0x4000: nothing the PD may use is mapped there"],
        },
    ];
    for_each_user(|world| {
        init_program(world, "other", "", "");
        for access in ACCESSES {
            init_program(world, "pd", "", &format!("puts(\"now\"); {} puts(\"never\");", access.statement));
            let inside = "<map mr=\"ro\" vaddr=\"0x4000000\" perms=\"r\"/><map mr=\"rw\" vaddr=\"0x5000000\" perms=\"rw\"/>\
                <map mr=\"code\" vaddr=\"0x6000000\" perms=\"rx\"/>";
            let beside = "<memory_region name=\"ro\" size=\"0x1000\"/><memory_region name=\"rw\" size=\"0x3000\"/>\
                <memory_region name=\"code\" size=\"0x1000\"/>\
                <protection_domain name=\"other\"><program_image path=\"other.elf\"/>\
                <map mr=\"rw\" vaddr=\"0x7000000\" perms=\"rw\"/></protection_domain>";
            one_pd(world, inside, beside);
            let outcome = run_until_idle(world);
            outcome.expect(1).printed("pd", &["now"]).says("fault: PD `pd`");
            for text in access.says {
                outcome.says(text);
            }
        }
    });
}

/// A region that is executable somewhere holds code there.
#[test]
fn an_executable_region_can_be_executed() {
    for_each_user(|world| {
        // mov eax, 42; ret
        world.write("code.bin", [0xb8, 42, 0, 0, 0, 0xc3]);
        init_program(world, "pd", "", "printf(\"%d\\n\", ((int (*)(void))0x6000000)());");
        one_pd(
            world,
            "<map mr=\"code\" vaddr=\"0x6000000\" perms=\"rx\"/>",
            "<memory_region name=\"code\" prefill_path=\"code.bin\"/>",
        );
        run_until_idle(world).expect(0).printed("pd", &["42"]);
    });
}

/// The stack has exactly the bytes that the file gives it.
#[test]
fn the_stack_is_as_large_as_declared() {
    for_each_user(|world| {
        let before = r#"
            static char *top;
            static void touch(size_t depth) {
                /* Far enough below what this function itself uses. */
                volatile char *lowest = top - depth;
                *lowest = 1;
            }
        "#;
        let statements = r#"
            char here;
            top = (char *)(((uintptr_t)&here + 0xfff) & ~0xfffUL);
            touch(STACK - 8);
            puts("the last byte but seven");
            touch(STACK);
            puts("the last byte");
            touch(STACK + 1);
            puts("never");
        "#;
        for size in [0x1000_u32, 0x5000, 0x10_0000] {
            let source = format!(
                "{}\n#define STACK {size}UL\n{before}\nvoid init(void) {{ {statements} }}\nvoid notified(microkit_channel ch) {{ (void)ch; }}",
                crate::HEADERS
            );
            // With -O0 every function has a frame of its own; the first page holds them all.
            world.program_with("pd", &source, &["-O0"]);
            world.system(
                "x.system",
                &format!(
                    "<system><protection_domain name=\"pd\" stack_size=\"{size:#x}\"><program_image path=\"pd.elf\"/></protection_domain></system>"
                ),
            );
            run_until_idle(world)
                .expect(1)
                .printed("pd", &["the last byte but seven", "the last byte"])
                .says(&format!("stack overflow: the stack has {size:#x} bytes (stack_size)"));
        }
    });
}

/// Puts the host's pool of 2 MiB pages back to what it was.
struct Pool(String);

const POOL: &str = "/proc/sys/vm/nr_hugepages";

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = std::fs::write(POOL, &self.0);
    }
}

#[test]
fn a_region_of_large_pages_works_whether_the_host_has_them_or_not() {
    let source = "
        #include <microkit.h>
        #include <stdio.h>
        volatile char *big;
        void init(void) {
            for (unsigned i = 0; i < 0x400000; i += 4096) big[i] = 1;
            puts(\"wrote\");
        }
        void notified(microkit_channel ch) { (void)ch; }";
    let system = r#"<system>
        <memory_region name="big" size="0x400000" page_size="0x200000"/>
        <protection_domain name="pd">
            <program_image path="pd.elf"/>
            <map mr="big" vaddr="0x40000000" perms="rw" setvar_vaddr="big"/>
        </protection_domain>
    </system>"#;
    let run = |world: &crate::common::World| {
        world.program("pd", source);
        world.system("x.system", system);
        let outcome = world.run(&["run", "-v", "--until-idle", "x.system"]);
        outcome.expect(0).printed("pd", &["wrote"]);
        outcome.stderr.contains("in pages of 2 MiB")
    };
    for_each_user(|world| {
        run(world);
        if nix::unistd::geteuid().is_root() {
            let before = Pool(std::fs::read_to_string(POOL).expect("the pool's size"));
            let more: u64 = before.0.trim().parse::<u64>().expect("a number") + 2;
            std::fs::write(POOL, more.to_string()).expect("a larger pool");
            let got: u64 = std::fs::read_to_string(POOL).unwrap().trim().parse().unwrap();
            // The kernel gives what it finds in one piece.
            assert!(got < more || run(world), "large pages were there and not used");
        }
    });
}
