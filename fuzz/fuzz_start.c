/* fuzz_start.c — what decides how the daemon starts: command lines, the configuration of -disco-mode, and what Consul
 * and etcd answer. The first byte chooses which one.
 *
 * Beyond "does not crash": an outcome that is no success has words, and a command line that is accepted is accepted
 * with the same meaning when it is read again. */
#include "disco_int.h"
#include "flags.h"
#include "fuzz_int.h"
#include "timing.h"

#include <rq/util/assert.h>

#include <string.h>

enum { WORDS_MAX = 64, LINE_MAX_BYTES = 4096 };

static bool exists(const char *path)
{
    return strlen(path) % 2 == 0;
}

static void fuzz_flags(struct slice in)
{
    static char line[LINE_MAX_BYTES + 1];
    static struct flags first, second;
    const char *argv[WORDS_MAX];
    struct err_text why = {""};
    struct timing timing;
    int argc = 0;

    const size_t len = in.len < LINE_MAX_BYTES ? in.len : LINE_MAX_BYTES;
    if (len > 0)
        memcpy(line, in.data, len);
    line[len] = '\0';
    for (size_t at = 0; at < len && argc < WORDS_MAX; at += strlen(line + at) + 1) {
        char *end = memchr(line + at, '\n', len - at);
        if (end)
            *end = '\0';
        argv[argc++] = line + at;
    }
    const enum flags_outcome outcome = flags_parse(argc, argv, exists, &first, &why);
    if (outcome != FLAGS_RUN) {
        ASSERT(outcome == FLAGS_VERSION || outcome == FLAGS_HELP || why.text[0] != '\0');
        return;
    }
    ASSERT(first.dir[0] != '\0' && first.join_count <= FLAGS_JOIN_MAX);
    ASSERT(flags_parse(argc, argv, exists, &second, &why) == FLAGS_RUN);
    ASSERT(first.join_count == second.join_count && first.raft_snap == second.raft_snap);
    ASSERT(strcmp(first.node_id, second.node_id) == 0);
    (void)flags_unsupported(&first);
    const int rc = timing_of(&first, &timing, &why);
    ASSERT(rc != 0 || (timing.heartbeat >= 5 * FLAGS_MS && timing.lease <= timing.heartbeat &&
                       timing.election >= timing.heartbeat));
}

static void fuzz_settings(enum disco_kind kind, struct slice in)
{
    static struct disco_settings s;
    struct err_text why = {""};

    memset(&s, 0, sizeof(s));
    const int rc = disco_settings_read(kind, in, 4002, &s, &why);
    ASSERT(rc == 0 || why.text[0] != '\0');
    ASSERT(rc != 0 || kind == DISCO_DNS || kind == DISCO_DNS_SRV || s.endpoint_count > 0);
    disco_settings_fini(&s);
}

static void fuzz_answer(bool etcd, enum disco_deed deed, long status, struct slice in)
{
    static struct disco_exchange x;
    struct err_text why = {""};
    struct buf value;

    memset(&x, 0, sizeof(x));
    x.status = status;
    buf_init(&x.answer, DISCO_BODY_MAX);
    buf_init(&value, DISCO_BODY_MAX);
    (void)buf_append_slice(&x.answer, in);
    (void)(etcd ? disco_etcd_answer(deed, &x, &value, &why)
                : disco_consul_answer(deed, &x, &value, &why));
    buf_fini(&value);
    buf_fini(&x.answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct slice rest = slice_of(data + 1, size - 1);
    const unsigned which = data[0] % 16;
    if (which < 4)
        fuzz_flags(rest);
    else if (which < 8)
        fuzz_settings((enum disco_kind)(which - 4), rest);
    else
        fuzz_answer(which >= 12, (enum disco_deed)(which % 4), which == 11 ? 404 : 200, rest);
    return 0;
}
