/* test_safety.c — thousands of short lives of small clusters: messages lost, doubled, reordered; disks
 * that lag behind; crashes that leave only the disk; partitions; membership changes; snapshots. After
 * each step raft_check and the tables of raft_world.h must hold: election safety, leader append-only,
 * log matching, leader completeness, state machine safety (thesis fig. 3.2), votes and acknowledgements
 * only from the disk, reads not older than what was committed when they were asked. Then all faults
 * end, and the cluster must lead, commit and agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft_world.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 1500, STEPS = 1500 };

/* What this seed likes to do; each run leaves some of it out. */
struct taste {
    uint32_t deliver, drop, duplicate, store, apply, read, time, crash, restart, cut, heal, conf,
        transfer, suspect, snapshot, install;
};

static uint32_t some(struct prng *p, uint32_t max)
{
    return prng_below(p, 3) == 0 ? 0 : (uint32_t)prng_below(p, max + 1);
}

static struct taste taste_of(struct prng *p)
{
    struct taste t = {.deliver = 400, .store = 120 + some(p, 200), .apply = 60};
    t.drop = some(p, 40);
    t.duplicate = some(p, 20);
    t.read = some(p, 30);
    t.time = 20 + some(p, 60);
    t.crash = some(p, 5);
    t.restart = 10;
    t.cut = some(p, 8);
    t.heal = 3;
    t.conf = some(p, 20);
    t.transfer = some(p, 4);
    t.suspect = some(p, 4);
    t.snapshot = some(p, 20);
    t.install = 30;
    return t;
}

static raft_id any_node(struct world *w, struct prng *p)
{
    return prng_range(p, 1, w->node_count);
}

static void do_time(struct world *w, struct prng *p)
{
    w->now_ms += prng_below(p, 4) == 0 ? prng_below(p, 150) : prng_below(p, 12);
    for (raft_id id = 1; id <= w->node_count; id++)
        if (w->nodes[id].up && w->nodes[id].wake_ms <= w->now_ms && prng_below(p, 4) != 0)
            rworld_simple(w, id, RAFT_IN_TICK);
}

static void do_conf(struct world *w, struct prng *p, raft_id leader)
{
    static const char changes[] = "+?^-";
    struct raft_conf to;
    struct raft_conf from = *w->nodes[leader].view.conf;

    if (rworld_conf_changed(&from, changes[prng_below(p, 4)], any_node(w, p), &to))
        (void)rworld_conf(w, leader, &to);
}

static void do_to_node(struct world *w, struct prng *p, struct taste *t, uint64_t pick, raft_id id)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_TICK};

    if (!n->up) {
        if (pick % 10 < 2 + t->restart / 10)
            rworld_restart(w, id, prng_range(p, n->snapshot_index, n->applied));
        return;
    }
    if (pick < t->crash) {
        rworld_node_down(n);
        return;
    }
    if ((pick -= t->crash) < t->conf) {
        if (n->view.role == RAFT_LEADER)
            do_conf(w, p, id);
        return;
    }
    if ((pick -= t->conf) < t->transfer) {
        in.kind = RAFT_IN_TRANSFER;
        in.u.transfer_to = prng_below(p, w->node_count + 1);
        (void)rworld_step(w, n, &in, NULL);
        return;
    }
    if ((pick -= t->transfer) < t->suspect) {
        in.kind = RAFT_IN_SUSPECT;
        in.u.suspect = n->view.leader;
        (void)rworld_step(w, n, &in, NULL);
        return;
    }
    if ((pick -= t->suspect) < t->snapshot) {
        if (n->applied > n->snapshot_index)
            rworld_snapshot(w, id, prng_range(p, n->snapshot_index + 1, n->applied));
        return;
    }
    if ((pick -= t->snapshot) < t->read) {
        (void)rworld_read(w, id);
        return;
    }
    if (n->view.role == RAFT_LEADER && n->last + 80 < WORLD_LOG)
        (void)rworld_propose(w, id, (uint32_t)prng_range(p, 1, 6), (uint32_t)prng_below(p, 600));
}

static void do_snapshots(struct world *w, struct prng *p, raft_id id)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT_SENT};

    if (!n->up)
        return;
    if (n->install_from && w->nodes[n->install_from].snapshot_index > 0)
        rworld_install(w, id, true);
    if (n->snapshot_to_count == 0)
        return;
    in.u.snapshot_sent.to = n->snapshot_to[--n->snapshot_to_count];
    in.u.snapshot_sent.ok = prng_below(p, 2);
    (void)rworld_step(w, n, &in, NULL);
}

static void do_links(struct world *w, struct prng *p, struct taste *t)
{
    raft_id a = any_node(w, p), b = any_node(w, p);

    if (prng_below(p, t->cut + t->heal) >= t->cut) {
        memset(w->cut, 0, sizeof(w->cut));
        return;
    }
    for (raft_id id = 1; id <= w->node_count && prng_below(p, 2); id++)
        w->cut[a][id] = w->cut[id][a] = true;
    w->cut[a][b] = true; /* one way */
}

static void do_net(struct world *w, struct prng *p, struct taste *t, uint64_t pick)
{
    uint32_t at = w->net_count;

    if (w->net_count == 0)
        return;
    at = (uint32_t)prng_below(p, prng_below(p, 3) ? (at < 3 ? at : 3) : at); /* mostly in order */
    if (pick < t->drop)
        rworld_net_drop(w, at);
    else if (pick - t->drop < t->duplicate)
        rworld_duplicate(w, at);
    else
        rworld_deliver(w, at);
}

static bool disk_room(const struct world *w)
{
    for (raft_id id = 1; id <= w->node_count; id++)
        if (w->nodes[id].batch_count > WORLD_BATCHES / 2)
            return false;
    return true;
}

static void one_event(struct world *w, struct prng *p, struct taste *t)
{
    uint64_t sum = t->deliver + t->store + t->apply + t->time + 100 + t->install + t->cut + t->heal;
    uint64_t pick = prng_below(p, sum);
    raft_id id = any_node(w, p);
    struct world_node *n = &w->nodes[id];

    if (pick < t->deliver)
        do_net(w, p, t, pick);
    else if ((pick -= t->deliver) < t->store || !disk_room(w)) {
        if (n->up && n->batch_count)
            rworld_stored(w, id, prng_below(p, 8) != 0);
    } else if ((pick -= t->store) < t->apply) {
        if (n->up && n->applied < n->apply_ordered)
            rworld_applied(w, id);
    } else if ((pick -= t->apply) < t->time)
        do_time(w, p);
    else if ((pick -= t->time) < 100)
        do_to_node(w, p, t, pick, prng_below(p, 3) && rworld_leader(w) ? rworld_leader(w) : id);
    else if ((pick -= 100) < t->install)
        do_snapshots(w, p, id);
    else
        do_links(w, p, t);
}

/* A configuration whose voters are all here again can lead: faults end, and it must. */
static void recover(struct world *w)
{
    memset(w->cut, 0, sizeof(w->cut));
    for (raft_id id = 1; id <= w->node_count; id++)
        if (!w->nodes[id].up)
            rworld_restart(w, id, w->nodes[id].snapshot_index);
    w->config.term_runs_max = 64;
    rworld_run(w, 3000);
    raft_id leader = rworld_leader(w);
    if (leader == 0 || !w->nodes[leader].view.committed_in_term) {
        struct buf words;
        buf_init(&words, 1 << 20);
        rworld_dump(w, &words);
        fprintf(stderr, "\n%.*s", (int)buf_len(&words), (const char *)buf_slice(&words).data);
        buf_fini(&words);
    }
    assert_int_not_equal(leader, 0);
    struct world_node *n = &w->nodes[leader];
    assert_true(n->view.committed_in_term);
    uint64_t served = w->served;
    assert_int_equal(rworld_propose(w, leader, 1, 10), 0);
    assert_int_equal(rworld_read(w, leader), 0);
    uint64_t last = n->last;
    rworld_run(w, 50);
    assert_int_equal(rworld_leader(w), leader);
    assert_true(w->served > served);
    for (uint32_t i = 0; i < n->view.conf->count; i++)
        assert_true(w->nodes[n->view.conf->members[i].id].applied >= last);
}

static void one_life(struct world *w, uint64_t seed)
{
    struct prng p;
    prng_init(&p, seed);
    struct taste t = taste_of(&p);
    uint32_t nodes = (uint32_t)prng_range(&p, 1, 5);

    rworld_init(w, seed, nodes, (uint32_t)prng_range(&p, 1, nodes));
    for (raft_id id = 1; id <= nodes; id++)
        rworld_restart(w, id, 0);
    rworld_run(w, prng_below(&p, 2) * 400);
    for (uint32_t i = 0; i < STEPS && w->nodes[1].last + 150 < WORLD_LOG; i++)
        one_event(w, &p, &t);
    recover(w);
}

static void test_random_lives_keep_every_promise(void **state)
{
    (void)state;
    const char *one = getenv("RQ_SEED"), *many = getenv("RQ_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = many ? strtoull(many, NULL, 10) : one ? 1 : SEEDS;
    struct world *w = mem_must_alloc(sizeof(*w));
    uint64_t elected = 0, served = 0, changes = 0, installs = 0, truncations = 0, commits = 0;

    for (uint64_t seed = first; seed < first + count; seed++) {
        fprintf(stderr, "\rseed %llu ", (unsigned long long)seed); /* named if it fails */
        one_life(w, seed);
        elected += w->elected;
        served += w->served;
        changes += w->changes;
        installs += w->installs;
        truncations += w->truncations;
        commits += w->committed_max;
        rworld_fini(w);
    }
    mem_free(w);
    fprintf(
        stderr,
        "\n%llu elections, %llu commits, %llu reads, %llu membership changes, %llu installs, %llu "
        "truncations\n",
        (unsigned long long)elected, (unsigned long long)commits, (unsigned long long)served,
        (unsigned long long)changes, (unsigned long long)installs, (unsigned long long)truncations);
    if (count < 100)
        return;
    assert_true(elected > count && commits > 10 * count); /* the lives were worth living */
    assert_true(served > count && changes > count / 10 && truncations > count / 100);
    assert_true(installs > count / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lives_keep_every_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
