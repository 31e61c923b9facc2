/* The command line (daemon.md §1.2–§1.5). */
#include "flags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct flags flags;
static struct err_text why;

/* Words separated by blanks. */
static enum flags_outcome parse(const char *line)
{
    static char copy[4096];
    const char *argv[64];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word && argc < 64; word = strtok(NULL, " "))
        argv[argc++] = word;
    memset(&why, 0, sizeof why);
    return flags_parse(argc, argv, NULL, &flags, &why);
}

static void refused(const char *line, const char *words)
{
    assert_int_equal(parse(line), FLAGS_REFUSED);
    assert_string_equal(why.text, words);
}

static void syntax(const char *line, const char *words)
{
    assert_int_equal(parse(line), FLAGS_SYNTAX);
    assert_string_equal(why.text, words);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("data"), FLAGS_RUN);
    assert_string_equal(flags.dir, "data");
    assert_string_equal(flags.http_adv_addr, "localhost:4001");
    assert_string_equal(flags.raft_adv_addr, "localhost:4002");
    assert_string_equal(flags.node_id, "localhost:4002");
    assert_int_equal(flags.join_attempts, 5);
    assert_true(flags.join_interval == 3 * FLAGS_S);
    assert_true(flags.raft_shutdown_stepdown);
    assert_null(flags_unsupported(&flags));
}

static void test_syntax_of_values(void **state)
{
    (void)state;
    assert_int_equal(
        parse("--node-id=1 -fk -raft-snap 0x10 -join-attempts=1_000 -raft-timeout 1m30s -- d"),
        FLAGS_RUN);
    assert_string_equal(flags.node_id, "1");
    assert_true(flags.fk);
    assert_true(flags.raft_snap == 16);
    assert_true(flags.join_attempts == 1000);
    assert_true(flags.raft_heartbeat_timeout == 90 * FLAGS_S);
    assert_int_equal(parse("-join-attempts -3 -join-interval=0 -raft-snap=010 -fk=F d"), FLAGS_RUN);
    assert_true(flags.join_attempts == -3 && flags.join_interval == 0 && flags.raft_snap == 8 &&
                !flags.fk);
    assert_int_equal(parse("-node-id 1 -node-id 2 d"), FLAGS_RUN);
    assert_string_equal(flags.node_id, "2");
}

static void test_syntax_errors_have_gos_words(void **state)
{
    (void)state;
    syntax("-nope d", "flag provided but not defined: -nope");
    syntax("--nope=1 d", "flag provided but not defined: -nope");
    syntax("-join-interval=5 d", "invalid value \"5\" for flag -join-interval: parse error");
    syntax("-raft-snap -1 d", "invalid value \"-1\" for flag -raft-snap: parse error");
    syntax("-raft-snap 18446744073709551616 d",
           "invalid value \"18446744073709551616\" for flag -raft-snap: value out of range");
    syntax("-join-attempts 9223372036854775808 d",
           "invalid value \"9223372036854775808\" for flag -join-attempts: value out of range");
    syntax("-join-attempts 1__0 d", "invalid value \"1__0\" for flag -join-attempts: parse error");
    syntax("-join-attempts _1 d", "invalid value \"_1\" for flag -join-attempts: parse error");
    syntax("-join-attempts 09 d", "invalid value \"09\" for flag -join-attempts: parse error");
    syntax("-fk=yes d", "invalid boolean value \"yes\" for -fk: parse error");
    syntax("-node-id", "flag needs an argument: -node-id");
    syntax("---x d", "bad flag syntax: ---x");
    syntax("-=x d", "bad flag syntax: -=x");
    assert_int_equal(parse("-h"), FLAGS_HELP);
    assert_int_equal(parse("--help d"), FLAGS_HELP);
}

static void test_arguments(void **state)
{
    (void)state;
    assert_int_equal(parse(""), FLAGS_MISSING);
    assert_string_equal(why.text,
                        "failed to parse command-line flags: missing required argument: DataPath");
    assert_int_equal(parse("-version"), FLAGS_VERSION);
    assert_int_equal(parse("d1 -node-id 1"), FLAGS_PLAIN);
    assert_string_equal(why.text,
                        "arguments after data directory (d1) are not accepted ([-node-id 1])");
    assert_int_equal(parse("-fk true d"), FLAGS_PLAIN);
    assert_string_equal(why.text, "arguments after data directory (true) are not accepted ([d])");
    refused("-raft-reap-node-timeout=0s d e", "-raft-reap-node-timeout must be greater than 0");
    refused("-raft-reap-read-only-node-timeout=-1s d",
            "-raft-reap-read-only-node-timeout must be greater than 0");
}

static void test_checks_beyond_the_contract(void **state)
{
    (void)state;
    refused("-join http://localhost:4001/x d", "node cannot join with itself unless bootstrapping");
    refused("-on-disk-path p d", "-on-disk-path and -on-disk-startup require -on-disk");
    refused("-on-disk-startup d", "-on-disk-path and -on-disk-startup require -on-disk");
}

static void test_join_lists_take_both_kinds(void **state)
{
    (void)state;
    assert_int_equal(parse("-join http://h:4001,h:4002,http://nonsense d"), FLAGS_RUN);
    assert_int_equal(flags.join_count, 3);
    assert_true(flags_is_url(flags.joins[0]));
    assert_false(flags_is_url(flags.joins[1]));
    assert_string_equal(flags.joins[1], "h:4002");
    assert_int_equal(
        parse(
            "-http-addr 0.0.0.0:4001 -http-adv-addr h:4001 -raft-addr [::]:2 -raft-adv-addr h:2 d"),
        FLAGS_RUN);
}

static void test_services_that_are_not_built_are_named(void **state)
{
    (void)state;
    assert_int_equal(parse("-auth f d"), FLAGS_RUN);
    assert_null(flags_unsupported(&flags));
    assert_int_equal(parse("-join-as f -bootstrap-expect 3 -join h:1 d"), FLAGS_RUN);
    assert_null(flags_unsupported(&flags));
    assert_int_equal(parse("-otlp-endpoint h:1 d"), FLAGS_RUN);
    assert_string_equal(flags_unsupported(&flags), "otlp-endpoint");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_syntax_of_values),
        cmocka_unit_test(test_syntax_errors_have_gos_words),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_checks_beyond_the_contract),
        cmocka_unit_test(test_join_lists_take_both_kinds),
        cmocka_unit_test(test_services_that_are_not_built_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
