/* peer_lines.c — all lines of a set, by number. Called by every other file of the room; calls none. */
#include "peer_int.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>

static int make_room(struct peer_set *s)
{
    if (s->line_count < s->line_cap)
        return 0;
    size_t cap = s->line_cap ? s->line_cap * 2 : 16;
    struct peer_line **grown = mem_realloc(s->lines, cap * sizeof(struct peer_line *));
    if (!grown)
        return ERR_NOMEM;
    s->lines = grown;
    s->line_cap = cap;
    return 0;
}

struct peer_line *peer_lines_add(struct peer_set *s)
{
    if (make_room(s))
        return NULL;
    struct peer_line *line = mem_zalloc(sizeof(*line));
    if (!line)
        return NULL;
    line->set = s;
    line->number = ++s->last_number;
    s->lines[s->line_count++] = line;
    return line;
}

/* Place of the first line whose number is not below. */
static size_t place_of(const struct peer_set *s, peer_conn number)
{
    size_t low = 0, high = s->line_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->lines[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct peer_line *peer_lines_find(const struct peer_set *s, peer_conn number)
{
    size_t at = place_of(s, number);
    return at < s->line_count && s->lines[at]->number == number ? s->lines[at] : NULL;
}

void peer_lines_remove(struct peer_line *line)
{
    struct peer_set *s = line->set;
    size_t at = place_of(s, line->number);

    ASSERT(at < s->line_count && s->lines[at] == line);
    s->line_count--;
    memmove(&s->lines[at], &s->lines[at + 1], (s->line_count - at) * sizeof(struct peer_line *));
    env_timer_disarm(&line->timer);
    buf_fini(&line->in);
    buf_fini(&line->out);
    mem_free(line);
}

void peer_lines_settle(struct peer_set *s)
{
    if (!s->stopping || !s->stopped || s->line_count > 0 || s->turned_away > 0)
        return;
    void (*stopped)(void *) = s->stopped;
    s->stopped = NULL; /* once */
    env_timer_disarm(&s->stop_timer);
    stopped(s->stopped_ctx);
}
