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

static void test_checks_between_flags(void **state)
{
    (void)state;
    refused("-node-id 1", "data directory path is required");
    refused("-http-cert c d", "either both -http-cert and -http-key must be set, or neither");
    refused("-node-key c d", "either both -node-cert and -node-key must be set, or neither");
    refused("-http-verify-common-name n d",
            "-http-verify-common-name requires -http-verify-client");
    refused("-node-verify-common-name n d",
            "-node-verify-common-name requires -node-verify-client");
    refused("-raft-addr localhost:4001 d", "HTTP and Raft addresses must differ");
    refused("-http-addr http://h:1 d",
            "HTTP options should not include protocol (http:// or https://)");
    refused("-http-adv-addr HTTPx d",
            "HTTP options should not include protocol (http:// or https://)");
    refused("-http-addr nope d", "HTTP bind address not valid");
    refused("-http-adv-addr nope d", "HTTP advertised HTTP address not valid");
    refused("-http-addr 0.0.0.0:4001 d", "advertised HTTP address is not routable (0.0.0.0), "
                                         "specify it via -http-addr or -http-adv-addr");
    refused("-http-addr [::]:4001 d", "advertised HTTP address is not routable (::), specify it "
                                      "via -http-addr or -http-adv-addr");
    refused("-raft-addr nope d", "raft bind address not valid");
    refused("-raft-addr h:x d", "raft bind port not valid");
    refused("-raft-adv-addr h d", "raft advertised address not valid");
    refused("-raft-addr 0.0.0.0:4002 d", "advertised Raft address is not routable (0.0.0.0), "
                                         "specify it via -raft-addr or -raft-adv-addr");
    refused("-raft-adv-addr h:x d", "raft advertised port is not valid");
    refused("-http-adv-addr h:1 -raft-adv-addr h:1 d",
            "advertised HTTP and Raft addresses must differ");
    refused("-bootstrap-expect 3 -raft-non-voter d",
            "bootstrapping only applicable to voting nodes");
    refused("-join nope d", "nope is an invalid join address");
    refused("-join h:1,a:b:c d", "a:b:c is an invalid join address");
    refused("-join localhost:4002 d", "node cannot join with itself unless bootstrapping");
    refused("-join http://localhost:4001/x d", "node cannot join with itself unless bootstrapping");
    refused("-join h:1 -auto-restore f d", "auto-restoring cannot be used when joining a cluster");
    refused("-join h:1 -disco-mode dns d",
            "disco mode cannot be used when also explicitly joining a cluster");
    refused("-cdc-config f -raft-non-voter d", "CDC cannot be enabled on non-voting nodes");
    refused("-on-disk-path p d", "-on-disk-path and -on-disk-startup require -on-disk");
}

static void test_checks_of_services(void **state)
{
    (void)state;
    refused("-otlp-cert c d", "either both -otlp-cert and -otlp-key must be set, or neither");
    refused("-otlp-insecure d", "OTLP options require -otlp-endpoint");
    refused("-otlp-endpoint http://h:1 d", "-otlp-endpoint must not include a protocol scheme");
    refused("-otlp-endpoint h d", "-otlp-endpoint is not a valid address");
    refused("-otlp-endpoint h:1 -otlp-interval 0 d", "-otlp-interval must be greater than zero");
    refused("-otlp-endpoint h:1 -otlp-insecure -otlp-no-verify d",
            "-otlp-insecure cannot be used with other OTLP TLS options");
    refused("-disco-mode etcd-kv -bootstrap-expect 3 d",
            "bootstrapping not applicable when using etcd-kv");
    refused("-disco-mode dns d",
            "bootstrap-expect value required when using dns with a voting node");
    refused("-disco-mode x d", "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv");
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
    assert_int_equal(parse("-join-as f d"), FLAGS_RUN);
    assert_string_equal(flags_unsupported(&flags), "join-as");
    assert_int_equal(parse("-bootstrap-expect 3 -join h:1 d"), FLAGS_RUN);
    assert_string_equal(flags_unsupported(&flags), "bootstrap-expect");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_syntax_of_values),
        cmocka_unit_test(test_syntax_errors_have_gos_words),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_checks_between_flags),
        cmocka_unit_test(test_checks_of_services),
        cmocka_unit_test(test_join_lists_take_both_kinds),
        cmocka_unit_test(test_services_that_are_not_built_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
