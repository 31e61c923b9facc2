/* apply_rate.c — what one entry costs in the APPLY lane: cached single-row INSERTs with parameters, 64 to a
 * batch, database in memory. Prints microseconds per entry. */
#include <rq/db.h>
#include <rq/env_uv.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 64, ROUNDS = 8000 };

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void make(struct buf *b, const char *sql, int64_t i)
{
    struct wire_param p = {.type = WIRE_INTEGER, .integer = i};
    struct wire_param q = {.type = WIRE_TEXT, .bytes = slice_str("some text of a usual length")};

    buf_reset(b, 1 << 20);
    wire_cmd_begin(b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(b, slice_str(sql));
    if (i >= 0) {
        wire_cmd_param(b, &p);
        wire_cmd_param(b, &q);
    }
    if (wire_cmd_finish(b))
        exit(1);
    wire_cmd_seal(b->data + b->start, buf_len(b), i, (uint64_t)i);
}

int main(void)
{
    static struct buf b[BATCH];
    static struct db_entry e[BATCH];
    struct db_config config = {.path = "bench",
                               .statement_cache = 100,
                               .batch_max = BATCH,
                               .cache_pages = 2000,
                               .wal_limit_bytes = 4 << 20};
    struct err_text why = {{0}};
    struct env *env = NULL;
    struct db *d;
    uint64_t index = 1;

    if (db_library_init(false) || db_open(env, &config, NULL, &d, &why))
        return fprintf(stderr, "%s\n", why.text), 1;
    for (int i = 0; i < BATCH; i++)
        buf_init(&b[i], 1 << 20);
    make(&b[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, v TEXT)", -1);
    e[0] = (struct db_entry){
        .index = index++, .term = 1, .kind = RAFT_ENTRY_NORMAL, .payload = buf_slice(&b[0])};
    if (db_apply(d, e, 1, &why))
        return 1;
    double spent = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BATCH; i++) {
            make(&b[i], "INSERT INTO t(n, v) VALUES(?, ?)", (int64_t)index);
            e[i] = (struct db_entry){.index = index++,
                                     .term = 1,
                                     .kind = RAFT_ENTRY_NORMAL,
                                     .payload = buf_slice(&b[i])};
        }
        double began = now_us();
        if (db_apply(d, e, BATCH, &why))
            return fprintf(stderr, "%s\n", why.text), 1;
        spent += now_us() - began;
    }
    struct db_state state;
    db_state(d, &state);
    if (state.sticky_last_insert_id != (int64_t)BATCH * ROUNDS)
        return fprintf(stderr, "rows are missing\n"), 1;
    printf("%.2f us per entry\n", spent / ((double)BATCH * ROUNDS));
    db_close(d);
    for (int i = 0; i < BATCH; i++)
        buf_fini(&b[i]);
    return 0;
}
