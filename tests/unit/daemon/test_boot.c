/* Clusters founded by several nodes (daemon.md §3.5), in the simulated world: whole nodes with the daemon's boot
 * loop, started at random moments over a network with random delays, refusals and resets, from many seeds.
 *
 * Judged throughout: all that ever found or adopt a cluster found or adopt the same one. */
#include "boot.h"

#include <env/world.h>
#include <rq/util/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NODES_MAX = 5, SEEDS = 70 };

struct machine {
    struct host *host;
    char name[16], addr[32];
    struct node *node;
    struct boot *boot;
    struct wire_conf founders; /* count 0: not founding */
    bool done;
    struct node_status status; /* as last looked at */
};

static struct {
    struct world *world;
    struct machine machines[NODES_MAX];
    const char *addrs[NODES_MAX];
    uint32_t count, listed, expect;
    uint64_t cluster_id; /* of all; 0: none yet */
    uint64_t seed;
} t;

/* ---- the program ------------------------------------------------------------------------------------- */

static void open_node(struct machine *m);

static void boot_done(void *ctx, int rc, const char *words)
{
    struct machine *m = ctx;
    m->boot = NULL;
    m->done = true;
    if (rc != 0)
        fail_msg("seed %llu: %s: %s", (unsigned long long)t.seed, m->name, words);
}

static void founder_stopped(void *ctx)
{
    struct machine *m = ctx;
    node_destroy(m->node);
    m->node = NULL;
    open_node(m);
}

static void boot_found(void *ctx, const struct wire_conf *founders)
{
    struct machine *m = ctx;
    m->founders = *founders;
    node_stop(m->node, founder_stopped, m);
}

static void opened(void *ctx, int rc, const char *why)
{
    static const struct boot_events events = {.done = boot_done, .found = boot_found};
    struct machine *m = ctx;
    const struct boot_config config = {.addrs = t.addrs,
                                       .count = t.listed,
                                       .voter = true,
                                       .connect_timeout_ms = 2000,
                                       .anonymous = true};
    if (rc != 0)
        fail_msg("seed %llu: %s: %s", (unsigned long long)t.seed, m->name, why);
    if (m->boot)
        boot_reopened(m->boot, m->node);
    else
        assert_int_equal(boot_start(host_env(m->host), m->node, &config, &events, m, &m->boot), 0);
}

static void open_node(struct machine *m)
{
    struct err_text why;
    const struct node_config config = {
        .name = m->name,
        .dir = "data",
        .raft_bind = m->addr,
        .raft_addr = m->addr,
        .api_url = "http://api",
        .version = "v10",
        .codec = api_codec(),
        .bootstrap = m->founders.count > 0,
        .founders = m->founders.count > 0 ? &m->founders : NULL,
        .bootstrap_expect = t.expect,
        .db = {.statement_cache = 4,
               .batch_max = 10,
               .cache_pages = 100,
               .wal_limit_bytes = 1 << 20},
        .segment_bytes = 64 * 1024,
        .heartbeat_timeout_ms = 500,
        .election_timeout_ms = 500,
        .lease_timeout_ms = 250,
        .apply_timeout_ms = 1000,
        .reader_count = 2,
        .reader_jobs = 1,
    };
    assert_int_equal(node_create(host_env(m->host), &config, opened, m, &m->node, &why), 0);
}

static void boot_host(struct env *e, void *ctx)
{
    struct machine *m = ctx;
    (void)e;
    m->node = NULL; /* whatever it was belonged to the incarnation before */
    m->boot = NULL;
    m->founders.count = 0;
    m->done = false;
    open_node(m);
}

/* ---- the world ----------------------------------------------------------------------------------------- */

static void start_later(void *ctx)
{
    struct machine *m = ctx;
    if (!host_up(m->host))
        host_start(m->host, boot_host, m);
}

static void set_up_world(uint64_t seed, uint32_t count, uint32_t listed, uint32_t expect)
{
    struct world_config config;
    struct prng chance;
    memset(&t, 0, sizeof t);
    world_config_default(&config, seed);
    config.net.refuse_ppm = seed % 3 == 0 ? 100 * 1000 : 0;
    config.net.reset_ppm = seed % 4 == 0 ? 5000 : 0;
    config.net.latency_max_ns = (seed % 5 == 0 ? 60 : 5) * ENV_MS_NS;
    t.world = world_create(&config);
    t.seed = seed;
    t.count = count;
    t.listed = listed;
    t.expect = expect;
    world_stream_init(t.world, &chance, "starts", 0);
    for (uint32_t i = 0; i < count; i++) {
        struct machine *m = &t.machines[i];
        (void)snprintf(m->name, sizeof m->name, "n%u", i);
        (void)snprintf(m->addr, sizeof m->addr, "n%u:4002", i);
        m->host = world_host_add(t.world, m->name, NULL);
        t.addrs[i] = m->addr;
        const uint64_t late = seed % 2 ? prng_below(&chance, 4000) : prng_below(&chance, 20);
        world_after(t.world, late * ENV_MS_NS, start_later, m);
    }
}

static void look(struct env *e, void *ctx)
{
    struct machine *m = ctx;
    (void)e;
    memset(&m->status, 0, sizeof m->status);
    if (m->node)
        node_status_get(m->node, &m->status);
}

static void judge(void)
{
    for (uint32_t i = 0; i < t.count; i++) {
        struct machine *m = &t.machines[i];
        if (!host_up(m->host) || !host_call(m->host, look, m))
            continue;
        if (!m->status.open || m->status.cluster_id == 0)
            continue;
        if (t.cluster_id == 0)
            t.cluster_id = m->status.cluster_id;
        if (t.cluster_id != m->status.cluster_id)
            fail_msg("seed %llu: %s belongs to a second cluster", (unsigned long long)t.seed,
                     m->name);
    }
}

static void run_judged(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 20) {
        (void)world_run_for(t.world, 20 * ENV_MS_NS);
        judge();
    }
}

static bool all_done(void)
{
    for (uint32_t i = 0; i < t.count; i++)
        if (!t.machines[i].done)
            return false;
    return true;
}

static void expect_one_cluster_of_all(void)
{
    for (uint32_t k = 0; k < 300 && !all_done(); k++)
        run_judged(200);
    run_judged(3000);
    for (uint32_t i = 0; i < t.count; i++) {
        const struct machine *m = &t.machines[i];
        if (!m->done || m->status.member_count != t.count || !m->status.voter)
            fail_msg("seed %llu: %s: done %d, %u members", (unsigned long long)t.seed, m->name,
                     m->done, m->status.member_count);
    }
    world_destroy(t.world);
}

/* ---- claims --------------------------------------------------------------------------------------------- */

static void test_as_many_as_expected_found_one_cluster(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        set_up_world(seed, 3, 3, 3);
        expect_one_cluster_of_all();
    }
}

/* Any three of five may be the first set of any of them. */
static void test_more_than_expected_found_one_cluster(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        set_up_world(seed, 5, 5, 3);
        expect_one_cluster_of_all();
    }
}

/* Those that are not on the list join. */
static void test_who_is_not_listed_joins(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        set_up_world(seed, 4, 3, 3);
        expect_one_cluster_of_all();
    }
}

static void test_crashes_while_founding(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct prng chance;
        set_up_world(seed, 3, 3, 3);
        world_stream_init(t.world, &chance, "crashes", 0);
        for (uint32_t k = 0; k < 12; k++) {
            struct machine *m = &t.machines[prng_below(&chance, t.count)];
            run_judged(prng_below(&chance, 30) * 20);
            if (!host_up(m->host))
                continue;
            host_crash(m->host, k % 3 ? HOST_CRASH_PROCESS : HOST_CRASH_POWER);
            m->node = NULL;
            m->done = false;
            world_after(t.world, prng_below(&chance, 500) * ENV_MS_NS, start_later, m);
        }
        run_judged(1000);
        expect_one_cluster_of_all();
    }
}

static bool living_done(const struct machine *gone)
{
    for (uint32_t i = 0; i < t.count; i++)
        if (&t.machines[i] != gone && !t.machines[i].done)
            return false;
    return true;
}

/* It founded, one of the living adopted its cluster, and it died before that one had an entry: nobody but the dead
 * knows who belongs to it, and the living may not begin another. */
static bool adopted_from(const struct machine *gone)
{
    for (uint32_t i = 0; i < t.count; i++)
        if (&t.machines[i] != gone && t.machines[i].status.cluster_id != 0 &&
            t.machines[i].status.member_count == 0)
            return true;
    return false;
}

/* Whoever has others' word may die before it founds: those who stay found without it, with the fourth. */
static void test_a_word_given_to_one_who_is_gone_lapses(void **state)
{
    uint32_t stuck = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct prng chance;
        set_up_world(seed, 4, 4, 3);
        world_stream_init(t.world, &chance, "deaths", 0);
        struct machine *gone = &t.machines[prng_below(&chance, t.count)];
        do
            run_judged(20);
        while (!host_up(gone->host));
        run_judged(prng_below(&chance, 150) * 20);
        host_crash(gone->host, HOST_CRASH_POWER);
        gone->node = NULL;
        for (uint32_t k = 0; k < 150 && !living_done(gone); k++)
            run_judged(1000);
        if (!living_done(gone) && !adopted_from(gone))
            fail_msg("seed %llu: no cluster without %s", (unsigned long long)seed, gone->name);
        stuck += !living_done(gone);
        world_destroy(t.world);
    }
    assert_true(stuck <= 5);
}

static int group_set_up(void **state)
{
    (void)state;
    return db_library_init(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_expected_found_one_cluster),
        cmocka_unit_test(test_more_than_expected_found_one_cluster),
        cmocka_unit_test(test_who_is_not_listed_joins),
        cmocka_unit_test(test_crashes_while_founding),
        cmocka_unit_test(test_a_word_given_to_one_who_is_gone_lapses),
    };
    return cmocka_run_group_tests(tests, group_set_up, NULL);
}
