/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Entry of a PD: takes the handoff, announces that the filter is on, runs constructors and init, then serves. And its
 * entry when it is started again where it stands: the same without the announcement.
 */
#include "internal.h"
#include "syscall.h"

/* The IPC buffer has its page to itself, as on seL4: microkit_mr_set takes any 8-bit index, and none leads out of it.
 */
#define IPC_BUFFER_BYTES 4096

static union {
    seL4_IPCBuffer buffer;
    char page[IPC_BUFFER_BYTES];
} ipc_page __attribute__((aligned(IPC_BUFFER_BYTES)));

seL4_IPCBuffer *__sel4_ipc_buffer = &ipc_page.buffer;
char microkit_name[MICROKIT_PD_NAME_LENGTH];
seL4_Bool microkit_passive;
seL4_Word microkit_irqs;
seL4_Word microkit_notifications;
seL4_Word microkit_pps;
seL4_Word microkit_ioports;

struct end mk_ends[MK_MAX_ENDS];
struct mk_status *mk_status;
int32_t mk_doorbell;
int32_t mk_console;
struct wait_policy mk_wait;

_Static_assert(MICROKIT_PD_NAME_LENGTH == MK_NAME_LENGTH, "names fit");
_Static_assert(MICROKIT_MAX_CHANNELS == MK_MAX_ENDS, "channel ids fit");
_Static_assert(seL4_MsgMaxLength == MK_MAX_MRS, "messages fit");

static void take_handoff(const struct mk_handoff *handoff)
{
    mk_console = handoff->console;
    mk_doorbell = handoff->doorbell;
    mk_status = (struct mk_status *)(uintptr_t)handoff->status;
    for (unsigned i = 0; i + 1 < MK_NAME_LENGTH; i++) {
        microkit_name[i] = handoff->name[i];
    }
    microkit_passive = handoff->passive != 0;
    microkit_irqs = handoff->irqs;
    microkit_notifications = handoff->notifications;
    microkit_pps = handoff->pps;
    microkit_ioports = handoff->ioports;
    mk_wait.spin_cycles = handoff->spin_cycles;
    mk_wait.kind = handoff->wait;
    mk_wait.cpus = (uint32_t)handoff->cpus;
    mk_wait.rest = handoff->rest_cycles;
    if (handoff->version != MK_ABI_VERSION || handoff->size != sizeof(*handoff) || handoff->end_count > MK_MAX_ENDS) {
        mk_complain("mk_start", "the handoff is not of this library's version");
        microkit_internal_crash(seL4_InvalidArgument);
    }
    mk_cspace[0] = handoff->cspace[0];
    mk_cspace[1] = handoff->cspace[1];
    mk_launcher_take(handoff);
    for (uint32_t id = 0; id < MK_MAX_ENDS; id++) {
        mk_ends[id].rights = 0;
    }
    for (uint32_t i = 0; i < handoff->end_count; i++) {
        const struct mk_end *given = &handoff->ends[i];
        if (given->id >= MK_MAX_ENDS) {
            mk_complain_of("mk_start", "the handoff has an invalid channel", given->id);
            microkit_internal_crash(seL4_InvalidArgument);
        }
        struct mk_out *out = (struct mk_out *)(uintptr_t)given->out;
        mk_ends[given->id] = (struct end){
            .out = out,
            .in = (const struct mk_out *)(uintptr_t)given->in,
            .peer = (const struct mk_status *)(uintptr_t)given->peer_status,
            .notified = load_relaxed(&out->notified),
            .calls = load_relaxed(&out->seq) & ~(uint64_t)MK_SEQ_WITHDRAWN,
            .events = load_relaxed(&out->events),
            .peer_doorbell = given->peer_doorbell,
            .rights = given->rights | (mk_scheduled ? END_SCHEDULED : 0),
        };
    }
    mk_loop_take_ends(handoff);
}

/* Constructors get what the dynamic linker would give them: argument count, arguments, environment. All are empty. */
typedef void (*constructor)(int argc, char **argv, char **envp);

static char *nothing[] = {0};

static void run_constructor(uint64_t address)
{
    ((constructor)(uintptr_t)address)(0, nothing, nothing);
}

static void run_constructors(const struct mk_functions *table)
{
    const uint64_t *functions = (const uint64_t *)(uintptr_t)table->address;
    for (uint64_t i = 0; i < table->count; i++) {
        run_constructor(functions[i]);
    }
}

static void begin(const struct mk_handoff *handoff) __attribute__((noreturn));
static void begin(const struct mk_handoff *handoff)
{
    take_handoff(handoff);
    __atomic_store_n(&mk_status->asleep, MK_AWAKE, __ATOMIC_RELAXED);
    mk_channels_go_on();
    say_where(MK_IN_START, 0);
    run_constructors(&handoff->preinit_array);
    if (handoff->dt_init != 0) {
        run_constructor(handoff->dt_init);
    }
    run_constructors(&handoff->init_array);
    say_where(MK_IN_INIT, 0);
    ((void (*)(void))(uintptr_t)handoff->init)();
    mk_run_deferred();
    mk_loop();
}

void mk_start(const struct mk_handoff *handoff)
{
    system_call(SYS_EXIT_GROUP, MK_READY, 0, 0);
    begin(handoff);
}

/* Reached from mk_restart. What the last handler has deferred is still to be done, as is all else in memory. */
void mk_begin_again(const struct mk_handoff *handoff) __attribute__((noreturn, used));
void mk_begin_again(const struct mk_handoff *handoff)
{
    begin(handoff);
}

/* The code that was left may have been copying downwards or in the midst of x87 arithmetic. */
__attribute__((naked)) void mk_restart(const struct mk_handoff *handoff __attribute__((unused)))
{
    __asm__("cld\n\t"
            "fninit\n\t"
            "xorl %ebp, %ebp\n\t"
            "andq $-16, %rsp\n\t"
            "call mk_begin_again");
}
