/* machine — what the operating system knows and /status shows. Called by main.c. */
#ifndef RQ_DAEMON_MACHINE_H
#define RQ_DAEMON_MACHINE_H

#include <rq/api.h>

/* The machine's network interfaces, by name; how many were found, at most max. */
uint32_t machine_interfaces(struct api_interface *out, uint32_t max);
/* Memory of this process, bytes: in RAM, and mapped. 0 where it is not known. */
void machine_memory(uint64_t *resident, uint64_t *mapped);

#endif
