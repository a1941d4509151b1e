/*
 * What the kernel says to system calls under filters, without making one of them.
 *
 * In: the number of filter programs, for each its length and its instructions, then the number of calls, for each the
 * number and six arguments; all of it 64-bit words. Out: a word for each call: what becomes of it.
 *
 * A first filter of its own answers all that is called from one instruction with an error number that nothing else
 * uses. Of several filters the strictest answer counts, and the latest among equals: so that number says that the
 * filters in question would let the call pass, and the kernel has not made it all the same.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PASSED 4000
/* Words of the answer, beside an error number with ERRNO added. */
#define ALLOWED 1
#define TRAPPED 2
#define KILLED 3
#define NOT_INSTALLED 4
#define ERRNO 0x10000

struct shared {
    uint64_t next, is_over;
    uint64_t answers[];
};

static struct shared *shared;
static uint64_t *calls, call_count;
static void *back[5];

extern const char judged_call[];

__attribute__((noinline)) static long make(const uint64_t *call)
{
    long result;
    register long r10 __asm__("r10") = (long)call[4];
    register long r8 __asm__("r8") = (long)call[5];
    register long r9 __asm__("r9") = (long)call[6];
    __asm__ volatile("syscall\n"
                     ".globl judged_call\n"
                     "judged_call:"
                     : "=a"(result)
                     : "a"(call[0]), "D"(call[1]), "S"(call[2]), "d"(call[3]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* There is no return from a signal: the filters may not allow it. */
static void trapped(int signal)
{
    (void)signal;
    __builtin_longjmp(back, 1);
}

static int install(const uint64_t *words, uint64_t count)
{
    struct sock_fprog program = {(unsigned short)count, (struct sock_filter *)words};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

static int guard(void)
{
    uint32_t low = (uint32_t)(uintptr_t)judged_call, high = (uint32_t)((uintptr_t)judged_call >> 32);
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | PASSED),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return install((uint64_t *)program, sizeof(program) / sizeof(*program));
}

/* Ends by an illegal instruction, which no filter can deny. */
static void child(const uint64_t *programs, uint64_t count)
{
    static volatile uint64_t installed;
    struct sigaction action = {.sa_handler = trapped, .sa_flags = SA_NODEFER};
    sigaction(SIGSYS, &action, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (__builtin_setjmp(back) != 0 || !guard()) {
        __builtin_trap();
    }
    for (; installed < count; installed++, programs += 1 + programs[0]) {
        if (!install(programs + 1, programs[0])) {
            __builtin_trap();
        }
    }
    while (shared->next < call_count) {
        uint64_t at = shared->next;
        if (__builtin_setjmp(back) != 0) {
            shared->answers[shared->next] = TRAPPED;
        } else {
            shared->answers[at] = KILLED;
            long result = make(calls + 7 * at);
            shared->answers[shared->next] = result == -PASSED ? ALLOWED : ERRNO - (uint64_t)result;
        }
        shared->next++;
    }
    shared->is_over = 1;
    __builtin_trap();
}

int main(void)
{
    static uint64_t input[1 << 22];
    uint64_t words = fread(input, sizeof(*input), sizeof(input) / sizeof(*input), stdin), at = 1;
    for (uint64_t i = 0; words != 0 && i < input[0] && at < words; i++) {
        at += 1 + input[at];
    }
    if (at >= words || words - at - 1 != 7 * input[at]) {
        fputs("no such input\n", stderr);
        return 2;
    }
    call_count = input[at];
    calls = input + at + 1;
    size_t size = sizeof(*shared) + (call_count + 1) * sizeof(uint64_t);
    shared = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    for (uint64_t i = 0; i < call_count; i++) {
        shared->answers[i] = NOT_INSTALLED;
    }
    /* A call that ends the process is judged by its end, and the rest by another process; few are enough. */
    for (int ended = 0; ended < 8 && !shared->is_over; ended++) {
        pid_t pid = fork();
        if (pid == 0) {
            child(input + 1, input[0]);
        }
        if (pid < 0 || waitpid(pid, 0, 0) != pid) {
            perror("child");
            return 2;
        }
        if (shared->answers[0] == NOT_INSTALLED) {
            break;
        }
        shared->next++;
    }
    fwrite(shared->answers, sizeof(uint64_t), call_count, stdout);
    return 0;
}
