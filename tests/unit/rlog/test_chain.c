/* test_chain.c — what only the chain of checksums tells: a batch that was torn over the remains of another
 * one. Each mark below is whole, of this use of this segment, and of the index expected at its place; but
 * the second entry is of the earlier batch.
 *
 *      512      1024                 2048
 *   1  head 1a …                     2a …      torn: the first sector is lost
 *   2  void  │                       2a …      recovery cut it
 *   3  void  │ head 1b …             2a …      the next batch, torn: its last sectors are lost
 */
#include "rlog_fixture.h"

enum {
    SEGMENT = 4096,
    STORE = 0x77,
    SECTOR = 512,
    MARK = 48,
    SECOND_AT = 2048,
    SECOND_BYTES = 300
};

struct story {
    struct env *env;
    struct seen seen;
    uint64_t term;
    uint32_t bytes; /* of the first entry */
    int rc;
};

static int story_open(struct story *s, struct rlog **out)
{
    struct rlog_config c = {.dir = DIR, .segment_bytes = SEGMENT};
    struct err_text why;

    memset(&s->seen, 0, sizeof(s->seen));
    return rlog_open(s->env, &c, STORE, seen_visit, &s->seen, &s->seen.found, out, &why);
}

static void open_only(void *ctx)
{
    struct story *s = ctx;
    struct rlog *l = NULL;

    s->rc = story_open(s, &l);
    if (s->rc == 0)
        rlog_close(l);
}

/* Entries 1 and 2 at once; dies before the sync. */
static void open_and_append(void *ctx)
{
    struct story *s = ctx;
    struct model_log model = {0};
    struct wire_entry wire[2];
    struct rlog *l = NULL;

    s->rc = story_open(s, &l);
    if (s->rc)
        return;
    model_append(&model, 1, &(struct model_entry){.term = s->term, .bytes = s->bytes}, 1, wire);
    payload_make(fixture_payload[1], 2,
                 &(struct model_entry){.term = s->term, .bytes = SECOND_BYTES});
    wire[1] = (struct wire_entry){.term = s->term,
                                  .kind = RAFT_ENTRY_NORMAL,
                                  .payload = slice_of(fixture_payload[1], SECOND_BYTES)};
    env_sim_crash_at_op(s->env, 2); /* the write is the first, the sync the second */
    s->rc = rlog_append(l, 1, wire, 2);
}

static void run(struct sim_disk *d, struct story *s, void (*fn)(void *ctx), bool ends)
{
    s->env = env_sim_create(d, 1);
    assert_int_equal(env_sim_run(s->env, fn, s), ends);
    env_sim_destroy(s->env);
    if (ends)
        assert_int_equal(s->rc, 0);
}

/* Of what is pending, the sectors before `limit` are kept, those from there on are lost, or the other way
 * round. */
static void cut(struct sim_disk *d, uint64_t limit, bool front_kept)
{
    size_t n = sim_disk_pending_count(d);
    enum sim_disk_fate *fate = calloc(n + 1, sizeof(*fate));
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        struct sim_disk_pending p;
        sim_disk_pending_at(d, i, &p);
        fate[i] = (p.value < limit) == front_kept ? SIM_KEEP : SIM_DROP;
        kept += fate[i] == SIM_KEEP;
    }
    assert_true(kept > 0 && kept < n);
    sim_disk_power_cut_choose(d, fate);
    free(fate);
}

static void test_a_batch_torn_over_remains_does_not_continue_with_them(void **state)
{
    (void)state;
    struct sim_disk_config c;
    sim_disk_config_default(&c, 1);
    struct sim_disk *d = sim_disk_create(&c);
    struct story s = {.term = 2, .bytes = SECOND_AT - SECTOR - 2 * MARK};

    run(d, &s, open_only, true);
    sim_disk_settle(d);
    run(d, &s, open_and_append, false);
    cut(d, 2 * SECTOR, false); /* the head of the batch is lost */
    run(d, &s, open_only, true);
    assert_true(s.seen.found.torn_tail_cut);
    assert_int_equal(s.seen.found.last_index, 0);
    sim_disk_settle(d);

    s.term = 3;
    s.bytes = SECOND_AT - 2 * SECTOR - 2 * MARK;
    run(d, &s, open_and_append, false);
    cut(d, SECOND_AT, true); /* the second entry is lost; what stood there before comes through */
    run(d, &s, open_only, true);
    assert_true(s.seen.found.torn_tail_cut);
    assert_int_equal(s.seen.found.last_index, 0);
    sim_disk_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_batch_torn_over_remains_does_not_continue_with_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
