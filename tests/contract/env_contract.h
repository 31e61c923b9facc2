/* env_contract — what env.h promises, as cases that any environment must pass.
 *
 * The cases know an environment only through env.h and this driver. contract_uv.c and contract_sim.c
 * adapt the two environments; a difference found between them becomes a case here before it is
 * repaired. A failed check prints its place and ends the process: the state is of no more use. */
#ifndef ENV_CONTRACT_H
#define ENV_CONTRACT_H

#include <rq/env.h>
#include <stdbool.h>
#include <stddef.h>

struct contract;
struct contract_case {
    const char *name; /* NULL ends a list */
    void (*run)(struct contract *c);
};

struct contract_driver {
    const char *name;
    /* A fresh environment, and a folder in it that does not exist yet but may be created. */
    struct env *(*create)(void);
    struct env *(*net)(void); /* streams go through this; NULL: through the environment */
    const char *(*folder)(void);
    /* Run fn(ctx) on the loop, as a turn of its own. */
    void (*call)(void (*fn)(void *ctx), void *ctx);
    /* Run the loop until met(ctx), or until after_ns have passed: false. */
    bool (*run_until)(bool (*met)(void *ctx), void *ctx, uint64_t after_ns);
    /* An address to listen on; each call may give another one. Lent until the next call. */
    const char *(*listen_addr)(void);
    bool (*on_loop)(void);
    bool resolves_localhost; /* to whatever listen_addr names */
    void (*destroy)(void);
    const struct contract_case *own_cases; /* of this environment alone; may be NULL */
};

struct contract {
    const struct contract_driver *driver;
    struct env *env;
    struct env *net; /* for env_listen and env_stream_connect */
    bool inside; /* a call into env is on the stack: no callback may run now */
};

extern const struct contract_case contract_time_cases[];
extern const struct contract_case contract_file_cases[];
extern const struct contract_case contract_stream_cases[];
extern const struct contract_case contract_end_cases[];

/* Run all cases, or those whose name contains `only`. Exit status for main. */
int contract_main(const struct contract_driver *driver, const char *only);

_Noreturn void contract_fail(const char *expr, const char *file, int line);
#define CHECK(expr) ((expr) ? (void)0 : contract_fail(#expr, __FILE__, __LINE__))
_Noreturn void contract_fail_text(const char *got, const char *want, const char *file, int line);
#define CHECK_TEXT(got, want)                                                                      \
    (strcmp((got), (want)) == 0 ? (void)0 : contract_fail_text((got), (want), __FILE__, __LINE__))

/* For the cases. */
void contract_call(struct contract *c, void (*fn)(void *ctx), void *ctx);
void contract_until(struct contract *c, bool (*met)(void *ctx), void *ctx); /* it must come true */
void contract_linger(struct contract *c); /* long enough for a wrong callback to show itself */
void contract_job(struct contract *c, enum env_lane lane, void (*run)(struct contract *c));
void contract_callback(const struct contract *c); /* first thing in every callback of a case */
/* Wrap a submission: callbacks inside it are a failure. */
#define SUBMIT(c, statement)                                                                       \
    do {                                                                                           \
        (c)->inside = true;                                                                        \
        statement;                                                                                 \
        (c)->inside = false;                                                                       \
    } while (0)

#endif
