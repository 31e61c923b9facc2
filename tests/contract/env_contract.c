/* env_contract.c — running the cases, and what they share. */
#include "env_contract.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNTIL_S = 60, LINGER_MS = 30 };

_Noreturn void contract_fail(const char *expr, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, expr);
    exit(1);
}

_Noreturn void contract_fail_text(const char *got, const char *want, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d:\n  got  \"%s\"\n  want \"%s\"\n", file, line, got, want);
    exit(1);
}

void contract_callback(const struct contract *c)
{
    CHECK(!c->inside);
    CHECK(c->driver->on_loop());
}

void contract_call(struct contract *c, void (*fn)(void *ctx), void *ctx)
{
    c->driver->call(fn, ctx);
}

void contract_until(struct contract *c, bool (*met)(void *ctx), void *ctx)
{
    CHECK(c->driver->run_until(met, ctx, UNTIL_S * ENV_S_NS));
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

void contract_linger(struct contract *c)
{
    CHECK(!c->driver->run_until(never, NULL, LINGER_MS * ENV_MS_NS));
}

struct lane_job {
    struct env_job job;
    struct contract *c;
    enum env_lane lane;
    void (*run)(struct contract *c);
    bool done;
};

static void lane_job_run(struct env_job *j)
{
    struct lane_job *lj = (struct lane_job *)(void *)j;

    lj->run(lj->c);
}

static void lane_job_done(struct env_job *j)
{
    struct lane_job *lj = (struct lane_job *)(void *)j;

    contract_callback(lj->c);
    lj->done = true;
}

static void lane_job_submit(void *ctx)
{
    struct lane_job *lj = ctx;

    SUBMIT(lj->c, env_job_submit(lj->c->env, lj->lane, &lj->job));
}

static bool lane_job_is_done(void *ctx)
{
    return ((struct lane_job *)ctx)->done;
}

void contract_job(struct contract *c, enum env_lane lane, void (*run)(struct contract *c))
{
    struct lane_job lj = {.job = {.run = lane_job_run, .done = lane_job_done}};

    lj.c = c;
    lj.lane = lane;
    lj.run = run;
    contract_call(c, lane_job_submit, &lj);
    contract_until(c, lane_job_is_done, &lj);
}

static void run_cases(const struct contract_driver *driver, const struct contract_case *cases,
                      const char *only, unsigned *count)
{
    for (; cases->name; cases++) {
        if (only && !strstr(cases->name, only))
            continue;
        struct contract c = {.driver = driver};
        (void)printf("%s: %s\n", driver->name, cases->name);
        (void)fflush(stdout);
        c.env = driver->create();
        c.net = driver->net ? driver->net() : c.env;
        cases->run(&c);
        driver->destroy();
        (*count)++;
    }
}

int contract_main(const struct contract_driver *driver, const char *only)
{
    unsigned count = 0;

    if (driver->own_cases)
        run_cases(driver, driver->own_cases, only, &count);
    if (!driver->net) { /* else they are the environment's own, and were run on it */
        run_cases(driver, contract_time_cases, only, &count);
        run_cases(driver, contract_file_cases, only, &count);
    }
    run_cases(driver, contract_stream_cases, only, &count);
    run_cases(driver, contract_end_cases, only, &count);
    (void)printf("%s: %u cases passed\n", driver->name, count);
    return count ? 0 : 1;
}
