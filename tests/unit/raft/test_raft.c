/* test_raft.c — the door itself: what raft_create refuses, bounds, and messages that no correct peer
 * would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/raft.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <string.h>

static struct raft_config config_of(raft_id id)
{
    struct raft_config c = {.id = id,
                            .seed = 1,
                            .heartbeat_ms = 10,
                            .election_ms = 100,
                            .lease_ms = 100,
                            .append_count_max = 8,
                            .append_bytes_max = 1000,
                            .window_msgs = 4,
                            .window_bytes = 4000,
                            .term_runs_max = 64};
    return c;
}

static struct raft_restore voters_of(uint32_t count)
{
    struct raft_restore f;
    memset(&f, 0, sizeof(f));
    for (uint32_t i = 0; i < count; i++) {
        f.snapshot_conf.members[i].id = i + 1;
        f.snapshot_conf.members[i].voter = true;
    }
    f.snapshot_conf.count = count;
    return f;
}

static struct raft *make(uint32_t voters)
{
    struct raft_config c = config_of(1);
    struct raft_restore f = voters_of(voters);
    struct raft *r = NULL;
    struct err_text why;
    assert_int_equal(raft_create(&c, &f, 0, &r, &why), 0);
    return r;
}

/* Step, and let the disk keep up at once. */
static int step_stored(struct raft *r, struct raft_in *in, struct raft_out *out)
{
    int rc = raft_step(r, in, out);
    struct raft_in stored = {.kind = RAFT_IN_STORED, .now_ms = in->now_ms};
    struct raft_out ignored;

    raft_check(r);
    stored.u.stored_order = out->order;
    assert_int_equal(raft_step(r, &stored, &ignored), 0);
    raft_check(r);
    return rc;
}

static struct raft *make_single_leader(void)
{
    struct raft *r = make(1);
    struct raft_in in = {.kind = RAFT_IN_CAMPAIGN};
    struct raft_out out;
    struct raft_view v;

    assert_int_equal(step_stored(r, &in, &out), 0);
    in.kind = RAFT_IN_STORED;
    in.u.stored_order = out.order + 1; /* the no-op's */
    assert_int_equal(raft_step(r, &in, &out), 0);
    raft_look(r, &v);
    assert_int_equal(v.role, RAFT_LEADER);
    assert_true(v.committed_in_term);
    return r;
}

static void refuse(const struct raft_restore *f)
{
    struct raft_config c = config_of(1);
    struct raft *r = NULL;
    struct err_text why = {""};
    assert_int_equal(raft_create(&c, f, 0, &r, &why), ERR_INVALID);
    assert_true(why.text[0] != '\0');
    assert_null(r);
}

static void test_create_refuses_what_contradicts_itself(void **state)
{
    (void)state;
    const struct raft_term_run late = {2, 1}, future = {1, 9}, fine = {1, 1};
    const struct raft_term_run falling[] = {{1, 3}, {2, 2}};
    struct raft_restore f = voters_of(3);

    f.last_index = 2;
    f.hard.term = 3;
    refuse(&f); /* entries without terms */
    f.run_count = 1;
    f.runs = &late;
    refuse(&f);
    f.runs = &future;
    refuse(&f);
    f.runs = falling;
    f.run_count = 2;
    refuse(&f);
    f.runs = &fine;
    f.run_count = 1;
    f.applied_index = 3;
    refuse(&f);
    f.applied_index = 0;
    struct raft_conf_at at = {3, f.snapshot_conf};
    f.confs = &at;
    f.conf_count = 1;
    refuse(&f);
    at.index = 2;
    at.conf.members[1].id = 1; /* twice */
    refuse(&f);
}

static void test_create_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct raft_config c = config_of(1);
    struct raft_restore f = voters_of(3);
    unsigned long n = 1;

    for (;; n++) {
        struct raft *r = NULL;
        mem_fault_arm(n);
        int rc = raft_create(&c, &f, 0, &r, NULL);
        int fired = mem_fault_fired();
        mem_fault_arm(0);
        if (rc == 0)
            raft_destroy(r);
        if (!fired)
            break;
        assert_int_equal(rc, ERR_NOMEM);
    }
    assert_true(n > 8);
}

static void test_reads_beyond_the_bound_are_refused(void **state)
{
    (void)state;
    struct raft *r = make(1);
    struct raft_in in = {.kind = RAFT_IN_CAMPAIGN};
    struct raft_out out;

    assert_int_equal(step_stored(r, &in, &out), 0);
    uint64_t no_op_order = out.order + 1;
    in.kind = RAFT_IN_READ;
    for (uint64_t i = 0; i < RAFT_READS_MAX; i++) { /* the no-op is not committed: all wait */
        in.u.read_token = i;
        assert_int_equal(raft_step(r, &in, &out), 0);
        assert_int_equal(out.reads.count, 0);
    }
    assert_int_equal(raft_step(r, &in, &out), ERR_FULL);
    raft_check(r);
    in.kind = RAFT_IN_STORED;
    in.u.stored_order = no_op_order;
    assert_int_equal(raft_step(r, &in, &out), 0);
    assert_int_equal(out.reads.count, RAFT_READS_MAX);
    for (uint64_t i = 0; i < RAFT_READS_MAX; i++) /* confirmed, though nothing is applied */
        assert_true(out.reads.reads[i].ok && out.reads.reads[i].token == i &&
                    out.reads.reads[i].index == 1);
    raft_destroy(r);
}

static void test_more_unstored_orders_than_the_ring_holds_count_late_but_right(void **state)
{
    (void)state;
    struct raft *r = make_single_leader();
    const uint32_t bytes[1] = {10};
    struct raft_in in = {.kind = RAFT_IN_PROPOSE};
    struct raft_out out;
    struct raft_view v;
    uint64_t first = 0, last = 0;

    for (uint32_t i = 0; i < 5000; i++) {
        in.kind = RAFT_IN_PROPOSE;
        in.u.propose.count = 1;
        in.u.propose.bytes = bytes;
        assert_int_equal(raft_step(r, &in, &out), 0);
        first = i == 0 ? out.order : first;
        last = out.order;
    }
    in.kind = RAFT_IN_STORED;
    in.u.stored_order = last - 1;
    assert_int_equal(raft_step(r, &in, &out), 0);
    raft_check(r);
    raft_look(r, &v);
    assert_true(v.durable_index <= v.last_index - 1 && v.durable_index >= 1000);
    in.u.stored_order = last;
    assert_int_equal(raft_step(r, &in, &out), 0);
    raft_look(r, &v);
    assert_int_equal(v.durable_index, 5001);
    assert_int_equal(v.commit_index, 5001);
    raft_destroy(r);
}

static void test_an_error_changes_nothing(void **state)
{
    (void)state;
    struct raft *r = make(3);
    const uint32_t bytes[1] = {10};
    struct raft_restore f = voters_of(3);
    struct raft_in in = {.kind = RAFT_IN_PROPOSE};
    struct raft_out out;

    in.u.propose.count = 1;
    in.u.propose.bytes = bytes;
    assert_int_equal(raft_step(r, &in, &out), ERR_NOT_LEADER);
    assert_true(out.wake_ms >= 100 && out.wake_ms < 200);
    in.kind = RAFT_IN_READ;
    assert_int_equal(raft_step(r, &in, &out), ERR_NOT_LEADER);
    in.kind = RAFT_IN_TRANSFER;
    assert_int_equal(raft_step(r, &in, &out), ERR_NOT_LEADER);
    in.kind = RAFT_IN_CONF;
    in.u.conf = &f.snapshot_conf;
    assert_int_equal(raft_step(r, &in, &out), ERR_NOT_LEADER);
    assert_int_equal(out.send_now.count + out.send_stored.count + out.append.count, 0);
    raft_destroy(r);
}

/* ---- garbage --------------------------------------------------------------------------------------- */

static uint64_t odd_number(struct prng *p, uint64_t near)
{
    switch (prng_below(p, 8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - prng_below(p, 3);
    case 2:
        return prng_u64(p);
    default:
        return near > 4 ? near - 4 + prng_below(p, 8) : prng_below(p, 8);
    }
}

static void garbage_entries(struct prng *p, struct raft_msg *m, struct raft_entry *entries,
                            struct raft_conf *conf)
{
    conf->count = (uint32_t)prng_below(p, 5);
    for (uint32_t i = 0; i < conf->count; i++) {
        conf->members[i].id = prng_below(p, 4) ? i + 1 : prng_below(p, 6);
        conf->members[i].voter = prng_below(p, 2);
    }
    for (uint32_t i = 0; i < 8; i++) {
        entries[i].term = prng_below(p, 4) ? m->term : odd_number(p, m->term);
        entries[i].kind = (enum raft_entry_kind)prng_below(p, 4);
        entries[i].bytes = (uint32_t)prng_u64(p);
        entries[i].conf = prng_below(p, 3) ? conf : NULL;
    }
    m->span.count = prng_below(p, 9) ? (uint32_t)prng_below(p, 8) : (uint32_t)prng_u64(p);
    m->span.first = prng_below(p, 9) ? m->log_index + 1 : prng_u64(p);
    if (m->span.count > 8 && m->span.count <= RAFT_ENTRIES_PER_STEP)
        m->span.count = 8;
    m->entries = prng_below(p, 9) ? entries : NULL;
}

static void garbage_msg(struct prng *p, const struct raft_view *v, struct raft_msg *m)
{
    memset(m, 0, sizeof(*m));
    m->kind = (enum raft_msg_kind)prng_below(p, 11);
    m->from = prng_below(p, 5);
    m->to = prng_below(p, 20) ? 1 : prng_below(p, 5);
    m->term = prng_below(p, 3) ? v->hard.term + prng_below(p, 2) : odd_number(p, v->hard.term);
    m->log_index = odd_number(p, prng_below(p, 2) ? v->last_index : v->commit_index);
    m->log_term = prng_below(p, 2) ? v->last_term : odd_number(p, v->last_term);
    m->granted = prng_below(p, 2);
    m->transfer = prng_below(p, 2);
    m->commit = odd_number(p, v->last_index);
    m->read_round = odd_number(p, 10);
    m->hint_index = odd_number(p, v->last_index);
    m->hint_term = odd_number(p, v->last_term);
}

/* A peer may lie about anything; the node may then decide nonsense, but stays whole. */
static void test_garbage_never_breaks_an_invariant(void **state)
{
    (void)state;
    static const uint32_t bytes[2] = {10, 2000};

    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng p;
        struct raft *r = make(3);
        struct raft_view v;
        uint64_t now = 0;
        prng_init(&p, seed);
        for (uint32_t i = 0; i < 3000; i++) {
            struct raft_entry entries[8];
            struct raft_conf conf;
            struct raft_msg m;
            struct raft_out out;
            struct raft_in in = {.kind = RAFT_IN_MSG};
            raft_look(r, &v);
            memset(&conf, 0, sizeof(conf));
            memset(entries, 0, sizeof(entries));
            garbage_msg(&p, &v, &m);
            garbage_entries(&p, &m, entries, &conf);
            in.now_ms = now += prng_below(&p, 4);
            in.u.msg = &m;
            if (prng_below(&p, 12) == 0)
                in.kind = prng_below(&p, 2) ? RAFT_IN_TICK : RAFT_IN_CAMPAIGN;
            if (prng_below(&p, 12) == 0) {
                in.kind = RAFT_IN_PROPOSE;
                in.u.propose.count = 2;
                in.u.propose.bytes = bytes;
            }
            (void)step_stored(r, &in, &out);
        }
        raft_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses_what_contradicts_itself),
        cmocka_unit_test(test_create_survives_every_failed_allocation),
        cmocka_unit_test(test_reads_beyond_the_bound_are_refused),
        cmocka_unit_test(test_more_unstored_orders_than_the_ring_holds_count_late_but_right),
        cmocka_unit_test(test_an_error_changes_nothing),
        cmocka_unit_test(test_garbage_never_breaks_an_invariant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
