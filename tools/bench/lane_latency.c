/* lane_latency — what a round trip through a lane costs: submit an empty job, wait for done().
 *
 * lane_latency [rounds]: one job at a time on LOG (two thread wake-ups each), then bursts of 16, for
 * which the wake-ups are shared. Compare with the eventfd ping-pong of the machine, not with zero. */
#include <rq/env_uv.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <stdlib.h>

enum { BURST = 16 };

struct bench {
    struct env *env;
    struct env_job jobs[BURST];
    unsigned burst;
    unsigned open; /* jobs of this burst not done */
    unsigned round;
    unsigned rounds;
    uint64_t began_ns;
    uint64_t *took_ns;
    struct env_timer start;
};

static struct bench bench;

static void job_run(struct env_job *j)
{
    (void)j;
}

static void submit_burst(void)
{
    bench.began_ns = env_now_ns(bench.env);
    bench.open = bench.burst;
    for (unsigned i = 0; i < bench.burst; i++)
        env_job_submit(bench.env, ENV_LANE_LOG, &bench.jobs[i]);
}

static void job_done(struct env_job *j)
{
    (void)j;
    if (--bench.open)
        return;
    bench.took_ns[bench.round++] = env_now_ns(bench.env) - bench.began_ns;
    if (bench.round == bench.rounds)
        env_uv_stop(bench.env);
    else
        submit_burst();
}

static void on_start(struct env_timer *t)
{
    (void)t;
    submit_burst();
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void run(unsigned burst)
{
    bench.burst = burst;
    bench.round = 0;
    for (unsigned i = 0; i < BURST; i++)
        bench.jobs[i] = (struct env_job){.run = job_run, .done = job_done};
    env_timer_init(&bench.start, bench.env, on_start, NULL);
    env_timer_arm(&bench.start, 0);
    env_uv_run(bench.env);
    qsort(bench.took_ns, bench.rounds, sizeof(*bench.took_ns), by_value);
    (void)printf("LOG lane, %2u at once: p50 %5.1f us, p90 %5.1f us, p99 %6.1f us\n", burst,
                 (double)bench.took_ns[bench.rounds / 2] / 1000.0,
                 (double)bench.took_ns[bench.rounds * 9 / 10] / 1000.0,
                 (double)bench.took_ns[bench.rounds * 99 / 100] / 1000.0);
}

int main(int argc, char **argv)
{
    struct env_uv_config config = {.read_threads = 1};
    struct err_text why;

    bench.rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 50000;
    ASSERT(bench.rounds > 0);
    bench.took_ns = mem_must_alloc(bench.rounds * sizeof(*bench.took_ns));
    if (env_uv_create(&config, &bench.env, &why) != 0) {
        (void)fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    run(1);
    run(BURST);
    env_uv_destroy(bench.env);
    mem_free(bench.took_ns);
    return 0;
}
