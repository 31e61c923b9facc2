/* verdicts.c — reads corpora for judges. */
#include "verdicts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

static void case_begin(struct verdict_case *c, char *line)
{
    char *colon = strrchr(line, ':');

    assert_non_null(colon);
    *colon = '\0';
    (void)snprintf(c->name, sizeof(c->name), "%s", line + 2);
    (void)snprintf(c->verdict, sizeof(c->verdict), "%s", colon + 2);
}

static uint32_t file_read(const char *folder, const char *name, const struct verdict_reader *r)
{
    struct verdict_case c = {.file = name};
    char path[600], line[400];
    uint32_t number = 0, cases = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '=') {
            if (cases++)
                r->judge(r->ctx, &c);
            case_begin(&c, line);
            c.line = number;
            r->begin(r->ctx);
        } else if (line[0] != '#' && line[0] != '\0') {
            r->line(r->ctx, line);
        }
    }
    if (cases)
        r->judge(r->ctx, &c);
    (void)fclose(f);
    return cases;
}

uint32_t verdicts_read(const char *folder, const struct verdict_reader *r)
{
    DIR *dir = opendir(folder);
    uint32_t cases = 0;

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".txt"))
            cases += file_read(folder, e->d_name, r);
    (void)closedir(dir);
    return cases;
}
