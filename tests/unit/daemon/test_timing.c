/* Timeouts that contradict each other (daemon.md §6). */
#include "timing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SAYS "creating the raft system failed: "

static struct timing timing_read(const char *flag, const char *value, const char *flag2,
                                 const char *value2, struct err_text *why)
{
    const char *argv[] = {flag, value, flag2, value2, "d"};
    struct flags flags;
    struct timing timing;
    memset(why, 0, sizeof *why);
    const int from = flag ? 0 : 4, to = flag && !flag2 ? 2 : 4;
    const char *words[5];
    int count = 0;
    for (int i = from; i < to; i++)
        words[count++] = argv[i];
    words[count++] = "d";
    assert_int_equal(flags_parse(count, words, NULL, &flags, why), FLAGS_RUN);
    if (timing_of(&flags, &timing, why) == 0)
        assert_int_equal(why->text[0], 0);
    else
        assert_true(strncmp(why->text, SAYS, strlen(SAYS)) == 0);
    return timing;
}

static void test_defaults_are_filled_in(void **state)
{
    struct err_text why;
    (void)state;
    struct timing t = timing_read(NULL, NULL, NULL, NULL, &why);
    assert_true(t.heartbeat == FLAGS_S && t.election == FLAGS_S && t.lease == 500 * FLAGS_MS &&
                t.commit == 50 * FLAGS_MS && t.apply == 10 * FLAGS_S);
    t = timing_read("-raft-heartbeat-timeout", "0", "-raft-election-timeout", "0", &why);
    assert_true(t.heartbeat == FLAGS_S && t.election == FLAGS_S);
    t = timing_read("-raft-snap-int", "0", "-raft-commit-timeout", "0", &why);
    assert_true(t.snapshot_interval == 120 * FLAGS_S && t.commit == 50 * FLAGS_MS);
}

static void test_contradictions_are_named(void **state)
{
    static const struct {
        const char *flag, *value, *flag2, *value2, *words;
    } rows[] = {
        {"-raft-heartbeat-timeout", "4ms", NULL, NULL, "HeartbeatTimeout is too low"},
        {"-raft-heartbeat-timeout", "-1s", NULL, NULL, "HeartbeatTimeout is too low"},
        {"-raft-election-timeout", "4ms", NULL, NULL, "ElectionTimeout is too low"},
        {"-raft-commit-timeout", "1us", NULL, NULL, "CommitTimeout is too low"},
        {"-raft-snap-int", "4ms", NULL, NULL, "SnapshotInterval is too low"},
        {"-raft-leader-lease-timeout", "4ms", NULL, NULL, "LeaderLeaseTimeout is too low"},
        {"-raft-heartbeat-timeout", "100ms", NULL, NULL,
         "LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (100ms)"},
        {"-raft-leader-lease-timeout", "1500ms", NULL, NULL,
         "LeaderLeaseTimeout (1.5s) cannot be larger than heartbeat timeout (1s)"},
        {"-raft-heartbeat-timeout", "2s", NULL, NULL,
         "ElectionTimeout (1s) must be equal or greater than Heartbeat Timeout (2s)"},
        {"-raft-heartbeat-timeout", "100ms", "-raft-leader-lease-timeout", "100ms", NULL},
        {"-raft-heartbeat-timeout", "2s", "-raft-election-timeout", "2s", NULL},
    };
    struct err_text why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)timing_read(rows[i].flag, rows[i].value, rows[i].flag2, rows[i].value2, &why);
        if (rows[i].words)
            assert_string_equal(why.text + strlen(SAYS), rows[i].words);
        else
            assert_string_equal(why.text, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_filled_in),
        cmocka_unit_test(test_contradictions_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
