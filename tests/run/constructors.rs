//! Code that runs before `init`: under the final filter, in the order the dynamic linker would have used, and not twice.

use std::fs;

use crate::common::for_each_user;
use crate::{HEADERS, channel, one_pd, pds, program, run_until_idle};

#[test]
fn a_constructor_that_opens_a_file_faults_there() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            #include <fcntl.h>
            __attribute__((constructor)) void before_init(void) {
                microkit_dbg_puts("constructor\n");
                int fd = open("/etc/hostname", O_RDONLY);
                printf("opened: %d\n", fd);
            }
            void init(void) { puts("init"); }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        one_pd(world, "", "");
        run_until_idle(world)
            .expect(1)
            .printed("pd", &["constructor"])
            .says("fault: PD `pd`: denied system call openat(")
            .says("called from before_init");
    });
}

#[test]
fn a_constructor_that_computes_works() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            static int squares[10];
            static char *text;
            __attribute__((constructor)) static void fill(void) {
                for (int i = 0; i < 10; i++) squares[i] = i * i;
                text = strdup("from the heap");
                microkit_notify(0);
            }
            void init(void) { printf("%d %s\n", squares[9], text); }
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            "#,
        );
        let system = pds(&[("pd", 0)]) + &channel(("pd", 0, ""), ("pd", 1, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world).expect(0).printed("pd", &["81 from the heap", "heard 1"]);
    });
}

#[test]
fn the_order_is_preinit_init_and_init_array() {
    for_each_user(|world| {
        let source = format!(
            "{HEADERS}{}",
            r#"
            /* Constructors get a count, arguments and an environment, all empty. */
            static void say(const char *what, int argc, char **argv, char **envp) {
                printf("%s %d%s%s\n", what, argc, argv && argv[0] ? " argument" : "", envp && envp[0] ? " environment" : "");
            }
            void dt_init(int argc, char **argv, char **envp) { say("init", argc, argv, envp); }
            void dt_fini(void) { puts("fini"); }
            __attribute__((constructor(101))) static void first(int argc, char **argv, char **envp) { say("first", argc, argv, envp); }
            __attribute__((constructor(102))) static void second(int argc, char **argv, char **envp) { say("second", argc, argv, envp); }
            __attribute__((constructor)) static void last(int argc, char **argv, char **envp) { say("last", argc, argv, envp); }
            __attribute__((destructor)) static void destructor(int argc, char **argv, char **envp) { say("preinit", argc, argv, envp); }
            void init(void) { puts("entry"); }
            void notified(microkit_channel ch) { (void)ch; }
            "#
        );
        // Without the start files there are no constructors but these.
        let arguments = ["-nostartfiles", "-Wl,-init=dt_init", "-Wl,-fini=dt_fini"];
        let path = world.program_with("pd", &source, &arguments);
        one_pd(world, "", "");
        let usual = ["init 0", "first 0", "second 0", "last 0", "entry"];
        run_until_idle(world).expect(0).printed("pd", &usual);

        // Linkers refuse .preinit_array in a shared object, a hostile image can have it all the same.
        let mut image = fs::read(&path).unwrap();
        retag(&mut image, &[(26, 32), (28, 33)]);
        world.write("pd.elf", image);
        let mut expected = vec!["preinit 0"];
        expected.extend(usual);
        run_until_idle(world).expect(0).printed("pd", &expected);
    });
}

/// Changes tags in the dynamic section: DT_FINI_ARRAY is 26, its size 28, DT_PREINIT_ARRAY 32, its size 33 (System V gABI).
fn retag(image: &mut [u8], changes: &[(u64, u64)]) {
    let word = |image: &[u8], at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    let half = |image: &[u8], at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap());
    let (headers, count) = (word(image, 32) as usize, half(image, 56) as usize);
    // p_type 2: PT_DYNAMIC
    let dynamic =
        (0..count).map(|index| headers + 56 * index).find(|at| image[*at..*at + 4] == [2, 0, 0, 0]).unwrap();
    let (start, size) = (word(image, dynamic + 8) as usize, word(image, dynamic + 32) as usize);
    for (from, to) in changes {
        let at = (start..start + size).step_by(16).find(|at| word(image, *at) == *from).unwrap();
        image[at..at + 8].copy_from_slice(&to.to_le_bytes());
    }
}
