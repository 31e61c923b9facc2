/* Every flag of daemon.md §1.3 and every check of §1.4, as tables of their own: written down from the
 * contract, not from the program. */
#include "flags_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* X(name, type, default as it would be typed) */
#define FLAGS_OF_THE_CONTRACT(X)                                                                   \
    X("version", BOOL, "false")                                                                    \
    X("node-id", TEXT, "")                                                                         \
    X("extensions-path", TEXT, "")                                                                 \
    X("http-addr", TEXT, "localhost:4001")                                                         \
    X("http-adv-addr", TEXT, "")                                                                   \
    X("http-allow-origin", TEXT, "")                                                               \
    X("http-ca-cert", TEXT, "")                                                                    \
    X("http-cert", TEXT, "")                                                                       \
    X("http-key", TEXT, "")                                                                        \
    X("http-verify-client", BOOL, "false")                                                         \
    X("http-verify-common-name", TEXT, "")                                                         \
    X("auth", TEXT, "")                                                                            \
    X("raft-addr", TEXT, "localhost:4002")                                                         \
    X("raft-adv-addr", TEXT, "")                                                                   \
    X("node-ca-cert", TEXT, "")                                                                    \
    X("node-cert", TEXT, "")                                                                       \
    X("node-key", TEXT, "")                                                                        \
    X("node-no-verify", BOOL, "false")                                                             \
    X("node-verify-client", BOOL, "false")                                                         \
    X("node-verify-server-name", TEXT, "")                                                         \
    X("node-verify-common-name", TEXT, "")                                                         \
    X("cluster-connect-timeout", TIME, "30s")                                                      \
    X("compress-snap-transport", BOOL, "false")                                                    \
    X("join", TEXT, "")                                                                            \
    X("join-attempts", INT, "5")                                                                   \
    X("join-interval", TIME, "3s")                                                                 \
    X("join-as", TEXT, "")                                                                         \
    X("bootstrap-expect", INT, "0")                                                                \
    X("bootstrap-expect-timeout", TIME, "120s")                                                    \
    X("disco-mode", TEXT, "")                                                                      \
    X("disco-key", TEXT, "rqlite")                                                                 \
    X("disco-config", TEXT, "")                                                                    \
    X("fk", BOOL, "false")                                                                         \
    X("db-max-ro-conns", INT, "256")                                                               \
    X("auto-vacuum-int", TIME, "0s")                                                               \
    X("auto-optimize-int", TIME, "24h")                                                            \
    X("raft-log-level", TEXT, "WARN")                                                              \
    X("raft-non-voter", BOOL, "false")                                                             \
    X("raft-snap", UINT, "8192")                                                                   \
    X("raft-snap-wal-size", UINT, "4194304")                                                       \
    X("raft-snap-int", TIME, "10s")                                                                \
    X("raft-leader-lease-timeout", TIME, "0s")                                                     \
    X("raft-heartbeat-timeout", TIME, "1s")                                                        \
    X("raft-election-timeout", TIME, "1s")                                                         \
    X("raft-commit-timeout", TIME, "50ms")                                                         \
    X("raft-apply-timeout", TIME, "10s")                                                           \
    X("raft-remove-shutdown", BOOL, "false")                                                       \
    X("raft-cluster-remove-shutdown", BOOL, "false")                                               \
    X("raft-shutdown-stepdown", BOOL, "true")                                                      \
    X("raft-reap-node-timeout", TIME, "0h")                                                        \
    X("raft-reap-read-only-node-timeout", TIME, "0h")                                              \
    X("write-queue-capacity", INT, "1024")                                                         \
    X("write-queue-batch-size", INT, "128")                                                        \
    X("write-queue-timeout", TIME, "50ms")                                                         \
    X("write-queue-tx", BOOL, "false")                                                             \
    X("auto-backup", TEXT, "")                                                                     \
    X("auto-restore", TEXT, "")                                                                    \
    X("cdc-config", TEXT, "")                                                                      \
    X("otlp-endpoint", TEXT, "")                                                                   \
    X("otlp-interval", TIME, "30s")                                                                \
    X("otlp-insecure", BOOL, "false")                                                              \
    X("otlp-no-verify", BOOL, "false")                                                             \
    X("otlp-ca-cert", TEXT, "")                                                                    \
    X("otlp-cert", TEXT, "")                                                                       \
    X("otlp-key", TEXT, "")                                                                        \
    X("cpu-profile", TEXT, "")                                                                     \
    X("mem-profile", TEXT, "")                                                                     \
    X("trace-profile", TEXT, "")                                                                   \
    /* beyond v10 (§12.2) */                                                                      \
    X("on-disk", BOOL, "false")                                                                    \
    X("on-disk-path", TEXT, "")                                                                    \
    X("on-disk-startup", BOOL, "false")                                                            \
    X("raft-timeout", TIME, "1s")                                                                  \
    X("otlp-metrics-interval", TIME, "30s")                                                        \
    X("raft-no-freelist-sync", BOOL, "false")                                                      \
    X("http-no-verify", BOOL, "false")

static const struct {
    const char *name;
    enum flags_kind kind;
    const char *value;
} contract[] = {
#define ROW(name, kind, value) {name, FLAGS_KIND_##kind, value},
    FLAGS_OF_THE_CONTRACT(ROW)
#undef ROW
};
enum { CONTRACT_COUNT = sizeof contract / sizeof contract[0] };

static struct flags flags;
static struct err_text why;

static bool only_there_exists(const char *path)
{
    return strcmp(path, "there") == 0;
}

static enum flags_outcome parse(const char *line)
{
    static char copy[4096];
    const char *argv[64];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word && argc < 64; word = strtok(NULL, " "))
        argv[argc++] = word;
    memset(&why, 0, sizeof why);
    return flags_parse(argc, argv, only_there_exists, &flags, &why);
}

/* As parse(), but before the checks between flags: with one argument too many. */
static void syntax_is_fine(const char *words)
{
    char line[200];
    snprintf(line, sizeof line, "%s d rest", words);
    const enum flags_outcome outcome = parse(line);
    if (outcome != FLAGS_PLAIN)
        fail_msg("%s: outcome %d, %s", words, (int)outcome, why.text);
}

static void syntax_error(const char *words, const char *expected)
{
    assert_int_equal(parse(words), FLAGS_SYNTAX);
    assert_string_equal(why.text, expected);
}

static int64_t number_at(const struct flags *f, const struct flags_row *row)
{
    const void *field = (const char *)f + row->offset;
    switch (row->kind) {
    case FLAGS_KIND_BOOL:
        return *(const bool *)field;
    case FLAGS_KIND_UINT:
        return (int64_t) * (const uint64_t *)field;
    case FLAGS_KIND_INT:
    case FLAGS_KIND_TIME:
        return *(const int64_t *)field;
    case FLAGS_KIND_TEXT:
        break;
    }
    return -1;
}

static const char *text_at(const struct flags *f, const struct flags_row *row)
{
    return *(const char *const *)(const void *)((const char *)f + row->offset);
}

static void test_each_flag_has_its_kind_and_default(void **state)
{
    char words[200];
    (void)state;
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        const struct flags_row *row = flags_row_find(contract[i].name, strlen(contract[i].name));
        if (!row)
            fail_msg("-%s is missing", contract[i].name);
        assert_int_equal(row->kind, contract[i].kind);
        if (row->kind == FLAGS_KIND_TEXT) {
            assert_string_equal(text_at(flags_defaults(), row), contract[i].value);
            continue;
        }
        if (strcmp(row->name, "version") == 0)
            continue; /* given, it ends everything: test_flags.c */
        snprintf(words, sizeof words, "-%s=%s", row->name, contract[i].value);
        /* 0 is a default of the reapers, and nothing that may be given */
        if (strstr(row->name, "reap") == NULL) {
            syntax_is_fine(words);
            assert_true(number_at(&flags, row) == number_at(flags_defaults(), row));
        } else {
            assert_true(number_at(flags_defaults(), row) == 0);
        }
    }
}

static void check_value(const struct flags_row *row, const char *value, int64_t number)
{
    char words[200];
    for (size_t i = 0; i < 4; i++) {
        if (row->kind == FLAGS_KIND_BOOL && i < 2)
            continue;
        snprintf(words, sizeof words, "%s%s%s%s", i % 2 ? "--" : "-", row->name, i < 2 ? " " : "=",
                 value);
        syntax_is_fine(words);
        if (row->kind == FLAGS_KIND_TEXT)
            assert_string_equal(text_at(&flags, row), value);
        else
            assert_true(number_at(&flags, row) == number);
    }
}

static void test_each_flag_takes_values_in_all_forms(void **state)
{
    char words[200];
    (void)state;
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        const struct flags_row *row = flags_row_find(contract[i].name, strlen(contract[i].name));
        assert_non_null(row);
        switch (row->kind) {
        case FLAGS_KIND_TEXT:
            check_value(row, "some=text", 0);
            break;
        case FLAGS_KIND_BOOL:
            if (strcmp(row->name, "version") == 0)
                break;
            check_value(row, "T", 1);
            check_value(row, "False", 0);
            snprintf(words, sizeof words, "-%s", row->name);
            syntax_is_fine(words);
            assert_true(number_at(&flags, row) == 1);
            break;
        case FLAGS_KIND_INT:
            check_value(row, "-0x1_0", -16);
            break;
        case FLAGS_KIND_UINT:
            check_value(row, "0b101", 5);
            break;
        case FLAGS_KIND_TIME:
            check_value(row, "1m1.5s", 61500 * FLAGS_MS);
            break;
        }
    }
}

static void test_each_flag_refuses_what_it_cannot_read(void **state)
{
    char words[200], expected[200];
    (void)state;
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        const char *name = contract[i].name;
        if (contract[i].kind == FLAGS_KIND_BOOL) {
            snprintf(words, sizeof words, "-%s=maybe d", name);
            snprintf(expected, sizeof expected,
                     "invalid boolean value \"maybe\" for -%s: parse error", name);
            syntax_error(words, expected);
            continue;
        }
        snprintf(words, sizeof words, "-%s", name);
        snprintf(expected, sizeof expected, "flag needs an argument: -%s", name);
        syntax_error(words, expected);
        if (contract[i].kind == FLAGS_KIND_TEXT)
            continue;
        const char *bad = contract[i].kind == FLAGS_KIND_TIME ? "5" : "5s";
        snprintf(words, sizeof words, "-%s=%s d", name, bad);
        snprintf(expected, sizeof expected, "invalid value \"%s\" for flag -%s: parse error", bad,
                 name);
        syntax_error(words, expected);
    }
}

/* ---- the usage text ------------------------------------------------------------------------------ */

static char usage[32 * 1024];

static void usage_line(void *ctx, const char *text)
{
    (void)ctx;
    const size_t len = strlen(usage);
    snprintf(usage + len, sizeof usage - len, "%s\n", text);
}

static void test_usage_explains_each_flag_once(void **state)
{
    char line[100];
    (void)state;
    usage[0] = '\0';
    flags_usage(usage_line, NULL);
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        const char *name = contract[i].name;
        if (strcmp(name, "raft-timeout") == 0 || strcmp(name, "otlp-metrics-interval") == 0)
            continue; /* older names of others */
        static const char *const kinds[] = {" string", "", " int", " uint", " duration"};
        snprintf(line, sizeof line, "\n  -%s%s\n      ", name, kinds[contract[i].kind]);
        const char *at = strstr(usage, line);
        if (!at)
            fail_msg("-%s is not explained", name);
        assert_null(strstr(at + 1, line));
    }
    assert_non_null(strstr(usage, "(default 2m0s)"));
    assert_non_null(strstr(usage, "(default localhost:4001)"));
}

/* ---- §1.4 ------------------------------------------------------------------------------------------ */

static const struct {
    int number;
    const char *line, *words;
} checks[] = {
    {1, "-node-id 1", "data directory path is required"},
    {2, "-extensions-path there,gone d", "extension path does not exist: gone"},
    {3, "-http-cert c d", "either both -http-cert and -http-key must be set, or neither"},
    {3, "-http-key c d", "either both -http-cert and -http-key must be set, or neither"},
    {4, "-node-cert c d", "either both -node-cert and -node-key must be set, or neither"},
    {4, "-node-key c d", "either both -node-cert and -node-key must be set, or neither"},
    {5, "-http-verify-common-name n d", "-http-verify-common-name requires -http-verify-client"},
    {6, "-node-verify-common-name n d", "-node-verify-common-name requires -node-verify-client"},
    {7, "-raft-addr localhost:4001 d", "HTTP and Raft addresses must differ"},
    {9, "-http-addr HTTP://h:1 d",
     "HTTP options should not include protocol (http:// or https://)"},
    {9, "-http-adv-addr httpx d", "HTTP options should not include protocol (http:// or https://)"},
    {10, "-http-addr nope d", "HTTP bind address not valid"},
    {11, "-http-adv-addr a:b:c d", "HTTP advertised HTTP address not valid"},
    {12, "-http-addr 0.0.0.0:4001 d",
     "advertised HTTP address is not routable (0.0.0.0), specify it via -http-addr or "
     "-http-adv-addr"},
    {12, "-http-addr [::]:4001 d",
     "advertised HTTP address is not routable (::), specify it via -http-addr or -http-adv-addr"},
    {13, "-raft-addr nope d", "raft bind address not valid"},
    {14, "-raft-addr h:x d", "raft bind port not valid"},
    {15, "-raft-adv-addr h d", "raft advertised address not valid"},
    {16, "-raft-addr 0.0.0.0:4002 d",
     "advertised Raft address is not routable (0.0.0.0), specify it via -raft-addr or "
     "-raft-adv-addr"},
    {17, "-raft-adv-addr h:x d", "raft advertised port is not valid"},
    {18, "-http-adv-addr h:1 -raft-adv-addr h:1 d",
     "advertised HTTP and Raft addresses must differ"},
    {19, "-bootstrap-expect 3 -raft-non-voter d", "bootstrapping only applicable to voting nodes"},
    {20, "-join h:1,h:2:3 d", "h:2:3 is an invalid join address"},
    {21, "-join localhost:4002 d", "node cannot join with itself unless bootstrapping"},
    {21, "-raft-adv-addr h:1 -join g:1,h:1 d", "node cannot join with itself unless bootstrapping"},
    {21, "-join http://localhost:4001 d", "node cannot join with itself unless bootstrapping"},
    {22, "-join h:1 -auto-restore f d", "auto-restoring cannot be used when joining a cluster"},
    {23, "-join h:1 -disco-mode dns d",
     "disco mode cannot be used when also explicitly joining a cluster"},
    {24, "-cdc-config f -raft-non-voter d", "CDC cannot be enabled on non-voting nodes"},
    {25, "-otlp-endpoint h:1 -otlp-key c d",
     "either both -otlp-cert and -otlp-key must be set, or neither"},
    {26, "-otlp-insecure d", "OTLP options require -otlp-endpoint"},
    {26, "-otlp-no-verify d", "OTLP options require -otlp-endpoint"},
    {26, "-otlp-ca-cert c d", "OTLP options require -otlp-endpoint"},
    {26, "-otlp-cert c -otlp-key c d", "OTLP options require -otlp-endpoint"},
    {27, "-otlp-endpoint http://h:1 d", "-otlp-endpoint must not include a protocol scheme"},
    {28, "-otlp-endpoint h d", "-otlp-endpoint is not a valid address"},
    {29, "-otlp-endpoint h:1 -otlp-interval 0s d", "-otlp-interval must be greater than zero"},
    {30, "-otlp-endpoint h:1 -otlp-insecure -otlp-no-verify d",
     "-otlp-insecure cannot be used with other OTLP TLS options"},
    {30, "-otlp-endpoint h:1 -otlp-insecure -otlp-ca-cert c d",
     "-otlp-insecure cannot be used with other OTLP TLS options"},
    {31, "-disco-mode consul-kv -bootstrap-expect 3 d",
     "bootstrapping not applicable when using consul-kv"},
    {31, "-disco-mode etcd-kv -bootstrap-expect 3 d",
     "bootstrapping not applicable when using etcd-kv"},
    {32, "-disco-mode dns d", "bootstrap-expect value required when using dns with a voting node"},
    {32, "-disco-mode dns-srv d",
     "bootstrap-expect value required when using dns-srv with a voting node"},
    {33, "-disco-mode foo d", "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv"},
};
enum { CHECK_COUNT = sizeof checks / sizeof checks[0] };

static void test_each_check_has_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        const enum flags_outcome outcome = parse(checks[i].line);
        if (outcome != FLAGS_REFUSED || strcmp(why.text, checks[i].words) != 0)
            fail_msg("check %d, %s: outcome %d, %s", checks[i].number, checks[i].line, (int)outcome,
                     why.text);
    }
}

/* Does the second line give a flag anew that the first one needs as it is? */
static bool share_flags(const char *a, const char *b)
{
    char copy[500];
    snprintf(copy, sizeof copy, "%s", b);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        char flag[100];
        snprintf(flag, sizeof flag, "%s ", word);
        if (word[0] == '-' && strstr(a, flag))
            return true;
    }
    return false;
}

/* Does the line give a flag that makes the check pass, or another one fail instead? */
static bool cures(const char *line, int number)
{
    return (number >= 19 && number <= 24 && strstr(line, "-bootstrap-expect")) ||
           (number == 26 && strstr(line, "-otlp-endpoint"));
}

/* Two lines in one: the words are those of the check that stands first. */
static void test_the_first_check_that_fails_speaks(void **state)
{
    char line[1000];
    int compared = 0;
    (void)state;
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        for (size_t k = i + 1; k < CHECK_COUNT; k++) {
            if (checks[i].number == checks[k].number || share_flags(checks[i].line, checks[k].line))
                continue;
            if (strcmp(checks[i].words, checks[k].words) == 0)
                continue;
            if (cures(checks[k].line, checks[i].number))
                continue;
            const bool no_dir = checks[i].number == 1;
            const size_t len = strlen(checks[k].line) - (no_dir ? 2 : 0);
            const size_t head = strlen(checks[i].line) - (no_dir ? 0 : 2);
            snprintf(line, sizeof line, "%.*s %.*s", (int)head, checks[i].line, (int)len,
                     checks[k].line);
            const enum flags_outcome outcome = parse(line);
            /* an address given for one check may be what another one looks at: then either speaks */
            if (outcome != FLAGS_REFUSED)
                fail_msg("%s: outcome %d", line, (int)outcome);
            const bool addresses = (checks[i].number >= 7 && checks[i].number <= 21) &&
                                   (checks[k].number >= 7 && checks[k].number <= 21);
            if (!addresses && strcmp(why.text, checks[i].words) != 0)
                fail_msg("%s: %s", line, why.text);
            compared += !addresses;
        }
    }
    assert_true(compared > 300);
}

/* ---- what is not built ----------------------------------------------------------------------------- */

static const struct {
    const char *line, *name;
} unsupported[] = {
    {"-extensions-path there d", "extensions-path"}, {"-auto-backup f d", "auto-backup"},
    {"-auto-restore f d", "auto-restore"},           {"-cdc-config stdout d", "cdc-config"},
    {"-otlp-endpoint h:1 d", "otlp-endpoint"},
};

/* Refused at start, and -h says so. */
static void test_what_is_not_built_is_said(void **state)
{
    char line[100];
    (void)state;
    usage[0] = '\0';
    flags_usage(usage_line, NULL);
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        assert_int_equal(parse(unsupported[i].line), FLAGS_RUN);
        const char *name = flags_unsupported(&flags);
        if (!name)
            continue; /* it is built by now: the row may go */
        assert_string_equal(name, unsupported[i].name);
        snprintf(line, sizeof line, "\n  -%s string\n", name);
        const char *at = strstr(usage, line);
        assert_non_null(at);
        const char *end = strstr(at + strlen(line), "\n");
        const char *note = strstr(at, "(not supported yet)");
        assert_true(note != NULL && note < end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_flag_has_its_kind_and_default),
        cmocka_unit_test(test_each_flag_takes_values_in_all_forms),
        cmocka_unit_test(test_each_flag_refuses_what_it_cannot_read),
        cmocka_unit_test(test_usage_explains_each_flag_once),
        cmocka_unit_test(test_each_check_has_its_words),
        cmocka_unit_test(test_the_first_check_that_fails_speaks),
        cmocka_unit_test(test_what_is_not_built_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
