/* sim_core.c — what every file of the simulator tells: the names of the oracles, and a violation. */
#include "sim_run.h"
#include <stdarg.h>
#include <stdio.h>

static const char *const oracle_names[SIM_ORACLE_COUNT] = {
#define ORACLE_NAME_(name, text) #name,
    SIM_ORACLE_TABLE(ORACLE_NAME_)
#undef ORACLE_NAME_
};
static const char *const oracle_texts[SIM_ORACLE_COUNT] = {
#define ORACLE_TEXT_(name, text) text,
    SIM_ORACLE_TABLE(ORACLE_TEXT_)
#undef ORACLE_TEXT_
};

const char *sim_oracle_name(enum sim_oracle o)
{
    return oracle_names[o];
}

const char *sim_oracle_text(enum sim_oracle o)
{
    return oracle_texts[o];
}

void sim_violate(struct sim *s, enum sim_oracle o, const char *fmt, ...)
{
    va_list args;

    if (s->result->violated)
        return;
    s->result->violated = true;
    s->result->oracle = o;
    va_start(args, fmt);
    (void)vsnprintf(s->result->text, sizeof(s->result->text), fmt, args);
    va_end(args);
    world_trace(s->world, "VIOLATION %s: %s", oracle_names[o], s->result->text);
}
