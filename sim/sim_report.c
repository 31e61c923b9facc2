/* sim_report.c — see sim_report.h. */
#include "sim_report.h"
#include "sim_scenario.h"
#include <string.h>

static const char *const level_names[SIM_LEVEL_COUNT] = {"none", "weak", "linearizable", "strong"};

static void print_counts(FILE *out, const char *title, const char *(*name)(int i),
                         const uint64_t *counts, int n)
{
    bool any = false;
    (void)fprintf(out, " %s=", title);
    for (int i = 0; i < n; i++) {
        if (counts[i] == 0)
            continue;
        (void)fprintf(out, "%s%s:%llu", any ? "," : "", name(i), (unsigned long long)counts[i]);
        any = true;
    }
    if (!any)
        (void)fputs("-", out);
}

static const char *fault_name(int i)
{
    return world_fault_name((enum world_fault)i);
}

static const char *oracle_name(int i)
{
    return sim_oracle_name((enum sim_oracle)i);
}

static const char *level_name(int i)
{
    return level_names[i];
}

static const char *deed_name(int i)
{
    return sim_deed_name((enum sim_deed_kind)i);
}

void sim_report_line(FILE *out, const struct sim_plan *p, const struct sim_result *r)
{
    (void)fprintf(out, "seed=%llu profile=%s nodes=%u virtual=%.1fs events=%llu",
                  (unsigned long long)p->seed, sim_profile_name(p->profile), p->node_count,
                  (double)r->virtual_ns / 1e9, (unsigned long long)r->events);
    print_counts(out, "faults", fault_name, r->faults, WORLD_FAULT_COUNT);
    (void)fprintf(out, " ok=%llu fail=%llu unknown=%llu", (unsigned long long)r->ok,
                  (unsigned long long)r->fail, (unsigned long long)r->info);
    print_counts(out, "requests", deed_name, r->deeds_ok, SIM_DEED_COUNT);
    print_counts(out, "reads", level_name, r->reads_ok, SIM_LEVEL_COUNT);
    if (p->loads)
        (void)fprintf(out, " loads=%llu refused=%llu", (unsigned long long)r->loads_ok,
                      (unsigned long long)r->loads_refused);
    if (p->scene)
        (void)fprintf(out, " scene=%s:%llu", sim_scene_name(p->scene),
                      (unsigned long long)r->scenes[p->scene]);
    print_counts(out, "oracles", oracle_name, r->evaluations, SIM_ORACLE_COUNT);
    (void)fprintf(out, " hash=%016llx%016llx", (unsigned long long)r->hash.a,
                  (unsigned long long)r->hash.b);
    if (r->violated)
        (void)fprintf(out, " VIOLATION %s (%s): %s\n", sim_oracle_name(r->oracle),
                      sim_oracle_text(r->oracle), r->text);
    else
        (void)fputs(" verdict=ok\n", out);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void script_add(struct sim_script_result *t, const struct sim_script_result *r)
{
    t->met += r->met > 0;
    t->writes += r->writes;
    t->wait_ns = larger(t->wait_ns, r->wait_ns);
    t->wait_allowed_ns = larger(t->wait_allowed_ns, r->wait_allowed_ns);
    t->terms = larger(t->terms, r->terms);
    t->terms_allowed = larger(t->terms_allowed, r->terms_allowed);
}

bool sim_scenario_print(FILE *out, const struct sim_scenario *sc, const struct sim_sums *sums)
{
    const struct sim_script_result *t = &sums->total.script;
    bool enough = 2 * t->met > sums->seeds;

    (void)fprintf(out,
                  "%-30s %4llu seeds, %llu violations, came about in %llu%s; %llu writes, longest "
                  "wait %.2f s of %.2f, changes of term %llu of %llu\n",
                  sc->name, (unsigned long long)sums->seeds, (unsigned long long)sums->violations,
                  (unsigned long long)t->met, enough ? "" : " TOO FEW",
                  (unsigned long long)t->writes, (double)t->wait_ns / 1e9,
                  (double)t->wait_allowed_ns / 1e9, (unsigned long long)t->terms,
                  (unsigned long long)t->terms_allowed);
    return enough && sums->violations == 0 && sums->mismatches == 0;
}

void sim_sums_add(struct sim_sums *sums, const struct sim_plan *p, const struct sim_result *r)
{
    struct sim_result *t = &sums->total;

    sums->seeds++;
    sums->violations += r->violated;
    t->virtual_ns += r->virtual_ns;
    t->events += r->events;
    t->ok += r->ok;
    t->fail += r->fail;
    t->info += r->info;
    t->aborted += r->aborted;
    t->sent_again += r->sent_again;
    t->in_bursts += r->in_bursts;
    t->elections += r->elections;
    t->commits += r->commits;
    t->compactions += r->compactions;
    t->installs += r->installs;
    t->loads_ok += r->loads_ok;
    t->loads_refused += r->loads_refused;
    t->boots_ok += r->boots_ok;
    t->unordered += r->unordered;
    t->conf_changes += r->conf_changes;
    t->refused_for_space += r->refused_for_space;
    script_add(&t->script, &r->script);
    t->faults[WORLD_FAULT_NOSPC] += r->faults[WORLD_FAULT_NOSPC];
    for (int i = 0; i < SIM_LEVEL_COUNT; i++)
        t->reads_ok[i] += r->reads_ok[i];
    for (int i = 0; i < SIM_DEED_COUNT; i++)
        t->deeds_ok[i] += r->deeds_ok[i];
    for (int i = 0; i < SIM_ORACLE_COUNT; i++)
        t->evaluations[i] += r->evaluations[i];
    for (int i = 0; i < WORLD_FAULT_COUNT; i++)
        t->faults[i] += r->faults[i];
    for (int i = 0; i < SIM_SCENE_COUNT; i++) {
        t->scenes[i] += r->scenes[i];
        sums->scene_on[i] += p->scene == (enum sim_scene_kind)i;
    }
    for (int i = 0; i < SIM_FAMILY_COUNT; i++) {
        t->families[i] += r->families[i];
        sums->family_on[i] += p->family[i];
    }
}

/* Lower limits per 1 000 seeds. A rare family is counted per seed in which it is enabled. */
enum {
    LEAST_READS = 10000,
    LEAST_REQUESTS = 2000,  /* of each kind */
    LEAST_SENT_AGAIN = 150, /* keyed, after a doubt: C7 */
    LEAST_RARE = 1000,      /* C9–C11: of one kind of request only */
    LEAST_EVALUATIONS = 10000,
    LEAST_R1 = 1000, /* and R4, S4, S6, L1: looked at once or a few times in a seed */
    LEAST_N4 = 20,
    LEAST_R9 = 10, /* only when a log is cut */
    LEAST_P1 = 200,
    LEAST_N1 = 100,
    LEAST_P5 = 200,
    LEAST_COMPACTIONS = 2000,
    LEAST_INSTALLS = 10,
    LEAST_LOADS = 100,
    LEAST_LOADS_REFUSED = 30,
    LEAST_BOOTS = 7, /* a node in sixteen is alone */
    LEAST_CONF = 1000,
    LEAST_CONF_MEMBERSHIP = 8000,
    LEAST_FAMILY_PER_10_SEEDS = 5,
    LEAST_ROT_PER_10_SEEDS = 1,
    LEAST_DUEL_PER_10_SEEDS = 1, /* struck, not begun */
    LEAST_AMBUSH_PER_10_SEEDS = 2,
    LEAST_MEMBER_PER_10_SEEDS = 3, /* removed: the leader must be known, and alone it must not be */
    LEAST_SCENE_PER_10_SEEDS = 1,  /* played to its end */
};

static bool print_limit(FILE *out, const char *what, uint64_t count, uint64_t least)
{
    bool enough = count >= least;
    (void)fprintf(out, "  %-28s %12llu  least %10llu%s\n", what, (unsigned long long)count,
                  (unsigned long long)least, enough ? "" : "  TOO FEW");
    return enough;
}

static uint64_t scaled(const struct sim_sums *sums, uint64_t per_thousand)
{
    return per_thousand * sums->seeds / 1000;
}

static bool oracle_applies(enum sim_oracle o, enum sim_profile profile)
{
    bool halts = profile == SIM_DISK_ONLY || profile == SIM_SWARM;
    bool stops = profile == SIM_CRASH_ONLY || profile == SIM_SWARM;
    bool contested = profile != SIM_QUIET; /* a founder has no rival, and nothing is cut */
    bool of_contest = o == SIM_P1 || o == SIM_R7 || o == SIM_R9 || o == SIM_C7;
    if (o == SIM_L4) /* of scenarios */
        return false;
    if ((o == SIM_C7 && !sim_deed_happens(SIM_DEED_KEYED)) ||
        (o == SIM_C9 && !sim_deed_happens(SIM_DEED_CONDITION)) ||
        (o == SIM_C10 && !sim_deed_happens(SIM_DEED_CAUGHT_UP)))
        return false;
    return (o != SIM_N4 || halts) && (o != SIM_N1 || stops) && (!of_contest || contested);
}

static uint64_t least_evaluations(enum sim_oracle o, enum sim_profile profile)
{
    if (!oracle_applies(o, profile))
        return 0;
    switch ((int)o) {
    case SIM_N4:
        return LEAST_N4;
    case SIM_R9:
        return LEAST_R9;
    case SIM_N1:
        return LEAST_N1;
    case SIM_P1:
    case SIM_R7:
        return LEAST_P1;
    case SIM_P5:
        return LEAST_P5;
    case SIM_C7:
        return LEAST_SENT_AGAIN;
    case SIM_C9:
    case SIM_C10:
    case SIM_C11:
    case SIM_C12:
        return LEAST_RARE;
    case SIM_R1:
    case SIM_R12:
    case SIM_R4:
    case SIM_S4:
    case SIM_S6:
    case SIM_L1:
        return LEAST_R1;
    case SIM_L3:
    case SIM_N5:
        return 0; /* their scenes have limits of their own */
    default:
        return LEAST_EVALUATIONS;
    }
}

static uint64_t least_family(enum sim_family f, enum sim_profile profile)
{
    if (f == SIM_FAMILY_WIPE && profile == SIM_MEMBERSHIP) /* nobody else may be away */
        return LEAST_AMBUSH_PER_10_SEEDS;
    switch ((int)f) {
    case SIM_FAMILY_ROT:
        return LEAST_ROT_PER_10_SEEDS;
    case SIM_FAMILY_MEMBER:
        return LEAST_MEMBER_PER_10_SEEDS;
    case SIM_FAMILY_DUEL:
        return LEAST_DUEL_PER_10_SEEDS;
    case SIM_FAMILY_REPLACE:
    case SIM_FAMILY_REAP:
    case SIM_FAMILY_OVERTAKE:
    case SIM_FAMILY_DEPOSE:
    case SIM_FAMILY_HEIR:
        return LEAST_AMBUSH_PER_10_SEEDS;
    default:
        return LEAST_FAMILY_PER_10_SEEDS;
    }
}

bool sim_sums_print(FILE *out, const struct sim_sums *sums, enum sim_profile profile)
{
    const struct sim_result *t = &sums->total;
    bool enough = true;
    char what[64];

    (void)fprintf(
        out,
        "%s: %llu seeds, %llu violations, %llu mismatches, %.0f virtual seconds, %llu events, "
        "%llu elections, %llu commits; requests ok %llu, failed %llu, unknown %llu\n",
        sim_profile_name(profile), (unsigned long long)sums->seeds,
        (unsigned long long)sums->violations, (unsigned long long)sums->mismatches,
        (double)t->virtual_ns / 1e9, (unsigned long long)t->events,
        (unsigned long long)t->elections, (unsigned long long)t->commits, (unsigned long long)t->ok,
        (unsigned long long)t->fail, (unsigned long long)t->info);
    for (int i = 0; i < SIM_DEED_COUNT; i++) {
        uint64_t count = i == SIM_DEED_ABORTED ? t->aborted : t->deeds_ok[i];
        (void)snprintf(what, sizeof(what), "requests %s", deed_name(i));
        uint64_t least = sim_deed_happens((enum sim_deed_kind)i) ? LEAST_REQUESTS : 0;
        enough &= print_limit(out, what, count, scaled(sums, least));
    }
    enough &=
        print_limit(out, "requests in one breath", t->in_bursts, scaled(sums, LEAST_REQUESTS));
    for (int i = 0; i < SIM_LEVEL_COUNT; i++) {
        (void)snprintf(what, sizeof(what), "reads %s", level_names[i]);
        enough &= print_limit(out, what, t->reads_ok[i], scaled(sums, LEAST_READS));
    }
    for (int i = 0; i < SIM_ORACLE_COUNT; i++) {
        (void)snprintf(what, sizeof(what), "oracle %s", oracle_name(i));
        uint64_t least = least_evaluations((enum sim_oracle)i, profile);
        enough &= print_limit(out, what, t->evaluations[i], scaled(sums, least));
    }
    enough &= print_limit(out, "databases loaded", t->loads_ok, scaled(sums, LEAST_LOADS));
    enough &=
        print_limit(out, "databases refused", t->loads_refused, scaled(sums, LEAST_LOADS_REFUSED));
    if (profile != SIM_MEMBERSHIP)
        enough &= print_limit(out, "databases booted", t->boots_ok, scaled(sums, LEAST_BOOTS));
    (void)fprintf(out, "  %-28s %12llu\n", "orders of loads not known",
                  (unsigned long long)t->unordered);
    enough &= print_limit(out, "log let go", t->compactions, scaled(sums, LEAST_COMPACTIONS));
    if (profile != SIM_QUIET)
        enough &= print_limit(out, "image installed", t->installs, scaled(sums, LEAST_INSTALLS));
    enough &=
        print_limit(out, "membership changes", t->conf_changes,
                    scaled(sums, profile == SIM_MEMBERSHIP ? LEAST_CONF_MEMBERSHIP : LEAST_CONF));
    if (sums->family_on[SIM_FAMILY_NOSPC]) {
        uint64_t seeds = sums->family_on[SIM_FAMILY_NOSPC];
        enough &= print_limit(out, "full disk met", t->faults[WORLD_FAULT_NOSPC], seeds / 2);
        enough &= print_limit(out, "refused for lack of space", t->refused_for_space, seeds / 8);
    }
    for (int i = 0; i < SIM_FAMILY_COUNT; i++) {
        (void)snprintf(what, sizeof(what), "fault %s", sim_family_name((enum sim_family)i));
        uint64_t least = least_family((enum sim_family)i, profile);
        if (sums->family_on[i])
            enough &= print_limit(out, what, t->families[i], sums->family_on[i] * least / 10);
    }
    for (int i = SIM_SCENE_NONE + 1; i < SIM_SCENE_COUNT; i++) {
        (void)snprintf(what, sizeof(what), "scene %s", sim_scene_name((enum sim_scene_kind)i));
        enough &=
            print_limit(out, what, t->scenes[i], sums->scene_on[i] * LEAST_SCENE_PER_10_SEEDS / 10);
    }
    return enough;
}
