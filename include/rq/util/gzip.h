/* gzip — a stream of bytes, compressed as it comes (RFC 1952, one member, no name, no time). */
#ifndef RQ_UTIL_GZIP_H
#define RQ_UTIL_GZIP_H

#include <rq/util/buf.h>

struct gzip;
struct gzip *gzip_new(void);    /* NULL: memory is short */
void gzip_free(struct gzip *g); /* may be NULL */
/* Compress; what is ready is appended to out. last: this ends the stream, nothing may follow. 0 or out->failed. */
int gzip_add(struct gzip *g, struct slice bytes, bool last, struct buf *out);

#endif
