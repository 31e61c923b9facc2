/* test_golden.c — raft told in scripts: tests/golden/raft/NAME.txt holds commands at the left margin and,
 * indented below each, everything the nodes ordered. `raft_test_golden --rewrite` writes what happens now;
 * review the difference. The watchers of raft_world.h and raft_check run in every step too.
 *
 *   cluster NODES VOTERS [KEY=VALUE…]   config: heartbeat election campaign lease count bytes msgs window runs
 *   disk ID term=T vote=V log=T,T,… [snapshot=I applied=I]   what the node will find; without log=
 *                                       what it wrote before
 *   start ID…                           from its disk
 *   campaign ID | tick ID | time MS     (time wakes nobody)   run MS (everybody, no faults)
 *   deliver [A>B] [KIND] [N|last]       first fitting message (or N of them, or the last)   all
 *   drop …  dup …                       likewise
 *   stored ID [quiet]                   oldest batch reaches the disk (quiet: raft is not told)
 *   applied ID | propose ID N [BYTES] | read ID | conf ID CHANGE TARGET | transfer ID TO
 *   suspect ID WHOM | snapshot ID INDEX | install ID [now] | sent ID TO ok|failed
 *   crash ID | restart ID [APPLIED] | cut A>B | heal | settle | dump | net
 *   silent COMMAND…                     the same without its trace */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <raft_world.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_DIR "tests/golden/raft"
enum { WORDS_MAX = 64, SCRIPTS_MAX = 200, SCRIPT_BYTES = 1 << 20 };

static bool rewriting;
static struct world *world; /* of the script under way */

typedef unsigned long long ull;

/* ---- words -------------------------------------------------------------------------------------------- */

struct words {
    char *word[WORDS_MAX];
    uint32_t count;
};

static const char *word_at(const struct words *s, uint32_t i)
{
    return i < s->count ? s->word[i] : "";
}

static uint64_t number_at(const struct words *s, uint32_t i)
{
    return strtoull(word_at(s, i), NULL, 10);
}

/* KEY=VALUE anywhere on the line; NULL if not there. */
static const char *value_of(const struct words *s, const char *key)
{
    size_t len = strlen(key);
    for (uint32_t i = 1; i < s->count; i++)
        if (strncmp(s->word[i], key, len) == 0 && s->word[i][len] == '=')
            return s->word[i] + len + 1;
    return NULL;
}

static uint64_t number_of(const struct words *s, const char *key, uint64_t otherwise)
{
    const char *value = value_of(s, key);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

static struct words split(char *line)
{
    struct words s = {{NULL}, 0};
    char *save = NULL;
    for (char *w = strtok_r(line, " ", &save); w && s.count < WORDS_MAX;
         w = strtok_r(NULL, " ", &save))
        s.word[s.count++] = w;
    return s;
}

static struct world_node *node_at(struct world *w, const struct words *s, uint32_t i)
{
    uint64_t id = number_at(s, i);
    assert_true(id >= 1 && id <= w->node_count);
    return &w->nodes[id];
}

/* ---- setting up ------------------------------------------------------------------------------------------ */

static void do_cluster(struct world *w, const struct words *s)
{
    struct buf *trace = w->trace;

    rworld_fini(w);
    rworld_init(w, 1, (uint32_t)number_at(s, 1), (uint32_t)number_at(s, 2));
    w->trace = trace;
    w->config.heartbeat_ms = number_of(s, "heartbeat", 10);
    w->config.election_ms = number_of(s, "election", 100);
    w->config.campaign_ms = number_of(s, "campaign", 0);
    w->config.lease_ms = number_of(s, "lease", 100);
    w->config.append_count_max = (uint32_t)number_of(s, "count", 4);
    w->config.append_bytes_max = (uint32_t)number_of(s, "bytes", 1000);
    w->config.window_msgs = (uint32_t)number_of(s, "msgs", 3);
    w->config.window_bytes = (uint32_t)number_of(s, "window", 2000);
    w->config.term_runs_max = (uint32_t)number_of(s, "runs", 64);
}

/* Entries of one term at one index are the same on every disk: their value is made of both. */
static void do_disk(struct world *w, const struct words *s)
{
    struct world_node *n = node_at(w, s, 1);
    const char *terms = value_of(s, "log");

    if (terms)
        n->disk_last = 0;
    while (terms && *terms) {
        char *end;
        struct world_entry e = {.kind = RAFT_ENTRY_NORMAL, .bytes = 10};
        e.term = strtoull(terms, &end, 10);
        e.value = 1000000 + n->disk_last * 1000 + e.term;
        uint64_t before = n->disk[n->disk_last].chain;
        e.chain = prng_mix(prng_mix(before, e.term * 4 + e.kind), e.value);
        n->disk[++n->disk_last] = e;
        rworld_watch_entry(w, n->disk_last, &e);
        terms = *end ? end + 1 : end;
    }
    n->disk_hard.term = number_of(s, "term", n->disk[n->disk_last].term);
    n->disk_hard.vote = number_of(s, "vote", 0);
    n->snapshot_index = number_of(s, "snapshot", 0);
    n->snapshot_term = n->disk[n->snapshot_index].term;
    n->applied = number_of(s, "applied", n->snapshot_index);
    for (uint64_t i = 1; i <= n->applied; i++) {
        w->committed[i] = n->disk[i].chain;
        w->committed_term[i] = n->disk[i].term;
        w->committed_max = w->committed_max > i ? w->committed_max : i;
    }
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

static bool fits(const struct world_msg *m, const struct words *s, uint32_t first)
{
    for (uint32_t i = first; i < s->count; i++) {
        const char *word = s->word[i];
        if (strchr(word, '>')) {
            char *end;
            if (strtoull(word, &end, 10) != m->m.from || strtoull(end + 1, NULL, 10) != m->m.to)
                return false;
        } else if (word[0] >= 'A' && word[0] <= 'Z' &&
                   strcmp(word, raft_msg_name(m->m.kind)) != 0) {
            return false;
        }
    }
    return true;
}

static bool find_msg(const struct world *w, const struct words *s, uint32_t *at)
{
    bool last = strcmp(word_at(s, s->count - 1), "last") == 0, found = false;

    for (uint32_t i = 0; i < w->net_count; i++) {
        if (!fits(&w->net[i], s, 1))
            continue;
        *at = i;
        found = true;
        if (!last)
            break;
    }
    return found;
}

static void do_msgs(struct world *w, const struct words *s)
{
    const char *end = word_at(s, s->count - 1);
    uint64_t count =
        end[0] >= '0' && end[0] <= '9' && !strchr(end, '>') ? strtoull(end, NULL, 10) : 1;
    uint32_t at = 0, limit = w->net_count;

    if (strcmp(end, "all") == 0)
        count = limit;
    for (; count > 0 && find_msg(w, s, &at); count--) {
        WORLD_SAY(w, "  : ");
        rworld_say_msg(w, &w->net[at].m);
        WORLD_SAY(w, "\n");
        if (strcmp(word_at(s, 0), "drop") == 0)
            rworld_net_drop(w, at);
        else if (strcmp(word_at(s, 0), "dup") == 0)
            rworld_duplicate(w, at);
        else
            rworld_deliver(w, at);
    }
    if (count > 0 && strcmp(end, "all") != 0)
        WORLD_SAY(w, "  no such message\n");
}

static void do_net(struct world *w)
{
    for (uint32_t i = 0; i < w->net_count; i++) {
        WORLD_SAY(w, "  ");
        rworld_say_msg(w, &w->net[i].m);
        WORLD_SAY(w, "\n");
    }
}

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

static void do_conf(struct world *w, const struct words *s)
{
    struct world_node *n = node_at(w, s, 1);
    struct raft_conf from = *n->view.conf, to;

    if (strcmp(word_at(s, 2), "same") == 0)
        to = from;
    else if (!rworld_conf_changed(&from, word_at(s, 2)[0], number_at(s, 3), &to))
        fail_msg("no such change: %s %s", word_at(s, 2), word_at(s, 3));
    (void)rworld_conf(w, n->id, &to);
}

static void do_ids(struct world *w, const struct words *s)
{
    struct world_node *n = node_at(w, s, 1);
    struct raft_in in = {.kind = RAFT_IN_TRANSFER};

    in.u.transfer_to = number_at(s, 2);
    if (strcmp(word_at(s, 0), "suspect") == 0) {
        in.kind = RAFT_IN_SUSPECT;
        in.u.suspect = number_at(s, 2);
    } else if (strcmp(word_at(s, 0), "sent") == 0) {
        in.kind = RAFT_IN_SNAPSHOT_SENT;
        in.u.snapshot_sent.to = number_at(s, 2);
        in.u.snapshot_sent.ok = strcmp(word_at(s, 3), "ok") == 0;
    }
    (void)rworld_step(w, n, &in, NULL);
}

static void do_cut(struct world *w, const struct words *s)
{
    char *end;
    uint64_t from = strtoull(word_at(s, 1), &end, 10);
    w->cut[from][strtoull(end + 1, NULL, 10)] = true;
}

static void do_stored(struct world *w, const struct words *s)
{
    struct world_node *n = node_at(w, s, 1);
    if (n->batch_count)
        rworld_stored(w, n->id, strcmp(word_at(s, 2), "quiet") != 0);
    else
        WORLD_SAY(w, "  nothing to store\n");
}

static void do_start(struct world *w, const struct words *s)
{
    for (uint32_t i = 1; i < s->count; i++)
        rworld_restart(w, number_at(s, i), w->nodes[number_at(s, i)].applied);
}

static void do_propose(struct world *w, const struct words *s)
{
    uint32_t bytes = s->count > 3 ? (uint32_t)number_at(s, 3) : 10;
    (void)rworld_propose(w, number_at(s, 1), (uint32_t)number_at(s, 2), bytes);
}

static void command(struct world *w, const struct words *s)
{
    const char *verb = word_at(s, 0);
#define VERB(name) (strcmp(verb, name) == 0)
    if (VERB("cluster"))
        do_cluster(w, s);
    else if (VERB("disk"))
        do_disk(w, s);
    else if (VERB("start"))
        do_start(w, s);
    else if (VERB("campaign"))
        (void)rworld_simple(w, number_at(s, 1), RAFT_IN_CAMPAIGN);
    else if (VERB("tick"))
        (void)rworld_simple(w, number_at(s, 1), RAFT_IN_TICK);
    else if (VERB("time"))
        w->now_ms += number_at(s, 1);
    else if (VERB("run"))
        rworld_run(w, number_at(s, 1));
    else if (VERB("deliver") || VERB("drop") || VERB("dup"))
        do_msgs(w, s);
    else if (VERB("stored"))
        do_stored(w, s);
    else if (VERB("applied"))
        rworld_applied(w, number_at(s, 1));
    else if (VERB("propose"))
        do_propose(w, s);
    else if (VERB("read"))
        (void)rworld_read(w, number_at(s, 1));
    else if (VERB("conf"))
        do_conf(w, s);
    else if (VERB("transfer") || VERB("suspect") || VERB("sent"))
        do_ids(w, s);
    else if (VERB("snapshot"))
        rworld_snapshot(w, number_at(s, 1), number_at(s, 2));
    else if (VERB("install"))
        rworld_install(w, number_at(s, 1), s->count < 3);
    else if (VERB("crash"))
        rworld_node_down(node_at(w, s, 1));
    else if (VERB("restart"))
        rworld_restart(w, number_at(s, 1),
                       s->count > 2 ? number_at(s, 2) : node_at(w, s, 1)->snapshot_index);
    else if (VERB("cut"))
        do_cut(w, s);
    else if (VERB("heal"))
        memset(w->cut, 0, sizeof(w->cut));
    else if (VERB("settle"))
        rworld_settle(w);
    else if (VERB("dump"))
        rworld_dump(w, w->trace);
    else if (VERB("net"))
        do_net(w);
    else
        fail_msg("unknown command: %s", verb);
#undef VERB
}

/* ---- scripts ------------------------------------------------------------------------------------------------------ */

static void run_line(struct world *w, const char *line, struct buf *out)
{
    char copy[512];

    buf_append_str(out, line);
    buf_append_byte(out, '\n');
    if (line[0] == '#' || line[0] == '\0')
        return;
    assert_true(strlen(line) < sizeof(copy));
    memcpy(copy, line, strlen(line) + 1);
    bool silent = strncmp(copy, "silent ", 7) == 0;
    struct words s = split(silent ? copy + 7 : copy);
    w->trace = silent ? NULL : out;
    command(w, &s);
    w->trace = out;
}

static void read_file(const char *path, struct buf *in)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0;

    if (!f)
        fail_msg("cannot open %s", path);
    uint8_t *room = buf_reserve(in, SCRIPT_BYTES);
    assert_non_null(room);
    n = fread(room, 1, SCRIPT_BYTES - 1, f);
    buf_commit(in, n);
    buf_append_byte(in, 0);
    (void)fclose(f);
}

static void write_file(const char *path, const struct buf *out)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(buf_slice(out).data, 1, buf_len(out), f), buf_len(out));
    assert_int_equal(fclose(f), 0);
}

static void show_difference(const char *path, const char *want, const char *got)
{
    uint32_t line = 1;
    const char *start = got;
    size_t i = 0;

    for (; want[i] && want[i] == got[i]; i++)
        if (want[i] == '\n') {
            line++;
            start = got + i + 1;
        }
    fail_msg("%s:%u differs, now: %.*s", path, line, (int)strcspn(start, "\n"), start);
}

static void run_script(const char *path)
{
    struct buf in, out;
    char *save = NULL;

    buf_init(&in, SCRIPT_BYTES * 2);
    buf_init(&out, SCRIPT_BYTES * 2);
    read_file(path, &in);
    char *want = (char *)in.data + in.start;
    char *text = mem_strdup(want);
    rworld_init(world, 1, 0, 0);
    for (char *at = text, *line; at && *at; at = save) {
        line = at;
        save = strchr(at, '\n');
        if (save)
            *save++ = '\0';
        if (strncmp(line, "  ", 2) != 0)
            run_line(world, line, &out);
    }
    buf_append_byte(&out, 0);
    if (rewriting) {
        buf_truncate(&out, buf_len(&out) - 1);
        write_file(path, &out);
    } else if (strcmp(want, (const char *)buf_slice(&out).data) != 0) {
        show_difference(path, want, (const char *)buf_slice(&out).data);
    }
    world->trace = NULL;
    rworld_fini(world);
    mem_free(text);
    buf_fini(&in);
    buf_fini(&out);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void test_scripts_give_the_recorded_orders(void **state)
{
    (void)state;
    char *names[SCRIPTS_MAX];
    uint32_t count = 0;
    DIR *dir = opendir(GOLDEN_DIR);

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) && count < SCRIPTS_MAX;)
        if (strstr(e->d_name, ".txt"))
            names[count++] = mem_strdup(e->d_name);
    (void)closedir(dir);
    qsort(names, count, sizeof(names[0]), compare_names);
    assert_true(count >= 20);
    for (uint32_t i = 0; i < count; i++) {
        char path[600];
        (void)snprintf(path, sizeof(path), GOLDEN_DIR "/%s", names[i]);
        fprintf(stderr, "%s\n", names[i]); /* named if a watcher stops the program */
        run_script(path);
        mem_free(names[i]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts_give_the_recorded_orders),
    };
    rewriting = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    world = mem_must_zalloc(sizeof(*world));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mem_free(world);
    return failed;
}
