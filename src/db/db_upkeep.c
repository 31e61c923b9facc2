/* db_upkeep.c — VACUUM and ANALYZE that nobody asked for: the leader puts them into the log once in a while
 * (rq/db.h). When each was done last is part of what entries change, so that every later leader knows it. Called
 * by db_work.c.
 *
 * ANALYZE looks at so many rows of each index: what it finds follows from the content alone, as it must, and a
 * large table costs no more than a small one. PRAGMA optimize would choose by what one connection has run. */
#include "db_int.h"

enum { ANALYSIS_ROWS = 1000 };

static int analysis_limit(struct db *d, int rows)
{
    enum db_guard_mode mode = d->guard.mode;
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "PRAGMA analysis_limit=%d", rows);
    d->guard.mode = DB_GUARD_OFF;
    int rc = db_exec(d->writer, sql, NULL);
    d->guard.mode = mode;
    return rc;
}

static bool is_vacuum(const struct wire_cmd *cmd)
{
    struct wire_cmd c = *cmd;
    struct slice sql;
    uint32_t params;

    return wire_cmd_next(&c, &sql, &params) == 0 && slice_equal_str(sql, DB_UPKEEP_VACUUM);
}

int db_upkeep_begin(struct db *d)
{
    return analysis_limit(d, ANALYSIS_ROWS);
}

int db_upkeep_end(struct db *d, uint64_t index, const struct wire_cmd *cmd, bool failed,
                  uint64_t began_ns)
{
    bool vacuum = is_vacuum(cmd);
    struct db_upkeep_time *last = vacuum ? &d->upkeep.vacuum : &d->upkeep.optimize;
    struct db_upkeep_counts *counts = vacuum ? &d->counters.vacuums : &d->counters.optimizes;

    last->wall_ns = cmd->wall_ns;
    last->index = index;
    counts->done += !failed;
    counts->failed += failed;
    counts->last_ns = env_now_ns(d->env) - began_ns;
    return analysis_limit(d, 0);
}
