/* test_world.c — determinism, crashes, pauses, clocks and the network of the simulated world, driven by a
 * small echo program with a journal that is as careless or careful as each test needs. */
#include "env/world.h"
#include <rq/util/list.h>
#include <rq/util/mem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- the program: an echo server that journals each batch of bytes, and a client that counts ---- */

struct server {
    struct env *env;
    struct env_listener *listener;
    struct env_job job;
    uint8_t *pending; /* bytes to journal, then to echo */
    size_t pending_len;
    uint64_t journal_at;
    struct env_stream *stream, *asking; /* now; whose bytes are being journaled */
    bool busy;
};

struct client {
    struct env *env;
    struct env_stream *stream;
    struct env_timer timer;
    struct env_turn turn;
    uint64_t sent, echoed;
    uint32_t left;
    bool open;
};

/* What the tests look at from outside; not in any pool. */
static struct seen {
    uint64_t echoed, echoed_at_end, connects, ends, last_rc, closed, turns;
    bool mismatch;
} seen;

static void server_journal(struct server *s);

static void server_run(struct env_job *j)
{
    struct server *s = LIST_ENTRY(j, struct server, job);
    struct env_file *f;

    if (env_file_open(s->env, "journal", ENV_FILE_CREATE, &f) != 0)
        env_halt(s->env, "journal");
    if (env_file_write(f, s->pending, s->pending_len, s->journal_at) != 0 || env_file_sync(f) != 0)
        env_halt(s->env, "journal write");
    env_file_close(f);
    if (env_dir_sync(s->env, ".") != 0)
        env_halt(s->env, "journal dir");
}

static void server_done(struct env_job *j)
{
    struct server *s = LIST_ENTRY(j, struct server, job);
    struct slice part = slice_of(s->pending, s->pending_len);

    s->busy = false;
    s->journal_at += s->pending_len;
    if (s->stream && s->stream == s->asking)
        assert_int_equal(env_stream_write(s->stream, &part, 1, 1 << 20) == ERR_FULL, 0);
    mem_free(s->pending);
    s->pending = NULL;
    s->pending_len = 0;
    if (s->stream)
        env_stream_read_start(s->stream);
}

static void server_journal(struct server *s)
{
    s->busy = true;
    s->job.run = server_run;
    s->job.done = server_done;
    env_job_submit(s->env, ENV_LANE_LOG, &s->job);
}

static void server_data(void *ctx, struct slice bytes)
{
    struct server *s = ctx;
    assert_false(s->busy);
    s->pending = mem_must_alloc(bytes.len);
    s->pending_len = bytes.len;
    memcpy(s->pending, bytes.data, bytes.len);
    s->asking = s->stream;
    env_stream_read_stop(s->stream);
    server_journal(s);
}

static void server_ended(void *ctx, int rc)
{
    struct server *s = ctx;
    (void)rc;
    env_stream_close(s->stream);
    s->stream = NULL;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static const struct env_stream_events server_events = {
    .data = server_data, .ended = server_ended, .drained = nothing, .closed = nothing};

static void server_accepted(void *ctx, struct env_stream *stream)
{
    struct server *s = ctx;
    if (s->stream)
        env_stream_close(s->stream);
    s->stream = stream;
    env_stream_attach(stream, &server_events, s);
    if (!s->busy)
        env_stream_read_start(stream);
}

static void server_boot(struct env *e, void *ctx)
{
    struct server *s = mem_must_zalloc(sizeof(*s));
    (void)ctx;
    s->env = e;
    assert_int_equal(env_listen(e, ":4001", server_accepted, s, &s->listener, NULL), 0);
}

static void client_connect(struct client *c);

static void client_turn(struct env_turn *t)
{
    struct client *c = t->ctx;
    uint8_t bytes[64] = {0};
    struct slice parts[2] = {slice_of(bytes, 10), slice_of(bytes + 10, 54)};

    seen.turns++;
    if (!c->open || c->left == 0)
        return;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(c->sent + i);
    if (env_stream_write(c->stream, parts, 2, 1 << 20) == 0) {
        c->sent += sizeof(bytes);
        c->left--;
    }
}

static void client_opened(void *ctx, int rc)
{
    struct client *c = ctx;
    if (rc) {
        seen.last_rc = (uint64_t)(int64_t)rc;
        env_stream_close(c->stream);
        c->stream = NULL;
        return;
    }
    seen.connects++;
    c->open = true;
    env_stream_read_start(c->stream);
    env_turn_schedule(&c->turn);
}

static void client_data(void *ctx, struct slice bytes)
{
    struct client *c = ctx;
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.data[i] != (uint8_t)(c->echoed + i))
            seen.mismatch = true;
    c->echoed += bytes.len;
    seen.echoed += bytes.len;
    env_turn_schedule(&c->turn);
}

static void client_ended(void *ctx, int rc)
{
    struct client *c = ctx;
    if (seen.ends++ == 0)
        seen.echoed_at_end = seen.echoed;
    c->open = false;
    seen.last_rc = (uint64_t)(int64_t)rc;
    env_stream_close(c->stream);
    c->stream = NULL;
}

static void client_closed(void *ctx)
{
    (void)ctx;
    seen.closed++;
}

static const struct env_stream_events client_events = {.opened = client_opened,
                                                       .data = client_data,
                                                       .ended = client_ended,
                                                       .drained = nothing,
                                                       .closed = client_closed};

static void client_connect(struct client *c)
{
    c->sent = 0;
    c->echoed = 0;
    assert_int_equal(env_stream_connect(c->env, "n1:4001", &client_events, c, &c->stream), 0);
}

static void client_tick(struct env_timer *t)
{
    struct client *c = t->ctx;
    if (!c->stream && c->left)
        client_connect(c);
    env_turn_schedule(&c->turn);
    env_timer_arm(t, 50 * ENV_MS_NS + env_random_u64(c->env) % ENV_MS_NS);
}

static void client_boot(struct env *e, void *ctx)
{
    struct client *c = mem_must_zalloc(sizeof(*c));
    c->env = e;
    c->left = *(const uint32_t *)ctx;
    env_timer_init(&c->timer, e, client_tick, c);
    env_turn_init(&c->turn, e, client_turn, c);
    env_timer_arm(&c->timer, ENV_MS_NS);
}

static uint32_t rounds;

static struct world *echo_world(uint64_t seed, uint32_t round_count, FILE *trace)
{
    struct world_config c;
    struct world *w;

    world_config_default(&c, seed);
    c.trace = trace;
    w = world_create(&c);
    memset(&seen, 0, sizeof(seen));
    rounds = round_count;
    host_start(world_host_add(w, "n1", NULL), server_boot, NULL);
    host_start(world_host_add(w, "c1", NULL), client_boot, &rounds);
    return w;
}

static bool hash_equal(struct world_hash a, struct world_hash b)
{
    return a.a == b.a && a.b == b.b;
}

/* ---- determinism ---- */

enum perturb { AS_IS, DELAY, FLIP, SWAP };

static struct world_hash run_hash(uint64_t seed, enum perturb what, FILE *trace)
{
    struct world *w = echo_world(seed, 100, trace);
    if (what == DELAY)
        world_delay_event(w, 50);
    if (what == FLIP)
        sim_disk_flip_write(host_disk(world_host(w, "n1")), 7);
    if (what == SWAP)
        world_swap_segment(w, 9);
    (void)world_run(w, 10 * ENV_S_NS);
    struct world_hash h = world_hash(w);
    world_destroy(w);
    return h;
}

static void test_same_seed_gives_the_same_hash(void **state)
{
    (void)state;
    struct world_hash first = run_hash(1, AS_IS, NULL);
    assert_int_equal(seen.echoed, 6400);
    assert_false(seen.mismatch);
    assert_false(hash_equal(first, run_hash(2, AS_IS, NULL)));
    assert_true(hash_equal(first, run_hash(1, AS_IS, NULL)));
}

static void test_trace_file_does_not_change_the_hash(void **state)
{
    (void)state;
    FILE *f = tmpfile();
    struct world_hash traced = run_hash(1, AS_IS, f);
    assert_true(ftell(f) > 1000);
    (void)fclose(f);
    assert_true(hash_equal(traced, run_hash(1, AS_IS, NULL)));
}

static void test_smallest_perturbations_change_the_hash(void **state)
{
    (void)state;
    struct world_hash h = run_hash(1, AS_IS, NULL);
    assert_false(hash_equal(h, run_hash(1, DELAY, NULL)));
    assert_false(hash_equal(h, run_hash(1, FLIP, NULL)));
    assert_false(hash_equal(h, run_hash(1, SWAP, NULL)));
}

/* ---- crashes ---- */

static void restart(void *ctx)
{
    struct host *h = ctx;
    if (!host_up(h))
        host_start(h, server_boot, NULL);
}

/* Ends anywhere, also inside jobs and with memory, handles, timers and streams held: ASan sees no leak. */
static void test_crash_at_every_call_leaves_nothing_behind(void **state)
{
    (void)state;
    for (uint64_t k = 1; k <= 60; k++) {
        struct world *w = echo_world(k, 30, NULL);
        struct host *h = world_host(w, "n1");
        host_crash_at_call(h, k % 2 ? HOST_CRASH_POWER : HOST_CRASH_PROCESS, k);
        world_after(w, 2 * ENV_S_NS, restart, h);
        (void)world_run(w, 30 * ENV_S_NS);
        assert_int_equal(host_incarnation(h), 2);
        assert_true(seen.connects >= 1);
        assert_false(seen.mismatch);
        assert_int_equal(host_pool_live(h) > 0, 1);
        world_destroy(w);
    }
}

struct promise {
    struct host *server;
    uint64_t broken, checked;
};

/* Everything echoed is in the journal, durably, before a byte leaves. */
static void check_promise(void *ctx, const struct world_bytes *b)
{
    struct promise *p = ctx;
    if (b->host != p->server)
        return;
    assert_string_equal(b->local, "n1:4001");
    p->checked++;
    p->broken += !sim_disk_is_durable(host_disk(b->host), "journal");
}

static void test_tap_sees_bytes_before_they_leave(void **state)
{
    (void)state;
    struct world *w = echo_world(3, 50, NULL);
    struct promise p = {world_host(w, "n1"), 0, 0};
    world_on_stream_bytes(w, check_promise, &p);
    (void)world_run(w, 10 * ENV_S_NS);
    assert_true(p.checked >= 20);
    assert_int_equal(p.broken, 0);
    world_destroy(w);
}

static void crash_at_fifth(void *ctx, const struct world_bytes *b)
{
    uint64_t *count = ctx;
    if (strcmp(host_name(b->host), "n1") == 0 && ++*count == 5)
        host_crash(b->host, HOST_CRASH_POWER);
}

static void test_oracle_may_crash_the_host_that_writes(void **state)
{
    (void)state;
    struct world *w = echo_world(3, 50, NULL);
    uint64_t count = 0;
    world_on_stream_bytes(w, crash_at_fifth, &count);
    (void)world_run(w, 10 * ENV_S_NS);
    assert_int_equal(count, 5);
    assert_false(host_up(world_host(w, "n1")));
    assert_int_equal(world_fault_count(w, WORLD_FAULT_POWER), 1);
    assert_true(seen.echoed < 50 * 64);
    world_destroy(w);
}

static void halt_now(struct env *e, void *ctx)
{
    assert_non_null(mem_must_alloc(100));
    (void)ctx;
    env_halt(e, "lost trust in the disk");
}

static void note_halt(void *ctx, struct host *h, const char *reason)
{
    assert_false(host_up(h));
    assert_string_equal(reason, "lost trust in the disk");
    ++*(int *)ctx;
}

static void test_halt_ends_the_incarnation_and_tells(void **state)
{
    (void)state;
    struct world *w = echo_world(1, 1, NULL);
    int halts = 0;
    world_on_halt(w, note_halt, &halts);
    (void)world_run(w, ENV_S_NS);
    assert_false(host_call(world_host(w, "n1"), halt_now, NULL));
    assert_int_equal(halts, 1);
    assert_int_equal(world_fault_count(w, WORLD_FAULT_HALT), 1);
    world_destroy(w);
}

static void leak_and_exit(struct env *e, void *ctx)
{
    void *p = mem_must_alloc(1);
    if (*(bool *)ctx)
        mem_free(p);
    host_exit(host_of_env(e));
}

static void leaky_boot(struct env *e, void *ctx)
{
    (void)e, (void)ctx;
}

static void test_exit_counts_what_was_left(void **state)
{
    (void)state;
    struct world *w = echo_world(1, 1, NULL);
    struct host *h = world_host_add(w, "n2", NULL);
    for (int clean = 0; clean < 2; clean++) {
        bool frees = clean != 0;
        host_start(h, leaky_boot, NULL);
        (void)world_run_for(w, ENV_S_NS);
        (void)host_call(h, leak_and_exit, &frees);
        assert_false(host_up(h));
        assert_int_equal(host_exit_leak(h), clean ? 0 : 1);
    }
    world_destroy(w);
}

/* ---- pauses and clocks ---- */

static void test_paused_host_does_nothing_and_then_goes_on(void **state)
{
    (void)state;
    struct world *w = echo_world(1, 2000, NULL);
    struct host *h = world_host(w, "n1");
    (void)world_run(w, 100 * ENV_MS_NS);
    host_pause(h);
    uint64_t calls = host_env_calls(h);
    (void)world_run_for(w, 2 * ENV_S_NS);
    assert_int_equal(host_env_calls(h), calls);
    uint64_t before = seen.echoed;
    host_resume(h);
    (void)world_run_for(w, 10 * ENV_S_NS);
    assert_true(seen.echoed > before);
    assert_false(seen.mismatch);
    world_destroy(w);
}

struct clocked {
    struct env *env;
    struct env_timer timer;
    uint64_t armed_at_ns;
    int fired;
};

static struct clocked *clocked;

static void clock_fire(struct env_timer *t)
{
    struct clocked *c = t->ctx;
    assert_true(env_now_ns(c->env) >= c->armed_at_ns + 7 * ENV_MS_NS + 13);
    if (++c->fired == 100)
        return;
    c->armed_at_ns = env_now_ns(c->env);
    env_timer_arm(t, 7 * ENV_MS_NS + 13);
}

static void clock_boot(struct env *e, void *ctx)
{
    struct clocked *c = clocked = mem_must_zalloc(sizeof(*c));
    (void)ctx;
    c->env = e;
    env_timer_init(&c->timer, e, clock_fire, c);
    c->armed_at_ns = env_now_ns(e);
    env_timer_arm(&c->timer, 7 * ENV_MS_NS + 13);
}

static void test_timers_never_fire_early_on_a_drifting_clock(void **state)
{
    (void)state;
    for (int32_t ppm = -50000; ppm <= 50000; ppm += 25000) {
        struct world_config c;
        struct host_config hc;
        world_config_default(&c, 5);
        c.timer_late_max_ns = 0;
        struct world *w = world_create(&c);
        host_config_default(&hc);
        hc.drift_ppm = ppm;
        struct host *h = world_host_add(w, "n1", &hc);
        host_start(h, clock_boot, NULL);
        (void)world_run(w, 2 * ENV_S_NS);
        assert_int_equal(clocked->fired, 100);
        int64_t wall = host_wall_ns(h);
        host_wall_jump(h, -3600 * (int64_t)ENV_S_NS);
        assert_true(wall - host_wall_ns(h) == 3600 * (int64_t)ENV_S_NS);
        world_destroy(w);
    }
}

/* ---- the network ---- */

static void test_partition_generators_cut_what_they_say(void **state)
{
    (void)state;
    struct world_config c;
    struct host *h[5];
    world_config_default(&c, 1);
    struct world *w = world_create(&c);
    for (int i = 0; i < 5; i++)
        h[i] = world_host_add(w, (const char *[]){"n1", "n2", "n3", "n4", "n5"}[i], NULL);

    world_partition_isolate(w, h, 5, 2);
    assert_false(world_link_get(w, h[2], h[0]));
    assert_false(world_link_get(w, h[4], h[2]));
    assert_true(world_link_get(w, h[0], h[4]));
    world_partition_halves(w, h, 5, 3);
    assert_true(world_link_get(w, h[0], h[1]));
    assert_true(world_link_get(w, h[2], h[3]));
    assert_false(world_link_get(w, h[1], h[2]));
    world_partition_bridge(w, h, 5, 2);
    assert_true(world_link_get(w, h[0], h[2]));
    assert_true(world_link_get(w, h[4], h[2]));
    assert_false(world_link_get(w, h[0], h[4]));
    world_partition_ring(w, h, 5);
    for (int i = 0; i < 5; i++) {
        int sees = 1;
        for (int k = 0; k < 5; k++)
            sees += k != i && world_link_get(w, h[i], h[k]);
        assert_int_equal(sees, 3);
    }
    world_links_heal(w);
    world_partition_one_way(w, h[0], h[1]);
    assert_false(world_link_get(w, h[0], h[1]));
    assert_true(world_link_get(w, h[1], h[0]));
    world_destroy(w);
}

static void test_partition_stops_bytes_and_healing_lets_them_through(void **state)
{
    (void)state;
    struct world *w = echo_world(4, 100000, NULL);
    struct host *n = world_host(w, "n1"), *c = world_host(w, "c1");
    (void)world_run(w, ENV_S_NS);
    assert_true(seen.echoed > 0);
    world_partition_one_way(w, n, c);
    (void)world_run_for(w, 100 * ENV_MS_NS);
    uint64_t before = seen.echoed;
    (void)world_run_for(w, 5 * ENV_S_NS);
    assert_int_equal(seen.echoed, before);
    world_links_heal(w);
    (void)world_run_for(w, 20 * ENV_S_NS);
    assert_true(seen.echoed > before);
    assert_false(seen.mismatch);
    assert_int_equal(seen.connects, 1);
    world_destroy(w);
}

static void test_long_partition_breaks_the_connection(void **state)
{
    (void)state;
    struct world *w = echo_world(4, 100000, NULL);
    (void)world_run(w, ENV_S_NS);
    world_partition_one_way(w, world_host(w, "c1"), world_host(w, "n1"));
    (void)world_run_for(w, 60 * ENV_S_NS);
    assert_true(seen.ends >= 1);
    world_destroy(w);
}

static void test_reset_after_k_bytes_delivers_k_at_most(void **state)
{
    (void)state;
    unsigned exact = 0;
    for (uint64_t k = 0; k <= 130; k++) {
        struct world *w = echo_world(k + 1, 2, NULL);
        world_net(w)->cut = k % 2 ? SIM_CUT_BYTE : SIM_CUT_RANDOM;
        struct host *n = world_host(w, "n1"), *c = world_host(w, "c1");
        world_reset_after(w, n, c, k, SIM_LEARN_BOTH);
        (void)world_run(w, 3 * ENV_S_NS);
        if (k < 128) {
            /* what arrived and was not read yet may be lost with the reset */
            assert_true(seen.echoed_at_end <= k);
            exact += seen.echoed_at_end == k;
            assert_int_equal(seen.ends, 1);
            assert_int_equal((int64_t)seen.last_rc, ERR_RESET);
            assert_int_equal(world_fault_count(w, WORLD_FAULT_RESET), 1);
        } else if (k > 128) {
            assert_int_equal(seen.echoed, 128);
            assert_int_equal(seen.ends, 0);
        }
        assert_false(seen.mismatch);
        world_destroy(w);
    }
    assert_true(exact > 40);
}

static void test_dead_process_refuses_and_dead_machine_is_silent(void **state)
{
    (void)state;
    for (int power = 0; power < 2; power++) {
        struct world *w = echo_world(9, 100000, NULL);
        struct host *n = world_host(w, "n1");
        (void)world_run(w, ENV_S_NS);
        host_crash(n, power ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
        (void)world_run_for(w, ENV_S_NS);
        assert_int_equal(seen.ends, power ? 0 : 1);
        if (!power)
            assert_int_equal((int64_t)seen.last_rc, ERR_REFUSED);
        host_start(n, server_boot, NULL);
        (void)world_run_for(w, 20 * ENV_S_NS);
        assert_int_equal(seen.ends, 1); /* the old connection met a process that never opened it */
        assert_int_equal(seen.connects, 2);
        assert_false(seen.mismatch);
        world_destroy(w);
    }
}

static void test_bytes_survive_every_network_fault_or_the_connection_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = echo_world(seed, 300, NULL);
        struct sim_net_config *n = world_net(w);
        n->latency = (enum sim_net_latency)(seed % 4);
        n->cut = (enum sim_net_cut)(seed % 3);
        n->loss_ppm = 20000;
        n->reset_ppm = 10000;
        n->half_open_ppm = 500000;
        n->refuse_ppm = 100000;
        n->hang_ppm = seed % 5 == 0 ? 100000 : 0;
        n->send_buffer_bytes = 100;
        n->receive_window_bytes = 50;
        (void)world_run(w, 300 * ENV_S_NS);
        assert_false(seen.mismatch);
        assert_true(seen.echoed > 0);
        world_destroy(w);
    }
}

/* ---- finish: the answer arrives although input was never read ---- */

static const struct env_stream_events rude_events = {
    .data = server_data, .ended = server_ended, .drained = nothing, .closed = client_closed};

static void rude_accepted(void *ctx, struct env_stream *stream)
{
    struct slice answer = slice_str("no");
    (void)ctx;
    env_stream_attach(stream, &rude_events, NULL);
    assert_int_equal(env_stream_write(stream, &answer, 1, 100), 0);
    env_stream_finish(stream);
}

static void rude_boot(struct env *e, void *ctx)
{
    struct env_listener *l;
    (void)ctx;
    assert_int_equal(env_listen(e, ":4001", rude_accepted, NULL, &l, NULL), 0);
}

static void test_finish_is_not_spoilt_by_unread_input(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world_config c;
        world_config_default(&c, seed);
        struct world *w = world_create(&c);
        memset(&seen, 0, sizeof(seen));
        rounds = 1;
        host_start(world_host_add(w, "n1", NULL), rude_boot, NULL);
        host_start(world_host_add(w, "c1", NULL), client_boot, &rounds);
        (void)world_run(w, 5 * ENV_S_NS);
        assert_int_equal(seen.echoed_at_end, 2);
        assert_int_equal((int64_t)seen.last_rc, ERR_EOF);
        assert_int_equal(seen.closed, 2);
        world_destroy(w);
    }
}

static void test_fault_names_are_there(void **state)
{
    (void)state;
    assert_string_equal(world_fault_name(WORLD_FAULT_CRASH), "crash");
    assert_string_equal(world_fault_name(WORLD_FAULT_DROPPED), "dropped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_gives_the_same_hash),
        cmocka_unit_test(test_trace_file_does_not_change_the_hash),
        cmocka_unit_test(test_smallest_perturbations_change_the_hash),
        cmocka_unit_test(test_crash_at_every_call_leaves_nothing_behind),
        cmocka_unit_test(test_tap_sees_bytes_before_they_leave),
        cmocka_unit_test(test_oracle_may_crash_the_host_that_writes),
        cmocka_unit_test(test_halt_ends_the_incarnation_and_tells),
        cmocka_unit_test(test_exit_counts_what_was_left),
        cmocka_unit_test(test_paused_host_does_nothing_and_then_goes_on),
        cmocka_unit_test(test_timers_never_fire_early_on_a_drifting_clock),
        cmocka_unit_test(test_partition_generators_cut_what_they_say),
        cmocka_unit_test(test_partition_stops_bytes_and_healing_lets_them_through),
        cmocka_unit_test(test_long_partition_breaks_the_connection),
        cmocka_unit_test(test_reset_after_k_bytes_delivers_k_at_most),
        cmocka_unit_test(test_dead_process_refuses_and_dead_machine_is_silent),
        cmocka_unit_test(test_bytes_survive_every_network_fault_or_the_connection_ends),
        cmocka_unit_test(test_finish_is_not_spoilt_by_unread_input),
        cmocka_unit_test(test_fault_names_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
