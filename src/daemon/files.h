/* files — small files named by flags, read whole before the environment runs. */
#ifndef RQ_DAEMON_FILES_H
#define RQ_DAEMON_FILES_H

#include <rq/util/buf.h>

enum { FILES_PEM_MAX = 1024 * 1024 };

/* Append the file to out, whose ceiling is the limit. 0; ERR_NOT_FOUND, ERR_IO, ERR_TOO_BIG, ERR_NOMEM with
 * words ("open PATH: no such file or directory"). */
int file_read_whole(const char *path, struct buf *out, struct err_text *why) MUST_USE;

#endif
