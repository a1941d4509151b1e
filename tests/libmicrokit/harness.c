/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * See harness.h. Usage: harness TEST auto|spin|sleep [ARGUMENT]
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A test that takes this long hangs. */
#define HANG_SECONDS 300

extern void mk_start(const struct mk_handoff *handoff) __attribute__((noreturn));

struct pd pds[MAX_PDS];
int pd_count;
static bool is_spread;
struct side channels[2048][2];
int channel_count;

struct mk_handoff handoff;
_Atomic uint64_t *board;
/* Behind the board's words: how many PDs are ready; whether new processes may start. */
static _Atomic uint64_t *ready, *may_start;
uint32_t wait_kind;
uint64_t spin_cycles;

void or_die(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
        exit(2);
    }
}

int add_pd(const char *name, uint32_t priority, struct entry_points entry_points)
{
    or_die(pd_count < MAX_PDS, "too many PDs");
    pds[pd_count].name = name;
    pds[pd_count].priority = priority;
    pds[pd_count].entry_points = entry_points;
    pds[pd_count].pages = 1;
    return pd_count++;
}

void add_channel(int pd_a, uint32_t id_a, uint32_t rights_a, int pd_b, uint32_t id_b, uint32_t rights_b)
{
    channels[channel_count][0] = (struct side){pd_a, id_a, rights_a, pds[pd_a].pages++};
    channels[channel_count][1] = (struct side){pd_b, id_b, rights_b, pds[pd_b].pages++};
    channel_count++;
}

void adjust(int pd, void (*change)(struct mk_handoff *))
{
    pds[pd].change = change;
}

void at_first(int pd)
{
    pds[pd].at_first = true;
}

void spread(void)
{
    is_spread = true;
}

/* The `index`th of the CPUs this process may use, counted round and round. */
static void pin(int index)
{
    cpu_set_t all, one;
    or_die(sched_getaffinity(0, sizeof(all), &all) == 0, "sched_getaffinity");
    index %= CPU_COUNT(&all);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all) || index-- > 0) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    or_die(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity");
}

void must_die(int pd, int signal)
{
    pds[pd].fatal_signal = signal;
}

static void *map(int fd, unsigned page, unsigned pages, int protection)
{
    void *at = mmap(0, (size_t)pages * PAGE, protection, MAP_SHARED, fd, (off_t)page * PAGE);
    or_die(at != MAP_FAILED, "mmap");
    return at;
}

/* Where in its page an mk_out begins: another place in each, as the launcher does. */
static unsigned offset_in_page(unsigned page)
{
    return page * MK_OUT_ALIGN % (MK_OUT_SPAN + MK_OUT_ALIGN);
}

static void give_end(struct side own, struct side peer, char *own_memory)
{
    struct mk_end *end = &handoff.ends[handoff.end_count++];
    char *peer_page = map(pds[peer.pd].memory, peer.page, 1, PROT_READ);
    end->out = (uint64_t)(own_memory + own.page * PAGE + offset_in_page(own.page));
    end->in = (uint64_t)(peer_page + offset_in_page(peer.page));
    end->peer_status = (uint64_t)map(pds[peer.pd].memory, 0, 1, PROT_READ);
    end->peer_doorbell = pds[peer.pd].doorbell[1];
    end->id = own.id;
    end->peer_priority = pds[peer.pd].priority;
    end->rights = (own.rights & NOTIFY ? MK_MAY_NOTIFY : 0) | (own.rights & CALL ? MK_MAY_CALL : 0) |
                  (peer.rights & NOTIFY ? MK_HEARS : 0) | (peer.rights & CALL ? MK_SERVES : 0);
}

static int by_id(const void *a, const void *b)
{
    const struct mk_end *left = a, *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static void fill_handoff(int pd)
{
    char *memory = map(pds[pd].memory, 0, pds[pd].pages, PROT_READ | PROT_WRITE);
    handoff.version = MK_ABI_VERSION;
    handoff.size = sizeof(handoff);
    strncpy(handoff.name, pds[pd].name, MK_NAME_LENGTH - 1);
    handoff.status = (uint64_t)memory;
    handoff.doorbell = pds[pd].doorbell[0];
    handoff.console = STDOUT_FILENO;
    handoff.init = (uint64_t)pds[pd].entry_points.init;
    handoff.notified = (uint64_t)pds[pd].entry_points.notified;
    handoff.protected_entry = (uint64_t)pds[pd].entry_points.protected;
    handoff.fault = (uint64_t)pds[pd].fault;
    handoff.supervisor = pds[pd].supervisor ? (uint64_t)pds[pd].supervisor : 0;
    for (int i = 0; i < pd_count; i++) {
        handoff.children |= (uint64_t)(pds[i].is_child && pds[i].parent == pd) << pds[i].child_id;
    }
    handoff.schedule = is_scheduled ? MK_SCHEDULE_MICROKIT : MK_SCHEDULE_LINUX;
    handoff.wait = wait_kind;
    handoff.spin_cycles = spin_cycles;
    handoff.cpus = 8;
    handoff.rest_cycles = 8 * spin_cycles;
    for (int i = 0; i < channel_count; i++) {
        for (int side = 0; side < 2; side++) {
            if (channels[i][side].pd == pd) {
                give_end(channels[i][side], channels[i][!side], memory);
            }
        }
    }
    qsort(handoff.ends, handoff.end_count, sizeof(handoff.ends[0]), by_id);
    for (uint32_t i = 0; i < handoff.end_count; i++) {
        handoff.notifications |= (uint64_t)(handoff.ends[i].rights & MK_MAY_NOTIFY ? 1 : 0) << handoff.ends[i].id;
        handoff.pps |= (uint64_t)(handoff.ends[i].rights & MK_MAY_CALL ? 1 : 0) << handoff.ends[i].id;
    }
    if (pds[pd].change) {
        pds[pd].change(&handoff);
    }
}

/* Stands for the launcher, which takes this trap from outside and lets the PD go on when all are ready. */
static void on_ready(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    count_ready();
}

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)

/* read, write and the end are allowed, and being ready is announced; anything else is a fault of the library. */
static void seal(void)
{
    struct sock_filter filter[] = {
        LOAD(offsetof(struct seccomp_data, nr)),
        IF_EQUAL(SYS_read, 7, 0),
        IF_EQUAL(SYS_write, 6, 0),
        IF_EQUAL(SYS_rt_sigreturn, 5, 0),
        IF_EQUAL(SYS_exit_group, 0, 3),
        LOAD(offsetof(struct seccomp_data, args[0])),
        IF_EQUAL(MK_READY, 3, 0),
        IF_EQUAL(MK_LAUNCHER_CALL, 2, 1),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    struct sigaction action = {.sa_sigaction = on_ready, .sa_flags = SA_SIGINFO};
    or_die(sigaction(SIGSYS, &action, 0) == 0, "sigaction");
    signal(SIGPIPE, SIG_IGN);
    or_die(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    or_die(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static void become(int pd)
{
    alarm(0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    wait_until(may_start, 1);
    if (is_spread) {
        pin(pd);
    }
    fill_handoff(pd);
    for (int i = 0; i < pd_count; i++) {
        or_die(pds[i].supervisor == 0 || mprotect(pds[i].supervisor, PAGE, PROT_READ) == 0, "mprotect");
    }
    seal();
    if (pds[pd].entry_points.instead && !(pds[pd].at_first && pds[pd].processes > 0)) {
        pds[pd].entry_points.instead(&handoff);
        passed();
    }
    mk_start(&handoff);
}

void hold_new(void)
{
    atomic_store(may_start, 0);
}

void let_new_start(void)
{
    atomic_store(may_start, 1);
}

void spawn(int pd)
{
    pds[pd].pid = fork();
    or_die(pds[pd].pid >= 0, "fork");
    if (pds[pd].pid == 0) {
        become(pd);
    }
    pds[pd].processes++;
}

static void end_all(void)
{
    for (int i = 0; i < pd_count; i++) {
        if (pds[i].pid > 0 && !pds[i].ended) {
            kill(pds[i].pid, SIGKILL);
            waitpid(pds[i].pid, 0, 0);
        }
    }
}

static void on_hang(int signal)
{
    (void)signal;
    static const char text[] = "harness: the test hangs\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    end_all();
    _exit(3);
}

bool ended_well(int pd, int status)
{
    pds[pd].ended = true;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (pds[pd].fatal_signal != 0) {
        good = WIFSIGNALED(status) && WTERMSIG(status) == pds[pd].fatal_signal;
    }
    if (!good) {
        fprintf(stderr, "harness: %s ended with status %#x\n", pds[pd].name, status);
    }
    return good;
}

static int wait_for_ends(uint64_t judges)
{
    while (judges != 0) {
        int status;
        pid_t pid = wait(&status);
        or_die(pid > 0, "wait");
        for (int i = 0; i < pd_count; i++) {
            if (pds[i].pid == pid) {
                judges &= ~((uint64_t)1 << i);
                if (!ended_well(i, status)) {
                    return 1;
                }
            }
        }
    }
    return 0;
}

int run_system(uint64_t judges, void (*watch)(void))
{
    board = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    or_die(board != MAP_FAILED, "mmap");
    ready = board + BOARD_WORDS;
    may_start = ready + 1;
    for (int i = 0; i < pd_count; i++) {
        pds[i].memory = memfd_create(pds[i].name, MFD_CLOEXEC);
        or_die(pds[i].memory >= 0 && ftruncate(pds[i].memory, (off_t)pds[i].pages * PAGE) == 0, "memfd");
        or_die(pipe2(pds[i].doorbell, O_CLOEXEC) == 0, "pipe");
        or_die(fcntl(pds[i].doorbell[1], F_SETFL, O_NONBLOCK) == 0, "fcntl");
    }
    signal(SIGALRM, on_hang);
    alarm(HANG_SECONDS);
    for (int i = 0; i < pd_count; i++) {
        spawn(i);
    }
    if (is_traced) {
        seize_all();
    }
    let_new_start();
    if (watch) {
        watch();
    }
    int result = is_traced ? serve_pds(judges) : wait_for_ends(judges);
    end_all();
    return result;
}

int rings_waiting(int pd)
{
    int bytes = 0;
    or_die(ioctl(pds[pd].doorbell[0], FIONREAD, &bytes) == 0, "FIONREAD");
    return bytes;
}

void count_ready(void)
{
    atomic_fetch_add(ready, 1);
}

int ready_count(void)
{
    return (int)atomic_load(ready);
}

void passed(void)
{
    _exit(0);
}

void failed(const char *file, int line, const char *what)
{
    /* dprintf would seek, which the filter does not allow. */
    char text[512];
    int length = snprintf(text, sizeof(text), "%s: %s:%d: does not hold: %s\n", microkit_name, file, line, what);
    (void)!write(STDERR_FILENO, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text));
    _exit(1);
}

const struct mk_handoff *own_handoff(void)
{
    return &handoff;
}

const struct mk_end *own_end(uint32_t id)
{
    for (uint32_t i = 0; i < handoff.end_count; i++) {
        if (handoff.ends[i].id == id) {
            return &handoff.ends[i];
        }
    }
    CHECK(!"the PD has an end with this id");
}

const struct mk_out *heard_on(uint32_t id)
{
    return (const struct mk_out *)own_end(id)->in;
}

const struct mk_out *said_on(uint32_t id)
{
    return (const struct mk_out *)own_end(id)->out;
}

const struct mk_status *own_status(void)
{
    return (const struct mk_status *)handoff.status;
}

const struct mk_status *peer_status(uint32_t id)
{
    return (const struct mk_status *)own_end(id)->peer_status;
}

static uint32_t kind_of(const char *name)
{
    static const char *const names[] = {[MK_WAIT_AUTO] = "auto", [MK_WAIT_SPIN] = "spin", [MK_WAIT_SLEEP] = "sleep"};
    for (uint32_t kind = 0; kind < 3; kind++) {
        if (strcmp(name, names[kind]) == 0) {
            return kind;
        }
    }
    or_die(false, "the second argument is auto, spin or sleep");
    return 0;
}

int main(int argc, char **argv)
{
    static const struct test *const groups[] = {delivery_tests, call_tests,      api_tests,     hostile_tests,
                                                wait_tests,     fault_tests,     restart_tests, withdrawal_tests,
                                                schedule_tests, succession_tests};
    or_die(argc >= 3, "usage: harness TEST auto|spin|sleep [ARGUMENT]");
    wait_kind = kind_of(argv[2]);
    spin_cycles = 100000;
    for (unsigned group = 0; group < sizeof(groups) / sizeof(groups[0]); group++) {
        for (const struct test *test = groups[group]; test->name; test++) {
            if (strcmp(test->name, argv[1]) == 0) {
                return test->run(argc > 3 ? argv[3] : 0);
            }
        }
    }
    fprintf(stderr, "harness: no test %s\n", argv[1]);
    return 2;
}
