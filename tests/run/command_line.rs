//! The options of `run`, and exit code 2.

use std::fs;

use crate::common::for_each_user;
use crate::{channel, init_program, one_pd, run_until_idle};

/// One line that says which image this is.
fn saying(text: &str) -> String {
    format!(
        "#include <stdio.h>\n#include <microkit.h>\nvoid init(void) {{ puts(\"{text}\"); }}\nvoid notified(microkit_channel ch) {{ (void)ch; }}\n"
    )
}

#[test]
fn images_are_looked_for_in_order() {
    for_each_user(|world| {
        for place in ["here", "first", "second", "beside"] {
            world.program(place, &saying(place));
        }
        let put = |from: &str, to: &str| world.write(to, fs::read(world.path(from)).unwrap());
        fs::create_dir(world.path("empty")).unwrap();
        world.system("systems/x.system", "<system><protection_domain name=\"pd\"><program_image path=\"pd.elf\"/></protection_domain></system>");
        let run = || {
            world.run(&[
                "run",
                "--until-idle",
                "--search-path",
                "empty",
                "--search-path",
                "one",
                "--search-path=two",
                "systems/x.system",
            ])
        };

        run()
            .expect(3)
            .says("image `pd.elf` of PD `pd` is not found")
            .says("systems/x.system:1:")
            .says("empty, one, two, systems");
        put("beside.elf", "systems/pd.elf");
        run().expect(0).printed("pd", &["beside"]);
        put("second.elf", "two/pd.elf");
        run().expect(0).printed("pd", &["second"]);
        put("first.elf", "one/pd.elf");
        run().expect(0).printed("pd", &["first"]);
        put("here.elf", "pd.elf");
        run().expect(0).printed("pd", &["here"]);
    });
}

#[test]
fn build_compiles_what_is_missing_or_older_and_nothing_else() {
    for_each_user(|world| {
        world.system("a dir/x.system", "<system><protection_domain name=\"pd\"><program_image path=\"pd.elf\"/></protection_domain></system>");
        let run = |options: &[&str]| {
            let mut words = vec!["run", "--until-idle"];
            words.extend(options);
            words.push("a dir/x.system");
            world.run(&words)
        };
        let source = world.write("a dir/pd.c", saying("first"));
        run(&[]).expect(3).says("image `pd.elf` of PD `pd` is not found").says("--build");
        run(&["--build"]).expect(0).printed("pd", &["first"]);

        // Not older, so not compiled: the source is no longer valid C.
        let built = fs::metadata(world.path("a dir/pd.elf")).unwrap().modified().unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let set_time =
            |time| fs::File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
        world.write("a dir/pd.c", "not C");
        set_time(built - hour);
        run(&["--build"]).expect(0).printed("pd", &["first"]);

        world.write("a dir/pd.c", saying("second"));
        set_time(built + hour);
        run(&[]).expect(0).printed("pd", &["first"]);
        run(&["--build"]).expect(0).printed("pd", &["second"]);

        // A source that does not compile: the compiler's words, ours, and the old image is still there.
        world.write("a dir/pd.c", "#include <microkit.h>\nvoid init(void) { this is not C; }\n");
        set_time(built + 2 * hour);
        run(&["--build"]).expect(3).says("pd.c:2:").says("error: ").says("does not compile");
        run(&[]).expect(0).printed("pd", &["second"]);
        let mut files: Vec<String> = fs::read_dir(world.path("a dir"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, ["pd.c", "pd.elf", "x.system"]);
    });
}

#[test]
fn a_lower_tier_is_asked_for_by_name_and_told() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        one_pd(world, "", "");
        world
            .run(&["run", "--tier", "none", "x.system"])
            .expect(2)
            .says("'none'")
            .says("full")
            .says("compat");
        let compat = world.run(&["run", "--until-idle", "--tier", "compat", "x.system"]);
        compat.expect(0).printed("pd", &["up"]).says("tier compat");
        let full = world.run(&["run", "--until-idle", "--tier", "full", "x.system"]);
        full.expect(0).printed("pd", &["up"]);
        assert_eq!(full.stderr, "");
    });
}

#[test]
fn the_log_is_as_loud_as_asked() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        one_pd(world, "", "<memory_region name=\"unused\" size=\"0x1000\"/>");
        let run = |options: &[&str]| {
            let mut words = vec!["run", "--until-idle", "x.system"];
            words.extend(options);
            let outcome = world.run(&words);
            outcome.expect(0).printed("pd", &["up"]);
            outcome.stderr
        };
        let usual = run(&[]);
        assert!(
            usual.contains("warning: ") && usual.contains("unused") && usual.contains("x.system:1:"),
            "{usual}"
        );
        assert_eq!(run(&["-q"]), "", "-q leaves nothing but errors");
        assert!(run(&["-v"]).contains("every PD is confined and ready"));
        // Errors are not kept back.
        init_program(world, "pd", "", "*(volatile int *)0 = 1;");
        world.run(&["run", "-q", "--until-idle", "x.system"]).expect(1).says("fault: PD `pd`");
        world.write("pd.elf", "not an image");
        world.run(&["run", "-q", "x.system"]).expect(3).says("not an ELF file");
    });
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for_each_user(|world| {
        let wrong: [(&[&str], &str); 12] = [
            (&[], "Usage"),
            (&["walk"], "walk"),
            (&["run"], "SYSTEM"),
            (&["run", "a.system", "b.system"], "b.system"),
            (&["run", "--until-idel", "x.system"], "--until-idle"),
            (&["run", "--timeout", "0", "x.system"], "above 0"),
            (&["run", "--timeout", "soon", "x.system"], "above 0"),
            (&["run", "--timeout", "-1", "x.system"], "-1"),
            (&["run", "--heap-size", "12", "x.system"], "heap"),
            (&["run", "--heap-size", "1X", "x.system"], "heap"),
            (&["run", "--console", "green", "x.system"], "prefixed"),
            (&["run", "-q", "-v", "x.system"], "cannot be used with"),
        ];
        for (arguments, says) in wrong {
            let outcome = world.run(arguments);
            assert_eq!(outcome.code, Some(2), "{arguments:?}\n{outcome}");
            outcome.says(says);
            assert_eq!(outcome.stdout, "", "{arguments:?}");
        }
    });
}

#[test]
fn help_and_version_are_on_standard_output() {
    for_each_user(|world| {
        for arguments in [&["--help"][..], &["-h"], &["run", "--help"], &["help", "run"]] {
            let outcome = world.run(arguments);
            outcome.expect(0);
            assert!(outcome.stdout.contains("Usage: mk-sandbox"), "{outcome}");
            assert_eq!(outcome.stderr, "");
        }
        let version = world.run(&["--version"]);
        assert_eq!(version.expect(0).stdout, format!("mk-sandbox {}\n", env!("CARGO_PKG_VERSION")));
    });
}

/// Files as they were written before priorities, `pp` and `notify` existed, with shared objects under either name.
#[test]
fn a_file_of_the_older_dialect_runs() {
    for_each_user(|world| {
        let caller = r#"
            strcpy(buffer, "hello");
            microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(0, 0));
            printf("%lu words\n", microkit_msginfo_get_count(reply));
            microkit_notify(1);
        "#;
        init_program(world, "caller", "char *buffer;", caller);
        crate::program(
            world,
            "listener",
            r#"
            char *buffer;
            void init(void) {}
            void notified(microkit_channel ch) { printf("on %u: %s\n", ch, buffer); }
            "#,
        );
        fs::rename(world.path("listener.elf"), world.path("listener.so")).unwrap();
        let pd = |name: &str, image: &str| {
            format!(
                "<protection_domain name=\"{name}\">\n<program_image path=\"{image}\" />\n\
                 <map mr=\"buffer\" vaddr=\"0x4_000_000\" perms=\"rw\" cached=\"false\" setvar_vaddr=\"buffer\" />\n\
                 </protection_domain>\n"
            )
        };
        let text = [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<system>\n<memory_region name=\"buffer\" size=\"0x1_000\" />\n",
            &pd("caller", "caller.elf"),
            &pd("listener", "listener.so"),
            &channel(("caller", 1, ""), ("listener", 2, "")),
            "</system>\n",
        ];
        world.system("x.system", &text.concat());
        run_until_idle(world)
            .expect(0)
            .printed("caller", &["caller microkit_ppcall: invalid channel given '1'", "0 words"])
            .printed("listener", &["on 2: hello"]);
    });
}

/// A system file named from another directory, and by an absolute path.
#[test]
fn a_system_file_may_be_anywhere() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        let image = fs::read(world.path("pd.elf")).unwrap();
        world.write("deep/er/pd.elf", image);
        fs::remove_file(world.path("pd.elf")).unwrap();
        let system = world.system(
            "deep/er/x.system",
            "<system><protection_domain name=\"pd\"><program_image path=\"pd.elf\"/></protection_domain></system>",
        );
        for path in ["deep/er/x.system", "./deep/../deep/er/x.system", system.to_str().unwrap()] {
            world.run(&["run", "--until-idle", path]).expect(0).printed("pd", &["up"]);
        }
        world
            .run(&["run", "nowhere.system"])
            .expect(3)
            .says("cannot read the system description `nowhere.system`");
    });
}

#[test]
fn what_the_shell_hands_down_does_not_matter() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        one_pd(world, "", "");
        let run = |line: &str| world.run_behind(line, &["run", "--until-idle", "x.system"]);
        for line in [
            "umask 0777",
            "trap '' INT TERM HUP CHLD PIPE SEGV SYS TRAP",
            "exec <&-",
            "exec 7</dev/null 9</dev/null",
            "export LD_BIND_NOW= LD_LIBRARY_PATH=/nowhere GLIBC_TUNABLES=glibc.malloc.arena_max=9 MALLOC_ARENA_MAX=9",
        ] {
            let outcome = run(line);
            assert_eq!(outcome.code, Some(0), "{line}\n{outcome}");
            outcome.printed("pd", &["up"]);
            assert_eq!(outcome.stderr, "", "{line}");
        }
        // Nowhere to print to, but it runs and ends.
        assert_eq!(run("exec >&- 2>&-").code, Some(0));
    });
}

/// What a limit stops is told with the limit.
#[test]
fn limits_of_the_host_are_named() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        let pds: String = (0..63)
            .map(|index| format!("<protection_domain name=\"p{index}\"><program_image path=\"pd.elf\"/></protection_domain>"))
            .collect();
        world.system("x.system", &format!("<system>{pds}</system>"));
        let files = world.run_behind("ulimit -n 64", &["run", "--until-idle", "x.system"]);
        files.expect(4).says("Too many open files").says("ulimit -Hn");
        assert_eq!(files.stdout, "");
    });
}
