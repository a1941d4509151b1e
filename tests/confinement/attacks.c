/*
 * What a hostile PD tries: the probes of probes.h, by themselves, without the C library. Compiled as a PD's image, the
 * PD's name says which probe it makes, and whether from a constructor or from a handler. Compiled with -DCONTROL as an
 * ordinary program, the same code runs without a sandbox, in surroundings that look the same, and has to succeed: a
 * probe that cannot work shows nothing.
 *
 * In a PD: a page it can read at RO, one it can write at RW, code at CODE, another PD's page at SECRET; its doorbell is
 * descriptor 3, that of a peer 4, and it can ring its own through 5.
 */
#include <stddef.h>
#include <stdint.h>

#define RO 0x4000000ul
#define RW 0x5000000ul
#define CODE 0x6000000ul
#define SECRET 0x7000000ul
#define PAGE 4096ul
/* A descriptor of memory. No PD has one; in the control it is a memfd. */
#define MEMFD 20

#define EBADF 9
#define MEMFD 20
/* Likewise: of a namespace, a process and a terminal. */
#define NAMESPACE 22
#define PIDFD 23
#define TERMINAL 24
/* Where the test listens, as an abstract name. */
#define ABSTRACT "mk-sandbox-probe"

#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EBADF 9
#define ECONNREFUSED 111
#define ENOMEM 12
#define AT_FDCWD (-100)

struct probe {
    const char *name;
    long (*run)(void);
};

#define PROBE(name)                                                                                                    \
    static long probe_##name(void);                                                                                    \
    static const struct probe entry_##name __attribute__((used, section("probes"))) = {#name, probe_##name};           \
    static long probe_##name(void)

extern const struct probe __start_probes[], __stop_probes[];

static long call6(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long call3(long number, long a, long b, long c)
{
    return call6(number, a, b, c, 0, 0, 0);
}

#define CALL(number) call3(number, 0, 0, 0)
#define P(pointer) ((long)(uintptr_t)(pointer))

static int is(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* What the host calls itself in a PD; the control has no name of its own. */
static const char *own_name = "";

/* struct file_handle: of the root directory in the control. */
static struct {
    unsigned bytes;
    int type;
    unsigned char handle[128];
} file_handle = {8, 1, {0}};

#include "probes.h"

static const struct probe *find(const char *name)
{
    for (const struct probe *probe = __start_probes; probe < __stop_probes; probe++) {
        if (is(probe->name, name)) {
            return probe;
        }
    }
    return 0;
}

#ifndef CONTROL

#include "internal.h"

static void attempt(char from)
{
    if (microkit_name[0] != from) {
        return;
    }
    const struct probe *probe = find(microkit_name + 2);
    if (probe == 0) {
        microkit_dbg_puts("there is no such probe\n");
        return;
    }
    /* libmicrokit hides its table of channel ends, but not from those who know how far it is from what it shows. */
    const struct end *ends = (const struct end *)(microkit_name + ENDS_FROM_NAME);
    peer_words = (volatile uint64_t *)(uintptr_t)ends[1].in;
    peer_status = (volatile uint32_t *)(uintptr_t)ends[1].peer;
    own_name = microkit_name;
    long result = probe->run();
    if (result < 0) {
        microkit_dbg_puts("refused ");
        microkit_dbg_put32((uint32_t)-result);
        microkit_dbg_puts("\n");
    } else {
        microkit_dbg_puts("DONE\n");
    }
    microkit_notify(1);
}

__attribute__((constructor)) static void construct(void)
{
    attempt('c');
}

/* Channel 0 leads back to this PD, where it arrives as 2. */
void init(void)
{
    microkit_notify(0);
}
void notified(microkit_channel ch)
{
    if (ch == 2) {
        attempt('h');
    }
}

#else

#undef EPERM
#undef ENOENT
#undef ESRCH
#undef EBADF
#undef ENOMEM
#undef ECONNREFUSED
#undef AT_FDCWD
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void map(unsigned long start, unsigned long size)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap((void *)start, size, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0) == MAP_FAILED) {
        perror("mmap");
        _exit(3);
    }
}

/* What there is to aim at. What this user cannot have is left out: the probe then fails, and the test knows which may.
 */
static void surroundings(void)
{
    int mount_id;
    file_handle.bytes = sizeof(file_handle.handle);
    name_to_handle_at(AT_FDCWD, "/", (struct file_handle *)&file_handle, &mount_id, 0);
    dup2(open("/proc/self/ns/uts", O_RDONLY), NAMESPACE);
    dup2((int)syscall(SYS_pidfd_open, getpid(), 0), PIDFD);
    /* A terminal of a session of its own. */
    setsid();
    int master = fcntl(posix_openpt(O_RDWR | O_NOCTTY), F_DUPFD, 60);
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0) {
        dup2(open(ptsname(master), O_RDWR), TERMINAL);
    }
    /* Where the test does not listen. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, ABSTRACT, sizeof(ABSTRACT) - 1);
    int listener = fcntl(socket(AF_UNIX, SOCK_STREAM, 0), F_DUPFD, 60);
    if (bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t) + sizeof(ABSTRACT)) == 0) {
        listen(listener, 8);
    }
    /* A neighbour of this user, who ends with this process. */
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
}

int main(int argc, char **argv)
{
    const struct probe *probe = argc == 3 ? find(argv[1]) : 0;
    FILE *code = argc == 3 ? fopen(argv[2], "rb") : 0;
    if (probe == 0 || code == 0) {
        return 3;
    }
    map(RO - PAGE, 3 * PAGE);
    map(RW, 2 * PAGE);
    map(CODE, PAGE);
    map(SECRET, PAGE);
    if (fread((void *)CODE, 1, PAGE, code) == 0) {
        return 3;
    }
    fclose(code);
    /* Its own code as writable as data. */
    unsigned long text = (unsigned long)probe_store_read_only & -PAGE;
    mprotect((void *)text, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    text = (unsigned long)probe_store_text & -PAGE;
    mprotect((void *)text, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    peer_words = (volatile uint64_t *)(RW + 64);
    peer_status = (volatile uint32_t *)(RW + 128);
    victim_pid = getpid();
    /* Whoever is root tries it in mounts of its own, and with a host name of its own. */
    if (geteuid() == 0 &&
        (unshare(CLONE_NEWNS | CLONE_NEWUTS) != 0 || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) != 0)) {
        perror("mounts");
        return 3;
    }
    surroundings();
    /* Descriptors that can be read and written, each with something to read; the second pair is connected crosswise. */
    int low[2], pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, low) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        return 3;
    }
    int saved = dup(1);
    if (write(low[0], "x", 1) != 1 || write(low[1], "x", 1) != 1 || write(pair[1], "x", 1) != 1) {
        return 3;
    }
    int high[] = {fcntl(low[0], F_DUPFD, 40), fcntl(low[1], F_DUPFD, 40), fcntl(pair[0], F_DUPFD, 40),
                  fcntl(pair[1], F_DUPFD, 40), fcntl(saved, F_DUPFD, 40)};
    dup2(high[0], 0);
    dup2(high[1], 1);
    dup2(high[2], 3);
    dup2(high[0], 4);
    dup2(high[3], 5);
    int memory = memfd_create("control", MFD_ALLOW_SEALING);
    if (memory < 0 || write(memory, "x", 1) != 1 || dup2(memory, MEMFD) != MEMFD) {
        return 3;
    }
    long result = probe->run();
    if (result < 0) {
        dprintf(high[4], "refused %ld\n", -result);
        return 1;
    }
    return 0;
}

#endif
