/* raft_world.c — nodes, disks and the network come, go and come back; time passes. */
#include "raft_world.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <string.h>

void rworld_init(struct world *w, uint64_t seed, uint32_t node_count, uint32_t voter_count)
{
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->now_ms = 1000;
    w->node_count = node_count;
    w->config.heartbeat_ms = 10;
    w->config.election_ms = 100;
    w->config.lease_ms = 100;
    w->config.append_count_max = 4;
    w->config.append_bytes_max = 1000;
    w->config.window_msgs = 3;
    w->config.window_bytes = 2000;
    w->config.term_runs_max = 64;
    for (uint32_t i = 1; i <= voter_count; i++) {
        w->bootstrap.members[w->bootstrap.count].id = i;
        w->bootstrap.members[w->bootstrap.count++].voter = true;
    }
    for (uint32_t i = 1; i <= node_count; i++) {
        struct world_node *n = &w->nodes[i];
        n->id = i;
        n->log = mem_must_zalloc(WORLD_LOG * sizeof(*n->log));
        n->disk = mem_must_zalloc(WORLD_LOG * sizeof(*n->disk));
        n->batches = mem_must_zalloc(WORLD_BATCHES * sizeof(*n->batches));
        if (i <= voter_count)
            n->snapshot_conf = w->bootstrap;
    }
}

void rworld_batch_free(struct world_batch *b)
{
    mem_free(b->entries);
    mem_free(b->msgs);
    memset(b, 0, sizeof(*b));
}

void rworld_node_down(struct world_node *n)
{
    raft_destroy(n->raft);
    n->raft = NULL;
    n->up = false;
    for (; n->batch_count; n->batch_count--) {
        rworld_batch_free(&n->batches[n->batch_head]);
        n->batch_head = (n->batch_head + 1) % WORLD_BATCHES;
    }
    n->untold_order = 0;
    n->install_from = 0;
    n->snapshot_to_count = 0;
}

void rworld_net_drop(struct world *w, uint32_t at)
{
    ASSERT(at < w->net_count);
    mem_free(w->net[at].entries);
    memmove(&w->net[at], &w->net[at + 1], (w->net_count - at - 1) * sizeof(w->net[0]));
    w->net_count--;
}

void rworld_fini(struct world *w)
{
    while (w->net_count)
        rworld_net_drop(w, w->net_count - 1);
    for (uint32_t i = 1; i <= w->node_count; i++) {
        rworld_node_down(&w->nodes[i]);
        mem_free(w->nodes[i].log);
        mem_free(w->nodes[i].disk);
        mem_free(w->nodes[i].batches);
    }
}

void rworld_restart(struct world *w, raft_id id, uint64_t applied)
{
    struct world_node *n = &w->nodes[id];
    struct raft_term_run runs[WORLD_LOG];
    struct raft_conf_at *confs = mem_must_zalloc(WORLD_LOG * sizeof(*confs));
    struct raft_restore f = {0};
    struct raft_config config = w->config;
    struct err_text why;

    ASSERT(!n->up);
    memcpy(n->log, n->disk, WORLD_LOG * sizeof(*n->log));
    n->last = n->disk_last;
    n->hard = n->disk_hard;
    n->applied = n->apply_ordered = applied > n->snapshot_index ? applied : n->snapshot_index;
    f.hard = n->hard;
    f.snapshot_index = n->snapshot_index;
    f.snapshot_term = n->snapshot_term;
    f.snapshot_conf = n->snapshot_conf;
    f.last_index = n->last;
    f.applied_index = n->applied;
    for (uint64_t i = n->snapshot_index + 1; i <= n->last; i++) {
        if (f.run_count == 0 || runs[f.run_count - 1].term != n->log[i].term)
            runs[f.run_count++] = (struct raft_term_run){i, n->log[i].term};
        if (n->log[i].kind == RAFT_ENTRY_CONF)
            confs[f.conf_count++] = (struct raft_conf_at){i, n->log[i].conf};
    }
    f.runs = runs;
    f.confs = confs;
    config.id = id;
    config.seed = prng_mix(w->seed, w->now_ms * 16 + id);
    int rc = raft_create(&config, &f, w->now_ms, &n->raft, &why);
    ASSERT(rc == 0);
    mem_free(confs);
    n->up = true;
    n->wake_ms = w->now_ms;
    raft_check(n->raft);
    raft_look(n->raft, &n->view);
}

void rworld_settle(struct world *w)
{
    for (uint32_t rounds = 0; rounds < 20000; rounds++) {
        bool idle = w->net_count == 0;
        if (w->net_count)
            rworld_deliver(w, 0);
        for (raft_id id = 1; id <= w->node_count; id++) {
            struct world_node *n = &w->nodes[id];
            if (!n->up)
                continue;
            if (n->batch_count) {
                rworld_stored(w, id, true);
                idle = false;
            } else if (n->untold_order) {
                rworld_tell_stored(w, n);
                idle = false;
            } else if (n->applied < n->apply_ordered) {
                rworld_applied(w, id);
                idle = false;
            }
            if (n->install_from)
                rworld_install(w, id, true);
        }
        if (idle)
            return;
    }
    UNREACHABLE(); /* the cluster comes to rest */
}

void rworld_run(struct world *w, uint64_t ms)
{
    for (uint64_t end = w->now_ms + ms; w->now_ms < end; w->now_ms++) {
        rworld_settle(w);
        for (raft_id id = 1; id <= w->node_count; id++)
            if (w->nodes[id].up && w->nodes[id].wake_ms <= w->now_ms)
                rworld_simple(w, id, RAFT_IN_TICK);
    }
}

raft_id rworld_leader(const struct world *w)
{
    raft_id best = 0;
    for (raft_id id = 1; id <= w->node_count; id++)
        if (w->nodes[id].up && w->nodes[id].view.role == RAFT_LEADER &&
            (best == 0 || w->nodes[id].hard.term > w->nodes[best].hard.term))
            best = id;
    return best;
}
