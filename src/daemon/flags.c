/* flags — Go's flag syntax, one table of flags (daemon.md §1.2, §1.3). The checks between flags are in
 * flags_check.c. */
#include "flags_int.h"

#include <rq/http.h>
#include <rq/util/assert.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct flags_row flag_table[] = {
#define FLAG_ROW(kind, field, name, value) {name, FLAGS_KIND_##kind, offsetof(struct flags, field)},
    FLAGS_TABLE(FLAG_ROW)
#undef FLAG_ROW
    /* Older names (daemon.md §12.2, P-5). */
    {"raft-timeout", FLAGS_KIND_TIME, offsetof(struct flags, raft_heartbeat_timeout)},
    {"otlp-metrics-interval", FLAGS_KIND_TIME, offsetof(struct flags, otlp_interval)},
};
enum { FLAG_COUNT = sizeof flag_table / sizeof flag_table[0] };

static const struct flags flag_defaults = {
#define FLAG_DEFAULT(kind, field, name, value) .field = value,
    FLAGS_TABLE(FLAG_DEFAULT)
#undef FLAG_DEFAULT
};

const struct flags *flags_defaults(void)
{
    return &flag_defaults;
}

const struct flags_row *flags_row_find(const char *name, size_t len)
{
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (strlen(flag_table[i].name) == len && memcmp(flag_table[i].name, name, len) == 0)
            return &flag_table[i];
    return NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static bool bool_parse(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a' + 10);
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A' + 10);
    return 99;
}

/* "0x", "0o", "0b" or a leading "0"; advances past the prefix. */
static unsigned base_parse(const char **text)
{
    const char *t = *text;
    if (t[0] != '0' || t[1] == '\0')
        return 10;
    const char mark = (char)(t[1] | 0x20);
    const unsigned base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    *text += base ? 2 : 1;
    return base ? base : 8;
}

/* Magnitude of a Go integer literal; "_" only between digits or behind the base's prefix. 0, ERR_INVALID
 * (no number), ERR_TOO_BIG (over 64 bits). */
static int magnitude_parse(const char *text, uint64_t *out)
{
    const char *const all = text;
    const unsigned base = base_parse(&text);
    bool digit_before = text != all; /* a prefix counts */
    bool too_big = false, any = base == 8 && text == all + 1;
    *out = 0;
    for (; *text != '\0'; text++) {
        if (*text == '_') {
            if (!digit_before)
                return ERR_INVALID;
            digit_before = false;
            continue;
        }
        const unsigned digit = digit_value(*text);
        if (digit >= base)
            return ERR_INVALID;
        too_big = too_big || *out > (UINT64_MAX - digit) / base;
        *out = *out * base + digit;
        digit_before = any = true;
    }
    if (!digit_before || !any)
        return ERR_INVALID;
    return too_big ? ERR_TOO_BIG : 0;
}

static int int_parse(const char *text, int64_t *out)
{
    const bool negative = text[0] == '-';
    uint64_t magnitude = 0;
    const int rc = magnitude_parse(text + (negative || text[0] == '+'), &magnitude);
    if (rc != 0)
        return rc;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return ERR_TOO_BIG;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 0;
}

/* As Go's %q would show it, as far as people write it. */
static void quote(const char *text, char *dst, size_t cap)
{
    size_t at = 0;
    dst[at++] = '"';
    for (; *text != '\0' && at + 4 < cap; text++) {
        if (*text == '"' || *text == '\\')
            dst[at++] = '\\';
        dst[at++] = *text;
    }
    dst[at++] = '"';
    dst[at] = '\0';
}

static int value_store(const struct flags_row *row, const char *text, struct flags *out,
                       struct err_text *why)
{
    void *field = (char *)out + row->offset;
    char quoted[400];
    int rc = 0;
    switch (row->kind) {
    case FLAGS_KIND_TEXT:
        *(const char **)field = text;
        return 0;
    case FLAGS_KIND_BOOL:
        if (bool_parse(text, field))
            return 0;
        quote(text, quoted, sizeof quoted);
        return err_set(why, ERR_INVALID, "invalid boolean value %s for -%s: parse error", quoted,
                       row->name);
    case FLAGS_KIND_INT:
        rc = int_parse(text, field);
        break;
    case FLAGS_KIND_UINT:
        rc = magnitude_parse(text, field);
        break;
    case FLAGS_KIND_TIME:
        rc = http_duration_parse(slice_str(text), field);
        break;
    }
    if (rc == 0)
        return 0;
    quote(text, quoted, sizeof quoted);
    return err_set(why, ERR_INVALID, "invalid value %s for flag -%s: %s", quoted, row->name,
                   rc == ERR_TOO_BIG ? "value out of range" : "parse error");
}

/* ---- arguments ---------------------------------------------------------------------------------------------------- */

static void note_given(const struct flags_row *row, struct flags *out)
{
    out->reap_given |= strcmp(row->name, "raft-reap-node-timeout") == 0;
    out->reap_read_only_given |= strcmp(row->name, "raft-reap-read-only-node-timeout") == 0;
}

/* One flag at argv[*at]; *at moves past it. */
static enum flags_outcome flag_take(int argc, const char *const *argv, int *at, struct flags *out,
                                    struct err_text *why)
{
    const char *arg = argv[(*at)++];
    const char *name = arg + (arg[1] == '-' ? 2 : 1);
    if (name[0] == '\0' || name[0] == '-' || name[0] == '=') {
        err_set(why, ERR_INVALID, "bad flag syntax: %s", arg);
        return FLAGS_SYNTAX;
    }
    const size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct flags_row *row = flags_row_find(name, len);
    if (!row) {
        if ((len == 1 && name[0] == 'h') || (len == 4 && memcmp(name, "help", 4) == 0))
            return FLAGS_HELP;
        err_set(why, ERR_INVALID, "flag provided but not defined: -%.*s",
                (int)(len > 400 ? 400 : len), name);
        return FLAGS_SYNTAX;
    }
    if (!value && row->kind == FLAGS_KIND_BOOL)
        value = "true";
    if (!value && *at < argc)
        value = argv[(*at)++];
    if (!value) {
        err_set(why, ERR_INVALID, "flag needs an argument: -%s", row->name);
        return FLAGS_SYNTAX;
    }
    note_given(row, out);
    return value_store(row, value, out, why) == 0 ? FLAGS_RUN : FLAGS_SYNTAX;
}

static enum flags_outcome refuse_rest(int argc, const char *const *argv, int at,
                                      struct err_text *why)
{
    char rest[300] = "";
    size_t len = 0;
    for (int i = at + 1; i < argc && len < sizeof rest; i++)
        len +=
            (size_t)snprintf(rest + len, sizeof rest - len, "%s%s", i > at + 1 ? " " : "", argv[i]);
    err_set(why, ERR_INVALID, "arguments after data directory (%.150s) are not accepted ([%s])",
            argv[at], rest);
    return FLAGS_PLAIN;
}

static bool dir_store(const char *arg, struct flags *out)
{
    while (*arg != '\0' && strchr(" \t\n\v\f\r", *arg))
        arg++;
    size_t len = strlen(arg);
    while (len > 0 && strchr(" \t\n\v\f\r", arg[len - 1]))
        len--;
    if (len >= sizeof out->dir)
        return false;
    memcpy(out->dir, arg, len);
    out->dir[len] = '\0';
    return true;
}

enum flags_outcome flags_parse(int argc, const char *const *argv,
                               bool (*path_exists)(const char *path), struct flags *out,
                               struct err_text *why)
{
    ASSERT(out != NULL && why != NULL);
    int at = 0;
    *out = flag_defaults;
    if (argc == 0) {
        err_set(why, ERR_INVALID,
                "failed to parse command-line flags: missing required argument: DataPath");
        return FLAGS_MISSING;
    }
    while (at < argc && argv[at][0] == '-' && argv[at][1] != '\0') {
        if (strcmp(argv[at], "--") == 0) {
            at++;
            break;
        }
        const enum flags_outcome outcome = flag_take(argc, argv, &at, out, why);
        if (outcome != FLAGS_RUN)
            return outcome;
    }
    if (out->version)
        return FLAGS_VERSION;
    if (flags_check_reap(out, why) != 0)
        return FLAGS_REFUSED;
    if (argc - at > 1)
        return refuse_rest(argc, argv, at, why);
    if (at < argc && !dir_store(argv[at], out)) {
        err_set(why, ERR_INVALID, "data directory path is too long");
        return FLAGS_REFUSED;
    }
    return flags_check(out, path_exists, why) == 0 ? FLAGS_RUN : FLAGS_REFUSED;
}

/* ---- words ------------------------------------------------------------------------------------------------------------ */

const char *flags_unsupported(const struct flags *f)
{
    const struct {
        const char *name;
        bool used;
    } rows[] = {
        {"extensions-path", f->extensions_path[0] != '\0'},
        {"auto-backup", f->auto_backup[0] != '\0'},
        {"auto-restore", f->auto_restore[0] != '\0'},
        {"cdc-config", f->cdc_config[0] != '\0'},
        {"otlp-endpoint", f->otlp_endpoint[0] != '\0'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].used)
            return rows[i].name;
    return NULL;
}

void flags_without_effect(const struct flags *f, void (*line)(void *ctx, const char *name),
                          void *ctx)
{
    const struct flags *d = &flag_defaults;
    const struct {
        const char *name;
        bool changed;
    } rows[] = {
        {"raft-commit-timeout", f->raft_commit_timeout != d->raft_commit_timeout},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].changed)
            line(ctx, rows[i].name);
}
