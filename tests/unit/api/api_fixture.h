/* api_fixture.h — one api on the fake world with one connected client, and words for what it asks and expects.
 * Shared by the tests that speak bytes; all static, each program has its own. */
#ifndef API_FIXTURE_H
#define API_FIXTURE_H

#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake.inc"

#define UNUSED __attribute__((unused))

static UNUSED struct api *api;
static UNUSED struct fake_stream conn;

static UNUSED int setup(void **state)
{
    (void)state;
    fake_reset();
    api = fake_api();
    fake_connect(&conn);
    return 0;
}

static void fixture_told(void *ctx)
{
    ++*(int *)ctx;
}

/* Stop, if the test did not, and be told so. */
static UNUSED void fixture_end(void)
{
    int told = 0;

    if (!api->stopping) {
        api_stop(api, 1000, fixture_told, &told);
        fake_pass(1000); /* what is queued is given up */
        fake_turn();
        assert_int_equal(told, 1);
    }
    fake_turn();
    api_destroy(api);
}

static UNUSED int teardown(void **state)
{
    (void)state;
    fake_stream_end(&conn);
    fixture_end();
    return 0;
}

/* headers: whole lines; body: may be NULL. What came back since the last look. */
static UNUSED const char *ask(const char *method, const char *target, const char *headers,
                              const char *body)
{
    struct buf request;

    buf_init(&request, 65536);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: h\r\n%s", method, target, headers);
    if (body)
        buf_printf(&request, "Content-Length: %zu\r\n", strlen(body));
    buf_printf(&request, "\r\n%s", body ? body : "");
    buf_append_byte(&request, 0);
    fake_send(&conn, (const char *)buf_slice(&request).data);
    buf_fini(&request);
    return fake_written(&conn);
}

static UNUSED const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static UNUSED void expect_has(const char *text, const char *part)
{
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("%.2000s\n  does not contain\n%s", text, part);
}

static UNUSED void expect_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("%.2000s\n  contains\n%s", text, part);
}

static UNUSED void expect_starts(const char *answer, int status, const char *asked)
{
    char line[32];

    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (strncmp(answer, line, strlen(line)) != 0)
        fail_msg("%s: %.300s\n  expected %d", asked, answer, status);
}

#endif
