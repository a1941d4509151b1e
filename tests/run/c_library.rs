//! What of the C library works in a PD.

use crate::common::for_each_user;
use crate::{init_program, one_pd, program, run_until_idle};

#[test]
fn an_exhausted_heap_gives_null_and_the_pd_goes_on() {
    for_each_user(|world| {
        let before = r#"
            static void *blocks[4096];
            static unsigned fill(void *(*allocate)(void), void (*release)(void *)) {
                unsigned count = 0;
                while (count < 4096 && (blocks[count] = allocate()) != NULL) {
                    memset(blocks[count], 0x5a, 4000);
                    count++;
                }
                for (unsigned i = 0; i < count; i++) release(blocks[i]);
                return count;
            }
            static void *with_malloc(void) { return malloc(4000); }
            static void *with_calloc(void) { return calloc(40, 100); }
            static void *with_realloc(void) { return realloc(NULL, 4000); }
            static void *with_aligned(void) { return aligned_alloc(64, 4032); }
        "#;
        let statements = r#"
            unsigned a = fill(with_malloc, free), b = fill(with_calloc, free);
            unsigned c = fill(with_realloc, free), d = fill(with_aligned, free);
            /* 1 MiB of 4000 byte blocks, less what malloc needs for itself. */
            printf("malloc %d, calloc %d, realloc %d, aligned_alloc %d\n", a > 240 && a < 280, b > 240 && b < 280,
                   c > 240 && c < 280, d > 200 && d < 280);
            char *small = malloc(100);
            strcpy(small, "kept");
            printf("realloc to 2 GiB: %p, block %s\n", realloc(small, 2UL << 30), small);
            printf("malloc of 2 GiB: %p, calloc of too much: %p\n", malloc(2UL << 30), calloc(1UL << 40, 1UL << 40));
            char *again = malloc(900 * 1024);
            printf("nearly all at once: %s\n", again != NULL ? "yes" : "no");
            free(again);
        "#;
        // The compiler must not think it knows what malloc gives.
        world.program_with(
            "pd",
            &format!("{}{before}\nvoid init(void) {{ {statements} }}\nvoid notified(microkit_channel ch) {{ (void)ch; }}", crate::HEADERS),
            &["-O2", "-fno-builtin"],
        );
        one_pd(world, "", "");
        run_until_idle(world).expect(0).printed(
            "pd",
            &[
                "malloc 1, calloc 1, realloc 1, aligned_alloc 1",
                "realloc to 2 GiB: (nil), block kept",
                "malloc of 2 GiB: (nil), calloc of too much: (nil)",
                "nearly all at once: yes",
            ],
        );
    });
}

#[test]
fn heap_size_is_honoured() {
    for_each_user(|world| {
        let statements = r#"
            unsigned count = 0;
            while (count < 100000 && malloc(1 << 16) != NULL) count++;
            printf("%u\n", count);
        "#;
        init_program(world, "pd", "", statements);
        one_pd(world, "", "");
        for (size, least, most) in [("64K", 0, 1), ("1M", 13, 17), ("8388608", 125, 129)] {
            let outcome = world.run(&["run", "--until-idle", "--heap-size", size, "x.system"]);
            outcome.expect(0);
            let count: u32 = outcome.lines_of("pd")[0].parse().unwrap();
            assert!((least..=most).contains(&count), "{size}: {count} blocks of 64 KiB");
        }
    });
}

#[test]
fn mathematics() {
    for_each_user(|world| {
        let statements = r#"
            volatile double two = 2, tenth = 0.1;
            printf("%.6f %.6f %.6f %.6f\n", sqrt(two), sin(two), exp(tenth), pow(two, 0.5));
            printf("%.6f %.6f %.6f %.0f\n", log(two), atan2(two, tenth), cbrt(two), floor(-tenth));
            printf("%.3e %g %a %Lf\n", two * 1e300, tenth, two, 1.5L);
            volatile float half = 0.5f;
            printf("%.6f %d %d\n", cosf(half), isnan(sqrt(-two)) != 0, isinf(two / 0.0) != 0);
        "#;
        let ending = "void notified(microkit_channel ch) { (void)ch; }";
        let source = format!("{}void init(void) {{ {statements} }}\n{ending}\n", crate::HEADERS);
        world.program_with("pd", &source, &["-lm"]);
        one_pd(world, "", "");
        run_until_idle(world).expect(0).printed(
            "pd",
            &[
                "1.414214 0.909297 1.105171 1.414214",
                "0.693147 1.520838 1.259921 -1",
                "2.000e+300 0.1 0x1p+1 1.500000",
                "0.877583 1 1",
            ],
        );
    });
}

#[test]
fn strings() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
            void notified(microkit_channel ch) { (void)ch; }
            void init(void) {
                char text[64] = "the quick brown fox";
                char *copy = strdup(text), *state;
                for (char *word = strtok_r(copy, " ", &state); word != NULL; word = strtok_r(NULL, " ", &state))
                    printf("%s,", word);
                free(copy);
                printf("%zu %s %s %ld\n", strlen(text), strchr(text, 'q'), strstr(text, "fox"), (long)(strrchr(text, 'o') - text));
                printf("%d %d %d\n", strcmp("a", "b") < 0, strncmp("abc", "abd", 2), memcmp("x", "x", 1));
                memmove(text + 4, text, 9);
                printf("%s\n", text);
                printf("%ld %lu %.2f\n", strtol("-42", NULL, 10), strtoul("ff", NULL, 16), strtod("2.50", NULL));
                int numbers[] = {5, -1, 3}, got = 0;
                qsort(numbers, 3, sizeof *numbers, by_value);
                printf("%d %d %d %d\n", numbers[0], numbers[1], numbers[2], sscanf("12 13", "%*d %d", &got) == 1 ? got : -1);
                printf("[%5d|%-5d|%05d|%+d|%x|%c|%%|%10.3s|%p]\n", 42, 42, 42, 42, 255, 'c', "string", (void *)0x10);
                char long_text[5000];
                memset(long_text, 'y', sizeof long_text);
                printf("%d\n", snprintf(text, sizeof text, "%.*s", (int)sizeof long_text, long_text));
                fprintf(stderr, "on standard error\n");
                fputs("no newline, but flushed", stdout);
                fflush(stdout);
            }
            "#,
        );
        one_pd(world, " ", "");
        run_until_idle(world).expect(0).printed(
            "pd",
            &[
                "the,quick,brown,fox,19 quick brown fox fox 17",
                "1 0 0",
                "the the quickwn fox",
                "-42 255 2.50",
                "-1 3 5 13",
                "[   42|42   |00042|+42|ff|c|%|       str|0x10]",
                "5000",
                "on standard error",
                "no newline, but flushed",
            ],
        );
    });
}

#[test]
fn debug_output_of_microkit() {
    for_each_user(|world| {
        let statements = r#"
            microkit_dbg_puts("puts ");
            microkit_dbg_putc('c');
            microkit_dbg_puts(" ");
            microkit_dbg_put8(255);
            microkit_dbg_puts(" ");
            microkit_dbg_put32(4294967295u);
            microkit_dbg_puts(" ");
            seL4_DebugPutChar('!');
            microkit_dbg_puts("\n");
            microkit_dbg_puts(microkit_name);
            microkit_dbg_puts("\n");
        "#;
        init_program(world, "pd", "", statements);
        one_pd(world, "", "");
        run_until_idle(world).expect(0).printed("pd", &["puts c 255 4294967295 !", "pd"]);
    });
}

/// `errno` is the C library's, and thread-local variables of libraries work.
#[test]
fn errno_is_set() {
    for_each_user(|world| {
        let before = "#include <errno.h>\n";
        let statements = r#"
            errno = 0;
            (void)strtol("99999999999999999999", NULL, 10);
            printf("%d\n", errno == ERANGE);
            errno = 0;
            void *volatile much = malloc(1UL << 40);
            printf("%d %d\n", much == NULL, errno == ENOMEM);
        "#;
        init_program(world, "pd", before, statements);
        one_pd(world, "", "");
        run_until_idle(world).expect(0).printed("pd", &["1", "1 1"]);
    });
}
