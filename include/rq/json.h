/* json — pull reader for request bodies, bounded writer for answers (RFC 8259). cJSON serves the
 * documents where speed and 64-bit integers do not matter; this serves statements in, rows out. Pure. */
#ifndef RQ_JSON_H
#define RQ_JSON_H

#include <rq/util/buf.h>
#include <rq/util/mem.h>
#include <rq/util/slice.h>

/* ---- reading ---------------------------------------------------------------------------------------- */

enum json_event {
    JSON_OBJECT_BEGIN = 1,
    JSON_OBJECT_END,
    JSON_ARRAY_BEGIN,
    JSON_ARRAY_END,
    JSON_KEY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
    JSON_END,  /* the top-level value is complete; what follows in the input is not looked at */
    JSON_ERROR /* not JSON; every later call gives it again */
};

enum json_number_kind { JSON_INT64, JSON_DOUBLE, JSON_OVERFLOW };

struct json_reader {
    struct slice input;
    size_t at; /* offset of the next byte */
    uint32_t depth;
    uint32_t depth_max;
    uint8_t state;         /* private */
    uint8_t last;          /* private: the event returned last */
    uint8_t in_object[16]; /* private: one bit per level, depth_max <= 128 */
    struct arena *arena;   /* strings with escapes or invalid UTF-8 are decoded into it */
    /* Of the last event: */
    struct slice text; /* KEY, STRING: decoded (into input or arena); NUMBER: as written */
    enum json_number_kind number_kind;
    int64_t integer; /* JSON_INT64: plain integer in range, exact ("-0" is 0) */
    double real;     /* both kinds; JSON_OVERFLOW: infinite */
    int failed;      /* ERR_PROTOCOL (not JSON) or ERR_NOMEM, after JSON_ERROR */
};
/* input, arena: lent while reading. depth_max <= 128. */
void json_reader_init(struct json_reader *r, struct slice input, uint32_t depth_max,
                      struct arena *arena);
/* Unpaired surrogates and invalid UTF-8 in strings become U+FFFD (http-api.md §4.1). A byte order mark
 * is an error. */
enum json_event json_next(struct json_reader *r);
/* Skip the value whose first event was just returned; returns its last event (JSON_ERROR if it is not
 * JSON). A no-op for scalars and keys. */
enum json_event json_skip(struct json_reader *r);

/* ---- writing ---------------------------------------------------------------------------------------- */

/* Writes into a buf (whose ceiling bounds it); failures stay in buf->failed. Compact, or pretty with
 * four spaces per level as http-api.md §5.9. Strings as §5.6.3 (HTML-safe escapes, U+FFFD for bad
 * UTF-8), reals as §5.6.2. */
struct json_writer {
    struct buf *out;
    bool pretty;
    uint32_t depth;
    uint32_t base_depth;  /* levels to indent in addition (a fragment inside a larger document) */
    uint8_t has_item[16]; /* private: bit per level */
    bool after_key;
    bool not_finite; /* an infinity was written as null: the caller may refuse the document */
};
void json_writer_init(struct json_writer *w, struct buf *out, bool pretty, uint32_t base_depth);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, struct slice key);
void json_key_str(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, struct slice text);
void json_string_str(struct json_writer *w, const char *text);
void json_i64(struct json_writer *w, int64_t v);
void json_u64(struct json_writer *w, uint64_t v);
void json_real(struct json_writer *w, double v);
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
/* A value encoded elsewhere, verbatim (it must fit the indentation itself). */
void json_raw(struct json_writer *w, struct slice value);
void json_base64(struct json_writer *w, struct slice bytes); /* as a string, padded */

/* Shortest decimal text that reads back as the same double, in the notation of §5.6.2. dst >= 32 bytes;
 * returns the length. v finite. Independent of locale. */
size_t json_real_text(double v, char *dst);
/* Correctly rounded parse of a JSON number's text. Independent of locale. */
double json_real_parse(struct slice text);

#endif
