/* fuzz_int.h — the entry that libFuzzer and replay_main.c call. */
#ifndef RQ_FUZZ_INT_H
#define RQ_FUZZ_INT_H

#include <stddef.h>
#include <stdint.h>

/* Any bytes; 0. A broken promise stops the process. The bytes lie in an allocation of exactly size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
