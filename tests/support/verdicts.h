/* verdicts.h — corpora of cases with the verdict that each must get, in files of lines:
 *
 *   # a remark
 *   = name of the case: verdict         begins one; a name may hold a colon
 *   anything                            of the case
 *
 * Used by the tests of judges (histories, orders). */
#ifndef VERDICTS_H
#define VERDICTS_H

#include <stdint.h>

struct verdict_case {
    const char *file;
    uint32_t line;
    char name[400], verdict[400]; /* as long as a line */
};
struct verdict_reader {
    void *ctx;
    void (*begin)(void *ctx);
    void (*line)(void *ctx, char *line); /* may be written to */
    void (*judge)(void *ctx, const struct verdict_case *c);
};

/* All cases of all .txt files of the folder; how many. */
uint32_t verdicts_read(const char *folder, const struct verdict_reader *r);

#endif
