/* json_string.h — decoding of one JSON string. */
#ifndef RQ_JSON_STRING_H
#define RQ_JSON_STRING_H

#include <rq/util/mem.h>
#include <rq/util/slice.h>

/* in begins behind the opening quote. *out: the decoded bytes, in `in` or in the arena; *used: bytes of
 * `in` up to and with the closing quote. 0, ERR_PROTOCOL, ERR_NOMEM. */
int json_string_read(struct slice in, struct arena *arena, struct slice *out,
                     size_t *used) MUST_USE;

#endif
