/* The credentials file, the Authorization header, and what follows from both. */
#include "auth_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* bcrypt of "secret", cost 4 and 5 */
#define HASH4 "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define HASH5 "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"

static const uint8_t key[AUTH_KEY_BYTES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct auth *load(const char *json)
{
    struct auth *a = NULL;
    struct err_text why = {""};
    if (auth_create(slice_str(json), key, &a, &why) != 0)
        fail_msg("%s: %s", json, why.text);
    return a;
}

static void expect_refused(const char *json, const char *words)
{
    struct auth *a = NULL;
    struct err_text why = {""};
    assert_int_equal(auth_create(slice_str(json), key, &a, &why), ERR_INVALID);
    if (!strstr(why.text, words))
        fail_msg("%s: %s, expected %s", json, why.text, words);
}

static struct auth_hash hash;

static enum auth_verdict decide(struct auth *a, const char *user, const char *password,
                                uint32_t perms)
{
    const struct auth_question q = {slice_str(user), slice_str(password), perms};
    return auth_decide(a, &q, &hash);
}

static bool may(struct auth *a, const char *user, const char *password, uint32_t perms)
{
    const enum auth_verdict verdict = decide(a, user, password, perms);
    assert_int_not_equal(verdict, AUTH_VERDICT_HASH);
    return verdict == AUTH_VERDICT_YES;
}

/* ---- the keyed hash ------------------------------------------------------------------------------------ */

static void test_digests_are_siphash_of_128_bits(void **state)
{
    static const struct {
        size_t len;
        uint8_t want[16];
    } rows[] = {/* as by `openssl mac … SIPHASH` */
                {0,
                 {0xA3, 0x81, 0x7F, 0x04, 0xBA, 0x25, 0xA8, 0xE6, 0x6D, 0xF6, 0x72, 0x14, 0xC7,
                  0x55, 0x02, 0x93}},
                {2,
                 {0x81, 0x77, 0x22, 0x8D, 0xA4, 0xA4, 0x5D, 0xC7, 0xFC, 0xA3, 0x8B, 0xDE, 0xF6,
                  0x0A, 0xFF, 0xE4}},
                {15,
                 {0x54, 0x93, 0xE9, 0x99, 0x33, 0xB0, 0xA8, 0x11, 0x7E, 0x08, 0xEC, 0x0F, 0x97,
                  0xCF, 0xC3, 0xD9}}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct auth_digest got = auth_digest_of(key, slice_of(key, rows[i].len));
        assert_memory_equal(got.bytes, rows[i].want, 16);
    }
}

/* ---- the file -------------------------------------------------------------------------------------------- */

static void test_malformed_files_are_refused_with_the_entry(void **state)
{
    (void)state;
    expect_refused("", "not valid JSON");
    expect_refused("[", "not valid JSON");
    expect_refused("[] []", "not valid JSON");
    expect_refused("{}", "not a JSON array");
    expect_refused("null", "not a JSON array");
    expect_refused("[7]", "entry 1 is not an object");
    expect_refused("[{\"username\":\"a\"},{\"password\":\"x\"}]", "entry 2 has no username");
    expect_refused("[{\"username\":\"\"}]", "entry 1 has no username");
    expect_refused("[{\"username\":1}]", "entry 1 has no username");
    expect_refused("[{\"username\":\"a\",\"password\":1}]", "entry 1: password is not a string");
    expect_refused("[{\"username\":\"a\",\"perms\":\"all\"}]", "entry 1: perms is not an array");
    expect_refused("[{\"username\":\"a\",\"perms\":[1]}]", "entry 1: a permission is not a string");
    expect_refused("[{\"username\":\"a\",\"perms\":[],\"Perms\":[\"all\"]}]",
                   "entry 1: perms is given twice");
    expect_refused("[{\"username\":\"ro\\u0000ot\"}]", "NUL");
    expect_refused("[{\"username\":\"a\",\"password\":\"$2b$04$short\"}]",
                   "entry 1: password begins as a bcrypt hash");
    expect_refused("[{\"username\":\"a\",\"password\":\"$2b$31$"
                   "abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\"}]",
                   "takes too long");
    struct auth *a =
        load("[{\"username\":\"back\\\\u0000slash\",\"password\":\"x\",\"perms\":[\"all\"]}] \n");
    assert_true(may(a, "back\\u0000slash", "x", AUTH_QUERY));
    auth_destroy(a);
}

static void test_an_entry_inherits_nothing(void **state)
{
    struct auth *a = load(
        "[{\"username\":\"root\",\"password\":\"x\",\"perms\":[\"all\"]},{\"username\":\"bob\"},"
        "{\"username\":\"eve\",\"password\":null,\"perms\":null}]");
    (void)state;
    assert_true(may(a, "root", "x", AUTH_QUERY));
    assert_false(may(a, "bob", "x", AUTH_QUERY));
    assert_false(may(a, "bob", "", AUTH_QUERY));
    assert_false(may(a, "eve", "", AUTH_QUERY));
    auth_destroy(a);
}

static void test_the_last_entry_of_a_name_wins(void **state)
{
    struct auth *a = load("[{\"username\":\"bob\",\"password\":\"old\",\"perms\":[\"all\"]},"
                          "{\"username\":\"bob\",\"password\":\"new\",\"perms\":[\"query\"]}]");
    (void)state;
    assert_false(may(a, "bob", "old", AUTH_QUERY));
    assert_true(may(a, "bob", "new", AUTH_QUERY));
    assert_false(may(a, "bob", "new", AUTH_EXECUTE));
    auth_destroy(a);
}

static void test_running_out_of_memory_loads_nothing(void **state)
{
    (void)state;
    for (unsigned long n = 1; n < 3; n++) {
        struct auth *a = NULL;
        struct err_text why;
        mem_fault_arm(n);
        assert_int_equal(auth_create(slice_str("[{\"username\":\"bob\"}]"), key, &a, &why),
                         ERR_NOMEM);
        mem_fault_arm(0);
        assert_null(a);
    }
}

/* ---- decisions --------------------------------------------------------------------------------------------- */

static void test_plain_passwords_are_compared_byte_for_byte(void **state)
{
    struct auth *a = load("[{\"username\":\"bob\",\"password\":\"s\",\"perms\":[\"query\","
                          "\"status\",\"nonsense\"]}]");
    (void)state;
    assert_true(may(a, "bob", "s", AUTH_QUERY));
    assert_true(may(a, "bob", "s", AUTH_QUERY | AUTH_STATUS));
    assert_false(may(a, "bob", "s", AUTH_QUERY | AUTH_EXECUTE));
    assert_false(may(a, "bob", "S", AUTH_QUERY));
    assert_false(may(a, "bob", "s ", AUTH_QUERY));
    assert_false(may(a, "bob", "", AUTH_QUERY));
    assert_false(may(a, "Bob", "s", AUTH_QUERY));
    assert_false(may(a, "", "s", AUTH_QUERY));
    const struct auth_question nul = {slice_str("bob"), slice_of("s\0", 2), AUTH_QUERY};
    assert_int_equal(auth_decide(a, &nul, &hash), AUTH_VERDICT_NO);
    auth_destroy(a);
}

static void test_what_everybody_may_needs_no_right_password(void **state)
{
    struct auth *a =
        load("[{\"username\":\"bob\",\"password\":\"s\",\"perms\":[\"query\"]},"
             "{\"username\":\"*\",\"password\":\"x\",\"perms\":[\"ready\",\"execute\"]}]");
    (void)state;
    assert_true(may(a, "", "", AUTH_READY));
    assert_true(may(a, "bob", "wrong", AUTH_READY));
    assert_false(may(a, "", "", AUTH_QUERY));
    assert_false(may(a, "*", "x", AUTH_QUERY)); /* nobody is called that */
    assert_false(may(a, "*", "x", AUTH_STATUS));
    assert_true(may(a, "bob", "s", AUTH_QUERY | AUTH_EXECUTE)); /* each decided on its own */
    auth_destroy(a);
}

static void test_permissions_for_replicas_are_synonyms(void **state)
{
    struct auth *a =
        load("[{\"username\":\"r\",\"password\":\"s\",\"perms\":[\"join-read-only\"]}]");
    (void)state;
    assert_true(may(a, "r", "s", AUTH_JOIN_READ_REPLICA));
    assert_false(may(a, "r", "s", AUTH_JOIN));
    auth_destroy(a);
}

/* ---- bcrypt --------------------------------------------------------------------------------------------------- */

static void ask_bcrypt(struct auth *a, bool matches)
{
    assert_int_equal(auth_hash_run(&hash), 0);
    assert_int_equal(hash.matched, matches);
    auth_hash_keep(a, &hash);
}

static void test_hashed_passwords_are_looked_at_once(void **state)
{
    struct auth *a =
        load("[{\"username\":\"bob\",\"password\":\"" HASH4 "\",\"perms\":[\"query\"]}]");
    (void)state;
    assert_int_equal(decide(a, "bob", "secret", AUTH_QUERY), AUTH_VERDICT_HASH);
    ask_bcrypt(a, true);
    assert_true(may(a, "bob", "secret", AUTH_QUERY));
    assert_false(may(a, "bob", "secret", AUTH_EXECUTE));
    assert_true(auth_grants(a, slice_str("bob"), AUTH_QUERY));
    assert_false(auth_grants(a, slice_str("bob"), AUTH_EXECUTE));
    assert_int_equal(decide(a, "bob", HASH4, AUTH_QUERY),
                     AUTH_VERDICT_HASH); /* the hash is not the password */
    ask_bcrypt(a, false);
    assert_false(may(a, "bob", HASH4, AUTH_QUERY));
    auth_destroy(a);
}

static void test_the_three_prefixes_are_bcrypt(void **state)
{
    (void)state;
    for (const char *letter = "aby"; *letter; letter++) {
        char json[256];
        (void)snprintf(json, sizeof json,
                       "[{\"username\":\"bob\",\"password\":\"$2%c%s\",\"perms\":[\"all\"]}]",
                       *letter, &HASH4[3]);
        struct auth *a = load(json);
        assert_int_equal(decide(a, "bob", "secret", AUTH_QUERY), AUTH_VERDICT_HASH);
        ask_bcrypt(a, true);
        auth_destroy(a);
    }
    struct auth *a =
        load("[{\"username\":\"bob\",\"password\":\"$2x$04$plain\",\"perms\":[\"all\"]}]");
    assert_true(may(a, "bob", "$2x$04$plain", AUTH_QUERY));
    auth_destroy(a);
}

static void test_nobody_costs_as_much_as_the_dearest(void **state)
{
    struct auth *a = load("[{\"username\":\"bob\",\"password\":\"" HASH4 "\",\"perms\":[\"all\"]},"
                          "{\"username\":\"ann\",\"password\":\"" HASH5 "\",\"perms\":[\"all\"]},"
                          "{\"username\":\"tom\",\"password\":\"plain\",\"perms\":[\"all\"]}]");
    (void)state;
    assert_int_equal(decide(a, "nobody", "secret", AUTH_QUERY), AUTH_VERDICT_HASH);
    assert_string_equal(hash.hash, HASH5);
    ask_bcrypt(a, false); /* although that is the hash's password */
    assert_false(may(a, "nobody", "secret", AUTH_QUERY));
    assert_int_equal(decide(a, "tom", "secret", AUTH_QUERY), AUTH_VERDICT_HASH);
    ask_bcrypt(a, false);
    assert_true(may(a, "tom", "plain", AUTH_QUERY));
    auth_destroy(a);
}

static void test_guessing_does_not_push_out_who_is_known(void **state)
{
    struct auth *a =
        load("[{\"username\":\"bob\",\"password\":\"" HASH4 "\",\"perms\":[\"all\"]}]");
    (void)state;
    assert_int_equal(decide(a, "bob", "secret", AUTH_QUERY), AUTH_VERDICT_HASH);
    ask_bcrypt(a, true);
    for (int i = 0; i < 5000; i++) {
        char guess[32];
        (void)snprintf(guess, sizeof guess, "guess %d", i);
        if (decide(a, "bob", guess, AUTH_QUERY) == AUTH_VERDICT_HASH)
            auth_hash_keep(a, &hash); /* as if bcrypt had said no */
    }
    assert_true(may(a, "bob", "secret", AUTH_QUERY));
    auth_destroy(a);
}

static void test_the_cache_forgets_the_oldest_of_a_set(void **state)
{
    static struct auth_cache cache;
    struct auth_digest d = {{0}};
    (void)state;
    memset(&cache, 0, sizeof cache);
    for (uint8_t i = 0; i < AUTH_CACHE_WAYS + 2; i++) {
        d.bytes[1] = i;
        assert_false(auth_cache_has(&cache, &d));
        auth_cache_put(&cache, &d);
        auth_cache_put(&cache, &d);
        assert_true(auth_cache_has(&cache, &d));
    }
    for (uint8_t i = 0; i < AUTH_CACHE_WAYS + 2; i++) {
        d.bytes[1] = i;
        assert_int_equal(auth_cache_has(&cache, &d), i > 1);
    }
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static void expect_basic(const char *value, const char *user, const char *password)
{
    struct auth_basic b;
    auth_basic_parse(slice_str(value), &b);
    if (!slice_equal_str(b.user, user) || !slice_equal_str(b.password, password))
        fail_msg("%s: %.*s %.*s", value, (int)b.user.len, (const char *)b.user.data,
                 (int)b.password.len, (const char *)b.password.data);
}

static void test_basic_credentials_are_read(void **state)
{
    (void)state;
    expect_basic("Basic Ym9iOnM=", "bob", "s");
    expect_basic("bAsIc Ym9iOnM=", "bob", "s");
    expect_basic("Basic Ym9iOg==", "bob", "");
    expect_basic("Basic YTpiOmM=", "a", "b:c");
    expect_basic("Basic Ojo+Pz8/", "", ":>???");
}

static void test_what_is_not_basic_is_nothing(void **state)
{
    static const char *const values[] = {
        "",
        "Basic",
        "Basic ",
        "Basic  Ym9iOnM=",
        "Bearer Ym9iOnM=",
        "Basic Ym9iOnM",
        "Basic =",
        "Basic Ym9iOnM= ",
        "Basic Ym9i\nOnM=",
        "Basic Ym9i",
        "Basic Y:9iOnM=",
        "Basic ====",
        "Basic Ym9iOgA=", /* NUL */
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        expect_basic(values[i], "", "");
}

static void test_too_long_credentials_are_nobodys(void **state)
{
    static char value[4096];
    (void)state;
    for (size_t groups = 1; groups < 1000; groups++) {
        struct auth_basic b;
        memcpy(value, "Basic YTo6", 10); /* "a::" */
        for (size_t i = 0; i < groups; i++)
            memcpy(value + 10 + 4 * i, "eHh4", 5);
        auth_basic_parse(slice_str(value), &b);
        assert_int_equal(b.password.len, 1 + 3 * groups <= AUTH_PASSWORD_MAX ? 1 + 3 * groups : 0);
        assert_int_equal(b.user.len, b.password.len ? 1 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_are_siphash_of_128_bits),
        cmocka_unit_test(test_malformed_files_are_refused_with_the_entry),
        cmocka_unit_test(test_an_entry_inherits_nothing),
        cmocka_unit_test(test_the_last_entry_of_a_name_wins),
        cmocka_unit_test(test_running_out_of_memory_loads_nothing),
        cmocka_unit_test(test_plain_passwords_are_compared_byte_for_byte),
        cmocka_unit_test(test_what_everybody_may_needs_no_right_password),
        cmocka_unit_test(test_permissions_for_replicas_are_synonyms),
        cmocka_unit_test(test_hashed_passwords_are_looked_at_once),
        cmocka_unit_test(test_the_three_prefixes_are_bcrypt),
        cmocka_unit_test(test_nobody_costs_as_much_as_the_dearest),
        cmocka_unit_test(test_guessing_does_not_push_out_who_is_known),
        cmocka_unit_test(test_the_cache_forgets_the_oldest_of_a_set),
        cmocka_unit_test(test_basic_credentials_are_read),
        cmocka_unit_test(test_what_is_not_basic_is_nothing),
        cmocka_unit_test(test_too_long_credentials_are_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
