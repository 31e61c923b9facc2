/* crc — CRC32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 §B.4), chained by passing the
 * previous result as seed. Uses the CPU's instruction where there is one; same result everywhere. */
#ifndef RQ_UTIL_CRC_H
#define RQ_UTIL_CRC_H

#include <stddef.h>
#include <stdint.h>

/* crc32c(0, "123456789", 9) == 0xE3069283; crc32c(crc32c(0,a),b) == crc32c(0, a||b). */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);

#endif
