/* err.c — names, texts and statuses of expected failures. */
#include <rq/util/err.h>
#include <stdio.h>

struct err_row {
    int rc;
    int status;
    const char *name;
    const char *text;
};

static const struct err_row err_rows[] = {
    {ERR_OK, 200, "ERR_OK", "ok"},
#define ERR_ROW_(name, status, text) {name, status, #name, text},
    ERR_TABLE(ERR_ROW_)
#undef ERR_ROW_
};

static const struct err_row *err_find(int rc)
{
    for (size_t i = 0; i < sizeof(err_rows) / sizeof(err_rows[0]); i++)
        if (err_rows[i].rc == rc)
            return &err_rows[i];
    return NULL;
}

const char *err_text_of(int rc)
{
    const struct err_row *row = err_find(rc);
    return row ? row->text : "unknown error";
}

const char *err_name_of(int rc)
{
    const struct err_row *row = err_find(rc);
    return row ? row->name : "ERR_?";
}

int err_http_status(int rc)
{
    const struct err_row *row = err_find(rc);
    return row ? row->status : 500;
}

int err_set(struct err_text *t, int rc, const char *fmt, ...)
{
    if (t) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(t->text, sizeof(t->text), fmt, args);
        va_end(args);
    }
    return rc;
}
