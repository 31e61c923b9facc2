/* wire_rc.c — failure codes as they travel.
 *
 * enum err may be reordered freely; a number here, once given, means the same for ever, because
 * nodes of two releases talk to each other during an upgrade. Append only. Called by wire_msg.c,
 * and by whoever puts a code into bytes that outlive the process. */
#include <rq/util/assert.h>
#include <rq/wire.h>

static const int rc_of_number[] = {
    [0] = ERR_OK,
    [1] = ERR_IO,
    [2] = ERR_CORRUPT,
    [3] = ERR_NOSPC,
    [4] = ERR_NOMEM,
    [5] = ERR_FULL,
    [6] = ERR_TOO_BIG,
    [7] = ERR_INVALID,
    [8] = ERR_NOT_FOUND,
    [9] = ERR_EXISTS,
    [10] = ERR_NOT_LEADER,
    [11] = ERR_NO_LEADER,
    [12] = ERR_LEADERSHIP_LOST,
    [13] = ERR_STALE,
    [14] = ERR_TIMEOUT,
    [15] = ERR_CANCELED,
    [16] = ERR_NOT_READY,
    [17] = ERR_BUSY,
    [18] = ERR_EOF,
    [19] = ERR_REFUSED,
    [20] = ERR_RESET,
    [21] = ERR_UNREACHABLE,
    [22] = ERR_ADDRESS,
    [23] = ERR_IDENTITY,
    [24] = ERR_VERSION,
    [25] = ERR_PROTOCOL,
    [26] = ERR_SQL,
    [27] = ERR_NOT_SUPPORTED,
    [28] = ERR_DENIED,
};

enum { RC_COUNT = sizeof(rc_of_number) / sizeof(rc_of_number[0]) };

uint16_t wire_rc_put(int rc)
{
    for (uint16_t n = 0; n < RC_COUNT; n++)
        if (rc_of_number[n] == rc)
            return n;
    UNREACHABLE(); /* a code was added to err.h and not here */
}

int wire_rc_get(uint16_t number, int32_t *rc)
{
    if (number >= RC_COUNT)
        return ERR_PROTOCOL;
    *rc = rc_of_number[number];
    return 0;
}
