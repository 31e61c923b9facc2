/* log.c — words for people on stderr, one line per write(2) so that threads do not mix theirs. */
#include "env_uv_int.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 4096 };

/* A client's bytes may be quoted in a message: they must not be able to begin a line of their own.
 */
static void flatten(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            text[i] = ' ';
}

static size_t at_most(int printed, size_t room)
{
    if (printed < 0)
        return 0;
    return (size_t)printed < room ? (size_t)printed : room - 1;
}

void uv_env_log(struct env *e, const char *component, const char *fmt, va_list args)
{
    char line[LOG_LINE_BYTES];
    struct tm local;
    time_t now = time(NULL);

    (void)e;
    if (!localtime_r(&now, &local))
        memset(&local, 0, sizeof(local));
    size_t room = sizeof(line) - 1; /* for the newline */
    size_t len = at_most(snprintf(line, room, "[%s] %04d/%02d/%02d %02d:%02d:%02d ", component,
                                  local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
                                  local.tm_hour, local.tm_min, local.tm_sec),
                         room);
    len += at_most(vsnprintf(line + len, room - len, fmt, args), room - len);
    flatten(line, len);
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* nobody is left to be told */
}

void uv_env_halt(struct env *e, const char *reason)
{
    env_log(e, "rqlited", "FATAL: %s", reason);
    _exit(1);
}
