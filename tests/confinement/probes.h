/*
 * The probes of attacks.c, which includes this file. Each does one forbidden thing and returns what came of it: a
 * negative error number, or anything else when it was done. Those of one call have one line.
 */
/* clang-format off */

/* A child that a probe has made ends at once. */
static long end_child(long result)
{
    if (result == 0) {
        for (;;) {
            CALL(231);
        }
    }
    return result;
}

/* A process to aim at: itself, as process 1 of its namespace in a PD. */
static long victim_pid = 1;

/* A page of its own: of the image's data in a PD. */
static char page[PAGE] __attribute__((aligned(4096)));

/* What a peer says, and what it says about itself: pages that are read-only here. */
static volatile uint64_t *peer_words;
static volatile uint32_t *peer_status;

/* ---- processes ---- */

PROBE(fork) { return end_child(CALL(57)); }
PROBE(clone) { return end_child(call6(56, 17, 0, 0, 0, 0, 0)); }

/* The child shares this stack, so it makes nothing but its last call. */
PROBE(vfork)
{
    long result;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n"
                     "2:\tmovl $231, %%eax\n\t"
                     "xorl %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "jmp 2b\n"
                     "1:"
                     : "=a"(result)
                     : "a"(58)
                     : "rcx", "rdi", "r11", "memory", "cc");
    return result;
}

PROBE(clone3)
{
    uint64_t args[11] = {[4] = 17};
    return end_child(call3(435, P(args), sizeof(args), 0));
}

PROBE(unshare) { return call3(272, 0x10000000, 0, 0); }
PROBE(setns) { return call3(308, NAMESPACE, 0, 0); }

PROBE(execve)
{
    const char *const argv[] = {"true", 0};
    return call3(59, P("/bin/true"), P(argv), P(argv + 1));
}

PROBE(execveat)
{
    const char *const argv[] = {"true", 0};
    return call6(322, AT_FDCWD, P("/bin/true"), P(argv), P(argv + 1), 0, 0);
}

PROBE(ptrace) { return CALL(101); }

PROBE(process_vm_readv)
{
    struct {
        void *base;
        size_t length;
    } local = {page, 8}, remote = {(char *)page + 8, 8};
    return call6(310, victim_pid, P(&local), 1, P(&remote), 1, 0);
}

PROBE(process_vm_writev)
{
    struct {
        void *base;
        size_t length;
    } local = {page, 8}, remote = {(char *)page + 8, 8};
    return call6(311, victim_pid, P(&local), 1, P(&remote), 1, 0);
}

/* Processes whose numbers are near its own. The first try is there so that the call itself is the first that is made. */
static long try_neighbours(long number, long a, long b)
{
    long first = a < 0 ? call3(number, 2, 0, 0) : call6(number, a, 2, 0, 0, 0, 0), seen = -ESRCH;
    if (first >= 0 || first == -EPERM) {
        seen = first;
    }
    for (long own = CALL(39), far = -200; far <= 200; far++) {
        long result = far == 0 || own + far < 2 ? -ESRCH
                      : a < 0                   ? call3(number, own + far, b, 0)
                                                : call6(number, a, own + far, 0, 0, 0, 0);
        if (result >= 0) {
            return 0;
        }
        seen = result == -EPERM ? result : seen;
    }
    return seen;
}

PROBE(kill_guessed) { return try_neighbours(62, -1, 0); }
/* PTRACE_SEIZE */
PROBE(ptrace_guessed) { return try_neighbours(101, 0x4206, 0); }
PROBE(pidfd_getfd) { return call3(438, PIDFD, 3, 0); }

PROBE(pidfd_open) { return call3(434, victim_pid, 0, 0); }
PROBE(kill) { return call3(62, -1, 0, 0); }
PROBE(tgkill) { return call3(234, victim_pid, victim_pid, 0); }
PROBE(getpid) { return CALL(39); }
PROBE(exit_group) { return call3(231, 0, 0, 0); }
PROBE(exit) { return call3(60, 0, 0, 0); }

/* Answers of the launcher are for those who may ask: this PD has no children, and announced itself long ago. */
PROBE(exit_group_asking) { return call6(231, 78, 4, 0, 0, 0, 0); }
PROBE(exit_group_ready) { return call3(231, 77, 0, 0); }

PROBE(sched_setaffinity)
{
    unsigned long all[16];
    for (int i = 0; i < 16; i++) {
        all[i] = ~0ul;
    }
    return call3(203, 0, sizeof(all), P(all));
}

PROBE(setpriority) { return call3(141, 0, 0, 19); }
PROBE(ioprio_set) { return call3(251, 1, 0, 3 << 13); }
PROBE(setuid) { return call3(105, 1, 0, 0); }
PROBE(setresuid) { return call3(117, -1, -1, -1); }

PROBE(capset)
{
    uint32_t header[2] = {0x20080522, 0}, sets[6] = {0};
    return call3(126, P(header), P(sets), 0);
}

PROBE(prlimit64)
{
    uint64_t none[2] = {0, 0};
    return call6(302, 0, 4, P(none), 0, 0, 0);
}

PROBE(futex) { return call3(202, P(page), 1, 1); }

/* ---- settings of the process ---- */

PROBE(prctl_dumpable) { return call3(157, 4, 1, 0); }
PROBE(prctl_pdeathsig) { return call3(157, 1, 0, 0); }
PROBE(personality) { return call3(135, 0x400000, 0, 0); }

PROBE(seccomp)
{
    uint32_t allow = 0x7fff0000;
    return call3(317, 2, 0, P(&allow));
}

PROBE(seccomp_new_listener)
{
    static const uint64_t allow = 0x7fff000000000006;
    struct {
        unsigned short length;
        const void *filter;
    } program = {1, &allow};
    return call3(317, 1, 8, P(&program));
}

/* PR_SET_MM_START_CODE */
PROBE(prctl_set_mm) { return call6(157, 35, 1, P(probe_personality) & -PAGE, 0, 0, 0); }
PROBE(modify_ldt) { return call3(154, 0, P(page), 16); }
PROBE(arch_prctl) { return call3(158, 0x1004, P(page), 0); }
PROBE(iopl) { return call3(172, 3, 0, 0); }
PROBE(ioperm) { return call3(173, 0x80, 1, 1); }
PROBE(rt_sigaction) { return call6(13, 10, 0, P(page), 8, 0, 0); }
PROBE(rt_sigprocmask) { return call6(14, 0, 0, P(page), 8, 0, 0); }
PROBE(sigaltstack) { return call3(131, 0, P(page), 0); }
PROBE(alarm) { return call3(37, 0, 0, 0); }
PROBE(set_robust_list) { return call3(273, P(page), 24, 0); }
PROBE(set_tid_address) { return call3(218, P(page), 0, 0); }

/* A frame as a signal handler leaves it, made up: all registers at once, if the kernel takes it. */
PROBE(rt_sigreturn)
{
    /* struct ucontext of the kernel: 5 words, r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags, segments … */
    uint64_t frame[40] = {[18] = 42, [22] = 0x202, [23] = 0x002b000000000033};
    long result;
    __asm__ volatile("movq %%rsp, 160(%1)\n\t"
                     "movq %%rbp, 120(%1)\n\t"
                     "movq %%rbx, 128(%1)\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 168(%1)\n\t"
                     "movq %1, %%rsp\n\t"
                     "movl $15, %%eax\n\t"
                     "syscall\n"
                     "1:"
                     : "=&a"(result)
                     : "r"(frame)
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return result == 42 ? 0 : -1;
}

/* ---- interfaces of the kernel ---- */

PROBE(io_uring_setup) { return call3(425, 1, P(page), 0); }

PROBE(bpf)
{
    static const uint64_t program[2] = {0x00000000000000b7, 0x0000000000000095};
    uint64_t attributes[16] = {[0] = 1 | 2ull << 32, [1] = (uintptr_t)program, [2] = (uintptr_t) "GPL"};
    return call3(321, 5, P(attributes), sizeof(attributes));
}

PROBE(perf_event_open)
{
    uint32_t event[32] = {1, 128, 9};
    return call6(298, P(event), 0, -1, -1, 0, 0);
}

PROBE(userfaultfd) { return call3(323, 1, 0, 0); }
PROBE(add_key) { return call6(248, P("user"), P("probe"), P("x"), 1, -2, 0); }
PROBE(keyctl) { return call3(250, 0, -2, 1); }
/* What these do is not for a test. That the kernel looks at what is wrong with the request says that it would do it. */
static long reached(long result, long error)
{
    return result == error ? 0 : result;
}

PROBE(init_module) { return reached(call3(175, P(page), 0, P("")), -8); }
PROBE(kexec_load) { return reached(call6(246, 0, 17, 0, 0, 0, 0), -22); }
PROBE(reboot) { return reached(CALL(169), -22); }
PROBE(syslog) { return call3(103, 9, 0, 0); }
PROBE(sethostname) { return call3(170, P("probe"), 5, 0); }

/* The name that its system knows the PD by is all it may learn of the host's. */
PROBE(hostname)
{
    long result = call3(63, P(page), 0, 0);
    return result < 0 ? result : is(page + 65, own_name) ? -ENOENT : 0;
}

PROBE(uname) { return call3(63, P(page), 0, 0); }
PROBE(sysinfo) { return call3(99, P(page), 0, 0); }
PROBE(getrandom) { return call3(318, P(page), 8, 0); }
PROBE(clock_gettime) { return call3(228, 1, P(page), 0); }
PROBE(membarrier) { return call3(324, 0, 0, 0); }
PROBE(landlock_create_ruleset) { return call3(444, 0, 0, 1); }

/* ---- memory ---- */

PROBE(mmap_rwx) { return call6(9, 0, PAGE, 7, 0x22, -1, 0); }
PROBE(mmap_exec) { return call6(9, 0, PAGE, 5, 0x22, -1, 0); }
PROBE(mmap_over_region) { return call6(9, RO, PAGE, 3, 0x32, -1, 0); }
PROBE(mmap_zero_page) { return call6(9, 0, PAGE, 3, 0x32, -1, 0); }
/* As malloc asks: the filter's answer is an error, so that malloc returns NULL. */
PROBE(mmap_as_malloc) { return call6(9, 0, 1 << 20, 3, 0x22, -1, 0); }
/* The same with each argument that the filter looks at next to what it is. */
PROBE(mmap_malloc_address) { return call6(9, 1, PAGE, 3, 0x22, -1, 0); }
PROBE(mmap_malloc_protection) { return call6(9, 0, PAGE, 2, 0x22, -1, 0); }
PROBE(mmap_malloc_flags) { return call6(9, 0, PAGE, 3, 0x21, -1, 0); }
PROBE(mmap_malloc_descriptor) { return call6(9, 0, PAGE, 3, 0x22, 0, 0); }
PROBE(mmap_malloc_offset) { return call6(9, 0, PAGE, 3, 0x22, -1, PAGE); }

PROBE(brk)
{
    long now = CALL(12), wanted = now + (long)PAGE;
    return call3(12, wanted, 0, 0) == wanted ? 0 : -ENOMEM;
}

PROBE(mprotect_region) { return call3(10, RO, PAGE, 3); }
PROBE(mprotect_text) { return call3(10, P(probe_mprotect_region) & -PAGE, PAGE, 7); }
PROBE(mprotect_data) { return call3(10, P(page), PAGE, 5); }
PROBE(munmap) { return call3(11, P(page), PAGE, 0); }
PROBE(mremap) { return call6(25, P(page), PAGE, 2 * PAGE, 1, 0, 0); }
PROBE(madvise) { return call3(28, P(page), PAGE, 4); }
PROBE(mseal) { return call3(462, P(page), PAGE, 0); }
PROBE(remap_file_pages) { return call6(216, RW, PAGE, 0, 0, 0, 0); }
PROBE(pkey_mprotect) { return call6(329, P(page), PAGE, 3, -1, 0, 0); }

PROBE(shmget)
{
    long id = call3(29, 0, PAGE, 0600);
    if (id >= 0) {
        call3(31, id, 0, 0);
    }
    return id;
}

PROBE(memfd_create) { return call3(319, P("probe"), 0, 0); }

/* The same memory twice, once to write and once to execute. */
PROBE(memfd_twice)
{
    long memory = call3(319, P("probe"), 0, 0);
    long writable = memory < 0 ? memory : call6(9, 0, PAGE, 3, 1, memory, 0);
    return writable < 0 && writable > -4096 ? writable : call6(9, 0, PAGE, 5, 1, memory, 0);
}

PROBE(store_read_only)
{
    *(volatile char *)RO = 1;
    return 0;
}

PROBE(store_read_only_end)
{
    *(volatile char *)(RO + PAGE - 1) = 1;
    return 0;
}

PROBE(load_behind_region) { return *(volatile unsigned char *)(RO + PAGE); }
PROBE(load_before_region) { return *(volatile unsigned char *)(RO - 1); }
PROBE(store_behind_region)
{
    *(volatile char *)(RW + PAGE) = 1;
    return 0;
}

PROBE(load_foreign) { return *(volatile unsigned char *)SECRET; }

PROBE(execute_data)
{
    *(volatile unsigned char *)RW = 0xc3;
    ((void (*)(void))RW)();
    return 0;
}

PROBE(store_text)
{
    volatile char *text = (volatile char *)(uintptr_t)probe_store_read_only;
    *text = *text;
    return 0;
}

PROBE(store_code_region)
{
    *(volatile char *)CODE = *(volatile char *)CODE;
    return 0;
}

PROBE(store_peer_words)
{
    *peer_words = 1;
    return 0;
}

PROBE(store_peer_status)
{
    *peer_status = 0;
    return 0;
}

static long deeper(unsigned depth)
{
    volatile char room[1024];
    room[0] = (char)depth;
    return depth == 0 ? 0 : deeper(depth - 1) + (room[0] & 0);
}

PROBE(stack_overflow) { return deeper(64); }

/* ---- descriptors ---- */

PROBE(read_peer_doorbell) { return call3(0, 4, P(page), 1); }
PROBE(read_console) { return call3(0, 1, P(page), 1); }
PROBE(read_standard_input) { return call3(0, 0, P(page), 1); }
PROBE(write_standard_input) { return call3(1, 0, P(page), 1); }
PROBE(write_own_doorbell) { return call3(1, 3, P(page), 1); }
PROBE(write_beyond) { return call3(1, MEMFD, P(page), 1); }

/* Whatever else there may be, beginning with what the control has. */
PROBE(read_other_descriptors)
{
    for (int i = 0; i < 58; i++) {
        if (call3(0, 6 + (MEMFD - 6 + i) % 58, P(page), 1) != -EBADF) {
            return 0;
        }
    }
    return -EBADF;
}

/* The kernel as the one who writes: with a byte in the doorbell, so that there is something to store. */
static long read_to(uintptr_t place)
{
    long rung = call3(1, 5, P("x"), 1);
    return rung < 0 ? 0 : call3(0, 3, (long)place, 1);
}

PROBE(read_to_read_only) { return read_to(RO); }
PROBE(read_to_before_region) { return read_to(RO - 1); }
PROBE(read_to_behind_region) { return read_to(RW + PAGE); }
PROBE(read_to_peer_words) { return read_to((uintptr_t)peer_words); }
PROBE(read_to_text) { return read_to((uintptr_t)probe_store_text); }
PROBE(write_from_foreign) { return call3(1, 1, SECRET, 1); }

/* One byte more than the region has. */
PROBE(read_to_longer)
{
    call3(1, 5, P("x"), 1);
    call3(1, 5, P("x"), 1);
    return call3(0, 3, RW + PAGE - 1, 2);
}

PROBE(write_from_longer) { return call3(1, 1, RW + PAGE - 1, 2); }
PROBE(write_from_behind_region) { return call3(1, 1, RW + PAGE, 1); }

PROBE(fcntl_nonblocking) { return call3(72, 3, 4, 04000); }
PROBE(fcntl_owner) { return call3(72, 3, 8, victim_pid); }
PROBE(fcntl_signal) { return call3(72, 3, 10, 9); }
PROBE(fcntl_duplicate) { return call3(72, 4, 0, 30); }
PROBE(fcntl_seals) { return call3(72, MEMFD, 1033, 1); }
PROBE(ftruncate) { return call3(77, MEMFD, 0, 0); }
PROBE(dup2) { return call3(33, 4, 3, 0); }
PROBE(close) { return call3(3, 3, 0, 0); }
PROBE(ioctl) { return call3(16, 3, 0x541b, P(page)); }
/* The kernel reads 32 bits of the command: a filter that compares 64 would miss this one. */
PROBE(ioctl_high_bits) { return call3(16, 3, 0x541b | 1l << 32, P(page)); }
PROBE(ioctl_terminal) { return call3(16, TERMINAL, 0x5412, P("x")); }
PROBE(ioctl_terminal_high_bits) { return call3(16, TERMINAL, 0x5412 | 1l << 32, P("x")); }
PROBE(fstat) { return call3(5, 3, P(page), 0); }
PROBE(pread64) { return call6(17, MEMFD, P(page), 1, 0, 0, 0); }
PROBE(readv)
{
    struct {
        void *base;
        size_t length;
    } to = {page, 0};
    return call3(19, 3, P(&to), 1);
}

PROBE(poll)
{
    struct {
        int fd;
        short events, revents;
    } one = {3, 1, 0};
    return call3(7, P(&one), 1, 0);
}

PROBE(pipe2) { return call3(293, P(page), 0, 0); }
PROBE(epoll_create1) { return call3(291, 0, 0, 0); }
PROBE(sendmsg)
{
    uint64_t message[7] = {0};
    return call3(46, 3, P(message), 0);
}

/* A descriptor sent to whoever holds the other end. */
PROBE(sendmsg_descriptor)
{
    struct {
        uint64_t length;
        int level, type, descriptor;
    } control = {20, 1, 1, 4};
    struct {
        void *base;
        size_t length;
    } data = {page, 1};
    uint64_t message[7] = {[2] = (uintptr_t)&data, 1, (uintptr_t)&control, sizeof(control), 0};
    return call3(46, 3, P(message), 0);
}

PROBE(open_by_handle_at) { return call3(304, AT_FDCWD, P(&file_handle), 0); }

/* ---- files ---- */

PROBE(open) { return call3(2, P("/"), 0, 0); }
PROBE(openat) { return call6(257, AT_FDCWD, P(".."), 0, 0, 0, 0); }

PROBE(openat2)
{
    uint64_t how[3] = {0};
    return call6(437, AT_FDCWD, P("/"), P(how), sizeof(how), 0, 0);
}

PROBE(open_file) { return call3(2, P("/etc/passwd"), 0, 0); }
/* In the control it is a socket, which the kernel finds and does not open. */
PROBE(open_own_descriptor) { return reached(call3(2, P("/proc/self/fd/3"), 0, 0), -6); }
PROBE(open_process) { return call3(2, P("/proc/1/stat"), 0, 0); }
PROBE(open_kernel_log) { return call3(2, P("/dev/kmsg"), 0, 0); }
PROBE(open_kernel_objects) { return call3(2, P("/sys/kernel"), 0, 0); }

PROBE(create_file)
{
    long result = call3(2, P("made"), 0101, 0600);
    return result < 0 ? result : call3(87, P("made"), 0, 0);
}

PROBE(mkdir)
{
    long result = call3(83, P("made"), 0700, 0);
    return result < 0 ? result : call3(84, P("made"), 0, 0);
}

static long make_node(long mode, long device)
{
    long result = call3(133, P("made"), mode | 0600, device);
    return result < 0 ? result : call3(87, P("made"), 0, 0);
}

PROBE(mknod) { return make_node(0010000, 0); }
PROBE(mknod_device) { return make_node(0020000, 0x103); }
PROBE(statx) { return call6(332, AT_FDCWD, P("/"), 0, 0x7ff, P(page), 0); }
PROBE(chdir) { return call3(80, P("/"), 0, 0); }
PROBE(chroot) { return call3(161, P("/"), 0, 0); }
PROBE(mount) { return call6(165, P("none"), P("/"), P("tmpfs"), 0, 0, 0); }
PROBE(fsopen) { return call3(430, P("tmpfs"), 0, 0); }
PROBE(open_tree) { return call3(428, AT_FDCWD, P("/"), 0); }

/* ---- network ---- */

PROBE(socket_unix) { return call3(41, 1, 1, 0); }
PROBE(socket_inet) { return call3(41, 2, 1, 0); }
PROBE(socket_netlink) { return call3(41, 16, 3, 0); }
PROBE(socket_packet) { return call3(41, 17, 3, 0); }
PROBE(socket_vsock) { return call3(41, 40, 1, 0); }

/* Somebody else's, whom the test has listen there, without a name in any file system. */
PROBE(connect_abstract)
{
    static const char address[] = "\1\0\0" ABSTRACT;
    long result = call3(41, 1, 1, 0);
    return result < 0 ? result : call3(42, result, P(address), sizeof(address) - 1);
}

/* Port 1 of the host's own address: whether anybody listens there does not matter. */
PROBE(connect_tcp)
{
    static const unsigned char address[16] = {2, 0, 0, 1, 127, 0, 0, 1};
    long result = call3(41, 2, 1, 0);
    return result < 0 ? result : reached(call3(42, result, P(address), sizeof(address)), -ECONNREFUSED);
}

PROBE(bind_tcp)
{
    static const unsigned char address[16] = {2, 0, 0, 0, 127, 0, 0, 1};
    long result = call3(41, 2, 1, 0);
    return result < 0 ? result : call3(49, result, P(address), sizeof(address));
}
PROBE(socketpair) { return call6(53, 1, 1, 0, P(page), 0, 0); }

/* ---- other ways into the kernel ---- */

PROBE(x32_getpid) { return CALL(39 | 0x40000000); }

PROBE(int80_getpid)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

PROBE(int80_openat)
{
    int result;
    *(volatile char *)RW = '/';
    *(volatile char *)(RW + 1) = 0;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(295), "b"(AT_FDCWD), "c"((int)RW), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

/* The region holds 32-bit code that asks for its process number and then ends the process with status 0. */
PROBE(compatibility_mode)
{
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) target = {CODE, 0x23};
    __asm__ volatile("ljmp *%0" : : "m"(target) : "memory");
    return -1;
}

PROBE(vsyscall_time)
{
    return ((long (*)(long *))0xffffffffff600400ul)(0);
}
