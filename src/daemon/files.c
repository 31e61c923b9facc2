/* files — see files.h. Called by main.c. */
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int explain(struct err_text *why, const char *verb, const char *path, int number)
{
    char words[128];
    if (strerror_r(number, words, sizeof words) != 0)
        (void)snprintf(words, sizeof words, "error %d", number);
    if (words[0] >= 'A' && words[0] <= 'Z')
        words[0] = (char)(words[0] - 'A' + 'a');
    return err_set(why, number == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s %s: %s", verb, path, words);
}

int file_read_whole(const char *path, struct buf *out, struct err_text *why)
{
    char bytes[4096];
    size_t got;
    int rc = 0;
    FILE *f = fopen(path, "rb");
    if (!f)
        return explain(why, "open", path, errno);
    errno = 0;
    while ((got = fread(bytes, 1, sizeof bytes, f)) > 0 && !out->failed)
        (void)buf_append(out, bytes, got);
    if (ferror(f))
        rc = explain(why, "read", path, errno);
    else if (out->failed)
        rc = err_set(why, out->failed, "read %s: %s", path, err_text_of(out->failed));
    fclose(f);
    return rc;
}
